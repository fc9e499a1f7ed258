"""The window of a pump rig (or any machine that is started, runs evenly and stops): has it left the state it settled in?

The machine's own first minutes after a start say what is normal for this run; after that its signals are held against them,
minute by minute, in units of their own spread. Temperatures are left out of the rule: they follow the room and the running
time more than any fault. What is learnt ends with a stop (two minutes without a value), and with the gateway's memory.

Role: signal, two points or more, in any units.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.summary import Aggregate
from gateway.unit import UNITS
from gateway.window import Features, Inputs

STEP_S = 60.0
LEARN_S = 400.0
"""How long after its start a rig teaches what is normal."""

STOP_S = 120.0
STEPS = 10
LIMIT = 2.0
"""Root mean square of the deviations, in spreads, that is enough for an alert."""

MOST = 3.0
WORTH_SAYING = 0.15

Floats = NDArray[np.float64]


class RigWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = STEP_S
    steps = STEPS
    channels: Sequence[str] = ()  # one a point of the site

    def __init__(self, inputs: Inputs) -> None:
        if set(inputs) != {"signal"} or len(inputs["signal"]) < 2:
            raise ValueError(f"roles {', '.join(sorted(inputs))}: expected one role 'signal' with two points or more")
        self._points = tuple(inputs["signal"])
        self._scored = np.ones(len(self._points), bool)
        self._rows: deque[tuple[float, float, Floats]] = deque(maxlen=1024)  # (start_s, end_s, mean of each signal)
        self._start_s = -math.inf
        self._learning: list[Floats] = []

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        if unit not in UNITS:
            raise ValueError(f"unit {unit!r}: unknown; use one of {', '.join(UNITS)}")
        if period_s > STEP_S:
            raise ValueError(
                f"a summary of {period_s:.0f} s: a rig is judged every {STEP_S:.0f} s; summarise more often"
            )
        index = self._points.index(point)
        self._scored[index] = UNITS[unit].quantity != "temperature"
        if aggregate.mean is None or (self._rows and start_s < self._rows[-1][0]):
            return
        if not self._rows or start_s > self._rows[-1][0]:
            if not self._rows or start_s - self._rows[-1][1] > STOP_S:
                self._start_s, self._learning = start_s, []
            self._rows.append((start_s, start_s + period_s, np.full(len(self._points), np.nan)))
            if start_s + period_s <= self._start_s + LEARN_S:
                self._learning.append(self._rows[-1][2])
        self._rows[-1][2][index] = aggregate.mean

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (STEPS minutes, signals as in the site): deviations in spreads, 0 where nothing is known."""
        if self.missing(now_s):
            return None
        usual, spread = _usual(np.array(self._learning))
        ends = [now_s - STEP_S * back for back in range(STEPS - 1, -1, -1)]
        x = np.array([(self._minute(end_s) - usual) / spread for end_s in ends])
        now = np.where(self._scored, x[-1], np.nan)
        evidence = sorted(self._reasons(now, usual, spread), key=lambda reason: -reason.weight)
        seen = Features(now_s, np.clip(np.nan_to_num(x), -8, 8).astype(np.float32), evidence, 0.0)
        return self._judged(seen, now, {})

    def _judged(self, seen: Features, now: Floats, shares: Mapping[str, float]) -> Features:
        """What was seen, had some points departed by these shares only, with the rule's score of it."""
        share = np.array([shares.get(point, 1.0) for point in self._points])
        known = (now * share)[np.isfinite(now)]
        score = min(MOST, math.sqrt(float((known**2).mean())) / LIMIT) if len(known) else 0.0
        ease = None if shares else partial(self._judged, seen, now)
        return Features(seen.time_s, seen.x * share.astype(np.float32), seen.evidence, score, ease)

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        if not np.isfinite(self._minute(now_s)).any():
            return "aucune mesure depuis une minute : la machine est arrêtée"
        if now_s < self._start_s + LEARN_S + STEP_S:
            return f"en marche depuis {now_s - self._start_s:.0f} s sur {LEARN_S + STEP_S:.0f}"
        if len(self._learning) < 5:
            return "moins de cinq mesures après le démarrage"
        return ""

    def _minute(self, end_s: float) -> Floats:
        """The means of the minute that ends then; NaN for what is not known."""
        rows = []
        for start_s, row_end_s, row in reversed(self._rows):
            if row_end_s <= end_s - STEP_S or start_s < self._start_s:
                break
            if row_end_s <= end_s:
                rows.append(row)
        if not rows:
            return np.full(len(self._points), np.nan)
        stacked = np.array(rows)
        known = np.isfinite(stacked)
        count = known.sum(axis=0)
        means = np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(1, count)
        return np.where(count > 0, means, np.nan)

    def _reasons(self, now: Floats, usual: Floats, spread: Floats) -> Iterator[Reason]:
        """Signals by what they add to the score."""
        count = max(1, int(np.isfinite(now).sum()))
        for index, point in enumerate(self._points):
            weight = abs(float(now[index])) / LIMIT / math.sqrt(count)
            if weight >= WORTH_SAYING:  # not so for NaN
                value = usual[index] + now[index] * spread[index]
                text = f"{point} est à {_fr(value)}, contre {_fr(float(usual[index]))} après le démarrage"
                yield Reason(point, "drift", min(MOST, weight), text, float(value), float(usual[index]))


def _usual(rows: Floats) -> tuple[Floats, Floats]:
    """Mean and spread of each signal; the spread at least a millionth of the mean. NaN for a signal that was not there."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    mean = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(1, count)
    variance = np.where(known, (rows - mean) ** 2, 0.0).sum(axis=0) / np.maximum(1, count)
    spread = np.maximum(np.sqrt(variance), 1e-6 * np.maximum(1.0, np.abs(mean)))
    return np.where(count >= 5, mean, np.nan), spread


def _fr(value: float) -> str:
    """Four figures, as French people write them."""
    return f"{value:.4g}".replace(".", ",")
