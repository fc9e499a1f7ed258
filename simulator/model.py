"""Any device profile as a device: its registers, its control gear, its advertisement, with values that move.

What is not described by the profile is not there: a register beyond its points and the holes that it may be read across
is an illegal address, a request for more than it takes an illegal value, a write beyond the limits likewise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

from pymodbus.constants import ExcCodes

from gateway.codec.ruuvi import FIELDS
from gateway.codec.value import Format
from gateway.contradiction import PointLike
from gateway.point import CanopenPoint, DaliPoint, GattPoint, MbusPoint, ModbusPoint, Point
from gateway.profile import (
    BthomeProfile,
    CanopenProfile,
    DaliProfile,
    GattProfile,
    MbusProfile,
    ModbusProfile,
    RuuviProfile,
)
from simulator.bluez import Characteristic, Peripheral
from simulator.can import HEARTBEAT_S, Beat, CanFrame
from simulator.curve import Curve, limits
from simulator.dali import Gear
from simulator.mbus import Meter, day, moment, record
from simulator.modbus import Area, IllegalAddress, Refusal
from simulator.register import bytes_of, raw_of, shift_of

Clock = Callable[[], float]
LARGEST_EXPONENT = 8


class Values:
    """What the points of a device are worth now: a curve each, unless something was written or set."""

    def __init__(self, points: Sequence[Point], clock: Clock, seed: int, name: str) -> None:
        self._clock = clock
        self._curves = {point.name: Curve(point, seed, name, clock()) for point in points}
        self.held: dict[str, float | None] = {}
        """Values that were written or set, instead of the curve's; None: "no value" where the device can say so."""

    def now(self, name: str) -> float | None:
        """The value of a point at this moment."""
        return self.held[name] if name in self.held else self._curves[name].at(self._clock())

    def raw(self, point: Point, form: Format) -> float:
        """The raw number that says it, without exponent; a sentinel where there is no value."""
        value = self.now(point.name)
        if value is None:
            return float(form.sentinels[0]) if form.sentinels else float("nan") if form.type.startswith("f") else 0.0
        return _raw(point, form, value)

    def said(self, point: Point, form: Format) -> tuple[bytes, bytes]:
        """What stands at the point's place, and which bits of it are the point's. With a separate exponent, the number
        has as many figures as fit."""
        raw, value = self.raw(point, form), self.now(point.name)
        if form.mask is not None:
            shifted = _signed(form, int(raw) << shift_of(form.mask))
            return bytes_of(form, shifted), bytes_of(form, _signed(form, form.mask))
        if form.exponent_at is None:
            return bytes_of(form, raw), b"\xff" * form.size
        exponent = 0
        if value is not None:
            most = 2 ** (8 * form.size - form.type.startswith("i")) - 1
            number = (value - form.offset) / form.scale
            exponent = next(e for e in range(-2, LARGEST_EXPONENT) if abs(number) * 10.0**-e <= most)
            raw = round(number * 10.0**-exponent)
        front = struct.pack("b", exponent) + bytes(form.exponent_at - 1)
        return front + bytes_of(form, raw), b"\xff" * (form.exponent_at + form.size)


def _raw(point: PointLike, form: Format, value: float) -> float:
    number = (value - form.offset) / form.scale
    if form.type.startswith("f"):
        return number
    whole = round(number)
    low, high = limits(point)
    if not low <= whole * form.scale + form.offset <= high:  # rounding went over the edge
        whole += 1 if whole * form.scale + form.offset < low else -1
    if form.mask is None:
        while whole in form.sentinels:  # next to it there is a number
            whole += 1 if whole <= 0 else -1
    return whole


