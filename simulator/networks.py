"""Water sectors that never existed: streets, relief, pipes, demand and a supply, drawn from a seed.

Each seed gives another sector, town or village, looped or branched, flat or hilly, fed by gravity, by several inlets,
through a pressure-reducing valve, or from a pumped tank. They are EPANET models; `wntr` (extra `sim`) is imported only
here and in `simulator.hydraulics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

Node = tuple[int, int]

DIAMETERS_M = np.array([0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])
REGIMES = ("gravity", "inlets", "prv", "prvs", "tank")


@dataclass(frozen=True, slots=True)
class Network:
    """An EPANET model with what we must know of it.

    model: a wntr WaterNetworkModel. regime: one of REGIMES, or "file". inlets: links whose flow, counted from the first
    node to the second, enters the sector. setting: how the supply's pressure is moved, as (kind, name): the head of a
    "reservoir" or the setting of a "valve"; the name is empty where there is neither. inflow_m3_h: mean demand.
    """

    model: Any
    regime: str
    inlets: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    inflow_m3_h: float

    def loops(self) -> list[str]:
        """Pipes that can be closed and everybody still has water."""
        import networkx as nx  # type: ignore[import-untyped]  # ships no types, comes with wntr

        streets = nx.Graph(self.model.to_graph())
        needed = {frozenset(link) for link in nx.bridges(streets)}
        pipes = [(name, self.model.get_link(name)) for name in self.model.pipe_name_list if name not in self.inlets]
        return [name for name, pipe in pipes if frozenset((pipe.start_node_name, pipe.end_node_name)) not in needed]


def random_network(
    seed: Sequence[int] | int, regime: str = "", inflow_m3_h: float = 0.0, junctions: int = 0
) -> Network:
    """A sector drawn from `seed`; what is not given is drawn too. Not every draw has usable pressures: see
    `hydraulics.usable`."""
    import networkx as nx
    import wntr

    rng = np.random.default_rng(seed)
    regime = regime or str(rng.choice(REGIMES, p=[0.27, 0.22, 0.21, 0.1, 0.2]))
    count = junctions or round(float(np.exp(rng.uniform(np.log(30), np.log(160)))))
    demand_m3_h = inflow_m3_h or float(np.exp(rng.uniform(np.log(12), np.log(220))))
    streets, place = _streets(rng, count)
    height = _relief(rng, place)
    weights = {node: 0.0 if rng.random() < 0.1 else float(rng.gamma(rng.choice([0.6, 2.0]))) for node in streets}
    total = sum(weights.values()) or 1.0
    demand = {node: weight * demand_m3_h / total for node, weight in weights.items()}

    inlets = {"gravity": 1, "prv": 1, "tank": int(rng.integers(1, 3))}.get(regime) or int(rng.integers(2, 4))
    roots = _far_apart(rng, place, inlets)
    _, paths = nx.multi_source_dijkstra(streets, set(roots), weight="length")
    carried: dict[frozenset[Node], float] = {}
    for node, path in paths.items():
        for link in pairwise(path):
            carried[frozenset(link)] = carried.get(frozenset(link), 0.0) + demand[node]
    velocity_m_s, least_m, roughness = rng.uniform(0.12, 0.5), rng.choice([0.06, 0.08, 0.1]), rng.uniform(85, 135)

    def diameter_m(flow_m3_h: float) -> float:
        ideal = np.sqrt(4 * flow_m3_h / 3600 / np.pi / velocity_m_s) * rng.uniform(0.85, 1.25)
        return float(DIAMETERS_M[min(np.searchsorted(DIAMETERS_M, max(least_m, ideal)), len(DIAMETERS_M) - 1)])

    model = wntr.network.WaterNetworkModel()
    model.options.hydraulic.inpfile_units = "CMH"
    model.options.hydraulic.headloss = "H-W"
    name = {node: f"J{i}" for i, node in enumerate(streets)}
    for node in streets:
        model.add_junction(name[node], demand[node] / 3600, elevation=float(height[node]), coordinates=place[node])
    for i, (a, b, length) in enumerate(streets.edges(data="length")):
        size = diameter_m(carried.get(frozenset((a, b)), 0.0))
        model.add_pipe(f"P{i}", name[a], name[b], length, size, roughness * rng.uniform(0.85, 1.1))

    supply_m = max(height.values()) + rng.uniform(28, 48)
    main_m = max(0.1, diameter_m(1.1 * demand_m3_h / inlets))
    links, settings = [], []
    for i, root in enumerate(roots):
        junction, head_m = model.get_node(name[root]), supply_m + (rng.normal(0, 1.0) if i else 0.0)
        length_m = float(np.exp(rng.uniform(np.log(30), np.log(900))))
        if regime == "tank" and i == 0:
            _add_tank(model, rng, junction, head_m, demand_m3_h)
            model.add_pipe(f"IN{i}", "TANK", junction.name, length_m, main_m, roughness)
        elif regime in ("prv", "prvs"):
            model.add_reservoir(f"R{i}", head_m + rng.uniform(12, 35))
            model.add_junction(f"UP{i}", elevation=junction.elevation)
            model.add_junction(f"DOWN{i}", elevation=junction.elevation)
            model.add_pipe(f"MAIN{i}", f"R{i}", f"UP{i}", length_m, main_m, roughness)
            model.add_valve(f"PRV{i}", f"UP{i}", f"DOWN{i}", main_m, "PRV", 0, head_m - junction.elevation)
            model.add_pipe(f"IN{i}", f"DOWN{i}", junction.name, 20, main_m, roughness)
            settings.append(("valve", f"PRV{i}"))
        else:
            model.add_reservoir(f"R{i}", head_m)
            model.add_pipe(f"IN{i}", f"R{i}", junction.name, length_m, main_m, roughness)
            settings.append(("reservoir", f"R{i}"))
        links.append(f"IN{i}")
    return Network(model, regime, tuple(links), tuple(settings), demand_m3_h)


def _streets(rng: Generator, count: int) -> tuple[Any, dict[Node, tuple[float, float]]]:
    """A street graph with lengths in m: all corners reached, and some blocks closed to loops. Places in m."""
    import networkx as nx

    width = max(3, round(float(np.sqrt(count / rng.uniform(0.35, 1.0)))))
    grid = nx.grid_2d_graph(width, -(-count // width))
    block_m = rng.uniform(45, 140)
    skew_m = block_m * rng.uniform(0.1, 0.4)
    place: dict[Node, tuple[float, float]] = {
        (x, y): (x * block_m + rng.normal(0, skew_m), y * block_m + rng.normal(0, skew_m)) for x, y in grid
    }
    for a, b in grid.edges:
        straight_m = float(np.hypot(place[a][0] - place[b][0], place[a][1] - place[b][1]))
        grid[a][b]["length"] = max(15.0, straight_m * rng.uniform(1, 1.3))
        grid[a][b]["chance"] = rng.random()
    tree = nx.minimum_spanning_tree(grid, weight="chance" if rng.random() < 0.7 else "length")
    closed = float(rng.choice([0, 0.05, 0.15, 0.35, 0.7]))
    for a, b, length in grid.edges(data="length"):
        if not tree.has_edge(a, b) and rng.random() < closed:
            tree.add_edge(a, b, length=length)
    return tree, place


def _relief(rng: Generator, place: dict[Node, tuple[float, float]]) -> dict[Node, float]:
    """Heights in m: a few smooth waves, 3 to 28 m from lowest to highest."""
    xy = np.array(list(place.values()))
    xy = (xy - xy.mean(0)) / (xy.std() + 1e-9)
    waves = np.zeros(len(xy))
    for wave in (1, 2, 3):
        waves += rng.normal() / wave * np.sin(wave * xy @ rng.normal(0, 1, 2) + rng.uniform(0, 2 * np.pi))
    scaled = rng.uniform(3, 28) * (waves - waves.min()) / (np.ptp(waves) + 1e-9) + rng.normal(0, 0.5, len(waves))
    return dict(zip(place, scaled.tolist(), strict=True))


def _far_apart(rng: Generator, place: dict[Node, tuple[float, float]], count: int) -> list[Node]:
    """Nodes near the edge of town, far from each other: where mains come in."""
    xy = np.array(list(place.values()))
    outward = np.hypot(*(xy - xy.mean(0)).T) * rng.uniform(0.8, 1.2, len(xy))
    border = np.argsort(-outward)[: max(count, 40)]
    chosen = [int(border[0])]
    while len(chosen) < count:
        gap = np.min([np.hypot(*(xy[border] - xy[other]).T) for other in chosen], axis=0)
        chosen.append(int(border[np.argmax(gap)]))
    nodes = list(place)
    return [nodes[i] for i in chosen]


def _add_tank(model: Any, rng: Generator, root: Any, head_m: float, demand_m3_h: float) -> None:
    """A tank that floats on a pump with level controls; its outlet is the inlet of the sector."""
    from wntr.network.controls import Control, ControlAction, ValueCondition

    source_m = root.elevation + rng.uniform(-6, 4)
    width_m = float(np.sqrt(4 * demand_m3_h * rng.uniform(4, 12) / 3.0 / np.pi))
    model.add_reservoir("WELL", source_m)
    model.add_tank("TANK", head_m - 3, init_level=2.5, min_level=0.2, max_level=4.5, diameter=width_m)
    model.add_curve("PUMP", "HEAD", [(demand_m3_h * rng.uniform(1.4, 2.6) / 3600, (head_m - source_m) * 1.12 + 3)])
    model.add_pump("PUMP", "WELL", "TANK", "HEAD", "PUMP")
    for below, level_m, status in ((True, rng.uniform(1.2, 2.2), 1), (False, rng.uniform(3.2, 4.2), 0)):
        when = ValueCondition(model.get_node("TANK"), "level", "<" if below else ">", float(level_m))
        model.add_control(f"level{status}", Control(when, ControlAction(model.get_link("PUMP"), "status", status)))


def network_from_file(path: str, inlets: Sequence[str] = ()) -> Network:
    """The sector in an EPANET file. Without `inlets`, every link that touches a reservoir or a tank is one."""
    import wntr

    model = wntr.network.WaterNetworkModel(path)
    sources = {*model.reservoir_name_list, *model.tank_name_list}
    touching = [n for n, link in model.links() if (link.start_node_name in sources) != (link.end_node_name in sources)]
    settings = [("reservoir", name) for name in model.reservoir_name_list]
    demand = sum(max(0.0, junction.base_demand) for _, junction in model.junctions()) * 3600
    return Network(model, "file", tuple(inlets) or tuple(touching), tuple(settings), float(demand))
