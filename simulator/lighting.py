"""A street lamp with a D4i LED driver: what its memory banks hold at any instant, healthy or failing.

Everything is a function of time, seed, schedule and of what the lamp was ordered. Until its first order it follows the
schedule, as it does when the gateway is silent. The temperature lags behind load with a time constant of 40 minutes.

Faults, each with a Drift: "capacitor", the electrolytic capacitor of the driver ages: losses, heat at equal load and
restarts rise, the power factor falls, and at 1 the driver fails; "cooling", the driver sheds its heat ever less well
(1: three times the rise) until it reduces its output by itself; "string_short", severity = LEDs of the string that are
shorted. All figures are of an invented 36 W lamp of usual proportions: they are simulated, and measured on nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gateway.lighting import Schedule, light_percent
from simulator.drift import Drift
from simulator.noise import Noise
from simulator.weather import DAY_S, air_c

NOMINAL_W = 38
LEDS = 16
FULL_CURRENT_A = 0.7
LAG_S = 2_400.0
RISE_C_PER_W = 0.65
DERATES_ABOVE_C = 75.0
_LAG_STEP_S = 1_200.0
_LAG_WEIGHTS = [math.exp(-index * _LAG_STEP_S / LAG_S) for index in range(9)]
_STANDBY_W = 0.3
_HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class LampFault:
    """See the module."""

    kind: Literal["capacitor", "cooling", "string_short"]
    drift: Drift


@dataclass(frozen=True, slots=True)
class LampState:
    """A lamp at one instant. wear: of the capacitor, 1 = failed."""

    supply_v: float
    power_w: float
    power_factor: float
    temperature_c: float
    output_percent: float
    source_v: float
    source_a: float
    derating: bool
    failed: bool
    wear: float


@dataclass(slots=True)
class _Totals:
    """What the counters have added up to."""

    energy_wh: float = 0.0
    lit_s: float = 0.0
    source_starts: int = 0
    gear_starts: int = 0

    def __add__(self, other: _Totals) -> _Totals:
        return _Totals(
            self.energy_wh + other.energy_wh,
            self.lit_s + other.lit_s,
            self.source_starts + other.source_starts,
            self.gear_starts + other.gear_starts,
        )


class Lamp:
    """One lamp. `since_s`: from when on its counters run (UTC seconds); it has some years behind it by then, and is not
    known before. `town_seed` is what it shares with its neighbours: weather and mains."""

    def __init__(
        self,
        name: str,
        seed: int,
        schedule: Schedule,
        since_s: float,
        faults: Sequence[LampFault] = (),
        *,
        town_seed: int | None = None,
    ) -> None:
        self.name, self.schedule, self.since_s, self.faults = name, schedule, since_s, tuple(faults)
        self.town_seed = seed if town_seed is None else town_seed
        own = Noise(seed, f"lamp/{name}")
        self._rise = own.between(0.94, 1.06, 0)
        self._shade_c = own.between(-0.6, 0.6, 1)
        self._forward_v = own.between(0.985, 1.015, 2)
        self._cable_v = own.between(0.0, 2.5, 3)
        self._prior_days = own.between(500, 2200, 4)
        self._own, self._wander = own, Noise(seed, f"lamp/{name}/wander")
        self._mains = Noise(self.town_seed, "mains")
        self._orders: list[tuple[float, float]] = []
        self._first_hour = math.floor(since_s / _HOUR_S)
        self._sums: list[_Totals] = [_Totals()]
        self._shown: tuple[float, float, LampState] | None = None

    def order(self, time_s: float, level: int) -> None:
        """The lamp is told an arc power level (0 to 254). Orders come in order of time."""
        if self._orders and time_s < self._orders[-1][0]:
            raise ValueError(f"lamp {self.name}: an order at {time_s} after one at {self._orders[-1][0]}")
        self._orders.append((time_s, light_percent(level)))
        self._shown = None
        del self._sums[max(1, math.floor(time_s / _HOUR_S) - self._first_hour + 1) :]

    def ordered_percent(self, time_s: float) -> float:
        """Light the lamp is to give, percent of full."""
        for since_s, percent in reversed(self._orders):
            if since_s <= time_s:
                return percent
        return self.schedule.level_percent(time_s)

    def wear(self, kind: str, time_s: float) -> float:
        """How far the faults of one kind have gone."""
        return sum(fault.drift.at(time_s) for fault in self.faults if fault.kind == kind)

    def state(self, time_s: float, percent: float | None = None) -> LampState:
        """Everything that can be measured at `time_s`. percent: what it is ordered at this very instant, where somebody
        knows better than the orders."""
        ordered = self.ordered_percent(time_s) if percent is None else percent
        if self._shown is None or self._shown[:2] != (time_s, ordered):  # one instant is asked for bank by bank
            self._shown = time_s, ordered, self._state(time_s, ordered)
        return self._shown[2]

    def _state(self, time_s: float, ordered: float) -> LampState:
        wear, failed = self.wear("capacitor", time_s), self._failed(time_s)
        temperature_c = self._temperature_c(time_s)
        hot_c = max(0.0, temperature_c - DERATES_ABOVE_C)
        output = 0.0 if failed else ordered * max(0.1, 1 - 0.025 * hot_c)
        power_w = self._power_w(time_s, output)
        factor = 0.97 - 0.09 * (1 - min(1.0, power_w / NOMINAL_W)) ** 1.5 - 0.14 * wear
        factor += 0.004 * self._wander.smooth(time_s, 2_000)
        supply_v = 232.0 - self._cable_v + 2.2 * self._mains.smooth(time_s, 6 * _HOUR_S)
        return LampState(
            supply_v=supply_v + 0.5 * self._wander.smooth(time_s, 600),
            power_w=power_w * (1 + 0.003 * self._wander.smooth(time_s, 1_500)),
            power_factor=factor if output else 0.3,
            temperature_c=temperature_c,
            output_percent=output,
            source_v=self._source_v(time_s, output, temperature_c),
            source_a=FULL_CURRENT_A * output / 100,
            derating=hot_c > 0 and not failed,
            failed=failed,
            wear=wear,
        )

    def energy_wh(self, time_s: float) -> float:
        """Energy taken since `since_s`. Never falls."""
        return self._totals(time_s).energy_wh

    def bank(self, number: int, time_s: float, level: int) -> bytes:
        """Memory bank `number` as the driver holds it while its arc power level is `level`; empty when it has no such
        bank. Layouts: DiiA Specification, DALI Part 251 (bank 1), 252 (202) and 253 (205 to 207), v1.1."""
        match number:
            case 1:
                return self._nameplate()
            case 202:
                state = self.state(time_s, light_percent(level))
                energy = round(self._prior_wh + self.energy_wh(time_s))
                tenths = round(state.power_w * 10)
                return _bank(0x0F, {0x04: (0, 1), 0x05: (energy, 6), 0x0B: (0xFF, 1), 0x0C: (tenths, 4)})
            case 205:
                return self._gear_bank(time_s, self.state(time_s, light_percent(level)))
            case 206:
                return self._source_bank(time_s, self.state(time_s, light_percent(level)))
            case 207:
                return _bank(0x07, {0x04: (100, 1), 0x05: (65 + 60, 1), 0x06: (1000, 2)})
            case _:
                return b""

    @property
    def _prior_wh(self) -> float:
        return self._prior_days * 11.0 * 0.72 * NOMINAL_W

    def _nameplate(self) -> bytes:
        made = self._own.uniform(5)
        numbers = {
            0x03: (3_700_000_000_012, 6), 0x09: (self._own.seed & 0xFFFF, 8), 0x11: (3, 2),
            0x13: (19 + int(made * 5), 1), 0x14: (1 + int(made * 997) % 52, 1), 0x15: (NOMINAL_W, 2), 0x17: (3, 2),
            0x19: (220, 2), 0x1B: (240, 2), 0x1D: (4600, 3), 0x20: (72, 1), 0x21: (3000, 2), 0x23: (0, 1),
        }  # fmt: skip
        return _bank(0x77, numbers, {0x24: (b"RAL 7016", 24), 0x3C: (f"{self.name} (simulated)".encode(), 60)})

    def _gear_bank(self, time_s: float, state: LampState) -> bytes:
        totals = self._totals(time_s)
        operating_s = round(self._prior_days * DAY_S + time_s - self.since_s)
        numbers = {
            0x04: (operating_s, 4), 0x08: (12 + totals.gear_starts, 3), 0x0B: (round(state.supply_v * 10), 2),
            0x0D: (50, 1), 0x0E: (round(state.power_factor * 100), 1), 0x0F: (state.failed, 1), 0x10: (state.failed, 1),
            0x17: (state.derating, 1), 0x18: (min(253, self._nights_derated(time_s)), 1),
            0x1B: (round(state.temperature_c) + 60, 1), 0x1C: (round(state.output_percent), 1),
        }  # fmt: skip
        return _bank(0x1C, numbers)

    def _source_bank(self, time_s: float, state: LampState) -> bytes:
        totals = self._totals(time_s)
        starts = int(self._prior_days) + totals.source_starts
        lit_s = round(self._prior_days * 11 * _HOUR_S + totals.lit_s)
        source_c = air_c(time_s, self.town_seed) + 0.9 * state.source_v * state.source_a
        numbers = {
            0x04: (starts, 3), 0x07: (starts, 3), 0x0A: (lit_s, 4), 0x0E: (lit_s, 4),
            0x12: (round(state.source_v * 10), 2), 0x14: (round(state.source_a * 1000), 2),
            0x20: (round(source_c) + 60, 1),
        }  # fmt: skip
        return _bank(0x20, numbers)

    def _failed(self, time_s: float) -> bool:
        return self.wear("capacitor", time_s) >= 1

    def _source_v(self, time_s: float, output_percent: float, temperature_c: float) -> float:
        if output_percent <= 0:
            return 0.0
        each_v = self._forward_v * (2.72 + 0.16 * output_percent / 100) - 0.0015 * (temperature_c - 25)
        shorted = math.floor(self.wear("string_short", time_s))  # an LED is shorted or it is not
        return (LEDS - shorted) * each_v + 0.05 * self._wander.smooth(time_s, 1_800)

    def _power_w(self, time_s: float, output_percent: float) -> float:
        """From the mains: what the string takes, and losses, which grow with wear."""
        if output_percent <= 0:
            return _STANDBY_W
        string_w = self._source_v(time_s, output_percent, 30.0) * FULL_CURRENT_A * output_percent / 100
        return string_w + (0.09 * string_w + 1.5) * (1 + 0.7 * self.wear("capacitor", time_s))

    def _temperature_c(self, time_s: float) -> float:
        """Of the driver: the air, and what the load of the last hours added to it."""
        total = 0.0
        for index, weight in enumerate(_LAG_WEIGHTS):
            then_s = time_s - index * _LAG_STEP_S
            percent = 0.0 if self._failed(then_s) else self.ordered_percent(then_s)
            total += weight * self._power_w(then_s, percent)
        rise_c = RISE_C_PER_W * self._rise * total / sum(_LAG_WEIGHTS)
        rise_c *= 1 + 0.9 * self.wear("capacitor", time_s) + 2.0 * self.wear("cooling", time_s)
        return air_c(time_s, self.town_seed) + self._shade_c + rise_c + 0.4 * self._wander.smooth(time_s, 3 * _HOUR_S)

    def _totals(self, time_s: float) -> _Totals:
        """Summed once for every full hour."""
        hour = math.floor(time_s / _HOUR_S)
        if hour < self._first_hour:
            raise ValueError(f"lamp {self.name}: known from {self.since_s} on, asked about {time_s}")
        while len(self._sums) <= hour - self._first_hour:
            start_s = (self._first_hour + len(self._sums) - 1) * _HOUR_S
            self._sums.append(self._sums[-1] + self._count(start_s, start_s + _HOUR_S))
        return self._sums[hour - self._first_hour] + self._count(hour * _HOUR_S, time_s)

    def _count(self, start_s: float, end_s: float) -> _Totals:
        """What is added from a full hour on, within that hour."""
        totals = _Totals()
        for from_s, to_s in pairwise(self._edges(start_s, end_s)):
            percent = self.ordered_percent(from_s)
            output = 0.0 if self._failed(from_s) else percent
            totals.energy_wh += self._power_w((from_s + to_s) / 2, output) * (to_s - from_s) / _HOUR_S
            totals.lit_s += to_s - from_s if output else 0.0
            totals.source_starts += output > 0 and self.ordered_percent(from_s - 1) == 0
        if end_s > start_s:
            restarts = self._restarts(start_s)
            totals.gear_starts += restarts
            totals.source_starts += restarts
        return totals

    def _restarts(self, hour_s: float) -> int:
        """Restarts in the hour that starts then: now and then the mains fail, and a worn driver does so by itself."""
        hour = int(hour_s // _HOUR_S)
        mains = self._mains.uniform(hour) < 1 / (24 * 60)
        wear = self.wear("capacitor", hour_s)
        lit = wear > 0 and self.ordered_percent(hour_s) > 0 and not self._failed(hour_s)
        return mains + (lit and self._own.uniform(hour) < min(0.9, 1.5 * wear * wear))

    def _edges(self, start_s: float, end_s: float) -> list[float]:
        """Start, end, and between them where the ordered level changes."""
        edges = [since_s for since_s, _ in self._orders if start_s < since_s < end_s]
        scheduled_until_s = min(end_s, self._orders[0][0]) if self._orders else end_s
        edges += [from_s for from_s, _, _ in self.schedule.segments(start_s, scheduled_until_s) if from_s > start_s]
        return sorted({start_s, *edges, end_s})

    def _nights_derated(self, time_s: float) -> int:
        """How often the driver has begun to derate, taken as once a day on which it was too warm at midnight UTC."""
        cooling = [fault.drift.start_s for fault in self.faults if fault.kind == "cooling"]
        if not cooling:
            return 0
        first = int(max(min(cooling), self.since_s) // DAY_S) + 1
        return sum(self._temperature_c(day * DAY_S) > DERATES_ABOVE_C for day in range(first, int(time_s // DAY_S) + 1))


def _bank(last: int, numbers: dict[int, tuple[int, int]], texts: dict[int, tuple[bytes, int]] | None = None) -> bytes:
    """A bank from its numbers (location: (value, bytes), high byte first) and texts. Location 0 is the last one's
    number, 2 the lock byte, 3 the version of the bank (bank 1 has a number there)."""
    bank = bytearray(last + 1)
    bank[0], bank[2], bank[3] = last, 0xFF, 1
    for location, (value, size) in numbers.items():
        bank[location : location + size] = int(value).to_bytes(size, "big")
    for location, (text, size) in (texts or {}).items():
        bank[location : location + size] = text[:size].ljust(size, b"\0")
    return bytes(bank)
