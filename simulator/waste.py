"""A waste bin with an ultrasonic level sensor that advertises BTHome v2: distance, temperature and battery."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, tzinfo

from simulator.noise import Noise
from simulator.weather import DAY_S, air_c

EMPTY_MM = 1_250
"""Distance from the sensor, under the lid, to the bottom."""

NEAREST_MM = 120
"""Closer than this the sensor cannot see: the bin is full."""

_HOUR_S = 3_600.0
_BY_HOUR = (1, 0.5, 0.3, 0.2, 0.2, 0.5, 2, 5, 6, 5, 5, 6, 8, 7, 5, 5, 6, 8, 9, 8, 6, 4, 3, 2)
_WEEK_END = 1.4


class Bin:
    """A bin. fills_per_week: how often it would be full in an average week; collected on `collection_days` (Monday is
    0) at 6 o'clock local time."""

    def __init__(
        self,
        name: str,
        seed: int,
        zone: tzinfo,
        *,
        fills_per_week: float = 1.2,
        collection_days: tuple[int, ...] = (1, 4),
        advertises_every_s: float = 60.0,
        town_seed: int | None = None,
    ) -> None:
        if not collection_days or not all(0 <= day <= 6 for day in collection_days):
            raise ValueError(f"bin {name}: expected collection days from 0 (Monday) to 6, got {collection_days}")
        self.name, self.zone, self.collection_days = name, zone, collection_days
        self._rate, self._every_s = fills_per_week / (sum(_BY_HOUR) * (5 + 2 * _WEEK_END)), advertises_every_s
        self._own = Noise(seed, f"bin/{name}")
        self._drops, self._echo = Noise(seed, f"bin/{name}/drops"), Noise(seed, f"bin/{name}/echo")
        self._town_seed = seed if town_seed is None else town_seed

    def fill(self, time_s: float) -> float:
        """How full it is, 0 to 1 and above: a heap beside the bin counts too."""
        emptied_s = self._emptied(time_s)
        full, hour = 0.0, math.floor(emptied_s / _HOUR_S)
        while hour * _HOUR_S < time_s:
            share = (min(time_s, (hour + 1) * _HOUR_S) - max(emptied_s, hour * _HOUR_S)) / _HOUR_S
            full += share * self._dropped(hour)
            hour += 1
        return full

    def distance_mm(self, time_s: float) -> int:
        """What the sensor measures: the heap is uneven, and settles differently after every drop."""
        uneven_mm = 12 * self._echo.smooth(time_s, 2 * _HOUR_S)
        uneven_mm += 3 * self._echo.gauss(math.floor(time_s / self._every_s))
        free_mm = EMPTY_MM - self.fill(time_s) * (EMPTY_MM - NEAREST_MM)
        return max(NEAREST_MM, min(EMPTY_MM, round(free_mm + uneven_mm)))

    def temperature_c(self, time_s: float) -> float:
        """Of the sensor: the air, the sun on the lid, and warmth of what rots."""
        sun = max(0.0, math.cos(2 * math.pi * (time_s - 13 * _HOUR_S) / DAY_S))
        return air_c(time_s, self._town_seed) + 5 * sun + 2 * min(1.0, self.fill(time_s))

    def battery_percent(self, time_s: float) -> int:
        """Five years from full to empty, less in the cold."""
        age = self._own.uniform() * 0.6 + (time_s % (5 * 365 * DAY_S)) / (5 * 365 * DAY_S) * 0.4
        return round(100 * (1 - age) - max(0.0, -0.3 * air_c(time_s, self._town_seed)))

    def service_data(self, time_s: float) -> bytes:
        """BTHome v2 service data (UUID 0xFCD2), not encrypted: objects 00 packet id, 01 battery in %, 02 temperature in
        0.01 °C, 40 distance in mm, in ascending order, little-endian."""
        return (
            bytes((0x40, 0x00, math.floor(time_s / self._every_s) % 256, 0x01, self.battery_percent(time_s)))
            + b"\x02" + round(self.temperature_c(time_s) * 100).to_bytes(2, "little", signed=True)
            + b"\x40" + self.distance_mm(time_s).to_bytes(2, "little")
        )  # fmt: skip

    def _dropped(self, hour: int) -> float:
        local = datetime.fromtimestamp(hour * _HOUR_S, self.zone)
        busy = _BY_HOUR[local.hour] * (_WEEK_END if local.weekday() >= 5 else 1.0)
        return self._rate * busy * self._drops.between(0.3, 1.7, hour)

    def _emptied(self, time_s: float) -> float:
        """The last collection at or before `time_s`."""
        local = datetime.fromtimestamp(time_s, self.zone)
        for back in range(8):
            day = (local - timedelta(days=back)).replace(hour=6, minute=0, second=0, microsecond=0, fold=0)
            if day.weekday() in self.collection_days and day.timestamp() <= time_s:
                return day.timestamp()
        raise AssertionError("a week has every day")
