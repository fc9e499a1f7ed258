"""What departs from a sector's usual: sensors that are at fault, and what a scorer would have seen without."""

import numpy as np
import pytest

from gateway.window.channel import CHANNELS
from simulator.water import Burst
from tests.gateway.window.test_sector import DAY_S, NODE, START_S, measured, x_at

HIGH = "haut/pressure"


@pytest.fixture(scope="module")
def leaking():
    return x_at(*measured(36, [Burst(NODE, 12.0, START_S + 35 * DAY_S)]), 36)


def wrong(by_bar, from_day=34.0, over_days=0.0):
    """Quiet weeks in which one sensor alone goes wrong."""
    times, values = measured(37)
    grown = np.clip((times - START_S - from_day * DAY_S) / max(over_days * DAY_S, 1), 0, 1)
    return times, {**values, HIGH: values[HIGH] + by_bar * grown}


@pytest.mark.parametrize("by_bar", [0.3, -0.3])
def test_a_sensor_that_jumps_alone_is_suspect_up_or_down(by_bar):
    (suspect,) = x_at(*wrong(by_bar), 36).suspects
    assert suspect.point == HIGH
    assert suspect.weight > 1
    assert "bar" in suspect.text
    assert suspect.value - suspect.usual == pytest.approx(by_bar, abs=0.05)


def test_a_drop_at_one_sensor_that_follows_the_draw_of_the_day_is_no_fault_of_it():
    times, values = measured(37)
    flow = values["debit/flow"]
    drop = 0.15 * (times >= START_S + 34 * DAY_S) * flow / flow.mean()
    assert x_at(times, {**values, HIGH: values[HIGH] - drop}, 36).suspects == ()
    steady = 0.15 * (times >= START_S + 34 * DAY_S)
    (suspect,) = x_at(times, {**values, HIGH: values[HIGH] - steady}, 36).suspects
    assert suspect.point == HIGH


def test_a_sensor_that_drifts_becomes_suspect():
    (suspect,) = x_at(*wrong(-0.4, 33.0, 4.0), 37).suspects
    assert suspect.point == HIGH


def test_a_leak_makes_no_sensor_suspect_and_calm_neither(leaking):
    assert leaking.suspects == ()
    assert x_at(*measured(36), 36).suspects == ()


def test_a_sensor_that_stands_still_for_a_day_is_suspect():
    times, values = measured(36)
    still = times >= START_S + 34.5 * DAY_S
    frozen = {**values, HIGH: np.where(still, 3.21, values[HIGH])}
    spread = x_at(times, frozen, 36, spread=0.0).suspects
    assert [(one.point, one.feature) for one in spread] == [(HIGH, "stuck_24h")]


def test_eased_points_take_the_departure_out_of_the_features(leaking):
    points = [reason.point for reason in leaking.evidence]
    assert "debit/flow" in points
    eased = leaking.ease(dict.fromkeys(points, 0.0))
    half = leaking.ease(dict.fromkeys(points, 0.5))
    row, before = (dict(zip(CHANNELS, features.x[-1].tolist(), strict=True)) for features in (eased, leaking))
    for channel in ("flow_3h", "others_3h_max", "drop_3h_max"):
        assert row[channel] < 2.5 < before[channel]
    assert eased.rule_score < half.rule_score < leaking.rule_score
    assert max((reason.weight for reason in eased.evidence), default=0.0) < leaking.evidence[0].weight / 2


def test_easing_one_sensor_leaves_the_others_as_they_are(leaking):
    named = [reason.point for reason in leaking.evidence if reason.point != "debit/flow"]
    eased = leaking.ease({named[0]: 0.0})
    assert "debit/flow" in {reason.point for reason in eased.evidence}


def test_easing_nothing_changes_next_to_nothing(leaking):
    np.testing.assert_allclose(leaking.ease({}).x[-5:], leaking.x[-5:], atol=0.05)


def test_reasons_give_what_was_seen_and_what_is_usual(leaking):
    for reason in leaking.evidence:
        assert reason.unit == ("m3/h" if reason.point == "debit/flow" else "bar")
        assert (reason.value > reason.usual) == (reason.point == "debit/flow")


def test_the_pressure_that_a_leak_pulls_down_furthest_is_said_to_have_moved_most(leaking):
    (_, without), (times, values) = measured(36), measured(36, [Burst(NODE, 12.0, START_S + 35 * DAY_S)])
    day = times >= START_S + 35 * DAY_S
    pulled = {point: (without[point] - values[point])[day].mean() for point in leaking.alike}
    assert len(pulled) > 1
    assert max(leaking.alike, key=leaking.alike.__getitem__) == max(pulled, key=pulled.__getitem__)


def test_where_the_inflow_alone_departs_the_pressure_that_dropped_most_is_named_behind_it():
    times, values = measured(37)
    begun = times >= START_S + 35 * DAY_S
    flow, low = values["debit/flow"], "amont/pressure"
    grown = {**values, "debit/flow": flow + 0.3 * begun * flow.mean(), low: values[low] - 0.001 * begun}
    first, second = x_at(times, grown, 36).evidence
    assert (first.point, second.point) == ("debit/flow", low)
    assert 0 < second.weight < 2 < first.weight
    assert second.value < second.usual


def test_in_calm_no_pressure_is_named_for_having_dropped_a_little():
    assert all(reason.weight >= 2 for reason in x_at(*measured(36), 36).evidence)
