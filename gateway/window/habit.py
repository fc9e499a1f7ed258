"""What buildings usually take, by the hour, and what they take beyond it.

What is usual is learnt from the building itself, over five weeks that end a week ago (three are enough to begin): the
median of each hour of the week, and by how much an hour takes more where the last day was colder. Public holidays, and
school holidays where they close the building, count as Sundays. Hours at which the building usually takes little are those
at which it is shut: there, what comes on top is for nobody.

`Buildings` judges any number at once, for training and benches; a gateway's window looks at one with the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.holiday import SchoolZone, is_public_holiday, is_school_holiday
from gateway.window.past import known_median

HOUR_S = 3600.0
DAY = 24
RECENT_D, LEARNT_D = 7, 35
DAYS_NEEDED = 21
"""Days with enough hours, of those that are learnt from."""

HOURS = (LEARNT_D + RECENT_D) * DAY + 2 * DAY
"""How far back the window sees."""

SEEN_H, BEFORE_H = 48, 216
"""Hours that a scorer sees; before them, up to so many hours back, it sees only by how much they departed."""

LEAST_H = 36
"""Of SEEN_H, hours that must be known."""

WARM_C = 17.0
"""No heating where the last day was warmer than that on average."""

SUNDAY = 6
CLIP = 3.0
SMALL = 0.05
"""Of the mean consumption: keeps logarithms of nearly nothing from being large."""

ENOUGH_SIGMAS, ENOUGH_SHARE = 3.0, 0.3
"""What the hours shut of the last day must on average take more, for the rule: so many spreads, such a share."""

CHANNELS = (
    "over", "over_z", "known", "usual", "pooled", "spread", "shut", "rest", "holiday", "sin", "cos", "cold", "colder",
    "heated", "before_shut", "before_open",
)  # fmt: skip
OBSERVED = (0, 1, 2, 14, 15)
"""Channels that a forecast may not see: they tell what was metered."""

ENERGY, AIR = 0, 1

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class When(NamedTuple):
    """An hour where the building stands. day: ordinal; weekday: 0 to 6, 6 also for a holiday; school: the same, where school
    holidays are holidays too."""

    day: int
    hour: int
    weekday: int
    school: int
    ordinary: int


class Calendar:
    """Hours since 1970 as people live by them. closed: further days on which the building is shut."""

    def __init__(
        self, zone: tzinfo, school_zone: SchoolZone | None = None, closed: Callable[[date], bool] | None = None
    ):
        self._zone, self._school_zone, self._closed = zone, school_zone, closed
        self._days: dict[date, tuple[int, int]] = {}

    def when(self, number: int) -> When:
        """The hour that begins so many hours after 1970-01-01T00:00Z."""
        local = datetime.fromtimestamp(number * HOUR_S, self._zone)
        day = local.date()
        if (kinds := self._days.get(day)) is None:
            shut = is_public_holiday(day) or (self._closed is not None and self._closed(day))
            weekday = SUNDAY if shut else day.weekday()
            no_class = self._school_zone is not None and is_school_holiday(day, self._school_zone)
            if len(self._days) > 2000:
                self._days.clear()
            kinds = self._days[day] = weekday, SUNDAY if no_class else weekday
        return When(day.toordinal(), local.hour, *kinds, day.weekday())


@dataclass(frozen=True, slots=True)
class Usual:
    """What was learnt. week (n, 7, 24), pooled (n, 3, 24: working day, Saturday, Sunday): kWh at an hour without heating;
    slope (n, 2: shut, open): kWh more for each degree below WARM_C; cold (n,): mean of those degrees; spread (n, 3, 24);
    shut (n, 7, 24); level (n,): mean kWh."""

    week: Floats
    pooled: Floats
    slope: Floats
    cold: Floats
    spread: Floats
    shut: Flags
    level: Floats


@dataclass(frozen=True, slots=True)
class Seen:
    """Buildings at one instant; of the last SEEN_H hours (n, SEEN_H), NaN where not known: kwh, usual, spread, shut;
    judged (n,), rule_score (n,), x (n, SEEN_H, CHANNELS)."""

    x: NDArray[np.float32]
    judged: Flags
    rule_score: Floats
    kwh: Floats
    usual: Floats
    spread: Floats
    shut: Flags
    level: Floats


class Buildings:
    """The past of some buildings with one calendar. schools (n,): those that school holidays close."""

    def __init__(self, count: int, calendar: Calendar, schools: Flags) -> None:
        self.days = np.zeros(count, int)
        self._calendar, self._schools = calendar, schools
        self._rows: Floats = np.full((count, HOURS, 2), np.nan)
        self._when = np.zeros((HOURS, len(When._fields)), np.int64)
        self._last, self._day = 0, -1
        self._usual: Usual | None = None

    def row(self, number: int) -> Floats:
        """(n, 2): kWh and air of an hour since 1970, to be filled; an hour that is too old gives one to forget."""
        if number <= self._last - HOURS:
            return np.full(self._rows[:, 0].shape, np.nan)
        if number > self._last:
            for fresh in range(max(self._last + 1, number - HOURS + 1), number + 1):
                self._rows[:, fresh % HOURS] = np.nan
                self._when[fresh % HOURS] = self._calendar.when(fresh)
            self._last = number
        return self._rows[:, number % HOURS]

    def learn(self, now_s: float) -> None:
        """What is usual: anew every day at midnight UTC, and until there is enough."""
        day = int(now_s // (DAY * HOUR_S))
        if self._day == day:
            return
        self._day = day
        rows, when = self._before(day * DAY, HOURS - DAY)
        cold = degrees(rows[..., AIR])[:, DAY : -RECENT_D * DAY]
        kwh, when = rows[:, DAY : -RECENT_D * DAY, ENERGY], when[DAY : -RECENT_D * DAY]
        kinds = self._kinds(when)
        self.days = (_grid(np.isfinite(kwh).astype(float), when).sum(-1) >= 18).sum(-1)
        if (self.days >= DAYS_NEEDED).any():
            self._usual = _learn(kwh, cold, kinds, when)

    def see(self, now_s: float) -> Seen:
        """Judges the hours before now_s; learn must have found enough in one building at least."""
        self.learn(now_s)
        usual, number = self._usual, int(now_s // HOUR_S)
        assert usual is not None
        rows, when = self._before(number, BEFORE_H + DAY)
        cold, rows, when = degrees(rows[..., AIR])[:, DAY:], rows[:, DAY:], when[DAY:]
        kinds, hour = self._kinds(when), when[:, 1]
        kwh, at = rows[..., ENERGY], np.arange(len(rows))[:, None]
        group = np.clip(kinds - 4, 0, 2)
        shut = usual.shut[at, kinds, hour]
        heat = usual.slope[at, np.where(shut, 0, 1)] * np.where(np.isfinite(cold), cold, usual.cold[:, None])
        week, pooled = usual.week[at, kinds, hour] + heat, usual.pooled[at, group, hour] + heat
        spread, level = usual.spread[at, group, hour], usual.level[:, None]
        over = logarithm(kwh, level) - logarithm(week, level)
        z = (kwh - week) / spread
        earlier = slice(0, BEFORE_H - SEEN_H)
        before = [
            _mean(np.where(mask, over, np.nan)[:, earlier], 20)[:, None] + np.zeros_like(over) for mask in (shut, ~shut)
        ]
        angle = 2 * np.pi * hour / DAY + np.zeros_like(over)
        ordinary = when[:, 4]
        columns = [
            2 * over, z / 4, np.isfinite(over), logarithm(week, level), logarithm(pooled, level),
            spread / (week + SMALL * level), shut, kinds >= 5, kinds != ordinary, np.sin(angle), np.cos(angle),
            np.where(np.isfinite(cold), cold / 8, 0), np.where(np.isfinite(cold), (cold - usual.cold[:, None]) / 4, 0),
            heat / (week + SMALL * level), 4 * before[0], 4 * before[1],
        ]  # fmt: skip
        x = np.stack(columns, -1)[:, -SEEN_H:]
        x = np.clip(np.where(np.isfinite(x), x, 0.0), -CLIP, CLIP).astype(np.float32)
        known = np.isfinite(over[:, -SEEN_H:])
        judged = (self.days >= DAYS_NEEDED) & (known.sum(1) >= LEAST_H) & known[:, -3:].any(1)
        last = slice(-SEEN_H, None)
        parts = (kwh[:, last], week[:, last], spread[:, last], shut[:, last])
        return Seen(x, judged, rule(*parts), *parts, usual.level)

    def metered(self, now_s: float) -> Flags:
        """(n, SEEN_H): of which of the hours before now_s anything is known of the meter."""
        return np.isfinite(self._before(int(now_s // HOUR_S), SEEN_H)[0][..., ENERGY])

    def when(self, now_s: float) -> NDArray[np.int64]:
        """(SEEN_H, When) of the hours before now_s."""
        return self._before(int(now_s // HOUR_S), SEEN_H)[1]

    def _kinds(self, when: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, hours): the day of the week that each hour counts as."""
        return np.where(self._schools[:, None], when[:, 3], when[:, 2])

    def _before(self, number: int, count: int) -> tuple[Floats, NDArray[np.int64]]:
        """(n, count, 2) and (count, When) of the hours before, oldest first."""
        if number - 1 > self._last:
            self.row(number - 1)
        numbers = np.arange(number - count, number)
        rows = self._rows[:, numbers % HOURS]
        rows[:, numbers <= self._last - HOURS] = np.nan
        return rows, self._when[numbers % HOURS]


