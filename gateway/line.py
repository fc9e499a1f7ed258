"""A serial line's speed and character, and the times that follow from them (MSL = *MODBUS over Serial Line V1.02*)."""

from __future__ import annotations

import re
from dataclasses import dataclass

SILENCE_CHARACTERS = 3.5
FAST_SILENCE_S = 0.00175

PATTERN = r"^(1200|2400|4800|9600|19200|38400|57600|115200) 8[NEO][12]$"
"""Of the settings that a site or a profile may name."""

_LINE = re.compile(r"(\d+) ([5-8])([NEO])([12])")


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Speed and character of a line."""

    baud: int
    data_bits: int
    parity: str
    stop_bits: int

    @property
    def character_s(self) -> float:
        """Time of one character with its start, parity and stop bits."""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """Least silence between two frames (MSL 2.5.1.1)."""
        return FAST_SILENCE_S if self.baud > 19200 else SILENCE_CHARACTERS * self.character_s

    def wire_s(self, length: int) -> float:
        """Time that many characters take."""
        return length * self.character_s


def parse_line(text: str) -> LineSettings:
    """`19200 8E1`: baud, data bits, parity (N, E, O), stop bits. Raises ValueError."""
    match = _LINE.fullmatch(text.strip())
    if not match or int(match[1]) == 0:
        raise ValueError(f"line: expected speed and character such as '19200 8E1', got {text!r}")
    return LineSettings(int(match[1]), int(match[2]), match[3], int(match[4]))
