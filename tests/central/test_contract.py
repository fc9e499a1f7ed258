"""The contract: the schemas beside it are its own, real records keep to it, what does not is refused."""

import json
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

import central.contract
from central.contract import ANSWERS, KINDS, MAX_BYTES, parse, schema_text
from central.errors import ContractError
from gateway.action import Action, Done
from gateway.clock import SystemClock
from gateway.command import Command
from gateway.outbox import Outbox
from gateway.signed import signed
from gateway.store import Store
from gateway.upstream.payload import Kind, Record, body_text, render
from gateway.upstream.replay import parse_replay
from simulator.board import Board
from tests.gateway.test_correction import TRUE_S, guessed
from tests.gateway.test_store import a_summary, an_alert

FOLDER = Path(central.contract.__file__).parent
NOW_S = 1_763_924_400.0
GAP = {
    "reason": "space",
    "dropped": "summary",
    "count": 3,
    "from": "2025-11-01T00:00:00Z",
    "to": "2025-11-02T00:00:00.500Z",
    "seqs": [(1, 2), (5, 5)],
}
VANISHED = {
    "reason": "damaged",
    "dropped": None,
    "count": None,
    "from": None,
    "to": None,
    "seqs": [],
    "epoch_lost": "ab",
}
DONE = Done(Action("lampe-3/level", 50.0, "horaire"), NOW_S, 50.0, confirmed=True, while_offline=True)
BODIES: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.SUMMARY, a_summary(0).as_json()),
    (Kind.ALERT, {"alert": an_alert().as_json()}),
    (Kind.ALERT, {"alert": an_alert().cleared(NOW_S).as_json()}),
    (Kind.GAP, GAP),
    (Kind.GAP, VANISHED),
    (
        Kind.STATUS,
        {
            "version": "0.1",
            "boot": "7-1",
            "time_trusted": True,
            "buses": {"b": {"readings": 3}},
            "devices": {},
            "backlog": 12,
            "days_until_full": 311.4,
        },
    ),
    (Kind.SUMMARY, {**a_summary(0).as_json(), "time_moved_s": -3600.25}),
    (Kind.AUDIT, DONE.as_json()),
    (Kind.READING, {"device": "pompe", "values": {"débit": 1.5, "pression": None}}),
]


def message(kind: Kind, body: dict[str, Any], seq: int = 7) -> tuple[str, bytes]:
    where, payload = render("edge-1", "0123456789ab", Record(seq, kind, NOW_S, body_text(body)))
    return where.replace("/", "."), payload


def schema_of(kind: str) -> Draft202012Validator:
    made = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made, format_checker=FormatChecker())


def test_the_schema_files_are_those_of_the_contract() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {f"{kind}.schema.json" for kind in (*KINDS, *ANSWERS)}
    for kind in (*KINDS, *ANSWERS):
        assert (FOLDER / f"{kind}.schema.json").read_text() == schema_text(kind), "run: python -m central.contract"
    assert set(KINDS) == set(Kind)


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=lambda value: str(value)[:20])
def test_what_a_gateway_sends_keeps_to_the_contract(kind: Kind, body: dict[str, Any]) -> None:
    subject, payload = message(kind, body)
    record = parse(subject, payload)
    assert (record.gateway, record.epoch, record.seq, record.kind) == ("edge-1", "0123456789ab", 7, kind)
    assert datetime.fromisoformat(record.time).timestamp() == NOW_S
    schema_of(kind).validate(json.loads(payload))


def test_what_the_centre_answers_keeps_to_the_contract() -> None:
    schema_of("ack").validate({"epoch": "0123456789ab", "from": 1, "to": 9})
    assert not schema_of("ack").is_valid({"epoch": "0123456789ab", "from": 0, "to": 9})


