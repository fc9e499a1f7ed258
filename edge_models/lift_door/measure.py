"""The figures of this card, on simulated doors: `python edge_models/lift_door/measure.py [SEEDS]`.

Every door is read once in a quarter of an hour. What is measured: alerts in 42 days of healthy doors after 36 of history,
calm, with obstructions, and with a third of the readings lost; the delay of an alert when a door slows within some hours.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from gateway.inference import load_model
from gateway.reading import Snapshot
from gateway.summary import Summariser
from gateway.verdict import Decider
from gateway.window.lift import LiftWindow
from simulator.drift import Drift
from simulator.lift import LiftDoor
from simulator.noise import Noise

HOUR_S, DAY_H = 3600.0, 24
START = datetime(2026, 1, 14, 15, tzinfo=UTC).timestamp()
PARIS = ZoneInfo("Europe/Paris")
UNITS = {"door_current": "mA", "door_speed": "mm/s", "door_state": "1", "door_error": "1"}
MODEL = load_model(Path(__file__).parent)


def watch(
    seed: int,
    hours: tuple[int, int],
    judged_from_h: int,
    wear: Drift | None = None,
    busy: Drift | None = None,
    lost: float = 0.0,
) -> tuple[list[int], list[float]]:
    """Hours (from START) at which alerts were raised, and every score."""
    door = LiftDoor("porte", seed, PARIS, lambda: 0.0, wear=wear, obstructions=busy)
    window = LiftWindow({role: [f"porte/{role}"] for role in UNITS})
    summariser, decider, chance = Summariser("porte"), Decider(MODEL.decision), Noise(seed, "lost")
    raised, scores = [], []
    for quarter in range(4 * hours[0], 4 * hours[1]):
        time_s = START + quarter * 900 + 60 * (seed * 7 % 14)
        if chance.uniform(quarter) >= lost:
            shown = door.registers(time_s)
            values = {
                "door_state": shown[1] >> 8,
                "door_error": shown[1] & 255,
                "door_current": shown[2],
                "door_speed": shown[5],
            }
            snapshot = Snapshot("porte", time_s, {name: float(value) for name, value in values.items()})
            done = list(summariser.add(snapshot))
            done += summariser.close(START + (quarter + 1) * 900)
            for summary in done:
                for name, aggregate in summary.points.items():
                    window.add(f"porte/{name}", summary.start_s, summary.period_s, aggregate, UNITS[name])
        if (quarter + 1) % 4 or quarter < 4 * judged_from_h:
            continue
        now_s = START + (quarter + 1) * 900
        features = window.features(now_s)
        score = MODEL.judge(features) if features is not None else None
        scores += [] if score is None else [score]
        if decider.step(now_s, score).raised:
            raised.append((quarter + 1) // 4)
    return raised, scores


def healthy(seeds: int) -> None:
    """Alerts where nothing is worn."""
    burst = Drift(START - 20 * DAY_H * HOUR_S, 0, 0.4)
    for said, busy, lost in (("calm", None, 0.0), ("40 % obstructed", burst, 0.0), ("a third lost", None, 1 / 3)):
        results = [watch(seed, (-78 * DAY_H, 0), -42 * DAY_H, None, busy, lost) for seed in range(1, seeds + 1)]
        worst, alerts = max(max(scores) for _, scores in results), sum(len(raised) for raised, _ in results)
        print(f"healthy, {said}: {alerts} alerts in {seeds} x 42 days; highest score {worst:.2f}")


def night(seeds: int) -> None:
    """A door that slows within some hours."""
    for ramp_h, severity in ((2, (0.25, 0.35)), (6, (0.2, 0.3)), (8, (0.25, 0.25))):
        delays, second = [], 0
        for seed in range(1, seeds + 1):
            chance = Noise(seed, "measure")
            onset_h = chance.between(2, 5, 1)
            wear = Drift(START + onset_h * HOUR_S, ramp_h * HOUR_S, chance.between(*severity, 2))
            hours, _ = watch(seed, (-35 * DAY_H, 24), 0, wear)
            delays += [hour - onset_h for hour in hours[:1]]
            second += len(hours) > 1
        said = f"{severity[0]:.0%} to {severity[1]:.0%} slower within {ramp_h} h: {len(delays)} of {seeds} found"
        when = f"{min(delays):.1f} to {max(delays):.1f} h after onset, median {median(delays):.1f}"
        print(f"night, {said}, {when}; second alerts {second}")


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    healthy(number)
    night(number)
