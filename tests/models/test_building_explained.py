"""The hours that an alert about a building names are those that made it: with them as expected there is mostly no alert,
with as many others as expected there mostly is. All *simulated*, on a seed that the model has not learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edge_models.building.estate import FAMILIES, estate
from gateway.explanation import reasons_of
from gateway.inference import load_model
from gateway.summary import Aggregate
from gateway.window.building import BuildingWindow, _stretches
from gateway.window.habit import ENERGY, SEEN_H, Seen

MODEL = load_model(Path(__file__).parents[2] / "edge_models" / "building")
HOUR_S, DAY = 3600.0, 24
PARIS = ZoneInfo("Europe/Paris")
INPUTS = {"power": ["meter/power"], "air": ["outside/air"]}
UNITS = {"meter/power": "kW", "outside/air": "Cel"}


def windows() -> Iterator[tuple[BuildingWindow, float]]:
    """Buildings up to two days after a fault has begun, with the time."""
    one = estate(11, 24, 170, FAMILIES)
    for i in np.flatnonzero(one.onset >= 45 * DAY):
        until = int(one.onset[i]) + 2 * DAY
        window = BuildingWindow(INPUTS, PARIS, one.calendar, bool(one.school[i]))
        for number in range(until - 46 * DAY, until):
            for point, value in (("meter/power", one.kwh[i, number]), ("outside/air", one.air[i, number])):
                if np.isfinite(value):
                    seen = Aggregate(4, 0, *[float(value)] * 4)
                    window.add(point, (one.first_hour + number) * HOUR_S, HOUR_S, seen, UNITS[point])
        yield window, (one.first_hour + until) * HOUR_S


def score_with(window: BuildingWindow, now_s: float, hours: np.ndarray) -> float:
    """Had some of the hours seen (0 to SEEN_H) taken what was expected of them; the window is left as it was."""
    buildings, first = window._buildings, int(now_s // HOUR_S) - SEEN_H
    usual, was = buildings.see(now_s).usual[0], []
    for hour in hours.tolist():
        row = buildings.row(first + hour)
        was.append((row, row[0, ENERGY]))
        row[0, ENERGY] = usual[hour]
    features = window.features(now_s)
    for row, value in was:
        row[0, ENERGY] = value
    assert features is not None
    return MODEL.judge(features)


@pytest.mark.timeout(300)
def test_hours_that_are_named_make_the_alert_more_often_than_as_many_others() -> None:
    rng, threshold = np.random.default_rng(0), MODEL.decision.threshold
    ended, by_chance, lowered = list[bool](), list[bool](), list[bool]()
    for window, now_s in windows():
        features = window.features(now_s)
        if features is None or (score := MODEL.judge(features)) < threshold:
            continue
        seen = window._buildings.see(now_s)
        named = np.zeros(SEEN_H, bool)
        for reason in reasons_of(MODEL.judge, features):
            assert reason.point == "meter/power"
            for one in stretches(seen, reason.value):
                named[one] = True
        if not named.any():
            continue
        others = np.flatnonzero(~named & np.isfinite(seen.kwh[0]))
        chosen = rng.permutation(others)[: named.sum()]
        without, beside = score_with(window, now_s, np.flatnonzero(named)), score_with(window, now_s, chosen)
        ended.append(without < threshold)
        by_chance.append(beside < threshold)
        lowered.append(without < min(score, beside))
    assert len(ended) >= 6
    assert np.mean(ended) >= 0.6
    assert np.mean(ended) > np.mean(by_chance) + 0.3
    assert np.mean(lowered) >= 0.8


def stretches(seen: Seen, kwh: float | None) -> Iterator[slice]:
    """The stretch shut that took so many kWh."""
    for one in _stretches(seen, seen.usual[0]):
        if kwh is not None and round(one.kwh, 3) == kwh:
            yield slice(one.first, one.end)
