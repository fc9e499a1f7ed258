"""How things are by their own past: what is usual at equal load, and how far each has gone from that, day by day.

Two references. The *recent* one (35 to 7 days ago, learnt anew each day) follows seasons and settings, and so in the end a
slow decay too. The *first* one is what was usual when there was first enough to learn from; it is kept, outlives a restart,
and is given up only when a thing is run in a way that teaches nothing about it. Slow decay shows against the first, sudden
change against the recent.

Arrays are (things, quantities, slots): a gateway's window looks at one thing, a bench at hundreds with the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

DAYS = 35
RECENT_D = 7
"""Days that are judged, not learnt from."""

LEAST_DAYS = 14
LEAST_A_DAY = 3
"""Values that make a day known, where a thing is read often enough to have more."""

LEAST_OF_DAYS = 3
"""Days from which the spread from day to day is told."""

SPANS_D = ((0, 3), (0, 10), (11, 25))
"""Days ago, from and to, over which departures from the first reference are averaged: lately, for long, before that."""

KNOWN = ("known_now", "known_long")
FEATURES = ("now_z", "now", "lately_z", "lately", "long_z", "long", "before", *KNOWN)
"""Of each quantity: departures in usual deviations (z) and in what would be enough by itself, now from the recent reference
and over SPANS_D from the first; what is known."""

CLIP = 4.0
USUAL_Z, ENOUGH_SHARE = 2.5, 0.5
"""Departures that make 1 in the network's input."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is measured. enough: a departure that would be enough for an alert by itself; least_spread: what it
    varies by at least, from its resolution; side: 1 = up is bad, -1 = down is bad, 0 = both are; room: share of the largest
    load by which what is usual holds beyond the loads it was learnt at."""

    feature: str
    role: str
    enough: float
    least_spread: float
    side: int = 1
    room: float = 0.1


@dataclass(frozen=True, slots=True)
class Usual:
    """y = at_zero + slope * load, +/- spread from value to value and +/- daily from day to day (robust, one deviation); low
    and high: loads between which that is known. Each (things, quantities), NaN where too little is known."""

    at_zero: Floats
    slope: Floats
    spread: Floats
    daily: Floats
    low: Floats
    high: Floats

    @classmethod
    def learn(
        cls, load: Floats, y: Floats, slots_a_day: int, quantities: Sequence[Quantity], least_a_day: int = LEAST_A_DAY
    ) -> Self:
        """From whole days: load (things, slots), y (things, quantities, slots), NaN where not known."""
        least = np.array([one.least_spread for one in quantities])
        loads = np.broadcast_to(load[:, None], y.shape)
        known = np.isfinite(loads) & np.isfinite(y)
        count = known.sum(-1)
        some = np.maximum(count, 1)
        centre, middle = (np.where(known, values, 0.0).sum(-1) / some for values in (loads, y))
        off = np.where(known, loads - centre[..., None], 0.0)
        # What always runs at one load teaches no slope: a floor keeps noise from looking like one.
        slope = (off * np.where(known, y - middle[..., None], 0.0)).sum(-1) / np.maximum(
            (off * off).sum(-1), 4.0 * some
        )
        at_zero = middle - slope * centre
        rest = np.where(known, y - at_zero[..., None] - slope[..., None] * loads, np.nan)
        shift = known_median(rest)
        rest -= shift[..., None]
        spread = np.maximum(least, 1.4826 * known_median(np.abs(rest)))
        by_day = day_medians(rest, slots_a_day, least_a_day)
        daily = 1.4826 * known_median(np.abs(by_day), LEAST_OF_DAYS)
        daily = np.maximum(0.3 * spread, np.where(np.isfinite(daily), daily, spread))
        beyond = np.array([one.room for one in quantities]) * np.where(known, np.abs(loads), 0.0).max(-1)
        low = np.where(known, loads, np.inf).min(-1) - beyond
        high = np.where(known, loads, -np.inf).max(-1) + beyond
        enough = count >= least_a_day * LEAST_DAYS
        parts = (at_zero + shift, slope, spread, daily, low, high)
        return cls(*(np.where(enough, part, np.nan) for part in parts))

    @classmethod
    def unknown(cls, things: int, quantities: int) -> Self:
        return cls(*(np.full((things, quantities), np.nan) for _ in fields(cls)))

    def rest(self, load: Floats, y: Floats) -> Floats:
        """By how much y is above what is usual; NaN where nobody knows at such a load."""
        loads = load[:, None]
        inside = (loads >= self.low[..., None]) & (loads <= self.high[..., None])
        return np.where(inside, y - self.at_zero[..., None] - self.slope[..., None] * loads, np.nan)

    def or_else(self, other: Usual, use_other: NDArray[np.bool_]) -> Usual:
        """Another one's where use_other (things, quantities)."""
        pairs = ((getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        return Usual(*(np.where(use_other, theirs, mine) for mine, theirs in pairs))


@dataclass(frozen=True, slots=True)
class Departures:
    """Each (things, quantities), NaN where not known: now from the recent reference; over SPANS_D from the first."""

    now: Floats
    lately: Floats
    long: Floats
    before: Floats


class Past:
    """Of some things, the quantities."""

    def __init__(self, quantities: Sequence[Quantity], things: int = 1, least_a_day: int = LEAST_A_DAY) -> None:
        self.quantities, self.least_a_day = tuple(quantities), least_a_day
        self.enough = np.array([one.enough for one in quantities])
        self._sides = np.array([one.side for one in quantities])
        self.recent = self.first = Usual.unknown(things, len(quantities))
        self._spans: Floats = np.full((len(SPANS_D), things, len(quantities)), np.nan)

    def renew(self, load: Floats, y: Floats, slots_a_day: int) -> None:
        """At the end of a day. load (things, DAYS * slots_a_day), y (things, quantities, DAYS * slots_a_day): NaN where not
        known."""
        learnt = (DAYS - RECENT_D) * slots_a_day
        self.recent = Usual.learn(load[:, :learnt], y[..., :learnt], slots_a_day, self.quantities, self.least_a_day)
        self.first = self.first.or_else(self.recent, ~np.isfinite(self.first.at_zero))
        days = day_medians(self.first.rest(load, y), slots_a_day, self.least_a_day)[..., ::-1]
        lost = np.asarray(~np.isfinite(days).any(-1))  # run otherwise for five weeks: the first says nothing any more
        self.first = self.first.or_else(self.recent, lost)
        self._spans = np.stack([known_mean(days[..., begin:end]) for begin, end in SPANS_D])

    def departures(self, load: Floats, y: Floats, count: int, least: int) -> Departures:
        """Of the last slots, load (things, slots) and y (things, quantities, slots): the present is the median of the last
        `count` known values, unknown with fewer than `least`."""
        now, now_first = (last_known(usual.rest(load, y), count, least) for usual in (self.recent, self.first))
        # What has been put right is so at once, not after the days that the spans need to forget it.
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.clip(2 * now_first / self._spans[0], 0.0, 1.0)
        lately, long, before = self._spans * np.where(np.isfinite(left), left, 1.0)
        return Departures(now, lately, long, before)

    def bad(self, departures: Floats) -> Floats:
        """(..., quantities): positive where they are to the bad side."""
        return np.where(self._sides == 0, np.abs(departures), self._sides * departures)

    def features(self, seen: Departures) -> NDArray[np.float32]:
        """(things, quantities, FEATURES) float32, up to CLIP. Bad departures are positive."""
        z, share = USUAL_Z, ENOUGH_SHARE * self.enough
        now, lately, long, before = (self.bad(d) for d in (seen.now, seen.lately, seen.long, seen.before))
        columns = [
            now / self.recent.spread / z, now / share, lately / self.first.daily / z, lately / share,
            long / self.first.daily / z, long / share, before / share, np.isfinite(now), np.isfinite(long),
        ]  # fmt: skip
        x = np.stack(columns, -1)
        return np.clip(np.where(np.isfinite(x), x, 0.0), -CLIP, CLIP).astype(np.float32)

    def state(self) -> dict[str, list[list[float | None]]]:
        """What must outlive a restart, for JSON."""
        return {name: _listed(values) for name, values in asdict(self.first).items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError when it is not one."""
        shape = self.first.at_zero.shape
        try:
            first = Usual(**{name: np.array(values, float) for name, values in state.items()})
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"first reference: {error}") from None
        if any(getattr(first, one.name).shape != shape for one in fields(first)):
            raise ValueError(f"first reference: expected numbers for (things, quantities) {shape}")
        self.first = first


def known_median(y: Floats, least: int = 1) -> Floats:
    """Over the last axis, of what is not NaN; NaN where that is fewer than `least`."""
    ordered = np.sort(y, axis=-1)  # NaN come last
    count = np.isfinite(ordered).sum(-1)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, y.shape[-1] - 1)
    below, above = (np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (low, high))
    return np.where(count >= least, (below + above) / 2, np.nan)


def known_mean(y: Floats) -> Floats:
    """Over the last axis, of what is not NaN; NaN where that is less than a third."""
    known = np.isfinite(y)
    count = known.sum(-1)
    means = np.where(known, y, 0.0).sum(-1) / np.maximum(1, count)
    return np.where(count >= max(1, y.shape[-1] // 3), means, np.nan)


def day_medians(y: Floats, slots_a_day: int, least: int = LEAST_A_DAY) -> Floats:
    """(..., days * slots_a_day) -> (..., days); NaN for a day with fewer than `least` values."""
    return known_median(y.reshape(*y.shape[:-1], -1, slots_a_day), least)


def last_known(y: Floats, count: int, least: int) -> Floats:
    """The median of the last `count` values along the last axis that are not NaN; NaN where there are fewer than `least`."""
    known = np.isfinite(y)
    from_end = np.cumsum(known[..., ::-1], -1)[..., ::-1]
    return known_median(np.where(known & (from_end <= count), y, np.nan), least)


def _listed(values: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]
