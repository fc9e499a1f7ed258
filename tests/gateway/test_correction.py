"""Rows that a guess of the time has dated, put right: all of them or none, whatever the power does."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import BUILT_S, SystemClock
from gateway.disk import VERSION
from gateway.moved import Moved, moved_start
from gateway.outbox import Outbox
from gateway.store import FILE, Store
from gateway.summary import Aggregate, Summary
from simulator.board import Board
from tests.gateway.test_store import an_alert, outbox_of

TRUE_S = (BUILT_S + 50 * 86400.0) // 900 * 900
WRONG_S = -7200.0 - 460.0
"""Two hours, and more than half a period."""


def a_summary(start_s: float, value: float = 3.0, device: str = "pump", n: int = 15) -> Summary:
    return Summary(device, start_s, 900, {"flow": Aggregate(n, 1, value, value, value, value)})


async def guessed(store: Store, guess_s: float) -> None:
    """What a gateway writes in an hour that it does not know."""
    for quarter in range(4):
        store.add_summary(a_summary(guess_s // 900 * 900 + 900 * quarter))
    store.put("status", guess_s + 5, {"version": "1"})
    store.put("reading", guess_s + 6, {"device": "pump", "values": {"flow": 3.0}})
    await store.decide({"watch/x": 1}, [an_alert("new", guess_s + 7)], [(guess_s + 8, {"what": "action"})])


@pytest.mark.virtual_time
async def test_all_that_a_guess_has_dated_is_moved_and_nothing_else(tmp_path: Path) -> None:
    board = Board(TRUE_S, wrong_s=WRONG_S)
    clock = SystemClock(board)
    old = an_alert("old", TRUE_S - 86400.0)
    async with Store.open(tmp_path, clock, thread=False) as store:
        clock.trusted = True
        store.add_summary(a_summary(TRUE_S - 86400.0))
        await store.decide({}, [old])
        clock.trusted = False
        await clock.sleep(3600.0)
        await guessed(store, TRUE_S + WRONG_S)
        outbox = Outbox(store)
        assert sorted(record.kind for record in outbox.take(9, 9)) == ["alert", "alert", "summary"]
        assert (outbox.pending_rows(), outbox.ready_rows()) == (10, 3)
        board.told()
        step = clock.look()
        assert step is not None
        clock.set(step)
        await store.correct(clock.boot, clock.offset_s, clock.monotonic(), {"watch/x": 2})
        assert store.state("watch/x") == 2

        start_s = (TRUE_S + WRONG_S) // 900 * 900
        moved = [moved_start(start_s + 900 * quarter, 900, -WRONG_S) for quarter in range(4)]
        assert [s.start_s for s in store.summaries("pump", 0, 1e10)] == [TRUE_S - 86400.0, *moved]
        assert all(abs(start_s + 900 * number - WRONG_S - there) <= 450 for number, there in enumerate(moved))
        new = an_alert("new", TRUE_S + WRONG_S + 7)
        right = replace(new, onset_s=new.onset_s, raised_s=TRUE_S + 7)
        assert store.alerts() == [old, right]
        outbox.rewind()
        records = outbox.take(99, 99)
        assert outbox.pending_rows() == outbox.ready_rows() == len(records) == 11
    bodies = {record.seq: json.loads(record.body) for record in records}
    times = {(record.kind.value, record.seq): record.time_s for record in records}
    assert [times["summary", seq] for seq in (3, 4, 5, 6)] == moved
    assert times["status", 7] == TRUE_S + 5
    assert times["reading", 8] == TRUE_S + 6
    assert times["audit", 10] == TRUE_S + 8
    assert [seq for seq, body in bodies.items() if body.get("time_trusted") is False] == [9]  # the alert had left
    assert bodies[11]["alert"] == right.as_json()
    assert {body.get("time_moved_s") for seq, body in bodies.items() if seq not in (1, 2, 9)} == {-WRONG_S}
    assert all("time_moved_s" not in bodies[seq] for seq in (1, 2, 9))


@pytest.mark.virtual_time
@pytest.mark.parametrize("tail", ["missing", "noise"])
async def test_a_power_cut_at_any_byte_of_the_correction_moves_all_or_nothing(tmp_path: Path, tail: str) -> None:
    board = Board(TRUE_S, wrong_s=WRONG_S)
    clock, folder, journal = SystemClock(board), tmp_path / "live", f"{FILE}-wal"
    async with Store.open(folder, clock, thread=False) as store:
        await clock.sleep(3600.0)
        await guessed(store, TRUE_S + WRONG_S)
        before = (folder / journal).stat().st_size
        held = contents(folder)
        known = TRUE_S, clock.monotonic()
        await store.correct(clock.boot, *known, {"watch/x": 2})
        after = (folder / journal).stat().st_size
        right = contents(folder)
        written = (folder / journal).read_bytes()
        kept = {name: (folder / name).read_bytes() for name in (FILE, "store.lock")}
    assert before < after
    assert held != right
    cuts = [before, after, *range(before + 1, after, max(1, (after - before) // 25))]
    for number, cut in enumerate(sorted(cuts)):
        again = tmp_path / f"cut-{number}"
        again.mkdir()
        noise = bytes((number + at) % 251 for at in range(4096)) if tail == "noise" else b""
        (again / journal).write_bytes(written[:cut] + noise)
        for name, content in kept.items():
            (again / name).write_bytes(content)
        async with Store.open(again, clock, thread=False) as store:
            assert contents(again) == (right if cut >= after else held)
            # The same boot, a new process: it is done again, or for the first time.
            await store.correct(clock.boot, *known, {"watch/x": 2})
            assert contents(again) == right
        shutil.rmtree(again)


def contents(folder: Path) -> list[list[tuple[object, ...]]]:
    with sqlite3.connect(folder / FILE) as disk:
        tables = [disk.execute(f"select * from {name}").fetchall() for name in ("outbox", "summary", "alert", "state")]
    disk.close()
    return tables


@pytest.mark.virtual_time
async def test_two_parts_of_one_period_become_one(tmp_path: Path) -> None:
    board = Board(TRUE_S, wrong_s=-3600.0)
    clock = SystemClock(board)
    async with Store.open(tmp_path, clock, thread=False) as store:
        await clock.sleep(900.0)
        store.add_summary(a_summary(TRUE_S - 3600.0, value=1.0, n=10))
        board.told()
        step = clock.look()
        assert step is not None
        clock.set(step)
        store.add_summary(a_summary(TRUE_S, value=4.0, n=5))
        await store.correct(clock.boot, clock.offset_s, clock.monotonic(), {})
        (both,) = store.summaries("pump", 0, 1e10)
    assert both == Summary("pump", TRUE_S, 900, {"flow": Aggregate(15, 2, 2.0, 1.0, 4.0, 4.0)})


@pytest.mark.virtual_time
async def test_what_an_earlier_boot_guessed_goes_as_it_is_marked(tmp_path: Path) -> None:
    board = Board(TRUE_S, wrong_s=WRONG_S)
    clock = SystemClock(board)
    async with Store.open(tmp_path, clock, thread=False) as store:
        await guessed(store, TRUE_S + WRONG_S)
    board.power_on(-100.0)
    clock = SystemClock(board)
    async with Store.open(tmp_path, clock, thread=False) as store:
        await store.release(clock.boot)
        await guessed(store, TRUE_S)
        outbox = Outbox(store)
        assert (outbox.pending_rows(), outbox.ready_rows()) == (16, 9)
        board.told()
        step = clock.look()
        assert step is not None
        clock.set(step)
        await store.correct(clock.boot, clock.offset_s, clock.monotonic(), {})
        assert outbox.ready_rows() == 17
    bodies = {seq: body for seq, _, body in outbox_of(tmp_path)}
    assert [seq for seq, body in bodies.items() if body.get("time_trusted") is False] == [1, 2, 3, 4, 5, 6, 7, 8, 15]


@pytest.mark.virtual_time
async def test_records_that_were_let_go_are_not_changed_any_more(tmp_path: Path) -> None:
    board = Board(TRUE_S, wrong_s=WRONG_S)
    clock = SystemClock(board)
    async with Store.open(tmp_path, clock, thread=False) as store:
        await guessed(store, TRUE_S + WRONG_S)
        await store.release()
        await guessed(store, TRUE_S + WRONG_S + 3600)
        let_go = outbox_of(tmp_path)
        assert Outbox(store).ready_rows() == 16
        await store.correct(clock.boot, TRUE_S, clock.monotonic() + 3700, {})
    assert outbox_of(tmp_path)[:16] == let_go
    assert [kind for _, kind, _ in outbox_of(tmp_path)[16:]] == ["alert", "alert"]


async def test_a_store_of_the_version_before_is_taken_over_with_all_that_is_in_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as disk:
        for statement in VERSION_1.split(";"):
            disk.execute(statement)
    disk.close()
    async with Store.open(tmp_path, SystemClock()) as store:
        assert (store.set_aside, store.epoch) == (None, "0123456789ab")
        assert store.summaries("pump", 0, 1e10) == [a_summary(TRUE_S)]
        store.add_summary(a_summary(TRUE_S + 900))
        await store.flush()
        assert [record.seq for record in Outbox(store).take(9, 9)] == [2, 1]
        assert store.rows("pragma user_version") == [(VERSION,)]


VERSION_1 = f"""
create table meta(name text primary key, value) without rowid;
create table outbox(seq integer primary key autoincrement, kind text not null, time_s real not null,
                    body text not null);
