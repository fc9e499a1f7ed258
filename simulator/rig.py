"""Scenario pump-rig: real recordings of a water-pump rig, served as a device over Modbus RTU, and what a watch saw in them.

The measurements and their labels come from files that the user names (SKAB's own layout); only the device that serves them
is simulated. Recordings are played one after the other with a pause between, as a rig that is stopped and started; the
watch has never seen them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.alert import Alert, iso
from gateway.clock import ScaledClock
from simulator.line import Line
from simulator.modbus import Area, Device, IllegalAddress
from simulator.platform import Platform
from simulator.process import GatewayProcess
from simulator.recording import Player, Recording, load_folder
from simulator.scenario import ScenarioError

PAUSE_S = 240.0
"""Between two recordings: longer than what the watch takes for a stop."""
BAUD = 115200
FASTEST = 150.0
"""Times real time: 16 registers every two simulated seconds still fit on the line."""
LAST_WORDS_S = 15.0
SIGNALS = ("vibration_1", "vibration_2", "current", "pressure", "temperature", "water_temperature", "voltage", "flow")
STEP_S = 60


@dataclass(frozen=True, slots=True)
class Take:
    """One recording with its place in the evening. Times in UTC seconds."""

    player: Player

    @property
    def recording(self) -> Recording:
        return self.player.recording

    @property
    def start_s(self) -> float:
        return self.player.start_s

    @property
    def end_s(self) -> float:
        return self.start_s + self.recording.duration_s


class Rig:
    """The registers of the rig: those of the recording that is being played."""

    def __init__(self, recordings: Sequence[Recording], start_s: float, clock: ScaledClock) -> None:
        self._clock = clock
        self.takes: list[Take] = []
        for recording in recordings:
            self.takes.append(Take(Player(recording, start_s, clock.now)))
            start_s = self.takes[-1].end_s + PAUSE_S

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress."""
        now_s = self._clock.now()
        playing = next((take for take in self.takes if take.start_s <= now_s < take.end_s), self.takes[-1])
        return playing.player.read(area, address, count)

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Always raises IllegalAddress: nothing here can be set."""
        raise IllegalAddress


async def pump_rig(folder: Path | None, work: Path, seconds: float, page: str, report_file: Path | None) -> int:
    """Plays the recordings of a folder; gives the exit code. Raises ScenarioError or RecordingError."""
    if folder is None:
        raise ScenarioError("pump-rig: expected --recordings FOLDER with CSV files in the layout of SKAB")
    began = time.monotonic()
    recordings = load_folder(folder)
    total_s = sum(recording.duration_s + PAUSE_S for recording in recordings)
    print(
        f"Guet — banc de pompe : {len(recordings)} enregistrements, {total_s / 3600:.1f} h de mesures réelles",
        flush=True,
    )
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Platform(work / "centre"))
        left_s = max(10.0, seconds - (time.monotonic() - began) - LAST_WORDS_S)
        clock = ScaledClock(recordings[0].times_s[0] // 3600 * 3600, time.monotonic(), min(FASTEST, total_s / left_s))
        rig = Rig(recordings, clock.start_s + STEP_S, clock)
        line = await stack.enter_async_context(Line(BAUD, "8N1", units=[Device(1, rig, turnaround_s=0.001)]))
        site_file = work / "site.toml"
        site_file.write_text(_site(line.port, platform.mqtt_port), encoding="utf-8")
        gateway = await stack.enter_async_context(GatewayProcess(work, site_file, clock, page))
        end_s = min(rig.takes[-1].end_s, clock.start_s + left_s * clock.speed)
        for number, take in enumerate(rig.takes, 1):
            if take.start_s >= end_s:
                break
            wall_s = time.monotonic() - began
            print(f"{wall_s:6.1f} s  {number:>2}/{len(rig.takes)} {take.recording.name}", flush=True)
            await gateway.until(min(take.end_s, end_s))
        await gateway.until(end_s + STEP_S)
        await gateway.end()
        held = await platform.holds()
        played = [take for take in rig.takes if take.end_s <= end_s]
        report = {
            "scenario": "pump-rig",
            "measurements": "real",
            "recordings": str(folder),
            "wall_s": round(time.monotonic() - began, 1),
            "speed": round(clock.speed, 1),
            "not_played": [take.recording.name for take in rig.takes if take not in played],
            **seen(played, held.alerts),
            "requests": line.requests,
            "gap_violations": line.violations,
            "central": {"records": held.counts["records"], "duplicates": held.counts["duplicates"]},
        }
    print(_in_short(report))
    if report_file is not None:
        report_file.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0 if played else 1


def seen(takes: Sequence[Take], alerts: Sequence[Alert]) -> dict[str, Any]:
    """The watch's alerts against the labels of the files, by file and minute by minute. F1, FAR, MAR as SKAB counts them
    (anomalous minutes are the positives), beside what an alarm that is always on would get."""
    rows = []
    hits = misses = false = quiet = 0
    for take in takes:
        labelled = [(take.start_s + begin, take.start_s + end) for begin, end in take.recording.anomalies()]
        raised = [alert for alert in alerts if take.start_s <= alert.raised_s <= take.end_s + STEP_S]
        for minute in range(math.ceil((take.end_s - take.start_s) / STEP_S)):
            at_s = take.start_s + (minute + 0.5) * STEP_S
            is_anomalous = any(begin <= at_s < end for begin, end in labelled)
            alarmed = any(a.raised_s <= at_s < (a.cleared_s if a.cleared_s is not None else take.end_s) for a in raised)
            hits += is_anomalous and alarmed
            misses += is_anomalous and not alarmed
            false += alarmed and not is_anomalous
            quiet += not alarmed and not is_anomalous
        first = min(
            (a.raised_s for a in raised if any(b <= a.raised_s <= e + STEP_S for b, e in labelled)), default=None
        )
        rows.append(
            {
                "recording": take.recording.name,
                "labelled": [[round(begin - take.start_s), round(end - take.start_s)] for begin, end in labelled],
                "alerts": [
                    {
                        "raised_s": round(a.raised_s - take.start_s),
                        "score": round(a.score, 2),
                        "reasons": [r.text for r in a.reasons],
                    }
                    for a in raised
                ],
                "detected": first is not None,
                "delay_s": None if first is None or not labelled else round(first - labelled[0][0]),
                "false_alerts": sum(not any(b <= a.raised_s <= e + STEP_S for b, e in labelled) for a in raised),
            }
        )
    total = hits + misses
    with_labels = [row for row in rows if row["labelled"]]
    return {
        "files": rows,
        "detected": f"{sum(bool(row['detected']) for row in with_labels)}/{len(with_labels)}",
        "F1": round(2 * hits / max(1, 2 * hits + false + misses), 3),
        "FAR_percent": round(100 * false / max(1, false + quiet), 1),
        "MAR_percent": round(100 * misses / max(1, total), 1),
        "always_alarm_F1": round(2 * total / max(1, 2 * total + false + quiet), 3),
        "minutes": total + false + quiet,
        "played_until": iso(takes[-1].end_s) if takes else None,
    }


def _in_short(report: dict[str, Any]) -> str:
    lines = []
    for row in report["files"]:
        said = f"vu après {row['delay_s']} s" if row["detected"] else "non vu"
        lines.append(
            f"  {row['recording']:<12} anomalie étiquetée {row['labelled']}  {said}, {row['false_alerts']} fausse(s)"
        )
    lines.append(
        f"  détectés {report['detected']} ; par minute F1 {report['F1']} (alarme permanente {report['always_alarm_F1']}), "
        f"FAR {report['FAR_percent']} %, MAR {report['MAR_percent']} %"
    )
    if report["not_played"]:
        lines.append(f"  non joués dans le temps donné : {', '.join(report['not_played'])} ; donner --for plus grand")
    return "\n".join(lines)


def _site(port: str, mqtt_port: int) -> str:
    signals = ", ".join(f'"banc/{signal}"' for signal in SIGNALS)
    return f"""[gateway]
id = "banc-0001"
commune = "Banc d'essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
summary = "10s"

[upstream]
url = "mqtt://127.0.0.1:{mqtt_port}"

[[bus]]
name = "rs485-1"
protocol = "modbus-rtu"
port = "{port}"
line = "{BAUD} 8N1"

[[device]]
name = "banc"
profile = "pump/water_rig"
bus = "rs485-1"
address = 1

[[watch]]
name = "pompe"
model = "rig"
[watch.inputs]
signal = [{signals}]
"""