def rule(kwh: Floats, usual: Floats, spread: Floats, shut: Flags) -> Floats:
    """(n,): the week's median and degree-hours against what was metered in the hours shut of the last day; above 1 the rule
    would alert."""
    last = slice(-DAY, None)
    counted = shut[:, last] & np.isfinite(kwh[:, last] - usual[:, last] - spread[:, last])
    n = counted.sum(1)
    mean = [np.where(counted, of[:, last], 0.0).sum(1) / np.maximum(n, 1) for of in (kwh - usual, spread, usual)]
    score = mean[0] / np.maximum(np.maximum(ENOUGH_SIGMAS * mean[1], ENOUGH_SHARE * mean[2]), 1e-9)
    return np.asarray(np.where(n >= 5, np.maximum(score, 0.0), 0.0))


def _mean(y: Floats, least: int) -> Floats:
    """Over the last axis, of what is not NaN; NaN where that is fewer than `least`."""
    known = np.isfinite(y)
    n = known.sum(-1)
    return np.where(n >= least, np.where(known, y, 0.0).sum(-1) / np.maximum(n, 1), np.nan)


def logarithm(kwh: Floats, level: Floats) -> Floats:
    """In shares of the mean consumption, as a natural logarithm."""
    return np.log((np.maximum(kwh, 0.0) + SMALL * level) / ((1 + SMALL) * level))


