"""The window of a waste bin: how full it is, when it will overflow, whether it burns or lies.

The bin teaches its own scale: as far as its sensor ever sees is the bottom, a tenth of that below the lid is full. How
quickly it fills is learnt by the hour, apart for working days and week-ends, over five weeks; how much one day differs from
another gives the interval of the forecast: the bin is full between `early` and `late` in eight cases of ten.

Roles: distance (mm) is needed; temperature (Cel) tells fire, tilt (a flag, or deg) a bin that was knocked over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from gateway.alert import Reason, iso
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs

STEP_S = 900.0
KEPT_S = 35 * 86_400.0
DAYS_NEEDED = 5
HORIZON_H = 30 * 24
FULL_SHARE = 0.1
"""Of the way from sensor to bottom, what is left when the bin is full."""
FULL = 0.9
SOON_H = 24.0
EMPTIED = 0.25
"""Such a fall of the fill within an hour is a collection."""
Z80 = 1.2816
"""Eight cases of ten lie within so many deviations (normal law)."""
HOT_C, RISE_C, WARM_C = 60.0, 15.0, 35.0
TILTED_DEG = 45.0
FIRE, TILT = 3.0, 2.0
CHANNELS = ("fill", "soon", "fire", "tilt")
ROLES = {"distance": "mm", "temperature": "Cel", "tilt": ""}


@dataclass(frozen=True, slots=True)
class Forecast:
    """fill: 0 to 1 and above. Times in UTC seconds, None beyond a month: when it will be full, and the span in which it is
    in eight cases of ten. emptied_s: the last collection seen."""

    fill: float
    full_s: float | None
    early_s: float | None
    late_s: float | None
    emptied_s: float | None

    def as_json(self) -> dict[str, Any]:
        """For the status record, from which the platform makes its collection plan."""

        def text(time_s: float | None) -> str | None:
            return None if time_s is None else iso(time_s)

        return {
            "fill": round(self.fill, 3),
            "full": text(self.full_s),
            "early": text(self.early_s),
            "late": text(self.late_s),
            "emptied": text(self.emptied_s),
        }


class BinWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = STEP_S
    steps = 1
    channels: Sequence[str] = CHANNELS

    def __init__(self, inputs: Inputs, zone: tzinfo) -> None:
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        for role in ROLES:
            count = len(inputs.get(role, ()))
            if count > 1 or (role == "distance" and count != 1):
                raise ValueError(f"role {role!r}: expected one point, got {count}")
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._inputs, self._zone = inputs, zone
        self._distance: dict[float, float] = {}  # by the start of a summary, mm
        self._temperature: dict[float, float] = {}
        self._tilt: tuple[float, float] = (-math.inf, 0.0)
        self._learnt: tuple[float, _Habits | None] = (-math.inf, None)

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        value = aggregate.max if role == "tilt" else aggregate.mean
        if role != "tilt":
            converted = convert(0.0 if value is None else value, unit, ROLES[role])
            value = None if value is None else converted
        elif unit not in ("1", "deg"):
            raise ValueError(f"unit {unit!r}: expected a flag (1) or deg")
        elif value is not None:
            value = value / TILTED_DEG if unit == "deg" else value
        if value is None:
            return
        match role:
            case "distance":
                self._distance[start_s] = value
                while len(self._distance) > 4000 or next(iter(self._distance)) < start_s - KEPT_S:
                    del self._distance[next(iter(self._distance))]
            case "temperature":
                self._temperature[start_s] = value
                while len(self._temperature) > 200:
                    del self._temperature[next(iter(self._temperature))]
            case _:
                self._tilt = start_s, value

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        if not self._distance or now_s - max(self._distance) > 4 * 3600:
            return "aucune distance depuis quatre heures"
        if self._usual(now_s) is None:
            days = (now_s - min(self._distance)) / 86_400
            return f"{days:.0f} jours sur {DAYS_NEEDED}, ou jamais vidé depuis"
        return ""

    def forecast(self, now_s: float) -> Forecast | None:
        """How full, and when full; None while the bin is not known well enough."""
        habits = self._usual(now_s)
        if habits is None or self.missing(now_s):
            return None
        fill = habits.fill(self._latest_mm(now_s))
        gained, hour, times = 0.0, 0, dict[str, float]()
        at = datetime.fromtimestamp(now_s, self._zone)
        while hour < HORIZON_H and len(times) < 3:
            gained += habits.rate[at.weekday() >= 5][at.hour]
            hour += 1
            at = datetime.fromtimestamp(now_s + hour * 3600.0, self._zone)
            spread = habits.daily_spread * math.sqrt(hour / 24) + 0.02
            for name, most in (("early", gained + Z80 * spread), ("full", gained), ("late", gained - Z80 * spread)):
                if name not in times and fill + most >= 1.0:
                    times[name] = now_s + hour * 3600.0
        return Forecast(fill, times.get("full"), times.get("early"), times.get("late"), habits.emptied_s)

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (1, 4): the parts of the score, as CHANNELS."""
        forecast = self.forecast(now_s)
        fire, tilt = self._fire(now_s), self._tilted(now_s)
        if forecast is None and not self._feels(now_s):
            return None
        parts = {"fill": 0.0, "soon": 0.0, "fire": FIRE if fire else 0.0, "tilt": TILT if tilt else 0.0}
        texts = {"fire": fire, "tilt": tilt}
        if forecast is not None:
            parts["fill"] = forecast.fill / FULL
            texts["fill"] = f"rempli à {100 * min(forecast.fill, 1.5):.0f} %"
            if forecast.full_s is not None and forecast.fill > 0.5:
                hours = max(1.0, (forecast.full_s - now_s) / 3600)
                parts["soon"] = min(1.4, SOON_H / hours)
                texts["soon"] = _soon(forecast, now_s)
        points = {"fire": "temperature", "tilt": "tilt"}
        evidence = sorted(
            (
                Reason(self._inputs[points.get(name, "distance")][0], name, part, texts[name])
                for name, part in parts.items()
                if part > 0.5 and name in texts
            ),
            key=lambda reason: -reason.weight,
        )
        x = np.array([list(parts.values())], np.float32)
        return Features(now_s, x, evidence, max(parts.values()), partial(_eased, now_s, x, evidence))

    def _feels(self, now_s: float) -> bool:
        """Whether fire or tilt can be told now, however little is known of the fill."""
        return any(now_s - at_s <= 3 * STEP_S for at_s in (self._tilt[0], max(self._temperature, default=-math.inf)))

    def _usual(self, now_s: float) -> _Habits | None:
        """What is known of the bin, learnt anew every six hours."""
        if not 0 <= now_s - self._learnt[0] < 6 * 3600 or self._learnt[1] is None:
            self._learnt = now_s, _learn(self._distance, now_s, self._zone)
        return self._learnt[1]

    def _latest_mm(self, now_s: float) -> float:
        """Of the last hour, so that one echo off a bag in the air does not count."""
        recent = [mm for at_s, mm in self._distance.items() if now_s - 4500 < at_s <= now_s]
        return median(recent) if recent else self._distance[max(self._distance)]

    def _fire(self, now_s: float) -> str:
        recent = [(at_s, c) for at_s, c in self._temperature.items() if now_s - 3 * STEP_S <= at_s <= now_s]
        if not recent:
            return ""
        hot = max(recent)[1]
        rise = hot - min(c for _, c in recent)
        if hot >= HOT_C:
            return f"{hot:.0f} °C dans le bac : feu probable"
        return f"{rise:.0f} °C de plus en une demi-heure : feu probable" if rise >= RISE_C and hot >= WARM_C else ""

    def _tilted(self, now_s: float) -> str:
        at_s, value = self._tilt
        return "bac renversé" if value >= 1 and now_s - at_s <= 2 * STEP_S else ""


