"""Figures of the serial bus: how near it comes to what the wire allows, and what a dead device or a bad line costs.

    guet bench bus [--seconds OF A CELL] [--exchanges OF THE STORM] [--hours OF THE DEAD DEVICE]

The line is simulated (`simulator.line`) in a process of its own, the gateway's link and codec run here. The machine's
clock is real for the share of the limit, virtual for the storm and the dead device. The limit of a cell is that of the
wire: request, turnaround of the device, answer, one silence of 3.5 characters.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from gateway.clock import LoopClock
from gateway.codec import Ask, Limits, Span
from gateway.codec.modbus import Rtu
from gateway.errors import BusError, Refused
from gateway.link.serial import SerialLink
from gateway.poll import PolledBus
from gateway.poll import run as run_procedure
from gateway.profile import load_profile
from gateway.site import parse_site
from simulator.line import FAULT_KINDS, Fault, Faults, Line
from simulator.modbus import Area, Device, IllegalAddress
from simulator.virtual_time import in_virtual_time

BAUDS = (9600, 19200, 115200)
BLOCKS = (2, 10, 20, 60, 125)
FRAMING = "8E1"
TURNAROUND_S = 0.005
LIMITS = Limits(patience_s=0.3)


# A device whose registers say who, where and when


class Witness:
    """Even registers hold their own address and unit, odd ones the time in hundredths of a second: what is read back
    shows whether it is from the right unit, the right place and the right moment."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if area not in ("holding", "input") or address + count > 1000:
            raise IllegalAddress
        now = int(asyncio.get_running_loop().time() * 100) & 0xFFFF
        return [now if at & 1 else self.unit << 10 | at for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        raise IllegalAddress


def is_wrong(data: bytes, unit: int, span: Span, asked_s: float, got_s: float | None) -> bool:
    """Whether what was read is not what the unit held then. got_s None: another process's clock, not compared."""
    values = struct.unpack(f">{span.count}H", data)
    oldest = int(asked_s * 100)
    for at, value in enumerate(values, span.first):
        if at & 1:
            if got_s is not None and (value - oldest) & 0xFFFF > int(got_s * 100) - oldest + 1:
                return True
        elif value != unit << 10 | at:
            return True
    return False


# Share of the limit, in real time


def _line_process(baud: int, pipe: Connection) -> None:
    async def serve() -> None:
        units = [Device(unit, Witness(unit), TURNAROUND_S) for unit in (1, 2)]
        async with Line(baud, FRAMING, units=units) as line:
            pipe.send(line.port)
            while await asyncio.get_running_loop().run_in_executor(None, pipe.recv) != "end":
                pipe.send(line.violations)

    asyncio.run(serve())


async def _cell(port: str, baud: int, count: int, seconds: float) -> dict[str, float]:
    link, codec, loop = SerialLink(port, f"{baud} {FRAMING}"), Rtu(), asyncio.get_running_loop()
    span = Span(3, 0, count, {})
    exchanges = wrong = failed = 0
    await run_procedure(link, codec.read(2, span, LIMITS))
    cpu_s, began_s = time.process_time(), loop.time()
    while loop.time() - began_s < seconds or exchanges < 4:
        unit = 1 + exchanges % 2
        try:
            data = await run_procedure(link, codec.read(unit, span, LIMITS))
        except BusError:
            failed += 1
        else:
            wrong += is_wrong(data, unit, span, 0.0, None)
        exchanges += 1
    took_s, cpu_s = loop.time() - began_s, time.process_time() - cpu_s
    await link.close()
    cycle_s = link.line.wire_s(8 + 5 + 2 * count) + TURNAROUND_S + link.line.silence_s
    share = exchanges * cycle_s / took_s
    return {
        "share_of_limit": round(share, 4),
        "exchanges": exchanges,
        "failed": failed,
        "wrong_values": wrong,
        "cpu_share": round(cpu_s / took_s, 4),
    }


def share_of_limit(
    seconds: float, bauds: Sequence[int] = BAUDS, blocks: Sequence[int] = BLOCKS
) -> list[dict[str, float]]:
    """One row for each speed and block size."""
    rows = []
    context = multiprocessing.get_context("spawn")
    for baud in bauds:
        here, there = context.Pipe()
        process = context.Process(target=_line_process, args=(baud, there), daemon=True)
        process.start()
        if not here.poll(30):
            raise TimeoutError("the simulated line did not start")
        port, before = here.recv(), 0
        for count in blocks:
            measured = asyncio.run(_cell(port, baud, count, seconds))
            here.send("violations so far?")
            if not here.poll(10):
                raise TimeoutError("the simulated line does not say its violations")
            now = here.recv()
            rows.append({"baud": baud, "registers": count, **measured, "gap_violations": now - before})
            before = now
        here.send("end")
        process.join(10)
    return rows


# Virtual time: the line is a socket pair (a pseudo-terminal delivers through the kernel's own threads, which a loop that
# does not wait would overtake)


class SocketLine(Line):
    """A line that ends in a socket instead of a terminal."""

    def _open(self) -> tuple[int, int, str]:
        self._speed = None
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach(), "socket"

    def client(self) -> SerialLink:
        return _SocketLink(self._slave, f"{self.baud} {FRAMING}")


class _SocketPort:
    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def set_low_latency_mode(self, on: bool) -> None:
        raise OSError("a socket has none")


class _SocketLink(SerialLink):
    def __init__(self, fd: int, line: str) -> None:
        super().__init__("socket", line)
        self._socket = fd

    def _port(self, parity: str) -> Any:
        return _SocketPort(self._socket)


# A storm: every fault at once


def every_fault(rate_each: float, seed: int) -> Faults[Fault]:
    """Each kind with this probability an exchange, in milder and worse forms."""
    forms = {
        "late": [Fault("late", by_s=by_s) for by_s in (0.1, 0.45, 0.7, 1.5)],
        "gap": [Fault("gap", by_s=by_s) for by_s in (0.02, 0.05, 0.09, 0.2)],
        "noise": [Fault("noise", count=count) for count in (1, 2, 5, 40)],
        "exception": [Fault("exception", code=code) for code in (2, 4, 6, 11)],
    }
    choice = [fault for kind in FAULT_KINDS for fault in forms.get(kind, [Fault(kind)] * 4)]
    return Faults(rate=rate_each * len(FAULT_KINDS), choice=choice, random=Random(seed))


async def _storm(exchanges: int, rate_each: float, seed: int) -> dict[str, Any]:
    faults, chance, loop = every_fault(rate_each, seed), Random(seed + 1), asyncio.get_running_loop()
    units = [Device(unit, Witness(unit), TURNAROUND_S) for unit in (1, 2, 3)]
    spans = [
        Span(3, 0, 4, {}),
        Span(3, 4, 4, {}),
        Span(3, 8, 2, {}),
        Span(3, 20, 4, {}),
        Span(4, 40, 4, {}),
        Span(3, 99, 1, {}),
    ]
    counts = {"good": 0, "wrong_values": 0, "refused": 0, "failed": 0}
    async with SocketLine(19200, FRAMING, units=units, faults=faults, tick_s=1.0) as line:
        link, codec = line.client(), Rtu()
        for _ in range(exchanges):
            unit, span = chance.choice((1, 2, 3)), chance.choice(spans)
            asked_s = loop.time()
            try:
                data = await run_procedure(link, codec.read(unit, span, LIMITS))
            except Refused:
                counts["refused"] += 1
            except BusError:
                counts["failed"] += 1
            else:
                wrong = is_wrong(data, unit, span, asked_s, loop.time())
                counts["wrong_values" if wrong else "good"] += 1
        await link.close()
        happened, violations = dict(sorted(line.faults.happened.items())), line.violations
    return {
        "exchanges": exchanges,
        **counts,
        "gap_violations": violations,
        "simulated_hours": round(loop.time() / 3600, 2),
        "faults": happened,
    }


def storm(exchanges: int, rate_each: float = 0.05, seed: int = 1) -> dict[str, Any]:
    """Exchanges with every kind of fault, each with `rate_each`; what was read is compared with what the unit held."""
    return in_virtual_time(_storm(exchanges, rate_each, seed))


# A dead device among nine that live


class _Timed:
    """A link that notes how long each unit has held the line."""

    def __init__(self, link: SerialLink) -> None:
        self.link, self.traffic = link, link.traffic
        self.held_s: dict[int, float] = {}
        self.asked: dict[int, int] = {}

    async def exchange(self, ask: Ask) -> bytes:
        loop, unit = asyncio.get_running_loop(), ask.request[0]
        began_s = loop.time()
        try:
            return await self.link.exchange(ask)
        finally:
            self.held_s[unit] = self.held_s.get(unit, 0.0) + loop.time() - began_s
            self.asked[unit] = self.asked.get(unit, 0) + 1

    async def close(self) -> None:
        await self.link.close()


_SITE = """
[gateway]
id = "bench"
commune = "Banc"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "rs485"
protocol = "modbus-rtu"
port = "/dev/none"
line = "19200 8E1"
"""
_DEVICE = """
[[device]]
name = "m{unit}"
profile = "energy/eastron_sdm630"
bus = "rs485"
address = {unit}
every = "{every_s}s"
"""


async def _dead_device(hours: float, every_s: int) -> dict[str, float]:
    profiles = Path(__file__).resolve().parents[2] / "device_profiles"
    text = _SITE + "".join(_DEVICE.format(unit=unit, every_s=every_s) for unit in range(1, 11))
    site = parse_site(text, "bench.toml", Path(), lambda name: load_profile(profiles, name))
    units = [Device(unit, Witness(unit), TURNAROUND_S) for unit in range(1, 10)]
    async with SocketLine(19200, FRAMING, units=units, tick_s=1.0) as line:
        link, codec = _Timed(line.client()), Rtu()
        bus = PolledBus("rs485", link, codec, list(site.devices.values()), LoopClock(0.0), lambda snapshot: None)
        polling = asyncio.create_task(bus.run())
        await asyncio.sleep(hours * 3600)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await link.close()
    return {
        "devices": 10,
        "period_s": every_s,
        "hours": hours,
        "probes": link.asked[10],
        "probe_s": round(link.held_s[10] / link.asked[10], 3),
        "share_of_bus": round(link.held_s[10] / (hours * 3600), 5),
        "share_of_a_living_one": round(link.held_s[1] / (hours * 3600), 5),
    }


def dead_device(hours: float = 4.0, every_s: int = 5) -> dict[str, float]:
    """What share of the time of a bus of ten the one that is dead takes from the others."""
    return in_virtual_time(_dead_device(hours, every_s))


def run(seconds: float = 2.0, exchanges: int = 100_000, hours: float = 4.0) -> dict[str, Any]:
    """All figures. seconds: of each cell of speed and block size; exchanges: of the storm; hours: of the dead device."""
    cells = share_of_limit(seconds)
    bad_line = storm(exchanges)
    return {
        "cells": cells,
        "gap_violations": sum(cell["gap_violations"] for cell in cells) + bad_line["gap_violations"],
        "wrong_values": sum(cell["wrong_values"] for cell in cells) + bad_line["wrong_values"],
        "dead_device_cost": dead_device(hours),
        "storm": bad_line,
    }
