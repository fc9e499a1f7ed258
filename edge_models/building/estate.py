"""Municipal buildings by the dozen, simulated, no two alike: what their meters count by the hour.

A building is a room with walls that keep heat, a timetable, and what hangs on the meter: heating (resistances, a heat pump,
or only the pumps of a gas boiler; in some the meter is that of the heat itself), light, ventilation, what people plug in,
hot water at night, cold rooms, cooling in summer, lamps at the door. All of it is run twice with the same chance, with the
fault and without, so that what the fault takes is known. None of it is measured on real buildings.

Families of faults, from their onset until somebody puts it right:
setback      heating is not lowered at night or at week-ends any more
lights       are left on when the last one leaves, some nights or all
freezer      a cold room takes more from day to day
cooling      air conditioning runs through the night
ventilation  runs day and night (not learnt from)

No fault, and in every life: evenings and Saturdays on which something is on, cold spells, public and school holidays, days
of cleaning in them, more appliances from some day on, another timetable, clocks of controllers that stay on winter time,
hours without a reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge_models.lamp_driver.street import smooth
from gateway.window.habit import DAY, Calendar

FAMILIES = ("setback", "lights", "freezer", "cooling", "ventilation")
LEFT_OUT = "ventilation"
KINDS = ("school", "town_hall", "gym", "library")
PARIS = ZoneInfo("Europe/Paris")
FIRST_HOUR = 467_500
"""In May 2023: the school holidays from there on are known."""

LAST_HOUR = 499_000
"""In December 2026."""

HISTORY_D = 36
"""Days without a fault at the beginning."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Estate:
    """(buildings, hours) where not said otherwise. kwh: what the meter counted, NaN where it was not read; air: what is
    known of the outside (NaN for buildings without that); excess: kWh that the fault took. school: by building, whether
    school holidays close it. family, onset, end: by building, "" and -1 without a fault, hours. kind: by building."""

    kwh: Floats
    air: Floats
    excess: Floats
    shut: Flags
    school: Flags
    family: tuple[str, ...]
    onset: NDArray[np.int64]
    end: NDArray[np.int64]
    kind: tuple[str, ...]
    first_hour: int
    calendar: Calendar


