"""Learns the lamp model and measures it: `python -m edge_models.lamp_driver.fit`, extra `train`.

Lamps of the splits differ in everything (street.py); the family LEFT_OUT is only in "test". Same machine, same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models import decay
from edge_models.decay import DAY, Kind, Life
from edge_models.lamp_driver.street import FAMILIES, LEFT_OUT, Street, street
from gateway.window.lamp import COLUMN, QUANTITIES, Lamps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_models.decay import Score

LAMPS, DAYS, FROM_D = 48, 200, 30
VISIBLE = 0.3
"""How far a fault must have gone to count fully in learning; less counts less, and under a twentieth not at all."""


def seen(one: Street, every_h: int = 1) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_], Any]]:
    """(hour, x (lamps, QUANTITIES, FEATURES), judged (lamps,), rule scores (lamps,)) of every so many hours; while no lamp
    is lit of every sixth, since nothing changes then but the clock."""
    lamps = Lamps(len(one.rows), one.neighbours)
    lit = (np.nan_to_num(one.rows[..., COLUMN["power"]]) > 3).any(0)
    for hour in range(one.rows.shape[1]):
        lamps.row(one.first_hour + hour)[:] = one.rows[:, hour]
        if hour >= FROM_D * DAY and (hour % 6 == 0 or (lit[hour] and hour % every_h == 0)):
            now = lamps.see((one.first_hour + hour + 1) * 3600.0)
            yield hour, now.x, now.judged, now.rule_score


def lives_of(one: Street, scores: Sequence[Score], every_h: int = 1) -> list[list[Life]]:
    """By scorer, and last by the rule: the life of every lamp. An hour that is not judged keeps the score of the one before
    (see `seen`)."""
    n, hours = one.gone.shape
    found = np.full((len(scores) + 1, n, hours), np.nan)
    last = -1
    for hour, x, judged, rule in seen(one, every_h):
        if judged.any():
            for at, score in enumerate(scores):
                found[at, judged, hour] = score(x[judged])
            found[-1, judged, hour] = rule[judged]
        if 0 <= last < hour <= last + 6:
            found[:, :, last + 1 : hour] = found[:, :, last, None]
        last = hour
    return [
        [Life(s, f, int(a), int(b)) for s, f, a, b in zip(by_lamp, one.family, one.onset, one.end, strict=True)]
        for by_lamp in found
    ]


def lives(seed: int, families: tuple[str, ...], scores: Sequence[Score], every_h: int) -> list[list[Life]]:
    """See `Kind`: drivers with all quantities of DALI Part 253."""
    return lives_of(street(seed, LAMPS, DAYS, families, whole=True), scores, every_h)


def samples(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """See `Kind`: most lamps fail, in months; on a third of the streets in days."""
    quick = seed % 3 == 0
    one = street(seed, LAMPS, 120 if quick else DAYS, KIND.taught, (0.5, 20) if quick else (20, 160))
    rng = np.random.default_rng(seed)
    parts: list[tuple[Any, Any]] = []
    for hour, x, judged, _ in seen(one, 4):
        telling = (one.gone[:, hour] > 0) & (one.gone[:, hour] < 1) & (rng.random(LAMPS) < (1.0 if quick else 0.5))
        picked = np.flatnonzero(judged & (telling | (rng.random(LAMPS) < 0.2)))
        parts.append((x[picked], one.gone[picked, hour]))
    x, gone = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    weight = np.where(gone > 0, np.clip(gone / VISIBLE, 0, 1) * (gone > 0.05), 1.0)
    return x, (gone > 0).astype(float), weight


KIND = Kind(Path(__file__).parent, "lampe", FAMILIES, LEFT_OUT, QUANTITIES, 14, 0.0005, samples, lives)

if __name__ == "__main__":
    decay.fit(KIND)
