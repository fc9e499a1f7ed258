"""How long a street may take, at worst, from somebody coming to its light: computed before anything is wired. Pure.

A sensor that speaks by itself is heard at once; one that is asked is heard when its turn comes, which is nearly all of it.
Then its lamps are told: past all polls, after whatever exchange is under way, with one command where they form a group of
DALI gear, else one after the other. What the radio of a sensor and the fade of a lamp take comes on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.budget import TCP_EXCHANGE_S, TURNAROUND_S, Budget
from gateway.gear import GROUPS, lamp_groups
from gateway.line import parse_line
from gateway.reading import split_point
from gateway.site import Site
from gateway.street import beside

DECIDED_S = 0.01
"""From a reading to a decision on it."""
DALI_WRITE_S = 0.043
"""A forward frame that nobody answers: 13.5 + 14.2 + 12.4 ms (IEC 62386-101, 8), and two times five bytes of the adapter."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """Of one street to one point of presence, whose bus it is. asked_s: how often it is asked, None where it speaks by
    itself; heard_s, told_s: at worst until its reading is there, and from then until the last lamp was told."""

    street: str
    point: str
    bus: str
    asked_s: float | None
    heard_s: float
    told_s: float

    @property
    def worst_s(self) -> float:
        return self.heard_s + DECIDED_S + self.told_s


def reactions(site: Site, budgets: Sequence[Budget]) -> list[Reaction]:
    """Of every street with presence, to each of its points."""
    by_bus = {one.bus: one for one in budgets}
    found = []
    for street in site.lighting.values():
        if street.presence is None:
            continue
        told_s = max(_told_s(site, by_bus, street.lamps), default=0.0)
        for point in street.presence.points:
            asked_s, heard_s = _heard_s(site, by_bus, point)
            bus = site.devices[split_point(point)[0]].bus
            found.append(Reaction(street.name, point, bus, asked_s, heard_s, told_s))
    return found


def _heard_s(site: Site, budgets: Mapping[str, Budget], point: str) -> tuple[float | None, float]:
    """How often a point is asked, and how old its news may be when it is there: all else on its bus may be due before it."""
    name, point_name = split_point(point)
    device = site.devices[name]
    busy = budgets.get(device.bus)
    if busy is None or not any(share.device == name for share in busy.shares):
        return None, 0.0
    every_s = device.period_s(device.points[point_name])
    return every_s, every_s + busy.cycle_s


def _told_s(site: Site, budgets: Mapping[str, Budget], lamps: Sequence[str]) -> Iterator[float]:
    """By bus, how long telling these lamps takes where all devices of it answer."""
    grouped = lamp_groups(site.lighting.values(), site.devices)
    by_bus: dict[str, list[str]] = {}
    for lamp in lamps:
        by_bus.setdefault(site.devices[split_point(lamp)[0]].bus, []).append(lamp)
    for name, on_bus in by_bus.items():
        write_s = _write_s(site, name)
        under_way_s = max(
            (share.busy_s / share.requests for share in budgets[name].shares if share.requests), default=0.0
        )
        if site.buses[name].protocol == "dali-sci":
            under_way_s = write_s  # a long procedure lends its turn between two frames
        alone = [lamp for lamp in on_bus if beside(lamp, GROUPS) not in grouped]
        commands = len(alone) + len({grouped[beside(lamp, GROUPS)] for lamp in on_bus if lamp not in alone})
        yield under_way_s + commands * write_s


def _write_s(site: Site, name: str) -> float:
    """One write, on the wire."""
    bus = site.buses[name]
    match bus.protocol:
        case "modbus-rtu":
            line = parse_line(bus.line)
            return line.wire_s(8 + 8) + TURNAROUND_S + 2 * line.silence_s
        case "dali-sci":
            return DALI_WRITE_S
        case _:
            return TCP_EXCHANGE_S
