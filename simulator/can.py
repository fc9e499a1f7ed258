"""A simulated lift bus: nodes that speak CANopen on CAN, and an SLCAN adapter on a pty through which one may listen.

Three layers. A `Node` gives the frames that are due; `LiftController` has the physics of a lift, with heartbeat, boot-up
and emergency messages. `Adapter` turns commands into answers and frames into lines, as adapters of the LAWICEL kind do, and
needs no time and no port; what it is told to put on the bus it notes (`sent`). `SimulatedSlcan` gives it a pty and a clock.

Encoded here on its own, from the standards, without the gateway's codec: a mistake would have to be made twice.
Sources: LAWICEL CAN232 and CANUSB manuals; CiA 301 V4.2.0 (7.2.7 emergency, 7.2.8.3.2.2 heartbeat, 7.3.3 COB-IDs).
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self, get_args

from simulator.car import LiftCar
from simulator.line import Faults, pseudo_terminal

Fault = Literal["lost", "garbled", "bus_off", "stuck"]
"""What one frame through the adapter may meet: it is not passed on; a character of its line is lost on the serial side; from
it on, for a while, the bus is full of errors and nothing comes through, or the adapter does nothing and answers nothing."""

FAULT_KINDS: tuple[Fault, ...] = get_args(Fault)
LASTING = ("bus_off", "stuck")
BUS_ERRORS = 0xA4
"""Status of an adapter whose controller is error passive: warning, passive, bus errors (CAN232, command F)."""

HEARTBEAT_S = 0.5
POSITION_S = 0.1
STATE_S = 0.5
TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class CanFault:
    """One thing that goes wrong with one frame; by_s: how long, for what lasts."""

    kind: Fault
    by_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CanFrame:
    """A data frame on the bus, or a request for one (remote)."""

    identifier: int
    data: bytes = b""
    extended: bool = False
    remote: bool = False

    def line(self) -> bytes:
        """As an adapter writes it."""
        kind = "tTrR"[self.extended + 2 * self.remote]
        width = 8 if self.extended else 3
        data = "" if self.remote else self.data.hex().upper()
        return f"{kind}{self.identifier:0{width}X}{len(self.data)}{data}\r".encode()


class Node(Protocol):
    """Somebody on the bus."""

    def due(self, time_s: float) -> Iterable[CanFrame]:
        """What it sends now; called again and again with UTC seconds that grow."""
        ...


class Beat:
    """Every so many seconds; the first time at once."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._due_s = every_s, float("-inf")

    def now(self, time_s: float) -> bool:
        """Whether it is time (again)."""
        if time_s < self._due_s and self._due_s - time_s <= self._every_s:
            return False
        self._due_s = time_s + self._every_s
        return True


class LiftController:
    """A lift controller as a CANopen node: the PDOs of device_profiles/guet/canopen_lift.toml, from the physics of its car.

    state: 5 operational, 127 pre-operational, 4 stopped; only in the first it sends PDOs. silent: it has no supply.
    """

    def __init__(self, car: LiftCar, node: int = 4) -> None:
        self.car, self.node = car, node
        self.state, self.silent, self.weighs = 5, False, True
        self._waiting: list[CanFrame] = [CanFrame(0x700 + node, b"\x00")]
        self._heartbeat, self._position, self._status = Beat(HEARTBEAT_S), Beat(POSITION_S), Beat(STATE_S)

    def restart(self) -> None:
        """It boots, and says so."""
        self.state = 5
        self._waiting.append(CanFrame(0x700 + self.node, b"\x00"))

    def emergency(self, code: int, register: int = 1, detail: bytes = bytes(5)) -> None:
        """It finds an error, by its code; 0 takes all back."""
        self._waiting.append(CanFrame(0x080 + self.node, struct.pack("<HB5s", code, register if code else 0, detail)))

    def due(self, time_s: float) -> list[CanFrame]:
        if self.silent:
            self._waiting.clear()
            return []
        frames, self._waiting = self._waiting, []
        if self._heartbeat.now(time_s):
            frames.append(CanFrame(0x700 + self.node, bytes((self.state,))))
        if self.state != 5:
            return frames
        travel = self.car.at(time_s)
        if self._position.now(time_s):
            moved = struct.pack("<ih", round(travel.position_mm), round(travel.speed_mm_s))
            frames.append(CanFrame(0x18C, moved))
        if self._status.now(time_s):
            panel = self.car.door.panel(time_s)
            load = round(travel.load_kg) if self.weighs else 0xFFFF
            frames.append(CanFrame(0x280 + self.node, struct.pack("<BH", panel.state | (panel.error == 1) << 2, load)))
            frames.append(CanFrame(0x380 + self.node, struct.pack("<I", travel.trips)))
        return frames


