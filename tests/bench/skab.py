"""`guet bench skab --train DIR --test DIR`: one small int8 model on recordings of a real pump rig that it never saw.

DIR holds recordings in SKAB's own layout (valve1/*.csv, valve2/*.csv, other/*.csv). The protocol is *supervised*: labels of
--train teach the model and, by leaving out each of its recordings in turn, choose the threshold; labels of --test only
count. What a recording may teach about itself are its first 400 rows, as on the public leaderboard, where every detector is
fitted anew on them; here they only say how much each signal varies. The rows after them are judged one by one, each from
what came before, and counted together as the leaderboard does. Files without labels are not used.

No input knows how late it is in a recording. That matters: the anomalies of nearly all of them begin and end at about the
same row, so that a clock would do well (`clock_reading`: it looks at nothing else) and learn nothing about a pump.
The model is a logistic regression: two hidden layers on the same inputs gained nothing over it on recordings left out.
Quantising needs TensorFlow (extra `train`); judging is done by the gateway's runtime.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

# Small matrices: several threads that wait for each other on a busy machine take thirty times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from simulator.recording import Recording, RecordingError, load_folder

QUANTISE = Path(__file__).resolve().parents[2] / "edge_models/quantise.py"
USUAL = 400
"""Rows of a recording that say what is usual in it."""

SMOOTH = 3
SHORT, LONG = 5, 15
"""Rows whose mean is a signal's present state."""

FOLLOWS, LEAVES = 100, 4000
"""Rows within which the reference follows what is near it, and all else."""

NEAR = 2.0
"""Usual variations within which something is near."""

FIRST = 40
"""Rows from whose median the reference starts."""

LOOKS_BACK = (40, 80)
"""Rows in which the largest departure is looked for: a valve still turns after the flow has come back."""

LEAST_SHARE = 0.003
LEAST_DEGREES = 0.3
RIDGE = 100.0
GOALS = {"FAR_percent": 8.0, "MAR_percent": 15.0}
MOST_BYTES = 32768
MOST_STEPS, ENOUGH = 20, 1e-4
"""Of Newton's method."""
Floats = NDArray[np.float32]


