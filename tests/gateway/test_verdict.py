"""Scores over time become verdicts."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.verdict import Decider, Decision, State

HOUR_S = 3600.0
DAY = 24
DECISION = Decision(
    threshold=1.0,
    evidence=10.0,
    cap=4.0,
    clear=0.0,
    clear_s=24 * HOUR_S,
    grace_s=0.0,
    rise=2.0,
    hold_s=3 * 24 * HOUR_S,
    relax_s=5 * 24 * HOUR_S,
)


def judged(scores, decision=DECISION):
    decider = Decider(decision)
    return [decider.step(i * HOUR_S, score) for i, score in enumerate(scores)]


def raised(scores, decision=DECISION):
    return [i for i, verdict in enumerate(judged(scores, decision)) if verdict.raised]


def test_strong_evidence_decides_within_three_steps_and_weak_evidence_after_days():
    assert raised([0] * 10 + [9] * 10) == [12]
    weak = raised([0] * 10 + [1.2] * 100)
    assert 10 + 48 <= weak[0] <= 10 + 52
    assert raised([0] * 10 + [0.9] * 1000) == []


def test_one_high_score_decides_nothing():
    assert raised([0] * 10 + [1000] + [0] * 50) == []


def test_onset_is_the_last_step_at_the_usual_level():
    verdicts = judged([-5] * 30 + [5] * 20)
    first = next(v for v in verdicts if v.raised)
    assert first.since_s == 29 * HOUR_S
    assert first.state is State.ALERT
    slow = judged([-5] * 30 + [-3, -2, -1, 0, 1, 2, 3, 4, 5, 6])
    first = next(v for v in slow if v.raised)
    assert first.since_s == 29 * HOUR_S


def test_what_goes_on_unchanged_is_raised_once():
    assert len(raised([0] * 10 + [6] * (40 * DAY))) == 1


def test_a_second_leak_on_top_of_the_first_is_raised_and_ends_the_first():
    verdicts = judged([0] * 10 + [6] * (10 * DAY) + [10] * (10 * DAY))
    starts = [i for i, v in enumerate(verdicts) if v.raised]
    assert len(starts) == 2
    assert starts[1] - (10 + 10 * DAY) <= 10
    assert verdicts[starts[1]].cleared


def test_nothing_more_is_raised_within_the_hold_period():
    assert raised([0] * 10 + [6] * 10 + [50] * (2 * DAY)) == [12]


def test_an_alert_clears_after_a_quiet_day_and_the_next_leak_is_found_again():
    verdicts = judged([0] * 10 + [6] * DAY + [-2] * (20 * DAY) + [6] * DAY)
    cleared = [i for i, v in enumerate(verdicts) if v.cleared]
    assert cleared == [10 + DAY + DAY]
    assert len([i for i, v in enumerate(verdicts) if v.raised]) == 2
    assert verdicts[cleared[0]].state is not State.ALERT


def test_a_score_between_clear_and_threshold_keeps_the_alert():
    assert not any(v.cleared for v in judged([0] * 10 + [6] * DAY + [0.5] * (30 * DAY)))


def test_nothing_is_raised_in_the_grace_period_and_all_is_learning():
    import dataclasses

    patient = dataclasses.replace(DECISION, grace_s=5 * 24 * HOUR_S)
    verdicts = judged([9] * (6 * DAY), patient)
    assert [i for i, v in enumerate(verdicts) if v.raised] == [5 * DAY]
    assert verdicts[DAY].state is State.LEARNING


def test_missing_scores_change_nothing():
    with_gaps = [score for value in [0] * 5 + [9] * 5 for score in (value, None, math.nan)]
    assert len(raised(with_gaps)) == 1
    verdict = judged([0] * 5 + [3] + [None] * 500)[-1]
    assert not verdict.raised
    assert verdict.score is None


def test_a_step_back_in_time_changes_nothing():
    decider = Decider(DECISION)
    for i in range(5):
        decider.step(i * HOUR_S, 0.0)
    before = decider.state()
    assert not decider.step(2 * HOUR_S, 100.0).raised
    assert decider.state() == before


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.none(), st.floats(-20, 20)), max_size=200), st.integers(0, 200))
def test_killed_at_any_step_it_goes_on_as_if_nothing_had_happened(scores, killed_at):
    whole = judged(scores)
    decider, out = Decider(DECISION), []
    for i, score in enumerate(scores):
        if i == killed_at:
            state = json.loads(json.dumps(decider.state()))
            decider = Decider(DECISION)
            decider.restore(state)
        out.append(decider.step(i * HOUR_S, score))
    assert out == whole


@pytest.mark.parametrize("state", [{}, {"evidence": 1.0}, {**Decider(DECISION).state(), "floor": "high"}])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match="state of a verdict"):
        Decider(DECISION).restore(state)


def test_a_watch_that_is_usually_quiet_needs_less():
    import dataclasses

    sensitive = dataclasses.replace(DECISION, jump=3.0, clear=-4.0)
    quiet = [-6] * 50 + [-1] * 30
    assert raised(quiet) == []
    assert raised(quiet, sensitive) != []
    assert raised([-1] * 200, sensitive) == []


def test_a_power_makes_strong_evidence_count_more():
    import dataclasses

    squared = dataclasses.replace(DECISION, power=2.0, cap=30.0)
    assert raised([0] * 10 + [4.5] * 10, squared) == [10]
    assert raised([0] * 10 + [1.2] * 100, squared) == []
    assert raised([0] * 10 + [1.2] * 100) != []
