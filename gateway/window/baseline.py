"""What a water sector usually does, learnt from four weeks of its own hours, and how far some hours are from it.

Everything is made dimensionless with the sector's own spread, so that a model sees the same numbers whatever the network,
its size, or how many sensors it has. Signs are turned so that positive means like a leak: more flow, less pressure.

Residuals, hour by hour, one column each, in this order:
    usual flow       net inflow against the same hour of such days
    offset           net inflow against the usual day scaled to the last 24 hours: water added at all hours, where more
                     demand would multiply
    flow given       net inflow given the pressures
    all usual        all pressures together against the same hour of such days
    all given        all pressures together given the net inflow
    usual pressure   each pressure against the same hour of such days
    others           each pressure given the other pressures (ridge regressions with each left out in turn, from one
                     inverse)
    pressure given   each pressure given the net inflow
    inlet            each flow against the same hour of such days

Each hour counts by 1 / variance at that hour of the day, which is how a small steady loss is seen best: quiet nights count
most. Over 3, 24 and 72 hours this gives an estimate of the added flow or lost pressure, and its z, in units of what the
same estimate did over the four weeks. Others hold the last hours or days against those before them: what a leak that has
been repaired left in the four weeks, or one that goes on, does not hide the next one from it. Beside them stands whether a
departure follows the draw of the day (`gateway.window.swing`).

Four weeks can hold a leak themselves. What is usual is therefore learnt from hours that are put on one level first, and a
spread is at most what slow wander usually adds to that of such hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.window.swing import swings
from gateway.window.trailing import trailing

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Whole = NDArray[np.int64]

ABSOLUTE = 3
"""Estimates against the four weeks; those after them are against the hours just before:"""
WEEK, DAYS, TEN_DAYS, FRESH = 3, 4, 5, 6
SPANS_H = (3, 24, 72, 24, 24, 72, 6)
BEFORE_H = ((216, 48), (96, 24), (312, 72), (54, 6))
"""From when to when that is, in hours back."""
ESTIMATES = len(SPANS_H)
LOOKBACK_H = 336
"""Hours before the first one asked for that `Baseline.judge` must be given."""

USUAL_FLOW, OFFSET, FLOW_GIVEN, ALL_USUAL, ALL_GIVEN, PRESSURES = 0, 1, 2, 3, 4, 5
"""Columns of residuals; from PRESSURES on three blocks of one column a pressure: usual, others, given; then the inlets."""

LEAST_H = 12 * 24
"""A point with fewer hours in the four weeks is left out."""

RIDGE = 2e-3
MAX_SIGMAS = 8.0
"""One hour counts at most so much: an hour of flushing is not a leak."""

LEVEL_DAYS = 5
SLOW_HOUR, SLOW = 1.4, np.array([1.3, 2.3, 3.6, 2.2, 1.5, 3.6, 1.15])
"""By how much at most slow wander makes the spread of an hour, and of each estimate, larger than it is on one level."""

SLOW_SWING = 2.0
"""The same for what follows the draw of the day."""

PRESSURE_FLOOR_BAR, FLOW_FLOOR_M3_H, FLOW_FLOOR_SHARE = 0.004, 0.02, 0.004
"""No hour is known better than that."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive hours. values (hours, points): flows in m3/h first, then pressures in bar, NaN where unknown. flows:
    how many points are flows. day, hour, rest (hours): number of the local day; 0 to 23; 1 on Saturday and Sunday."""

    values: Floats
    flows: int
    day: Whole
    hour: Whole
    rest: Whole


@dataclass(frozen=True, slots=True)
class Judged:
    """Hours held against a baseline. pressures: how many. z, size (ESTIMATES, hours, residuals): see the module, NaN where
    unknown, sizes in m3/h and bar; swing (SWINGS, hours, residuals): see `gateway.window.swing`. Of the lookback too,
    (LOOKBACK_H + hours): hourly (, residuals) each hour's own z; net, expected_net in m3/h."""

    pressures: int
    z: Floats
    size: Floats
    swing: Floats
    hourly: Floats
    net: Floats
    expected_net: Floats


