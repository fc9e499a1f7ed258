"""DALI control gear behind a Lunatone DALI SCI RS232 adapter: what a lamp is doing, and how it is.

Two layers. *DALI* (IEC 62386-101, -102): a forward frame of 16 bits, address and command, and for a query a backward
frame of 8 bits, or silence. Memory banks (102, 9.10) are read location by location: DTR1 names the bank, DTR0 the
location, and READ MEMORY LOCATION moves DTR0 on by one. The energy and diagnostics banks of D4i gear (DiiA 252, 253)
hold values of several bytes that change while they are read: writing 0xAA to location 2 freezes them.
*SCI* (Lunatone D0045): each frame travels as five bytes, `control high middle low xor`, and comes back as
`status high middle low xor`. With the echo bit clear, the adapter says how the frame ended: an answer, no answer or an
error.

Silence means three things, and they are told apart here: the adapter does not speak (LinkError), the gear does not
(NoAnswer), the gear speaks but has no such location (bytes 0xFF, which DiiA calls MASK: not implemented).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.codec import Ask, Limits, Place, Procedure, Span
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused

Query = Literal[
    "status", "version", "device_type", "physical_minimum", "light_source_type", "actual_level", "max_level",
    "min_level", "power_on_level", "system_failure_level", "fade", "groups_8_15", "led_failure",
]  # fmt: skip
"""Questions whose answer is a byte. Those that gear answers with yes or silence are left out: their "no" cannot be told
from a dead lamp, and `status` and `led_failure` say the same in bits."""


class _Opcode(NamedTuple):
    """A query's opcode, and the device type that must be enabled before it (0: none)."""

    code: int
    device_type: int = 0


QUERIES: dict[Query, _Opcode] = {
    "status": _Opcode(0x90),  # IEC 62386-102, 9.16.2
    "version": _Opcode(0x97),
    "device_type": _Opcode(0x99),  # 6 = LED
    "physical_minimum": _Opcode(0x9A),
    "light_source_type": _Opcode(0x9F),
    "actual_level": _Opcode(0xA0),
    "max_level": _Opcode(0xA1),
    "min_level": _Opcode(0xA2),
    "power_on_level": _Opcode(0xA3),
    "system_failure_level": _Opcode(0xA4),
    "fade": _Opcode(0xA5),  # high nibble: fade time, low nibble: fade rate
    "groups_8_15": _Opcode(0xC1),  # bit 0: group 8
    "led_failure": _Opcode(0xF1, device_type=6),  # IEC 62386-207, QUERY FAILURE STATUS
}
assert set(QUERIES) == set(get_args(Query))

KEPT: dict[Query, int] = {"system_failure_level": 0x2C, "power_on_level": 0x2D}
"""Levels that gear keeps in its own memory, with the command that sets them from DTR0: what it goes to when the bus loses
its voltage, and when its mains come back. That memory wears out: written when they differ, never in a loop."""

MEMBERSHIP: Query = "groups_8_15"
"""Which of the upper eight groups gear is in. Installers begin with group 0, so those are left to them."""
FIRST_GROUP, LAST_GROUP = 8, 15
_ADD_TO_GROUP, _REMOVE_FROM_GROUP = 0x60, 0x70  # IEC 62386-102, 11.4: with the group added, the command twice

WRITABLE: tuple[Query, ...] = ("actual_level", *KEPT, MEMBERSHIP)

QUERY_AREA = 256
"""`Span.area` of a query; below it are memory banks."""

LATCHED_BANKS = frozenset({202, 203, 204, 205, 206})
"""Banks that freeze on 0xAA in location 2 (DiiA 252: energy, apparent, load-side; DiiA 253: gear, light source)."""

MASK = 0xFF
MAX_LEVEL = 254

_LATCH_LOCATION, _LATCH, _UNLATCH = 0x02, 0xAA, 0xFF
_CONTENT_DTR0, _CONTENT_DTR1, _ENABLE_WRITE, _READ = 0x98, 0x9C, 0x81, 0xC5
_DTR0, _DTR1, _ENABLE_DEVICE_TYPE, _WRITE, _WRITE_NO_REPLY = 0xA3, 0xC3, 0xC1, 0xC7, 0xC9

