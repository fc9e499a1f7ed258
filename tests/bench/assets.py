"""`guet bench assets [--lamp-months N] [--lift-months N] [--faults N] [--seed N]`: lamps and lifts, all *simulated*, before
they fail, on seeds that no model has learnt from or was chosen with.

Each is drawn anew (edge_models/lamp_driver/street.py, edge_models/lift_door/shaft.py) and judged every hour by the gateway's
window, shipped model and decision. Of a fault is counted whether an alert was raised after it began and at least 14
days (lamp) or 7 days (lift) before it ends the service; of what is healthy, every alert. Beside the model its rule, on the
same data. A fault grows for 30 to 150 days, in a straight line or ever faster, which nobody knows beforehand.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # edge_models is not installed

from edge_models import decay  # noqa: E402
from edge_models.batch import KINDS, live  # noqa: E402
from edge_models.benched import named  # noqa: E402
from edge_models.decay import MONTH_H, RULE_DECISION, Ask, Kind, Life, count, rate, share  # noqa: E402
from gateway.inference import Model, load_model  # noqa: E402

MINE = 10_000
"""Seeds of the bench begin here; those of the models are all below."""

GOAL_SHARE = 0.9
GOALS = {"lamp_driver": 1 / 1000, "lift_door": 1 / 20}
"""False alerts a month and thing, at the most."""


def run(
    lamp_months: int = 4000,
    lift_months: int = 400,
    faults: int = 240,
    seed: int = 0,
    jobs: int = 2,
    things: int = 48,
    days: int = 200,
) -> dict[str, Any]:
    """Faults found in time by family, and false alerts, with 95 % intervals, by model and by rule."""
    report: dict[str, Any] = {"measurements": "simulated"}
    for name, months in (("lamp_driver", lamp_months), ("lift_door", lift_months)):
        model = load_model(ROOT / "edge_models" / name)
        plan = list(
            batches(name, months, faults, MINE + seed, things if name == "lamp_driver" else max(4, things // 3), days)
        )
        lived: dict[str, list[list[Life]]] = {}
        begun = time.monotonic()
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            asks = [ask for _, ask in plan]
            for number, ((group, _), found) in enumerate(zip(plan, pool.map(live, asks), strict=True), 1):
                into = lived.setdefault(group, [[] for _ in found])
                for kept, lives in zip(into, found, strict=True):
                    kept.extend(lives)
                say(f"{name}: {number} of {len(plan)}, {time.monotonic() - begun:.0f} s")
        report[name] = {"seeds_from": MINE + seed} | told(KINDS[name], model, lived)
    return report


def batches(name: str, months: int, faults: int, first: int, things: int, days: int) -> Iterator[tuple[str, Ask]]:
    """What to live through, and what for: healthy things for so many months, faults, and those of which less is known."""
    families = KINDS[name].families
    of_one = things * max(1, days - 35) * 24 / MONTH_H
    for number in range(max(1, round(months / of_one))):
        yield "healthy", Ask(name, first + number, things, days)
    for number in range(max(1, round(faults / things))):
        yield "faults", Ask(name, first + 1000 + number, things, days, families)
    for number in range(max(1, round(faults / things / 4))):
        for less in ("alone", "partly") if name == "lamp_driver" else ("partly",):
            yield less, Ask(name, first + 2000 + number, things, days, families, less=less)
            yield less, Ask(name, first + 3000 + number, things, days, less=less)


def told(kind: Kind, model: Model, lived: dict[str, list[list[Life]]]) -> dict[str, Any]:
    """The report on a model and its rule."""
    card, rule = model.card, RULE_DECISION
    deciding = {"model": (0, model.decision), "rule": (-1, rule)} if model.sha256 else {"rule": (-1, model.decision)}
    out: dict[str, Any] = {
        "decides": card.decides,
        "sha256": model.sha256,
        "decision": named(model.decision),
        "margin_points": card.rule.margin,
    }
    for name, (at, decision) in deciding.items():
        counted = count(lived["faults"][at], decision)
        quiet = count(lived["healthy"][at], decision)
        false = rate(quiet.false, quiet.months)
        mine = share(*counted.in_time(kind.lead_d, kind.taught))
        out[name] = {
            f"found_{kind.lead_d}_days_ahead": mine,
            "goal_reached": mine["share"] >= GOAL_SHARE and false["a_month"] <= GOALS[kind.folder.name],
            "by_family": {one: family(kind, counted, one) for one in kind.families},
            "left_out_of_training": kind.left_out,
            "false_alerts": false | {"goal_a_month": GOALS[kind.folder.name]},
            "false_alerts_before_faults": rate(counted.false, counted.months),
            "less_known": {
                group: less_known(kind, lives[at], decision)
                for group, lives in lived.items()
                if group in ("alone", "partly")
            },
        }
    return out


def family(kind: Kind, counted: decay.Counted, name: str) -> dict[str, Any]:
    """One family of faults."""
    leads = sorted(counted.lead_d.get(name, []))
    median = round(leads[len(leads) // 2], 1) if leads else None
    return share(*counted.in_time(kind.lead_d, [name])) | {"found_at_all": len(leads), "median_lead_days": median}


def less_known(kind: Kind, lives: Sequence[Life], decision: decay.Decision) -> dict[str, Any]:
    """Of which less is known: lamps without neighbours ("alone") or quantities, lifts without the drive ("partly")."""
    counted = count(lives, decision)
    return {
        "in_time": share(*counted.in_time(kind.lead_d)),
        "by_family": {one: "{} of {}".format(*counted.in_time(kind.lead_d, [one])) for one in kind.families},
        "false_alerts": rate(counted.false, counted.months),
    }


def say(text: str) -> None:
    print(f"assets: {text}", file=sys.stderr, flush=True)
