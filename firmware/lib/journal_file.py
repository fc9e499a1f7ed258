"""The journal as files, for function 0x14: read only, so that whoever may write nothing gets it too.

Record n is file 0x8000 + n // 1024, registers 6 x (n % 1024) to + 5 (file numbers last for 33 million records, more than a
flash):

    time high, time low     UTC, seconds since 1970; with TIME_UNKNOWN seconds since that start
    flags, kind             one byte each
    value
    start                   of the node, low 16 bits
    number                  of the record, low 16 bits

Records lie in flash, and a frame must not wait for that, nor take heap: it gets "busy", `fetch` brings them, and the same
request is answered the next time.
"""

import struct
from array import array

import civil
from journal import RECORD, TIME_UNKNOWN
from micropython import const
from modbus_rtu import DEVICE_BUSY, ILLEGAL_ADDRESS, crc16

AT_ONCE = const(20)
"""Records of one request."""
DAMAGED = const(255)
"""Kind of a record that flash did not keep."""

_FIRST_FILE = const(0x8000)
_PER_FILE = const(1024)
_REGISTERS = const(6)


class JournalFile:
    """start: of the node, which one this is."""

    def __init__(self, journal, start: int):
        self._journal = journal
        self._start = start & 0xFFFF
        self._raw = bytearray(RECORD * AT_ONCE)
        self._cells = array("H", bytes(2 * _REGISTERS * AT_ONCE))
        self._first = self._count = 0  # of what is in the cells
        self._asked = -1

    def read(self, file: int, register: int, count: int, out, at: int) -> int:
        """For `modbus_rtu.Server`: whole records into `out`, high byte first."""
        journal = self._journal
        records = count // _REGISTERS
        place = register // _REGISTERS
        first = (file - _FIRST_FILE) * _PER_FILE + place
        if file < _FIRST_FILE or place * _REGISTERS != register or records * _REGISTERS != count:
            return -ILLEGAL_ADDRESS
        if place + records > _PER_FILE or records > AT_ONCE or first < journal.first or first + records > journal.next:
            return -ILLEGAL_ADDRESS
        if first < self._first or first + records > self._first + self._count:
            self._asked = first
            return -DEVICE_BUSY
        start = (first - self._first) * _REGISTERS
        for i in range(start, start + count):
            cell = self._cells[i]
            out[at] = cell >> 8
            out[at + 1] = cell & 0xFF
            at += 2
        return 0

    def fetch(self, start_utc: int) -> None:
        """Outside of frames, many times a second: bring what a frame asked for. start_utc: seconds since 2020 of this
        start of the node, by which its records are dated even where the time became known later; -1 while it is not."""
        first = self._asked
        if first < 0:
            return
        self._asked = -1
        n = 0
        view = memoryview(self._raw)
        while n < AT_ONCE and first + n < self._journal.next:
            try:
                got = self._journal.read(first + n, view[RECORD * n :])
            except OSError:
                got = 0
            if got == 0:
                view[RECORD * n : RECORD * (n + 1)] = b"\xff" * RECORD  # its CRC is wrong
                got = 1
            n += got
        for i in range(n):
            self._lay(i, first + i, start_utc)
        self._first = first
        self._count = n

    def forget(self) -> None:
        """What is at hand may be told better now: the time became known."""
        self._count = 0

    def _lay(self, i: int, number: int, start_utc: int) -> None:
        kind, flags, value, time, start, _ = struct.unpack_from("<BBHIHH", self._raw, RECORD * i)
        if crc16(self._raw, RECORD * (i + 1), RECORD * i):
            kind, flags, value, time, start = DAMAGED, TIME_UNKNOWN, 0, 0, 0
        elif flags & TIME_UNKNOWN and start_utc >= 0 and start == self._start:
            flags &= ~TIME_UNKNOWN
            time += start_utc
        cells = self._cells
        at = _REGISTERS * i
        if flags & TIME_UNKNOWN:
            cells[at] = time >> 16
            cells[at + 1] = time & 0xFFFF
        else:
            civil.to_unix(time, cells, at)
        cells[at + 2] = flags << 8 | kind
        cells[at + 3] = value
        cells[at + 4] = start
        cells[at + 5] = number & 0xFFFF
