"""Plain detectors to hold the leak model against: what a careful person could do without one, and what looks at nothing.

Scores are by hour, high like a leak; what makes alarms of them is `crossings`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from edge_models.leak.cases import DAY_H
from edge_models.leak.watched import Alarm, Watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def crossings(life: Watched, scores: Floats, threshold: float) -> list[Alarm]:
    """An alarm from where the score goes above the threshold until it has been under half of it for a day."""
    alarms, begun, low = [], None, 0
    for hour in np.flatnonzero(life.judged).tolist():
        low = low + 1 if scores[hour] < threshold / 2 else 0
        if begun is None and scores[hour] > threshold:
            begun = hour + 1.0
        elif begun is not None and low >= DAY_H:
            alarms.append(Alarm(begun, hour + 1.0))
            begun = None
    return [*alarms, Alarm(begun, float(len(scores)))] if begun is not None else alarms


def metronome(life: Watched, period_h: float) -> list[Alarm]:
    """An alarm every so often, of a day each, whatever is measured; once a day is an alarm that never ends."""
    hours = np.flatnonzero(life.judged)
    if not len(hours):
        return []
    at = np.arange(hours[0] + 1.0 + (period_h - DAY_H) / 2, hours[-1] + 1.0, period_h).tolist()
    return [Alarm(begin, min(begin + DAY_H, end)) for begin, end in pairwise([*at, float(len(life.judged))])]


def deviations(life: Watched) -> Floats:
    """(hours, series): net inflow and each pressure turned upside down, against the median of the same hour of four weeks
    up to two days before, over the spread of that; within 6, 0 where nothing is known."""
    flows, pressures = life.values[:, : life.flows], life.values[:, life.flows :]
    net = flows.sum(1, keepdims=True) if life.flows else flows
    series = np.hstack([net, -pressures])
    days = series[: len(series) // DAY_H * DAY_H].reshape(-1, DAY_H, series.shape[1])
    off = np.array([days[i] - _middle(days[max(0, i - 30) : i - 2]) for i in range(len(days))])
    sigma = np.array([1.4826 * _middle(np.abs(off[max(0, i - 30) : i - 2])) for i in range(len(days))])
    z = np.clip(np.nan_to_num(off / np.maximum(sigma, 1e-3)), -6, 6).reshape(-1, series.shape[1])
    return np.vstack([z, np.zeros((len(series) - len(z), z.shape[1]))])


def _middle(days: Floats) -> Floats:
    """Median over days, NaN where half or less of a fortnight is known."""
    if len(days) < 7:
        return np.full(days.shape[1:], np.nan)
    enough = np.isfinite(days).sum(0) >= 7
    return np.where(enough, np.nanmedian(np.where(enough, days, 0.0), 0), np.nan)


def night_flow(life: Watched) -> Floats:
    """z of the lowest hour from midnight to six, known from seven on; never above 0 without flows."""
    score = np.zeros(len(life.values))
    if not life.flows:
        return score
    net = life.values[:, : life.flows].sum(1)
    days = net[: len(net) // DAY_H * DAY_H].reshape(-1, DAY_H)
    known = np.isfinite(days[:, :6])
    low = np.where(known.all(1), np.where(known, days[:, :6], np.inf).min(1), np.nan)[:, None]
    for i in range(len(days)):
        past = low[max(0, i - 30) : i - 2] if i >= 2 else low[:0]
        middle = _middle(past)
        sigma = 1.4826 * _middle(np.abs(past - middle))
        z = float(np.nan_to_num((low[i] - middle) / np.maximum(sigma, 1e-3))[0])
        score[i * DAY_H + 7 : (i + 1) * DAY_H + 7] = z
    return score


def ewma(life: Watched) -> Floats:
    """Largest of the deviations' averages, weights falling by a factor e in a day."""
    return _running(life, lambda held, z: held + (z - held) / DAY_H)


def cusum(life: Watched) -> Floats:
    """Largest of the deviations' sums above 1, which leak away in a fortnight."""
    return _running(life, lambda held, z: np.maximum(0.0, held * (1 - 1 / (14 * DAY_H)) + z - 1))


def _running(life: Watched, step: Callable[[Floats, Floats], Floats]) -> Floats:
    z = deviations(life)
    held, out = np.zeros(z.shape[1]), np.zeros(len(z))
    for hour in range(len(z)):
        held = step(held, z[hour])
        out[hour] = held.max()
    return out
