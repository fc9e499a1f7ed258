"""Sums over the hours before each hour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def trailing(parts: Floats, wanted: int, longest: int) -> Callable[[int, int], Floats]:
    """A function of `far` and `near` that gives the sums (kinds, wanted, columns) of parts (kinds, hours, columns) over the
    hours from `far` to `near` hours before the end of each of the last `wanted` hours, fewer at the beginning. longest: the
    furthest `far` that will be asked for."""
    kinds, hours, columns = parts.shape
    blank = np.zeros((kinds, max(0, wanted + longest - hours) + 1, columns))
    added = np.cumsum(np.concatenate([blank, parts[:, -wanted - longest :]], axis=1), axis=1)
    end = added.shape[1]

    def within(far: int, near: int) -> Floats:
        return np.asarray(added[:, end - wanted - near : end - near] - added[:, end - wanted - far : end - far])

    return within
