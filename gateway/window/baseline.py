"""What a water sector usually does, learnt from four weeks of its own hours, and how far the last hours are from it.

Everything is made dimensionless with the sector's own spread, so that a model sees the same numbers whatever the network,
its size, or how many sensors it has. Signs are turned so that positive means like a leak: more flow, less pressure.

Residuals, one column each, hour by hour:
    usual    net inflow, and each pressure, against the same hour of such days
    offset   net inflow against the usual day scaled to the last 24 hours: what is added at all hours, not more demand
    given    net inflow given the pressures; each pressure given the net inflow
    others   each pressure given all other pressures (a ridge regression with each left out in turn, from one inverse)

An hour counts by 1 / variance at that hour of the day, which is how a steady small loss is seen best: quiet nights count
most. Over 3, 24 and 72 hours this gives an estimate of the added flow or lost pressure, and its z, in units of what the
same estimate did over the four weeks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Whole = NDArray[np.int64]

SPANS_H = (3, 24, 72)
LOOKBACK_H = 72 + 24
"""Hours before the first wanted one that `judge` needs to be given."""
RIDGE = 2e-3
LEAST_H = 12 * 24
"""A point with fewer hours than this in the four weeks is left out."""
PRESSURE_FLOOR_BAR, FLOW_FLOOR_SHARE, FLOW_FLOOR_M3_H = 0.004, 0.004, 0.02
MAX_SIGMAS = 8.0
"""One hour counts at most so much, so that an hour of flushing is not a leak."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive hours. values (hours, points): flows in m3/h first, then pressures in bar, NaN where unknown; flows:
    how many of the points are flows; hour: 0 to 23, local; rest: 1 on a day of rest, else 0; day: of the calendar."""

    values: Numbers
    flows: int
    hour: Whole
    rest: Whole
    day: Whole


@dataclass(frozen=True, slots=True)
class Judged:
    """The hours asked for, against a baseline. z, size (spans, hours, residuals): see the module; NaN where unknown.
    size in m3/h or bar. hourly (hours + LOOKBACK_H, residuals): each hour's own z. usual, net (hours): net inflow
    expected and seen. Residuals are in the order of `Baseline.columns`."""

    z: Numbers
    size: Numbers
    hourly: Numbers
    usual: Numbers
    net: Numbers


@dataclass(frozen=True, slots=True)
class Baseline:
    """Four weeks of a sector. Made by `learn`."""

    flows: int
    known: NDArray[np.bool_]  # points with enough hours
    usual: Numbers  # (2, 24, points + 1): working day and day of rest; the last column is the net inflow
    scale: Numbers  # (points,): how much each deviates as a whole
    share: Numbers  # (flows,): of each flow in the net inflow
    level: float  # mean size of the net inflow, m3/h
    centre: Numbers  # of the regressors: harmonics, net inflow, its square, pressures
    spread: Numbers
    others: Numbers  # coefficients
    given_flow: Numbers
    given_pressure: Numbers
    mid: Numbers  # (24, residuals)
    sigma: Numbers  # (24, residuals)
    inflation: Numbers  # (spans, residuals)

    @property
    def pressures(self) -> int:
        return len(self.known) - self.flows

    def judge(self, stretch: Stretch) -> Judged:
        """The hours of a stretch after its first LOOKBACK_H."""
        residuals, net, usual = self._residuals(stretch)
        residuals -= self.mid[stretch.hour]
        z, size, hourly = _estimates(residuals, self.sigma[stretch.hour])
        z /= self.inflation[:, None, :]
        new = slice(LOOKBACK_H, None)
        return Judged(z[:, new], size[:, new], hourly, usual[new], net[new])

    def _residuals(self, stretch: Stretch) -> tuple[Numbers, Numbers, Numbers]:
        """(hours, residuals) before their middle is taken off; net inflow seen and usual."""
        flows, values = self.flows, np.where(self.known, stretch.values, np.nan)
        expected = self.usual[stretch.rest, stretch.hour]
        deviation = values - expected[:, :-1]
        net = _net(values[:, :flows], expected[:, :flows], self.share)
        usual = expected[:, -1]
        regressors = _regressors(stretch, net, usual, self.level, self._filled(values, expected[:, :-1], deviation))
        x = (regressors - self.centre) / self.spread
        harmonics = x.shape[1] - 2 - self.pressures
        p, own = x[:, harmonics + 2 :], self.spread[harmonics + 2 :]
        with_pressure = np.hstack([x[:, :harmonics], p])
        given_net = net - (with_pressure @ self.given_pressure) * self.spread[harmonics] - self.centre[harmonics]
        given_p = (p - x[:, : harmonics + 2] @ self.given_flow) * own
        given_others = (with_pressure @ self.others) * own
        unknown = np.isnan(values[:, flows:])
        if self.pressures:
            few = unknown[:, self.known[flows:]].mean(1) > 0.5 if self.known[flows:].any() else np.ones(len(values), bool)
            given_others[few] = np.nan
            given_others[unknown] = given_p[unknown] = np.nan
            given_p[np.isnan(net)] = np.nan if self.flows else given_p[np.isnan(net)]
        else:
            given_net[:] = np.nan
        columns = [
            (net - usual)[:, None],
            (net - _scaled(net, usual))[:, None],
            given_net[:, None],
            -deviation[:, flows:],
            -given_others,
            -given_p,
        ]
        return np.hstack(columns), net, usual

    def _filled(self, values: Numbers, expected: Numbers, deviation: Numbers) -> Numbers:
        """Pressures, where unknown as usual at that hour and moved like the others now."""
        p = slice(self.flows, None)
        if not self.pressures:
            return values[:, p]
        common = np.nan_to_num(_middle((deviation[:, p] / self.scale[p]).T))
        return np.where(np.isnan(values[:, p]), expected[:, p] + common[:, None] * self.scale[p], values[:, p])


def learn(stretch: Stretch) -> Baseline | None:
    """The baseline of a stretch of four weeks, or None when no point has enough hours."""
    flows, values = stretch.flows, stretch.values
    known = np.isfinite(values).sum(0) >= LEAST_H
    if not known.any():
        return None
    values = np.where(known, values, np.nan)
    expected = _usual(stretch, values)
    seen = expected[stretch.rest, stretch.hour]
    scale = np.maximum(_spread(values - seen), 0.01)
    size = np.nan_to_num(np.abs(expected[:, :, :flows]).mean((0, 1)))
    share = size / max(float(size.sum()), 1e-9)
    net = _net(values[:, :flows], seen[:, :flows], share)
    usual_net = _usual(stretch, net[:, None])
    usual = np.concatenate([expected, usual_net], axis=2)
    usual_seen = usual_net[stretch.rest, stretch.hour, 0]
    level = float(np.nanmean(np.abs(net))) if np.isfinite(net).any() else 1.0
    pressures = values.shape[1] - flows
    none = np.zeros(0)
    draft = Baseline(
        flows, known, np.nan_to_num(usual), scale, share, max(level, 1e-3),
        none, none, none, none, none, none, none, none,
    )  # fmt: skip
    filled = draft._filled(values, np.nan_to_num(seen), values - seen)  # noqa: SLF001 same class in the making
    raw = _regressors(stretch, net, np.nan_to_num(usual_seen), draft.level, filled)
    centre, spread = raw.mean(0), raw.std(0)
    spread[spread < 1e-6] = 1.0
    x = (raw - centre) / spread
    h = x.shape[1] - 2 - pressures
    base, u, p = x[:, :h], x[:, h], x[:, h + 2 :]
    with_flow, with_pressure = x[:, : h + 2], np.hstack([base, p])
    given_flow = _ridge(with_flow, p)
    given_pressure = _ridge(with_pressure, u[:, None])[:, 0]
    inverse = np.linalg.inv(_gram(with_pressure))
    picked = inverse[:, h:]
    others = picked / np.diag(picked[h:])
    count = 3 + 3 * pressures
    whole = Baseline(
        flows, known, draft.usual, scale, share, draft.level, _net_centre(centre, h, draft.level), spread_net(spread, h, draft.level),
        others, given_flow, given_pressure,
        np.zeros((24, count)), np.ones((24, count)), np.ones((len(SPANS_H), count)),
    )  # fmt: skip
    raise NotImplementedError
