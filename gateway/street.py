"""A street: how bright each of its lamps is to be, at any instant, from schedule, sensors, law and wear.

In this order, each within what the one before left: the schedule, its slots given as levels or as classes of EN 13201-2;
the photocell, a second opinion that may move dusk and dawn by some minutes and no more; event days; presence, which raises
at once and lets go after a while; the floor; the curfew, which nothing but a derogation lifts; the ramp; and for each lamp
the correction for its burn hours. A lost sensor is careful: presence counts as there, the photocell as not asked.

Pure: time and inputs come as a picture. Ask in order of time: ramp and presence remember.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from gateway.condition import AT, Condition, ConditionEntry, Picture
from gateway.curfew import RULES, TIME, Category, Curfew, Derogation
from gateway.lighting import Schedule, Slot, arc_power_level
from gateway.point import Closed, Duration, duration_s
from gateway.sun import Place

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
RAMP_STEP_S = 5.0
"""A ramp goes in steps no shorter than this: each is a write to every lamp, and a bus is slow."""

SHARES_S = 3600.0
"""How often burn hours are looked at."""
PRESENT = "présence"
FIRST_GROUP, LAST_GROUP = 8, 15
"""DALI groups that a street may form; installers begin with 0, so the lower half is theirs."""

CLASSES: dict[str, float] = {
    **dict(zip(("M1", "M2", "M3", "M4", "M5", "M6"), (2.0, 1.5, 1.0, 0.75, 0.5, 0.3), strict=True)),  # cd/m2
    **dict(zip(("C0", "C1", "C2", "C3", "C4", "C5"), (50.0, 30.0, 20.0, 15.0, 10.0, 7.5), strict=True)),  # lx
    **dict(zip(("P1", "P2", "P3", "P4", "P5", "P6"), (15.0, 10.0, 7.5, 5.0, 3.0, 2.0), strict=True)),  # lx
}
"""What a lighting class maintains, on average (EN 13201-2, tables 1 to 3): M cd/m2, C and P lx."""


def class_percent(design: str, wanted: str) -> float:
    """The light that gives class `wanted` where all of it gives class `design`, percent. Raises ValueError for classes of
    two families, or one that needs more than there is."""
    if design[0] != wanted[0]:
        raise ValueError(f"class {wanted!r}: expected of the family of {design!r}")
    percent = 100 * CLASSES[wanted] / CLASSES[design]
    if percent > 100:
        raise ValueError(f"class {wanted!r}: needs more light than the installation, made for {design!r}, can give")
    return percent


class SlotEntry(Closed):
    """From a local time ("23:00") or "dusk", "dawn": so much light, percent of full, or the class that it must give."""

    model_config = ConfigDict(populate_by_name=True)

    at: str = Field(alias="from", pattern=AT)
    level: float | None = Field(default=None, ge=0, le=100)
    lighting_class: str = Field(default="", alias="class", pattern=r"^$|^(M[1-6]|C[0-5]|P[1-6])$")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.level is None) == (not self.lighting_class):
            raise ValueError("expected either level or class")
        return self


class Presence(Closed):
    """Where somebody is (any point above `above`), the street has `level` until `hold` after. in_curfew: the site declares
    that its lights follow detection, so that the decree lets them be lit then."""

    points: list[str] = Field(min_length=1)
    level: float = Field(default=100.0, gt=0, le=100)
    above: float = 0.0
    hold: Duration = "60s"
    in_curfew: bool = False


class Photocell(Closed):
    """A second opinion on dusk and dawn, lx: dark below `dark`, until `light`; it moves them by `most` at the most."""

    point: str
    dark: float = Field(default=20.0, gt=0)
    light: float = Field(default=40.0, gt=0)
    most: str = "45min"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.light <= self.dark:
            raise ValueError(f"light: expected more than dark = {self.dark:g}, got {self.light:g}")
        if duration_s(self.most) > 2 * 3600:
            raise ValueError(f"most: expected two hours at most, got {self.most!r}")
        return self


class Event(Closed):
    """A night that is another: it begins on `on`; from and to are local times of it."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(min_length=1, max_length=80)
    on: date
    first: Annotated[str, Field(alias="from", pattern=AT)] = "dusk"
    last: Annotated[str, Field(alias="to", pattern=AT)] = "dawn"
    level: float = Field(ge=0, le=100)
    derogation: str = ""


class ConstantOutput(Closed):
    """What a light source loses with its burn hours, given back: at 0 hours it gets `start` percent of the order, at
    `end_hours` all of it. hours: the point of each lamp's device that counts them, in h or s."""

    hours: str
    start: float = Field(default=80.0, gt=0, le=100)
    end_hours: float = Field(default=100_000.0, gt=0)