_SEND_TWICE, _SEND_16 = 0x10, 0x03
_OK, _NO_REPLY, _BACKWARD, _ERROR = 0x0, 0x1, 0x2, 0x7
_ENDS = (_NO_REPLY, _BACKWARD, _ERROR)
"""Status of the frame that ends an exchange. A bare confirmation (0) does not: an answer may follow it."""

_FRAME = 5
_MOST_FRAMES = 16
"""More frames than this before the one that ends an exchange: the adapter was left in monitor mode by somebody."""

_FRAME_S = 0.06
"""Longest one forward frame takes with its settling and answer: 13.5 + 14.2 + 12.4 + 9.9 ms (IEC 62386-101, 8), and the
two times five bytes at 38,400 baud."""

_RETRIES = 2


class DaliPlace(BaseModel):
    """The answer to a query, or locations of a memory bank from `location` on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    query: Query | None = None
    bank: int | None = Field(default=None, ge=0, le=255)
    location: int | None = Field(default=None, ge=0, le=254)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.query is None) == (self.bank is None) or (self.bank is None) != (self.location is None):
            raise ValueError("expected either query, or bank and location")
        return self


def sci_frame(address: int, command: int, twice: bool = False) -> bytes:
    """A 16-bit forward frame as the adapter wants it, in `high` and `middle` (an answer comes in `low`). address,
    command: the two bytes of the DALI frame."""
    body = bytes((_SEND_16 | (_SEND_TWICE if twice else 0), address, command, 0))
    return body + bytes((reduce(xor, body),))


def _to(address: int) -> int:
    """Address byte of a command to one control gear (IEC 62386-102, 7.2.1)."""
    return address << 1 | 1


@dataclass(frozen=True, slots=True)
class BankSpan(Span):
    """Locations of a memory bank; only those in `read` are read."""

    read: frozenset[int] = field(default=frozenset(), compare=False)

    def runs(self) -> list[tuple[int, int]]:
        """First location and number of each uninterrupted part."""
        starts = sorted(at for at in self.read if at - 1 not in self.read)
        ends = sorted(at for at in self.read if at + 1 not in self.read)
        return [(start, end - start + 1) for start, end in zip(starts, ends, strict=True)]


def _bank_span(bank: int, cells: Mapping[Place, range]) -> BankSpan:
    """A single unwanted location is read with the others: that takes 42 ms, to go round it 70 ms."""
    wanted = {location for cell in cells.values() for location in cell}
    first, last = min(wanted), max(wanted)
    read = frozenset(at for at in range(first, last + 1) if at in wanted or {at - 1, at + 1} <= wanted)
    return BankSpan(bank, first, last - first + 1, {place: cell.start - first for place, cell in cells.items()}, read)


class Sci:
    """DALI control gear over Lunatone SCI frames. Addresses are short addresses, 0 to 63."""

    membership: Place = DaliPlace(query=MEMBERSHIP)

    def spans(self, places: Sequence[tuple[Place, int]], limits: Limits) -> list[Span]:
        """Each query alone, and all places of one bank together: one freeze, so that they are of one instant. `limits`
        do not matter: each location is a request of its own, and holes are not read."""
        spans: dict[Place, Span] = {}
        banks: dict[int, dict[Place, range]] = {}
        for place, size in places:
            if not isinstance(place, DaliPlace):
                raise TypeError(f"expected a DaliPlace, got {place!r}")
            if place.query is not None:
                spans[place] = Span(QUERY_AREA, QUERIES[place.query].code, 1, {place: 0})
            elif place.bank is not None and place.location is not None:
                if place.location + size > MASK:
                    raise ValueError(
                        f"bank {place.bank}: {size} bytes at {place.location:#04x}: expected to end by 0xFE"
                    )
                banks.setdefault(place.bank, {})[place] = range(place.location, place.location + size)
        return [*spans.values(), *(_bank_span(bank, cells) for bank, cells in banks.items())]

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """The answer to a query (one byte), or `count` locations of a bank; 0xFF for one that it does not have, and for
        one that is not wanted.

        Raises NoAnswer when the gear is silent, GarbledAnswer when its answer stays corrupted, Refused when a bank does
        not freeze, LinkError when adapter or bus cannot be used.
        """
        bus = _Bus(address, limits.patience_s)
        if span.area == QUERY_AREA:
            opcode = next(opcode for opcode in QUERIES.values() if opcode.code == span.first)
            answer = yield from bus.query(opcode.code, opcode.device_type)
            if answer is None:
                raise NoAnswer(f"{bus.gear}: expected an answer to query {span.first:#04x}, got silence; {_CHECK_GEAR}")
            return bytes((answer,))
        assert isinstance(span, BankSpan), "spans of a bank come from Sci.spans"
        return (yield from _read_bank(bus, span))

    def write(self, address: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        """Direct arc power control (IEC 62386-102, 9.4): place `actual_level`, one byte 0 (off) to 254; a level that the
        gear keeps for itself (`KEPT`, 11.3: by way of DTR0, the command twice); or the groups that it is in.

        Raises ValueError for any other place or byte, NoAnswer, LinkError or GarbledAnswer as `read`. DALI does not confirm
        a level: that the lamp took it shows only in reading it back.
        """
        if not isinstance(place, DaliPlace) or place.query not in WRITABLE:
            expected = ", ".join(WRITABLE)
            raise ValueError(f"DALI gear {address}: expected to write {expected}, got {place}; nothing else is written")
        most = 0xFF if place.query == MEMBERSHIP else MAX_LEVEL
        if len(raw) != 1 or raw[0] > most:
            raise ValueError(f"DALI gear {address}: expected one byte from 0 to {most}, got {raw.hex(' ') or 'none'}")
        bus = _Bus(address, limits.patience_s)
        if place.query == "actual_level":
            yield from bus.command(address << 1, raw[0])
            return
        if place.query == MEMBERSHIP:
            yield from _join(bus, raw[0])
            return
        yield from bus.command(_DTR0, raw[0])
        if (held := (yield from bus.register(_CONTENT_DTR0))) != raw[0]:
            raise GarbledAnswer(
                f"{bus.gear}: expected DTR0 to hold {raw[0]}, got {held}; nothing was kept; {_DISTURBED}"
            )
        yield from bus.command(_to(address), KEPT[place.query], twice=True)

    def groups(self, raw: bytes) -> frozenset[int]:
        """The groups, 8 to 15, that the answer to QUERY GROUPS 8-15 names."""
        return frozenset(FIRST_GROUP + bit for bit in range(8) if raw[0] >> bit & 1)

    def write_group(self, group: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        """Direct arc power control of all gear of a group with one frame (IEC 62386-102, 7.2.1: address byte 100g gggS)."""
        if not FIRST_GROUP <= group <= LAST_GROUP or place != DaliPlace(query="actual_level"):
            raise ValueError(f"DALI group {group}: expected {FIRST_GROUP} to {LAST_GROUP} and a level, got {place}")
        if len(raw) != 1 or raw[0] > MAX_LEVEL:
            raise ValueError(
                f"DALI group {group}: expected one byte from 0 to {MAX_LEVEL}, got {raw.hex(' ') or 'none'}"
            )
        yield from _Bus(0, limits.patience_s, f"DALI group {group}").command(0x80 | group << 1, raw[0])

    def brief(self, place: Place) -> bool:
        """A level: no DTR, no enabled write, no enabled device type hangs on it."""
        return isinstance(place, DaliPlace) and place.query == "actual_level"


def _join(bus: _Bus, bits: int) -> Procedure[None]:
    """Has gear belong to those of the groups 8 to 15 whose bit is set; what it is in already is not told: its memory wears
    out."""
    opcode = QUERIES[MEMBERSHIP].code
    if (held := (yield from bus.query(opcode))) is None:
        raise NoAnswer(f"{bus.gear}: expected to hear which groups it is in, got silence; {_CHECK_GEAR}")
    for bit in range(8):
        if (held ^ bits) >> bit & 1:
            command = _ADD_TO_GROUP if bits >> bit & 1 else _REMOVE_FROM_GROUP
            yield from bus.command(_to(bus.address), command | FIRST_GROUP + bit, twice=True)


_DISTURBED = "noise, or another controller on this bus; the bytes are not used"
_CHECK_GEAR = "check the lamp's mains supply, its DALI wires and its short address"


def _read_bank(bus: _Bus, span: BankSpan) -> Procedure[bytes]:
    """Locations of a bank, frozen first where the bank can, and proven to be that bank's before they are given away."""
    latched = span.area in LATCHED_BANKS
    cells = bytearray((MASK,)) * span.count
    yield from bus.command(_DTR1, span.area)
    try:
        if latched:
            yield from _latch(bus, span.area)
        for first, count in span.runs():
            cells[first - span.first : first - span.first + count] = yield from _read_run(bus, first, count)
    except _NoSuchBank:
        cells[:] = bytes((MASK,)) * span.count
    if (bank := (yield from bus.register(_CONTENT_DTR1))) != span.area:
        text = f"expected to have read bank {span.area}, DTR1 says {bank}; {_DISTURBED}"
        raise GarbledAnswer(f"{bus.gear}: {text}", bytes(cells))
    if latched:
        yield from bus.command(_to(bus.address), _ENABLE_WRITE, twice=True)
        yield from bus.command(_DTR0, _LATCH_LOCATION, may_wait=False)
        yield from bus.command(_WRITE_NO_REPLY, _UNLATCH, may_wait=False)
    return bytes(cells)