create index outbox_urgent on outbox(seq) where kind in ('alert', 'audit', 'gap');
create table summary(start_s real, device text, period_s real, body text not null,
                     primary key(start_s, device, period_s)) without rowid;
create table alert(id text primary key, raised_s real not null, cleared_s real, body text not null);
create index alert_raised on alert(raised_s);
create table state(name text primary key, body text not null) without rowid;
pragma user_version = 1;
insert into meta values('epoch', '0123456789ab');
insert into outbox(kind, time_s, body) values('summary', {TRUE_S}, '{json.dumps(a_summary(TRUE_S).as_json())}');
insert into summary values({TRUE_S}, 'pump', 900, '{json.dumps(a_summary(TRUE_S).as_json())}')
"""


@given(st.integers(0, 10**6), st.sampled_from([60.0, 900.0, 3600.0]), st.floats(-1e9, 1e9))
def test_a_period_is_moved_by_whole_periods_to_where_it_lies_for_the_most_part(
    number: int, period_s: float, by_s: float
) -> None:
    start_s = number * period_s
    moved_s = moved_start(start_s, period_s, by_s)
    assert moved_s % period_s == 0
    assert abs(moved_s - (start_s + by_s)) <= period_s / 2 + 1e-6


def test_only_times_of_the_boot_are_moved() -> None:
    moved = Moved(100.0, 1000.0, 2000.0)
    assert [moved.time(time_s) for time_s in (999.0, 1000.0, 2000.0, 2001.0)] == [999.0, 1100.0, 2100.0, 2001.0]
    assert moved.known(None) is None