def run(train: str = "", test: str = "") -> dict[str, Any]:
    """F1, FAR and MAR on --test, beside an alarm that is always on and one that only reads the clock."""
    if not train or not test:
        sys.exit("guet bench skab: expected --train DIR --test DIR, folders of recordings in SKAB's layout")
    if importlib.util.find_spec("tensorflow") is None:
        sys.exit("guet bench skab: TensorFlow is missing; install it: pip install 'guet-edge[train]'")
    os.environ.update(TF_ENABLE_ONEDNN_OPTS="0", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    taught, asked = recordings(Path(train), Path(test))
    if twice := seen_before(taught, asked):
        say(f"{', '.join(twice)}: in --train too; what is told of them says nothing about recordings never seen")
    say("looking at the recordings ...")
    x, y = [features(one) for one in taught], [labels(one) for one in taught]
    tested, truth = [features(one) for one in asked], [labels(one)[USUAL:] for one in asked]
    threshold, held_out = choose(x, y)
    say("quantising the model that is judged ...")
    weights = learn(x, y)
    content = quantised(weights, np.concatenate(x))
    judged = [smooth(chances(content, one))[USUAL:] > threshold for one in tested]
    before = [smooth(odds(weights, one))[USUAL:] > threshold for one in tested]
    by_clock = clock([one[USUAL:] for one in y], max(len(one) for one in truth))
    counted, always, late = (
        count(found, truth)
        for found in (judged, [np.ones(len(one), bool) for one in truth], [by_clock[: len(one)] for one in truth])
    )
    if better(counted, always) is False:
        say("no better than an alarm that is always on: --train seems to hold no faults like those of --test")
    return {
        "protocol": "supervised; experiments of --test held out; outlier task counted over all rows after the first 400",
        "model": {"bytes": len(content), "threshold": round(threshold, 2), "inputs": x[0].shape[1], "numbers": "int8"},
        "train_files": len(taught),
        "test_files": len(asked),
        "in_train_too": twice,
        **counted,
        "better_than": {"always_alarm": better(counted, always), "clock_reading": better(counted, late)},
        "before_int8": count(before, truth),
        "always_alarm": always,
        "clock_reading": late,
        "left_out_of_train_one_by_one": held_out,
        "by_file": {one.name: count([found], [true]) for one, found, true in zip(asked, judged, truth, strict=True)},
    }


def say(text: str) -> None:
    print(f"skab: {text}", file=sys.stderr, flush=True)


def recordings(train: Path, test: Path) -> tuple[list[Recording], list[Recording]]:
    """Those to learn from and those to judge. Ends the bench with all that is wrong with any of them."""
    loaded: list[list[Recording]] = []
    faults: list[str] = []
    for folder in (train, test):
        try:
            loaded.append(load(folder))
        except RecordingError as error:
            faults += error.faults
    if not faults:
        faults = misfits([*loaded[0], *loaded[1]])
        labelled = {label for one in loaded[0] for label in one.anomalous}
        if len(labelled) < 2:
            rows = "anomalous" if labelled == {True} else "normal"
            faults.append(f"{train}: expected normal and anomalous rows to learn from, all of them are {rows}")
    if faults:
        sys.exit("\n".join(faults))
    return loaded[0], loaded[1]


def load(folder: Path) -> list[Recording]:
    """The labelled recordings of a folder and its subfolders, named by their way from it. Raises RecordingError with all
    faults of all."""
    folders = sorted({file.parent for file in folder.rglob("*.csv")})
    if not folders:
        raise RecordingError([f"{folder}: expected recordings (*.csv) in it or below it, found none"])
    every: list[Recording] = []
    faults: list[str] = []
    for each in folders:
        within = each.relative_to(folder)
        try:
            every += [replace(one, name=str(within / one.name)) for one in load_folder(each)]
        except RecordingError as error:
            faults += [str(each / fault) for fault in error.faults]
    if faults:
        raise RecordingError(faults)
    found = [one for one in every if one.anomalous and len(one.rows) > USUAL]
    if len(found) < len(every):
        left = len(every) - len(found)
        say(f"{folder}: {left} of {len(every)} recordings not used: no labels, or no row after {USUAL}")
    if not found:
        raise RecordingError([f"{folder}: expected labelled recordings of more than {USUAL} rows, found none"])
    return found


def seen_before(taught: list[Recording], asked: list[Recording]) -> list[str]:
    """Names of the recordings to judge that are among those learnt from, whatever they are called there."""
    known = {hash(one.rows) for one in taught}
    return [one.name for one in asked if hash(one.rows) in known]


def misfits(recordings: list[Recording]) -> list[str]:
    """Recordings whose signals are not those of the first."""
    first = recordings[0]
    return [
        f"{one.name}: expected the columns of {first.name}, {', '.join(first.columns)}, got {', '.join(one.columns)}"
        for one in recordings
        if one.columns != first.columns
    ]


def labels(recording: Recording) -> NDArray[np.bool_]:
    return np.array(recording.anomalous)


def windows(z: NDArray[Any], width: int) -> NDArray[Any]:
    """(rows, columns, width): each row with those before it; before the first, the first."""
    padded = np.concatenate([np.repeat(z[:1], width - 1, 0), z])
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)


def later(z: NDArray[Any], rows: int) -> NDArray[Any]:
    """What z was so many rows before."""
    return np.concatenate([np.repeat(z[:1], rows, 0), z])[: len(z)]