def degrees(air: Floats) -> Floats:
    """(n, hours): by how much the last DAY hours were on average below WARM_C; NaN where fewer than eight are known."""
    known = np.isfinite(air)
    total = np.cumsum(np.stack([np.where(known, air, 0.0), known]), -1)
    total[..., DAY:] = total[..., DAY:] - total[..., :-DAY]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[1] >= 8, np.maximum(0.0, WARM_C - total[0] / total[1]), np.nan)


def _learn(kwh: Floats, cold: Floats, kinds: NDArray[np.int64], when: NDArray[np.int64]) -> Usual:
    n = len(kwh)
    level = np.maximum(np.nan_to_num(_mean(kwh, 1)), 1e-6)
    has_cold = np.isfinite(cold)
    mean_cold = np.nan_to_num(_mean(cold, 1))
    grid, chill = _grid(kwh, when), _grid(np.where(has_cold, cold, mean_cold[:, None]), when)
    kind = _grid(kinds.astype(float), when)
    days = np.nan_to_num(known_median(kind), nan=-1).astype(int)  # (n, days)
    group = np.clip(days - 4, 0, 2)
    # Which hours are shut, from the day as it is; then heating within each hour of such days, then the day without it.
    pooled = _medians(grid, group, 3)
    shut = _shut(_by_kind(pooled), level)
    at = np.arange(n)[:, None]
    shut_grid = shut[at, np.maximum(days, 0)]
    rest = grid - pooled[at, group]
    off = chill - _medians(chill, group, 3)[at, group]
    slope = np.stack([_slope(rest, off, mask, level) for mask in (shut_grid, ~shut_grid)], 1)
    heat = np.where(shut_grid, slope[:, 0, None, None], slope[:, 1, None, None]) * chill
    plain = grid - heat
    pooled = _medians(plain, group, 3)
    week = _medians(plain, np.maximum(days, 0), 7)
    week = np.where(np.isfinite(week), week, _by_kind(pooled))
    left = plain - week[at, np.maximum(days, 0)]
    spread = 1.4826 * _medians(np.abs(left), group, 3)
    beside = [np.where(np.isfinite(other), other, spread) for other in (np.roll(spread, 1, 2), np.roll(spread, -1, 2))]
    around = (beside[0] + 2 * spread + beside[1]) / 4
    return Usual(week, pooled, slope, mean_cold, np.maximum(around, 0.03 * level[:, None, None]), shut, level)


