"""The window of a street lamp with a D4i driver: is it as it used to be, at equal load and in the same air?

Everything is measured against the lamp's own past, from 35 to 7 days ago: drivers of one type differ more from each other
than a failing one differs from itself. What the air does to a driver is taken off by its neighbours: `neighbours` are
temperatures of other drivers of the street, or of the air; three to eight are enough, and their median counts. Without
any, the driver's own temperature while unlit has to do, and the rule by itself becomes less sensitive.

Roles: temperature and power are needed; level (as ordered: % or arc power level), power_factor, starts, output (%),
source_voltage, failure (any number of flags) and neighbours make it better. Values are kept by the hour, since the banks of
a driver are read about once an hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.lighting import light_percent
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs

HOUR_S = 3_600.0
HOURS = 35 * 24
"""How far back the window sees."""

RECENT = 7 * 24
"""Hours that are judged, not learnt from."""

NOW = 4
"""Settled hours with light whose median is the lamp's present state."""

NIGHTS_NEEDED = 14
STEPS = 24
SEEN = STEPS + 48
"""Hours that the present state is seen in: restarts of two days, and a day of air before the first of STEPS."""

CHANNELS = ("excess_temperature", "power_factor_drop", "restarts", "output_gap", "source_voltage_shift", "load")
CHANNEL_ROLES = ("temperature", "power_factor", "starts", "output", "source_voltage", "")
"""Whose point a channel of CHANNELS is about; the load is nobody's departure."""

MOST = 3.0
"""What the rule's score is held at; so much says a driver that reports its own failure, or a lamp that stays dark."""

WORTH_SAYING = 0.15
"""Weight from which a reason is one."""

ROLES = {
    "temperature": "Cel", "power": "W", "level": "%", "power_factor": "1", "starts": "1", "output": "%",
    "source_voltage": "V", "failure": "1", "neighbours": "Cel",
}  # fmt: skip
"""Roles with their units."""

COLUMN = {role: index for index, role in enumerate(ROLES)}
"""Where a role stands in a row of the window."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Usual:
    """How a quantity usually goes with the power: y = at_zero + slope * power, +/- spread (robust, one deviation)."""

    at_zero: float
    slope: float
    spread: float

    @classmethod
    def learn(cls, power: Floats, y: Floats, least_spread: float) -> Self | None:
        """From the hours in which both are known; None when they are too few."""
        known = np.isfinite(y)
        power, y = power[known], y[known]
        if len(y) < 3 * NIGHTS_NEEDED:
            return None
        centre, middle = float(power.mean()), float(y.mean())
        off = power - centre
        # A lamp that always burns at one level teaches no slope: a floor of 2 W keeps noise from looking like one.
        slope = float(off @ (y - middle)) / max(float(off @ off), 4.0 * len(y))
        line = cls(middle - slope * centre, slope, 0.0)
        rest = line.rest(power, y)
        shift = float(np.median(rest))
        spread = 1.4826 * float(np.median(np.abs(rest - shift)))
        return cls(line.at_zero + shift, slope, max(least_spread, spread))

    def rest(self, power: Floats, y: Floats) -> Floats:
        """By how much y is above what is usual at that power."""
        return y - self.at_zero - self.slope * power


@dataclass(frozen=True, slots=True)
class _Habits:
    """What a lamp's past says of it. full_w: power at its usual brightest; lit_w: above that it is lit; restarts: a day."""

    nights: int
    full_w: float
    lit_w: float
    temperature: _Usual | None
    power_factor: _Usual | None
    source_voltage: _Usual | None
    restarts: float


class LampWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = HOUR_S

    def __init__(self, inputs: Inputs) -> None:
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        for role in ROLES:
            count = len(inputs.get(role, ()))
            if (role in ("temperature", "power") and not count) or (
                role not in ("failure", "neighbours") and count > 1
            ):
                raise ValueError(f"role {role!r}: expected one point, got {count}")
        self._inputs = inputs
        self._has_neighbours = bool(inputs.get("neighbours"))
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._rows: Floats = np.full((HOURS, len(ROLES)), np.nan)
        self._last_hour = 0
        self._neighbours: dict[int, dict[str, float]] = {}
        self._habits: tuple[int, _Habits | None] = (0, None)

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        value = aggregate.max if role == "failure" else aggregate.last
        if role == "level" and unit == "1":
            value = None if value is None else light_percent(min(254, max(0, round(value))))
        else:
            converted = convert(0.0 if value is None else value, unit, ROLES[role])
            value = None if value is None else converted
        hour = int((start_s + period_s / 2) // HOUR_S)
        if value is None or hour <= self._last_hour - HOURS:
            return
        self._turn_to(hour)
        column = COLUMN[role]
        row = self._rows[hour % HOURS]
        if role == "neighbours":
            seen = self._neighbours.setdefault(hour, {})
            seen[point] = value
            value = median(seen.values())
        row[column] = max(value, row[column]) if role == "failure" and not math.isnan(row[column]) else value

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (STEPS hours, CHANNELS), in tens of degrees, tenths, restarts, tens of percent, volts, share of
        full power; 0 where nothing is known, and while the lamp is dark."""
        habits = self._habits_at(now_s)
        if habits is None or self.missing(now_s):
            return None
        view = _View.of(self._before(now_s, SEEN), habits, self._has_neighbours)
        evidence = [reason for reason in self._reasons(view, habits) if reason.weight >= WORTH_SAYING]
        evidence.sort(key=lambda reason: -reason.weight)
        return self._judged(Features(now_s, view.x(), evidence, 0.0), {})

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        habits = self._habits_at(now_s)
        nights = 0 if habits is None else habits.nights
        if nights < NIGHTS_NEEDED:
            return f"{nights} nuits éclairées sur {NIGHTS_NEEDED} entre le 35e et le 7e jour avant aujourd'hui"
        if not np.isfinite(self._before(now_s, STEPS)[:, :2]).any():
            return "aucune lecture du pilote depuis 24 heures"
        return ""

    def _judged(self, seen: Features, shares: Mapping[str, float]) -> Features:
        """What was seen, had some points departed by these shares only, with the rule's score of it."""
        by_role = [min(shares.get(point, 1.0) for point in self._inputs.get(role, ("",))) for role in CHANNEL_ROLES]
        evidence = [replace(one, weight=one.weight * shares.get(one.point, 1.0)) for one in seen.evidence]
        score = min(MOST, math.sqrt(sum(one.weight**2 for one in evidence)))
        return Features(
            seen.time_s,
            seen.x * np.array(by_role, np.float32),
            evidence,
            score,
            None if shares else partial(self._judged, seen),
        )

    def _turn_to(self, hour: int) -> None:
        """Makes room for `hour`: what is 35 days older goes."""
        if hour > self._last_hour:
            fresh = np.arange(max(self._last_hour + 1, hour - HOURS + 1), hour + 1)
            self._rows[fresh % HOURS] = np.nan
            self._last_hour = hour
            self._neighbours = {known: seen for known, seen in self._neighbours.items() if known >= hour - 1}

    def _before(self, now_s: float, count: int = HOURS) -> Floats:
        """The `count` hours before `now_s`, oldest first."""
        hours = np.arange(int(now_s // HOUR_S) - count, int(now_s // HOUR_S))
        kept = (hours <= self._last_hour) & (hours > self._last_hour - HOURS)
        return np.where(kept[:, None], self._rows[hours % HOURS], np.nan)

    def _habits_at(self, now_s: float) -> _Habits | None:
        """Learnt anew every day at noon UTC, and until they are enough."""
        day = int((now_s - 12 * HOUR_S) // (24 * HOUR_S))
        if self._habits[0] != day or self._habits[1] is None or self._habits[1].nights < NIGHTS_NEEDED:
            noon_s = (day * 24 + 12) * HOUR_S
            self._habits = (day, _learn(self._before(noon_s), self._has_neighbours))
        return self._habits[1]

    def _reasons(self, view: _View, habits: _Habits) -> Iterator[Reason]:
        """What speaks for a failing lamp; each weight is its share of what would be enough for an alert by itself."""
        if view.failed:
            yield self._reason("failure", "failure", MOST, "le pilote signale lui-même une panne")
        if view.dark:
            yield self._reason("power", "dark", MOST, "la lampe ne consomme rien alors qu'elle est commandée allumée")
        power = view.now(view.power)
        if (excess := view.now(view.excess)) is not None and habits.temperature and power is not None:
            enough = max(5.0, 5 * habits.temperature.spread)
            celsius = view.now(view.temperature) or 0.0
            text = (
                f"le pilote est à {celsius:.0f} °C, {excess:.0f} de plus que d'ordinaire à {power:.0f} W et par cet air"
            )
            yield self._reason("temperature", "excess_temperature", excess / enough, text, (celsius, celsius - excess))
        if (lower := view.now(view.power_factor_drop)) is not None and habits.power_factor:
            enough = max(0.05, 5 * habits.power_factor.spread)
            text = f"le facteur de puissance a perdu {_fr(lower, 2)} à puissance égale"
            yield self._reason("power_factor", "power_factor_drop", lower / enough, text)
        if view.restarts > 0:
            # A stormy night restarts every lamp: restarts alone are never enough.
            text = f"{view.restarts:.0f} redémarrages de plus que d'ordinaire en deux jours"
            yield self._reason("starts", "restarts", min(0.9, view.restarts / 5), text)
        if (gap := view.now(view.gap)) is not None:
            text = f"le pilote donne {gap:.0f} points de courant de moins que demandé : il se protège"
            given = view.now(view.output) or 0.0
            yield self._reason("output", "output_gap", gap / 8, text, (given, given + gap))
        if (shift := view.now(view.shift)) is not None and habits.source_voltage:
            enough = max(1.5, 6 * habits.source_voltage.spread)
            text = (
                f"la tension des LED a changé de {_fr(shift, 1)} V à puissance égale : LED en court-circuit ou coupée"
            )
            yield self._reason("source_voltage", "source_voltage_shift", abs(shift) / enough, text)

    def _reason(
        self, role: str, feature: str, weight: float, text: str, seen: tuple[float, float] | None = None
    ) -> Reason:
        """seen: the value and what is usual, in the role's unit."""
        value, usual = seen or (None, None)
        unit = ROLES[role] if seen else ""
        return Reason(self._inputs[role][0], feature, max(0.0, min(MOST, weight)), text, value, usual, unit)


@dataclass(frozen=True, slots=True)
class _View:
    """The hours of a window, oldest first, seen against the lamp's habits; NaN where something is not known."""

    power: Floats
    settled: Flags
    temperature: Floats
    excess: Floats
    power_factor_drop: Floats
    output: Floats
    gap: Floats
    shift: Floats
    started: Floats
    restarts: float
    load: Floats
    dark: bool
    failed: bool

    @classmethod
    def of(cls, rows: Floats, habits: _Habits, has_neighbours: bool) -> Self:
        power, nothing = rows[:, COLUMN["power"]], np.full(len(rows), np.nan)
        started = _rises(rows[:, COLUMN["starts"]])
        level = rows[:, COLUMN["level"]]
        above = _above_air(rows, habits.lit_w, has_neighbours)
        factor, volts = rows[:, COLUMN["power_factor"]], rows[:, COLUMN["source_voltage"]]
        return cls(
            power=power,
            settled=_settled(power, habits.lit_w),
            temperature=rows[:, COLUMN["temperature"]],
            excess=habits.temperature.rest(power, above) if habits.temperature else nothing,
            power_factor_drop=-habits.power_factor.rest(power, factor) if habits.power_factor else nothing,
            output=rows[:, COLUMN["output"]],
            gap=level - rows[:, COLUMN["output"]],
            shift=habits.source_voltage.rest(power, volts) if habits.source_voltage else nothing,
            started=started,
            restarts=float(started[-48:].sum()) - 2 * habits.restarts,
            load=power / habits.full_w,
            dark=_is_dark(level[-STEPS:], power[-STEPS:], habits.lit_w),
            failed=_latest(rows[-STEPS:, COLUMN["failure"]]) > 0,
        )

    def now(self, values: Floats) -> float | None:
        """Their median over the last settled hours with light, of the last day and a bit; None with fewer than three."""
        good = np.flatnonzero(self.settled[-30:] & np.isfinite(values[-30:]))[-NOW:]
        return median(values[-30:][good].tolist()) if len(good) >= NOW - 1 else None

    def x(self) -> NDArray[np.float32]:
        """The last hours as the channels of CHANNELS."""
        lit = np.where(self.settled, 1.0, np.nan)
        channels = (
            lit * self.excess / 10, lit * self.power_factor_drop / 0.1, self.started, lit * self.gap / 10, lit * self.shift,
            self.load,
        )  # fmt: skip
        stacked = np.stack(channels, axis=1)[-STEPS:]
        return np.clip(np.nan_to_num(stacked, nan=0.0), -3, 3).astype(np.float32)


def _learn(rows: Floats, has_neighbours: bool) -> _Habits | None:
    """A lamp's habits from the 35 days that end at a noon; None when it never gave light in them."""
    past = rows[:-RECENT]
    power = past[:, COLUMN["power"]]
    known = power[np.isfinite(power)]
    if len(known) == 0 or (full_w := float(np.quantile(known, 0.99))) <= 0:
        return None
    lit_w = 0.15 * full_w
    settled = _settled(power, lit_w)
    at, started = power[settled], _rises(past[:, COLUMN["starts"]])
    return _Habits(
        nights=int((settled.reshape(-1, 24).sum(axis=1) >= 3).sum()),
        full_w=full_w,
        lit_w=lit_w,
        temperature=_Usual.learn(at, _above_air(past, lit_w, has_neighbours)[settled], 0.7),
        power_factor=_Usual.learn(at, past[settled, COLUMN["power_factor"]], 0.006),
        source_voltage=_Usual.learn(at, past[settled, COLUMN["source_voltage"]], 0.1),
        restarts=float(started.sum()) / (len(past) / 24),
    )


def _above_air(rows: Floats, lit_w: float, has_neighbours: bool) -> Floats:
    """By how much the driver is warmer than its neighbours; a lamp without any, than itself while unlit in the 24 hours
    before. Never the one for the other: what is usual was learnt with one of them."""
    temperature = rows[:, COLUMN["temperature"]]
    if has_neighbours:
        return temperature - rows[:, COLUMN["neighbours"]]
    unlit = (rows[:, COLUMN["power"]] <= lit_w) & np.isfinite(temperature)
    sums = np.concatenate(([0.0], np.cumsum(np.where(unlit, temperature, 0.0))))
    counts = np.concatenate(([0], np.cumsum(unlit)))
    ends = np.arange(1, len(rows) + 1)
    starts = np.maximum(0, ends - 24)
    number = counts[ends] - counts[starts]
    return temperature - np.where(number > 0, (sums[ends] - sums[starts]) / np.maximum(number, 1), np.nan)


def _settled(power: Floats, lit_w: float) -> Flags:
    """Hours with light at the load of the hour before: the driver is about as warm as that load makes it."""
    before = np.concatenate(([np.nan], power[:-1]))
    return (power > lit_w) & (np.abs(power - before) < 0.15 * power)


def _rises(counter: Floats) -> Floats:
    """By how much a counter rose in each hour since it was last known; a reset, or a jump no counter makes, is 0."""
    rises = np.zeros(len(counter))
    known = np.flatnonzero(np.isfinite(counter))
    steps = np.diff(counter[known])
    rises[known[1:]] = np.where((steps >= 0) & (steps < 1000), steps, 0.0)
    return rises


def _is_dark(level: Floats, power: Floats, lit_w: float) -> bool:
    """Did it take nothing in the last two hours in which it was to give light? Two, because within the hour of switching
    on its power may have been read before."""
    ordered = (level >= 5) & (np.concatenate(([np.nan], level[:-1])) >= 5) & np.isfinite(power)
    hours = np.flatnonzero(ordered)[-2:]
    return len(hours) == 2 and bool((power[hours] < lit_w).all())


def _latest(values: Floats) -> float:
    """The last known value, 0 when there is none."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else 0.0


def _fr(value: float, digits: int) -> str:
    """As French people write it."""
    return f"{value:.{digits}f}".replace(".", ",")
