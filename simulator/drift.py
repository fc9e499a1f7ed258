"""How a fault grows: the same few numbers for lamps, doors and whatever else wears."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drift:
    """From 0 at `start_s` (UTC seconds) to `severity` at `start_s + ramp_s`, and `severity` for ever after.

    steepness 0: in a straight line; above: slow first and then faster, as exp(steepness x) does, which is how wear that
    feeds on itself goes. ramp_s 0: at once.
    """

    start_s: float
    ramp_s: float
    severity: float = 1.0
    steepness: float = 0.0

    def __post_init__(self) -> None:
        if self.ramp_s < 0 or self.severity < 0 or self.steepness < 0:
            raise ValueError(f"drift: expected ramp_s, severity and steepness of 0 or more, got {self}")

    def at(self, time_s: float) -> float:
        """How far it has gone: 0 to severity."""
        if time_s <= self.start_s:
            return 0.0
        if time_s >= self.start_s + self.ramp_s:
            return self.severity
        done = (time_s - self.start_s) / self.ramp_s
        if self.steepness:
            done = math.expm1(self.steepness * done) / math.expm1(self.steepness)
        return self.severity * done
