"""The .tflite of the burst network beside the node's table: the node's own code and numpy agree byte for byte; TFLite's
kernels, whose requantisation is finer, are within STEPS of them and decide the same."""

from __future__ import annotations

import json
from array import array

import dense
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from running import ROOT

MODELS = ROOT / "firmware" / "models"
STEPS = 4
"""Of the 256 of an output; measured, nine of ten scores agree to the step, on any features and on golden windows."""
LIMIT = 32
"""The node says burst above this score."""
Scores = NDArray[np.int64]


def table_scores(x: Scores) -> Scores:
    network = dense.Dense((MODELS / "burst.bin").read_bytes())
    scores = []
    for row in x:
        network.inputs[:] = array("b", [int(v) for v in row])
        network.run()
        scores.append(network.outputs[0])
    return np.array(scores)


def numpy_scores(x: Scores) -> Scores:
    """The table again, in 64 bits, written from its description in lib/dense.py."""
    table, at, values = (MODELS / "burst.bin").read_bytes(), 4, x.astype(np.int64)
    for _ in range(table[3]):
        n_in, n_out, pre, relu = table[at : at + 4]
        multiplier = int.from_bytes(table[at + 4 : at + 6], "little")
        bias = np.frombuffer(table, "<i4", n_out, at + 6).astype(np.int64)
        weights = np.frombuffer(table, np.int8, n_in * n_out, at + 6 + 4 * n_out).reshape(n_out, n_in).astype(np.int64)
        values = (((values @ weights.T + bias) >> pre) * multiplier + (1 << 14)) >> 15
        values = values.clip(0 if relu else -128, 127)
        at += 6 + 4 * n_out + n_in * n_out
    return values[:, 0]


def tflite_scores(x: Scores, kernels: OpResolverType) -> Scores:
    interpreter = Interpreter(str(MODELS / "burst.tflite"), experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    (asked,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert asked["dtype"] == answered["dtype"] == np.int8
    scores = []
    for row in x:
        interpreter.set_tensor(asked["index"], row[None].astype(np.int8))
        interpreter.invoke()
        scores.append(int(interpreter.get_tensor(answered["index"])[0, 0]))
    return np.array(scores)


def golden() -> tuple[Scores, Scores]:
    vectors = json.loads((MODELS / "burst.json").read_text(encoding="utf-8"))["vectors"]
    return np.array([x for x, _ in vectors]), np.array([y[0] for _, y in vectors])


def anything() -> Scores:
    """Any features at all, and small ones, where scores are not at the ends of their range."""
    rng = np.random.default_rng(7)
    wide, narrow = rng.integers(-128, 128, (2000, 8)), rng.integers(-12, 13, (2000, 8))
    return np.concatenate([wide, narrow])


def test_node_and_numpy_agree_byte_for_byte() -> None:
    x, y = golden()
    assert (table_scores(x) == y).all() and (numpy_scores(x) == y).all()
    x = anything()
    assert (table_scores(x) == numpy_scores(x)).all()


@pytest.mark.parametrize("kernels", [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN, OpResolverType.AUTO])
def test_tflite_is_within_its_steps_and_decides_the_same_on_golden_windows(kernels: OpResolverType) -> None:
    x, y = golden()
    scores = tflite_scores(x, kernels)
    assert np.abs(scores - y).max() <= STEPS
    assert ((scores > LIMIT) == (y > LIMIT)).all()


@pytest.mark.parametrize("kernels", [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN, OpResolverType.AUTO])
def test_tflite_is_within_its_steps_on_anything_and_decides_otherwise_only_beside_the_limit(
    kernels: OpResolverType,
) -> None:
    x = anything()
    scores, own = tflite_scores(x, kernels), numpy_scores(x)
    assert 100 < ((own > -128) & (own < 127)).sum()
    apart = np.abs(scores - own)
    assert apart.max() <= STEPS
    otherwise = (scores > LIMIT) != (own > LIMIT)
    assert (np.abs(own[otherwise] - LIMIT) <= STEPS).all() and otherwise.mean() < 0.005
