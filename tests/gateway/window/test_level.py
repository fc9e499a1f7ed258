"""Leaks that are told and still run: their level is taken off, and put back when they are mended."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.window.level import AFTER_H, GONE_H, LASTS_H, RECENT_H, Departed, Level, Levels

FLOWS, PRESSURES = 1, 5
NEAR = np.array([4.0, 0.5, 0.3, 0.0, 0.0, 0.0])
"""A leak near the first pressure: m3/h more, then bar less."""
FAR = np.array([3.0, 0.0, 0.0, 0.1, 0.4, 0.6])
NOISE = np.array([0.5, 0.02, 0.02, 0.02, 0.02, 0.02])
ALERT_H = 480_000


def seen(by: np.ndarray, share: float = 1.0) -> Departed:
    return Departed(share * by, NOISE)


@pytest.fixture
def levels() -> Levels:
    """A leak was alerted, lasted, and is known."""
    known = Levels(FLOWS, PRESSURES)
    known.raised(ALERT_H, ALERT_H - 10)
    known.take(ALERT_H + AFTER_H, seen(NEAR))
    return known


KNOWN_H = ALERT_H + AFTER_H


def test_a_level_is_due_once_an_alert_has_lasted() -> None:
    levels = Levels(FLOWS, PRESSURES)
    assert not levels.is_due(ALERT_H)
    levels.raised(ALERT_H, ALERT_H - 10)
    assert levels.running(ALERT_H)
    assert not levels.is_due(ALERT_H + AFTER_H - 1)
    assert levels.is_due(ALERT_H + AFTER_H)
    levels.cleared()
    assert not levels.is_due(ALERT_H + AFTER_H)
    assert not levels.running(ALERT_H)


def test_flow_is_taken_off_and_pressure_put_back_from_the_onset_on(levels: Levels) -> None:
    off = levels.off(ALERT_H - 12, ALERT_H)
    np.testing.assert_allclose(off[:2], 0)
    np.testing.assert_allclose(off[2:], np.tile(NEAR * [1, -1, -1, -1, -1, -1], (10, 1)))


def test_what_departs_alike_is_more_of_the_leak_that_is_known(levels: Levels) -> None:
    assert levels.more(KNOWN_H + 50, seen(NEAR, 0.3))
    np.testing.assert_allclose(levels.off(KNOWN_H + 50, KNOWN_H + 51)[0, 1], -1.3 * NEAR[1])


def test_what_departs_elsewhere_is_another(levels: Levels) -> None:
    before = levels.state()
    assert not levels.more(KNOWN_H + 50, seen(FAR))
    assert levels.state() == before


def test_a_repair_puts_the_level_out_of_use_from_the_middle_of_the_day_that_shows_it(levels: Levels) -> None:
    at_h = KNOWN_H + 100
    assert levels.mended(at_h, seen(NEAR, -0.9))
    off = levels.off(at_h - RECENT_H, at_h)[:, 0]
    np.testing.assert_allclose(off, [NEAR[0]] * 12 + [0] * 12)
    assert not levels.running(at_h)
    assert levels.known


@pytest.mark.parametrize(
    "odd",
    [seen(NEAR, -0.4), seen(NEAR, 0.9), seen(FAR, -1.0), Departed(-NEAR / 100, NOISE)],
    ids=["too little", "more of it", "elsewhere", "within noise"],
)
def test_anything_else_is_no_repair(levels: Levels, odd: Departed) -> None:
    assert not levels.mended(KNOWN_H + 100, odd)
    assert levels.running(KNOWN_H + 100)


def test_a_repair_among_much_else_ends_the_alert_and_leaves_the_level(levels: Levels) -> None:
    assert not levels.mended(KNOWN_H + 100, seen(1.5 * FAR - NEAR))
    assert not levels.running(KNOWN_H + 100)
    assert levels.off(KNOWN_H + 100, KNOWN_H + 101).any()


def test_of_two_leaks_the_one_that_is_mended_is_known_by_its_points(levels: Levels) -> None:
    levels.raised(KNOWN_H + 10, KNOWN_H)
    levels.take(KNOWN_H + 10 + AFTER_H, seen(FAR))
    at_h = KNOWN_H + 300
    assert levels.mended(at_h, seen(NEAR, -1.0))
    np.testing.assert_allclose(np.abs(levels.off(at_h, at_h + 1)[0]), FAR)


def test_the_same_again_soon_after_a_repair_is_a_repair_that_was_misjudged(levels: Levels) -> None:
    at_h = KNOWN_H + 100
    levels.mended(at_h, seen(NEAR, -1.0))
    assert not levels.more(at_h + GONE_H, seen(NEAR))
    assert levels.more(at_h + GONE_H - 1, seen(NEAR))


def test_an_alert_does_not_outlive_four_weeks_of_its_level(levels: Levels) -> None:
    assert levels.running(KNOWN_H + LASTS_H - 1)
    assert not levels.running(KNOWN_H + LASTS_H)


def test_what_was_mended_is_forgotten_in_time(levels: Levels) -> None:
    levels.mended(KNOWN_H + 100, seen(NEAR, -1.0))
    levels.forget(KNOWN_H)
    assert levels.known
    levels.forget(KNOWN_H + 100)
    assert not levels.known


def test_it_goes_on_after_a_restart_as_if_there_had_been_none(levels: Levels) -> None:
    levels.mended(KNOWN_H + 100, seen(NEAR, -1.0))
    levels.raised(KNOWN_H + 200, KNOWN_H + 190)
    other = Levels(FLOWS, PRESSURES)
    other.restore(json.loads(json.dumps(levels.state())))
    assert json.dumps(other.state()) == json.dumps(levels.state())
    np.testing.assert_array_equal(other.off(ALERT_H, KNOWN_H + 300), levels.off(ALERT_H, KNOWN_H + 300))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"levels": [], "due": "soon"},
        {"levels": [{"since_h": 1, "made_h": 2}], "due": None},
        {"levels": [{"since_h": 1, "made_h": 2, "departs": [1.0], "mended_h": None}], "due": None},
        {"levels": [{"since_h": -1, "made_h": 2, "departs": [0.0] * 6, "mended_h": None}], "due": None},
    ],
)
def test_a_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="levels of a sector"):
        Levels(FLOWS, PRESSURES).restore(state)


def test_a_level_that_is_not_mended_has_no_end() -> None:
    assert Level(1, 2, (0.0,)).until_h == float("inf")
