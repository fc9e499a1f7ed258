"""So many answers at once, then one in a while, and how many had none."""

from __future__ import annotations

import asyncio

import pytest

from gateway.allowance import Allowance
from gateway.clock import LoopClock

pytestmark = pytest.mark.virtual_time


async def test_a_flood_has_a_few_answers_and_then_one_in_a_while() -> None:
    allowance = Allowance(3, 60.0, LoopClock(0.0))
    assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]
    assert allowance.refused == 2
    await asyncio.sleep(61.0)
    assert [allowance.take(), allowance.take()] == [True, False]


async def test_a_long_quiet_earns_no_more_than_there_was_at_first() -> None:
    allowance = Allowance(3, 60.0, LoopClock(0.0))
    await asyncio.sleep(86_400.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
