"""Lift node: watches the door by its two contacts and counts abnormal cycles. It has no output: it cannot command."""

import sys

from door import N_FEATURES, DoorCycles
from forest import Forest
from machine import Pin
from micropython import const
from registers import count32
from station import Station

_CYCLES = const(32)
_ABNORMAL = const(34)
_OPENING = const(36)
_SCORE = const(41)
_SCORE_ON = const(40)
_CLOSED = const(0)
_OPEN = const(1)
_LAST_ABNORMAL = const(2)

ROWS = """\
input 32 door_cycles u32 - 0
input 34 abnormal_cycles u32 - 0
input 36 opening_time u16 s -2
input 37 dwell_time u16 s -2
input 38 closing_time u16 s -2
input 39 reopenings u16 - 0
input 40 longest_move u16 s -2
input 41 score i16 - 0
holding 40 score_on i16 - 0 -32768 32767 0
discrete 0 door_closed bit - 0
discrete 1 door_open bit - 0
discrete 2 last_cycle_abnormal bit - 0
"""

_KIND_ABNORMAL = const(1)
_PERIOD_MS = const(50)


class Lift:
    def __init__(self, station: Station):
        self._station = station
        # contacts to ground: a broken wire reads as "not closed", "not open", never as a door at rest
        self._closed = Pin(station.pins["closed"], Pin.IN, Pin.PULL_UP)
        self._open = Pin(station.pins["open"], Pin.IN, Pin.PULL_UP)
        self._door = DoorCycles()
        self._model = _model()

    def sample(self, now: int) -> None:
        registers = self._station.registers
        closed = not self._closed.value()
        opened = not self._open.value()
        registers.discretes[_CLOSED] = closed
        registers.discretes[_OPEN] = opened
        if self._door.step(_PERIOD_MS // 10, closed, opened):
            self._judge()

    def _judge(self) -> None:
        registers = self._station.registers
        inputs = registers.inputs
        features = self._door.features
        count32(inputs, _CYCLES)
        for i in range(N_FEATURES):
            inputs[_OPENING + i] = features[i]
        if self._model is None:
            return
        score = self._model.score(features)
        inputs[_SCORE] = score & 0xFFFF
        limit = registers.holdings[_SCORE_ON]
        abnormal = score > (limit - 0x10000 if limit & 0x8000 else limit)
        registers.discretes[_LAST_ABNORMAL] = abnormal
        if abnormal:
            count32(inputs, _ABNORMAL)
            self._station.remember(_KIND_ABNORMAL, score & 0xFFFF)


def _model():
    """The door model of this release; None when it has none, and then the node only counts cycles."""
    try:
        with open(sys.path[0] + "/door.bin", "rb") as file:
            model = Forest(file.read())
    except (OSError, ValueError) as error:
        print("no door model:", error)
        return None
    return model if model.n_features == N_FEATURES else None


def node(config: dict, slot: int, version: int, folder: str) -> Station:
    station = Station(config, slot, version, folder, ROWS)
    station.every("door", _PERIOD_MS, Lift(station).sample)
    return station
