"""L-Town as the bench uses it; the network's file is not in the repository."""

from pathlib import Path

import numpy as np
import pytest

from edge_models.leak.ltown import INLETS, SENSORS, ltown_case

FILE = Path(__file__).parents[3] / "shared" / "data" / "ltown" / "L-TOWN.inp"


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here: nothing was tried on L-Town")
def test_weeks_on_ltown_have_its_inflow_its_sensors_and_leaks_that_lose_water() -> None:
    pytest.importorskip("wntr")
    case = ltown_case(str(FILE), 1, days=45, leaks=3)
    assert case.values.shape == (45 * 24, len(INLETS) + len(SENSORS))
    assert 100 < case.inflow_m3_h < 250
    assert [2 < leak.m3_h < 40 for leak in case.leaks] == [True] * 3
    before = np.nanmean(case.values[: case.leaks[0].start, 3:])
    assert 2 < before < 8, "bar"