@dataclass(frozen=True, slots=True)
class _Usual:
    """A sector's usual day. points, net: expected by (rest, hour), points (2, 24, points) and net inflow (2, 24).
    known: points with enough hours. scale (points): how much each moves about it. share: of each flow in the net inflow;
    level: mean size of the net inflow."""

    points: Floats
    net: Floats
    known: Flags
    scale: Floats
    share: Floats
    level: float

    @classmethod
    def learn(cls, stretch: Stretch, known: Flags) -> Self:
        values = np.where(known, stretch.values, np.nan)
        points = _usual_day(stretch, values)
        expected = points[stretch.rest, stretch.hour]
        scale = np.fmax(1.4826 * median(np.abs(values - expected)), PRESSURE_FLOOR_BAR)
        size = np.abs(points[:, :, : stretch.flows]).mean((0, 1))
        share = size / max(float(size.sum()), 1e-9)
        net = _net(values[:, : stretch.flows], expected[:, : stretch.flows], share)
        level = float(np.nanmean(np.abs(net))) if np.isfinite(net).any() else 1.0
        return cls(points, _usual_day(stretch, net[:, None])[:, :, 0], known, scale, share, max(level, 1e-3))

    def drawn(self, flows: int) -> Floats:
        """(2, 24): what is drawn by hour of the usual day, centred, in units of its spread: of the net inflow, or without a
        flow of the pressures, which are low when much is drawn."""
        if self.known[:flows].any():
            drawn = self.net
        else:
            apart = self.points[:, :, flows:] - self.points[:, :, flows:].mean((0, 1))
            drawn = -(apart / self.scale[flows:])[:, :, self.known[flows:]].mean(-1)
        drawn = drawn - drawn.mean()
        return np.asarray(drawn / max(float(drawn.std()), 1e-6))

    def see(self, stretch: Stretch) -> _Seen:
        flows = stretch.flows
        values = np.where(self.known, stretch.values, np.nan)
        expected = self.points[stretch.rest, stretch.hour]
        deviation = values - expected
        net = _net(values[:, :flows], expected[:, :flows], self.share)
        pressures = values[:, flows:]
        if pressures.shape[1]:  # an unknown pressure moves like the known ones do
            common = np.nan_to_num(median((deviation[:, flows:] / self.scale[flows:]).T))
            stand_in = np.where(self.known[flows:], expected[:, flows:] + common[:, None] * self.scale[flows:], 0.0)
            pressures = np.where(np.isnan(pressures), stand_in, pressures)
        return _Seen(net, self.net[stretch.rest, stretch.hour], deviation, pressures)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Hours beside the usual day: net inflow, the usual one, each point's deviation, pressures without gaps."""

    net: Floats
    expected_net: Floats
    deviation: Floats
    pressures: Floats


@dataclass(frozen=True, slots=True)
class _Relations:
    """How net inflow and pressures go together, as ridge regressions on standardised values. precision (pressures): how well
    each is known from the others, in 1 / bar2."""

    centre: Floats
    spread: Floats
    flow_by_pressures: Floats
    pressures_by_flow: Floats
    pressures_by_others: Floats
    precision: Floats

    @classmethod
    def learn(cls, stretch: Stretch, usual: _Usual, seen: _Seen) -> Self:
        raw = _regressors(stretch, usual, seen)
        centre, spread = raw.mean(0), raw.std(0)
        spread[spread < 1e-6] = 1.0
        x = (raw - centre) / spread
        by_flow, by_pressures = x[:, : _CLOCK + 2], np.delete(x, [_CLOCK, _CLOCK + 1], axis=1)
        # The residual of a ridge of one column on all others is the column of the inverse over its diagonal.
        inverse = np.linalg.inv(_gram(by_pressures))[:, _CLOCK:]
        return cls(
            centre,
            spread,
            flow_by_pressures=np.linalg.solve(_gram(by_pressures), by_pressures.T @ x[:, _CLOCK]),
            pressures_by_flow=np.linalg.solve(_gram(by_flow), by_flow.T @ x[:, _CLOCK + 2 :]),
            pressures_by_others=inverse / np.diag(inverse[_CLOCK:]),
            precision=np.diag(inverse[_CLOCK:]) / spread[_CLOCK + 2 :] ** 2,
        )

    def residuals(self, stretch: Stretch, usual: _Usual, seen: _Seen) -> Floats:
        """(hours, residuals), in the order of the module."""
        x = (_regressors(stretch, usual, seen) - self.centre) / self.spread
        by_flow, by_pressures = x[:, : _CLOCK + 2], np.delete(x, [_CLOCK, _CLOCK + 1], axis=1)
        bar = self.spread[_CLOCK + 2 :]
        drop = -seen.deviation[:, stretch.flows :]
        others = -(by_pressures @ self.pressures_by_others) * bar
        given = -(x[:, _CLOCK + 2 :] - by_flow @ self.pressures_by_flow) * bar
        unknown = np.isnan(drop)
        known = usual.known[stretch.flows :]
        others[unknown] = given[unknown] = np.nan
        if known.sum() < 2:
            others[:] = np.nan
        else:
            others[unknown[:, known].mean(1) > 0.5] = np.nan
        flow_given = (x[:, _CLOCK] - by_pressures @ self.flow_by_pressures) * self.spread[_CLOCK] * usual.level
        no_flow = np.isnan(seen.net)
        given[no_flow] = np.nan
        flow_given[no_flow | unknown.all(1)] = np.nan  # with no pressure at all too
        more = seen.net - seen.expected_net
        offset = seen.net - _scaled(seen.net, seen.expected_net)
        inlets = seen.deviation[:, : stretch.flows]
        together = [_together(of, usual.scale[stretch.flows :]) for of in (drop, given)]
        return np.column_stack([more, offset, flow_given, *together, drop, others, given, inlets])


