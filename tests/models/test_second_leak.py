"""Where many pressures are read, a leak that runs does not hide the next one; and its alert ends with its repair."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gateway.alert import Alert
from gateway.inference import Model, load_model
from gateway.site import WatchEntry
from gateway.summary import Aggregate, Summary
from gateway.verdict import State
from gateway.watch import Watch
from gateway.window.level import AFTER_H, MANY

HOUR_S, DAY_H = 3600.0, 24
START_S = 20_000 * 24 * HOUR_S
DAYS = 59
FIRST_H, SECOND_H, MENDED_H = 33 * DAY_H + 2, 44 * DAY_H + 9, 55 * DAY_H
CUTS_H = (FIRST_H + 60, SECOND_H - 24, SECOND_H + 30, MENDED_H + 12)
PRESSURES = MANY + 4
POINTS = ["debit/flow", *(f"p{i}/pressure" for i in range(PRESSURES))]
UNITS = dict.fromkeys(POINTS, "bar") | {"debit/flow": "m3/h"}


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(Path(__file__).parents[2] / "edge_models" / "leak")


def sector(mended_h: int = MENDED_H, second_h: int = SECOND_H) -> np.ndarray:
    """(hours, points): a sector along one main; two leaks, far from each other, the first of which is mended."""
    rng = np.random.default_rng(3)
    hours = np.arange(DAYS * DAY_H)
    day = 0.35 + np.exp(-(((hours % 24 - 8) / 3) ** 2)) + 0.9 * np.exp(-(((hours % 24 - 19) / 3) ** 2))
    demand = 50 * day / day.mean() * np.exp(rng.normal(0, 0.02, len(hours)) + np.repeat(rng.normal(0, 0.02, DAYS), 24))
    along = np.arange(PRESSURES) / PRESSURES
    lost = [np.where((hours >= FIRST_H) & (hours < mended_h), 5.0, 0.0), np.where(hours >= second_h, 5.0, 0.0)]
    inflow = demand + lost[0] + lost[1]
    pressure = 4.5 - 0.8 * along * (inflow / 50)[:, None] ** 1.85
    for flow, place in zip(lost, (0.25, 0.8), strict=True):
        pressure -= 0.05 * flow[:, None] * np.exp(-(((along - place) / 0.08) ** 2))
    pressure += rng.normal(0, 0.004, pressure.shape)
    return np.column_stack([inflow * (1 + rng.normal(0, 0.005, len(hours))), pressure])


def summaries(values: np.ndarray) -> Iterator[list[Summary]]:
    """Those of each hour."""
    for hour, row in enumerate(values.tolist()):
        hour_s = START_S + hour * HOUR_S
        yield [
            Summary(device, hour_s, HOUR_S, {name: Aggregate(12, 0, value, value - 1e-4, value + 1e-4, value)})
            for value, (device, name) in zip(row, (point.split("/") for point in POINTS), strict=True)
        ]


def new_watch(model: Model) -> Watch:
    entry = WatchEntry(name="secteur", model="leak", inputs={"flow": POINTS[:1], "pressure": POINTS[1:]})
    return Watch(entry, model, UNITS, HOUR_S)


def told(watch: Watch, every: Sequence[list[Summary]], begin: int = 0, end: int | None = None) -> list[Alert]:
    said: list[Alert] = []
    for of_hour in every[begin:end]:
        for summary in of_hour:
            watch.add(summary)
        said += watch.judge(of_hour[0].start_s + HOUR_S)
    return said


def hour_of(time_s: float | None) -> float:
    assert time_s is not None
    return (time_s - START_S) / HOUR_S


@pytest.fixture(scope="module")
def every() -> list[list[Summary]]:
    return list(summaries(sector()))


@pytest.fixture(scope="module")
def lived(model: Model, every: list[list[Summary]]) -> tuple[list[Alert], dict[int, tuple[str, int]]]:
    """All that was told; and at each cut the watch's state and how much had been told."""
    watch, said, cuts = new_watch(model), list[Alert](), dict[int, tuple[str, int]]()
    for begin, end in pairwise((0, *CUTS_H, len(every))):
        said += told(watch, every, begin, end)
        cuts[end] = json.dumps(watch.state()), len(said)
    return said, cuts


@pytest.fixture(scope="module")
def whole(lived: tuple[list[Alert], object]) -> list[Alert]:
    return lived[0]


def test_a_second_leak_is_told_while_the_first_runs(whole: list[Alert]) -> None:
    raised = [alert for alert in whole if alert.cleared_s is None]
    hours = [hour_of(alert.raised_s) for alert in raised]
    assert len(hours) == 2
    assert FIRST_H < hours[0] < FIRST_H + 2 * DAY_H
    assert SECOND_H < hours[1] < SECOND_H + 4 * DAY_H
    assert hour_of(raised[1].onset_s) == pytest.approx(SECOND_H, abs=2 * DAY_H)
    second = {reason.point for reason in raised[1].reasons}
    assert second & {f"p{i}/pressure" for i in range(int(0.7 * PRESSURES), int(0.9 * PRESSURES))}
    assert not second & {f"p{i}/pressure" for i in range(int(0.15 * PRESSURES), int(0.35 * PRESSURES))}


def test_reasons_say_that_leaks_told_before_are_taken_off(whole: list[Alert]) -> None:
    first, second = (alert for alert in whole if alert.cleared_s is None)
    assert all("déduites" in reason.text for reason in second.reasons)
    assert not any("déduites" in reason.text for reason in first.reasons)


def test_an_alert_lasts_until_the_repair(model: Model) -> None:
    every = list(summaries(sector(second_h=10**6)))
    watch = new_watch(model)
    (alert,) = told(watch, every, 0, MENDED_H)
    assert hour_of(alert.raised_s) + AFTER_H < MENDED_H
    assert watch.open == alert
    assert watch.verdict is not None
    assert watch.verdict.state is State.ALERT
    over = told(watch, every, MENDED_H)
    assert [one.id for one in over] == [alert.id]
    assert MENDED_H < hour_of(over[0].cleared_s) <= MENDED_H + 30


@pytest.mark.parametrize("cut_h", CUTS_H)
def test_a_power_cut_changes_no_alert(
    model: Model, every: list[list[Summary]], lived: tuple[list[Alert], dict[int, tuple[str, int]]], cut_h: int
) -> None:
    whole, cuts = lived
    state, told_before = cuts[cut_h]
    watch = new_watch(model)
    watch.restore(json.loads(state))
    for of_hour in every[:cut_h]:
        for summary in of_hour:
            watch.add(summary)
    # Sums over other stretches of hours differ in their last bits, and so may the hour at which enough is gathered.
    times = [
        [(one.raised_s, one.cleared_s or 0.0) for one in said]
        for said in (told(watch, every, cut_h), whole[told_before:])
    ]
    np.testing.assert_allclose(*times, rtol=0, atol=HOUR_S)


def test_levels_of_other_points_are_not_taken_over(
    model: Model, lived: tuple[object, dict[int, tuple[str, int]]]
) -> None:
    state = json.loads(lived[1][SECOND_H - 24][0])
    assert state["window"]["levels"]
    state["window"]["points"] = state["window"]["points"][:-1]
    other = new_watch(model)
    other.restore(state)
    assert other.state()["window"]["levels"] == []
