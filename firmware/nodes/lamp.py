"""Lamp node: dims a driver, by schedule and photocell when alone, by a leased command when asked; counts burn hours."""

from machine import ADC, PWM, Pin
from micropython import const
from registers import count32
from rules import Lease, Threshold
from schedule import Schedule
from station import Station
from station_map import LEASED, SENSOR_FAULT

_LEVEL = const(32)
_BRIGHTNESS = const(33)
_CURRENT = const(34)
_DECIDED_BY = const(35)
_BURN_MINUTES = const(36)
_STARTS = const(38)
_COMMAND = const(32)
_LEASE = const(33)
_FULL = const(40)
_REDUCED = const(41)
_CURFEW_START = const(42)
_CURFEW_END = const(43)
_DARK_BELOW = const(44)
_LIGHT_ABOVE = const(45)
_ALMANAC_SHIFT = const(46)
_CURRENT_FULL_SCALE = const(47)
_FAILED_BELOW = const(48)
_FAILURE = const(0)
_LIT = const(1)

_BY_SCHEDULE = const(1)
_BY_COMMAND = const(2)

ROWS = """\
input 32 level u16 1 -3
input 33 brightness u16 - 0
input 34 current u16 mA 0
input 35 decided_by u16 - 0
input 36 burn_minutes u32 min 0
input 38 starts u32 - 0
holding 32 command_level u16 1 -3 0 1000 0
holding 33 command_lease u16 s 0 0 3600 0
holding 40 full_level u16 1 -3 0 1000 1000
holding 41 curfew_level u16 1 -3 0 1000 500
holding 42 curfew_start u16 min 0 0 1439 1410
holding 43 curfew_end u16 min 0 0 1439 300
holding 44 dark_below u16 - 0 1 65534 2000
holding 45 light_above u16 - 0 1 65534 4000
holding 46 almanac_shift i16 min 0 -720 840 60
holding 47 current_full_scale u16 mA 0 10 16000 2000
holding 48 failed_below u16 mA 0 1 16000 50
discrete 0 failure bit - 0
discrete 1 lit bit - 0
"""

_KIND_FAILURE = const(1)
_KIND_LEVEL = const(2)

_NO_CELL = const(65400)
"""Counts at the rail: no photocell, or a broken one."""


class Lamp:
    def __init__(self, station: Station):
        self._station = station
        self._cell = ADC(Pin(station.pins["signal"]))
        self._current = ADC(Pin(station.pins["current"]))
        self._lease = Lease()
        self._level = -1
        self._lit_s = 0
        self._configure()
        for i, byte in enumerate(station.kept("burn")):
            if i < 8:
                at = _BURN_MINUTES + i // 2
                station.registers.inputs[at] |= byte << (0 if i & 1 else 8)
        # The pin is high since boot.py: the PWM starts at full as well, so that a restart is no flicker.
        self._pwm = PWM(Pin(station.pins["lamp"]), freq=1000, duty_u16=65535)

    def _configure(self) -> None:
        holdings = self._station.registers.holdings
        light_above = max(holdings[_LIGHT_ABOVE], holdings[_DARK_BELOW] + 1)
        self._schedule = Schedule(
            holdings[_FULL],
            holdings[_REDUCED],
            holdings[_CURFEW_START],
            holdings[_CURFEW_END],
            holdings[_DARK_BELOW],
            light_above,
        )
        shift = holdings[_ALMANAC_SHIFT]
        self._schedule.almanac.shift_min = shift - 0x10000 if shift & 0x8000 else shift
        self._failing = Threshold(on=holdings[_FAILED_BELOW], off=holdings[_FAILED_BELOW] + 10, hold_s=30)

    def step(self, now: int) -> None:
        """Once a second."""
        station = self._station
        registers = station.registers
        for address in range(_FULL, _FAILED_BELOW + 1):
            if station.take_written(address):
                self._configure()
        if station.take_written(_LEASE):
            self._lease.grant(now, registers.holdings[_LEASE])
        counts = self._cell.read_u16()
        registers.inputs[_BRIGHTNESS] = counts
        minute, month = station.local()
        level = self._schedule.level(now, minute, month, None if counts >= _NO_CELL else counts)
        leased = self._lease.active(now)
        if leased:
            level = registers.holdings[_COMMAND]
        station.flag(LEASED, leased)
        station.flag(SENSOR_FAULT, counts >= _NO_CELL)
        registers.inputs[_DECIDED_BY] = _BY_COMMAND if leased else _BY_SCHEDULE
        self._show(level)
        self._observe(now)

    def _show(self, level: int) -> None:
        registers = self._station.registers
        if level == self._level:
            return
        if level and self._level == 0:
            count32(registers.inputs, _STARTS)
        self._level = level
        self._pwm.duty_u16(level * 65535 // 1000)
        registers.inputs[_LEVEL] = level
        registers.discretes[_LIT] = level > 0
        self._station.remember(_KIND_LEVEL, level)

    def _observe(self, now: int) -> None:
        """Current against what the level should draw, and the light source's hours."""
        registers = self._station.registers
        current = (self._current.read_u16() >> 1) * registers.holdings[_CURRENT_FULL_SCALE] >> 15
        registers.inputs[_CURRENT] = current
        was = self._failing.state
        failing = self._failing.step(now, current if self._level > 0 else registers.holdings[_FAILED_BELOW] + 11)
        registers.discretes[_FAILURE] = failing
        if failing and not was:
            self._station.remember(_KIND_FAILURE, current)
        if self._level > 0 and not failing:
            self._lit_s += 1
            if self._lit_s == 60:
                self._lit_s = 0
                count32(registers.inputs, _BURN_MINUTES)

    def hour(self, now: int) -> None:
        """Burn minutes and starts survive a power cut, but for the last hour."""
        inputs = self._station.registers.inputs
        if now:
            self._station.keep("burn", b"".join(inputs[_BURN_MINUTES + i].to_bytes(2, "big") for i in range(4)))


def node(config: dict, slot: int, version: int, folder: str) -> Station:
    station = Station(config, slot, version, folder, ROWS)
    lamp = Lamp(station)
    station.every("lamp", 1000, lamp.step)
    station.every("burn hours", 3600000, lamp.hour)
    return station
