"""The figures of this card, on real recordings: `python edge_models/rig/measure.py FOLDER...` (SKAB: valve1, valve2, other).

The recordings are played one after the other, with a stop between them, to one watch, as in the demo's `pump-rig`;
summarised every 10 s and judged every minute. Minutes are compared with the labels (a minute is anomalous if its last
second is), alerts with the labelled stretches and a minute after them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from gateway.inference import load_model
from gateway.reading import Snapshot
from gateway.summary import Summariser
from gateway.verdict import Decider
from gateway.window.rig import RigWindow
from simulator.recording import Player, Recording, load_folder

START = 1_600_000_020.0
PERIOD_S, STEP_S, PAUSE_S = 10, 60, 240
UNIT_OF = {"Temperature": "Cel", "Thermocouple": "Cel"}
MODEL = load_model(Path(__file__).parent)


class Bench:
    """One watch on the rig."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._window = RigWindow({"signal": [f"banc/{name}" for name in columns]})
        self._summariser, self._decider = Summariser("banc", PERIOD_S), Decider(MODEL.decision)

    def play(self, recording: Recording, start_s: float) -> tuple[list[tuple[bool, bool]], list[int]]:
        """(said to be anomalous, labelled so) for each judged minute, and the seconds at which alerts were raised."""
        player, stretches = Player(recording, start_s, lambda: 0.0), recording.anomalies()
        minutes, raised = [], []
        for second in range(int(recording.duration_s) + PAUSE_S):
            now_s = start_s + second
            row = zip(recording.columns, player.values(now_s), strict=True)
            snapshot = Snapshot("banc", now_s, {name: None if math.isnan(value) else value for name, value in row})
            for summary in self._summariser.add(snapshot):
                for name, aggregate in summary.points.items():
                    unit = UNIT_OF.get(name, "1")
                    self._window.add(f"banc/{name}", summary.start_s, summary.period_s, aggregate, unit)
            if now_s % STEP_S:
                continue
            features = self._window.features(now_s)
            score = MODEL.judge(features) if features is not None else None
            if score is not None:
                minutes.append((score > MODEL.decision.threshold, any(a <= second - 1 < b for a, b in stretches)))
            if self._decider.step(now_s, score).raised:
                raised.append(second)
        return minutes, raised


def measure(recordings: Sequence[Recording]) -> None:
    """Prints the figures."""
    bench, start_s = Bench(recordings[0].columns), START
    minutes: list[tuple[bool, bool]] = []
    found, again, outside, delays = 0, 0, 0, []
    for recording in recordings:
        judged, raised = bench.play(recording, start_s)
        start_s += int(recording.duration_s) + PAUSE_S
        minutes += judged
        right = [at for at in raised if any(a <= at <= b + STEP_S for a, b in recording.anomalies())]
        found += bool(right)
        again += max(0, len(right) - 1)
        outside += len(raised) - len(right)
        delays += [right[0] - recording.anomalies()[0][0]] if right else []
    hit, false, missed, quiet = (minutes.count(p) for p in ((True, True), (True, False), (False, True), (False, False)))
    f1, far, mar = 2 * hit / (2 * hit + false + missed), false / (false + quiet), missed / (hit + missed)
    print(f"{len(recordings)} recordings, {len(minutes)} minutes: F1 {f1:.2f}, false {far:.1%}, missed {mar:.1%}")
    print(f"alerts: {found} found, {again} of them twice, {outside} outside, median delay {median(delays):.0f} s")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    measure([recording for folder in sys.argv[1:] for recording in load_folder(Path(folder))])
