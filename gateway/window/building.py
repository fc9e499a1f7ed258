"""The window of a building: what its meter counts by the hour, held against what is usual at such an hour (`habit`).

Roles: one of energy (a counter, kWh) and power (kW) is needed; air (Cel, outside) tells heating from waste. Reasons are
stretches of hours in which the building is usually shut, each with what was metered, what was expected, and what the
difference costs. What is expected is the network's forecast where one decides, else the rule's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gateway.alert import Reason
from gateway.summary import Aggregate
from gateway.unit import convert
from gateway.window import Features, Inputs
from gateway.window.counter import Counter, Flat
from gateway.window.habit import (
    AIR,
    CHANNELS,
    CLIP,
    DAYS_NEEDED,
    ENERGY,
    HOUR_S,
    LEAST_H,
    RECENT_D,
    SEEN_H,
    SMALL,
    Buildings,
    Calendar,
    Seen,
    rule,
)

ROLES = {"energy": "kW.h", "power": "kW", "air": "Cel"}
PRICE_EUR_KWH = 0.20
"""Named in every sentence that uses it; a site's own tariff may differ."""

STUCK_STEPS, STUCK_H = 8.0, 12.0
"""A counter is stuck when it stood still for so long, and so many of its smallest steps would have been usual meanwhile."""