def _latch(bus: _Bus, bank: int) -> Procedure[None]:
    """Freezes the bank that DTR1 names. The gear repeats the byte that it wrote.

    ENABLE WRITE MEMORY holds only until a command other than DTR and writes (IEC 62386-102, 9.10.4), hence the order, and
    nobody is let in between.
    """
    for attempt in range(_RETRIES + 1):
        yield from bus.command(_to(bus.address), _ENABLE_WRITE, twice=True)
        yield from bus.command(_DTR0, _LATCH_LOCATION, may_wait=False)
        try:
            wrote = yield from bus.ask(_WRITE, _LATCH, may_wait=False)
        except GarbledAnswer:
            if attempt == _RETRIES:
                raise
            continue
        if wrote == _LATCH:
            return
        yield from bus.register(_CONTENT_DTR0)  # silent gear ends here
    yield from _read_run(bus, 0, 1)  # and gear without the bank here
    text = "expected it to freeze while it is read, it does not; its values of several bytes cannot be trusted"
    raise Refused(f"{bus.gear}: bank {bank}: {text}", 0)


class _NoSuchBank(Exception):
    """The gear hears, and ignores reads of this bank: it has none of that number (IEC 62386-102, 9.10.5)."""


def _read_run(bus: _Bus, first: int, count: int) -> Procedure[bytes]:
    """Consecutive locations of the bank that DTR1 names; MASK for those that it does not have. Raises _NoSuchBank,
    NoAnswer or GarbledAnswer.

    Nobody confirms a command that sets DTR0, and a frame can be lost: then each byte is another location's. But DTR0
    moves with each read that gear heard. So when all reads were answered, where DTR0 stands in the end proves that it
    stood right in the beginning. Silence and corruption leave that open: the run is read again, DTR0 checked first.
    """
    ignored = 0
    for attempt in range(_RETRIES + 1):
        yield from bus.command(_DTR0, first)
        if attempt and (yield from bus.register(_CONTENT_DTR0)) != first:
            continue
        cells = bytearray()
        try:
            while len(cells) < count:
                answer = yield from bus.ask(_to(bus.address), _READ)
                if answer is None:
                    stands = yield from bus.register(_CONTENT_DTR0)
                    if not attempt or stands != first + len(cells) + 1:
                        ignored += bool(attempt and not cells and stands == first)
                        break
                    answer = MASK  # heard, and no answer
                cells.append(answer)
            else:
                if (yield from bus.register(_CONTENT_DTR0)) == first + count:
                    return bytes(cells)
        except GarbledAnswer:
            if attempt == _RETRIES:
                raise
    if ignored == _RETRIES:
        raise _NoSuchBank
    raise GarbledAnswer(f"{bus.gear}: locations {first} to {first + count - 1} cannot be read whole; {_DISTURBED}")


