"""Simulated Modbus servers. Requests are decoded and answers encoded by pymodbus, so that they share no line with the
gateway's codec: a mistake of ours cannot be made twice and go unseen.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse

from simulator.line import Fault, Faults, spoilt

Area = Literal["coil", "discrete", "holding", "input"]

_AREA: Mapping[int, Area] = {
    1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding", 15: "coil", 16: "holding",
    22: "holding", 23: "holding",
}  # fmt: skip

BROADCAST = 0


class Refusal(Exception):
    """The device will not, with the exception code of the standard."""

    def __init__(self, code: ExcCodes) -> None:
        self.code = code
        super().__init__(code.name)


class IllegalAddress(Refusal):
    """There is nothing at an address asked for."""

    def __init__(self) -> None:
        super().__init__(ExcCodes.ILLEGAL_ADDRESS)


class Registers(Protocol):
    """What is inside a simulated device. Called at the moment of each request, so that values may follow the time."""

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as 0..65535, coils and discrete inputs as 0 or 1. Raises IllegalAddress or another Refusal."""
        ...

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Raises IllegalAddress or another Refusal."""
        ...


@dataclass(slots=True)
class Table:
    """Registers that stay as they are until written."""

    cells: dict[Area, dict[int, int]]

    def read(self, area: Area, address: int, count: int) -> list[int]:
        of_area = self.cells.get(area, {})
        try:
            return [of_area[at] for at in range(address, address + count)]
        except KeyError:
            raise IllegalAddress from None

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        of_area = self.cells.get(area, {})
        if any(at not in of_area for at in range(address, address + len(values))):
            raise IllegalAddress
        of_area.update(enumerate(values, address))


@dataclass(eq=False, slots=True)
class Device:
    """A device behind a unit id. Over RTU `turnaround_s` counts from the end of the request on the wire; over TCP it is
    how long the device takes. identity: objects of the device identification, 0 vendor, 1 product, 2 version."""

    address: int
    registers: Registers
    turnaround_s: float = 0.005
    identity: Mapping[int, str] = field(default_factory=dict)

    def answer(self, frame: bytes) -> bytes | None:
        """An RTU frame, answered by an RTU frame; None when it is for another unit, damaged, or for all."""
        if len(frame) < 4 or frame[0] not in (self.address, BROADCAST):
            return None
        _, unit, _, body = _RTU.decode(frame)
        if not body:
            return None
        answer = self.respond(body)
        return None if unit == BROADCAST else _RTU.encode(answer, unit, 0)

    def respond(self, body: bytes) -> bytes:
        """The function code and data that answer `body`."""
        pdu = self._respond(body)
        return bytes((pdu.function_code,)) + pdu.encode()

    def _respond(self, body: bytes) -> ModbusPDU:
        function = body[0]
        if function not in DecodePDU.pdu_table:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_FUNCTION)
        try:
            request = _DECODER.decode(body)
        except (ModbusException, ValueError, IndexError):
            request = None
        if request is None:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
        if isinstance(request, ReadDeviceInformationRequest):
            return self._identify(request)
        if function not in _AREA:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_FUNCTION)
        try:
            return _finished(request.datastore_update(_Cells(self.registers), self.address))
        except ModbusException:
            return ExceptionResponse(function, ExcCodes.DEVICE_FAILURE)

    def _identify(self, request: ReadDeviceInformationRequest) -> ModbusPDU:
        if not self.identity:
            return ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_FUNCTION)
        objects = {number: text.encode() for number, text in self.identity.items() if number >= request.object_id}
        return ReadDeviceInformationResponse(read_code=request.read_code, information=objects)


_DECODER = DecodePDU(is_server=True)
_RTU, _SOCKET = FramerRTU(_DECODER), FramerSocket(_DECODER)

T = TypeVar("T")


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing: pymodbus's are only so because a store might wait."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("a simulated register waited for something")


class _Cells(ModbusServerContext):
    """Our Registers, in the form in which pymodbus's requests want them."""

    def __init__(self, registers: Registers) -> None:  # the base's own store is not wanted
        self._registers = registers

    async def async_getValues(self, device_id: int, func_code: int, address: int, count: int = 1) -> Any:  # noqa: N802
        try:
            return self._registers.read(_AREA[func_code], address, count)
        except Refusal as no:
            return no.code

    async def async_setValues(self, device_id: int, func_code: int, address: int, values: Any) -> Any:  # noqa: N802
        try:
            self._registers.write(_AREA[func_code], address, [int(value) for value in values])
        except Refusal as no:
            return no.code
        return None


TcpFaultKind = Literal[
    "reset", "silent", "late", "split", "transaction", "stale", "twice", "foreign", "exception", "garbage", "half_open",
    "vanished",
]  # fmt: skip
"""reset: the connection breaks in place of an answer. silent: no answer. late: `by_s` later. split: in pieces.
transaction: the number of another transaction. stale: the answer before this one is sent again, in front. twice: the
answer is sent two times. foreign: the answer of another unit. exception: refused, with `code`. garbage: `count` random
bytes. half_open: this connection stays open and never answers again; a new one works. vanished: the same, and for `by_s`
nobody accepts a new one either (switched off without a farewell)."""

TCP_FAULT_KINDS: tuple[TcpFaultKind, ...] = get_args(TcpFaultKind)


@dataclass(frozen=True, slots=True)
class TcpFault:
    """One thing that goes wrong with one exchange over TCP."""

    kind: TcpFaultKind
    by_s: float = 0.5
    code: int = 6
    count: int = 12


