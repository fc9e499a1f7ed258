"""SLCAN, the text that a CAN adapter of the LAWICEL kind speaks on its serial side: listening, and nothing else.

Rules of the module:

1. An adapter is told `COMMANDS` and no other thing. They close the channel, set its bit rate, open it for listening only,
   and ask for its state; none of them can make an adapter put a bit on the bus. `O` (open for sending too) and `t`, `T`,
   `r`, `R` (send a frame) are not there, and nothing here makes a command of anything that is given to it.
2. An adapter answers with lines that end in CR, and with BEL where it refuses. `Reader` cuts them out of whatever pieces
   the port hands over. What is no line of the protocol is counted and dropped; no input makes it fail, or grow.

A line has no checksum: digits that are there are believed. What loses or adds characters is noticed by the length, a changed
digit is not. USB, over which these adapters are sold today, has a checksum of its own; on a bare UART keep the cable short.

Source: LAWICEL AB, CAN232 manual and CANUSB manual (commands O, L, C, S, F, t, T, r, R, Z; time stamp of four digits).
Adapters differ: not all confirm a command, some stamp with eight digits, and the stock firmware of the CANable does not
know `L` at all. It then stays closed, and is of no use here; a firmware that knows `L` is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

BITRATES: Final[dict[int, bytes]] = {
    10_000: b"S0\r", 20_000: b"S1\r", 50_000: b"S2\r", 100_000: b"S3\r", 125_000: b"S4\r", 250_000: b"S5\r",
    500_000: b"S6\r", 1_000_000: b"S8\r",
}  # fmt: skip
"""How each bit rate of CiA 301 is set. S7 is 800 kbit/s with some adapters and 750 with others, so it is left out."""
Bitrate = Literal[10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 1_000_000]

CLOSE: Final = b"C\r"
LISTEN: Final = b"L\r"
STATE: Final = b"F\r"
COMMANDS: Final = frozenset({CLOSE, LISTEN, STATE, *BITRATES.values()})
"""All that an adapter is ever told."""

LONGEST: Final = 64
"""Bytes of a line that are kept: twice the longest (T, 8 digits, length, 16 digits, time stamp of 8)."""

_DATA = re.compile(rb"(?:t([0-7][\dA-Fa-f]{2})|T([01][\dA-Fa-f]{7}))([0-8])((?:[\dA-Fa-f]{2})*)")
_REMOTE = re.compile(rb"(?:r[0-7][\dA-Fa-f]{2}|R[01][\dA-Fa-f]{7})[0-8](?:[\dA-Fa-f]{4}){0,2}")
_STATE = re.compile(rb"F([\dA-Fa-f]{2})")
_OTHER = re.compile(rb"[zZ]?|[VvN][0-9A-Za-z]{4}")
"""Confirmations, and versions that nobody asked for: nothing to us."""
_STAMPS = (0, 2, 4)
"""Bytes of a time stamp behind the data: none, 16 bits of milliseconds, or 32."""

_FLAGS = {
    0x01: "file de réception pleine", 0x04: "avertissement d'erreurs", 0x08: "trames perdues",
    0x20: "erreurs, mode passif", 0x80: "erreurs sur le bus",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """A data frame. identifier: of 11 bits, or of 29 where extended; data: 0 to 8 bytes."""

    identifier: int
    data: bytes
    extended: bool = False

    @property
    def name(self) -> str:
        """The identifier as `Broadcast.sender` has it: three digits, or eight where it is extended."""
        return f"{self.identifier:08x}" if self.extended else f"{self.identifier:03x}"


@dataclass(frozen=True, slots=True)
class State:
    """What an adapter says of itself and its bus (answer to F): the eight bits of its status register."""

    flags: int

    def __str__(self) -> str:
        told = [words for bit, words in _FLAGS.items() if self.flags & bit]
        return ", ".join(told) if told else "sans erreur"


class Reader:
    """Bytes of an adapter -> frames. garbled: lines that are none of the protocol; remote: requests among others, which
    carry nothing; refused: BELs; confirmed: empty lines. They only grow. state: the last answer to F."""

    def __init__(self) -> None:
        self.garbled = self.remote = self.refused = self.confirmed = 0
        self.state: State | None = None
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Frame]:
        """The data frames that these bytes complete, in their order."""
        frames = []
        *whole, rest = re.split(rb"([\r\x07])", data)
        for part, end in zip(whole[::2], whole[1::2], strict=True):
            self._keep(part)
            line, self._line = bytes(self._line).strip(b"\n"), bytearray()
            too_long, self._too_long = self._too_long, False
            if too_long:
                self.garbled += 1
            elif end == b"\x07":
                self.refused += 1
                self.garbled += bool(line)
            elif frame := self._understand(line):
                frames.append(frame)
        self._keep(rest)
        return frames

    def take_state(self) -> State | None:
        """The answer to F that came since the last call."""
        state, self.state = self.state, None
        return state

    def _keep(self, part: bytes) -> None:
        self._line += part[: LONGEST + 1]
        if len(self._line) > LONGEST:
            self._line, self._too_long = bytearray(), True

    def _understand(self, line: bytes) -> Frame | None:
        if match := _DATA.fullmatch(line):
            short, long, length, digits = match.groups()
            size, data = int(length), bytes.fromhex(digits.decode())
            if len(data) - size in _STAMPS:
                return Frame(int(short or long, 16), data[:size], extended=short is None)
            self.garbled += 1
        elif _REMOTE.fullmatch(line):
            self.remote += 1
        elif match := _STATE.fullmatch(line):
            self.state = State(int(match[1], 16))
        elif not _OTHER.fullmatch(line):
            self.garbled += 1
        else:
            self.confirmed += not line
        return None
