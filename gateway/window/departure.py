"""How the latest hours of a water sector depart from its usual, in words, and what they would have been without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gateway.alert import Reason
from gateway.window.baseline import (
    ABSOLUTE,
    DAYS,
    FRESH,
    OFFSET,
    PRESSURES,
    SPANS_H,
    TEN_DAYS,
    USUAL_FLOW,
    WEEK,
    Baseline,
    Floats,
    Judged,
    Stretch,
    median,
)
from gateway.window.swing import swings

DAY_H = 24
DAY = SPANS_H.index(DAY_H)
LEAST_Z = 2.0
"""From there on something is a reason."""

SUSPECT_Z, ALONE = 8.0, 0.9
"""A sensor is suspect when it is so far from what the others say, and that alone explains so much of all that is seen."""

SWUNG_Z, SWUNG_SHARE = 2.0, 0.05
"""What follows the day's draw by so many z over the last day, and by such a share of its own z, is water: an error of a
sensor is the same all day, or creeps."""

DROP, OTHERS, FLOW, ADDED = "drop", "others", "flow", "offset"
"""What a reason's feature begins with: a pressure against its usual day, against the others; the inflow against its usual
day, against that day scaled."""


BEFORE = {
    WEEK: ("week", "la semaine d'avant"),
    DAYS: ("days", "la moyenne des trois jours d'avant"),
    TEN_DAYS: ("ten_days", "la moyenne des dix jours d'avant"),
    FRESH: ("fresh", "la moyenne des deux jours d'avant"),
}
"""What estimates are held against other than the four weeks: its name, and in words."""


class Departures:
    """The last judged hour."""

    def __init__(self, judged: Judged, baseline: Baseline, stretch: Stretch) -> None:
        self.judged, self.baseline, self.stretch = judged, baseline, stretch
        self.flows, self.pressures = stretch.flows, judged.pressures
        self._z, self._size = np.nan_to_num(judged.z[:, -1]), judged.size[:, -1]

    def evidence(self, points: Sequence[str]) -> Iterator[Reason]:
        """The strongest reason of each point that has one. Where the inflow alone has, the pressure that dropped most over
        the day too, however little: it is where to look first."""
        grown = False
        if self.flows:
            column, span = self._strongest((USUAL_FLOW, OFFSET))
            grown = bool(self._z[span, column] >= LEAST_Z)
            if grown:
                yield self._flow(points[self._leading_flow()], column, span)
        strongest = [self._strongest((PRESSURES + self.pressures + i, PRESSURES + i)) for i in range(self.pressures)]
        known = [i for i, (column, span) in enumerate(strongest) if self._z[span, column] >= LEAST_Z]
        if grown and not known and self.pressures:
            dropped = self._dropped()
            i = int(np.argmax(dropped))
            if dropped[i] > 0 and self._z[DAY, PRESSURES + i] > 0:
                strongest[i], known = (PRESSURES + i, DAY), [i]
        for i in known:
            yield self._pressure(i, points[self.flows + i], *strongest[i])

    def moved(self, points: Sequence[str]) -> dict[str, float]:
        """By how much each pressure has dropped against its usual day over the last 24 hours, in bar: water lost pulls the
        pressures near it down furthest, and only a whole day has all of its draw."""
        return dict(zip(points[self.flows :], self._dropped().tolist(), strict=True))

    def _dropped(self) -> Floats:
        """(pressures,): see `moved`. No hour is held at a few sigmas, as estimates do: of a large leak all that is left then
        are the sigmas of the sensors."""
        hour, drop = self.stretch.hour[-DAY_H:], slice(PRESSURES, PRESSURES + self.pressures)
        lower = self.baseline.drops(self.stretch)[-DAY_H:]
        known = np.isfinite(lower)
        weight = known / self.baseline.sigma[hour, drop] ** 2
        mean = (np.where(known, lower, 0.0) * weight).sum(0) / np.maximum(weight.sum(0), 1e-12)
        return np.asarray(np.maximum(mean, 0.0))

    def suspects(self, points: Sequence[str]) -> Iterator[Reason]:
        """Pressures whose error would explain all that is seen, where water would not: no other pressure moves with it,
        it is off by the same all day, and it rose, or the inflow is measured and has not grown."""
        z, size = (
            of[1:ABSOLUTE, -1, PRESSURES : PRESSURES + 2 * self.pressures].reshape(ABSOLUTE - 1, 2, -1)
            for of in (self.judged.z, self.judged.size)
        )
        if np.isfinite(z[0, 1]).sum() < 2 or np.nanmax(np.abs(z[:, 1])) < SUSPECT_Z:
            return
        # Estimates hold each hour at a few sigmas, lest one counts for a day; how far a sensor is off needs all of it.
        raw = self.baseline.departures(self.stretch)[:, PRESSURES : PRESSURES + 2 * self.pressures]
        hours = SPANS_H[1:ABSOLUTE]
        off = np.array([np.nan_to_num(median(raw[-span:])) for span in hours]).reshape(ABSOLUTE - 1, 2, -1)
        precision = self.baseline.relations.precision
        whole = (off[:, 0] * off[:, 1] * precision).sum(-1, keepdims=True)
        share = off[:, 1] ** 2 * precision / np.maximum(whole, 1e-12)
        sure = np.nan_to_num(off[:, 1] * np.abs(z[:, 1] / size[:, 1]))
        as_ever = self.flows > 0 and float(self._z[1 : WEEK + 1, [USUAL_FLOW, OFFSET]].max()) < LEAST_Z
        swung = self._swung(raw[:, self.pressures :])
        for i in range(self.pressures):
            if swung[i] >= max(SWUNG_Z, SWUNG_SHARE * abs(sure[0, i])):
                continue
            span = int(np.argmax(np.abs(sure[:, i])))
            by_itself, by_others = off[span, :, i].tolist()
            if abs(sure[span, i]) < SUSPECT_Z or not ALONE <= share[span, i] <= 1 / ALONE:
                continue
            if by_itself * by_others <= 0 or abs(by_itself) < 0.5 * abs(by_others):
                continue
            if by_others < 0 or as_ever:
                yield self._suspect(i, points[self.flows + i], float(sure[span, i]), by_others, hours[span])

    def _swung(self, by_others: Floats) -> Floats:
        """(pressures,): by how many z what each departs by from the others, by_others (hours, pressures), follows the day's
        draw over the last day, or runs against it; 0 where unknown. No hour is cut: what is, has the swing of the noise."""
        baseline, day = self.baseline, slice(-DAY_H, None)
        others = slice(PRESSURES + self.pressures, PRESSURES + 2 * self.pressures)
        rest, hour = self.stretch.rest[day], self.stretch.hour[day]
        swing = swings(by_others[day], baseline.sigma[hour, others], baseline.drawn[rest, hour], 1, np.inf)[0, 0]
        return np.asarray(np.abs(np.nan_to_num(swing / baseline.swing_inflation[0, others])))

    def _suspect(self, i: int, point: str, sure: float, lost: float, hours: int) -> Reason:
        moved = f"pression {_number(-lost, 3, sign=True)} bar sur {hours} h"
        text = f"{moved}, que ni les autres capteurs ni le débit n'expliquent"
        values = self.stretch.values[-hours:, self.flows + i]
        seen = float(np.nanmean(values)) if np.isfinite(values).any() else None
        usual = None if seen is None else seen + lost
        return Reason(point, f"alone_{hours}h", abs(sure) / SUSPECT_Z, text, seen, usual, "bar")

    def _strongest(self, columns: Sequence[int]) -> tuple[int, int]:
        span, which = divmod(int(np.argmax(self._z[:, columns])), len(columns))
        return columns[which], span

    def _flow(self, point: str, column: int, span: int) -> Reason:
        z, added, hours = float(self._z[span, column]), float(self._size[span, column]), SPANS_H[span]
        seen = float(np.nanmean(self.judged.net[-hours:]))
        if span == 0:
            usual = float(self.judged.expected_net[-hours:].mean())
            quiet = np.argsort(self.baseline.usual.net[0])[:6]
            when = "débit de nuit" if self.stretch.hour[-1] in quiet else "débit"
            text = f"{when} {_number(seen, 1)} m³/h contre {_number(usual, 1)} ± {_number(added / z, 1)} attendu"
        else:
            usual = seen - added
            more = f"{_number(added, 1, sign=True)} ± {_number(added / z, 1)} m³/h"
            than = BEFORE.get(span, ("", "l'habitude"))[1]
            text = f"débit {more} par rapport à {than}, sur {hours} h"
        return Reason(point, f"{FLOW if column == USUAL_FLOW else ADDED}_{_name(span)}", z, text, seen, usual, "m3/h")

    def _leading_flow(self) -> int:
        """The flow that is most above its own usual day over the last three hours."""
        expected = self.baseline.usual.points[self.stretch.rest[-3:], self.stretch.hour[-3:]]
        seen = self.stretch.values[-3:, : self.flows] - expected[:, : self.flows]
        return int(np.argmax(np.nan_to_num(seen).mean(0)))

    def _pressure(self, i: int, point: str, column: int, span: int) -> Reason:
        z, lost, hours = float(self._z[span, column]), float(self._size[span, column]), SPANS_H[span]
        usual = column < PRESSURES + self.pressures
        against = "aux mêmes heures des quatre dernières semaines" if usual else "aux autres capteurs"
        if span in BEFORE:
            against = f"à {BEFORE[span][1]}" if usual else f"aux autres capteurs et à {BEFORE[span][1]}"
        less = f"{_number(-lost, 3, sign=True)} ± {_number(lost / z, 3)} bar"
        text = f"pression {less} par rapport {against}, sur {hours} h"
        values = self.stretch.values[-hours:, self.flows + i]
        seen = float(np.nanmean(values)) if np.isfinite(values).any() else None
        before = None if seen is None else seen + lost
        return Reason(point, f"{DROP if usual else OTHERS}_{_name(span)}", z, text, seen, before, "bar")


def eased(stretch: Stretch, baseline: Baseline, parts: Mapping[int, tuple[Reason | None, float]]) -> Stretch:
    """The stretch as it would be had the points in these columns departed, as the reason says, by a share only."""
    departures = baseline.departures(stretch)
    values, pressures = stretch.values.copy(), stretch.values.shape[1] - stretch.flows
    for column, (reason, share) in parts.items():
        kind = reason.feature.split("_")[0] if reason is not None else ""
        if column < stretch.flows:
            excess = departures[:, OFFSET if kind == ADDED else USUAL_FLOW]
        else:
            block = pressures if kind == OTHERS else 0
            excess = -departures[:, PRESSURES + block + column - stretch.flows]
        values[:, column] -= (1 - share) * np.nan_to_num(excess)
    return replace(stretch, values=values)


def _name(span: int) -> str:
    return BEFORE[span][0] if span in BEFORE else f"{SPANS_H[span]}h"


def _number(value: float, digits: int, sign: bool = False) -> str:
    """As French people write it, with a true minus."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace(".", ",").replace("-", "−")