class Consumption(Closed):
    """What lamps take. lamp_w: one at full light; standby_w: one switched off; other_w: what else is on the meter. meter:
    points in W that together measure the street; lamp: the point of each lamp's device, in W. co2_g_per_kwh, with its
    source: what a kWh saved stands for; nothing is said of CO2 without."""

    lamp_w: float = Field(gt=0)
    standby_w: float = Field(default=0.5, ge=0)
    other_w: float = Field(default=0.0, ge=0)
    meter: list[str] = []
    lamp: str = ""
    co2_g_per_kwh: float | None = Field(default=None, ge=0)
    co2_source: str = ""

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        if self.co2_g_per_kwh is not None and len(self.co2_source) < 8:
            raise ValueError("co2_source: missing; say where co2_g_per_kwh is from, with its year")
        return self


class LightingEntry(Closed):
    """A street, which its lamps follow whether the network is there or not. category: of the decree (`curfew`); activity:
    when what it lights begins and ends; design: the class that full light gives; floor: never less while it is lit; ramp:
    from dark to full; fail_safe: the level that the gear itself goes to when mains or bus come and go; group: the DALI group
    that its lamps form and that the gear is made to belong to, whatever other of the upper groups it was in."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(pattern=NAME)
    lamps: list[str] = Field(min_length=1)
    slots: list[SlotEntry] = Field(min_length=1, alias="slot")
    category: Category = "a"
    activity: tuple[Annotated[str, Field(pattern=TIME)], Annotated[str, Field(pattern=TIME)]] | None = None
    derogation: list[Derogation] = []
    design: str = Field(default="", pattern=r"^$|^(M[1-6]|C[0-5]|P[1-6])$")
    floor: float = Field(default=0.0, ge=0, le=100)
    ramp: str = ""
    fail_safe: float | None = Field(default=None, ge=0, le=100)
    group: int | None = Field(default=None, ge=FIRST_GROUP, le=LAST_GROUP)
    presence: Presence | None = None
    photocell: Photocell | None = None
    event: list[Event] = []
    constant_output: ConstantOutput | None = None
    consumption: Consumption | None = None

    @field_validator("ramp")
    @classmethod
    def _duration(cls, ramp: str) -> str:
        if ramp and duration_s(ramp) > 1800:
            raise ValueError(f"ramp: expected half an hour at most, got {ramp!r}")
        return ramp

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rule = RULES[self.category]
        if rule is not None and rule.after_h is not None and self.activity is None:
            raise ValueError(f"activity: missing; the hours of category {self.category!r} hang on when it ends")
        if self.activity is not None and self.activity[0] == self.activity[1]:
            raise ValueError("activity: expected a begin and another end")
        if self.presence is not None and self.presence.in_curfew and (rule is None or not rule.presence):
            raise ValueError(f"presence.in_curfew: the decree knows no such adaptation for category {self.category!r}")
        if not any(slot.at == "dusk" for slot in self.schedule_slots()):
            raise ValueError("slot: expected one from 'dusk', which says how bright the evening is")
        return self

    def schedule_slots(self) -> list[Slot]:
        """The slots as levels. Raises ValueError for a class without, or beyond, `design`."""
        found = []
        for slot in self.slots:
            level = slot.level
            if level is None:
                if not self.design:
                    raise ValueError(f"design: missing; slot from {slot.at!r} gives a class")
                level = class_percent(self.design, slot.lighting_class)
            found.append(Slot(slot.at, level))
        return found

    @property
    def kept_percent(self) -> float:
        """The level that the gear goes to by itself."""
        if self.fail_safe is not None:
            return self.fail_safe
        return next(slot.percent for slot in self.schedule_slots() if slot.at == "dusk")

    def inputs(self) -> Iterator[str]:
        """The points that it looks at."""
        if self.presence is not None:
            yield from self.presence.points
        if self.photocell is not None:
            yield self.photocell.point
        if self.consumption is not None:
            yield from self.consumption.meter
        for name in (
            self.constant_output.hours if self.constant_output else "",
            self.consumption.lamp if self.consumption else "",
        ):
            if name:
                yield from (beside(lamp, name) for lamp in self.lamps)


def beside(lamp: str, name: str) -> str:
    """Another point of a lamp's device."""
    return f"{lamp.partition('/')[0]}/{name}"


@dataclass(frozen=True, slots=True)
class Light:
    """What a street is to give now. percent: of full, before each lamp's correction; why: a French sentence; required: what
    the schedule and whoever is there ask for, lawful or not and before any ramp (for lux-hours missing)."""

    percent: float
    why: str
    required: float


