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
from typing import Protocol


class Clock(Protocol):
    """Site time."""

    trusted: bool
    """False while UTC is a guess (no clock battery, no network time yet)."""

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
    """The machine's own time."""

    trusted = True

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def loop_seconds(self, seconds: float) -> float:
        return seconds


class ScaledClock:
    """Runs `speed` times as fast as the machine, and reads `start_s` (UTC seconds) when the machine's monotonic clock
    reads `anchor_s`; processes of one machine that are given the same three numbers agree."""

    trusted = True

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
