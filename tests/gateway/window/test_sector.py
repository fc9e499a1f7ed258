"""The window of a water sector."""

import warnings

import numpy as np
import pytest

from gateway.summary import Aggregate
from gateway.window.channel import CHANNELS, CLIP, LAGS_H
from gateway.window.level import MANY
from gateway.window.sector import HISTORY_S, SectorWindow
from simulator.water import Burst, Sector

START_S = 1_700_006_400.0  # midnight, an odd day since 1970
DAY_S = 86400.0
NODE = "rue-de-l-ecole"
PRESSURES = ("amont", "aval", "centre", "haut")
INPUTS = {"flow": ["debit/flow"], "pressure": [f"{name}/pressure" for name in PRESSURES]}
UNITS = {"flow": "m3/h", "pressure": "bar"}


def measured(days, bursts=(), seed=11, period_s=900.0):
    """(times, by point) of the commune's devices."""
    sector = Sector(seed, bursts)
    times = START_S + np.arange(0, days * DAY_S, period_s)
    values = {"debit/flow": sector.metered_flow_m3_h(times)}
    values |= {f"{name}/pressure": sector.sensed_pressure_bar(name, times) for name in PRESSURES}
    return times, values


def fill(window, times, values, *, units=UNITS, period_s=900.0, order=None, spread=0.005):
    """Adds all that falls in `times`, point by point within each period."""
    points = order or list(values)
    for i, time_s in enumerate(times):
        for point in points:
            value = float(values[point][i])
            if not np.isnan(value):
                around = Aggregate(3, 0, value, value - spread, value + spread, value)
                window.add(point, time_s, period_s, around, units[point.split("/")[1]])
    return window


@pytest.fixture(scope="module")
def calm():
    return measured(36)


@pytest.fixture(scope="module")
def leaking():
    return measured(36, [Burst(NODE, 12.0, START_S + 35 * DAY_S)])


def x_at(times, values, day, **how):
    until_s = START_S + day * DAY_S
    keep = times < until_s
    window = fill(SectorWindow(how.pop("inputs", INPUTS)), times[keep], {p: v[keep] for p, v in values.items()}, **how)
    return window.features(until_s)


def test_there_are_no_features_before_four_weeks_at_most_and_it_says_why(calm):
    times, values = calm
    window = SectorWindow(INPUTS)
    assert window.missing(START_S) == "aucune mesure encore"
    fill(window, times[:960], {p: v[:960] for p, v in values.items()})
    assert window.features(times[960]) is None
    assert window.missing(times[960]).startswith("10 jours de mesures sur 22")
    keep = slice(960, 28 * 96)
    fill(window, times[keep], {p: v[keep] for p, v in values.items()})
    assert window.features(START_S + 28 * DAY_S) is not None
    assert window.missing(START_S + 28 * DAY_S) == ""


def test_features_have_the_shape_of_the_card_and_lie_within_its_range(leaking):
    features = x_at(*leaking, 36)
    assert features.x.shape == (len(LAGS_H), len(CHANNELS))
    assert features.x.dtype == np.float32
    assert np.isfinite(features.x).all()
    assert np.abs(features.x).max() <= CLIP


def test_a_burst_shows_in_flow_and_pressures_and_names_them(leaking, calm):
    quiet, loud = x_at(*calm, 35.25), x_at(*leaking, 35.25)
    row, before = loud.x[-1], quiet.x[-1]
    for channel in ("flow_3h", "offset_3h", "others_3h_max", "drop_3h_max"):
        assert row[CHANNELS.index(channel)] > 4 > before[CHANNELS.index(channel)]
    assert loud.rule_score > 2 * quiet.rule_score
    assert [reason.weight for reason in loud.evidence] == sorted((r.weight for r in loud.evidence), reverse=True)
    named = {reason.point for reason in loud.evidence}
    assert "debit/flow" in named
    assert len(named) == len(loud.evidence)
    flow = next(reason for reason in loud.evidence if reason.point == "debit/flow")
    assert "m³/h" in flow.text
    assert "." not in flow.text  # decimal comma


def test_later_data_do_not_change_earlier_features(leaking):
    times, values = leaking
    cut = {point: np.where(times < START_S + 35 * DAY_S, v, 99.0) for point, v in values.items()}
    np.testing.assert_array_equal(x_at(times, values, 35).x, x_at(times, cut, 35).x)


