"""`guet bench commissioning`: a technician's visit by the command line, on a simulated line with planted faults.

Packed in the office, claimed at the cabinet, scanned, mended as the scan says, checked, left with a report, verified;
without any network but loopback. Planted: two devices at each other's address, one device of another model than the site
says, one that is dead. Named is a fault whose cause `guet scan` gives by its id, for the right device, with the right
remedy. Everything in the field is simulated; the verbs are processes, as a technician starts them. The devices are drawn by
the seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from gateway.app import home
from gateway.profile import ModbusProfile
from gateway.proposal import known_profiles
from gateway.unit import UNITS
from simulator.line import Line
from simulator.modbus import Device
from simulator.model import ModelRegisters

LINE = "19200 8E1"
HEAD = """
[gateway]
id = "edge-0042"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "data"
[upstream]
url = "mqtt://127.0.0.1:9"
[[bus]]
name = "ligne"
protocol = "modbus-rtu"
port = "{port}"
line = "{line}"
"""
DEVICE = '[[device]]\nname = "{name}"\nprofile = "{profile}"\nbus = "ligne"\naddress = {address}\nevery = "2s"\n'


@dataclass
class Town:
    """The field as it is, and as the site file believes it to be."""

    units: dict[str, Device]
    believed: dict[str, tuple[str, int]]
    true_profile: dict[str, str]
    swapped: tuple[str, str]
    other_model: str
    dead: str
    calls: list[dict[str, Any]] = field(default_factory=list)


def run(seed: int = 1, devices: int = 7) -> dict[str, Any]:
    """One visit."""
    return asyncio.run(_visit(seed, devices))


def _measuring(profile: ModbusProfile) -> bool:
    """Whether a device of that model says quantities, by which it can be told from another."""
    return sum(UNITS[point.unit].quantity != "number" for point in profile.point) >= 2


def _town(seed: int, count: int) -> Town:
    chance = Random(seed)
    known = known_profiles(home() / "device_profiles")
    models = {name: one for name, one in known.items() if isinstance(one, ModbusProfile) and _measuring(one)}
    drawn = chance.sample(sorted(models), count + 1)
    *standing, instead = drawn
    names = [f"appareil-{number}" for number in range(1, count + 1)]
    addresses = chance.sample(range(1, 32), count)
    true_profile = dict(zip(names, standing, strict=True))
    believed = {name: (true_profile[name], address) for name, address in zip(names, addresses, strict=True)}
    first, second, other_model, dead = chance.sample(names, 4)
    true_profile[other_model] = instead
    units = {}
    for name, address in zip(names, addresses, strict=True):
        model = models[true_profile[name]]
        registers = ModelRegisters(model, time.time, seed, name)
        units[name] = Device(address, registers, turnaround_s=0.004)
    units[first].address, units[second].address = units[second].address, units[first].address
    return Town(units, believed, true_profile, (first, second), other_model, dead)


async def _visit(seed: int, count: int) -> dict[str, Any]:
    town = _town(seed, count)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        cabinet = here / "cabinet"
        cabinet.mkdir()
        text = HEAD.format(port=cabinet / "tty", line=LINE) + "".join(
            DEVICE.format(name=name, profile=profile, address=address)
            for name, (profile, address) in town.believed.items()
        )
        (here / "office.toml").write_text(text, "utf-8")
        baud, framing = LINE.split()
        alive = [unit for name, unit in town.units.items() if name != town.dead]
        began_s = time.monotonic()
        async with Line(int(baud), framing, units=alive, link=cabinet / "tty") as line:
            claimed = await _claim(town, here, cabinet)
            _, rows = await _guet(town, cabinet, "scan", "site.toml", "--json")
            planted = _named(town, rows)
            _, (why, *_) = await _guet(town, cabinet, "why", f"{town.dead}", "--json")
            planted["dead sensor"]["why"] = why["cause"]["id"]
            await _mend(town, line, cabinet)
            _, again = await _guet(town, cabinet, "scan", "site.toml", "--json")
            left = [row["cause"]["id"] for row in again if row["kind"] == "finding"]
            report = await _leave(town, cabinet)
        seconds = round(time.monotonic() - began_s, 1)
        verified = await _verify(town, cabinet)
    missed = [f"{what} is not named: {one}" for what, one in planted.items() if not one["named"]]
    if planted["dead sensor"]["why"] != "GUET-401":
        missed.append(f"guet why of the dead sensor gives {planted['dead sensor']['why']!r}, expected GUET-401")
    if left:
        missed.append(f"after mending, the scan still finds {left}")
    if not claimed:
        missed.append("the claim did not go as it should, without a network")
    if not report["ready"]:
        missed.append(f"no report: {report['items']}")
    if verified != {"whole": 3, "tampered": 3, "tampered_refused": 3}:
        missed.append(f"reports verified: {verified}, expected three whole and three tampered ones refused")
    return {
        "simulated": True, "seed": seed, "devices": count, "missed": missed, "planted": planted, "left_after_mending": left,
        "claimed_without_network": claimed, "report": report, "verify": verified, "visit_s": seconds, "calls": town.calls,
    }  # fmt: skip


async def _claim(town: Town, here: Path, cabinet: Path) -> bool:
    await _guet(town, here, "pack", "office.toml", "--out", "stick", "--keys", "keys", "--by", "bureau", "--json")
    label = (here / "stick/label-edge-0042.svg").read_text("utf-8")
    code = re.search(r"code ([0-9A-Z]{4}-[0-9A-Z]{4})", label)
    assert code is not None
    wrong, _ = await _guet(town, cabinet, "claim", "../stick/edge-0042.guet", "--code", "2222-2222", "--by", "AM")
    right, (done, *_) = await _guet(
        town, cabinet, "claim", "../stick/edge-0042.guet", "--code", code[1], "--by", "AM", "--json"
    )
    return (wrong, right, done["state"]) == (1, 0, "local")


def _named(town: Town, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each planted fault with what the scan said of it."""
    findings = [(row["device"], row["cause"]["id"], row["cause"]["sentence"] + " " + row["cause"]["action"])
                for row in rows if row["kind"] == "finding"]  # fmt: skip
    by_device = {device: (number, said) for device, number, said in findings}
    swap = next((f for f in findings if f[1] == "GUET-406" and all(name in f[2] for name in town.swapped)), None)
    map_id, map_said = by_device.get(town.other_model, ("", ""))
    dead_id, dead_said = by_device.get(town.dead, ("", ""))
    right = town.true_profile[town.other_model]
    proposed = next((row["proposals"] for row in rows if row.get("expected") == town.other_model), [])
    return {
        "swapped address": {"named": swap is not None, "cause": swap[1] if swap else "", "said": swap[2] if swap else ""},
        "wrong register map": {
            "named": map_id == "GUET-504" and right in [one["profile"] for one in proposed],
            "cause": map_id, "said": map_said, "true_profile": right,
            "first": map_id == "GUET-504" and f'"{right}"' in map_said,
        },
        "dead sensor": {"named": dead_id == "GUET-401", "cause": dead_id, "said": dead_said},
        "nothing else": {"named": len(findings) == 3, "causes": sorted(number for _, number, _ in findings)},
    }  # fmt: skip


