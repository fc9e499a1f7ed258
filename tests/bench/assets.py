"""`guet bench assets [--faults N] [--healthy N] [--seed N]`: lamps and lift doors, all *simulated*, before they fail.

Each is watched through the gateway's window, model folder and decision, for as long as its fault grows. Of a fault is
counted whether an alert stood or was raised 14 days (lamp) or 7 days (lift) before it ends the service; of what is healthy,
alerts a month. A fault grows for 30 to 150 days, in a straight line or ever faster, which nobody knows beforehand. Faults
that these simulators do not have (connector, surge; belt, brake, bearing) are not measured.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.drift import Drift
from simulator.lighting import LampFault
from simulator.noise import Noise

MODELS = Path(__file__).resolve().parents[2] / "edge_models"
DAY_H, HOUR_S, MONTH_D = 24, 3600.0, 30.4
HISTORY_D = 36
HEALTHY_D = 90
SHORTEST_D, LONGEST_D = 30, 150
END = {"capacitor": 1.0, "cooling": 1.0, "string_short": 4.0}
"""Severity with which a lamp has to be replaced: dead, derated, or a quarter of its LEDs dark."""

Alerts = list[int]
Watch = Callable[[int, int, Drift | None], Alerts]
"""(seed, days watched after the history, fault) -> hours of alerts, 0 = the end of the days watched."""


def run(faults: int = 8, healthy: int = 12, seed: int = 1000) -> dict[str, Any]:
    """Faults found in time by family, and false alerts, with 95 % intervals."""
    street = runpy.run_path(str(MODELS / "lamp_driver/measure.py"))
    door = runpy.run_path(str(MODELS / "lift_door/measure.py"))

    def lamp(kind: str) -> Watch:
        def watch(seed: int, days: int, drift: Drift | None) -> Alerts:
            fault = LampFault(kind, drift) if drift else None
            hours = (-(days + HISTORY_D) * DAY_H, 0)
            one = street["Street"](seed, (days + HISTORY_D + 1) * DAY_H, fault)
            return list(one.watch(seed, tuple(street["UNITS"]), 3, hours, -days * DAY_H)[0])

        return watch

    def lift(role: str) -> Watch:
        def watch(seed: int, days: int, drift: Drift | None) -> Alerts:
            hours = (-(days + HISTORY_D) * DAY_H, 0)
            return list(door["watch"](seed, hours, -days * DAY_H, **({role: drift} if drift else {}))[0])

        return watch

    start_s = float(street["START"])
    report: dict[str, Any] = {"measurements": "simulated"}
    report["lamps"] = {
        "decides": street["MODEL"].card.decides,
        "found_14_days_ahead": {
            kind: ahead(f"lamp, {kind}", lamp(kind), start_s, faults, seed, end, 14) for kind, end in END.items()
        },
        "false_alerts": quiet("healthy lamp", lamp("capacitor"), healthy, seed + 500, None),
    }
    busy = Drift(start_s - HEALTHY_D / 2 * DAY_H * HOUR_S, 0, 0.4)
    report["lifts"] = {
        "decides": door["MODEL"].card.decides,
        "found_7_days_ahead": {"friction": ahead("lift, friction", lift("wear"), start_s, faults, seed, 0.35, 7)},
        "false_alerts": quiet("healthy lift", lift("wear"), healthy, seed + 500, None),
        "false_alerts_obstructed": quiet("obstructed lift", lift("busy"), healthy, seed + 700, busy),
    }
    return report


def ahead(
    name: str, watch: Watch, start_s: float, count: int, first: int, severity: float, lead_d: int
) -> dict[str, Any]:
    """How many of `count` faults were alerted at least `lead_d` days before their end, after they had begun."""
    found, early, leads = 0, 0, []
    for seed in range(first, first + count):
        say(f"{name}: {seed - first + 1} of {count}")
        chance = Noise(seed, f"bench/{name}")
        days = round(chance.between(SHORTEST_D, LONGEST_D, 0))
        steepness = chance.between(0.0, 3.0, 1)
        ramp_s = days * DAY_H * HOUR_S
        hours = watch(seed, days + 1, Drift(start_s - ramp_s, ramp_s, severity, steepness))
        early += sum(hour < -days * DAY_H for hour in hours)
        true = [-hour / DAY_H for hour in hours if -days * DAY_H <= hour <= 0]
        leads += true[:1]
        found += bool(true) and true[0] >= lead_d
    leads.sort()
    return {
        "faults": count,
        "in_time": found,
        **share(found, count),
        "found_at_all": len(leads),
        "median_lead_days": round(leads[len(leads) // 2], 1) if leads else None,
        "alerts_before_the_fault": early,
    }


def quiet(name: str, watch: Watch, count: int, first: int, drift: Drift | None) -> dict[str, Any]:
    """Alerts of what is healthy; high: the end of the 95 % interval of a Poisson count."""
    alerts = 0
    for seed in range(first, first + count):
        say(f"{name}: {seed - first + 1} of {count}")
        alerts += len(watch(seed, HEALTHY_D, drift))
    months = count * HEALTHY_D / MONTH_D
    most = (alerts + 1) * (1 - 1 / (9 * (alerts + 1)) + 1.96 / (3 * (alerts + 1) ** 0.5)) ** 3
    return {"alerts": alerts, "months": round(months, 1), "a_month": alerts / months, "a_month_high": most / months}


def share(found: int, count: int) -> dict[str, float]:
    """A share with its 95 % interval (Wilson)."""
    z, p = 1.96, found / max(1, count)
    centre, half = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count**2)) ** 0.5
    whole = 1 + z * z / count
    return {"share": round(p, 3), "low": round((centre - half) / whole, 3), "high": round((centre + half) / whole, 3)}


def say(text: str) -> None:
    print(f"assets: {text}", file=sys.stderr, flush=True)
