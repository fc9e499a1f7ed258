"""Replay on demand: what the site remembers goes out once more, behind everything else."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.errors import UplinkError
from gateway.outbox import Outbox
from gateway.store import Store
from gateway.upstream.payload import time_text
from gateway.upstream.replay import Replay, Span, asks_for_replay, parse_replay
from tests.gateway.test_store import NOW_S, a_summary, an_alert


def request(from_s: float, to_s: float) -> bytes:
    return json.dumps({"replay": {"from": time_text(from_s), "to": time_text(to_s)}}).encode()


def test_a_request_is_read() -> None:
    assert parse_replay(b'{"replay": {"from": "1970-01-01T00:00:10Z", "to": "1970-01-01T01:00:20+01:00"}}') == Span(
        10, 20
    )
    assert asks_for_replay(request(1, 2))
    assert asks_for_replay(b'{"replay": 3}')
    assert not asks_for_replay(b'{"command": "...", "signature": "..."}')


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"replay": null}',
        b'{"replay": {"from": 1, "to": 2}}',
        b'{"replay": {"from": "2026-01-01T00:00:00Z"}}',
        b'{"replay": {"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"}}',
        b'{"replay": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}',
        b'{"replay": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}}' + b" " * 2000,
    ],
)
def test_what_is_no_request_is_refused(wrong: bytes) -> None:
    with pytest.raises(UplinkError, match="ignored"):
        parse_replay(wrong)


@given(st.binary(max_size=80))
def test_garbage_is_nobodys_request(payload: bytes) -> None:
    assert not asks_for_replay(payload)


async def test_only_what_was_asked_for_goes_out_again_and_it_is_marked(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in range(10):  # one each quarter of an hour, backwards from now
            store.add_summary(a_summary(number))
            store.add_summary(a_summary(number, "tank"))
        await store.decide({}, [an_alert(raised_s=NOW_S - 4 * 900), an_alert("autre", raised_s=NOW_S - 40 * 900)])
        await store.flush()
        outbox = Outbox(store)
        outbox.acknowledge(range(1, 23))
        await store.flush()
        assert outbox.pending_rows() == 0
        replay = Replay(store, outbox, SystemClock())
        running = asyncio.create_task(replay.run())
        replay.arrived(b"nonsense")
        replay.arrived(request(NOW_S - 5 * 900, NOW_S - 2 * 900))
        async with asyncio.timeout(10):
            while replay.sent < 6:
                await asyncio.sleep(0.01)
        await store.flush()
        rows = store.rows("select seq, kind, time_s, body from outbox order by seq")
        running.cancel()
    assert [seq for seq, *_ in rows] == list(range(23, 31))
    kinds = [kind for _, kind, *_ in rows]
    assert kinds == ["audit", "alert", *["summary"] * 6]
    audit = json.loads(rows[0][3])
    assert (audit["what"], audit["value"]) == ("replay", 7)
    assert json.loads(rows[1][3])["alert"]["subject"] == "secteur-moulin"
    assert [time_s for *_, time_s, _ in rows[2:]] == sorted(2 * [NOW_S - 5 * 900, NOW_S - 4 * 900, NOW_S - 3 * 900])
    bodies = [json.loads(body) for *_, body in rows[1:]]
    assert all(body["replayed"] for body in bodies)
    assert bodies[1]["points"] == json.loads(json.dumps(a_summary(5).as_json()["points"]))


async def test_a_long_replay_waits_for_the_platform_and_a_new_request_takes_its_place(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        store.import_summaries(a_summary(number) for number in range(3000))
        await store.flush()
        outbox = Outbox(store)
        replay = Replay(store, outbox, SystemClock())
        running = asyncio.create_task(replay.run())
        replay.arrived(request(0, NOW_S + 1))
        async with asyncio.timeout(20):
            while replay.sent < 400:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            assert replay.sent <= 600, "nobody acknowledged any"
            replay.arrived(request(NOW_S - 900, NOW_S))
            while True:
                waiting = store.rows("select seq, kind, body from outbox order by seq")
                outbox.acknowledge([seq for seq, *_ in waiting])
                await store.flush()
                audits = [json.loads(body) for _, kind, body in waiting if kind == "audit"]
                if any("1 summaries" in audit["reason"] for audit in audits):
                    break
        running.cancel()
        assert replay.sent < 1500
