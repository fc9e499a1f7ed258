"""A simulated DALI street: D4i control gear on a two-wire bus, behind a Lunatone DALI SCI RS232 adapter on a pty.

Three layers. `Gear` is one lamp driver: it executes forward frames (IEC 62386-102, -207) and its memory banks come from
whoever simulates its physics. `Adapter` turns SCI bytes into frames on the bus and what happened there into SCI bytes;
it needs no time and no port. `SimulatedSci` gives an adapter a pty and the bus's real pace.

Two rules of the bus make its faults: gear that was not asked stays silent, and two answers at once destroy each other.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Literal, Self, get_args

from simulator.line import Faults, pseudo_terminal

MASK = 0xFF
LATCHED_BANKS = frozenset({202, 203, 204, 205, 206})
_KEEPS_WRITING = frozenset({0xA3, 0xC3, 0xC5, 0xC7, 0xC9})  # DTR0 to 2, the two writes

Fault = Literal["silent", "lost", "receive", "collision", "checksum", "garbled", "short"]
"""What one frame through the adapter may meet: an adapter that says nothing, gear that does not hear it, a corrupted
answer (as when two gears answer at once), a frame of another controller, our frame damaged on the serial line, the
adapter's reply damaged there, a short circuit of the bus."""

FAULT_KINDS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True, slots=True)
class DaliFault:
    """One thing that goes wrong with one frame."""

    kind: Fault


_ERROR = {"checksum": 1, "short": 2, "receive": 3, "unknown": 4, "collision": 5}

# IEC 62386-101, 8: a bit takes 833.3 us; a forward frame 1 + 16 of them, a backward frame 1 + 8. Gear answers 5.5 to
# 10.5 ms after a forward frame, after 12.4 ms none will. A new forward frame starts 13.5 ms after any frame.
FORWARD_S, BACKWARD_S = 17 / 1200, 9 / 1200
ANSWER_AFTER_S, SILENT_AFTER_S, SETTLING_S = 0.007, 0.0124, 0.0135
SERIAL_FRAME_S = 50 / 38400


