"""Which slot to start: a decision on a small record, safe against a cut at any write.

Two slots, A = 1 and B = 2, hold the program. The record says which one is active (has proved itself), which one is on
trial and for how many more starts, the highest version ever confirmed (no update may go below it), and for each slot the
SHA-256 of the release manifest whose signature was verified: a slot without one, or whose files differ from it, is never
started. No good slot is 0: safe mode.

Transitions, each written before it takes effect:
    install   a verified release lies in a slot           -> trial, TRIES starts
    choose    a start with tries left                     -> one fewer, start the trial
              tries used up, or trial damaged             -> trial struck out, start the active slot
              CRASHES starts without health, or damaged   -> the other slot if it is good, else safe mode
    confirm   the program on trial passed its self-test   -> active; its version is the new floor
    healthy   the program has run long enough             -> crashes forgotten
"""

import os
import struct

from micropython import const
from modbus_rtu import crc16

A = const(1)
B = const(2)
SAFE_MODE = const(0)
NAMES = ("", "a", "b")
TRIES = const(3)
CRASHES = const(6)

_FORMAT = "<2sBBBBII32s32s"
_NONE = bytes(32)


class BootRecord:
    """active, trial: 0, A or B. digests: of slot A and slot B at 1 and 2; 32 zero bytes: nothing verified there."""

    def __init__(self):
        self.active = 0
        self.trial = 0
        self.tries = 0
        self.crashes = 0
        self.floor = 0
        self.boots = 0
        self.digests = [_NONE, _NONE, _NONE]

    def encode(self) -> bytes:
        state = self.active | self.trial << 2
        body = struct.pack(
            _FORMAT, b"GB", 1, state, self.tries, self.crashes, self.floor, self.boots, self.digests[A], self.digests[B]
        )
        return body + struct.pack("<H", crc16(body, len(body)))

    def choose(self, good, crashed: bool) -> int:
        """Slot to start, or SAFE_MODE; the record then differs and must be written first. good(slot) -> bool says
        whether a slot's files are those verified; crashed: the last run ended by watchdog or error, not by power."""
        self.boots = (self.boots + 1) & 0x3FFFFFFF
        if self.trial:
            if self.tries > 0 and good(self.trial):
                self.tries -= 1
                return self.trial
            self.digests[self.trial] = _NONE
            self.trial = self.tries = self.crashes = 0
        elif crashed:
            self.crashes = min(self.crashes + 1, CRASHES)
        if self.active and self.crashes < CRASHES and good(self.active):
            return self.active
        other = B if self.active == A else A
        if self.digests[other] != _NONE and good(other):
            self.active = other
            self.crashes = 0
            return other
        return SAFE_MODE

    def install(self, slot: int, digest: bytes) -> None:
        self.digests[slot] = digest
        self.trial = slot
        self.tries = TRIES

    def confirm(self, slot: int, version: int) -> None:
        self.active = slot
        self.trial = self.tries = self.crashes = 0
        self.floor = max(self.floor, version)

    def strike_out(self, slot: int) -> None:
        """The slot is about to be overwritten."""
        self.digests[slot] = _NONE
        if self.active == slot:
            self.active = 0

    def target(self, running: int) -> int:
        """Slot an update goes to: never the one that runs, nor the only one that works."""
        if running == SAFE_MODE:
            return B if self.active == A else A
        return B if running == A else A


def decode(data: bytes):
    """The record, or None when these bytes are not an intact one."""
    size = struct.calcsize(_FORMAT)
    if len(data) != size + 2 or crc16(data, size + 2) != 0:
        return None
    magic, version, state, tries, crashes, floor, boots, a, b = struct.unpack(_FORMAT, data[:size])
    if magic != b"GB" or version != 1:
        return None
    record = BootRecord()
    record.active = state & 3
    record.trial = state >> 2 & 3
    record.tries = tries
    record.crashes = crashes
    record.floor = floor
    record.boots = boots
    record.digests = [_NONE, a, b]
    return record


def load(folder: str) -> BootRecord:
    """The record kept in `folder`; a fresh one when there is none, or none intact."""
    for name in ("boot.rec", "boot.new"):
        try:
            with open(folder + "/" + name, "rb") as file:
                record = decode(file.read(256))
        except OSError:
            continue
        if record is not None:
            return record
    return BootRecord()


def save(folder: str, record: BootRecord) -> None:
    """Keep the record. Cut at any write, the old one or the new one is found, never neither."""
    replace(folder + "/boot.rec", folder + "/boot.new", record.encode())


def replace(path: str, new: str, data) -> None:
    """Put `data` at `path` in one step: written beside it, then renamed over it."""
    with open(new, "wb") as file:
        file.write(data)
    os.rename(new, path)
