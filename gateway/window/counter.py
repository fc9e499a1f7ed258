"""Consumption by the hour, from a counter (that rolls over, is replaced, has gaps or coarse steps) or from power."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.summary import Aggregate

HOUR_S = 3600.0
MOST_GAP_H = 4.0
"""Over a longer time without a step of the counter nobody knows when the energy was taken."""

LEAST_COVERED_S = 2400.0
"""Of an hour, so that it is known from a counter."""

WILD = 10.0
"""So many times the most ever taken in an hour is another counter, not this one going on."""

BINARY_FULL_KWH = (2**32 / 1000, 2**32 / 100, 2**32 / 10)
"""Where counters of 32 bits in Wh, in tens and in hundreds of Wh begin anew; others do at a power of ten."""


@dataclass(frozen=True, slots=True)
class Flat:
    """A counter that has not stepped: since when, until when it was read, and its smallest step so far, kWh."""

    since_s: float
    until_s: float
    step_kwh: float


class Counter:
    """One meter's counter or power, summary by summary in order of time; hours come out once they are known."""

    def __init__(self) -> None:
        self.flat: Flat | None = None
        self.rolled_over = self.replaced = 0
        self._stepped: tuple[float, float] | None = None  # when, kWh
        self._taken: dict[int, tuple[float, float]] = {}  # by hour: kWh, seconds they cover
        self._most_kw = 0.0
        self._steps = 0
        self._step_kwh = math.inf

    def counted(
        self, start_s: float, period_s: float, aggregate: Aggregate, scale: float
    ) -> Iterator[tuple[int, float]]:
        """(hours since 1970, kWh) of hours of which this summary of a counter tells enough. scale: kWh of its unit."""
        if aggregate.last is None:
            return
        kwh = aggregate.last * scale
        # Of several readings the last was read at the end; a single one is that of a recording, which is dated itself.
        at_s = start_s + (period_s if aggregate.n > 1 else 0.0)
        if self._stepped is None:
            self._stepped = at_s, kwh
            return
        since_s, before = self._stepped
        if at_s <= since_s:
            return
        if kwh == before:
            self.flat = Flat(since_s, at_s, self._step_kwh)
            return
        self.flat, self._stepped = None, (at_s, kwh)
        hours = (at_s - since_s) / HOUR_S
        taken = kwh - before
        if taken < 0:
            taken = self._rolled(before, kwh, hours)
        if math.isnan(taken) or (self._steps >= DAY_OF_STEPS and taken / max(hours, 1.0) > WILD * self._most_kw):
            self.replaced += 1
            return
        if hours > MOST_GAP_H:
            return
        self._steps += 1
        self._most_kw = max(self._most_kw, taken / max(hours, 1.0))
        self._step_kwh = min(self._step_kwh, taken)
        yield from self._spread(since_s, at_s, taken / hours, LEAST_COVERED_S)

    def powered(
        self, start_s: float, period_s: float, aggregate: Aggregate, scale: float
    ) -> Iterator[tuple[int, float]]:
        """The same of power. scale: kW of its unit."""
        if aggregate.mean is not None:
            yield from self._spread(start_s, start_s + period_s, max(0.0, aggregate.mean * scale), 0.0)

    def _rolled(self, before: float, kwh: float, hours: float) -> float:
        """What was taken while a counter came to its end and began anew; NaN for one that was replaced or reset."""
        decimal = 10.0 ** math.ceil(math.log10(max(before, 1e-3)))
        for full in (decimal, *BINARY_FULL_KWH):
            taken = full - before + kwh
            likely = WILD * self._most_kw if self._steps >= DAY_OF_STEPS else 0.01 * full
            if full > before and kwh < full and taken / max(hours, 1.0) <= likely:
                self.rolled_over += 1
                return taken
        return math.nan

    def _spread(self, since_s: float, until_s: float, kw: float, least_s: float) -> Iterator[tuple[int, float]]:
        for hour in range(int(since_s // HOUR_S), math.ceil(until_s / HOUR_S)):
            seconds = min(until_s, (hour + 1) * HOUR_S) - max(since_s, hour * HOUR_S)
            kwh, covered = self._taken.get(hour, (0.0, 0.0))
            kwh, covered = kwh + kw * seconds / HOUR_S, covered + seconds
            self._taken[hour] = kwh, covered
            while len(self._taken) > 12:
                del self._taken[next(iter(self._taken))]
            if covered > least_s:
                yield hour, kwh * HOUR_S / covered


DAY_OF_STEPS = 24
"""Steps after which the most that was ever taken says something."""
