"""Trying many decisions at once gives what the Decider gives, one after another."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_models.leak.trial import tried
from gateway.verdict import Decider, Decision, State

HOUR_S = 3600.0
PLAIN = Decision(
    threshold=0.5,
    evidence=8.0,
    cap=6.0,
    clear=0.0,
    clear_s=6 * HOUR_S,
    grace_s=0.0,
    rise=1.0,
    hold_s=24 * HOUR_S,
    relax_s=60 * HOUR_S,
)
DECISIONS = [
    PLAIN,
    replace(PLAIN, power=1.5, jump=2.0, fade_s=30 * HOUR_S),
    replace(PLAIN, power=2.0, clear_s=24 * HOUR_S, rise=4.0, fade_s=48 * HOUR_S, hold_s=72 * HOUR_S),
]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_all_at_once_is_one_after_another(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.repeat(rng.normal(0, 3, (3, 12)), 30, axis=1)
    scores = steps + rng.normal(0, 1.5, steps.shape)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    for decision, (raised, lasting) in zip(DECISIONS, tried(scores, DECISIONS), strict=True):
        for row, raises, lasts in zip(scores, raised, lasting, strict=True):
            decider = Decider(decision)
            said = [decider.step(hour * HOUR_S, score) for hour, score in enumerate(row.tolist())]
            assert [v.raised for v in said] == raises.tolist()
            assert [v.state is State.ALERT for v in said] == lasts.tolist()


def test_a_grace_period_is_refused() -> None:
    with pytest.raises(ValueError, match="grace"):
        list(tried(np.zeros((1, 3)), [replace(PLAIN, grace_s=1.0)]))
