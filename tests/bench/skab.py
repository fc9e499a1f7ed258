"""`guet bench skab --train DIR --test DIR`: one small int8 network on recordings of a real pump rig that it never saw.

DIR holds recordings in SKAB's own layout (valve1/*.csv, valve2/*.csv, other/*.csv). The protocol is *supervised*: labels of
--train teach the network and, by cross-validation between its files, choose the threshold; labels of --test only count.
A recording is told apart from its own first 400 rows (the leaderboard's fit part); the rows after them are judged one by
one, each from what came before, and counted together as the leaderboard does. Files without labels are not used.
Training needs TensorFlow (extra `train`); judging is done by the gateway's runtime.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.recording import Recording, RecordingError, load_folder

QUANTISE = Path(__file__).resolve().parents[2] / "edge_models/quantise.py"
USUAL = 400
SMOOTH = 15
SEEDS = (1, 2, 3)
FOLDS = 5
EPOCHS = 4
MOST_FAR = 0.08
MOST_BYTES = 32768
Floats = NDArray[np.float32]


def run(train: str = "", test: str = "") -> dict[str, Any]:
    """F1, FAR and MAR on --test, beside an alarm that is always on."""
    if not train or not test:
        sys.exit("guet bench skab: expected --train DIR --test DIR, folders of recordings in SKAB's layout")
    if importlib.util.find_spec("tensorflow") is None:
        sys.exit("guet bench skab: TensorFlow is missing; install it: pip install 'guet-edge[train]'")
    os.environ.update(TF_ENABLE_ONEDNN_OPTS="0", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    try:
        taught, asked = load(Path(train)), load(Path(test))
    except RecordingError as error:
        sys.exit("\n".join(error.faults))
    if faults := misfits([*taught, *asked]):
        sys.exit("\n".join(faults))
    x, y = [features(one) for one in taught], [labels(one) for one in taught]
    threshold, held_out = choose(x, y)
    say("fitting the network that is judged ...")
    content, student = fit(x, y)
    tested, truth = [features(one) for one in asked], [labels(one)[USUAL:] for one in asked]
    judged = [smooth(chances(content, one))[USUAL:] > threshold for one in tested]
    before = [smooth(odds(student, one))[USUAL:] > threshold for one in tested]
    return {
        "protocol": "supervised; experiments of --test held out; outlier task counted over all rows after the first 400",
        "model": {"bytes": len(content), "threshold": round(threshold, 2), "numbers": "int8"},
        "train_files": len(taught),
        "test_files": len(asked),
        **count(judged, truth),
        "before_int8": count(before, truth),
        "always_alarm": count([np.ones(len(one), bool) for one in truth], truth),
        "cross_validated_on_train": held_out,
    }


def say(text: str) -> None:
    print(f"skab: {text}", file=sys.stderr, flush=True)


def load(folder: Path) -> list[Recording]:
    """The labelled recordings of a folder and its subfolders. Raises RecordingError."""
    folders = sorted({file.parent for file in folder.rglob("*.csv")})
    if not folders:
        raise RecordingError([f"{folder}: expected recordings (*.csv) in it or below it, found none"])
    every = [one for each in folders for one in load_folder(each)]
    found = [one for one in every if one.anomalous and len(one.rows) > USUAL]
    if len(found) < len(every):
        say(
            f"{folder}: {len(every) - len(found)} of {len(every)} recordings not used: no labels, or no row after {USUAL}"
        )
    if not found:
        raise RecordingError([f"{folder}: expected labelled recordings of more than {USUAL} rows, found none"])
    return found


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
    """(rows, inputs): how far signals, and what others do not explain of them, are from the first 400 rows and from the
    last minutes; how rough they are; the flow itself. Water warms up as a rig runs, so of temperatures only changes."""
    x = filled(np.array(recording.rows))
    usual, spread = np.median(x[:USUAL], 0), x[:USUAL].std(0)
    z = np.clip((x - usual) / (spread + 1e-6 * np.abs(usual) + 1e-3), -20, 20)
    near = np.clip(z, -10, 10)
    with_one = np.c_[near, np.ones(len(z))]
    unexplained = np.empty_like(z)
    for j in range(z.shape[1]):
        others = np.delete(with_one, j, 1)
        known = others[:USUAL]
        weights = np.linalg.solve(known.T @ known + 20 * np.eye(known.shape[1]), known.T @ near[:USUAL, j])
        rest = near[:, j] - others @ weights
        unexplained[:, j] = np.clip(rest / (rest[:USUAL].std() + 1e-2), -10, 10)
    names = [name.lower() for name in recording.columns]
    steady = [j for j, name in enumerate(names) if not name.startswith(("temp", "therm"))]
    flow = [j for j, name in enumerate(names) if "flow" in name]
    mean20 = windows(near, 20).mean(-1)
    share = x / np.where(np.abs(usual) < 1e-6, 1, usual) - 1
    so_far = np.cumsum(z, 0) / np.arange(1, len(z) + 1)[:, None]
    parts = [windows(near, width).mean(-1)[:, steady] for width in (5, 20, 60)]
    parts += [windows(near, width).std(-1) for width in (20, 60)]
    parts += [windows(unexplained, width).mean(-1) for width in (20, 60)]
    parts += [np.clip(10 * windows(share, 20).mean(-1)[:, steady], -10, 10), mean20 - later(mean20, 60)]
    parts += [
        windows(z, 10).mean(-1) - later(windows(z, 200).mean(-1), 10),
        windows(z, 60).mean(-1) - later(windows(z, 300).mean(-1), 60),
        windows(z, 20).mean(-1) - later(so_far, 20),
    ]
    steps = np.diff(z, axis=0, prepend=z[:1])
    parts += [
        np.log((windows(steps, 60).std(-1) + 0.05) / (steps[1:USUAL].std(0) + 0.05)),
        np.log((windows(z, 60).std(-1) + 0.05) / (z[:USUAL].std(0) + 0.05)),
        np.log(windows(z, 200).std(-1) + 0.05),
    ]
    of_flow = x[:, flow]
    parts += [windows(of_flow, 20).mean(-1), windows(of_flow, 60).std(-1), windows(of_flow - usual[flow], 100).mean(-1)]
    found = np.concatenate(parts, 1)
    return np.asarray(np.sign(found) * np.log1p(np.abs(found)), np.float32)


def filled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """An empty cell holds the value before it; before the first value, 0."""
    for row in range(len(x)):
        x[row] = np.where(np.isfinite(x[row]), x[row], x[row - 1] if row else 0.0)
    return x


def learn(x: list[Floats], y: list[NDArray[Any]], seed: int) -> Any:
    """A network. y: labels, or chances of being anomalous."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    layers = tf.keras.layers
    first = layers.Input((x[0].shape[1],))
    hidden = layers.Dense(32, activation="relu", kernel_regularizer=tf.keras.regularizers.l2(2e-3))
    second = layers.Dense(16, activation="relu")(layers.Dropout(0.3)(hidden(layers.Dropout(0.2)(first))))
    model = tf.keras.Model(first, layers.Dense(1)(second))
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.05)
    model.compile(tf.keras.optimizers.Adam(1e-3), loss)
    targets = np.concatenate(y).astype(np.float32)[:, None]
    model.fit(np.concatenate(x), targets, epochs=EPOCHS, batch_size=256, verbose=0)
    return model


