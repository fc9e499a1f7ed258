"""BTHome v2: what battery sensors say in Bluetooth advertisements, service data of UUID 0xFCD2.

A payload is one byte of device information, then objects: an id, then a value whose length the id fixes,
little-endian. An id that is not known ends the parsing, because its length is not known either; what stood before it
counts. Objects of one id repeat when a device has several sensors of a kind: `index` tells them apart, in the order
they are sent.

Source: the BTHome v2 format description (bthome.io/format, bthome.io/encryption); table compared object by object with
the package bthome-ble 3.25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.codec import Broadcast, HeardCodec, Place
from gateway.codec.value import SIZE, Format, Type
from gateway.errors import GarbledAnswer

PART = "fcd2"
"""The part of a Broadcast that holds BTHome."""

PACKET_ID = 0x00

_ENCRYPTED = 0x01
_WITH_ADDRESS = 0x02
_MAX_BYTES = 255
"""The length of advertising data is one byte (Bluetooth Core 5.3, vol 3 part C, 11)."""


class Kind(NamedTuple):
    """An object of the format that is a number: its name, how it is written, what one unit of the raw number is worth,
    and its UCUM unit ("1": none)."""

    name: str
    type: Type
    scale: float = 1.0
    unit: str = "1"


_BINARY = (
    "generic", "power_on", "opening", "low_battery", "battery_charging", "carbon_monoxide", "cold", "connectivity",
    "door", "garage_door", "gas", "heat", "light", "lock", "moisture", "motion", "moving", "occupancy", "plug",
    "presence", "problem", "running", "safety", "smoke", "sound", "tamper", "vibration", "window",
)  # fmt: skip
_BINARY_IDS = (0x0F, 0x10, 0x11, *range(0x15, 0x2E))

OBJECTS: dict[int, Kind] = {
    PACKET_ID: Kind("packet_id", "u8"),
    0x01: Kind("battery", "u8", 1, "%"),
    0x02: Kind("temperature", "i16", 0.01, "Cel"),
    0x03: Kind("humidity", "u16", 0.01, "%"),
    0x04: Kind("pressure", "u24", 0.01, "mbar"),
    0x05: Kind("illuminance", "u24", 0.01, "lx"),
    0x06: Kind("mass", "u16", 0.01, "kg"),
    0x07: Kind("mass_pounds", "u16", 0.01, "[lb_av]"),
    0x08: Kind("dew_point", "i16", 0.01, "Cel"),
    0x09: Kind("count", "u8"),
    0x0A: Kind("energy", "u24", 0.001, "kW.h"),
    0x0B: Kind("power", "u24", 0.01, "W"),
    0x0C: Kind("voltage", "u16", 0.001, "V"),
    0x0D: Kind("pm25", "u16", 1, "ug/m3"),
    0x0E: Kind("pm10", "u16", 1, "ug/m3"),
    **{id_: Kind(name, "u8") for id_, name in zip(_BINARY_IDS, _BINARY, strict=True)},
    0x12: Kind("co2", "u16", 1, "[ppm]"),
    0x13: Kind("tvoc", "u16", 1, "ug/m3"),
    0x14: Kind("moisture_share", "u16", 0.01, "%"),
    0x2E: Kind("humidity", "u8", 1, "%"),
    0x2F: Kind("moisture_share", "u8", 1, "%"),
    0x3A: Kind("button_event", "u8"),
    0x3D: Kind("count", "u16"),
    0x3E: Kind("count", "u32"),
    0x3F: Kind("rotation", "i16", 0.1, "deg"),
    0x40: Kind("distance", "u16", 1, "mm"),
    0x41: Kind("distance", "u16", 0.1, "m"),
    0x42: Kind("duration", "u24", 0.001, "s"),
    0x43: Kind("current", "u16", 0.001, "A"),
    0x44: Kind("speed", "u16", 0.01, "m/s"),
    0x45: Kind("temperature", "i16", 0.1, "Cel"),
    0x46: Kind("uv_index", "u8", 0.1),
    0x47: Kind("volume", "u16", 0.1, "L"),
    0x48: Kind("volume", "u16", 1, "mL"),
    0x49: Kind("flow", "u16", 0.001, "m3/h"),
    0x4A: Kind("voltage", "u16", 0.1, "V"),
    0x4B: Kind("gas_volume", "u24", 0.001, "m3"),
    0x4C: Kind("gas_volume", "u32", 0.001, "m3"),
    0x4D: Kind("energy", "u32", 0.001, "kW.h"),
    0x4E: Kind("volume", "u32", 0.001, "L"),
    0x4F: Kind("water_volume", "u32", 0.001, "L"),
    0x50: Kind("timestamp", "u32", 1, "s"),
    0x51: Kind("acceleration", "u16", 0.001, "m/s2"),
    0x52: Kind("gyroscope", "u16", 0.001, "deg/s"),
    0x55: Kind("stored_volume", "u32", 0.001, "L"),
    0x56: Kind("conductivity", "u16", 1, "uS/cm"),
    0x57: Kind("temperature", "i8", 1, "Cel"),
    0x58: Kind("temperature", "i8", 0.35, "Cel"),
    0x59: Kind("count", "i8"),
    0x5A: Kind("count", "i16"),
    0x5B: Kind("count", "i32"),
    0x5C: Kind("power", "i32", 0.01, "W"),
    0x5D: Kind("current", "i16", 0.001, "A"),
    0x5E: Kind("direction", "u16", 0.01, "deg"),
    0x5F: Kind("precipitation", "u16", 0.1, "mm"),
    0x60: Kind("channel", "u8"),
    0x61: Kind("rotational_speed", "u16", 1, "/min"),
    0x62: Kind("speed", "i32", 1e-6, "m/s"),
    0x63: Kind("acceleration", "i32", 1e-6, "m/s2"),
    0x64: Kind("light_level", "u8"),
    0x65: Kind("settings_revision", "u8"),
    0xF0: Kind("device_type", "u16"),
}

_NO_NUMBER = {0x3C: 2, 0xF1: 4, 0xF2: 3}
"""Objects of fixed length that are no number: dimmer event, firmware version of four and of three parts."""

_COMMAND = 0x3B
_OWN_LENGTH = (_COMMAND, 0x53, 0x54)
"""Objects that carry their own length: command, text, raw bytes."""


def format_of(object_id: int) -> Format:
    """How the number of an object is written. Raises KeyError when the id is none of OBJECTS."""
    kind = OBJECTS[object_id]
    return Format(type=kind.type, word_order="little", byte_order="little", scale=kind.scale)


class BthomePlace(BaseModel):
    """An object of an advertisement. index: which of several with the same id, from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    object: int
    index: int = Field(default=0, ge=0, le=127)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.object not in OBJECTS:
            raise ValueError(
                f"object {self.object:#04x}: expected the id of a BTHome v2 number, such as 0x40 for a distance in mm"
            )
        return self

    def format(self) -> Format:
        """How the number is written: the object id fixes it."""
        return format_of(self.object)


