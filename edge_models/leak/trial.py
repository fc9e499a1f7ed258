"""Many decisions tried on many gateways at once: what `gateway.verdict.Decider` does, step by step for all of them together
(a test holds the two against each other). Choosing a decision with the Decider itself would take hours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from gateway.verdict import Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

AT_ONCE = 24
HOUR_S = 3600.0


def tried(scores: Floats, decisions: Sequence[Decision]) -> Iterator[tuple[Flags, Flags]]:
    """scores (gateways, hours), NaN where there is none. For each decision (gateways, hours): where an alert is raised, and
    where one lasts after the step."""
    for i in range(0, len(decisions), AT_ONCE):
        yield from zip(*_tried(scores, decisions[i : i + AT_ONCE]), strict=True)


def _tried(scores: Floats, decisions: Sequence[Decision]) -> tuple[Flags, Flags]:
    d = {entry.name: np.array([[getattr(one, entry.name)] for one in decisions], float) for entry in fields(Decision)}
    if (d["grace_s"] > 0).any():
        raise ValueError("decisions: expected no grace period, for the sector's window has its own")
    fade_s = np.maximum(d["fade_s"], 1e-9)
    seen = np.zeros(len(scores))  # the last hour with a score
    shape = len(decisions), len(scores)
    evidence = np.zeros(shape)
    usual, floor, low, last = (np.full(shape, np.nan) for _ in range(4))
    alert = np.zeros(shape, bool)
    raised, lasting = np.zeros((*shape, scores.shape[1]), bool), np.zeros((*shape, scores.shape[1]), bool)
    for hour in range(scores.shape[1]):
        known = np.isfinite(scores[:, hour])[None]
        score = np.where(known, scores[:, hour], 0.0)
        first = known & np.isnan(usual) & np.isnan(floor)
        passed_s = ((hour - seen) * HOUR_S)[None]
        seen = np.where(known[0], hour, seen)
        relaxing, fading = -np.expm1(-passed_s / d["relax_s"]), -np.expm1(-passed_s / fade_s)
        held = (hour - last) * HOUR_S < d["hold_s"]
        bare = np.isnan(floor)
        usual = np.where(first, score, usual)
        moving = known & bare & ~first
        usual = np.where(moving, usual + (np.minimum(score, d["threshold"]) - usual) * relaxing, usual)
        sinking = floor + (score - floor) * np.where(alert, relaxing, fading)
        floor = np.where(known & ~bare, np.where(held, np.maximum(floor, score), sinking), floor)
        quiet = np.minimum(d["threshold"], np.maximum(usual + d["jump"], d["clear"]))
        limit = np.where(bare, quiet, np.maximum(d["threshold"], np.nan_to_num(floor) + d["rise"]))
        excess = score - limit
        above = np.minimum(np.maximum(excess, 0.0) ** d["power"], d["cap"])
        gathered = evidence + np.where(excess > 0, above, np.maximum(excess, -d["cap"]))
        evidence = np.where(known, np.clip(gathered, 0, d["evidence"]), evidence)
        under = np.where(score < d["clear"], np.where(np.isnan(low), hour, low), np.nan)
        low = np.where(known & alert, under, low)
        clears = known & alert & ((hour - low) * HOUR_S >= d["clear_s"])
        alert &= ~clears
        raises = known & (evidence >= d["evidence"]) & ~held
        alert |= raises
        last, floor = np.where(raises, hour, last), np.where(raises, score, floor)
        evidence, low = np.where(raises, 0.0, evidence), np.where(raises | clears, np.nan, low)
        idle = known & ~alert & ~np.isnan(floor)
        gone = idle & (d["fade_s"] > 0) & (floor + d["rise"] <= d["threshold"])
        usual = np.where(gone, np.minimum(score, d["threshold"]), usual)
        floor = np.where(gone | (idle & (d["fade_s"] <= 0)), np.nan, floor)
        raised[:, :, hour], lasting[:, :, hour] = raises, alert
    return raised, lasting
