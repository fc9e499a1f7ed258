"""One simulated RS-485 bus on a pseudo-terminal: units that answer at the speed of the wire, and what goes wrong there.

The line does what copper and transceivers do, and knows nothing of Modbus but the checksum that some faults must keep
right. A frame ends with a silence of 3.5 characters, as for a real unit, so no answer starts sooner than that.
Simulated: the client's bytes are taken to leave at wire speed from the moment they arrive here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import termios
import time
import tty
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Generic, Literal, Protocol, Self, TypeVar, get_args

log = logging.getLogger(__name__)

FaultKind = Literal[
    "crc", "bitflip", "truncated", "noise", "echo", "foreign",
    "exception", "busy", "illegal", "gap", "late", "silent", "collision", "split", "baud", "parity",
]  # fmt: skip
"""crc: checksum wrong. bitflip: one bit of the answer turned. truncated: its end missing. noise: `count` random bytes
in front. echo: the client hears its own request. foreign: the answer of another unit, checksum right. exception: the
unit refuses, with `code`. busy: it refuses as busy (6). illegal: as having no such address (2). gap: a pause of `by_s`
inside. late: `by_s` later than usual; the unit does nothing else meanwhile. silent: no answer. collision: another unit
sends at the same time. split: in several pieces, as a USB adapter hands them over. baud: the unit sends at half the
speed, and what the client's receiver makes of it arrives. parity: the unit expects a parity bit more, or one less, than
the client sends: it drops a request in which any byte does not happen to fit, which is nearly every one."""

_MICROSECOND = 1e-6  # in virtual time a silence is kept to the last bit of a float

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one exchange."""

    kind: FaultKind
    by_s: float = 0.05
    code: int = 6
    count: int = 3


class Named(Protocol):
    """A fault of some bus."""

    @property
    def kind(self) -> str: ...


F = TypeVar("F", bound=Named)


@dataclass(slots=True)
class Faults(Generic[F]):
    """What goes wrong: first what `queue` holds, one an exchange; then, with probability `rate`, one of `choice`, each as
    often as its weight says (none given: equally). `happened` counts by kind."""

    rate: float = 0.0
    choice: Sequence[F] = ()
    weights: Sequence[float] | None = None
    random: Random = field(default_factory=lambda: Random(0))
    queue: deque[F] = field(default_factory=deque)
    happened: Counter[str] = field(default_factory=Counter)

    def add(self, *faults: F) -> None:
        self.queue.extend(faults)

    def follow(self, other: Faults[F]) -> None:
        """From now on, as often and of the same kinds as another; what happened so far stays counted."""
        self.rate, self.choice, self.weights, self.random = other.rate, other.choice, other.weights, other.random

    def draw(self) -> F | None:
        if self.queue:
            return self.queue.popleft()
        if self.choice and self.random.random() < self.rate:
            return (
                self.random.choices(self.choice, self.weights)[0] if self.weights else self.random.choice(self.choice)
            )
        return None


class Unit(Protocol):
    """A device on the line."""

    @property
    def turnaround_s(self) -> float:
        """From the end of a request to the start of the answer."""
        ...

    def answer(self, frame: bytes) -> bytes | None:
        """The answer to a frame heard on the line; None when it is not for this unit, or damaged."""
        ...


class Party(Protocol):
    """Somebody else on the wires, who takes a time of their own: a process with a transceiver."""

    def hear(self, data: bytes) -> None:
        """What the client or a unit has sent, in one piece at its end."""
        ...


