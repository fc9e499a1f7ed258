"""Deeds: carries out what each decision cycle wants, at once and one at a time for each point, and tries again what failed.

The cycle never waits for a device: a lamp that is dead must not keep its neighbours dark. What a device was told is told
again when it is seen elsewhere, because it lost its supply or somebody moved it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.action import Action, Gate
from gateway.alert import Alert, iso
from gateway.clock import Clock
from gateway.condition import Picture
from gateway.cycle import Cycle, Wanted
from gateway.errors import ActionError, NotNow
from gateway.permit import Origin

log = logging.getLogger(__name__)

CYCLE_S = 60.0
"""Site time between two decisions, at the most: what became too old is noticed by then."""
PATIENCE_S = 60.0
"""How long inputs that were never heard of are waited for before the first decision: a start is no loss."""
AGAIN_S, AGAIN_AT_LEAST_S = 30.0, 600.0
"""After how long what a device did not confirm is tried again; doubled each time, up to the second."""
GATHER_S = 0.15
"""How long what changes waits, at the most, for points whose read-back was given up: one frame with its answer and more."""
REFUSED_AGAIN_S = 10.0
"""After how long what the gate refused is tried again, where nothing that it looks at changes; doubled each time."""


@dataclass(slots=True)
class _Told:
    """What became of a point. shown: the value as the device gives it back; since_s: site time, UTC, when it took it;
    again_s: monotonic, when it may be tried again; refused: why not, the last time; refusals: how often in a row; barred: by
    an interlock, a law or who outranks it, so that it is tried at once when that is over; missed: something else was wanted
    while it was being told."""

    value: float | None = None
    shown: float | None = None
    origin: Origin | None = None
    since_s: float = 0.0
    again_s: float = -math.inf
    failures: int = 0
    refused: str = ""
    refusals: int = 0
    barred: bool = False
    missed: bool = False


class Acting:
    """See the module. look: the inputs as they are; decided: keeps what the rules must remember, with their alerts;
    refused: records what the gate did not let through, once for each reason."""

    def __init__(
        self,
        cycle: Cycle,
        gate: Gate,
        clock: Clock,
        look: Callable[[], Picture],
        decided: Callable[[dict[str, Any], Sequence[Alert]], None],
        refused: Callable[[dict[str, Any]], None],
    ) -> None:
        self.cycle, self._gate, self._clock = cycle, gate, clock
        self._look, self._decided, self._refused = look, decided, refused
        self.news = asyncio.Event()
        """Set when an input of a decision is another."""
        self._gather_until_s = -math.inf
        self._told: dict[str, _Told] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._ending: set[str] = set()
        """Of those, the ones whose read-back was given up because something else is wanted."""
        self._remembered: dict[str, Any] = {}

    async def run(self, waits: Callable[[], bool], strays: Callable[[str, float, float], bool]) -> None:
        """Decides until cancelled. waits: whether an input was never heard of; strays: whether a point was seen elsewhere
        than (value) since (UTC seconds)."""
        began_s = self._clock.monotonic()
        while waits() and self._clock.monotonic() - began_s < PATIENCE_S:
            self.news.clear()
            await self._pause(1.0)
        try:
            while True:
                self.news.clear()
                picture = self._look()
                decision = self.cycle.decide(picture, self._gate.ledger.holds)
                if decision.alerts or (decision.rules and self._changed()):
                    self._decided(self._remembered, decision.alerts)
                for point in decision.let_go:
                    self._gate.release(point)
                if (gather_s := self._give_up(decision.wanted)) > 0:
                    await self._pause(gather_s)
                    continue
                for point, wanted in decision.wanted.items():
                    self._see_to(point, wanted, strays)
                for point in self._told.keys() - decision.wanted.keys():
                    if point not in self._doing:
                        del self._told[point]
                await self._pause(self._until_s(picture.time_s))
        finally:
            doing = list(self._doing.values())
            for task in doing:
                task.cancel()
            await asyncio.gather(*doing, return_exceptions=True)

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did."""
        self.cycle.moved(by_s)
        self._gate.ledger.moved(by_s)
        for told in self._told.values():
            told.since_s += by_s

    def _changed(self) -> bool:
        state = self.cycle.state()
        if state == self._remembered:
            return False
        self._remembered = state
        return True

    def _until_s(self, time_s: float) -> float:
        """Seconds of site time until the next decision."""
        now_s = self._clock.monotonic()
        waiting = [told.again_s - now_s for told in self._told.values() if told.again_s > now_s]
        return max(0.05, min(CYCLE_S, self.cycle.wakes_s(time_s) - self._clock.now(), *waiting))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(self._clock.loop_seconds(seconds)):
                await self.news.wait()
        except TimeoutError:
            pass

    def _give_up(self, wanted: Mapping[str, Wanted]) -> float:
        """Gives up reading back what is to be another value by now. Seconds for which the rest should wait for those, so
        that a street is told together; 0 when there is nothing to wait for."""
        now_s = self._clock.monotonic()
        for point in self._doing:
            told, other = self._told[point], wanted.get(point)
            if other is None or (told.value == other.value and told.origin is other.origin):
                continue
            told.missed = True
            if self._gate.supersede(point):
                if not self._ending:
                    self._gather_until_s = now_s + GATHER_S
                self._ending.add(point)
        return self._gather_until_s - now_s if self._ending else 0.0

    def _see_to(self, point: str, wanted: Wanted, strays: Callable[[str, float, float], bool]) -> None:
        """Has a point told what is wanted, unless it is so, or is being told, or has to wait."""
        told = self._told.setdefault(point, _Told())
        if point in self._doing:
            told.missed = told.missed or told.value != wanted.value or told.origin is not wanted.origin
            return
        hold = self._gate.ledger.holds.get(point)
        held = hold is not None and hold.origin is wanted.origin and hold.value == wanted.value
        stray = told.shown is not None and strays(point, told.shown, told.since_s)
        if held and told.value == wanted.value and not stray:
            self._gate.ledger.renew(point, self._clock.monotonic())
            return
        if self._clock.monotonic() < told.again_s and told.value == wanted.value and told.origin is wanted.origin:
            freed = told.barred and self._gate.allows(point, wanted.value, wanted.origin)
            if not freed:
                return
        task = asyncio.get_running_loop().create_task(self._do(point, wanted, told), name=f"act {point}")
        self._doing[point] = task

    async def _do(self, point: str, wanted: Wanted, told: _Told) -> None:
        fresh = told.value != wanted.value or told.origin is not wanted.origin
        told.value, told.origin = wanted.value, wanted.origin
        try:
            done = await self._gate.perform(Action(point, wanted.value, wanted.reason, wanted.origin))
        except ActionError as error:
            if isinstance(error, NotNow):
                wait_s = error.wait_s
            else:
                told.refusals = 1 if fresh else told.refusals + 1
                wait_s = min(AGAIN_AT_LEAST_S, REFUSED_AGAIN_S * 2.0 ** min(told.refusals - 1, 10))
                if fresh or told.refused != str(error):
                    self._tell(wanted, point, str(error))
            told.again_s = self._clock.monotonic() + max(0.1, wait_s)
            told.refused, told.barred = str(error), not self._gate.allows(point, wanted.value, wanted.origin)
        else:
            told.since_s, told.refused, told.shown = self._clock.now(), "", done.read_back
            told.barred, told.refusals = False, 0
            told.failures = 0 if done.confirmed or done.dry_run or done.superseded else told.failures + 1
            pause_s = min(AGAIN_AT_LEAST_S, AGAIN_S * 2.0 ** min(told.failures - 1, 10)) if told.failures else 0.0
            told.again_s = self._clock.monotonic() + pause_s
        finally:
            del self._doing[point]
            self._ending.discard(point)
        if told.missed or told.failures or told.refused:
            told.missed = False
            if not self._ending:  # those that end in a moment are decided on together, and told together
                self.news.set()

    def _tell(self, wanted: Wanted, point: str, error: str) -> None:
        log.warning("point=%s refused: %s", point, error)
        self._refused(
            {
                "what": "refusal",
                "time": iso(self._clock.now()),
                "point": point,
                "value": wanted.value,
                "reason": wanted.reason,
                "origin": wanted.origin.value,
                "confirmed": False,
                "error": error,
            }
        )
