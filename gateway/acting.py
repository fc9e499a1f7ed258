"""What a site does by itself: streets and permits in its file, checked against the devices that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import Field

from gateway.condition import ConditionEntry
from gateway.permit import Origin, Permit, PermitEntry, merged, permit_faults, unwritable
from gateway.profile import AnyPoint, Closed, Profile
from gateway.reading import split_point
from gateway.unit import UNITS

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class Known(Protocol):
    """A device of the site."""

    @property
    def profile(self) -> Profile: ...

    @property
    def points(self) -> Mapping[str, AnyPoint]: ...


class Named(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str: ...


class Entries(Protocol):
    """The part of a site file that acts."""

    @property
    def lighting(self) -> Sequence[LightingEntry]: ...

    @property
    def permit(self) -> Sequence[PermitEntry]: ...

    @property
    def watch(self) -> Sequence[Named]: ...


class Slot(Closed):
    """From a local time ("23:00") or "dusk", "dawn": so much light, percent of full."""

    at: str = Field(alias="from", pattern=r"^(dusk|dawn|([01]\d|2[0-3]):[0-5]\d)$")
    level: float = Field(ge=0, le=100)


class LightingEntry(Closed):
    """A street lit by a schedule, which its lamps follow whether the network is there or not."""

    name: str = Field(pattern=NAME)
    lamps: list[str] = Field(min_length=1)
    slots: list[Slot] = Field(min_length=1, alias="slot")


def acting_faults(entries: Entries, devices: Mapping[str, Known], untold: Collection[str]) -> Iterator[str]:
    """Everything wrong with it. untold: devices whose own faults are told, so that nothing can be said of their points."""
    for street in entries.lighting:
        for lamp in street.lamps:
            if lamp.partition("/")[0] not in untold and (fault := _no_lamp(lamp, devices)):
                yield f"lighting {street.name!r}.lamps: {fault}"
    yield from _permits(entries, devices, untold)


def _permits(entries: Entries, devices: Mapping[str, Known], untold: Collection[str]) -> Iterator[str]:
    """Faults of what may be written."""
    lit = {lamp for street in entries.lighting for lamp in street.lamps}
    points = [entry.point for entry in entries.permit]
    for point in sorted({one for one in points if points.count(one) > 1}):
        yield f"permit {point!r}: there are {points.count(point)} for that point; keep one"
    for entry in entries.permit:
        where = f"permit {entry.point!r}"
        if entry.point.partition("/")[0] in untold:
            continue
        if fault := unknown_point(entry.point, devices):
            yield f"{where}: {fault}"
            continue
        device, name = split_point(entry.point)
        profile = devices[device].profile
        yield from (
            f"{where}.{fault}"
            for fault in permit_faults(entry, profile, devices[device].points[name], entry.point in lit)
        )
        for condition in entry.unless:
            yield from (f"{where}.unless: {fault}" for fault in _condition_faults(condition, entries, devices, untold))


def _condition_faults(
    condition: ConditionEntry, entries: Entries, devices: Mapping[str, Known], untold: Collection[str]
) -> Iterator[str]:
    """What a condition names and the site does not have."""
    point = condition.point or condition.lost
    if point and point.partition("/")[0] not in untold and (fault := unknown_point(point, devices)):
        yield fault
    watches = [watch.name for watch in entries.watch]
    if condition.verdict and condition.verdict not in watches:
        yield f"{condition.verdict!r}: there is no such watch; known: {', '.join(watches) or 'none'}"


def permitted(entries: Entries, devices: Mapping[str, Known]) -> list[Permit]:
    """The permits of a sound site: those that it writes out, and the lamps that its streets name."""

    def point_of(name: str) -> AnyPoint:
        device, point = split_point(name)
        return devices[device].points[point]

    lamps = [lamp for street in entries.lighting for lamp in street.lamps]
    return merged(
        [
            *(Permit.of(entry, point_of(entry.point)) for entry in entries.permit),
            *(Permit.of(PermitEntry(point=lamp, by=[Origin.LIGHTING], every=""), point_of(lamp)) for lamp in lamps),
        ]
    )


def _no_lamp(lamp: str, devices: Mapping[str, Known]) -> str:
    if fault := unknown_point(lamp, devices):
        return fault
    device, name = split_point(lamp)
    point = devices[device].points[name]
    if why := unwritable(devices[device].profile, point):
        return f"{lamp!r} cannot be written; {why}: choose another point"
    if UNITS[point.unit].quantity not in ("share", "number"):
        return f"{lamp!r} is in {point.unit}; expected a level in % or as arc power level"
    return ""


def unknown_point(point: str, devices: Mapping[str, Known]) -> str:
    """Why there is no such point; empty when there is."""
    try:
        device, name = split_point(point)
    except ValueError as error:
        return str(error)
    if device not in devices:
        return f"{point!r}: there is no device {device!r}; known: {', '.join(devices)}"
    if name not in devices[device].points:
        return (
            f"{point!r}: device {device!r} has no point {name!r}; its profile has {', '.join(devices[device].points)}"
        )
    return ""