class TcpServer:
    """Modbus TCP for any number of units: `async with TcpServer("127.0.0.1", 0, units) as server`, then `server.port`.

    A unit that is not there is refused with exception 11, as a gateway to a serial line does, unless `silent_absent`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        units: Iterable[Device],
        *,
        faults: Faults[TcpFault] | None = None,
        silent_absent: bool = False,
    ) -> None:
        self.units = {unit.address: unit for unit in units}
        self.faults: Faults[TcpFault] = faults or Faults()
        self.silent_absent = silent_absent
        self.requests = self.connections = 0
        self.port = port
        self._host = host
        self._server: asyncio.Server | None = None
        self._away: asyncio.TimerHandle | None = None
        self.open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        if self._away is not None:
            self._away.cancel()
        self._server.close()
        self.drop_all()
        await self._server.wait_closed()

    def vanish(self, for_s: float) -> None:
        """From now on, for so long, a new connection is dropped as soon as it is made."""
        if self._away is not None:
            self._away.cancel()
        self._away = asyncio.get_running_loop().call_later(for_s, self._return)

    def _return(self) -> None:
        self._away = None

    @property
    def away(self) -> bool:
        """Whether the device has vanished."""
        return self._away is not None

    def drop_all(self) -> None:
        """Breaks every connection, as when the device restarts."""
        for connection in tuple(self.open):
            connection.reset()

    def respond(self, unit: int, body: bytes) -> bytes | None:
        self.requests += 1
        device = self.units.get(unit) or self.units.get(0)
        if device is not None:
            return device.respond(body)
        return None if self.silent_absent else bytes((body[0] | 0x80, ExcCodes.GATEWAY_NO_RESPONSE))


class RtuOverTcp:
    """RTU frames over TCP, as a converter passes them on that knows nothing of Modbus: no transaction numbers, and a line
    behind it that carries one thing at a time. What comes in one piece is one frame."""

    def __init__(self, host: str, port: int, units: Iterable[Device], *, faults: Faults[Fault] | None = None) -> None:
        self.units = list(units)
        self.faults: Faults[Fault] = faults or Faults()
        self.requests = 0
        self.port = port
        self._host = host
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while frame := await reader.read(260):
                async with self._turn:
                    await self._answer(frame, writer)
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        found = next(((unit, data) for unit in self.units if (data := unit.answer(frame)) is not None), None)
        if found is None:
            return
        unit, data = found
        await asyncio.sleep(unit.turnaround_s)
        parts = [(0.0, data)]
        if fault := self.faults.draw():
            self.faults.happened[fault.kind] += 1
            parts = [] if fault.kind == "parity" else spoilt(fault, data, self.faults.random)
            if fault.kind == "echo":
                parts = [(0.0, frame), *parts]
        for pause_s, part in parts:
            await asyncio.sleep(pause_s)
            writer.write(part)


class _Connection(asyncio.Protocol):
    def __init__(self, server: TcpServer) -> None:
        self._server, self._received, self._last = server, b"", b""
        self._mute = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections += 1
        self._server.open.add(self)
        if self._server.away:
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self)

    def reset(self) -> None:
        """Breaks the connection so that the other end sees an error, not an end."""
        link = self.transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._mute:
            return
        self._received += data
        while True:
            used, unit, transaction, body = _SOCKET.decode(self._received)
            if not used:
                return
            self._received = self._received[used:]
            answer = self._server.respond(unit, body)
            if answer is not None:
                device = self._server.units.get(unit)
                self._answer(unit, transaction, answer, device.turnaround_s if device else 0.0)

    def _answer(self, unit: int, transaction: int, body: bytes, delay_s: float) -> None:
        faults = self._server.faults
        frame = _SOCKET.encode(body, unit, transaction)
        pieces = [frame]
        if fault := faults.draw():
            faults.happened[fault.kind] += 1
            if fault.kind == "reset":
                self.reset()
                return
            if fault.kind in ("half_open", "vanished"):
                self._mute = True
                if fault.kind == "vanished":
                    self._server.vanish(fault.by_s)
                return
            if fault.kind == "late":
                delay_s += fault.by_s
            pieces = _spoilt(fault, frame, self._last, faults.random)
        self._last = frame
        loop = asyncio.get_running_loop()
        for i, piece in enumerate(pieces):
            wait_s = delay_s + 0.002 * i
            if wait_s:
                loop.call_later(wait_s, self._write, piece)
            else:
                self.transport.write(piece)

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


def _spoilt(fault: TcpFault, frame: bytes, last: bytes, random: Random) -> list[bytes]:
    """What is written in place of `frame`, in pieces."""
    number, unit, body = int.from_bytes(frame[:2], "big"), frame[6], frame[7:]
    match fault.kind:
        case "silent":
            return []
        case "split":
            cuts = [0, *sorted(random.sample(range(1, len(frame)), 2)), len(frame)]
            return [frame[a:b] for a, b in pairwise(cuts)]
        case "transaction":
            return [_SOCKET.encode(body, unit, number ^ 0x0100)]
        case "stale":
            return [last + frame]
        case "twice":
            return [frame, frame]
        case "foreign":
            return [_SOCKET.encode(body, unit % 247 + 1, number)]
        case "exception":
            return [_SOCKET.encode(bytes((body[0] | 0x80, fault.code)), unit, number)]
        case "garbage":
            return [random.randbytes(fault.count)]
        case _:
            return [frame]
