"""A point of a device model: a named quantity, where it stands, in which unit, and what its sensor can give. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import CoreSchema, no_info_plain_validator_function

from gateway.codec.bthome import OBJECTS, BthomePlace
from gateway.codec.canopen_lift import EMERGENCY, LARGEST_PDO, CanopenPlace, CobId
from gateway.codec.dali import DaliPlace
from gateway.codec.gatt import Characteristic, GattPlace
from gateway.codec.mbus import MAX_READOUT, MbusPlace
from gateway.codec.mbus_record import UNIT_OF
from gateway.codec.modbus import ModbusPlace
from gateway.codec.ruuvi import FIELDS, RuuviPlace
from gateway.codec.value import Format, Order
from gateway.contradiction import Claim
from gateway.unit import UNITS

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"


def duration_s(text: str) -> float:
    """`90s`, `15min`, `1h` -> seconds, up to a year. Raises ValueError for anything else, and for nothing at all."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError(f"{text!r}: expected a duration such as '500ms', '60s', '15min', '1h', a year at most")
    return seconds


def _known_duration(text: str) -> str:
    duration_s(text)
    return text


Duration = Annotated[str, AfterValidator(_known_duration)]
"""Such as "15min" (see `duration_s`)."""
DurationOrNone = Annotated[str, AfterValidator(lambda text: text and _known_duration(text))]
"""The same, or nothing at all."""


