"""A case lived through by a gateway: the product's own site, judge and watch, hour by hour, and what they said of it.

Beside what was said stands what could have been seen: how far each leak moves the gateway's sensors, from the same life
without it, against what they wander by anyway.
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

from edge_models.leak.cases import DAY_H, EPOCH_H, Case, Event, draw, subset
from gateway.alert import Alert, AlertKind
from gateway.app import read_site
from gateway.judge import Judge
from gateway.reading import Flaw, Quality, Snapshot
from gateway.site import Site
from gateway.watch import Watch
from gateway.window.baseline import LOOKBACK_H, OFFSET, PRESSURES, USUAL_FLOW, Baseline, Stretch
from gateway.window.sector import LEARNT_H, RENEWED_H

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPLIT = "bench"
SEEN_WITHIN_H = 30 * DAY_H
AS_FAR = 0.05
"""Two pressures that a leak moves alike but for so much are one to whoever measures them."""
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
class SeenLeak:
    """start, end, growth_h in hours; share: of the mean inflow. sigmas: its largest 24-hour mean effect on a sensor of the
    gateway (net inflow, a pressure) within 30 days and before repair, over the `spreads` of that sensor. moved: the two
    pressures that it moves most; as_far: others that it moves as far as the second of them, but for AS_FAR."""

    start: int
    end: int
    growth_h: int
    share: float
    m3_h: float
    sigmas: float
    moved: tuple[str, ...]
    as_far: tuple[str, ...] = ()


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
    leaks = seen_leaks(case, columns, len(flows), points)
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


def seen_leaks(case: Case, columns: Sequence[int], flows: int, points: Sequence[str]) -> tuple[SeenLeak, ...]:
    """The leaks of a case as a gateway with these columns could see them; sigmas are NaN without twins."""
    if case.effects is None:  # how they show was not simulated
        shown = [(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h) for leak in case.leaks]
        return tuple(SeenLeak(*one, math.nan, ()) for one in shown)
    effects = case.effects[:, :, columns]
    sigma = spreads(case.values[:, columns] - effects.sum(0), flows)
    out = []
    for leak, effect in zip(case.leaks, effects, strict=True):
        during = effect[leak.start : min(leak.end, leak.start + SEEN_WITHIN_H)]
        net = during[:, :flows].sum(1, keepdims=True) if flows else during[:, :0]
        most = most_sigmas(np.hstack([net, during[:, flows:]]), sigma)
        far = np.abs(during[:, flows:]).mean(0)
        order = np.argsort(-far)
        moved = tuple(points[flows + int(i)] for i in order[:2])
        as_far = tuple(points[flows + int(i)] for i in order[2:] if far[i] >= (1 - AS_FAR) * far[order[1]])
        out.append(SeenLeak(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h, most, moved, as_far))
    return tuple(out)


def most_sigmas(effect: Floats, sigma: Floats) -> float:
    """The largest 24-hour mean of an effect (hours, sensors) in sigmas (sensors,); 0 for less than a day."""
    if len(effect) < DAY_H:
        return 0.0
    added = np.cumsum(np.vstack([np.zeros(effect.shape[1]), effect]), 0)
    mean = np.abs(added[DAY_H:] - added[:-DAY_H]) / DAY_H
    return float((mean / sigma).max())


def spreads(clean: Floats, flows: int) -> Floats:
    """By how much the 24-hour means of net inflow (if there are flows) and of each pressure wander without leaks, about
    what the four weeks before lead one to expect: the smallest spread of the ways in which the window sees each, 1.4826
    times the median size; infinite where nothing is known. clean (hours, points): flows first."""
    hours = EPOCH_H + np.arange(len(clean), dtype=np.int64)
    day = hours // DAY_H
    rest = ((day + 3) % 7 >= 5).astype(np.int64)

    def stretch(begin: int, end: int) -> Stretch:
        part = slice(begin, end)
        return Stretch(clean[part], flows, day[part], hours[part] % DAY_H, rest[part])

    sizes = []
    for begin in range(LEARNT_H + RENEWED_H, len(clean), RENEWED_H):
        baseline = Baseline.learn(stretch(begin - RENEWED_H - LEARNT_H, begin - RENEWED_H))
        if baseline is not None:
            sizes.append(baseline.judge(stretch(begin - LOOKBACK_H, min(begin + RENEWED_H, len(clean)))).size[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the median of nothing is NaN, as it should be
        spread = 1.4826 * np.nanmedian(np.abs(np.concatenate(sizes)), 0)
    spread = np.maximum(np.nan_to_num(spread, nan=np.inf), 1e-6)
    by_pressure = spread[PRESSURES : len(spread) - flows].reshape(3, -1).min(0)
    return np.append(spread[[USUAL_FLOW, OFFSET]].min(), by_pressure) if flows else by_pressure
