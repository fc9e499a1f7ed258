"""M-Bus (EN 13757-2 link layer, EN 13757-3 application): reading a water or heat meter, and nothing else.

A readout is one procedure. The meter is reset (SND_NKE), so that it begins with its first telegram and its frame count bit
is known; then it is asked for its data (REQ_UD2), and again with the bit turned while a telegram says that more follow.
Where a telegram came damaged it is asked for again with the same bit, and a meter sends the same one (13757-2, 5.5.1).
What comes back is the telegrams as they came; a point finds its number in them by what the records say (`MbusPlace`).

An address from 0 to 250 is a primary one. A larger number is the identification of eight digits on the type plate: the
meter is selected by it (13757-3, clause 12) and read at address 253, and its telegram must bear that identification.
No frame that sets anything in a meter can be made here: SND_NKE, REQ_UD2 and the selection are all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.codec import Ask, Limits, Place, Procedure, Span
from gateway.codec.mbus_record import Function, Quantity, Record, records
from gateway.errors import GarbledAnswer, NoAnswer, Refused

LINE = "2400 8E1"
"""What meters are delivered with."""
MAX_TELEGRAMS = 16
"""Telegrams of one readout at the most; a meter that never ends is left after them."""
MAX_FRAME = 261
"""Longest frame: four bytes, 255 counted by L, checksum and stop (13757-2, 5.3)."""
MAX_READOUT = MAX_TELEGRAMS * MAX_FRAME
HIGHEST_PRIMARY = 250
SELECTED = 253

_ACK, _SHORT, _LONG, _STOP = 0xE5, 0x10, 0x68, 0x16
_SND_NKE, _REQ_UD2, _FCB, _SND_UD, _RSP_UD = 0x40, 0x5B, 0x20, 0x53, 0x08
_ACD_DFC = 0x30
_SELECT, _WITH_HEADER, _WITHOUT_HEADER, _SHORT_HEADER = 0x52, 0x72, 0x78, 0x7A
_APPLICATION_ERROR = 0x70
_HEADER = {_WITH_HEADER: 12, _SHORT_HEADER: 4, _WITHOUT_HEADER: 0}
"""Bytes of the header by CI field; the status byte is the second of the last four."""
_ENCRYPTIONS = frozenset({2, 3, 4, 5, 7, 8, 9, 10, 13})
"""Modes of the configuration field; old meters have a signature of their own there."""
_FIRST_LOOK = 9
"""How long a telegram is taken to be before its length is known."""
_REPEATS = 1

PERMANENT_ERROR = 0x08
"""Bit of the status byte (13757-3, 6.2.2). Bit 2 is a weak battery and bit 4 a temporary error, which many meters also
set for a leak or an empty pipe: neither makes what they have counted doubtful."""
_APPLICATION_STATE = {1: "le compteur est occupé", 2: "le compteur signale une erreur d'application"}
_ERROR_REPORTS = {
    0: "unspecified", 1: "CI field not implemented", 2: "buffer too long", 3: "too many records",
    4: "end of record too early", 5: "more than 10 DIFE", 6: "more than 10 VIFE", 8: "busy", 9: "too many readouts",
}  # fmt: skip

ABSENT = "le télégramme ne contient pas cette grandeur : le modèle, ou le profil, est-il le bon ?"
_IN_ERROR = "le compteur donne cette valeur comme prise pendant un défaut"
_PERMANENT = "le compteur signale un défaut permanent"


class MbusPlace(BaseModel):
    """A number by what the telegram says of it. index: which of several that say the same, from 0. modifiers: the VIFE that
    change its meaning (0x3C: what flowed backwards)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    quantity: Quantity
    function: Literal["instantaneous", "maximum", "minimum"] = "instantaneous"
    storage: int = Field(default=0, ge=0, le=2**41 - 1)
    tariff: int = Field(default=0, ge=0, le=2**20 - 1)
    subunit: int = Field(default=0, ge=0, le=1023)
    modifiers: tuple[Annotated[int, Field(ge=0, le=127)], ...] = Field(default=(), max_length=10)
    index: int = Field(default=0, ge=0, le=127)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.quantity == "status" and self.model_dump(
            exclude_defaults=True
        ).keys() & MbusPlace.model_fields.keys() != {"quantity"}:
            raise ValueError(
                "status: is the byte of the header, and has no function, storage, tariff, subunit or modifier"
            )
        if self.quantity == "manufacturer" and not self.modifiers:
            raise ValueError("manufacturer: modifiers are missing; give the VIFE that the maker uses, such as [0x20]")
        return self

    def value(self, telegrams: bytes) -> float | None:
        """The number in a readout; None when it has none. Raises GarbledAnswer."""
        found = readout(telegrams)
        if self.quantity == "status":
            return None if found.status is None else float(found.status)
        record = self._find(found, self.function)
        return record.value if record else None

    def doubt(self, telegrams: bytes) -> str:
        """Why the meter itself doubts the number, or has none; empty when it does not. Raises GarbledAnswer."""
        found = readout(telegrams)
        if self.quantity == "status":
            return "" if found.status is not None else ABSENT
        record = self._find(found, self.function)
        if record is None:
            return _IN_ERROR if self._find(found, "error") else ABSENT
        state = found.status or 0
        return _PERMANENT if state & PERMANENT_ERROR else _APPLICATION_STATE.get(state & 3, "")

    def _find(self, found: Readout, function: Function) -> Record | None:
        wanted = (self.quantity, function, self.storage, self.tariff, self.subunit, self.modifiers)
        same = (
            record
            for record in found.records
            if (record.quantity, record.function, record.storage, record.tariff, record.subunit, record.modifiers)
            == wanted
        )
        return next((record for at, record in enumerate(same) if at == self.index), None)


