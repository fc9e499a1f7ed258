"""The store on a real disk: what it keeps through closing, killing, damage and want of room."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.alert import Alert, AlertKind, Baseline, Reason, Severity, alert_id
from gateway.clock import SystemClock
from gateway.errors import StoreError
from gateway.outbox import Outbox
from gateway.store import FILE, Limits, Store
from gateway.summary import Aggregate, Summary
from gateway.upstream.payload import Kind

NOW_S = time.time() // 900 * 900


def a_summary(number: int, device: str = "pump") -> Summary:
    points = {
        "flow": Aggregate(15, 1, 12.5 + number, 0.0, 20.0, None),
        "pressure": Aggregate(0, 16, None, None, None, None),
    }
    return Summary(device, NOW_S - 900.0 * number, 900, points)


def an_alert(subject: str = "secteur-moulin", raised_s: float = NOW_S) -> Alert:
    reasons = (Reason("debit/flow", "night_flow", 0.8, "Le débit de nuit a doublé."),)
    return Alert(
        id=alert_id(AlertKind.LEAK, subject, raised_s),
        kind=AlertKind.LEAK,
        subject=subject,
        onset_s=raised_s - 3600,
        raised_s=raised_s,
        severity=Severity.MAJOR,
        score=4.2,
        threshold=3.0,
        model="leak",
        model_sha256="ab" * 32,
        reasons=reasons,
        baseline=Baseline("night_flow", True, 2.0),
    )


def outbox_of(folder: Path) -> list[tuple[int, str, dict[str, object]]]:
    with sqlite3.connect(folder / FILE) as disk:
        rows = disk.execute("select seq, kind, body from outbox order by seq").fetchall()
    disk.close()
    return [(seq, kind, json.loads(body)) for seq, kind, body in rows]


async def test_everything_is_there_again_after_reopening(tmp_path: Path) -> None:
    alert = an_alert()
    async with Store.open(tmp_path, SystemClock()) as store:
        epoch = store.epoch
        store.add_summary(a_summary(1))
        store.add_summary(a_summary(0))
        store.put("status", NOW_S, {"version": "1"})
        await store.decide({"watch/x": {"since": 3, "bits": [1, 2]}}, [alert])
    async with Store.open(tmp_path, SystemClock()) as store:
        assert store.epoch == epoch
        assert store.summaries("pump", 0, NOW_S + 1) == [a_summary(1), a_summary(0)]
        assert store.summaries("pump", NOW_S, NOW_S + 1) == [a_summary(0)]
        assert store.summaries(["pump", "lamp"], 0, NOW_S) == [a_summary(1)]
        assert store.summaries("lamp", 0, NOW_S) == []
        assert store.state("watch/x") == {"since": 3, "bits": [1, 2]}
        assert store.state("watch/y") is None
        assert store.open_alerts() == store.alerts() == [alert]
    kinds = [kind for _, kind, _ in outbox_of(tmp_path)]
    assert sorted(kinds) == ["alert", "status", "summary", "summary"]


async def test_a_cleared_alert_is_one_alert_and_two_records(tmp_path: Path) -> None:
    alert = an_alert()
    async with Store.open(tmp_path, SystemClock()) as store:
        await store.decide({}, [alert])
        await store.decide({}, [alert.cleared(NOW_S + 60)])
        assert store.open_alerts() == []
        assert store.alerts(NOW_S) == [alert.cleared(NOW_S + 60)]
        assert store.alerts(NOW_S + 1) == []
    bodies = [body["alert"] for _, _, body in outbox_of(tmp_path)]
    assert [body["cleared"] is None for body in bodies] == [True, False]  # type: ignore[index]


async def test_a_history_is_remembered_and_not_sent(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        store.import_summaries(a_summary(number) for number in range(2500))
        await store.flush()
        assert len(store.summaries("pump", 0, NOW_S + 1)) == 2500
    assert outbox_of(tmp_path) == []


async def test_rows_are_committed_in_groups_and_decisions_at_once(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock(), Limits(commit_s=30.0)) as store:
        for number in range(99):
            store.add_summary(a_summary(number))
        async with asyncio.timeout(10):
            await store.decide({}, [an_alert()])
        assert store.counters.rows == 100
        assert store.counters.commits <= 2
        for number in range(100):
            store.add_summary(a_summary(number))
        async with asyncio.timeout(10):
            while store.counters.rows < 200:
                store.arrived.clear()
                await store.arrived.wait()


async def test_records_of_a_clock_that_is_a_guess_say_so(tmp_path: Path) -> None:
    clock = SystemClock()
    async with Store.open(tmp_path, clock) as store:
        clock.trusted = False
        store.add_summary(a_summary(1))
        await store.decide({}, [an_alert()], [(NOW_S, {"what": "action"})])
        clock.trusted = True
        store.put("status", NOW_S, {})
    assert [body.get("time_trusted") for _, _, body in outbox_of(tmp_path)] == [False, False, False, None]


async def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()):
        with pytest.raises(StoreError, match="another process"):
            async with Store.open(tmp_path, SystemClock()):
                pass
    async with Store.open(tmp_path, SystemClock()):
        pass


async def test_a_body_that_is_no_record_is_refused_at_once(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        with pytest.raises(ValueError, match="seq"):
            store.put("status", NOW_S, {"seq": 3})
        with pytest.raises(ValueError, match="at most"):
            store.put("status", NOW_S, {"text": "x" * 70_000})
        with pytest.raises(ValueError, match="gossip"):
            store.put("gossip", NOW_S, {})
    assert outbox_of(tmp_path) == []


# -- killed ------------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.clock import SystemClock
from gateway.store import Store
from tests.gateway.test_store import a_summary, an_alert

async def main():
    async with Store.open(Path(sys.argv[1]), SystemClock()) as store:
        number = 0
        while True:
            for _ in range(7):
                store.add_summary(a_summary(number))
            await store.decide({"watch": {"number": number}}, [an_alert(f"s{number}")])
            print(number, flush=True)
            number += 1

asyncio.run(main())
"""


