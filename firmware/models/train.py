"""Trains both node models and writes, for each, the compact table and golden vectors; for the network a .tflite too.

The .tflite holds the very weights, biases and scales of the table; only TFLite's requantisation is finer than the node's
(a multiplier of 31 bits for 15), so its outputs may be a few steps away: tests/firmware/test_tflite.py says how many.

    python firmware/models/train.py [--check]

The features are computed by the node's own code (lib/burst.py, lib/door.py), so that training and node agree by
construction. The signals are simulated, and that is said in every file written: they have seen no real network and no
real lift. `--check` trains again and compares with what is in this folder, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
micropython = ModuleType("micropython")
vars(micropython)["const"] = lambda value: value
sys.modules.setdefault("micropython", micropython)
sys.path.append(str(HERE.parent / "lib"))

import burst  # noqa: E402
import door  # noqa: E402
from modbus_rtu import crc16  # noqa: E402

SEED = 20261123
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HIDDEN = 8
SCORE_PER_LOGIT = 12
"""An output of 12 is one unit of log-odds, so the node's threshold of 32 stands at odds of 14 to 1."""


def pressure_trace(rng: np.random.Generator, kind: str) -> tuple[list[int], int]:
    """150 samples of a simulated pressure, mbar, one a second, and the second at which something begins."""
    n, onset = 150, int(rng.integers(80, 110))
    t = np.arange(n)
    trace = rng.uniform(2500, 7000) + 40 * np.sin(t / rng.uniform(20, 90) + rng.uniform(0, 6))
    trace += rng.normal(0, rng.uniform(3, 30), n)
    since = np.maximum(t - onset, 0)
    match kind:
        case "burst":  # a sudden fall that stays, a little of it coming back
            fall, rise_s = rng.uniform(250, 1800), rng.uniform(0.5, 3)
            trace -= (t >= onset) * fall * (1 - np.exp(-(since + 1) / rise_s)) * (1 - 0.2 * (1 - np.exp(-since / 20)))
        case "demand":  # taps and fire posts are opened by hand
            trace -= rng.uniform(40, 600) * np.clip(since / rng.uniform(15, 40), 0, 1)
        case "pump":
            trace += rng.uniform(200, 1500) * np.clip(since / rng.uniform(1, 8), 0, 1)
        case "knock":  # a valve slams: deep, but over in a second or two
            trace -= rng.uniform(200, 1500) * ((t >= onset) & (t < onset + rng.integers(1, 3)))
    return [max(int(v), 0) for v in trace], onset


def burst_set(rng: np.random.Generator, traces: int) -> tuple[Ints, Ints]:
    """(features, labels): x (n, N_FEATURES) in int8 range, y (n,) 1 where a burst began 3 to 12 seconds ago."""
    x: list[list[int]] = []
    y: list[int] = []
    kinds = ("burst", "quiet", "demand", "pump", "knock")
    for i in range(traces):
        kind = kinds[i % len(kinds)]
        trace, onset = pressure_trace(rng, kind)
        window = burst.PressureWindow()
        out = [0] * burst.N_FEATURES
        for second, value in enumerate(trace):
            window.push(value)
            age = second - onset
            if window.ready and (3 <= age <= 12 or (age < 0 and second % 8 == 0)):
                window.features(out)
                x.append(list(out))
                y.append(int(kind == "burst" and age >= 0))
    return np.array(x), np.array(y)


