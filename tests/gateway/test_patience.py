"""Patience with wrong secrets, for label codes and passwords alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.patience import FREE_TRIES, left_s

SECONDS = st.floats(0, 1e10)


def test_the_pause_doubles_after_the_free_tries_up_to_the_longest() -> None:
    pauses = [left_s(wrong, 1000.0, 1000.0, 30.0, 900.0) for wrong in range(FREE_TRIES + 8)]
    assert pauses == [0.0] * FREE_TRIES + [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert left_s(FREE_TRIES, 1000.0, 1010.0, 30.0, 900.0) == 20.0


@given(st.integers(0, 10**9), SECONDS, SECONDS)
def test_nobody_ever_waits_longer_than_the_longest_whatever_the_clock_does(
    wrong: int, last_s: float, now_s: float
) -> None:
    assert 0.0 <= left_s(wrong, last_s, now_s, 2.0, 300.0) <= 300.0