def test_what_gateways_take_keeps_to_the_contract() -> None:
    asked = {"replay": {"from": "2026-11-01T00:00:00Z", "to": "2026-11-20T00:00:00Z"}}
    schema_of("replay").validate(asked)
    assert parse_replay(json.dumps(asked).encode())
    assert not schema_of("replay").is_valid({"replay": {"from": "2026-11-01", "to": "2026-11-20"}})
    command = Command(
        id="12345678", gateway="g1", issued="2026-11-26T08:00:00Z", expires="2026-11-26T08:05:00Z",
        do="release", point="a/b", reason="r", by="me",
    )  # fmt: skip
    schema_of("command").validate(json.loads(signed(command, Ed25519PrivateKey.generate())))


@pytest.mark.virtual_time
async def test_a_record_that_a_guess_had_dated_says_by_how_much_it_was_moved(tmp_path: Path) -> None:
    board = Board(TRUE_S, wrong_s=-3600.25)
    clock = SystemClock(board)
    async with Store.open(tmp_path, clock, thread=False) as store:
        clock.trusted = False
        await guessed(store, clock.now())
        board.told()
        step = clock.look()
        assert step is not None
        clock.set(step)
        await store.correct(clock.boot, clock.offset_s, clock.monotonic(), {})
        sent = [render("edge-1", store.epoch, record) for record in Outbox(store).take(99, 99)]
    moved = {}
    for where, payload in sent:
        schema_of(where.rpartition("/")[2]).validate(json.loads(payload))
        record = parse(where.replace("/", "."), payload)
        assert record.model_extra is None or "time_moved_s" not in record.model_extra
        moved.setdefault(record.kind, []).append((record.time_moved_s, record.time_trusted))
    right = (3600.25, None)
    assert moved == {
        "alert": [(None, False), right], "audit": [right], "summary": 4 * [right], "reading": [right], "status": [right]
    }  # fmt: skip


def test_what_a_newer_gateway_says_more_is_not_refused() -> None:
    subject, payload = message(Kind.STATUS, {"mood": {"good": True}})
    assert parse(subject, payload).kind == "status"


SUBJECT, PAYLOAD = message(*BODIES[0])