def test_kill_minus_9_loses_no_decision_and_tears_none(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    told = -1
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, env=environment)
        assert writer.stdout is not None
        for _ in range(40):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        with writer:
            rest = writer.stdout.read().split()  # `communicate` would pass over what is buffered here
        told = int(rest[-1]) if rest else told

        async def look(told: int) -> None:
            async with Store.open(tmp_path, SystemClock()) as store:
                known = {alert.subject for alert in store.alerts()}
                assert {f"s{number}" for number in range(told + 1)} <= known
                assert store.state("watch")["number"] in (told, told + 1)
                assert store.set_aside is None
                sent = {body["alert"]["subject"] for _, kind, body in outbox_of(tmp_path) if kind == "alert"}  # type: ignore[index]
                assert sent == known

        asyncio.run(look(told))
        seqs = [seq for seq, _, _ in outbox_of(tmp_path)]
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("tail", ["missing", "zeros", "noise"])
async def test_power_cut_at_any_byte_of_a_commit_loses_nothing_durable_and_tears_nothing(
    tmp_path: Path, tail: str
) -> None:
    """The journal ends anywhere; behind that is nothing, or whatever a card leaves of a page that it was writing."""
    folder, journal = tmp_path / "live", f"{FILE}-wal"
    durable: list[int] = []
    async with Store.open(folder, SystemClock()) as store:
        for number in range(6):
            durable.append((folder / journal).stat().st_size)
            store.add_summary(a_summary(number))
            await store.decide({"watch": {"number": number}}, [an_alert(f"s{number}")])
        durable.append((folder / journal).stat().st_size)
        written, epoch = (folder / journal).read_bytes(), store.epoch
        kept = {name: (folder / name).read_bytes() for name in (FILE, "store.lock")}
    assert durable == sorted(set(durable))
    assert durable[0] > 0

    chance = random.Random(20)
    cuts = [*durable, *(size + 1 for size in durable[:-1]), *(chance.randrange(durable[-1]) for _ in range(60))]
    for number, planned in enumerate(cuts):
        cut, again = planned, tmp_path / f"cut-{number}"
        again.mkdir()
        lost = min(4096 + 24, len(written) - cut)
        after = {"missing": b"", "zeros": bytes(lost), "noise": chance.randbytes(lost)}[tail]
        left = written[:cut] + after
        (again / journal).write_bytes(left)
        # What is lost may have been zeros before.
        cut = next((at for at in range(cut, len(left)) if left[at] != written[at]), len(left))
        # A store that was never made whole was never noted either.
        for name in (FILE, "store.lock") if cut >= durable[0] else (FILE,):
            (again / name).write_bytes(kept[name])
        async with Store.open(again, SystemClock()) as store:
            assert store.set_aside is None
            assert (store.epoch == epoch) is (cut >= durable[0])
            whole = sum(size <= cut for size in durable) - 1
            subjects = [alert.subject for alert in store.alerts()]
            assert sorted(subjects) == [f"s{number}" for number in range(max(whole, 0))]
            assert store.state("watch") == (None if whole <= 0 else {"number": whole - 1})
            assert len(store.summaries("pump", 0, NOW_S + 1)) == len(subjects)
            assert Outbox(store).pending() == ({} if whole <= 0 else {Kind.SUMMARY: whole, Kind.ALERT: whole})
        shutil.rmtree(again)


# -- damaged -----------------------------------------------------------------------------------------------------------


async def fill(folder: Path) -> str:
    async with Store.open(folder, SystemClock()) as store:
        for number in range(300):
            store.add_summary(a_summary(number))
        return store.epoch