@dataclass(frozen=True, slots=True)
class Baseline:
    """Four weeks of a sector, ready to hold other hours against. mid, sigma (24, residuals): what is usual by hour of
    the day; inflation (ESTIMATES, residuals), swing_inflation (SWINGS, residuals): by how much estimates vary more than
    independent hours would; drawn (2, 24): the usual draw by (rest, hour), in units of its spread."""

    usual: _Usual
    relations: _Relations
    mid: Floats
    sigma: Floats
    inflation: Floats
    drawn: Floats
    swing_inflation: Floats

    @classmethod
    def learn(cls, stretch: Stretch) -> Self | None:
        """From four weeks; None when no point has enough hours in them."""
        known = np.isfinite(stretch.values).sum(0) >= LEAST_H
        if not known.any():
            return None
        flat = replace(stretch, values=_levelled(stretch, np.where(known, stretch.values, np.nan)))
        usual = _Usual.learn(flat, known)
        relations = _Relations.learn(flat, usual, usual.see(flat))
        residuals = relations.residuals(stretch, usual, usual.see(stretch))
        level = _levelled(stretch, residuals)
        mid = np.nan_to_num(median(_grid(stretch, level)))
        spread, least = (1.4826 * median(np.abs(_grid(stretch, of) - mid)) for of in (residuals, level))
        floor = np.full(residuals.shape[1], PRESSURE_FLOOR_BAR)
        floor[[ALL_USUAL, ALL_GIVEN]] /= np.sqrt(max(1, stretch.values.shape[1] - stretch.flows))
        floor[:ALL_USUAL] = floor[len(floor) - stretch.flows :] = FLOW_FLOOR_M3_H + FLOW_FLOOR_SHARE * usual.level
        around, least = ((np.roll(of, 1, 0) + 2 * of + np.roll(of, -1, 0)) / 4 for of in (spread, least))
        sigma = np.maximum(np.nan_to_num(np.minimum(around, SLOW_HOUR * least), nan=1e3), floor)
        z, flat_z = (
            _estimates(of - mid[stretch.hour], sigma[stretch.hour], len(residuals))[0] for of in (residuals, level)
        )
        drawn = usual.drawn(stretch.flows)
        every = drawn[stretch.rest, stretch.hour]
        swing, flat_swing = (
            swings(of - mid[stretch.hour], sigma[stretch.hour], every, len(of)) for of in (residuals, level)
        )
        inflation = _inflation(z, flat_z, SLOW[:, None])
        return cls(usual, relations, mid, sigma, inflation, drawn, _inflation(swing, flat_swing, SLOW_SWING))

    @property
    def level_m3_h(self) -> float:
        """Mean size of the net inflow."""
        return self.usual.level

    def judge(self, stretch: Stretch) -> Judged:
        """All hours of a stretch but its first LOOKBACK_H."""
        seen = self.usual.see(stretch)
        residuals = self._residuals(stretch, seen)
        wanted = len(residuals) - LOOKBACK_H
        sigma = self.sigma[stretch.hour]
        z, size, hourly = _estimates(residuals, sigma, wanted)
        z /= self.inflation[:, None, :]
        swing = (
            swings(residuals, sigma, self.drawn[stretch.rest, stretch.hour], wanted) / self.swing_inflation[:, None, :]
        )
        pressures = stretch.values.shape[1] - stretch.flows
        return Judged(pressures, z, size, swing, hourly, seen.net, seen.expected_net)

    def departures(self, stretch: Stretch) -> Floats:
        """(hours, residuals) of a stretch, in m3/h and bar."""
        return self._residuals(stretch, self.usual.see(stretch))

    def drops(self, stretch: Stretch) -> Floats:
        """(hours, pressures) of a stretch, in bar: of `departures` the usual pressures alone, at a tenth of the time."""
        flows = stretch.flows
        values = np.where(self.usual.known[flows:], stretch.values[:, flows:], np.nan)
        usual = self.usual.points[stretch.rest, stretch.hour, flows:]
        return np.asarray(usual - values - self.mid[stretch.hour, PRESSURES : PRESSURES + values.shape[1]])

    def _residuals(self, stretch: Stretch, seen: _Seen) -> Floats:
        return np.asarray(self.relations.residuals(stretch, self.usual, seen) - self.mid[stretch.hour])


