"""Cases to learn and to be measured on: sectors that never existed, some months of their life, and what sensors saw of it.

A case is drawn from (split, number): another number is another network, and no network is in two splits. Hydraulics come
from EPANET; leaks are holes in it, and so are opened hydrants. Besides leaks there is much that is none: weather, days of
rest and holidays, clocks that change, a new consumer, a moved set point, sensors that drift, jump, stick or fall silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gateway.summary import Aggregate
from gateway.window.sector import SectorWindow
from simulator.hydraulics import BAR_PER_M, Change, Orifice, Trace, run, usable
from simulator.networks import Network, random_network

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPLITS = {"fit": 1, "calibration": 2, "bench": 4, "test": 11}
"""The last two are only ever measured on. 3 and 6 to 10 were test splits by which something was chosen: retired."""

FAULTS = {"fit": 3.0}
"""How many times as often as elsewhere a split sees what is no leak but can look like one: there is much to learn."""

DAY_H = 24
EPOCH_H = 447_000
"""First hour of all cases, a multiple of 24 counted since 1970."""
LEARNING_H = 30 * DAY_H


@dataclass(frozen=True, slots=True)
class Leak:
    """start, end in hours of the case; growth_h: until it has its full size (0: at once); share: of the mean inflow that
    it loses on average once grown; m3_h: the same in m3/h."""

    start: int
    end: int
    growth_h: int
    share: float
    m3_h: float


@dataclass(frozen=True, slots=True)
class Event:
    """What is no leak and can look like one, from an hour of the case on. column: of the sensor whose fault it is, -1 where
    it happened in the network."""

    kind: str
    start: int
    column: int = -1


@dataclass(frozen=True, slots=True)
class Case:
    """values (hours, points): what sensors say hour by hour, flows (m3/h) first, then pressures (bar), NaN where nothing.
    stuck: where they repeat themselves. loss (hours, leaks): m3/h. regime: how the sector is fed. effects (leaks, hours,
    points): by how much each leak moves each value, against the same life without it; None where not asked for."""

    name: str
    regime: str
    flows: int
    values: Floats
    stuck: NDArray[np.bool_]
    leaks: tuple[Leak, ...]
    loss: Floats
    inflow_m3_h: float
    events: tuple[Event, ...]
    effects: Floats | None = None


def draw(split: str, number: int, twins: bool = False) -> Case:
    """The case of that number. twins: its effects too, one more simulation a leak."""
    key = [SPLITS[split], number]
    rng = np.random.default_rng(key)
    for attempt in range(20):
        network = random_network([*key, attempt])
        if not usable(network):
            continue
        try:
            return _live(rng, network, f"{split}-{number}", twins, FAULTS.get(split, 1.0))
        except ArithmeticError:
            continue
    raise ArithmeticError(f"case {split}-{number}: expected a usable network within 20 draws")


def _live(rng: Generator, network: Network, name: str, twins: bool, faults: float) -> Case:
    hours = int(rng.integers(100, 150)) * DAY_H
    junctions = list(network.model.junction_name_list)
    streets = [junction for junction in junctions if junction.startswith("J")]
    zones = rng.integers(0, 10, len(junctions))
    demand = demand_of(rng, hours)
    orifices, events = [], list[Event]()
    mean_root_m = np.sqrt(35.0)
    drawn = _leaks(rng, hours)
    for start, end, growth_h, share in drawn:
        grown = np.clip((np.arange(end - start) + 1) / max(growth_h, 1), 0, 1) ** 2
        size = share * network.inflow_m3_h / mean_root_m
        orifices.append(Orifice(str(rng.choice(streets)), start, size * grown))
    for _ in range(rng.poisson(hours / DAY_H / 40)):
        opened = float(rng.uniform(0.08, 0.5)) * network.inflow_m3_h / mean_root_m
        length = int(rng.integers(1, 4))
        orifices.append(Orifice(str(rng.choice(streets)), int(rng.integers(24, hours - 8)), np.full(length, opened)))
        events.append(Event("flushing", orifices[-1].start))
    changes = []
    if rng.random() < 0.3:
        node = str(rng.choice(streets))
        new_m3_h = float(
            network.model.get_node(node).base_demand * 3600 + rng.uniform(0.02, 0.08) * network.inflow_m3_h
        )
        changes.append(Change(int(rng.integers(LEARNING_H, hours)), "demand", node, new_m3_h))
        events.append(Event("consumer", changes[-1].at))
    moved, closed = _manoeuvres(rng, network, hours, faults)
    changes += moved + closed
    events += [Event("setting", change.at) for change in moved] + [Event("valve", change.at) for change in closed]
    count = int(rng.integers(2, 11) if rng.random() < 0.85 else rng.integers(11, 34))
    sensors = [str(node) for node in rng.choice(streets, min(len(streets), count), replace=False)]
    live = partial(
        run, network, demand, zones.tolist(), sensors, changes=changes, background=float(rng.uniform(0, 0.2))
    )
    trace = live(orifices=orifices)
    if np.nanmedian(trace.pressure_bar) < 10 * BAR_PER_M:
        raise ArithmeticError("pressure: expected more than 10 m")
    values, stuck, broken = measured(rng, trace.flow_m3_h, trace.pressure_bar, faults)
    loss = trace.out_m3_h[:, : len(drawn)]
    leaks = []
    mean_m3_h = float(trace.flow_m3_h.sum(1).mean())
    for i, (start, end, growth_h, _) in enumerate(drawn):
        grown_m3_h = float(loss[min(start + growth_h, end - 1) : end, i].mean())
        leaks.append(Leak(start, end, growth_h, grown_m3_h / mean_m3_h, grown_m3_h))
    flows = trace.flow_m3_h.shape[1]
    effects = None
    if twins:
        without = [live(orifices=[*orifices[:i], *orifices[i + 1 :]]) for i in range(len(drawn))]
        moved = [_true(trace) - _true(twin) for twin in without]
        effects = np.array(moved).reshape(len(drawn), *values.shape)
    return Case(name, network.regime, flows, values, stuck, tuple(leaks), loss, mean_m3_h, (*events, *broken), effects)


def _manoeuvres(rng: Generator, network: Network, hours: int, faults: float) -> tuple[list[Change], list[Change]]:
    """Set points that are moved, some of them back after a while, and street valves that are closed or found closed and
    opened: pressures that change for good, and no water is lost."""
    moved, closed = [], []
    if network.settings:
        for _ in range(rng.poisson(faults * hours / DAY_H / 350)):
            kind, supply = network.settings[int(rng.integers(len(network.settings)))]
            step_m = float(rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.2), np.log(5))))
            at = int(rng.integers(LEARNING_H, hours))
            moved.append(Change(at, kind, supply, step_m))
            back = at + int(rng.uniform(6, 20 * DAY_H))
            if rng.random() < 0.4 and back < hours:
                moved.append(Change(back, kind, supply, -step_m))
    loops = network.loops()
    for _ in range(rng.poisson(faults * hours / DAY_H / 600) if loops else 0):
        at = int(rng.integers(LEARNING_H, hours))
        pipe = str(rng.choice(loops))
        closed.append(Change(at, "pipe", pipe, 0.0))
        back = at + int(rng.uniform(3, 10 * DAY_H))
        if rng.random() < 0.6 and back < hours:
            closed.append(Change(back, "pipe", pipe, 1.0))
    return moved, closed


def _true(trace: Trace) -> Floats:
    """(hours, points), as in Case, without sensors' errors."""
    return np.hstack([trace.flow_m3_h, trace.pressure_bar])