@pytest.mark.parametrize(
    ("place", "what"),
    [(0, b"not SQLite at all"), (100, b"\xff" * 400), (4096 * 3, b"\x00" * 4096), (4096 * 19 + 8, b"\xa5" * 3000)],
    ids=["header", "schema page", "a page of zeros", "a page of noise"],
)
async def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path, place: int, what: bytes) -> None:
    epoch = await fill(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(place)
        file.write(what)
    damaged = (tmp_path / FILE).read_bytes()
    async with Store.open(tmp_path, SystemClock()) as store:
        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == damaged
        assert store.epoch != epoch
        store.add_summary(a_summary(0))
    (first, kind, body), (second, _, _) = outbox_of(tmp_path)
    assert (first, second, kind, body["reason"], body["epoch_lost"]) == (1, 2, "gap", "damaged", epoch)


async def test_a_value_that_the_disk_garbled_becomes_a_gap_and_stops_nothing(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        await store.decide({"watch": [1]}, [an_alert("a"), an_alert("b")])
        for number in range(5):
            store.add_summary(a_summary(number))
    with sqlite3.connect(tmp_path / FILE) as disk:
        garbled = "cast(x'7bff00fe' as text)"
        disk.execute(f"update outbox set body = {garbled} where seq = 4")
        disk.execute("update outbox set kind = 'alesu' where seq = 5")
        disk.execute(f"update summary set body = {garbled} where start_s = ?", (NOW_S - 900,))
        disk.execute(f"update alert set body = {garbled} where id = ?", (an_alert("a").id,))
        disk.execute(f"update state set body = {garbled}")
    disk.close()
    async with Store.open(tmp_path, SystemClock()) as store:
        assert [alert.subject for alert in store.open_alerts()] == ["b"]
        assert len(store.summaries("pump", 0, NOW_S + 1)) == 4
        assert store.state("watch") is None
        outbox = Outbox(store)
        assert [record.seq for record in outbox.take(9, 9)] == [1, 2, 7, 6, 3]
        await store.flush()
        gaps = outbox.take(9, 9)
        assert [record.kind for record in gaps] == ["gap", "gap"]
        assert sorted(json.loads(record.body)["seqs"] for record in gaps) == [[[4, 4]], [[5, 5]]]


async def test_a_file_that_vanished_is_reported(tmp_path: Path) -> None:
    epoch = await fill(tmp_path)
    (tmp_path / FILE).write_bytes(b"")
    async with Store.open(tmp_path, SystemClock()) as store:
        assert store.epoch != epoch
    assert [(kind, body["epoch_lost"]) for _, kind, body in outbox_of(tmp_path)] == [("gap", epoch)]


async def test_a_second_damage_in_a_row_reports_the_first_again(tmp_path: Path) -> None:
    lost = [await fill(tmp_path)]
    for _ in range(2):
        (tmp_path / FILE).write_bytes(b"not SQLite at all")
        async with Store.open(tmp_path, SystemClock()) as store:
            assert [body["epoch_lost"] for _, _, body in outbox_of(tmp_path)] == lost
            lost.append(store.epoch)
    async with Store.open(tmp_path, SystemClock()):
        assert len(outbox_of(tmp_path)) == 2


# -- no room -----------------------------------------------------------------------------------------------------------


async def test_what_finds_the_queue_full_is_counted_to_the_row(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock(), Limits(queue_rows=50, commit_s=0.01)) as store:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("begin immediate")  # holds up the writer
        for number in range(500):
            store.put("status", NOW_S + number, {"number": number})
            store.put("reading", NOW_S + number, {"device": "pump", "values": {"flow": 1.0}})
        other.execute("rollback")
        other.close()
    rows = outbox_of(tmp_path)
    for kind in ("status", "reading"):
        kept = [body for _, it, body in rows if it == kind]
        gaps = [body for _, it, body in rows if it == "gap" and body["dropped"] == kind]
        lost = sum(body["count"] for body in gaps)  # type: ignore[misc]
        assert lost > 0
        assert len(kept) + lost == 500
        assert store.counters.dropped[Kind(kind)] == lost
        assert all(body["reason"] == "queue" and body["seqs"] == [] for body in gaps)


async def test_a_full_store_thins_old_summaries_and_says_which_and_keeps_every_alert(tmp_path: Path) -> None:
    limits = Limits(space_bytes=1_000_000, commit_s=0.05)
    async with Store.open(tmp_path, SystemClock(), limits) as store:
        for _ in range(60):
            store.put("reading", NOW_S, {"device": "pump", "values": {f"p{place}": 1.5 for place in range(50)}})
        for period in range(400, 0, -1):
            for device in range(20):
                store.add_summary(a_summary(period, f"d{device}"))
            if period % 20 == 0:
                await store.decide({}, [an_alert(f"s{period}")])
        await store.flush()
        assert store.used_bytes() <= limits.space_bytes
        left = {record.time_s for record in Outbox(store).take(0, 10_000) if record.kind == "summary"}
    rows = outbox_of(tmp_path)
    assert sum(kind == "alert" for _, kind, _ in rows) == 20
    assert not any(kind == "reading" for _, kind, _ in rows)
    # The newest are all there; of the rest some of every age.
    counts = [
        sum(NOW_S - 900 * (age + 50) <= time_s < NOW_S - 900 * age for time_s in left) for age in range(0, 400, 50)
    ]
    assert counts[0] >= 49
    assert min(counts) >= 2
    gaps = [body for _, kind, body in rows if kind == "gap"]
    missing = set(range(1, rows[-1][0] + 1)) - {seq for seq, _, _ in rows}
    told = [seq for body in gaps for first, last in body["seqs"] for seq in range(first, last + 1)]  # type: ignore[attr-defined]
    assert len(told) == len(set(told)) == sum(body["count"] for body in gaps)  # type: ignore[misc]
    assert set(told) == missing
    assert len(missing) > 1000


async def test_a_full_disk_loses_nothing_and_is_said(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock(), Limits(commit_s=0.01)) as store:
        await store.flush()
        pages = store.rows("pragma page_count")[0][0]
        store._disk.execute(f"pragma max_page_count = {pages + 2}")
        for number in range(500):
            store.add_summary(a_summary(number))
        async with asyncio.timeout(10):
            while not store.fault:
                await asyncio.sleep(0.01)
        assert "full" in store.fault
        store._disk.execute("pragma max_page_count = 1000000")
        await store.flush()
        assert store.fault == ""
        assert store.counters.failures >= 1
    assert [seq for seq, _, _ in outbox_of(tmp_path)] == list(range(1, 501))


async def test_on_a_disk_that_others_have_filled_it_lives_within_its_file_and_alerts_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in range(12_000):
            store.add_summary(a_summary(number))
            if number % 500 == 0:
                await store.flush()
        await store.flush()
        assert not store.counters.dropped
        real = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=0))
        size = (await store.decide({}), store.rows("pragma page_count")[0][0])[1]
        for number in range(12_000, 24_000):
            store.add_summary(a_summary(number))
            if number % 100 == 0:
                await store.decide({}, [an_alert(f"w{number}")])
        await store.flush()
        assert store.rows("pragma page_count")[0][0] <= 1.01 * size
        assert len(store.alerts()) == 120
        dropped = store.counters.dropped
    assert set(dropped) == {Kind.SUMMARY}
    rows = outbox_of(tmp_path)
    gaps = [body for _, kind, body in rows if kind == "gap"]
    numbers = {seq for body in gaps for first, last in body["seqs"] for seq in range(first, last + 1)}  # type: ignore[attr-defined]
    assert sum(body["count"] for body in gaps) == len(numbers) == dropped[Kind.SUMMARY]  # type: ignore[misc]
    there = {seq for seq, *_ in rows}
    assert there | numbers == set(range(1, max(there) + 1))
    assert not there & numbers
    assert sum(kind == "alert" for _, kind, _ in rows) == 120


