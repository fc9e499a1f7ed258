import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.window.trailing import trailing


@given(hours=st.integers(1, 60), wanted=st.integers(1, 60), far=st.integers(1, 50), near=st.integers(0, 49))
def test_sums_are_those_of_the_hours_themselves(hours, wanted, far, near):
    wanted, near = min(wanted, hours), min(near, far - 1)
    parts = np.random.default_rng(hours).normal(0, 1, (2, hours, 3))
    seen = trailing(parts, wanted, 50)(far, near)
    assert seen.shape == (2, wanted, 3)
    for i in range(wanted):
        end = hours - wanted + i + 1
        assert seen[:, i] == pytest.approx(parts[:, max(0, end - far) : max(0, end - near)].sum(1), abs=1e-9)
