"""Lamps and lifts lived through with the shipped model, a batch at a time, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_models.decay import Kind, Life
from edge_models.lamp_driver import fit as lamp
from edge_models.lamp_driver.street import street
from edge_models.lift_door import fit as lift
from edge_models.lift_door.shaft import shafts
from gateway.inference import load_model

KINDS: dict[str, Kind] = {"lamp_driver": lamp.KIND, "lift_door": lift.KIND}


@dataclass(frozen=True, slots=True)
class Batch:
    """Some things to live through. group: what they are for; things, days: how many, how long; some: "partly" where not all
    quantities are read (lift: of the drive), "alone" for lamps without neighbours."""

    model: str
    group: str
    seed: int
    things: int
    days: int
    faults: bool
    some: str = ""


def live(batch: Batch) -> list[list[Life]]:
    """The lives of a batch: by the shipped model's network, where it decides, and by the rule."""
    model = load_model(Path(__file__).parent / batch.model)
    scores = [lambda x: np.array([model.score(one) for one in x])] if model.sha256 else []
    families = KINDS[batch.model].families if batch.faults else ()
    if batch.model == "lamp_driver":
        neighbours, whole = batch.some != "alone", batch.some != "partly"
        one = street(batch.seed, batch.things, batch.days, families, neighbours=neighbours, whole=whole)
        return lamp.lives_of(one, scores)
    return lift.lives_of(shafts(batch.seed, batch.things, batch.days, families, drive=not batch.some), scores)
