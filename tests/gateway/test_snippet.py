"""The raw samples around an alert: kept at once, completed, bounded, moved with the clock, and readable again."""

import asyncio
import json
import random
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import Alert, Reason
from gateway.app import home, read_site
from gateway.cli import FIELD_PROBLEM, main
from gateway.clock import BUILT_S, LoopClock, SystemClock
from gateway.disk import VERSION
from gateway.live import Live
from gateway.profile import load_profile
from gateway.reading import Snapshot
from gateway.recent import LENGTH
from gateway.replay import Repairs, instants
from gateway.site import Site, parse_site
from gateway.snippet import MAX_BYTES, SAMPLES, Samples, Snippets, csv_lines, joined, packed, points_of, unpacked
from gateway.store import FILE, Limits, Store
from simulator.board import Board
from tests.gateway.conftest import HEAD
from tests.gateway.test_store import a_summary, an_alert
from tests.gateway.test_timekeeping import HOUR_S, TRUE_S, life  # noqa: F401 - a fixture

SITE = f"""{HEAD}
[[device]]
name = "debit"
profile = "recorded"
[[device]]
name = "amont"
profile = "recorded"
[[watch]]
name = "secteur-moulin"
model = "leak"
[watch.inputs]
flow = ["debit/flow"]
pressure = ["amont/pressure"]
"""
REASON = Reason("amont/pressure", "drop", 0.8, "La pression tombe.")


@pytest.fixture
def site() -> Site:
    return parse_site(SITE, "site.toml", Path(), lambda name: load_profile(home() / "device_profiles", name))


def leak(raised_s: float, *reasons: Reason) -> Alert:
    return replace(an_alert(raised_s=raised_s), reasons=reasons)


def test_the_points_of_an_alert_are_those_of_its_reasons_then_those_of_its_subject(site: Site) -> None:
    assert points_of(leak(0.0, REASON), site) == ["amont/pressure", "debit/flow"]
    assert points_of(leak(0.0, replace(REASON, point="gone/flow"), replace(REASON, point="")), site) == [
        "debit/flow", "amont/pressure",
    ]  # fmt: skip
    assert points_of(replace(leak(0.0), subject="debit"), site) == ["debit/flow"]
    assert points_of(replace(leak(0.0), subject="nobody"), site) == []


VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
SERIES = st.builds(
    lambda point, rows: Samples(point, "bar", sorted(at for at, _ in rows), [value for _, value in rows]),
    st.text(max_size=20),
    st.lists(st.tuples(st.integers(-(10**7), 10**7).map(lambda n: n / 1000), VALUES), max_size=30),
)


@given(st.lists(SERIES, max_size=5))
def test_what_was_kept_is_read_again_as_it_was(points: list[Samples]) -> None:
    assert unpacked(packed(points)) == points


@given(st.binary(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    lambda body: zlib.compress(json.dumps(body).encode())))  # fmt: skip
def test_what_the_disk_garbled_is_nothing(content: bytes) -> None:
    assert all(isinstance(found, Samples) for found in unpacked(content))


def test_much_is_thinned_to_what_an_alert_may_take_and_what_is_near_stays() -> None:
    chance = random.Random(3)
    offsets = [float(at) for at in range(-SAMPLES, SAMPLES)]
    points = [Samples(f"d/p{n}", "bar", offsets, [chance.random() for _ in offsets]) for n in range(12)]
    content = packed(points)
    assert len(content) <= MAX_BYTES
    kept = unpacked(content)
    assert [len(samples.offsets_s) for samples in kept] == [len(kept[0].offsets_s)] * 12
    assert 40 < len(kept[0].offsets_s) < 400
    assert kept[0].offsets_s == sorted(kept[0].offsets_s)
    assert max(map(abs, kept[0].offsets_s)) < 200
    assert kept[0].values[0] == points[0].values[offsets.index(kept[0].offsets_s[0])]


@given(st.lists(st.integers(-1000, 1000), unique=True, min_size=1), st.integers(-1000, 1000))
def test_each_sample_is_kept_once_however_the_ring_moved_on(times: list[int], until: int) -> None:
    rows = sorted(times)
    series = [Samples("d/p", "", [float(at) for at in part], [float(at) for at in part]) for part in (
        [at for at in rows if at <= until], [at for at in rows if at > until - 300])]  # fmt: skip
    (found,) = joined(joined([], series[:1]), series[1:])
    before, after = [at for at in rows if at <= 0][-SAMPLES:], [at for at in rows if at > 0][:SAMPLES]
    assert found.offsets_s == [*before, *after]
    assert found.values == [*before, *after]


