"""Learns the building model and measures it: `python -m edge_models.building.fit`, extra `train`.

Buildings of the splits differ in everything (estate.py); the family LEFT_OUT is only in "test". Same machine, same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models import decay
from edge_models.building.estate import FAMILIES, LEFT_OUT, Estate, estate
from edge_models.card import write_card, write_examples
from edge_models.decay import Counted, Life, bands, count, figure, rate, say, share, with_noise
from edge_models.quantise import int8_model
from gateway.inference import load_model
from gateway.verdict import Decision
from gateway.window.habit import CHANNELS, CLIP, DAY, DAYS_NEEDED, OBSERVED, RECENT_D, SEEN_H, Buildings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDER = Path(__file__).parent
TAUGHT = tuple(one for one in FAMILIES if one != LEFT_OUT)
FAINT = "faint"
"""A fault that takes less than FAINT_SHARE of what a building takes while it is shut: learnt from little, counted apart."""
FAINT_SHARE, NOTHING_SHARE = 0.1, 0.02
BUILDINGS, DAYS, EVERY_H = 16, 170, 4
SEEDS = {"fit": range(100, 140), "calibration": range(200, 218), "test": range(300, 318)}
FALSE_A_MONTH = 0.1
"""Allowed while a decision is chosen."""

START = Decision(
    threshold=0.0, evidence=3.0, cap=1.5, clear=-1.0, clear_s=86400.0, grace_s=0.0, rise=2.0, hold_s=604800.0,
    relax_s=172800.0,
)  # fmt: skip
RULE_START = replace(START, threshold=1.0, evidence=0.5, cap=0.5, clear=0.6, rise=0.5)
RULE_THRESHOLDS, RULE_TIMES = np.geomspace(1.0, 24.0, 10).round(2).tolist(), (1, 24, 96)
"""Of what the rule's own decision is chosen: it may as well ask for hours or days of excess as for much of it."""

RULE_DECISION = replace(RULE_START, threshold=2.03, clear=1.63, evidence=48.0)
"""What `choose` found for the rule on "calibration": as quiet as the network is allowed to be. The bench holds them side by
side so; the second opinion in an alert is the rule at 1."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was judged of an estate. x (judged hours, buildings, SEEN_H, CHANNELS); judged, rule (hours, buildings); hours:
    which; effect (hours, buildings): share that a fault added in a day's shut hours. sizes: of its fault, by building."""

    x: NDArray[np.float32]
    judged: NDArray[np.bool_]
    rule: Floats
    hours: NDArray[np.int64]
    effect: Floats
    family: tuple[str, ...]
    sizes: Floats
    onset: NDArray[np.int64]
    end: NDArray[np.int64]
    total_h: int

    def lives(self, score: Any = None) -> list[Life]:
        """By a scorer of (some, SEEN_H, CHANNELS), or by the rule. A score holds until the next one."""
        found = self.rule if score is None else np.full(self.rule.shape, np.nan)
        if score is not None and self.judged.any():
            found[self.judged] = score(self.x[self.judged])
        out = []
        for i, name in enumerate(self.family):
            scores = np.full(self.total_h, np.nan)
            for held in range(EVERY_H):
                at = self.hours + held
                scores[at[at < self.total_h]] = np.where(self.judged[:, i], found[:, i], np.nan)[at < self.total_h]
            out.append(Life(scores, name, int(self.onset[i]), int(self.end[i])))
        return out


def record(seed: int, families: tuple[str, ...], every_h: int = EVERY_H, buildings: int = BUILDINGS) -> Record:
    """Some buildings, through the gateway's window."""
    one = estate(seed, buildings, DAYS, families)
    watched = Buildings(buildings, one.calendar, one.school)
    x, judged, rules, hours = [], [], [], []
    for number in range(one.kwh.shape[1]):
        watched.row(one.first_hour + number)[:] = np.stack([one.kwh[:, number], one.air[:, number]], 1)
        if number >= (DAYS_NEEDED + RECENT_D) * DAY and (number + 1) % every_h == 0:
            now_s = (one.first_hour + number + 1) * 3600.0
            watched.learn(now_s)
            if (watched.days >= DAYS_NEEDED).any():
                seen = watched.see(now_s)
                x.append(seen.x.astype(np.float16))
                judged.append(seen.judged)
                rules.append(seen.rule_score)
                hours.append(number)
    at = np.array(hours)
    sizes = _sizes(one)
    family = tuple(_called(*pair) for pair in zip(one.family, sizes.tolist(), strict=True))
    return Record(
        np.array(x), np.array(judged), np.array(rules), at, _effect(one)[:, at].T, family, sizes, one.onset, one.end,
        one.kwh.shape[1],
    )  # fmt: skip


