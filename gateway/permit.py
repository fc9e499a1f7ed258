"""Permits: what a site allows to be written, by whom, how far, how often, for how long, and what it falls back to.

Nothing is written without one. A `[[permit]]` in the site file is one; a `[[lighting]]`, which names its lamps, is one for
their levels; a profile's `[[setup]]` is one for exactly that value. `Ledger` holds them against what was written: it says
why a write may not be now, and what has to be taken back. It knows no device and no clock; seconds are arguments.

Who may, in order of rank: the interlock and the fail-safe value above all; then the site's rules, an earlier one above a
later one; then a remote command; then the schedule of a street. So local safety always outranks a remote command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from gateway.condition import Condition, ConditionEntry, Picture
from gateway.plain import condition_text
from gateway.point import AnyPoint, Closed, DurationOrNone, WritablePoint, duration_s
from gateway.profile import OBSERVED_ONLY, Profile
from gateway.sun import Place

LONGEST_LEASE_S = 86_400.0
READ_BACK_S = 5.0
"""How long a device may take to show what it was told, where the site does not say."""
REVERT_AGAIN_S, REVERT_AT_LEAST_S = 30.0, 3600.0
"""After how long a return to the fail-safe value that a device did not confirm is tried again; doubled each time, up to the
second."""


class Origin(StrEnum):
    """Who wants something written."""

    SETUP = "setup"
    RULE = "rule"
    REMOTE = "remote"
    LIGHTING = "lighting"
    FAIL_SAFE = "fail_safe"


RANK = {Origin.FAIL_SAFE: 0, Origin.SETUP: 1, Origin.RULE: 2, Origin.REMOTE: 3, Origin.LIGHTING: 4}
"""Who outranks whom while a lease lasts; the lower goes first."""


class PermitEntry(Closed):
    """A permit in a site file. by: who may write (`Origin`). min, max: within the profile's limits; the profile's where
    left out. fail_safe: what the point returns to when nobody holds it any more. every: no two writes are closer; dwell: a
    value stays at least that long before another takes its place; lease: the longest that a value holds unless it is
    renewed; read_back: within which the device must show it. unless: any of these forbids. dry_run: all is checked and
    recorded, nothing is written."""

    point: str
    by: list[Origin] = Field(default=[Origin.RULE], min_length=1)
    min: float | None = None
    max: float | None = None
    fail_safe: float | None = None
    every: DurationOrNone = "1s"
    dwell: DurationOrNone = ""
    lease: DurationOrNone = "1h"
    read_back: DurationOrNone = "5s"
    unless: list[ConditionEntry] = []
    dry_run: bool = False

    @field_validator("by")
    @classmethod
    def _asked_for(cls, by: list[Origin]) -> list[Origin]:
        if Origin.FAIL_SAFE in by or Origin.SETUP in by:
            raise ValueError("expected of rule, remote, lighting; setup and fail_safe need no permit of their own")
        return by

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if duration_s(self.lease) > LONGEST_LEASE_S:
            raise ValueError(f"lease: expected a day at most, got {self.lease!r}")
        if duration_s(self.read_back) > 60:
            raise ValueError(f"read_back: expected a minute at most, got {self.read_back!r}")
        return self


@dataclass(frozen=True, slots=True)
class Permit:
    """What may be written to one point. Times in seconds; low, high, fail_safe in the point's unit."""

    point: str
    by: frozenset[Origin]
    low: float
    high: float
    fail_safe: float | None = None
    every_s: float = 0.0
    dwell_s: float = 0.0
    lease_s: float = LONGEST_LEASE_S
    read_back_s: float = READ_BACK_S
    unless: tuple[ConditionEntry, ...] = ()
    dry_run: bool = False

    @classmethod
    def of(cls, entry: PermitEntry, point: AnyPoint) -> Self:
        """From a site's entry and its profile's point, which allows writes."""
        assert point.write is not None
        return cls(
            point=entry.point,
            by=frozenset(entry.by),
            low=point.write.min if entry.min is None else entry.min,
            high=point.write.max if entry.max is None else entry.max,
            fail_safe=entry.fail_safe,
            every_s=duration_s(entry.every) if entry.every else 0.0,
            dwell_s=duration_s(entry.dwell) if entry.dwell else 0.0,
            lease_s=duration_s(entry.lease),
            read_back_s=duration_s(entry.read_back),
            unless=tuple(entry.unless),
            dry_run=entry.dry_run,
        )


def unwritable(profile: Profile, point: AnyPoint) -> str:
    """Why a point cannot be written at all, whatever a site says; empty when it can."""
    if profile.kind in OBSERVED_ONLY:
        return f"a {profile.kind} is observed and never written to"
    if point.write is None or not isinstance(point, WritablePoint):
        return "its profile gives no limits of a write"
    return ""


