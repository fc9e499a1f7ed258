"""A reading: one value of one point at one instant, with its unit and quality.

Readings travel in snapshots, all that one device said at one instant, because that is how buses deliver them, how they
are stored and how they are sent. A value that may not be used is None and its flaw says why; a value that is doubtful is
kept and its flaw says why. Nothing is ever silently a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.language import say


class Quality(StrEnum):
    """How far a reading can be trusted."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class FlawKind(StrEnum):
    """What is behind a flaw, for programs."""

    OTHER = "other"
    SILENT = "silent"
    GARBLED = "garbled"
    REFUSED = "refused"
    PORT = "port"
    NO_VALUE = "no_value"
    OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a reading is less than good; `reason` is a short sentence for people, in French; `english` the same, or empty."""

    quality: Quality
    reason: str
    kind: FlawKind = field(default=FlawKind.OTHER, compare=False)
    english: str = field(default="", compare=False)

    @property
    def said(self) -> str:
        """The reason in the language of who reads."""
        return say(self.reason, self.english or self.reason)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one point (`device/point`) at `time_s`, UTC seconds since 1970. `value` is None when there is none."""

    point: str
    time_s: float
    value: float | None
    unit: str
    quality: Quality = Quality.GOOD
    reason: str = ""
    flaw: Flaw | None = field(default=None, compare=False)

    @property
    def said(self) -> str:
        """The reason in the language of who reads."""
        return self.flaw.said if self.flaw is not None else self.reason

    @property
    def kind(self) -> FlawKind | None:
        """What is behind its flaw; None where it has none."""
        return self.flaw.kind if self.flaw is not None else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one device said at one instant.

    values: by the point's own name (without the device), None where the device gave no usable value.
    flaws: by point name, only for what is not good.
    """

    device: str
    time_s: float
    values: Mapping[str, float | None]
    flaws: Mapping[str, Flaw] = field(default_factory=dict)

    def readings(self, units: Mapping[str, str]) -> Iterator[Reading]:
        """The same, one by one, with the unit of each point."""
        for name, value in self.values.items():
            flaw = self.flaws.get(name)
            quality, reason = (flaw.quality, flaw.reason) if flaw else (Quality.GOOD, "")
            yield Reading(f"{self.device}/{name}", self.time_s, value, units.get(name, ""), quality, reason, flaw)


Sink = Callable[[Snapshot], None]
"""Who takes snapshots."""


def split_point(point: str) -> tuple[str, str]:
    """`device/point` -> (device, point). Raises ValueError when it is not of that form."""
    device, _, name = point.partition("/")
    if not device or not name or "/" in name:
        raise ValueError(f"{point!r}: expected 'device/point'")
    return device, name
