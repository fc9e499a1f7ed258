"""What is known right now: the latest reading of every point with its age, a short curve of each, and the state of every
device in words. For pages and for whoever asks; nothing here is kept over a restart.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.alert import iso
from gateway.clock import Clock
from gateway.poll import HeardBus, PolledBus
from gateway.reading import Quality, Reading, Snapshot
from gateway.site import Device, Site

CURVE_LENGTH = 360
"""Values kept in memory per point: 12 bytes each, 6 hours at one a minute."""


class Curve:
    """The last values of one point, oldest first; None where there was no usable value."""

    __slots__ = ("_at", "_times", "_values")

    def __init__(self) -> None:
        self._times, self._values, self._at = array("d"), array("f"), 0

    def add(self, time_s: float, value: float | None) -> None:
        number = float("nan") if value is None else value
        if len(self._times) < CURVE_LENGTH:
            self._times.append(time_s)
            self._values.append(number)
        else:
            self._times[self._at], self._values[self._at] = time_s, number
        self._at = (self._at + 1) % CURVE_LENGTH

    def __iter__(self) -> Iterator[tuple[float, float | None]]:
        start = self._at if len(self._times) == CURVE_LENGTH else 0
        for index in range(len(self._times)):
            place = (start + index) % len(self._times)
            value = self._values[place]
            yield self._times[place], None if value != value else value


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
        self.latest: dict[str, dict[str, Reading]] = {name: {} for name in site.devices}
        self.curves: dict[str, Curve] = {}
        self.readings = dict.fromkeys(site.buses, 0)
        """Values read with any quality, by bus, since the start."""
        self._units = {name: device.units for name, device in site.devices.items()}

    def take(self, snapshot: Snapshot) -> None:
        """Takes a snapshot in."""
        latest = self.latest[snapshot.device]
        bus = self._site.devices[snapshot.device].bus
        for reading in snapshot.readings(self._units[snapshot.device]):
            latest[reading.point.partition("/")[2]] = reading
            self.curves.setdefault(reading.point, Curve()).add(reading.time_s, reading.value)
            if bus and reading.value is not None:
                self.readings[bus] += 1

    def states(self) -> list[DeviceState]:
        """Every device, in the order of the site."""
        return [self.state(device) for device in self._site.devices.values()]

    def state(self, device: Device) -> DeviceState:
        """One device."""
        readings = tuple(self.latest[device.name].get(name) or self._never(device, name) for name in device.points)
        bus = self._buses.get(device.bus)
        health = bus.health.get(device.name) if bus else None
        last_s = (
            health.last_answer_s
            if health
            else max((r.time_s for r in readings if r.quality is Quality.GOOD), default=None)
        )
        bad = [r for r in readings if r.quality is not Quality.GOOD]
        if health and health.lost_since_s is not None:
            words = f"muet depuis {iso(health.lost_since_s)} : {health.last_error}"
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
