"""Batches against a real PostgreSQL: each record once, whatever comes how often and in what order."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central.batch import Ack, store
from central.status import gateways, refusals, report
from gateway.upstream.payload import Kind, Record, body_text, render
from tests.central.test_contract import GAP, NOW_S
from tests.gateway.test_store import an_alert

Message = tuple[str, bytes]


def record(seq: int, kind: Kind = Kind.STATUS, body: dict[str, Any] | None = None, **more: Any) -> Message:
    time_s = more.get("time_s", NOW_S + seq)
    where, payload = render(
        more.get("gateway", "g1"), more.get("epoch", "e1"), Record(seq, kind, time_s, body_text(body or {}))
    )
    return where.replace("/", "."), payload


def reading(seq: int, value: float, time_s: float) -> Message:
    return record(seq, Kind.READING, {"device": "pump", "values": {"flow": value}}, time_s=time_s)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def all_of(connection: psycopg.AsyncConnection[Any], question: str) -> list[Any]:
    return await (await connection.execute(question)).fetchall()


async def test_what_comes_again_is_absorbed_and_acknowledged_again(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    months: set[str] = set()
    assert await store(connection, [record(1), record(2), record(2), record(4)], months) == [
        Ack("g1", "e1", 1, 2),
        Ack("g1", "e1", 4, 4),
    ]
    assert await store(connection, [record(4), record(3), record(1)], months) == [
        Ack("g1", "e1", 1, 1),
        Ack("g1", "e1", 3, 4),
    ]
    found = report(database_url)
    assert (found["records"], found["redelivered"], found["duplicates"], found["lost"]) == (4, 3, 0, 0)
    assert await all_of(connection, "select settled::text from epoch") == [("{[1,5)}",)]


async def test_missing_numbers_are_found_and_declared_ones_are_not_missing(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    await store(connection, [record(seq) for seq in (2, 5, 6, 10)], set())
    assert await all_of(connection, "select first, last, count from missing order by first") == [
        (1, 1, 1),
        (3, 4, 2),
        (7, 9, 3),
    ]
    assert report(database_url)["lost"] == gateways(database_url)[0].missing == 6
    body = {
        **GAP,
        "count": 4,
        "seqs": [[3, 4], [6, 8], [11, 900]],
    }  # 6 did arrive; what lies ahead of it cannot be declared
    await store(connection, [record(11, Kind.GAP, body)], set())
    assert await all_of(connection, "select first, last from missing order by first") == [(1, 1), (9, 9)]
    (status,) = gateways(database_url)
    assert (status.missing, status.dropped, status.records) == (2, 4, 5)


async def test_epochs_and_gateways_are_counted_apart(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    await store(connection, [record(1), record(1, epoch="e2"), record(1, gateway="g2"), record(3, gateway="g2")], set())
    assert [(one.gateway, one.epochs, one.records, one.missing) for one in gateways(database_url)] == [
        ("g1", 2, 2, 0),
        ("g2", 1, 2, 1),
    ]
    assert report(database_url)["duplicates"] == 0


async def test_the_latest_of_a_device_is_the_newest_and_not_the_last_to_come(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    months: set[str] = set()
    await store(connection, [reading(3, 3.0, NOW_S + 30), reading(2, 2.0, NOW_S + 20)], months)
    await store(connection, [reading(1, 1.0, NOW_S + 10)], months)
    assert await all_of(connection, "select device, kind, body->'values'->'flow' from latest") == [
        ("pump", "reading", 3.0)
    ]


async def test_a_cleared_alert_stays_cleared_when_its_raising_comes_late(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    alert = an_alert(raised_s=NOW_S)
    raised = record(1, Kind.ALERT, {"alert": alert.as_json()})
    cleared = record(2, Kind.ALERT, {"alert": alert.cleared(NOW_S + 60).as_json()})
    await store(connection, [cleared], set())
    await store(connection, [raised], set())
    assert await all_of(connection, "select id, cleared is null from alert") == [(alert.id, False)]
    other = an_alert("autre", raised_s=NOW_S)
    await store(connection, [record(3, Kind.ALERT, {"alert": other.as_json()})], set())
    (status,) = gateways(database_url)
    assert (status.alerts, status.open_alerts, report(database_url)["alert_records"]) == (2, 1, 3)


async def test_refused_messages_are_kept_counted_and_settle_their_own_number(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    subject, payload = record(2)
    messages = [
        record(1),
        (subject, payload.replace(b'"time":"2', b'"time":"x')),  # of g1, number 2: kept, and not asked for again
        ("guet.v1.g2.status", payload.replace(b'"seq":2', b'"seq":3')),  # g2 speaks for g1
        (subject, b"\x00\xff"),
        (subject, payload + b" " * 70_000),
        record(3, body={"text": "a\x00b"}),  # right by the contract, but nothing that PostgreSQL can hold
        record(4),
    ]
    acks = await store(connection, messages, set())
    assert acks == [Ack("g1", "e1", 1, 4)]
    assert [(one.gateway, one.reason, one.count) for one in refusals(database_url)] == [
        ("g1", "malformed", 2),
        ("g1", "not JSON", 1),
        ("g1", "oversized", 1),
        ("g2", "forged", 1),
    ]
    found = report(database_url)
    assert (found["records"], found["refused"], found["lost"]) == (2, 5, 0)
    kept = await all_of(connection, "select gateway, seq, reason, detail from refused order by id")
    assert [row[:3] for row in kept if row[1] is not None] == [("g1", 2, "malformed"), ("g1", 3, "malformed")]
    assert all(detail for *_, detail in kept)
    by_name = {one.gateway: one for one in gateways(database_url)}
    assert by_name["g2"].last_seen is None
    assert by_name["g2"].refused == 1


async def test_a_number_that_comes_again_with_other_content_is_told_and_both_are_kept(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    months: set[str] = set()
    await store(connection, [record(1, body={"n": 1}), record(2, body={"n": 2})], months)
    again = [
        record(1, body={"n": 1}),  # the same: a repetition
        record(2, body={"n": 3}),
        record(2, body={"n": 2}, time_s=NOW_S + 40 * 86400),
        record(2, Kind.AUDIT, {"what": "forged", "n": 2}),
        record(3, body={"n": 1}),
        record(3, body={"n": 2}),
    ]
    assert await store(connection, again, months) == [Ack("g1", "e1", 1, 3)]
    assert await store(connection, again[1:] + again[1:], months) == [Ack("g1", "e1", 2, 3)]  # comes for a third time
    (refused,) = refusals(database_url)
    assert (refused.gateway, refused.reason, refused.count) == ("g1", "contradiction", 4)
    assert refused.detail is not None
    assert "another gateway" in refused.detail
    held = "select seq, body->'n' from record where epoch {} 'e1' order by seq, body->'n'"
    assert await all_of(connection, held.format("=")) == [(1, 1), (2, 2), (3, 1)]
    assert await all_of(connection, held.format("<>")) == [(2, 2), (2, 2), (2, 3), (3, 2)]
    found = report(database_url)
    assert (found["records"], found["duplicates"], found["lost"], found["refused"]) == (7, 0, 0, 4)
    (status,) = gateways(database_url)
    assert (status.records, status.epochs, status.missing, status.redelivered, status.refused) == (7, 1, 0, 11, 4)


async def test_an_alert_under_a_number_that_was_used_before_is_an_alert(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    await store(connection, [record(1), record(2), record(3, Kind.GAP, {**GAP, "count": 1, "seqs": [[2, 2]]})], set())
    alert = an_alert()
    again = [
        record(2, Kind.ALERT, {"alert": alert.as_json()}),
        record(3, Kind.ALERT, {"alert": alert.cleared(NOW_S).as_json()}),
        reading(1, 4.5, NOW_S + 60),
    ]
    await store(connection, again, set())
    (status,) = gateways(database_url)
    assert (status.alerts, status.open_alerts, status.missing) == (1, 0, 0)
    assert await all_of(connection, "select device, body->'values'->'flow' from latest where device <> ''") == [
        ("pump", 4.5)
    ]


async def test_the_status_of_a_gateway_says_what_waits_on_it_and_what_it_dropped(
    connection: psycopg.AsyncConnection[Any], database_url: str
) -> None:
    body = {**GAP, "count": 4, "seqs": [[3, 6]]}
    messages = [record(7, Kind.GAP, body), record(8, body={"backlog": 12, "days_until_full": 31.5})]
    messages.append(record(1, body={"backlog": 900, "days_until_full": 3}))
    await store(connection, messages, set())
    (status,) = gateways(database_url)
    assert (status.backlog, status.days_until_full) == (12, 31.5)
    assert (status.gaps, status.dropped, status.missing) == (1, 4, 1)
    await store(connection, [record(1, gateway="g2")], set())
    assert gateways(database_url)[1].backlog is None


async def test_months_are_made_as_they_come(connection: psycopg.AsyncConnection[Any]) -> None:
    times = {1: 0.0, 2: NOW_S, 3: NOW_S + 40 * 86400, 4: 4_102_444_799.0}
    months: set[str] = set()
    await store(connection, [record(seq, time_s=time_s) for seq, time_s in times.items()], months)
    assert months == {"1970-01", "2025-11", "2026-01", "2099-12"}
    assert await all_of(connection, "select count(*) from record") == [(4,)]
    parts = await all_of(
        connection, "select inhrelid::regclass::text from pg_inherits where inhparent = 'record'::regclass"
    )
    assert {name for (name,) in parts} == {"record_1970_01", "record_2025_11", "record_2026_01", "record_2099_12"}


async def test_the_tables_can_be_made_again(database_url: str) -> None:
    from central.database import prepare

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await store(connection, [record(1)], set())
    prepare(database_url)
    assert report(database_url)["records"] == 1


async def test_many_workers_at_once_store_each_record_once(database_url: str) -> None:
    chance = random.Random(5)
    everything = [record(seq, gateway=f"g{number}") for number in range(3) for seq in range(1, 201)]

    async def work(worker: int) -> None:
        mine = everything * 1
        chance.shuffle(mine)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            months: set[str] = set()
            for start in range(0, len(mine), 37):
                await store(connection, mine[start : start + 37], months)

    await asyncio.gather(*(work(worker) for worker in range(4)))
    found = report(database_url)
    assert (found["records"], found["duplicates"], found["lost"], found["redelivered"]) == (600, 0, 0, 1800)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["e1", "e2"]), st.integers(1, 12)), max_size=8),
        max_size=5,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_batches_in_any_order_leave_each_record_once_and_every_hole_found(
    database_url: str, batches: list[list[tuple[str, str, int]]]
) -> None:
    async def play() -> list[Ack]:
        acks: list[Ack] = []
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("truncate epoch, record, latest, alert, refused, refusal")
            for batch in batches:
                messages = [record(seq, gateway=gateway, epoch=epoch) for gateway, epoch, seq in batch]
                acks += await store(connection, messages, set())
        return acks

    acks = asyncio.run(play())
    sent = {one for batch in batches for one in batch}
    assert {(ack.gateway, ack.epoch, seq) for ack in acks for seq in range(ack.first, ack.last + 1)} == sent
    holes = 0
    for key in {one[:2] for one in sent}:
        seqs = {seq for *of, seq in sent if tuple(of) == key}
        holes += max(seqs) - len(seqs)
    found = report(database_url)
    total = sum(len(batch) for batch in batches)
    assert (found["records"], found["lost"], found["duplicates"]) == (len(sent), holes, 0)
    assert found["redelivered"] == total - len(sent)
    assert sum(one.missing for one in gateways(database_url)) == holes


async def test_a_body_is_kept_as_it_came(connection: psycopg.AsyncConnection[Any]) -> None:
    body = {"version": "0.1", "text": "l'été ✓ \\ \" \n", "nested": [1, 2.5, None, {"a": True}]}
    await store(connection, [record(1, body=body)], set())
    ((kept,),) = await all_of(connection, "select body from record")
    assert kept == json.loads(json.dumps(body))
