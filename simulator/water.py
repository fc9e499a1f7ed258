"""A water sector: what flows in and what pressures stand in it, as a function of (time, seed).

Truth comes from EPANET. For the commune of the demo, quasi-static states were computed beforehand for a grid of demands
and leaks (`simulator/traces/commune.py` writes the table) and are interpolated; any other network is computed over its
whole period by `trace_from_inp`. On top stand the sensors, with their errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

from simulator.chance import normal, wander

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

TABLE = Path(__file__).parent / "traces" / "commune.npz"
DAY_S = 86400.0

# Demand over its mean, by hour of local time, on working days and on days of rest.
_WORKING_DAY = np.array([
    0.26, 0.20, 0.17, 0.16, 0.20, 0.42, 0.95, 1.65, 1.75, 1.50, 1.30, 1.25,
    1.40, 1.30, 1.10, 1.00, 1.05, 1.25, 1.55, 1.75, 1.55, 1.15, 0.75, 0.42,
])  # fmt: skip
_REST_DAY = np.array([
    0.34, 0.24, 0.19, 0.16, 0.17, 0.25, 0.45, 0.90, 1.45, 1.75, 1.75, 1.60,
    1.60, 1.45, 1.20, 1.10, 1.10, 1.20, 1.40, 1.55, 1.40, 1.10, 0.80, 0.50,
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Burst:
    """A leak. node: where (`Sector.nodes`). size_m3_h: what it loses at mean demand, once grown. Times in UTC seconds;
    growth_s: from nothing to its full size, 0 for a pipe that breaks."""

    node: str
    size_m3_h: float
    start_s: float
    end_s: float = math.inf
    growth_s: float = 0.0

    def share(self, time_s: Numbers) -> Numbers:
        """How much of it is open, 0 to 1. A crack grows slowly first."""
        grown = np.clip((time_s - self.start_s) / self.growth_s, 0, 1) ** 2 if self.growth_s > 0 else 1.0
        return np.where((time_s >= self.start_s) & (time_s < self.end_s), grown, 0.0)


def demand_multiplier(time_s: Numbers, seed: int, utc_offset_s: float = 3600.0) -> Numbers:
    """Demand of a small town over its mean: hour of the day, day of the week, weather, and chance."""
    local_s = time_s + utc_offset_s
    hour = local_s / 3600.0 % 24.0
    before = np.floor(hour).astype(int)
    part = hour - before
    weekday = (np.floor(local_s / DAY_S) + 3) % 7  # 1970-01-01 was a Thursday
    shape = np.where(
        weekday >= 5,
        _REST_DAY[before] * (1 - part) + _REST_DAY[(before + 1) % 24] * part,
        _WORKING_DAY[before] * (1 - part) + _WORKING_DAY[(before + 1) % 24] * part,
    )
    season = 0.08 * np.sin(2 * np.pi * (local_s / DAY_S - 110) / 365.25)
    weather = 0.02 * wander(seed, "weather", local_s, 4 * DAY_S) + 0.015 * wander(seed, "day", local_s, DAY_S)
    chance = 0.02 * wander(seed, "hours", local_s, 2.5 * 3600) + 0.025 * wander(seed, "quarters", local_s, 900)
    return np.asarray(shape * np.exp(season + weather + chance))


class Truth(Protocol):
    """Hydraulics over time: flow in m3/h; pressure in bar at each of `sensors`, as (sensors, times); leaks in m3/h."""

    nodes: tuple[str, ...]
    sensors: tuple[str, ...]

    def at(self, time_s: Numbers) -> tuple[Numbers, Numbers, Numbers]: ...


class States:
    """Truth from the table of quasi-static states: fast, at any instant, any leaks."""

    def __init__(
        self, seed: int, bursts: Sequence[Burst] = (), utc_offset_s: float = 3600.0, table: Path = TABLE
    ) -> None:
        with np.load(table) as stored:
            about = json.loads(str(stored["about"]))
            self._multipliers: Numbers = np.log(stored["multipliers"])
            self._coefficients: Numbers = np.sqrt(stored["coefficients"])
            self._flow: Numbers = stored["flow_m3_h"].astype(np.float64)  # (nodes, multipliers, coefficients)
            self._pressure: Numbers = stored["pressure_bar"].astype(
                np.float64
            )  # (nodes, multipliers, coefficients, sensors)
            self._out: Numbers = stored["out_m3_h"].astype(np.float64)
        self.nodes, self.sensors = tuple(about["nodes"]), tuple(about["sensors"])
        self._seed, self._bursts, self._utc_offset_s = seed, tuple(bursts), utc_offset_s
        for burst in bursts:
            if burst.node not in self.nodes:
                raise ValueError(f"burst at {burst.node!r}: expected one of {', '.join(self.nodes)}")
            if not 0 < burst.size_m3_h <= self._at_mean(self.nodes.index(burst.node))[-1]:
                raise ValueError(
                    f"burst of {burst.size_m3_h} m3/h: expected more than 0 and at most {self._at_mean(0)[-1]:.0f}"
                )

    def _at_mean(self, node: int) -> Numbers:
        """Leak at mean demand for each coefficient."""
        return np.array([np.interp(0.0, self._multipliers, column) for column in self._out[node].T])

    def at(self, time_s: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        m = np.log(demand_multiplier(time_s, self._seed, self._utc_offset_s))
        none = np.zeros_like(m)
        flow, pressure = self._look_up(self._flow, 0, m, none), self._look_up(self._pressure, 0, m, none)
        calm = self._pressure[0, 0, 0]
        for i, sensor in enumerate(self.sensors):  # the street at the sensor does not draw as the town does
            local = 0.05 * wander(self._seed, f"street/{sensor}", time_s, 2 * 3600)
            local += 0.03 * wander(self._seed, f"quarter/{sensor}", time_s, 2 * DAY_S)
            pressure[:, i] -= local * (calm[i] - pressure[:, i])
        plain_flow, plain_pressure = flow.copy(), self._look_up(self._pressure, 0, m, none)
        leak = none.copy()
        for burst in self._bursts:
            node = self.nodes.index(burst.node)
            full = np.interp(burst.size_m3_h, self._at_mean(node), self._coefficients**2)
            c = np.sqrt(full * burst.share(time_s))
            flow += self._look_up(self._flow, node, m, c) - plain_flow  # several leaks: their effects added
            pressure += self._look_up(self._pressure, node, m, c) - plain_pressure
            leak += self._look_up(self._out, node, m, c)
        return flow, pressure.T, leak

    def _look_up(self, table: Numbers, node: int, m: Numbers, c: Numbers) -> Numbers:
        """Bilinear, in the logarithm of demand and the root of the coefficient."""
        i, u = _place(self._multipliers, m)
        j, v = _place(self._coefficients, c)
        if table.ndim == 4:
            u, v = u[:, None], v[:, None]
        at = table[node]
        low = at[i, j] * (1 - v) + at[i, j + 1] * v
        high = at[i + 1, j] * (1 - v) + at[i + 1, j + 1] * v
        return np.asarray(low * (1 - u) + high * u)


def _place(axis: Numbers, x: Numbers) -> tuple[NDArray[np.intp], Numbers]:
    """Cell and place in it, held at the ends."""
    cell = np.clip(np.searchsorted(axis, x, "right") - 1, 0, len(axis) - 2)
    return cell, np.clip((x - axis[cell]) / (axis[cell + 1] - axis[cell]), 0, 1)


class Period:
    """Truth from an extended-period simulation, hour by hour, straight lines between; held before and after."""

    def __init__(
        self,
        start_s: float,
        names: tuple[Sequence[str], Sequence[str]],
        flow: Numbers,
        pressure: Numbers,
        leak: Numbers,
    ) -> None:
        """names: of the nodes and of the sensors."""
        self.nodes, self.sensors = tuple(names[0]), tuple(names[1])
        self._hours = start_s + 3600.0 * np.arange(len(flow))
        self._flow, self._pressure, self._leak = flow, pressure, leak

    def at(self, time_s: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        pressure = np.array([np.interp(time_s, self._hours, column) for column in self._pressure.T])
        return np.interp(time_s, self._hours, self._flow), pressure, np.interp(time_s, self._hours, self._leak)


class Sector:
    """A sector with its sensors: one flow meter at the inlet and pressure sensors, named in `sensors`.

    `flow_m3_h`, `pressure_bar` and `leak_m3_h` are the truth; `metered_flow_m3_h` and `sensed_pressure_bar` what the
    devices measure: noise of 0.5 % and 3 mbar, resolution of 0.01 m3/h and 1 mbar. Each takes UTC seconds, one or an
    array. Between whole minutes the truth is a straight line, so that asking for single instants is cheap.
    """

    def __init__(
        self, seed: int, bursts: Sequence[Burst] = (), utc_offset_s: float = 3600.0, truth: Truth | None = None
    ) -> None:
        self._seed = seed
        self._truth = truth or States(seed, bursts, utc_offset_s)
        self.nodes, self.sensors = self._truth.nodes, self._truth.sensors
        self._minutes: dict[int, Numbers] = {}

    @overload
    def flow_m3_h(self, time_s: float) -> float: ...
    @overload
    def flow_m3_h(self, time_s: Numbers) -> Numbers: ...
    def flow_m3_h(self, time_s: float | Numbers) -> float | Numbers:
        return _like(time_s, self._row(0, time_s))

    @overload
    def leak_m3_h(self, time_s: float) -> float: ...
    @overload
    def leak_m3_h(self, time_s: Numbers) -> Numbers: ...
    def leak_m3_h(self, time_s: float | Numbers) -> float | Numbers:
        return _like(time_s, self._row(1, time_s))

    @overload
    def pressure_bar(self, sensor: str, time_s: float) -> float: ...
    @overload
    def pressure_bar(self, sensor: str, time_s: Numbers) -> Numbers: ...
    def pressure_bar(self, sensor: str, time_s: float | Numbers) -> float | Numbers:
        return _like(time_s, self._row(2 + self.sensors.index(sensor), time_s))

    @overload
    def metered_flow_m3_h(self, time_s: float) -> float: ...
    @overload
    def metered_flow_m3_h(self, time_s: Numbers) -> Numbers: ...
    def metered_flow_m3_h(self, time_s: float | Numbers) -> float | Numbers:
        flow = self._row(0, time_s) * (1 + 0.005 * normal(self._seed, "meter", np.floor(np.atleast_1d(time_s))))
        return _like(time_s, np.round(flow, 2))

    @overload
    def sensed_pressure_bar(self, sensor: str, time_s: float) -> float: ...
    @overload
    def sensed_pressure_bar(self, sensor: str, time_s: Numbers) -> Numbers: ...
    def sensed_pressure_bar(self, sensor: str, time_s: float | Numbers) -> float | Numbers:
        noise_bar = 0.003 * normal(self._seed, f"sensor/{sensor}", np.floor(np.atleast_1d(time_s)))
        return _like(time_s, np.round(self._row(2 + self.sensors.index(sensor), time_s) + noise_bar, 3))

    def _row(self, row: int, time_s: float | Numbers) -> Numbers:
        """Flow, leak, and each pressure are rows."""
        minute = np.atleast_1d(np.asarray(time_s, np.float64)) / 60.0
        before = np.floor(minute)
        part = minute - before
        if len(minute) > 1:
            return np.asarray(
                self._rows(before * 60.0)[row] * (1 - part) + self._rows(before * 60.0 + 60.0)[row] * part
            )
        block, place = divmod(int(before[0]), _BLOCK)
        if block not in self._minutes:
            while len(self._minutes) >= 8:
                del self._minutes[next(iter(self._minutes))]
            self._minutes[block] = self._rows(
                60.0 * np.arange(block * _BLOCK, (block + 1) * _BLOCK + 1, dtype=np.float64)
            )
        known = self._minutes[block][row]
        return np.asarray(known[place : place + 1] * (1 - part) + known[place + 1 : place + 2] * part)

    def _rows(self, time_s: Numbers) -> Numbers:
        flow, pressure, leak = self._truth.at(time_s)
        return np.vstack([flow, leak, pressure])


_BLOCK = 120


def _like(time_s: float | Numbers, values: Numbers) -> float | Numbers:
    return values if isinstance(time_s, np.ndarray) and time_s.ndim else float(values[0])


def trace_from_inp(
    path: str | Path,
    seed: int,
    hours: int,
    start_s: float,
    *,
    bursts: Sequence[Burst] = (),
    sensors: Sequence[str] = (),
    utc_offset_s: float = 3600.0,
) -> Sector:
    """A sector from an EPANET file, simulated for `hours` from `start_s` on. `sensors`: junctions to measure; without,
    five that are far apart in pressure. Raises ImportError without `wntr`, ValueError for an unknown junction,
    ArithmeticError when EPANET finds no solution."""
    from simulator.hydraulics import Orifice, require_wntr, run

    require_wntr()
    from simulator.networks import network_from_file

    network = network_from_file(str(path))
    junctions = list(network.model.junction_name_list)
    for name in (*sensors, *(burst.node for burst in bursts)):
        if name not in junctions:
            raise ValueError(
                f"{path}: expected a junction of this network, got {name!r}; it has {', '.join(junctions[:8])} ..."
            )
    times = start_s + 3600.0 * np.arange(hours, dtype=np.float64)
    zones = 8
    town = demand_multiplier(times, seed, utc_offset_s)
    demand = np.array([town * (1 + 0.1 * wander(seed, f"zone/{zone}", times, 3 * 3600)) for zone in range(zones)])
    calm = run(network, np.ones((1, 1)), [0] * len(junctions), junctions).pressure_bar[0]
    wet = [name for name, bar in zip(junctions, calm, strict=True) if bar > 1.0]
    by_pressure = sorted(wet, key=lambda name: calm[junctions.index(name)])
    chosen = list(sensors) or [
        by_pressure[i] for i in np.linspace(0, len(by_pressure) - 1, min(5, len(by_pressure))).astype(int)
    ]
    orifices = []
    for burst in bursts:
        head_m = max(1.0, calm[junctions.index(burst.node)] / 0.0980665)
        first = max(0, math.ceil((burst.start_s - start_s) / 3600))
        orifices.append(Orifice(burst.node, first, burst.share(times[first:]) * burst.size_m3_h / math.sqrt(head_m)))
    trace = run(network, demand, [i % zones for i in range(len(junctions))], chosen, orifices=orifices, background=0.1)
    truth = Period(start_s, (junctions, chosen), trace.flow_m3_h.sum(1), trace.pressure_bar, trace.out_m3_h.sum(1))
    return Sector(seed, truth=truth)
