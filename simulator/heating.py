"""A heated room with a thermostat and a sensor of presence, both on Modbus.

Register maps: Beca BHT-006 (holding registers, tenths of a degree) and Wiren Board WB-MSW v.3 (input registers), as
wirenboard/wb-mqtt-serial gives them. The thermostat holds its own set-point: what is written stays until it is written
again, whoever is gone meanwhile. The room is one capacity behind one resistance, which is enough for what a lower set-point
saves and for how long a room takes to be warm again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simulator.modbus import Area, IllegalAddress

_HOUR_S = 3_600.0
TEMPERATURE, HEATING, SETPOINT = 1, 3, 4
_LAST_HOLDING = 6
MOTION_MAX, MOTION = 280, 283
STEP_S = 60.0


@dataclass(slots=True)
class Room:
    """air_c: outside, by UTC seconds. loss_kw_k, store_kwh_k: of its walls, for each degree; most_kw: of its heating."""

    air_c: Callable[[float], float]
    time_s: float
    loss_kw_k: float = 0.25
    store_kwh_k: float = 4.0
    most_kw: float = 9.0
    setpoint_c: float = 20.0
    temperature_c: float = 20.0
    power_kw: float = 0.0
    heat_kwh: float = 0.0

    def until(self, time_s: float) -> None:
        """Lives on to that time."""
        while self.time_s < time_s:
            step_h = min(STEP_S, time_s - self.time_s) / _HOUR_S
            outside = self.air_c(self.time_s)
            # A proportional band of one degree below the set-point.
            self.power_kw = self.most_kw * min(1.0, max(0.0, self.setpoint_c + 0.5 - self.temperature_c))
            rests_at = outside + self.power_kw / self.loss_kw_k
            fading = math.exp(-step_h * self.loss_kw_k / self.store_kwh_k)
            self.temperature_c = rests_at + (self.temperature_c - rests_at) * fading
            self.heat_kwh += self.power_kw * step_h
            self.time_s += step_h * _HOUR_S


@dataclass(slots=True)
class Thermostat:
    """On the wall of a room; `written`: every set-point that it was told, in order."""

    room: Room
    now: Callable[[], float]
    written: list[float] = field(default_factory=list)

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress."""
        if area != "holding" or not 0 <= address <= _LAST_HOLDING + 1 - count:
            raise IllegalAddress
        self.room.until(self.now())
        values = {
            0: 1, TEMPERATURE: round(10 * self.room.temperature_c) & 0xFFFF, 2: 1, HEATING: int(self.room.power_kw > 0),
            SETPOINT: round(10 * self.room.setpoint_c),
        }  # fmt: skip
        return [values.get(at, 0) for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Only the set-point can be told. Raises IllegalAddress."""
        if area != "holding" or address != SETPOINT or len(values) != 1:
            raise IllegalAddress
        self.room.until(self.now())
        self.room.setpoint_c = values[0] / 10
        self.written.append(self.room.setpoint_c)


@dataclass(slots=True)
class Presence:
    """On the ceiling; present: whether somebody is there, by UTC seconds. What it has seen since it was last read is gone
    with the reading, as in the device."""

    room: Room
    now: Callable[[], float]
    present: Callable[[float], bool]

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress."""
        if area != "input" or not 0 <= address <= MOTION + 1 - count:
            raise IllegalAddress
        time_s = self.now()
        self.room.until(time_s)
        motion = 180 if self.present(time_s) else 8
        values = {
            0: round(10 * self.room.temperature_c) & 0xFFFF,
            1: 450,
            3: 4200,
            8: 600,
            MOTION_MAX: motion,
            MOTION: motion,
        }
        return [values.get(at, 0) for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Always raises IllegalAddress: nothing here is told anything."""
        raise IllegalAddress