@dataclass(frozen=True, slots=True)
class Readout:
    """What a meter said in one or more telegrams. identification: the eight digits, None without a full header; status: the
    header's byte, None without one."""

    identification: int | None
    status: int | None
    records: tuple[Record, ...]
    more_follows: bool


@lru_cache(maxsize=8)
def readout(telegrams: bytes) -> Readout:
    """What telegrams say, one after the other as they came. Raises GarbledAnswer."""
    identification: int | None = None
    status: int | None = None
    found: list[Record] = []
    more, at = False, 0
    if len(telegrams) > MAX_READOUT:
        raise GarbledAnswer(f"M-Bus: expected at most {MAX_TELEGRAMS} telegrams, got {len(telegrams)} bytes", telegrams)
    while at < len(telegrams) or not at:
        length = frame_length(telegrams[at:])
        if not length or telegrams[at] != _LONG:
            raise GarbledAnswer("M-Bus: expected whole telegrams (68 L L 68 ... 16)", telegrams[at:])
        body = telegrams[at + 4 : at + length - 2]  # C, A, CI, data
        at += length
        size = _HEADER.get(body[2])
        if size is None:
            raise GarbledAnswer(f"M-Bus: CI {body[2]:#04x}: expected the variable data structure (72, 78, 7A)", body)
        header, data = body[3 : 3 + size], body[3 + size :]
        if len(header) < size:
            raise GarbledAnswer(f"M-Bus: expected a header of {size} bytes, got {len(header)}", body)
        if size:
            status = header[-3]
            if header[-1] & 0x1F in _ENCRYPTIONS:
                raise GarbledAnswer(
                    "M-Bus: the telegram is encrypted; have the meter set to plain telegrams on the wire", body
                )
        if size == _HEADER[_WITH_HEADER]:
            digits = header[3::-1].hex()
            number = int(digits) if digits.isdecimal() else None
            if identification not in (None, number):
                raise GarbledAnswer(f"M-Bus: telegrams of two meters, {identification:08} and {digits}", body)
            identification = number
        here, more = records(data)
        found += here
    return Readout(identification, status, tuple(found), more)


def frame_length(data: bytes) -> int:
    """How long the frame at the front is; 0 while bytes are missing. Raises GarbledAnswer when it cannot become one
    (13757-2, 5.3: single character, short frame, long frame)."""
    if not data:
        return 0
    if data[0] == _ACK:
        return 1
    if data[0] == _SHORT:
        length, counted = 5, data[1:3]
    elif data[0] == _LONG:
        head = data[:4]
        counts, second = head[1:3], head[3:]
        if (len(set(counts)) > 1) or (counts and counts[0] < 3) or (second and second[0] != _LONG):
            raise GarbledAnswer("M-Bus: expected 68 L L 68; check speed, parity, or two meters at one address", data)
        if len(data) < 4:
            return 0
        length = data[1] + 6
        counted = data[4 : length - 2]
    else:
        raise GarbledAnswer(f"M-Bus: no frame begins with {data[0]:#04x}; check speed and parity", data)
    if len(data) < length:
        return 0
    if data[length - 2] != sum(counted) & 0xFF or data[length - 1] != _STOP:
        raise GarbledAnswer("M-Bus: checksum or end wrong; check speed, parity, or two meters at one address", data)
    return length


