"""What the control gear of a street's lamps is to keep in its own memory: levels for when the gateway is gone, and groups.

That memory wears out: it is read at each return of a device and written only where it differs. Points that a profile does
not have, or does not let be written, are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.lighting import arc_power_level
from gateway.point import AnyPoint
from gateway.reading import split_point
from gateway.street import FIRST_GROUP, LAST_GROUP, LightingEntry, beside

LEVELS = ("power_on_level", "failure_level")
GROUPS = "groups"
"""The point that says, bit by bit, which of the DALI groups 8 to 15 the gear is in."""


class Lamp(Protocol):
    """The device of a lamp."""

    @property
    def bus(self) -> str: ...

    @property
    def points(self) -> Mapping[str, AnyPoint]: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A value that gear keeps for itself, and why. leaves: of a value made of bits, those that stay as they are."""

    point: str
    value: float
    reason: str
    leaves: int = 0

    @property
    def values(self) -> frozenset[float]:
        """All that it may come to."""
        if not self.leaves:
            return frozenset({self.value})
        return frozenset(float(bits) for bits in range(256) if bits & ~self.leaves == int(self.value))


def kept(streets: Iterable[LightingEntry], devices: Mapping[str, Lamp]) -> dict[str, list[Kept]]:
    """By device, what its gear is to keep. Where the site names no group, gear stays in those that somebody else put it
    into; of the groups that streets of its bus form it is in its own alone."""
    streets = list(streets)
    reason = "niveau que le ballast garde pour lui : secteur ou bus coupé"
    found = [Kept(point, level, reason) for point, level in kept_levels(streets, devices).items()]
    named = {beside(lamp, GROUPS) for street in streets if street.group is not None for lamp in street.lamps}
    reason = "groupe DALI de sa rue : une seule commande pour toutes ses lampes"
    wanted = lamp_groups(streets, devices)
    formed: dict[str, int] = defaultdict(int)
    for point, bits in wanted.items():
        formed[devices[split_point(point)[0]].bus] |= int(bits)
    for point, bits in wanted.items():
        others = 0xFF & ~formed[devices[split_point(point)[0]].bus]
        found.append(Kept(point, bits, reason, 0 if point in named else others))
    by_device = defaultdict(list)
    for one in found:
        by_device[split_point(one.point)[0]].append(one)
    return dict(by_device)


def kept_levels(streets: Iterable[LightingEntry], devices: Mapping[str, Lamp]) -> dict[str, float]:
    """By point, the level that a lamp's gear is to go to by itself when mains or bus come and go: the street's fail-safe
    level, which is that of its evening where the site does not say."""
    return {
        point: float(arc_power_level(street.kept_percent))
        for street in streets
        for lamp in street.lamps
        for point in _kept(lamp, LEVELS, devices)
    }


def lamp_groups(streets: Iterable[LightingEntry], devices: Mapping[str, Lamp]) -> dict[str, float]:
    """By point, which of the groups 8 to 15 a lamp's gear is to be in (bit 0: group 8), so that its street is told with one
    command: the one that its street names; else, for lamps with company on their bus, the highest that no other street
    there has."""
    streets = list(streets)
    named = {(bus, street.group) for street in streets if street.group is not None for bus in _by_bus(street, devices)}
    wanted: dict[str, float] = {}
    for street in streets:
        for bus, points in _by_bus(street, devices).items():
            group = street.group
            if group is None:
                free = [one for one in range(LAST_GROUP, FIRST_GROUP - 1, -1) if (bus, one) not in named]
                if len(points) < 2 or not free:
                    continue
                group = free[0]
                named.add((bus, group))
            wanted |= dict.fromkeys(points, float(1 << group - FIRST_GROUP))
    return wanted


def group_faults(streets: Iterable[LightingEntry], devices: Mapping[str, Lamp]) -> Iterator[str]:
    """What is wrong with the groups that streets name. Lamps that are not there are told of elsewhere."""
    taken: dict[tuple[str, int], str] = {}
    for street in streets:
        if street.group is None:
            continue
        by_bus = _by_bus(street, devices)
        for lamp in street.lamps:
            if split_point(lamp)[0] in devices and not any(True for _ in _kept(lamp, (GROUPS,), devices)):
                yield f"lighting {street.name!r}.group: {lamp!r} has no DALI groups; remove group, or the lamp"
        for bus in by_bus:
            if (other := taken.setdefault((bus, street.group), street.name)) != street.name:
                yield (
                    f"lighting {street.name!r}.group: {street.group} is {other!r}'s on bus {bus!r} already; a command to it "
                    "would move the lamps of both: choose another"
                )


def _by_bus(street: LightingEntry, devices: Mapping[str, Lamp]) -> dict[str, list[str]]:
    """The group points of a street's lamps, by bus."""
    found = defaultdict(list)
    for lamp in street.lamps:
        for point in _kept(lamp, (GROUPS,), devices):
            found[devices[split_point(point)[0]].bus].append(point)
    return found


def _kept(lamp: str, names: Iterable[str], devices: Mapping[str, Lamp]) -> Iterator[str]:
    for name in names:
        point = beside(lamp, name)
        device = devices.get(split_point(point)[0])
        if device is not None and (found := device.points.get(name)) is not None and found.write is not None:
            yield point
