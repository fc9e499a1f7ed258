"""Bin node: how full a container is, told by BTHome advertisements; its line is for service only."""

from bthome import BATTERY, DISTANCE_MM, PROBLEM, VOLTAGE, Advertisement, Counter
from machine import ADC, Pin
from micropython import const
from radio import Radio
from rules import Threshold
from station import Station

_DISTANCE = const(32)
_FILL = const(33)
_BATTERY_MV = const(34)
_EMPTY_MM = const(40)
_FULL_MM = const(41)
_FULL_SCALE_MM = const(42)
_FULL_ABOVE = const(43)
_OVERFLOW = const(0)
_TILTED = const(1)

ROWS = """\
input 32 distance u16 mm 0
input 33 fill_level u16 % 0
input 34 battery_voltage u16 V -3
holding 40 empty_distance u16 mm 0 100 5000 1200
holding 41 full_distance u16 mm 0 0 4900 200
holding 42 sensor_full_scale u16 mm 0 100 10000 5000
holding 43 overflow_above u16 % 0 10 100 90
discrete 0 overflow bit - 0
discrete 1 tilted bit - 0
"""

_KIND_FILL = const(1)
_KIND_OVERFLOW = const(2)

_OBJECTS = (BATTERY, VOLTAGE, PROBLEM, DISTANCE_MM)
_EMPTY_MV = const(2400)
_FRESH_MV = const(3300)
_NO_ECHO = const(65400)


class _Kept:
    """The advertising counter's place in flash."""

    def __init__(self, station: Station):
        self._station = station

    def load(self) -> bytes:
        return self._station.kept("counter")

    def keep(self, number) -> None:
        self._station.keep("counter", number)


class Bin:
    def __init__(self, station: Station, config: dict):
        self._station = station
        self._echo = ADC(Pin(station.pins["signal"]))
        self._battery = ADC(Pin(station.pins["battery"]))
        self._tilt = Pin(station.pins["tilt"], Pin.IN, Pin.PULL_UP)
        self._radio = Radio()
        self._interval_ms = config.get("advertise_ms", 2000)
        key = bytes.fromhex(config.get("bthome_key", ""))
        self._advertisement = Advertisement(_OBJECTS, key, self._radio.mac, Counter(_Kept(station)))
        self._numbers = [0] * len(_OBJECTS)
        self._configure()

    def _configure(self) -> None:
        above = self._station.registers.holdings[_FULL_ABOVE]
        self._full = Threshold(on=above, off=above - 10, hold_s=60, missing_s=3600)

    def step(self, now: int) -> None:
        """Measure, then advertise until the next step."""
        station = self._station
        registers = station.registers
        inputs = registers.inputs
        if station.take_written(_FULL_ABOVE):
            self._configure()
        counts = self._echo.read_u16()
        seen = counts < _NO_ECHO
        distance = (counts >> 1) * registers.holdings[_FULL_SCALE_MM] >> 15
        inputs[_DISTANCE] = distance if seen else 0xFFFF
        tilted = not self._tilt.value()
        registers.discretes[_TILTED] = tilted
        fill = self._fill(distance) if seen and not tilted else None  # a tilted bin measures the street
        inputs[_FILL] = 0xFFFF if fill is None else fill
        was = self._full.state
        full = self._full.step(now, fill)
        registers.discretes[_OVERFLOW] = full
        if full and not was:
            station.remember(_KIND_OVERFLOW, inputs[_FILL])
        battery_mv = (self._battery.read_u16() >> 1) * 6600 >> 15
        inputs[_BATTERY_MV] = battery_mv
        numbers = self._numbers
        numbers[0] = min(max((battery_mv - _EMPTY_MV) * 100 // (_FRESH_MV - _EMPTY_MV), 0), 100)
        numbers[1] = battery_mv
        numbers[2] = full
        numbers[3] = inputs[_DISTANCE]
        self._radio.advertise(self._advertisement.encode(numbers), self._interval_ms)

    def _fill(self, distance: int) -> int:
        holdings = self._station.registers.holdings
        depth = max(holdings[_EMPTY_MM] - holdings[_FULL_MM], 1)
        return min(max((holdings[_EMPTY_MM] - distance) * 100 // depth, 0), 100)

    def hour(self, now: int) -> None:
        if now:  # at the start nothing has been measured yet
            self._station.remember(_KIND_FILL, self._station.registers.inputs[_FILL])


def node(config: dict, slot: int, version: int, folder: str) -> Station:
    station = Station(config, slot, version, folder, ROWS)
    bin_ = Bin(station, config)
    station.every("bin", config.get("advertise_ms", 2000), bin_.step)
    station.every("hour", 3600000, bin_.hour)
    return station