class Bthome(HeardCodec):
    """BTHome v2 as the codec of one heard device.

    key: its encryption key, 16 bytes; empty: it sends plain text. A device with a key is believed only when it encrypts.
    unknown_objects: how often parsing ended at an id that is not in the table; only grows.

    What was recorded and is sent again later is not believed: `memory` is the last counter of an encrypted message, for
    whoever keeps it over a restart.
    """

    def __init__(self, key: bytes = b"") -> None:
        if key and len(key) != 16:
            raise ValueError(f"BTHome key: expected 16 bytes, got {len(key)}")
        self._key = key
        self.memory: int | None = None
        self.unknown_objects = 0

    def values(self, heard: Broadcast) -> Mapping[Place, bytes] | None:
        """The number of each object as its raw bytes; None without BTHome v2 in the broadcast. Raises GarbledAnswer for
        an object cut short, an unreadable or replayed encryption, and plain text from a device that has a key."""
        data = heard.parts.get(PART)
        if data is None:
            return None
        if not 1 <= len(data) <= _MAX_BYTES:
            raise GarbledAnswer(f"BTHome {heard.sender}: expected 1 to {_MAX_BYTES} bytes, got {len(data)}", data[:32])
        if data[0] >> 5 != 2:
            raise GarbledAnswer(
                f"BTHome {heard.sender}: expected version 2, got {data[0] >> 5}; only version 2 is read", data
            )
        start = 7 if data[0] & _WITH_ADDRESS else 1
        if len(data) < start:
            raise GarbledAnswer(f"BTHome {heard.sender}: expected an address of 6 bytes, the data end before", data)
        if data[0] & _ENCRYPTED:
            return self._objects(heard.sender, self._decrypted(heard.sender, data, start))
        if self._key:
            raise GarbledAnswer(
                f"BTHome {heard.sender}: expected encryption, as the site has a key for it, got plain text"
            )
        return self._objects(heard.sender, data[start:])

    def _objects(self, sender: str, payload: bytes) -> Mapping[Place, bytes]:
        values: dict[Place, bytes] = {}
        count: dict[int, int] = {}
        at = 0
        while at < len(payload):
            object_id = payload[at]
            at += 1
            if (kind := OBJECTS.get(object_id)) is not None:
                length = SIZE[kind.type]
            elif object_id in _OWN_LENGTH:
                if at == len(payload):
                    raise GarbledAnswer(
                        f"BTHome {sender}: object {object_id:#04x} is cut short before its length", payload
                    )
                # A command's length counts its arguments (5 bits), not its one byte of code.
                length = (payload[at] & 0x1F) + 1 if object_id == _COMMAND else payload[at]
                at += 1
            elif object_id in _NO_NUMBER:
                length = _NO_NUMBER[object_id]
            else:
                self.unknown_objects += 1
                break
            if at + length > len(payload):
                raise GarbledAnswer(
                    f"BTHome {sender}: object {object_id:#04x}: expected {length} bytes, got {len(payload) - at}",
                    payload,
                )
            if kind is not None:
                index = count.get(object_id, 0)
                count[object_id] = index + 1
                values[_place(object_id, index)] = payload[at : at + length]
            at += length
        return values

    def _decrypted(self, sender: str, data: bytes, start: int) -> bytes:
        """AES-128-CCM (bthome.io/encryption): objects, counter (4 bytes), message integrity code (4 bytes)."""
        if not self._key:
            raise GarbledAnswer(
                f"BTHome {sender}: encrypted, and the site has no key for it; enter the key of the device"
            )
        if len(data) < start + 8:
            raise GarbledAnswer(
                f"BTHome {sender}: expected a counter and a code of 8 bytes, got {len(data) - start}", data
            )
        # Loaded only where a device encrypts: it takes several megabytes.
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESCCM
        except ImportError:
            raise GarbledAnswer(f"BTHome {sender}: encrypted; install the package `cryptography` to read it") from None

        address = data[1:7][::-1] if data[0] & _WITH_ADDRESS else _address(sender)
        nonce = address + b"\xd2\xfc" + data[:1] + data[-8:-4]
        try:
            plain = AESCCM(self._key, tag_length=4).decrypt(nonce, data[start:-8] + data[-4:], None)
        except InvalidTag:
            # One message cannot tell a wrong key from damage; whether the key has ever fitted can.
            why = (
                "the key in the site is not this device's; enter the one that it was given"
                if self.memory is None
                else "the key did fit before, so this advertisement was damaged or forged; not used"
            )
            raise GarbledAnswer(f"BTHome {sender}: does not decrypt; {why}", data) from None
        counter = int.from_bytes(data[-8:-4], "little")
        # A device with a new battery counts from 0 again; anything else that goes back was recorded and replayed.
        if self.memory is not None and counter < self.memory and counter >= 100:
            raise GarbledAnswer(
                f"BTHome {sender}: counter {counter} after {self.memory}: a replayed advertisement, not used"
            )
        self.memory = counter
        return plain


_PLACES: dict[tuple[int, int], BthomePlace] = {}


def _place(object_id: int, index: int) -> BthomePlace:
    """A place, made once; 255 bytes hold at most 127 objects, so there are at most 127 places of an id."""
    place = _PLACES.get((object_id, index))
    if place is None:
        place = _PLACES[object_id, index] = BthomePlace(object=object_id, index=index)
    return place


def _address(sender: str) -> bytes:
    try:
        address = bytes.fromhex(sender.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != 6:
        raise GarbledAnswer(f"BTHome {sender}: expected an address such as AA:BB:CC:DD:EE:FF to decrypt with")
    return address
