"""NGSI-LD entities, against the JSON Schemas of the Smart Data Models where those are at hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from central.batch import store
from central.cli import main
from central.errors import CentralError
from central.ngsi import CONTEXTS, Asset, Held, entities, normalized, parse_assets
from gateway.upstream.payload import Kind
from tests.central.test_batch import reading, record
from tests.central.test_contract import NOW_S
from tests.gateway.test_store import an_alert

MODELS = Path(__file__).parents[3] / "shared" / "data" / "smart-data-models"
ASSETS = """
[[asset]]
gateway = "g1"
device = "lamp"
type = "Streetlight"
id = "urn:ngsi-ld:Streetlight:exemple:3"
location = [6.02, 47.24]
watches = ["rue-basse"]
attributes.powerConsumption = "power"
[[asset]]
gateway = "g1"
device = "bin"
type = "WasteContainer"
id = "urn:ngsi-ld:WasteContainer:exemple:7"
location = [6.03, 47.25]
attributes.fillingLevel = { point = "level", scale = 0.01 }
attributes.temperature = "temperature"
"""


def held(*alerts: dict[str, Any]) -> Held:
    time = datetime(2026, 1, 5, 10, tzinfo=UTC)
    summary = {
        "period_s": 900,
        "points": {"power": [15, 0, 38.5, 38.0, 39.0, 38.6], "lux": [0, 15, None, None, None, None]},
    }
    return Held(
        [
            ("g1", "lamp", "summary", time, summary),
            ("g1", "bin", "summary", time, {"period_s": 900, "points": {"level": [1, 0, 10.0, 10.0, 10.0, 10.0]}}),
            ("g1", "bin", "reading", time.replace(hour=11), {"values": {"level": 62.0, "temperature": None}}),
            (
                "g1",
                "",
                "status",
                time,
                {"version": "0.1", "devices": {"lamp": "fonctionne", "pump": "muet depuis 10:00"}},
            ),
        ],
        [("g1", alert) for alert in alerts],
    )


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(one["id"]): one for one in found}


def test_a_reading_counts_where_it_is_newer_and_what_has_no_value_is_left_out() -> None:
    found = by_id(entities(held()))
    power = found["urn:ngsi-ld:DeviceMeasurement:g1:lamp:power"]
    assert (power["numValue"], power["dateObserved"], power["measurementType"]) == (
        38.5, "2026-01-05T10:15:00Z", "mean over 900 s",
    )  # fmt: skip
    level = found["urn:ngsi-ld:DeviceMeasurement:g1:bin:level"]
    assert (level["numValue"], level["dateObserved"], level["measurementType"]) == (
        62.0,
        "2026-01-05T11:00:00Z",
        "reading",
    )
    assert set(found) == {
        "urn:ngsi-ld:Device:g1", "urn:ngsi-ld:Device:g1:bin", "urn:ngsi-ld:Device:g1:lamp", "urn:ngsi-ld:Device:g1:pump",
        "urn:ngsi-ld:DeviceMeasurement:g1:lamp:power", "urn:ngsi-ld:DeviceMeasurement:g1:bin:level",
    }  # fmt: skip
    assert found["urn:ngsi-ld:Device:g1:pump"]["deviceState"] == "muet depuis 10:00"
    assert found["urn:ngsi-ld:Device:g1:lamp"]["controlledProperty"] == ["power"]


def test_an_asset_says_what_its_device_and_its_alerts_say_and_nothing_where_they_are_silent() -> None:
    assets = parse_assets(ASSETS)
    failure = {**an_alert("rue-basse").as_json(), "kind": "lamp_failure"}
    lamp = by_id(entities(held(failure), assets))["urn:ngsi-ld:Streetlight:exemple:3"]
    assert (lamp["status"], lamp["powerConsumption"]) == ("defectiveLamp", 38.5)
    assert lamp["refDevice"] == ["urn:ngsi-ld:Device:g1:lamp"]
    over = {**failure, "cleared": "2026-01-05T12:00:00Z"}
    found = by_id(entities(held(over), assets))
    assert found["urn:ngsi-ld:Streetlight:exemple:3"]["status"] == "ok"
    assert found["urn:ngsi-ld:WasteContainer:exemple:7"]["fillingLevel"] == 0.62
    silent = {**failure, "kind": "no_data", "subject": "lamp"}
    assert "urn:ngsi-ld:Streetlight:exemple:3" not in by_id(entities(held(silent), assets))
    assert "urn:ngsi-ld:Streetlight:exemple:3" not in by_id(entities(Held(), assets))


def test_an_alert_is_an_anomaly_with_its_reasons_and_its_end() -> None:
    alert = an_alert(raised_s=NOW_S).cleared(NOW_S + 60).as_json()
    (anomaly,) = (one for one in entities(Held([], [("g1", alert)])))
    assert (anomaly["id"], anomaly["anomalousProperty"]) == (f"urn:ngsi-ld:Anomaly:g1:{alert['id']}", "leak")
    assert anomaly["validTo"] == alert["cleared"]
    assert anomaly["description"] == "Le débit de nuit a doublé."
    assert anomaly["thresholdBreach"][0]["measuredValue"] == 4.2


def test_the_normalized_form_tells_properties_from_relationships() -> None:
    found = by_id([normalized(one) for one in entities(held(), parse_assets(ASSETS))])
    lamp = found["urn:ngsi-ld:Streetlight:exemple:3"]
    assert lamp["refDevice"] == {"type": "Relationship", "object": ["urn:ngsi-ld:Device:g1:lamp"]}
    assert lamp["location"] == {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [6.02, 47.24]}}
    assert lamp["powerConsumption"] == {"type": "Property", "value": 38.5, "observedAt": "2026-01-05T10:15:00Z"}
    assert lamp["@context"] == [CONTEXTS["Streetlight"]]


def at_hand(schema: Any, device: Any) -> Any:
    """With what their schemas take over from the one of devices; the rest that they refer to is not at hand."""
    if isinstance(schema, dict):
        made = {key: at_hand(value, device) for key, value in schema.items() if key not in ("$ref", "$schema", "$id")}
        where, _, name = str(schema.get("$ref", "")).rpartition("#/definitions/")
        if name in device["definitions"] and where in ("", device["$id"]):
            made |= at_hand(device["definitions"][name], device)
        return made
    return [at_hand(one, device) for one in schema] if isinstance(schema, list) else schema


@pytest.mark.skipif(
    not MODELS.is_dir(), reason="the Smart Data Models are not at hand (../shared/data/smart-data-models)"
)
def test_every_entity_is_valid_by_the_schema_of_its_model() -> None:
    alert = an_alert(raised_s=NOW_S)
    found = entities(held(alert.as_json(), alert.cleared(NOW_S + 60).as_json()), parse_assets(ASSETS))
    device = json.loads((MODELS / "dataModel.Device" / "device-schema.json").read_text())
    assert {one["type"] for one in found} == set(CONTEXTS)
    for one in found:
        (path,) = MODELS.glob(f"dataModel.*/{one['type']}/schema.json")
        schema = at_hand(json.loads(path.read_text()), device)
        assert {"id", "type"} <= set(schema["required"])
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        validator.validate({key: value for key, value in one.items() if key != "@context"})
        assert not validator.is_valid({**one, "type": "Something"})
        if one["type"] == "Device":
            assert not validator.is_valid({**one, "controlledProperty": ["something"]})
        terms = json.loads((path.parents[1] / "context.jsonld").read_text())["@context"]
        assert set(one) - {"id", "type", "@context"} <= set(terms)


@pytest.mark.parametrize(
    "wrong",
    [
        "[[asset]",
        '[[asset]]\ngateway = "g1"',
        ASSETS.replace("Streetlight", "Elevator"),
        ASSETS.replace("6.02", "600"),
        ASSETS.replace("watches", "watchers"),
    ],
)
def test_a_wrong_assets_file_is_refused(wrong: str) -> None:
    with pytest.raises(CentralError, match="assets: "):
        parse_assets(wrong)


async def test_the_verb_prints_what_the_database_holds(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        alert = record(3, Kind.ALERT, {"alert": an_alert().as_json()})
        await store(connection, [reading(1, 3.5, NOW_S), record(2, body={"version": "1", "devices": {}}), alert], set())
    assert main(["export", "--database", database_url, "--ngsi-ld", "key-values"]) == 0
    types = [one["type"] for one in json.loads(capsys.readouterr().out)]
    assert types == ["Anomaly", "Device", "Device", "DeviceMeasurement"]
    assert main(["export", "--database", database_url, "--ngsi-ld", "normalized"]) == 0
    flow = json.loads(capsys.readouterr().out)[-1]
    assert flow["numValue"]["value"] == 3.5
    assert (
        main(["export", "--database", database_url, "--ngsi-ld", "normalized", "--assets", str(tmp_path / "no")]) == 1
    )
    assert "no: " in capsys.readouterr().err
    assert isinstance(parse_assets(ASSETS)[0], Asset)
