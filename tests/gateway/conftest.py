"""A small site on a simulated RS-485 line, for the technician's verbs: asked of a gateway that runs, or of one built."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import hatch
from gateway.app import Gateway, home
from gateway.clock import Clock, SystemClock
from gateway.hatch import Job, ask
from gateway.profile import load_profile
from gateway.site import Site, load_site
from gateway.store import Store
from simulator.line import Line
from simulator.modbus import Area, Device, Table
from simulator.model import ModelRegisters

HEAD = """
[gateway]
id = "edge-0042"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "data"
"""
LINE = """
[[bus]]
name = "ligne"
protocol = "modbus-rtu"
port = "{port}"
line = "{line}"
"""
DEVICE = """
[[device]]
name = "{name}"
profile = "{profile}"
bus = "{bus}"
address = {address}
asset = "{asset}"
every = "1s"
"""
PRESSURE, METER = "water/keller_x_line", "energy/eastron_sdm630"


@dataclass
class Field:
    """What stands in the field: a line with units, and the site file that is written for it."""

    folder: Path
    units: list[Device] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    speed: int = 115200
    framing: str = "8N1"
    line: Line = field(init=False)

    def model(self, profile: str, address: int, *, name: str = "d", seed: int = 1) -> Device:
        """A simulated device of a profile, with slow curves in its range."""
        loaded = load_profile(home() / "device_profiles", profile)
        unit = Device(address, ModelRegisters(loaded, SystemClock().now, seed, name), turnaround_s=0.002)  # type: ignore[arg-type]
        self.units.append(unit)
        return unit

    def fixed(self, address: int, area: Area, cells: dict[int, int]) -> Device:
        """A device whose registers stand still."""
        unit = Device(address, Table({area: dict(cells)}), turnaround_s=0.002)
        self.units.append(unit)
        return unit

    def expect(self, name: str, profile: str, address: int, asset: str = "", bus: str = "ligne") -> None:
        self.entries.append(DEVICE.format(name=name, profile=profile, bus=bus, address=address, asset=asset))

    def site(self, line: str = "", more: str = "") -> Site:
        path = self.folder / "site.toml"
        bus = LINE.format(port=self.folder / "tty", line=line or f"{self.speed} {self.framing}")
        path.write_text(HEAD + more + bus + "".join(self.entries), "utf-8")
        return load_site(path, home() / "device_profiles")

    @asynccontextmanager
    async def powered(self) -> AsyncIterator[Line]:
        self.line = Line(self.speed, self.framing, units=self.units, link=self.folder / "tty")
        async with self.line:
            yield self.line


def f32(*values: float) -> dict[int, int]:
    """Registers of 32-bit numbers from address 0 on."""
    return dict(enumerate(struct.unpack(f">{2 * len(values)}H", struct.pack(f">{len(values)}f", *values))))


@pytest.fixture
def on_site(tmp_path: Path) -> Field:
    return Field(tmp_path)


@asynccontextmanager
async def built(site: Site, watches: Sequence[Any] = ()) -> AsyncIterator[Gateway]:
    """A gateway that is built and does not poll."""
    async with Store.open(site.data, SystemClock()) as store:
        gateway = Gateway(site, list(watches), store, SystemClock())
        try:
            yield gateway
        finally:
            await gateway.close()


@asynccontextmanager
async def living(site: Site, folder: Path, clock: Clock) -> AsyncIterator[Gateway]:
    """A gateway that runs in virtual time, its memory in a folder."""
    async with Store.open(folder, clock, thread=False) as store:
        gateway = Gateway(site, [], store, clock)
        task = asyncio.create_task(gateway.run())
        yield gateway
        gateway.stop.set()
        await task


@asynccontextmanager
async def running(site: Site, jobs: dict[str, Job[Any, Any]]) -> AsyncIterator[Gateway]:
    """A gateway that polls, with its hatch open."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(built(site))
        await stack.enter_async_context(hatch.opened(gateway, lambda: jobs))
        task = asyncio.create_task(gateway.run())
        try:
            yield gateway
        finally:
            gateway.stop.set()
            await task


async def told(site: Site, job: Job[Any, Any], wish: Any) -> list[Any]:
    """All rows of a job."""
    async with aclosing(ask(site, job, wish)) as rows:
        return [row async for row in rows]


async def guet(*words: str, folder: Path, lang: str = "fr", stdin: bytes = b"") -> tuple[int, str, str]:
    """The command as a process: exit code, output, errors."""
    environment = {**os.environ, "GUET_LANG": lang, "GUET_HOME": str(home()), "PYTHONPATH": str(home())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", *words, cwd=folder, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
