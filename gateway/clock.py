"""Time, as something that is handed over rather than looked up.

The *site's* time (when is a device due, is it night, how old is a value) comes from a Clock, which may run faster than
real time (a demo shows a night in two minutes) or be moved by a virtual event loop (a month in a test). The *line's* time
(how long may an answer take, how long is a silence of 3.5 characters) is the event loop's own, because bits on a wire do
not go faster in a demo.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from gateway.time_source import Kernel, TimeSource

BUILT_S: Final = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
"""When this program was made: no time before it is believed. Raised with every release."""
STEP_S: Final = 0.5
"""What UTC may differ from our own count of it without that being said."""
SLACK_S: Final = 60.0
INSISTS_S: Final = 86_400.0
"""For so long must a machine insist on a time before the newest that we know of, until we believe that it was that one
which was wrong: a clock that was years ahead for an hour must not have every other refused for years."""


@dataclass(frozen=True, slots=True)
class Step:
    """UTC is found to be `by_s` more than we counted. trusted: as it is after that; gained: and was not before."""

    by_s: float
    trusted: bool
    gained: bool


class Clock(Protocol):
    """Site time."""

    trusted: bool
    """False while UTC is a guess (no clock battery, no network time yet)."""

    @property
    def guess(self) -> tuple[str, float] | None:
        """While UTC is a guess: which boot of the machine this is, and by how much `now` is ahead of that boot's own count
        of seconds. Once the right number is known, what was dated by this guess can be put right."""
        ...

    def now(self) -> float:
        """UTC, seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Site seconds since some start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many site seconds."""
        ...

    def loop_seconds(self, seconds: float) -> float:
        """How many seconds of the event loop that many site seconds take: for time-outs given to asyncio."""
        ...


class SystemClock:
    """The machine's own time, as far as it can be trusted.

    Between two calls of `set` it is our own count of seconds from the boot's steady clock: nobody sets it behind our back,
    and whoever lives by it is told before it steps. Trusted, it follows the machine only while something stands behind
    that: a machine that has lost its network counts on, which is better than what anybody sets by hand.
    """

    def __init__(self, source: TimeSource | None = None) -> None:
        self.source = source or Kernel()
        self.boot = self.source.boot
        self._newest_s = BUILT_S
        self._insists_since_s: float | None = None
        self._steady = self.source.steady
        self.offset_s = self.source.utc() - self._steady()
        """UTC less the boot's steady clock, as we count."""
        self.trusted = self._believed(self.source.utc())

    def recall(self, newest_s: float, offset_s: float | None) -> None:
        """What was written down before this start: the newest time that was trusted; and the offset, where it was trusted
        in this very boot."""
        self._newest_s = max(BUILT_S, newest_s)
        self.trusted = self._believed(self.source.utc())
        if not self.trusted and offset_s is not None:
            self.offset_s, self.trusted = offset_s, True

    @property
    def guess(self) -> tuple[str, float] | None:
        return None if self.trusted else (self.boot, self.offset_s)

    def look(self) -> Step | None:
        """Whether the machine now says something else, or is now to be trusted. Nothing has changed until `set`."""
        utc_s = self.source.utc()
        believed = self._believed(utc_s)
        by_s = utc_s - self._steady() - self.offset_s
        if self.trusted and not believed:
            return None
        if believed and self.trusted and abs(by_s) < STEP_S:
            self.offset_s += by_s
            return None
        if believed == self.trusted and abs(by_s) < STEP_S:
            return None
        return Step(by_s, believed, believed and not self.trusted)

    def set(self, step: Step) -> None:
        """Goes over to what `look` found."""
        self.offset_s += step.by_s
        self.trusted = step.trusted

    def _believed(self, utc_s: float) -> bool:
        if not self.source.vouched() or utc_s < BUILT_S:
            self._insists_since_s = None
            return False
        if utc_s >= self._newest_s - SLACK_S:
            self._insists_since_s = None
            return True
        if self._insists_since_s is None:
            self._insists_since_s = self._steady()
        return self._steady() - self._insists_since_s >= INSISTS_S

    def now(self) -> float:
        return self.offset_s + self._steady()

    def monotonic(self) -> float:
        return self._steady()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def loop_seconds(self, seconds: float) -> float:
        return seconds


class ScaledClock:
    """Runs `speed` times as fast as the machine, and reads `start_s` (UTC seconds) when the machine's monotonic clock
    reads `anchor_s`; processes of one machine that are given the same three numbers agree."""

    trusted = True
    guess = None

    def __init__(self, start_s: float, anchor_s: float, speed: float) -> None:
        if not (speed > 0 and math.isfinite(start_s + anchor_s + speed)):
            raise ValueError(f"clock {start_s},{anchor_s},{speed}: expected numbers, the speed above 0")
        self.start_s, self.anchor_s, self.speed = start_s, anchor_s, speed

    def now(self) -> float:
        return self.start_s + (time.monotonic() - self.anchor_s) * self.speed

    def monotonic(self) -> float:
        return (time.monotonic() - self.anchor_s) * self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def loop_seconds(self, seconds: float) -> float:
        return seconds / self.speed

    def __str__(self) -> str:
        return f"{self.start_s!r},{self.anchor_s!r},{self.speed!r}"


class LoopClock:
    """Site time read off the event loop: with a loop that skips idle waiting, virtual time."""

    trusted = True
    guess = None

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self._loop = asyncio.get_running_loop()
        self._anchor_s = self._loop.time()

    def now(self) -> float:
        return self.start_s + self.monotonic()

    def monotonic(self) -> float:
        return self._loop.time() - self._anchor_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def loop_seconds(self, seconds: float) -> float:
        return seconds


def parse_clock(text: str) -> Clock:
    """`START,ANCHOR,SPEED` (see ScaledClock) or the empty string for the machine's own time. Raises ValueError for
    anything else."""
    if not text:
        return SystemClock()
    try:
        start, anchor, speed = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"clock {text!r}: expected START,ANCHOR,SPEED, three numbers") from None
    return ScaledClock(start, anchor, speed)
