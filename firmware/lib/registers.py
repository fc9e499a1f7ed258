"""The registers of a node, from a map given as data: the bank behind `modbus_rtu.Server`.

A map is text, because a table of a hundred rows as Python objects takes a tenth of a small board's heap. A row a line:

    input 32 pressure u16 mbar 0                        area, address, name, kind, unit, power
    holding 40 span u16 mbar 0 1 30000 10000            and for a holding: low, high, default

    area    coil, discrete, holding, input
    kind    u16, i16, u32 (two cells, high word first), bit, words:N (N cells that go together)
    unit    as UCUM writes it, - where there is none; the value is the number x 10**power
    low, high, default   what a client may write, what the holding is after a start; a u32 holding has no limits

Addresses that no row names do not exist: reading or writing them is refused (exception 2). A u32 can only be written
whole, by function 16, because half a time is no time.
"""

from array import array

from modbus_rtu import COILS, DISCRETES, HOLDINGS, ILLEGAL_ADDRESS, ILLEGAL_VALUE, INPUTS

_HOLE = 0
_WORD = 1
_HEAD = 2
_TAIL = 3
_SIGNED = 4


_AREAS = {"coil": COILS, "discrete": DISCRETES, "holding": HOLDINGS, "input": INPUTS}


class _Table:
    """Cells of one area, and what stands at each address."""

    def __init__(self, size: int):
        self.cells = array("H", bytes(2 * size))
        self.kinds = bytearray(size)

    def lay(self, address: int, kind: str, name: str) -> None:
        size = _size(kind)
        for at in range(address, address + size):
            if self.kinds[at] != _HOLE:
                raise ValueError("register %d: %s overlaps" % (at, name))
            self.kinds[at] = _SIGNED if kind == "i16" else _WORD
        if kind == "u32":
            self.kinds[address] = _HEAD
            self.kinds[address + 1] = _TAIL

    def missing(self, start: int, count: int) -> bool:
        kinds = self.kinds
        if start + count > len(kinds):
            return True
        for i in range(start, start + count):
            if kinds[i] == 0:
                return True
        return False


def _size(kind: str) -> int:
    return int(kind[6:]) if kind.startswith("words:") else 2 if kind == "u32" else 1


class Registers:
    """`on_write(start, count)` is called after holdings were written, inside the frame, so it only takes note."""

    def __init__(self, *maps: str):
        ends = [0, 0, 0, 0, 0]
        for text in maps:
            for line in text.split("\n"):
                row = line.split(" ")
                if len(row) > 5:
                    area = _AREAS[row[0]]
                    ends[area] = max(ends[area], int(row[1]) + _size(row[3]))
        self._tables = tuple(_Table(end) for end in ends)
        self.coils, self.discretes, self.holdings, self.inputs = (table.cells for table in self._tables[COILS:])
        self._low = array("H", bytes(2 * ends[HOLDINGS]))
        self._high = array("H", bytes(2 * ends[HOLDINGS]))
        self.on_write = _ignore
        for text in maps:
            for line in text.split("\n"):
                row = line.split(" ")
                if len(row) > 5:
                    self._lay(row)

    def _lay(self, row: list) -> None:
        area = _AREAS[row[0]]
        address = int(row[1])
        kind = row[3]
        self._tables[area].lay(address, kind, row[2])
        if area == HOLDINGS and kind != "u32":
            bias = 0x8000 if kind == "i16" else 0
            self._low[address] = int(row[6]) + bias
            self._high[address] = int(row[7]) + bias
            self.holdings[address] = int(row[8]) & 0xFFFF

    def allows(self, address: int, value: int) -> bool:
        """Whether a client might write the cell value 0 to 65,535 to the one-cell holding at `address`."""
        kinds = self._tables[HOLDINGS].kinds
        return address < len(kinds) and kinds[address] in (_WORD, _SIGNED) and self._fits(address, value)

    def _fits(self, address: int, value: int) -> bool:
        kind = self._tables[HOLDINGS].kinds[address]
        if kind == _SIGNED:
            value ^= 0x8000  # two's complement in order, so that the limits compare
        elif kind != _WORD:
            return True
        return self._low[address] <= value <= self._high[address]

    def read(self, area: int, start: int, count: int, out, at: int) -> int:
        table = self._tables[area]
        if table.missing(start, count):
            return -ILLEGAL_ADDRESS
        cells = table.cells
        if area <= DISCRETES:
            for i in range((count + 7) >> 3):
                out[at + i] = 0
            for i in range(count):
                if cells[start + i]:
                    out[at + (i >> 3)] |= 1 << (i & 7)
            return 0
        for i in range(count):
            value = cells[start + i]
            out[at] = value >> 8
            out[at + 1] = value & 0xFF
            at += 2
        return 0

    def write(self, area: int, start: int, count: int, buf, at: int) -> int:
        table = self._tables[area]
        if table.missing(start, count):
            return -ILLEGAL_ADDRESS
        cells = table.cells
        if area == COILS:
            for i in range(count):
                cells[start + i] = buf[at + (i >> 3)] >> (i & 7) & 1
            return 0
        kinds = table.kinds
        if kinds[start] == _TAIL or kinds[start + count - 1] == _HEAD:
            return -ILLEGAL_ADDRESS
        for i in range(count):
            if not self._fits(start + i, buf[at + 2 * i] << 8 | buf[at + 2 * i + 1]):
                return -ILLEGAL_VALUE
        for i in range(count):
            cells[start + i] = buf[at + 2 * i] << 8 | buf[at + 2 * i + 1]
        self.on_write(start, count)
        return 0


def _ignore(start: int, count: int) -> None:
    pass


def count32(cells, address: int, step: int = 1) -> None:
    """Add `step` (below 65,536) to the 32-bit counter at `address`, high word first; wraps. Never a big integer."""
    low = cells[address + 1] + step
    cells[address + 1] = low & 0xFFFF
    cells[address] = (cells[address] + (low >> 16)) & 0xFFFF
