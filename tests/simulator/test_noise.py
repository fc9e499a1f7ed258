"""Chance as a function of (seed, name, counter)."""

import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.drift import Drift
from simulator.noise import Noise, scramble
from simulator.weather import air_c


def test_the_scrambler_is_splitmix64s_finaliser() -> None:
    """First output of SplitMix64 for the seed 0, as in the reference implementation and in java.util.SplittableRandom."""
    assert scramble(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_equal_seed_and_name_give_equal_values_and_others_do_not() -> None:
    noise = Noise(7, "lamp")
    assert Noise(7, "lamp").uniform(12) == noise.uniform(12) == 0.7910904739266822
    assert len({noise.uniform(12), noise.uniform(13), Noise(8, "lamp").uniform(12), Noise(7, "lamq").uniform(12)}) == 4


@given(st.integers(-(2**63), 2**63), st.text(max_size=12), st.integers(-(2**40), 2**40))
def test_any_seed_name_and_counter_give_a_share(seed: int, name: str, counter: int) -> None:
    noise = Noise(seed, name)
    assert 0 <= noise.uniform(counter) < 1
    assert abs(noise.gauss(counter)) < 9


def test_values_are_spread_as_they_should_be() -> None:
    noise = Noise(3, "spread")
    even, normal = [noise.uniform(i) for i in range(20_000)], [noise.gauss(i) for i in range(20_000)]
    assert statistics.mean(even) == pytest.approx(0.5, abs=0.01)
    assert statistics.mean(normal) == pytest.approx(0, abs=0.03)
    assert statistics.stdev(normal) == pytest.approx(1, abs=0.03)
    steps = [a * b for a, b in pairwise(normal)]
    assert statistics.mean(steps) == pytest.approx(0, abs=0.03), "neighbours are independent"


def test_a_smooth_curve_is_continuous_and_of_unit_spread() -> None:
    noise = Noise(3, "smooth")
    curve = [noise.smooth(t, 100.0) for t in range(60_000)]
    assert max(abs(a - b) for a, b in pairwise(curve)) < 0.12
    assert statistics.stdev(curve) == pytest.approx(1, abs=0.1)


def test_a_drift_grows_from_nothing_to_its_severity() -> None:
    straight, steep = Drift(100, 50, 0.8), Drift(100, 50, 0.8, steepness=4)
    assert (straight.at(100), straight.at(125), straight.at(150), straight.at(9e9)) == (0, pytest.approx(0.4), 0.8, 0.8)
    assert steep.at(125) < 0.15
    assert steep.at(150) == 0.8
    assert Drift(100, 0, 2.0).at(100.1) == 2.0, "at once"
    with pytest.raises(ValueError, match="0 or more"):
        Drift(0, -1)


def test_the_air_is_colder_in_january_than_in_july_and_at_night() -> None:
    january, july = 1_768_400_000.0, 1_784_000_000.0
    winter = [air_c(january + 3600 * h, 1) for h in range(24 * 14)]
    summer = [air_c(july + 3600 * h, 1) for h in range(24 * 14)]
    assert -8 < statistics.mean(winter) < 8
    assert 13 < statistics.mean(summer) < 27
    day_s = 1_784_073_600.0
    assert day_s % 86400 == 0
    nights, noons = ([air_c(day_s + d * 86400 + h * 3600, 1) for d in range(30)] for h in (2, 14))
    assert statistics.mean(noons) - statistics.mean(nights) == pytest.approx(8, abs=1.5)
