"""Leaks that are told and still run: from the level that they leave, the next one is seen.

While a leak runs its score is high already, and a second one has no room to show. So:

1. A leak that has been in alert for AFTER_H hours is known: what each point departed by over the last OVER_H of them, the
   median, is its level, and is taken off every value from the alert's onset on.
2. Every EVERY_H hours: where the points depart backwards by about one level, that leak is mended, and its level is taken
   off no longer. Where much besides departs too the level stays, but nobody is told any more that the leak runs.
3. What would raise an alert and departs like a level that is known, or was until a few days ago, is more of that leak: it
   is taken for a level too, and nothing is told.

Only which points depart can tell a second leak from more of the first. That takes MANY pressures: with fewer, on simulated
networks, levels cost more false alerts than they find leaks, and with less than four they find fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gateway.window.baseline import PRESSURES, Baseline, Floats, Stretch, median

MANY = 20
"""Pressures."""

AFTER_H, OVER_H, RECENT_H, EVERY_H = 96, 84, 24, 6
SAME = 0.85
"""Cosine between two departures, each point in units of its noise, from which they are one leak's."""

BACK, EXPLAINED, LEAST_SIGMAS = (0.55, 1.6), 0.7, 2.0
"""A leak is mended when a day departs backwards by such a share of its level, that explains so much of all that departs, and
a point departs by so many sigmas at least."""

GONE_H = 6 * 24
"""For so long after a repair the same again is no other leak: the repair was misjudged."""

LASTS_H = 28 * 24
"""An alert does not outlive this, from when its level was taken: four weeks later it would be usual anyway."""


@dataclass(frozen=True, slots=True)
class Level:
    """departs: of each point, m3/h more or bar less. Taken off from since_h on (hours since 1970), known since made_h; until
    mended_h, the hour at which the repair was noticed. runs: nothing speaks against it."""

    since_h: int
    made_h: int
    departs: tuple[float, ...]
    mended_h: int | None = None
    runs: bool = True

    @property
    def until_h(self) -> float:
        """Half of the day by which a repair is noticed lies before it."""
        return np.inf if self.mended_h is None else self.mended_h - RECENT_H // 2


@dataclass(frozen=True, slots=True)
class Departed:
    """What each point departed by, m3/h more or bar less, and the noise of a day's estimate of it."""

    by: Floats
    noise: Floats

    @classmethod
    def over(cls, stretch: Stretch, baseline: Baseline) -> Departed:
        """The median of a stretch."""
        every = baseline.sigma.shape[1]
        pressures = stretch.values.shape[1] - stretch.flows
        columns = [*range(every - stretch.flows, every), *range(PRESSURES, PRESSURES + pressures)]
        noise = baseline.inflation[1, columns] / np.sqrt((1 / baseline.sigma[:, columns] ** 2).sum(0))
        return cls(np.nan_to_num(median(baseline.departures(stretch)[:, columns])), noise)


class Levels:
    """The levels of one sector. Points: flows first, then pressures."""

    def __init__(self, flows: int, pressures: int) -> None:
        self._signs = np.array([1.0] * flows + [-1.0] * pressures)
        self._levels: list[Level] = []
        self._due: tuple[int, int] | None = None  # when a level is to be taken, and since when

    def off(self, begin_h: int, end_h: int) -> Floats:
        """(hours, points): what is to be taken off the values of these hours, m3/h and bar."""
        hours = np.arange(begin_h, end_h)
        taken = np.zeros((len(hours), len(self._signs)))
        for level in self._levels:
            taken[(hours >= level.since_h) & (hours < level.until_h)] += self._signs * level.departs
        return taken

    @property
    def known(self) -> bool:
        """Whether there was a leak lately whose level was taken."""
        return bool(self._levels)

    def running(self, now_h: int) -> bool:
        """Whether a leak that was told still runs, as far as can be known."""
        lasts = any(level.runs and now_h - level.made_h < LASTS_H for level in self._levels)
        return lasts or self._due is not None

    def raised(self, now_h: int, since_h: int) -> None:
        """An alert was raised: its level is due."""
        self._due = now_h + AFTER_H, since_h

    def cleared(self) -> None:
        """It ended before its level was taken."""
        self._due = None

    def is_due(self, now_h: int) -> bool:
        """Whether the level of the last alert is to be taken now."""
        return self._due is not None and now_h >= self._due[0]

    def take(self, now_h: int, departed: Departed) -> None:
        """Takes the level that is due."""
        assert self._due is not None
        self._levels.append(Level(self._due[1], now_h, tuple(departed.by.tolist())))
        self._due = None

    def more(self, now_h: int, departed: Departed) -> bool:
        """Whether the last RECENT_H hours are more of a leak that is known; if so that is a level too from now on."""
        seen = departed.by / departed.noise
        for level in self._levels:
            if level.mended_h is not None and now_h - level.mended_h >= GONE_H:
                continue
            known = np.array(level.departs) / departed.noise
            if seen @ known > SAME * np.linalg.norm(seen) * np.linalg.norm(known):
                self._levels.append(Level(now_h - RECENT_H, now_h, tuple(departed.by.tolist())))
                self._due = None
                return True
        return False

    def mended(self, now_h: int, departed: Departed) -> bool:
        """Whether the last RECENT_H hours show that one of the leaks was repaired."""
        seen = departed.by / departed.noise
        if np.abs(seen).max() <= LEAST_SIGMAS:
            return False
        best: tuple[float, int] | None = None
        for i, level in enumerate(self._levels):
            known = np.array(level.departs) / departed.noise
            if level.mended_h is not None or now_h - level.made_h < RECENT_H or not known.any():
                continue
            back = -float(seen @ known) / float(known @ known)
            left = seen + back * known
            explained = 1 - float(left @ left) / float(seen @ seen)
            self._levels[i] = replace(level, runs=level.runs and back <= BACK[0])
            if BACK[0] < back < BACK[1] and explained > EXPLAINED and (best is None or explained > best[0]):
                best = explained, i
        if best is not None:
            self._levels[best[1]] = replace(self._levels[best[1]], mended_h=now_h, runs=False)
        return best is not None

    def forget(self, before_h: int) -> None:
        """Lets go of what was mended before that hour."""
        self._levels = [level for level in self._levels if level.until_h >= before_h]

    def state(self) -> dict[str, Any]:
        """All it remembers, for JSON."""
        return {"levels": [asdict(level) for level in self._levels], "due": self._due}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. Raises ValueError when it is not one of a sector with as many points."""
        try:
            levels = [Level(**{**one, "departs": tuple(map(float, one["departs"]))}) for one in state["levels"]]
            due = state["due"] and (int(state["due"][0]), int(state["due"][1]))
            hours = [int(hour) for level in levels for hour in (level.since_h, level.made_h, level.mended_h or 0)]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"levels of a sector: expected what state() gave, got {dict(state)!r}") from error
        if any(len(level.departs) != len(self._signs) for level in levels) or min(hours, default=0) < 0:
            raise ValueError(f"levels of a sector: expected {len(self._signs)} points in each, got {dict(state)!r}")
        self._levels, self._due = levels, due
