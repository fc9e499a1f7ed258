"""The leak model in the demo's commune, which it was not trained on: `python -m edge_models.leak.commune [SEEDS]`.

Five weeks of history at 900 s, one flow meter and four pressure sensors read every five minutes, then judged hour by hour,
as the demo does. Bursts of 15 % to 33 % of the inflow at any street; and nights without any. All simulated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.inference import Model, load_model
from gateway.summary import Aggregate
from gateway.verdict import Decider, Verdict
from gateway.window.sector import SectorWindow
from simulator.water import Burst, Sector

START_S = 1_765_206_000.0  # 2025-12-08 15:00 UTC
HISTORY_S = 35 * 86400.0
PRESSURES = ("amont", "aval", "centre", "haut")
SIZES_M3_H = (9.0, 12.0, 16.0, 20.0)
"""15 % to 33 % of the mean inflow of 60 m3/h."""


@dataclass(frozen=True, slots=True)
class Night:
    """What came of one run: hours after the burst at which alerts were raised (without a burst: after the history), and
    their onsets, in hours after the burst."""

    raised_h: tuple[float, ...]
    onset_h: tuple[float, ...]


def judged(model: Model, sector: Sector, hours: int) -> Iterator[tuple[float, Verdict]]:
    """(UTC seconds, verdict) of each hour after the history."""
    window = SectorWindow({"flow": ["debit/flow"], "pressure": [f"{name}/pressure" for name in PRESSURES]})
    decider = Decider(model.decision)
    begin_s = START_S + HISTORY_S
    times = np.arange(START_S, begin_s + hours * 3600.0, 300.0)
    read = {"debit/flow": sector.metered_flow_m3_h(times)}
    read |= {f"{name}/pressure": sector.sensed_pressure_bar(name, times) for name in PRESSURES}
    quarters = {point: values.reshape(-1, 3) for point, values in read.items()}
    for i, start_s in enumerate(times[::3].tolist()):
        for point, values in quarters.items():
            three = values[i]
            seen = Aggregate(3, 0, float(three.mean()), float(three.min()), float(three.max()), float(three[-1]))
            window.add(point, start_s, 900.0, seen, "m3/h" if point == "debit/flow" else "bar")
        now_s = start_s + 900.0
        if now_s % 3600 == 0 and now_s > begin_s:
            features = window.features(now_s)
            yield now_s, decider.step(now_s, None if features is None else model.judge(features))


def night(model: Model, seed: int, size_m3_h: float = 0.0, hours: int = 24) -> Night:
    """One run; the burst, if any, 3.5 to 8 hours after the history ends, at a street of the seed's."""
    burst_s = START_S + HISTORY_S
    bursts = []
    if size_m3_h:
        burst_s += (3.5 + (seed * 0.37) % 4.5) * 3600
        nodes = Sector(seed).nodes
        bursts = [Burst(nodes[seed % len(nodes)], size_m3_h, burst_s)]
    raised = [(at_s, v) for at_s, v in judged(model, Sector(seed, bursts), hours) if v.raised]
    onsets = tuple(((v.since_s or at_s) - burst_s) / 3600 for at_s, v in raised)
    return Night(tuple((at_s - burst_s) / 3600 for at_s, _ in raised), onsets)


def main(seeds: int = 20) -> None:
    """Prints what was found, how soon, and how many false alerts."""
    model = load_model(Path(__file__).parent)
    for size_m3_h in SIZES_M3_H:
        nights = [night(model, seed, size_m3_h) for seed in range(1, seeds + 1)]
        good = [n for n in nights if len(n.raised_h) == 1 and 0 <= n.raised_h[0] <= 12]
        delays = sorted(n.raised_h[0] for n in nights if n.raised_h)
        onsets = sorted(n.onset_h[0] for n in nights if n.onset_h)
        print(
            f"burst of {size_m3_h:.0f} m3/h: exactly one alert and within 12 h in {len(good)} of {seeds}; delay median "
            f"{np.median(delays):.1f} h, longest {delays[-1]:.1f} h; onset wrong by {onsets[0]:.1f} to {onsets[-1]:+.1f} h; "
            f"alerts a night {sorted(len(n.raised_h) for n in nights)}",
            flush=True,
        )
    calm = [night(model, 100 + seed, hours=12 * 24) for seed in range(max(1, seeds // 4))]
    print(f"without a leak: {sum(len(n.raised_h) for n in calm)} alerts in {12 * len(calm)} nights")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
