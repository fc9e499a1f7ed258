"""What is known right now: the latest reading of every point with its age, a short curve of each, and the state of every
device in words. For pages and for whoever asks; nothing here is kept over a restart.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.alert import iso
from gateway.clock import Clock
from gateway.hear import HeardBus
from gateway.poll import PolledBus
from gateway.reading import Quality, Reading, Snapshot, split_point
from gateway.site import Device, Site
from gateway.unit import UNITS

CURVE_LENGTH = 360
"""Values kept in memory per point: 12 bytes each, 6 hours at one a minute."""


class Curve:
    """The last values of one point, oldest first; None where there was no usable value."""

    __slots__ = ("_at", "_times", "_values")

    def __init__(self) -> None:
        self._times, self._values, self._at = array("d"), array("f"), 0

    def add(self, time_s: float, value: float | None) -> None:
        number = math.nan if value is None else value
        if len(self._times) < CURVE_LENGTH:
            self._times.append(time_s)
            self._values.append(number)
        else:
            at = self._at
            self._times[at], self._values[at] = time_s, number
            self._at = at + 1 if at + 1 < CURVE_LENGTH else 0

    def moved(self, by_s: float) -> None:
        self._times = array("d", (time_s + by_s for time_s in self._times))

    def __iter__(self) -> Iterator[tuple[float, float | None]]:
        start = self._at if len(self._times) == CURVE_LENGTH else 0
        for index in range(len(self._times)):
            place = (start + index) % len(self._times)
            value = self._values[place]
            yield self._times[place], None if math.isnan(value) else value


class Latest:
    """The latest reading of each point that was ever read: `latest[device][point]`. Kept are the snapshots that brought
    them; readings are made only for who asks, because nobody does so for most.

    brought: by device and point."""

    def __init__(self, site: Site) -> None:
        self.brought: dict[str, dict[str, Snapshot]] = {name: {} for name in site.devices}
        self._units = {name: device.units for name, device in site.devices.items()}

    def __getitem__(self, device: str) -> dict[str, Reading]:
        """Raises KeyError for a device that is not of the site."""
        units, readings = self._units[device], {}
        for name, snapshot in self.brought[device].items():
            flaw = snapshot.flaws.get(name)
            quality, reason = (flaw.quality, flaw.reason) if flaw else (Quality.GOOD, "")
            point, value = f"{device}/{name}", snapshot.values[name]
            readings[name] = Reading(point, snapshot.time_s, value, units[name], quality, reason)
        return readings


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device in words. `words` begins with: fonctionne, dégradé, muet, en attente."""

    device: Device
    words: str
    ok: bool
    readings: tuple[Reading, ...]
    last_answer_s: float | None


class Live:
    """See the module."""

    def __init__(self, site: Site, clock: Clock, buses: Mapping[str, PolledBus | HeardBus]) -> None:
        self._site, self._clock, self._buses = site, clock, buses
        self.latest = Latest(site)
        self.curves = {f"{device.name}/{name}": Curve() for device in site.devices.values() for name in device.points}
        self.readings = dict.fromkeys(site.buses, 0)
        """Usable values read, by bus, since the start."""
        self._curves = {
            device.name: {name: self.curves[f"{device.name}/{name}"] for name in device.points}
            for device in site.devices.values()
        }

    def take(self, snapshot: Snapshot) -> None:
        """Takes a snapshot in."""
        values, curves, time_s = snapshot.values, self._curves[snapshot.device], snapshot.time_s
        self.latest.brought[snapshot.device].update(dict.fromkeys(values, snapshot))
        for name, value in values.items():
            curves[name].add(time_s, value)
        usable = len(values) - list(values.values()).count(None)
        if bus := self._site.devices[snapshot.device].bus:
            self.readings[bus] += usable

    def values(self, points: Iterable[str], least_s: float = 60.0) -> dict[str, float | None]:
        """What these points are now; None for what is lost: never read, of no use, or older than three of its periods (and
        `least_s`)."""
        now_s = self._clock.now()
        found: dict[str, float | None] = {}
        for name in points:
            device_name, point = split_point(name)
            device = self._site.devices[device_name]
            snapshot = self.latest.brought[device_name].get(point)
            found[name] = None
            if snapshot is None or now_s - snapshot.time_s > max(3 * device.period_s(device.points[point]), least_s):
                continue
            flaw = snapshot.flaws.get(point)
            if flaw is None or flaw.quality is not Quality.BAD:
                found[name] = snapshot.values[point]
        return found

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did. Everything is as old as it was."""
        for brought in self.latest.brought.values():
            moved = {id(it): replace(it, time_s=it.time_s + by_s) for it in brought.values()}
            for name, snapshot in brought.items():
                brought[name] = moved[id(snapshot)]
        for curve in self.curves.values():
            curve.moved(by_s)
        for bus in self._buses.values():
            for health in bus.health.values():
                health.moved(by_s)

    def states(self) -> list[DeviceState]:
        """Every device, in the order of the site."""
        return [self.state(device) for device in self._site.devices.values()]

    def state(self, device: Device) -> DeviceState:
        """One device."""
        latest = self.latest[device.name]
        readings = tuple(latest.get(name) or self._never(device, name) for name in device.points)
        bus = self._buses.get(device.bus)
        health = bus.health.get(device.name) if bus else None
        last_s = (
            health.last_answer_s
            if health
            else max((r.time_s for r in readings if r.quality is Quality.GOOD), default=None)
        )
        bad = [r for r in readings if r.quality is not Quality.GOOD]
        if health and health.lost_since_s is not None:
            words = f"muet depuis {iso(health.lost_since_s)}{_last_known(device, readings, self.curves)}"
            words += f", essais depuis : {health.tries_since_lost} ; {health.last_error}"
        elif last_s is None:
            words = "en attente de la première réponse" + (
                f" : {health.last_error}" if health and health.last_error else ""
            )
        elif self._clock.now() - last_s > max(3 * device.every_s, 60):
            words = f"muet depuis {iso(last_s)}"
        elif bad:
            words = f"dégradé : {bad[0].point.partition('/')[2]}, {bad[0].reason}"
        else:
            words = "fonctionne"
        return DeviceState(device, words, words == "fonctionne", readings, last_s)

    def _never(self, device: Device, name: str) -> Reading:
        unit = device.points[name].unit
        return Reading(f"{device.name}/{name}", self._clock.now(), None, unit, Quality.UNCERTAIN, "pas encore lu")

    def requests(self, bus: str) -> int:
        """Requests sent on a bus, or broadcasts heard, since the start."""
        found = self._buses[bus]
        return found.link.traffic.requests if isinstance(found, PolledBus) else found.ear.traffic.answers


def _last_known(device: Device, readings: Sequence[Reading], curves: Mapping[str, Curve]) -> str:
    """The last usable value of a silent device's first point that had one."""
    for reading in readings:
        known = [value for _, value in curves[reading.point] if value is not None]
        if known:
            point = reading.point.partition("/")[2]
            return f", dernière valeur {point} = {known[-1]:g} {UNITS[device.points[point].unit].shown}".rstrip()
    return ""