def test_judging_each_hour_or_only_at_the_end_gives_the_same(leaking):
    times, values = leaking
    window = SectorWindow(INPUTS)
    for i in range(0, len(times), 4):
        fill(window, times[i : i + 4], {point: v[i : i + 4] for point, v in values.items()})
        if i > 34 * 96:
            window.features(times[i] + 3600)
    np.testing.assert_allclose(window.features(START_S + 36 * DAY_S).x, x_at(times, values, 36).x, atol=1e-4)


def test_a_restart_with_its_history_gives_the_same_features():
    times, values = measured(60)
    whole = x_at(times, values, 60)
    keep = times >= START_S + 60 * DAY_S - HISTORY_S
    assert not keep.all()
    restarted = x_at(times[keep], {point: v[keep] for point, v in values.items()}, 60)
    np.testing.assert_allclose(restarted.x, whole.x, atol=1e-4)


def test_the_order_of_points_changes_nothing(leaking):
    times, values = leaking
    shuffled = {"flow": INPUTS["flow"], "pressure": INPUTS["pressure"][::-1]}
    other = x_at(times, values, 36, inputs=shuffled, order=list(values)[::-1])
    first = x_at(times, values, 36)
    np.testing.assert_allclose(other.x, first.x, atol=1e-4)
    assert {r.point: round(r.weight, 3) for r in other.evidence} == {
        r.point: round(r.weight, 3) for r in first.evidence
    }


def test_units_are_converted_also_when_they_change(leaking):
    times, values = leaking
    converted = {point: v / 3.6 if point == "debit/flow" else v * 100 for point, v in values.items()}
    other = x_at(times, converted, 36, units={"flow": "L/s", "pressure": "kPa"}, spread=1e-3)
    np.testing.assert_allclose(other.x, x_at(times, values, 36).x, atol=1e-3)
    window = SectorWindow(INPUTS)
    half = len(times) // 2
    fill(window, times[:half], {p: v[:half] for p, v in values.items()})
    fill(window, times[half:], {p: v[half:] for p, v in converted.items()}, units={"flow": "L/s", "pressure": "kPa"})
    np.testing.assert_allclose(window.features(START_S + 36 * DAY_S).x, x_at(times, values, 36).x, atol=1e-3)


def test_a_unit_that_is_none_of_its_role_is_refused_by_name():
    window = SectorWindow(INPUTS)
    with pytest.raises(ValueError, match="debit/flow: unit 'bar'"):
        window.add("debit/flow", START_S, 900.0, Aggregate(1, 0, 1.0, 1.0, 1.0, 1.0), "bar")


def test_duplicates_and_late_periods_are_counted_and_change_nothing(leaking):
    times, values = leaking
    window = SectorWindow(INPUTS)
    fill(window, times, values)
    before = window.features(START_S + 36 * DAY_S).x
    again = fill(SectorWindow(INPUTS), np.repeat(times, 2), {p: np.repeat(v, 2) for p, v in values.items()})
    assert again.passed_over == len(times) * len(values)
    np.testing.assert_array_equal(again.features(START_S + 36 * DAY_S).x, before)
    window.add("debit/flow", times[0], 900.0, Aggregate(1, 0, 1e6, 1e6, 1e6, 1e6), "m3/h")
    assert window.passed_over == 1


@pytest.mark.parametrize("point", ["debit/flow", "aval/pressure"])
def test_a_sensor_that_falls_silent_or_sticks_is_no_leak(calm, point):
    times, values = calm
    quiet = x_at(times, values, 36)
    silent = {p: np.where((times > START_S + 34.5 * DAY_S) & (p == point), np.nan, v) for p, v in values.items()}
    features = x_at(times, silent, 36)
    assert np.isfinite(features.x).all()
    assert features.rule_score < 1
    held = {p: v.copy() for p, v in values.items()}
    held[point][times > START_S + 34.5 * DAY_S] = held[point][int(34.5 * 96)]
    stuck = x_at(times, held, 36, spread=0.0)
    assert stuck.rule_score < 1
    assert stuck.x[-1][CHANNELS.index("fresh")] < quiet.x[-1][CHANNELS.index("fresh")]
    assert point not in {reason.point for reason in stuck.evidence if reason.feature.endswith("_3h")}


