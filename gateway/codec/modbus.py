"""Modbus seen from the client, without input or output: requests, how their answers are told, and the two framings.

Documents: *MODBUS Application Protocol Specification V1.1b3* (MAP), *MODBUS over Serial Line V1.02* (MSL), *MODBUS
Messaging on TCP/IP Implementation Guide V1.0b* (MTG).

An answer is believed only when unit, function, byte count and checksum (TCP: transaction) are those asked for; anything
else is a GarbledAnswer. That is enough over TCP, where a transaction has a number. A serial answer has none: an answer
that comes too late looks exactly like the answer to a later request for as many registers. So after a failed exchange
`Rtu` remembers the *shape* (function, byte count) it may still be owed, and before it asks for that shape again it asks
for another one: a unit answers in the order it was asked, so once the other shape is answered nothing older can follow.

Function codes 1 to 6 and 16 are packed here: they are a few lines, and pymodbus costs 70 ms and 9 MB to import, which a
gateway would pay in the middle of its first poll or write. Identification, which only a technician asks for, is
pymodbus's. The tests hold the two equal.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field

from gateway.codec import Ask, Limits, Place, Procedure, Span
from gateway.errors import Busy, GarbledAnswer, NoAnswer, NoSuchPlace, Refused

Register = Literal["holding", "input", "coil", "discrete"]

READ_FUNCTION: Mapping[Register, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS, SERVER_ID, READ_FILE, IDENTIFY = 5, 6, 16, 17, 20, 43

MAX_REGISTERS = 125
"""Of one read (MAP 6.3)."""
MAX_WRITE_REGISTERS = 123
"""Of one write (MAP 6.12)."""
MAX_FILE_REGISTERS = 121
"""Of a read of one group of a file: its answer counts 245 bytes at most (MAP 6.14)."""
BITS_PER_REGISTER = 16
"""A profile's limits are given in registers; so many coils take the same room in a frame. 125 registers are the 2,000
coils of MAP 6.1."""

REFUSALS: Mapping[int, str] = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Exception codes by their names in MAP 7."""
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 1, 2
SPECIAL = {2: NoSuchPlace, 5: Busy, 6: Busy}
"""Refusals that say what to do next; others are plain."""
UNREACHABLE = (10, 11)
"""By these a gateway says that the device behind it gave no answer (MAP 7): silence, not refusal."""

_REFERENCE_TYPE = 6
"""Of any group of a file (MAP 6.14)."""
_MAX_IDENTITY_PARTS = 8
_MAX_OWED = 16
"""Late answers that are reckoned with, for one unit."""
_MAX_SILENCES = 4
"""After which an unanswered request is forgotten. Each lasts at least twice the device's patience."""

_LINE_GLITCHES = b"\x00\xff"
_MAX_GLITCHES = 4
"""A driver that is switched on may leave a byte of zeros or ones on the line. No answer begins with one (MSL 2.2)."""


_LONGEST_PDU = 253
_TRIES_SINGLY = 4


class _Expected(NamedTuple):
    """The PDU of the answer: how it begins and how long it is. Where its length is not known before, `length` is a
    guess, and `measure` tells it from what there is of the PDU; more than that while it cannot be told."""

    head: bytes
    length: int
    measure: Callable[[bytes], int] | None = None


