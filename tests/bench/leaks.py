"""How well leaks are found on networks that no model has learnt from: `guet bench leaks --json FILE [--networks N]
[--seed S] [--plots FOLDER]`; with `--ltown L-TOWN.inp` a year on that network instead.

Each simulated sector is lived through by the product's own site, judge and watch, with the shipped model
(`edge_models.leak.watched`). An alert finds one leak at most; all others are false. Rivals see the same values; those
that have a threshold get the one that finds most on these very data with no more false alarms than the model, or 0.1 a
month if that is more: they are flattered. All simulated.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # edge_models is not installed

from edge_models.leak.cases import EPOCH_H  # noqa: E402
from edge_models.leak.ltown import year  # noqa: E402
from edge_models.leak.matching import MONTH_H, paired, wilson  # noqa: E402
from edge_models.leak.rivals import crossings, cusum, ewma, metronome, night_flow  # noqa: E402
from edge_models.leak.visibility import FAINT, VISIBLE, SeenLeak  # noqa: E402
from edge_models.leak.watched import Alarm, Watched, watch_case  # noqa: E402
from gateway.web.curve import Curve, Mark, seen, svg  # noqa: E402
from gateway.web.words import Speech  # noqa: E402
from simulator.hydraulics import require_wntr  # noqa: E402

Floats = np.ndarray[Any, np.dtype[np.float64]]

SIZES_M3_H = ((0.0, 2.5), (2.5, 5.0), (5.0, float("inf")))
SHARES = ((0.0, 0.03), (0.03, 0.06), (0.06, 0.15), (0.15, float("inf")))
FALSE_A_MONTH = 0.1
NETWORKS_A_SEED = 100_000
DAY_H = 24


@dataclass(frozen=True, slots=True)
class Count:
    """What a detector did at one gateway. leaks: those it watched; delays_h: of each, None where it was not found."""

    kind: str
    sensors: int
    months: float
    leaks: tuple[SeenLeak, ...]
    delays_h: tuple[float | None, ...]
    false: int
    calm_h: int
    alarm_h: int

    @property
    def found(self) -> int:
        return sum(delay is not None for delay in self.delays_h)


def run(networks: int = 24, seed: int = 1, plots: str = "", ltown: str = "") -> dict[str, Any]:
    """The report."""
    try:
        require_wntr()
    except ImportError as error:
        raise SystemExit(f"guet bench leaks: {error}") from None
    if ltown:
        if not Path(ltown).exists():
            raise SystemExit(f"guet bench leaks: --ltown {ltown}: no such file; expected L-TOWN.inp of BattLeDIM")
        sys.stderr.write("L-Town, une année : quelques minutes\n")
        lives = [year(ltown, seed)]
        networks = 1
    else:
        lives = list(_lived(range(seed * NETWORKS_A_SEED, seed * NETWORKS_A_SEED + networks)))
    if plots:
        folder = Path(plots)
        folder.mkdir(parents=True, exist_ok=True)
        for life in lives:
            (folder / f"{life.name}.svg").write_text(picture(life), encoding="utf-8")
    return {"networks": networks, "seed": seed, **report(lives)}


def _lived(numbers: Sequence[int]) -> Iterator[Watched]:
    """In order of number, whatever is ready first."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads only wait for each other
    started, done = time.monotonic(), {}
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(numbers)), get_context("spawn")) as pool:
        jobs = {pool.submit(watch_case, number): number for number in numbers}
        for job in as_completed(jobs):
            done[jobs[job]] = job.result()
            sys.stderr.write(f"\r{len(done)} / {len(numbers)} réseaux, {time.monotonic() - started:.0f} s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return (done[number] for number in numbers)


def count(life: Watched, alarms: Sequence[Alarm]) -> Count:
    """Alarms of one gateway against its leaks. Leaks that ran before anything was judged do not count."""
    hours = len(life.judged)
    spans = [(leak.start, leak.end) for leak in life.leaks]
    found_by = paired(spans, [alarm.raised for alarm in alarms])
    watched = [i for i, (start, end) in enumerate(spans) if life.judged[start:end].any()]
    calm, alarmed = life.judged.copy(), np.zeros(hours, bool)
    for start, end in spans:
        calm[start:end] = False
    for alarm in alarms:
        alarmed[int(alarm.raised) : int(alarm.cleared)] = True
    return Count(
        life.kind,
        len(life.points),
        float(life.judged.sum()) / MONTH_H,
        tuple(life.leaks[i] for i in watched),
        tuple(alarms[found_by[i]].raised - spans[i][0] if i in found_by else None for i in watched),
        len(alarms) - len(found_by),
        int(calm.sum()),
        int((calm & alarmed).sum()),
    )


def report(lives: Sequence[Watched]) -> dict[str, Any]:
    """The model's figures, all and apart, and its rivals'."""
    ours = [count(life, life.alarms) for life in lives]
    budget = max(FALSE_A_MONTH, sum(c.false for c in ours) / max(sum(c.months for c in ours), 1e-9))
    scores = {
        "rule": [life.rule for life in lives],
        "minimum_night_flow": [night_flow(life) for life in lives],
        "ewma": [ewma(life) for life in lives],
        "residual_cusum": [cusum(life) for life in lives],
    }
    rivals: dict[str, Any] = {name: flattered(lives, of, budget) for name, of in scores.items()}
    alerts = sum(len(life.alarms) for life in lives)
    period_h = sum(life.judged.sum() for life in lives) / max(alerts, 1)
    rivals["rule_at_1"] = _figures([count(life, crossings(life, life.rule, 1.0)) for life in lives])
    rivals["always_on"] = _figures([count(life, metronome(life, DAY_H)) for life in lives])
    rivals["metronome"] = {
        "period_h": round(period_h),
        **_figures([count(life, metronome(life, period_h)) for life in lives]),
    }
    return {
        "data": "simulated; generated networks of a split that is only measured on",
        "gateways": len(lives),
        "rivals_may_have_false_a_month": round(budget, 3),
        "model": {
            **_figures(ours),
            **_by_leak(ours),
            "first_named_pressure": first_named(lives),
            "hidden_inputs": hidden(lives),
            "not_leaks": not_leaks(lives),
            "by_sensors": {
                kind: _figures(some)
                for kind in ("both", "flow", "pressure")
                if (some := [c for c in ours if c.kind == kind])
            },
        },
        "rivals": rivals,
    }


def _figures(counts: Sequence[Count]) -> dict[str, Any]:
    """What is asked of any detector; intervals of 95 % by bootstrap over gateways."""

    def ratio(above: Floats, below: Floats) -> dict[str, Any]:
        if not below.any():
            return {"value": None, "low": None, "high": None}
        picks = np.random.default_rng(0).integers(0, len(counts), (2000, len(counts)))
        drawn = above[picks].sum(1) / np.maximum(below[picks].sum(1), 1e-9)
        low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
        value = float(above.sum() / below.sum())
        return {"value": round(value, 3), "low": round(low, 3), "high": round(high, 3)}

    columns = [(c.found, len(c.leaks), c.false, c.months, c.months * c.sensors, c.alarm_h, c.calm_h) for c in counts]
    found, leaks, false, months, sensor_months, alarm_h, calm_h = np.array(columns, np.float64).T
    return {
        "gateways": len(counts),
        "gateway_months": round(float(months.sum()), 1),
        "leaks": int(leaks.sum()),
        "found": int(found.sum()),
        "found_share": ratio(found, leaks),
        "false": int(false.sum()),
        "false_a_gateway_month": ratio(false, months),
        "false_a_sensor_month": ratio(false, sensor_months),
        "alarm_share_of_leak_free_time": ratio(alarm_h, calm_h),
    }


def _by_leak(counts: Sequence[Count]) -> dict[str, Any]:
    every = [pair for c in counts for pair in zip(c.leaks, c.delays_h, strict=True)]
    seen_as, shown_as = (
        {name: [(k, d) for k, d in every if visibility(of(k)) == name] for name in ("visible", "faint", "invisible")}
        for of in (lambda leak: leak.sigmas, lambda leak: leak.shown)
    )
    large = [(leak, d) for leak, d in seen_as["visible"] if leak.share >= SHARES[-1][0]]
    return {
        "by_m3_h": {_range(a, b): _share([p for p in every if a <= p[0].m3_h < b]) for a, b in SIZES_M3_H},
        "by_share_of_inflow": {_range(a, b): _share([p for p in every if a <= p[0].share < b]) for a, b in SHARES},
        "by_visibility": {name: _share(some) for name, some in seen_as.items()},
        "by_visibility_in_a_residual": {name: _share(some) for name, some in shown_as.items()},
        "delay_h": {
            "abrupt": _delays([d for leak, d in every if leak.growth_h == 0]),
            "incipient": _delays([d for leak, d in every if leak.growth_h > 0]),
            "abrupt_visible_from_15_percent": _delays([d for leak, d in large if leak.growth_h == 0]),
        },
    }


def visibility(sigmas: float) -> str:
    """ "visible" above 5 sigmas, "faint" from 3 on, "invisible" below or where that was not simulated."""
    return "visible" if sigmas > VISIBLE else "faint" if sigmas >= FAINT else "invisible"


def _range(low: float, high: float) -> str:
    return f">= {low:g}" if high == float("inf") else f"{low:g} - {high:g}"


def _share(pairs: Sequence[tuple[SeenLeak, float | None]]) -> dict[str, Any]:
    """Found of some leaks, with Wilson's interval."""
    found = sum(delay is not None for _, delay in pairs)
    low, high = wilson(found, len(pairs))
    value = round(found / len(pairs), 3) if pairs else None
    return {"leaks": len(pairs), "found": found, "value": value, "low": round(low, 3), "high": round(high, 3)}


def _delays(delays: Sequence[float | None]) -> dict[str, Any]:
    known = [delay for delay in delays if delay is not None]
    if not known:
        return {"n": 0, "median": None, "p90": None}
    return {"n": len(known), "median": float(np.median(known)), "p90": round(float(np.percentile(known, 90)), 1)}


def first_named(lives: Sequence[Watched]) -> dict[str, Any]:
    """Of true alerts at gateways with three pressures or more, how many name first one of the two that the leak moves
    most, how many one that it moves as far as the second of them (counted as wrong), and how many no pressure at all (the
    same)."""
    right = as_far = unnamed = n = 0
    for life in lives:
        if len(life.points) - life.flows < 3:
            continue
        found_by = paired([(leak.start, leak.end) for leak in life.leaks], [alarm.raised for alarm in life.alarms])
        for i, alert in found_by.items():
            if not life.leaks[i].moved:  # which sensors it moves was not simulated
                continue
            named = life.alarms[alert].pressure
            n += 1
            unnamed += not named
            right += named in life.leaks[i].moved
            as_far += named in life.leaks[i].as_far
    low, high = wilson(right, n)
    value = round(right / n, 3) if n else None
    return {
        "alerts": n,
        "right": right,
        "as_far": as_far,
        "unnamed": unnamed,
        "value": value,
        "low": round(low, 3),
        "high": round(high, 3),
    }


def hidden(lives: Sequence[Watched]) -> dict[str, Any]:
    """Of alerts at gateways with four points or more, how many would not have been with the two points named first as usual,
    and how many with two others so."""
    asked = [alarm for life in lives for alarm in life.alarms if alarm.hidden_named is not None]
    named, others = sum(bool(a.hidden_named) for a in asked), sum(bool(a.hidden_random) for a in asked)
    return {"alerts": len(asked), "silent_without_named": named, "silent_without_others": others}


SOON_H, LONG_H = 5 * DAY_H, 30 * DAY_H


def not_leaks(lives: Sequence[Watched]) -> dict[str, Any]:
    """By kind of what is no leak: how often it happened while somebody watched, how often a false alert came within five
    days (thirty for a drift), and of sensors' faults how often that one was accused. Accusations of good sensors apart."""
    kinds: dict[str, dict[str, int]] = {}
    blamed = 0
    for life in lives:
        found_by = paired([(leak.start, leak.end) for leak in life.leaks], [alarm.raised for alarm in life.alarms])
        false = [alarm.raised for i, alarm in enumerate(life.alarms) if i not in found_by.values()]
        just = set()
        for event in life.events:
            if not life.judged[event.start :].any() or not life.judged[: event.start].any():
                continue
            row = kinds.setdefault(event.kind, {"happened": 0, "false_alert": 0, "accused": 0})
            row["happened"] += 1
            within_h = LONG_H if event.kind == "drift" else SOON_H
            row["false_alert"] += any(event.start < hour <= event.start + within_h for hour in false)
            if event.column >= 0:
                rightly = [a for a in life.accusations if a.column == event.column and a.raised > event.start]
                just.update(rightly)
                row["accused"] += bool(rightly)
        blamed += sum(accusation not in just for accusation in life.accusations)
    return {**dict(sorted(kinds.items())), "good_sensors_accused": blamed}


def flattered(lives: Sequence[Watched], scores: Sequence[Floats], budget: float) -> dict[str, Any]:
    """A rival with the threshold that finds most within so many false alarms a gateway-month."""
    pooled = np.concatenate([s[life.judged] for s, life in zip(scores, lives, strict=True)])
    best: tuple[int, float, list[Count]] | None = None
    for threshold in np.unique(np.quantile(pooled, 1 - np.geomspace(0.0001, 0.3, 40))).tolist():
        counts = [count(life, crossings(life, s, threshold)) for life, s in zip(lives, scores, strict=True)]
        found, false = sum(c.found for c in counts), sum(c.false for c in counts)
        if false <= budget * sum(c.months for c in counts) and (best is None or found > best[0]):
            best = found, threshold, counts
    if best is None:
        return {"threshold": None}
    return {"threshold": round(best[1], 3), **_figures(best[2])}


# To look at

STYLE = (
    "svg{overflow:visible}text{font:13px sans-serif;fill:#444}.curve-grid{stroke:#ddd}.curve-band{fill:#cfe0f5}"
    ".curve-line{fill:none;stroke:#1f5fa8;stroke-width:1}.curve-dot{stroke:#1f5fa8;stroke-width:3}"
    ".curve-mark line{stroke:#222}.onset line{stroke-dasharray:3 5}.raised line{stroke:#b00020}.raised text{fill:#b00020}"
    ".cleared line{stroke:#2a7a2a;stroke-dasharray:9 4}"
)


def picture(life: Watched) -> str:
    """SVG: each sensor over the whole case, leaks and alerts marked on the first."""
    speech = Speech("fr", ZoneInfo("UTC"), (EPOCH_H + len(life.values)) * 3600.0)
    marks = [
        mark
        for number, leak in enumerate(life.leaks, 1)
        for mark in (
            Mark(_s(leak.start), f"fuite {number} : {leak.m3_h:.1f} m³/h, {leak.sigmas:.1f} σ", "onset"),
            Mark(_s(leak.end), f"réparation {number}", "cleared"),
        )
    ] + [Mark(_s(alarm.raised), "alerte", "raised") for alarm in life.alarms]
    out, y = [], 30
    for column, point in enumerate(life.points):
        samples = [(_s(hour + 0.5), seen(value)) for hour, value in enumerate(life.values[:, column].tolist())]
        unit = "m3/h" if column < life.flows else "bar"
        here = marks if column == 0 else ()
        title, end_s = f"{life.name}, {point}", _s(len(life.values))
        drawn = svg(Curve(f"c{column}", title, unit, samples, _s(0), end_s, 7200.0, here, 110), speech)
        height = 110 + 62 + 24 * len(here)
        out.append(
            f'<text x="80" y="{y}">{title}</text><svg x="80" y="{y}" width="1100" height="{height}">{drawn}</svg>'
        )
        y += height + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="{y}" viewBox="0 0 1200 {y}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>\n'
    )


def _s(hour: float) -> float:
    return (EPOCH_H + hour) * 3600.0