class Adapter:
    """An adapter without its port. mode: closed, listening only, or open for sending too. bitrate: the code of S. sent: what
    it was told to put on the bus and did. told: every command. knows_listening: its firmware has L. confirms: it answers
    commands. stamps: it puts a time stamp behind each frame. flags: its status register."""

    def __init__(self, bus_rate: bytes = b"5", chance: Faults[CanFault] | None = None) -> None:
        self.bus_rate = bus_rate
        self.mode: Literal["closed", "listening", "open"] = "closed"
        self.bitrate = b""
        self.sent: list[bytes] = []
        self.told: list[bytes] = []
        self.knows_listening = self.confirms = True
        self.stamps = False
        self.flags = 0
        self.frames = 0
        self.chance = chance or Faults()
        self._command = b""
        self._until: dict[Fault, float] = {}

    def lasts(self, kind: Fault, time_s: float) -> bool:
        """Whether that fault goes on."""
        return time_s < self._until.get(kind, float("-inf"))

    def happen(self, fault: CanFault, time_s: float) -> None:
        """Something begins to go wrong now that lasts."""
        self._until[fault.kind] = time_s + fault.by_s

    def power_cut(self) -> None:
        """It loses its supply: what it was told is forgotten."""
        self.mode, self.bitrate, self._command, self.flags = "closed", b"", b"", 0

    def hear(self, data: bytes, time_s: float) -> bytes:
        """What it answers to bytes of its host."""
        if self.lasts("stuck", time_s):
            return b""
        *commands, self._command = (self._command + data).split(b"\r")
        return b"".join(self._answer(command, time_s) for command in commands)

    def _answer(self, command: bytes, time_s: float) -> bytes:
        self.told.append(command)
        done, refused = (b"\r", b"\x07") if self.confirms else (b"", b"")
        match command[:1]:
            case b"C" if command == b"C":
                self.mode, was = "closed", self.mode
                return done if was != "closed" else refused
            case b"S" if re.fullmatch(rb"S[0-8]", command) and self.mode == "closed":
                self.bitrate = command[1:]
                return done
            case b"L" if command == b"L" and self.knows_listening and self.mode == "closed" and self.bitrate:
                self.mode = "listening"
                return done
            case b"O" if command == b"O" and self.mode == "closed" and self.bitrate:
                self.mode = "open"
                return done
            case b"F" if command == b"F" and self.mode != "closed":
                flags = BUS_ERRORS if self.lasts("bus_off", time_s) else self.flags
                return f"F{flags:02X}\r".encode()
            case b"V":
                return b"V1013\r"
            case b"t" | b"T" | b"r" | b"R" if self.mode == "open":
                self.sent.append(command)
                return b"z\r"
            case b"":
                return done
        return refused

    def carry(self, frame: CanFrame, time_s: float) -> bytes:
        """The line for a frame that is on the bus; nothing where it does not come through."""
        if self.mode == "closed" or self.bitrate != self.bus_rate:
            return b""
        fault = self.chance.draw()
        if fault is not None:
            self.chance.happened[fault.kind] += 1
            if fault.kind in LASTING:
                self.happen(fault, time_s)
        if any(self.lasts(kind, time_s) for kind in ("bus_off", "stuck")):
            return b""
        if fault is not None and fault.kind == "lost":
            self.flags |= 0x08
            return b""
        self.frames += 1
        line = frame.line()
        if self.stamps:
            line = line[:-1] + f"{int(time_s * 1000) % 60000:04X}\r".encode()
        if fault is not None and fault.kind == "garbled":
            at = len(line) // 2
            line = line[:at] + line[at + 1 :]
        return line


@dataclass(eq=False)
class SimulatedSlcan:
    """An adapter on a pty with nodes behind it; `port` is what a client opens, while inside `async with`.

    clock: UTC seconds of the physics. link: where a symbolic link to the pseudo-terminal is kept, as by-path names are.
    """

    adapter: Adapter
    nodes: Sequence[Node]
    clock: Callable[[], float]
    port: str = ""
    link: Path | None = None
    dropped: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    _master: int = -1
    _slave: int = -1
    _ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._plug()
        self._ticking = asyncio.create_task(self._tick(), name="can nodes")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self.unplug()

    def unplug(self) -> None:
        """The adapter is pulled out of its socket."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        self.adapter.power_cut()
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def replug(self) -> None:
        """It is put back, and appears under the same link."""
        self._plug()

    def _plug(self) -> None:
        self._master, self._slave, self.port = pseudo_terminal(self.link)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._receive)

    def _receive(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        self._send(self.adapter.hear(data, self.clock()))

    async def _tick(self) -> None:
        while True:
            now_s = self.clock()
            for node in self.nodes:
                for frame in node.due(now_s):
                    self.put(frame)
            await asyncio.sleep(TICK_S)

    def put(self, frame: CanFrame) -> None:
        """A frame appears on the bus."""
        self._send(self.adapter.carry(frame, self.clock()))

    def _send(self, data: bytes) -> None:
        if not data or self._master < 0:
            return
        try:
            os.write(self._master, data)
        except OSError:
            self.dropped += 1  # nobody reads the other end, as with a real cable
