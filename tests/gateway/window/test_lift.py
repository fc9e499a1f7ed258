"""The lift door window, fed with the registers of simulated doors as summaries of a quarter of an hour."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gateway.inference import load_model
from gateway.reading import Snapshot
from gateway.summary import Aggregate, Summariser, Summary
from gateway.window import Features
from gateway.window.lift import QUANTITIES, LiftWindow
from gateway.window.past import CLIP, FEATURES
from simulator.drift import Drift
from simulator.lift import LiftDoor

START = datetime(2026, 1, 14, 15, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
UNITS = {"door_current": "mA", "door_speed": "mm/s", "door_state": "1", "door_error": "1"}
INPUTS = {role: [f"porte/{role}"] for role in UNITS}


def summaries(
    wear: Drift | None = None, obstructions: Drift | None = None, days: float = 35, hours: int = 12
) -> list[Summary]:
    door = LiftDoor("porte", 5, ZoneInfo("Europe/Paris"), lambda: 0.0, wear=wear, obstructions=obstructions)
    summariser, out = Summariser("porte"), []
    for step in range(int(-days * 96), hours * 4 + 1):
        time_s = START + step * 900 + 200
        registers = door.registers(time_s)
        values: dict[str, float | None] = {
            "door_state": registers[1] >> 8,
            "door_error": registers[1] & 0xFF,
            "door_current": registers[2],
            "door_speed": registers[5],
        }
        out += summariser.add(Snapshot("porte", time_s, values))
    return out


def fill(window: LiftWindow, given: list[Summary]) -> LiftWindow:
    for summary in given:
        for name, aggregate in summary.points.items():
            window.add(f"porte/{name}", summary.start_s, summary.period_s, aggregate, UNITS[name])
    return window


def judged(given: list[Summary], now_s: float = START + 12 * HOUR_S) -> Features:
    features = fill(LiftWindow(INPUTS), given).features(now_s)
    assert features is not None
    return features


def changed(given: list[Summary], since_s: float, **points: float) -> Iterator[Summary]:
    """The same, with some points at fixed values from a time on."""
    for summary in given:
        fixed = {name: Aggregate(1, 0, v, v, v, v) for name, v in points.items() if summary.start_s >= since_s}
        yield Summary(summary.device, summary.start_s, summary.period_s, {**summary.points, **fixed})


@pytest.fixture(scope="module")
def healthy() -> list[Summary]:
    return summaries()


@pytest.fixture(scope="module")
def worn() -> list[Summary]:
    return summaries(Drift(START, 6 * HOUR_S, 0.25))


def test_a_healthy_door_is_far_from_an_alert(healthy: list[Summary]) -> None:
    features = judged(healthy)
    assert features.rule_score < 0.6
    assert features.x.shape == (len(QUANTITIES), len(FEATURES))
    assert features.x.dtype == np.float32


def test_a_door_that_slows_by_a_quarter_in_a_night_is_found_within_it(worn: list[Summary]) -> None:
    features = judged(worn)
    assert features.rule_score > 2
    texts = {reason.feature: reason.text for reason in features.evidence}
    assert "moins vite que d'ordinaire" in texts["slowdown"]
    assert "de plus que d'ordinaire" in texts["current_rise"]
    assert judged(worn, START + 1 * HOUR_S).rule_score < 0.6, "not before it shows"
    slowed = features.x[QUANTITIES.index("slowdown"), FEATURES.index("now")]
    assert slowed == CLIP, "a quarter is more than twice what is enough"


def test_obstructions_are_not_wear() -> None:
    assert judged(summaries(obstructions=Drift(START - 86400, 0, 0.5))).rule_score < 0.6


@pytest.mark.parametrize(
    ("speed", "current"), [(0.5, 0.75), (1.2, 1.3), (0.7, 1.0)], ids=["gentle closing", "new setting", "slow only"]
)
def test_slow_or_strong_alone_is_not_wear(healthy: list[Summary], speed: float, current: float) -> None:
    usual = healthy[0].points
    v, i = usual["door_speed"].mean or 0.0, usual["door_current"].mean or 0.0
    given = list(changed(healthy, START + 6 * HOUR_S, door_speed=v * speed, door_current=i * current))
    assert judged(given).rule_score < 1


def test_a_door_that_stays_open_is_found_after_an_hour(healthy: list[Summary]) -> None:
    open_s = START + 10 * HOUR_S
    given = list(changed(healthy, open_s, door_state=0))
    assert judged(given, open_s + HOUR_S).rule_score == 3
    assert judged([s for s in given if s.start_s < open_s + 1800], open_s).rule_score < 1


@pytest.mark.parametrize(("code", "name"), [(2, "blocage"), (4, "codeur"), (5, "surchauffe"), (1, ""), (3, "")])
def test_only_the_doors_own_faults_are_failures(healthy: list[Summary], code: int, name: str) -> None:
    features = judged(list(changed(healthy, START + 11 * HOUR_S, door_error=code)))
    assert (features.rule_score == 3) == bool(name)
    assert not name or name in features.evidence[0].text


def test_gaps_in_the_past_change_little(healthy: list[Summary], worn: list[Summary]) -> None:
    assert judged([s for i, s in enumerate(healthy) if i % 3]).rule_score < 0.6
    assert judged([s for i, s in enumerate(worn) if i % 3]).rule_score > 2


def test_without_state_and_error_it_judges_wear_all_the_same(worn: list[Summary]) -> None:
    window = LiftWindow({role: INPUTS[role] for role in ("door_current", "door_speed")})
    for summary in worn:
        for name in ("door_current", "door_speed"):
            window.add(f"porte/{name}", summary.start_s, 900, summary.points[name], UNITS[name])
    features = window.features(START + 12 * HOUR_S)
    assert features is not None
    assert features.rule_score > 2


def test_a_window_filled_again_after_a_restart_says_the_same(worn: list[Summary]) -> None:
    longer = [*(s for s in summaries(days=45, hours=0) if s.start_s < worn[0].start_s), *worn]
    assert judged(longer).rule_score == judged(worn).rule_score


def test_units_are_converted_and_impossible_ones_refused(worn: list[Summary]) -> None:
    window = LiftWindow({role: INPUTS[role] for role in ("door_current", "door_speed")})
    for summary in worn:
        for name, unit in (("door_current", "A"), ("door_speed", "m/s")):
            mean = summary.points[name].mean
            scaled = None if mean is None else mean / 1000
            window.add(f"porte/{name}", summary.start_s, 900, Aggregate(1, 0, scaled, scaled, scaled, scaled), unit)
    features = window.features(START + 12 * HOUR_S)
    assert features is not None
    assert features.rule_score == pytest.approx(judged(worn).rule_score)
    with pytest.raises(ValueError, match="expected a speed"):
        window.add("porte/door_speed", START, 900, Aggregate(0, 1, None, None, None, None), "mA")


def test_what_is_missing_is_said(healthy: list[Summary]) -> None:
    window = LiftWindow(INPUTS)
    assert window.missing(START).startswith("0 jours sur 14")
    assert window.features(START) is None
    fill(window, healthy)
    assert window.missing(START + 12 * HOUR_S) == ""
    assert "trois heures" in window.missing(START + 16 * HOUR_S)
    assert window.features(START + 16 * HOUR_S) is None


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"door_current": ["a/c"]}, "role 'door_speed': expected one point, got 0"),
        ({"door_current": ["a/c"], "door_speed": ["a/s", "b/s"]}, "expected one point, got 2"),
        ({"door_current": ["a/c"], "door_speed": ["a/s"], "load": ["a/l"]}, "role 'load': unknown"),
    ],
)
def test_roles_that_do_not_fit_are_refused(inputs: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LiftWindow(inputs)


def test_where_only_the_door_is_read_the_network_must_be_surer(healthy: list[Summary]) -> None:
    model = load_model(Path(__file__).parents[3] / "edge_models/lift_door")
    assert model.card.model is not None
    door = judged(healthy)
    assert door.narrow
    handicap = model.card.model.handicap
    assert handicap > 0
    assert model.judge(door) == pytest.approx(model.score(door.x) - handicap)
    assert model.judge(replace(door, narrow=False)) == pytest.approx(model.score(door.x))
    # What is certain stays so: a door that reports its own failure needs no network.
    assert model.judge(replace(door, certain=True)) == model.card.severity.critical
    assert not LiftWindow(INPUTS | {"vibration": ["traction/vibration"]}).narrow


def test_its_card_is_of_its_kind() -> None:
    model = load_model(Path(__file__).parents[3] / "edge_models" / "lift_door")
    assert (model.card.window, model.card.kind) == ("lift", "lift_failure")
    assert model.card.model is None or model.card.model.channels == list(FEATURES)
