"""`guet bench lighting`: decisions of the lighting engine against an independent computation, its speed, what it saves and
what it leaves dark over a year of simulated nights, and the time from presence to light on a simulated DALI line.

Independent means: sunset and sunrise by astral; the curfews of the decree from a table and clock arithmetic of their own, in
this file; nothing of `gateway` is asked for what it is checked against. Streets, traffic, lamps and the DALI line are
simulated. Status 1, with the figures missed, when one is not kept.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import astral
import astral.sun

from gateway.app import Gateway
from gateway.clock import LoopClock
from gateway.codec import Ask
from gateway.condition import Picture
from gateway.cycle import Cycle, Wanted
from gateway.lighting import light_percent
from gateway.link import Link, Traffic
from gateway.link.serial import SerialLink
from gateway.poll import PolledBus
from gateway.profile import load_profile
from gateway.reading import Snapshot
from gateway.site import Site, parse_site
from gateway.store import Store
from gateway.street import LightingEntry, Street
from gateway.sun import Place
from simulator.dali import LATCHED_BANKS, SERIAL_FRAME_S, SETTLING_S, Adapter, Gear, SimulatedSci, sent_s
from simulator.lighting import Lamp
from simulator.virtual_time import VirtualLoop

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
PARIS = ZoneInfo("Europe/Paris")
HOUR_S, DAY_S = 3600.0, 86_400.0
WEEK_S = 7 * DAY_S
EDGE_S = 60.0
"""Two computations of a sunset may differ by a minute (NOAA); within that of an edge no decision is wrong."""
PLACES = {
    "Dunkerque": Place(51.03, 2.37, PARIS),
    "Besançon": Place(47.24, 6.02, PARIS),
    "Brest": Place(48.39, -4.49, PARIS),
    "Bonifacio": Place(41.39, 9.16, PARIS),
    "Saint-Denis (La Réunion)": Place(-20.88, 55.45, ZoneInfo("Indian/Reunion")),
    "Cayenne": Place(4.92, -52.31, ZoneInfo("America/Cayenne")),
    "Saint-Pierre": Place(46.78, -56.17, ZoneInfo("America/Miquelon")),
    "Papeete": Place(-17.54, -149.57, ZoneInfo("Pacific/Tahiti")),
    "Nouméa": Place(-22.27, 166.45, ZoneInfo("Pacific/Noumea")),
}
"""A decree applies overseas too: other hemispheres, and clocks that never change or change on other days."""
POLAR = {
    "Tromsø": Place(69.65, 18.96, ZoneInfo("Europe/Oslo")),
    "Longyearbyen": Place(78.22, 15.65, ZoneInfo("Arctic/Longyearbyen")),
    "Dumont-d'Urville": Place(-66.66, 140.00, ZoneInfo("Antarctica/DumontDUrville")),
}
"""Where the sun does not set for weeks, and does not rise."""
HORIZON_DEG, DOUBT_DEG = -0.833, 0.3
"""Height of the sun's centre at sunset; so near to it two computations may differ (a minute is 0.25 degrees at the most)."""

YEAR_LIMIT_S, DECISION_LIMIT_MS, PRESENCE_LIMIT_MS = 60.0, 50.0, 500.0

LAW: dict[str, tuple[str, str, str]] = {
    # category: (off, on again, lit by day?), written out from published summaries of the decree; E: the end of the activity
    "a": ("", "", "yes"),
    "a/clos": ("E+1", "morning", "yes"),
    "b/patrimoine": ("01:00", "dusk", "no"),
    "b/parc": ("E+1", "dusk", "no"),
    "c": ("", "", "yes"),
    "d/facade": ("01:00", "dusk", "no"),
    "d/vitrine": ("later of 01:00, E+1", "morning", "yes"),
    "d/interieur": ("E+1", "morning", "yes"),
    "e": ("E+2", "morning", "no"),
    "f": ("", "", "yes"),
    "g": ("E+1", "morning", "yes"),
}
BY_DAY = 25.0
"""What the streets of the check are told by day, as nobody would: only so it shows who may not be lit then."""
SLOTS = (("dusk", 100.0), ("22:15", 60.0), ("00:30", 30.0), ("05:15", 80.0))


