"""Clocks: one that runs faster, one that a loop without waiting moves, and the three numbers that processes share."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import LoopClock, ScaledClock, SystemClock, parse_clock


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
