"""From scores over time to figures: alerts, which leak each is for, and how many are for none.

One alert finds one leak: the first raised while a leak runs (or within a day of its end) that no earlier alert has found.
All others are false, those for a leak that is found already too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gateway.verdict import Decider, Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MONTH_H = 30 * 24
AFTER_H = 24


@dataclass(frozen=True, slots=True)
class Course:
    """A gateway's scores, hour by hour from `first` on, NaN where there is none, and the leaks that ran: (start, end,
    growth_h, share, m3_h) each."""

    first: int
    scores: Floats
    leaks: Floats
    sensors: tuple[int, int]


@dataclass(slots=True)
class Tally:
    """What came of it. delays_h: of found leaks; missed, found: (share, m3_h, growth_h) of each leak."""

    found: list[tuple[float, float, float]] = field(default_factory=list)
    missed: list[tuple[float, float, float]] = field(default_factory=list)
    delays_h: list[float] = field(default_factory=list)
    false: int = 0
    months: float = 0.0
    alarm_h: int = 0

    def add(self, other: Tally) -> None:
        self.found += other.found
        self.missed += other.missed
        self.delays_h += other.delays_h
        self.false += other.false
        self.months += other.months
        self.alarm_h += other.alarm_h

    @property
    def share_found(self) -> float:
        return len(self.found) / max(1, len(self.found) + len(self.missed))

    @property
    def false_a_month(self) -> float:
        return self.false / max(self.months, 1e-9)


def raised(course: Course, decision: Decision) -> Iterator[int]:
    """Hours in which an alert is raised."""
    decider = Decider(decision)
    for i, score in enumerate(course.scores.tolist()):
        if decider.step((course.first + i) * 3600.0, score).raised:
            yield course.first + i


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


def tally(course: Course, decision: Decision) -> Tally:
    """The count for one gateway."""
    out = Tally(months=float(np.isfinite(course.scores).sum()) / MONTH_H)
    leaks = course.leaks.tolist()
    hours = list(raised(course, decision))
    found_by = paired([(leak[0], leak[1]) for leak in leaks], hours)
    out.false = len(hours) - len(found_by)
    for i, (start, end, growth_h, share, m3_h) in enumerate(leaks):
        if not np.isfinite(course.scores[max(0, int(start) - course.first) : int(end) - course.first]).any():
            continue  # nobody was watching yet
        if i in found_by:
            out.found.append((share, m3_h, growth_h))
            out.delays_h.append(hours[found_by[i]] - start)
        else:
            out.missed.append((share, m3_h, growth_h))
    return out


def total(courses: Sequence[Course], decision: Decision) -> Tally:
    """The count for many."""
    out = Tally()
    for course in courses:
        out.add(tally(course, decision))
    return out


def interval(
    courses: Sequence[Course], decision: Decision, seed: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of the share found and of false alerts a month, by bootstrap over gateways."""
    each = [tally(course, decision) for course in courses]
    counts = np.array([(len(t.found), len(t.found) + len(t.missed), t.false, t.months) for t in each], float)
    drawn = counts[np.random.default_rng(seed).integers(0, len(each), (2000, len(each)))].sum(1)
    share = drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    false = drawn[:, 2] / np.maximum(drawn[:, 3], 1e-9)
    low, high = np.percentile(share, [2.5, 97.5]), np.percentile(false, [2.5, 97.5])
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def gain(
    ours: tuple[Sequence[Course], Decision], theirs: tuple[Sequence[Course], Decision], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """By how much more leaks are found than by another detector on the same gateways, as a share, and its 95 % interval
    by bootstrap over gateways."""
    pairs = [(tally(mine, ours[1]), tally(other, theirs[1])) for mine, other in zip(ours[0], theirs[0], strict=True)]
    counts = np.array([(len(a.found) - len(b.found), len(a.found) + len(a.missed)) for a, b in pairs], float)
    drawn = counts[np.random.default_rng(seed).integers(0, len(counts), (2000, len(counts)))].sum(1)
    shares = drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1)), (float(low), float(high))


def wilson(found: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, p = 1.96, found / count
    centre, half = p + z * z / (2 * count), z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
    return float((centre - half) / (1 + z * z / count)), float((centre + half) / (1 + z * z / count))
