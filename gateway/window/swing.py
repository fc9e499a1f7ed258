"""Whether a departure follows the draw of the day.

In a pipe that carries more, each litre that a leak adds costs more head: what it takes off a pressure is large when much is
drawn and small at night, and what a closed valve takes still more so. A sensor that has jumped or drifts, and a set point
that was moved, are off by the same all day. On simulated networks a leak that is plain to see takes off in its weakest hour
a third to two thirds of what it takes off on average, and its hours go with the usual draw (correlation 0.9).

So residuals are put on the usual draw: the slope of a regression over the last SPANS_H hours, hours weighted by
1 / variance, as z; and that over the last day against the one over the week before it. Steady departures give none, but for
the day on which they begin; positive means like a leak.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.window.trailing import trailing

Floats = NDArray[np.float64]

SPANS_H = (24, 72)
BEFORE_H = (216, 48)
"""From when to when the last day is held against, in hours back."""

SWINGS = len(SPANS_H) + 1
LEAST_KNOWN = 0.6
"""Of a span: with less, quiet and busy hours may not both be in it."""

MAX_SIGMAS = 30.0
"""Higher than where a mean stops counting an hour: what is cut has no slope left."""


def swings(residuals: Floats, sigma: Floats, drawn: Floats, wanted: int, most: float = MAX_SIGMAS) -> Floats:
    """z (SWINGS, wanted, columns) of the slopes of residuals (hours, columns) on what is usually drawn, drawn (hours,), for
    the last `wanted` hours; not yet divided by its inflation, NaN where too little is known. sigma (hours, columns): of
    the residuals, of which an hour counts `most` at most."""
    hourly = np.clip(residuals / sigma, -most, most)
    known = np.isfinite(hourly)
    weight = np.where(known, 1 / sigma**2, 0.0)
    seen = np.where(known, hourly / sigma, 0.0)
    x = drawn[:, None]
    parts = np.stack([weight, weight * x, weight * x * x, seen, seen * x, known])
    within = trailing(parts, wanted, BEFORE_H[0])

    def slope(far: int, near: int = 0) -> tuple[Floats, Floats]:
        """The slope over the hours from `far` to `near` hours before the end of each wanted hour, and 1 / its variance."""
        sums = within(far, near)
        total = np.where(sums[5] < LEAST_KNOWN * (far - near), np.nan, sums[0])
        sure = np.maximum(sums[2] - sums[1] ** 2 / total, 1e-9)
        return (sums[4] - sums[1] * sums[3] / total) / sure, sure

    out = []
    for span in SPANS_H:
        now, sure = slope(span)
        out.append(now * np.sqrt(sure))
    (now, sure), (then, before) = slope(SPANS_H[0]), slope(*BEFORE_H)
    return np.array([*out, (now - then) / np.sqrt(1 / sure + 1 / before)])
