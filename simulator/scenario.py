"""Scenarios: what happens in the town, when, and which alerts must come of it; one TOML file each (scenarios/).

A file gives ranges; the seed draws from them, so that another seed is another night. What was drawn is the truth that the
outcome is compared with.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.alert import AlertKind
from gateway.profile import sentences
from simulator.odds import parse_odds

FOLDER = Path(__file__).parent / "scenarios"
HOUR_S = 3600.0

EventKind = Literal["burst", "capacitor", "cooling", "door_wear", "uplink_cut", "kill", "bus_faults"]

BUSES = {"armoire": "modbus-tcp", "rs485-1": "modbus-rtu", "rue-haute": "dali-sci", "radio": "ble"}
"""The buses of the town (`town.py`), each with its protocol."""


class ScenarioError(Exception):
    """A scenario that cannot be played; the message says why, one fault a line."""


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EventEntry(_Closed):
    """Something that happens. at_h: hours after the start, drawn between the two; may be before it (a fault that has been
    growing). severity: drawn likewise, in the fault's own terms (burst: m3/h). for_h: how long a cut lasts, or a drift
    takes. expect: the kind of alert that must come within `within_h` hours after the event, and before the night ends.
    bus, faults: of "bus_faults", where and what goes wrong, as `odds.parse_odds` reads it."""

    kind: EventKind
    at_h: tuple[float, float]
    severity: tuple[float, float] = (1.0, 1.0)
    for_h: float = Field(default=0.0, ge=0)
    steepness: float = Field(default=0.0, ge=0)
    expect: AlertKind | Literal[""] = ""
    within_h: float = Field(default=24.0, gt=0)
    bus: str = ""
    faults: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in (("at_h", self.at_h), ("severity", self.severity)):
            if low > high:
                raise ValueError(f"{name}: expected [lowest, highest], got [{low}, {high}]")
        if self.kind != "bus_faults":
            if self.bus or self.faults:
                raise ValueError(f"bus, faults: only of kind 'bus_faults', got kind {self.kind!r}; remove them")
        elif self.bus not in BUSES:
            raise ValueError(f"bus: expected one of {', '.join(BUSES)}, got {self.bus!r}")
        else:
            parse_odds(self.faults, BUSES[self.bus])
        return self


class ScenarioEntry(_Closed):
    """A scenario file. history_days: told to the gateway before the start."""

    name: str
    title: str
    start: datetime
    hours: float = Field(gt=0)
    history_days: int = Field(ge=0, le=60)
    event: tuple[EventEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens in this night. subject: of the alert that is expected of it, or the bus that has `faults`.
    Times in UTC seconds."""

    kind: EventKind
    subject: str
    at_s: float
    duration_s: float
    severity: float
    steepness: float
    expect: str
    due_s: float
    faults: str = ""

    @property
    def end_s(self) -> float:
        return self.at_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario with its seed drawn."""

    name: str
    title: str
    seed: int
    start_s: float
    hours: float
    history_s: float
    events: tuple[Event, ...]

    @property
    def end_s(self) -> float:
        return self.start_s + self.hours * HOUR_S

    def of(self, *kinds: EventKind) -> tuple[Event, ...]:
        """The events of these kinds."""
        return tuple(event for event in self.events if event.kind in kinds)


SUBJECTS: dict[EventKind, tuple[str, ...]] = {
    "burst": ("secteur-moulin",),
    "capacitor": tuple(f"lampe-{number}" for number in range(1, 7)),
    "cooling": tuple(f"lampe-{number}" for number in range(1, 7)),
    "door_wear": ("ascenseur-mairie",),
    "uplink_cut": ("",),
    "kill": ("",),
    "bus_faults": tuple(BUSES),
}
"""What each kind of event can happen to, by the names of the town (`town.py`)."""


def load_scenario(name: str, seed: int) -> Scenario:
    """The scenario `name`, drawn with `seed`. Raises ScenarioError."""
    known = sorted(file.stem for file in FOLDER.glob("*.toml"))
    if name not in known:
        raise ScenarioError(f"scenario {name!r}: expected one of {', '.join(known)}")
    return draw(parse_scenario((FOLDER / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml"), seed)


def parse_scenario(text: str, file: str) -> ScenarioEntry:
    """A scenario from its text. Raises ScenarioError with all its faults."""
    try:
        return ScenarioEntry.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{file}: not TOML: {error}") from None
    except ValidationError as error:
        raise ScenarioError("\n".join(sentences(error, file))) from None


def draw(entry: ScenarioEntry, seed: int) -> Scenario:
    """One night out of the ranges of a scenario."""
    start = entry.start if entry.start.tzinfo else entry.start.replace(tzinfo=UTC)
    start_s = start.timestamp()
    events = []
    for index, given in enumerate(entry.event):
        chance = Random(f"{seed}|{index}|{given.kind}")
        at_s = start_s + round(chance.uniform(*given.at_h) * 60) * 60
        events.append(
            Event(
                kind=given.kind,
                subject=given.bus or chance.choice(SUBJECTS[given.kind]),
                at_s=at_s,
                duration_s=given.for_h * HOUR_S,
                severity=round(chance.uniform(*given.severity), 2),
                steepness=given.steepness,
                expect=given.expect,
                due_s=at_s + given.within_h * HOUR_S,
                faults=given.faults,
            )
        )
    return Scenario(entry.name, entry.title, seed, start_s, entry.hours, entry.history_days * 86400.0, tuple(events))
