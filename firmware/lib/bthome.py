"""BTHome v2 advertisements (bthome.io/format), plain and encrypted, for a node that speaks unasked.

One advertisement has a fixed list of objects, given once, in the ascending order that BTHome asks for; each time, their
numbers are packed into the same buffer, without heap. Numbers are as BTHome counts them (object 0x02: 0.01 degrees).

Legacy advertising has room for 31 bytes: flags 3, service data header 5, so 23 bytes of objects; encrypted 15.
"""

from ccm import Ccm
from micropython import const

BATTERY = const(0x01)  # 1 %
TEMPERATURE = const(0x02)  # 0.01 degrees C, signed
VOLTAGE = const(0x0C)  # 0.001 V
PROBLEM = const(0x26)
DISTANCE_MM = const(0x40)

# size of each object's number; + 0x10 where it is signed
_SIZES = {
    BATTERY: 1,
    TEMPERATURE: 0x12,
    VOLTAGE: 2,
    PROBLEM: 1,
    DISTANCE_MM: 2,
}
_HEADER = b"\x02\x01\x06\x00\x16\xd2\xfc"  # flags; length to be filled in; service data of UUID 0xFCD2
_INFO = const(7)
_OBJECTS = const(8)
_LEGACY = const(31)
_PLAIN_V2 = const(0x40)
_ENCRYPTED_V2 = const(0x41)


class Advertisement:
    """Objects by number, ascending. With key (16 bytes), mac (6 bytes, as printed) and counter, it is encrypted;
    counter.next() gives the four bytes of a number that never comes twice for this key."""

    def __init__(self, objects: tuple, key: bytes = b"", mac: bytes = b"", counter=None):
        if list(objects) != sorted(objects):
            raise ValueError("BTHome: objects must ascend")
        self._sizes = bytes(_SIZES[o] for o in objects)
        self._objects = bytes(objects)
        self._n = sum(1 + (s & 15) for s in self._sizes)
        room = _LEGACY - _OBJECTS - (8 if key else 0)
        if self._n > room:
            raise ValueError("BTHome: %d bytes of objects, %d fit" % (self._n, room))
        self.buf = bytearray(_OBJECTS + self._n + (8 if key else 0))
        self.buf[:_INFO] = _HEADER
        self.buf[3] = len(self.buf) - 4
        self.buf[_INFO] = _ENCRYPTED_V2 if key else _PLAIN_V2
        self._counter = counter
        if key:
            if len(mac) != 6 or counter is None:
                raise ValueError("BTHome: encryption needs the address (6 bytes) and a counter")
            self._ccm = Ccm(key, 13, 4)
            self._nonce = bytearray(mac + b"\xd2\xfc\x41\0\0\0\0")
        else:
            self._ccm = None

    def encode(self, numbers) -> bytearray:
        """The advertisement for these numbers, one an object, in `buf`, which the next call overwrites. A number that
        does not fit its object is held at the nearest that does."""
        buf = self.buf
        at = _OBJECTS
        for i in range(len(self._objects)):
            buf[at] = self._objects[i]
            at = _pack(buf, at + 1, numbers[i], self._sizes[i])
        ccm = self._ccm
        counter = self._counter
        if ccm is not None and counter is not None:
            nonce = self._nonce
            count = counter.next()
            for i in range(4):
                nonce[9 + i] = count[i]
            n = self._n
            ccm.encrypt(nonce, buf, _OBJECTS, n)
            # BTHome puts the counter between ciphertext and tag
            end = _OBJECTS + n
            for i in range(4):
                buf[end + 4 + i] = buf[end + i]
                buf[end + i] = count[i]
        return buf


def _pack(buf, at: int, number: int, size: int) -> int:
    """`number` little-endian at `at`; returns where the next object goes."""
    bits = 8 * (size & 15)
    if size & 0x10:
        high = (1 << (bits - 1)) - 1
        number = -high - 1 if number < -high - 1 else high if number > high else number
    else:
        high = (1 << bits) - 1
        number = 0 if number < 0 else high if number > high else number
    for _ in range(size & 15):
        buf[at] = number & 0xFF
        number >>= 8
        at += 1
    return at


class Counter:
    """A 32-bit number that never repeats over reboots, and costs one flash write in `block` uses.

    store.load() gives the four bytes kept (b"" when none), store.keep(buf) keeps four bytes durably. What is kept is
    always above every number given out: after a power cut the rest of the block is skipped, never reused.
    """

    def __init__(self, store, block: int = 1024):
        if not 256 <= block <= 65536 or block & 255:
            raise ValueError("counter: expected a block of 256 to 65536, a multiple of 256")
        self._store = store
        self._block = block
        self._next = bytearray(store.load() or b"\0\0\0\0")
        if len(self._next) != 4:
            raise ValueError("counter: expected 4 bytes kept, got %d" % len(self._next))
        self._limit = bytearray(4)
        self._out = bytearray(4)
        self._left = 0

    def next(self) -> bytearray:
        """The next number, little-endian, in a buffer that the next call overwrites. Raises OverflowError at the end
        of 32 bits: then the node needs a new key."""
        if self._left == 0:
            self._reserve()
        self._left -= 1
        number = self._next
        out = self._out
        for i in range(4):
            out[i] = number[i]
        for i in range(4):
            number[i] = (number[i] + 1) & 0xFF
            if number[i]:
                break
        return out

    def _reserve(self) -> None:
        limit = self._limit
        limit[0] = self._next[0]
        carry = self._block >> 8
        for i in range(1, 4):
            carry += self._next[i]
            limit[i] = carry & 0xFF
            carry >>= 8
        if carry:
            raise OverflowError("counter: 32 bits used up; give this node a new key")
        self._store.keep(limit)
        self._left = self._block
