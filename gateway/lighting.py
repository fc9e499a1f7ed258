"""How much light a street gets and when, and how DALI says it.

A night goes from sunset to sunrise (`sun`).

The schedule is also the fail-safe: whatever else decides about a lamp, when that falls silent the lamp gets this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from gateway.sun import DAY_S, sun_times


@dataclass(frozen=True, slots=True)
class Slot:
    """From `at` on, `percent` of full light. at: "dusk", "dawn", or a local time "HH:MM", which counts only at night."""

    at: str
    percent: float


@dataclass(frozen=True, slots=True)
class Change:
    """From `time_s` on (UTC seconds), `percent` of full light."""

    time_s: float
    percent: float


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A street's light over the year.

    The slot "dusk" says how bright it is from sunset until the first local time that is due; where that time has passed
    by sunset (in June), it rules from sunset on. "dawn" says the level of the day, 0 when left out. latitude and
    longitude in degrees, north and east positive. Where the sun does not set there is no night; where it does not rise,
    no day. Raises ValueError for slots that make no schedule.
    """

    slots: Sequence[Slot]
    latitude: float
    longitude: float
    zone: tzinfo
    evening: float = field(init=False, repr=False)
    daytime: float = field(init=False, repr=False)
    clock: tuple[tuple[int, float], ...] = field(init=False, repr=False)
    """The slots, read: the levels of "dusk" and "dawn", and (minutes on the wall since noon, level) for the others."""

    def __post_init__(self) -> None:
        levels: dict[str, float] = {}
        for slot in self.slots:
            if slot.at in levels:
                raise ValueError(f"slot from {slot.at!r}: there are two of them; keep one")
            if not 0 <= slot.percent <= 100:
                raise ValueError(f"slot from {slot.at!r}: expected a level from 0 to 100 %, got {slot.percent}")
            levels[slot.at] = slot.percent
        if "dusk" not in levels:
            raise ValueError("slots: expected one from 'dusk', which says how bright the evening is")
        object.__setattr__(self, "evening", levels.pop("dusk"))
        object.__setattr__(self, "daytime", levels.pop("dawn", 0.0))
        object.__setattr__(self, "clock", tuple((_minutes(at), percent) for at, percent in levels.items()))

    def level_percent(self, time_s: float) -> float:
        """Light at `time_s` (UTC seconds), percent of full."""
        percent, noon = self.daytime, self._noon(time_s)
        # Where the sun does not rise, one night begins where the other ends, and the clock shows noon sooner or later.
        for days in (-1, 0, 1):
            for change in self.night(noon + timedelta(days=days)):
                if change.time_s > time_s:
                    return percent
                percent = change.percent
        return percent

    def next_change(self, time_s: float) -> Change | None:
        """The first change of level after `time_s`; None when there is none within three days."""
        now, noon = self.level_percent(time_s), self._noon(time_s)
        for days in range(-1, 3):
            for change in self.night(noon + timedelta(days=days)):
                if change.time_s > time_s and change.percent != now:
                    # Where the sun does not rise, one night ends in the instant in which the next begins.
                    percent = self.level_percent(change.time_s)
                    if percent != now:
                        return Change(change.time_s, percent)
        return None

    def segments(self, start_s: float, end_s: float) -> Iterator[tuple[float, float, float]]:
        """The time from start to end as stretches of one level (from_s, to_s, percent), none of them empty."""
        percent = self.level_percent(start_s)
        while start_s < end_s:
            change = self.next_change(start_s) or Change(min(end_s, start_s + 3 * DAY_S), percent)
            to_s = min(end_s, change.time_s)
            yield start_s, to_s, percent
            start_s, percent = to_s, change.percent

    def night(self, noon: date) -> tuple[Change, ...]:
        """What changes from the local noon of a day to the next, in order of time; nothing where it stays light."""
        return _night(self, noon)

    def _noon(self, time_s: float) -> date:
        """The day whose local noon was the last before `time_s`."""
        local = datetime.fromtimestamp(time_s, self.zone)
        return local.date() if local.hour >= 12 else local.date() - timedelta(days=1)


@lru_cache(maxsize=2048)
def _night(schedule: Schedule, noon: date) -> tuple[Change, ...]:
    def wall_s(minutes: int) -> float:
        """UTC seconds of what the clock on the wall shows that many minutes after noon."""
        wall = datetime(noon.year, noon.month, noon.day, 12, tzinfo=UTC) + timedelta(minutes=minutes)
        return wall.replace(tzinfo=schedule.zone).timestamp()

    dusk_s = sun_times(wall_s(0), schedule.latitude, schedule.longitude)[1]
    dawn_s = sun_times(wall_s(24 * 60), schedule.latitude, schedule.longitude)[0]
    if dawn_s - dusk_s < 60:  # where the sun does not set, its noons are 24 hours apart give or take some seconds
        return ()
    due = sorted((wall_s(minutes), percent) for minutes, percent in schedule.clock)
    passed = [percent for time_s, percent in due if time_s <= dusk_s]
    return (
        Change(dusk_s, passed[-1] if passed else schedule.evening),
        *(Change(time_s, percent) for time_s, percent in due if dusk_s < time_s < dawn_s),
        Change(dawn_s, schedule.daytime),
    )


def _minutes(at: str) -> int:
    """ "HH:MM" -> minutes on the wall since noon. Raises ValueError for anything else."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise ValueError(f"slot from {at!r}: expected 'dusk', 'dawn' or a local time such as '22:30'")
    return (int(at[:2]) * 60 + int(at[3:]) - 12 * 60) % (24 * 60)


def arc_power_level(percent: float) -> int:
    """The arc power level nearest to `percent` of full light on DALI's logarithmic dimming curve (IEC 62386-102, 9.3):
    1 is 0.1 %, 254 is 100 %; 0 is off. Raises ValueError outside 0 to 100."""
    if not 0 <= percent <= 100:
        raise ValueError(f"light: expected 0 to 100 %, got {percent}")
    return 0 if percent == 0 else max(1, round(1 + (math.log10(percent) + 1) * 253 / 3))


def light_percent(arc_level: int) -> float:
    """Percent of full light at an arc power level, 0 to 254. Raises ValueError for 255 (MASK, no level) and others."""
    if not 0 <= arc_level <= 254:
        raise ValueError(f"arc power level: expected 0 to 254, got {arc_level}")
    return 0.0 if arc_level == 0 else 10 ** ((arc_level - 1) * 3 / 253 - 1)
