"""What a gateway promised, against what its platform has: every record once or counted in a gap, no durable alert lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from simulator.centre import Centre


class Ledger:
    """See the module. break_: told of everything that does not hold."""

    def __init__(self, break_: Callable[[str], None]) -> None:
        self._break = break_
        self.counts: Counter[str] = Counter()
        self.lost_epochs: set[str] = set()
        """Of stores that were ruined."""
        self.alerts: dict[str, str] = {}
        """The epoch in which each alert's beginning and end were told durable, by id."""

    def durable(self, epoch: str, alert: str, cleared: bool) -> None:
        """An alert is on the disk, as somebody was told."""
        self.alerts[f"{alert} {cleared}"] = epoch

    def settle(self, centre: Centre, epoch_now: str, last_now: int) -> None:
        """Once all must have arrived. last_now: the last number that the store of `epoch_now` gave out."""
        rows = centre.rows
        for problem in centre.problems:
            self._break(problem)
        given: dict[str, int] = {epoch_now: last_now}
        for epoch, seq in rows:
            given[epoch] = max(given.get(epoch, 0), seq)
        gaps = centre.bodies("gap")
        counted: dict[str, set[int]] = {epoch: set() for epoch in given}
        for gap in gaps:
            seqs = {seq for first, last in gap["seqs"] for seq in range(first, last + 1)}
            counted[gap["epoch"]] |= seqs
            if seqs and len(seqs) != gap["count"]:
                self._break(f"a gap counts {gap['count']} records and lists {len(seqs)}")
        self.counts["records counted in gaps"] = sum(len(seqs) for seqs in counted.values())
        told_lost = {gap["epoch_lost"] for gap in gaps if "epoch_lost" in gap}
        for epoch in sorted(self.lost_epochs & given.keys() - told_lost):
            self._break(f"a store was ruined and no gap says so (last number {given[epoch]})")
        for epoch, last in given.items():
            missing = [n for n in range(1, last + 1) if (epoch, n) not in rows and n not in counted[epoch]]
            if missing and epoch in told_lost:
                self.counts["lost with a ruined file"] += len(missing)
            elif missing:
                self._break(f"{len(missing)} records neither arrived nor were counted, first {missing[0]} of {last}")
        there = {f"{body['alert']['id']} {body['alert'].get('cleared') is not None}" for body in centre.bodies("alert")}
        for alert, epoch in self.alerts.items():
            if alert not in there and epoch not in told_lost:
                self._break(f"alert {alert} was durable and never arrived")
            elif alert not in there:
                self.counts["alerts lost with a ruined file"] += 1