WEEK_SHARE = 0.05
_DAYS = ("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim.")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Hours on end in which the building is shut, as places in what is seen; sums over the hours that are known, kWh."""

    first: int
    end: int
    kwh: float
    usual: float
    spread: float


class BuildingWindow:
    """See the module. Raises ValueError for roles that it does not know or that are missing."""

    step_s = HOUR_S
    steps = SEEN_H
    channels: Sequence[str] = CHANNELS

    def __init__(self, inputs: Inputs, zone: tzinfo, calendar: Calendar, school: bool) -> None:
        """school: whether school holidays close the building."""
        if unknown := sorted(set(inputs) - set(ROLES)):
            raise ValueError(f"role {unknown[0]!r}: unknown; expected one of {', '.join(ROLES)}")
        if any(len(points) > 1 for points in inputs.values()):
            raise ValueError("expected one point for each role")
        meters = [point for role in ("energy", "power") for point in inputs.get(role, ())]
        if len(meters) != 1:
            raise ValueError(f"expected one point of energy or of power, got {len(meters)}")
        self._role = {point: role for role, points in inputs.items() for point in points}
        self._meter, self._zone = meters[0], zone
        self._counter = Counter()
        self._buildings = Buildings(1, calendar, np.array([school]))
        self._air: tuple[int, float, int] = (0, 0.0, 0)

    def add(self, point: str, start_s: float, period_s: float, aggregate: Aggregate, unit: str) -> None:
        """See `Window`."""
        role = self._role[point]
        offset = convert(0.0, unit, ROLES[role])
        scale = convert(1.0, unit, ROLES[role]) - offset
        match role:
            case "energy":
                for hour, kwh in self._counter.counted(start_s, period_s, aggregate, scale):
                    self._buildings.row(hour)[0, ENERGY] = kwh
            case "power":
                for hour, kwh in self._counter.powered(start_s, period_s, aggregate, scale):
                    self._buildings.row(hour)[0, ENERGY] = kwh
            case _ if aggregate.mean is not None:
                hour, total, n = int(start_s // HOUR_S), 0.0, 0
                if self._air[0] == hour:
                    _, total, n = self._air
                self._air = hour, total + aggregate.mean * scale + offset, n + 1
                self._buildings.row(hour)[0, AIR] = self._air[1] / self._air[2]

    def features(self, now_s: float) -> Features | None:
        """See `Window`. x: (SEEN_H, CHANNELS)."""
        self._buildings.learn(now_s)
        if self._buildings.days[0] < DAYS_NEEDED:
            return None
        seen = self._buildings.see(now_s)
        stuck = self._stuck(seen)
        if not seen.judged[0] and stuck is None:
            return None
        if stuck is not None:  # what is not counted is neither too much nor too little
            return Features(now_s, np.zeros(seen.x[0].shape, np.float32), (), 0.0, suspects=(stuck,))
        made = Features(now_s, seen.x[0], self._reasons(now_s, seen, seen.usual[0]), float(seen.rule_score[0]))
        made = replace(made, ease=partial(self._eased, made, seen))
        return replace(made, informed=partial(self._informed, made, seen))

    def missing(self, now_s: float) -> str:
        """See `Window`."""
        self._buildings.learn(now_s)
        if (days := int(self._buildings.days[0])) < DAYS_NEEDED:
            return f"{days} jours sur {DAYS_NEEDED}, sans compter les {RECENT_D} derniers"
        known = self._buildings.metered(now_s)[0]
        seen = self._buildings.see(now_s)
        if seen.judged[0] or self._stuck(seen) is not None:
            return ""
        if not known[-3:].any():
            return "rien du compteur depuis trois heures"
        if known.sum() < LEAST_H:
            return f"le compteur n'est connu que pour {int(known.sum())} des {SEEN_H} dernières heures"
        return "de tels jours (ouverture, vacances) ne sont pas encore connus"

    def _stuck(self, seen: Seen) -> Reason | None:
        """The meter as a suspect, when its counter stands still and should not."""
        flat: Flat | None = self._counter.flat
        if flat is None or flat.until_s - flat.since_s < STUCK_H * HOUR_S or not math.isfinite(flat.step_kwh):
            return None
        hours = (flat.until_s - flat.since_s) / HOUR_S
        expected = float(np.nanmean(seen.usual[0])) * hours if np.isfinite(seen.usual[0]).any() else 0.0
        sure = expected / (STUCK_STEPS * flat.step_kwh)
        if sure < 1:
            return None
        text = f"le compteur n'avance plus depuis {hours:.0f} h, où {_kwh(expected)} kWh étaient attendus"
        return Reason(self._meter, "stuck", sure, text, 0.0, round(expected, 3), "kW.h")

    def _informed(self, made: Features, seen: Seen, forecast: Floats) -> Features:
        """Told by the network's forecast: how far, in the units of CHANNELS[0], each hour was expected from the rule's."""
        level = float(seen.level[0])
        shares = np.exp(np.log(seen.usual[0] / level + SMALL) + np.clip(forecast, -CLIP, CLIP) / 2)
        return replace(made, evidence=self._reasons(made.time_s, seen, np.maximum(shares - SMALL, 0.0) * level))

    def _eased(self, made: Features, seen: Seen, shares: Mapping[str, float]) -> Features:
        """What was seen, had the meter departed from the usual by only a share."""
        share = shares.get(self._meter, 1.0)
        kwh = seen.usual + share * (seen.kwh - seen.usual)
        x, level = made.x.copy(), seen.level[:, None]
        over = np.log((kwh + SMALL * level) / (seen.usual + SMALL * level))[0]
        x[:, 0] = np.clip(np.nan_to_num(2 * over), -CLIP, CLIP)
        x[:, 1] = np.clip(np.nan_to_num((kwh - seen.usual)[0] / seen.spread[0] / 4), -CLIP, CLIP)
        x[:, -2:] *= np.float32(share)
        score = float(rule(kwh, seen.usual, seen.spread, seen.shut)[0])
        return Features(made.time_s, x, [replace(one, weight=one.weight * share) for one in made.evidence], score)

    def _reasons(self, now_s: float, seen: Seen, usual: Floats) -> list[Reason]:
        """The stretches shut that took more than expected, and a week of them, by descending weight."""
        first_s = now_s - SEEN_H * HOUR_S
        found = []
        for one in _stretches(seen, usual):
            more = one.kwh - one.usual
            if more > max(one.spread, WEEK_SHARE * one.usual):
                found.append(self._reason(one, first_s, more))
        before = float(seen.x[0, 0, -2]) / 4
        if before > math.log1p(WEEK_SHARE):
            text = f"aux heures de fermeture de la semaine d'avant, {100 * math.expm1(before):.0f} % de plus que d'ordinaire"
            found.append(Reason(self._meter, "week", 4 * before, text))
        return sorted(found, key=lambda reason: -reason.weight)

    def _reason(self, one: Stretch, first_s: float, more: float) -> Reason:
        begin, end = (datetime.fromtimestamp(first_s + at * HOUR_S, self._zone) for at in (one.first, one.end))
        hours = one.end - one.first
        feature = "weekend" if hours > 20 or begin.weekday() >= 5 else "night"
        when = f"{_DAYS[begin.weekday()]} {begin:%d/%m} {begin.hour} h à {_DAYS[end.weekday()]} {end.hour} h"
        text = (
            f"fermé, {when} : {_kwh(one.kwh)} kWh contre {_kwh(one.usual)} ± {_kwh(one.spread)} attendus, "
            f"{_kwh(more)} de trop, soit {_euro(more * PRICE_EUR_KWH)} € à {_euro(PRICE_EUR_KWH)} €/kWh"
        )
        weight = more / max(one.spread, 0.1 * one.usual, 1e-6)
        return Reason(self._meter, feature, weight, text, round(one.kwh, 3), round(one.usual, 3), "kW.h")


def _stretches(seen: Seen, usual: Floats) -> Iterator[Stretch]:
    """Of what is seen, where nothing is known of it left out."""
    shut = np.concatenate([[False], seen.shut[0], [False]])
    edges = np.flatnonzero(shut[1:] != shut[:-1])
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        known = np.isfinite(seen.kwh[0, first:end] - usual[first:end])
        if known.sum() >= 3:
            kwh, expected, spread = (float(of[first:end][known].sum()) for of in (seen.kwh[0], usual, seen.spread[0]))
            # Hours of one night depart together more than apart: between the two.
            yield Stretch(first, end, kwh, expected, spread / float(known.sum()) ** 0.25)


def _kwh(value: float) -> str:
    """As French people write it, three figures."""
    return (f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}").replace(".", ",")


def _euro(value: float) -> str:
    return f"{value:.2f}".replace(".", ",")
