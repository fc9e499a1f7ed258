"""What is known right now: the latest reading of every point with its age, a short curve of each, and the state of every
device in words. For pages and for whoever asks; nothing here is kept over a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.alert import iso
from gateway.clock import Clock
from gateway.hear import HeardBus
from gateway.poll import PolledBus
from gateway.reading import Flaw, Quality, Reading, Snapshot, split_point
from gateway.recent import Recent
from gateway.site import Device, Site
from gateway.unit import UNITS

NEVER = Flaw(Quality.UNCERTAIN, "pas encore lu", english="not read yet")


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
            readings[name] = Reading(point, snapshot.time_s, value, units[name], quality, reason, flaw)
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
        self.recent = {name: Recent() for name in site.devices}
        """The last values by device."""
        self.readings = dict.fromkeys(site.buses, 0)
        """Usable values read, by bus, since the start."""

    def take(self, snapshot: Snapshot) -> None:
        """Takes a snapshot in."""
        values = snapshot.values
        self.latest.brought[snapshot.device].update(dict.fromkeys(values, snapshot))
        self.recent[snapshot.device].add(snapshot.time_s, values)
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
        for recent in self.recent.values():
            recent.moved(by_s)
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
            words = f"muet depuis {iso(health.lost_since_s)}{_last_known(device, readings, self.recent[device.name])}"
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
        return Reading(f"{device.name}/{name}", self._clock.now(), None, unit, NEVER.quality, NEVER.reason, NEVER)

    def requests(self, bus: str) -> int:
        """Requests sent on a bus, or broadcasts heard, since the start."""
        found = self._buses[bus]
        return found.link.traffic.requests if isinstance(found, PolledBus) else found.ear.traffic.answers


def _last_known(device: Device, readings: Sequence[Reading], recent: Recent) -> str:
    """The last usable value of a silent device's first point that had one."""
    for reading in readings:
        point = reading.point.partition("/")[2]
        known = [value for _, value in recent.curve(point) if value is not None]
        if known:
            return f", dernière valeur {point} = {known[-1]:g} {UNITS[device.points[point].unit].shown}".rstrip()
    return ""
