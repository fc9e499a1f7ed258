"""Hours: at which instants of a year the hours of conditions hold, together and one without the other.

A leap year, so that every date is in it: sunset moves, and two hours that meet in June may never meet in December. Stretches
are (start, end) in UTC seconds, in order, and do not touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache, reduce

from gateway.condition import ConditionEntry, window_s
from gateway.sun import Place

Stretch = tuple[float, float]
_FIRST = date(2028, 1, 1)
_DAYS = range(-9, 376)
"""A year, and before and after it as much as the longest hours have."""


def year(place: Place) -> list[Stretch]:
    """All of it."""
    return [(place.wall_s(_FIRST, 0), place.wall_s(_FIRST + timedelta(days=366), 0))]


@lru_cache(maxsize=32)
def hours_of(entry: ConditionEntry, place: Place) -> tuple[Stretch, ...]:
    """When a condition of hours holds, over the year and a little more; from when it has lasted as long as it must."""
    days = (_FIRST + timedelta(days=day) for day in _DAYS)
    windows = joined(window for day in days if (window := window_s(entry, place, day)) is not None)
    return tuple((start_s + entry.lasting_s, end_s) for start_s, end_s in windows if start_s + entry.lasting_s < end_s)


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """All of them, as one where they touch."""
    found: list[Stretch] = []
    for start_s, end_s in sorted(stretches):
        if found and start_s <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end_s)
        else:
            found.append((start_s, end_s))
    return found


def together(*each: Sequence[Stretch]) -> list[Stretch]:
    """When all hold."""
    return reduce(_both, each[1:], list(each[0]))


def _both(ones: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    found, at = [], 0
    for start_s, end_s in ones:
        while at < len(others) and others[at][1] <= start_s:
            at += 1
        for other_start_s, other_end_s in others[at:]:
            if other_start_s >= end_s:
                break
            found.append((max(start_s, other_start_s), min(end_s, other_end_s)))
    return found


def without(ones: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """When the first hold and the second do not."""
    gaps: list[Stretch] = []
    free_s = float("-inf")
    for start_s, end_s in others:
        gaps.append((free_s, start_s))
        free_s = end_s
    gaps.append((free_s, float("inf")))
    return [both for both in _both(ones, gaps) if both[0] < both[1]]
