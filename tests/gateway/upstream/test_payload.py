"""Records as messages, and acknowledgements: golden bytes, and no garbage gets through."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UplinkError
from gateway.upstream.payload import (
    MAX_ACK_BYTES,
    Ack,
    Kind,
    Record,
    body_text,
    parse_ack,
    render,
    runs,
    time_text,
    topic,
)


def test_a_record_as_it_goes_over_the_wire() -> None:
    body = body_text(
        {"device": "pompe", "time": "ignored", "period_s": 900, "points": {"débit": [15, 0, 1.5, 1.0, 2.0, None]}}
    )
    where, payload = render("edge-0042", "0123456789ab", Record(7, Kind.SUMMARY, 1_763_924_400.0, body))
    assert where == "guet/v1/edge-0042/summary"
    assert payload.decode() == (
        '{"gateway":"edge-0042","epoch":"0123456789ab","seq":7,"kind":"summary","time":"2025-11-23T19:00:00Z",'
        '"device":"pompe","period_s":900,"points":{"débit":[15,0,1.5,1.0,2.0,null]}}'
    )


def test_a_record_without_a_body() -> None:
    _, payload = render("g", "e", Record(1, Kind.STATUS, 0.25, body_text({})))
    assert payload == b'{"gateway":"g","epoch":"e","seq":1,"kind":"status","time":"1970-01-01T00:00:00.250Z"}'


def test_numbers_that_json_cannot_say_become_null() -> None:
    assert (
        body_text({"values": {"a": float("nan"), "b": [float("inf"), 1.0]}}) == '{"values":{"a":null,"b":[null,1.0]}}'
    )


@pytest.mark.parametrize("key", ["gateway", "epoch", "seq", "kind"])
def test_a_body_may_not_touch_the_identity(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        body_text({key: 1})


@given(st.floats(min_value=0, max_value=4e9))
def test_times_keep_the_millisecond(time_s: float) -> None:
    from datetime import datetime

    assert abs(datetime.fromisoformat(time_text(time_s)).timestamp() - time_s) <= 0.00051


def test_topics() -> None:
    assert topic("edge-1", Kind.ALERT) == "guet/v1/edge-1/alert"
    assert topic("edge-1", "ack") == "guet/v1/edge-1/ack"


def test_an_acknowledgement() -> None:
    assert parse_ack(b'{"epoch": "ab12", "from": 3, "to": 9}') == Ack("ab12", 3, 9)
    assert parse_ack(b'{"epoch": "ab12", "from": 3, "to": 3, "later": true}') == Ack("ab12", 3, 3)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"epoch": "a", "from": 1}',
        b'{"epoch": 1, "from": 1, "to": 2}',
        b'{"epoch": "a", "from": 0, "to": 2}',
        b'{"epoch": "a", "from": -5, "to": 2}',
        b'{"epoch": "a", "from": 3, "to": 2}',
        b'{"epoch": "a", "from": true, "to": 2}',
        b'{"epoch": "a", "from": 1.0, "to": 2}',
        b'{"epoch": "a", "from": "1", "to": "2"}',
        b'{"epoch": "a", "from": 1, "to": 9223372036854775808}',
        b'{"epoch": "a", "from": 1, "to": 1e400}',
        b"[" * MAX_ACK_BYTES,
        b'{"epoch": "a", "from": 1, "to": 2}' + b" " * MAX_ACK_BYTES,
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_is_no_acknowledgement(payload: bytes) -> None:
    with pytest.raises(UplinkError, match="acknowledgement: expected"):
        parse_ack(payload)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_and_nothing_else_happens(payload: bytes) -> None:
    with pytest.raises(UplinkError):
        parse_ack(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={"epoch": json_values, "from": json_values, "to": json_values}))
@settings(max_examples=200, deadline=None)
def test_near_acknowledgements_are_acknowledgements_or_refused(body: dict[str, Any]) -> None:
    try:
        ack = parse_ack(json.dumps(body).encode())
    except UplinkError:
        return
    assert ack == Ack(body["epoch"], body["from"], body["to"])
    assert 1 <= ack.first <= ack.last


@given(st.text(max_size=20), st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
@settings(max_examples=100, deadline=None)
def test_every_right_acknowledgement_is_understood(epoch: str, one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    body = {"epoch": epoch, "from": first, "to": last}
    assert parse_ack(json.dumps(body).encode()) == Ack(epoch, first, last)


@given(st.lists(st.integers(1, 60)))
@settings(max_examples=200, deadline=None)
def test_runs_hold_the_same_numbers_and_never_touch(seqs: list[int]) -> None:
    found = list(runs(seqs))
    assert [seq for first, last in found for seq in range(first, last + 1)] == sorted(set(seqs))
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))
