"""Conditions: what a rule waits for, and what an interlock forbids, on a frozen picture of the inputs.

Three answers. Yes and no are what they are; None is "cannot be known", because an input is lost. Whoever asks then takes
the careful side: a rule its defensive value, an interlock that it forbids. A condition remembers two things, both by
itself: whether it held (hysteresis), and since when (duration).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.point import Closed, DurationOrNone, duration_s
from gateway.sun import Place
from gateway.verdict import State

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AT = r"^(dusk|dawn|([01]\d|2[0-3]):[0-5]\d)$"
_USUAL = {"dawn": "06:00", "dusk": "18:00"}
"""What the sun's times count as where it matters which of two comes first in a day."""
SUSPECT = (State.SUSPECT, State.ALERT)


@dataclass(frozen=True, slots=True)
class Picture:
    """The inputs of one decision, all of one instant. values: by point, None where it is lost (never read, bad, too old).
    verdicts: by watch; None where it has not judged yet, or cannot."""

    time_s: float
    values: Mapping[str, float | None] = field(default_factory=dict)
    verdicts: Mapping[str, State | None] = field(default_factory=dict)


class ConditionEntry(Closed):
    """One condition in a site file: exactly one of a point that is compared, a watch's verdict, a point that is lost, or a
    time. until: once above (below) it holds until the value is back at that. for: so long without a break. between: local
    times, "dusk", "dawn" (as if at 18:00, 06:00); over midnight where the second is the earlier one; days: on which it
    begins."""

    model_config = ConfigDict(populate_by_name=True)

    point: str = ""
    above: float | None = None
    below: float | None = None
    equals: float | None = None
    until: float | None = None
    verdict: str = ""
    state: Literal["alert", "suspect"] = "alert"
    lost: str = ""
    between: tuple[Annotated[str, Field(pattern=AT)], Annotated[str, Field(pattern=AT)]] | None = None
    days: tuple[Day, ...] = ()
    lasting: DurationOrNone = Field(default="", alias="for")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [bool(self.point), bool(self.verdict), bool(self.lost), bool(self.between or self.days)]
        if sum(kinds) != 1:
            raise ValueError("expected exactly one of point, verdict, lost, or between and days")
        compared = (self.above, self.below, self.equals)
        if self.point and all(limit is None for limit in compared):
            raise ValueError(f"point {self.point!r}: expected above, below or equals")
        if not self.point and any(limit is not None for limit in (*compared, self.until)):
            raise ValueError("above, below, equals, until: only with point")
        if self.equals is not None and (self.above is not None or self.below is not None):
            raise ValueError("equals: not together with above or below; keep one")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"below: expected more than above = {self.above:g}, got {self.below:g}; no value is both")
        if self.between and self.between[0] == self.between[1]:
            raise ValueError(f"between: expected two times, got {self.between[0]!r} twice; for all day leave it out")
        if self.until is not None:
            self._check_until()
        return self

    def _check_until(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("until: expected with above, or with below, and not with both")
        assert self.until is not None
        if self.above is not None and self.until >= self.above:
            raise ValueError(f"until: expected less than above = {self.above:g}, got {self.until:g}")
        if self.below is not None and self.until <= self.below:
            raise ValueError(f"until: expected more than below = {self.below:g}, got {self.until:g}")

    @property
    def lasting_s(self) -> float:
        """How long it must hold, seconds."""
        return duration_s(self.lasting) if self.lasting else 0.0

    @property
    def span(self) -> tuple[float, float]:
        """The values of a compared point that it holds for: equals a number, or strictly between two."""
        if self.equals is not None:
            return self.equals, self.equals
        return (-math.inf if self.above is None else self.above, math.inf if self.below is None else self.below)

    def meets(self, value: float) -> bool:
        """Whether a value is what it waits for, without hysteresis."""
        if self.equals is not None:
            return math.isclose(value, self.equals, rel_tol=1e-9, abs_tol=1e-9)
        low, high = self.span
        return low < value < high


class Condition:
    """A condition at work. Ask it in order of time."""

    def __init__(self, entry: ConditionEntry, place: Place) -> None:
        self.entry, self._place = entry, place
        self._met = False
        self._since_s: float | None = None

    def holds(self, picture: Picture) -> bool | None:
        """Whether it holds now; None when that cannot be known."""
        met = self._is_met(picture)
        if met is None:
            self._since_s, self._met = None, False
            return None
        if met and (self._since_s is None or self._since_s > picture.time_s):
            self._since_s = picture.time_s
        if not met:
            self._since_s = None
        self._met = met
        return met and self._due_s <= picture.time_s

    @property
    def since_s(self) -> float | None:
        """Since when it is met without a break, UTC seconds; None while it is not."""
        return self._since_s

    @property
    def _due_s(self) -> float:
        """When it will have held for long enough: UTC seconds; inf while it is not met."""
        return math.inf if self._since_s is None else self._since_s + self.entry.lasting_s

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did. How long a thing lasts does not change with that."""
        if self._since_s is not None:
            self._since_s += by_s

    def wakes_s(self, time_s: float) -> float:
        """When it may change after `time_s` though no input does: UTC seconds, inf for never."""
        due_s = self._due_s if self._due_s > time_s else math.inf
        if self.entry.between or self.entry.days:
            due_s = min(due_s, next_edge_s(self.entry, self._place, time_s))
        return due_s

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"met": self._met, "since_s": self._since_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError when that is not one."""
        met, since_s = state.get("met"), state.get("since_s")
        if not isinstance(met, bool) or not isinstance(since_s, int | float | None):
            raise ValueError(f"state of a condition: expected met and since_s, got {dict(state)!r}")
        self._met, self._since_s = met, since_s

    def _is_met(self, picture: Picture) -> bool | None:
        entry = self.entry
        if entry.point:
            value = picture.values.get(entry.point)
            return None if value is None else entry.meets(value) or (self._met and self._still(value))
        if entry.verdict:
            state = picture.verdicts.get(entry.verdict)
            if state is None or state is State.LEARNING:  # it would say no for want of knowledge
                return None
            return state in (SUSPECT if entry.state == "suspect" else (State.ALERT,))
        if entry.lost:
            return picture.values.get(entry.lost) is None
        return in_window(entry, self._place, picture.time_s)

    def _still(self, value: float) -> bool:
        """Whether a value keeps up what began beyond the threshold."""
        until = self.entry.until
        if until is None:
            return False
        return value > until if self.entry.above is not None else value < until


def in_window(entry: ConditionEntry, place: Place, time_s: float) -> bool:
    """Whether a time lies in the condition's hours, on its days."""
    today = place.local(time_s).date()
    return any(
        start_s <= time_s < end_s
        for day in (today - timedelta(days=1), today)
        if (window := window_s(entry, place, day)) is not None
        for start_s, end_s in (window,)
    )


def window_s(entry: ConditionEntry, place: Place, day: date) -> tuple[float, float] | None:
    """The hours that begin on a day, UTC seconds; None where that is none of its days, or where the sun leaves none."""
    if entry.days and DAYS[day.weekday()] not in entry.days:
        return None
    if entry.between is None:
        return place.wall_s(day, 0), place.wall_s(day, 24 * 60)
    first, last = entry.between
    start_s = place.instant_s(day, first)
    end_s = place.instant_s(day, last)
    if _USUAL.get(last, last) < _USUAL.get(first, first):
        end_s = place.instant_s(day + timedelta(days=1), last)
    # In spring an hour of the night is left out; in June the sun sets after "dusk" to "20:00" is over.
    return (start_s, end_s) if start_s < end_s else None


def next_edge_s(entry: ConditionEntry, place: Place, time_s: float) -> float:
    """The next begin or end of its hours after `time_s`; inf where the sun leaves it none within eight days."""
    today = place.local(time_s).date()
    edges = [
        edge_s
        for ahead in range(-1, 9)
        if (window := window_s(entry, place, today + timedelta(days=ahead))) is not None
        for edge_s in window
        if edge_s > time_s
    ]
    return min(edges, default=math.inf)