@dataclass(slots=True)
class _Answer:
    """Recognises the adapter's reply to one frame. confirmed: it said that the frame was sent, and no more."""

    gear: str
    confirmed: bool = False

    def length(self, data: bytes) -> int:
        """Bytes up to the frame that ends the exchange, 0 while it has not come. Frames that only report (a
        confirmation, traffic of others) are passed over."""
        self.confirmed = confirmed = False
        for start in range(0, len(data) - _FRAME + 1, _FRAME):
            frame = data[start : start + _FRAME]
            if reduce(xor, frame):
                raise GarbledAnswer(f"{self.gear}: adapter: wrong checksum; check the RS-232 cable and 38400 8N1", data)
            if frame[0] & 0x0F in _ENDS:
                return start + _FRAME
            confirmed |= frame[0] & 0x0F == _OK
        if len(data) >= _FRAME * _MOST_FRAMES:
            raise GarbledAnswer(
                f"{self.gear}: adapter: only other traffic, no answer; is another program using it?", data
            )
        self.confirmed = confirmed and len(data) % _FRAME == 0
        return 0


@dataclass(frozen=True, slots=True)
class _Bus:
    """Frames to and for one control gear, or a group that is only told."""

    address: int
    patience_s: float
    group: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.address <= 63:
            raise ValueError(f"DALI short address: expected 0 to 63, got {self.address}")

    @property
    def gear(self) -> str:
        return self.group or f"DALI gear {self.address}"

    def command(self, address: int, command: int, twice: bool = False, *, may_wait: bool = True) -> Procedure[None]:
        """A frame that nobody answers and that may be repeated: it is, when its exchange was corrupted."""
        for attempt in range(_RETRIES + 1):
            try:
                yield from self.ask(address, command, twice, may_wait=may_wait)
                return
            except GarbledAnswer:
                if attempt == _RETRIES:
                    raise

    def query(self, opcode: int, device_type: int = 0) -> Procedure[int | None]:
        """A query that changes nothing in the gear, so it may be repeated; its answer, None for silence. ENABLE DEVICE
        TYPE counts only for the very next frame (IEC 62386-102, 11.7.14)."""
        for attempt in range(_RETRIES + 1):
            if device_type:
                yield from self.command(_ENABLE_DEVICE_TYPE, device_type)
            try:
                return (yield from self.ask(_to(self.address), opcode, may_wait=not device_type))
            except GarbledAnswer:
                if attempt == _RETRIES:
                    raise
        raise AssertionError("not reached")

    def register(self, opcode: int) -> Procedure[int]:
        """What DTR0 or DTR1 holds. Every gear answers that, so it is asked again before silence is believed. Raises
        NoAnswer."""
        for _ in range(2):
            if (answer := (yield from self.query(opcode))) is not None:
                return answer
        raise NoAnswer(f"{self.gear}: expected it to be there, got silence; {_CHECK_GEAR}")

    def ask(self, address: int, command: int, twice: bool = False, *, may_wait: bool = True) -> Procedure[int | None]:
        """One frame, once, and its answer; None for silence. may_wait: a level may be told or asked before it: that
        leaves the DTRs, which gear reads a bank by, and a frozen bank as they are. Raises GarbledAnswer when either was
        corrupted."""
        recogniser = _Answer(self.gear)
        patience_s = self.patience_s + _FRAME_S * (2 if twice else 1)
        try:
            request = sci_frame(address, command, twice)
            answer = yield Ask(request, recogniser.length, _FRAME, patience_s, may_wait)
        except (NoAnswer, GarbledAnswer) as failure:
            if recogniser.confirmed:
                return None  # an adapter that confirms a frame and does not report silence
            if isinstance(failure, GarbledAnswer):
                raise
            text = f"expected a reply within {patience_s:.2f} s, got none; check its supply and the RS-232 cable"
            raise LinkError(f"DALI adapter: {text}", failure.raw) from None
        status, low = answer[-_FRAME] & 0x0F, answer[-2]
        if status == _ERROR:
            raise self._error(low, answer[-_FRAME:])
        return low if status == _BACKWARD else None

    def _error(self, error: int, frame: bytes) -> BusError:
        """The adapter's error in words (Lunatone D0045)."""
        match error:
            case 1:
                return GarbledAnswer(
                    "DALI adapter: our frame reached it corrupted; check the RS-232 cable and 38400 8N1", frame
                )
            case 2:
                return LinkError(
                    "DALI bus: short circuit or no bus supply; check the bus wires and the DALI power supply", frame
                )
            case 3:
                return GarbledAnswer(
                    f"{self.gear}: answer corrupted; two lamps at this address, or noise on the bus", frame
                )
            case 4:
                return LinkError(
                    "DALI adapter: does not know the frame; expected a Lunatone DALI SCI RS232, check its model", frame
                )
            case 5:
                return GarbledAnswer(f"{self.gear}: our frame collided; another controller speaks on this bus", frame)
            case _:
                return GarbledAnswer(f"DALI adapter: unknown error {error}", frame)
