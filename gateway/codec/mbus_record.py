"""M-Bus data records (EN 13757-3, clause 6): what one meter says of itself, and which number that is.

A record names its number: what is measured and in which power of ten (VIF), at which time (storage number: 0 now, others
set days), as a value of now, a maximum or a minimum (function), under which tariff, of which subunit. Meters differ in the
order and number of their records, so a point of a profile is found by these names and never by where its bytes lie.

Every number becomes one unit a quantity (`UNIT_OF`), exactly: 10⁻³ m³ and m³ are the same quantity here. A record with
a modifier (an orthogonal VIFE, clause 6.4.4) that is not understood never passes for the plain quantity.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final, Literal

from gateway.errors import GarbledAnswer

Function = Literal["instantaneous", "maximum", "minimum", "error"]
_FUNCTIONS: Final[tuple[Function, ...]] = ("instantaneous", "maximum", "minimum", "error")

Quantity = Literal[
    "volume", "volume_flow", "energy", "power", "mass", "flow_temperature", "return_temperature", "external_temperature",
    "temperature_difference", "pressure", "relative_humidity", "on_time", "operating_time", "averaging_duration",
    "actuality_duration", "date", "datetime", "heat_cost_units", "error_flags", "digital_input", "digital_output", "voltage",
    "current", "remaining_battery", "manufacturer", "status",
]  # fmt: skip
"""date, datetime: seconds from 1970 to what the meter's own clock shows, without any zone. manufacturer: a VIF of the
maker's own, told apart by its modifiers. status: the byte of the header (clause 6.2.2), not a record."""

UNIT_OF: dict[Quantity, str] = {
    "volume": "m3", "volume_flow": "m3/h", "energy": "kW.h", "power": "kW", "mass": "kg", "flow_temperature": "Cel",
    "return_temperature": "Cel", "external_temperature": "Cel", "temperature_difference": "K", "pressure": "bar",
    "relative_humidity": "%", "on_time": "h", "operating_time": "h", "averaging_duration": "h", "actuality_duration": "h",
    "date": "s", "datetime": "s", "heat_cost_units": "1", "error_flags": "1", "digital_input": "1", "digital_output": "1",
    "voltage": "V", "current": "A", "remaining_battery": "d", "manufacturer": "1", "status": "1",
}  # fmt: skip
"""The UCUM unit of each quantity."""

MAX_EXTENSIONS = 10
"""DIFE or VIFE of one record (clauses 6.3.3, 6.4.1)."""

MORE_FOLLOWS, _MANUFACTURER, _FILLER = 0x1F, 0x0F, 0x2F
_SIZE = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
_FLOAT, _VARIABLE, _SPECIAL = 5, 0xD, 0xF
_BCD = frozenset({9, 10, 11, 12, 14})


def _kilo(exponent: int) -> Fraction:
    return Fraction(10) ** exponent


_Row = tuple[int, int, Quantity, Fraction]
"""First and last code, quantity, and what one count of the first code is in its unit; each next code is ten times more."""

_PLAIN: tuple[_Row, ...] = (
    (0x00, 0x07, "energy", _kilo(-6)),  # 10^(n-3) Wh
    (0x08, 0x0F, "energy", Fraction(1, 3_600_000)),  # 10^n J
    (0x10, 0x17, "volume", _kilo(-6)),  # 10^(n-6) m3
    (0x18, 0x1F, "mass", _kilo(-3)),  # 10^(n-3) kg
    (0x28, 0x2F, "power", _kilo(-6)),  # 10^(n-3) W
    (0x30, 0x37, "power", Fraction(1, 3_600_000)),  # 10^n J/h
    (0x38, 0x3F, "volume_flow", _kilo(-6)),  # 10^(n-6) m3/h
    (0x40, 0x47, "volume_flow", 60 * _kilo(-7)),  # 10^(n-7) m3/min
    (0x48, 0x4F, "volume_flow", 3600 * _kilo(-9)),  # 10^(n-9) m3/s
    (0x58, 0x5B, "flow_temperature", _kilo(-3)),
    (0x5C, 0x5F, "return_temperature", _kilo(-3)),
    (0x60, 0x63, "temperature_difference", _kilo(-3)),
    (0x64, 0x67, "external_temperature", _kilo(-3)),
    (0x68, 0x6B, "pressure", _kilo(-3)),
    (0x6C, 0x6C, "date", _kilo(0)),
    (0x6D, 0x6D, "datetime", _kilo(0)),
    (0x6E, 0x6E, "heat_cost_units", _kilo(0)),
)
_DURATIONS: tuple[tuple[int, Quantity], ...] = (
    (0x20, "on_time"), (0x24, "operating_time"), (0x70, "averaging_duration"), (0x74, "actuality_duration"),
)  # fmt: skip
_DURATION_H = (Fraction(1, 3600), Fraction(1, 60), Fraction(1), Fraction(24))