@dataclass(frozen=True, slots=True)
class _Habits:
    """What a bin's past says. rate: of fill, by hour, on working days and at week-ends; daily_spread: deviation of a day."""

    empty_mm: float
    rate: tuple[tuple[float, ...], tuple[float, ...]]
    daily_spread: float
    emptied_s: float | None

    def fill(self, mm: float) -> float:
        return max(0.0, (self.empty_mm - mm) / (self.empty_mm * (1 - FULL_SHARE)))


def _learn(distance: Mapping[float, float], now_s: float, zone: tzinfo) -> _Habits | None:
    """From the distances of five weeks; None while they are too few, or the bin was never emptied in them."""
    hourly: dict[int, list[float]] = {}
    for at_s, mm in distance.items():
        hourly.setdefault(int(at_s // 3600), []).append(mm)
    hours = sorted(hourly)
    if not hours or hours[-1] - hours[0] < DAYS_NEEDED * 24:
        return None
    levels = {hour: median(values) for hour, values in hourly.items()}
    ordered = sorted(levels.values())
    empty_mm = ordered[int(0.98 * (len(ordered) - 1))]
    scale = empty_mm * (1 - FULL_SHARE)
    if scale <= 0:
        return None
    emptied = [h for h, before in zip(hours[1:], hours, strict=False) if levels[h] - levels[before] > EMPTIED * scale]
    if not emptied:
        return None
    spans: list[list[list[float]]] = [[[] for _ in range(24)] for _ in range(2)]
    days: dict[object, float] = {}
    broken = set()
    for hour, before in zip(hours[1:], hours, strict=False):
        local = datetime.fromtimestamp(before * 3600.0, zone)
        if hour - before != 1 or hour in emptied:
            broken.add(local.date())
            continue
        gain = (levels[before] - levels[hour]) / scale
        spans[local.weekday() >= 5][local.hour].append(gain)
        days[local.date()] = days.get(local.date(), 0.0) + gain
    rate = tuple(tuple(max(0.0, sum(gains) / len(gains)) if gains else 0.0 for gains in of_day) for of_day in spans)
    expected = [sum(of_day) for of_day in rate]
    off = [gain - expected[day.weekday() >= 5] for day, gain in days.items() if day not in broken]  # type: ignore[attr-defined]
    spread = math.sqrt(sum(one * one for one in off) / len(off)) if len(off) >= 3 else max(expected) * 0.3
    return _Habits(empty_mm, (rate[0], rate[1]), spread, emptied[-1] * 3600.0)


def _soon(forecast: Forecast, now_s: float) -> str:
    def days(time_s: float | None) -> str:
        return "?" if time_s is None else f"{(time_s - now_s) / 86_400:.1f}"

    return (
        f"plein dans {days(forecast.full_s)} jour(s), entre {days(forecast.early_s)} et {days(forecast.late_s)} "
        "(8 cas sur 10)"
    )


def _eased(now_s: float, x: np.ndarray[Any, Any], evidence: list[Reason], share: Mapping[str, float]) -> Features:
    """The same, had points departed by only a share of what they did."""
    parts = [replace(reason, weight=reason.weight * share.get(reason.point, 1.0)) for reason in evidence]
    return Features(now_s, x, parts, max((reason.weight for reason in parts), default=0.0))


__all__ = ["BinWindow", "Forecast"]
