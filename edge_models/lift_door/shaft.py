"""Hundreds of simulated lifts at once, no two alike: the physics that the model learns from and is measured on.

Drawn for each lift: door (width, speed, motor), floors with landing doors of their own, how much it is used and when,
shaft climate, drive, which of the drive's quantities are read, how surely, and what else happens that is no fault:
servicing, a new setting, weeks of people in the doorway. None of it is measured on real lifts. Independent of
simulator.lift, which the demo runs on and the model never sees.

Families of faults, by how far each has gone (0 to 1, and at 1 the lift is out of service):
rollers   friction of the door: slower and with more current
brake     its air gap grows: it is released later, and the car stops off the landing
bearing   of the drive: it vibrates more, and then takes more current
belt      of the door slips: it closes slower, with less current at first, and unevenly (not learnt from)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_models.lamp_driver.street import fates, smooth
from gateway.window.lift import COLUMN, DAY, DRIVE, ROLES

FAMILIES = ("rollers", "brake", "bearing", "belt")
LEFT_OUT = "belt"
HOURLY = np.array([1, 0.5, 0.5, 0.5, 1, 3, 8, 16, 20, 14, 11, 13, 17, 14, 11, 11, 13, 18, 20, 15, 10, 7, 4, 2]) / 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shafts:
    """rows (lifts, slices, ROLES): what was read, NaN where nothing was. gone (lifts, slices): how far the fault has gone.
    family: by lift, "" for none. onset, end: slices, -1 without a fault. first_slice: since 1970. busy: lifts with weeks of
    obstructions."""

    rows: Floats
    gone: Floats
    family: tuple[str, ...]
    onset: NDArray[np.int64]
    end: NDArray[np.int64]
    first_slice: int
    busy: NDArray[np.bool_]


def shafts(  # noqa: PLR0915 one lift's physics, told from its use to the reading
    seed: int,
    lifts: int,
    days: int,
    families: tuple[str, ...] = (),
    ramp_d: tuple[float, float] = (30, 150),
    history_d: int = 40,
    drive: bool | None = None,
    busy_share: float = 0.3,
) -> Shafts:
    """families: drawn from for every lift, none = all healthy. drive: whether all quantities of the drive are read, none of
    them, or some (None)."""
    rng = np.random.default_rng([seed, 7])
    n, slices = lifts, days * DAY
    first_slice = 1_880_000 + int(rng.integers(0, 35_000))
    t = first_slice + np.arange(slices)

    def each(low: float, high: float) -> Floats:
        return np.asarray(rng.uniform(low, high, (n, 1)))

    gone, onset, end, family = fates(rng, n, slices, DAY, families, ramp_d, history_d, spared=9)

    def of(name: str) -> Floats:
        return np.where(np.array([one == name for one in family])[:, None], gone, 0.0)

    rollers, brake, bearing, belt = (of(name) for name in FAMILIES)
    # How often the door moved in a slice, and whether people were in the way of the last one.
    hour, day = (t // 4) % 24, t // DAY
    weekend = np.where(((day + 3) % 7 >= 5)[None], each(0.1, 1.1), 1.0)
    a_day = np.exp(each(np.log(25), np.log(900)))
    night = np.where((hour < 6) | (hour > 21), each(0, 1), 1.0)
    moves = rng.poisson(a_day / DAY * HOURLY[hour][None] * night * weekend)
    busy = rng.random(n) < busy_share
    blocked = each(0.005, 0.05) + np.zeros((n, slices))
    for i in np.flatnonzero(busy):
        begin = int(rng.integers(slices))
        blocked[i, begin : begin + int(rng.uniform(1, 28) * DAY)] += rng.uniform(0.15, 0.6)
    met = rng.random((n, slices)) < blocked
    nudged = rng.random((n, slices)) < 0.3 * blocked
    # Friction: grease in the cold, landing doors that differ, draught, age, wear; less after servicing.
    season = np.cos(2 * np.pi * (t[None] / 35064 - 15 / 365))
    shaft_c = each(12, 24) - each(1, 7) * season + each(0.3, 1.5) * smooth(rng, n, slices, 60 * 4)
    landing = 1 + np.abs(each(0.005, 0.05)) * rng.standard_normal((n, slices))
    draught = 1 + each(0, 0.02) * np.maximum(season, 0) * np.abs(smooth(rng, n, slices, 40 * 4))
    friction = (1 + each(0.001, 0.004) * (20 - shaft_c)) * draught * (1 + each(0.3, 0.55) * rollers)
    friction = friction * serviced(rng, n, slices)
    setting = np.where(rng.random((n, 1)) < 0.1, rng.integers(0, slices, (n, 1)), slices)
    faster = np.where(np.arange(slices)[None] < setting, 1.0, each(0.9, 1.1))
    slip = 1 - each(0.2, 0.4) * belt * (1 + 0.3 * rng.standard_normal((n, slices)))
    way = np.where(nudged, 0.5, 1.0)
    speed = each(150, 420) * way * faster * slip / (friction * landing) * (1 + 0.008 * rng.standard_normal((n, slices)))
    weak = np.where(nudged, 0.75, 1.0)
    current = each(300, 2200) * weak * faster**1.2 * (friction * landing) ** each(0.8, 1.1)
    current = current * (1 - each(0.1, 0.25) * belt) * (1 + each(0.01, 0.03) * rng.standard_normal((n, slices)))
    # The drive: load and way of the last run, and what wears.
    run = np.abs(each(0.5, 0.7) * rng.beta(1.2, 4, (n, slices)) - 0.15) + 0.55
    drive_current = each(6, 40) * run * (1 + each(0.08, 0.2) * bearing) * (1 + 0.02 * smooth(rng, n, slices, 12))
    vibration = each(0.004, 0.03) * (0.8 + 0.4 * run) * (1 + each(1.2, 3.5) * bearing)
    vibration = vibration * np.exp(each(0.05, 0.15) * rng.standard_normal((n, slices)))
    levelling = np.abs(each(1, 3) * rng.standard_normal((n, slices)) + each(-1, 1) * season + each(5, 12) * brake)
    brake_time = (
        each(0.12, 0.45) * (1 + each(0.35, 0.9) * brake) * (1 + each(0.01, 0.04) * rng.standard_normal((n, slices)))
    )
    # A controller shows what the last movement was, until the next.
    moved = np.maximum.accumulate(np.where(moves > 0, np.arange(slices)[None], 0), 1)
    rows = np.full((n, slices, len(ROLES)), np.nan)
    shown = {
        "door_speed": np.rint(speed), "door_current": np.rint(current), "drive_current": np.round(drive_current, 1),
        "vibration": np.round(vibration, 4), "levelling": np.round(levelling, 1), "brake_time": np.round(brake_time, 3),
    }  # fmt: skip
    for role, values in shown.items():
        rows[..., COLUMN[role]] = np.take_along_axis(values, moved, 1)
    looked = rng.random((n, slices)) < np.minimum(0.5, moves * 8 / 900)  # caught with the door open
    rows[..., COLUMN["door_state"]] = np.where(looked, 0.0, 1.0)
    rows[..., COLUMN["door_error"]] = np.where(met & looked, 1.0, 0.0)
    out = gone >= 1
    rows[out & (rng.random((n, 1)) < 0.5), COLUMN["door_error"]] = 2.0
    for i in range(n):
        some = rng.random(len(DRIVE)) < 0.5
        hidden = [role for role, have in zip(DRIVE, some, strict=True) if not (have if drive is None else drive)]
        rows[i][:, [COLUMN[role] for role in hidden]] = np.nan
    unread(rng, rows)
    return Shafts(rows, gone, tuple(family), onset, end, first_slice, busy)


def serviced(rng: np.random.Generator, n: int, slices: int) -> Floats:
    """(lifts, slices): friction as servicing leaves it, every few months, and what it gains until the next."""
    out = np.ones((n, slices))
    for i in range(n):
        every = rng.uniform(40, 180) * DAY
        gained = rng.uniform(0.0, 0.03)
        at = (np.arange(slices) + rng.uniform(0, every)) / every
        out[i] = 1 + gained * (at % 1) + 0.015 * rng.standard_normal(int(at[-1]) + 2)[at.astype(int)]
    return out


def unread(rng: np.random.Generator, rows: Floats) -> None:
    """Empties what the gateway did not get: readings lost, and gaps of hours to days."""
    n, slices, _ = rows.shape
    every, lost = rng.choice([1, 1, 2, 3], (n, 1)), rng.choice([0.0, 0.02, 0.1, 0.3], (n, 1))
    missing = ((np.arange(slices)[None] + rng.integers(0, 3, (n, 1))) % every != 0) | (rng.random((n, slices)) < lost)
    for i in range(n):
        for _ in range(rng.poisson(slices / DAY / 60)):
            begin = int(rng.integers(slices))
            missing[i, begin : begin + int(rng.exponential(20 * 4))] = True
    rows[missing] = np.nan
