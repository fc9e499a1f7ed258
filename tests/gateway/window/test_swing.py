import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.window.swing import BEFORE_H, LEAST_KNOWN, SPANS_H, SWINGS, swings

HOURS = 336 + 48
DRAWN = np.tile(np.sin(np.arange(24) * 2 * np.pi / 24) * np.sqrt(2), HOURS // 24)
SIGMA = np.full((HOURS, 1), 0.01)


def last(residuals, sigma=SIGMA):
    return swings(residuals, sigma, DRAWN, 1)[:, 0, 0]


def noise(seed=0):
    return np.random.default_rng(seed).normal(0, 0.01, (HOURS, 1))


def since(hours, x):
    return np.where(np.arange(HOURS)[:, None] >= HOURS - hours, x, 0.0)


@pytest.mark.parametrize("hours", [72, 216, 300])
def test_what_a_sensor_that_jumped_days_ago_departs_by_has_no_swing(hours):
    day, three_days, _ = last(noise() + since(hours, 0.2)) - last(noise())
    assert abs(day) < 1e-9
    assert abs(three_days) < 1e-9


def test_what_a_leak_takes_off_has_one_over_each_span():
    leak = since(72, 0.05 * (1 + 0.6 * DRAWN)[:, None])
    assert (last(noise() + leak) > 5).all()
    assert (last(noise() - leak) < -5).all()


def test_against_the_week_before_only_a_new_one_has_it():
    always = 0.05 * (1 + 0.6 * DRAWN)[:, None]
    day, three_days, against_before = last(noise() + always)
    assert day > 5
    assert three_days > 5
    assert abs(against_before) < 3


def test_without_departures_it_is_noise_of_one_sigma():
    each = np.array([last(noise(seed)) for seed in range(300)])
    assert each.std(0) == pytest.approx(np.ones(SWINGS), abs=0.15)


@given(seed=st.integers(0, 10_000), gaps=st.floats(0, 0.6), column=st.integers(0, 2))
def test_a_slope_is_the_one_of_a_weighted_least_squares_fit(seed, gaps, column):
    rng = np.random.default_rng(seed)
    sigma = 0.01 * rng.uniform(0.5, 3, (HOURS, 3))
    x = rng.normal(0, 1, (HOURS, 3)) * sigma
    x[rng.random(x.shape) < gaps] = np.nan
    seen = swings(x, sigma, DRAWN, 5)[:, 2, column]  # the hour two before the last
    for span, z in zip(SPANS_H, seen, strict=False):
        part = slice(HOURS - 2 - span, HOURS - 2)
        known = np.isfinite(x[part, column])
        if known.sum() < LEAST_KNOWN * span:
            assert np.isnan(z)
            continue
        weights = 1 / sigma[part, column][known]
        (slope, _), covariance = np.polyfit(DRAWN[part][known], x[part, column][known], 1, w=weights, cov="unscaled")
        assert z == pytest.approx(slope / np.sqrt(covariance[0, 0]), rel=1e-6)


def test_all_hours_at_once_and_one_by_one_are_the_same():
    x = noise(3)
    together = swings(x, SIGMA, DRAWN, 40)
    for back in (0, 7, 39):
        end = HOURS - back
        alone = swings(x[:end], SIGMA[:end], DRAWN[:end], 1)
        assert together[:, 39 - back] == pytest.approx(alone[:, 0], rel=1e-9)


def test_what_came_before_the_first_hour_is_unknown():
    seen = swings(noise(), SIGMA, DRAWN, HOURS)
    assert np.isnan(seen[0, : int(LEAST_KNOWN * SPANS_H[0]) - 1]).all()
    assert np.isfinite(seen[:, BEFORE_H[0] :]).all()
