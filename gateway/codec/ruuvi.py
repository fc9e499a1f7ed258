"""Ruuvi data format 5 (RAWv2): what RuuviTags say in Bluetooth advertisements, manufacturer data of company 0x0499.

24 bytes, big-endian, each quantity at a fixed place; the largest unsigned or the lowest signed number means "not
available". A tag measures less often than it advertises: a sequence number tells a new measurement from one that is
said once more.

Source: Ruuvi, data format 5 (docs.ruuvi.com, Bluetooth advertisements, RAWv2; ruuvi-sensor-protocols dataformat_05.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from gateway.codec import Broadcast, HeardCodec, Place
from gateway.codec.value import Format
from gateway.errors import GarbledAnswer

PART = "mfr:0499"
"""The part of a Broadcast that holds Ruuvi's data."""

Quantity = Literal[
    "temperature", "humidity", "pressure", "acceleration_x", "acceleration_y", "acceleration_z", "battery", "movements"
]

_LENGTH = 24
_SEQUENCE = slice(16, 18)
_NO_SEQUENCE = b"\xff\xff"


class Field(NamedTuple):
    """Where a quantity stands, how its number is written, and its UCUM unit."""

    start: int
    format: Format
    unit: str


_ACCELERATION = Format(type="i16", scale=0.001, sentinels=(-0x8000,))

FIELDS: dict[Quantity, Field] = {
    "temperature": Field(1, Format(type="i16", scale=0.005, sentinels=(-0x8000,)), "Cel"),
    "humidity": Field(3, Format(type="u16", scale=0.0025, sentinels=(0xFFFF,)), "%"),
    "pressure": Field(5, Format(type="u16", offset=50_000, sentinels=(0xFFFF,)), "Pa"),
    "acceleration_x": Field(7, _ACCELERATION, "g"),
    "acceleration_y": Field(9, _ACCELERATION, "g"),
    "acceleration_z": Field(11, _ACCELERATION, "g"),
    # The upper 11 bits, volts above 1.6; the lower 5 are the transmitting power, which is of no use here.
    "battery": Field(
        13, Format(type="u16", mask=0xFFE0, scale=0.001, offset=1.6, sentinels=tuple(range(0xFFE0, 0x10000))), "V"
    ),
    "movements": Field(15, Format(type="u8", sentinels=(0xFF,)), "1"),
}
"""movements: how often the tag was moved, counting round from 254 to 0."""


class RuuviPlace(BaseModel):
    """A quantity of an advertisement."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    quantity: Quantity

    def format(self) -> Format:
        """How the number is written: the quantity fixes it."""
        return FIELDS[self.quantity].format


_PLACES = {
    RuuviPlace(quantity=quantity): slice(field.start, field.start + field.format.size)
    for quantity, field in FIELDS.items()
}


class Ruuvi(HeardCodec):
    """Data format 5 as the codec of one heard device. repeats: advertisements without a new measurement; only grows."""

    def __init__(self) -> None:
        self._sequence = _NO_SEQUENCE
        self.repeats = 0

    def values(self, heard: Broadcast) -> Mapping[Place, bytes] | None:
        """The raw bytes of each quantity, none for a measurement that was said already; None without Ruuvi's data in the
        broadcast. Raises GarbledAnswer for another format or length."""
        data = heard.parts.get(PART)
        if data is None:
            return None
        if data[:1] != b"\x05":
            got = f"{data[0]:#04x}" if data else "no data"
            raise GarbledAnswer(f"Ruuvi {heard.sender}: expected data format 5, got {got}; update the tag", data[:32])
        if len(data) != _LENGTH:
            raise GarbledAnswer(f"Ruuvi {heard.sender}: expected {_LENGTH} bytes, got {len(data)}", data[:32])
        sequence = data[_SEQUENCE]
        if sequence == self._sequence and sequence != _NO_SEQUENCE:
            self.repeats += 1
            return {}
        self._sequence = sequence
        return {place: data[where] for place, where in _PLACES.items()}