def short_frame(control: int, address: int) -> bytes:
    """A frame without data (13757-2, 5.3.2)."""
    return bytes((_SHORT, control, address, (control + address) & 0xFF, _STOP))


def selection(identification: int) -> bytes:
    """Selects the meter of this identification, whoever made it and whatever it measures (13757-3, 12.2)."""
    body = bytes((_SND_UD, SELECTED, _SELECT)) + bytes.fromhex(f"{identification:08}")[::-1] + b"\xff" * 4
    return bytes((_LONG, len(body), len(body), _LONG)) + body + bytes((sum(body) & 0xFF, _STOP))


class Mbus:
    """M-Bus meters as a codec of polled devices. Addresses: 0 to 250 primary, above that an identification. A meter is
    always read whole: of `Limits`, max_read is the most telegrams."""

    def spans(self, places: Sequence[tuple[Place, int]], limits: Limits) -> list[Span]:
        """One readout, in which every place finds its own number."""
        return [Span(0, 0, min(limits.max_read, MAX_TELEGRAMS), {place: 0 for place, _ in places})] if places else []

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """The telegrams of a meter, one after the other. Raises Refused when it has nothing or reports an error."""
        target = address
        if address > HIGHEST_PRIMARY:
            target = SELECTED
            yield from _acknowledged(selection(address), address, limits.patience_s)
        else:
            yield from _acknowledged(short_frame(_SND_NKE, address), address, limits.patience_s)
        telegrams, last, control = b"", b"", _REQ_UD2 | _FCB
        for _ in range(span.count):
            telegram = yield from _telegram(control, target, address, limits.patience_s)
            so_far = readout(telegrams + telegram)
            if target == SELECTED and so_far.identification != address:
                raise GarbledAnswer(f"meter {address:08}: another one answers, {so_far.identification}", telegram)
            if telegram != last:  # the meter may have answered a repeated question twice
                telegrams += telegram
                last = telegram
            if not so_far.more_follows:
                break
            control ^= _FCB
        return telegrams

    def write(self, address: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        raise Refused(f"meter {address}: is read and never written to", 0)


def _acknowledged(request: bytes, address: int, patience_s: float) -> Procedure[None]:
    def recognise(data: bytes) -> int:
        if data and data[0] != _ACK:
            raise GarbledAnswer(f"meter {address}: expected E5; an older answer, or two meters at one address", data)
        return len(data[:1])

    yield Ask(request, recognise, 1, patience_s)


def _telegram(control: int, target: int, address: int, patience_s: float) -> Procedure[bytes]:
    """One answer to REQ_UD2. A damaged or missing one is asked for again, with the same frame count bit."""
    ask = Ask(short_frame(control, target), _recogniser(target, address), _FIRST_LOOK, patience_s)
    for left in range(_REPEATS, -1, -1):
        try:
            answer = yield ask
        except (GarbledAnswer, NoAnswer):
            if not left:
                raise
        else:
            break
    if answer[0] == _ACK:
        raise Refused(f"meter {address}: has no data", 0, answer)
    if answer[6] == _APPLICATION_ERROR:
        code = answer[7] if len(answer) > 9 else 0
        raise Refused(f"meter {address}: reports error {code} ({_ERROR_REPORTS.get(code, 'unknown')})", code, answer)
    return answer


def _recogniser(target: int, address: int) -> Callable[[bytes], int]:
    def recognise(data: bytes) -> int:
        length = frame_length(data)
        if data[:1] == bytes((_SHORT,)):
            raise GarbledAnswer(
                f"meter {address}: expected a telegram, got a short frame; another master on the line?", data
            )
        if len(data) > 5 and data[0] == _LONG:
            if data[4] & ~_ACD_DFC != _RSP_UD:
                raise GarbledAnswer(f"meter {address}: expected C 08, got {data[4]:02X}", data)
            if target != SELECTED and data[5] != target:
                raise GarbledAnswer(f"meter {address}: meter {data[5]} answers; an older answer, or a clash", data)
        return length

    return recognise


__all__: Final = [
    "LINE",
    "MAX_READOUT",
    "Mbus",
    "MbusPlace",
    "Readout",
    "frame_length",
    "readout",
    "selection",
    "short_frame",
]