def fit_network(rng: np.random.Generator, x: Ints, y: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Logistic regression with one hidden layer of rectifiers, by plain gradient descent with momentum."""
    w1 = rng.normal(0, 0.05, (HIDDEN, x.shape[1]))
    b1, w2, b2 = np.zeros(HIDDEN), rng.normal(0, 0.5, (1, HIDDEN)), np.zeros(1)
    weights = [w1, b1, w2, b2]
    speed = [np.zeros_like(w) for w in weights]
    xs = x / 16.0
    share = np.where(y == 1, 0.5 / max(y.mean(), 1e-9), 0.5 / max(1 - y.mean(), 1e-9)) / len(y)
    for _ in range(3000):
        h = np.maximum(xs @ w1.T + b1, 0)
        p = 1 / (1 + np.exp(-(h @ w2.T + b2)[:, 0]))
        d = ((p - y) * share)[:, None]
        dh = (d @ w2) * (h > 0)
        gradients = [dh.T @ xs + 1e-4 * w1, dh.sum(0), d.T @ h + 1e-4 * w2, d.sum(0)]
        for w, v, g in zip(weights, speed, gradients, strict=True):
            v *= 0.9
            v -= 0.2 * g
            w += v
    return w1 / 16.0, b1, w2, b2


class Layer(NamedTuple):
    """A layer as both files hold it: int8 weights (out, in), int32 biases, and the real value of one step of each."""

    weights: Ints
    biases: Ints
    w_scale: float
    in_scale: float
    out_scale: float
    relu: bool


def quantise(w: Floats, b: Floats, in_scale: float, out_scale: float, relu: bool) -> Layer:
    w_scale = float(np.abs(w).max() / 127)
    wq = np.clip(np.round(w / w_scale), -127, 127).astype(int)
    bq = np.round(b / (w_scale * in_scale)).astype(int)
    return Layer(wq, bq, w_scale, in_scale, out_scale, relu)


def dense_layer(layer: Layer) -> bytes:
    """One layer of the table of lib/dense.py."""
    worst = int((np.abs(layer.weights).sum(1) * 128 + np.abs(layer.biases)).max())
    pre = 0
    while (worst >> pre) + 1 >= 1 << 14:
        pre += 1
    multiplier = round(layer.w_scale * layer.in_scale / layer.out_scale * (1 << (15 + pre)))
    assert 0 < multiplier < 1 << 15, multiplier
    n_out, n_in = layer.weights.shape
    head = struct.pack("<BBBBH", n_in, n_out, pre, layer.relu, multiplier)
    return head + struct.pack(f"<{n_out}i", *layer.biases) + layer.weights.astype(np.int8).tobytes()


def tflite(layers: list[Layer], description: str) -> bytes:
    """The same network as an int8 TFLite file: fully connected layers, zero points 0, one window at a time."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.subgraphs = 3, description, [graph]
    model.buffers = [schema.BufferT()]  # the first is empty by the format's rule
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4  # the first with int8
    model.operatorCodes = [code]
    graph.name, graph.tensors, graph.operators = "burst", [], []

    def tensor(name: str, shape: tuple[int, ...], kind: int, scale: float, data: bytes | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        if data is not None:
            held = schema.BufferT()
            held.data = np.frombuffer(data, np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(held)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    kinds = schema.TensorType
    at = tensor("features", (1, layers[0].weights.shape[1]), kinds.INT8, layers[0].in_scale)
    graph.inputs = [at]
    for i, layer in enumerate(layers):
        n_out = layer.weights.shape[0]
        weights = layer.weights.astype(np.int8).tobytes()
        biases = layer.biases.astype("<i4").tobytes()
        operator, options = schema.OperatorT(), schema.FullyConnectedOptionsT()
        relu = schema.ActivationFunctionType.RELU if layer.relu else schema.ActivationFunctionType.NONE
        options.fusedActivationFunction = relu
        operator.opcodeIndex, operator.builtinOptions = 0, options
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.inputs = [
            at,
            tensor(f"weights_{i}", layer.weights.shape, kinds.INT8, layer.w_scale, weights),
            tensor(f"biases_{i}", (n_out,), kinds.INT32, layer.w_scale * layer.in_scale, biases),
        ]
        at = tensor("score" if i == len(layers) - 1 else f"hidden_{i}", (1, n_out), kinds.INT8, layer.out_scale)
        operator.outputs = [at]
        graph.operators.append(operator)
    graph.outputs = [at]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sealed(body: bytes) -> bytes:
    return body + bytes(struct.pack("<H", crc16(body, len(body))))


def dense_reference(table: bytes, x: Ints) -> Ints:
    """The table, run by numpy in 64 bits: what the node must give byte for byte."""
    at, values = 4, x.astype(np.int64)
    for _ in range(table[3]):
        n_in, n_out, pre, relu, multiplier = struct.unpack_from("<BBBBH", table, at)
        bias = np.array(struct.unpack_from(f"<{n_out}i", table, at + 6), dtype=np.int64)
        weights = np.frombuffer(table, np.int8, n_in * n_out, at + 6 + 4 * n_out).reshape(n_out, n_in).astype(np.int64)
        acc = values @ weights.T + bias
        values = np.clip(((acc >> pre) * multiplier + (1 << 14)) >> 15, 0 if relu else -128, 127)
        at += 6 + 4 * n_out + n_in * n_out
    return values


def burst_model() -> dict[str, bytes]:
    rng = np.random.default_rng(SEED)
    x, y = burst_set(rng, 1500)
    w1, b1, w2, b2 = fit_network(rng, x, y)
    h_scale = float(np.percentile(np.maximum(x @ w1.T + b1, 0), 99.9)) / 127
    layers = [quantise(w1, b1, 1.0, h_scale, True), quantise(w2, b2, h_scale, 1 / SCORE_PER_LOGIT, False)]
    table = sealed(b"GD\x01" + bytes([len(layers)]) + b"".join(map(dense_layer, layers)))
    held_x, held_y = burst_set(np.random.default_rng(SEED + 1), 1000)
    scores = dense_reference(table, held_x)[:, 0]
    logits = (np.maximum(held_x @ w1.T + b1, 0) @ w2.T + b2)[:, 0]
    limit = 32
    golden = {
        "origin": "simulated pressure signals, firmware/models/train.py",
        "held_out": figures(scores > limit, held_y),
        "decisions_as_in_floating_point": round(
            float(np.mean((scores > limit) == (logits * SCORE_PER_LOGIT > limit))), 4
        ),
        "vectors": [[[int(v) for v in held_x[i]], [int(scores[i])]] for i in range(0, len(held_x), len(held_x) // 48)],
    }
    twin = tflite(layers, "pressure burst on a node; simulated signals; firmware/models/train.py")
    return {"burst.bin": table, "burst.tflite": twin, "burst.json": pretty(golden)}


def door_cycle(rng: np.random.Generator, abnormal: bool) -> list[int]:
    """Features of one simulated door cycle, in 10 ms, as lib/door.py gives them."""
    opening, closing = rng.normal(260, 25), rng.normal(300, 30)
    dwell, reopenings = rng.uniform(200, 1500), int(rng.random() < 0.08)
    if abnormal:
        match int(rng.integers(4)):
            case 0:
                opening *= rng.uniform(1.5, 4)
            case 1:
                closing *= rng.uniform(1.5, 4)
            case 2:
                reopenings = int(rng.integers(3, 9))
            case 3:
                opening, closing = opening * rng.uniform(1.3, 2), closing * rng.uniform(1.3, 2)
    return play_cycle(int(opening), int(dwell), int(closing), reopenings)


def play_cycle(opening: int, dwell: int, closing: int, reopenings: int) -> list[int]:
    """Through the node's own DoorCycles, at its sampling of 50 ms."""
    watch = door.DoorCycles()
    phases = [(opening, False, False), (dwell, False, True)]
    phases += [(closing // 2, False, False), (150, False, True)] * reopenings
    phases += [(closing, False, False), (10, True, False)]
    watch.step(5, True, False)
    for duration, closed, opened in phases:
        for _ in range(max(duration // 5, 1)):
            if watch.step(5, closed, opened):
                return list(watch.features)
    raise AssertionError("the cycle did not end")


def door_set(rng: np.random.Generator, n: int) -> tuple[Ints, Ints]:
    y = (np.arange(n) % 2 == 0).astype(int)
    return np.array([door_cycle(rng, bool(label)) for label in y]), y


def grow(rng: np.random.Generator, x: Ints, y: Ints, depth: int, rows: list[list[int]]) -> int:
    """Adds a subtree to rows, children behind parents; returns its row. A leaf is 100 x (2 x share of abnormal - 1)."""
    at = len(rows)
    share = float(y.mean())
    rows.append([-1, round(100 * (2 * share - 1)), 0, 0])
    best, best_split = share * (1 - share) * len(y) - 1e-9, None
    if depth:
        for feature in sorted(rng.choice(x.shape[1], 3, replace=False)):
            for threshold in np.unique(np.quantile(x[:, feature], np.linspace(0.05, 0.95, 19)).astype(int)):
                left = x[:, feature] <= threshold
                if 8 <= left.sum() <= len(y) - 8:
                    impurity = sum(s.mean() * (1 - s.mean()) * len(s) for s in (y[left], y[~left]))
                    if impurity < best:
                        best, best_split = impurity, (int(feature), int(threshold), left)
    if best_split is not None:
        feature, threshold, left = best_split
        low = grow(rng, x[left], y[left], depth - 1, rows)
        high = grow(rng, x[~left], y[~left], depth - 1, rows)
        rows[at] = [feature, threshold, low, high]
    return at


def door_model() -> dict[str, bytes]:
    rng = np.random.default_rng(SEED)
    x, y = door_set(rng, 3000)
    rows: list[list[int]] = []
    roots = []
    for _ in range(12):
        pick = rng.integers(0, len(y), len(y))
        roots.append(grow(rng, x[pick], y[pick], 4, rows))
    body = b"GF\x01" + bytes([x.shape[1]]) + struct.pack("<HH", len(roots), len(rows))
    body += struct.pack(f"<{len(roots)}H", *roots) + b"".join(struct.pack("<4h", *row) for row in rows)
    held_x, held_y = door_set(np.random.default_rng(SEED + 1), 2000)
    scores = np.array([forest_reference(roots, rows, features) for features in held_x])
    golden = {
        "origin": "simulated door cycles, firmware/models/train.py",
        "held_out": figures(scores > 0, held_y),
        "vectors": [[[int(v) for v in held_x[i]], [int(scores[i])]] for i in range(0, 2000, 40)],
    }
    return {"door.bin": sealed(body), "door.json": pretty(golden)}


def forest_reference(roots: list[int], rows: list[list[int]], features: Ints) -> int:
    total = 0
    for root in roots:
        feature, value, low, high = rows[root]
        while feature >= 0:
            feature, value, low, high = rows[low if features[feature] <= value else high]
        total += value
    return total


def figures(decided: NDArray[np.bool_], truth: Ints) -> dict[str, float]:
    """Shares on windows or cycles the model has not seen."""
    return {
        "examples": len(truth),
        "found": round(float(decided[truth == 1].mean()), 4),
        "false": round(float(decided[truth == 0].mean()), 4),
    }


def pretty(golden: Mapping[str, Any]) -> bytes:
    """JSON with one vector a line."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items() if key != "vectors"]
    vectors = ",\n  ".join(json.dumps(vector) for vector in golden["vectors"])
    return ("{\n" + ",\n".join(lines) + f',\n "vectors": [\n  {vectors}\n ]\n}}\n').encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    status = 0
    for name, data in {**burst_model(), **door_model()}.items():
        path = HERE / name
        if not check:
            path.write_bytes(data)
            print(f"{name}: {len(data)} bytes")
        elif not path.exists() or path.read_bytes() != data:
            print(f"{name}: differs from what training gives", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
