"""Summaries: what a device's points did over a fixed period. They are what is kept on disk, judged and sent.

Periods are aligned to UTC (a period of 900 s starts at :00, :15, :30, :45), so that two gateways, a replay and a restart
cut time in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.alert import from_iso, iso
from gateway.moved import moved_start
from gateway.reading import Quality, Snapshot

PERIOD_S = 900
ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One point over one period. n: readings used; bad: readings that were not (no value, or bad quality). Without
    any used reading, mean, min, max and last are None."""

    n: int
    bad: int
    mean: float | None
    min: float | None
    max: float | None
    last: float | None

    def joined(self, later: Aggregate) -> Aggregate:
        """This part of a period and a later one as one."""
        if self.mean is None or later.mean is None:
            known = self if later.mean is None else later
            return replace(known, n=self.n + later.n, bad=self.bad + later.bad)
        n = self.n + later.n
        assert self.min is not None and later.min is not None and self.max is not None and later.max is not None  # noqa: PT018
        return Aggregate(
            n,
            self.bad + later.bad,
            self.mean + (later.mean - self.mean) * later.n / n,
            min(self.min, later.min),
            max(self.max, later.max),
            later.last,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """A device over the period that starts at `start_s` (UTC seconds)."""

    device: str
    start_s: float
    period_s: float
    points: Mapping[str, Aggregate]

    def as_json(self) -> dict[str, Any]:
        """The contract's object (central/contract/summary.schema.json), without the identity of the record."""
        points = {name: [a.n, a.bad, a.mean, a.min, a.max, a.last] for name, a in self.points.items()}
        return {"device": self.device, "time": iso(self.start_s), "period_s": self.period_s, "points": points}

    def joined(self, later: Summary) -> Summary:
        """This part of a period and a later one, of the same device, as one summary."""
        ours, theirs, none = self.points, later.points, Aggregate(0, 0, None, None, None, None)
        names = dict.fromkeys((*ours, *theirs))
        points = {name: ours.get(name, none).joined(theirs.get(name, none)) for name in names}
        return replace(self, points=points)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Summary:
        """The inverse of `as_json`."""
        points = {name: Aggregate(*cells) for name, cells in body["points"].items()}
        return cls(body["device"], from_iso(body["time"]), body["period_s"], points)


class _Running:
    """One point's aggregate while its period lasts."""

    __slots__ = ("bad", "last", "max", "min", "n", "total")

    def __init__(self) -> None:
        self.n = self.bad = 0
        self.total = 0.0
        self.min = self.max = self.last = None  # type: float | None

    def add(self, values: Sequence[float | None]) -> None:
        """One or more, in order; None for a bad one."""
        good = [value for value in values if value is not None]
        self.bad += len(values) - len(good)
        if not good:
            return
        self.n += len(good)
        self.total = sum(good, self.total)
        self.last = good[-1]
        low, high = min(good), max(good)
        if self.min is None or low < self.min:
            self.min = low
        if self.max is None or high > self.max:
            self.max = high

    def done(self) -> Aggregate:
        if self.min is None or self.max is None:
            return Aggregate(self.n, self.bad, None, None, None, None)
        # Rounding of the sum must not carry the mean past the extremes, nor an overflow into JSON.
        mean = min(max(self.total / self.n, self.min), self.max)
        return Aggregate(self.n, self.bad, mean, self.min, self.max, self.last)


class Summariser:
    """Turns one device's snapshots, in order of time, into summaries.

    A snapshot that is a little older than the running period (a clock that was set) is counted in it all the same: a
    value is better in the wrong quarter of an hour than lost. A clock that jumps back by more than a period ends it, or
    there would be no summary until that time comes again.
    """

    def __init__(self, device: str, period_s: float = PERIOD_S) -> None:
        self.device, self.period_s = device, period_s
        self.start_s: float | None = None
        self._points: dict[str, _Running] = {}
        self._names: tuple[str, ...] = ()
        self._rows: list[tuple[float | None, ...]] = []
        """What came since values were last added up: doing it for several rows at once costs a third."""

    def add(self, snapshot: Snapshot) -> Iterator[Summary]:
        """Takes a snapshot in; gives the summary of the period that it ends, if it ends one."""
        start_s = snapshot.time_s // self.period_s * self.period_s
        if self.start_s is not None and start_s < self.start_s - self.period_s:
            yield self._done(self.start_s)
        yield from self.close(start_s)
        if self.start_s is None:
            self.start_s = start_s
        values, flaws = snapshot.values, snapshot.flaws
        names = tuple(values)
        if names != self._names or len(self._rows) >= ROWS_AT_ONCE:
            self._add_up()
            self._names = names
        if flaws:
            bad = {name for name, flaw in flaws.items() if flaw.quality is Quality.BAD}
            self._rows.append(tuple(None if name in bad else value for name, value in values.items()))
        else:
            self._rows.append(tuple(values.values()))

    def _add_up(self) -> None:
        if not self._rows:
            return
        points = self._points
        for name, values in zip(self._names, zip(*self._rows, strict=True), strict=True):
            running = points.get(name)
            if running is None:
                running = points[name] = _Running()
            running.add(values)
        self._rows.clear()

    def moved(self, by_s: float) -> None:
        """The clock was set: what runs is dated anew, to the whole period that it lies in for the most part."""
        if self.start_s is not None:
            self.start_s = moved_start(self.start_s, self.period_s, by_s)

    def close(self, now_s: float) -> Iterator[Summary]:
        """The running period's summary, if that period is over at `now_s`."""
        if self.start_s is not None and now_s >= self.start_s + self.period_s:
            yield self._done(self.start_s)

    def _done(self, start_s: float) -> Summary:
        self._add_up()
        points = {name: running.done() for name, running in self._points.items()}
        self.start_s, self._points = None, {}
        return Summary(self.device, start_s, self.period_s, points)
