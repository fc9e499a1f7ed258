"""Clocks: one that runs faster, one that a loop without waiting moves, and the three numbers that processes share."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import BUILT_S, LoopClock, ScaledClock, Step, SystemClock, parse_clock
from simulator.board import Board


def test_the_machine_s_own_time_is_the_default() -> None:
    clock = parse_clock("")
    assert isinstance(clock, SystemClock)
    assert abs(clock.now() - time.time()) < 1
    assert clock.loop_seconds(5.0) == 5.0


def test_a_scaled_clock_runs_as_many_times_faster() -> None:
    clock = ScaledClock(1e9, time.monotonic() - 2.0, 600.0)
    assert 1e9 + 1200 <= clock.now() < 1e9 + 1800
    assert clock.loop_seconds(600.0) == 1.0
    before = clock.monotonic()
    assert clock.monotonic() >= before


async def test_a_scaled_clock_sleeps_as_many_times_shorter() -> None:
    clock = ScaledClock(0.0, time.monotonic(), 10_000.0)
    before = time.monotonic()
    await clock.sleep(100.0)
    assert 0.01 <= time.monotonic() - before < 1.0


FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@given(FINITE, FINITE, st.floats(min_value=1e-3, max_value=1e6))
def test_two_processes_given_the_same_text_agree(start_s: float, anchor_s: float, speed: float) -> None:
    clock = ScaledClock(start_s, anchor_s, speed)
    other = parse_clock(str(clock))
    assert isinstance(other, ScaledClock)
    assert (other.start_s, other.anchor_s, other.speed) == (start_s, anchor_s, speed)


@pytest.mark.parametrize(
    "text", ["x", "1", "1,2", "1,2,3,4", "1,2,0", "1,2,-3", "nan,0,1", "0,inf,1", "0,0,nan", "1,,2"]
)
def test_what_is_no_clock(text: str) -> None:
    with pytest.raises(ValueError, match=r"clock .*expected"):
        parse_clock(text)


@pytest.mark.virtual_time
async def test_a_day_on_a_loop_that_skips_waiting_takes_no_time() -> None:
    clock, began = LoopClock(1e9), time.monotonic()
    await clock.sleep(86400.0)
    assert clock.now() == pytest.approx(1e9 + 86400)
    assert clock.monotonic() == pytest.approx(86400)
    assert clock.loop_seconds(7.0) == 7.0
    assert time.monotonic() - began < 1


@pytest.mark.virtual_time
async def test_time_limits_hold_in_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()


# -- time that may be a guess ------------------------------------------------------------------------------------------

TRUE_S = BUILT_S + 100 * 86400.0


@pytest.mark.virtual_time
async def test_a_board_that_starts_with_a_wrong_time_is_trusted_once_it_is_told() -> None:
    board = Board(TRUE_S, wrong_s=-7200.0)
    clock = SystemClock(board)
    await clock.sleep(10.0)
    assert (clock.trusted, clock.guess) == (False, ("boot-1", TRUE_S - 7200.0))
    assert clock.look() is None
    board.told()
    assert clock.now() == TRUE_S - 7190.0
    step = clock.look()
    assert step == Step(7200.0, trusted=True, gained=True)
    assert clock.now() == TRUE_S - 7190.0
    clock.set(step)
    assert (clock.now(), clock.trusted, clock.guess) == (TRUE_S + 10.0, True, None)
    assert clock.look() is None


@pytest.mark.virtual_time
async def test_a_time_before_this_program_was_made_is_never_trusted() -> None:
    board = Board(BUILT_S - 10.0, known=True)
    clock = SystemClock(board)
    assert not clock.trusted
    await clock.sleep(9.0)
    assert clock.look() is None
    await clock.sleep(2.0)
    assert clock.look() == Step(0.0, trusted=True, gained=True)


@pytest.mark.virtual_time
async def test_a_time_before_the_newest_known_is_not_trusted_until_the_machine_has_insisted_for_a_day() -> None:
    clock = SystemClock(Board(TRUE_S, known=True))
    clock.recall(TRUE_S + 3600.0 * 1000, offset_s=None)
    assert not clock.trusted
    for _ in range(23):
        await clock.sleep(3600.0)
        assert clock.look() is None
    await clock.sleep(3601.0)
    assert clock.look() == Step(0.0, trusted=True, gained=True)
    clock = SystemClock(Board(TRUE_S, known=True))
    clock.recall(clock.now() + 30.0, offset_s=None)
    assert clock.trusted


@pytest.mark.virtual_time
async def test_a_boot_that_knew_the_time_still_knows_it_without_its_network() -> None:
    clock = SystemClock(Board(TRUE_S, wrong_s=500.0))
    clock.recall(TRUE_S - 60.0, offset_s=TRUE_S)
    assert (clock.trusted, clock.now()) == (True, TRUE_S)
    assert clock.look() is None  # what the machine says now has nothing behind it


@pytest.mark.virtual_time
async def test_a_trusted_clock_counts_on_when_somebody_sets_a_machine_without_network() -> None:
    board = Board(TRUE_S, known=True)
    clock = SystemClock(board)
    board.known, board.wrong_s = False, 86400.0
    await clock.sleep(60.0)
    assert clock.look() is None
    assert (clock.trusted, clock.now()) == (True, TRUE_S + 60.0)


@pytest.mark.virtual_time
@pytest.mark.parametrize("by_s", [-7200.0, -0.6, 0.6, 7200.0])
async def test_a_step_of_a_machine_with_network_time_is_said_and_followed(by_s: float) -> None:
    board = Board(TRUE_S, known=True)
    clock = SystemClock(board)
    board.wrong_s = by_s
    step = clock.look()
    assert step is not None
    assert (step.by_s, step.trusted, step.gained) == (pytest.approx(by_s), True, False)
    clock.set(step)
    assert clock.now() == pytest.approx(TRUE_S + by_s)


@pytest.mark.virtual_time
async def test_small_corrections_are_followed_in_silence_and_none_while_it_is_a_guess() -> None:
    board = Board(TRUE_S, known=True)
    clock = SystemClock(board)
    board.wrong_s = 0.4
    assert clock.look() is None
    assert clock.now() == pytest.approx(TRUE_S + 0.4)
    board.power_on(-50.0)
    guessing = SystemClock(board)
    before = guessing.guess
    board.wrong_s += 0.4
    assert guessing.look() is None
    assert guessing.guess == before
