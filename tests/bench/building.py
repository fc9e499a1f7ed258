"""`guet bench building [--batches N] [--seed N] [--jobs N]`: municipal buildings, all *simulated*, on seeds that no model
has learnt from or was chosen with.

Each building is drawn anew (edge_models/building/estate.py: physics, timetable, weather, and what is no fault) and lived
through hour by hour with the gateway's window, shipped model and decision. Of a fault is counted whether an alert was raised
while it lasted, and after how many days; of what is healthy, every alert. Faults that add less than a tenth to what a
building takes while it is shut are counted apart, and so is the family that was never learnt. Beside the model its rule, an
alarm that is always on, and a metronome with an alert every week, on the same buildings.

`setback`: a classroom in a January (simulator/heating.py) under a site's own rules, and its twin that nobody lowers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # edge_models is not installed

from edge_models.benched import named  # noqa: E402
from edge_models.building.estate import FAMILIES, LEFT_OUT  # noqa: E402
from edge_models.building.fit import FAINT, FOLDER, RULE_DECISION, TAUGHT, record  # noqa: E402
from edge_models.decay import DAY, MONTH_H, Life, rate, share  # noqa: E402
from gateway.condition import Picture  # noqa: E402
from gateway.inference import load_model  # noqa: E402
from gateway.profile import load_profile  # noqa: E402
from gateway.rulebook import Rulebook  # noqa: E402
from gateway.site import parse_site  # noqa: E402
from gateway.verdict import Decider, Decision, State  # noqa: E402
from simulator.heating import Room  # noqa: E402
from simulator.weather import air_c  # noqa: E402

MINE = 10_000
"""Seeds of the bench begin here; those of the model are all below."""

COMFORT_C = 20.0
SITE = """
gateway = { id = "ecole", commune = "Essai", timezone = "Europe/Paris", latitude = 47.24, longitude = 6.02 }
bus = [{ name = "rs485", protocol = "modbus-tcp", host = "127.0.0.1" }]
device = [
    { name = "capteur", profile = "occupancy/wirenboard_wb_msw_v3", bus = "rs485", address = 11 },
    { name = "thermostat", profile = "heating/beca_bht006", bus = "rs485", address = 12 },
]
permit = [{ point = "thermostat/setpoint", min = 15, max = 22, fail_safe = 20, lease = "30min" }]
[[rule]]
name = "absence"
when = [{ point = "capteur/motion_max", below = 40, for = "45min" }, { between = ["08:00", "04:00"] }]
unless = [{ point = "thermostat/temperature", below = 12, until = 14 }]
set = [{ point = "thermostat/setpoint", value = 16 }]
"""

SIZES = (0.1, 0.25, 0.5, float("inf"))
WEEK_H = 7 * DAY
BUILDINGS = 12


@dataclass(frozen=True, slots=True)
class Lived:
    """A batch of buildings by the shipped model (empty where the rule decides), by the rule; sizes: of their faults."""

    model: list[Life]
    rule: list[Life]
    sizes: list[float]


def live(seed: int, families: tuple[str, ...]) -> Lived:
    """One batch, in a process of its own."""
    model = load_model(FOLDER)
    kept = record(seed, families, every_h=1, buildings=BUILDINGS)
    by_model = (
        kept.lives(lambda some: np.array([model.score(x.astype(np.float32)) for x in some])) if model.sha256 else []
    )
    return Lived(by_model, kept.lives(), kept.sizes.tolist())


def run(batches: int = 6, seed: int = 0, jobs: int = 2) -> dict[str, Any]:
    """Faults found by family and size, days until then, false alerts, with 95 % intervals, by model and by its rivals."""
    plan = [(MINE + seed + n, FAMILIES if n % 2 else ()) for n in range(2 * batches)]
    model = load_model(FOLDER)
    by_model, by_rule, sizes = list[Life](), list[Life](), list[float]()
    begun = time.monotonic()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for number, one in enumerate(pool.map(live, *zip(*plan, strict=True)), 1):
            by_model += one.model
            by_rule += one.rule
            sizes += one.sizes
            print(f"building: {number} of {len(plan)}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    rule_decision = RULE_DECISION if model.sha256 else model.decision
    deciding = {"model": (by_model, model.decision)} if model.sha256 else {}
    return {
        "measurements": "simulated",
        "decides": model.card.decides,
        "sha256": model.sha256,
        "decision": named(model.decision),
        "margin_points": model.card.rule.margin,
        "seeds_from": MINE + seed,
        "buildings": len(by_rule),
        **{name: told(lives, decision, sizes) for name, (lives, decision) in deciding.items()},
        "rule": told(by_rule, rule_decision, sizes),
        "always_on": {"found": "all", "share_of_sound_time_in_alarm": 1.0},
        "metronome_of_a_week": counted([(life, _ticks(life)) for life in by_rule]),
        "setback": setback(seed),
    }


def setback(seed: int, days: int = 28) -> dict[str, Any]:
    """Heat that a rule saves on presence, and what it costs: the lowest temperature of a lesson. One decision a minute by
    the gateway's own rulebook, on what the room's sensors would say; the thermostat obeys."""
    site = parse_site(SITE, "site.toml", ROOT, lambda name: load_profile(ROOT / "device_profiles", name))
    permits = {permit.point: permit for permit in site.permits}
    book = Rulebook(site.rules, permits, site.place)
    begin_s = site.place.wall_s(date(2026, 1, 5), 0)
    lowered, twin = (Room(lambda time_s: air_c(time_s, seed), begin_s) for _ in range(2))
    coldest = {"lowered": 99.0, "twin": 99.0}
    for minute in range(days * 1440):
        time_s = begin_s + 60.0 * minute
        local = site.place.local(time_s)
        lesson = local.weekday() < 5 and 510 <= local.hour * 60 + local.minute < 990
        values = {"capteur/motion_max": 180.0 if lesson else 8.0, "thermostat/temperature": lowered.temperature_c}
        claim = book.decide(Picture(time_s, values)).claims.get("thermostat/setpoint")
        lowered.setpoint_c = COMFORT_C if claim is None else claim.value
        for name, room in (("lowered", lowered), ("twin", twin)):
            room.until(time_s)
            if lesson and minute > 1440:
                coldest[name] = min(coldest[name], room.temperature_c)
    saved = twin.heat_kwh - lowered.heat_kwh
    return {
        "method": "heat of the twin room without the rule, less that of the room with it; same weather, walls and lessons",
        "days": days,
        "twin_kwh": round(twin.heat_kwh, 1),
        "saved_kwh": round(saved, 1),
        "saved_share": round(saved / twin.heat_kwh, 3),
        "coldest_lesson_c": {name: round(value, 1) for name, value in coldest.items()},
    }


def told(lives: Sequence[Life], decision: Decision, sizes: Sequence[float]) -> dict[str, Any]:
    """The report on one way of deciding."""
    alerts = [(life, [hour for hour, _ in life.alerts(decision)]) for life in lives]
    by_size = {}
    for low, high in pairwise(SIZES):
        inside = [
            one for one, size in zip(alerts, sizes, strict=True) if low <= size < high and one[0].family in TAUGHT
        ]
        by_size[f"adds {low:.0%} to {high:.0%}" if high < 9 else f"adds {low:.0%} and more"] = found(inside)
    return counted(alerts) | {
        "by_size": by_size,
        "share_of_sound_time_in_alarm": round(in_alarm([life for life in lives if not life.family], decision), 4),
    }


def counted(alerts: Sequence[tuple[Life, Sequence[int]]]) -> dict[str, Any]:
    """Faults found by family, false alerts; alerts: of each life, by hour."""
    false = sum(sum(not life.family or hour < life.onset for hour in raised) for life, raised in alerts)
    months = sum(life.sound_h for life, _ in alerts) / MONTH_H
    return {
        "found": found([one for one in alerts if one[0].family in TAUGHT]),
        "by_family": {name: found([one for one in alerts if one[0].family == name]) for name in TAUGHT},
        f"never_learnt_{LEFT_OUT}": found([one for one in alerts if one[0].family == LEFT_OUT]),
        FAINT: found([one for one in alerts if one[0].family == FAINT]),
        "false_alerts": rate(false, months),
    }


def found(alerts: Sequence[tuple[Life, Sequence[int]]]) -> dict[str, Any]:
    """How many faults had an alert while they lasted, and the median of the days until then."""
    delays = sorted(
        (first - life.onset) / DAY
        for life, raised in alerts
        if (first := next((hour for hour in raised if life.onset <= hour <= life.end), None)) is not None
    )
    median = round(delays[len(delays) // 2], 1) if delays else None
    return share(len(delays), len(alerts)) | {"median_delay_days": median}


def in_alarm(lives: Sequence[Life], decision: Decision) -> float:
    """The share of the judged hours of sound buildings in which an alert lasted."""
    lasted = judged = 0
    for life in lives:
        decider = Decider(decision)
        for hour in np.flatnonzero(np.isfinite(life.scores)).tolist():
            judged += 1
            lasted += decider.step(hour * 3600.0, float(life.scores[hour])).state is State.ALERT
    return lasted / max(1, judged)


def _ticks(life: Life) -> list[int]:
    known = np.flatnonzero(np.isfinite(life.scores))
    return list(range(int(known[0]), int(known[-1]), WEEK_H)) if len(known) else []
