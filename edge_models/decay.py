"""What the models of slow decay share (lamps, lifts): learning from simulated lives, choosing a decision, counting alerts.

A life is one thing from its installation on: hourly scores, and when a fault began and ended the service, if it did. Of a
fault is counted whether an alert was raised in time; of what is healthy, every alert.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models.card import write_card, write_examples
from edge_models.leak.matching import wilson
from edge_models.quantise import int8_model
from gateway.inference import load_model
from gateway.verdict import Decider, Decision
from gateway.window.past import CLIP, FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Score = Callable[[NDArray[np.float32]], Floats]

DAY = 24
HOUR_S = 3600.0
MONTH_H = 30.4 * DAY
RULE_DECISION = Decision(
    threshold=1.0,
    evidence=1.0,
    cap=1.0,
    clear=0.6,
    clear_s=86400.0,
    grace_s=0.0,
    rise=0.5,
    hold_s=604800.0,
    relax_s=172800.0,
)
"""How the rule beside a network decides."""

START = Decision(
    threshold=0.0,
    evidence=3.0,
    cap=3.0,
    clear=-1.0,
    clear_s=86400.0,
    grace_s=0.0,
    rise=2.0,
    hold_s=604800.0,
    relax_s=172800.0,
)
"""Where the choice of a network's decision begins; scores are logarithms of odds."""


@dataclass(frozen=True, slots=True)
class Life:
    """scores: by hour, NaN where there was none. onset, end: hours, -1 without a fault. kept: family, "" for healthy."""

    scores: Floats
    family: str = ""
    onset: int = -1
    end: int = -1

    @property
    def sound_h(self) -> int:
        """Hours judged before a fault began."""
        return int(np.isfinite(self.scores[: self.onset] if self.family else self.scores).sum())

    def alerts(self, decision: Decision) -> list[tuple[int, float]]:
        """(hour, score) of every alert that the gateway would raise."""
        # Without a jump nothing is gathered below the threshold: most healthy lives need not be gone through.
        if math.isinf(decision.jump) and not (self.scores > decision.threshold).any():
            return []
        decider, raised = Decider(decision), []
        for hour in np.flatnonzero(np.isfinite(self.scores)).tolist():
            if decider.step(hour * HOUR_S, float(self.scores[hour])).raised:
                raised.append((hour, float(self.scores[hour])))
        return raised


@dataclass(frozen=True, slots=True)
class Ask:
    """Some things to live through. families: of faults, drawn from for each, none = all healthy; ramp_d: how long a fault
    grows; less: "partly" where not all quantities are read (lift: of the drive), "alone" for lamps without neighbours,
    "mixed" for all of that by chance; every_h: how often they are judged."""

    model: str
    seed: int
    things: int
    days: int
    families: tuple[str, ...] = ()
    ramp_d: tuple[float, float] = (30, 150)
    less: str = ""
    every_h: int = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What was judged of some things. hours (n,): when; x (n, things, quantities, FEATURES); judged, rule, certain, gone (n,
    things): whether enough was known, the rule's score, what needs no network, how far the fault had gone. family, onset_h,
    end_h: by thing, "" and -1 for healthy ones. total_h: hours lived through. held_h: so long a score holds where nothing
    was judged after it."""

    hours: NDArray[np.int64]
    x: NDArray[np.float32]
    judged: NDArray[np.bool_]
    rule: Floats
    certain: NDArray[np.bool_]
    gone: Floats
    family: tuple[str, ...]
    onset_h: tuple[int, ...]
    end_h: tuple[int, ...]
    total_h: int
    held_h: int

    def lives(self, score: Score | None) -> list[Life]:
        """By a scorer of (some, quantities, FEATURES), or by the rule."""
        found = self.rule if score is None else np.full(self.rule.shape, np.nan)
        if score is not None and self.judged.any():
            found[self.judged] = score(self.x[self.judged])
            found = np.where(self.certain, np.maximum(found, CERTAIN), found)
        scores = np.full((len(self.family), self.total_h), np.nan)
        for held in range(self.held_h - 1, -1, -1):
            hours = self.hours + held
            inside = hours < self.total_h
            scores[:, hours[inside]] = np.where(self.judged, found, np.nan)[inside].T
        facts = zip(scores, self.family, self.onset_h, self.end_h, strict=True)
        return [Life(*fact) for fact in facts]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that decays. thing: what one is, in French; lead_d: days before the end that count as in time;
    false_a_month: what is allowed while a decision is chosen; visible: how far a fault must have gone to count fully in
    learning (less counts less, under a sixth of it nothing); record: lives through some; partly_a_month: false alerts
    allowed where little is read, for which the network has a handicap; 0: it has none."""

    folder: Path
    thing: str
    families: tuple[str, ...]
    left_out: str
    quantities: tuple[str, ...]
    lead_d: int
    false_a_month: float
    visible: float
    things: int
    record: Callable[[Ask], Record]
    partly_a_month: float = 0.0

    @property
    def taught(self) -> tuple[str, ...]:
        return tuple(one for one in self.families if one != self.left_out)

    def asks(self, split: str, less: str = "") -> list[Ask]:
        """What a split consists of. Most of what is learnt from fails, in months, a third of it in days."""
        if split == "fit":
            days = {True: (110, (0.5, 20.0)), False: (DAYS, (20.0, 120.0))}
            every = [(seed, *days[seed % 3 == 0]) for seed in SEEDS[split]]
            return [
                Ask(self.folder.name, seed, self.things, d, self.taught, ramp, "mixed", 4) for seed, d, ramp in every
            ]
        families = self.taught if split == "calibration" else self.families
        return [
            Ask(self.folder.name, seed, self.things, DAYS, families if seed % 2 else (), (30, 120), less, EVERY_H)
            for seed in SEEDS[split]
        ]


