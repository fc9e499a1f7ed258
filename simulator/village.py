"""What the soak's gateway is connected to: meters, the air in a luminaire, a controller of lamps and a ventilation unit, all
on Modbus TCP.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final

from simulator.modbus import Area, Device, IllegalAddress

METERS: Final = 2
AIR: Final = 8
LAMPS: Final = 9
VENTILATION: Final = 10
LAMP_REGISTERS: Final = (15, 115)
"""Where the controller is told the levels of its lamps 0 and 1."""
SETPOINT: Final = 2000
"""Where the ventilation unit is told its set-point, in tenths of a degree."""
BY_RULE, FAIL_SAFE = 210, 180
AIR_QUALITY: Final = 1122
POWER: Final = 0x0C
TEMPERATURE: Final = 0x02

SITE: Final = """
[gateway]
id = "soak"
commune = "Simulée"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[upstream]
url = "mqtt://127.0.0.1:{platform}"
{key}
[[bus]]
name = "tcp"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {devices}
[[device]]
name = "air"
profile = "weather/vaisala_hmdw110"
bus = "tcp"
address = 8
every = "900s"
[[device]]
name = "lamps"
profile = "lighting/intesis_ibmbsdal"
bus = "tcp"
address = 9
every = "1800s"
[[device]]
name = "ventilation"
profile = "ventilation/systemair_save"
bus = "tcp"
address = 10
every = "1800s"
[[permit]]
point = "ventilation/setpoint"
min = 17
max = 22
fail_safe = 18
every = "60s"
dwell = "10min"
lease = "1h"
unless = [{{ point = "ventilation/air_quality", equals = 2 }}]
[[rule]]
name = "warm"
when = [{{ point = "air/temperature", above = 30 }}]
set = [{{ point = "ventilation/setpoint", value = 21 }}]
[[watch]]
name = "lamp"
model = "lamp_driver"
[watch.inputs]
power = ["m1/power"]
temperature = ["air/temperature"]
[[lighting]]
name = "street"
lamps = ["lamps/lamp0_level", "lamps/lamp1_level"]
slot = [
    {{ from = "dusk", level = 100 }},
    {{ from = "23:00", level = 40 }},
    {{ from = "02:30", level = 20 }},
    {{ from = "05:30", level = 70 }},
    {{ from = "dawn", level = 0 }},
]
"""
METER: Final = """
[[device]]
name = "m{unit}"
profile = "energy/eastron_sdm120"
bus = "tcp"
address = {unit}
every = "{every_s}s"
"""


def site_text(platform: int, devices: int, visits: int, command_key: str = "") -> str:
    """The site after so many visits of a technician, who now has a meter read twice as often and now one less of them.
    command_key: the file of the platform's key, where the platform may change the site too."""
    key = f'command_key = "{command_key}"' if command_key else ""
    text = SITE.format(platform=platform, devices=devices, key=key)
    meters = METERS - (visits % 3 == 2)
    every_s = 600 if visits % 2 else 300
    return text + "".join(METER.format(unit=unit, every_s=every_s) for unit in range(1, meters + 1))


class Village:
    """lit: what the sun says; spoilt: whether the lamp's driver runs hot; stale_since_s: since when the air is so bad that
    the interlock forbids to warm it, None while it is not. told: called with what a controller was told, as (register,
    value)."""

    def __init__(self, lit: Callable[[], bool], told: Callable[[int, int], None]) -> None:
        self.lit, self.told, self.spoilt = lit, told, False
        self.stale_since_s: float | None = None
        self._levels = {**dict.fromkeys(LAMP_REGISTERS, 0), SETPOINT: FAIL_SAFE}
        self.units = [Device(unit, _Meter(self, unit), 0.01) for unit in range(1, METERS + 1)]
        self.units += [Device(AIR, _Air(self), 0.01), Device(LAMPS, _Told(self), 0.01)]
        self.units.append(Device(VENTILATION, _Told(self), 0.01))

    def write(self, address: int, values: Sequence[int]) -> None:
        for at, value in enumerate(values, address):
            self.told(at, value)
            self._levels[at] = value

    def level(self, address: int) -> int:
        if address == AIR_QUALITY:
            return 0 if self.stale_since_s is None else 2
        return self._levels.get(address, 0)


def _minute() -> int:
    return int(asyncio.get_running_loop().time()) // 60


class _Meter:
    """Registers that follow the time; the first meter's power is the lamp's."""

    def __init__(self, village: Village, unit: int) -> None:
        self._village, self._unit = village, unit

    def read(self, area: Area, address: int, count: int) -> list[int]:
        now = _minute()
        watts = 60.0 + now % 7 / 10 if self._village.lit() else 0.4
        words = struct.unpack(">2H", struct.pack(">f", watts if self._unit == 1 else 50.0 + now % 100))
        return [
            words[at - POWER] if POWER <= at < POWER + 2 else 0x4248 if at % 2 == 0 else (now + at) & 0xFFFF
            for at in range(address, address + count)
        ]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self._village.told(-address, values[0])


class _Air:
    def __init__(self, village: Village) -> None:
        self._village = village

    def read(self, area: Area, address: int, count: int) -> list[int]:
        degrees = 12.0 + _minute() % 11 / 10 + 25.0 * self._village.lit() * (1.0 + self._village.spoilt)
        low, high = reversed(struct.unpack(">2H", struct.pack(">f", degrees)))
        return [{TEMPERATURE: low, TEMPERATURE + 1: high}.get(at, 0) for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self._village.told(-address, values[0])


class _Told:
    """Has the registers that are written to, and others that are 0."""

    def __init__(self, village: Village) -> None:
        self._village = village

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if area != "holding":
            raise IllegalAddress
        return [self._village.level(at) for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self._village.write(address, values)
