"""What is usual, and how far things have gone from it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.window.past import (
    CLIP,
    DAYS,
    FEATURES,
    Past,
    Quantity,
    Usual,
    day_medians,
    known_mean,
    known_median,
    last_known,
)

HEAT = Quantity("heat", "temperature", 5.0, 0.7)
DROP = Quantity("drop", "power_factor", 0.05, 0.006, side=-1)
SLOTS = 24
NAN = float("nan")


def days(count: int = DAYS, slope: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Load of (1, slots) and y of (1, 1, slots): 10 + slope * load, give or take 1."""
    rng = np.random.default_rng(seed)
    load = np.where(np.arange(count * SLOTS) % 24 < 8, 40.0, 20.0)[None]
    return load, (10 + slope * load + rng.normal(0, 1, load.shape))[:, None]


@given(st.lists(st.floats(-100, 100) | st.just(NAN), min_size=1, max_size=9), st.integers(1, 4))
def test_the_known_median_is_numpys_of_what_is_known(values: list[float], least: int) -> None:
    y = np.array([values])
    known = y[np.isfinite(y)]
    found = known_median(y, least)[0]
    if len(known) < least:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.median(known))


def test_a_day_with_too_little_has_no_median() -> None:
    y = np.full((1, 48), NAN)
    y[0, :2], y[0, 24:27] = 1.0, (1.0, 5.0, 2.0)
    assert np.array_equal(day_medians(y, 24), [[NAN, 2.0]], equal_nan=True)


def test_the_last_known_pass_over_gaps() -> None:
    y = np.array([[9.0, 1.0, NAN, 2.0, 3.0, NAN]])
    assert last_known(y, 3, 3)[0] == 2.0
    assert np.isnan(last_known(y, 5, 5)[0])
    assert np.isnan(known_mean(np.array([[1.0, NAN, NAN, NAN, NAN, NAN]]))[0])


def test_what_is_usual_is_learnt_with_its_load() -> None:
    usual = Usual.learn(*days(), SLOTS, [HEAT])
    assert usual.slope[0, 0] == pytest.approx(0.5, abs=0.02)
    assert usual.spread[0, 0] == pytest.approx(1.0, abs=0.2)
    assert usual.daily[0, 0] < usual.spread[0, 0]
    rest = usual.rest(np.array([[30.0, 80.0]]), np.array([[[30.0, 30.0]]]))[0, 0]
    assert rest[0] == pytest.approx(5, abs=0.3)
    assert np.isnan(rest[1]), "nobody knows what is usual at a load that was never seen"


def test_too_few_days_teach_nothing() -> None:
    load, y = days()
    y[..., : 23 * SLOTS] = NAN
    assert np.isnan(Usual.learn(load, y, SLOTS, [HEAT]).at_zero).all() == (35 - 23 < 2)
    y[..., :] = NAN
    assert np.isnan(Usual.learn(load, y, SLOTS, [HEAT]).at_zero).all()


def test_slow_decay_shows_against_the_first_reference_and_not_the_recent() -> None:
    past = Past([HEAT])
    load, y = days(160)
    y += np.clip((np.arange(160 * SLOTS) / SLOTS - 40) * 0.1, 0, None)  # a tenth of a degree a day from day 40 on
    for day in range(DAYS, 161):
        span = slice((day - DAYS) * SLOTS, day * SLOTS)
        past.renew(load[:, span], y[..., span], SLOTS)
    gone = past.departures(load[:, -8:], y[..., -8:], 4, 3)
    assert gone.now[0, 0] < 3, "three weeks of drift, hardly more than the noise"
    assert gone.long[0, 0] == pytest.approx(11.5, abs=0.5)
    x = past.features(gone)
    assert x.shape == (1, 1, len(FEATURES))
    assert x[0, 0, FEATURES.index("long")] == CLIP


def test_what_is_put_right_is_forgotten_at_once() -> None:
    past = Past([HEAT])
    load, y = days(DAYS)
    past.renew(load, y, SLOTS)
    warm = y.copy()
    warm[..., -10 * SLOTS :] += 8
    past.renew(load, warm, SLOTS)
    still, mended = (past.departures(load[:, -8:], one[..., -8:], 4, 3) for one in (warm, y))
    assert still.long[0, 0] == pytest.approx(8, abs=0.5)
    assert abs(mended.long[0, 0]) < 2


def test_a_first_reference_that_says_nothing_any_more_is_given_up() -> None:
    past = Past([HEAT])
    load, y = days(DAYS)
    past.renew(load, y, SLOTS)
    first = past.first.at_zero[0, 0]
    past.renew(load * 5, y + 500, SLOTS)
    assert past.first.at_zero[0, 0] != first


def test_it_outlives_a_restart() -> None:
    past, other = Past([HEAT, DROP]), Past([HEAT, DROP])
    load, y = days()
    past.renew(load, np.concatenate([y, np.full_like(y, NAN)], 1), SLOTS)
    other.restore(json.loads(json.dumps(past.state())))
    assert np.array_equal(other.first.at_zero, past.first.at_zero, equal_nan=True)
    assert np.isnan(other.first.at_zero[0, 1])


@pytest.mark.parametrize("state", [{}, {"at_zero": [[1.0]]}, [1], {name: [[1.0]] for name in ("at_zero", "odd")}])
def test_what_is_no_state_is_refused(state: object) -> None:
    with pytest.raises(ValueError, match="first reference"):
        Past([HEAT]).restore(state)  # type: ignore[arg-type]


def test_bad_departures_are_positive_whatever_the_side() -> None:
    past = Past([HEAT, DROP, Quantity("shift", "volts", 1.0, 0.1, side=0)])
    assert past.bad(np.array([[2.0, -2.0, -2.0]])).tolist() == [[2.0, 2.0, 2.0]]
