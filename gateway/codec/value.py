"""Raw bytes <-> number: width, sign, order, scale, and the raw values that mean "no value".

The order of steps is fixed: bytes -> order -> raw number -> sentinel? -> bits -> scale -> offset. A sentinel is compared
with the raw number, because that is how manuals give it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Type = Literal[
    "u8",
    "i8",
    "u16",
    "i16",
    "u24",
    "i24",
    "u32",
    "i32",
    "u48",
    "u64",
    "i64",
    "f32",
    "f64",
    "bcd8",
    "bcd16",
    "bcd32",
    "bit",
]
"""`bit`: one bit of a register or byte, 0 or 1; the rest by kind and number of bits."""

SIZE: dict[str, int] = {
    "u8": 1, "i8": 1, "bit": 1, "bcd8": 1, "u16": 2, "i16": 2, "bcd16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4,
    "f32": 4, "bcd32": 4, "u48": 6, "u64": 8, "i64": 8, "f64": 8,
}  # fmt: skip

Order = Literal["big", "little"]


class Format(BaseModel):
    """How a point's number is written in the device.

    word_order, byte_order: of 16-bit words in a wide value, and of bytes in a word (Modbus: both "big" means the high
        word first, high byte first). For a value that is no whole number of words, byte_order alone counts.
    exponent_at: bytes before the value at which a signed byte holds a power of ten to multiply with (DALI banks).
    mask: bits that count, before the shift that brings the lowest of them to bit 0.
    sentinels: raw values that mean "no value". NaN always does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    type: Type
    word_order: Order = "big"
    byte_order: Order = "big"
    scale: float = Field(default=1.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    mask: int | None = Field(default=None, gt=0)
    sentinels: tuple[int, ...] = ()
    exponent_at: int | None = Field(default=None, ge=1, le=8)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.type.startswith("f") and (self.mask or self.sentinels):
            raise ValueError("mask and sentinels: only with whole numbers, a float says NaN")
        if self.scale == 0:
            raise ValueError("scale: expected anything but 0")
        bits = 8 * self.size
        if self.mask and self.mask >= 1 << bits:
            raise ValueError(f"mask: expected at most {bits} bits for {self.type}, got {self.mask:#x}")
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if self.type.startswith("i") else (0, (1 << bits) - 1)
        if strange := [raw for raw in self.sentinels if not low <= raw <= high]:
            raise ValueError(f"sentinels: expected raw values of {self.type}, {low} to {high}, got {strange}")
        return self

    @property
    def size(self) -> int:
        """Bytes the value takes, without a separate exponent."""
        return SIZE[self.type]

    def decoder(self) -> Decoder:
        """From exactly `size` bytes (with an exponent: `exponent_at` bytes more, in front) to the value."""
        meaning = tuple(getattr(self, name) for name in Format.model_fields)
        ready = _DECODERS.get(meaning)
        if ready is None:
            ready = _DECODERS[meaning] = Decoder(self)
        return ready

    def encode(self, value: float) -> bytes:
        """The bytes that decode to `value`, or the nearest that can be written. Raises ValueError when it does not fit,
        or when the format cannot be written alone (bits of a register, separate exponent)."""
        if self.mask is not None or self.exponent_at is not None or self.type.startswith("bcd"):
            raise ValueError(f"type {self.type}: expected a whole value to write, this one shares its bytes")
        if not math.isfinite(value):
            raise ValueError(f"{value}: expected a number to write")
        number = (value - self.offset) / self.scale
        if self.type == "bit" and number not in (0, 1):
            raise ValueError(f"{value}: expected 0 or 1 for a bit")
        if self.type in ("f32", "f64"):
            try:
                data = struct.pack(">f" if self.type == "f32" else ">d", number)
            except OverflowError:
                raise ValueError(f"{value}: does not fit {self.type} at scale {self.scale}") from None
        else:
            whole = round(number)
            if whole in self.sentinels:
                raise ValueError(f"{value}: raw {whole} would mean 'no value'")
            try:
                data = whole.to_bytes(self.size, "big", signed=self.type.startswith("i"))
            except OverflowError:
                raise ValueError(f"{value}: does not fit {self.type} at scale {self.scale}") from None
        return reordered(data, self.word_order, self.byte_order)


class Decoder:
    """What a format means, made ready: bytes to value, or None for "no value".

    code: how `struct` reads the raw number, big-endian, where it can; then `finish` makes the value of it, so that a whole
    block is unpacked at once. Empty where it cannot.
    """

    __slots__ = ("_exponent", "_raw", "code", "finish")

    def __init__(self, form: Format) -> None:
        self._raw = _raw_reader(form)
        self._exponent = form.exponent_at or 0
        plain = form.byte_order == "big" and (form.word_order == "big" or form.size <= 2)
        self.code = _CODES.get(form.type, "") if plain and not self._exponent else ""
        self.finish = _finisher(form)

    def __call__(self, data: bytes) -> float | None:
        lead = self._exponent
        if not lead:
            number = self._raw(data)
            return None if number is None else self.finish(number)
        number = self._raw(data[lead:])
        value = None if number is None else self.finish(number)
        if value is None:
            return None
        exponent: int = _SIGNED_BYTE.unpack_from(data)[0]
        value = value * 10.0**exponent if exponent >= 0 else value / 10.0**-exponent
        return value if math.isfinite(value) else None


_DECODERS: dict[tuple[object, ...], Decoder] = {}
"""Those made so far: a site has many points and few formats."""

_CODES = {
    "u8": "B", "bit": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
_SIGNED_BYTE = struct.Struct("b")


def _finisher(form: Format) -> Callable[[float], float | None]:
    """Raw number -> value: sentinels, bits, scale, offset."""
    shift = (form.mask & -form.mask).bit_length() - 1 if form.mask else 0
    mask, sentinels, scale, offset = form.mask, frozenset(form.sentinels), form.scale, form.offset
    # A tenth is no binary number, ten is: dividing gives 35.8 where multiplying gives 35.800000000000004.
    divisor = round(1 / scale) if abs(scale) < 1 and abs(1 / scale - round(1 / scale)) < 1e-9 else None
    isfinite = math.isfinite

    def finish(number: float) -> float | None:
        if number in sentinels:
            return None
        if mask is not None:
            number = (int(number) & mask) >> shift
        value = (number / divisor if divisor else number * scale) + offset
        return value if isfinite(value) else None

    def finish_as_it_is(number: float) -> float | None:
        return None if number in sentinels else float(number)

    def finish_float(number: float) -> float | None:
        return number if isfinite(number) else None

    if mask is not None or scale != 1 or offset != 0:
        return finish
    return finish_float if form.type in ("f32", "f64") else finish_as_it_is


def reordered(data: bytes, word_order: Order, byte_order: Order) -> bytes:
    """Between device order and big-endian; its own inverse."""
    if len(data) % 2:
        return data if byte_order == "big" else data[::-1]
    words = [data[i : i + 2] if byte_order == "big" else data[i : i + 2][::-1] for i in range(0, len(data), 2)]
    return b"".join(words if word_order == "big" else reversed(words))


def _raw_reader(form: Format) -> Callable[[bytes], float | None]:
    """Bytes -> raw number; None for what is no number at all (NaN, a digit above 9 in BCD)."""
    word_order, byte_order, size = form.word_order, form.byte_order, form.size
    plain = word_order == byte_order == "big"

    def ordered(data: bytes) -> bytes:
        return data if plain else reordered(data, word_order, byte_order)

    if form.type in ("f32", "f64"):
        unpack = struct.Struct(">f" if form.type == "f32" else ">d").unpack

        def read_float(data: bytes) -> float | None:
            number: float = unpack(ordered(data))[0]
            return number if math.isfinite(number) else None

        return read_float
    if form.type.startswith("bcd"):

        def read_bcd(data: bytes) -> float | None:
            digits = ordered(data).hex()
            return int(digits) if digits.isdecimal() else None

        return read_bcd
    signed = form.type.startswith("i")

    def read_whole(data: bytes) -> float | None:
        return int.from_bytes(ordered(data[:size]), "big", signed=signed)

    return read_whole
