"""The bench on lamps and lifts: how it counts."""

import runpy
from pathlib import Path

import pytest

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench/assets.py"))


@pytest.mark.parametrize(("hours", "in_time", "at_all"), [([-15 * 24], 4, 4), ([-13 * 24], 0, 4), ([], 0, 0)])
def test_an_alert_counts_only_so_many_days_ahead(hours, in_time, at_all):
    found = BENCH["ahead"]("x", lambda seed, days, drift: hours, 0.0, 4, 1, 1.0, 14)
    assert (found["in_time"], found["found_at_all"]) == (in_time, at_all)
    assert found["low"] <= found["share"] <= found["high"]


def test_an_alert_before_the_fault_began_is_no_success():
    found = BENCH["ahead"]("x", lambda seed, days, drift: [-days * 24], 0.0, 4, 1, 1.0, 14)
    assert (found["in_time"], found["alerts_before_the_fault"]) == (0, 4)


def test_no_alert_is_still_an_upper_bound_and_not_nothing():
    found = BENCH["quiet"]("x", lambda seed, days, drift: [], 12, 1, None)
    assert found["a_month"] == 0
    assert 3.6 < found["a_month_high"] * found["months"] < 3.8