class ModelRegisters:
    """The registers of a Modbus profile (simulator.modbus.Registers)."""

    def __init__(self, profile: ModbusProfile, clock: Clock, seed: int, name: str) -> None:
        self.profile = profile
        self.values = Values(profile.point, clock, seed, name)
        self._max_read = max([profile.modbus.max_read, *map(_cells, profile.point)])
        self._there: dict[Area, set[int]] = {}
        for area in {point.area for point in profile.point}:
            taken = sorted(at for point in profile.point if point.area == area for at in _places(point))
            there = set(taken)
            for one, other in pairwise(taken):
                if other - one - 1 <= profile.modbus.max_hole * (1 if area in ("holding", "input") else 16):
                    there |= set(range(one, other))
            self._there[area] = there

    def read(self, area: Area, address: int, count: int) -> list[int]:
        there = self._there.get(area, set())
        asked = range(address, address + count)
        if not all(at in there for at in asked):
            raise IllegalAddress
        if count > self._max_read * (1 if area in ("holding", "input") else 16):
            raise Refusal(ExcCodes.ILLEGAL_VALUE)
        cells = dict.fromkeys(asked, 0)
        for point in self.profile.point:
            if point.area != area or not set(_places(point)) & cells.keys():
                continue
            for at, (word, bits) in zip(_places(point), self._said(point), strict=True):
                if at in cells:
                    cells[at] = cells[at] & ~bits | word
        return list(cells.values())

    def _said(self, point: ModbusPoint) -> list[tuple[int, int]]:
        """The registers of a point, each with the bits of it that are the point's."""
        if point.type == "bit":
            return [(int(bool(self.values.raw(point, point))), 1)]
        data, bits = self.values.said(point, point)
        return list(zip(_as_words(data), _as_words(bits), strict=True))

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        given = dict(enumerate(values, address))
        meant: dict[str, float] = {}
        while given:
            first = min(given)
            point = next((p for p in self.profile.point if p.write and p.area == area and p.address == first), None)
            if point is None or not set(_places(point)) <= given.keys():
                raise IllegalAddress
            words = [given.pop(at) for at in _places(point)]
            raw = float(words[0]) if point.type == "bit" else raw_of(point, words)
            assert point.write is not None
            value = raw * point.scale + point.offset
            slack = abs(point.scale) / 2
            if not point.write.min - slack <= value <= point.write.max + slack:
                raise Refusal(ExcCodes.ILLEGAL_VALUE)
            meant[point.name] = value
        self.values.held.update(meant)


def _signed(form: Format, bits: int) -> int:
    """Bits as the number that pymodbus wants for the type: the highest bit is the sign of a signed one."""
    width = 8 * form.size
    return bits - (1 << width) if form.type.startswith("i") and bits >> (width - 1) & 1 else bits


def _as_words(data: bytes) -> list[int]:
    return list(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))


def _cells(point: ModbusPoint) -> int:
    return 1 if point.type == "bit" else (point.size + (point.exponent_at or 0) + 1) // 2


def _places(point: ModbusPoint) -> range:
    return range(point.address, point.address + _cells(point))


