"""EPANET, hour by hour: what flows and pressures a network shows under a demand, leaks and manoeuvres.

Needs `wntr` (extra `sim`), which brings EPANET's own library along.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.networks import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAR_PER_M = 0.0980665
STEP_S = 3600


@dataclass(frozen=True, slots=True)
class Orifice:
    """Water that leaves at a node as through a hole: a leak, or an open hydrant. coefficient: m3/h per square root of a
    metre of pressure, one value a step from `start` on; it closes after the last."""

    node: str
    start: int
    coefficient: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """From step `at` on, a node's mean demand in m3/h ("demand"), or a supply's setting in m more or less than it was
    ("reservoir", "valve"), or a "pipe" that is closed (0) or opened (1)."""

    at: int
    kind: str
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Truth, hourly: flow_m3_h (steps, inlets); pressure_bar (steps, nodes asked for); out_m3_h (steps, orifices)."""

    flow_m3_h: NDArray[np.float64]
    pressure_bar: NDArray[np.float64]
    out_m3_h: NDArray[np.float64]


def require_wntr() -> None:
    """Raises ImportError that says what to install."""
    try:
        import wntr  # noqa: F401
    except ImportError as error:
        raise ImportError("EPANET: expected the package wntr; install it: pip install 'guet-edge[sim]'") from error


def run(
    network: Network,
    demand: NDArray[np.float64],
    zones: Sequence[int],
    nodes: Sequence[str],
    *,
    orifices: Sequence[Orifice] = (),
    changes: Sequence[Change] = (),
    background: float = 0.0,
) -> Trace:
    """Simulates demand.shape[1] hours.

    demand: (zones, steps) multipliers of the base demand; zones: the zone of each junction, in the model's order.
    nodes: where pressure is wanted. background: share of the mean demand that the joints lose all the time, with
    pressure. Raises ArithmeticError when EPANET finds no solution.
    """
    require_wntr()
    from wntr.epanet.exceptions import EpanetException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return _Run(network, demand, zones, Path(folder), background).trace(nodes, orifices, changes)
        except EpanetException as error:
            raise ArithmeticError(f"EPANET: {error}; use a network that it can solve") from None