async def test_memory_older_than_its_days_goes_unless_the_clock_is_a_guess(tmp_path: Path) -> None:
    old = Summary("pump", NOW_S - 500 * 86400, 900, {})

    guessing = SystemClock()
    guessing.trusted = False
    async with Store.open(tmp_path, guessing) as store:
        store.import_summaries([old])
        await store.flush()
        assert store.summaries("pump", 0, NOW_S) == [old]
    async with Store.open(tmp_path, SystemClock()) as store:
        store.put("status", NOW_S, {})
        await store.flush()
        assert store.summaries("pump", 0, NOW_S) == []


async def test_a_clock_that_goes_years_ahead_for_a_while_costs_little_memory(tmp_path: Path) -> None:
    class Astray(SystemClock):
        ahead_s = 0.0

        def now(self) -> float:
            return super().now() + self.ahead_s

    clock = Astray()
    history = [a_summary(number) for number in range(4000)]
    async with Store.open(tmp_path, clock) as store:
        store.import_summaries(history)
        for number in range(30):
            gone = replace(an_alert(f"s{number}", NOW_S - 3600 + number), cleared_s=NOW_S)
            await store.decide({}, [gone])
        clock.ahead_s = 20 * 365 * 86400.0
        for number in range(120):
            await store.decide({"watch": number})
        clock.ahead_s = 0.0
        left = store.summaries("pump", 0, NOW_S + 1)
        assert left == sorted(history, key=lambda summary: summary.start_s)[1000:]
        assert [alert.subject for alert in store.alerts()] == [f"s{number}" for number in range(10, 30)]