def permit_faults(entry: PermitEntry, profile: Profile, point: AnyPoint, lit: bool) -> Iterator[str]:
    """What is wrong with a permit of a known point. lit: it is a lamp of a [[lighting]], whose schedule it falls back to."""
    if why := unwritable(profile, point):
        yield f"point: {entry.point!r}: {why}; remove the permit"
        return
    assert point.write is not None
    low, high = point.write.min, point.write.max
    for name, value in (("min", entry.min), ("max", entry.max)):
        if value is not None and not low <= value <= high:
            yield f"{name}: expected within the profile's {low:g} to {high:g} {point.unit}, got {value:g}"
    least = low if entry.min is None else entry.min
    most = high if entry.max is None else entry.max
    if entry.fail_safe is not None and not least <= entry.fail_safe <= most:
        yield f"fail_safe: expected {least:g} to {most:g} {point.unit}, got {entry.fail_safe:g}"
    if entry.fail_safe is not None and lit:
        yield "fail_safe: a lamp of a [[lighting]] falls back to its schedule; remove it"
    if entry.fail_safe is None and not lit:
        yield "fail_safe: missing; give the value that the device returns to when nobody holds it any more"


@dataclass(frozen=True, slots=True)
class Hold:
    """A value that somebody had written. since_s, until_s: when it was written, when its lease ends."""

    value: float
    origin: Origin
    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a write may not be. again_s: from when on it may, where waiting helps."""

    why: str
    again_s: float | None = None


@dataclass(slots=True)
class _Written:
    """The last that was written to a point."""

    value: float
    at_s: float


class Ledger:
    """The permits of a site and what was made of them. Times in seconds of any clock that never goes back."""

    def __init__(
        self,
        permits: Iterable[Permit],
        setups: Mapping[str, frozenset[float]],
        place: Place,
        ceiling: Callable[[str, float], tuple[float, str] | None] = lambda point, time_s: None,
    ) -> None:
        """setups: by point, the values that its profile has it told. ceiling: what the law leaves of a point at a time (UTC
        seconds), and why; None where it says nothing."""
        self.permits = {permit.point: permit for permit in permits}
        self.holds: dict[str, Hold] = {}
        self._setups, self._ceiling = setups, ceiling
        self._written: dict[str, _Written] = {}
        self._reverts: dict[str, tuple[float, int]] = {}
        self._interlocks = {p.point: [Condition(entry, place) for entry in p.unless] for p in self.permits.values()}

    def refusal(self, point: str, value: float, origin: Origin, now_s: float, picture: Picture) -> Refusal | None:
        """Why this may not be written now; None when it may."""
        permit = self.permits.get(point)
        if origin is Origin.SETUP and value in self._setups.get(point, ()):
            return None
        if permit is None:
            return Refusal("there is no [[permit]] for it in this site")
        if origin is Origin.FAIL_SAFE:
            return None if value == permit.fail_safe else Refusal(f"expected the fail-safe value {permit.fail_safe}")
        if origin not in permit.by:
            allowed = ", ".join(sorted(permit.by))
            return Refusal(f"its [[permit]] is for {allowed}, not for {origin.value}")
        if not permit.low <= value <= permit.high:
            return Refusal(f"its [[permit]] allows {permit.low:g} to {permit.high:g}, got {value:g}")
        if forbids := self.forbidden(point, picture) or self._unlawful(point, value, picture.time_s):
            return Refusal(forbids)
        hold = self.holds.get(point)
        if hold is not None and now_s < hold.until_s and RANK[origin] > RANK[hold.origin]:
            return Refusal(f"{hold.origin.value} holds it at {hold.value:g} and outranks {origin.value}", hold.until_s)
        return self._too_soon(permit, value, now_s)

    def _too_soon(self, permit: Permit, value: float, now_s: float) -> Refusal | None:
        last = self._written.get(permit.point)
        if last is None:
            return None
        if now_s < last.at_s + permit.every_s:
            return Refusal(f"written {now_s - last.at_s:.0f} s ago, at most every {permit.every_s:g} s",
                           last.at_s + permit.every_s)  # fmt: skip
        if value != last.value and now_s < last.at_s + permit.dwell_s:
            return Refusal(f"{last.value:g} has to stay for {permit.dwell_s:g} s", last.at_s + permit.dwell_s)
        return None

    def forbidden(self, point: str, picture: Picture) -> str:
        """Which interlock of the point forbids a write, in French; empty when none does."""
        for condition in self._interlocks.get(point, ()):
            match condition.holds(picture):
                case True:
                    return f"verrouillage : {condition_text(condition.entry)}"
                case None:
                    return f"verrouillage : une entrée est perdue ({condition_text(condition.entry)})"
        return ""

    def _unlawful(self, point: str, value: float, time_s: float) -> str:
        """Which law forbids a value now; empty when none does."""
        most = self._ceiling(point, time_s)
        return f"extinction : {most[1]}" if most is not None and value > most[0] else ""

    def wrote(self, point: str, value: float, origin: Origin, now_s: float, lease_s: float | None = None) -> None:
        """Notes a write that the device confirmed, or that a dry run would have made."""
        last = self._written.get(point)
        since_s = last.at_s if last is not None and last.value == value else now_s
        self._written[point] = _Written(value, now_s)
        self._reverts.pop(point, None)
        permit = self.permits.get(point)
        if permit is None or origin in (Origin.SETUP, Origin.FAIL_SAFE):
            self.holds.pop(point, None)
            return
        until_s = now_s + min(permit.lease_s, lease_s if lease_s is not None else math.inf)
        self.holds[point] = Hold(value, origin, since_s, until_s)

    def tried(self, point: str, value: float, origin: Origin, now_s: float) -> None:
        """Notes a write that the device did not confirm. It may have heard it: for a rule or a command the point counts as
        held with its lease over, so that it is returned to its fail-safe value until the device confirms that."""
        self._written[point] = _Written(value, now_s)
        if origin in (Origin.RULE, Origin.REMOTE):
            self.holds[point] = Hold(value, origin, now_s, now_s)

    def renew(self, point: str, now_s: float) -> None:
        """Whoever holds the point still wants it so: the lease begins anew."""
        hold, permit = self.holds.get(point), self.permits.get(point)
        if hold is not None and permit is not None and hold.origin is not Origin.REMOTE:
            self.holds[point] = Hold(hold.value, hold.origin, hold.since_s, now_s + permit.lease_s)

    def let_go(self, point: str, now_s: float) -> None:
        """Nobody wants the point held any more: its lease ends now."""
        if (hold := self.holds.get(point)) is not None:
            self.holds[point] = Hold(hold.value, hold.origin, hold.since_s, min(hold.until_s, now_s))

    def returns(self, now_s: float, picture: Picture) -> list[tuple[str, float, str]]:
        """What has to return to its fail-safe value now: (point, value, why). A hold whose point has none just ends."""
        due = []
        for point, hold in list(self.holds.items()):
            permit = self.permits.get(point)
            why = "le bail est terminé" if now_s >= hold.until_s else self.forbidden(point, picture)
            if hold.origin is Origin.REMOTE:
                why = why or self._unlawful(point, hold.value, picture.time_s)
            if not why or permit is None:
                continue
            if permit.fail_safe is None:
                del self.holds[point]
            elif now_s >= self._again_s(point):
                due.append((point, permit.fail_safe, why))
        return due

    def reverting(self, point: str, now_s: float) -> None:
        """Notes a try to return a point to its fail-safe value."""
        self._reverts[point] = now_s, self._reverts.get(point, (0.0, 0))[1] + 1

    def _again_s(self, point: str) -> float:
        at_s, tries = self._reverts.get(point, (-math.inf, 0))
        return at_s + min(REVERT_AT_LEAST_S, REVERT_AGAIN_S * 2.0 ** min(tries - 1, 10))

    def wakes_s(self, now_s: float, time_s: float) -> float:
        """In how many seconds a lease ends or an interlock may change by itself; inf for never. time_s: UTC."""
        ends = [hold.until_s - now_s for hold in self.holds.values() if hold.until_s > now_s]
        edges = [c.wakes_s(time_s) - time_s for point in self.holds for c in self._interlocks.get(point, ())]
        return min([*ends, *edges], default=math.inf)

    def state(self, now_s: float, time_s: float) -> dict[str, Any]:
        """What must outlive a power cut: who holds what until when, in UTC (`time_s` is now)."""
        ahead_s = time_s - now_s
        shifted = {
            point: {**asdict(hold), "since_s": hold.since_s + ahead_s, "until_s": hold.until_s + ahead_s}
            for point, hold in self.holds.items()
            if hold.origin is not Origin.LIGHTING
        }
        return {"holds": shifted}

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did. Holds and dwells are not counted by it."""
        for conditions in self._interlocks.values():
            for condition in conditions:
                condition.moved(by_s)

    def restore(self, state: Mapping[str, Any], now_s: float, time_s: float) -> None:
        """The inverse of `state`, after a restart. A lease that is over, or was given in what is now the future, is over
        at once; what the site allows no longer is forgotten."""
        for point, body in state["holds"].items():
            permit = self.permits.get(point)
            if permit is None:
                continue
            left_s = min(body["until_s"] - time_s, permit.lease_s)
            if body["since_s"] > time_s:
                left_s = 0.0
            origin = Origin(body["origin"])
            self.holds[point] = Hold(float(body["value"]), origin, now_s + body["since_s"] - time_s, now_s + left_s)


def merged(permits: Sequence[Permit]) -> list[Permit]:
    """One permit a point: of two for the same point the first, which the site wrote out, also for whom the second allows
    (a lamp of a street with a [[permit]] of its own keeps its schedule)."""
    found: dict[str, Permit] = {}
    for permit in permits:
        if (first := found.get(permit.point)) is None:
            found[permit.point] = permit
        else:
            fields = {name: getattr(first, name) for name in first.__slots__}
            found[permit.point] = Permit(**{**fields, "by": first.by | permit.by})
    return list(found.values())


__all__ = [
    "Hold",
    "Ledger",
    "Origin",
    "Permit",
    "PermitEntry",
    "Refusal",
    "merged",
    "permit_faults",
    "unwritable",
]
