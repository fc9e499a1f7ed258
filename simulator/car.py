"""The car of a lift: it stands at a landing whenever its door opens, and travels in between.

Where its door (`simulator.lift`) opens is drawn by door cycle; the car leaves just in time to arrive a second before. How
many people get in is drawn too. All figures are of an invented lift of usual proportions: simulated, measured on nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from simulator.lift import SLOT_S, LiftDoor, Movement
from simulator.noise import Noise

LANDINGS = 5
STOREY_MM = 2900.0
SPEED_MM_S = 1600.0
SHORTEST_TRIP_S = 4.0
SETTLES_S = 1.0
"""Between the arrival and the opening of the door."""
PERSON_KG = 75.0
LEVELLING_MM = 3.0
"""How far from the sill the car stops, about (standard deviation)."""
_LOOK_BACK = 24 * 60


@dataclass(frozen=True, slots=True)
class Travel:
    """Where the car is. speed_mm_s: upwards is positive; trips: door cycles since the start."""

    position_mm: float
    speed_mm_s: float
    load_kg: float
    trips: int


class LiftCar:
    """A car with its door. since_s: UTC seconds from which its trips are counted."""

    def __init__(self, door: LiftDoor, seed: int, since_s: float) -> None:
        self.door = door
        self._noise = Noise(seed, f"car/{door.name}")
        self._since = math.floor(since_s / SLOT_S)
        self._counted = (self._since, 0)  # slot up to which trips are counted, and how many

    def at(self, time_s: float) -> Travel:
        """The car at that time (UTC seconds)."""
        slot = math.floor(time_s / SLOT_S)
        stood, cycle = self._last(time_s, slot)
        here_mm = self._sill_mm(stood)
        got_in = stood if cycle is None or time_s >= cycle.end_s else self._last(cycle.start_s, stood - 1)[0]
        load_kg = self._load_kg(got_in)
        trips = self._trips(slot, time_s)
        for ahead in (slot, slot + 1):
            opening = self._opening(ahead)
            if opening is None or opening.start_s <= time_s:
                continue
            way_mm = self._sill_mm(ahead) - here_mm
            lasts_s = max(SHORTEST_TRIP_S, 2 * abs(way_mm) / SPEED_MM_S)
            share = (time_s - (opening.start_s - SETTLES_S - lasts_s)) / lasts_s
            if share >= 1:
                return Travel(here_mm + way_mm, 0.0, load_kg, trips)
            if share > 0:
                turn = 2 * math.pi * share
                position_mm = here_mm + way_mm * (turn - math.sin(turn)) / (2 * math.pi)
                return Travel(position_mm, way_mm / lasts_s * (1 - math.cos(turn)), load_kg, trips)
            break
        return Travel(here_mm, 0.0, load_kg, trips)

    def _opening(self, slot: int) -> Movement | None:
        return next(iter(self.door.cycle(slot)), None)

    def _last(self, time_s: float, slot: int) -> tuple[int, Movement | None]:
        """The minute in which the door last began to open, and that movement."""
        for back in range(_LOOK_BACK):
            opening = self._opening(slot - back)
            if opening is not None and opening.start_s <= time_s:
                return slot - back, opening
        return slot - _LOOK_BACK, None

    def _sill_mm(self, slot: int) -> float:
        landing = int(self._noise.uniform(3 * slot) * LANDINGS)
        return landing * STOREY_MM + LEVELLING_MM * self._noise.gauss(3 * slot + 1)

    def _load_kg(self, slot: int) -> float:
        return PERSON_KG * int(4 * self._noise.uniform(3 * slot + 2) ** 2)

    def _trips(self, slot: int, time_s: float) -> int:
        counted, trips = self._counted
        if slot < counted:
            counted, trips = self._since, 0
        trips += sum(1 for _ in self._cycles(counted, slot))
        self._counted = slot, trips
        opening = self._opening(slot)
        return trips + (opening is not None and opening.start_s <= time_s)

    def _cycles(self, first: int, end: int) -> Iterator[Movement]:
        for slot in range(first, end):
            if (opening := self._opening(slot)) is not None:
                yield opening