_AFTER_FD: tuple[_Row, ...] = (
    (0x17, 0x17, "error_flags", _kilo(0)),
    (0x1A, 0x1A, "digital_output", _kilo(0)),
    (0x1B, 0x1B, "digital_input", _kilo(0)),
    (0x40, 0x4F, "voltage", _kilo(-9)),
    (0x50, 0x5F, "current", _kilo(-12)),
    (0x74, 0x74, "remaining_battery", _kilo(0)),  # days
)
_AFTER_FB: tuple[_Row, ...] = (
    (0x00, 0x01, "energy", _kilo(2)),  # 10^(n-1) MWh
    (0x08, 0x09, "energy", Fraction(10**8, 3_600_000)),  # 10^(n-1) GJ
    (0x10, 0x11, "volume", _kilo(2)),  # 10^(n+2) m3
    (0x1A, 0x1B, "relative_humidity", _kilo(-1)),
    (0x28, 0x29, "power", _kilo(2)),  # 10^(n-1) MW
)
_FB, _TEXT, _FD, _OWN = 0x7B, 0x7C, 0x7D, 0x7F
_FLAGS = ("error_flags", "digital_input", "digital_output", "manufacturer")
"""Quantities whose binary numbers are bits (data type D), never negative."""


@dataclass(frozen=True, slots=True)
class Record:
    """One data record. quantity: None where the VIF is none that is read here. modifiers: the VIFE that change its meaning,
    without extension bits. value: in the unit of the quantity; None for text, invalid digits, a VIFE that reports an error,
    and a value that the meter had while it was in error."""

    quantity: Quantity | None
    function: Function
    storage: int
    tariff: int
    subunit: int
    modifiers: tuple[int, ...]
    value: float | None


def records(data: bytes) -> tuple[list[Record], bool]:
    """The records of the variable data of one telegram, and whether the meter has more telegrams. Raises GarbledAnswer."""
    reader = _Reader(data)
    found: list[Record] = []
    while reader.left:
        dif = reader.byte("DIF")
        if dif == _FILLER:
            continue
        if dif in (_MANUFACTURER, MORE_FOLLOWS):
            return found, dif == MORE_FOLLOWS  # what follows is the maker's own
        if dif & 0x0F == _SPECIAL:
            raise GarbledAnswer(f"M-Bus: DIF {dif:#04x} is reserved; the telegram cannot be read on", data)
        found.append(_record(dif, reader))
    return found, False