def _inflation(z: Floats, flat: Floats, slow: Floats | float) -> Floats:
    """(estimates, residuals): 1.4826 times the median size of z (estimates, hours, residuals), at least 1 and at most `slow`
    times what hours on one level, flat, have."""
    seen, least = (1.4826 * median(np.abs(of), axis=1) for of in (z, flat))
    return np.asarray(np.maximum(np.nan_to_num(np.minimum(seen, slow * least), nan=1.0), 1.0))


_CLOCK = 9
"""Regressors that come from the clock."""


def _regressors(stretch: Stretch, usual: _Usual, seen: _Seen) -> Floats:
    """(hours, _CLOCK + 2 + pressures): the clock; net inflow over its level and its signed square (head loss goes with
    it); pressures in bar."""
    angle = stretch.hour * (2 * np.pi / 24)
    rest = stretch.rest.astype(np.float64)
    waves = [wave(n * angle) for n in (1, 2, 3) for wave in (np.sin, np.cos)]
    inflow = np.where(np.isnan(seen.net), seen.expected_net, seen.net) / usual.level
    clock = [*waves, rest, rest * waves[0], rest * waves[1]]
    return np.column_stack([*clock, inflow, inflow * np.abs(inflow), seen.pressures])


def _gram(x: Floats) -> Floats:
    return np.asarray(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]))


def _net(flows: Floats, expected: Floats, share: Floats) -> Floats:
    """Sum of the flows, an unknown one as usual; NaN when the unknown ones are usually more than 30 % of it."""
    if not flows.shape[1]:
        return np.full(len(flows), np.nan)
    unknown = np.isnan(flows)
    net = np.where(unknown, np.nan_to_num(expected), flows).sum(1)
    net[(unknown @ share > 0.3) | unknown.all(1)] = np.nan
    return np.asarray(net)


def _scaled(net: Floats, expected: Floats) -> Floats:
    """The usual net inflow, scaled by the slope of the seen one on it over the last 24 hours (0.6 to 1.6). A steady loss
    moves the seen one as a whole and leaves the slope alone."""
    known = np.isfinite(net)
    x, y = np.where(known, expected, 0.0), np.where(known, net, 0.0)
    parts = np.stack([known, x, y, x * x, x * y])[..., None]
    sums = trailing(parts, len(net), 24)(24, 0)[..., 0]
    n = np.maximum(sums[0], 1.0)
    variance = sums[3] - sums[1] ** 2 / n
    slope = (sums[4] - sums[1] * sums[2] / n) / np.maximum(variance, 1e-9)
    enough = (sums[0] >= 16) & (variance > 1e-6)
    return np.asarray(np.where(enough, np.clip(slope, 0.6, 1.6), 1.0) * expected)


