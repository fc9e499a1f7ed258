"""The worked configurations in docs/platforms, as far as they can be tried without the platform."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from central.contract import KINDS
from central.node import permissions
from gateway.upstream.payload import Kind
from tests.central.test_batch import record
from tests.gateway.test_store import a_summary, an_alert

FOLDER = Path(__file__).parents[2] / "docs" / "platforms"
DECODER = """
const [, file, record] = process.argv;
const decode = new Function('payload', 'metadata', require('fs').readFileSync(file, 'utf8'));
console.log(JSON.stringify(decode(Array.from(Buffer.from(record)), {})));
"""


def decoded(kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here: the decoder for ThingsBoard was not run")
    command = [node, "-e", DECODER, str(FOLDER / "thingsboard.js"), record(7, kind, body)[1].decode()]
    made: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return made


def test_the_decoder_for_thingsboard_makes_telemetry_of_our_records() -> None:
    made = decoded(Kind.SUMMARY, a_summary(3).as_json())
    assert made["deviceName"] == "g1/pump"
    assert made["telemetry"]["values"] == {"flow": 15.5, "flow_min": 0.0, "flow_max": 20.0}
    alert = an_alert()
    made = decoded(Kind.ALERT, {"alert": alert.as_json()})
    assert made["deviceName"] == "g1/secteur-moulin"
    assert made["telemetry"]["values"] == {
        "alert": "leak", "severity": "major", "score": 4.2, "reasons": "Le débit de nuit a doublé.",
    }  # fmt: skip
    over = decoded(Kind.ALERT, {"alert": alert.cleared(alert.raised_s + 60).as_json()})
    assert over["telemetry"]["values"]["alert"] == "none"
    made = decoded(Kind.STATUS, {"version": "0.1", "devices": {"pump": "muet"}, "backlog": 3})
    assert made["attributes"] == {"version": "0.1", "devices": {"pump": "muet"}, "backlog": 3}


def test_what_telegraf_reads_of_a_record_is_in_it() -> None:
    readings, events = tomllib.loads((FOLDER / "telegraf.conf").read_text())["inputs"]["mqtt_consumer"]
    (parser,) = readings["json_v2"]
    body = json.loads(record(1, Kind.READING, {"device": "pump", "values": {"flow": 1.5}})[1])
    paths = [parser["timestamp_path"], *(one["path"] for part in ("tag", "object") for one in parser[part])]
    assert sorted(paths) == ["device", "gateway", "time", "values"]
    assert set(paths) <= set(body)
    for consumer in (readings, events):
        assert (consumer["qos"], consumer["persistent_session"], bool(consumer["client_id"])) == (1, True, True)
        assert {topic.rsplit("/", 1)[1] for topic in consumer["topics"]} <= set(KINDS)


@pytest.mark.parametrize("file", ["mosquitto.acl", "emqx.conf"])
def test_every_broker_lets_a_gateway_do_the_same(file: str) -> None:
    text = (FOLDER / file).read_text()
    may = permissions("NAME")
    for right in ("publish", "subscribe"):
        for subject in may[right]["allow"]:
            if subject.startswith("guet."):
                topic = subject.replace(".", "/")
                assert any(topic.replace("NAME", variable) in text for variable in ("%u", "${username}"))


def test_each_configuration_says_whether_it_was_tried() -> None:
    listed = (FOLDER / "README.md").read_text()
    for path in FOLDER.iterdir():
        if path.name != "README.md":
            assert f"({path.name})" in listed
        if path.suffix in (".conf", ".js"):
            assert any(word in path.read_text() for word in ("Not tried", "Tried"))
