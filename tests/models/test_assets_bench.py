"""The bench on lamps and lifts: what counts as found in time and as false; what is simulated does what it is said to."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_models.batch import KINDS, live
from edge_models.decay import (
    CERTAIN,
    DAY,
    RULE_DECISION,
    SEEDS,
    START,
    Ask,
    Counted,
    Life,
    bands,
    count,
    decide,
    handicap_of,
    handicapped,
    rate,
    share,
)
from edge_models.lamp_driver.street import FAMILIES as LAMP_FAMILIES
from edge_models.lamp_driver.street import street
from edge_models.lift_door.shaft import FAMILIES as LIFT_FAMILIES
from edge_models.lift_door.shaft import shafts
from gateway.window.lamp import COLUMN
from gateway.window.lift import COLUMN as LIFT_COLUMN

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench/assets.py"))


def life(above: slice, family: str = "capacitor", onset: int = 40 * DAY, end: int = 90 * DAY) -> Life:
    scores = np.zeros(100 * DAY)
    scores[above] = 2.0
    return Life(scores, family, onset, end)


@pytest.mark.parametrize(("day", "in_time", "at_all"), [(75, 1, 1), (77, 0, 1), (95, 0, 0)])
def test_an_alert_counts_only_so_many_days_ahead(day, in_time, at_all):
    counted = count([life(slice(day * DAY, None))], RULE_DECISION)
    assert counted.in_time(14) == (in_time, 1)
    assert sum(len(leads) for leads in counted.lead_d.values()) == at_all
    assert counted.false == 0


def test_an_alert_before_the_fault_began_is_no_success_but_a_false_one():
    counted = count([life(slice(20 * DAY, None))], RULE_DECISION)
    assert counted.in_time(14) == (0, 1)
    assert counted.false == 1


def test_months_are_those_without_a_fault():
    sound = Life(np.zeros(608 * DAY))
    assert count([sound], RULE_DECISION).months == pytest.approx(20)
    assert count([life(slice(0, 0), onset=76 * DAY)], RULE_DECISION).months == pytest.approx(2.5)


def test_no_alert_is_still_an_upper_bound_and_not_nothing():
    found = rate(0, 1000)
    assert found["a_month"] == 0
    assert 3.6 < found["high"] * 1000 < 3.8
    assert rate(10, 1000)["low"] < 0.01 < rate(10, 1000)["high"]
    assert share(9, 10)["low"] < 0.9 < share(9, 10)["high"]


def test_a_decision_is_chosen_that_keeps_to_the_false_alerts_that_are_allowed():
    rng = np.random.default_rng(0)
    lives = [Life(rng.normal(-3, 1, 100 * DAY)) for _ in range(5)]
    lives += [life(slice(60 * DAY, None)) for _ in range(3)]
    decision, counted = decide(lives, 14, 0.0)
    assert counted.false == 0
    assert counted.in_time(14) == (3, 3)
    assert decision.clear < decision.threshold


def test_the_handicap_is_the_smallest_that_keeps_quiet_and_spares_what_is_certain():
    def bump(height):
        scores = np.full(61 * DAY, -3.0)
        scores[30 * DAY : 32 * DAY] = height
        return Life(scores)

    decision = replace(START, threshold=4.0, clear=3.0)
    assert handicap_of([bump(3.0)], decision, 0.0) == 0.0
    assert handicap_of([bump(5.9)], decision, 0.0) == 2.0
    with pytest.raises(ArithmeticError, match="handicap: expected one"):
        handicap_of([bump(CERTAIN)], decision, 0.0)
    certain, other = (handicapped([bump(height)], 5.0)[0].scores.max() for height in (CERTAIN, 5.9))
    assert (certain, other) == (CERTAIN, pytest.approx(0.9))


def test_confidence_never_falls_with_the_score_and_nothing_is_said_of_few_alerts():
    def alerts(right, wrong):
        return Counted({}, {}, len(wrong), 1.0, tuple(right), tuple(wrong))

    odd = bands(alerts(np.linspace(1, 4, 90), [3.9] * 60))
    shares = [right / of for _, right, of in odd]
    assert shares == sorted(shares)
    assert sum(of for _, _, of in odd) == 150
    even = bands(alerts(np.linspace(1, 4, 90), [1.1] * 30))
    assert len(even) == 3
    assert even[0][1] < even[0][2]
    assert bands(alerts([2.0] * 15, [])) == []


def test_the_seeds_of_the_bench_are_nobody_elses():
    assert all(max(seeds) < BENCH["MINE"] for seeds in SEEDS.values())
    plan = list(BENCH["batches"]("lamp_driver", 4000, 240, BENCH["MINE"], 48, 200))
    assert min(ask.seed for _, ask in plan) >= BENCH["MINE"]
    assert len({(group, ask.seed) for group, ask in plan}) == len(plan)
    assert {group for group, _ in plan} == {"healthy", "faults", "alone", "partly"}


@pytest.mark.parametrize("name", ["lamp_driver", "lift_door"])
def test_a_batch_is_lived_through_by_the_shipped_model_and_the_rule(name):
    for lives in live(Ask(name, 10_001, 3, 45, KINDS[name].families, (5, 9))):
        assert len(lives) == 3
        assert all(np.isfinite(one.scores).any() for one in lives)


@pytest.mark.parametrize("family", LAMP_FAMILIES)
def test_a_failing_lamp_changes_what_its_family_is_said_to_change(family):
    one = street(3, 12, 150, (family,), (60, 90), whole=True)
    rows, gone = one.rows, one.gone
    lit = rows[..., COLUMN["power"]] > 5

    def change(role, late):
        values = np.where(lit & (rows[..., COLUMN["level"]] > 60), rows[..., COLUMN[role]], np.nan)
        before = np.array([np.nanmedian(v[g == 0]) for v, g in zip(values, gone, strict=True)])
        after = np.array([np.nanmedian(v[late(g)]) for v, g in zip(values, gone, strict=True)])
        return np.median(after - before)

    def late(g):
        return (g > 0.6) & (g < 1)

    starts = rows[..., COLUMN["starts"]]
    restarts = np.nanmax(starts, 1) - np.nanmin(starts, 1)
    match family:
        case "capacitor":
            assert change("power_factor", late) < -0.03
        case "cooling":
            assert change("temperature", late) > 8
        case "string_short":
            assert change("source_voltage", late) < -3
        case "connector":
            assert np.median(restarts) > 30
        case "surge":
            assert change("power_factor", lambda g: (g > 0) & (g < 0.2)) < -0.005, "something breaks at once"


def test_a_healthy_street_has_no_fault_and_no_two_lamps_alike():
    one = street(4, 6, 60)
    assert not one.gone.any()
    assert len({round(float(np.nanmax(row[:, COLUMN["power"]]))) for row in one.rows}) >= 5


@pytest.mark.parametrize("family", LIFT_FAMILIES)
def test_a_failing_lift_changes_what_its_family_is_said_to_change(family):
    one = shafts(3, 8, 120, (family,), (40, 60), drive=True, busy_share=0.0)
    late, sound = (one.gone > 0.6) & (one.gone < 1), one.gone == 0

    def share(role):
        values = one.rows[..., LIFT_COLUMN[role]]
        pairs = zip(values, late, sound, strict=True)
        return np.median([np.nanmean(v[a]) / np.nanmean(v[b]) for v, a, b in pairs])

    match family:
        case "rollers":
            assert share("door_speed") < 0.85
            assert share("door_current") > 1.15
        case "brake":
            assert share("brake_time") > 1.2
            assert share("levelling") > 1.5
        case "bearing":
            assert share("vibration") > 1.6
        case "belt":
            assert share("door_speed") < 0.9
            assert share("door_current") < 0.97
