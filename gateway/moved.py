"""Times that were dated by a guess, once it is known how wrong that was. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gateway.alert import Alert


@dataclass(frozen=True, slots=True)
class Moved:
    """Times from `from_s` to `to_s`, as they were counted, were `by_s` too small; others were no guess of this boot's."""

    by_s: float
    from_s: float
    to_s: float

    def time(self, time_s: float) -> float:
        return time_s + self.by_s if self.from_s <= time_s <= self.to_s else time_s

    def known(self, time_s: float | None) -> float | None:
        """The same, for a time that may be none."""
        return None if time_s is None else self.time(time_s)

    def alert(self, alert: Alert) -> Alert:
        return replace(
            alert,
            onset_s=self.time(alert.onset_s),
            raised_s=self.time(alert.raised_s),
            cleared_s=self.known(alert.cleared_s),
        )


def moved_start(start_s: float, period_s: float, by_s: float) -> float:
    """Where a period belongs whose start was counted `by_s` too small: the whole period that it lies in for the most part,
    because periods are cut at the same places everywhere."""
    periods = math.floor(abs(by_s) / period_s + 0.5)  # a half goes away from zero, as SQLite rounds
    return start_s + math.copysign(periods, by_s) * period_s
