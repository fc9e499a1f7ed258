"""Chance that depends on nothing but (seed, name, counter): any instant of a truth can be asked for, in any order.

The counter is scrambled by the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014): every output bit depends on every input bit, and it costs under a microsecond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

_WORD = 0xFFFFFFFFFFFFFFFF
_STEP = 0x9E3779B97F4A7C15
_inverse_normal = NormalDist().inv_cdf


def scramble(number: int) -> int:
    """64 bits in, 64 bits out, one to one."""
    z = number & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


@dataclass(frozen=True, slots=True)
class Noise:
    """A source of chance: equal seed and name, equal values, on every machine and in every process."""

    seed: int
    name: str
    _key: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = scramble(self.seed + _STEP)
        for byte in self.name.encode():
            key = scramble((key ^ byte) + _STEP)
        object.__setattr__(self, "_key", key)

    def uniform(self, counter: int = 0) -> float:
        """Evenly in [0, 1)."""
        return (scramble(self._key + counter * _STEP) >> 11) * 2.0**-53

    def between(self, low: float, high: float, counter: int = 0) -> float:
        """Evenly in [low, high)."""
        return low + (high - low) * self.uniform(counter)

    def gauss(self, counter: int = 0) -> float:
        """Normally distributed, mean 0, standard deviation 1."""
        return _inverse_normal(self.uniform(counter) * (1 - 2.0**-52) + 2.0**-53)

    def smooth(self, time_s: float, period_s: float) -> float:
        """A continuous random curve, mean 0, standard deviation 1 at every instant; values further apart than two
        periods have nothing to do with each other."""
        place = time_s / period_s
        counter = math.floor(place)
        angle = (place - counter) * math.pi / 2
        return math.cos(angle) * self.gauss(counter) + math.sin(angle) * self.gauss(counter + 1)
