"""The window of a water sector: does it lose water that it did not lose before?

Any number of flow meters and pressure sensors, at least one in all. Their summaries become hourly means; four weeks of
them, up to two days ago, give a baseline (`gateway.window.baseline`), renewed every second day at 00:00 UTC so that a
restart and a replay renew it at the same hours. Each hour becomes a row of channels that do not depend on the network nor
on the number of its sensors; what a model sees are the rows of some hours of the last fortnight, ever further apart.

What an hour's features are depends on the HISTORY_S before it and on nothing else; with many pressures also on the levels
of leaks that were told (`gateway.window.level`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gateway.alert import Reason
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs
from gateway.window.baseline import (
    LOOKBACK_H,
    Baseline,
    Flags,
    Floats,
    Judged,
    Stretch,
)
from gateway.window.channel import CHANNELS, LAGS_H, channels, rule_scores, stacked
from gateway.window.departure import Departures, eased
from gateway.window.level import EVERY_H, MANY, OVER_H, RECENT_H, Departed, Levels

HOUR_S = 3600.0
RENEWED_H = 48
"""Hours between two baselines, and how old the youngest hour in a baseline is at least: a leak must not teach it."""

LEARNT_H = 28 * 24
NEEDED_H = 20 * 24
"""Hours with data that a baseline must rest on."""

HISTORY_S = (LAGS_H[0] + LEARNT_H + 2 * RENEWED_H + 24) * HOUR_S
"""How far back features reach: 47 days."""

RULE = len(CHANNELS)
"""Column of an hour's row: the rule's score."""

DAY_STUCK_H, STUCK_H, OFTEN_STUCK_H = 24, 3, 18
"""After so many hours without the least change people are told; a value is no measurement: at once where the point usually
moves, later where it often stands still."""

PLAUSIBLE_BAR = (-1.0, 40.0)
EASED_H = 7 * 24
"""So far back goes what is asked of a scorer when it explains itself."""


class SectorWindow:
    """See the module. inputs: roles "flow" and "pressure". utc_offset_s: local time minus UTC at a UTC time, in seconds, so
    that days are those people live by; without it UTC days serve, and the hour that clocks change stays unknown to it."""

    step_s = HOUR_S
    steps = len(LAGS_H)
    channels: Sequence[str] = CHANNELS

    def __init__(self, inputs: Inputs, utc_offset_s: Callable[[float], float] | None = None) -> None:
        flows, pressures = list(inputs.get("flow", ())), list(inputs.get("pressure", ()))
        self.points = flows + pressures
        if unknown := sorted(set(inputs) - {"flow", "pressure"}):
            raise ValueError(f"inputs of a sector: expected the roles flow and pressure, got {', '.join(unknown)}")
        if not self.points or len(flows) > 6 or len(pressures) > 40:
            raise ValueError(
                f"inputs of a sector: expected 0 to 6 flows and 0 to 40 pressures, at least one in all, "
                f"got {len(flows)} and {len(pressures)}"
            )
        if len(set(self.points)) < len(self.points):
            raise ValueError("inputs of a sector: a point is named twice; name each once")
        self.passed_over = 0  # summaries that came twice, or too late for their hour
        self._flows = len(flows)
        self._column = {point: i for i, point in enumerate(self.points)}
        self._utc_offset_s = utc_offset_s
        self._levels = Levels(len(flows), len(pressures)) if len(pressures) >= MANY else None
        self._settled_h: int | None = None  # when they last changed
        self._factors: dict[tuple[int, str], float] = {}
        self._forget()

    def _forget(self) -> None:
        """Starts from nothing."""
        self._hours = _Rows(4 * len(self.points), 0.0)  # seconds, value * seconds, lowest, highest of each point
        self._rows = _Rows(len(CHANNELS) + 1, 0.0)  # and the rule's score
        self._last_start_s = [-np.inf] * len(self.points)
        self._first_h: int | None = None  # the first hour with data
        self._done_h: int | None = None  # rows are known up to this hour, it excluded
        self._baseline: Baseline | None = None
        self._renewed_h: int | None = None
        self._usually_stuck = np.zeros(len(self.points), bool)
        self._latest: Departures | None = None

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        column = self._column[point]
        if not 0 < period_s <= HOUR_S:
            raise ValueError(f"{point}: expected periods of at most an hour, got {period_s:.0f} s; summarise it finer")
        if aggregate.mean is None:
            return
        hour = int(start_s // HOUR_S)
        if self._done_h is not None and hour < self._done_h - self._rows.capacity:
            self._forget()  # the clock was far ahead and has come back
        if start_s <= self._last_start_s[column] or (self._done_h is not None and hour < self._done_h):
            self.passed_over += 1
            return
        factor = self._factor(point, column, unit)
        mean = aggregate.mean * factor
        low = mean if aggregate.min is None else aggregate.min * factor
        high = mean if aggregate.max is None else aggregate.max * factor
        if column >= self._flows and not PLAUSIBLE_BAR[0] <= mean <= PLAUSIBLE_BAR[1]:
            return
        self._last_start_s[column] = start_s
        if self._first_h is None:
            self._first_h = hour
        cell = self._hours.at(hour).reshape(4, -1)[:, column]
        cell[2] = low if cell[0] == 0 else min(cell[2], low)
        cell[3] = high if cell[0] == 0 else max(cell[3], high)
        cell[0] += period_s
        cell[1] += mean * period_s

    def _factor(self, point: str, column: int, unit: str) -> float:
        """From the unit to m3/h or bar."""
        known = self._factors.get((column, unit))
        if known is None:
            try:
                known = self._factors[column, unit] = convert(1.0, unit, "m3/h" if column < self._flows else "bar")
            except ValueError as error:
                raise ValueError(f"{point}: {error}") from None
        return known

    def features(self, now_s: float) -> Features | None:
        now_h = int(now_s // HOUR_S)
        self.advance(now_h)
        if self.missing(now_s) or self._latest is None or self._baseline is None:
            return None
        rows = self._rows.between(now_h - 1 - LAGS_H[0], now_h)
        x = stacked(rows[:, : len(CHANNELS)])[-1]
        evidence = sorted(self._without_levels(now_h, self._latest.evidence(self.points)), key=lambda one: -one.weight)
        suspects = (*self._latest.suspects(self.points), *self._stuck_points(now_h))
        moved = self._latest.moved(self.points)
        seen = Features(now_s, x, evidence, float(rows[-1, RULE]), suspects=suspects, alike=moved)
        return replace(seen, ease=partial(self._eased, seen, self._baseline))

    def _without_levels(self, now_h: int, reasons: Iterator[Reason]) -> Iterator[Reason]:
        """Reasons that say so where what leaks told before do was taken off."""
        off = None if self._levels is None else self._levels.off(now_h - 1, now_h)[0]
        for reason in reasons:
            told = off is not None and off[self._column[reason.point]] != 0
            yield replace(reason, text=f"{reason.text}, fuites déjà signalées déduites") if told else reason

    def is_more(self, now_s: float) -> bool:
        """See `Settles`."""
        now_h = int(now_s // HOUR_S)
        if self._levels is None or self._baseline is None or not self._levels.known:
            return False
        more = self._levels.more(now_h, self._departed(self._baseline, now_h, RECENT_H))
        if more:
            self._judge_again(now_h)
        return more

    def raised(self, now_s: float, since_s: float) -> None:
        """See `Settles`."""
        if self._levels is not None:
            self._levels.raised(int(now_s // HOUR_S), int(since_s // HOUR_S))

    def cleared(self) -> None:
        """See `Settles`."""
        if self._levels is not None:
            self._levels.cleared()

    def settle(self, now_s: float) -> bool:
        """See `Settles`."""
        levels, baseline, now_h = self._levels, self._baseline, int(now_s // HOUR_S)
        if levels is None or baseline is None:
            return False
        if levels.is_due(now_h):
            levels.take(now_h, self._departed(baseline, now_h, OVER_H))
            changed = True
        else:
            levels.forget(now_h - int(HISTORY_S // HOUR_S))
            asked = levels.known and now_h % EVERY_H == 0
            changed = asked and levels.mended(now_h, self._departed(baseline, now_h, RECENT_H))
        if changed:
            self._judge_again(now_h)
        return changed

    @property
    def levelled(self) -> bool:
        """See `Settles`."""
        return self._levels is not None and self._levels.known

    def running(self, now_s: float) -> bool:
        """See `Settles`."""
        return self._levels is not None and self._levels.running(int(now_s // HOUR_S))

    def state(self) -> dict[str, Any]:
        """What must outlive a restart: the levels of leaks that were told."""
        return (
            {} if self._levels is None else {"points": self.points, "settled_h": self._settled_h} | self._levels.state()
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; of other points than these nothing is taken. Raises ValueError."""
        if self._levels is not None and state.get("points") == self.points:
            self._levels.restore(state)
            self._settled_h = state.get("settled_h")

    def _departed(self, baseline: Baseline, now_h: int, hours: int) -> Departed:
        """What the points departed by over the last hours."""
        return Departed.over(self._stretch(now_h - hours, now_h), baseline)

    def _judge_again(self, now_h: int) -> None:
        """Makes the baseline and the rows of the last fortnight anew, from the levels as they are now."""
        self._settled_h = now_h
        if self._renewed_h is not None:
            self._renew(self._renewed_h)
        begin_h = max(now_h - LAGS_H[0], self._first_h or 0)
        self._rows.put(begin_h, self._judge(begin_h, now_h))

    def _stuck_points(self, now_h: int) -> Iterator[Reason]:
        """Points that have said the very same for a day, which they do not usually."""
        raw = self._hours.between(now_h - DAY_STUCK_H, now_h).reshape(DAY_STUCK_H, 4, -1)
        seconds, low, high = raw[:, 0], raw[:, 2], raw[:, 3]
        stuck = (seconds > 0).all(0) & (low.min(0) == high.max(0)) & ~self._usually_stuck
        stuck[: self._flows] &= high[-1, : self._flows] != 0  # a closed inlet gives nothing all day
        for column in np.flatnonzero(stuck).tolist():
            unit = "m3/h" if column < self._flows else "bar"
            text = f"la même valeur depuis {DAY_STUCK_H} h au moins : le capteur est figé"
            yield Reason(self.points[column], f"stuck_{DAY_STUCK_H}h", 1.0, text, float(low[-1, column]), None, unit)

    def _eased(self, seen: Features, baseline: Baseline, shares: Mapping[str, float]) -> Features:
        """See `Features.ease`: what the last EASED_H hours would have been, held against that baseline."""
        now_h = int(seen.time_s // HOUR_S)
        stretch = self._stretch(now_h - EASED_H - LOOKBACK_H, now_h)
        named = {reason.point: reason for reason in seen.evidence}
        parts = {self._column[point]: (named.get(point), share) for point, share in shares.items()}
        judged, made = self._held_against(baseline, eased(stretch, baseline, parts))
        rows = self._rows.between(now_h - 1 - LAGS_H[0], now_h)
        rows[-EASED_H:] = made
        evidence = sorted(Departures(judged, baseline, stretch).evidence(self.points), key=lambda one: -one.weight)
        return Features(seen.time_s, stacked(rows[:, : len(CHANNELS)])[-1], evidence, float(rows[-1, RULE]))

    def missing(self, now_s: float) -> str:
        if self._first_h is None:
            return "aucune mesure encore"
        now_h = int(now_s // HOUR_S)
        self.advance(now_h)
        if self._baseline is None:
            have = self._values(now_h - LEARNT_H - RENEWED_H, now_h)
            days = int(np.isfinite(have).sum(0).max() // 24)
            need = (NEEDED_H + RENEWED_H) // 24
            return f"{days} jours de mesures sur {need} au moins : le guet apprend encore ce secteur"
        if not (self._hours.between(now_h - 3, now_h)[:, : len(self.points)] > 0).any():
            return "aucune mesure depuis 3 heures au moins"
        return ""

    def advance(self, until_h: int) -> tuple[Floats, Floats]:
        """Makes the rows of all hours before `until_h` (hours since 1970) that are not made yet, and gives them, (hours,
        CHANNELS), with the rule's score of each hour, zeros while there is no baseline."""
        if self._first_h is None or (self._done_h is not None and until_h <= self._done_h):
            return np.zeros((0, len(CHANNELS))), np.zeros(0)
        begin_h = max(self._first_h if self._done_h is None else self._done_h, until_h - self._rows.capacity)
        hour = begin_h
        while hour < until_h:
            block = hour // RENEWED_H * RENEWED_H
            end = min(until_h, block + RENEWED_H)
            if self._settled_h is not None and hour < self._settled_h:
                end = min(end, self._settled_h)
            if block != self._renewed_h:
                self._renew(block)
            self._rows.put(hour, self._judge(hour, end))
            hour = self._done_h = end
            if hour == self._settled_h:  # once more after a restart, as it was then
                self._judge_again(hour)
        rows = self._rows.between(begin_h, until_h)
        return rows[:, : len(CHANNELS)], rows[:, RULE]

    def _renew(self, at_h: int) -> None:
        self._renewed_h = at_h
        stretch = self._stretch(at_h - RENEWED_H - LEARNT_H, at_h - RENEWED_H, learning=True)
        if np.isfinite(stretch.values).sum(0).max() >= NEEDED_H:
            self._baseline = Baseline.learn(stretch)
        else:
            self._baseline = None

    def _judge(self, begin_h: int, end_h: int) -> Floats:
        self._latest = None
        if self._baseline is None:
            return np.zeros((end_h - begin_h, len(CHANNELS) + 1))
        stretch = self._stretch(begin_h - LOOKBACK_H, end_h)
        judged, rows = self._held_against(self._baseline, stretch)
        self._latest = Departures(judged, self._baseline, stretch)
        return rows

    @staticmethod
    def _held_against(baseline: Baseline, stretch: Stretch) -> tuple[Judged, Floats]:
        """The hours of a stretch but its first LOOKBACK_H, and their rows: CHANNELS and the rule's score."""
        judged = baseline.judge(stretch)
        known = np.isfinite(stretch.values)
        fresh = np.array([known[i : i + 24].mean() for i in range(LOOKBACK_H - 23, len(known) - 23)])
        return judged, np.column_stack([channels(judged, baseline, fresh), rule_scores(judged)])

    def _stretch(self, begin_h: int, end_h: int, learning: bool = False) -> Stretch:
        values = self._values(begin_h, end_h, learning)
        hours = np.arange(begin_h, end_h, dtype=np.int64)
        if self._utc_offset_s is not None:
            hours = hours + np.array([int(self._utc_offset_s(h * HOUR_S) // HOUR_S) for h in range(begin_h, end_h)])
        day = hours // 24
        rest = ((day + 3) % 7 >= 5).astype(np.int64)  # 1970-01-01 was a Thursday
        return Stretch(values, self._flows, day, hours % 24, rest)

    def _values(self, begin_h: int, end_h: int, learning: bool = False) -> Floats:
        """(hours, points): hourly means, NaN where less than a quarter of the hour is known or the sensor is stuck."""
        raw = self._hours.between(begin_h - OFTEN_STUCK_H, end_h).reshape(-1, 4, len(self.points))
        seconds, total, low, high = raw[:, 0], raw[:, 1], raw[:, 2], raw[:, 3]
        known = seconds >= HOUR_S / 4
        same = known & (low == high)
        same[1:] &= ~known[:-1] | ((low[1:] == high[:-1]) & (low[:-1] == high[:-1]))
        stuck = _run(same, OFTEN_STUCK_H)
        if learning:
            counted = known[OFTEN_STUCK_H:].sum(0)
            self._usually_stuck = _run(same, STUCK_H)[OFTEN_STUCK_H:].sum(0) > 0.1 * np.maximum(counted, 1)
        stuck |= _run(same, STUCK_H) & ~self._usually_stuck
        means = np.where(known & ~stuck, total / np.maximum(seconds, 1.0), np.nan)
        means = means[OFTEN_STUCK_H:]
        return means if self._levels is None else means - self._levels.off(begin_h, end_h)


def _run(same: Flags, hours: int) -> Flags:
    """Where `same` has held for at least `hours` rows."""
    count = np.cumsum(same, 0, dtype=np.int64)
    held = count.copy()
    held[hours:] -= count[:-hours]
    return np.asarray(held == hours)


class _Rows:
    """Rows of numbers by hour since 1970, of the last `capacity` hours at least."""

    capacity = int(HISTORY_S // HOUR_S) + RENEWED_H

    def __init__(self, width: int, blank: float) -> None:
        self._data = np.full((2 * self.capacity, width), blank)
        self._blank, self._begin_h = blank, 0

    def at(self, hour: int) -> Floats:
        """The row of an hour, to write to. Hours before what is kept give a row that is forgotten."""
        if not 0 <= hour - self._begin_h < len(self._data):
            self._move(hour)
        if hour < self._begin_h:
            return np.full(self._data.shape[1], self._blank)
        return np.asarray(self._data[hour - self._begin_h])

    def put(self, hour: int, rows: Floats) -> None:
        for i, row in enumerate(rows):
            self.at(hour + i)[:] = row

    def between(self, begin_h: int, end_h: int) -> Floats:
        """A copy of the rows of these hours, blank where there are none."""
        out = np.full((end_h - begin_h, self._data.shape[1]), self._blank)
        first, last = max(begin_h, self._begin_h), min(end_h, self._begin_h + len(self._data))
        if first < last:
            out[first - begin_h : last - begin_h] = self._data[first - self._begin_h : last - self._begin_h]
        return out

    def _move(self, hour: int) -> None:
        """Makes room for an hour after the last."""
        begin_h = hour - self.capacity
        if begin_h > self._begin_h:
            kept = self.between(begin_h, begin_h + len(self._data))
            self._data, self._begin_h = kept, begin_h
