"""Conditions: yes, no and cannot be known; hysteresis, duration, hours of the day."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.condition import Condition, ConditionEntry, Picture, in_window, next_edge_s
from gateway.sun import Place
from gateway.verdict import State

PARIS = Place(47.24, 6.02, ZoneInfo("Europe/Paris"))


def condition(**entry: Any) -> Condition:
    return Condition(ConditionEntry.model_validate(entry), PARIS)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS.zone).timestamp()


def values(condition: Condition, *pairs: tuple[float, float | None]) -> list[bool | None]:
    return [condition.holds(Picture(time_s, {"a/b": value})) for time_s, value in pairs]


def test_a_threshold_with_hysteresis_holds_until_the_value_is_back_past_the_lower_one() -> None:
    warm = condition(point="a/b", above=80, until=70)
    assert values(warm, (0, 80), (1, 80.1), (2, 75), (3, 70), (4, 75)) == [False, True, True, False, False]
    cold = condition(point="a/b", below=5, until=7)
    assert values(cold, (0, 5), (1, 4), (2, 6.9), (3, 7), (4, 6)) == [False, True, True, False, False]


def test_a_band_and_an_equal_value() -> None:
    assert values(condition(point="a/b", above=1, below=3), (0, 1), (1, 2), (2, 3)) == [False, True, False]
    assert values(condition(point="a/b", equals=0.3), (0, 0.1 + 0.2), (1, 0.31)) == [True, False]


def test_a_duration_must_be_without_a_break() -> None:
    lasting = condition(**{"point": "a/b", "equals": 0, "for": "10s"})
    assert values(lasting, (0, 0), (9, 0), (10, 0), (11, 1), (12, 0), (21, 0), (22, 0)) == [
        False, False, True, False, False, False, True,
    ]  # fmt: skip


def test_a_lost_input_is_neither_yes_nor_no_and_begins_the_duration_anew() -> None:
    lasting = condition(**{"point": "a/b", "equals": 0, "for": "10s"})
    assert values(lasting, (0, 0), (5, None), (6, 0), (15, 0), (16, 0)) == [False, None, False, False, True]


def test_the_loss_itself_can_be_waited_for() -> None:
    lost = condition(**{"lost": "a/b", "for": "1min"})
    assert values(lost, (0, None), (59, None), (60, None), (61, 1.0)) == [False, False, True, False]


def test_a_verdict_that_is_not_there_yet_cannot_be_known() -> None:
    leak, hint = condition(verdict="w"), condition(verdict="w", state="suspect")
    for state, expected in ((State.ALERT, (True, True)), (State.SUSPECT, (False, True)), (State.NORMAL, (False, False)),
                            (State.LEARNING, (None, None)), (None, (None, None))):  # fmt: skip
        picture = Picture(0.0, {}, {"w": state})
        assert (leak.holds(picture), hint.holds(picture)) == expected


def test_hours_over_midnight_begin_on_the_days_given() -> None:
    friday = ConditionEntry.model_validate({"between": ["22:00", "06:00"], "days": ["fri"]})
    told = {
        text: in_window(friday, PARIS, at(text))
        for text in ("2026-11-27T21:59", "2026-11-27T22:00", "2026-11-28T05:59", "2026-11-28T06:00", "2026-11-28T23:00")
    }
    assert list(told.values()) == [False, True, True, False, False]


def test_dusk_and_dawn_are_the_suns() -> None:
    night = ConditionEntry(between=("dusk", "dawn"))
    assert in_window(night, PARIS, at("2026-11-27T17:30"))
    assert not in_window(night, PARIS, at("2026-06-21T21:30"))
    assert in_window(night, PARIS, at("2026-06-21T21:45"))


def test_hours_that_the_change_of_the_clock_takes_away_or_gives_twice() -> None:
    hour = ConditionEntry(between=("02:00", "03:00"))
    inside = [
        t for t in range(int(at("2026-10-25T00:00")), int(at("2026-10-26T00:00")), 600) if in_window(hour, PARIS, t)
    ]
    assert len(inside) == 12, "in October it is two hours long"
    inside = [
        t for t in range(int(at("2026-03-29T00:00")), int(at("2026-03-30T00:00")), 600) if in_window(hour, PARIS, t)
    ]
    assert inside == [], "in March there is none"


@pytest.mark.parametrize("start", ["2026-03-29T01:30", "2026-10-25T01:30", "2026-11-29T01:30"])
def test_what_must_last_lasts_as_long_when_the_clock_changes(start: str) -> None:
    """Hours go by the clock on the wall, durations by seconds: two hours are two hours in the night of the change too."""
    hot = condition(point="a/x", above=5, lasting="2h")
    night = condition(between=("01:30", "09:00"), lasting="2h")
    begun_s = at(start)
    for one in (hot, night):
        assert one.holds(Picture(begun_s, {"a/x": 6.0})) is False
        due_s = begun_s + 7200
        assert one.wakes_s(begun_s) <= due_s
        assert one.holds(Picture(due_s - 1, {"a/x": 6.0})) is False
        assert one.holds(Picture(due_s, {"a/x": 6.0})) is True


@given(
    st.integers(0, 400 * 86400), st.sampled_from(["dusk", "dawn", "06:00", "23:30"]), st.sampled_from(["04:15", "dawn"])
)
def test_nothing_changes_before_the_next_edge(ahead_s: int, first: str, last: str) -> None:
    if first == last:
        return
    entry = ConditionEntry(between=(first, last))
    time_s = at("2026-01-01T00:00") + ahead_s
    edge_s = next_edge_s(entry, PARIS, time_s)
    now = in_window(entry, PARIS, time_s)
    if edge_s == math.inf:  # in summer the sun rises before six: from six to dawn there is nothing
        assert (first, last) == ("06:00", "dawn")
        assert not any(in_window(entry, PARIS, time_s + 600 * step) for step in range(8 * 144))
        return
    assert time_s < edge_s < time_s + 9 * 86400
    assert in_window(entry, PARIS, (time_s + edge_s) / 2) == now
    assert in_window(entry, PARIS, edge_s - 0.5) == now


def test_it_says_when_it_may_change_by_itself() -> None:
    lasting = condition(**{"point": "a/b", "equals": 0, "for": "10s"})
    assert lasting.wakes_s(0.0) == math.inf
    values(lasting, (3, 0))
    assert lasting.wakes_s(3.0) == 13.0
    assert lasting.wakes_s(13.0) == math.inf


@given(st.floats(0, 2e9), st.floats(0.001, 1e6))
def test_at_the_very_instant_that_it_names_it_has_lasted_long_enough(since_s: float, lasting_s: float) -> None:
    lasting = condition(**{"point": "a/b", "equals": 0, "for": f"{round(lasting_s * 1000)}ms"})
    assert values(lasting, (since_s, 0)) in ([False], [True])
    due_s = lasting.wakes_s(since_s)
    assert due_s == math.inf or values(lasting, (due_s, 0)) == [True]


@given(st.floats(-1e9, 1e9))
def test_a_clock_that_is_set_makes_nothing_last_longer_or_shorter(by_s: float) -> None:
    lasting = condition(**{"point": "a/b", "equals": 0, "for": "10s"})
    assert values(lasting, (1e9, 0)) == [False]
    lasting.moved(by_s)
    assert values(lasting, (1e9 + by_s + 9, 0), (1e9 + by_s + 10.001, 0)) == [False, True]


def test_what_it_remembers_survives() -> None:
    warm = condition(**{"point": "a/b", "above": 80, "until": 70, "for": "10s"})
    values(warm, (0, 90))
    again = condition(**{"point": "a/b", "above": 80, "until": 70, "for": "10s"})
    again.restore(warm.state())
    assert values(again, (10, 75)) == [True]
    with pytest.raises(ValueError, match="state of a condition"):
        again.restore({"met": 1, "since_s": 0.0})


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "exactly one of"),
        ({"point": "a/b", "verdict": "w", "above": 1}, "exactly one of"),
        ({"point": "a/b"}, "expected above, below or equals"),
        ({"verdict": "w", "above": 1}, "only with point"),
        ({"point": "a/b", "equals": 1, "above": 0}, "equals: not together"),
        ({"point": "a/b", "above": 1, "until": 1}, "until: expected less than above"),
        ({"point": "a/b", "below": 1, "until": 0}, "until: expected more than below"),
        ({"point": "a/b", "equals": 1, "until": 0}, "until: expected with above"),
        ({"between": ["08:00", "08:00"]}, "08:00' twice"),
        ({"between": ["8:00", "09:00"]}, "pattern"),
        ({"days": ["monday"]}, "mon"),
        ({"point": "a/b", "above": float("nan")}, "finite"),
        ({"point": "a/b", "above": 1, "for": "soon"}, "duration"),
        ({"point": "a/b", "over": 1}, "over"),
    ],
)
def test_what_is_no_condition(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ConditionEntry.model_validate(entry)
