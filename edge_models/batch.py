"""Lamps and lifts lived through with the shipped model, some at a time, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_models.decay import Ask, Kind, Life
from edge_models.lamp_driver import fit as lamp
from edge_models.lift_door import fit as lift
from gateway.inference import load_model

KINDS: dict[str, Kind] = {"lamp_driver": lamp.KIND, "lift_door": lift.KIND}


def live(ask: Ask) -> list[list[Life]]:
    """By the shipped model's network, where it decides, and by the rule."""
    model = load_model(Path(__file__).parent / ask.model)
    record = KINDS[ask.model].record(ask)
    handicap = model.card.model.handicap if model.card.model and ask.less == "partly" else 0.0
    by_model = []
    if model.sha256:
        by_model.append(record.lives(lambda some: np.array([model.score(one) - handicap for one in some])))
    return [*by_model, record.lives(None)]