def features(recording: Recording) -> Floats:
    """(rows, inputs): of flow and vibration, or of every signal where there is none of that name, how far each is from a
    reference that follows it, in usual variations and in per cent, to which side, and at most in the last minute; how far
    temperatures are. Logarithmic in size."""
    x = filled(np.array(recording.rows))
    names = [name.lower() for name in recording.columns]
    warm = [j for j, name in enumerate(names) if name.startswith(("temp", "therm"))]
    told = [j for j, name in enumerate(names) if "flow" in name or name.startswith("accel")]
    told = told or [j for j in range(len(names)) if j not in warm]
    short, long = (windows(x, rows).mean(-1) for rows in (SHORT, LONG))
    parts: list[NDArray[Any]] = []
    for j in told:
        usual = abs(float(np.median(x[:USUAL, j]))) + 1e-6
        quick, slow = (varies(mean[:, j], rows) + LEAST_SHARE * usual for mean, rows in ((short, SHORT), (long, LONG)))
        reference = followed(long[:, j], slow)
        sudden, gone = short[:, j] - reference, long[:, j] - reference
        parts += [gone / slow, np.abs(gone) / slow, np.abs(sudden) / quick]
        parts += [100 * gone / usual, 100 * np.abs(gone) / usual, 100 * np.abs(sudden) / usual]
        for rows in LOOKS_BACK:
            most = windows(np.abs(gone)[:, None], rows).max(-1)[:, 0]
            parts += [most / slow, 100 * most / usual]
        parts.append((long[:, j] - later(long[:, j], LONG)) / slow)
    for j in warm:
        spread = varies(long[:, j], 4 * LONG) + LEAST_DEGREES
        gone = (long[:, j] - followed(long[:, j], spread)) / spread
        parts += [gone, np.abs(gone)]
    found = np.stack(parts, 1)
    return np.asarray(np.sign(found) * np.log1p(np.abs(found)), np.float32)


def varies(mean: NDArray[Any], rows: int) -> float:
    """By how much a mean usually differs from what it was so many rows before: one deviation, robust, of each of the two."""
    return float(1.4826 * np.median(np.abs(mean - later(mean, rows))[FIRST:USUAL]) / np.sqrt(2))


def followed(mean: NDArray[Any], spread: float) -> NDArray[np.float64]:
    """A reference that follows a signal while it is near, and hardly once it has left."""
    reference = np.full(len(mean), np.median(mean[:FIRST]))
    at = float(reference[0])
    for row in range(FIRST, len(mean)):
        off = float(mean[row]) - at
        at += off / (FOLLOWS * (1 + (off / spread / NEAR) ** 4)) + off / LEAVES
        reference[row] = at
    return reference


def filled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """An empty cell holds the value before it; before the first value, 0."""
    for row in range(len(x)):
        x[row] = np.where(np.isfinite(x[row]), x[row], x[row - 1] if row else 0.0)
    return x


def learn(x: list[Floats], y: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Weights of a logistic regression, the constant last, by Newton's method: the same for the same recordings."""
    rows, truth = np.concatenate(x).astype(float), np.concatenate(y).astype(float)
    centre, spread = rows.mean(0), rows.std(0) + 1e-6
    z = np.c_[(rows - centre) / spread, np.ones(len(rows))]
    ridge = np.append(np.full(z.shape[1] - 1, RIDGE), 1e-6)
    w = np.zeros(z.shape[1])
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-z @ w))
        step = np.linalg.solve(z.T @ (z * (p * (1 - p))[:, None]) + np.diag(ridge), z.T @ (p - truth) + ridge * w)
        w -= step
        if np.abs(step).max() < ENOUGH:
            break
    return np.append(w[:-1] / spread, w[-1] - w[:-1] @ (centre / spread))


def odds(weights: NDArray[np.float64], x: Floats) -> NDArray[np.float64]:
    """Chances of being anomalous, in float."""
    return np.asarray(1 / (1 + np.exp(-(x @ weights[:-1] + weights[-1]))))


