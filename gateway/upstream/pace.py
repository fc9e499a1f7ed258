"""How hard the durable lane tries, and how a fleet keeps from trying all at once. Pure: chance is handed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Chance(Protocol):
    """As `random.Random`."""

    def uniform(self, a: float, b: float) -> float:
        """Some number from a to b."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the lane tries. window: records sent and not yet acknowledged, and beside them as many as `urgent` that
    may not wait; resend_s: after how long one is sent again (doubled each time, at most eightfold, give or take a
    quarter); retry_s: a new connection is tried after a random time up to this, doubled each time up to
    `retry_max_s`; connect_s: it must stand within this time; keepalive_s: a connection on which nothing has come for so long
    is tried, and given up as long after."""

    window: int = 2000
    urgent: int = 20
    resend_s: float = 15.0
    retry_s: float = 1.0
    retry_max_s: float = 900.0
    connect_s: float = 20.0
    keepalive_s: int = 30

    def pause_s(self, tries: int, chance: Chance) -> float:
        """How long to wait after a connection that failed, and `tries` before it did: any time at all up to the limit, so
        that a fleet that lost its platform in one instant does not come back in one."""
        return chance.uniform(0, min(self.retry_max_s, self.retry_s * 2 ** min(tries, 20)))

    def patience_s(self, tries: int, chance: Chance) -> float:
        """How long to wait for the acknowledgement of a record that was sent `tries` times."""
        return self.resend_s * min(1 << (tries - 1), 8) * chance.uniform(0.75, 1.25)
