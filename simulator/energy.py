"""A three-phase energy meter and what hangs on it.

Register map: Eastron SDM630 (function 4, 32-bit floats, high word first), as volkszaehler/mbmd gives it in
meters/rs485/sdm.go. Counters are integrals of the load, so they never fall and agree with the power at every instant.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

from simulator.lighting import Lamp
from simulator.modbus import Area, IllegalAddress
from simulator.noise import Noise
from simulator.weather import air_c

_HOUR_S = 3_600.0
PHASES = 3
LAST_REGISTER = 0x017F


class Load(Protocol):
    """What a meter measures. Phases are 0 to 2."""

    power_factor: float

    def power_w(self, phase: int, time_s: float) -> float: ...

    def energy_wh(self, phase: int, time_s: float) -> float:
        """Taken since the beginning of the simulated past."""
        ...


class Cabinet:
    """A lighting cabinet: its lamps, dealt out to the phases in turn, and a controller of 6 W on the first."""

    power_factor = 0.94
    _CONTROLLER_W = 6.0

    def __init__(self, lamps: Sequence[Lamp]) -> None:
        if not lamps:
            raise ValueError("cabinet: expected one lamp at least")
        self._phases = [lamps[phase::PHASES] for phase in range(PHASES)]
        self._since_s = max(lamp.since_s for lamp in lamps)

    def power_w(self, phase: int, time_s: float) -> float:
        return sum(lamp.state(time_s).power_w for lamp in self._phases[phase]) + self._own_w(phase)

    def energy_wh(self, phase: int, time_s: float) -> float:
        own_wh = self._own_w(phase) * (time_s - self._since_s) / _HOUR_S
        return sum(lamp.energy_wh(time_s) for lamp in self._phases[phase]) + own_wh

    def _own_w(self, phase: int) -> float:
        return self._CONTROLLER_W if phase == 0 else 0.0


class Building:
    """A town hall: a base that never sleeps, offices from Monday to Friday, heating by a heat pump when it is cold.

    Power is constant within an hour, so that energy is a sum. base_w, office_w: of the whole building.
    """

    power_factor = 0.91
    _SHARES = (0.42, 0.33, 0.25)

    def __init__(
        self, name: str, seed: int, zone: tzinfo, since_s: float, *, base_w: float = 900, office_w: float = 5_200
    ) -> None:
        self._hour = Noise(seed, f"building/{name}")
        self._seed, self._zone, self._base_w, self._office_w = seed, zone, base_w, office_w
        self._first = math.floor(since_s / _HOUR_S)
        self._sums_wh = [0.0]

    def power_w(self, phase: int, time_s: float) -> float:
        return self._SHARES[phase] * self._watts(math.floor(time_s / _HOUR_S))

    def energy_wh(self, phase: int, time_s: float) -> float:
        hour = math.floor(time_s / _HOUR_S)
        if hour < self._first:
            raise ValueError(f"building: known from {self._first * _HOUR_S} on, asked about {time_s}")
        while len(self._sums_wh) <= hour - self._first:
            self._sums_wh.append(self._sums_wh[-1] + self._watts(self._first + len(self._sums_wh) - 1))
        part = (time_s - hour * _HOUR_S) / _HOUR_S
        return self._SHARES[phase] * (self._sums_wh[hour - self._first] + part * self._watts(hour))

    def _watts(self, hour: int) -> float:
        local = datetime.fromtimestamp(hour * _HOUR_S, self._zone)
        at_work = local.weekday() < 5 and 8 <= local.hour < 18
        preheating = (local + timedelta(hours=2)).weekday() < 5 and 6 <= local.hour < 18
        cold = max(0.0, 17 - air_c(hour * _HOUR_S, self._seed))
        offices = self._office_w * (0.6 if local.hour == 12 else 1.0) if at_work else 0.0
        return (self._base_w + offices + cold * (260 if preheating else 90)) * (1 + 0.05 * self._hour.gauss(hour))


class Meter:
    """The meter on a load. `now`: UTC seconds; counter_kwh: what each phase had counted before the simulated past."""

    def __init__(
        self, name: str, seed: int, load: Load, now: Callable[[], float], counter_kwh: float = 4_000.0
    ) -> None:
        self.name, self.load, self.now, self._counter_kwh = name, load, now, counter_kwh
        self._mains = [Noise(seed, f"mains/{phase}") for phase in range(PHASES)]

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress, also for half a number, as the meter does."""
        if area != "input" or address % 2 or count % 2 or not 0 <= address <= LAST_REGISTER + 1 - count:
            raise IllegalAddress
        values = self.registers(self.now())
        return [word for at in range(address, address + count, 2) for word in _words(values.get(at, 0.0))]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Always raises IllegalAddress: nothing here can be set."""
        raise IllegalAddress

    def registers(self, time_s: float) -> dict[int, float]:
        """The values by address, at `time_s`."""
        watts = [self.load.power_w(phase, time_s) for phase in range(PHASES)]
        volts = [233 + 2 * mains.smooth(time_s, 6 * _HOUR_S) + 0.4 * mains.smooth(time_s, 60) for mains in self._mains]
        factor = self.load.power_factor
        amps = [w / factor / v for w, v in zip(watts, volts, strict=True)]
        kwh = [self._counter_kwh + self.load.energy_wh(phase, time_s) / 1000 for phase in range(PHASES)]
        total_w = sum(watts)
        lag = math.tan(math.acos(factor))
        values = {
            0x0034: total_w, 0x0038: total_w / factor, 0x003C: total_w * lag, 0x003E: factor,
            0x0046: 50 + 0.015 * self._mains[0].smooth(time_s, 20),
            0x0048: sum(kwh), 0x004A: 0.0, 0x004C: sum(kwh) * lag, 0x004E: 0.0, 0x0156: sum(kwh),
        }  # fmt: skip
        for phase in range(PHASES):
            at = 2 * phase
            values |= {
                0x0000 + at: volts[phase], 0x0006 + at: amps[phase], 0x000C + at: watts[phase],
                0x0012 + at: watts[phase] / factor, 0x0018 + at: watts[phase] * lag, 0x001E + at: factor,
                0x015A + at: kwh[phase], 0x0160 + at: 0.0,
            }  # fmt: skip
        return values


def _words(value: float) -> tuple[int, int]:
    """A 32-bit float as two registers, high word first."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low