def _called(family: str, size: float) -> str:
    """A fault by its family if it takes enough to be one; heating that is not lowered in June is none."""
    return family if size >= FAINT_SHARE else FAINT if family and size >= NOTHING_SHARE else ""


def _sizes(one: Estate) -> Floats:
    """Of each fault: its share of what the building would have taken while shut, over the last half of its time."""
    out = np.zeros(len(one.family))
    for i in np.flatnonzero(one.onset >= 0):
        span = slice((one.onset[i] + one.end[i]) // 2, one.end[i])
        shut = one.shut[i, span]
        excess = np.where(shut, one.excess[i, span], 0.0)
        sound = np.where(shut, np.nan_to_num(one.kwh[i, span]) - one.excess[i, span], 0.0)
        out[i] = excess.sum() / max(float(np.maximum(sound, 0.0).sum()), 1e-9)
    return out


def _effect(one: Estate) -> Floats:
    """(buildings, hours): the share that the fault added in the hours shut of the last day."""
    parts = [np.where(one.shut, of, 0.0) for of in (one.excess, np.nan_to_num(one.kwh) - one.excess)]
    day = [np.cumsum(part, 1) for part in parts]
    for part in day:
        part[:, DAY:] = part[:, DAY:] - part[:, :-DAY]
    return np.asarray(day[0] / np.maximum(day[1], 1e-6))


def samples(kept: Record, seed: int) -> tuple[NDArray[np.float16], Floats, Floats]:
    """x, label and weight of hours to learn from: all with a fault that shows, some of the others."""
    rng = np.random.default_rng(seed)
    hours = kept.hours[:, None]
    during = (hours >= kept.onset[None]) & (hours < kept.end[None]) & (kept.onset[None] >= 0)
    after = (hours >= kept.end[None]) & (hours < kept.end[None] + 2 * DAY) & (kept.onset[None] >= 0)
    telling = during & (kept.effect > 0.03)
    picked = kept.judged & ~after & (telling | (~during & (rng.random(telling.shape) < 0.16)))
    weight = np.where(telling, np.clip(kept.effect / 0.2, 0.05, 1.0), 1.0)[picked]
    return kept.x[picked], telling[picked].astype(float), weight


def network() -> Any:
    """First a forecast of each hour from all that is known without the meter, then what the meter shows beyond it."""
    import tensorflow as tf

    layers = tf.keras.layers
    first = layers.Input((SEEN_H, len(CHANNELS)))
    regular = tf.keras.regularizers.l2(1e-5)

    def conv(wide: int, long: int, strides: int = 1, activation: str | None = "relu", name: str | None = None) -> Any:
        return layers.Conv1D(
            wide, long, strides, "same", activation=activation, kernel_regularizer=regular, name=name
        )  # fmt: skip

    known_before = first[:, :, OBSERVED[2] + 1 : OBSERVED[3]]
    hidden = conv(10, 1)(conv(12, 3)(known_before))
    forecast = conv(1, 1, activation=None, name="forecast")(hidden)
    beyond = layers.Multiply()([layers.Subtract()([first[:, :, :1], forecast]), first[:, :, 2:3]])
    seen = conv(20, 5, 2)(layers.Concatenate()([beyond, first]))
    seen = conv(12, 3)(conv(20, 3, 2)(layers.Dropout(0.1)(seen)))
    every = layers.Dense(20, activation="relu", kernel_regularizer=regular)(layers.Flatten()(seen))
    return tf.keras.Model(first, [layers.Dense(1, name="score")(every), forecast])


def learn(x: NDArray[np.float16], label: Floats, weight: Floats, seed: int, epochs: int = 8) -> Any:
    """A network with learnt weights. Its forecast learns from what was metered where there is no fault."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = network()
    rate_ = tf.keras.optimizers.schedules.CosineDecay(3e-3, epochs * (len(x) // 256 + 1))
    balanced = np.where(label > 0, weight * weight[label == 0].sum() / max(weight[label > 0].sum(), 1e-9), weight)
    model.compile(
        tf.keras.optimizers.Adam(rate_),
        [tf.keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.002), tf.keras.losses.Huber(0.3)],
        loss_weights=[1.0, 1.0],
    )
    metered = x[:, :, :1].astype(np.float32)
    counted = (label == 0)[:, None] * x[:, :, 2].astype(np.float32)
    rng = np.random.default_rng(seed)

    def batches() -> Iterator[Any]:
        for _ in range(epochs):
            for at in np.array_split(rng.permutation(len(x)), len(x) // 256 + 1):
                yield x[at].astype(np.float32), (label[at, None], metered[at]), (balanced[at], counted[at])

    some = x[:1].astype(np.float32)
    spec = tf.nest.map_structure(
        lambda one: tf.TensorSpec((None, *np.shape(one)[1:]), tf.float32),
        (some, (label[:1, None], metered[:1]), (balanced[:1], counted[:1])),
    )
    made = tf.data.Dataset.from_generator(batches, output_signature=spec).prefetch(2)
    model.fit(made, epochs=1, verbose=0)
    return model


def tried(lives: Sequence[Life], decision: Decision) -> tuple[bool, float]:
    """How good a decision is: whether it keeps to the false alerts that are allowed, then how many faults it finds before
    they are put right; else how few false alerts."""
    counted = count(lives, decision)
    kept = counted.false_a_month <= FALSE_A_MONTH
    return kept, float(counted.in_time(0.0, TAUGHT)[0]) if kept else -counted.false_a_month


def choose(
    pool: Executor, lives: Sequence[Life], start: Decision, thresholds: Sequence[float], times: Sequence[int] = (1, 4)
) -> Decision:
    """The best of some decisions on these lives; times: what the start's evidence is multiplied by."""
    back = start.threshold - start.clear
    plans = [
        replace(start, threshold=threshold, clear=threshold - back, evidence=more * start.evidence)
        for threshold in thresholds
        for more in times
    ]
    return max(zip(pool.map(partial(tried, lives), plans), plans, strict=True), key=lambda pair: pair[0])[1]


def forecast_error(kept: Record, model: Any) -> tuple[float, float]:
    """Of sound hours: the mean absolute error in the logarithm of the network's forecast and of the rule's."""
    sound = kept.judged & ((kept.hours[:, None] < kept.onset[None]) | (kept.onset[None] < 0))
    x = kept.x[sound][::7].astype(np.float32)
    over, known = x[:, -1, 0] / 2, (x[:, -1, 2] > 0) & (np.abs(x[:, -1, 0]) < CLIP)
    forecast = np.asarray(model.predict(x, batch_size=4096, verbose=0)[1])[:, -1, 0] / 2
    return float(np.abs(over - forecast)[known].mean()), float(np.abs(over)[known].mean())


def asks(split: str) -> list[tuple[int, tuple[str, ...]]]:
    """What a split consists of."""
    if split == "fit":
        return [(seed, TAUGHT) for seed in SEEDS[split]]
    families = TAUGHT if split == "calibration" else FAMILIES
    return [(seed, families if seed % 2 else ()) for seed in SEEDS[split]]


def fit() -> None:
    """Learns, chooses, measures, writes the model's folder: see decay.fit, which does the same for what decays."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    name = FOLDER.name
    with ProcessPoolExecutor(decay.WORKERS, get_context("spawn")) as pool:

        def recorded(split: str) -> Iterator[tuple[int, Record]]:
            plan = asks(split)
            for (seed, _), kept in zip(plan, pool.map(record, *zip(*plan, strict=True)), strict=True):
                say(name, f"{split} {seed}")
                yield seed, kept

        x, label, weight = (
            np.concatenate(part) for part in zip(*(samples(kept, seed) for seed, kept in recorded("fit")), strict=True)
        )
        say(name, f"{len(x)} hours to learn from, {label.mean():.0%} of them with a fault")
        model = learn(x, label, weight, 1)
        shown = x[np.random.default_rng(0).permutation(len(x))[:500]].astype(np.float32)
        shown[0, 0, 0], shown[1, 0, 0] = CLIP, -CLIP  # the input's scale must reach its ends
        content = int8_model(model, shown)
        (FOLDER / "model.tflite").write_bytes(content)
        blank = dict.fromkeys(("calibration", "figures", "text"), "") | {"decides": "model"}
        write_card(FOLDER, content, (SEEN_H, CHANNELS), START, blank)
        int8 = load_model(FOLDER)
        scorers = (
            lambda some: np.array([int8.score(one.astype(np.float32)) for one in some]),
            lambda some: np.asarray(model.predict(some.astype(np.float32), 4096, verbose=0)[0])[:, 0].astype(float),
            None,
        )
        errors: list[tuple[float, float]] = []

        def lived(split: str) -> list[list[Life]]:
            made: list[list[Life]] = [[], [], []]
            for _, kept in recorded(split):
                for into, score in zip(made, scorers, strict=True):
                    into.extend(kept.lives(score))
                if split == "test":
                    errors.append(forecast_error(kept, model))
            return made

        calibration, tested = lived("calibration"), lived("test")
        decision = choose(pool, calibration[0], START, np.arange(2.0, 7.1, 0.5).tolist())
        rule_decision = choose(pool, calibration[2], RULE_START, RULE_THRESHOLDS, RULE_TIMES)
    deciding = (decision, decision, rule_decision)
    by_int8, by_float, by_rule = (count(lives, one) for lives, one in zip(tested, deciding, strict=True))
    mine, its = np.mean(errors, 0).tolist()
    lines = [str(decision), str(rule_decision), f"forecast error {mine:.3f}, rule {its:.3f} (mean absolute logarithm)"]
    told = (("calibration", count(calibration[0], decision)), ("int8", by_int8), ("float", by_float), ("rule", by_rule))
    for said, counted in told:
        found, of = counted.in_time(0.0, TAUGHT)
        lines.append(f"{said}: {found}/{of} found, {counted.false} false in {counted.months:.0f} months")
        lines.append(", ".join("{} {}/{}".format(f, *counted.in_time(0.0, [f])) for f in (*FAMILIES, FAINT)))
    say(name, "\n".join(lines))
    gain = points_gained(by_int8, by_rule)
    used = gain >= int8.card.rule.margin
    verdict = "il est utilisé" if used else "il n'est pas utilisé, la règle décide"
    calibrated = count(calibration[0], decision) if used else count(calibration[2], rule_decision)
    marks = {
        "decides": "model" if used else "rule",
        "calibration": calibration_table(bands(calibrated)),
        "figures": "\n".join(figures(by_int8, by_float, by_rule, (mine, its))),
        "text": f"Le réseau trouve {gain:.1f} points de plus que la règle, marge {int8.card.rule.margin:g} : {verdict}.\n"
        f"Sa prévision {'est' if mine < its else 'n’est pas'} plus juste que celle de la règle (erreur {mine:.3f} contre "
        f"{its:.3f}) : le gain vient de ce qu'il pèse.",
    }
    write_card(FOLDER, content, (SEEN_H, CHANNELS), decision if used else rule_decision, marks)
    write_examples(FOLDER, int8, with_noise(shown[2:50]))


def points_gained(by_model: Counted, by_rule: Counted) -> float:
    """Points of faults found that the model gains over the rule, the left-out family included; minus infinity where it
    raises more false alerts than the rule and than twice what is allowed."""
    if by_model.false > max(by_rule.false, 2 * FALSE_A_MONTH * by_model.months):
        return -math.inf
    (mine, of), (its, _) = by_model.in_time(0.0, FAMILIES), by_rule.in_time(0.0, FAMILIES)
    return 100 * (mine - its) / max(1, of)


def calibration_table(found: Sequence[tuple[float, int, int]]) -> str:
    """[calibration] of the card; nothing where there were too few alerts."""
    if not found:
        return ""
    french = "Simulation où un bâtiment sur deux a un défaut en six mois : ailleurs, une alerte est moins sûre."
    english = "Simulation in which half have a fault within six months: where fewer do, an alert is right less often."
    rows = [f"[[calibration.band]]\nscore = {a}\nright = {b}\nalerts = {c}\n" for a, b, c in found]
    return "\n".join([f'[calibration]\nmade = "simulated"\ntext = "{french} / {english}"\n', *rows])


def figures(by_int8: Counted, by_float: Counted, by_rule: Counted, errors: tuple[float, float]) -> Iterator[str]:
    """Of the card."""
    for name, counted in (("", by_int8), ("avant int8 : ", by_float), ("règle seule : ", by_rule)):
        found = share(*counted.in_time(0.0, TAUGHT))
        said = f"{name}défauts signalés avant leur fin, part"
        yield figure(said, found["share"], (found["low"], found["high"]), found["of"])
        false = rate(counted.false, counted.months)
        said = f"{name}fausses alertes par mois et bâtiment"
        yield figure(said, false["a_month"], (false["low"], false["high"]), round(counted.months))
    for family in (*FAMILIES, FAINT):
        found = share(*by_int8.in_time(0.0, [family]))
        apart = {LEFT_OUT: ", jamais apprise", FAINT: ", moins de 10 % de la consommation de fermeture"}.get(family, "")
        yield figure(f"{family}{apart} : signalés, part", found["share"], (found["low"], found["high"]), found["of"])
    for name, error in zip(("prévision du réseau", "prévision de la règle"), errors, strict=True):
        yield figure(f"{name} : erreur absolue moyenne, logarithme", error, None, len(SEEDS["test"]) * BUILDINGS)


if __name__ == "__main__":
    from edge_models.building.fit import fit as imported  # what other processes are given must have a name there

    imported()