def pseudo_terminal(link: Path | None = None) -> tuple[int, int, str]:
    """Our end, the client's end and its name. link: where a symbolic link to it is put, as by-path names are."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    name = os.ttyname(slave)
    if link is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    return master, slave, name


class Line:
    """A bus at `baud`, `framing` such as 8E1.

    units: all devices; may be changed while it runs. Two that answer the same frame collide.
    parties: who else hears everything, and sends with `say`.
    echo: the client's adapter hears itself, always.
    link: where a symbolic link to the pseudo-terminal is kept, as udev keeps /dev/serial/by-path.
    tick_s: least time between two deliveries of bytes; `math.inf` hands over each answer at its end.
    violations: requests that began within 3.5 characters of the last byte. collisions: requests that began while a unit
    was sending and the client could not have heard it yet. A client set to another speed is not understood
    (`wrong_speed`); parity cannot be seen through a pseudo-terminal.
    """

    def __init__(
        self,
        baud: int,
        framing: str = "8E1",
        *,
        units: Iterable[Unit] = (),
        faults: Faults[Fault] | None = None,
        echo: bool = False,
        link: Path | None = None,
        tick_s: float = 0.002,
    ) -> None:
        bits = 1 + int(framing[0]) + (framing[1] != "N") + int(framing[2])
        self.baud, self.character_s = baud, bits / baud
        self.silence_s = 0.00175 if baud > 19200 else 3.5 * self.character_s
        self.units: list[Unit] = list(units)
        self.parties: list[Party] = []
        self.faults: Faults[Fault] = faults or Faults()
        self.echo = echo
        self.requests = self.violations = self.collisions = self.wrong_speed = self.answers = 0
        self._link, self._tick_s = link, tick_s
        self._speed = getattr(termios, f"B{baud}", None)
        self._master = self._slave = -1
        self._port = ""
        self._heard = b""
        self._fault: Fault | None = None
        self._begun_at = self._over_at = 0.0
        self._quiet_since = -1.0
        self._end_of_frame: asyncio.TimerHandle | None = None
        self._free_at: dict[Unit, float] = {}
        self._wire = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> str:
        """What a client opens."""
        return str(self._link) if self._link else self._port

    async def __aenter__(self) -> Self:
        self.plug()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def plug(self) -> None:
        """Makes the port appear."""
        self._master, self._slave, self._port = self._open()
        os.set_blocking(self._master, False)
        if self._link:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self._port)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _open(self) -> tuple[int, int, str]:
        """Our end, the client's end and its name."""
        return pseudo_terminal()

    def unplug(self) -> None:
        """Makes the port disappear, as when an adapter is pulled out. May be called twice."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        for task in self._tasks:
            task.cancel()
        if self._end_of_frame:
            self._end_of_frame.cancel()
        self._heard, self._free_at = b"", {}
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        if self._link:
            self._link.unlink(missing_ok=True)

    # What the client sends

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        now = asyncio.get_running_loop().time()
        if not self._heard:
            self._begun_at = now
            if now - self._quiet_since < self.silence_s - _MICROSECOND:
                self.violations += 1
            elif self._wire.locked():
                self.collisions += 1
            self._fault = self.faults.draw()
        self._heard += data
        if self.echo or (self._fault and self._fault.kind == "echo"):
            self._deliver(data)
        self._over_at = max(self._begun_at + len(self._heard) * self.character_s, now)
        self._quiet_since = self._over_at
        if self._end_of_frame:
            self._end_of_frame.cancel()
        loop = asyncio.get_running_loop()
        self._end_of_frame = loop.call_at(self._over_at + 3.5 * self.character_s, self._frame_over)

    def _frame_over(self) -> None:
        frame, self._heard, self._end_of_frame = self._heard, b"", None
        fault, self._fault = self._fault, None
        if self._speed is not None and termios.tcgetattr(self._master)[5] != self._speed:
            self.wrong_speed += 1
            return
        self.requests += 1
        if fault and fault.kind == "parity" and any(byte.bit_count() % 2 == 0 for byte in frame):
            # Where one side has a stop bit (1) the other has an even parity bit: they agree where the byte's ones are odd.
            self.faults.happened["parity"] += 1
            return
        for party in self.parties:
            party.hear(frame)
        answers = [(unit, data) for unit in self.units if (data := unit.answer(frame)) is not None]
        if not answers:
            return
        self.answers += 1
        unit, data = answers[0]
        for _, other in answers[1:]:
            data = _overlaid(data, other)
        parts = [(0.0, data)]
        if fault:
            self.faults.happened[fault.kind] += 1
            parts = spoilt(fault, data, self.faults.random)
        if not parts:
            return
        due = max(self._over_at + max(unit.turnaround_s, 3.5 * self.character_s), self._free_at.get(unit, 0.0))
        length = sum(len(part) for _, part in parts)
        self._free_at[unit] = due + sum(pause for pause, _ in parts) + length * self.character_s
        self._start(parts, due, None)

    def say(self, party: Party, data: bytes) -> None:
        """What a party sends leaves from now on, at the speed of the wire. Nobody hears it while the port is unplugged."""
        if self._master >= 0:
            self.answers += 1
            self._start([(0.0, data)], asyncio.get_running_loop().time(), party)

    def _start(self, parts: Sequence[tuple[float, bytes]], due: float, speaker: Party | None) -> None:
        task = asyncio.get_running_loop().create_task(self._send(parts, due, speaker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the units send

    async def _send(self, parts: Sequence[tuple[float, bytes]], due: float, speaker: Party | None) -> None:
        loop = asyncio.get_running_loop()
        first_pause, _ = parts[0]
        await _until(loop, due + first_pause - 0.001)
        async with self._wire:
            at = due
            for pause, part in parts:
                start = max(at + pause, self._quiet_since)
                at = start + len(part) * self.character_s
                sent = 0
                while sent < len(part):
                    target = min(at, max(start + (sent + 1) * self.character_s, loop.time() + self._tick_s))
                    await _until(loop, target, exactly=target == at)
                    out = len(part) if target == at else int((loop.time() - start) / self.character_s)
                    if out > sent:
                        self._quiet_since = loop.time()  # before: the client may be faster than we are to note it
                        self._deliver(part[sent:out])
                        sent = out
        for party in self.parties:
            if party is not speaker:
                party.hear(b"".join(part for _, part in parts))

    def _deliver(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            log.warning("port=%s nobody reads; %d bytes lost", self.port, len(data))


async def _until(loop: asyncio.AbstractEventLoop, when: float, *, exactly: bool = False) -> None:
    """Waits for a time of the loop. Its timers round up to milliseconds; `exactly` sleeps the rest outside of it."""
    while (remaining := when - loop.time()) > 0:
        if not exactly or type(loop).time is not asyncio.BaseEventLoop.time:  # the latter: a time of its own
            await asyncio.sleep(remaining)
        elif remaining > 0.0011:
            await asyncio.sleep(int(remaining * 1000 - 0.1) / 1000)
        else:
            time.sleep(remaining)  # noqa: ASYNC251 (under 1.1 ms, what the loop's timers cannot do)


# Faults: what comes in place of `data`, as pieces with the pause before each.

Parts = list[tuple[float, bytes]]


def _with_crc(body: bytes) -> bytes:
    from pymodbus.framer.rtu import FramerRTU

    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def _overlaid(one: bytes, other: bytes) -> bytes:
    """Two drivers on one pair of wires: the stronger zero wins here."""
    longest = max(len(one), len(other))
    pairs = zip(one.ljust(longest, b"\xff"), other.ljust(longest, b"\xff"), strict=True)
    return bytes(a & b for a, b in pairs)


def _bitflip(fault: Fault, data: bytes, random: Random) -> Parts:
    at = random.randrange(8 * len(data))
    return [(0.0, bytes(byte ^ (1 << at % 8 if i == at // 8 else 0) for i, byte in enumerate(data)))]


def _split(fault: Fault, data: bytes, random: Random) -> Parts:
    cuts = sorted(random.sample(range(1, len(data)), min(3, len(data) - 1)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [(0.0 if i == 0 else random.uniform(0.001, 0.016), piece) for i, piece in enumerate(pieces)]


def _at_half_speed(data: bytes) -> bytes:
    """What a receiver of eight data bits makes of bytes that come at half its speed: it sees each bit twice, takes the
    first low level for a start bit, samples the next eight, and looks for the next start after its stop bit."""
    levels = [level for byte in data for bit in (0, *(byte >> i & 1 for i in range(8)), 1) for level in (bit, bit)]
    out, at = bytearray(), 0
    while at + 9 < len(levels):
        if levels[at]:
            at += 1
            continue
        out.append(sum(levels[at + 1 + i] << i for i in range(8)))
        at += 10
    return bytes(out)


_SPOIL: dict[FaultKind, Callable[[Fault, bytes, Random], Parts]] = {
    "crc": lambda fault, data, random: [(0.0, data[:-1] + bytes((data[-1] ^ 0x55,)))],
    "bitflip": _bitflip,
    "truncated": lambda fault, data, random: [(0.0, data[: random.randrange(1, len(data))])],
    "noise": lambda fault, data, random: [(0.0, random.randbytes(fault.count) + data)],
    "echo": lambda fault, data, random: [(0.0, data)],
    "foreign": lambda fault, data, random: [(0.0, _with_crc(bytes((data[0] % 247 + 1,)) + data[1:-2]))],
    "exception": lambda fault, data, random: [(0.0, _with_crc(bytes((data[0], data[1] | 0x80, fault.code))))],
    "busy": lambda fault, data, random: [(0.0, _with_crc(bytes((data[0], data[1] | 0x80, 6))))],
    "illegal": lambda fault, data, random: [(0.0, _with_crc(bytes((data[0], data[1] | 0x80, 2))))],
    "gap": lambda fault, data, random: [(0.0, data[: len(data) // 2]), (fault.by_s, data[len(data) // 2 :])],
    "late": lambda fault, data, random: [(fault.by_s, data)],
    "silent": lambda fault, data, random: [],
    "collision": lambda fault, data, random: [(0.0, _overlaid(data, random.randbytes(len(data))))],
    "split": _split,
    "baud": lambda fault, data, random: [(0.0, _at_half_speed(data))],
    "parity": lambda fault, data, random: [(0.0, data)],
}


def spoilt(fault: Fault, data: bytes, random: Random) -> Parts:
    """What a fault makes of an answer: its pieces with the pause before each; none: nothing is sent."""
    return _SPOIL[fault.kind](fault, data, random)