async def _mend(town: Town, line: Line, cabinet: Path) -> None:
    """What the technician does: sets the addresses on the devices, powers the dead one, gives the other one its profile."""
    first, second = (town.units[name] for name in town.swapped)
    first.address, second.address = second.address, first.address
    line.units.append(town.units[town.dead])
    name = town.other_model
    await _guet(
        town, cabinet, "replace", name, "site.toml", "--profile", town.true_profile[name], "--by", "AM", "--json"
    )


async def _leave(town: Town, cabinet: Path) -> dict[str, Any]:
    """Checks everything with the gateway running, accepts with a reason what is doubted, leaves."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "run", "site.toml", "--page", "", cwd=cabinet, env=_environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while not (cabinet / "data/guet.sock").exists():
                await asyncio.sleep(0.1)
        early, _ = await _guet(town, cabinet, "leave", "--by", "AM", "--json")
        _, rows = await _guet(town, cabinet, "check", "--by", "AM", "--json")
        doubted = [row["point"] for row in rows if row["verdict"] not in ("plausible", "accepted")]
        for point in doubted:
            await _guet(
                town, cabinet, "check", point, "--reads", "2", "--accept", "appareil simulé", "--by", "AM", "--json"
            )
        done = ("leave", "--by", "AM", "--out", "pv", "--outage", "5", "--defer", "banc sans réseau", "--json")
        code, rows = await _guet(town, cabinet, *done)
    finally:
        if running.returncode is None:
            running.terminate()
            await running.wait()
    items = {row["name"]: row["said"] for row in rows if row["kind"] == "item"}
    return {"ready": code == 0, "red_before_checks": early == 1, "accepted": len(doubted), "items": items}


async def _verify(town: Town, cabinet: Path) -> dict[str, int]:
    """The three forms, and each with one thing changed in it."""
    found = {"whole": 0, "tampered": 0, "tampered_refused": 0}
    for path in sorted((cabinet / "pv").glob("PV-*")):
        code, _ = await _guet(town, cabinet, "verify", str(path), "--json")
        found["whole"] += code == 0
        content = path.read_bytes()
        changed = content.replace(b'"AM"', b'"XX"')
        path.write_bytes(changed)
        found["tampered"] += changed != content
        code, _ = await _guet(town, cabinet, "verify", str(path), "--json")
        found["tampered_refused"] += code == 1
    return found


def _environment() -> Mapping[str, str]:
    return {**os.environ, "GUET_LANG": "fr", "GUET_HOME": str(home()), "PYTHONPATH": str(home())}


async def _guet(town: Town, folder: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """One verb as a process: its exit code, and its rows where it gave any."""
    began_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", *words, cwd=folder, env=_environment(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(600):
        out, _ = await process.communicate()
    rows = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    assert process.returncode is not None
    town.calls.append({"verb": words[0], "exit": process.returncode, "s": round(time.monotonic() - began_s, 1)})
    return process.returncode, rows