def _estimates(residuals: Floats, sigma: Floats, wanted: int) -> tuple[Floats, Floats, Floats]:
    """(z, size, hourly) of residuals (hours, columns); z, not yet divided by its inflation, and size of the last `wanted`
    hours."""
    hourly = np.clip(residuals / sigma, -MAX_SIGMAS, MAX_SIGMAS)
    known = np.isfinite(hourly)
    weight = np.where(known, 1 / sigma**2, 0.0)
    parts = np.stack([weight, np.where(known, hourly / sigma, 0.0), known])
    z, size = [], []
    within = trailing(parts, wanted, max(far for far, _ in BEFORE_H))

    def known_for(span: int, sums: Floats) -> tuple[Floats, Floats]:
        """Weight and weighted mean, NaN where less than a third of the span is known."""
        total = np.where(sums[2] < max(1, span / 3), np.nan, sums[0])
        return total, sums[1] / total

    latest = {span: known_for(span, within(span, 0)) for span in dict.fromkeys(SPANS_H)}
    for span in SPANS_H[:ABSOLUTE]:
        total, now = latest[span]
        size.append(now)
        z.append(now * np.sqrt(total))
    for span, (far, near) in zip(SPANS_H[ABSOLUTE:], BEFORE_H, strict=True):
        total, now = latest[span]
        before, then = known_for(far - near, within(far, near))
        size.append(now - then)
        z.append(size[-1] / np.sqrt(1 / total + 1 / before))
    return np.array(z), np.array(size), hourly


def _together(pressures: Floats, scale: Floats) -> Floats:
    """The mean of pressures, each counted by 1 / scale, NaN where half of them or more are unknown."""
    known = np.isfinite(pressures)
    weight = known / scale
    mean = (np.nan_to_num(pressures) / scale).sum(1) / np.maximum(weight.sum(1), 1e-9)
    return np.asarray(np.where(known.mean(1) > 0.5, mean, np.nan) if known.shape[1] else np.full(len(known), np.nan))


def _levelled(stretch: Stretch, values: Floats) -> Floats:
    """Values (hours, columns) put on one level: what their day's median, smoothed by a running median over LEVEL_DAYS that
    keeps steps, is above the median of all days is taken off."""
    apart = values - _usual_day(stretch, values)[stretch.rest, stretch.hour]
    days = median(_grid(stretch, apart), axis=1)
    middle = median(days)
    half = LEVEL_DAYS // 2
    wide = np.concatenate([np.full((half, days.shape[1]), np.nan), days, np.full((half, days.shape[1]), np.nan)])
    level = median(np.lib.stride_tricks.sliding_window_view(wide, LEVEL_DAYS, axis=0), axis=-1)
    return np.asarray(values - np.nan_to_num(level - middle)[stretch.day - int(stretch.day[0])])


def _usual_day(stretch: Stretch, values: Floats) -> Floats:
    """(2, 24, columns): the median by hour on working days; on days of rest that plus a smoothed difference."""
    grid, rest = _grid(stretch, values), _days_of_rest(stretch)
    working = median(grid[~rest]) if (~rest).any() else median(grid)
    everyday = median(grid)
    working = np.where(np.isnan(working), everyday, working)
    free = working.copy()
    if rest.sum() >= 3:
        apart = np.nan_to_num(median(grid[rest]) - working)
        free += (np.roll(apart, 1, 0) + 2 * apart + np.roll(apart, -1, 0)) / 4
    return np.nan_to_num(np.stack([working, free]))


def _grid(stretch: Stretch, values: Floats) -> Floats:
    """(days, 24, columns), NaN where there is nothing."""
    first = int(stretch.day[0])
    grid = np.full((int(stretch.day[-1]) - first + 1, 24, values.shape[1]), np.nan)
    grid[stretch.day - first, stretch.hour] = values
    return grid


def _days_of_rest(stretch: Stretch) -> Flags:
    first = int(stretch.day[0])
    rest = np.zeros(int(stretch.day[-1]) - first + 1, bool)
    rest[stretch.day - first] = stretch.rest.astype(bool)
    return rest


def median(x: Floats, axis: int = 0) -> Floats:
    """Median without NaN, NaN where there is nothing else (np.nanmedian is many times slower on small arrays)."""
    ordered = np.sort(x, axis)
    count = np.isfinite(x).sum(axis, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)
    high = np.take_along_axis(ordered, np.maximum(count, 1) // 2, axis)
    return np.asarray(0.5 * (low + high).squeeze(axis))