class ModelGear(Gear):
    """The control gear of a DALI profile: its banks hold the profile's points, its queries are any gear's."""

    def __init__(self, profile: DaliProfile, short_address: int, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self._banks: dict[int, list[DaliPoint]] = {}
        for point in profile.point:
            if point.bank is not None:
                self._banks.setdefault(point.bank, []).append(point)
        super().__init__(short_address, self._bank, level=200, clock=clock)

    def _bank(self, number: int) -> bytes:
        """The bank from location 0 on: the last location, a reserved byte, the lock, and what the profile knows; all
        else is MASK, not implemented."""
        points = self._banks.get(number)
        if not points:
            return b""
        pieces = [(point.location or 0, *self.values.said(point, point)) for point in points]
        contents = bytearray(b"\xff" * max(at + len(data) for at, data, _ in pieces))
        for at, data, bits in pieces:
            for i, (byte, its) in enumerate(zip(data, bits, strict=True), at):
                contents[i] = contents[i] & ~its | byte
        contents[0] = len(contents) - 1
        return bytes(contents)


class ModelBeacon:
    """The service data of a BTHome profile, in the order of object ids (bthome.io/format)."""

    def __init__(self, profile: BthomeProfile, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self._points = {(point.object, point.index): point for point in profile.point}

    def service_data(self) -> bytes:
        """Device information (version 2, plain), then object after object; of several alike those that the profile does
        not know are there too, as noughts."""
        out = bytearray(b"\x40")
        for id_ in sorted({id_ for id_, _ in self._points}):
            of_id = {index: point for (other, index), point in self._points.items() if other == id_}
            for index in range(max(of_id) + 1):
                known = of_id.get(index)
                size = next(iter(of_id.values())).form.size
                out += bytes((id_,)) + (self.values.said(known, known.form)[0] if known else bytes(size))
        return bytes(out)


class ModelTag:
    """The manufacturer data of a Ruuvi profile: data format 5, a new measurement each time it is asked for."""

    def __init__(self, profile: RuuviProfile, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self._points = profile.point
        self._sequence = 0

    def manufacturer_data(self) -> bytes:
        """Format, then each quantity at its place; what the profile does not know is "not available"."""
        out = bytearray(b"\x05" + b"\x80\x00" + b"\xff" * 4 + b"\x80\x00" * 3 + b"\xff" * 11)
        for point in self._points:
            start = FIELDS[point.quantity].start
            data, bits = self.values.said(point, point.form)
            for i, (byte, its) in enumerate(zip(data, bits, strict=True), start):
                out[i] = out[i] & ~its | byte
        out[16:18] = struct.pack(">H", self._sequence)
        self._sequence = (self._sequence + 1) % 0xFFFF
        return bytes(out)


PDO_S = 0.2
HEARTBEAT, OPERATIONAL = 0x700, 5


class ModelNode:
    """The node of a CANopen profile (`simulator.can.Node`): each of its frames again and again, and its heartbeat."""

    def __init__(self, profile: CanopenProfile, node: int, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self.node = node
        self._heartbeat, self._pdo = Beat(HEARTBEAT_S), Beat(PDO_S)
        self._pdos: dict[int, list[CanopenPoint]] = {}
        for point in profile.point:
            if (identifier := point.cob_id + node * point.plus_node) == HEARTBEAT + node:
                self.values.held[point.name] = OPERATIONAL
            else:
                self._pdos.setdefault(identifier, []).append(point)

    def due(self, time_s: float) -> list[CanFrame]:
        frames = []
        if self._heartbeat.now(time_s):
            frames.append(CanFrame(HEARTBEAT + self.node, bytes((OPERATIONAL,))))
        if self._pdo.now(time_s):
            frames += [CanFrame(identifier, self._data(points)) for identifier, points in self._pdos.items()]
        return frames

    def _data(self, points: Sequence[CanopenPoint]) -> bytes:
        return _packed([(point.byte, *self.values.said(point, point)) for point in points])


_VIFS: dict[str, tuple[bytes, float]] = {
    "volume": (b"\x13", 1e3), "volume_flow": (b"\x3b", 1e3), "energy": (b"\x03", 1e3), "power": (b"\x2b", 1e3),
    "mass": (b"\x1b", 1), "flow_temperature": (b"\x59", 100), "return_temperature": (b"\x5d", 100),
    "temperature_difference": (b"\x61", 100), "external_temperature": (b"\x65", 100), "pressure": (b"\x68", 1e3),
    "on_time": (b"\x22", 1), "operating_time": (b"\x26", 1), "averaging_duration": (b"\x72", 1),
    "actuality_duration": (b"\x76", 1), "heat_cost_units": (b"\x6e", 1), "error_flags": (b"\xfd\x17", 1),
    "digital_output": (b"\xfd\x1a", 1), "digital_input": (b"\xfd\x1b", 1), "voltage": (b"\xfd\x46", 1e3),
    "current": (b"\xfd\x59", 1e3), "remaining_battery": (b"\xfd\x74", 1), "relative_humidity": (b"\xfb\x1a", 10),
    "manufacturer": (b"\x7f", 1),
}  # fmt: skip
"""VIF of each quantity, and how many counts of it one unit of the point is (EN 13757-3, tables 10, 12 and 14)."""
_FUNCTION = {"instantaneous": 0, "maximum": 1, "minimum": 2}
_TELEGRAM = 200
"""Bytes of records that a telegram is filled with."""


class ModelMeter:
    """The meter of an M-Bus profile. `meter` is what goes on the line; its dates are the clock's, its status byte has the
    bits that points see in it."""

    def __init__(self, profile: MbusProfile, address: int, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self._points, self._clock = profile.point, clock
        primary, identification = (address, 12345678) if address <= 250 else (0, address)
        self.meter = Meter(primary, self._telegrams, identification)

    def _telegrams(self) -> list[bytes]:
        places: dict[tuple[object, ...], dict[int, list[MbusPoint]]] = {}
        self.meter.status = 0
        for point in self._points:
            if point.quantity == "status":
                self.meter.status |= self._bits([point])
                continue
            named = (point.quantity, point.function, point.storage, point.tariff, point.subunit, point.modifiers)
            places.setdefault(named, {}).setdefault(point.index, []).append(point)
        telegrams = [b""]
        for at in places.values():
            for index in range(max(at) + 1):
                said = self._record(at.get(index) or next(iter(at.values())), known=index in at)
                if len(telegrams[-1]) + len(said) > _TELEGRAM:
                    telegrams.append(b"")
                telegrams[-1] += said
        return telegrams

    def _record(self, points: list[MbusPoint], *, known: bool) -> bytes:
        point = points[0]
        said = partial(
            record,
            function=_FUNCTION[point.function],
            storage=point.storage,
            tariff=point.tariff,
            subunit=point.subunit,
        )
        if point.quantity in ("date", "datetime"):
            self.values.held[point.name] = _minute(self._clock(), whole_day=point.quantity == "date")
            now = datetime.fromtimestamp(self._clock(), UTC)
            vif, raw = (b"\x6c", day(now)) if point.quantity == "date" else (b"\x6d", moment(now))
            return said(vif, int.from_bytes(raw, "little", signed=True), len(raw))
        vif, counts = _VIFS[point.quantity]
        value = self._bits(points) if any(p.mask for p in points) else (self.values.now(point.name) or 0.0) * counts
        chain = [*vif, *point.modifiers]
        head = bytes(byte | 0x80 for byte in chain[:-1]) + bytes((chain[-1] & 0x7F,))
        return said(head, round(value) if known else 0, 6)

    def _bits(self, points: list[MbusPoint]) -> int:
        """The number that these points see, each through its mask."""
        bits = 0
        for point in points:
            value = round(self.values.now(point.name) or 0.0)
            bits |= value << shift_of(point.mask) & point.mask if point.mask else value
        return bits


def _minute(time_s: float, *, whole_day: bool) -> float:
    return time_s // (86400 if whole_day else 60) * (86400.0 if whole_day else 60.0)


ENVIRONMENTAL_SENSING = "181a"


class ModelSensor:
    """The connectable device of a GATT profile; `peripheral` is what BlueZ connects to, its values those of the last
    `refresh`."""

    def __init__(self, profile: GattProfile, address: str, clock: Clock, seed: int, name: str) -> None:
        self.values = Values(profile.point, clock, seed, name)
        self._points: dict[str, list[GattPoint]] = {}
        for point in profile.point:
            self._points.setdefault(point.characteristic, []).append(point)
        group = {uuid: Characteristic() for uuid in self._points}
        self.peripheral = Peripheral(address, {ENVIRONMENTAL_SENSING: group})
        self.refresh()

    def refresh(self) -> None:
        """It measures."""
        for uuid, points in self._points.items():
            self.peripheral.characteristic(uuid).value = _packed([(p.byte, *self.values.said(p, p)) for p in points])


def _packed(pieces: Sequence[tuple[int, bytes, bytes]]) -> bytes:
    """Pieces, each with its first byte and the bits of it that count, laid over one another."""
    out = bytearray(max(first + len(data) for first, data, _ in pieces))
    for first, data, bits in pieces:
        for i, (byte, its) in enumerate(zip(data, bits, strict=True), first):
            out[i] = out[i] & ~its | byte
    return bytes(out)
