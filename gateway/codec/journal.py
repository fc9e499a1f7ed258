"""The journal of a node of ours: what it kept while nobody asked, and when that was. Without input or output.

A record is six registers: time (two, high word first), flags and kind (high and low byte), value, start, and the low word
of its own number, by which an answer that comes too late is known. Records are read as files (function 0x14), so that even
a node that nothing may be written to gives them: record n is file 0x8000 + n // 1024, register 6 x (n % 1024). A node that
has to fetch them from its flash first says so, as "busy".

A time is UTC, seconds since 1970, or, with TIME_UNKNOWN, seconds since that start of the node. When a start was is known
from how long the node had been up when it was last asked, or from a record CLOCK_SET.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.codec import Limits, Procedure, Span
from gateway.codec.modbus import READ_FUNCTION, Rtu, Tcp
from gateway.errors import GarbledAnswer

AT_ONCE = 20
"""Records of one request."""
_REGISTERS = 6
_PER_FILE = 1024
_FIRST_FILE = 0x8000
_TIME_UNKNOWN = 0x0100
_CLOCK_SET = 0
_STANDING_AT, _STANDING = 6, struct.Struct(">II6xI10xI")  # boots, uptime, first, next among inputs 6 to 21


@dataclass(frozen=True, slots=True)
class Standing:
    """How a node stands. boots: which start this is; uptime_s: since it. first, next: numbers of its oldest record and of
    the one it will write next."""

    boots: int
    uptime_s: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record. time_s: see the module; raw: its value as the two bytes of a register; start: which start of the node,
    the low 16 bits."""

    number: int
    kind: int
    raw: bytes
    time_s: int
    dated: bool
    start: int


def read_standing(codec: Rtu | Tcp, address: int, limits: Limits) -> Procedure[Standing]:
    """How the node stands."""
    span = Span(READ_FUNCTION["input"], _STANDING_AT, _STANDING.size // 2, {})
    return Standing(*_STANDING.unpack((yield from codec.read(address, span, limits))))


def read_records(codec: Rtu | Tcp, address: int, first: int, next_: int, limits: Limits) -> Procedure[list[Record]]:
    """Records from `first` on and before `next_`, as many of them as one request gives, one at least. Raises Busy
    where they are not at hand yet, GarbledAnswer for others than those asked for."""
    place = first % _PER_FILE
    count = min(next_ - first, AT_ONCE, _PER_FILE - place)
    file = _FIRST_FILE + first // _PER_FILE
    data = yield from codec.read_file(address, file, _REGISTERS * place, _REGISTERS * count, limits)
    records = []
    for number, (time_s, flags_kind, raw, start, low) in enumerate(struct.iter_unpack(">IH2sHH", data), first):
        if low != number & 0xFFFF:
            raise GarbledAnswer(f"unit {address}: expected record {number}, got {low}; an answer came too late", data)
        records.append(Record(number, flags_kind & 0xFF, raw, time_s, not flags_kind & _TIME_UNKNOWN, start))
    return records


def date(records: Iterable[Record], starts: Mapping[int, float]) -> Iterator[tuple[Record, float | None]]:
    """What was kept with when it was, UTC seconds; None where nobody knows. starts: when a start of the node was, by its
    low 16 bits."""
    kept = list(records)
    known = {record.start: float(record.time_s) for record in kept if record.kind == _CLOCK_SET} | dict(starts)
    for record in kept:
        if record.kind == _CLOCK_SET:
            continue
        start_s = known.get(record.start)
        yield record, float(record.time_s) if record.dated else None if start_s is None else start_s + record.time_s
