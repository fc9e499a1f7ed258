"""Summaries: what a period holds, where periods begin, and what a clock that is set does to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reading import Flaw, Quality, Snapshot
from gateway.summary import Aggregate, Summariser, Summary

VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
DAY_S = 86400.0


def fed(values: Iterable[tuple[float, float | None]], period_s: float = 900) -> list[Summary]:
    """The summaries of one point's (time, value), the last one closed."""
    summariser, done, last_s = Summariser("d", period_s), [], 0.0
    for time_s, value in values:
        done += summariser.add(Snapshot("d", time_s, {"p": value}))
        last_s = max(last_s, time_s)
    return [*done, *summariser.close(last_s + period_s)]


@given(st.lists(VALUES, min_size=1, max_size=40))
def test_an_aggregate_holds_every_reading_once(values: list[float | None]) -> None:
    (summary,) = fed((10.0, value) for value in values)
    a = summary.points["p"]
    known = [value for value in values if value is not None]
    assert (a.n, a.bad) == (len(known), len(values) - len(known))
    if not known:
        assert (a.mean, a.min, a.max, a.last) == (None, None, None, None)
    else:
        assert (a.min, a.max, a.last) == (min(known), max(known), known[-1])
        assert a.min is not None
        assert a.mean is not None
        assert a.max is not None
        assert a.min <= a.mean <= a.max
        assert math.isfinite(a.mean)


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=40))
def test_the_mean_is_the_mean(values: list[float]) -> None:
    (summary,) = fed((10.0, value) for value in values)
    assert summary.points["p"].mean == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-6)


@given(
    st.lists(st.floats(min_value=0, max_value=30 * DAY_S), min_size=1, max_size=40).map(sorted),
    st.sampled_from([60.0, 300.0, 900.0, 3600.0]),
)
def test_periods_are_aligned_and_hold_their_own_readings(times: list[float], period_s: float) -> None:
    summaries = fed(((time_s, time_s) for time_s in times), period_s)
    starts = [summary.start_s for summary in summaries]
    assert starts == sorted(set(starts))
    assert all(start_s % period_s == 0 for start_s in starts)
    assert sum(summary.points["p"].n for summary in summaries) == len(times)
    for summary in summaries:
        a = summary.points["p"]
        assert a.min is not None
        assert a.max is not None
        assert summary.start_s <= a.min <= a.max < summary.start_s + period_s


@given(st.lists(st.floats(min_value=0, max_value=30 * DAY_S), min_size=1, max_size=30))
def test_no_reading_is_lost_however_the_clock_jumps(times: list[float]) -> None:
    summaries = fed((time_s, 1.0) for time_s in times)
    assert sum(summary.points["p"].n for summary in summaries) == len(times)


def test_a_clock_set_back_a_little_stays_in_the_running_period() -> None:
    (summary,) = fed([(1000.0, 1.0), (1010.0, 2.0), (850.0, 3.0), (1020.0, 4.0)])
    assert summary.start_s == 900
    assert summary.points["p"].n == 4


def test_a_clock_that_was_years_ahead_does_not_silence_the_device_for_years() -> None:
    ahead_s = 4 * 365 * DAY_S
    summaries = fed([(ahead_s, 1.0), (1000.0, 2.0), (1900.0, 3.0)])
    assert [(s.start_s, s.points["p"].n) for s in summaries][:2] == [(ahead_s // 900 * 900, 1), (900.0, 1)]


def test_a_period_ends_by_the_clock_when_nothing_comes() -> None:
    summariser = Summariser("d", 900)
    assert list(summariser.add(Snapshot("d", 10.0, {"p": 1.0}))) == []
    assert list(summariser.close(899.9)) == []
    (summary,) = summariser.close(900.0)
    assert summary == Summary("d", 0.0, 900, {"p": Aggregate(1, 0, 1.0, 1.0, 1.0, 1.0)})
    assert list(summariser.close(1e9)) == []


def test_a_bad_value_is_counted_and_not_used_a_doubtful_one_is_used() -> None:
    summariser = Summariser("d", 900)
    for value, quality in ((5.0, Quality.BAD), (7.0, Quality.UNCERTAIN), (9.0, Quality.GOOD)):
        list(summariser.add(Snapshot("d", 1.0, {"p": value}, {"p": Flaw(quality, "why")})))
    (summary,) = summariser.close(900)
    assert summary.points["p"] == Aggregate(2, 1, 8.0, 7.0, 9.0, 9.0)


def test_points_of_one_device_that_come_apart_share_a_summary() -> None:
    summariser = Summariser("d", 900)
    list(summariser.add(Snapshot("d", 1.0, {"a": 1.0})))
    list(summariser.add(Snapshot("d", 2.0, {"b": None})))
    (summary,) = summariser.close(900)
    assert set(summary.points) == {"a", "b"}


@given(st.integers(0, 4_102_444_799 // 900).map(lambda n: n * 900.0), st.lists(VALUES, min_size=1, max_size=8))
def test_a_summary_survives_json(start_s: float, values: list[float | None]) -> None:
    (summary,) = fed((start_s, value) for value in values)
    text = json.dumps(summary.as_json(), allow_nan=False)
    assert Summary.from_json(json.loads(text)) == summary