@pytest.mark.parametrize(
    "inputs",
    [
        {"flow": ["debit/flow"]},
        {"pressure": ["aval/pressure"]},
        {"pressure": ["aval/pressure", "centre/pressure"]},
        {"flow": ["debit/flow"], "pressure": ["aval/pressure"]},
    ],
)
def test_any_set_of_sensors_will_do(calm, leaking, inputs):
    keep = {point for points in inputs.values() for point in points}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = x_at(calm[0], {p: v for p, v in calm[1].items() if p in keep}, 36, inputs=inputs)
        loud = x_at(leaking[0], {p: v for p, v in leaking[1].items() if p in keep}, 36, inputs=inputs)
    assert np.isfinite(loud.x).all()
    assert loud.rule_score >= quiet.rule_score
    assert loud.x[-1].max() > quiet.x[-1].max()


def test_constant_inputs_are_quiet_and_dead_ones_are_no_measurement():
    times = START_S + np.arange(0, 36 * DAY_S, 900.0)
    values = {p: np.full(len(times), 5.0) for p in ["debit/flow", *INPUTS["pressure"]]}
    steady = fill(SectorWindow(INPUTS), times, values).features(START_S + 36 * DAY_S)
    assert steady.evidence == []
    assert steady.rule_score == 0
    dead = fill(SectorWindow(INPUTS), times, values, spread=0.0)
    assert dead.features(START_S + 36 * DAY_S) is None
    assert dead.missing(START_S + 36 * DAY_S).startswith("0 jours de mesures sur 22")


def test_without_fresh_data_there_is_no_judgement(calm):
    times, values = calm
    window = fill(SectorWindow(INPUTS), times, values)
    assert window.features(START_S + 36 * DAY_S + 5 * 3600) is None
    assert window.missing(START_S + 36 * DAY_S + 5 * 3600) == "aucune mesure depuis 3 heures au moins"


def test_hourly_and_minute_periods_give_much_the_same(leaking):
    hours = measured(36, [Burst(NODE, 12.0, START_S + 35 * DAY_S)], period_s=3600.0)
    hourly = fill(SectorWindow(INPUTS), *hours, period_s=3600.0).features(START_S + 36 * DAY_S)
    quarter = x_at(*leaking, 36)
    flow = CHANNELS.index("flow_24h")
    assert hourly.x[-1, flow] == pytest.approx(quarter.x[-1, flow], rel=0.3)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "at least one"),
        ({"flow": [f"d{i}/flow" for i in range(7)]}, "0 to 6 flows"),
        ({"pressure": [f"p{i}/pressure" for i in range(41)]}, "0 to 40 pressures"),
        ({"level": ["t/level"]}, "roles flow and pressure"),
        ({"pressure": ["a/pressure", "a/pressure"]}, "named twice"),
    ],
)
def test_impossible_inputs_are_refused(inputs, said):
    with pytest.raises(ValueError, match=said):
        SectorWindow(inputs)


def test_local_days_follow_the_clock_change(calm):
    times, values = calm
    change_s = START_S + 20 * DAY_S

    def offset_s(time_s):
        return 7200.0 if time_s >= change_s else 3600.0

    window = fill(SectorWindow(INPUTS, utc_offset_s=offset_s), times, values)
    assert window.features(START_S + 36 * DAY_S) is not None


def test_a_clock_that_was_years_ahead_and_comes_back_is_survived(calm):
    times, values = calm
    window = fill(SectorWindow(INPUTS), times[:960], {p: v[:960] for p, v in values.items()})
    future_s = START_S + 4000 * DAY_S
    fill(window, [future_s], {p: v[:1] for p, v in values.items()})
    assert window.features(future_s + 3600) is None
    fill(window, times[960:], {p: v[960:] for p, v in values.items()})
    assert window.features(START_S + 36 * DAY_S) is not None


@pytest.mark.parametrize(("pressures", "known"), [(MANY - 1, False), (MANY, True)])
def test_only_many_pressures_tell_a_second_leak_from_more_of_the_first(pressures, known):
    window = SectorWindow({"pressure": [f"p{i}/pressure" for i in range(pressures)]})
    window.raised(START_S, START_S - 3600)
    assert window.running(START_S) is known
    assert bool(window.state()) is known
