"""Learns the leak model and measures it: `python -m edge_models.leak.fit [FOLDER]`, extra `train`.

FOLDER holds what `edge_models.leak.generate` made. Networks of the splits differ: weights come from "fit", thresholds from
"calibration", the figures in the card from "test". Same folder, same machine, same bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_models.card import write_card, write_examples
from edge_models.decay import WORKERS
from edge_models.leak.card import figures_of, golden, marks_of, speed
from edge_models.leak.gateways import Gateway, School, load
from edge_models.leak.generate import WORK
from edge_models.leak.matching import Course, gain, total
from edge_models.leak.measured import RULE_QUANTILES, RULE_START, Measured
from edge_models.leak.network import learn
from edge_models.quantise import int8_model
from gateway.inference import load_model
from gateway.window.channel import CHANNELS, CLIP, LAGS_H

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)
"""Of each a network is learnt, and a logistic on the same inputs: to be beaten or shipped."""


@dataclass(frozen=True, slots=True)
class Given:
    """What workers are given. held: the gateways of "calibration" and "test"."""

    folder: Path
    school: School
    held: dict[str, list[Gateway]]


GIVEN: list[Given] = []
"""One, there before the workers fork: they share its gigabytes of rows with this process instead of being sent them."""

Key = tuple[str, int]
"""Kind and seed of a training."""


def measured(key: Key) -> Measured:
    """The network in the folder, learnt now if it is not there yet, in floats."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # WORKERS of one thread each: one training with two is only a quarter faster.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    given, file = GIVEN[0], weights(GIVEN[0].folder, key)
    if not file.exists():
        learn(*key, given.school).save(file)
    model = tf.keras.models.load_model(file)
    answer = tf.function(lambda x: model(x, training=False)[:, 0], reduce_retracing=True)

    def courses(split: str) -> list[Course]:
        return [g.course(answer(tf.constant(g.inputs())).numpy().astype(np.float64)) for g in given.held[split]]

    return Measured.of(f"{key[0]} {key[1]}, float", courses("calibration"), courses("test"))


def ruled() -> Measured:
    """The rule alone."""
    calibration, test = (
        [g.course(g.rule[g.first :]) for g in GIVEN[0].held[split]] for split in ("calibration", "test")
    )
    return Measured.of("rule", calibration, test, RULE_START, RULE_QUANTILES)


def scored(split: str, number: int) -> Course:
    """One gateway by the model that is in its folder now."""
    gateway, int8 = GIVEN[0].held[split][number], load_model(HERE)
    return gateway.course(np.array([int8.score(x) for x in gateway.inputs()]))


def weights(folder: Path, key: Key) -> Path:
    """Where a trained network is kept."""
    return folder / f"{key[0]}-{key[1]}.keras"


def found(one: Measured) -> tuple[int, int]:
    """On calibration: leaks, the more the better, and false alerts, the fewer."""
    tally = total(one.calibration)
    return tally.found, -tally.false


def converted(file: Path, examples: NDArray[np.float32]) -> bytes:
    """A trained network, as int8."""
    import tensorflow as tf

    shown = examples[:: max(1, len(examples) // 600)].copy()
    shown[0, 0, 0], shown[1, 0, 0] = CLIP, -CLIP  # the input's scale must reach its ends
    return int8_model(tf.keras.models.load_model(file), shown)


def put(content: bytes, one: Measured, rule: Measured, text: str = "", figures: Sequence[str] = ()) -> None:
    """model.tflite and its card, so that it can be loaded."""
    (HERE / "model.tflite").write_bytes(content)
    marks = {"decides": "model", "text": text, "figures": "\n".join(figures), **marks_of(one, rule)}
    write_card(HERE, content, (len(LAGS_H), CHANNELS), one.decision, marks)


def main(folder: Path = WORK) -> None:
    """Learns, chooses, measures, writes the model's folder."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    school, held = School.of(load(folder, "fit")), {split: load(folder, split) for split in ("calibration", "test")}
    counts = {"fit": len(school.gateways)} | {split: len(gateways) for split, gateways in held.items()}
    print("gateways:", ", ".join(f"{count} {split}" for split, count in counts.items()), flush=True)
    GIVEN.append(Given(folder, school, held))
    keys: list[Key] = [(kind, seed) for kind in ("tcn", "logistic") for seed in SEEDS]
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        asked, rule_asked = [pool.submit(measured, key) for key in keys], pool.submit(ruled)
        floats = {key: one.result() for key, one in zip(keys, asked, strict=True)}
        rule, examples = rule_asked.result(), school.examples()
        # By calibration alone: the simpler kind is shipped unless the network finds more in every training that was paired.
        beaten = all(found(floats["tcn", seed])[0] > found(floats["logistic", seed])[0] for seed in SEEDS)
        kind, other = ("tcn", "logistic") if beaten else ("logistic", "tcn")
        contents = {seed: converted(weights(folder, (kind, seed)), examples) for seed in SEEDS}
        whole: dict[int, Measured] = {}
        for seed, content in contents.items():  # each as it would be shipped
            put(content, floats[kind, seed], rule)
            calibration, test = (
                list(pool.map(scored, repeat(split), range(len(held[split])), chunksize=20))
                for split in ("calibration", "test")
            )
            whole[seed] = Measured.of(f"int8 of {kind} {seed}", calibration, test)
    chosen = max(SEEDS, key=lambda seed: found(whole[seed]))
    final = contents[chosen], whole[chosen], rule
    put(*final)
    int8 = load_model(HERE)
    lines = [line for one in (*floats.values(), rule, *whole.values()) for line in one.lines()]
    rivals = {seed: gain(floats[kind, seed].test, floats[other, seed].test) for seed in SEEDS}
    figures = [*figures_of(whole[chosen], rule, floats[kind, chosen], rivals, other), speed(int8, examples)]
    put(*final, "\n".join([*lines, f"shipped: {kind} {chosen}"]), figures)
    write_examples(HERE, int8, golden(examples))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
