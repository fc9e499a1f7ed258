"""A sector's usual: what is read off it in two ways is the same."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.window.baseline import PRESSURES, Baseline, Stretch

HOURS = 28 * 24


@pytest.mark.parametrize("flows", [0, 2])
def test_drops_are_the_usual_pressures_of_all_departures(flows: int) -> None:
    rng = np.random.default_rng(flows)
    hour = np.arange(HOURS)
    drawn = 10 + 4 * np.sin(hour * 2 * np.pi / 24)[:, None] + rng.normal(0, 0.3, (HOURS, flows + 4))
    values = np.hstack([drawn[:, :flows], 4 - 0.05 * drawn[:, flows:]])
    values[rng.random(values.shape) < 0.05] = np.nan
    values[40:, -1] = np.nan  # a pressure of which too little is known
    day = hour // 24
    stretch = Stretch(values, flows, day, hour % 24, (day % 7 >= 5).astype(np.int64))
    baseline = Baseline.learn(stretch)
    assert baseline is not None
    drops = baseline.drops(stretch)
    assert np.isnan(drops[:, -1]).all()
    assert np.isfinite(drops[:, :-1]).mean() > 0.9
    np.testing.assert_array_equal(drops, baseline.departures(stretch)[:, PRESSURES : PRESSURES + 4])
