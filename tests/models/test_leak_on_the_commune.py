"""The shipped leak model in the demo's commune: a few nights here, more by `python -m edge_models.leak.commune`."""

from pathlib import Path

import pytest

from edge_models.leak.commune import night
from gateway.inference import load_model

MODEL = load_model(Path(__file__).parents[2] / "edge_models" / "leak")


@pytest.mark.parametrize(("seed", "size_m3_h"), [(1, 9.0), (2, 12.0), (3, 16.0), (4, 20.0), (11, 12.0), (12, 9.0)])
def test_a_burst_is_alerted_once_within_sixteen_hours(seed, size_m3_h):
    found = night(MODEL, seed, size_m3_h)
    assert len(found.raised_h) == 1
    assert 0 < found.raised_h[0] <= 16
    assert -3 <= found.onset_h[0] <= 3


@pytest.mark.parametrize("seed", [101, 102])
def test_a_week_without_a_leak_is_quiet(seed):
    assert night(MODEL, seed, hours=7 * 24).raised_h == ()