class _Reader:
    """Bytes taken one after the other; running out is the telegram's fault."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise GarbledAnswer(
                f"M-Bus: expected {count} bytes of {what}, the telegram ends after {self.left}", self._data
            )
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def extensions(self, first: int, what: str) -> Iterator[int]:
        """The bytes that follow one with its extension bit set."""
        count, last = 0, first
        while last & 0x80:
            if (count := count + 1) > MAX_EXTENSIONS:
                raise GarbledAnswer(f"M-Bus: more than {MAX_EXTENSIONS} {what} in one record", self._data)
            last = self.byte(what)
            yield last


def _record(dif: int, reader: _Reader) -> Record:
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    for at, dife in enumerate(reader.extensions(dif, "DIFE")):
        storage |= (dife & 0x0F) << 4 * at + 1
        tariff |= (dife >> 4 & 3) << 2 * at
        subunit |= (dife >> 6 & 1) << at
    vif = reader.byte("VIF")
    if vif & 0x7F == _TEXT:  # the unit as text, before any VIFE (clause 6.4.3)
        reader.take(reader.byte("text length"), "text")
    vifes = [vife & 0x7F for vife in reader.extensions(vif, "VIFE")]
    quantity, factor, rest = _meaning(vif & 0x7F, vifes)
    summand, modifiers, failed = Fraction(0), [], False
    while rest:
        vife = rest.pop(0)
        if vife == _OWN or quantity == "manufacturer":  # all after it is the maker's own
            modifiers += [vife, *rest]
            break
        if 0x70 <= vife <= 0x77:
            factor *= _kilo(vife - 0x76)
        elif 0x78 <= vife <= 0x7B:
            summand += factor * _kilo(vife - 0x7B)
        elif vife == 0x7D:
            factor *= 1000
        elif vife < 0x20:
            failed = failed or vife != 0  # a report of an error (clause 6.4.5)
        else:
            modifiers.append(vife)
    coding = dif & 0x0F
    raw: Fraction | float | None = (
        _variable(reader) if coding == _VARIABLE else _number(coding, reader.take(_SIZE[coding], "data"), quantity)
    )
    function = _FUNCTIONS[dif >> 4 & 3]
    value = None
    if raw is not None and quantity is not None and not failed and function != "error":
        value = float(Fraction(raw) * factor + summand)
    return Record(quantity, function, storage, tariff, subunit, tuple(modifiers), value)


def _meaning(code: int, vifes: list[int]) -> tuple[Quantity | None, Fraction, list[int]]:
    """The quantity of a VIF with its VIFE, what one count is in its unit, and the VIFE that are left."""
    match code:
        case 0x7F:
            return "manufacturer", Fraction(1), vifes
        case 0x7D | 0x7B if vifes:
            rows, code, vifes = (_AFTER_FD if code == _FD else _AFTER_FB), vifes[0], vifes[1:]
        case _:
            rows = _PLAIN
            for first, quantity in _DURATIONS:
                if first <= code < first + 4:
                    return quantity, _DURATION_H[code - first], vifes
    for low, high, found, factor in rows:
        if low <= code <= high:
            return found, factor * 10 ** (code - low), vifes
    return None, Fraction(1), vifes


def _number(coding: int, data: bytes, quantity: Quantity | None) -> Fraction | float | None:
    """A number of fixed length in the coding that the DIF gives (clause 6.3.3, Annex A)."""
    if not data:
        return None
    if quantity in ("date", "datetime"):
        return _instant(data, quantity) if coding not in _BCD and coding != _FLOAT else None
    if coding in _BCD:
        return _digits(data)
    if coding == _FLOAT:
        # Written with the fewest digits that give this float32 back: 18.2, not 18.200000762939453.
        number: float = struct.unpack("<f", data)[0]
        return float(f"{number:.7g}") if abs(number) < float("inf") else None
    if quantity in _FLAGS:
        return Fraction(int.from_bytes(data, "little"))
    whole = int.from_bytes(data, "little", signed=True)
    return None if whole == -(1 << 8 * len(data) - 1) else Fraction(whole)  # the lowest means "invalid" (type B)


def _digits(data: bytes) -> Fraction | None:
    """BCD, lowest digits first (type A). F as the highest digit is a minus; any other that is none makes it invalid."""
    text = data[::-1].hex()
    sign = -1 if text[0] == "f" else 1
    text = "0" + text[1:] if sign < 0 else text
    return Fraction(sign * int(text)) if text.isdecimal() else None


def _variable(reader: _Reader) -> Fraction | None:
    """Data that carry their own length (LVAR, clause 6.3.3, table 5); text is stepped over."""
    length = reader.byte("LVAR")
    match length:
        case _ if length < 0xC0:
            reader.take(length, "text")
        case _ if length < 0xCA:
            return _digits(b"\0" if length == 0xC0 else reader.take(length - 0xC0, "digits"))
        case _ if 0xD0 <= length < 0xDA:
            digits = _digits(b"\0" if length == 0xD0 else reader.take(length - 0xD0, "digits"))
            return None if digits is None else -digits
        case _ if 0xE0 <= length < 0xF0:
            return Fraction(int.from_bytes(reader.take(length - 0xE0, "data"), "little"))
        case _ if 0xF0 <= length < 0xF5:
            reader.take(4 * (length - 0xEC), "data")
        case 0xF5 | 0xF6:
            reader.take(48 if length == 0xF5 else 64, "data")
        case _:
            raise GarbledAnswer(f"M-Bus: length {length:#04x} of variable data is reserved")
    return None


def _instant(data: bytes, quantity: Quantity) -> Fraction | None:
    """A date (type G, 16 bits), a date with minutes (type F, 32) or with seconds (type I, 48), as the meter's clock shows
    it; None when marked invalid or no date of any calendar."""
    clock = list(data[:-2])
    day, month, year = data[-2] & 0x1F, data[-1] & 0x0F, data[-1] >> 4 << 3 | data[-2] >> 5
    hours = minutes = seconds = century = 0
    match quantity, len(data):
        case "date", 2:
            pass
        case "datetime", 4:
            minutes, hours, century = clock[0] & 0x3F, clock[1] & 0x1F, clock[1] >> 5 & 3
            if clock[0] & 0x80:
                return None
        case "datetime", 6:  # its last byte is the week, so the date lies one byte earlier
            seconds, minutes, hours = data[0] & 0x3F, data[1] & 0x3F, data[2] & 0x1F
            day, month, year = data[3] & 0x1F, data[4] & 0x0F, data[4] >> 4 << 3 | data[3] >> 5
            if data[1] & 0x80:
                return None
        case _:
            return None
    if year > 99:
        return None
    # Two digits: up to 80 they are of this century, unless the meter says which (type F).
    first = 1900 + 100 * century if century else 2000 if year <= 80 else 1900
    try:
        instant = datetime(first + year, month, day, hours, minutes, seconds)  # noqa: DTZ001 - the meter's own clock
    except ValueError:
        return None
    return Fraction(round((instant - datetime(1970, 1, 1)).total_seconds()))  # noqa: DTZ001
