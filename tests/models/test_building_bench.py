"""The bench on buildings: what counts as found and as false; what is simulated does what it is said to."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from edge_models.building.estate import FAMILIES, LEFT_OUT, estate
from edge_models.building.fit import RULE_START, SEEDS, TAUGHT, record, samples
from edge_models.decay import Life
from gateway.window.habit import CHANNELS, OBSERVED, SEEN_H

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench/building.py"))
DAY = 24


def life(above: slice, family: str = "lights", onset: int = 40 * DAY, end: int = 50 * DAY) -> Life:
    scores = np.zeros(100 * DAY)
    scores[above] = 2.0
    return Life(scores, family, onset, end)


@pytest.mark.parametrize(("day", "found", "false"), [(42, 1, 0), (30, 0, 1), (55, 0, 0)])
def test_an_alert_counts_only_while_the_fault_lasts(day, found, false):
    told = BENCH["told"]([life(slice(day * DAY, (day + 1) * DAY))], RULE_START, [0.3])
    assert told["found"]["found"] == found
    assert told["false_alerts"]["alerts"] == false
    assert told["by_size"]["adds 25% to 50%"]["found"] == found


def test_an_alarm_that_is_always_on_is_in_alarm_all_the_time():
    assert BENCH["in_alarm"]([life(slice(0, None), "", -1, -1)], RULE_START) > 0.99
    assert BENCH["in_alarm"]([life(slice(0, 0), "", -1, -1)], RULE_START) == 0


def test_the_seeds_of_the_splits_and_of_the_bench_are_nobody_elses():
    every = [set(seeds) for seeds in SEEDS.values()]
    assert sum(map(len, every)) == len(set.union(*every))
    assert max(set.union(*every)) < BENCH["MINE"]
    assert LEFT_OUT not in TAUGHT


def test_the_forecast_sees_nothing_of_the_meter():
    assert [CHANNELS[at] for at in OBSERVED] == ["over", "over_z", "known", "before_shut", "before_open"]
    assert set(range(len(CHANNELS))) - set(OBSERVED) == set(range(OBSERVED[2] + 1, OBSERVED[3]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fault_takes_more_while_it_lasts_and_nothing_before(family):
    one = estate(5, 8, 330, (family,))
    some = np.flatnonzero(one.onset >= 0)
    assert len(some)
    shut = []
    for i in some:
        during = slice(one.onset[i], one.end[i])
        assert one.excess[i, during].sum() >= -1e-6
        assert abs(one.excess[i, : one.onset[i]].sum()) < 1e-6
        shut.append(one.excess[i, during][one.shut[i, during]].sum() / max(one.excess[i, during].sum(), 1e-9))
    assert np.median(shut) > 0.3, "much of it while nobody is there"


def test_a_healthy_estate_takes_nothing_beyond_and_no_two_are_alike():
    one = estate(6, 8, 60)
    assert not one.excess.any()
    assert len({round(float(np.nanmean(row)), 2) for row in one.kwh}) == 8
    assert np.isnan(one.kwh).any(), "hours without a reading"


def test_the_same_seed_gives_the_same_estate():
    a, b = (estate(9, 3, 45, FAMILIES) for _ in range(2))
    assert np.array_equal(a.kwh, b.kwh, equal_nan=True)
    assert a.family == b.family


def test_what_is_learnt_from_is_faults_that_show_and_sound_hours():
    kept = record(7, TAUGHT, every_h=12, buildings=6)
    x, label, weight = samples(kept, 1)
    assert x.shape[1:] == (SEEN_H, len(CHANNELS))
    assert 0 < label.mean() < 1
    assert np.isfinite(x).all()
    assert ((weight > 0) & (weight <= 1)).all()


def test_a_lowered_classroom_takes_less_heat_than_its_twin():
    saved = BENCH["setback"](0, days=4)
    assert saved["saved_kwh"] > 0
    assert saved["coldest_lesson_c"]["lowered"] > 16
