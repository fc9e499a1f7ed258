"""GATT: reading the characteristics of a Bluetooth device that is connected to, and nothing else.

A device has its values in characteristics, each known by a UUID: of 16 bits where the Bluetooth SIG assigned it (2a6e is
a temperature), else of 128. A characteristic is read whole; a point is some of its bytes, little-endian. All wanted of
a device is read within one connection, because connecting is what costs its battery: one `Ask` names the device and all its
characteristics, and its answer has the value of each, or that there is none.

Source: Bluetooth Core Specification, Vol 3, Part G (GATT 3.3) and Part F (ATT, error codes 3.4.1.1); GATT Specification
Supplement (how each assigned characteristic is written); Assigned Numbers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from gateway.codec import Ask, Limits, Place, Procedure, Span
from gateway.errors import GarbledAnswer, NoSuchPlace, Refused

LONGEST: Final = 512
"""Bytes of a value at the most (ATT 3.2.9)."""
MOST: Final = 16
"""Characteristics read within one connection."""

_BASE = uuid.UUID("00000000-0000-1000-8000-00805f9b34fb")
_NONE = 0xFFFF
"""In place of a length: the device has no such characteristic."""
_NOT_FOUND = 0x0A
"""ATT error code of an attribute that is not there."""

Characteristic = Annotated[str, Field(pattern=r"^([0-9a-f]{4}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]


class GattPlace(BaseModel):
    """Bytes of a characteristic. characteristic: its UUID in small letters, four digits or all; byte: the first, from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    characteristic: Characteristic
    byte: int = Field(default=0, ge=0, lt=LONGEST)
    size: int = Field(ge=1, le=8)
    mask: int | None = None


def long_uuid(characteristic: str) -> str:
    """A UUID in full."""
    if len(characteristic) > 4:
        return characteristic
    return str(uuid.UUID(int=_BASE.int | int(characteristic, 16) << 96))


def mac(number: int) -> str:
    """A device's address as people and BlueZ write it."""
    return ":".join(f"{byte:02X}" for byte in number.to_bytes(6, "big"))


def request_of(address: int, characteristics: Iterable[str]) -> bytes:
    """Which characteristics of which device: what a link that connects is asked."""
    return address.to_bytes(6, "big") + b"".join(uuid.UUID(long_uuid(one)).bytes for one in characteristics)


def wanted_in(request: bytes) -> tuple[str, list[str]]:
    """The inverse of `request_of`: the device's address, and the UUIDs in full."""
    found = [str(uuid.UUID(bytes=request[at : at + 16])) for at in range(6, len(request), 16)]
    return mac(int.from_bytes(request[:6], "big")), found


def answer_of(values: Iterable[bytes | None]) -> bytes:
    """The values of the characteristics in the order in which they were asked for; None where there is no such one."""
    return b"".join(
        _NONE.to_bytes(2, "big") if value is None else len(value).to_bytes(2, "big") + value for value in values
    )


def values_in(answer: bytes, count: int) -> list[bytes | None]:
    """The inverse of `answer_of`. Raises GarbledAnswer."""
    values: list[bytes | None] = []
    at = 0
    while at < len(answer):
        length = int.from_bytes(answer[at : at + 2], "big")
        at += 2
        if length == _NONE:
            values.append(None)
            continue
        values.append(answer[at : at + length])
        at += length
    if at != len(answer) or len(values) != count:
        raise GarbledAnswer(
            f"GATT: expected {count} values, got {len(values)} and {at - len(answer)} bytes less", answer
        )
    return values


class Gatt:
    """Connected devices as a codec of polled devices; an address is the 48 bits of a MAC. Of `Limits`, max_read is the most
    characteristics of one connection, patience_s how long the device may take to be found and connected."""

    def spans(self, places: Sequence[tuple[Place, int]], limits: Limits) -> list[Span]:
        """One connection each; in what is read, the bytes of each characteristic that anybody wants, one after the other."""
        by_characteristic: dict[str, list[GattPlace]] = {}
        for place, _ in places:
            assert isinstance(place, GattPlace)
            by_characteristic.setdefault(place.characteristic, []).append(place)
        names, most = list(by_characteristic), min(limits.max_read, MOST)
        spans = []
        for first in range(0, len(names), most):
            offsets: dict[Place, int] = {}
            base = 0
            for name in names[first : first + most]:
                offsets |= {place: base + place.byte for place in by_characteristic[name]}
                base += _needed(by_characteristic[name])
            spans.append(Span(0, first, len(names[first : first + most]), offsets))
        return spans

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """The bytes of a span's characteristics. Raises NoSuchPlace when the device has not all of them."""
        places = _by_characteristic(span.offsets)
        needed = {name: _needed(those) for name, those in places.items()}
        request = request_of(address, needed)

        def recognise(data: bytes) -> int:
            values_in(data, len(needed))
            return len(data)

        answer = yield Ask(request, recognise, sum(needed.values()) + 2 * len(needed), limits.patience_s)
        values = dict(zip(needed, values_in(answer, len(needed)), strict=True))
        if missing := [name for name, value in values.items() if value is None]:
            raise NoSuchPlace(f"{mac(address)}: has no characteristic {', '.join(missing)}", _NOT_FOUND)
        out = b""
        for name, value in values.items():
            assert value is not None
            if len(value) < needed[name]:
                raise GarbledAnswer(
                    f"{mac(address)}: characteristic {name}: expected at least {needed[name]} bytes, got {len(value)}; "
                    "is it this model?", value)  # fmt: skip
            out += value[: needed[name]]
        return out

    def write(self, address: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        raise Refused(f"{mac(address)}: is read and never written to", 0)


def _needed(places: Iterable[GattPlace]) -> int:
    return max(place.byte + place.size for place in places)


def _by_characteristic(offsets: Mapping[Place, int]) -> dict[str, list[GattPlace]]:
    """The places of a span by characteristic, in the order of their bytes in what is read."""
    found: dict[str, list[GattPlace]] = {}
    for place in sorted(offsets, key=lambda place: offsets[place]):
        assert isinstance(place, GattPlace)
        found.setdefault(place.characteristic, []).append(place)
    return found
