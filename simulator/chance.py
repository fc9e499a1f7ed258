"""The chance of `simulator.noise` for whole arrays of instants: numbers that depend on (seed, stream, index) alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.noise import Noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, stream: str, index: ArrayLike) -> NDArray[np.float64]:
    """Numbers in (0, 1), one for each whole `index`. `stream` names what they are for."""
    with np.errstate(over="ignore"):
        key = np.uint64(int(Noise(seed, stream).uniform() * 2.0**53))
        z = np.asarray(index).astype(np.int64).astype(np.uint64) * _GOLDEN + key * np.uint64(0xD1342543DE82EF95)
        for _ in range(2):
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    return (np.asarray(z >> np.uint64(11), np.float64) + 0.5) / 2.0**53


def normal(seed: int, stream: str, index: ArrayLike) -> NDArray[np.float64]:
    """Standard normal numbers (Box and Muller)."""
    radius = np.sqrt(-2 * np.log(uniform(seed, stream + "/r", index)))
    return np.asarray(radius * np.cos(2 * np.pi * uniform(seed, stream + "/a", index)))


def wander(seed: int, stream: str, time_s: ArrayLike, period_s: float) -> NDArray[np.float64]:
    """A smooth wandering line of mean 0 and deviation about 1, with a new draw each `period_s`."""
    place = np.asarray(time_s, np.float64) / period_s
    before = np.floor(place)
    part = place - before
    part = part * part * (3 - 2 * part)
    a, b = normal(seed, stream, before), normal(seed, stream, before + 1)
    return np.asarray((a * (1 - part) + b * part) / np.sqrt(part * part + (1 - part) * (1 - part)))
