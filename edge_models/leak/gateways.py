"""Gateways in cases that are simulated already: what their windows made of them, the truth beside it, and which hours are
learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edge_models.leak.generate import CASES
from edge_models.leak.matching import Course
from gateway.window.channel import CHANNELS, LAGS_H, stacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FRESH_H = 10 * 24
"""What a leak has lost for longer is the new level: a watch is to see the next one from there."""

SETTLED, SETTLED_WEIGHT, LEAST_LOSS = 0.25, 0.5, 0.008
"""A leak that grew by less than that share of it in FRESH_H is settled; hours of it count as calm, by that weight, where it
loses at least so much of the inflow."""

MENDED_H, AFTER_H = 24, 96
"""So long after a repair the last day is still a mixture; from then until then that all is well counts twice, so that an
alert ends."""

EARLY_SHARE, EARLY_WEIGHT = 0.06, 10.0
"""The first day of a burst counts more, since it is short and should be enough."""

EXAMPLES = 60

SUDDEN = [CHANNELS.index(name) for name in ("flow_3h", "offset_3h", "drop_3h_max", "others_3h_max")]

PAST_H = LAGS_H[0]
"""Blank hours before each gateway's first, so that every hour has all its lags."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One case with one set of sensors. padded (PAST_H + hours, channels): the window's rows; rule (hours,): the rule's
    scores; loss (hours, leaks) as share of the mean inflow; leaks, sigmas: as in Course."""

    name: str
    padded: NDArray[np.float16]
    rule: Floats
    leaks: Floats
    sigmas: Floats
    loss: Floats
    sensors: tuple[int, int]
    regime: str

    @property
    def rows(self) -> NDArray[np.float16]:
        return self.padded[PAST_H:]

    @property
    def first(self) -> int:
        """The first hour that has features."""
        return int(np.argmax(self.rows[:, CHANNELS.index("known")] > 0))

    def inputs(self) -> NDArray[np.float32]:
        """(hours from `first` on, steps, channels)."""
        return stacked(self.padded[self.first :])

    def course(self, scores: Floats) -> Course:
        """scores: from `first` on."""
        fresh = self.rows[self.first :, CHANNELS.index("fresh")] > 0
        flows, pressures = self.sensors
        kind = "both" if flows and pressures else "flow" if flows else "pressure"
        whole = np.concatenate([np.full(self.first, np.nan), np.where(fresh, scores, np.nan)])
        return Course(whole, self.leaks, self.sigmas, kind, self.regime)

    def samples(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Hours to learn from, whether water is lost, and how much each hour counts."""
        hours = np.arange(len(self.rows))
        grown = np.zeros(len(hours))
        unclear, settled, early, mended = (np.zeros(len(hours), bool) for _ in range(4))
        for i, (start, end, growth_h, share, _) in enumerate(self.leaks):
            running = (hours >= start) & (hours < end)
            lost = np.asarray(self.loss[: len(hours), i], np.float64)
            before = np.concatenate([np.full(FRESH_H - 1, lost[0]), lost])
            more = np.where(running, lost - np.lib.stride_tricks.sliding_window_view(before, FRESH_H).min(-1), 0.0)
            old = running & (hours >= start + FRESH_H) & (more < SETTLED * lost)
            grown = np.maximum(grown, np.where(old, 0.0, more))
            settled |= old & (lost > LEAST_LOSS)
            unclear |= running | ((hours >= end) & (hours < end + MENDED_H))
            mended |= (hours >= end + MENDED_H) & (hours < end + AFTER_H)
            if growth_h == 0 and share > EARLY_SHARE:
                early |= running & (hours >= start + 2) & (hours < start + 18)
        weight = np.clip(grown / 0.04, 0, 1)
        label = (weight >= 0.2).astype(np.float64)
        calm = np.where(unclear, np.where(settled & (grown <= 0), SETTLED_WEIGHT, 0.0), 1.0)
        weight = np.where(label > 0, weight, calm)
        weight[early] *= EARLY_WEIGHT
        weight[mended & (label == 0)] *= 2
        # Of what looks like a burst at first, and is or is not one, every second hour is seen; of the rest every sixth.
        telling = early | (np.asarray(self.rows[:, SUDDEN], np.float64).max(1) > 4)
        often = telling & (hours % 2 == int(rng.integers(2)))
        picked = (often | (hours % 6 == int(rng.integers(6)))) & (weight > 0) & (hours >= self.first)
        picked &= self.rows[:, CHANNELS.index("fresh")] > 0
        return hours[picked], label[picked], weight[picked]


@dataclass(frozen=True, slots=True)
class School:
    """Gateways to learn from. rows (hours, channels): those of all of them in one block, which processes that fork share;
    begins: where in it each gateway's begin."""

    rows: NDArray[np.float16]
    begins: tuple[int, ...]
    gateways: tuple[Gateway, ...]

    @classmethod
    def of(cls, gateways: Sequence[Gateway]) -> Self:
        rows = np.concatenate([gateway.padded for gateway in gateways])
        bounds = np.cumsum([0, *(len(gateway.padded) for gateway in gateways)]).tolist()
        inside = [
            replace(gateway, padded=rows[begin:end])
            for gateway, begin, end in zip(gateways, bounds, bounds[1:], strict=False)
        ]
        return cls(rows, tuple(bounds[:-1]), tuple(inside))

    def examples(self) -> NDArray[np.float32]:
        """Some inputs of the first look at each of the first EXAMPLES cases: scales and golden vectors come from them."""
        first = {gateway.name: gateway for gateway in reversed(self.gateways)}
        some = [first[name] for number in range(EXAMPLES) if (name := f"fit-{number}") in first]
        return np.concatenate([gateway.inputs()[::144].copy() for gateway in some])


def load(folder: Path, split: str) -> list[Gateway]:
    """All gateways of a split; a case whose points never had enough data gives none."""
    gateways = []
    for number in range(CASES[split]):
        with np.load(folder / f"{split}-{number}.npz") as stored:
            share = stored["loss"] / max(float(stored["inflow"]), 1e-6)
            truth = stored["leaks"], stored["sigmas"], share
            regime, seen = str(stored["regime"]), [_seen(stored)]
        also = folder / f"{split}-{number}-also.npz"
        if also.exists():
            with np.load(also) as stored:
                seen.append(_seen(stored))
        for rows, rule, sensors in seen:
            if rows[:, CHANNELS.index("known")].any():
                padded = np.concatenate([np.zeros((PAST_H, len(CHANNELS)), np.float16), rows])
                gateways.append(Gateway(f"{split}-{number}", padded, rule, *truth, sensors, regime))
    return gateways


def _seen(stored: Any) -> tuple[NDArray[np.float16], Floats, tuple[int, int]]:
    flows, pressures = stored["sensors"].tolist()
    return stored["rows"], stored["rule"], (flows, pressures)
