"""Modbus RTU server without input or output: a frame in, the length of the answer out.

Modbus Application Protocol 1.1b3 and Modbus over Serial Line 1.02. Served: 1 to 6, 15, 16, read and write file record
(0x14, 0x15), report server id (0x11), read device identification (0x2B/0x0E).

The rules of this module:
- A frame costs no heap: bytes are indexed, never sliced; a refusal is a negative number, never an exception.
- Silence answers a bad CRC, another unit's frame and a broadcast (2.2: a broadcast is acted upon, not answered).
- A refused request changes nothing: the bank checks a whole range before it writes any of it.

A bank offers, for `area` one of COILS, DISCRETES, HOLDINGS, INPUTS:
    read(area, start, count, out, at)   fills `out` from `at` (registers high byte first, bits packed low bit first)
    write(area, start, count, buf, at)  all or nothing, from the same encoding
each giving 0, or minus an exception code. Files, where a node has any, offer the same way
    read(file, record, count, out, at)      `count` registers from register offset `record` on; each group by itself
    write(file, record, count, buf, at)
"""

from micropython import const

COILS = const(1)
DISCRETES = const(2)
HOLDINGS = const(3)
INPUTS = const(4)

ILLEGAL_FUNCTION = const(1)
ILLEGAL_ADDRESS = const(2)
ILLEGAL_VALUE = const(3)
DEVICE_FAILURE = const(4)
DEVICE_BUSY = const(6)

MAX_FRAME = const(256)

_WRITE_COIL = const(5)
_WRITE_REGISTER = const(6)
_WRITE_COILS = const(15)
_WRITE_REGISTERS = const(16)
_REPORT_SERVER_ID = const(0x11)
_READ_FILE_RECORD = const(0x14)
_WRITE_FILE_RECORD = const(0x15)
_ENCAPSULATED = const(0x2B)
_READ_DEVICE_ID = const(0x0E)

_LAST_BASIC = const(2)
_LAST_REGULAR = const(6)
_MAX_IDENTITY = const(230)


def _crc_table() -> bytes:
    table = bytearray(512)
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table[2 * i] = crc & 0xFF
        table[2 * i + 1] = crc >> 8
    return bytes(table)


_CRC = _crc_table()


def crc16(buf, n: int, at: int = 0) -> int:
    """CRC of the bytes from `at` to n; goes on the wire low byte first. Over a frame with its CRC it is 0."""
    low = high = 0xFF
    table = _CRC
    for i in range(at, n):
        k = (low ^ buf[i]) << 1
        low = high ^ table[k]
        high = table[k + 1]
    return low | high << 8


