"""The last values of a device's points, in memory, for curves and for judging what stands still.

What is read together is kept together, a row for each reading: one time for the whole row, and no work for each value.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping

LENGTH = 360
"""Rows kept of what is read together, as they were read: 8 bytes a value and 8 a row, 6 hours at one a minute."""
MOST_TRACKS = 16
"""Sets of points that come together, of one device; one that speaks unasked may say now this and now that."""


class Recent:
    """The last rows of one device."""

    __slots__ = ("_tracks",)

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, ...], _Track] = {}

    def add(self, time_s: float, values: Mapping[str, float | None]) -> None:
        """One reading; None for a point without a usable value. UTC seconds."""
        names = tuple(values)
        track = self._tracks.get(names)
        if track is None:
            while len(self._tracks) >= MOST_TRACKS:
                oldest = min(self._tracks, key=lambda them: self._tracks[them].newest_s)
                del self._tracks[oldest]
            track = self._tracks[names] = _Track(len(names))
        track.add(time_s, values.values())

    def curve(self, point: str) -> list[tuple[float, float | None]]:
        """(time, value) of one point, oldest first; None where there was no usable value. Empty for one never read."""
        found = [list(track.column(names.index(point))) for names, track in self._tracks.items() if point in names]
        if len(found) == 1:
            return found[0]
        return sorted((sample for column in found for sample in column), key=lambda sample: sample[0])

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did."""
        for track in self._tracks.values():
            track.moved(by_s)


class _Track:
    """A ring of rows of one width."""

    __slots__ = ("_at", "_times", "_values", "_width")

    def __init__(self, width: int) -> None:
        self._times, self._values, self._width, self._at = array("d"), array("d"), width, 0

    @property
    def newest_s(self) -> float:
        return self._times[self._at - 1]

    def add(self, time_s: float, values: Collection[float | None]) -> None:
        try:
            row: array[float] = array("d", values)  # type: ignore[arg-type]
        except TypeError:
            row = array("d", (math.nan if value is None else value for value in values))
        if len(self._times) < LENGTH:
            self._times.append(time_s)
            self._values.extend(row)
        else:
            at, width = self._at, self._width
            self._times[at] = time_s
            self._values[at * width : (at + 1) * width] = row
            self._at = at + 1 if at + 1 < LENGTH else 0

    def column(self, number: int) -> Iterator[tuple[float, float | None]]:
        count, start = len(self._times), self._at
        for row in (*range(start, count), *range(start)):
            value = self._values[row * self._width + number]
            yield self._times[row], None if math.isnan(value) else value

    def moved(self, by_s: float) -> None:
        self._times = array("d", (time_s + by_s for time_s in self._times))