def estate(seed: int, buildings: int, days: int, families: tuple[str, ...] = ()) -> Estate:  # noqa: PLR0915 one building's physics, told from its timetable to the meter
    """families: drawn from for every building, none = all healthy."""
    rng = np.random.default_rng([seed, 11])
    n, hours = buildings, days * DAY
    first = FIRST_HOUR + int(rng.integers(0, LAST_HOUR - FIRST_HOUR - hours))
    calendar = Calendar(PARIS, ("A", "B", "C")[int(rng.integers(3))])
    when = np.array([calendar.when(first + h) for h in range(hours)], np.int64)
    hour = when[:, 1]

    def each(low: float, high: float) -> Floats:
        return np.asarray(rng.uniform(low, high, (n, 1)))

    def some(share: float) -> Flags:
        return np.asarray(rng.random((n, 1)) < share)

    kind = tuple(str(one) for one in rng.choice(KINDS, n, p=(0.4, 0.25, 0.2, 0.15)))
    kinds = np.array(kind)[:, None]
    school = np.array([one == "school" or (one == "gym" and rng.random() < 0.5) for one in kind])
    # The air, and how dark it is.
    season = np.cos(2 * np.pi * ((first + np.arange(hours)) / 8766 - 15 / 365))[None]
    air = rng.uniform(9, 14) - rng.uniform(6, 9) * season + rng.uniform(2, 5) * np.cos(2 * np.pi * (hour - 15) / DAY)
    air = air + rng.uniform(2, 4) * smooth(rng, 1, hours, 72) + smooth(rng, 1, hours, 8)
    dark = np.clip(0.6 - 0.9 * np.cos(2 * np.pi * (hour - 13) / DAY) * (1 - 0.35 * season), 0, 1)
    # When there is somebody.
    weekday = np.where(school[:, None], when[:, 3], when[:, 2])
    present = _present(rng, kinds, weekday, hour, first)
    present = _events(rng, present, kinds, weekday, hour)
    shut = present < 0.02
    # The fault.
    onset, end, family = _fates(rng, n, hours, families, shut, air)
    gone = np.zeros((n, hours))
    for i in np.flatnonzero(onset >= 0):
        gone[i, onset[i] : end[i]] = 1.0
        if family[i] == "freezer":
            gone[i, onset[i] : end[i]] = np.linspace(0.05, 1.0, end[i] - onset[i]) ** rng.uniform(0.5, 1.5)
    nights = _some_nights(rng, n, hours, weekday)

    def of(name: str) -> Floats:
        return np.where(np.array([one == name for one in family])[:, None], gone, 0.0)

    # Ventilation and heating, by a controller's own timetable.
    running = _scheduled(rng, present, hour, first)
    draw_kw = each(0.02, 0.15) * _scale(rng, kind)
    ventilated = np.where(some(0.7), 1.0, 0.0) * draw_kw
    comfort_c, low_c = each(19, 21.5), each(14, 17)
    lead = rng.integers(1, 5, n)
    preheat = np.array([_ahead(row, k) for row, k in zip(running, lead, strict=True)])
    only_weekends = some(0.3) & (of("setback") > 0)
    not_lowered = np.where(only_weekends, (weekday >= 5) & (of("setback") > 0), of("setback") > 0)
    loss = each(0.02, 0.12) * _scale(rng, kind)  # kW for each degree
    store = loss * each(15, 90)  # kWh for each degree
    most_kw = loss * each(28, 40)
    gain = each(0.1, 0.4) * _scale(rng, kind) * present
    heats = _daily_mean(air) < each(13, 17)
    fan = [np.maximum(running, part) for part in (np.zeros_like(running), of("ventilation"))]
    heat = [
        _heat(air, np.where(at_comfort, comfort_c, low_c), heats, (loss, store, most_kw), gain, blow * (ventilated > 0))
        for at_comfort, blow in ((preheat, fan[0]), (preheat | not_lowered, fan[1]))
    ]
    # What is on the meter.
    source = rng.choice(5, n, p=(0.3, 0.25, 0.3, 0.1, 0.05))[:, None]  # resistances, heat pump, gas, heat meter, none
    source = np.where(np.array([one == "setback" for one in family])[:, None] & np.isin(source, (2, 4)), 0, source)
    cop = np.clip(each(2.6, 3.6) + 0.06 * (air - 7), 1.3, 5)
    size = _scale(rng, kind)
    base = each(0.05, 0.25) * size * (1 + 0.02 * smooth(rng, n, hours, 100))
    cold_room = np.where(some(0.55) | np.array([one == "freezer" for one in family])[:, None], 1, 0) * each(0.1, 0.35)
    cold_room = cold_room * size * (1 + 0.012 * (air - 12))
    light_kw = each(0.2, 0.7) * size
    lit = present * (0.35 + 0.65 * dark)
    left = np.where(nights & (present < 0.3), of("lights") * each(0.15, 0.7), 0.0)
    plugged = each(0.15, 0.7) * size * present
    water = np.where(some(0.4), 1, 0) * each(0.1, 0.5) * size * _night_water(present, hour, each(2, 5))
    door = np.where(some(0.4), 1, 0) * each(0.03, 0.1) * size * (dark > 0.75)
    door = door * np.where(some(0.5), hour[None] != 3, (hour > 16) | (hour == 6))
    has_cooling = some(0.25) | np.array([one == "cooling" for one in family])[:, None]
    cool_kw = np.where(has_cooling, 1, 0) * each(0.02, 0.08) * size
    people = present > 0.2
    cooled = [np.maximum(0.0, air - 19) * cool_kw * on for on in (people, people | (of("cooling") > 0))]
    more_from = np.where(some(0.25), rng.integers(0, hours, (n, 1)), hours)
    more = each(0.05, 0.4) * present + np.where(some(0.3), 1, 0) * each(0, 0.04)
    more = more * (np.arange(hours)[None] >= more_from) * size
    noise = np.exp(each(0.01, 0.05) * smooth(rng, n, hours, 4) + each(0.01, 0.06) * rng.standard_normal((n, hours)))
    metered = []
    worn = each(0.5, 2.5) * of("freezer")
    share = np.choose(
        source, [np.ones_like(cop), 1 / cop, np.full_like(cop, 0.03), np.ones_like(cop), np.zeros_like(cop)]
    )
    for at, worse in ((0, 0.0), (1, 1.0)):
        warm = heat[at] * share
        electric = base + cold_room * (1 + worse * worn) + light_kw * np.maximum(lit, worse * left)
        electric = electric + plugged + water + door + cooled[at] + ventilated * fan[at] + more
        metered.append(np.where(source == 3, 0.02 * size + warm, electric + warm) * noise)
    excess = metered[1] - metered[0]
    kwh = np.maximum(metered[1], 0.0)
    # What the gateway is told.
    for i in range(n):
        for _ in range(rng.poisson(days / 40)):
            at = int(rng.integers(hours))
            kwh[i, at : at + int(rng.integers(1, 30))] = np.nan
    step = rng.choice([0.001, 0.01, 0.1], (n, 1))
    kwh = np.diff(np.round(np.cumsum(np.nan_to_num(kwh), 1) / step) * step, axis=1, prepend=0.0) + 0 * kwh
    known_air = np.where(some(0.75), air + 0.3 * rng.standard_normal((n, hours)) + each(-1, 1.5), np.nan)
    return Estate(kwh, known_air, excess, shut, school, family, onset, end, kind, first, calendar)