@pytest.mark.parametrize(
    ("subject", "payload", "reason"),
    [
        ("guet.v1.edge-1.ack", PAYLOAD, "topic"),
        ("guet.v1.edge-1.gossip", PAYLOAD, "topic"),
        ("guet.v1.edge%1.summary", PAYLOAD, "topic"),
        ("guet.v1.edge-2.summary", PAYLOAD, "forged"),
        ("guet.v1.edge-1.alert", PAYLOAD, "malformed"),
        (SUBJECT, PAYLOAD + b" " * MAX_BYTES, "oversized"),
        (SUBJECT, b"", "not JSON"),
        (SUBJECT, PAYLOAD[:-1], "not JSON"),
        (SUBJECT, b"\xff" + PAYLOAD, "not JSON"),
        (SUBJECT, b"[" * 10_000, "not JSON"),
        (SUBJECT, b"[]", "malformed"),
        (SUBJECT, PAYLOAD.replace(b'"seq":7', b'"seq":0'), "malformed"),
        (SUBJECT, PAYLOAD.replace(b'"seq":7', b'"seq":7.5'), "malformed"),
        (SUBJECT, PAYLOAD.replace(b'"seq":7', b'"seq":"7"'), "malformed"),
        (SUBJECT, PAYLOAD.replace(b'"seq":7', b'"seq":99999999999999999999'), "malformed"),
        (SUBJECT, PAYLOAD.replace(b"T19:00:00Z", b"T19:00:00"), "malformed"),
        (SUBJECT, PAYLOAD.replace(b"2025-11-23T", b"2025-02-30T"), "malformed"),
        (SUBJECT, PAYLOAD.replace(b"2025-11-23T", b"9999-11-23T"), "malformed"),
        (SUBJECT, PAYLOAD.replace(b"[0,16,null,null,null,null]", b"[0,16,null]"), "malformed"),
        (SUBJECT, PAYLOAD.replace(b"20.0", b"1e999"), "malformed"),
        (SUBJECT, PAYLOAD.replace(b'"device":"pump"', b'"device":""'), "malformed"),
    ],
)
def test_what_is_refused_and_why(subject: str, payload: bytes, reason: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse(subject, payload)
    assert refused.value.reason == reason


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_and_nothing_else_happens(payload: bytes) -> None:
    with pytest.raises(ContractError):
        parse(SUBJECT, payload)


# No 1.0 where an integer belongs: to a JSON Schema that is one, to the centre it is not.
VALUES = st.none() | st.booleans() | st.integers(-2, 3) | st.just(0.5) | st.text(max_size=3) | st.just([]) | st.just({})


@st.composite
def near_messages(draw: st.DrawFn) -> tuple[Kind, dict[str, Any]]:
    """A right message in which something, at any depth, was taken away or replaced."""
    kind, body = draw(st.sampled_from(BODIES))
    made: Any = json.loads(message(kind, body)[1])
    made["gateway"] = "edge-1"
    at, path = made, []
    while isinstance(at, dict | list) and at and (not path or draw(st.booleans())):
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        path.append((at, key))
        at = at[key]
    inside, key = path[-1]
    if isinstance(inside, dict) and draw(st.booleans()):
        del inside[key]
    else:
        inside[key] = draw(VALUES)
    return kind, made


@given(near_messages())
@settings(max_examples=400, deadline=None)
def test_the_schemas_and_the_centre_agree_on_what_is_right(case: tuple[Kind, dict[str, Any]]) -> None:
    kind, body = case
    try:
        parse(f"guet.v1.edge-1.{kind}", json.dumps(body).encode())
        taken = True
    except ContractError as error:
        if error.reason == "forged":
            return
        taken = False
    assert taken == _VALIDATORS[kind].is_valid(body)


_VALIDATORS = {kind: schema_of(kind) for kind in KINDS}


def test_asyncapi_names_every_topic_and_every_schema_and_its_examples_are_right() -> None:
    yaml = pytest.importorskip("yaml")
    api = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    assert api["asyncapi"] == "3.0.0"
    leaves = {*KINDS, "ack", "cmd"}
    assert {channel["address"] for channel in api["channels"].values()} == {
        f"guet/v1/{{gateway}}/{leaf}" for leaf in leaves
    }
    assert set(api["channels"]) == leaves
    assert {operation["channel"]["$ref"] for operation in api["operations"].values()} == {
        f"#/channels/{leaf}" for leaf in leaves
    }
    messages = api["components"]["messages"]
    assert set(messages) == {*KINDS, *ANSWERS}
    for kind, message in messages.items():
        assert message["payload"]["schema"]["$ref"] == f"./{kind}.schema.json"
        for example in message.get("examples", []):
            schema_of(kind).validate(example["payload"])
    assert sum(len(message.get("examples", [])) for message in messages.values()) >= 4


PARSER = """
const { Parser, fromFile } = require('@asyncapi/parser');
fromFile(new Parser(), process.argv[1]).parse().then(({ document, diagnostics }) => console.log(JSON.stringify(
  { channels: document ? document.channels().all().length : 0,
    wrong: diagnostics.filter(one => one.severity < 2).map(one => one.message) })));
"""


def test_the_parser_of_asyncapi_itself_finds_no_fault() -> None:
    node = shutil.which("node")
    if (
        node is None
        or subprocess.run(
            [node, "-e", "require.resolve('@asyncapi/parser')"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("@asyncapi/parser is not here (npm install @asyncapi/parser, NODE_PATH): asyncapi.yaml not parsed")
    said = subprocess.run(
        [node, "-e", PARSER, str(FOLDER / "asyncapi.yaml")], capture_output=True, timeout=100, check=True
    )
    assert json.loads(said.stdout) == {"channels": len(KINDS) + 2, "wrong": []}