class Street:
    """A street at work. units: of each lamp's point ("%" or "1", an arc power level); hours_unit: of burn hours."""

    def __init__(self, entry: LightingEntry, place: Place, units: Mapping[str, str], hours_unit: str = "h") -> None:
        self.entry, self._place, self._units = entry, place, units
        self.schedule = Schedule(entry.schedule_slots(), place.latitude, place.longitude, place.zone)
        self.curfew = Curfew(entry.category, entry.activity, entry.derogation, place)
        self._ramp_s = duration_s(entry.ramp) if entry.ramp else 0.0
        self._per_hour = 1.0 if hours_unit == "h" else 1 / 3600
        presence, cell = entry.presence, entry.photocell
        self._hold_s = duration_s(presence.hold) if presence else 0.0
        self._most_s = duration_s(cell.most) if cell else 0.0
        self._dark = (
            Condition(ConditionEntry(point=cell.point, below=cell.dark, until=cell.light), place) if cell else None
        )
        self._seen_s = -math.inf
        self._now: tuple[float, float] | None = None  # when, and how bright then
        self._moving = False
        self._shares: dict[str, float] = {}
        self._shares_s = -math.inf
        self._valued: tuple[float, dict[str, float]] | None = None
        self.light = Light(0.0, "", 0.0)

    def decide(self, picture: Picture) -> Light:
        """How bright the street is to be now."""
        time_s = picture.time_s
        percent, why = self._scheduled(picture)
        percent, why = self._event(time_s, percent, why)
        someone = self._someone(picture)
        night = percent > 0
        if night and someone and self.entry.presence is not None and self.entry.presence.level > percent:
            percent, why = self.entry.presence.level, someone
        if night and percent < self.entry.floor:
            percent, why = self.entry.floor, f"plancher {self.entry.floor:g} %"
        required = percent
        percent, why = self._lawful(time_s, percent, why, someone)
        percent = self._ramped(time_s, percent, at_once=bool(someone))
        self.light = Light(percent, why, required)
        return self.light

    def ceiling(self, time_s: float) -> tuple[float, str]:
        """The most that may be given now, percent, and the law that says so."""
        dark = self.curfew.at(time_s)
        if dark is None or dark.lifted or self._event_derogation(time_s):
            return 100.0, ""
        return 0.0, dark.because

    def values(self, picture: Picture) -> dict[str, float]:
        """What each lamp is to be told for `light`, in its unit. The same object as long as nothing changes."""
        correction = self.entry.constant_output
        if correction is not None and not 0 <= picture.time_s - self._shares_s < SHARES_S:
            self._shares = {lamp: self._share(correction, lamp, picture) for lamp in self.entry.lamps}
            self._shares_s, self._valued = picture.time_s, None
        if self._valued is None or self._valued[0] != self.light.percent:
            self._valued = self.light.percent, self._values()
        return self._valued[1]

    def _values(self) -> dict[str, float]:
        percent, units = self.light.percent, self._units
        told: dict[tuple[float, str], float] = {}
        values = {}
        for lamp in self.entry.lamps:
            key = percent * self._shares.get(lamp, 1.0), units[lamp]
            if key not in told:  # most lamps of a street are of one age
                told[key] = self._told(*key)
            values[lamp] = told[key]
        return values

    def share(self, lamp: str) -> float:
        """Of the order, what a lamp gets for its burn hours: 1 without that correction."""
        return self._shares.get(lamp, 1.0)

    @property
    def mean_share(self) -> float:
        """The same, on average over the street."""
        return sum(self._shares.values()) / len(self._shares) if self._shares else 1.0

    def told(self, lamp: str, percent: float) -> float:
        """A level in the unit of a lamp."""
        return self._told(percent, self._units[lamp])

    def wakes_s(self, time_s: float) -> float:
        """When it may change after `time_s` though no input does."""
        times = [self.curfew.edges_s(time_s), self._sun_edges_s(time_s), [self._seen_s + self._hold_s]]
        if (change := self.schedule.next_change(time_s)) is not None:
            times.append([change.time_s])
        if self._moving:
            times.append([time_s + RAMP_STEP_S])
        for event in self.entry.event:
            times.append(list(self._event_s(event)))
        return min((one for group in times for one in group if one > time_s), default=math.inf)

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did. Presence and a ramp go on for as long as they were to."""
        self._seen_s += by_s
        if self._now is not None:
            self._now = self._now[0] + by_s, self._now[1]
        if self._dark is not None:
            self._dark.moved(by_s)

    # -- the steps -------------------------------------------------------------------------------------------------

    def _scheduled(self, picture: Picture) -> tuple[float, str]:
        """By the sun and the clock, dusk and dawn moved a little by the photocell."""
        time_s = picture.time_s
        percent = self.schedule.level_percent(time_s)
        why = f"horaire de {self.entry.name} : {percent:g} %"
        dark = self._dark.holds(picture) if self._dark is not None else None
        if dark is None:
            return percent, why
        for is_dusk, edge_s in self._sun_near(time_s):
            night = (time_s >= edge_s) is is_dusk
            if dark and not night:
                inside = edge_s if is_dusk else edge_s - 1
                return self.schedule.level_percent(
                    inside
                ), "cellule : il fait sombre avant le coucher ou après le lever"
            if night and not dark:
                return self.schedule.daytime, "cellule : il fait clair après le coucher ou avant le lever"
        return percent, why

    def _sun_near(self, time_s: float) -> Iterator[tuple[bool, float]]:
        """Dusks and dawns that the photocell may still move: (whether it is a dusk, when)."""
        today = self._place.local(time_s).date()
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            dawn_s, dusk_s = self._place.sun_s(day)
            if not 60 < dusk_s - dawn_s < 86_340:
                continue  # no night, or no day
            for is_dusk, edge_s in ((False, dawn_s), (True, dusk_s)):
                if abs(time_s - edge_s) <= self._most_s:
                    yield is_dusk, edge_s

    def _sun_edges_s(self, time_s: float) -> list[float]:
        """When the photocell's say begins and ends."""
        if self._dark is None:
            return []
        today = self._place.local(time_s).date()
        suns = [edge for shift in (0, 1) for edge in self._place.sun_s(today + timedelta(days=shift))]
        return [edge + sign * self._most_s for edge in suns for sign in (-1, 1)]

    def _event_s(self, event: Event) -> tuple[float, float]:
        start_s, end_s = self._place.instant_s(event.on, event.first), self._place.instant_s(event.on, event.last)
        if end_s <= start_s:
            end_s = self._place.instant_s(event.on + timedelta(days=1), event.last)
        return start_s, end_s

    def _event_now(self, time_s: float) -> Event | None:
        for event in self.entry.event:
            start_s, end_s = self._event_s(event)
            if start_s <= time_s < end_s:
                return event
        return None

    def _event_derogation(self, time_s: float) -> str:
        event = self._event_now(time_s)
        return event.derogation if event is not None else ""

    def _event(self, time_s: float, percent: float, why: str) -> tuple[float, str]:
        event = self._event_now(time_s)
        if event is None:
            return percent, why
        order = f" ({event.derogation})" if event.derogation else ""
        return event.level, f"{event.name}{order} : {event.level:g} %"

    def _someone(self, picture: Picture) -> str:
        """Why presence counts as there; empty when it does not."""
        presence = self.entry.presence
        if presence is None:
            return ""
        values = [picture.values.get(point) for point in presence.points]
        if any(value is not None and value > presence.above for value in values):
            self._seen_s = picture.time_s
            return PRESENT
        if None in values:
            return "capteur de présence perdu : comme s'il y avait quelqu'un"
        # As `wakes_s` computes it: at that very instant it must be over, whatever a difference of the two is rounded to.
        return PRESENT if self._seen_s <= picture.time_s < self._seen_s + self._hold_s else ""

    def _lawful(self, time_s: float, percent: float, why: str, someone: str) -> tuple[float, str]:
        dark = self.curfew.at(time_s)
        if dark is None or percent <= 0:
            return percent, why
        if order := dark.lifted or self._event_derogation(time_s):
            return percent, f"{why}, dérogation {order} ({dark.because})"
        presence = self.entry.presence
        if someone == PRESENT and presence is not None and presence.in_curfew:
            return percent, f"{why}, détection admise ({dark.because})"
        return 0.0, f"extinction : {dark.because}"

    def _ramped(self, time_s: float, target: float, at_once: bool) -> float:
        before, moving = self._now, self._moving
        self._moving = False
        if before is None or self._ramp_s <= 0 or (at_once and target > before[1]) or before[0] > time_s:
            self._now = time_s, target
            return target
        if target == before[1]:
            return target
        if not moving:  # it begins now, however long ago it was last asked
            before = self._now = time_s, before[1]
        passed_s, gap = time_s - before[0], target - before[1]
        if passed_s < RAMP_STEP_S:
            self._moving = True
            return before[1]
        step = min(abs(gap), 100.0 * passed_s / self._ramp_s)
        self._moving = abs(gap) - step > 1  # the last percent is no step of its own
        percent = round(before[1] + math.copysign(step, gap), 1) if self._moving else target
        self._now = time_s, percent
        return percent

    def _share(self, correction: ConstantOutput, lamp: str, picture: Picture) -> float:
        """Of the order, what a lamp of these burn hours needs; all of it where they are not known."""
        hours = picture.values.get(beside(lamp, correction.hours))
        if hours is None:
            return 1.0
        start = correction.start / 100
        return start + (1 - start) * min(1.0, max(0.0, hours * self._per_hour / correction.end_hours))

    @staticmethod
    def _told(percent: float, unit: str) -> float:
        return round(percent, 1) if unit == "%" else float(arc_power_level(percent))
