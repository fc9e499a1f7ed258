"""The window of a bin, on the distances of simulated bins: fill, forecast with its interval, fire, tilt."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.alert import Alert
from gateway.inference import load_model
from gateway.site import WatchEntry
from gateway.summary import Aggregate, Summary
from gateway.watch import Watch
from gateway.window.bin import BinWindow
from simulator.waste import EMPTY_MM, NEAREST_MM, Bin

PARIS = ZoneInfo("Europe/Paris")
START_S = datetime(2026, 3, 2, tzinfo=PARIS).timestamp()
STEP_S = 900.0
MODEL = load_model(Path(__file__).resolve().parents[3] / "edge_models/bin")
INPUTS = {"distance": ["bac/distance"], "temperature": ["bac/temperature"], "tilt": ["bac/tilt"]}


def one(value: float) -> Aggregate:
    return Aggregate(1, 0, value, value, value, value)


def window_after(it: Bin, days: float) -> tuple[BinWindow, float]:
    window = BinWindow({"distance": ["bac/distance"]}, PARIS)
    for step in range(int(days * 96)):
        time_s = START_S + step * STEP_S
        window.add("bac/distance", time_s, STEP_S, one(float(it.distance_mm(time_s))), "mm")
    return window, START_S + int(days * 96) * STEP_S


def full_after(it: Bin, now_s: float) -> float:
    """When a simulated bin, not collected any more, is as full as its window calls full."""
    rate = it._dropped
    fill, hour = it.fill(now_s), math.floor(now_s / 3600)
    threshold = (EMPTY_MM - 0.1 * EMPTY_MM) / (EMPTY_MM - NEAREST_MM)
    while fill < threshold:
        fill += rate(hour)
        hour += 1
    return hour * 3600.0


@pytest.mark.parametrize("seed", range(4))
def test_the_fill_is_the_bins(seed: int) -> None:
    it = Bin("bac", seed, PARIS)
    window, now_s = window_after(it, 24.4)
    forecast = window.forecast(now_s)
    assert forecast is not None
    assert forecast.fill == pytest.approx(it.fill(now_s), abs=0.06)
    assert forecast.emptied_s is not None
    assert abs(forecast.emptied_s - it._emptied(now_s)) <= 3600


def test_the_interval_holds_what_happens_in_about_eight_cases_of_ten() -> None:
    inside, errors_h = 0, []
    cases = [(seed, days) for seed in range(12) for days in (21.6, 24.5, 26.4)]
    for seed, days in cases:
        it = Bin("bac", seed, PARIS, fills_per_week=0.8 + 0.1 * seed)
        window, now_s = window_after(it, days)
        forecast = window.forecast(now_s)
        assert forecast is not None
        assert forecast.full_s is not None
        assert forecast.early_s is not None
        assert forecast.early_s <= forecast.full_s <= (forecast.late_s or math.inf)
        truth_s = full_after(it, now_s)
        inside += forecast.early_s - 3600 <= truth_s <= (forecast.late_s or math.inf) + 3600
        errors_h.append((forecast.full_s - truth_s) / 3600)
    assert 0.65 <= inside / len(cases) <= 1.0, inside / len(cases)
    assert sorted(abs(error) for error in errors_h)[len(cases) // 2] < 10, "hours, in the middle"


def test_too_short_or_never_emptied_gives_no_forecast_and_says_why() -> None:
    window, now_s = window_after(Bin("bac", 1, PARIS), 3)
    assert window.forecast(now_s) is None
    assert "jours sur 5" in window.missing(now_s)
    still = BinWindow({"distance": ["bac/distance"]}, PARIS)
    for step in range(10 * 96):
        still.add("bac/distance", START_S + step * STEP_S, STEP_S, one(800.0), "mm")
    assert still.forecast(START_S + 10 * 86_400) is None
    window, now_s = window_after(Bin("bac", 1, PARIS), 20)
    assert "aucune distance" in window.missing(now_s + 5 * 3600)


def lived(it: Bin, days: float, fire_s: float = math.inf, tilt_s: float = math.inf) -> list[Alert]:
    entry = WatchEntry(name="bac", model="bin", inputs=INPUTS)
    watch = Watch(entry, MODEL, {"bac/distance": "mm", "bac/temperature": "Cel", "bac/tilt": "1"}, 900.0, PARIS)
    found: list[Alert] = []
    for step in range(int(days * 96)):
        time_s = START_S + step * STEP_S
        burning = fire_s <= time_s < fire_s + 3600
        points = {
            "distance": one(float(it.distance_mm(time_s))),
            "temperature": one(it.temperature_c(time_s) + 70 * burning),
            "tilt": one(float(tilt_s <= time_s < tilt_s + 7200)),
        }
        watch.add(Summary("bac", time_s, STEP_S, points))
        found += watch.judge(time_s + STEP_S)
    return found


def test_a_bin_that_is_collected_in_time_is_left_in_peace() -> None:
    assert lived(Bin("bac", 2, PARIS, fills_per_week=1.0), 30) == []


def test_a_bin_that_overflows_is_told_before_it_does_and_cleared_when_collected() -> None:
    it = Bin("bac", 3, PARIS, fills_per_week=2.2, collection_days=(1,))
    found = [alert for alert in lived(it, 30) if alert.raised_s > START_S + 8 * 86_400]
    raised = [alert for alert in found if alert.cleared_s is None]
    assert 2 <= len(raised) <= 4, "once a week"
    for alert in raised:
        assert (alert.kind, alert.severity) == ("bin_overflow", "minor")
        assert 0.4 < it.fill(alert.raised_s) < 1.05
        assert any("plein dans" in reason.text or "rempli à" in reason.text for reason in alert.reasons)
    assert len(found) >= 2 * len(raised) - 1


def test_fire_is_critical_at_once_even_in_a_bin_that_is_not_known_yet() -> None:
    (raised, cleared) = lived(Bin("bac", 2, PARIS, fills_per_week=1.0), 2, fire_s=START_S + 86_400)
    assert (raised.severity, raised.reasons[0].feature) == ("critical", "fire")
    assert raised.raised_s - (START_S + 86_400) <= 1800
    assert "feu probable" in raised.reasons[0].text
    assert cleared.id == raised.id


def test_a_bin_that_was_knocked_over_is_major() -> None:
    raised = lived(Bin("bac", 2, PARIS, fills_per_week=1.0), 20, tilt_s=START_S + 18 * 86_400)[0]
    assert (raised.severity, raised.reasons[0].text) == ("major", "bac renversé")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"temperature": ["a/b"]}, "role 'distance': expected one point, got 0"),
        ({"distance": ["a/b", "a/c"]}, "expected one point, got 2"),
        ({"distance": ["a/b"], "smell": ["a/c"]}, "role 'smell': unknown"),
    ],
)
def test_roles_that_it_does_not_know(inputs: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BinWindow(inputs, PARIS)


def test_a_unit_that_is_none_of_a_distance() -> None:
    with pytest.raises(ValueError, match="bar"):
        BinWindow({"distance": ["a/b"]}, PARIS).add("a/b", 0.0, 900.0, one(1.0), "bar")
