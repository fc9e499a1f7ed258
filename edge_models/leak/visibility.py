"""What a gateway could have seen of the leaks of a case: how far each moves its sensors, from the same life without it,
against what they wander by anyway."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_models.leak.cases import DAY_H, EPOCH_H, Case, Leak
from gateway.window.baseline import LOOKBACK_H, OFFSET, PRESSURES, USUAL_FLOW, Baseline, Stretch
from gateway.window.sector import LEARNT_H, RENEWED_H

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VISIBLE, FAINT = 5.0, 3.0
"""Sigmas above, or from, which a leak is called so."""

SEEN_WITHIN_H = 30 * DAY_H
AS_FAR = 0.05
"""Two pressures that a leak moves alike but for so much are one to whoever measures them."""


@dataclass(frozen=True, slots=True)
class SeenLeak:
    """start, end, growth_h in hours; share: of the mean inflow. sigmas: its largest 24-hour mean effect on a sensor of the
    gateway (net inflow, a pressure) within 30 days and before repair, over the `spreads` of that sensor. shown: the largest
    24-hour mean by which it moves any residual in that time, over that residual's own spread: less where what a
    pressure is against others has the smallest spread, and the leak moves those too. moved: the two pressures that it moves
    most; as_far: others that it moves as far as the second of them, but for AS_FAR."""

    start: int
    end: int
    growth_h: int
    share: float
    m3_h: float
    sigmas: float
    moved: tuple[str, ...]
    as_far: tuple[str, ...] = ()
    shown: float = math.nan


def seen_leaks(
    case: Case, columns: Sequence[int], flows: int, points: Sequence[str], in_residuals: bool = False
) -> tuple[SeenLeak, ...]:
    """The leaks of a case as a gateway with these columns could see them; sigmas are NaN without twins. in_residuals: what
    each has `shown` too, which takes as long again."""
    if case.effects is None:  # how they show was not simulated
        known = [(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h) for leak in case.leaks]
        return tuple(SeenLeak(*one, math.nan, ()) for one in known)
    effects = case.effects[:, :, columns]
    values = case.values[:, columns]
    spread = residual_spreads(values - effects.sum(0), flows)
    sigma = spreads(spread, flows)
    shown = _shown(case.leaks, values, effects, flows, spread) if in_residuals else [math.nan] * len(effects)
    out = []
    for leak, effect, most_shown in zip(case.leaks, effects, shown, strict=True):
        during = effect[leak.start : min(leak.end, leak.start + SEEN_WITHIN_H)]
        net = during[:, :flows].sum(1, keepdims=True) if flows else during[:, :0]
        most = most_sigmas(np.hstack([net, during[:, flows:]]), sigma)
        far = np.abs(during[:, flows:]).mean(0)
        order = np.argsort(-far)
        moved = tuple(points[flows + int(i)] for i in order[:2])
        as_far = tuple(points[flows + int(i)] for i in order[2:] if far[i] >= (1 - AS_FAR) * far[order[1]])
        out.append(
            SeenLeak(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h, most, moved, as_far, most_shown)
        )
    return tuple(out)


def most_sigmas(effect: Floats, sigma: Floats) -> float:
    """The largest 24-hour mean of an effect (hours, sensors) in sigmas (sensors,); 0 for less than a day."""
    if len(effect) < DAY_H:
        return 0.0
    added = np.cumsum(np.vstack([np.zeros(effect.shape[1]), effect]), 0)
    mean = np.abs(added[DAY_H:] - added[:-DAY_H]) / DAY_H
    return float((mean / sigma).max())


def spreads(spread: Floats, flows: int) -> Floats:
    """By how much the 24-hour means of net inflow (if there are flows) and of each pressure wander without leaks: the
    smallest spread (residuals,) of the ways in which the window sees each."""
    by_pressure = spread[PRESSURES : len(spread) - flows].reshape(3, -1).min(0)
    return np.append(spread[[USUAL_FLOW, OFFSET]].min(), by_pressure) if flows else by_pressure


def residual_spreads(clean: Floats, flows: int) -> Floats:
    """(residuals,): 1.4826 times the median size of the 24-hour means of each residual of the window without leaks, about
    what the four weeks before lead one to expect; infinite where nothing is known. clean (hours, points): flows first."""
    hours = _Hours(flows, len(clean))
    sizes = [hours.sizes(baseline, clean, begin) for begin, baseline in hours.baselines(clean)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the median of nothing is NaN, as it should be
        spread = 1.4826 * np.nanmedian(np.abs(np.concatenate(sizes)), 0)
    return np.maximum(np.nan_to_num(spread, nan=np.inf), 1e-6)


def _shown(leaks: Sequence[Leak], values: Floats, effects: Floats, flows: int, spread: Floats) -> list[float]:
    """`SeenLeak.shown` of each leak, from the life with and without it, values and effects (leaks,) of (hours, points), held
    against the baseline that the life with it gives. spread (residuals,)."""
    hours = _Hours(flows, len(values))
    most = [0.0] * len(leaks)
    for begin, baseline in hours.baselines(values):
        seen = None
        for i, (leak, effect) in enumerate(zip(leaks, effects, strict=True)):
            first, over = leak.start + DAY_H - 1, min(leak.end, leak.start + SEEN_WITHIN_H)
            if first >= begin + RENEWED_H or over <= begin:
                continue
            seen = hours.sizes(baseline, values, begin) if seen is None else seen
            moved = np.abs(seen - hours.sizes(baseline, values - effect, begin)) / spread
            part = moved[max(0, first - begin) : over - begin]
            if np.isfinite(part).any():
                most[i] = max(most[i], float(np.nanmax(part)))
    return most


@dataclass(frozen=True, slots=True)
class _Hours:
    """The hours of a case as the window sees them, in pieces of RENEWED_H."""

    flows: int
    count: int

    def stretch(self, values: Floats, begin: int, end: int) -> Stretch:
        hours = EPOCH_H + np.arange(begin, end, dtype=np.int64)
        day = hours // DAY_H
        return Stretch(values[begin:end], self.flows, day, hours % DAY_H, ((day + 3) % 7 >= 5).astype(np.int64))

    def baselines(self, values: Floats) -> Iterator[tuple[int, Baseline]]:
        """Where each piece begins, and what was learnt before it."""
        for begin in range(LEARNT_H + RENEWED_H, self.count, RENEWED_H):
            baseline = Baseline.learn(self.stretch(values, begin - RENEWED_H - LEARNT_H, begin - RENEWED_H))
            if baseline is not None:
                yield begin, baseline

    def sizes(self, baseline: Baseline, values: Floats, begin: int) -> Floats:
        """(hours, residuals) of the piece: 24-hour means, in m3/h and bar."""
        stretch = self.stretch(values, begin - LOOKBACK_H, min(begin + RENEWED_H, self.count))
        return np.asarray(baseline.judge(stretch).size[1])
