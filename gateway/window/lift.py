"""The window of a lift door: does it close as fast, and with as little current, as it used to?

A door that wears (rollers, track, belt) closes slower *and* draws more current. One alone is not wear: slow and weak is the
gentle closing after an obstruction, strong and fast a new setting. So the rule multiplies the two. Controllers show the
last movement between movements, so that slow polling sees wear; medians over some hours pass over what is caught in the
middle of one. Compared is with the door's own past, from 35 to 7 days ago.

Roles: door_current and door_speed (mean speed of the last closing) are needed. door_state (0 open, 1 closed, 2 opening,
3 closing) tells a door that stays open; door_error (code of the controller) what it says of itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs

SLICE_S = 900.0
DAY = 96
"""Slices of a day."""

SLICES = 35 * DAY
"""How far back the window sees."""

RECENT = 7 * DAY
"""Slices that are judged, not learnt from."""

NOW = 12
"""Slices (three hours) whose median is the door's present state."""

LEAST_NOW = 4
DAYS_NEEDED = 14
STEPS = 24
CHANNELS = ("slowdown", "current_rise", "door_open")
CHANNEL_ROLES = ("door_speed", "door_current", "door_state")
"""Whose point a channel of CHANNELS is about."""

SLOWER = 0.10
"""Loss of speed that is enough for an alert, together with ..."""

MORE_CURRENT = 0.08
"""... this rise of the current."""

MOST = 3.0
WORTH_SAYING = 0.15
FAULTS = {2: "blocage", 4: "codeur", 5: "surchauffe"}
"""Error codes that are the door's own trouble; barrier (1) and kinetic energy (3) are somebody in the way."""

ROLES = {"door_current": "mA", "door_speed": "mm/s", "door_state": "1", "door_error": "1"}
"""Roles with their units."""

COLUMN = {role: index for index, role in enumerate(ROLES)}
"""Where a role stands in a row of the window; the first two are what is compared."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Habits:
    """The door's usual mean speed in mm/s and current in mA, and on how many days that rests."""

    days: int
    speed: float
    current: float


class LiftWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = 3_600.0

    def __init__(self, inputs: Inputs) -> None:
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        for role in ROLES:
            count = len(inputs.get(role, ()))
            if count > 1 or (not count and role in ("door_current", "door_speed")):
                raise ValueError(f"role {role!r}: expected one point, got {count}")
        self._inputs = inputs
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._rows: Floats = np.full((SLICES, len(ROLES)), np.nan)
        self._last_slice = 0
        self._habits: tuple[int, _Habits | None] = (0, None)

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        # A door held open all the time shows 0 at its highest; a fault shows at any time.
        value = aggregate.mean if role in ("door_current", "door_speed") else aggregate.max
        converted = convert(0.0 if value is None else value, unit, ROLES[role])
        number = int((start_s + period_s / 2) // SLICE_S)
        if value is None or number <= self._last_slice - SLICES:
            return
        if number > self._last_slice:
            fresh = np.arange(max(self._last_slice + 1, number - SLICES + 1), number + 1)
            self._rows[fresh % SLICES] = np.nan
            self._last_slice = number
        self._rows[number % SLICES, COLUMN[role]] = converted

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (STEPS hours, CHANNELS): tenths of speed lost, tenths of current gained, share of the hour's
        slices in which the door stood open; 0 where nothing is known."""
        habits = self._habits_at(now_s)
        if habits is None or self.missing(now_s):
            return None
        rows = self._before(now_s, STEPS * 4)
        evidence = [reason for reason in self._reasons(rows, habits) if reason.weight >= WORTH_SAYING]
        evidence.sort(key=lambda reason: -reason.weight)
        return self._judged(Features(now_s, _hourly(rows, habits), evidence, 0.0), {})

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        habits = self._habits_at(now_s)
        days = 0 if habits is None else habits.days
        if days < DAYS_NEEDED:
            return f"{days} jours sur {DAYS_NEEDED} entre le 35e et le 7e jour avant aujourd'hui"
        if (np.isfinite(self._before(now_s, NOW)[:, :2]).sum(axis=0) < LEAST_NOW).any():
            return "pas assez de mesures de la porte depuis trois heures"
        return ""

    def _judged(self, seen: Features, shares: Mapping[str, float]) -> Features:
        """What was seen, had some points departed by these shares only, with the rule's score of it."""
        by_role = [min(shares.get(point, 1.0) for point in self._inputs.get(role, ("",))) for role in CHANNEL_ROLES]
        evidence = [replace(one, weight=one.weight * shares.get(one.point, 1.0)) for one in seen.evidence]
        by_feature = {one.feature: one.weight for one in evidence}
        wear = math.sqrt(by_feature.get("slowdown", 0.0) * by_feature.get("current_rise", 0.0))
        score = max(wear, by_feature.get("stays_open", 0.0), by_feature.get("fault", 0.0))
        return Features(
            seen.time_s,
            seen.x * np.array(by_role, np.float32),
            evidence,
            min(MOST, score),
            None if shares else partial(self._judged, seen),
        )

    def _reasons(self, rows: Floats, habits: _Habits) -> Iterator[Reason]:
        slower, more = _changes(rows[-NOW:], habits)
        speed, current = habits.speed * (1 - slower), habits.current * (1 + more)
        if slower > 0 and more > 0:
            text = f"la porte se ferme à {speed:.0f} mm/s, {100 * slower:.0f} % moins vite que d'ordinaire"
            weight = min(MOST, slower / SLOWER)
            yield Reason(self._inputs["door_speed"][0], "slowdown", weight, text, speed, habits.speed, "mm/s")
            text = f"son moteur prend {current:.0f} mA, {100 * more:.0f} % de plus que d'ordinaire"
            weight = min(MOST, more / MORE_CURRENT)
            yield Reason(self._inputs["door_current"][0], "current_rise", weight, text, current, habits.current, "mA")
        if _stays_open(rows):
            yield Reason(self._inputs["door_state"][0], "stays_open", MOST, "la porte reste ouverte depuis une heure")
        if name := _fault(rows):
            yield Reason(self._inputs["door_error"][0], "fault", MOST, f"la commande de porte signale : {name}")

    def _before(self, now_s: float, count: int = SLICES) -> Floats:
        """The `count` slices before `now_s`, oldest first."""
        numbers = np.arange(int(now_s // SLICE_S) - count, int(now_s // SLICE_S))
        kept = (numbers <= self._last_slice) & (numbers > self._last_slice - SLICES)
        return np.where(kept[:, None], self._rows[numbers % SLICES], np.nan)

    def _habits_at(self, now_s: float) -> _Habits | None:
        """Learnt anew every day at midnight UTC, and until they are enough."""
        day = int(now_s // (DAY * SLICE_S))
        if self._habits[0] != day or self._habits[1] is None or self._habits[1].days < DAYS_NEEDED:
            past = self._before(day * DAY * SLICE_S)[:-RECENT, :2]
            known = past[np.isfinite(past).all(axis=1)]
            days = int((np.isfinite(past).all(axis=1).reshape(-1, DAY).sum(axis=1) >= LEAST_NOW).sum())
            current, speed = (float(m) for m in np.median(known, axis=0)) if len(known) else (0.0, 0.0)
            self._habits = (day, _Habits(days, speed, current) if current > 0 and speed > 0 else None)
        return self._habits[1]


def _changes(rows: Floats, habits: _Habits) -> tuple[float, float]:
    """Share of speed lost and of current gained, by the medians of some slices; 0 where nothing is known."""
    current, speed = (column[np.isfinite(column)].tolist() for column in rows.T[:2])
    slower = 1 - median(speed) / habits.speed if speed else 0.0
    return slower, median(current) / habits.current - 1 if current else 0.0


def _stays_open(rows: Floats) -> bool:
    """Was it open at every look of the last hour?"""
    return bool((rows[-4:, COLUMN["door_state"]] == 0).all())


def _fault(rows: Floats) -> str:
    """What the controller says of itself in the last half hour, both quarters of it; "" for nothing."""
    codes = rows[-2:, COLUMN["door_error"]]
    return FAULTS.get(int(codes[0]), "") if np.isfinite(codes).all() and codes[0] == codes[1] else ""


def _hourly(rows: Floats, habits: _Habits) -> NDArray[np.float32]:
    """The features of STEPS hours."""
    current, speed, state, _ = rows.reshape(STEPS, -1, len(ROLES)).transpose(2, 0, 1)
    slower, more = 1 - speed / habits.speed, current / habits.current - 1
    x = np.stack((_means(slower) / 0.1, _means(more) / 0.1, (state == 0).mean(axis=1)), axis=1)
    return np.asarray(np.clip(x, -3, 3), np.float32)


def _means(rows: Floats) -> Floats:
    """The mean of what is known in each row; 0 where nothing is."""
    known = np.isfinite(rows)
    return np.asarray(np.where(known, rows, 0.0).sum(axis=1) / np.maximum(1, known.sum(axis=1)))