def _leaks(rng: Generator, hours: int) -> list[tuple[int, int, int, float]]:
    """(start, end, growth_h, share); a fifth of all sectors have none."""
    if rng.random() < 0.2:
        return []
    leaks = []
    at = LEARNING_H + int(rng.exponential(8 * DAY_H))
    while at < hours - 3 * DAY_H:
        length = int(rng.uniform(4, 28) * DAY_H)
        growth_h = 0 if rng.random() < 0.65 else int(rng.uniform(0.2, 0.8) * length)
        share = float(np.exp(rng.uniform(np.log(0.02), np.log(0.4))))
        leaks.append((at, min(at + length, hours), growth_h, share))
        at += (length if rng.random() < 0.8 else length // 3) + int((4 + rng.exponential(14)) * DAY_H)
    return leaks


def demand_of(rng: Generator, hours: int) -> Floats:
    """(zones, hours) multipliers: a habit, weather, days of rest, holidays, chance."""
    h = np.arange(hours)
    local = h + int(rng.integers(0, 3))
    if rng.random() < 0.4:
        local = local + np.where(h >= rng.integers(LEARNING_H, hours), int(rng.choice([-1, 1])), 0)
    day, hour = local // DAY_H, local % DAY_H
    rest = (day + int(rng.integers(7))) % 7 >= 5
    holidays = rng.integers(0, day[-1] + 1, rng.poisson(day[-1] / 40))
    rest = rest | np.isin(day, holidays)

    def habit(morning: float, evening: float) -> Floats:
        peaks = np.zeros(24)
        for at, width, height in (
            (morning, rng.uniform(1.2, 2.5), rng.uniform(0.7, 1.6)),
            (13.0, rng.uniform(2.5, 4.5), rng.uniform(0.4, 1.0)),
            (evening, rng.uniform(1.5, 3), rng.uniform(0.6, 1.4)),
        ):
            apart = np.abs(np.arange(24) - at)
            peaks += height * np.exp(-0.5 * (np.minimum(apart, 24 - apart) / width) ** 2)
        return peaks

    morning, evening = rng.uniform(6.3, 8.8), rng.uniform(18, 21)
    night = rng.uniform(0.06, 0.35)
    working, free = night + habit(morning, evening), night + habit(morning + rng.uniform(0.5, 2), evening)
    shape = np.where(rest, free[hour] * rng.uniform(0.85, 1.15), working[hour])
    industry = rng.choice([0, rng.uniform(0.05, 0.3)], p=[0.6, 0.4])
    shape = shape / shape.mean() * (1 - industry) + industry * (1.6 * ((hour >= 7) & (hour < 18)) * ~rest + 0.1)
    town = np.log(shape / shape.mean())
    town += rng.uniform(0, 0.12) * np.sin(2 * np.pi * (day / 365 + rng.random()))
    town += _wander(rng, hours, rng.uniform(0.01, 0.04), 36.0) + _wander(rng, hours, rng.uniform(0.01, 0.03), 4.0)
    if rng.random() < 0.25:  # a week or two when people are away, or when they have come
        begin = int(rng.integers(LEARNING_H, hours))
        town[begin : begin + int(rng.integers(5, 16)) * DAY_H] += rng.uniform(-0.15, 0.15)
    apart = rng.uniform(0.05, 0.25)
    zones = [town + _wander(rng, hours, apart, 2.0) + _wander(rng, hours, apart / 3, 48.0) for _ in range(10)]
    return np.maximum(np.exp(np.array(zones)), 0.02)


def _wander(rng: Generator, count: int, deviation: float, memory_h: float) -> Floats:
    """A first-order autoregression of that deviation."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1 / memory_h))
    steps = rng.normal(0, deviation * np.sqrt(1 - keep**2), count)
    steps[0] = rng.normal(0, deviation)
    return np.asarray(lfilter([1.0], [1.0, -keep], steps))


def measured(
    rng: Generator, flow: Floats, pressure: Floats, faults: float
) -> tuple[Floats, NDArray[np.bool_], list[Event]]:
    """What sensors make of the truth: hourly means."""
    hours, events = len(flow), list[Event]()
    step_bar = float(rng.choice([0.001, 0.002, 0.01]))
    noise_bar = float(np.exp(rng.uniform(np.log(0.001), np.log(0.008))))
    seen_p = pressure + rng.normal(0, noise_bar, pressure.shape)
    for i in range(pressure.shape[1]):
        seen_p[:, i] += rng.normal(0, 0.05) + _wander(rng, hours, rng.uniform(0, 0.004), 200.0)
    seen_q = flow * (1 + rng.normal(0, rng.uniform(0.002, 0.012), flow.shape)) * rng.uniform(0.98, 1.02)
    values = np.hstack([np.round(seen_q, 2), np.round(seen_p / step_bar * 4) * step_bar / 4])
    stuck = np.zeros(values.shape, bool)
    for column in range(values.shape[1]):
        is_flow = column < flow.shape[1]
        typical = float(np.abs(values[:, column]).mean()) * 0.05 if is_flow else 0.1
        if rng.random() < 0.15 * faults / values.shape[1]:
            begin = int(rng.integers(LEARNING_H, hours))
            over_h = int(rng.uniform(5, 40) * DAY_H)
            values[begin:, column] += np.clip(np.arange(hours - begin) / over_h, 0, 1) * _either(rng, 1.5) * typical
            events.append(Event("drift", begin, column))
        if rng.random() < 0.15 * faults / values.shape[1]:
            begin = int(rng.integers(LEARNING_H, hours))
            values[begin:, column] += _either(rng, 1.2) * typical
            events.append(Event("jump", begin, column))
        if rng.random() < 0.6 / values.shape[1]:
            begin = int(rng.integers(24, hours))
            end = min(hours, begin + int(rng.uniform(3, 120)))
            values[begin:end, column] = values[begin, column]
            stuck[begin:end, column] = True
            events.append(Event("stuck", begin, column))
        for _ in range(rng.poisson(hours / DAY_H / 60)):
            begin = int(rng.integers(24, hours))
            values[begin : begin + int(np.exp(rng.uniform(0, np.log(72)))), column] = np.nan
    if rng.random() < 0.3:  # the gateway itself was off
        begin = int(rng.integers(24, hours))
        values[begin : begin + int(rng.uniform(2, 60))] = np.nan
        events.append(Event("outage", begin))
    return values, stuck, events


def _either(rng: Generator, size: float) -> float:
    """Up or down, a twentieth to one and a half of the size: small ones are the hard ones."""
    return float(rng.choice([-1, 1]) * size * np.exp(rng.uniform(np.log(0.05), np.log(1.5))))


def subset(case: Case, rng: Generator) -> tuple[list[int], list[int]]:
    """Columns of the flows and pressures that a gateway of this sector might have: all, no flow, no pressure, or some."""
    flows, pressures = list(range(case.flows)), list(range(case.flows, case.values.shape[1]))
    kind = rng.random()
    some = sorted(rng.choice(pressures, int(rng.integers(1, len(pressures) + 1)), replace=False).tolist())
    if kind < 0.2:
        return [], some
    return (flows, []) if kind < 0.35 else (flows, some)


def rows_of(case: Case, flows: Sequence[int], pressures: Sequence[int]) -> tuple[Floats, Floats]:
    """The window's rows (hours, CHANNELS), the rule's score of each hour, by the gateway's own code."""
    points = [f"sector/{column}" for column in (*flows, *pressures)]
    window = SectorWindow({"flow": points[: len(flows)], "pressure": points[len(flows) :]})
    units = ["m3/h"] * len(flows) + ["bar"] * len(pressures)
    columns = [*flows, *pressures]
    made = []
    for h, (values, stuck) in enumerate(zip(case.values[:, columns], case.stuck[:, columns], strict=True)):
        hour = EPOCH_H + h
        for point, unit, value, held in zip(points, units, values.tolist(), stuck.tolist(), strict=True):
            if math.isfinite(value):
                around = 0.0 if held else 1e-6
                window.add(
                    point, hour * 3600.0, 3600.0, Aggregate(12, 0, value, value - around, value + around, value), unit
                )
        if (hour + 1) % 48 == 0 or h == len(case.values) - 1:
            made.append(window.advance(hour + 1))
    rows, rule = zip(*made, strict=True)
    return np.vstack(rows), np.concatenate(rule)