CERTAIN = 12.0
"""The score of what is certain, while there is no card yet that says what is critical."""

DAYS = 170
SEEDS = {"fit": range(100, 109), "calibration": range(200, 206), "test": range(300, 306)}
WORKERS = 2
LEAST_IN_BAND = 20
"""Alerts from which a share of right ones is told."""

EVERY_H = 3
"""How often lives are judged while a model is made; the bench judges them every hour, as the gateway does."""


@dataclass(frozen=True, slots=True)
class Counted:
    """lead_d: of each found fault by family, how long before its end; faults: how many there were; false: alerts without a
    fault; months: judged without a fault; true_scores, false_scores: of the alerts."""

    lead_d: dict[str, list[float]]
    faults: dict[str, int]
    false: int
    months: float
    true_scores: tuple[float, ...]
    false_scores: tuple[float, ...]

    def in_time(self, days: float, families: Sequence[str] | None = None) -> tuple[int, int]:
        """Found at least so long before the end, and how many faults there were."""
        names = self.faults if families is None else families
        return sum(lead >= days for f in names for lead in self.lead_d.get(f, [])), sum(
            self.faults.get(f, 0) for f in names
        )

    @property
    def false_a_month(self) -> float:
        return self.false / max(self.months, 1e-9)


def count(lives: Sequence[Life], decision: Decision) -> Counted:
    """An alert before the onset is false, and ends nothing; the first one after it counts, or one that then still stands
    would have to be looked into anyway and is false all the same."""
    leads: dict[str, list[float]] = {}
    faults: dict[str, int] = {}
    true_scores, false_scores, months = [], [], 0.0
    for life in lives:
        months += life.sound_h / MONTH_H
        raised = life.alerts(decision)
        early = [score for hour, score in raised if not life.family or hour < life.onset]
        false_scores += early
        if life.family:
            faults[life.family] = faults.get(life.family, 0) + 1
            if true := [one for one in raised if life.onset <= one[0] <= life.end]:
                leads.setdefault(life.family, []).append((life.end - true[0][0]) / DAY)
                true_scores.append(true[0][1])
    return Counted(leads, faults, len(false_scores), months, tuple(true_scores), tuple(false_scores))