class _Run:
    """One EPANET project, open."""

    def __init__(
        self, network: Network, demand: NDArray[np.float64], zones: Sequence[int], folder: Path, background: float
    ) -> None:
        import wntr
        from wntr.epanet.toolkit import ENepanet
        from wntr.epanet.util import EN

        self.network, self.steps, self.codes = network, demand.shape[1], EN
        model = wntr.network.from_dict(network.model.to_dict())
        for zone, multipliers in enumerate(demand):
            model.add_pattern(f"zone{zone}", multipliers.tolist())
        junctions = [junction for _, junction in model.junctions()]
        self.junctions = [junction.name for junction in junctions]
        for junction, zone in zip(junctions, zones, strict=True):
            base = junction.base_demand
            junction.demand_timeseries_list.clear()
            junction.add_demand(base, f"zone{zone}")
        times = model.options.time
        times.duration = (self.steps - 1) * STEP_S
        times.hydraulic_timestep = times.report_timestep = times.pattern_timestep = STEP_S
        times.pattern_start = 0
        model.options.hydraulic.demand_multiplier = 1.0
        file = folder / "network.inp"
        wntr.network.write_inpfile(model, str(file), units="CMH")
        self.epanet = ENepanet()
        self.epanet.ENopen(str(file), str(folder / "network.rpt"), str(folder / "network.bin"))
        self.node = {name: self.epanet.ENgetnodeindex(name) for name in model.node_name_list}
        valves = [name for kind, name in network.settings if kind == "valve"]
        self.link = {name: self.epanet.ENgetlinkindex(name) for name in (*network.inlets, *valves)}
        sources = {*model.reservoir_name_list, *model.tank_name_list}
        self.sign = [-1.0 if model.get_link(name).end_node_name in sources else 1.0 for name in network.inlets]
        share = background * network.inflow_m3_h / max(1, len(self.junctions)) / np.sqrt(35.0)
        self.background, self.emitters = float(share), dict.fromkeys(self.junctions, float(share))

    def trace(self, nodes: Sequence[str], orifices: Sequence[Orifice], changes: Sequence[Change]) -> Trace:
        epanet, codes = self.epanet, self.codes
        if self.background:
            for name, value in self.emitters.items():
                epanet.ENsetnodevalue(self.node[name], codes.EMITTER, value)
        due = self._due(orifices, changes)
        wanted = [self.node[name] for name in nodes]
        inlets = [self.link[name] for name in self.network.inlets]
        flow = np.full((self.steps, len(inlets)), np.nan)
        pressure = np.full((self.steps, len(wanted)), np.nan)
        out = np.zeros((self.steps, len(orifices)))
        linkflow = 8  # EN_FLOW; wntr's EN lists node codes only
        epanet.ENopenH()
        epanet.ENinitH(0)
        next_s, ahead_s = 0, 1
        while ahead_s > 0:
            for kind, name, value in due.pop(next_s // STEP_S, ()) if next_s % STEP_S == 0 else ():
                self._set(kind, name, value)
            now_s = int(epanet.ENrunH())
            if now_s % STEP_S == 0 and (step := now_s // STEP_S) < self.steps:
                flow[step] = [epanet.ENgetlinkvalue(i, linkflow) for i in inlets]
                pressure[step] = [epanet.ENgetnodevalue(i, codes.PRESSURE) for i in wanted]
                for i, orifice in enumerate(orifices):
                    if 0 <= (k := step - orifice.start) < len(orifice.coefficient):
                        head_m = max(0.0, epanet.ENgetnodevalue(self.node[orifice.node], codes.PRESSURE))
                        out[step, i] = orifice.coefficient[k] * np.sqrt(head_m)
            ahead_s = int(epanet.ENnextH())
            next_s = now_s + ahead_s
        epanet.ENcloseH()
        epanet.ENclose()
        if not np.isfinite(flow).all() or not np.isfinite(pressure).all():
            raise ArithmeticError("EPANET: expected a value for each hour, got gaps; use a network that can supply it")
        return Trace(flow * self.sign, pressure * BAR_PER_M, out)

    def _due(self, orifices: Sequence[Orifice], changes: Sequence[Change]) -> dict[int, list[tuple[str, str, float]]]:
        """What is to be set before which step."""
        due: dict[int, list[tuple[str, str, float]]] = defaultdict(list)
        total: dict[str, NDArray[np.float64]] = {}
        for orifice in orifices:
            at_node = total.setdefault(orifice.node, np.zeros(self.steps + 1))
            end = min(self.steps, orifice.start + len(orifice.coefficient))
            at_node[orifice.start : end] += orifice.coefficient[: end - orifice.start]
        for name, coefficients in total.items():
            for step in np.flatnonzero(np.diff(coefficients[:-1], prepend=0.0)):
                due[int(step)].append(("orifice", name, float(coefficients[step])))
        for change in changes:
            due[change.at].append((change.kind, change.name, change.value))
        return due

    def _set(self, kind: str, name: str, value: float) -> None:
        epanet, codes = self.epanet, self.codes
        match kind:
            case "orifice":
                epanet.ENsetnodevalue(self.node[name], codes.EMITTER, self.emitters.get(name, 0.0) + value)
            case "demand":
                epanet.ENsetnodevalue(self.node[name], codes.BASEDEMAND, value)
            case "reservoir":
                index = self.node[name]
                epanet.ENsetnodevalue(index, codes.ELEVATION, epanet.ENgetnodevalue(index, codes.ELEVATION) + value)
            case "valve":
                setting = 5  # EN_SETTING
                index = self.link[name]
                epanet.ENsetlinkvalue(index, setting, epanet.ENgetlinkvalue(index, setting) + value)
            case "pipe":
                status = 11  # EN_STATUS
                epanet.ENsetlinkvalue(epanet.ENgetlinkindex(name), status, value)
            case _:
                raise ValueError(f"change {kind!r}: expected demand, reservoir, valve or pipe")


def usable(network: Network, least_m: float = 12.0, most_m: float = 115.0) -> bool:
    """Whether nearly every junction has a pressure that people could live with, at mean and at double demand."""
    names = list(network.model.junction_name_list)
    try:
        trace = run(network, np.array([[1.0, 2.0]]), [0] * len(names), names)
    except ArithmeticError:
        return False
    head_m = trace.pressure_bar / BAR_PER_M
    return bool(np.mean((head_m > least_m) & (head_m < most_m)) > 0.95)
