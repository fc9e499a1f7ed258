"""What a simulated device measures when nobody says what: slow curves that lie where such a quantity usually does.

Simulated, and simple: enough to try a profile, a bus or a page against. What has physics of its own (water, lamps, lifts,
bins) has a file of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.contradiction import PointLike, reach
from simulator.noise import Noise

USUAL: dict[str, tuple[float, float]] = {
    "%": (30, 70), "bar": (2.5, 5), "mbar": (990, 1030), "Pa": (2e5, 5e5), "kPa": (200, 500), "m[H2O]": (20, 50),
    "m3/h": (5, 40), "m3/s": (0.002, 0.02), "L/s": (1, 10), "L/min": (60, 600), "L/h": (500, 5000), "m": (0.8, 3),
    "cm": (60, 200), "mm": (400, 1800), "m/s": (0.4, 3), "mm/s": (100, 400), "mm/h": (0, 4), "Cel": (4, 26),
    "K": (278, 300), "V": (226, 234), "mV": (2800, 3100), "A": (0.5, 8), "mA": (100, 600), "W": (150, 1800),
    "kW": (0.15, 1.8), "W/m2": (0, 600), "VA": (150, 2000), "var": (10, 300), "Hz": (49.95, 50.05), "/min": (900, 1450),
    "s": (2, 9), "min": (1, 30), "deg": (20, 340), "lx": (20, 400), "lm": (3000, 6000), "[ppm]": (420, 900),
    "[ppb]": (50, 300), "ug/m3": (4, 25), "uS/cm": (300, 600), "dB": (35, 60), "dB[SPL]": (35, 60), "dB[mW]": (-80, -50),
    "kg": (5, 60), "g": (0.01, 0.5), "m/s2": (0.1, 5),
}  # fmt: skip
"""Where a quantity in this unit mostly is."""

COUNTS = {
    "W.h": 800.0, "kW.h": 0.8, "MW.h": 0.0008, "var.h": 100.0, "kvar.h": 0.1, "VA.h": 900.0, "m3": 12.0, "L": 12000.0,
    "mL": 1.2e7, "h": 1.0, "d": 1 / 24,
}  # fmt: skip
"""Units of quantities that only grow, by how much an hour."""

PERIOD_S = 1800.0
LABEL_S = 900.0
MOSTLY = 0.97
"""How much of the time a state is its first."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The value of one point over time (UTC seconds), always within its range and what its bytes can give. Equal seed and
    name, equal curve."""

    point: PointLike
    seed: int
    name: str
    since_s: float = 0.0

    def at(self, time_s: float) -> float:
        """The value at that time."""
        low, high = limits(self.point)
        noise = Noise(self.seed, f"{self.name}/{self.point.name}")
        form = self.point.form
        if states := self._states(low, high):
            slot = math.floor(time_s / LABEL_S)
            if len(states) == 1 or noise.uniform(slot) < MOSTLY:
                return states[0]
            return states[1 + int(noise.uniform(slot + 1_000_003) * (len(states) - 1))]
        if self.point.unit in COUNTS:
            start = low + min(high - low, 1e5) * noise.between(0.05, 0.2)
            grown = COUNTS[self.point.unit] * noise.between(0.5, 1.5, 1) * max(0.0, time_s - self.since_s) / 3600
            return min(high, start + grown)
        if self.point.unit == "1" and form is not None and not form.type.startswith("f") and high > 100:
            return max(low, min(high, 0.0))  # a code or counter: nothing to tell
        lowest, highest = self._usual(low, high)
        swing = 0.5 + 0.5 * math.tanh(0.8 * noise.smooth(time_s, PERIOD_S))
        return lowest + (highest - lowest) * swing

    def _usual(self, low: float, high: float) -> tuple[float, float]:
        lowest, highest = USUAL.get(self.point.unit, (0.85, 0.98) if self.point.unit == "1" else (low, high))
        lowest, highest = max(low, lowest), min(high, highest)
        if lowest < highest:
            return lowest, highest
        return low + (high - low) * 0.4, low + (high - low) * 0.6

    def _states(self, low: float, high: float) -> list[float]:
        """What a point with words, or of one bit, can be."""
        form = self.point.form
        if self.point.labels:
            taken = set(form.sentinels) if form is not None else set()
            return [n for label in self.point.labels if low <= (n := float(label)) <= high and n not in taken]
        if form is not None and (form.type == "bit" or (low, high) == (0.0, 1.0)) and self.point.unit == "1":
            return [0.0] if form.type.startswith("f") else [0.0, 1.0]
        return []


def limits(point: PointLike) -> tuple[float, float]:
    """The lowest and the highest value of a point: its range, else what its bytes give, kept to numbers that are sane."""
    low, high = point.range or (reach(point.form) if point.form is not None else None) or (0.0, 1e6)
    return max(low, -1e9), min(high, 1e12)
