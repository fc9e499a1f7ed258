"""Whose turn it is on a bus: writes first, then read-backs, then what is only polled.

Whoever polls has a turn after AT_ONCE others at the latest. A long procedure holds its turn to the end, but may lend it
between two of its requests, where nothing that it set in a device is lost by it (`Ask.may_wait`), to what is brief and
sets nothing itself: so a lamp is lit while a memory bank is read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

AT_ONCE: Final = 4
"""Turns of others in a row while a poll waits; and turns that are lent in a row."""


class Rank(IntEnum):
    """Who goes first; the lower does."""

    WRITE = 0
    READ_BACK = 1
    POLL = 2


class Needless(Exception):
    """What the turn was wanted for is done."""


@dataclass(slots=True, eq=False)
class _Waiter:
    turn: asyncio.Future[None]
    brief: bool


class Turns:
    """The turns of one bus. `take` one, `pass_on` when done."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: tuple[list[_Waiter], ...] = tuple([] for _ in Rank)  # short: lists are a tenth of a deque
        self._ahead = 0  # turns of others in a row since a poll had one
        self._lent: asyncio.Future[None] | None = None

    async def take(self, rank: Rank, *, brief: bool = False, needless: asyncio.Event | None = None) -> None:
        """Waits for the turn; `pass_on` ends it. brief: of one request, that sets nothing in a device that a procedure
        under way may rely on. needless: once set, the turn is not wanted any more: raises Needless while it waits."""
        if self._held:
            mine = _Waiter(asyncio.get_running_loop().create_future(), brief)
            self._waiting[rank].append(mine)
            try:
                if needless is None:
                    await mine.turn
                else:
                    await self._unless(needless, mine)
            except asyncio.CancelledError:
                if not mine.turn.cancelled():  # it was handed over in the same moment
                    self.pass_on()
                raise
        self._held = True
        self._ahead = 0 if rank is Rank.POLL else self._ahead + 1

    async def _unless(self, needless: asyncio.Event, mine: _Waiter) -> None:
        gone = asyncio.get_running_loop().create_task(needless.wait())
        try:
            await asyncio.wait((gone, mine.turn), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            mine.turn.cancel()  # where it was handed over already this does nothing, and `take` passes it on
            raise
        finally:
            gone.cancel()
        if not mine.turn.done():
            mine.turn.cancel()
            raise Needless

    def pass_on(self) -> None:
        """Ends a turn: what was lent goes back, else the next one has it."""
        if self._lent is not None:
            lent, self._lent = self._lent, None
            lent.set_result(None)
            return
        self._held = False
        polls = self._next(Rank.POLL)
        if polls is None or self._ahead < AT_ONCE:
            polls = self._next(Rank.WRITE) or self._next(Rank.READ_BACK) or polls
        if polls is not None:
            self._held = True  # nobody may come in between
            polls.pop(0).turn.set_result(None)

    async def give_way(self) -> None:
        """Lends the turn to what is brief and waits; has it back when it returns, cancelled or not. Not for what is brief
        itself: a turn is lent once."""
        assert self._lent is None
        for _ in range(AT_ONCE):
            waiter = self._brief()
            if waiter is None:
                return
            self._lent = lent = asyncio.get_running_loop().create_future()
            waiter.turn.set_result(None)
            cancelled: asyncio.CancelledError | None = None
            while not lent.done():  # the turn is the other's until it passes it on
                try:
                    await asyncio.shield(lent)
                except asyncio.CancelledError as error:
                    cancelled = error
            if cancelled is not None:
                raise cancelled

    def _next(self, rank: Rank) -> list[_Waiter] | None:
        """The queue of a rank, with one who still waits at its head; None when there is nobody."""
        queue = self._waiting[rank]
        while queue and queue[0].turn.done():
            queue.pop(0)
        return queue or None

    def _brief(self) -> _Waiter | None:
        """The first of those that a turn may be lent to, taken out of its queue."""
        for rank in (Rank.WRITE, Rank.READ_BACK):
            queue = self._waiting[rank]
            for waiter in queue:
                if waiter.brief and not waiter.turn.done():
                    queue.remove(waiter)
                    return waiter
        return None