def _scale(rng: np.random.Generator, kind: tuple[str, ...]) -> Floats:
    """(n, 1): kW, by what kind of building it is; drawn anew for each thing in it."""
    typical = {"school": 12.0, "town_hall": 8.0, "gym": 15.0, "library": 6.0}
    return np.array([[typical[one] * np.exp(rng.normal(0, 0.35))] for one in kind])


def _present(
    rng: np.random.Generator, kinds: NDArray[np.str_], weekday: NDArray[np.int64], hour: NDArray[np.int64], first: int
) -> Floats:
    """(n, hours), 0 to 1: the timetable, how many come, and how exactly they come on time."""
    n, hours = weekday.shape
    opens, closes = np.full((n, 7), 24), np.full((n, 7), 24)
    for i, (kind,) in enumerate(kinds):
        match kind:
            case "school":
                opens[i, :5], closes[i, :5] = rng.integers(7, 9), rng.integers(16, 20)
                closes[i, 2] = rng.choice([opens[i, 2], 12, closes[i, 0]])
            case "town_hall":
                opens[i, :5], closes[i, :5] = rng.integers(7, 10), rng.integers(17, 20)
                if rng.random() < 0.4:
                    opens[i, 5], closes[i, 5] = 9, 12
            case "gym":
                opens[i, :5], closes[i, :5] = rng.integers(8, 15), rng.integers(21, 24)
                opens[i, 5], closes[i, 5] = (9, rng.integers(12, 23)) if rng.random() < 0.8 else (24, 24)
                opens[i, 6], closes[i, 6] = (9, rng.integers(13, 20)) if rng.random() < 0.5 else (24, 24)
            case "library":
                opens[i, 1:6], closes[i, 1:6] = rng.integers(9, 14), rng.integers(18, 20)
                if rng.random() < 0.3:
                    opens[i, 4] = 24
    change = np.where(rng.random(n) < 0.15, rng.integers(0, hours, n), hours)
    later = (np.arange(hours)[None] >= change[:, None]) * rng.choice([-1, 1], (n, 1))
    at = np.arange(n)[:, None]
    is_open = (hour >= opens[at, weekday] + later) & (hour < closes[at, weekday] + later)
    many = rng.uniform(0.55, 1.0, (n, 24))[:, hour] * np.clip(1 + 0.12 * smooth(rng, n, hours, 24), 0.4, 1.4)
    cleaned = (hour == rng.choice([5, 6, 19, 20], (n, 1))) & (weekday < 5) & (rng.random((n, 1)) < 0.6)
    present = np.where(is_open, many, np.where(cleaned, rng.uniform(0.1, 0.4, (n, 1)), 0.0))
    early = rng.random((n, hours)) < 0.1  # somebody comes an hour early, or stays
    beside = _ahead_all(is_open) & ~is_open & early
    return np.where(beside, 0.2, present)


def _events(
    rng: np.random.Generator,
    present: Floats,
    kinds: NDArray[np.str_],
    weekday: NDArray[np.int64],
    hour: NDArray[np.int64],
) -> Floats:
    """Evenings, parties, elections, work in the holidays: people when there usually are none, and no fault."""
    n, hours = present.shape
    out = present.copy()
    often = rng.choice([0.0, 0.01, 0.04, 0.12], n)
    for i in range(n):
        for start in np.flatnonzero((hour == 18) & (rng.random(hours) < often[i])):
            late = int(rng.integers(3, 6)) if weekday[i, start] != 5 else int(rng.integers(4, 10))
            out[i, start : start + late] = np.maximum(out[i, start : start + late], rng.uniform(0.2, 0.9))
        for start in np.flatnonzero((hour == 8) & (weekday[i] >= 5) & (rng.random(hours) < 0.02)):
            long = int(rng.integers(3, 12))
            out[i, start : start + long] = np.maximum(out[i, start : start + long], rng.uniform(0.2, 0.8))
        if rng.random() < 0.3:
            start = int(rng.integers(hours))
            working = (np.arange(hours) >= start) & (np.arange(hours) < start + 10 * DAY) & (hour >= 8) & (hour < 16)
            out[i] = np.where(working & (rng.random() < 0.9), np.maximum(out[i], rng.uniform(0.1, 0.4)), out[i])
    return out


