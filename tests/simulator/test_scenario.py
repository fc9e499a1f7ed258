"""Scenarios: ranges in a file, a night drawn by the seed, and expectations that a night can meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scenario import FOLDER, HOUR_S, SUBJECTS, ScenarioError, draw, load_scenario, parse_scenario

NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
TEXT = """
name = "essai"
title = "Essai"
start = 2026-01-14T15:00:00Z
hours = 24
history_days = 3
[[event]]
kind = "burst"
at_h = [3, 8]
severity = [12, 20]
expect = "leak"
"""


FAULTS = (
    TEXT.partition("[[event]]")[0]
    + """
[[event]]
kind = "bus_faults"
bus = "rs485-1"
faults = "crc=0.05"
at_h = [1, 2]
for_h = 3
"""
)


def test_a_scenario_names_the_faults_of_a_bus() -> None:
    (event,) = draw(parse_scenario(FAULTS, "essai.toml"), 1).events
    assert (event.kind, event.subject, event.faults, event.duration_s) == (
        "bus_faults",
        "rs485-1",
        "crc=0.05",
        10_800.0,
    )


def test_there_is_the_night() -> None:
    assert "night" in NAMES


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(-(2**40), 2**40))
def test_every_seed_draws_within_the_ranges(name: str, seed: int) -> None:
    entry = parse_scenario((FOLDER / f"{name}.toml").read_text("utf-8"), name)
    scenario = draw(entry, seed)
    assert len(scenario.events) == len(entry.event)
    for given_, event in zip(entry.event, scenario.events, strict=True):
        at_h = (event.at_s - scenario.start_s) / HOUR_S
        assert given_.at_h[0] - 0.01 <= at_h <= given_.at_h[1] + 0.01
        assert given_.severity[0] - 0.01 <= event.severity <= given_.severity[1] + 0.01
        assert event.subject in SUBJECTS[event.kind]
        assert event.end_s == event.at_s + given_.for_h * HOUR_S


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(20))
def test_what_is_expected_can_come_before_the_night_ends(name: str, seed: int) -> None:
    scenario = load_scenario(name, seed)
    for event in scenario.events:
        if event.expect:
            assert max(event.at_s, scenario.start_s) + 6 * HOUR_S <= min(event.due_s, scenario.end_s)
        assert event.at_s < scenario.end_s


def test_the_same_seed_is_the_same_night_and_another_is_another() -> None:
    assert load_scenario("night", 11) == load_scenario("night", 11)
    nights = {tuple((event.at_s, event.subject) for event in load_scenario("night", seed).events) for seed in range(20)}
    assert len(nights) == 20


def test_the_kill_of_the_night_falls_into_the_cut_of_the_uplink() -> None:
    for seed in range(50):
        night = load_scenario("night", seed)
        (cut,), (kill,) = night.of("uplink_cut"), night.of("kill")
        assert cut.at_s < kill.at_s < cut.end_s


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    for name in ("day", "../night", "night.toml", "", "a\0b"):
        with pytest.raises(ScenarioError, match="expected one of night"):
            load_scenario(name, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("hours = 24", "hours = 0"), "hours: "),
        (TEXT.replace("[3, 8]", "[8, 3]"), "event[0]: at_h: expected [lowest, highest]"),
        (TEXT.replace("[3, 8]", "[nan, 3]"), "event[0].at_h[0]: "),
        (TEXT.replace('"leak"', '"leek"'), "event[0].expect"),
        (TEXT.replace('"burst"', '"flood"'), "event[0].kind: "),
        (TEXT + 'bus = "armoire"\n', "event[0]: bus, faults: only of kind 'bus_faults'"),
        (FAULTS.replace("rs485-1", "rs422"), "event[0]: bus: expected one of armoire, rs485-1"),
        (FAULTS.replace("crc", "smoke"), "event[0]: faults 'smoke=0.05': 'smoke': expected a fault of modbus-rtu: crc"),
        (TEXT + "colour = 3\n", "event[0].colour: unknown key"),
        (TEXT.replace("title", "titel"), "titel: unknown key"),
        ("name = [", "not TOML"),
    ],
)
def test_a_fault_names_file_and_key(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "essai.toml")
    assert f"essai.toml: {said}" in str(caught.value)


def test_all_faults_at_once_one_a_line() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(TEXT.replace("title", "titel").replace("hours = 24", "hours = -1"), "essai.toml")
    assert len(str(caught.value).splitlines()) == 3


@given(st.text())
def test_any_text_is_a_scenario_or_our_error(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse_scenario(text, "x")


def test_a_start_without_a_zone_is_utc() -> None:
    entry = parse_scenario(TEXT.replace("15:00:00Z", "15:00:00"), "x")
    assert draw(entry, 1).start_s == draw(parse_scenario(TEXT, "x"), 1).start_s
