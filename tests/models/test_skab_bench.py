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


def test_no_input_knows_how_late_it_is():
    """The same measurements later in a recording give the same inputs: a clock would find most of SKAB's labels."""
    rng = np.random.default_rng(2)
    minute = rng.normal([5, 30], [0.1, 0.2], (100, 2))
    found = BENCH["features"](recording(np.tile(minute, (12, 1))))
    assert np.abs(found[700:800] - found[1000:1100]).max() < 0.05


def test_a_clock_says_what_most_recordings_were_at_that_row():
    by_row = BENCH["clock"]([np.array([False, True, True]), np.array([False, True]), np.array([False, False, True])], 5)
    assert by_row.tolist() == [False, True, True, False, False]


def test_a_reference_follows_what_drifts_and_stays_when_the_signal_leaves():
    drifts = np.linspace(30, 31, 1000)
    assert abs(BENCH["followed"](drifts, 0.2)[-1] - 31) < 0.15
    falls = np.r_[np.full(500, 30.0), np.full(300, 25.0)]
    assert BENCH["followed"](falls, 0.2)[-1] > 29.5


def test_weights_that_are_learnt_are_those_of_which_nothing_better_is_near():
    rng = np.random.default_rng(3)
    x = [rng.normal(0, [1, 3], (300, 2)).astype(np.float32) for _ in range(3)]
    y = [one[:, 0] + rng.normal(0, 0.5, 300) > 0.3 for one in x]
    weights = BENCH["learn"](x, y)
    odds = np.concatenate([BENCH["odds"](weights, one) for one in x])
    assert abs(odds.mean() - np.concatenate(y).mean()) < 1e-6  # the constant is free: as many as there are
    assert weights[0] > 5 * abs(weights[1])


def test_a_fault_like_those_learnt_is_found_in_a_recording_never_seen():
    """No real recordings here: a flow that falls by three per cent with a valve, at any time, from any level."""

    def made(seed):
        rng = np.random.default_rng(seed)
        begin, level = int(rng.integers(450, 700)), rng.uniform(30, 120)
        truth = (np.arange(1200) >= begin) & (np.arange(1200) < begin + 300)
        flow = level * (1 - 0.03 * truth) + rng.normal(0, 0.002 * level, 1200)
        rows = np.c_[rng.normal(0.03, 0.001, 1200), flow]
        times = tuple(float(i) for i in range(1200))
        names = ("Accelerometer1RMS", "Volume Flow RateRMS")
        return Recording(str(seed), names, times, tuple(map(tuple, rows.tolist())), tuple(truth.tolist()))

    some = [made(seed) for seed in range(9)]
    x, y = [BENCH["features"](one) for one in some], [BENCH["labels"](one) for one in some]
    threshold, left_out = BENCH["choose"](x[:6], y[:6])
    weights = BENCH["learn"](x[:6], y[:6])
    judged = [BENCH["smooth"](BENCH["odds"](weights, one))[400:] > threshold for one in x[6:]]
    counted = BENCH["count"](judged, [one[400:] for one in y[6:]])
    assert left_out["F1"] > 0.85
    assert counted["F1"] > 0.85
    assert counted["FAR_percent"] < 12


def test_a_folder_that_holds_nothing_is_said(tmp_path):
    with pytest.raises(Exception, match="found none"):
        BENCH["load"](tmp_path)


def test_recordings_of_another_rig_are_refused_by_name():
    one = recording(np.ones((500, 2)))
    other = Recording("b", ("p", "r"), one.times_s, one.rows, one.anomalous)
    assert BENCH["misfits"]([one, one]) == []
    assert BENCH["misfits"]([one, other]) == ["b: expected the columns of a, p, q, got p, r"]


def written(folder, name, rows=450, anomalous=(420, 440), broken=""):
    """A file in SKAB's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["datetime;Pressure;Volume Flow RateRMS;anomaly;changepoint"]
    for row in range(rows):
        when = f"2020-03-09 {10 + row // 3600:02}:{row // 60 % 60:02}:{row % 60:02}"
        lines.append(f"{when};{len(name)}.{row};32;{float(anomalous[0] <= row < anomalous[1])};0.0")
    (folder / name).write_text("\n".join([*lines, *broken.split()]) + "\n", encoding="utf-8")


def test_all_that_is_wrong_with_both_folders_is_said_at_once_and_where(tmp_path):
    written(tmp_path / "train/valve1", "0.csv", broken="garbage")
    written(tmp_path / "train/valve2", "0.csv", broken="2020-03-10;1;x;0;0")
    (tmp_path / "test").mkdir()
    with pytest.raises(SystemExit) as ended:
        BENCH["recordings"](tmp_path / "train", tmp_path / "test")
    said = str(ended.value).splitlines()
    assert len(said) == 3
    assert "valve1/0.csv: line 452: expected 5 cells" in said[0]
    assert "valve2/0.csv: line 452" in said[1]
    assert "found none" in said[2]


@pytest.mark.parametrize(("anomalous", "rows"), [((0, 0), "normal"), ((0, 450), "anomalous")])
def test_nothing_is_learnt_from_recordings_of_one_kind_of_row(tmp_path, anomalous, rows):
    written(tmp_path / "train/valve1", "0.csv", anomalous=anomalous)
    written(tmp_path / "test/valve1", "01.csv")
    with pytest.raises(SystemExit, match=f"expected normal and anomalous rows to learn from, all of them are {rows}"):
        BENCH["recordings"](tmp_path / "train", tmp_path / "test")


def test_recordings_that_are_in_both_folders_are_named(tmp_path):
    for where, name in (("train/valve1", "0.csv"), ("test/other", "7.csv"), ("test/other", "08.csv")):
        written(tmp_path / where, name)
    taught, asked = BENCH["recordings"](tmp_path / "train", tmp_path / "test")
    assert [one.name for one in asked] == ["other/7.csv", "other/08.csv"]
    assert BENCH["seen_before"](taught, asked) == ["other/7.csv"]


def test_no_share_is_told_of_rows_that_are_not_there():
    nothing = BENCH["count"]([np.zeros(3, bool)], [np.zeros(3, bool)])
    assert (nothing["F1"], nothing["FAR_percent"], nothing["MAR_percent"]) == (None, 0.0, None)
    assert BENCH["count"]([np.ones(3, bool)], [np.ones(3, bool)])["FAR_percent"] is None
    assert BENCH["better"](nothing, nothing) is None
    threshold, said = BENCH["choose"]([np.zeros((500, 2), np.float32)] * 2, [np.arange(500) < 100] * 2)
    assert threshold == 0.5
    assert "not chosen" in said["said"]


def test_signals_that_stand_still_give_finite_inputs():
    assert np.isfinite(BENCH["features"](recording(np.ones((500, 2))))).all()


def test_without_folders_it_says_what_it_needs():
    with pytest.raises(SystemExit, match="--train DIR --test DIR"):
        BENCH["run"]()