def gap_ms(baud: int) -> int:
    """Silence that ends a frame, ms, rounded up: 3.5 characters of 11 bits; above 19,200 baud 1.75 ms (2.5.1.1)."""
    return 2 if baud > 19200 else -(-38500 // baud)


def last_frame(buf, n: int, unit_id: int) -> int:
    """Bring the request that ends the n bytes to the front of buf; returns its length, n when there is nothing to move.

    Between the answer of another unit and the request after it a client may leave 3.5 characters, 2 ms at 19,200 baud,
    and a board that counts in milliseconds cannot tell so short a silence for sure: it then holds both in one. What is
    looked for is for this unit (or all), has a function's proper length up to the very end, and a right CRC."""
    if n < 4 or crc16(buf, n) == 0:
        return n
    for at in range(1, n - 3):
        unit = buf[at]
        if (unit == unit_id or unit == 0) and _proper_length(buf, at, n) == n - at and crc16(buf, n, at) == 0:
            for i in range(n - at):
                buf[i] = buf[at + i]
            return n - at
    return n


def _proper_length(buf, at: int, n: int) -> int:
    """Length of a request that would begin at `at`, with its CRC; 0 where no function is."""
    function = buf[at + 1]
    if COILS <= function <= _WRITE_REGISTER:
        return 8
    if function == _WRITE_COILS or function == _WRITE_REGISTERS:
        return 9 + buf[at + 6] if at + 6 < n else 0
    if function == _READ_FILE_RECORD or function == _WRITE_FILE_RECORD:
        return 5 + buf[at + 2]
    return 4 if function == _REPORT_SERVER_ID else 7 if function == _ENCAPSULATED else 0


class Server:
    """One unit on a line. `identity` are the device identification objects from 0 on: vendor, product code, revision,
    then optionally URL, product name, model name, application name."""

    def __init__(self, unit_id: int, bank, identity: tuple, files=None):
        if not 1 <= unit_id <= 247:
            raise ValueError("unit id: expected 1 to 247, got %d" % unit_id)
        if not 3 <= len(identity) <= _LAST_REGULAR + 1 or sum(len(i) + 2 for i in identity) > _MAX_IDENTITY:
            raise ValueError("identity: expected 3 to 7 objects of %d bytes together" % _MAX_IDENTITY)
        self.unit_id = unit_id
        self.bank = bank
        self.files = files
        self.identity = identity
        self.out = bytearray(MAX_FRAME)
        self.frames = self.crc_errors = 0

    def handle(self, buf, n: int) -> int:
        """Act on the n bytes of one frame in buf. Returns the length of the answer in `out`, 0 for silence."""
        if n < 4 or n > MAX_FRAME or crc16(buf, n) != 0:
            self.crc_errors = self.crc_errors + 1 & 0xFFFF
            return 0
        unit = buf[0]
        if unit != 0 and unit != self.unit_id:
            return 0
        self.frames = self.frames + 1 & 0xFFFF
        out = self.out
        out[0] = self.unit_id
        out[1] = buf[1]
        length = self._act(buf, n - 2)
        if length < 0:
            out[1] = buf[1] | 0x80
            out[2] = -length
            length = 3
        if unit == 0:
            return 0
        crc = crc16(out, length)
        out[length] = crc & 0xFF
        out[length + 1] = crc >> 8
        return length + 2

    def _act(self, buf, n: int) -> int:
        """n: bytes without CRC. Returns the length in `out` without CRC, or minus an exception code."""
        function = buf[1]
        if COILS <= function <= INPUTS:
            return self._read(buf, n, function)
        if function == _WRITE_COIL or function == _WRITE_REGISTER:
            return self._write_one(buf, n, function)
        if function == _WRITE_COILS or function == _WRITE_REGISTERS:
            return self._write_many(buf, n, function)
        if function == _REPORT_SERVER_ID:
            return self._report_server_id(n)
        if function == _READ_FILE_RECORD or function == _WRITE_FILE_RECORD:
            return self._file(buf, n, function == _WRITE_FILE_RECORD)
        if function == _ENCAPSULATED:
            return self._identify(buf, n)
        return -ILLEGAL_FUNCTION

    def _read(self, buf, n: int, area: int) -> int:
        if n != 6:
            return -ILLEGAL_VALUE
        start = buf[2] << 8 | buf[3]
        count = buf[4] << 8 | buf[5]
        bits = area <= DISCRETES
        if not 1 <= count <= (2000 if bits else 125):
            return -ILLEGAL_VALUE
        size = (count + 7) >> 3 if bits else 2 * count
        self.out[2] = size
        error = self.bank.read(area, start, count, self.out, 3)
        return error if error < 0 else 3 + size

    def _write_one(self, buf, n: int, function: int) -> int:
        if n != 6:
            return -ILLEGAL_VALUE
        start = buf[2] << 8 | buf[3]
        if function == _WRITE_COIL:
            if buf[5] != 0 or (buf[4] != 0 and buf[4] != 0xFF):
                return -ILLEGAL_VALUE
            error = self.bank.write(COILS, start, 1, buf, 4)
        else:
            error = self.bank.write(HOLDINGS, start, 1, buf, 4)
        return error if error < 0 else self._echo(buf, 6)

    def _write_many(self, buf, n: int, function: int) -> int:
        if n < 8:
            return -ILLEGAL_VALUE
        start = buf[2] << 8 | buf[3]
        count = buf[4] << 8 | buf[5]
        coils = function == _WRITE_COILS
        size = (count + 7) >> 3 if coils else 2 * count
        if not 1 <= count <= (1968 if coils else 123) or buf[6] != size or n != 7 + size:
            return -ILLEGAL_VALUE
        error = self.bank.write(COILS if coils else HOLDINGS, start, count, buf, 7)
        return error if error < 0 else self._echo(buf, 6)

    def _file(self, buf, n: int, write: bool) -> int:
        files = self.files
        if files is None:
            return -ILLEGAL_FUNCTION
        if n < 10 or buf[2] > (251 if write else 245) or n != 3 + buf[2]:
            return -ILLEGAL_VALUE
        at = 3
        length = 3  # of the answer
        while at < n:  # the shape of every group first, so that a malformed request writes nothing
            if n - at < 7:
                return -ILLEGAL_VALUE
            count = buf[at + 5] << 8 | buf[at + 6]
            if buf[at] != 6 or count == 0 or (buf[at + 3] << 8 | buf[at + 4]) + count > 10000:
                return -ILLEGAL_ADDRESS
            at += 7 + 2 * count if write else 7
            length += 2 + 2 * count
        if at != n or not write and length > 248:
            return -ILLEGAL_VALUE
        out = self.out
        at = length = 3
        while at < n:
            file = buf[at + 1] << 8 | buf[at + 2]
            record = buf[at + 3] << 8 | buf[at + 4]
            count = buf[at + 5] << 8 | buf[at + 6]
            at += 7
            if write:
                error = files.write(file, record, count, buf, at)
                at += 2 * count
            else:
                out[length] = 2 * count + 1
                out[length + 1] = 6
                error = files.read(file, record, count, out, length + 2)
                length += 2 + 2 * count
            if error < 0:
                return error
        if write:
            return self._echo(buf, n)
        out[2] = length - 3
        return length

    def _report_server_id(self, n: int) -> int:
        if n != 2:
            return -ILLEGAL_VALUE
        name = self.identity[1]
        self.out[2] = len(name) + 1
        at = self._place(name, 3)
        self.out[at] = 0xFF  # run indicator: on
        return at + 1

    def _identify(self, buf, n: int) -> int:
        if n < 3 or buf[2] != _READ_DEVICE_ID:
            return -ILLEGAL_FUNCTION
        if n != 5 or not 1 <= buf[3] <= 4:
            return -ILLEGAL_VALUE
        out = self.out
        code = buf[3]
        first = buf[4]
        last = len(self.identity) - 1
        if code == 4:
            if first > last:
                return -ILLEGAL_ADDRESS
            last = first
        else:
            if code == 1:
                last = _LAST_BASIC
            if first > last:  # 6.21: an object id that is not known starts the answer again at 0
                first = 0
        out[2] = _READ_DEVICE_ID
        out[3] = code
        out[4] = 0x82  # conformity: regular, by stream and one by one
        out[5] = out[6] = 0  # nothing follows
        out[7] = last - first + 1
        at = 8
        for i in range(first, last + 1):
            value = self.identity[i]
            out[at] = i
            out[at + 1] = len(value)
            at = self._place(value, at + 2)
        return at

    def _place(self, value: bytes, at: int) -> int:
        for i in range(len(value)):
            self.out[at + i] = value[i]
        return at + len(value)

    def _echo(self, buf, n: int) -> int:
        for i in range(2, n):
            self.out[i] = buf[i]
        return n
