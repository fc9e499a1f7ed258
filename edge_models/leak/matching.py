"""From scores over time to figures: alerts, which leak each is for, and how many are for none.

One alert finds one leak: the first raised while a leak runs (or within a day of its end) that no earlier alert has found.
All others are false, those for a leak that is found already too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_models.leak.trial import tried

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.verdict import Decision

    Floats = NDArray[np.float64]

MONTH_H = 30 * 24
AFTER_H = 24


@dataclass(frozen=True, slots=True)
class Course:
    """A gateway's scores, hour by hour of its case, NaN where there is none, and the leaks that ran: (start, end, growth_h,
    share, m3_h) each. sigmas: by how much each is visible (`visibility.SeenLeak`). kind: "flow", "pressure" or "both"."""

    scores: Floats
    leaks: Floats
    sigmas: Floats
    kind: str
    regime: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a leak that was watched. delay_h: None where it was not found. ended: its alert did before it."""

    share: float
    m3_h: float
    growth_h: float
    sigmas: float
    delay_h: float | None
    ended: bool = False


@dataclass(slots=True)
class Tally:
    """What came of it. alerts: (score when raised, whether it found a leak). kind, regime: of a Course, empty for many."""

    kind: str = ""
    regime: str = ""
    fates: list[Fate] = field(default_factory=list)
    alerts: list[tuple[float, bool]] = field(default_factory=list)
    months: float = 0.0
    calm_h: int = 0
    alarm_h: int = 0

    def add(self, other: Tally) -> None:
        self.fates += other.fates
        self.alerts += other.alerts
        self.months += other.months
        self.calm_h += other.calm_h
        self.alarm_h += other.alarm_h

    @property
    def found(self) -> int:
        return sum(fate.delay_h is not None for fate in self.fates)

    @property
    def false(self) -> int:
        return sum(not right for _, right in self.alerts)

    @property
    def share_found(self) -> float:
        return self.found / max(1, len(self.fates))

    @property
    def false_a_month(self) -> float:
        return self.false / max(self.months, 1e-9)

    @property
    def alarm_share(self) -> float:
        """Of the time without a leak."""
        return self.alarm_h / max(self.calm_h, 1)


def paired(leaks: Sequence[tuple[float, float]], hours: Sequence[float]) -> dict[int, int]:
    """leaks: (start, end) each; hours: at which alerts are raised, in order. The alert that finds each found leak, by
    their places."""
    found_by: dict[int, int] = {}
    for alert, hour in enumerate(hours):
        for i, (start, end) in enumerate(leaks):
            if start < hour <= end + AFTER_H and i not in found_by:
                found_by[i] = alert
                break
    return found_by


def tallies(courses: Sequence[Course], decisions: Sequence[Decision]) -> list[list[Tally]]:
    """The count of each gateway, for each decision."""
    hours = max(len(course.scores) for course in courses)
    scores = np.full((len(courses), hours), np.nan)
    for row, course in zip(scores, courses, strict=True):
        row[: len(course.scores)] = course.scores
    out = []
    for raised, alarmed in tried(scores, decisions):
        out.append([_tally(course, raised[i], alarmed[i]) for i, course in enumerate(courses)])
    return out


def _tally(course: Course, raised: NDArray[np.bool_], alarmed: NDArray[np.bool_]) -> Tally:
    judged = np.isfinite(course.scores)
    alerts = np.flatnonzero(raised[: len(judged)])
    spans = [(start, end) for start, end, *_ in course.leaks.tolist()]
    found_by = paired(spans, (alerts + 1).tolist())  # raised at the end of an hour
    calm = judged.copy()
    for start, end in spans:
        calm[int(start) : int(end)] = False
    out = Tally(course.kind, course.regime, months=float(judged.sum()) / MONTH_H, calm_h=int(calm.sum()))
    out.alarm_h = int((calm & alarmed[: len(judged)]).sum())
    right = set(found_by.values())
    out.alerts = [(float(course.scores[hour]), i in right) for i, hour in enumerate(alerts.tolist())]
    for i, (start, end, growth_h, share, m3_h) in enumerate(course.leaks.tolist()):
        if judged[int(start) : int(end)].any():  # else nobody was watching yet
            delay_h, ended = None, False
            if i in found_by:
                hour = int(alerts[found_by[i]])
                delay_h, ended = float(hour + 1 - start), not alarmed[hour : min(int(end), len(judged))].all()
            out.fates.append(Fate(share, m3_h, growth_h, float(course.sigmas[i]), delay_h, ended))
    return out


def total(each: Sequence[Tally]) -> Tally:
    """The count of many."""
    out = Tally()
    for one in each:
        out.add(one)
    return out


def _drawn(each: Floats, seed: int = 0) -> Floats:
    """(draws, columns): sums over gateways drawn with replacement, for intervals. each (gateways, columns)."""
    return np.asarray(each[np.random.default_rng(seed).integers(0, len(each), (2000, len(each)))].sum(1))


def _between(shares: Floats) -> tuple[float, float]:
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def intervals(each: Sequence[Tally]) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """95 % intervals of the share found, of false alerts a month and of the share of calm time in alarm, by bootstrap over
    gateways."""
    rows = [(t.found, len(t.fates), t.false, t.months, t.alarm_h, t.calm_h) for t in each]
    found, leaks, false, months, alarm_h, calm_h = _drawn(np.array(rows, float)).T
    return (
        _between(found / np.maximum(leaks, 1)),
        _between(false / np.maximum(months, 1e-9)),
        _between(alarm_h / np.maximum(calm_h, 1)),
    )


def gain(ours: Sequence[Tally], theirs: Sequence[Tally]) -> tuple[float, tuple[float, float]]:
    """By how much more leaks are found than by another detector on the same gateways, as a share, and its 95 % interval
    by bootstrap over gateways."""
    counts = np.array([(a.found - b.found, len(a.fates)) for a, b in zip(ours, theirs, strict=True)], float)
    drawn = _drawn(counts)
    return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1)), _between(drawn[:, 0] / np.maximum(drawn[:, 1], 1))


def wilson(found: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, p = 1.96, found / count
    centre, half = p + z * z / (2 * count), z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
    return float((centre - half) / (1 + z * z / count)), float((centre + half) / (1 + z * z / count))
