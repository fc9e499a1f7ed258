"""The bench on the pump rig: how it counts and what it may look at; its figures are the bench's own business."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from simulator.recording import Recording

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench/skab.py"))


def recording(rows):
    times = tuple(float(i) for i in range(len(rows)))
    return Recording("a", ("p", "q"), times, tuple(map(tuple, rows.tolist())), (False,) * len(rows))


def test_an_alarm_that_is_always_on_misses_nothing_and_is_always_false():
    truth = [np.array([True, False, False, True])]
    counted = BENCH["count"]([np.ones(4, bool)], truth)
    assert counted == {"F1": 0.667, "FAR_percent": 100.0, "MAR_percent": 0.0, "rows": 4}


def test_no_row_is_judged_by_what_comes_after_it():
    rows = np.random.default_rng(1).normal(5, 1, (700, 2))
    changed = rows.copy()
    changed[600:] += 50
    before, after = BENCH["features"](recording(rows)), BENCH["features"](recording(changed))
    assert np.array_equal(before[:600], after[:600])
    assert not np.array_equal(before[600:], after[600:])


def test_a_folder_that_holds_nothing_is_said(tmp_path):
    with pytest.raises(Exception, match="found none"):
        BENCH["load"](tmp_path)


def test_recordings_of_another_rig_are_refused_by_name():
    one = recording(np.ones((500, 2)))
    other = Recording("b", ("p", "r"), one.times_s, one.rows, one.anomalous)
    assert BENCH["misfits"]([one, one]) == []
    assert BENCH["misfits"]([one, other]) == ["b: expected the columns of a, p, q, got p, r"]


def test_signals_that_stand_still_give_finite_inputs():
    assert np.isfinite(BENCH["features"](recording(np.ones((500, 2))))).all()


def test_without_folders_it_says_what_it_needs():
    with pytest.raises(SystemExit, match="--train DIR --test DIR"):
        BENCH["run"]()