@pytest.mark.virtual_time
async def test_minutes_before_and_after_are_kept_and_can_be_replayed(tmp_path: Path, site: Site) -> None:
    """Read every second: the ring holds six minutes."""
    clock = LoopClock(float(BUILT_S))
    live = Live(site, clock, {})

    async def measure() -> None:
        while True:
            now_s = clock.now()
            live.take(Snapshot("debit", now_s, {"flow": 0.1 + now_s % 97}))
            live.take(Snapshot("amont", now_s, {"pressure": None if now_s % 60 == 0 else 4294967.295}))
            await asyncio.sleep(1.0)

    async with Store.open(tmp_path / "data", clock, thread=False) as store:
        measuring = asyncio.ensure_future(measure())
        await asyncio.sleep(1000.5)
        alert = leak(clock.now() - 30.0, REASON)
        await store.decide({}, [alert])
        keeping = asyncio.ensure_future(Snippets(site, live, store, clock).keep(alert))
        await asyncio.sleep(5.0)
        first = unpacked(store.snippet(alert.id) or b"")
        assert [samples.point for samples in first] == ["amont/pressure", "debit/flow"]
        assert {len(samples.offsets_s) for samples in first} == {LENGTH}
        await keeping
        await store.flush()
        kept = unpacked(store.snippet(alert.id) or b"")
        measuring.cancel()
    for samples in kept:
        assert samples.offsets_s[0] == pytest.approx(-330.0, abs=1.0)
        assert samples.offsets_s[-1] == pytest.approx(330.0, abs=1.0)
        steps = [later - at for at, later in zip(samples.offsets_s, samples.offsets_s[1:], strict=False)]
        assert min(steps) == pytest.approx(1.0, abs=0.002)
        assert max(steps) == pytest.approx(1.0, abs=0.002)  # no hole, and none twice
    assert set(kept[0].values) == {None, 4294967.295}  # as it was read, to the last digit
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    out = tmp_path / "around.csv"
    assert main(["explain", "last", "--in", str(tmp_path / "site.toml"), "--readings", str(out)]) == 0
    repairs = Repairs()
    replayed = list(instants(read_site(tmp_path / "site.toml")[0], out, repairs))
    assert (repairs.duplicates, repairs.clock_back, repairs.converted) == (0, 0, 0)
    assert repairs.lines == sum(len(samples.offsets_s) for samples in kept)
    assert replayed[0].time_s == pytest.approx(alert.raised_s - 330.0, abs=1.0)


@pytest.mark.virtual_time
async def test_an_alert_that_is_cleared_or_already_kept_or_speaks_of_nothing_costs_nothing(
    tmp_path: Path, site: Site
) -> None:
    clock = LoopClock(float(BUILT_S))
    live = Live(site, clock, {})
    async with Store.open(tmp_path, clock, thread=False) as store:
        snippets = Snippets(site, live, store, clock)
        alert = leak(clock.now())
        await snippets.keep(alert.cleared(clock.now()))
        await snippets.keep(replace(alert, subject="nobody"))
        store.keep_snippet(alert.id, packed([]))
        await store.flush()
        began_s = clock.monotonic()
        await snippets.keep(alert)
        assert clock.monotonic() == began_s
        assert store.rows("select count(*) from snippet") == [(1,)]


async def test_only_the_newest_stay_and_they_go_before_anything_unsent(tmp_path: Path) -> None:
    limits = Limits(space_bytes=3 * 1024 * 1024, snippets=60)
    async with Store.open(tmp_path, SystemClock(), limits) as store:
        alerts = [an_alert(f"w{number:03d}", 1e9 + number) for number in range(100)]
        for alert in alerts:
            await store.decide({}, [alert])
            store.keep_snippet(alert.id, b"x" * 8000)
        for number in range(100):  # the limit is looked at every hundred commits
            await store.decide({"n": number})
        newest = [alert.id for alert in alerts[-60:]]
        assert [
            name for (name,) in store.rows("select alert from snippet join alert on id = alert order by raised_s")
        ] == newest
        kept, number = 60, 0
        while kept > 20:
            for more in range(200):
                store.add_summary(a_summary(number + more))
            number += 200
            await store.flush()
            assert not store.counters.dropped
            kept = store.rows("select count(*) from snippet")[0][0]
        assert kept == 20
        assert len(store.alerts()) == 100


async def test_a_store_of_before_gets_the_table_and_one_of_after_is_no_damage_to_a_program_of_before(
    tmp_path: Path,
) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        epoch = store.epoch
        await store.decide({}, [an_alert()])
    with sqlite3.connect(tmp_path / FILE) as disk:
        assert disk.execute("pragma user_version").fetchone() == (VERSION,) == (2,)
        disk.execute("drop table snippet")
    disk.close()
    async with Store.open(tmp_path, SystemClock()) as store:
        assert (store.epoch, store.set_aside) == (epoch, None)
        assert store.snippet(an_alert().id) is None


@pytest.mark.virtual_time
async def test_a_gateway_keeps_them_and_they_move_with_the_alert_when_the_time_is_known(
    life: Callable[[Board], Any],  # noqa: F811
) -> None:
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it:
        async with it.on() as gateway:
            await asyncio.sleep(1.5 * HOUR_S)
            it.devices.units.clear()  # nobody answers any more
            while not (found := gateway.store.open_alerts()):
                await asyncio.sleep(60.0)
            await asyncio.sleep(130.0)
            board.told()
            await asyncio.sleep(600.0)
            (alert,) = gateway.store.open_alerts()
            assert alert.raised_s == pytest.approx(found[0].raised_s + 5 * HOUR_S, abs=2)
            kept = {samples.point: samples for samples in unpacked(gateway.store.snippet(alert.id) or b"")}
        power = kept["m1/power"]
        known = [at for at, value in zip(power.offsets_s, power.values, strict=True) if value is not None]
        lost = [at for at, value in zip(power.offsets_s, power.values, strict=True) if value is None]
        assert len(known) >= 17
        assert -4 * HOUR_S < known[0] < known[-1] < lost[0] < 0 < lost[-1] <= 310.0
        rows = list(csv_lines(list(kept.values()), alert.raised_s))
        assert rows[0] == "time,point,value,unit"


def test_an_alert_without_samples_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text(json.dumps(an_alert().as_json()) + "\n", encoding="utf-8")
    assert main(["--lang", "en", "explain", "last", "--in", str(file), "--readings", "-"]) == FIELD_PROBLEM
    assert "no samples" in capsys.readouterr().err
