"""What a model sees of an hour of a water sector: one row of channels, whatever the network and however many sensors.

All are z of `gateway.window.baseline` and `gateway.window.swing`, pooled over the sensors, and what is known at all; beside
them the rule's score.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gateway.window.baseline import (
    ALL_GIVEN,
    ALL_USUAL,
    DAYS,
    ESTIMATES,
    OFFSET,
    PRESSURES,
    SPANS_H,
    USUAL_FLOW,
    WEEK,
    Baseline,
    Floats,
    Judged,
)

LAGS_H = (336, 288, 228, 180, 144, 116, 92, 72, 56, 44, 34, 26, 20, 15, 11, 8, 6, 4, 3, 2, 1, 0)
"""Hours back that a model sees: of the last fortnight, ever further apart."""

_NAMES = ("3h", "24h", "72h", "week", "days", "ten_days", "fresh")  # the estimates
_SWUNG = (
    "flow",
    "all_drop",
    "all_given",
    "drop_max",
    "drop_min",
    "others_max",
    "others_min",
    "drop_most",
    "others_most",
)
CHANNELS = (
    *(f"{of}_{name}" for name in _NAMES for of in ("flow", "offset", "flow_given", "all_drop", "all_given")),
    *(f"drop_{name}_{which}" for name in _NAMES for which in ("max", "second", "mean", "min")),
    *(f"others_{name}_{which}" for name in _NAMES for which in ("max", "second", "min")),
    *(f"given_{name}_{which}" for name in _NAMES for which in ("max", "mean", "min")),
    *(f"inlet_{name}_{which}" for name in ("3h", "24h", "72h", "week") for which in ("max", "min")),
    *("offset_share_24h", "offset_share_72h", "common_drop_24h", "largest_drop_24h"),
    *(f"alone_{name}_{which}" for name in ("24h", "week", "days") for which in ("max", "min")),
    *("uniform_24h", "uniform_week", "uniform_days", "step_flow", "step_drop", "step_others", "step_both"),
    *(f"swing_{of}_{name}" for name in ("24h", "72h", "week") for of in _SWUNG),
    *("has_flow", "has_pressure", "has_others", "pressures", "fresh", "known"),
)
CLIP = 10.0
"""Channels lie within -CLIP and CLIP; z beyond it are as sure as can be."""

STEP_FROM, RULE_NIGHTS_Z, RULE_STEP = 2.0, 6.0, 30.0
"""The rule alerts at this z of the flow added over three days (mostly nights: minimum night flow), or at this sum of hourly
z above 2 each (a CUSUM) of the flow or of a pressure against the others."""


def channels(judged: Judged, baseline: Baseline, fresh: Floats) -> Floats:
    """(hours, CHANNELS) of judged hours; fresh (hours): share of the last day's values that are known."""
    z, size = judged.z, judged.size
    hours, pressures = z.shape[1], judged.pressures
    ends = PRESSURES + 3 * pressures
    share = size[:, :, OFFSET] / baseline.level_m3_h
    if pressures:
        by_sensor = z[:, :, PRESSURES:ends].reshape(ESTIMATES, hours, 3, pressures)
        bar = size[:, :, PRESSURES : PRESSURES + 2 * pressures].reshape(ESTIMATES, hours, 2, pressures)
        precision = baseline.relations.precision
    else:
        by_sensor, bar = np.full((ESTIMATES, hours, 3, 1), np.nan), np.full((ESTIMATES, hours, 2, 1), np.nan)
        precision = np.ones(1)
    most, second, mean, least = _pooled(by_sensor)  # each (ESTIMATES, hours, kinds)
    drop, others, given = 0, 1, 2
    bar_most, _, bar_mean, _ = _pooled(bar[1])
    alone_most, _, _, alone_least = _pooled(alone(by_sensor, bar, precision))
    together = mean[:, :, drop] * uniform(bar[:, :, drop])
    inlets = z[:, :, ends:] if z.shape[2] > ends + 1 else np.full((ESTIMATES, hours, 1), np.nan)
    inlet_most, _, _, inlet_least = _pooled(inlets)
    known = np.isfinite(by_sensor[1])
    steps = _steps(judged)
    columns = [
        *(z[span, :, column] for span in range(ESTIMATES) for column in range(PRESSURES)),
        *(of[span, :, drop] for span in range(ESTIMATES) for of in (most, second, mean, least)),
        *(of[span, :, others] for span in range(ESTIMATES) for of in (most, second, least)),
        *(of[span, :, given] for span in range(ESTIMATES) for of in (most, mean, least)),
        *(of[span] for span in (0, 1, 2, WEEK) for of in (inlet_most, inlet_least)),
        *(40 * share[1], 80 * share[2], 20 * bar_mean[:, drop], 40 * bar_most[:, others]),
        *(of[span] for span in (1, WEEK, DAYS) for of in (alone_most, alone_least)),
        *(together[span] for span in (1, WEEK, DAYS)),
        *(np.sqrt(step) for step in steps),
        np.sqrt(np.minimum(steps[0], np.maximum(steps[1], steps[2]))),
        *_swung(judged, by_sensor),
        np.isfinite(z[1, :, USUAL_FLOW]),
        known[:, drop].any(1),
        known[:, others].any(1),
        known[:, drop].sum(1) / 12,
        fresh,
        np.ones(hours),
    ]
    return np.asarray(np.clip(_zeroed(np.column_stack(columns)), -CLIP, CLIP))