def _medians(grid: Floats, of: NDArray[np.int64], kinds: int) -> Floats:
    """(n, kinds, 24) of (n, days, 24); NaN for a kind of which there are not two days."""
    some = [known_median(np.where(of[..., None] == kind, grid, np.nan).swapaxes(1, 2), 2) for kind in range(kinds)]
    return np.stack(some, 1)


def _by_kind(pooled: Floats) -> Floats:
    """(n, 3, 24) -> (n, 7, 24)."""
    return pooled[:, [0, 0, 0, 0, 0, 1, 2]]


def _shut(week: Floats, level: Floats) -> Flags:
    """Hours that are within a third of the way from the quietest to the busiest hours of the week; by the clock where there
    is hardly a difference."""
    flat = np.sort(week.reshape(len(week), -1), 1)
    count = np.isfinite(flat).sum(1)
    at = np.arange(len(flat))
    low, high = (flat[at, np.clip((share * count).astype(int), 0, None)] for share in (0.1, 0.86))
    quiet = week <= (low + 0.33 * (high - low))[:, None, None]
    hour = np.arange(DAY)
    by_clock = np.broadcast_to((hour < 6) | (hour >= 22), week.shape).copy()
    by_clock[:, SUNDAY] = True
    plain = high - low < 0.25 * level
    return np.asarray(np.where(plain[:, None, None], by_clock, quiet))


def _slope(rest: Floats, off: Floats, mask: Flags, level: Floats) -> Floats:
    """(n,): kWh for each degree, not below 0; outliers count only so much, and a season without cold teaches nothing."""
    known = mask & np.isfinite(rest) & np.isfinite(off)
    bound = 4 * np.nan_to_num(known_median(np.abs(np.where(known, rest, np.nan)).reshape(len(rest), -1)))
    held = np.clip(np.where(known, rest, 0.0), -bound[:, None, None], bound[:, None, None])
    off = np.where(known, off, 0.0)
    square = (off * off).sum((1, 2)) + 0.3 * known.sum((1, 2)) + 1e-9
    return np.asarray(np.clip((off * held).sum((1, 2)) / square, 0.0, 0.5 * level))


def _grid(values: Floats, when: NDArray[np.int64]) -> Floats:
    """(n, hours) -> (n, days, 24), NaN where there is nothing."""
    day = when[:, 0] - when[0, 0]
    grid = np.full((len(values), LEARNT_D + 2, DAY), np.nan)
    inside = (day >= 0) & (day < LEARNT_D + 2)
    grid[:, day[inside], when[inside, 1]] = values[:, inside]
    return grid
