"""The bytes of a Sparkplug payload, against Google's protobuf and the npm decoder; and the node's rules."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UplinkError
from gateway.reading import Quality
from gateway.upstream.sparkplug import (
    MAX_COMMAND_BYTES,
    Metric,
    Node,
    Payload,
    Point,
    Sample,
    Type,
    checked_id,
    decode,
    encode,
    state_topic,
    topic,
)
from tests.gateway.upstream import tahu

ROOT = Path(__file__).resolve().parents[3]
UINT64 = st.integers(0, 2**64 - 1)
NAMES = st.text(min_size=1, max_size=20)
TYPED = st.one_of(
    st.tuples(st.just(Type.INT32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(Type.INT64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(Type.DOUBLE), st.floats(allow_nan=False)),
    st.tuples(st.just(Type.BOOLEAN), st.booleans()),
    st.tuples(st.just(Type.STRING), st.text(max_size=30)),
    st.tuples(st.sampled_from(list(Type)), st.none()),
)
PROPERTIES = st.dictionaries(NAMES, st.one_of(st.integers(-(2**31), 2**31 - 1), st.text(max_size=9)), max_size=3)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype, value = draw(TYPED)
    name, alias = draw(st.none() | NAMES), draw(st.none() | UINT64)
    return Metric(name, draw(UINT64), value, datatype, alias, draw(st.booleans()), draw(PROPERTIES))


PAYLOADS = st.builds(Payload, UINT64, st.lists(metrics(), max_size=4).map(tuple), st.none() | st.integers(0, 255))


def signed(value: Any, datatype: int) -> Any:
    bits = {Type.INT32: 32, Type.INT64: 64}.get(Type(datatype))
    return value - (1 << bits) if bits and value is not None and value >> (bits - 1) else value


@given(PAYLOADS)
def test_google_s_protobuf_reads_what_we_write(payload: Payload) -> None:
    message = tahu.read(encode(payload))
    assert message.timestamp == payload.time_ms
    assert message.HasField("seq") == (payload.seq is not None)
    assert message.seq == (payload.seq or 0)
    assert len(message.metrics) == len(payload.metrics)
    for theirs, ours in zip(message.metrics, payload.metrics, strict=True):
        assert (theirs.HasField("name"), theirs.name) == (ours.name is not None, ours.name or "")
        assert (theirs.HasField("alias"), theirs.alias) == (ours.alias is not None, ours.alias or 0)
        assert (theirs.timestamp, theirs.datatype, theirs.is_historical) == (
            ours.time_ms,
            ours.datatype,
            ours.historical,
        )
        assert signed(tahu.value(theirs), theirs.datatype) == ours.value
        read = tahu.properties(theirs)
        assert {name: signed(value, kind) for name, (kind, value) in read.items()} == ours.properties


@given(PAYLOADS)
def test_what_we_write_we_read(payload: Payload) -> None:
    bare = [Metric(m.name, m.time_ms, m.value, m.datatype, m.alias, m.historical) for m in payload.metrics]
    assert decode(encode(payload)) == Payload(payload.time_ms, tuple(bare), payload.seq)


@given(st.binary(max_size=200))
def test_of_garbage_comes_a_payload_or_our_error(data: bytes) -> None:
    try:
        assert isinstance(decode(data), Payload)
    except UplinkError:
        pass


@given(PAYLOADS, st.data())
def test_a_payload_that_is_cut_off_or_spoilt_gives_a_payload_or_our_error(
    payload: Payload, data: st.DataObject
) -> None:
    whole = bytearray(encode(payload))
    cut = data.draw(st.integers(0, len(whole)))
    whole[cut : cut + 1] = data.draw(st.binary(max_size=2))
    for spoilt in (bytes(whole), bytes(whole[:cut])):
        try:
            decode(spoilt)
        except UplinkError:
            pass


def test_a_command_that_is_too_long_is_refused() -> None:
    with pytest.raises(UplinkError, match="at most"):
        decode(bytes(MAX_COMMAND_BYTES + 1))


# -- the npm decoder -----------------------------------------------------------------------------------------------------

READER = """
const lib = process.argv[1];
const {get} = require(lib);
const b = get("spBv1.0");
const lines = require("fs").readFileSync(0, "utf8").trim().split("\\n");
const plain = (k, v) => typeof v === "bigint" ? v.toString() : v;
for (const line of lines) console.log(JSON.stringify(b.decodePayload(Buffer.from(line, "hex")), plain));
"""


def npm_package() -> Path:
    named = os.environ.get("SPARKPLUG_PAYLOAD")
    found = Path(named) if named else ROOT / "node_modules" / "sparkplug-payload"
    if not found.exists() or shutil.which("node") is None:
        what = "sparkplug-payload: expected Node.js and npm install sparkplug-payload@1.0.3"
        if os.environ.get("CI") and shutil.which("npm") is not None:
            pytest.fail(what)
        pytest.skip(what)
    return found


def read_by_npm(*payloads: bytes) -> list[dict[str, Any]]:
    node = shutil.which("node")
    assert node is not None or npm_package()
    lines = "\n".join(payload.hex() for payload in payloads)
    command = [node, "-e", READER, str(npm_package())]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def number(long: Any) -> int:
    """What Long.js makes of 64 bits."""
    if isinstance(long, dict):
        return (long["high"] << 32) + (long["low"] & 0xFFFF_FFFF)
    return int(long)


def a_node(**settings: Any) -> Node:
    devices = {"pump": {"flow": Point(unit="m3/h"), "pressure": Point(unit="bar")}, "lamp": {"power": Point(unit="W")}}
    return Node("Commune", "g1", devices, {"Status/Records Waiting": Point(Type.INT64)}, **settings)


def test_npm_reads_a_birth() -> None:
    node = a_node()
    node.bd_seq = 7
    own = {"Status/Records Waiting": Sample(1.5, 12)}
    birth, device = (
        node.birth(2.0, own),
        node.device_birth("pump", 3.0, {"flow": Sample(1.0, 4.25), "pressure": Sample(1.0, None, Quality.BAD)}),
    )
    of_node, of_device = read_by_npm(birth.payload, device.payload)
    assert (number(of_node["timestamp"]), number(of_node["seq"])) == (2000, 0)
    assert [(m["name"], m["type"], m["value"]) for m in of_node["metrics"][1:2]] == [
        ("Node Control/Rebirth", "Boolean", False)
    ]
    bd_seq = of_node["metrics"][0]
    assert (bd_seq["name"], bd_seq["type"], number(bd_seq["value"])) == ("bdSeq", "Int64", 7)
    assert number(of_node["metrics"][2]["value"]) == 12
    flow, pressure = of_device["metrics"]
    assert (flow["name"], flow["type"], flow["value"], number(flow["timestamp"])) == ("flow", "Double", 4.25, 1000)
    assert flow["properties"]["engUnit"]["value"] == "m3/h"
    assert flow["properties"]["Quality"]["value"] == 192
    assert (pressure["name"], pressure["value"]) == ("pressure", None)


@pytest.mark.parametrize("said", [False, True], ids=["datatypes never", "datatypes always"])
def test_npm_reads_data_if_the_datatype_is_said_and_only_then(said: bool) -> None:
    node = a_node(datatype_in_data=said)
    node.birth(2.0, {})
    node.device_birth("pump", 3.0, {})
    data = node.data("pump", 4.0, {"flow": Sample(4.0, 5.5)})
    assert data is not None
    (of_data,) = read_by_npm(data.payload)
    (metric,) = of_data["metrics"]
    assert metric.get("value") == (5.5 if said else None)
    assert number(metric["alias"]) == 2


def test_npm_agrees_about_all_that_it_can_read() -> None:
    values = [(Type.DOUBLE, value) for value in (0.0, -1.5, 1e300, 5e-324)]
    values += [(Type.STRING, text) for text in ("", "é", "x" * 300)] + [(Type.BOOLEAN, True), (Type.BOOLEAN, False)]
    values += [(Type.INT32, value) for value in (0, 1, 2**31 - 1)]
    ours = [
        Payload(2**40 + number, [Metric(f"m{number}/é", number, value, datatype, number)], number)
        for number, (datatype, value) in enumerate(values)
    ]
    for theirs, payload in zip(read_by_npm(*map(encode, ours)), ours, strict=True):
        (metric,), (it,) = theirs["metrics"], payload.metrics
        assert (number(theirs["timestamp"]), number(theirs["seq"])) == (payload.time_ms, payload.seq)
        assert (metric["name"], number(metric["alias"]), metric["value"]) == (it.name, it.alias, it.value)


# -- the node's rules ------------------------------------------------------------------------------------------------------


def test_data_are_only_what_was_born_and_has_changed() -> None:
    node = a_node()
    assert node.data("pump", 1.0, {"flow": Sample(1.0, 1.0)}) is None
    with pytest.raises(ValueError, match="own birth before"):
        node.device_birth("pump", 1.0, {})
    node.birth(1.0, {})
    assert node.data("pump", 1.0, {"flow": Sample(1.0, 1.0)}) is None
    node.device_birth("pump", 1.0, {"flow": Sample(1.0, 1.0)})
    assert node.data("pump", 2.0, {"flow": Sample(2.0, 1.0)}) is None
    data = node.data(
        "pump", 3.0, {"flow": Sample(3.0, 2.0), "pressure": Sample(3.0, None, Quality.BAD), "new": Sample(3.0, 1.0)}
    )
    assert data is not None
    (flow,) = tahu.read(data.payload).metrics
    assert tahu.value(flow) == 2.0
    doubtful = node.data("pump", 4.0, {"flow": Sample(4.0, 2.0, Quality.UNCERTAIN)})
    assert doubtful is not None
    assert tahu.properties(tahu.read(doubtful.payload).metrics[0]) == {"Quality": (3, 500)}
    assert node.device_death("pump", 5.0) is not None
    assert node.device_death("pump", 5.0) is None
    assert node.data("pump", 6.0, {"flow": Sample(6.0, 9.0)}) is None
    node.die()
    assert node.data(None, 7.0, {"Status/Records Waiting": Sample(7.0, 1)}) is None


def test_a_value_that_is_no_number_is_null() -> None:
    node = a_node()
    node.birth(1.0, {})
    birth = node.device_birth("pump", 1.0, {"flow": Sample(1.0, math.nan), "pressure": Sample(1.0, math.inf)})
    assert [tahu.value(metric) for metric in tahu.read(birth.payload).metrics] == [None, None]


def test_history_does_not_change_what_was_said_last() -> None:
    node = a_node()
    node.birth(1.0, {})
    node.device_birth("pump", 1.0, {"flow": Sample(1.0, 1.0)})
    past = node.history("pump", 2.0, [("flow", Sample(-900.0, 7.0)), ("gone", Sample(-900.0, 7.0))])
    assert past is not None
    (metric,) = tahu.read(past.payload).metrics
    assert (metric.is_historical, metric.timestamp, tahu.value(metric)) == (True, 0, 7.0)
    assert node.data("pump", 3.0, {"flow": Sample(3.0, 1.0)}) is None
    assert node.history("lamp", 3.0, [("power", Sample(1.0, 1.0))]) is None
    assert node.history("pump", 3.0, []) is None


@pytest.mark.parametrize("text", ["", "a/b", "a+", "#", "x" * 101, "a\nb"])
def test_an_id_that_no_topic_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 1 to 100"):
        checked_id(text)


def test_topics_of_devices_name_one_and_others_do_not() -> None:
    assert topic("G", "NDATA", "n") == "spBv1.0/G/NDATA/n"
    assert topic("G", "DDATA", "n", "d") == "spBv1.0/G/DDATA/n/d"
    assert state_topic("scada") == "spBv1.0/STATE/scada"
    for kind, device in (("NDATA", "d"), ("DDATA", None)):
        with pytest.raises(ValueError, match="expected a device"):
            topic("G", kind, "n", device)


def test_a_rebirth_is_asked_for_by_name_and_truth_on_the_node_s_own_topic() -> None:
    node = a_node()

    def asks(value: Any, name: str = "Node Control/Rebirth", where: str = "spBv1.0/Commune/NCMD/g1") -> bool:
        return node.is_rebirth(where, encode(Payload(1, [Metric(name, 1, value, Type.BOOLEAN)])))

    assert asks(True)
    assert not asks(False)
    assert not asks(True, name="node control/rebirth")
    assert not asks(True, where="spBv1.0/Commune/NCMD/g2")
    with pytest.raises(UplinkError):
        node.is_rebirth("spBv1.0/Commune/NCMD/g1", b"\xff")