def _swung(judged: Judged, by_sensor: Floats) -> Iterator[Floats]:
    """Channels of `gateway.window.swing`, each (hours,), spans one after another, each as in _SWUNG: of the sector, of the
    pressures the largest and the smallest, and that of the pressure which departs most. by_sensor: z (ESTIMATES, hours,
    kinds, pressures)."""
    hours, pressures = judged.swing.shape[1], judged.pressures
    for swing, span in zip(judged.swing, (1, 2, WEEK), strict=True):
        each = np.full((hours, 2, 1), np.nan)
        if pressures:
            each = swing[:, PRESSURES : PRESSURES + 2 * pressures].reshape(hours, 2, pressures)
        largest, _, _, smallest = _pooled(each)
        furthest = np.nan_to_num(by_sensor[span], nan=-np.inf)[:, :2].argmax(-1)[..., None]
        most = np.take_along_axis(each, furthest, -1)[..., 0]
        yield from swing[:, [USUAL_FLOW, ALL_USUAL, ALL_GIVEN]].T
        for kind in (0, 1):
            yield from (largest[:, kind], smallest[:, kind])
        yield from most.T


def alone(z: Floats, size: Floats, precision: Floats) -> Floats:
    """(ESTIMATES, hours, pressures): each pressure's z against the others, times the share of all that pressures depart by
    which an error of that sensor alone would explain. z, size (ESTIMATES, hours, kinds, pressures), kinds: usual,
    others."""
    drop, others = np.nan_to_num(size[:, :, 0]), np.nan_to_num(size[:, :, 1])
    whole = (drop * others * precision).sum(-1, keepdims=True)
    share = np.clip(others**2 * precision / np.maximum(whole, 1e-12), 0, 1)
    return np.asarray(z[:, :, 1] * share)


def uniform(drop: Floats) -> Floats:
    """(ESTIMATES, hours): 1 where all pressures have dropped by the same bars, 0 where as many rose as dropped, or only one
    is known."""
    known = np.isfinite(drop)
    count = np.maximum(known.sum(-1), 1)
    drop = np.nan_to_num(drop)
    even = (drop.sum(-1) / count) ** 2 / np.maximum((drop**2).sum(-1) / count, 1e-12)
    return np.asarray(np.where(known.sum(-1) > 1, even, 0.0))


def rule_scores(judged: Judged) -> Floats:
    """(hours,): minimum night flow and CUSUM; above 1 the rule would alert."""
    flow, _, others = _steps(judged)
    nights = _zeroed(judged.z[2, :, OFFSET]) / RULE_NIGHTS_Z
    return np.asarray(np.maximum(0.0, np.maximum(nights, np.maximum(flow, others) / RULE_STEP)))


def _steps(judged: Judged) -> tuple[Floats, Floats, Floats]:
    """A CUSUM over the last three days, each (hours,): how much the hourly z have been above STEP_FROM without a break, of
    the flow, and of the pressure that moved most against its usual day and against the others."""
    hours, span = judged.z.shape[1], SPANS_H[2]
    pressures = judged.pressures
    columns = [USUAL_FLOW, *range(PRESSURES, PRESSURES + 2 * pressures)]
    above = np.clip(_zeroed(judged.hourly[-hours - span + 1 :, columns]), -6, 6) - STEP_FROM
    backwards = np.lib.stride_tricks.sliding_window_view(above, span, axis=0)[..., ::-1]
    steps = np.maximum(np.cumsum(backwards, -1).max(-1), 0.0)
    none = np.zeros((hours, 1))
    drop, others = np.hstack([none, steps[:, 1 : 1 + pressures]]), np.hstack([none, steps[:, 1 + pressures :]])
    return steps[:, 0], drop.max(1), others.max(1)


def stacked(rows: Floats) -> NDArray[np.float32]:
    """Rows of consecutive hours as inputs of a model, (hours, len(LAGS_H), CHANNELS), oldest first. The first LAGS_H[0]
    rows are past only; inputs are given for the others."""
    last = np.arange(LAGS_H[0], len(rows))
    return np.asarray(rows[last[:, None] - np.array(LAGS_H)], np.float32)


def _pooled(z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Largest, second largest, mean and smallest over the sensors, which are the last axis; NaN where none is known."""
    ordered = np.sort(z, -1)  # NaN come last
    count = np.isfinite(z).sum(-1)
    last = np.maximum(count - 1, 0)[..., None]
    most = np.take_along_axis(ordered, last, -1)[..., 0]
    second = np.take_along_axis(ordered, np.maximum(last - 1, 0), -1)[..., 0]
    mean = np.where(count > 0, _zeroed(z).sum(-1) / np.maximum(count, 1), np.nan)
    return most, second, mean, ordered[..., 0]


def _zeroed(x: Floats) -> Floats:
    return np.where(np.isnan(x), 0.0, x)