def odds(model: Any, x: Floats) -> NDArray[np.float64]:
    """Chances of being anomalous, in float."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(model(x))[:, 0].astype(np.float64))))


def fit(x: list[Floats], y: list[NDArray[np.bool_]]) -> tuple[bytes, Any]:
    """One int8 network that has learnt from several, and the same before int8."""
    teachers = [learn(x, y, seed) for seed in SEEDS]
    student = learn(x, [np.mean([odds(one, rows) for one in teachers], 0) for rows in x], 0)
    every = np.concatenate(x)
    content = runpy.run_path(str(QUANTISE))["int8_model"](student, every[:: max(1, len(every) // 500)])
    if len(content) > MOST_BYTES:
        sys.exit(f"guet bench skab: expected a network of at most {MOST_BYTES} bytes, got {len(content)}")
    return content, student


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
    """The threshold with the best F1 at no more false rows than the goal, on files held out of --train."""
    folds = min(FOLDS, len(x))
    if folds < 2:
        return 0.5, {"said": "one file only: threshold 0.5, not chosen"}
    order = np.random.default_rng(0).permutation(len(x))
    judged: dict[int, NDArray[np.float64]] = {}
    for number in range(folds):
        say(f"cross-validation {number + 1} of {folds} ...")
        held = set(order[number::folds].tolist())
        rest = [i for i in range(len(x)) if i not in held]
        model = learn([x[i] for i in rest], [y[i] for i in rest], SEEDS[0])
        judged |= {i: smooth(odds(model, x[i]))[USUAL:] for i in held}
    truth = [one[USUAL:] for one in y]
    tried = {}
    for threshold in np.arange(0.2, 0.85, 0.05):
        tried[float(threshold)] = count([judged[i] > threshold for i in range(len(x))], truth)
    quiet = {t: c for t, c in tried.items() if c["FAR_percent"] <= 100 * MOST_FAR}
    best = max(quiet, key=lambda t: quiet[t]["F1"]) if quiet else max(tried)
    return best, tried[best]


def count(judged: list[NDArray[np.bool_]], truth: list[NDArray[np.bool_]]) -> dict[str, Any]:
    """Over all rows together: F1, false alarms among normal rows, missed ones among anomalous rows."""
    p, y = np.concatenate(judged), np.concatenate(truth)
    hits, false, missed = int((p & y).sum()), int((p & ~y).sum()), int((~p & y).sum())
    return {
        "F1": round(2 * hits / max(1, 2 * hits + false + missed), 3),
        "FAR_percent": round(100 * false / max(1, int((~y).sum())), 2),
        "MAR_percent": round(100 * missed / max(1, int(y.sum())), 2),
        "rows": len(y),
    }
