"""Keeps the gateway's time: follows the machine's, tells the judge when it steps, and has put right what a guess has dated.

While UTC is a guess, records other than alerts wait, because a record that has left is never changed. They do not wait for
ever: where the platform has been in reach for `HOLD_S` and the machine still has no time, they go, marked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.clock import Clock, Step, SystemClock
from gateway.errors import StoreError
from gateway.judge import Judge
from gateway.moved import Moved
from gateway.store import Store

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 60.0
GUESSING_EVERY_S: Final = 5.0
HOLD_S: Final = 600.0
TRUSTED: Final = "time"
"""The name of the state that says for which boot the time was known."""


class Timekeeper:
    """See the module. online: whether the platform is in reach; remember: fills the judge's windows from the store; judging:
    held while the judge is asked or changed; moved: who else is told by how many seconds the clock was set."""

    def __init__(
        self,
        store: Store,
        judge: Judge,
        clock: Clock,
        online: Callable[[], bool],
        remember: Callable[[], Awaitable[None]],
        judging: asyncio.Lock,
        moved: Sequence[Callable[[float], None]] = (),
    ) -> None:
        self._store, self._judge, self._clock = store, judge, clock
        self._online, self._remember, self._judging = online, remember, judging
        self._moved = moved
        self._reached_s = 0.0
        if isinstance(clock, SystemClock):
            known = store.state(TRUSTED) or {}
            clock.recall(store.newest_s(), known.get("offset_s") if known.get("boot") == clock.boot else None)

    async def start(self) -> None:
        """Before anything is remembered: what guesses of earlier lives have dated is put right or let go."""
        clock = self._clock
        if not isinstance(clock, SystemClock):  # the time of a demo or a test is what it says
            await self._durably(self._store.release)
        elif clock.trusted:
            await self._durably(lambda: self._store.correct(*self._known(clock), self._states(clock)))
        else:
            log.warning("the time is a guess (%.0f s since 1970): no clock battery, no network time yet", clock.now())
            await self._durably(lambda: self._store.release(clock.boot))

    async def run(self) -> None:
        """Until cancelled."""
        clock = self._clock
        if not isinstance(clock, SystemClock):
            return
        while True:
            wait_s = LOOK_EVERY_S if clock.trusted else GUESSING_EVERY_S
            await clock.sleep(wait_s)
            if (step := clock.look()) is not None:
                await self._step(clock, step)
            elif not clock.trusted:
                await self._wait_on(wait_s)

    async def _step(self, clock: SystemClock, step: Step) -> None:
        log.warning("the clock is set by %+.1f s%s", step.by_s, "; the time is known now" if step.gained else "")
        async with self._judging:
            guessed_s = clock.offset_s
            clock.set(step)
            for moved in (self._judge.moved, *self._moved):
                moved(step.by_s)
            if not step.gained:
                return
            boot, offset_s, steady_s = self._known(clock)
            states = self._judge.corrected(Moved(step.by_s, guessed_s, guessed_s + steady_s))
            kept = {f"watch/{name}": state for name, state in states.items()} | self._states(clock)
            await self._durably(lambda: self._store.correct(boot, offset_s, steady_s, kept))
            await self._remember()

    async def _wait_on(self, passed_s: float) -> None:
        before_s = self._reached_s
        self._reached_s += passed_s * self._online()
        if before_s < HOLD_S <= self._reached_s:
            log.warning("the platform is in reach and the time still a guess: records go as they are, marked")
            await self._durably(self._store.release)

    def _known(self, clock: SystemClock) -> tuple[str, float, float]:
        return clock.boot, clock.offset_s, clock.monotonic()

    def _states(self, clock: SystemClock) -> dict[str, object]:
        return {TRUSTED: {"boot": clock.boot, "offset_s": clock.offset_s}}

    async def _durably(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except StoreError as error:
            log.error("time: not on disk yet: %s", error)  # it stays in the store's queue
