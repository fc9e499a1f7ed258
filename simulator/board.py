"""The time of a board without a clock battery: after a power cut it starts with a wrong one, until the network tells it."""

from __future__ import annotations

import asyncio


class Board:
    """As `gateway.time_source.TimeSource`, on the event loop's time. start_s: UTC when the loop's time is 0."""

    def __init__(self, start_s: float, wrong_s: float = 0.0, known: bool = False) -> None:
        self._start_s, self._boots = start_s, 0
        self._now_s = asyncio.get_running_loop().time
        self.power_on(wrong_s)
        self.known = known

    def power_on(self, wrong_s: float) -> None:
        """A new boot, whose UTC is that much too much."""
        self._boots += 1
        self.boot = f"boot-{self._boots}"
        self.wrong_s, self.known = wrong_s, False
        self._booted_s = self._now_s()

    def told(self) -> None:
        """Network time has come."""
        self.wrong_s, self.known = 0.0, True

    def true_s(self) -> float:
        """What UTC really is."""
        return self._start_s + self._now_s()

    def utc(self) -> float:
        return self.true_s() + self.wrong_s

    def steady(self) -> float:
        return self._now_s() - self._booted_s

    def vouched(self) -> bool:
        return self.known
