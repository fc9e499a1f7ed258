"""Simulated M-Bus meters for a paced line (`simulator.line`, 2400 8E1): water and heat meters of EN 13757-2 and -3.

Encoded here on its own, from the standard, without the gateway's codec: a mistake would have to be made twice. `Meter` does
the link layer (reset, frame count bit, selection by identification) and wraps the records that physics gives it in
telegrams; the functions below write records. What goes wrong on the wire is the line's business; what goes wrong in the
meter (status, values in error, telegrams without end) is set on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

BROADCAST, ANYONE, SELECTED = 255, 254, 253
_E5 = b"\xe5"


def bcd(value: int, size: int) -> bytes:
    """A number as 2 digits a byte, lowest first; negative with F as highest digit (data type A)."""
    digits = f"{abs(value):0{2 * size}d}"
    if value < 0:
        digits = "f" + digits[1:]
    return bytes.fromhex(digits)[::-1]


def integer(value: int, size: int) -> bytes:
    """A signed whole number, lowest byte first (data type B)."""
    return value.to_bytes(size, "little", signed=True)


def moment(at: datetime) -> bytes:
    """Date and time to the minute, type F; the century in the hour byte is left 0, as most meters do."""
    year = at.year % 100
    return bytes((at.minute, at.hour, at.day | (year & 7) << 5, at.month | (year >> 3) << 4))


def day(at: datetime) -> bytes:
    """A date, type G."""
    return moment(at)[2:]


_CODINGS = {("i", 1): 1, ("i", 2): 2, ("i", 3): 3, ("i", 4): 4, ("i", 6): 6, ("b", 2): 10, ("b", 3): 11, ("b", 4): 12}


def record(
    vif: bytes,
    value: int,
    size: int = 4,
    *,
    digits: bool = False,
    function: int = 0,
    storage: int = 0,
    tariff: int = 0,
    subunit: int = 0,
) -> bytes:
    """One data record. vif: VIF and VIFE, extension bits and all. function: 0 now, 1 maximum, 2 minimum, 3 in error."""
    chain = [storage & 1]
    rest = storage >> 1
    while rest or tariff or subunit:
        chain.append((rest & 15) | (tariff & 3) << 4 | (subunit & 1) << 6)
        rest, tariff, subunit = rest >> 4, tariff >> 2, subunit >> 1
    dif = _CODINGS["b" if digits else "i", size] | function << 4 | chain[0] << 6
    fields = [dif, *chain[1:]]
    head = bytes(field | 0x80 for field in fields[:-1]) + bytes(fields[-1:])
    return head + vif + (bcd(value, size) if digits else integer(value, size))


def text_of_maker(letters: str) -> bytes:
    """The maker's three letters as two bytes (13757-3, 5.5)."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return (first << 10 | second << 5 | third).to_bytes(2, "little")


Records = Callable[[], Sequence[bytes]]
"""What a meter says now: the records of each of its telegrams, without header."""


@dataclass(eq=False)
class Meter:
    """A meter on the line, a `line.Unit`.

    telegrams: the variable data of each telegram, as physics has it now; all but the last get the mark that more follow.
    identification: eight digits; medium: 7 water, 6 warm water, 4 heat. status: the header's byte. busy: answers any request
    for data with an application error. endless: the last telegram says that more follow, too.
    """

    address: int
    telegrams: Records
    identification: int = 12345678
    maker: str = "GUE"
    version: int = 1
    medium: int = 7
    status: int = 0
    turnaround_s: float = 0.05
    busy: bool = False
    endless: bool = False
    access: int = 0
    resets: int = 0
    readouts: int = 0
    _selected: bool = False
    _last_bit: int | None = None
    _at: int = -1
    _sent: bytes = b""

    def answer(self, frame: bytes) -> bytes | None:
        """The answer to one frame heard on the line; None when it is damaged or for another."""
        if len(frame) == 5 and frame[0] == 0x10 and frame[4] == 0x16 and frame[3] == (frame[1] + frame[2]) % 256:
            return self._short(frame[1], frame[2])
        if (
            len(frame) > 8
            and frame[0] == frame[3] == 0x68
            and frame[1] == frame[2] == len(frame) - 6
            and frame[-1] == 0x16
        ):
            body = frame[4:-2]
            return self._select(body) if frame[-2] == sum(body) % 256 else None
        return None

    def _short(self, control: int, address: int) -> bytes | None:
        if address == BROADCAST:
            return None
        if address == SELECTED:
            if control == 0x40:
                self._selected = False
                return None
            if not self._selected:
                return None
        elif address not in (self.address, ANYONE):
            return None
        if control == 0x40:
            self.resets += 1
            self._last_bit, self._at = None, -1
            return _E5
        if control & 0xDF == 0x5B:
            return self._data(control >> 5 & 1)
        return None

    def _select(self, body: bytes) -> bytes | None:
        if body[0] & 0xDF != 0x53 or body[1] != SELECTED or body[2] != 0x52 or len(body) < 11:
            return None
        ours = bcd(self.identification, 4) + text_of_maker(self.maker) + bytes((self.version, self.medium))
        digits_match = all(asked in ("f", digit) for asked, digit in zip(body[3:7].hex(), ours[:4].hex(), strict=True))
        rest_matches = all(asked in (0xFF, own) for asked, own in zip(body[7:11], ours[4:], strict=True))
        self._selected = digits_match and rest_matches
        self._last_bit, self._at = None, -1
        return _E5 if self._selected else None

    def _data(self, bit: int) -> bytes:
        """The next telegram; the same again when the bit did not turn."""
        if self.busy:
            return self._framed(bytes((0x70, 8)))
        if bit == self._last_bit:
            return self._sent
        parts = list(self.telegrams())
        self._at = (self._at + 1) % len(parts)
        self.readouts += self._at == 0
        self.access = (self.access + 1) % 256
        more = self._at < len(parts) - 1 or self.endless
        header = bcd(self.identification, 4) + text_of_maker(self.maker)
        header += bytes((self.version, self.medium, self.access, self.status, 0, 0))
        self._last_bit = bit
        self._sent = self._framed(b"\x72" + header + parts[self._at] + (b"\x1f" if more else b""))
        return self._sent

    def _framed(self, content: bytes) -> bytes:
        body = bytes((0x08, self.address)) + content
        if len(body) > 255:
            raise ValueError(f"meter {self.address}: a telegram holds 252 bytes, got {len(content)}; use several")
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))


def water_meter(volume_l: Callable[[], float], flow_l_per_h: Callable[[], float]) -> Records:
    """A cold water meter: volume in litres as eight digits, flow in litres an hour, a temperature in hundredths."""

    def telegrams() -> Sequence[bytes]:
        return [
            record(b"\x13", round(volume_l()), digits=True)
            + record(b"\x3b", round(flow_l_per_h()), 2)
            + record(b"\x13", 0, storage=1, digits=True)
        ]

    return telegrams


def heat_meter(
    energy_kwh: Callable[[], float],
    volume_m3: Callable[[], float],
    power_w: Callable[[], float],
    temperatures_c: Callable[[], tuple[float, float]],
) -> Records:
    """A heat meter in two telegrams: totals in the first, what is now in the second."""

    def telegrams() -> Sequence[bytes]:
        there, back = temperatures_c()
        return [
            record(b"\x06", round(energy_kwh())) + record(b"\x14", round(100 * volume_m3())),
            record(b"\x2b", round(power_w()))
            + record(b"\x59", round(100 * there), 2)
            + record(b"\x5d", round(100 * back), 2)
            + record(b"\x61", round(100 * (there - back)), 2),
        ]

    return telegrams