def share(found: int, of: int) -> dict[str, Any]:
    """A share with its 95 % interval."""
    low, high = wilson(found, of)
    return {
        "found": found,
        "of": of,
        "share": round(found / max(1, of), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def rate(events: int, months: float) -> dict[str, Any]:
    """Events a month with the 95 % interval of a Poisson count (exact for none, Byar's approximation otherwise)."""
    high = (
        3.689 if events == 0 else (events + 1) * (1 - 1 / (9 * (events + 1)) + 1.96 / (3 * math.sqrt(events + 1))) ** 3
    )
    low = 0.0 if events == 0 else events * (1 - 1 / (9 * events) - 1.96 / (3 * math.sqrt(events))) ** 3
    months = max(months, 1e-9)
    return {
        "alerts": events, "months": round(months, 1), "a_month": events / months, "low": low / months,
        "high": high / months,
    }  # fmt: skip


def network(rows: int, channels: int) -> Any:
    """Every row through the same small encoder, the largest of them beside all of them: what is wrong with one quantity
    looks alike whichever it is, and yet not all are worth the same."""
    import tensorflow as tf

    layers = tf.keras.layers
    first = layers.Input((rows, channels))
    regular = tf.keras.regularizers.l2(1e-4)
    each = layers.Conv1D(12, 1, activation="relu", kernel_regularizer=regular)(first)
    each = layers.Conv1D(8, 1, activation="relu", kernel_regularizer=regular)(each)
    largest = layers.Flatten()(layers.MaxPooling1D(rows)(each))
    every = layers.Dense(12, activation="relu", kernel_regularizer=regular)(layers.Dropout(0.1)(layers.Flatten()(each)))
    return tf.keras.Model(first, layers.Dense(1)(layers.Concatenate()([largest, every])))


def learn(x: NDArray[np.float32], label: Floats, weight: Floats, seed: int, epochs: int = 8) -> Any:
    """A network with learnt weights; x (samples, rows, channels)."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    model = network(*x.shape[1:])
    steps = epochs * (len(x) // 256 + 1)
    model.compile(
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        tf.keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.002),
    )
    balanced = np.where(label > 0, weight * weight[label == 0].sum() / max(weight[label > 0].sum(), 1e-9), weight)
    model.fit(x, label[:, None], sample_weight=balanced, batch_size=256, epochs=epochs, verbose=0)
    return model


def decide(
    lives: Sequence[Life], lead_d: float, false_a_month: float, start: Decision = START
) -> tuple[Decision, Counted]:
    """Of the decisions with no more false alerts than allowed, the one that finds most faults in time."""
    found: tuple[int, Decision, Counted] | None = None
    for threshold in np.arange(0.0, 9.1, 0.5).tolist():
        # What is certain must be told within the hour: one step of the most that a step adds is enough.
        tried = replace(start, threshold=threshold, clear=threshold - 1.0)
        counted = count(lives, tried)
        if counted.false_a_month <= false_a_month and (found is None or counted.in_time(lead_d)[0] > found[0]):
            found = counted.in_time(lead_d)[0], tried, counted
    if found is None:
        raise ArithmeticError(
            f"calibration: expected a decision with at most {false_a_month} false alerts a month, found none"
        )
    return found[1], found[2]


def bands(counted: Counted) -> list[tuple[float, int, int]]:
    """(from this score on, right, alerts): by thirds of the scores of true alerts, by halves or all together where that
    would leave a band with fewer than LEAST_IN_BAND alerts; none where there are fewer in all. Bands in which fewer were
    right than in the one below are one with it: a higher score is never said to be less sure."""
    scores = np.array([*counted.true_scores, *counted.false_scores])
    right = np.array([True] * len(counted.true_scores) + [False] * len(counted.false_scores))
    for parts in (3, 2, 1):
        inner = np.quantile(counted.true_scores, np.arange(1, parts) / parts).tolist() if counted.true_scores else []
        edges = [-99.0, *inner, math.inf]
        inside = [(scores >= low) & (scores < high) for low, high in pairwise(edges)]
        if all(one.sum() >= LEAST_IN_BAND for one in inside):
            out: list[tuple[float, int, int]] = []
            for low, one in zip(edges, inside, strict=False):
                out.append((round(low, 3), int(right[one].sum()), int(one.sum())))
                while len(out) > 1 and out[-1][1] * out[-2][2] < out[-2][1] * out[-1][2]:
                    _, more_right, more = out.pop()
                    out[-1] = (out[-1][0], out[-1][1] + more_right, out[-1][2] + more)
            return out
    return []


def calibration_table(kind: Kind, found: Sequence[tuple[float, int, int]]) -> str:
    """[calibration] of the card; nothing where there were too few alerts."""
    if not found:
        return ""
    french = (
        f"Simulation où une moitié ({kind.thing}) tombe en panne en six mois : ailleurs, une alerte est moins sûre."
    )
    english = "Simulation in which half fail within six months: where fewer do, an alert is right less often."
    rows = [f"[[calibration.band]]\nscore = {a}\nright = {b}\nalerts = {c}\n" for a, b, c in found]
    return "\n".join([f'[calibration]\nmade = "simulated"\ntext = "{french} / {english}"\n', *rows])


def figure(name: str, value: float, interval: tuple[float, float] | None, n: int) -> str:
    """A [[metrics.figure]] of the card."""
    between = f"low = {interval[0]:.4g}\nhigh = {interval[1]:.4g}\n" if interval else ""
    return f'[[metrics.figure]]\nname = "{name}"\nvalue = {value:.4g}\n{between}n = {n}\n'


def with_noise(examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Examples, and behind them some inputs like none that were ever seen."""
    noise = np.random.default_rng(0).normal(0, 1.5, (16, *examples.shape[1:])).astype(np.float32)
    return np.concatenate([examples, noise])


def samples(kind: Kind, record: Record, seed: int) -> tuple[NDArray[np.float32], Floats, Floats]:
    """x, label and weight of hours to learn from: all that are part of a fault, a third of the others."""
    rng = np.random.default_rng(seed)
    telling = (record.gone > 0) & (record.gone < 1)
    picked = record.judged & (telling | (rng.random(telling.shape) < 0.33))
    gone = record.gone[picked]
    weight = np.where(gone > 0, np.clip(gone / kind.visible, 0, 1) * (gone > kind.visible / 6), 1.0)
    return record.x[picked], (gone > 0).astype(float), weight


def fit(kind: Kind) -> None:
    """Learns, chooses, measures, writes the model's folder. Weights come from "fit", the decision and its confidence from
    "calibration", the figures in the card from "test": other seeds, and so other things in every way."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    name, shape = kind.folder.name, (len(kind.quantities), FEATURES)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:

        def recorded(split: str, less: str = "") -> Iterator[tuple[int, Record]]:
            asks = kind.asks(split, less)
            for ask, record in zip(asks, pool.map(kind.record, asks), strict=True):
                say(name, f"{split} {ask.seed} {less}")
                yield ask.seed, record

        parts = [samples(kind, record, seed) for seed, record in recorded("fit")]
        x, label, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        say(name, f"{len(x)} hours to learn from, {label.mean():.0%} of them with a fault")
        model = learn(x, label, weight, 1)
        shown = x[np.random.default_rng(0).permutation(len(x))[:600]].copy()
        shown[0, 0, 0], shown[1, 0, 0] = CLIP, -CLIP  # the input's scale must reach its ends
        content = int8_model(model, shown)
        (kind.folder / "model.tflite").write_bytes(content)
        blank = dict.fromkeys(("calibration", "figures", "text"), "") | {"decides": "model", "handicap": "0.0"}
        write_card(kind.folder, content, shape, START, blank)
        int8 = load_model(kind.folder)
        scores: tuple[Score | None, ...] = (
            lambda some: np.array([int8.score(one) for one in some]),
            lambda some: np.asarray(model.predict(some, batch_size=4096, verbose=0))[:, 0].astype(np.float64),
            None,
        )

        def lived(split: str, less: str = "") -> list[list[Life]]:
            """By int8, by float, by the rule; half of the seeds are all healthy."""
            made: list[list[Life]] = [[], [], []]
            for _, record in recorded(split, less):
                for into, score in zip(made, scores, strict=True):
                    into.extend(record.lives(score))
            return made

        calibration, tested = lived("calibration"), lived("test")
        few = [lived(split, "partly")[0] for split in ("calibration", "test")] if kind.partly_a_month else []
    decision, calibrated = decide(calibration[0], kind.lead_d, kind.false_a_month)
    handicap = handicap_of(few[0], decision, kind.partly_a_month) if few else 0.0
    chosen_partly, by_partly = [count(handicapped(one, handicap), decision) for one in few] if few else [None, None]
    deciding = (decision, decision, RULE_DECISION)
    by_int8, by_float, by_rule = (count(lives, one) for lives, one in zip(tested, deciding, strict=True))
    lines = [str(decision)]
    for said, counted in (("calibration", calibrated), ("int8", by_int8), ("float", by_float), ("rule", by_rule)):
        found, of = counted.in_time(kind.lead_d, kind.taught)
        lines.append(f"{said}: {found}/{of} in time, {counted.false} false in {counted.months:.0f} months")
        lines.append(", ".join("{} {}/{}".format(f, *counted.in_time(kind.lead_d, [f])) for f in kind.families))
    say(name, "\n".join(lines))
    gain = points_gained(kind, by_int8, by_rule)
    margin = int8.card.rule.margin
    used = gain >= margin
    verdict = "il est utilisé" if used else "il n'est pas utilisé, la règle décide"
    if not used:
        calibrated = count(calibration[2], RULE_DECISION)
    elif chosen_partly:
        calibrated = together(calibrated, chosen_partly)
    told = [*figures(kind, by_int8, by_float, by_rule, used), *(partly_figures(kind, by_partly) if by_partly else ())]
    marks = {
        "decides": "model" if used else "rule",
        "handicap": f"{handicap:.1f}",
        "calibration": calibration_table(kind, bands(calibrated)),
        "figures": "\n".join(told),
        "text": f"Le réseau {compared(gain, by_int8, by_rule)}, marge {margin:g} points : {verdict}.",
    }
    write_card(kind.folder, content, shape, decision if used else RULE_DECISION, marks)
    write_examples(kind.folder, int8, with_noise(shown[2:50]))


def handicapped(lives: Sequence[Life], handicap: float) -> list[Life]:
    """With so much taken from every score, but from what is certain."""
    return [
        replace(life, scores=np.where(life.scores < CERTAIN, life.scores - handicap, life.scores)) for life in lives
    ]


def handicap_of(lives: Sequence[Life], decision: Decision, false_a_month: float) -> float:
    """The smallest handicap with no more false alerts than allowed. Raises ArithmeticError where none is enough."""
    for handicap in np.arange(0.0, 8.1, 0.5).tolist():
        if count(handicapped(lives, handicap), decision).false_a_month <= false_a_month:
            return float(handicap)
    raise ArithmeticError(f"handicap: expected one with at most {false_a_month} false alerts a month, found none")


def together(one: Counted, other: Counted) -> Counted:
    """The alerts of both, for what their scores are worth."""
    true, false = one.true_scores + other.true_scores, one.false_scores + other.false_scores
    return replace(one, true_scores=true, false_scores=false)


def compared(gain: float, by_model: Counted, by_rule: Counted) -> str:
    """How a network does against its rule, in words."""
    if math.isinf(gain):
        return f"lève plus de fausses alertes que la règle ({by_model.false} contre {by_rule.false})"
    return f"trouve {abs(gain):.1f} points {'de plus' if gain >= 0 else 'de moins'} que la règle"


def points_gained(kind: Kind, by_model: Counted, by_rule: Counted) -> float:
    """Points of faults found in time that the model gains over the rule, the left-out family included; minus infinity where
    it raises more false alerts than the rule and than is allowed."""
    if by_model.false > max(by_rule.false, 2 * kind.false_a_month * by_model.months):
        return -math.inf
    (mine, of), (its, _) = by_model.in_time(kind.lead_d), by_rule.in_time(kind.lead_d)
    return 100 * (mine - its) / max(1, of)


def figures(kind: Kind, by_int8: Counted, by_float: Counted, by_rule: Counted, used: bool) -> Iterator[str]:
    """Of the card; by family of what decides."""
    mine = "" if used else "réseau, pas utilisé : "
    for name, counted in ((mine, by_int8), (f"{mine}avant int8 : ", by_float), ("règle seule : ", by_rule)):
        found = share(*counted.in_time(kind.lead_d, kind.taught))
        said = f"{name}pannes annoncées {kind.lead_d} jours avant, part"
        yield figure(said, found["share"], (found["low"], found["high"]), found["of"])
        false = rate(counted.false, counted.months)
        said = f"{name}fausses alertes par mois et {kind.thing}"
        yield figure(said, false["a_month"], (false["low"], false["high"]), round(counted.months))
    for family in kind.families:
        found = share(*(by_int8 if used else by_rule).in_time(kind.lead_d, [family]))
        said = f"{family}{', jamais apprise' if family == kind.left_out else ''} : annoncées {kind.lead_d} jours avant, part"
        yield figure(said, found["share"], (found["low"], found["high"]), found["of"])


def partly_figures(kind: Kind, by_partly: Counted) -> Iterator[str]:
    """Of the card, of things of which little is read."""
    for family in kind.families:
        found = share(*by_partly.in_time(kind.lead_d, [family]))
        said = f"porte seule lue, {family} : annoncées {kind.lead_d} jours avant, part"
        yield figure(said, found["share"], (found["low"], found["high"]), found["of"])
    false = rate(by_partly.false, by_partly.months)
    said = f"porte seule lue : fausses alertes par mois et {kind.thing}"
    yield figure(said, false["a_month"], (false["low"], false["high"]), round(by_partly.months))


def say(name: str, text: str) -> None:
    """Progress."""
    print(f"{name}: {text}", file=sys.stderr, flush=True)
