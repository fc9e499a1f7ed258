"""What a site does by itself: streets and permits in its file, checked against the devices that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from gateway.clash import out_of_reach, rule_faults, unpermitted
from gateway.condition import ConditionEntry
from gateway.gear import group_faults
from gateway.permit import Origin, Permit, PermitEntry, merged, permit_faults, unwritable
from gateway.point import AnyPoint
from gateway.profile import Profile
from gateway.reading import split_point
from gateway.rulebook import RuleEntry
from gateway.street import LightingEntry, beside
from gateway.sun import Place
from gateway.unit import UNITS


class Known(Protocol):
    """A device of the site."""

    @property
    def profile(self) -> Profile: ...

    @property
    def bus(self) -> str: ...

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
    def rule(self) -> Sequence[RuleEntry]: ...

    @property
    def watch(self) -> Sequence[Named]: ...


def acting_faults(
    entries: Entries, devices: Mapping[str, Known], untold: Collection[str], place: Place
) -> Iterator[str]:
    """Everything wrong with it. untold: devices whose own faults are told, so that nothing can be said of their points."""
    yield from _streets(entries, devices, untold)
    yield from _permits(entries, devices, untold)
    yield from _rules(entries, devices, untold, place)


def _streets(entries: Entries, devices: Mapping[str, Known], untold: Collection[str]) -> Iterator[str]:
    """Faults of streets."""
    owner: dict[str, str] = {}
    for street in entries.lighting:
        where = f"lighting {street.name!r}"
        lamps = [lamp for lamp in street.lamps if lamp.partition("/")[0] not in untold]
        for lamp in lamps:
            if fault := _no_lamp(lamp, devices):
                yield f"{where}.lamps: {fault}"
            if (other := owner.setdefault(lamp, street.name)) != street.name or street.lamps.count(lamp) > 1:
                yield f"{where}.lamps: {lamp!r} is in {other!r} already; a lamp follows one street"
        for key, point, units in _sensors(street, lamps):
            if point.partition("/")[0] not in untold:
                yield from (f"{where}.{fault}" for fault in _wrong_input(key, point, units, devices))
    yield from group_faults(entries.lighting, {name: one for name, one in devices.items() if name not in untold})


def _sensors(street: LightingEntry, lamps: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What a street looks at: (key, point, units that it may have; empty: any)."""
    if street.presence:
        yield from (("presence.points", point, ()) for point in street.presence.points)
    if street.photocell:
        yield "photocell.point", street.photocell.point, ("lx",)
    if street.consumption:
        yield from (("consumption.meter", point, ("W",)) for point in street.consumption.meter)
        if street.consumption.lamp:
            yield from (("consumption.lamp", beside(lamp, street.consumption.lamp), ("W",)) for lamp in lamps)
    if street.constant_output:
        hours = street.constant_output.hours
        yield from (("constant_output.hours", beside(lamp, hours), ("h", "s")) for lamp in lamps)


def _wrong_input(key: str, point: str, units: tuple[str, ...], devices: Mapping[str, Known]) -> Iterator[str]:
    if fault := unknown_point(point, devices):
        yield f"{key}: {fault}"
        return
    device, name = split_point(point)
    if units and (unit := devices[device].points[name].unit) not in units:
        yield f"{key}: {point!r} is in {unit}; expected {' or '.join(units)}"


def _rules(entries: Entries, devices: Mapping[str, Known], untold: Collection[str], place: Place) -> Iterator[str]:
    """Faults of rules. What they are told to do together is judged for those that name only what there is."""
    sound = []
    permits = {permit.point: permit for permit in permitted(entries, devices)}
    for rule in entries.rule:
        faults = [f".set: {fault}" for setting in rule.settings if (fault := unknown_point(setting.point, devices))
                  and setting.point.partition("/")[0] not in untold]  # fmt: skip
        for key, conditions in (("when", rule.when), ("unless", rule.unless)):
            for condition in conditions:
                faults += [f".{key}: {fault}" for fault in _condition_faults(condition, entries, devices, untold)]
        yield from (f"rule {rule.name!r}{fault}" for fault in faults)
        there = [one for one in rule.settings if not unknown_point(one.point, devices)]
        yield from (f"rule {rule.name!r}.set: {fault}" for fault in unpermitted(there, permits))
        named = [*(s.point for s in rule.settings), *(c.point or c.lost for c in (*rule.when, *rule.unless))]
        if not faults and not any(point.partition("/")[0] in untold for point in named if point):
            sound.append(rule)
    points = {
        condition.point: _point(condition.point, devices)
        for rule in sound
        for condition in (*rule.when, *rule.unless)
        if condition.point
    }
    yield from rule_faults(sound, points, permits, place)


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
            faults = list(_condition_faults(condition, entries, devices, untold))
            yield from (f"{where}.unless: {fault}" for fault in faults)
            known = condition.point and not faults and condition.point.partition("/")[0] not in untold
            if known and (why := out_of_reach(condition, _point(condition.point, devices))):
                yield f"{where}.unless: can never forbid: {why}"


def _condition_faults(
    condition: ConditionEntry, entries: Entries, devices: Mapping[str, Known], untold: Collection[str]
) -> Iterator[str]:
    """What a condition names and the site does not have, or nobody can read."""
    point = condition.point or condition.lost
    if point and point.partition("/")[0] not in untold:
        if fault := unknown_point(point, devices):
            yield fault
        elif _point(point, devices).write_only:
            yield f"{point!r} can only be written, so nothing is ever known of it; choose a point that can be read"
    watches = [watch.name for watch in entries.watch]
    if condition.verdict and condition.verdict not in watches:
        yield f"{condition.verdict!r}: there is no such watch; known: {', '.join(watches) or 'none'}"


def permitted(entries: Entries, devices: Mapping[str, Known]) -> list[Permit]:
    """The permits of a site: those that it writes out, and the lamps that its streets name; of what can be written."""
    lamps = [lamp for street in entries.lighting for lamp in street.lamps]
    wanted = [*entries.permit, *(PermitEntry(point=lamp, by=[Origin.LIGHTING], every="") for lamp in lamps)]
    found = []
    for entry in wanted:
        if not unknown_point(entry.point, devices):
            device, name = split_point(entry.point)
            point = devices[device].points[name]
            if not unwritable(devices[device].profile, point):
                found.append(Permit.of(entry, point))
    return merged(found)


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


def _point(point: str, devices: Mapping[str, Known]) -> AnyPoint:
    """A point that there is."""
    device, name = split_point(point)
    return devices[device].points[name]


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
