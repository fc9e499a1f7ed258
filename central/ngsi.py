"""What the centre holds as NGSI-LD entities of the Smart Data Models, for a city's context broker. Pure.

Every point becomes a DeviceMeasurement, every gateway and device a Device, every alert an Anomaly (their Alert has no
category for infrastructure). What a device belongs to, and where that stands, only the city knows: an assets file makes
street lights and waste containers of devices.

    [[asset]]
    gateway = "edge-0042"
    device = "lampadaire-3"
    type = "Streetlight"                         # or WasteContainer
    id = "urn:ngsi-ld:Streetlight:exemple:3"
    location = [6.02, 47.24]                     # longitude, latitude
    watches = ["lampe-3"]                        # whose alerts are about it, beside the device's own
    attributes.powerConsumption = "power"        # attribute = point, or { point = "level", scale = 0.01 }

What is not known is not said: an asset whose device never spoke, or is silent, is left out. Units are those of the device's
profile; a record does not say them, so neither does a measurement.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from central.errors import CentralError

CONTEXTS: Final = {
    "DeviceMeasurement": "https://raw.githubusercontent.com/smart-data-models/dataModel.Device/master/context.jsonld",
    "Device": "https://raw.githubusercontent.com/smart-data-models/dataModel.Device/master/context.jsonld",
    "Anomaly": "https://raw.githubusercontent.com/smart-data-models/dataModel.Alert/master/context.jsonld",
    "Streetlight": "https://raw.githubusercontent.com/smart-data-models/dataModel.Streetlighting/master/context.jsonld",
    "WasteContainer": "https://raw.githubusercontent.com/smart-data-models/dataModel.WasteManagement/master/context.jsonld",
}
_CONTROLLED: Final = {
    "battery": "batteryLife",
    "conductivity": "conductivity",
    "energy": "energy",
    "flow": "waterFlow",
    "humidity": "humidity",
    "illuminance": "light",
    "power": "power",
    "pressure": "pressure",
    "speed": "speed",
    "temperature": "temperature",
    "turbidity": "turbidity",
    "volume": "waterConsumption",
    "wind_direction": "windDirection",
    "wind_speed": "windSpeed",
}
"""Their name of what a device measures, by ours of the point, or by its beginning up to `_` (energy_import)."""
_RELATIONSHIPS: Final = frozenset({"refDevice", "detectedBy", "controlledAsset"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last heard of a device; by point."""

    gateway: str
    device: str
    values: Mapping[str, float]
    time: datetime
    how: str
    """"reading", or "mean over 900 s"."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the centre holds, in rows. latest: gateway, device, kind, time, body; alerts: gateway, body."""

    latest: Sequence[tuple[str, str, str, datetime, Mapping[str, Any]]] = field(default_factory=list)
    alerts: Sequence[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


class _From(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    point: str
    scale: float = 1.0


class Asset(BaseModel):
    """One [[asset]] of an assets file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gateway: str
    device: str
    type: Literal["Streetlight", "WasteContainer"]
    id: Annotated[str, Field(pattern=r"^urn:ngsi-ld:[A-Za-z]+:\S+$")]
    location: tuple[
        Annotated[float, Field(ge=-180, le=180)],
        Annotated[float, Field(ge=-90, le=90)],
    ]
    watches: tuple[str, ...] = ()
    attributes: dict[str, str | _From] = {}


class _Assets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    asset: list[Asset] = []


def parse_assets(text: str) -> list[Asset]:
    """An assets file. Raises CentralError with all that is wrong."""
    try:
        return _Assets.model_validate(tomllib.loads(text)).asset
    except tomllib.TOMLDecodeError as error:
        raise CentralError(f"assets: expected TOML, got: {error}") from error
    except ValidationError as error:
        faults = [f"assets: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise CentralError("\n".join(faults)) from error


def entities(held: Held, assets: Iterable[Asset] = ()) -> list[dict[str, Any]]:
    """Everything as key-values, in order of id, each with its @context."""
    seen = _seen(held)
    made = [*_devices(held), *_anomalies(held)]
    for one in seen.values():
        for point, value in one.values.items():
            made.append(
                {
                    "id": urn("DeviceMeasurement", one.gateway, one.device, point),
                    "type": "DeviceMeasurement",
                    "controlledProperty": point,
                    "numValue": value,
                    "dateObserved": _text(one.time),
                    "measurementType": one.how,
                    "refDevice": urn("Device", one.gateway, one.device),
                }
            )
    for asset in assets:
        spoke = seen.get((asset.gateway, asset.device))
        wrong = _open_alerts(asset, held)
        if spoke is not None and "no_data" not in wrong:
            made.append(_asset(asset, spoke, wrong))
    return sorted(({**one, "@context": [CONTEXTS[one["type"]]]} for one in made), key=lambda one: str(one["id"]))


def normalized(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The same entity in the normalized form that `entityOperations/upsert` takes (ETSI GS CIM 009, 4.5)."""
    observed = entity.get("dateObserved") or entity.get("observationDateTime") or entity.get("timeInstant")
    out: dict[str, Any] = {}
    for key, value in entity.items():
        if key in ("id", "type", "@context"):
            out[key] = value
        elif key in _RELATIONSHIPS:
            out[key] = {"type": "Relationship", "object": value}
        elif key == "location":
            out[key] = {"type": "GeoProperty", "value": value}
        else:
            out[key] = {"type": "Property", "value": value}
            if isinstance(value, float) and observed:
                out[key]["observedAt"] = observed
    return out


def urn(kind: str, *parts: str) -> str:
    """urn:ngsi-ld:Device:edge-0042:pump"""
    return ":".join(("urn:ngsi-ld", kind, *parts))


def _seen(held: Held) -> dict[tuple[str, str], Seen]:
    """Of each device its newest values: a reading where it is newer than the last summary."""
    found: dict[tuple[str, str], Seen] = {}
    for gateway, device, kind, time, body in held.latest:
        if kind == "summary":
            values = {point: row[2] for point, row in body["points"].items() if row[2] is not None}
            one = Seen(
                gateway, device, values, time + timedelta(seconds=body["period_s"]), f"mean over {body['period_s']:g} s"
            )
        elif kind == "reading":
            values = {point: value for point, value in body["values"].items() if value is not None}
            one = Seen(gateway, device, values, time, "reading")
        else:
            continue
        before = found.get((gateway, device))
        if before is None or one.time > before.time:
            found[gateway, device] = one
    return found


def _devices(held: Held) -> Iterable[dict[str, Any]]:
    """Each gateway, from its last status, and its devices with their state in words; those that only sent values, too."""
    states: dict[tuple[str, ...], dict[str, Any]] = {}
    for gateway, device, kind, time, body in held.latest:
        if kind == "status":
            states.setdefault((gateway,), {}).update(
                softwareVersion=body.get("version") or "", dateObserved=_text(time)
            )
            for name, words in (body.get("devices") or {}).items():
                states.setdefault((gateway, name), {})["deviceState"] = words
        else:
            points = body["points"] if kind == "summary" else body["values"]
            told = states.setdefault((gateway, device), {})
            told["controlledProperty"] = sorted({theirs for point in points if (theirs := _controlled(point))})
            told["dateLastValueReported"] = max(_text(time), told.get("dateLastValueReported", ""))
    for parts, told in states.items():
        yield {"id": urn("Device", *parts), "type": "Device", "name": parts[-1], "controlledProperty": [], **told}


def _controlled(point: str) -> str | None:
    return _CONTROLLED.get(point) or _CONTROLLED.get(point.partition("_")[0])


def _anomalies(held: Held) -> Iterable[dict[str, Any]]:
    for gateway, body in held.alerts:
        cleared = {} if body["cleared"] is None else {"validTo": body["cleared"]}
        yield {
            "id": urn("Anomaly", gateway, body["id"]),
            "type": "Anomaly",
            "name": body["subject"],
            "anomalousProperty": body["kind"],
            "dateDetected": body["raised"],
            "detectedBy": urn("Device", gateway),
            "description": " ".join(reason["text"] for reason in body["reasons"]),
            "source": f"{body['model']} {body['model_sha256'][:12]}".strip(),
            "thresholdBreach": [
                {
                    "dateObserved": body["raised"],
                    "measuredValue": body["score"],
                    "thresholdType": "UPPER",
                    "thresholdValue": body["threshold"],
                }
            ],
            **cleared,
        }


def _open_alerts(asset: Asset, held: Held) -> set[str]:
    subjects = {asset.device, *asset.watches}
    return {
        body["kind"]
        for gateway, body in held.alerts
        if gateway == asset.gateway and body["subject"] in subjects and body["cleared"] is None
    }


def _asset(asset: Asset, seen: Seen, wrong: set[str]) -> dict[str, Any]:
    lamp = asset.type == "Streetlight"
    # Nothing here sees whether a container stands where it should.
    status = ("defectiveLamp" if "lamp_failure" in wrong else "ok") if lamp else "unknown"
    out: dict[str, Any] = {
        "id": asset.id,
        "type": asset.type,
        "location": {"type": "Point", "coordinates": list(asset.location)},
        "status": status,
        "refDevice": [urn("Device", asset.gateway, asset.device)],
        "observationDateTime" if lamp else "timeInstant": _text(seen.time),
    }
    for name, source in asset.attributes.items():
        wanted = _From(point=source) if isinstance(source, str) else source
        if wanted.point in seen.values:
            out[name] = round(seen.values[wanted.point] * wanted.scale, 9)
    return out


def _text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
