"""Where the sun stands, and what the clock on the wall of a place shows.

The short series of the NOAA solar calculator (after Meeus, Astronomical Algorithms, ch. 25): good to a minute below the
polar circles, forty lines, quick enough to be asked anew, and nothing to install or keep up to date. `astral`, which other
people maintain, is its judge in the tests and in `guet bench lighting` (docs/decisions/0032).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

DAY_S = 86_400.0
_J2000_S = 946_728_000.0
"""2000-01-01T12:00Z in UTC seconds since 1970."""

_HORIZON_SIN = math.sin(math.radians(-0.833))
"""Height of the sun's centre at sunset: refraction and half of its disc (NOAA)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site is. latitude, longitude in degrees, north and east positive; zone: of its clocks."""

    latitude: float
    longitude: float
    zone: tzinfo

    def local(self, time_s: float) -> datetime:
        """What clocks show at `time_s` (UTC seconds)."""
        return datetime.fromtimestamp(time_s, self.zone)

    def wall_s(self, day: date, minutes: int) -> float:
        """UTC seconds of what clocks show that many minutes after the midnight that begins `day`."""
        wall = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
        return wall.replace(tzinfo=self.zone).timestamp()

    def instant_s(self, day: date, at: str) -> float:
        """UTC seconds of "dusk", "dawn" or a local time "HH:MM" of a day. Where the sun does not set, "dusk" is half a day
        after its noon; where it does not rise, "dusk" and "dawn" are its noon."""
        if at in ("dusk", "dawn"):
            return self.sun_s(day)[at == "dusk"]
        return self.wall_s(day, int(at[:2]) * 60 + int(at[3:]))

    def sun_s(self, day: date) -> tuple[float, float]:
        """Sunrise and sunset of a day, UTC seconds."""
        return _sun_of(self, day)


@lru_cache(maxsize=4096)
def _sun_of(place: Place, day: date) -> tuple[float, float]:
    return sun_times(place.wall_s(day, 12 * 60), place.latitude, place.longitude)


def sun_times(noon_s: float, latitude: float, longitude: float) -> tuple[float, float]:
    """Sunrise and sunset (UTC seconds) of the solar day whose noon is nearest to `noon_s`. Where the sun does not set
    they are 24 hours apart, where it does not rise they are the same."""
    transit_s = _J2000_S - longitude * 240.0
    transit_s += round((noon_s - transit_s) / DAY_S) * DAY_S
    transit_s -= _sun(transit_s)[1]
    return _crossing(transit_s, -1, latitude), _crossing(transit_s, 1, latitude)


def _crossing(transit_s: float, side: int, latitude: float) -> float:
    """When the sun crosses the horizon, before (-1) or after (1) its transit; twice, as declination moves meanwhile."""
    time_s, up, along = transit_s, math.sin(math.radians(latitude)), math.cos(math.radians(latitude))
    for _ in range(2):
        declination = _sun(time_s)[0]
        cosine = (_HORIZON_SIN - up * math.sin(declination)) / (along * math.cos(declination))
        time_s = transit_s + side * math.acos(max(-1.0, min(1.0, cosine))) / math.tau * DAY_S
    return time_s


def _sun(time_s: float) -> tuple[float, float]:
    """Declination in radians and equation of time in seconds (sundial ahead of clock: positive)."""
    century = (time_s - _J2000_S) / (36_525 * DAY_S)
    longitude = math.radians(280.46646 + century * (36_000.76983 + century * 0.0003032))
    anomaly = math.radians(357.52911 + century * (35_999.05029 - century * 0.0001537))
    eccentricity = 0.016708634 - century * 0.000042037
    centre = math.radians(
        (1.914602 - century * 0.004817) * math.sin(anomaly)
        + 0.019993 * math.sin(2 * anomaly)
        + 0.000289 * math.sin(3 * anomaly)
    )
    node = math.radians(125.04 - 1934.136 * century)
    apparent = longitude + centre - math.radians(0.00569 + 0.00478 * math.sin(node))
    obliquity = math.radians(23.439291 - century * 0.0130042 + 0.00256 * math.cos(node))
    declination = math.asin(math.sin(obliquity) * math.sin(apparent))
    y = math.tan(obliquity / 2) ** 2
    equation = (
        y * math.sin(2 * longitude)
        - 2 * eccentricity * math.sin(anomaly)
        + 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * longitude)
        - y * y / 2 * math.sin(4 * longitude)
        - 1.25 * eccentricity**2 * math.sin(2 * anomaly)
    )
    return declination, equation / math.tau * DAY_S
