"""What waits, in which order it goes, and that it goes only when acknowledged."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.outbox import Outbox
from gateway.room import KEEP_FREE_BYTES
from gateway.store import Store
from gateway.upstream.payload import Kind
from tests.gateway.test_store import NOW_S, a_summary, an_alert


async def test_alerts_go_first_then_the_newest(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in (3, 2, 1):
            store.add_summary(a_summary(number))
        await store.flush()
        await store.decide({}, [an_alert("a")])
        await store.decide({}, [an_alert("b")], [(NOW_S, {"what": "action"})])
        outbox = Outbox(store)
        taken = outbox.take(urgent=2, others=2)
        assert [record.seq for record in taken] == [4, 5, 3, 2]
        assert [record.seq for record in outbox.take(urgent=5, others=5)] == [6, 1]
        assert outbox.take(urgent=5, others=5) == []
        assert outbox.pending() == {Kind.ALERT: 2, Kind.AUDIT: 1, Kind.SUMMARY: 3}
        assert outbox.last_seq() == 6


async def test_what_comes_in_overtakes_the_backlog(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in range(10):
            store.add_summary(a_summary(number))
        await store.flush()
        outbox = Outbox(store)
        assert [record.seq for record in outbox.take(0, 3)] == [10, 9, 8]
        store.add_summary(a_summary(11))
        await store.decide({}, [an_alert()])
        assert [record.seq for record in outbox.take(5, 3)] == [12, 11, 7, 6]


async def test_a_number_is_never_used_again_even_when_all_have_left(tmp_path: Path) -> None:
    for turn in range(3):
        async with Store.open(tmp_path, SystemClock()) as store:
            store.put("status", NOW_S, {"turn": turn})
            await store.flush()
            outbox = Outbox(store)
            (record,) = outbox.take(5, 5)
            assert record.seq == turn + 1
            outbox.acknowledge([record.seq])
            assert outbox.pending_rows() == 0
            outbox.rewind()
            assert outbox.take(5, 5) == []


async def test_counting_what_a_range_would_take(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in range(10):
            store.add_summary(a_summary(number))
        await store.flush()
        outbox = Outbox(store)
        assert outbox.holds(3, 6, limit=100) == 4
        outbox.acknowledge([3, 4])
        assert outbox.holds(3, 6, limit=100) == 2
        assert outbox.holds(1, 10, limit=1) >= 1
        assert outbox.holds(50, 60, limit=1) == 0


async def test_days_until_full_follow_the_pace(tmp_path: Path) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        outbox = Outbox(store)
        assert outbox.days_until_full() is None
        for number in range(960):  # ten devices at a quarter of an hour, for a day
            store.add_summary(a_summary(144 - number // 10, f"d{number % 10}"))
        await store.flush()
        slow = outbox.days_until_full()
        assert slow is not None
        for number in range(960):
            store.add_summary(a_summary(48 - number // 20, f"e{number % 20}"))
        await store.flush()
        fast = outbox.days_until_full()
        assert fast is not None
        assert 1.8 < slow / fast < 2.2
        # 512 MiB less a tenth, at 960 records a day of some 130 bytes, kept twice
        assert 1000 < slow < 3000
        outbox.acknowledge(range(1, 2000))
        await store.flush()
        assert outbox.pending_rows() == 0
        drained = outbox.days_until_full()  # what the next outage would have, by the site's memory
        assert drained is not None
        assert 0.8 < drained / fast < 1.3


async def test_there_is_no_room_beyond_what_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Store.open(tmp_path, SystemClock()) as store:
        for number in range(960):
            store.add_summary(a_summary(144 - number // 10, f"d{number % 10}"))
        await store.flush()
        ours = Outbox(store).days_until_full()
        real = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=KEEP_FREE_BYTES + 2**20))
        full = Outbox(store).days_until_full()
    assert ours is not None
    assert full is not None
    assert 0 < full < 4 < ours


class Moves:
    """put, take, acknowledge, rewind in any order"""

    one = st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["status", "audit", "reading", "gap"]), st.integers(1, 4)),
        st.tuples(st.just("take"), st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("acknowledge"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("rewind"), st.just(0), st.just(0)),
    )


@given(st.lists(Moves.one, max_size=25))
@settings(max_examples=30, deadline=None)
def test_every_record_goes_and_leaves_only_when_acknowledged(moves: list[tuple[str, object, int]]) -> None:
    import asyncio

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with Store.open(Path(folder), SystemClock()) as store:
                outbox, put, gone = Outbox(store), 0, set[int]()
                flying: dict[int, None] = {}
                for move, what, count in moves:
                    match move:
                        case "put":
                            for _ in range(count):
                                store.put(str(what), NOW_S, {})
                                put += 1
                            await store.flush()
                        case "take":
                            for record in outbox.take(int(str(what)), count, flying):
                                assert record.seq not in flying
                                assert record.seq not in gone
                                flying[record.seq] = None
                        case "acknowledge":
                            leaving = list(flying)[: int(str(what))]
                            outbox.acknowledge(leaving)
                            gone.update(leaving)
                            for seq in leaving:
                                del flying[seq]
                        case "rewind":
                            outbox.rewind()
                assert outbox.pending_rows() == put - len(gone)
                outbox.rewind()
                while taken := outbox.take(1, 2, flying):
                    flying.update((record.seq, None) for record in taken)
                assert set(flying) | gone == set(range(1, put + 1))

    asyncio.run(play())
