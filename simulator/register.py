"""Numbers as devices write them, made without the gateway's codec: by pymodbus where it knows the type, by `struct` where
it does not. A mistake in the gateway's decoder is then not made here a second time.

Only the description is shared (`Format`: type, orders, scale, mask); every step from it to bytes is this file's own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pymodbus.client.mixin import ModbusClientMixin

from gateway.codec.value import Format

_TYPES = {
    "i16": ModbusClientMixin.DATATYPE.INT16,
    "u16": ModbusClientMixin.DATATYPE.UINT16,
    "i32": ModbusClientMixin.DATATYPE.INT32,
    "u32": ModbusClientMixin.DATATYPE.UINT32,
    "i64": ModbusClientMixin.DATATYPE.INT64,
    "u64": ModbusClientMixin.DATATYPE.UINT64,
    "f32": ModbusClientMixin.DATATYPE.FLOAT32,
    "f64": ModbusClientMixin.DATATYPE.FLOAT64,
}
_BYTES = {"u8": 1, "i8": 1, "bcd8": 1, "bcd16": 2, "u24": 3, "i24": 3, "bcd32": 4, "u48": 6}


def words_of(form: Format, raw: float) -> list[int]:
    """The registers that hold a raw number, in the order in which they are sent. A value that is no whole number of
    registers fills the front of the last one."""
    if form.type in _TYPES:
        number = raw if form.type.startswith("f") else int(raw)
        words = ModbusClientMixin.convert_to_registers(number, _TYPES[form.type], word_order=form.word_order)
        return [_swapped(word) for word in words] if form.byte_order == "little" else words
    data = bytes_of(form, raw)
    return list(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))


def bytes_of(form: Format, raw: float) -> bytes:
    """The bytes that hold a raw number, in the order in which they are sent."""
    if form.type in _TYPES:
        words = words_of(form, raw)
        return struct.pack(f">{len(words)}H", *words)
    size = _BYTES[form.type]
    if form.type.startswith("bcd"):
        data = bytes.fromhex(f"{int(raw):0{2 * size}d}")
    else:
        data = struct.pack(">q", int(raw))[8 - size :]
    if size % 2:
        return data[::-1] if form.byte_order == "little" else data
    pairs = list(struct.unpack(f">{size // 2}H", data))
    if form.word_order == "little":
        pairs.reverse()
    if form.byte_order == "little":
        pairs = [_swapped(pair) for pair in pairs]
    return struct.pack(f">{size // 2}H", *pairs)


def raw_of(form: Format, words: Sequence[int]) -> float:
    """The raw number that somebody wrote into registers. Raises ValueError for a type that cannot be written."""
    if form.type not in _TYPES:
        raise ValueError(f"type {form.type}: cannot be written")
    ordered = [_swapped(word) for word in words] if form.byte_order == "little" else list(words)
    found = ModbusClientMixin.convert_from_registers(ordered, _TYPES[form.type], word_order=form.word_order)
    assert isinstance(found, int | float)
    return found


def shift_of(mask: int) -> int:
    """How far the lowest bit of a mask is from bit 0."""
    shift = 0
    while not mask >> shift & 1:
        shift += 1
    return shift


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8