def run(seed: int = 11, lamps: int = 200, checks: int = 40_000, nights: int = 20, presses: int = 10) -> dict[str, Any]:
    """All figures, and those that were missed."""
    found = {
        "decisions": decisions(seed, checks),
        "beyond_the_polar_circles": polar(seed, checks // 4),
        "year": year(seed, lamps),
        "thousand_lamps": thousand_lamps(),
        "presence_to_light": presence_to_light(seed, nights, presses),
    }
    return {**found, "missed": missed(found)}


def missed(found: dict[str, Any]) -> list[str]:
    """What was not kept, in sentences."""
    said = []
    if wrong := found["decisions"]["wrong"]:
        said.append(f"{wrong} decisions of {found['decisions']['checked']} differ from the independent computation")
    if wrong := found["beyond_the_polar_circles"]["wrong"]:
        said.append(f"{wrong} decisions beyond the polar circles differ from where the sun stands")
    if found["decisions"]["worst_edge_s"] >= EDGE_S:
        said.append(f"a switching time is {found['decisions']['worst_edge_s']} s off")
    if (seconds := found["year"]["seconds"]) >= YEAR_LIMIT_S:
        said.append(f"a year of {found['year']['lamps']} lamps took {seconds} s, expected less than {YEAR_LIMIT_S:g}")
    if (took_ms := found["thousand_lamps"]["p99_ms"]) >= DECISION_LIMIT_MS:
        said.append(f"a decision for 1,000 lamps took {took_ms} ms (p99), expected less than {DECISION_LIMIT_MS:g}")
    for case, figures in found["presence_to_light"].items():
        if case != "says" and (took_ms := figures["last_lamp_p99_ms"]) >= PRESENCE_LIMIT_MS:
            text = f"from presence to light took {took_ms} ms (p99, {case}), expected less than {PRESENCE_LIMIT_MS:g}"
            said.append(text)
    return said


# -- decisions, checked against an independent computation ---------------------------------------------------------------


def decisions(seed: int, checks: int, categories: Sequence[str] = tuple(LAW)) -> dict[str, Any]:
    """Random instants of a year, places, categories, hours of activity; and every sunset and sunrise of a year."""
    chance = Random(seed)
    wrong: list[str] = []
    near = 0
    for _ in range(checks // 200):
        name = chance.choice(list(PLACES))
        category = chance.choice(categories)
        begin, end = chance.choice(
            (("08:00", "19:30"), ("05:30", "14:00"), ("18:00", "02:00"), ("09:00", "18:00"), ("06:00", "22:45"))
        )
        derogation = (date(2026, 12, 1), date(2026, 12, 31)) if chance.random() < 0.3 else None
        street = _street(PLACES[name], category, (begin, end), derogation)
        judge = _Independent(PLACES[name], category, (begin, end), derogation)
        for time_s in sorted(_instant(chance) for _ in range(200)):
            if judge.near_an_edge(time_s):
                near += 1
                continue
            ours, theirs = street.decide(Picture(time_s)).percent, judge.percent(time_s)
            if ours != theirs:
                when = datetime.fromtimestamp(time_s, PLACES[name].zone).isoformat()
                wrong.append(f"{name} {category} {begin}-{end} {when}: {ours} %, expected {theirs} %")
    return {
        "checked": checks // 200 * 200 - near,
        "left_out_within_a_minute_of_an_edge": near,
        "wrong": len(wrong),
        "examples": wrong[:5],
        "worst_edge_s": round(max(_edges()), 1),
        "places": list(PLACES),
    }


def polar(seed: int, checks: int) -> dict[str, Any]:
    """Random instants of a year: lit exactly where astral's sun is below the horizon, whatever day and night are there."""
    chance = Random(seed)
    found = {"checked": 0, "left_out_near_the_horizon": 0, "without_a_sunset": 0, "without_a_sunrise": 0, "wrong": 0}
    examples = []
    for name, place in POLAR.items():
        observer = astral.Observer(place.latitude, place.longitude)
        entry = LightingEntry.model_validate(
            {"name": "rue", "lamps": ["l/level"], "slot": [{"from": "dusk", "level": 100}]}
        )
        street = Street(entry, place, {"l/level": "%"})
        for time_s in sorted(_instant(chance) for _ in range(checks // len(POLAR))):
            when = datetime.fromtimestamp(time_s, UTC)
            height = astral.sun.elevation(observer, when, with_refraction=False)
            if abs(height - HORIZON_DEG) < DOUBT_DEG:
                found["left_out_near_the_horizon"] += 1
                continue
            found["checked"] += 1
            noon = place.local(time_s).date()
            dawn_s, dusk_s = place.sun_s(noon)
            found["without_a_sunset"] += dusk_s - dawn_s > DAY_S - 120
            found["without_a_sunrise"] += dusk_s - dawn_s < 120
            lit = street.decide(Picture(time_s)).percent > 0
            if lit is not (height < HORIZON_DEG):
                found["wrong"] += 1
                examples.append(
                    f"{name} {when.isoformat()}: {'lit' if lit else 'dark'}, the sun is at {height:.2f} degrees"
                )
    return {**found, "examples": examples[:5]}


def _instant(chance: Random) -> float:
    return datetime(2026, 1, 1, tzinfo=UTC).timestamp() + chance.uniform(0, 365 * DAY_S)


def _street(place: Place, category: str, activity: tuple[str, str], derogation: tuple[date, date] | None) -> Street:
    orders = [{"id": "AM-1", "from": derogation[0], "to": derogation[1]}] if derogation else []
    entry = LightingEntry.model_validate(
        {
            "name": "rue", "lamps": ["l/level"], "category": category, "activity": activity, "derogation": orders,
            "slot": [{"from": at, "level": level} for at, level in (*SLOTS, ("dawn", BY_DAY))],
        }
    )  # fmt: skip
    return Street(entry, place, {"l/level": "%"})


class _Independent:
    """What a street is to give, from scratch: naive local times turned to UTC one by one, astral, and LAW."""

    def __init__(
        self, place: Place, category: str, activity: tuple[str, str], derogation: tuple[date, date] | None
    ) -> None:
        self.observer, self.zone = astral.Observer(place.latitude, place.longitude), place.zone
        self.off, self.on, self.by_day = LAW[category]
        self.activity, self.derogation = activity, derogation
        self._suns: dict[tuple[date, bool], float] = {}

    def sun(self, day: date, dusk: bool) -> float:
        if (day, dusk) not in self._suns:
            find = astral.sun.sunset if dusk else astral.sun.sunrise
            self._suns[day, dusk] = find(self.observer, day, tzinfo=self.zone).timestamp()
        return self._suns[day, dusk]

    def wall(self, day: date, at: str, plus_days: int = 0) -> float:
        hour, minute = at.split(":")
        then = datetime(day.year, day.month, day.day, int(hour), int(minute), tzinfo=self.zone) + timedelta(
            days=plus_days
        )
        return then.timestamp()

    def curfew(self, night: date) -> tuple[float, float] | None:
        if not self.off or self.lifted(night):
            return None
        begin, end = self.activity
        ended = self.wall(night, end, 0 if end > begin else 1)
        one = self.wall(night, "01:00", 1)
        off = {"E+1": ended + HOUR_S, "E+2": ended + 2 * HOUR_S, "01:00": one,
               "later of 01:00, E+1": max(one, ended + HOUR_S)}[self.off]  # fmt: skip
        if self.on == "dusk":
            return off, self.sun(night + timedelta(days=1), True)
        return off, min(self.wall(night, "07:00", 1), self.wall(night, begin, 1) - HOUR_S)

    def percent(self, time_s: float) -> float:
        today = datetime.fromtimestamp(time_s, self.zone).date()
        for night in (today - timedelta(days=2), today - timedelta(days=1), today):
            dark = self.curfew(night)
            if dark is not None and dark[0] <= time_s < dark[1]:
                return 0.0
        for night in (today - timedelta(days=1), today):
            dusk, dawn = self.sun(night, True), self.sun(night + timedelta(days=1), False)
            if dusk <= time_s < dawn:
                return self._slot(night, time_s)
        return BY_DAY if self.by_day == "yes" or self.lifted(today) else 0.0

    def lifted(self, day: date) -> bool:
        return self.derogation is not None and self.derogation[0] <= day <= self.derogation[1]

    def _slot(self, night: date, time_s: float) -> float:
        """The slot whose local time passed last, of those from noon on; the evening's before."""
        best, level = -math.inf, SLOTS[0][1]
        for at, percent in SLOTS[1:]:
            since = self.wall(night, at, 0 if at >= "12:00" else 1)
            if best < since <= time_s:
                best, level = since, percent
        return level

    def near_an_edge(self, time_s: float) -> bool:
        day = datetime.fromtimestamp(time_s, self.zone).date()
        days = [day + timedelta(days=shift) for shift in (-1, 0, 1)]
        return any(abs(time_s - self.sun(one, dusk)) <= EDGE_S for one in days for dusk in (True, False))


def _edges() -> list[float]:
    """How far our switching on and off is from astral's, every day of a year at each place, in seconds."""
    off = []
    for place in PLACES.values():
        observer = astral.Observer(place.latitude, place.longitude)
        for number in range(365):
            day = date(2026, 1, 1) + timedelta(days=number)
            dawn_s, dusk_s = place.sun_s(day)
            off.append(abs(dawn_s - astral.sun.sunrise(observer, day, tzinfo=place.zone).timestamp()))
            off.append(abs(dusk_s - astral.sun.sunset(observer, day, tzinfo=place.zone).timestamp()))
    return off


# -- a year of a street ------------------------------------------------------------------------------------------------


def _site(lamps: int, streets: int = 1, meter: bool = False, floor: int = 20) -> Site:
    """Streets of lamps behind DALI gateways of 64 each, with presence, burn hours, ramp and classes."""
    each = lamps // streets
    text = [
        '[gateway]\nid = "bench"\ncommune = "Simulée"\ntimezone = "Europe/Paris"\nlatitude = 47.24\nlongitude = 6.02\n',
        '[[device]]\nname = "radar"\nprofile = "recorded"\n[[watch]]\nname = "w"\nmodel = "leak"\n[watch.inputs]\n',
        'flow = ["radar/motion"]\npressure = ["radar/other"]\n',
    ]
    for bus in range(0, lamps, 64):
        text.append(f'[[bus]]\nname = "b{bus}"\nprotocol = "dali-sci"\nport = "/dev/ttyD{bus}"\n')
    for lamp in range(lamps):
        text.append(
            f'[[device]]\nname = "l{lamp}"\nprofile = "test/lamp"\nbus = "b{lamp // 64 * 64}"\naddress = {lamp % 64}\n'
        )
    for street in range(streets):
        names = ", ".join(f'"l{lamp}/level"' for lamp in range(street * each, (street + 1) * each))
        power = 'lamp = "power"\n' if meter else ""
        text.append(
            f'[[lighting]]\nname = "rue-{street}"\nlamps = [{names}]\ndesign = "P2"\nfloor = {floor}\nramp = "30s"\n'
            'slot = [{ from = "dusk", class = "P2" }, { from = "22:00", class = "P4" }, { from = "23:30", class = "P6" },'
            ' { from = "05:30", class = "P4" }]\n'
            'presence = { points = ["radar/motion"], level = 75, hold = "90s" }\n'
            'constant_output = { hours = "on_time", start = 80, end_hours = 100000 }\n'
            f"[lighting.consumption]\nlamp_w = 36.5\nstandby_w = 0.3\n{power}"
            'co2_g_per_kwh = 50\nco2_source = "facteur rond du banc, à remplacer par celui du site"\n'
        )
    profile = (PROFILES / "lighting/d4i_driver.toml").read_text("utf-8")
    first = profile.index("[[point]]")
    more = (
        '[[point]]\nname = "on_time"\nunit = "s"\npersonal = "no"\nbank = 206\nlocation = 0x0A\ntype = "u32"\n'
        "sentinels = [0xFFFFFFFF, 0xFFFFFFFE]\n\n"
    )
    from gateway.profile import parse_profile  # one profile more, of this bench alone

    made = parse_profile(profile[:first] + more + profile[first:], "test/lamp")
    return parse_site("".join(text), "site.toml", Path(), lambda name: made)


FULL_LUX = 10.0
"""What class P2 maintains (EN 13201-2): the street at its full light."""


def year(seed: int, lamps: int) -> dict[str, Any]:
    """A year, decided at every instant at which something changes; people pass as simulated traffic has it."""
    site = _site(lamps)
    cycle = Cycle(site)
    street, lit = cycle.streets[0], dict[str, Wanted]()
    chance = Random(seed)
    start_s = datetime(2026, 1, 1, 12, tzinfo=PARIS).timestamp()
    passers = _passers(chance, start_s)
    lived, ordered, week = Lamp("l0", seed, street.schedule, start_s - DAY_S, town_seed=seed), -1, dict[str, float]()
    values: dict[str, float | None] = {}
    hours_points, told_s = [f"l{n}/on_time" for n in range(lamps)], -math.inf
    time_s, counts = start_s, {"decisions": 0, "writes": 0, "presence": 0}
    saved = reference = used = co2 = 0.0
    nights = []
    missing_lux_h = required_lux_h = 0.0
    began = time.perf_counter()
    at, motion, spent_lit = 0, 0.0, 0.0
    while time_s < start_s + 365 * DAY_S:
        if time_s - told_s >= HOUR_S:
            values |= dict.fromkeys(hours_points, 4.0e7 + spent_lit)
            told_s = time_s
        values["radar/motion"] = motion
        picture = Picture(time_s, values)
        decision = cycle.decide(picture, {})
        counts["decisions"] += 1
        if decision.wanted["l0/level"] is not lit.get("l0/level"):
            before = {lamp: wanted.value for lamp, wanted in lit.items()}
            counts["writes"] += sum(before.get(lamp) != wanted.value for lamp, wanted in decision.wanted.items())
            lit = decision.wanted
        if (told := int(lit["l0/level"].value)) != ordered and time_s < start_s + WEEK_S:
            lived.order(time_s, told)
            ordered = told
        if time_s >= start_s + WEEK_S and not week:
            week = {
                "used_kwh_a_lamp": round((cycle.savings[0].used_kwh_total) / lamps, 3),
                "by_physics_kwh_a_lamp": round((lived.energy_wh(time_s) - lived.energy_wh(start_s)) / 1000, 3),
            }
        if (night := cycle.savings[0].last) is not None and (not nights or nights[-1].night != night.night):
            nights.append(night)
        # until something changes: by itself, or because somebody comes or has gone
        next_s = min(cycle.wakes_s(time_s), time_s + 600.0)
        if at < len(passers) and passers[at][0] <= next_s:
            next_s, motion = passers[at]
            at += 1
            counts["presence"] += motion > 0
        next_s = max(next_s, time_s + 0.05)
        needed = street.light.required
        given = light_percent(int(lit["l0/level"].value)) * _flux(4.0e7 / HOUR_S + spent_lit / HOUR_S) / 0.8
        missing_lux_h += FULL_LUX * max(0.0, needed - given) / 100 * (next_s - time_s) / HOUR_S
        required_lux_h += FULL_LUX * needed / 100 * (next_s - time_s) / HOUR_S
        spent_lit += (next_s - time_s) if street.light.percent > 0 else 0.0
        time_s = next_s
    seconds = time.perf_counter() - began
    for night in nights:
        reference, used = reference + night.reference_kwh, used + night.used_kwh
        saved, co2 = saved + night.saved_kwh, co2 + (night.co2_kg or 0.0)
    return {
        "lamps": lamps,
        "seconds": round(seconds, 1),
        **counts,
        "nights": len(nights),
        "hours_lit": round(spent_lit / HOUR_S),
        "reference_kwh": round(reference),
        "used_kwh": round(used),
        "first_week": week,
        "saved_kwh": round(saved),
        "saved_share": round(saved / reference, 3),
        "saved_co2_kg": round(co2),
        "lux_hours_required": round(required_lux_h),
        "lux_hours_missing": round(missing_lux_h, 1),
        "lux_hours_missing_share": round(missing_lux_h / required_lux_h, 5),
        "method": nights[-1].method if nights else "",
    }


def _flux(hours: float) -> float:
    """Of its first light, what an LED source of L80 at 100,000 h still gives: on a line (simulated)."""
    return 1.0 - 0.2 * min(1.0, hours / 100_000)


def _passers(chance: Random, start_s: float) -> list[tuple[float, float]]:
    """When a radar sees somebody come and go, for a year: (UTC seconds, 1 or 0). A quiet street: some thirty a night."""
    by_hour = (1, 0.5, 0.3, 0.3, 0.5, 2, 4, 6, 6, 4, 4, 4, 4, 4, 4, 4, 5, 6, 6, 5, 4, 3, 2.5, 2)
    found: list[tuple[float, float]] = []
    time_s = start_s
    while time_s < start_s + 365 * DAY_S:
        hour = datetime.fromtimestamp(time_s, PARIS).hour
        time_s += max(30.0, chance.expovariate(by_hour[hour] / HOUR_S))
        if not 8 <= hour < 16:  # in full daylight nobody needs the radar
            found += [(time_s, 1.0), (time_s + 20.0, 0.0)]
    return sorted(found)


# -- how quick -----------------------------------------------------------------------------------------------------------


def thousand_lamps() -> dict[str, Any]:
    """One decision for 1,000 lamps in five streets, each with burn hours and a power of its own; at night."""
    site = _site(1000, streets=5, meter=True)
    cycle = Cycle(site)
    start_s = datetime(2026, 1, 14, 21, 59, tzinfo=PARIS).timestamp()
    took = []
    for step in range(120):
        values: dict[str, float | None] = {f"l{n}/on_time": 4e7 for n in range(1000)}
        values |= {f"l{n}/power": 30.0 for n in range(1000)}
        values["radar/motion"] = float(step % 7 == 0)
        picture = Picture(start_s + step, values)
        began = time.perf_counter()
        decision = cycle.decide(picture, {})
        took.append(time.perf_counter() - began)
        assert len(decision.wanted) == 1000
    ordered = sorted(took)
    return {
        "decisions": len(took),
        "median_ms": round(1000 * statistics.median(took), 2),
        "p99_ms": round(1000 * ordered[int(0.99 * len(ordered))], 2),
    }


# -- from presence to light ----------------------------------------------------------------------------------------------

_LIVE = """
[gateway]
id = "bench"
commune = "Simulée"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "store"
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "{port}"
[[device]]
name = "radar"
profile = "recorded"
every = "1h"
[[watch]]
name = "w"
model = "lift_door"
[watch.inputs]
door_current = ["radar/motion"]
door_speed = ["radar/other"]
[[lighting]]
name = "rue-haute"
lamps = [{lamps}]
slot = [{{ from = "dusk", level = 100 }}, {{ from = "22:00", level = 20 }}]
presence = {{ points = ["radar/motion"], level = 100, hold = "100ms" }}
"""
_LAMP = '[[device]]\nname = "l{n}"\nprofile = "lighting/{profile}"\nbus = "rue"\naddress = {n}\nevery = "{every}"\n'


READ_MEMORY_LOCATION = 0xC5
SETTLED_S = 240.0
"""After a start, until devices are met, groups set up and first readings made."""


def presence_to_light(seed: int, nights: int, presses: int) -> dict[str, Any]:
    """From the moment that a reading of presence is taken in until each lamp has its new level, on a DALI line at its real
    pace, while the gateway polls the lamps as in operation: nights in virtual time over a line in memory, each with a seed
    of its own, and one in real time over a pseudo-terminal, which has this machine's own delays in it."""
    return {
        "six_lamps": _nights(seed, nights, 6, presses, "dali_led_gear", "60s"),
        "sixteen_lamps": _nights(seed, nights, 16, presses, "dali_led_gear", "60s"),
        "sixteen_lamps_in_groups_of_others": _nights(seed, nights, 16, presses, "dali_led_gear", "60s", theirs=True),
        "sixty_four_lamps": _nights(seed, max(1, nights // 5), 64, presses, "dali_led_gear", "5min"),
        "sixteen_lamps_while_memory_banks_are_read": _nights(
            seed, nights, 16, presses, "d4i_driver", "1min", banks=True
        ),
        "six_lamps_in_real_time": asyncio.run(_real(seed, 6, presses)),
        "says": "simulated DALI line at real pace (1.0); gear obeys a frame when it has heard all of it; read-backs follow "
        "the light and are not in the figure",
    }


def _nights(
    seed: int,
    nights: int,
    lamps: int,
    presses: int,
    profile: str,
    every: str,
    *,
    banks: bool = False,
    theirs: bool = False,
) -> dict[str, Any]:
    """banks: presence comes only while a bank is being read; theirs: gear is in groups of somebody else's already."""
    first, last = [], []
    for night in range(nights):
        adapter = Adapter([Gear(n, _bank, level=0) for n in range(lamps)])
        chance = Random(seed * 1000 + night)
        for gear in adapter.gears if theirs else ():
            gear.groups = chance.getrandbits(16)
        one = _night(adapter, _InMemory(adapter), chance, presses, profile, every, banks)
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(alone=True)) as runner:
            for first_s, last_s in runner.run(one):
                first.append(first_s)
                last.append(last_s)
    return _figures(lamps, first, last)


async def _real(seed: int, lamps: int, presses: int) -> dict[str, Any]:
    adapter = Adapter([Gear(n, _bank, level=0) for n in range(lamps)])
    async with SimulatedSci(adapter) as bus:
        link = SerialLink(bus.port, "38400 8N1", frames=False)
        found = await _night(adapter, link, Random(seed), presses, "dali_led_gear", "60s", False)
    return _figures(lamps, [one for one, _ in found], [other for _, other in found])


def _figures(lamps: int, first: list[float], last: list[float]) -> dict[str, Any]:
    ordered = sorted(last)
    return {
        "lamps": lamps,
        "presses": len(last),
        "first_lamp_median_ms": round(1000 * statistics.median(first)),
        "last_lamp_median_ms": round(1000 * statistics.median(last)),
        "last_lamp_p99_ms": round(1000 * ordered[math.ceil(0.99 * len(ordered)) - 1]),
        "last_lamp_max_ms": round(1000 * ordered[-1]),
    }


def _bank(number: int) -> bytes:
    """Banks of D4i gear, with a content of no meaning here: what counts is how long reading them takes."""
    return bytes((0x20, 0, 0xFF, 1)) + bytes(0x1D) if number in LATCHED_BANKS else b""


class _InMemory:
    """The line of a `SimulatedSci` at its real pace without the pseudo-terminal, whose kernel knows no virtual time."""

    def __init__(self, adapter: Adapter) -> None:
        self.traffic, self._adapter, self._free_at_s = Traffic(), adapter, 0.0

    async def exchange(self, ask: Ask) -> bytes:
        loop = asyncio.get_running_loop()
        begin_s = max(loop.time() + SERIAL_FRAME_S, self._free_at_s)
        await asyncio.sleep(begin_s + sent_s(bool(ask.request[0] & 0x10)) - loop.time())
        replies = self._adapter.replies(ask.request)
        self._free_at_s = begin_s + replies[-1].after_s + SETTLING_S
        await asyncio.sleep(begin_s + replies[-1].after_s + SERIAL_FRAME_S - loop.time())
        self.traffic.requests += 1
        data = b"".join(reply.data for reply in replies)
        return data[: ask.recognise(data)]

    async def close(self) -> None:
        pass


async def _night(
    adapter: Adapter, link: Link, chance: Random, presses: int, profile: str, every: str, banks: bool
) -> list[tuple[float, float]]:
    """Of each time that somebody comes: seconds until the first lamp, and the last, is at its level."""
    gears, found, loop = adapter.gears, [], asyncio.get_running_loop()
    start_s = datetime(2026, 11, 26, 23, 0, tzinfo=PARIS).timestamp() + chance.uniform(0, 3600)
    numbers = range(len(gears))
    with tempfile.TemporaryDirectory() as folder:
        text = _LIVE.format(port="/dev/ttyD0", lamps=", ".join(f'"l{n}/level"' for n in numbers))
        text += "".join(_LAMP.format(n=n, profile=profile, every=every) for n in numbers)
        site = parse_site(text, "site.toml", Path(folder), lambda name: load_profile(PROFILES, name))
        clock = LoopClock(start_s)
        in_virtual_time = isinstance(link, _InMemory)
        async with Store.open(Path(folder) / "store", clock, thread=not in_virtual_time) as store:
            gateway = Gateway(site, [], store, clock)
            gateway.buses["rue"].link = link  # type: ignore[union-attr]
            running = asyncio.create_task(gateway.run())
            await asyncio.sleep(0)
            _sees(gateway, 0.0)
            await asyncio.sleep(SETTLED_S if in_virtual_time else 5.0)
            for _ in range(presses):
                _sees(gateway, 0.0)
                await _all(gears, {0, *range(254)})
                await asyncio.sleep(1.0 + (10 if in_virtual_time else 1) * chance.random())
                reading = asyncio.create_task(_read_banks(gateway, chance)) if banks else None
                while reading is not None and (not adapter.heard or adapter.heard[-1][1] != READ_MEMORY_LOCATION):
                    await asyncio.sleep(0.01 * chance.random())
                before = [gear.level for gear in gears]
                _sees(gateway, 1.0)
                began_s = loop.time()
                while all(gear.level == level for gear, level in zip(gears, before, strict=True)):
                    await asyncio.sleep(0.001)
                first_s = loop.time() - began_s
                await _all(gears, {254})
                found.append((first_s, loop.time() - began_s))
                if reading is not None:
                    await reading
            gateway.stop.set()
            await running
    return found


async def _read_banks(gateway: Gateway, chance: Random) -> None:
    """Reads the memory banks of one lamp, as the plan does every hour."""
    bus = gateway.buses["rue"]
    assert isinstance(bus, PolledBus)
    await bus.visit(
        chance.choice([v for v in bus.visits if any(block.span.area in LATCHED_BANKS for block in v.blocks)])
    )


def _sees(gateway: Gateway, motion: float) -> None:
    values: dict[str, float | None] = {"motion": motion, "other": 0.0}
    gateway._take(Snapshot("radar", gateway.clock.now(), values, {}))


async def _all(gears: list[Gear], levels: set[int]) -> None:
    async with asyncio.timeout(60):
        while any(gear.level not in levels for gear in gears):
            await asyncio.sleep(0.001)