class WhenMet:
    """Marks a table that most files have none of: what checks it is built when the first one is met, not with the file."""

    def __get_pydantic_core_schema__(self, table: type[BaseModel], build: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_plain_validator_function(table.model_validate)


class Closed(BaseModel):
    """A table of a file that a person writes: an unknown key is a fault."""

    # Built when first used: of the kinds of profiles a site needs one or two, and each takes time and memory.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Write(Closed):
    """Limits of any write to a point, in its unit. Without this table a point cannot be written at all."""

    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Point(Closed):
    """A named quantity that a device offers.

    range: what the sensor can physically give, in the unit; a value outside is bad. personal: whether the signal says
    something of a person; there is no default, whoever writes the profile must have thought of it. write_only: it cannot
    be read back; that the device confirmed the write has to do.
    """

    name: str = Field(pattern=NAME)
    title: str = ""
    unit: str
    personal: Literal["no", "indirect", "direct"]
    every: DurationOrNone = ""
    range: tuple[float, float] | None = None
    labels: dict[str, str] = {}
    write: Write | None = None
    write_only: bool = False

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        if unit not in UNITS:
            raise ValueError(f"unit {unit!r} is not known; use a UCUM code, one of {', '.join(UNITS)}")
        return unit

    @property
    def form(self) -> Format | None:
        """How its number is written; None where the protocol gives numbers as such."""
        return None

    @property
    def claim(self) -> Claim | None:
        """The bytes it is made of; None where points cannot overlap."""
        return None

    @model_validator(mode="after")
    def _range_ordered(self) -> Self:
        if self.range and not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected [lowest, highest], got {list(self.range)}")
        return self


class ModbusPoint(Point, ModbusPlace, Format):
    """A point in Modbus registers, or one bit of them."""

    @cached_property
    def place(self) -> ModbusPlace:
        return ModbusPlace(register=self.area, address=self.address)

    @property
    def form(self) -> Format:
        return self

    @property
    def claim(self) -> Claim:
        lead = self.exponent_at or 0
        return Claim(self.area, self.address if self.type == "bit" else 2 * self.address + lead, lead)

    @model_validator(mode="after")
    def _bits_from_bit_areas(self) -> Self:
        if (self.type == "bit") != (self.area in ("coil", "discrete")):
            raise ValueError(
                f"type {self.type!r} in {self.area!r}: a coil or discrete input has type 'bit', a register any other"
            )
        cells = self.size if self.type == "bit" else (self.size + (self.exponent_at or 0) + 1) // 2
        if self.address + cells > 0x10000:
            raise ValueError(f"address: {cells} cells from {self.address} on go beyond 65535; correct address or type")
        return self


class DaliPoint(Point, DaliPlace, Format):
    """A point of DALI control gear: the answer to a query, or locations of a memory bank."""

    @cached_property
    def place(self) -> DaliPlace:
        return DaliPlace(query=self.query, bank=self.bank, location=self.location)

    @property
    def form(self) -> Format:
        return self

    @property
    def claim(self) -> Claim:
        if self.query is not None or self.location is None:
            return Claim(self.query, 0)
        lead = self.exponent_at or 0
        return Claim(self.bank, self.location + lead, lead)

    @model_validator(mode="after")
    def _within_bank(self) -> Self:
        size = self.size + (self.exponent_at or 0)
        if self.query is not None and size > 1:
            raise ValueError(f"type {self.type!r}: expected one of 8 bits, the answer to a query is a single byte")
        if self.location is not None and self.location + size > 0xFF:
            raise ValueError(f"location: {size} bytes from {self.location:#04x} on go beyond 0xFE; correct either")
        return self


class BthomePoint(Point, BthomePlace):
    """A point that a BTHome device advertises; the object id fixes how its number is written."""

    @model_validator(mode="after")
    def _unit_of_object(self) -> Self:
        if self.unit != (given := OBJECTS[self.object].unit or "1"):
            raise ValueError(f"unit: object {self.object:#04x} is in {given!r}, got {self.unit!r}")
        return self

    @cached_property
    def place(self) -> BthomePlace:
        return BthomePlace(object=self.object, index=self.index)

    @property
    def form(self) -> Format:
        return self.place.format()

    @property
    def claim(self) -> Claim:
        return Claim((self.object, self.index), 0)


class RuuviPoint(Point, RuuviPlace):
    """A point that a RuuviTag advertises; the quantity fixes how its number is written."""

    @model_validator(mode="after")
    def _unit_of_quantity(self) -> Self:
        if self.unit != (given := FIELDS[self.quantity].unit):
            raise ValueError(f"unit: {self.quantity!r} is in {given!r}, got {self.unit!r}")
        return self

    @cached_property
    def place(self) -> RuuviPlace:
        return RuuviPlace(quantity=self.quantity)

    @property
    def form(self) -> Format:
        return self.place.format()

    @property
    def claim(self) -> Claim:
        return Claim(self.quantity, 0)


class MbusPoint(Point, MbusPlace):
    """A point of an M-Bus meter, by what its telegram says of the number; the quantity fixes the unit. mask: the bits that
    count, before the shift that brings the lowest of them to bit 0."""

    mask: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _unit_of_quantity(self) -> Self:
        if self.unit != (given := UNIT_OF[self.quantity]):
            raise ValueError(f"unit: {self.quantity} is in {given!r}, got {self.unit!r}")
        return self

    @cached_property
    def place(self) -> MbusPlace:
        return MbusPlace.model_validate({name: getattr(self, name) for name in MbusPlace.model_fields})

    def decoder(self) -> Callable[[bytes], float | None]:
        """From the telegrams of a meter to the value. Raises GarbledAnswer for bytes that are none."""
        place, mask = self.place, self.mask
        shift = (mask & -mask).bit_length() - 1 if mask else 0

        def decode(telegrams: bytes) -> float | None:
            value = place.value(telegrams)
            return value if value is None or mask is None else float((int(value) & mask) >> shift)

        return decode


class GattPoint(Point, Format):
    """A point of a Bluetooth device that is connected to: bytes of a characteristic, little-endian."""

    characteristic: Characteristic
    byte: int = Field(default=0, ge=0, le=511)
    word_order: Order = "little"
    byte_order: Order = "little"

    @cached_property
    def place(self) -> GattPlace:
        return GattPlace(characteristic=self.characteristic, byte=self.byte, size=self.size, mask=self.mask)

    @property
    def form(self) -> Format:
        return self

    @property
    def claim(self) -> Claim:
        return Claim(self.characteristic, self.byte)

    @model_validator(mode="after")
    def _plain(self) -> Self:
        if self.exponent_at is not None or self.type == "bit":
            raise ValueError(
                "type: numbers in a characteristic have no exponent apart; a single bit is 'u8' with a mask"
            )
        return self


class CanopenPoint(Point, Format):
    """A point that a node of a lift sends unasked: bits of one of its frames, little-endian. cob_id, plus_node, byte: see
    `CanopenPlace`."""

    cob_id: CobId
    plus_node: bool = False
    byte: int = Field(ge=0, lt=LARGEST_PDO)
    word_order: Order = "little"
    byte_order: Order = "little"

    @cached_property
    def place(self) -> CanopenPlace:
        return CanopenPlace(
            cob_id=self.cob_id, plus_node=self.plus_node, byte=self.byte, size=self.size, mask=self.mask
        )

    @property
    def form(self) -> Format:
        return self

    @property
    def claim(self) -> Claim:
        return Claim((self.cob_id, self.plus_node), self.byte)

    @model_validator(mode="after")
    def _within_frame(self) -> Self:
        if self.byte + self.size > LARGEST_PDO:
            raise ValueError(f"byte: {self.size} bytes from {self.byte} on go beyond the 8 of a frame; correct either")
        if self.plus_node and self.cob_id == EMERGENCY:
            raise ValueError("cob_id: what an emergency message says becomes the reason of a doubtful value; remove it")
        if self.exponent_at is not None or self.type == "bit":
            raise ValueError("type: numbers in a frame have no exponent apart; a single bit is 'u8' with a mask")
        return self


class RecordedPoint(Point):
    """A point whose readings come from a file (`guet replay`)."""


WritablePoint = ModbusPoint | DaliPoint
PolledPoint = WritablePoint | MbusPoint | GattPoint
HeardPoint = BthomePoint | RuuviPoint | CanopenPoint
FilePoint = PolledPoint | HeardPoint
AnyPoint = FilePoint | RecordedPoint


def bytes_of(point: FilePoint) -> int:
    """How many bytes the point takes at its place, a separate exponent in front of the value included; of a meter, whose
    points all are in what it says as a whole, the most that it may say."""
    if isinstance(point, MbusPoint):
        return MAX_READOUT
    return point.form.size + (point.form.exponent_at or 0)


def decoder_of(point: FilePoint) -> Callable[[bytes], float | None]:
    """From the bytes at the point's place to its value. Raises GarbledAnswer for bytes that no such device sends."""
    return point.decoder() if isinstance(point, MbusPoint) else point.form.decoder()
