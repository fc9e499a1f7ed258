"""A cabinet with planted faults, for the bench `commissioning`: the field as it is, the site file that the office wrote, the
verbs as processes, and what has to come out of a visit. The devices are drawn by the seed; all of the field is simulated.

Planted: two devices at each other's address, one of another model than the site says, one that is dead.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
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
class Cabinet:
    """The field as it is, and as the site file believes it to be. folder: where the gateway's files are; password: of the
    page, from the label."""

    folder: Path
    units: dict[str, Device]
    believed: dict[str, tuple[str, int]]
    true_profile: dict[str, str]
    swapped: tuple[str, str]
    other_model: str
    dead: str
    line: Line = field(init=False)
    password: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def guet(self, *words: str, folder: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
        """One verb as a process: its exit code, and its rows where it gave any."""
        began_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli", *words, cwd=folder or self.folder, env=_environment(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(600):
            out, _ = await process.communicate()
        rows = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        assert process.returncode is not None
        self.calls.append({"verb": words[0], "exit": process.returncode, "s": round(time.monotonic() - began_s, 1)})
        return process.returncode, rows

    async def claim(self) -> bool:
        """Packed in the office, claimed at the cabinet, without any network; a wrong code is refused first."""
        office = self.folder.parent
        packed = ("pack", "office.toml", "--out", "stick", "--keys", "keys", "--by", "bureau", "--json")
        await self.guet(*packed, folder=office)
        label = (office / "stick/label-edge-0042.svg").read_text("utf-8")
        code = re.search(r"code ([0-9A-Z]{4}-[0-9A-Z]{4})", label)
        password = re.search(r"mot de passe de la page ([0-9A-Z-]+)", label)
        assert code is not None
        assert password is not None
        self.password = password[1]
        job = "../stick/edge-0042.guet"
        wrong, _ = await self.guet("claim", job, "--code", "2222-2222", "--by", "AM")
        right, (done, *_) = await self.guet("claim", job, "--code", code[1], "--by", "AM", "--json")
        return (wrong, right, done["state"]) == (1, 0, "local")

    def named(self, findings: Iterable[tuple[str, str, str]], proposed: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Each planted fault with what the scan said of it. findings: device, id of the cause, sentence and action;
        proposed: profiles for the device of another model."""
        findings = list(findings)
        by_device = {device: (number, said) for device, number, said in findings}
        swap = next((f for f in findings if f[1] == "GUET-406" and all(name in f[2] for name in self.swapped)), None)
        map_id, map_said = by_device.get(self.other_model, ("", ""))
        dead_id, dead_said = by_device.get(self.dead, ("", ""))
        right = self.true_profile[self.other_model]
        return {
            "swapped address": {
                "named": swap is not None, "cause": swap[1] if swap else "", "said": swap[2] if swap else "",
            },
            "wrong register map": {
                "named": map_id == "GUET-504" and right in list(proposed), "cause": map_id, "said": map_said,
                "true_profile": right, "first": map_id == "GUET-504" and f'"{right}"' in map_said,
            },
            "dead sensor": {"named": dead_id == "GUET-401", "cause": dead_id, "said": dead_said},
            "nothing else": {"named": len(findings) == 3, "causes": sorted(number for _, number, _ in findings)},
        }  # fmt: skip

    def mend(self) -> None:
        """What hands do: the addresses are set on the devices, the dead one gets its power."""
        first, second = (self.units[name] for name in self.swapped)
        first.address, second.address = second.address, first.address
        self.line.units.append(self.units[self.dead])

    @asynccontextmanager
    async def running(self, page: str = "") -> AsyncIterator[None]:
        """The gateway as a process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli", "run", "site.toml", "--page", page, cwd=self.folder,
            env=_environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        said = asyncio.create_task(process.stderr.read(), name="what the gateway says")
        try:
            async with asyncio.timeout(60):
                while not (self.folder / "data/guet.sock").exists():
                    if process.returncode is not None:
                        raise RuntimeError(f"guet run has ended with {process.returncode}: {(await said).decode()}")
                    await asyncio.sleep(0.1)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await said

    async def verify(self) -> dict[str, int]:
        """The report's three forms, and each with one thing changed in it."""
        found = {"whole": 0, "tampered": 0, "tampered_refused": 0}
        for path in sorted((self.folder / "pv").glob("PV-*")):
            code, _ = await self.guet("verify", str(path), "--json")
            found["whole"] += code == 0
            content = path.read_bytes()
            changed = content.replace(b'"AM"', b'"XX"')
            path.write_bytes(changed)
            found["tampered"] += changed != content
            code, _ = await self.guet("verify", str(path), "--json")
            found["tampered_refused"] += code == 1
        return found


def missed(face: Mapping[str, Any]) -> list[str]:
    """What a visit owes: `claimed`, `planted` with `why`, `left_after_mending`, `report`, `verify`."""
    planted = face["planted"]
    wrong = [f"{what} is not named: {one}" for what, one in planted.items() if not one["named"]]
    if planted["dead sensor"]["why"] != "GUET-401":
        wrong.append(f"why of the dead sensor gives {planted['dead sensor']['why']!r}, expected GUET-401")
    if face["left_after_mending"]:
        wrong.append(f"after mending, the scan still finds {face['left_after_mending']}")
    if not face["claimed"]:
        wrong.append("the claim did not go as it should, without a network")
    if not face["report"]["red_before_checks"]:
        wrong.append("one could leave before anything was checked")
    if not face["report"]["ready"]:
        wrong.append(f"no report: {face['report']['items']}")
    if face["verify"] != {"whole": 3, "tampered": 3, "tampered_refused": 3}:
        wrong.append(f"reports verified: {face['verify']}, expected three whole and three tampered ones refused")
    return wrong


@asynccontextmanager
async def standing(seed: int, count: int) -> AsyncIterator[Cabinet]:
    """A cabinet with power, and the office's site file beside it."""
    with tempfile.TemporaryDirectory(prefix="guet-") as office:
        folder = Path(office) / "cabinet"
        folder.mkdir()
        cabinet = _drawn(folder, seed, count)
        text = HEAD.format(port=folder / "tty", line=LINE) + "".join(
            DEVICE.format(name=name, profile=profile, address=address)
            for name, (profile, address) in cabinet.believed.items()
        )
        (Path(office) / "office.toml").write_text(text, "utf-8")
        baud, framing = LINE.split()
        alive = [unit for name, unit in cabinet.units.items() if name != cabinet.dead]
        async with Line(int(baud), framing, units=alive, link=folder / "tty") as cabinet.line:
            yield cabinet


def _measuring(profile: ModbusProfile) -> bool:
    """Whether a device of that model says quantities, by which it can be told from another."""
    return sum(UNITS[point.unit].quantity != "number" for point in profile.point) >= 2


def _drawn(folder: Path, seed: int, count: int) -> Cabinet:
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
    return Cabinet(folder, units, believed, true_profile, (first, second), other_model, dead)


def _environment() -> Mapping[str, str]:
    return {**os.environ, "GUET_LANG": "fr", "GUET_HOME": str(home()), "PYTHONPATH": str(home())}
