"""A year on L-Town (BattLeDIM), for evaluation only: its network, sensors and kinds of leaks, our demand and noise.

Holes of 9 to 23 mm at 23 junctions, a third abrupt, the others growing for weeks, many at once and six of them never
repaired. The network's file is not ours and not in the repository.
"""

from __future__ import annotations

import numpy as np

from edge_models.leak.cases import DAY_H, Case, Leak, demand_of, measured
from edge_models.leak.watched import Watched, watch
from simulator.hydraulics import Orifice, run
from simulator.networks import network_from_file

INLETS = ("p227", "p235", "PUMP_1")
PLACES = (
    *(1, 4, 31, 54, 105, 114, 163, 188, 215, 229, 288, 296, 332, 342, 410, 415, 429),
    *(458, 469, 495, 506, 516, 519, 549, 613, 636, 644, 679, 722, 726, 740, 752, 769),
)
SENSORS = tuple(f"n{place}" for place in PLACES)
LEARNING_H = 32 * DAY_H


def year(file: str, seed: int) -> Watched:
    """The year of that seed, lived through with all 33 pressures and 3 flows."""
    case = ltown_case(file, seed)
    return watch(case, range(case.flows), range(case.flows, case.values.shape[1]))


def ltown_case(file: str, seed: int, days: int = 365, leaks: int = 23) -> Case:
    """See the module. Raises ArithmeticError when EPANET finds no solution."""
    rng, hours = np.random.default_rng([5, seed]), days * DAY_H
    network = network_from_file(file, INLETS)
    junctions = list(network.model.junction_name_list)
    zones = rng.integers(0, 10, len(junctions)).tolist()
    starts = np.sort(rng.integers(LEARNING_H, hours - 10 * DAY_H, leaks))
    orifices, spans = [], []
    for i, start in enumerate(starts.tolist()):
        length = int(rng.uniform(8, 70) * DAY_H) if i % 4 else hours
        end = min(start + length, hours)
        growth_h = 0 if rng.random() < 0.35 else int(rng.uniform(0.2, 0.9) * min(length, 60 * DAY_H))
        across_m = rng.uniform(0.009, 0.023)
        full = 0.75 * np.pi * (across_m / 2) ** 2 * np.sqrt(2 * 9.81) * 3600
        grown = np.clip((np.arange(end - start) + 1) / max(growth_h, 1), 0, 1) ** 2
        orifices.append(Orifice(str(rng.choice(junctions)), start, full * grown))
        spans.append((start, end, growth_h))
    trace = run(network, demand_of(rng, hours), zones, SENSORS, orifices=orifices)
    values, stuck, events = measured(rng, trace.flow_m3_h, trace.pressure_bar, 0.0)
    mean_m3_h = float(trace.flow_m3_h.sum(1).mean())
    named = []
    for i, (start, end, growth_h) in enumerate(spans):
        lost_m3_h = float(trace.out_m3_h[min(start + growth_h, end - 1) : end, i].mean())
        named.append(Leak(start, end, growth_h, lost_m3_h / mean_m3_h, lost_m3_h))
    name, flows = f"ltown-{seed}", trace.flow_m3_h.shape[1]
    return Case(name, "file", flows, values, stuck, tuple(named), trace.out_m3_h, mean_m3_h, tuple(events))