class Gear:
    """One lamp's control gear, with a short address. Levels are arc power levels, 0 (off) to 254.

    bank: the content of a memory bank from location 0 on, as physics has it now; nothing (b"") for a bank that it does
    not have. fade_s: how long a new level takes, 0 at once. clock: seconds for the fade.
    """

    def __init__(
        self,
        short_address: int,
        bank: Callable[[int], bytes] = lambda number: b"",
        *,
        level: int = 254,
        min_level: int = 1,
        max_level: int = 254,
        power_on_level: int = 254,
        system_failure_level: int = 254,
        device_type: int = 6,
        fade_s: float = 0.0,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.short_address = short_address
        self.bank = bank
        self.min_level, self.max_level = min_level, max_level
        self.power_on_level, self.system_failure_level = power_on_level, system_failure_level
        self.kept = 0
        """How often a level was written to its own memory, which wears out."""
        self.device_type = device_type
        self.fade_s, self.clock = fade_s, clock
        self.powered = True
        self.gear_failure = self.lamp_failure = False
        self.led_failure = 0
        self.latches = True
        self._power_cycled = False
        self._limit_error = False
        self._from, self._to, self._since_s = level, level, float("-inf")
        self.groups = 0
        """Bit by bit, the groups 0 to 15 that it is in; in its own memory, as the kept levels are."""
        self._dtr0 = self._dtr1 = 0
        self._write_enabled = False
        self._type_enabled = 0
        self._frozen: dict[int, bytes] = {}
        self._twice: tuple[int, int] | None = None

    @property
    def level(self) -> int:
        """The level at this moment, on its way if a fade is running; 0 without mains or with a broken lamp."""
        if not self.powered or self.lamp_failure:
            return 0
        share = 1.0 if self.fade_s <= 0 else min(1.0, (self.clock() - self._since_s) / self.fade_s)
        return round(self._from + (self._to - self._from) * share)

    @property
    def status(self) -> int:
        """The answer to QUERY STATUS (IEC 62386-102, 9.16.2)."""
        fading = self.powered and self.level != self._to and not self.lamp_failure
        lit, limit, cycled = self.level > 0, self._limit_error, self._power_cycled
        bits = (self.gear_failure, self.lamp_failure, lit, limit, fading, False, False, cycled)
        return sum(1 << bit for bit, is_set in enumerate(bits) if is_set)

    def dim(self, level: int) -> None:
        """Direct arc power control; 255 stops a fade where it is (IEC 62386-102, 9.4)."""
        self._power_cycled = False
        target = self.level if level == MASK else 0 if level == 0 else max(self.min_level, min(self.max_level, level))
        self._limit_error = level not in (0, MASK) and target != level
        self._from, self._to, self._since_s = self.level, target, self.clock()

    def switch_mains(self, on: bool) -> None:
        """Mains away or back; back, the gear goes to its power-on level and remembers that it was away."""
        if on and not self.powered:
            self._from = self._to = self.power_on_level
            self._power_cycled = True
            self._frozen.clear()
        self.powered = on

    def lose_bus(self) -> None:
        """The bus loses its voltage: it goes to its system failure level; with MASK it stays (IEC 62386-102, 9.12)."""
        if self.powered and self.system_failure_level != MASK:
            self.dim(self.system_failure_level)

    def execute(self, address: int, command: int) -> int | None:
        """What a 16-bit forward frame does; its backward frame, if there is one."""
        if not self.powered:
            return None
        enabled_type, self._type_enabled = self._type_enabled, 0
        # Writing is over with any command but these, even one for other gear (IEC 62386-102, 9.10.4).
        grouped = address & 0xE0 == 0x80 and self.groups >> (address >> 1 & 0x0F) & 1 == 1
        to_us = address >> 1 == self.short_address or grouped or address >= 0xFE
        self._write_enabled &= address in _KEEPS_WRITING or (address & 1 == 1 and command in (0x98, 0x9C, 0x9D))
        if address & 0xE1 in (0xA1, 0xC1):
            return self._special(address, command)
        if not to_us:
            return None
        if not address & 1:
            self.dim(command)
            return None
        self._write_enabled |= command == 0x81
        if command == 0x2C:
            self.system_failure_level, self.kept = self._dtr0, self.kept + 1
        elif command == 0x2D:
            self.power_on_level, self.kept = self._dtr0, self.kept + 1
        elif command & 0xF0 == 0x60:
            self.groups, self.kept = self.groups | 1 << (command & 0x0F), self.kept + 1
        elif command & 0xF0 == 0x70:
            self.groups, self.kept = self.groups & ~(1 << (command & 0x0F)), self.kept + 1
        return self._query(command, enabled_type)

    def _special(self, address: int, data: int) -> int | None:
        """Special commands go to every gear (IEC 62386-102, 11.7)."""
        match address:
            case 0xA3:
                self._dtr0 = data
            case 0xC3:
                self._dtr1 = data
            case 0xC1:
                self._type_enabled = data
            case 0xC7 | 0xC9 if self._write_enabled:
                wrote = self._write_location(data)
                return wrote if address == 0xC7 else None
        return None

    def _write_location(self, data: int) -> int | None:
        if not self._contents():
            return None
        location, self._dtr0 = self._dtr0, min(self._dtr0 + 1, 255)
        if location != 0x02 or self._dtr1 not in LATCHED_BANKS or not self.latches:
            return None
        self._frozen.pop(self._dtr1, None)
        if data == 0xAA:
            self._frozen[self._dtr1] = self._contents()
        return data

    def _contents(self) -> bytes:
        return self._frozen.get(self._dtr1) or self.bank(self._dtr1)

    def _query(self, opcode: int, enabled_type: int) -> int | None:
        match opcode:
            case 0xC5:
                contents = self._contents()
                if not contents:
                    return None
                location, self._dtr0 = self._dtr0, min(self._dtr0 + 1, 255)
                return contents[location] if location < len(contents) and location != 1 else None
            case 0x90:
                return self.status
            case 0x91:
                return MASK
            case 0x92:
                return MASK if self.lamp_failure else None
            case 0x93:
                return MASK if self.level > 0 else None
            case 0x97:
                return 8
            case 0x98:
                return self._dtr0
            case 0x9C:
                return self._dtr1
            case 0x99:
                return self.device_type
            case 0x9A:
                return self.min_level
            case 0x9F:
                return 6
            case 0xA0:
                return self.level
            case 0xA1:
                return self.max_level
            case 0xA2:
                return self.min_level
            case 0xA3:
                return self.power_on_level
            case 0xA4:
                return self.system_failure_level
            case 0xA5:
                return 0x07
            case 0xC0:
                return self.groups & 0xFF
            case 0xC1:
                return self.groups >> 8
            case 0xF1 if enabled_type == 6:
                return self.led_failure
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """One SCI frame of the adapter, and how long after the request's last byte it starts (at real pace)."""

    after_s: float
    data: bytes


class Adapter:
    """The adapter's own logic: SCI requests in, SCI replies out.

    faults: met by the next frames, one each, oldest first; None: no fault. chance: met by others, now and then. shorted:
    the bus has a short circuit, until it is removed. frames: forward frames sent. heard: the last of them, address and
    command, for who wants to know what was said.
    """

    def __init__(self, gears: Sequence[Gear], chance: Faults[DaliFault] | None = None) -> None:
        self.gears = list(gears)
        self.faults: deque[Fault | None] = deque()
        self.chance: Faults[DaliFault] = chance or Faults()
        self.shorted = False
        self.frames = 0
        self.heard: deque[tuple[int, int]] = deque(maxlen=256)
        self._buffer = bytearray()

    def handle(self, data: bytes) -> bytes:
        """Request bytes, in any portions, to reply bytes, without their times."""
        return b"".join(reply.data for reply in self.replies(data))

    def replies(self, data: bytes) -> list[Reply]:
        """The same, each reply with its time after the request."""
        self._buffer += data
        replies: list[Reply] = []
        while len(self._buffer) >= 5:
            frame = bytes(self._buffer[:5])
            del self._buffer[:5]
            replies += self._answer(frame)
        return replies

    def _chance(self) -> Fault | None:
        drawn = self.chance.draw()
        if drawn is None:
            return None
        self.chance.happened[drawn.kind] += 1
        return drawn.kind

    def _answer(self, frame: bytes) -> list[Reply]:
        control, address, command, _, _ = frame
        fault = self.faults.popleft() if self.faults else self._chance()
        if fault == "silent":
            return []
        if reduce(xor, frame) or fault == "checksum":
            return [_reply(0, 0x7, _ERROR["checksum"])]
        if control & 0x40:
            return [_reply(0, 0x0)]
        if control & 0x0F != 0x3:
            return [_reply(0, 0x7, _ERROR["unknown"])]
        if self.shorted or fault == "short":
            return [_reply(FORWARD_S, 0x7, _ERROR["short"])]
        if fault == "collision":
            return [_reply(FORWARD_S, 0x7, _ERROR["collision"])]
        twice = bool(control & 0x10)
        over_s = sent_s(twice)
        # Commands 0x20 to 0x81 to gear do nothing unless they come twice (IEC 62386-102, 9.3).
        half = address & 1 and not 0xA1 <= address <= 0xCB and 0x20 <= command <= 0x81 and not twice
        ignored = fault == "lost" or half
        answers = [] if ignored else [a for gear in self.gears if (a := gear.execute(address, command)) is not None]
        self.frames += 2 if twice else 1
        self.heard.append((address, command))
        replies = [_reply(over_s, 0x0)] if control & 0x20 else []
        answered_s = over_s + ANSWER_AFTER_S + BACKWARD_S
        if len(answers) > 1 or (answers and fault == "receive"):
            replies.append(_reply(answered_s, 0x7, _ERROR["receive"]))
        elif answers:
            replies.append(_reply(answered_s, 0x2, answers[0]))
        elif not replies:
            replies.append(_reply(over_s + SILENT_AFTER_S, 0x1))
        if fault == "garbled":
            last = replies[-1]
            replies[-1] = Reply(last.after_s, last.data[:-1] + bytes((last.data[-1] ^ 0x01,)))
        return replies


def sent_s(twice: bool) -> float:
    """How long a request keeps the bus until all of it is sent."""
    return FORWARD_S + (SETTLING_S + FORWARD_S if twice else 0)


def _reply(after_s: float, status: int, low: int = 0) -> Reply:
    body = bytes((status, 0, 0, low))
    return Reply(after_s, body + bytes((reduce(xor, body),)))


@dataclass
class SimulatedSci:
    """An adapter on a pty; `port` is what a client opens, while inside `async with`.

    pace: 1.0 is the real speed of bus and serial line, 0 as fast as possible. link: where a symbolic link to the
    pseudo-terminal is kept.
    """

    adapter: Adapter
    pace: float = 1.0
    port: str = ""
    link: Path | None = None
    _master: int = -1
    _slave: int = -1
    _free_at_s: float = 0.0
    _requests: deque[tuple[float, bytes]] = field(default_factory=deque)
    _sending: asyncio.TimerHandle | None = None
    _pending: deque[asyncio.TimerHandle] = field(default_factory=deque)

    async def __aenter__(self) -> Self:
        self._master, self._slave, self.port = pseudo_terminal(self.link)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        for timer in (*self._pending, *((self._sending,) if self._sending else ())):
            timer.cancel()
        os.close(self._master)
        os.close(self._slave)
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def _receive(self) -> None:
        """Requests as they come; each waits until the bus has settled after the one before."""
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        now_s = asyncio.get_running_loop().time()
        self._requests.extend((now_s, data[start : start + 5]) for start in range(0, len(data), 5))
        if self._sending is None:
            self._begin()

    def _begin(self) -> None:
        """Puts the next request on the bus. Gear obeys a frame when it has heard all of it."""
        received_s, request = self._requests.popleft()
        begin_s = max(received_s + SERIAL_FRAME_S * self.pace, self._free_at_s)
        twice = len(request) == 5 and bool(request[0] & 0x10)
        over_s = begin_s + sent_s(twice) * self.pace
        self._sending = asyncio.get_running_loop().call_at(over_s, self._sent, begin_s, request)

    def _sent(self, begin_s: float, request: bytes) -> None:
        self._sending = None
        replies = self.adapter.replies(request)
        if replies:
            self._free_at_s = begin_s + (replies[-1].after_s + SETTLING_S) * self.pace
        for reply in replies:
            due_s = begin_s + (reply.after_s + SERIAL_FRAME_S) * self.pace
            self._pending.append(asyncio.get_running_loop().call_at(due_s, self._send, reply.data))
        if self._requests:
            self._begin()

    def _send(self, data: bytes) -> None:
        self._pending.popleft()
        try:
            os.write(self._master, data)
        except OSError:
            pass  # nobody reads the other end, as with a real cable


def scaled(value: float, exponent: int, size: int) -> bytes:
    """A D4i number with its power of ten in front: signed exponent, then `size` bytes (DiiA 252)."""
    number = round(value * 10.0**-exponent)
    return exponent.to_bytes(1, "big", signed=True) + number.to_bytes(size, "big")


def energy_bank(energy_wh: float, power_w: float) -> bytes:
    """Bank 202, active energy and power of the gear (DiiA 252): energy in Wh, power in 0.01 W."""
    return bytes((0x0F, 0, 0xFF, 1)) + scaled(energy_wh, 0, 6) + scaled(power_w, -2, 4)


@dataclass(frozen=True, slots=True)
class GearDiagnostics:
    """What bank 205 says of the control gear itself (DiiA 253). Voltage rms; failures as flags with their counters."""

    operating_time_s: int
    starts: int
    supply_v: float
    supply_hz: int
    power_factor: float
    temperature_c: float
    output_percent: int
    failed: bool = False
    failures: int = 0
    undervoltage: bool = False
    undervoltages: int = 0
    overvoltage: bool = False
    overvoltages: int = 0
    power_limited: bool = False
    power_limits: int = 0
    derating: bool = False
    deratings: int = 0
    shutdown: bool = False
    shutdowns: int = 0

    def bank(self) -> bytes:
        """The bank from location 0 on."""
        flags = bytes((
            self.failed, self.failures, self.undervoltage, self.undervoltages, self.overvoltage, self.overvoltages,
            self.power_limited, self.power_limits, self.derating, self.deratings, self.shutdown, self.shutdowns,
        ))  # fmt: skip
        return b"".join((
            bytes((0x1C, 0, 0xFF, 1)),
            self.operating_time_s.to_bytes(4, "big"), self.starts.to_bytes(3, "big"),
            round(self.supply_v * 10).to_bytes(2, "big"), bytes((self.supply_hz, round(self.power_factor * 100))),
            flags, bytes((round(self.temperature_c) + 60, self.output_percent)),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class LightSource:
    """What bank 206 says of the light source (DiiA 253). The *_resettable counters are those a technician may clear."""

    starts: int
    on_time_s: int
    voltage_v: float
    current_a: float
    temperature_c: float
    failed: bool = False
    failures: int = 0
    shorted: bool = False
    shorts: int = 0
    open: bool = False
    opens: int = 0
    derating: bool = False
    deratings: int = 0
    shutdown: bool = False
    shutdowns: int = 0

    def bank(self) -> bytes:
        """The bank from location 0 on."""
        return b"".join((
            bytes((0x20, 0, 0xFF, 1)),
            self.starts.to_bytes(3, "big"), self.starts.to_bytes(3, "big"),
            self.on_time_s.to_bytes(4, "big"), self.on_time_s.to_bytes(4, "big"),
            round(self.voltage_v * 10).to_bytes(2, "big"), round(self.current_a * 1000).to_bytes(2, "big"),
            bytes((self.failed, self.failures, self.shorted, self.shorts, self.open, self.opens)),
            bytes((self.derating, self.deratings, self.shutdown, self.shutdowns)),
            bytes((round(self.temperature_c) + 60,)),
        ))  # fmt: skip
