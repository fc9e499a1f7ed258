"""The car door of a lift, as its door controller shows it in Modbus registers.

Register map: GROS/TechWind SDK-500 manual, section 7 (0x0001 state and error, 0x0002 motor current, 0x0003 speed,
0x0004 position, 0x0005 mean speed, 0x0007 inputs, 0x0205 to 0x0208 settings; 16 registers a frame). What the manual
leaves open is assumed here: position 0 is closed; a door at rest keeps showing the mean motor current and mean speed of
its last complete closing; 0x0006 reads 0.

Wear (roller and track friction) makes every closing slower and costs more current. Obstructions are not wear: a door
that meets somebody reopens, and after two of those closes slowly and with little force.
All figures are of an invented door of usual proportions: simulated, measured on nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import IntEnum

from pymodbus.constants import ExcCodes

from simulator.drift import Drift
from simulator.modbus import Area, IllegalAddress, Refusal, Table
from simulator.noise import Noise
from simulator.weather import air_c

STROKE_MM = 900.0
OPENING_MM_S = 340.0
CLOSING_MM_S = 260.0
NUDGING_MM_S = 130.0
CURRENT_MA = 820.0
DWELL_S = 4.0
MOST_REGISTERS = 16
SLOT_S = 60.0
"""At most one door cycle in each minute: the longest (two reopenings, worn) takes less."""

TRIPS_PER_HOUR = (2, 1.5, 1.5, 1.5, 2, 4, 9, 17, 22, 14, 11, 12, 18, 15, 11, 11, 13, 19, 22, 16, 11, 8, 5, 3)
"""By local hour, in a building that never quite sleeps (a town hall with a night desk, an old people's home)."""

_LOOK_BACK = 24 * 60


class Door(IntEnum):
    """State of the door, as in the high byte of 0x0001."""

    OPEN = 0
    CLOSED = 1
    OPENING = 2
    CLOSING = 3


BARRIER = 1
"""Error code of an interrupted light barrier, as in the low byte of 0x0001."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A stretch of a door cycle. Times in UTC seconds; positions in mm, 0 = closed; current_ma: mean of the motor."""

    start_s: float
    end_s: float
    state: Door
    from_mm: float
    to_mm: float
    current_ma: float
    error: int = 0

    @property
    def mean_mm_s(self) -> float:
        return abs(self.to_mm - self.from_mm) / (self.end_s - self.start_s)

    @property
    def closes(self) -> bool:
        """Is it a complete closing?"""
        return self.state is Door.CLOSING and self.from_mm == STROKE_MM and self.to_mm == 0


@dataclass(frozen=True, slots=True)
class Panel:
    """What the controller shows at one instant."""

    state: Door
    error: int
    current_ma: float
    speed_mm_s: float
    position_mm: float
    mean_speed_mm_s: float


class LiftDoor:
    """A door. wear: severity 0.25 = a quarter slower (0.5 at most). obstructions: severity = share of the cycles in which
    somebody is in the way, above the usual 2 %. `now`: UTC seconds."""

    def __init__(
        self,
        name: str,
        seed: int,
        zone: tzinfo,
        now: Callable[[], float],
        *,
        wear: Drift | None = None,
        obstructions: Drift | None = None,
        town_seed: int | None = None,
    ) -> None:
        self.name, self.zone, self.now = name, zone, now
        self._wear, self._obstructions = wear, obstructions
        self._town_seed = seed if town_seed is None else town_seed
        self._own = Noise(seed, f"lift/{name}")
        self._traffic, self._cycles = Noise(seed, f"lift/{name}/traffic"), Noise(seed, f"lift/{name}/cycles")
        self._speed = self._own.between(0.94, 1.06, 0)
        self._current = self._own.between(0.92, 1.08, 1)

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress, and Refusal (illegal value) for more than 16 of them."""
        if count > MOST_REGISTERS:
            raise Refusal(ExcCodes.ILLEGAL_VALUE)
        return Table({"holding": self.registers(self.now())}).read(area, address, count)

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Always raises IllegalAddress: this door takes no orders."""
        raise IllegalAddress

    def registers(self, time_s: float) -> dict[int, int]:
        """Every register there is, at `time_s`."""
        panel = self.panel(time_s)
        return {
            0x0001: panel.state << 8 | panel.error,
            0x0002: round(panel.current_ma),
            0x0003: round(panel.speed_mm_s),
            0x0004: round(panel.position_mm * 10),
            0x0005: round(panel.mean_speed_mm_s),
            0x0006: 0,
            0x0007: (panel.error == BARRIER) | (panel.state is Door.CLOSED) << 5,
            0x0205: 5,
            0x0206: 0,
            0x0207: 2500,
            0x0208: 2000,
        }

    def panel(self, time_s: float) -> Panel:
        """What the controller shows at `time_s`."""
        slot = math.floor(time_s / SLOT_S)
        last: Movement | None = None
        for movement in self.cycle(slot):
            if movement.start_s <= time_s < movement.end_s:
                return self._moving(movement, time_s, last or self._last_closing(slot - 1))
            if movement.end_s <= time_s and movement.closes:
                last = movement
        last = last or self._last_closing(slot - 1)
        return Panel(Door.CLOSED, 0, last.current_ma, 0.0, 0.0, last.mean_mm_s)

    def cycle(self, slot: int) -> Iterator[Movement]:
        """The door cycle in minute `slot` (since 1970), nothing when the lift is not called."""
        start_s = slot * SLOT_S
        hour = datetime.fromtimestamp(start_s, self.zone).hour
        if self._traffic.uniform(slot) >= TRIPS_PER_HOUR[hour] / 60:
            return
        time_s = start_s + self._cycles.between(0, 8, 8 * slot)
        friction = self._friction(start_s)
        chance = 1 + 0.015 * self._cycles.gauss(8 * slot + 1)
        shown_ma = CURRENT_MA * self._current * friction * (1 + 0.02 * self._cycles.gauss(8 * slot + 2))
        open_s = time_s + STROKE_MM / (OPENING_MM_S * self._speed)
        yield Movement(time_s, open_s, Door.OPENING, 0, STROKE_MM, 1.1 * shown_ma)
        time_s = open_s
        blocked = self._blocked(slot)
        for attempt in range(blocked + 1):
            error = BARRIER if attempt else 0
            yield Movement(time_s, time_s + DWELL_S, Door.OPEN, STROKE_MM, STROKE_MM, 0.15 * shown_ma, error)
            time_s += DWELL_S
            nudging = attempt == 2
            speed = (NUDGING_MM_S if nudging else CLOSING_MM_S) * self._speed * chance / friction
            current_ma = shown_ma * (0.75 if nudging else 1.0)
            if attempt == blocked:
                yield Movement(time_s, time_s + STROKE_MM / speed, Door.CLOSING, STROKE_MM, 0, current_ma, error)
                return
            met_mm = STROKE_MM * self._cycles.between(0.3, 0.8, 8 * slot + 4 + attempt)
            met_s = time_s + (STROKE_MM - met_mm) / speed
            yield Movement(time_s, met_s, Door.CLOSING, STROKE_MM, met_mm, current_ma, error)
            time_s = met_s + (STROKE_MM - met_mm) / (OPENING_MM_S * self._speed)
            yield Movement(met_s, time_s, Door.OPENING, met_mm, STROKE_MM, 1.1 * shown_ma, BARRIER)

    def _blocked(self, slot: int) -> int:
        """How many closings of a cycle meet somebody: 0, 1 or 2."""
        share = 0.02 + (self._obstructions.at(slot * SLOT_S) if self._obstructions else 0.0)
        draw = self._cycles.uniform(8 * slot + 3)
        return (draw < share) + (draw < 0.3 * share)

    def _friction(self, time_s: float) -> float:
        """1 is a door as good as new at 20 °C in the shaft; grease stiffens when it is cold."""
        shaft_c = 15 + 0.35 * (air_c(time_s, self._town_seed) - 11)
        slower = self._wear.at(time_s) if self._wear else 0.0
        return (1 + 0.002 * (20 - shaft_c)) / (1 - min(0.5, slower))

    def _last_closing(self, slot: int) -> Movement:
        """The last complete closing in or before minute `slot`."""
        for back in range(_LOOK_BACK):
            for movement in self.cycle(slot - back):
                if movement.closes:
                    return movement
        end_s = (slot + 1) * SLOT_S
        speed = CLOSING_MM_S * self._speed / self._friction(end_s)
        current_ma = CURRENT_MA * self._current * self._friction(end_s)
        return Movement(end_s - STROKE_MM / speed, end_s, Door.CLOSING, STROKE_MM, 0, current_ma)

    def _moving(self, movement: Movement, time_s: float, last: Movement) -> Panel:
        """In the middle of a movement: it starts and ends gently."""
        span_s = movement.end_s - movement.start_s
        turn = 2 * math.pi * (time_s - movement.start_s) / span_s
        way_mm = movement.to_mm - movement.from_mm
        return Panel(
            state=movement.state,
            error=movement.error,
            current_ma=movement.current_ma * (1 + 0.3 * math.cos(turn / 2)) if way_mm else movement.current_ma,
            speed_mm_s=abs(way_mm) / span_s * (1 - math.cos(turn)),
            position_mm=movement.from_mm + way_mm * (turn - math.sin(turn)) / (2 * math.pi),
            mean_speed_mm_s=last.mean_mm_s,
        )
