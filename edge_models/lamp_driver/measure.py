"""The figures of this card, on simulated streets of six lamps: `python edge_models/lamp_driver/measure.py [SEEDS]`.

Every driver is read once an hour, through its memory banks, with their resolution. What is measured: alerts in 42 days of
healthy lamps after 36 of history; a capacitor that fails within the night of the demo; one that takes a month.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from gateway.inference import load_model
from gateway.lighting import Schedule, Slot, arc_power_level
from gateway.summary import Aggregate
from gateway.verdict import Decider
from gateway.window.lamp import LampWindow
from simulator.drift import Drift
from simulator.lighting import Lamp, LampFault
from simulator.noise import Noise

HOUR_S, DAY_H = 3600.0, 24
START = datetime(2026, 1, 14, 15, tzinfo=UTC).timestamp()
SLOTS = (Slot("dusk", 100), Slot("23:00", 50), Slot("05:30", 100))
SCHEDULE = Schedule(SLOTS, 47.24, 6.02, ZoneInfo("Europe/Paris"))
UNITS = {
    "temperature": "Cel", "power": "W", "level": "1", "power_factor": "1", "starts": "1", "output": "%",
    "source_voltage": "V", "failure": "1",
}  # fmt: skip
FEW = ("temperature", "power", "output")
WATCHED = "lampe-1"
MODEL = load_model(Path(__file__).parent)


class Street:
    """Six lamps, the first of which may fail. Readings are kept: several watches look at the same ones."""

    def __init__(self, seed: int, history_h: int, fault: LampFault | None = None) -> None:
        since_s = START - (history_h + DAY_H) * HOUR_S
        self.lamps = {
            name: Lamp(name, seed, SCHEDULE, since_s, (fault,) if fault and name == WATCHED else (), town_seed=seed)
            for name in (f"lampe-{n}" for n in range(1, 7))
        }
        self._seen: dict[tuple[str, float], Mapping[str, float]] = {}

    def read(self, name: str, time_s: float) -> Mapping[str, float]:
        if (name, time_s) not in self._seen:
            lamp = self.lamps[name]
            level = arc_power_level(lamp.ordered_percent(time_s))
            power, gear, source = (lamp.bank(number, time_s, level) for number in (202, 205, 206))
            self._seen[name, time_s] = {
                "temperature": gear[0x1B] - 60,
                "power": int.from_bytes(power[0x0C:0x10], "big") / 10,
                "level": level,
                "power_factor": gear[0x0E] / 100,
                "starts": int.from_bytes(gear[0x08:0x0B], "big"),
                "output": gear[0x1C],
                "source_voltage": int.from_bytes(source[0x12:0x14], "big") / 10,
                "failure": gear[0x0F],
            }
        return self._seen[name, time_s]

    def watch(
        self,
        seed: int,
        roles: Sequence[str],
        neighbours: int,
        hours: tuple[int, int],
        judged_from_h: int,
        lost: float = 0.0,
    ) -> tuple[list[int], list[float]]:
        """Hours (from START) at which alerts were raised, and every score, of a watch on the first lamp."""
        others = [name for name in self.lamps if name != WATCHED][:neighbours]
        inputs = {role: [f"{WATCHED}/{role}"] for role in roles}
        if others:
            inputs["neighbours"] = [f"{name}/temperature" for name in others]
        window, decider, chance = LampWindow(inputs), Decider(MODEL.decision), Noise(seed, "lost")
        raised, scores = [], []
        for hour in range(*hours):
            time_s = START + hour * HOUR_S + 60 * (seed * 7 % 50)
            if chance.uniform(hour) >= lost:
                points = [(f"{WATCHED}/{role}", self.read(WATCHED, time_s)[role], UNITS[role]) for role in roles]
                points += [(f"{name}/temperature", self.read(name, time_s)["temperature"], "Cel") for name in others]
                for point, value, unit in points:
                    window.add(point, time_s // 900 * 900, 900, Aggregate(1, 0, value, value, value, value), unit)
            if hour < judged_from_h:
                continue
            now_s = START + (hour + 1) * HOUR_S
            features = window.features(now_s)
            score = MODEL.judge(features) if features is not None else None
            scores += [] if score is None else [score]
            if decider.step(now_s, score).raised:
                raised.append(hour + 1)
        return raised, scores


def healthy(seeds: int) -> None:
    """Alerts where nothing is wrong."""
    configurations = ((tuple(UNITS), 5, 0.0), (tuple(UNITS), 3, 0.1), (FEW, 5, 0.0), (tuple(UNITS), 0, 0.0))
    alerts, worst = dict.fromkeys(configurations, 0), dict.fromkeys(configurations, 0.0)
    for seed in range(1, seeds + 1):
        street = Street(seed, 79 * DAY_H)
        for given in configurations:
            roles, neighbours, lost = given
            raised, scores = street.watch(seed, roles, neighbours, (-78 * DAY_H, 0), -42 * DAY_H, lost)
            alerts[given] += len(raised)
            worst[given] = max(worst[given], *scores)
    for roles, neighbours, lost in configurations:
        said = f"{len(roles)} roles, {neighbours} neighbours, {lost:.0%} lost: {alerts[roles, neighbours, lost]} alerts"
        print(f"healthy, {said} in {seeds} x 42 days; highest score {worst[roles, neighbours, lost]:.2f}", flush=True)


def night(seeds: int) -> None:
    """A capacitor that fails within the night, or nearly: within two days, and at the end of two weeks."""
    for name, onset_h, ramp_h, steepness in (("two days", -30, 42, 4), ("two weeks", -348, 355, 30)):
        for roles, neighbours in ((tuple(UNITS), 5), (FEW, 5), (tuple(UNITS), 0)):
            raised, before, again = [], [], 0
            for seed in range(1, seeds + 1):
                chance = Noise(seed, "measure")
                start_s = START + (onset_h + chance.between(0, 6 if steepness < 10 else 12, 1)) * HOUR_S
                drift = Drift(start_s, ramp_h * HOUR_S, chance.between(0.95, 1.0, 2), steepness)
                street = Street(seed, 36 * DAY_H, LampFault("capacitor", drift))
                hours, scores = street.watch(seed, roles, neighbours, (-35 * DAY_H, 24), 0)
                raised += hours[:1]
                again += len(hours) > 1
                before.append(max(scores[:2]))
            when = f"at hour {min(raised)} to {max(raised)}, median {median(raised):.0f}" if raised else "never"
            said = f"{len(roles)} roles, {neighbours} neighbours: {len(raised)} of {seeds} found {when}"
            print(f"{name}, {said}; highest score before dusk {max(before):.2f}; second alerts {again}", flush=True)


def month(seeds: int) -> None:
    """A capacitor that takes thirty days to fail."""
    leads = []
    for seed in range(1, seeds + 1):
        fault = LampFault("capacitor", Drift(START - 30 * DAY_H * HOUR_S, 30 * DAY_H * HOUR_S, 1.0, 3))
        hours, _ = Street(seed, 70 * DAY_H, fault).watch(seed, tuple(UNITS), 5, (-66 * DAY_H, 0), -30 * DAY_H)
        leads += [-hours[0] / DAY_H] if hours else []
    said = f"{min(leads):.1f} to {max(leads):.1f} days before the failure, median {median(leads):.1f}"
    print(f"month: {len(leads)} of {seeds} found, {said}")


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    healthy(number)
    night(number)
    month(number)
