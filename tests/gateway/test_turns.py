"""Turns on a bus: writes first, read-backs next, polls not starved; and a turn that is lent comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from gateway.turns import AT_ONCE, Needless, Rank, Turns

pytestmark = pytest.mark.virtual_time


class Line:
    """Who spoke on it, in order."""

    def __init__(self) -> None:
        self.turns, self.spoke, self.at_once = Turns(), list[str](), 0

    async def say(self, name: str, rank: Rank, brief: bool = False) -> None:
        await self.turns.take(rank, brief=brief)
        try:
            await self.speak(name)
        finally:
            self.turns.pass_on()

    async def speak(self, name: str) -> None:
        self.at_once += 1
        assert self.at_once == 1, "two at once"
        self.spoke.append(name)
        try:
            await asyncio.sleep(0.04)
        finally:
            self.at_once -= 1

    async def at_length(self, frames: int) -> None:
        await self.turns.take(Rank.POLL)
        try:
            for _ in range(frames):
                await self.turns.give_way()
                await self.speak("bank")
        finally:
            self.turns.pass_on()


def together(*works: Callable[[], Coroutine[None, None, None]]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(work()) for work in works]


async def test_writes_go_before_read_backs_and_those_before_polls() -> None:
    line = Line()
    tasks = together(lambda: line.say("first", Rank.POLL))
    await asyncio.sleep(0)
    tasks += together(
        lambda: line.say("poll", Rank.POLL),
        lambda: line.say("read back", Rank.READ_BACK),
        lambda: line.say("write", Rank.WRITE),
    )
    await asyncio.gather(*tasks)
    assert line.spoke == ["first", "write", "read back", "poll"]


async def test_a_poll_has_its_turn_after_so_many_others() -> None:
    line = Line()
    tasks = together(lambda: line.say("first", Rank.POLL))
    await asyncio.sleep(0)
    tasks += together(lambda: line.say("poll", Rank.POLL), *[lambda: line.say("write", Rank.WRITE)] * 10)
    await asyncio.gather(*tasks)
    assert line.spoke.index("poll") == 1 + AT_ONCE


async def test_what_is_brief_is_let_in_between_two_requests_and_the_rest_waits() -> None:
    line = Line()
    tasks = together(lambda: line.at_length(4))
    await asyncio.sleep(0.05)  # the second request is under way
    tasks += together(lambda: line.say("kept level", Rank.WRITE), lambda: line.say("level", Rank.WRITE, brief=True))
    await asyncio.gather(*tasks)
    assert line.spoke == ["bank", "bank", "level", "bank", "bank", "kept level"]


async def test_a_flood_of_brief_ones_does_not_stop_a_long_procedure() -> None:
    line = Line()
    tasks = together(lambda: line.at_length(3))
    await asyncio.sleep(0.01)
    tasks += together(*[lambda: line.say("level", Rank.WRITE, brief=True)] * 20)
    await asyncio.gather(*tasks)
    assert [i for i, name in enumerate(line.spoke) if name == "bank"] == [0, 1 + AT_ONCE, 2 + 2 * AT_ONCE]


@pytest.mark.parametrize("after_s", [0.05, 0.09, 0.1, 0.13])
async def test_a_lender_that_is_cancelled_leaves_the_line_to_who_has_it_and_then_to_the_next(after_s: float) -> None:
    line = Line()
    lender, *tasks = together(lambda: line.at_length(9))
    await asyncio.sleep(0.05)
    tasks += together(lambda: line.say("level", Rank.WRITE, brief=True), lambda: line.say("poll", Rank.POLL))
    await asyncio.sleep(after_s - 0.05)
    lender.cancel()
    await asyncio.gather(lender, return_exceptions=True)
    await asyncio.gather(*tasks)
    assert lender.cancelled()
    assert [name for name in line.spoke if name != "bank"] == ["level", "poll"]
    await asyncio.wait_for(line.say("after", Rank.POLL), 1)


async def test_a_borrower_that_is_cancelled_gives_the_turn_back() -> None:
    line = Line()
    tasks = together(lambda: line.at_length(3))
    await asyncio.sleep(0.05)
    (borrower,) = together(lambda: line.say("level", Rank.WRITE, brief=True))
    await asyncio.sleep(0.05)
    borrower.cancel()
    await asyncio.gather(borrower, return_exceptions=True)
    await asyncio.gather(*tasks)
    assert line.spoke == ["bank", "bank", "level", "bank"]


async def test_a_turn_that_is_needless_is_not_waited_for_and_costs_no_other_one() -> None:
    line, done = Line(), asyncio.Event()

    async def want() -> None:
        with pytest.raises(Needless):
            await line.turns.take(Rank.WRITE, needless=done)

    tasks = together(lambda: line.say("first", Rank.POLL))
    await asyncio.sleep(0)
    tasks += together(want, lambda: line.say("poll", Rank.POLL))
    await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*tasks)
    assert line.spoke == ["first", "poll"]
    (waiting,) = together(lambda: line.turns.take(Rank.WRITE, needless=asyncio.Event()))
    await waiting
    (cancelled,) = together(lambda: line.turns.take(Rank.WRITE, needless=asyncio.Event()))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    line.turns.pass_on()
    await asyncio.wait_for(line.say("after", Rank.POLL), 1)
