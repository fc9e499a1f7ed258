"""Pressure node: a 4 to 20 mA transmitter on an analogue input; marks bursts itself and keeps a reading a minute."""

import sys

from burst import N_FEATURES, PressureWindow
from dense import Dense
from loop_current import NO_VALUE, Transmitter
from machine import ADC, Pin
from micropython import const
from registers import count32
from rules import Threshold
from station import Station
from station_map import SENSOR_FAULT

_PRESSURE = const(32)
_CURRENT = const(33)
_LEAST = const(34)
_GREATEST = const(35)
_MEAN = const(36)
_SCORE = const(37)
_BURSTS = const(38)
_TRANSMITTER = const(40)
_SPAN = const(40)
_FULL_SCALE = const(41)
_SCORE_ON = const(42)
_BURST = const(0)
_FAULT = const(1)

ROWS = """\
input 32 pressure u16 mbar 0
input 33 loop_current u16 uA 0
input 34 pressure_min u16 mbar 0
input 35 pressure_max u16 mbar 0
input 36 pressure_mean u16 mbar 0
input 37 burst_score i16 - 0
input 38 bursts u32 - 0
input 40 transmitter_state u16 - 0
holding 40 span u16 mbar 0 1 30000 10000
holding 41 full_scale u16 uA 0 1000 30000 24000
holding 42 score_on i16 - 0 -128 127 32
discrete 0 burst bit - 0
discrete 1 transmitter_fault bit - 0
"""

_KIND_MEAN = const(1)
_KIND_BURST = const(2)

_SAMPLES = const(8)
_HYSTERESIS = const(24)


class Pressure:
    def __init__(self, station: Station):
        self._station = station
        self._adc = ADC(Pin(station.pins["signal"]))
        self._window = PressureWindow()
        self._model = _model(station)
        self._configure()
        self._sum = self._count = 0
        self._low = NO_VALUE
        self._high = 0

    def _configure(self) -> None:
        holdings = self._station.registers.holdings
        on = holdings[_SCORE_ON]
        on = on - 0x10000 if on & 0x8000 else on
        self._transmitter = Transmitter(holdings[_FULL_SCALE], holdings[_SPAN])
        self._rule = Threshold(on=on, off=on - _HYSTERESIS, hold_s=3, missing_s=10)

    def sample(self, now: int) -> None:
        """Once a second."""
        station = self._station
        if station.take_written(_SPAN) | station.take_written(_FULL_SCALE) | station.take_written(_SCORE_ON):
            self._configure()
        counts = 0
        for _ in range(_SAMPLES):
            counts += self._adc.read_u16()
        transmitter = self._transmitter
        transmitter.read(counts // _SAMPLES)
        inputs = station.registers.inputs
        inputs[_PRESSURE] = transmitter.value
        inputs[_CURRENT] = transmitter.current_ua
        inputs[_TRANSMITTER] = transmitter.state
        fault = transmitter.value == NO_VALUE
        station.registers.discretes[_FAULT] = fault
        station.flag(SENSOR_FAULT, fault)
        if fault:
            self._window.reset()
        else:
            self._window.push(transmitter.value)
            self._sum += transmitter.value
            self._count += 1
            self._low = min(self._low, transmitter.value)
            self._high = max(self._high, transmitter.value)
        self._judge(now)

    def _judge(self, now: int) -> None:
        station = self._station
        score = None
        if self._model is not None and self._window.ready:
            self._window.features(self._model.inputs)
            self._model.run()
            score = self._model.outputs[0]
        station.registers.inputs[_SCORE] = 0x8000 if score is None else score & 0xFFFF
        was = self._rule.state
        burst = self._rule.step(now, score)
        station.registers.discretes[_BURST] = burst
        if burst and not was:
            count32(station.registers.inputs, _BURSTS)
            station.remember(_KIND_BURST, station.registers.inputs[_PRESSURE])

    def minute(self, now: int) -> None:
        """The last minute's mean, least and greatest; the mean is kept."""
        inputs = self._station.registers.inputs
        mean = self._sum // self._count if self._count else NO_VALUE
        inputs[_MEAN] = mean
        inputs[_LEAST] = self._low
        inputs[_GREATEST] = self._high if self._count else NO_VALUE
        self._sum = self._count = self._high = 0
        self._low = NO_VALUE
        if now:  # not at the start, where there is no minute behind us
            self._station.remember(_KIND_MEAN, mean)


def _model(station: Station):
    """The burst model of this release; None when it has none, and then the node only measures."""
    try:
        with open(sys.path[0] + "/burst.bin", "rb") as file:
            model = Dense(file.read())
    except (OSError, ValueError) as error:
        print("no burst model:", error)
        return None
    return model if len(model.inputs) == N_FEATURES else None


def node(config: dict, slot: int, version: int, folder: str) -> Station:
    station = Station(config, slot, version, folder, ROWS)
    pressure = Pressure(station)
    station.every("sample", 1000, pressure.sample)
    station.every("minute", 60000, pressure.minute)
    return station
