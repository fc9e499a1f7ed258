"""Hours of consumption out of counters that roll over, are replaced, have gaps or coarse steps, and out of power."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.summary import Aggregate
from gateway.window.counter import HOUR_S, Counter

QUARTER_S = 900.0
START = 497_000


def one(value: float, n: int = 1) -> Aggregate:
    return Aggregate(n, 0, value, value, value, value)


def hours(readings: list[tuple[float, float]], scale: float = 1.0) -> tuple[dict[int, float], Counter]:
    """readings: (hours since START, counter), one a summary."""
    counter, found = Counter(), {}
    for at, value in readings:
        for hour, kwh in counter.counted((START + at) * HOUR_S, QUARTER_S, one(value), scale):
            found[hour - START] = kwh
    return found, counter


def test_a_counter_every_quarter_of_an_hour():
    found, _ = hours([(at / 4, 100 + at / 4 * 3.0) for at in range(4 * 10 + 1)])
    assert found == {hour: pytest.approx(3.0) for hour in range(10)}


def test_a_counter_every_hour_in_watt_hours():
    found, _ = hours([(at, 1000.0 * at * at) for at in range(6)], 0.001)
    assert found == {hour: pytest.approx(2 * hour + 1) for hour in range(5)}


@pytest.mark.parametrize("full", [1_000.0, 100_000.0, 2**32 / 1000])
def test_a_counter_that_comes_to_its_end_begins_anew(full):
    found, counter = hours([(at, (full - 50 + 2 * at) % full) for at in range(60)])
    assert found == {hour: pytest.approx(2.0) for hour in range(59)}
    assert (counter.rolled_over, counter.replaced) == (1, 0)


def test_a_counter_that_was_replaced_costs_an_hour_and_no_more():
    readings = [(at, 5000 + 2.0 * at) for at in range(48)] + [(at, 2.0 * (at - 48)) for at in range(48, 60)]
    found, counter = hours(readings)
    assert set(range(59)) - set(found) == {47}
    assert max(found.values()) == pytest.approx(2.0)
    assert counter.replaced == 1


def test_a_counter_that_jumps_ahead_is_another_one():
    found, counter = hours([(at, 2.0 * at + (7000 if at >= 40 else 0)) for at in range(60)])
    assert max(found.values()) == pytest.approx(2.0)
    assert counter.replaced == 1


def test_a_gap_of_hours_is_spread_and_one_of_days_is_not_known():
    found, _ = hours([(0, 0), (1, 2), (4, 8), (5, 10), (30, 60), (31, 62)])
    assert found == {hour: pytest.approx(2.0) for hour in (0, 1, 2, 3, 4, 30)}


def test_coarse_steps_are_spread_over_the_hours_between_them():
    found, counter = hours([(at / 4, math.floor(at / 4 * 0.5)) for at in range(4 * 24)])
    assert set(range(22)) <= set(found)
    assert sum(found[hour] for hour in range(4, 20)) == pytest.approx(8.0)
    assert counter.flat is not None
    assert counter.flat.step_kwh == 1.0


def test_a_counter_that_stands_still_says_since_when():
    _, counter = hours([(at, min(at, 10.0)) for at in range(40)])
    assert counter.flat is not None
    assert (counter.flat.since_s, counter.flat.until_s) == ((START + 10) * HOUR_S, (START + 39) * HOUR_S)


def test_power_is_energy_over_the_hour():
    counter, found = Counter(), {}
    for quarter, watts in enumerate([1000, 2000, 3000, 4000, 800]):
        for hour, kwh in counter.powered(START * HOUR_S + quarter * QUARTER_S, QUARTER_S, one(watts, 15), 0.001):
            found[hour - START] = kwh
    assert found == {0: pytest.approx(2.5), 1: pytest.approx(0.8)}


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0, 1e7)), max_size=60))
def test_whatever_is_read_no_hour_is_negative_or_endless(readings):
    found, counter = hours(readings)
    assert all(0 <= kwh < math.inf for kwh in found.values())
    assert len(counter._taken) <= 12
