"""Stretches of a year: what holds together, and what holds without another."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gateway.condition import ConditionEntry, in_window
from gateway.hours import hours_of, joined, together, without, year
from gateway.sun import Place

PARIS = ZoneInfo("Europe/Paris")
PLACE = Place(47.24, 6.02, PARIS)
TIMES = st.sampled_from(["dusk", "dawn", "00:00", "01:30", "07:00", "12:00", "18:00", "22:15", "23:59"])


@st.composite
def entries(draw: st.DrawFn) -> ConditionEntry:
    first, last = draw(st.lists(TIMES, min_size=2, max_size=2, unique=True))
    days = draw(st.lists(st.sampled_from(["mon", "wed", "sat", "sun"]), unique=True, max_size=3))
    return ConditionEntry.model_validate({"between": (first, last), "days": days})


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp()


@given(entries(), entries(), st.floats(0, 1, exclude_max=True))
def test_they_say_at_every_instant_what_the_condition_says(
    one: ConditionEntry, other: ConditionEntry, share: float
) -> None:
    start_s, end_s = year(PLACE)[0]
    time_s = start_s + share * (end_s - start_s)

    def holds(stretches: object) -> bool:
        return any(first <= time_s < last for first, last in stretches)  # type: ignore[attr-defined]

    first, second = in_window(one, PLACE, time_s), in_window(other, PLACE, time_s)
    assert holds(hours_of(one, PLACE)) is first
    assert holds(together(year(PLACE), hours_of(one, PLACE), hours_of(other, PLACE))) is (first and second)
    assert holds(without(hours_of(one, PLACE), hours_of(other, PLACE))) is (first and not second)
    assert holds(joined([*hours_of(one, PLACE), *hours_of(other, PLACE)])) is (first or second)


def test_hours_that_must_last_begin_later_and_a_whole_week_is_one_stretch() -> None:
    late = ConditionEntry.model_validate({"between": ("20:00", "23:00"), "for": "2h"})
    assert (at("2028-07-01T22:00"), at("2028-07-01T23:00")) in hours_of(late, PLACE)
    never = ConditionEntry.model_validate({"between": ("20:00", "23:00"), "for": "3h"})
    assert hours_of(never, PLACE) == ()
    always = ConditionEntry.model_validate({"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "for": "30d"})
    assert len(hours_of(always, PLACE)) == 1
    assert not without([(0, 10)], [(0, 4), (4, 10)])
    assert without([(0, 10)], [(2, 4), (8, 12)]) == [(0, 2), (4, 8)]
