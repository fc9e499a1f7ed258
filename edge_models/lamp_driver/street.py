"""Hundreds of simulated lamps at once, no two alike: the physics that the model learns from and is measured on.

Drawn for each lamp: climate, street, gear (power, string, losses, way of heat, power factor), dimming, how often and how
surely it is read, neighbours, and what else happens to it that is no fault. None of it is measured on real lamps; figures
are usual proportions of LED drivers of 12 to 160 W. Independent of simulator.lighting, which the demo runs on and the model
never sees.

Families of faults, by how far each has gone (0 to 1, and at 1 the lamp is out of service):
capacitor    losses and heat at equal load rise, the power factor falls, restarts set in late
cooling      heat is shed ever less well; the driver reduces its output to protect itself
string_short one LED after another is shorted, until a quarter of them is dark
connector    contact that heats a little, breaks for moments (restarts) and later for hours
surge        an over-voltage takes a part at once, and what it has left of filter and capacitor decays (not learnt from)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.window.lamp import COLUMN, ROLES
from gateway.window.past import known_median

DAY = 24
FAMILIES = ("capacitor", "cooling", "string_short", "connector", "surge")
LEFT_OUT = "surge"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Street:
    """rows (lamps, hours, ROLES): what was read, NaN where nothing was. gone (lamps, hours): how far the fault has gone, 0
    before it begins. family: by lamp, "" for none. onset, end: hours, -1 without a fault. first_hour: since 1970."""

    rows: Floats
    gone: Floats
    family: tuple[str, ...]
    onset: NDArray[np.int64]
    end: NDArray[np.int64]
    first_hour: int
    neighbours: bool


def smooth(rng: np.random.Generator, lamps: int, hours: int, tau_h: float) -> Floats:
    """(lamps, hours): random curves of mean 0 and deviation 1 that forget within tau_h."""
    step = max(1, int(tau_h / 3))
    knots = rng.standard_normal((lamps, hours // step + 6))
    knots = (knots[:, :-3] + knots[:, 1:-2] + knots[:, 2:-1] + knots[:, 3:]) / 2
    at = np.arange(hours) / step
    low = at.astype(int)
    part = at - low
    size = np.sqrt((1 - part) ** 2 + part**2 + 1.5 * part * (1 - part))
    return ((1 - part) * knots[:, low] + part * knots[:, low + 1]) / size


def lagged(x: Floats, tau_h: Floats) -> Floats:
    """(lamps, hours): x behind by a time constant of tau_h (lamps,)."""
    ages = np.arange(8)
    weights = np.exp(-ages / tau_h[:, None])
    weights /= weights.sum(1, keepdims=True)
    out = np.zeros_like(x)
    for age in ages:
        out[:, age:] += weights[:, age, None] * x[:, : x.shape[1] - age]
    return out


def growth(rng: np.random.Generator, hours: int, onset: int, end: int, most_steep: float = 3.0) -> Floats:
    """(hours,): 0 to 1 between onset and end, in a straight line or ever faster."""
    steep = rng.uniform(0, most_steep)
    done = np.clip((np.arange(hours) - onset) / max(1, end - onset), 0, 1)
    return np.expm1(steep * done) / np.expm1(steep) if steep > 0.01 else done


def fates(
    rng: np.random.Generator,
    things: int,
    steps: int,
    a_day: int,
    families: tuple[str, ...],
    ramp_d: tuple[float, float],
    history_d: int,
    *,
    spared: int,
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], list[str]]:
    """What becomes of each, a_day steps a day: how far gone (things, steps), where the fault begins and where it ends the
    service (-1: never), its family (empty: none). spared: steps at the end in which no service ends."""
    gone, onset, end, family = np.zeros((things, steps)), np.full(things, -1), np.full(things, -1), [""] * things
    for i in range(things):
        if not families:
            continue
        family[i] = str(rng.choice(families))
        ramp = int(rng.uniform(*ramp_d) * a_day)
        end[i] = int(rng.integers(min(history_d * a_day + ramp, steps - a_day), steps - spared))
        onset[i] = end[i] - ramp
        gone[i] = growth(rng, steps, onset[i], end[i])
    return gone, onset, end, family


def street(  # noqa: PLR0915 one lamp's physics, told from the air to the reading
    seed: int,
    lamps: int,
    days: int,
    families: tuple[str, ...] = (),
    ramp_d: tuple[float, float] = (30, 150),
    history_d: int = 40,
    neighbours: bool | None = None,
    whole: bool | None = None,
) -> Street:
    """families: drawn from for every lamp, none = all healthy. A fault begins after history_d at the earliest and ends the
    service before the last day. neighbours: by chance if None, for all lamps alike.
    whole: whether drivers have all quantities; if None, each of them is missing in an eighth of the drivers."""
    rng = np.random.default_rng(seed)
    hours, n = days * DAY, lamps
    first_hour = 470_000 + int(rng.integers(0, 8766))
    t = first_hour + np.arange(hours)
    has_neighbours = bool(rng.random() < 0.75) if neighbours is None else neighbours

    def each(low: float, high: float) -> Floats:
        return np.asarray(rng.uniform(low, high, (n, 1)))

    # The air, and the sun on the head by day.
    latitude = np.radians(each(38, 60))
    season = 2 * np.pi * (t[None] / 8766 - 15 / 365)
    clock = t[None] % DAY + each(-1, 1)
    air = each(5, 17) - each(6, 12) * np.cos(season) + each(2, 7) * np.cos(2 * np.pi * (clock - 14) / DAY)
    air = air + each(1.5, 4) * smooth(rng, n, hours, 60) + 0.8 * smooth(rng, n, hours, 5)
    tilt = -0.409 * np.cos(season)
    height = np.sin(latitude) * np.sin(tilt) + np.cos(latitude) * np.cos(tilt) * np.cos(2 * np.pi * (clock - 12) / DAY)
    clouds = 1 / (1 + np.exp(1.5 * smooth(rng, n, hours, 30)))
    sun = each(2, 18) * np.maximum(height, 0) * clouds
    # What is ordered: dusk to dawn, in one of the usual ways.
    dark = height < each(-0.09, -0.02)
    level = np.where(dark, ordered(rng, n, hours, clock), 0.0)
    # The fault.
    gone, onset, end, family = fates(rng, n, hours, DAY, families, ramp_d, history_d, spared=3)

    def of(name: str) -> Floats:
        return np.where(np.array([one == name for one in family])[:, None], gone, 0.0)

    # A surge breaks something at once; what it left decays.
    broken = np.where((t[None] - first_hour >= onset[:, None]) & (onset[:, None] >= 0), each(0.15, 0.35), 0.0)
    struck = np.where(np.array([one == "surge" for one in family])[:, None], broken + (1 - broken) * gone, 0.0)
    struck = np.where(broken > 0, struck, 0.0)
    capacitor = of("capacitor") + struck * each(0.6, 1.0)
    cooling, shorts, contact = of("cooling"), of("string_short"), of("connector")
    # The string of LEDs.
    nominal_w = np.exp(each(np.log(12), np.log(160)))
    leds = np.rint(each(8, 48))
    shorted = np.ceil(shorts * np.maximum(1, leds / 4) - 1e-9) + (struck > 0) * (each(0, 1) < 0.3)
    # Dead, or without contact.
    out = gone >= 1
    pauses = rng.random((n, hours)) < np.maximum(0, contact - 0.5) ** 2 * each(0.2, 1.2)
    lit_order = np.where(out | pauses, 0.0, level)
    # Heat.
    rise_k = each(12, 34)
    losses = each(0.07, 0.14)
    wind = 1 + each(0.02, 0.07) * smooth(rng, n, hours, 12) + 0.02 * smooth(rng, n, hours, 4)
    worn = 1 + each(0.7, 1.2) * capacitor + each(0.1, 0.3) * contact
    heat = rise_k * worn * (1 + each(1.2, 2.6) * cooling)
    load = lagged(lit_order / 100, each(0.4, 1.6)[:, 0])
    clean = step_change(rng, n, hours, 0.15, 0.88, 1.0)
    shade = each(-1, 1) + each(0.1, 0.5) * smooth(rng, n, hours, 400)
    driver = air + sun + shade + heat * clean * load * wind
    over = np.maximum(0.0, driver - each(68, 88))
    output = lit_order * np.clip(1 - each(0.015, 0.035) * over, 0.1, 1)
    # Electricity.
    led_v = each(2.6, 3.0) + each(0.10, 0.22) * output / 100 - each(0.0012, 0.002) * (driver - 25)
    volts = np.where(output > 0, np.maximum(1, leds - shorted) * led_v + 0.05 * smooth(rng, n, hours, 6), 0.0)
    string_w = nominal_w * output / 100 * volts / (leds * 2.95)
    power = string_w * (1 + losses * worn) + nominal_w * 0.03
    power = np.where(output > 0, power * (1 + 0.004 * smooth(rng, n, hours, 8)), each(0.1, 0.6))
    mains = each(0.5, 3) * smooth(rng, n, hours, 8)
    partial = np.clip(1 - power / nominal_w, 0, 1)
    factor = each(0.93, 0.985) - each(0.04, 0.14) * partial**1.5 - each(0.08, 0.2) * capacitor - 0.0015 * mains
    factor = np.where(output > 0, factor + 0.003 * smooth(rng, n, hours, 4), each(0.1, 0.5))
    # Restarts: of the mains, of storms, of worn capacitors, of bad contacts.
    often = np.where(lit_order > 0, np.minimum(0.9, each(0.7, 2) * capacitor**2 + each(0.1, 0.7) * contact**1.3), 0.0)
    restarts = rng.poisson(often) + (rng.random((n, hours)) < 1 / (DAY * each(20, 120)))
    for i in range(n):
        for _ in range(rng.poisson(2 * days / 365)):
            begin = int(rng.integers(hours))
            restarts[i, begin : begin + 8] += rng.poisson(1.2, len(restarts[i, begin : begin + 8]))
    starts = np.cumsum(restarts, 1) + np.rint(each(0, 60_000))
    # Neighbours: the same air and about the same gear.
    near = np.full((n, hours), np.nan)
    if has_neighbours:
        others = []
        for _ in range(int(rng.integers(1, 7))):
            own = air + sun * each(0.7, 1.3) + each(-1, 1) + each(0.1, 0.5) * smooth(rng, n, hours, 400)
            fails = np.clip(growth(rng, hours, int(rng.integers(hours)), hours + 1000), 0, 1) * (each(0, 1) < 0.05)
            warm = rise_k * each(0.92, 1.08) * (1 + fails) * lagged(level / 100, each(0.4, 1.6)[:, 0])
            temperature = own + warm * (wind + 0.02 * smooth(rng, n, hours, 4))
            others.append(np.where(rng.random((n, hours)) < each(0, 0.15), np.nan, np.rint(temperature)))
        near = known_median(np.stack(others, -1))
    return Street(read(rng, locals()), gone, tuple(family), onset, end, first_hour, has_neighbours)


def ordered(rng: np.random.Generator, n: int, hours: int, clock: Floats) -> Floats:
    """(lamps, hours): percent while it is dark: full, with a curfew, off at night, or by traffic; a fifth of the lamps gets
    another way at some time."""
    ways = []
    for _ in range(2):
        way = rng.integers(0, 5, (n, 1))
        full, low = np.rint(rng.uniform(70, 100, (n, 1))), np.rint(rng.uniform(20, 70, (n, 1)))
        begin, stop = rng.uniform(21, 24.5, (n, 1)) % DAY, rng.uniform(4, 6.5, (n, 1))
        night = np.where(begin > stop, (clock >= begin) | (clock < stop), (clock >= begin) & (clock < stop))
        traffic = np.rint(low + (full - low) * (rng.random((n, hours)) < 0.4))
        kinds = [way == 0, way <= 2, way == 3]
        by_kind = [full + 0 * clock, np.where(night, low, full), np.where(night, 0, full)]
        ways.append(np.select(kinds, by_kind, np.where(night, traffic, full)))
    at = np.where(rng.random((n, 1)) < 0.2, rng.integers(0, hours, (n, 1)), hours)
    return np.where(np.arange(hours)[None] < at, *ways)


def step_change(rng: np.random.Generator, n: int, hours: int, share: float, low: float, high: float) -> Floats:
    """(lamps, hours): 1, and for a share of the lamps from some time on a factor of low to high (cleaned, or a new pole)."""
    at = np.where(rng.random((n, 1)) < share, rng.integers(0, hours, (n, 1)), hours)
    return np.where(np.arange(hours)[None] < at, 1.0, rng.uniform(low, high, (n, 1)))


def read(rng: np.random.Generator, truth: dict[str, object]) -> Floats:
    """(lamps, hours, ROLES): what the gateway reads of it, with the resolution of the memory banks, losses and gaps."""
    power = np.asarray(truth["power"])
    n, hours = power.shape
    rows = np.full((n, hours, len(ROLES)), np.nan)
    columns = {
        "temperature": np.rint(np.asarray(truth["driver"])), "power": np.round(power, 1), "level": truth["level"],
        "power_factor": np.round(np.asarray(truth["factor"]), 2), "starts": truth["starts"],
        "output": np.rint(np.asarray(truth["output"])), "source_voltage": np.round(np.asarray(truth["volts"]), 1),
        "failure": np.asarray(truth["out"], float) * (rng.random((n, 1)) < 0.5),
    }  # fmt: skip
    for role, values in columns.items():
        rows[..., COLUMN[role]] = values
    for role in ("level", "power_factor", "starts", "output", "source_voltage", "failure"):
        missing = rng.random(n) < 0.12
        if not truth["whole"]:
            rows[missing, :, COLUMN[role]] = np.nan
    every, lost = rng.choice([1, 1, 1, 2, 3], (n, 1)), rng.choice([0.0, 0.02, 0.1, 0.3], (n, 1))
    unread = ((np.arange(hours)[None] + rng.integers(0, 3, (n, 1))) % every != 0) | (rng.random((n, hours)) < lost)
    for i in range(n):
        for _ in range(rng.poisson(hours / DAY / 60)):
            begin = int(rng.integers(hours))
            unread[i, begin : begin + int(rng.exponential(20))] = True
    rows[..., COLUMN["neighbours"]] = truth["near"]
    rows[unread, : COLUMN["neighbours"]] = np.nan
    return rows