class ModbusPlace(BaseModel):
    """A register or coil by its address on the wire, counted from 0 (a manual's 40001 is holding 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    area: Register = Field(alias="register")  # a field called `register` would hide one of the base class
    address: int = Field(ge=0, le=0xFFFF)


def crc16(data: bytes) -> int:
    """CRC of MSL 6.2.2; sent low byte first, so that a frame with its own CRC behind it gives 0."""
    crc = 0xFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


_CRC = tuple(_crc_of_byte(byte) for byte in range(256))


class _Modbus(ABC):
    """What the framings share. A protocol data unit (PDU) is the function code and its data."""

    def spans(self, places: Sequence[tuple[Place, int]], limits: Limits) -> list[Span]:
        """Fewest requests for the places. A place wider than the limit is read whole all the same: a number read in
        two halves may never have existed."""
        cells_of: dict[int, dict[ModbusPlace, int]] = {}
        for item, size in places:
            place = cast("ModbusPlace", item)
            function = READ_FUNCTION[place.area]
            cells = size if function < 3 else (size + 1) // 2
            of_area = cells_of.setdefault(function, {})
            of_area[place] = max(cells, of_area.get(place, 0))
        spans = []
        for function, wanted in sorted(cells_of.items()):
            width, scale = (1, BITS_PER_REGISTER) if function < 3 else (2, 1)
            most, hole = min(limits.max_read, MAX_REGISTERS) * scale, limits.max_hole * scale
            group: list[ModbusPlace] = []
            first = end = 0
            for place in sorted(wanted, key=lambda p: p.address):
                if group and limits.mode != "block":
                    spans.append(_span(function, first, end, group, width))
                    group = []
                place_end = place.address + wanted[place]
                if place_end > 0x10000:
                    raise ValueError(f"{place.area} {place.address}: {wanted[place]} cells go beyond address 65535")
                if group and (place.address - end > hole or place_end - first > most):
                    spans.append(_span(function, first, end, group, width))
                    group = []
                if not group:
                    first = end = place.address
                group.append(place)
                end = max(end, place_end)
            spans.append(_span(function, first, end, group, width))
        return spans

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """Registers as the two bytes they are sent in; each coil or discrete input as one byte, 0 or 1."""
        if limits.mode == "single" and span.count > 1:
            return (yield from self._read_singly(address, span, limits))
        function, count = span.area, span.count
        request = struct.pack(">BHH", function, span.first, count)
        pdu = yield from self._ask(address, request, _expected(function, count), limits.patience_s)
        return pdu[2:] if function > 2 else bytes(pdu[2 + (i >> 3)] >> (i & 7) & 1 for i in range(count))

    def _read_singly(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """Cell by cell, twice: a number read in parts counts only when it stood still meanwhile."""
        before = b""
        for _ in range(_TRIES_SINGLY):
            cells = b""
            for at in range(span.first, span.first + span.count):
                cells += yield from self.read(address, Span(span.area, at, 1, {}), limits)
            if cells == before:
                return cells
            before = cells
        raise GarbledAnswer(
            f"unit {address}: registers {span.first} to {span.first + span.count - 1} changed each time while they were "
            "read one by one; read them as one object, or use a slower value",
            before,
        )

    def write(self, address: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        """One coil (a byte, 0 or 1), or as many registers as `raw` fills. A device that does not know the function for
        one register is asked with the one for several, and the other way round for a single register."""
        target = cast("ModbusPlace", place)
        if target.area == "coil" and len(raw) == 1:
            requests = [struct.pack(">BHH", WRITE_COIL, target.address, 0xFF00 if raw[0] else 0)]
        elif target.area == "holding" and len(raw) % 2 == 0 and 2 <= len(raw) <= 2 * MAX_WRITE_REGISTERS:
            head = struct.pack(">BHHB", WRITE_REGISTERS, target.address, len(raw) // 2, len(raw))
            requests = [head + raw]
            if len(raw) == 2:
                requests.insert(0, struct.pack(">BH", WRITE_REGISTER, target.address) + raw)
        else:
            raise ValueError(f"{target.area} {target.address}: {len(raw)} bytes cannot be written there")
        for left, request in zip(reversed(range(len(requests))), requests, strict=True):
            try:
                # All of these are confirmed with function, address and value or count (MAP 6.5, 6.6, 6.12).
                yield from self._ask(address, request, _Expected(request[:5], 5), limits.patience_s)
            except Refused as no:
                if not (left and no.code == ILLEGAL_FUNCTION):
                    raise
            else:
                return

    def read_file(self, address: int, file: int, first: int, count: int, limits: Limits) -> Procedure[bytes]:
        """`count` registers of a file, up to MAX_FILE_REGISTERS, from register `first` on (MAP 6.14). Over a serial line an
        answer that comes too late cannot be told from the one waited for: whoever asks must know it by its content."""
        request = struct.pack(">BBBHHH", READ_FILE, 7, _REFERENCE_TYPE, file, first, count)
        head = bytes((READ_FILE, 2 + 2 * count, 1 + 2 * count, _REFERENCE_TYPE))
        pdu = yield from self._ask(address, request, _Expected(head, 4 + 2 * count), limits.patience_s)
        return pdu[4:]

    def identify(self, address: int, limits: Limits) -> Procedure[dict[int, str]]:
        """The basic identification (MAP 6.21): 0 vendor, 1 product code, 2 revision. Many devices refuse."""
        from pymodbus.pdu import DecodePDU
        from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse

        def measure(pdu: bytes) -> int:
            return ReadDeviceInformationResponse.calculateRtuFrameSize(b"\0" + pdu) - 3

        decoder, found, after = DecodePDU(is_server=False), dict[int, str](), 0
        for _ in range(_MAX_IDENTITY_PARTS):
            request = bytes((IDENTIFY,)) + ReadDeviceInformationRequest(read_code=1, object_id=after).encode()
            pdu = yield from self._ask(address, request, _Expected(request[:3], 64, measure), limits.patience_s)
            part = decoder.decode(pdu)
            if not isinstance(part, ReadDeviceInformationResponse):
                raise GarbledAnswer(f"unit {address}: expected an identification, got something else", pdu)
            for number, value in part.information.items():
                for text in value if isinstance(value, list) else [value]:
                    found[number] = text.decode("utf-8", "replace")
            if not part.more_follows or part.next_object_id <= after:
                break
            after = part.next_object_id
        return found

    def server_id(self, address: int, limits: Limits) -> Procedure[bytes]:
        """What a device says of itself in its own way, with a run indicator as last but optional part (MAP 6.13)."""
        request = bytes((SERVER_ID,))
        pdu = yield from self._ask(address, request, _Expected(request, 32, _counted), limits.patience_s)
        return pdu[2:]

    @abstractmethod
    def _ask(self, unit: int, request: bytes, expected: _Expected, patience_s: float) -> Procedure[bytes]:
        """Sends the PDU `request`; gives the PDU of the answer. Raises Refused for an exception answer, NoAnswer
        for one that tells of the silence of a device behind a gateway."""


class _Debt:
    """What a unit may still answer: the shapes asked for and not answered, in their order, each with whether there was
    only silence."""

    def __init__(self) -> None:
        self._owed: deque[tuple[bytes, bool]] = deque(maxlen=_MAX_OWED)

    def __len__(self) -> int:
        return len(self._owed)

    def __contains__(self, shape: bytes) -> bool:
        return any(owed == shape for owed, _ in self._owed)

    def add(self, shape: bytes, silent: bool) -> None:
        """Notes an unanswered request, and forgets those that would by now be answered too late to be true."""
        self._owed.append((shape, silent))
        while sum(later for _, later in self._owed) - self._owed[0][1] >= _MAX_SILENCES:
            self._owed.popleft()

    def settled_by(self, shape: bytes, wanted: bytes) -> bool:
        """Whether an answer of this shape proves that no old one of the wanted shape can follow: units answer in the
        order in which they are asked."""
        shapes = [owed for owed, _ in self._owed]
        return shape not in shapes or wanted not in shapes[shapes.index(shape) :]

    def answered(self, shape: bytes) -> None:
        """An answer of that shape came. It may be the first that was owed; then the one just asked for is owed now."""
        shapes = [owed for owed, _ in self._owed]
        for _ in range(shapes.index(shape) + 1 if shape in shapes else len(shapes)):
            self._owed.popleft()
        if shape in shapes:
            self.add(shape, False)


class Rtu(_Modbus):
    """Framing of MSL 2.5.1: unit, PDU, CRC. For serial lines, and for TCP where a converter only passes bytes on. One
    instance a line: it remembers which answers may still be on their way."""

    def __init__(self) -> None:
        self._owed: dict[int, _Debt] = {}

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        debt = self._owed.get(address)
        if debt and _expected(span.area, span.count).head in debt:
            yield from self._settle(address, debt, span, limits)
        return (yield from super().read(address, span, limits))

    def _settle(self, unit: int, debt: _Debt, span: Span, limits: Limits) -> Procedure[None]:
        """Asks for another shape, so that no old answer of the wanted one can follow. A refusal has no shape: only as
        many refusals as answers were owed prove it."""
        wanted = _expected(span.area, span.count).head
        step, most = (1, MAX_REGISTERS) if span.area > 2 else (8, MAX_REGISTERS * BITS_PER_REGISTER)
        most = min(most, 0x10000 - span.first)
        for _ in range(len(debt)):
            for count in (*range(span.count - step, 0, -step), *range(span.count + step, most + 1, step)):
                expected = _expected(span.area, count)
                if debt.settled_by(expected.head, wanted):
                    break
            else:
                break
            request = struct.pack(">BHH", span.area, span.first, count)
            try:
                yield from self._ask(unit, request, expected, limits.patience_s)
            except Refused:
                continue
            return
        self._owed.pop(unit, None)

    def _ask(self, unit: int, request: bytes, expected: _Expected, patience_s: float) -> Procedure[bytes]:
        body = bytes((unit,)) + request
        frame = body + crc16(body).to_bytes(2, "little")
        shape = expected.head[:2]
        try:
            answer = yield Ask(frame, _rtu_recogniser(unit, expected), expected.length + 3, patience_s)
        except BaseException as error:  # also a procedure that is given up: its answer may come all the same
            self._owed.setdefault(unit, _Debt()).add(shape, isinstance(error, NoAnswer))
            raise
        pdu = answer[_glitches(answer, unit) + 1 : -2]
        if debt := self._owed.get(unit):
            if pdu[0] & 0x80:  # perhaps to an older request, and then the answer to this one is owed
                debt.add(shape, False)
            else:
                debt.answered(shape)
                if not debt:
                    del self._owed[unit]
        return _accepted(unit, pdu)


def _rtu_recogniser(unit: int, expected: _Expected) -> Callable[[bytes], int]:
    head, length, measure = expected
    wanted, refusal = bytes((unit,)) + head, bytes((unit, head[0] | 0x80))

    def recognise(data: bytes) -> int:
        start = _glitches(data, unit)
        if wanted.startswith(data[start : start + len(wanted)]):
            end = start + (measure(data[start + 1 :]) if measure else length) + 3
        elif refusal.startswith(data[start : start + 2]):
            end = start + 5
        else:
            raise GarbledAnswer(_misfit(unit, head, data[start:]), data)
        if len(data) < end:
            return 0
        if crc16(data[start:end]):
            raise GarbledAnswer(f"unit {unit}: checksum wrong; check speed, parity, termination and screening", data)
        return end

    return recognise


def _glitches(data: bytes, unit: int) -> int:
    """How many bytes at the front are traces of a driver switching on."""
    if not data or data[0] == unit or data[0] not in _LINE_GLITCHES:
        return 0
    return len(data) - len(data[:_MAX_GLITCHES].lstrip(_LINE_GLITCHES) + data[_MAX_GLITCHES:])


class Tcp(_Modbus):
    """Framing of MTG 3.1.3: a header with transaction, protocol, length and unit, then the PDU."""

    def __init__(self) -> None:
        self._transaction = 0

    def _ask(self, unit: int, request: bytes, expected: _Expected, patience_s: float) -> Procedure[bytes]:
        self._transaction = transaction = (self._transaction + 1) & 0xFFFF
        frame = _MBAP.pack(transaction, 0, len(request) + 1, unit) + request
        start = _MBAP.pack(transaction, 0, expected.length + 1, unit) + expected.head
        recognise = _tcp_recogniser(transaction, unit, expected, start)
        answer = yield Ask(frame, recognise, expected.length + 7, patience_s)
        return answer[7:] if answer.startswith(start) else _accepted(unit, answer[_find(answer, transaction) + 7 :])


_MBAP = struct.Struct(">HHHB")


def _find(data: bytes, transaction: int) -> int:
    """Where the frame of this transaction begins, or would begin: answers to earlier ones are stepped over."""
    at = 0
    while len(data) >= at + 6:
        number, protocol, length = struct.unpack_from(">HHH", data, at)
        if protocol != 0 or not 3 <= length <= 254:
            raise GarbledAnswer("expected a Modbus TCP header, got something else; is it Modbus TCP?", data)
        if number == transaction:
            break
        at += 6 + length
    return at


def _tcp_recogniser(transaction: int, unit: int, expected: _Expected, usual: bytes) -> Callable[[bytes], int]:
    """usual: what the answer begins with, unless it is a refusal or others come before it."""
    head, length, measure = expected

    def recognise(data: bytes) -> int:
        if len(data) == length + 7 and data.startswith(usual) and not measure:
            return len(data)
        start = _find(data, transaction)
        if len(data) < start + 6:
            return 0
        end = start + 6 + int.from_bytes(data[start + 4 : start + 6], "big")
        if len(data) < end:
            return 0
        pdu = data[start + 7 : end]
        right = len(pdu) == (measure(pdu) if measure else length) and pdu.startswith(head)
        refused = len(pdu) == 2 and pdu[0] == head[0] | 0x80
        if data[start + 6] != unit or not (right or refused):
            raise GarbledAnswer(_misfit(unit, head, data[start + 6 : end]), data)
        return end

    return recognise


def _misfit(unit: int, head: bytes, got: bytes) -> str:
    """Why `got` (unit and PDU) is no answer to what was asked."""
    if got[0] != unit:
        found, why = f"unit {got[0]}", "another device answers, or an answer came too late"
    elif got[1:2] != head[:1]:
        found, why = f"function {got[1]}", "an answer came too late, or two devices share the address"
    elif head[0] < 5 and got[2:3] != head[1:2]:
        found, why = f"{got[2]} data bytes", "an answer came too late, or two devices share the address"
    else:
        found, why = "another content", "an answer came too late, or the device does not confirm what it was sent"
    asked = f"{head[1]} data bytes" if head[0] < 5 else "its confirmation"
    return f"unit {unit}: expected function {head[0]} and {asked}, got {found}; {why}"


def _accepted(unit: int, pdu: bytes) -> bytes:
    if pdu[0] & 0x80:
        code = pdu[1]
        name = REFUSALS.get(code, "not in the standard")
        if code in UNREACHABLE:
            raise NoAnswer(f"unit {unit}: exception {code} ({name}); check the device behind the gateway", pdu)
        kind = SPECIAL.get(code, Refused)
        raise kind(f"unit {unit}: refused function {pdu[0] & 0x7F}, exception {code} ({name})", code, pdu)
    return pdu


def _counted(pdu: bytes) -> int:
    """Length of a PDU whose second byte counts those that follow."""
    return 2 + pdu[1] if len(pdu) > 1 else _LONGEST_PDU


def _expected(function: int, count: int) -> _Expected:
    """The answer to a read of so many registers or bits; its head is its shape."""
    size = 2 * count if function > 2 else (count + 7) // 8
    return _Expected(bytes((function, size)), 2 + size)


def _span(function: int, first: int, end: int, places: Sequence[ModbusPlace], width: int) -> Span:
    return Span(function, first, end - first, {place: width * (place.address - first) for place in places})
