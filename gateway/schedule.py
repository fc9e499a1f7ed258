"""Who is read next on a bus: by deadline, with priorities, and a share of the bus for everyone who waits.

1. A visit is due on the grid of its period. Of those that are due, the one with the earliest deadline goes first.
2. Its deadline is when it would be done, if it had had its share of the bus since it was due. The share is its
   priority's (`SHARE`), so what is short or of high priority waits less.
3. So the deadline of a visit that waits stands still while those of all who come later move on: a bus that is late for
   everybody starves nobody, and a slow, rare visit waits no longer than its cost divided by its share, and the one visit
   of each other device that was already due.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from gateway.plan import Visit
from gateway.site import Priority

SHARE: Final[dict[Priority, float]] = {"high": 1.0, "normal": 0.05, "low": 0.02}
"""Of the bus's time, for one visit while it waits."""
FIRST_GUESS_S: Final = 0.05
"""What a visit is taken to cost before it was made once."""


@dataclass(slots=True, eq=False)
class Turn:
    """A visit in the schedule. due_s: site seconds, monotonic; cost_s: what it took the last time. visit None: it is not
    made any more."""

    visit: Visit | None
    due_s: float
    cost_s: float = FIRST_GUESS_S

    def deadline_s(self) -> float:
        assert self.visit is not None
        return self.due_s + self.cost_s / SHARE[self.visit.device.priority]


class Schedule:
    """All turns of a bus. Times are arguments."""

    def __init__(self) -> None:
        self._later: list[tuple[float, int, Turn]] = []
        self._due: list[tuple[float, int, Turn]] = []
        self._added = 0

    def add(self, turn: Turn) -> None:
        """Of turns with the same deadline the first that was added goes first."""
        self._added += 1
        heapq.heappush(self._later, (turn.due_s, self._added, turn))

    def next(self, now_s: float) -> Turn | None:
        """The turn to take now, taken out; None when nothing is due."""
        while self._later and self._later[0][0] <= now_s:
            _, order, turn = heapq.heappop(self._later)
            if turn.visit is not None:
                heapq.heappush(self._due, (turn.deadline_s(), order, turn))
        while self._due:
            turn = heapq.heappop(self._due)[2]
            if turn.visit is not None:
                return turn
        return None

    def due_s(self) -> float | None:
        """When the next turn will be due; None when there is none."""
        return self._later[0][0] if self._later else None

    def hasten(self, device: str, now_s: float) -> None:
        """Makes every turn of a device due now."""
        for index, (due_s, order, turn) in enumerate(self._later):
            if turn.visit is not None and turn.visit.device.name == device and due_s > now_s:
                turn.due_s = now_s
                self._later[index] = (now_s, order, turn)
        heapq.heapify(self._later)
