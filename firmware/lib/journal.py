"""Readings kept through power cuts, in segment files, the oldest of which make room for the newest.

Rules:
- A record is 12 bytes with its own CRC; its sequence number is its place: first of its segment, plus its index.
- Records wait in a page in RAM and are appended together; a power cut costs at most the page. They get their numbers when
  they are written: no number is ever given to two records.
- Nothing is ever written behind a torn record: after one, a new segment is begun.
- Space is bounded: beyond `max_segments` the oldest segment goes. Who fetches knows by the numbers what he missed; what
  storage did not take has no number, and `dropped` counts it.

Record, little-endian: kind u8, flags u8, value u16, time u32, boot u16, CRC-16 u16. `time` is seconds since 2020, or,
with TIME_UNKNOWN, seconds since the start of `boot`; a CLOCK_SET record of the same boot tells when that start was.
"""

import os

from micropython import const
from modbus_rtu import crc16

RECORD = const(12)
TIME_UNKNOWN = const(1)
CLOCK_SET = const(0)
"""Kind of the record whose time is the UTC of its boot's start."""

_SUFFIX = ".seg"


class Journal:
    def __init__(self, folder: str, boot: int, page: int = 8, per_segment: int = 128, max_segments: int = 32):
        self._folder = folder
        self._boot = boot & 0xFFFF
        self._page = bytearray(RECORD * page)
        self._mv = memoryview(self._page)
        self._record = bytearray(RECORD)
        self._held = 0  # records in the page
        self._per_segment = per_segment
        self._max_segments = max_segments
        self.dropped = self.faults = 0
        _make(folder)
        self._segments = []  # (first sequence number, records), oldest first
        self._sealed = True
        for name in sorted(os.listdir(folder)):
            if name.endswith(_SUFFIX):
                self._take(int(name[: -len(_SUFFIX)], 16))

    @property
    def first(self) -> int:
        """Sequence number of the oldest record there is."""
        return self._segments[0][0] if self._segments else 0

    @property
    def next(self) -> int:
        """Sequence number behind the last record written."""
        if not self._segments:
            return 0
        return self._segments[-1][0] + self._segments[-1][1]

    @property
    def waiting(self) -> bool:
        """Whether there are records that a power cut would take."""
        return self._held > 0

    def append(self, kind: int, flags: int, value: int, time: int) -> None:
        """Keep one record; costs no heap except when a page is written."""
        if self._held * RECORD == len(self._page) and not self.flush():
            self.dropped += 1
            return
        page = self._page
        at = self._held * RECORD
        record = self._record
        record[0] = kind
        record[1] = flags
        record[2] = value & 0xFF
        record[3] = value >> 8 & 0xFF
        record[4] = time & 0xFF
        record[5] = time >> 8 & 0xFF
        record[6] = time >> 16 & 0xFF
        record[7] = time >> 24 & 0xFF
        record[8] = self._boot & 0xFF
        record[9] = self._boot >> 8
        crc = crc16(record, 10)
        record[10] = crc & 0xFF
        record[11] = crc >> 8
        for i in range(RECORD):
            page[at + i] = record[i]
        self._held += 1

    def flush(self) -> bool:
        """Write what waits in RAM. False when storage refuses; the records then go on waiting."""
        if self._held == 0:
            return True
        if self._sealed or self._segments[-1][1] >= self._per_segment:
            self._make_room()
            segment = (self.next, 0)
            mode = "wb"
        else:
            segment = self._segments[-1]
            mode = "ab"
        try:
            with open(self._path(segment[0]), mode) as file:
                file.write(self._mv[: self._held * RECORD])
        except OSError:
            self.faults += 1
            self._sealed = True
            return False
        if mode == "ab":
            self._segments.pop()
        self._segments.append((segment[0], segment[1] + self._held))
        self._sealed = False
        self._held = 0
        return True

    def read(self, sequence: int, buf) -> int:
        """Copy written records from `sequence` on into buf; returns how many. They are of one segment, so fewer than fit
        may come while there are more: go on behind them."""
        for first, count in reversed(self._segments):
            if first <= sequence < first + count:
                n = min(first + count - sequence, len(buf) // RECORD)
                with open(self._path(first), "rb") as file:
                    file.seek((sequence - first) * RECORD)
                    return (file.readinto(memoryview(buf)[: n * RECORD]) or 0) // RECORD
        return 0

    def _make_room(self) -> None:
        while len(self._segments) >= self._max_segments:
            first, _ = self._segments.pop(0)
            try:
                os.remove(self._path(first))
            except OSError:
                self.faults += 1

    def _take(self, first: int) -> None:
        """Add a segment found on disk, as far as its records are whole; remove one without any. The last one is gone on
        with, unless it ends torn."""
        count = 0
        record = self._record
        with open(self._path(first), "rb") as file:
            while True:
                n = file.readinto(record)
                if n != RECORD or crc16(record, RECORD) != 0:
                    break
                count += 1
        if count:
            self._segments.append((first, count))
            self._sealed = n != 0
        else:
            os.remove(self._path(first))

    def _path(self, first: int) -> str:
        return "%s/%08x%s" % (self._folder, first, _SUFFIX)


def _make(folder: str) -> None:
    try:
        os.mkdir(folder)
    except OSError:
        os.listdir(folder)  # it is there already, or it is no folder and this raises