def _fates(
    rng: np.random.Generator, n: int, hours: int, families: tuple[str, ...], shut: Flags, air: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Onset, end and family of each; a fault of heating begins when it is cold, of cooling when it is warm."""
    onset, end, family = np.full(n, -1), np.full(n, -1), [""] * n
    weather = np.convolve(air[0], np.ones(5 * DAY) / (5 * DAY), "same")
    for i in range(n if families else 0):
        name = str(rng.choice(families))
        lasts = int(rng.uniform(15, 40) * DAY) if name == "freezer" else int(rng.uniform(4, 21) * DAY)
        at = np.arange(HISTORY_D * DAY, hours - lasts - DAY)
        fits = np.ones(len(at), bool)
        if name == "setback":
            fits = weather[at] < 10
        elif name == "cooling":
            fits = weather[at] > 17
        if name != "freezer":
            fits &= shut[i, at] & ~shut[i, at - 1]
        if fits.any():
            family[i] = name
            onset[i] = int(rng.choice(at[fits]))
            end[i] = onset[i] + lasts
    return onset, end, tuple(family)


def _some_nights(rng: np.random.Generator, n: int, hours: int, weekday: NDArray[np.int64]) -> Flags:
    """Nights on which the light is forgotten: every one, six in ten, or those of week-ends; from noon to noon."""
    habit = rng.choice(3, (n, 1))
    number = (np.arange(hours) + 12) // DAY
    by_chance = (rng.random((n, number[-1] + 1)) < 0.6)[:, number]
    return np.where(habit == 0, True, np.where(habit == 1, by_chance, weekday >= 5))


def _scheduled(rng: np.random.Generator, present: Floats, hour: NDArray[np.int64], first: int) -> Flags:
    """What a controller's clock does: about the usual hours, whoever comes; one in six stays on winter time."""
    n, hours = present.shape
    winter = rng.random(n) < 0.16
    # Without daylight saving the local hour is an hour behind in summer: what runs by it is an hour late.
    summer = (hour - (first + np.arange(hours) + 1)) % DAY == 1
    on = present > 0.25
    late = np.concatenate([on[:, :1], on[:, :-1]], 1)
    return np.where(winter[:, None] & summer[None], late, on)


def _ahead(on: Flags, hours: int) -> Flags:
    """On, and so many hours before it."""
    out = on.copy()
    for k in range(1, hours + 1):
        out[:-k] |= on[k:]
    return out


def _ahead_all(on: Flags) -> Flags:
    out = on.copy()
    out[:, :-1] |= on[:, 1:]
    out[:, 1:] |= on[:, :-1]
    return out


def _daily_mean(air: Floats) -> Floats:
    total = np.cumsum(np.concatenate([np.repeat(air[:, :1], DAY, 1), air], 1), 1)
    return (total[:, DAY:] - total[:, :-DAY]) / DAY


def _heat(
    air: Floats, wanted: Floats, heats: Flags, walls: tuple[Floats, Floats, Floats], gain: Floats, blown: Floats
) -> Floats:
    """(n, hours): kW that keep a room at what is wanted, hour by hour. walls: kW and kWh for each degree, most kW."""
    loss, store, most = (one[:, 0] for one in walls)
    room = wanted[:, 0].copy()
    out = np.empty(wanted.shape)
    for h in range(wanted.shape[1]):
        leak = loss * (1 + 0.6 * blown[:, h])
        holds = leak * (wanted[:, h] - air[0, h]) - gain[:, h] + store * (wanted[:, h] - room) / 1.5
        power = np.where(heats[:, h], np.clip(holds, 0.0, most), 0.0)
        room = room + (power + gain[:, h] - leak * (room - air[0, h])) / store
        out[:, h] = power
    return out


def _night_water(present: Floats, hour: NDArray[np.int64], lasts: Floats) -> Floats:
    """Hot water made in the cheap hours, for as long as yesterday's people took."""
    yesterday = np.concatenate([np.zeros((len(present), DAY)), _daily_mean(present)[:, :-DAY]], 1)
    since = (hour - 23) % DAY
    return np.clip(lasts * (0.3 + 2 * yesterday) - since, 0, 1)
