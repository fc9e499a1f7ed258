"""What is known of a device on a bus, and when it counts as lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LOST_AFTER_FAILURES = 3
LOST_AFTER_PERIODS = 2.0
"""A device is lost when it failed that often in a row *and* said nothing for that many of its periods."""


@dataclass(slots=True)
class Health:
    """What is known of a device, since when, and on what evidence. Times are site time, UTC seconds; None: never."""

    answers: int = 0
    failures_in_a_row: int = 0
    last_answer_s: float | None = None
    lost_since_s: float | None = None
    last_error: str = ""
    requests: int = 0
    tries_since_lost: int = 0

    def moved(self, by_s: float) -> None:
        """The clock was set."""
        if self.last_answer_s is not None:
            self.last_answer_s += by_s
        if self.lost_since_s is not None:
            self.lost_since_s += by_s

    def answered(self, now_s: float) -> bool:
        """Notes an answer; True when the device had been lost."""
        back = self.lost_since_s is not None
        self.answers += 1
        self.failures_in_a_row, self.lost_since_s, self.last_error, self.last_answer_s = 0, None, "", now_s
        self.tries_since_lost = 0
        return back

    def failed(self, error: str, now_s: float, period_s: float, started_s: float) -> bool:
        """Notes a failure; True when it makes the device lost."""
        self.failures_in_a_row += 1
        self.tries_since_lost += self.lost_since_s is not None
        self.last_error = error
        silent_s = now_s - (self.last_answer_s if self.last_answer_s is not None else started_s)
        lost = self.failures_in_a_row >= LOST_AFTER_FAILURES and silent_s >= LOST_AFTER_PERIODS * period_s
        if lost and self.lost_since_s is None:
            self.lost_since_s = self.last_answer_s if self.last_answer_s is not None else started_s
            return True
        return False
