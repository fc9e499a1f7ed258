"""The air over the simulated town: one temperature for all its devices."""

from __future__ import annotations

import math
from functools import lru_cache

from simulator.noise import Noise

DAY_S = 86_400.0
YEAR_S = 365.2422 * DAY_S


@lru_cache(maxsize=8)
def _sources(seed: int) -> tuple[Noise, Noise]:
    return Noise(seed, "weather/days"), Noise(seed, "weather/hours")


def air_c(time_s: float, seed: int) -> float:
    """Air temperature in °C at `time_s` (UTC seconds): the climate of eastern France (about 2 °C in January, 20 °C in
    July, 8 °C between the coldest and warmest hour of a day) with weather of some days and some hours."""
    days, hours = _sources(seed)
    season = -9.0 * math.cos(2 * math.pi * (time_s - 15 * DAY_S) / YEAR_S)
    hour = 4.0 * math.cos(2 * math.pi * (time_s - 14 * 3600) / DAY_S)
    return 11.0 + season + hour + 2.8 * days.smooth(time_s, 2 * DAY_S) + 0.8 * hours.smooth(time_s, 3 * 3600)
