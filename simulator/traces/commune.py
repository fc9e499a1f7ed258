"""Writes commune.npz, the states of the demo's water sector: `python -m simulator.traces.commune` (extra `sim`).

One inlet behind a pressure-reducing valve, 88 junctions, mean inflow about 60 m3/h of which a tenth leaks at the joints
whatever happens. For each place of a leak, each demand and each size of the hole, EPANET's flow and pressures.
"""

from __future__ import annotations

import json

import numpy as np

from simulator.hydraulics import Orifice, run
from simulator.networks import random_network
from simulator.water import TABLE

SEED = 33
MULTIPLIERS = np.geomspace(0.08, 2.8, 16)
COEFFICIENTS = np.array([0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 7.0])
STREETS = (
    "rue-du-moulin",
    "place-du-marche",
    "chemin-des-vignes",
    "rue-de-l-ecole",
    "lotissement-des-pres",
    "route-du-lavoir",
)
SENSORS = ("amont", "aval", "centre", "haut", "ecole")


def main() -> None:
    """Computes and writes the table."""
    network = random_network(SEED, "prv", 54.0, 84)
    names = list(network.model.junction_name_list)
    streets = [name for name in names if name.startswith("J")]
    zones = [0] * len(names)
    busy = run(network, np.array([[0.3, 2.0]]), zones, streets, background=0.1).pressure_bar
    loss = busy[0] - busy[1]
    order = [streets[i] for i in np.argsort(loss)]
    places = [order[round(q * (len(order) - 1))] for q in (0.25, 0.4, 0.55, 0.7, 0.85, 0.95)]
    inlet = network.model.get_link(network.inlets[0]).end_node_name
    height = {name: network.model.get_node(name).elevation for name in streets}
    highest = max(height, key=lambda name: height[name])
    sensors = [inlet, order[-1], order[round(0.45 * len(order))], highest, order[round(0.7 * len(order))]]
    shape = (len(places), len(MULTIPLIERS), len(COEFFICIENTS))
    flow, out, pressure = np.zeros(shape), np.zeros(shape), np.zeros((*shape, len(sensors)))
    for i, place in enumerate(places):
        for k, coefficient in enumerate(COEFFICIENTS):
            hole = Orifice(place, 0, np.full(len(MULTIPLIERS), coefficient))
            trace = run(network, MULTIPLIERS[None], zones, sensors, orifices=[hole], background=0.1)
            flow[i, :, k], out[i, :, k], pressure[i, :, k] = (
                trace.flow_m3_h[:, 0],
                trace.out_m3_h[:, 0],
                trace.pressure_bar,
            )
    about = {
        "nodes": STREETS,
        "sensors": SENSORS,
        "junctions": len(streets),
        "made_by": "EPANET 2.2 through wntr 1.5.0",
        "seed": SEED,
    }
    np.savez_compressed(
        TABLE,
        about=json.dumps(about),
        multipliers=MULTIPLIERS,
        coefficients=COEFFICIENTS,
        flow_m3_h=flow.astype(np.float32),
        out_m3_h=out.astype(np.float32),
        pressure_bar=pressure.astype(np.float32),
    )
    mean_m3_h = flow[0, np.argmin(abs(MULTIPLIERS - 1)), 0]
    print(f"{TABLE.name}: {TABLE.stat().st_size} bytes; mean demand gives {mean_m3_h:.1f} m3/h")
    print("pressures, bar, at low and high demand:", pressure[0, 0, 0].round(2), pressure[0, -1, 0].round(2))


if __name__ == "__main__":
    main()
