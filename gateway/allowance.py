"""How often strangers are answered: so many at once, then one in a while, for each answer costs the disk a row."""

from __future__ import annotations

from gateway.clock import Clock


class Allowance:
    """at_once: answers that may follow each other; every_s: how long it takes to earn another. refused counts those that
    had none; whoever says so sets it back."""

    def __init__(self, at_once: int, every_s: float, clock: Clock) -> None:
        self._at_once, self._every_s, self._clock = at_once, every_s, clock
        self._left, self._counted_s = float(at_once), clock.monotonic()
        self.refused = 0

    def take(self) -> bool:
        """Whether there is one left, which is used up then."""
        now_s = self._clock.monotonic()
        self._left = min(self._at_once, self._left + (now_s - self._counted_s) / self._every_s)
        self._counted_s = now_s
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True