def quantised(weights: NDArray[np.float64], x: Floats) -> bytes:
    """The int8 model; its scales come from x."""
    import tensorflow as tf

    first = tf.keras.layers.Input((len(weights) - 1,))
    model = tf.keras.Model(first, tf.keras.layers.Dense(1)(first))
    model.set_weights([weights[:-1, None].astype(np.float32), weights[-1:].astype(np.float32)])
    content: bytes = runpy.run_path(str(QUANTISE))["int8_model"](model, x[:: max(1, len(x) // 2000)])
    if len(content) > MOST_BYTES:
        sys.exit(f"guet bench skab: expected a model of at most {MOST_BYTES} bytes, got {len(content)}")
    return content


def chances(content: bytes, x: Floats) -> NDArray[np.float64]:
    """Chances of being anomalous, by the gateway's runtime."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = given["quantization"]
    rows = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    raw = np.empty(len(rows))
    for number, row in enumerate(rows):
        interpreter.set_tensor(given["index"], row[None])
        interpreter.invoke()
        raw[number] = interpreter.get_tensor(result["index"]).reshape(-1)[0]
    scale, zero = result["quantization"]
    return np.asarray(1 / (1 + np.exp(-(raw - zero) * scale)))


def smooth(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(windows(chance[:, None], SMOOTH).mean(-1)[:, 0])


def choose(x: list[Floats], y: list[NDArray[np.bool_]]) -> tuple[float, dict[str, Any]]:
    """The threshold with the best F1, on recordings left out one by one, with no more
    false rows than the goal where that can be, and no more missed ones."""
    if len(x) < 2:
        return 0.5, {"said": "one file only: threshold 0.5, not chosen"}
    judged = []
    for out in range(len(x)):
        say(f"left out {out + 1} of {len(x)} ...")
        weights = learn([*x[:out], *x[out + 1 :]], [*y[:out], *y[out + 1 :]])
        judged.append(smooth(odds(weights, x[out]))[USUAL:])
    truth = [one[USUAL:] for one in y]
    if len(set(np.concatenate(truth).tolist())) < 2:
        return 0.5, {"said": f"no normal or no anomalous row after {USUAL}: threshold 0.5, not chosen"}
    tried = {t: count([one > t for one in judged], truth) for t in np.arange(0.2, 0.8, 0.01).tolist()}
    kept = {t: sum(counted[name] <= goal for name, goal in GOALS.items()) for t, counted in tried.items()}
    quiet = [t for t in tried if kept[t] == max(kept.values()) and tried[t]["FAR_percent"] <= GOALS["FAR_percent"]]
    best = max(quiet or tried, key=lambda t: tried[t]["F1"])
    return best, tried[best]


def clock(truth: list[NDArray[np.bool_]], rows: int) -> NDArray[np.bool_]:
    """(rows,): was more than half of the recordings anomalous at that row?"""
    anomalous, there = np.zeros(rows), np.zeros(rows)
    for one in truth:
        anomalous[: len(one)] += one[:rows]
        there[: len(one)] += 1
    return np.asarray(2 * anomalous > there)


def count(judged: list[NDArray[np.bool_]], truth: list[NDArray[np.bool_]]) -> dict[str, Any]:
    """Over all rows together: F1, false alarms among normal rows, missed ones among anomalous rows; None where none is
    such a row."""
    p, y = np.concatenate(judged), np.concatenate(truth)
    hits, false, missed = int((p & y).sum()), int((p & ~y).sum()), int((~p & y).sum())
    anomalous, normal = hits + missed, len(y) - hits - missed
    return {
        "F1": round(2 * hits / (2 * hits + false + missed), 3) if anomalous else None,
        "FAR_percent": round(100 * false / normal, 2) if normal else None,
        "MAR_percent": round(100 * missed / anomalous, 2) if anomalous else None,
        "rows": len(y),
    }


def better(counted: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """In F1; None where nothing is anomalous."""
    return None if counted["F1"] is None else counted["F1"] > other["F1"]
