"""Learns the lift model and measures it: `python -m edge_models.lift_door.fit`, extra `train`.

Lifts of the splits differ in everything (shaft.py); the family LEFT_OUT is only in "test". Same machine, same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models import decay
from edge_models.decay import Kind, Life
from edge_models.lift_door.shaft import FAMILIES, LEFT_OUT, Shafts, shafts
from gateway.window.lift import DAY, QUANTITIES, Lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_models.decay import Score

LIFTS, DAYS, FROM_D = 16, 200, 30
HOUR = 4
"""Slices of an hour."""

VISIBLE = 0.4
"""How far a fault must have gone to count fully in learning; less counts less, and under a tenth not at all."""


def seen(one: Shafts, every_h: int = 1) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_], Any]]:
    """(hour, x (lifts, QUANTITIES, FEATURES), judged (lifts,), rule scores (lifts,)) of every so many hours."""
    lifts = Lifts(len(one.rows))
    for number in range(one.rows.shape[1]):
        lifts.row(one.first_slice + number)[:] = one.rows[:, number]
        if number >= FROM_D * DAY and (number + 1) % (HOUR * every_h) == 0:
            now = lifts.see((one.first_slice + number + 1) * 900.0)
            yield number // HOUR, now.x, now.judged, now.rule_score


def lives_of(one: Shafts, scores: Sequence[Score], every_h: int = 1) -> list[list[Life]]:
    """By scorer, and last by the rule: the life of every lift. An hour that is not judged has the score of the next."""
    n, slices = one.gone.shape
    found = np.full((len(scores) + 1, n, slices // HOUR), np.nan)
    for hour, x, judged, rule in seen(one, every_h):
        if judged.any():
            hours = slice(hour - every_h + 1, hour + 1)
            for at, score in enumerate(scores):
                found[at, judged, hours] = score(x[judged])[:, None]
            found[-1, judged, hours] = rule[judged, None]
    return [
        [
            Life(s, f, int(a) // HOUR, int(b) // HOUR)
            for s, f, a, b in zip(by_lift, one.family, one.onset, one.end, strict=True)
        ]
        for by_lift in found
    ]


def lives(seed: int, families: tuple[str, ...], scores: Sequence[Score], every_h: int) -> list[list[Life]]:
    """See `Kind`: lifts whose door and drive are both read."""
    return lives_of(shafts(seed, LIFTS, DAYS, families, drive=True), scores, every_h)


def samples(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """See `Kind`: most lifts fail, in months; on a third of the seeds in days. Some have no drive that is read."""
    quick = seed % 3 == 0
    one = shafts(seed, 2 * LIFTS, 100 if quick else 160, KIND.taught, (0.2, 15) if quick else (15, 110))
    rng = np.random.default_rng(seed)
    parts: list[tuple[Any, Any]] = []
    for hour, x, judged, _ in seen(one, 4):
        gone = one.gone[:, HOUR * hour]
        telling = (gone > 0) & (gone < 1) & (rng.random(len(gone)) < (1.0 if quick else 0.5))
        picked = np.flatnonzero(judged & (telling | (rng.random(len(gone)) < 0.3)))
        parts.append((x[picked], gone[picked]))
    x, gone = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    weight = np.where(gone > 0, np.clip(gone / VISIBLE, 0, 1) * (gone > 0.1), 1.0)
    return x, (gone > 0).astype(float), weight


KIND = Kind(Path(__file__).parent, "ascenseur", FAMILIES, LEFT_OUT, QUANTITIES, 7, 0.01, samples, lives)

if __name__ == "__main__":
    decay.fit(KIND)
