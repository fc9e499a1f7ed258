"""A case lived through by a gateway: the product's own site, judge and watch, hour by hour, and what they said of it. Beside
it stands what could have been seen (`edge_models.leak.visibility`).
"""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_models.leak.cases import EPOCH_H, Case, Event, draw, subset
from edge_models.leak.visibility import SeenLeak, seen_leaks
from gateway.alert import Alert, AlertKind
from gateway.app import read_site
from gateway.judge import Judge
from gateway.reading import Flaw, Quality, Snapshot
from gateway.site import Site
from gateway.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPLIT = "bench"
MISSING = Flaw(Quality.BAD, "absent")
SITE = """
[gateway]
id = "bench"
commune = "Simulation"
timezone = "UTC"
latitude = 47.0
longitude = 2.0

[[device]]
name = "secteur"
profile = "recorded"

[[watch]]
name = "secteur"
model = "leak"
[watch.inputs]
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """In hours of the case: raised at the end of an hour; cleared: the end of the case while it lasts. pressure: the first
    that its reasons name, empty where they name none. hidden_named, hidden_random: whether the score is below the threshold
    with the two points named first, or two others, as usual; None where there are not four points."""

    raised: float
    cleared: float
    pressure: str = ""
    hidden_named: bool | None = None
    hidden_random: bool | None = None


@dataclass(frozen=True, slots=True)
class Accusation:
    """A sensor fault that was alerted, in hours of the case. column: of the sensor."""

    raised: float
    column: int


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of one gateway. judged (hours,): whether the watch had a score. rule (hours,): the score of its rule.
    values (hours, points): flows first. accusations, events: what was said of sensors, and what happened that is no leak."""

    name: str
    flows: int
    points: tuple[str, ...]
    values: Floats
    judged: NDArray[np.bool_]
    leaks: tuple[SeenLeak, ...]
    alarms: tuple[Alarm, ...]
    rule: Floats
    accusations: tuple[Accusation, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def kind(self) -> str:
        """ "flow", "pressure" or "both": what it measures."""
        return "pressure" if not self.flows else "flow" if self.flows == len(self.points) else "both"


def watch_case(number: int) -> Watched:
    """Simulates the case of that number and lives through it. Raises ArithmeticError when EPANET finds no solution."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wntr warns of every default it takes
        case = draw(SPLIT, number, twins=True)
    return watch(case, *subset(case, np.random.default_rng([number, 77])))


def watch(case: Case, flows: Sequence[int], pressures: Sequence[int]) -> Watched:
    """Lives through a case with the sensors in these columns."""
    columns = [*flows, *pressures]
    points = tuple(f"secteur/p{column}" for column in columns)
    site, watches = _site(points, len(flows))
    life = _Life(site, watches[0], points, len(flows))
    life.go_through(case, columns)
    leaks = seen_leaks(case, columns, len(flows), points, in_residuals=True)
    events = tuple(event for event in case.events if event.column < 0 or event.column in columns)
    values = case.values[:, columns]
    said = tuple(sorted(life.alarms.values(), key=lambda alarm: alarm.raised)), life.rule, tuple(life.accusations)
    return Watched(case.name, len(flows), points, values, life.judged, leaks, *said, events)


def _hour(time_s: float) -> float:
    return time_s / 3600 - EPOCH_H


def _site(points: Sequence[str], flows: int) -> tuple[Site, list[Watch]]:
    roles = {"flow": points[:flows], "pressure": points[flows:]}
    inputs = "".join(f"{role} = {json.dumps(list(names))}\n" for role, names in roles.items() if names)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "site.toml"
        file.write_text(SITE + inputs, encoding="utf-8")
        return read_site(file)


class _Life:
    """The hours of a case, and what was said in them."""

    def __init__(self, site: Site, watch: Watch, points: Sequence[str], flows: int) -> None:
        self._judge, self._watch, self._points, self._flows = Judge(site, [watch]), watch, points, flows
        self.judged, self.rule = np.zeros(0, bool), np.zeros(0)
        self.alarms: dict[str, Alarm] = {}
        self.accusations: list[Accusation] = []

    def go_through(self, case: Case, columns: Sequence[int]) -> None:
        """Two readings an hour, that differ by a hair unless the sensor is stuck."""
        hours = len(case.values)
        self.judged, self.rule = np.zeros(hours, bool), np.zeros(hours)
        hair = np.where(case.stuck, 0.0, 1e-6)
        for hour in range(hours):
            for part in (0, 1):
                row = (case.values[hour] + (hair[hour] if part else -hair[hour]))[columns].tolist()
                values = {f"p{c}": v if math.isfinite(v) else None for c, v in zip(columns, row, strict=True)}
                flaws = {name: MISSING for name, value in values.items() if value is None}
                self._judge.take(Snapshot("secteur", (EPOCH_H + hour + part / 2) * 3600.0, values, flaws))
            for alert in self._judge.tick((EPOCH_H + hour + 1) * 3600.0).alerts:
                self._note(alert, hours)
            features = self._watch.latest
            self.judged[hour] = self._watch.score is not None
            self.rule[hour] = features.rule_score if features is not None else 0.0

    def _note(self, alert: Alert, hours: int) -> None:
        raised, over = _hour(alert.raised_s), hours if alert.cleared_s is None else _hour(alert.cleared_s)
        if alert.kind is AlertKind.SENSOR_FAULT and alert.cleared_s is None:
            self.accusations.append(Accusation(raised, int(alert.reasons[0].point.removeprefix("secteur/p"))))
        if alert.kind is not AlertKind.LEAK:
            return
        if (known := self.alarms.get(alert.id)) is not None:
            self.alarms[alert.id] = replace(known, cleared=over)
            return
        named = list(dict.fromkeys(reason.point for reason in alert.reasons))
        pressure = next((point for point in named if point in self._points[self._flows :]), "")
        others = [point for point in self._points if point not in named[:2]]
        hidden: list[bool | None] = [None, None]
        if named and len(others) >= 2:
            picked = np.random.default_rng(int(raised)).choice(others, min(2, len(named)), replace=False).tolist()
            hidden = [self._quiet_without(points, alert.threshold) for points in (named[:2], picked)]
        self.alarms[alert.id] = Alarm(raised, over, pressure, *hidden)

    def _quiet_without(self, points: Sequence[str], threshold: float) -> bool:
        features = self._watch.latest
        assert features is not None
        assert features.ease is not None
        return self._watch.model.judge(features.ease(dict.fromkeys(points, 0.0))) < threshold
