"""Nodes of our own, beyond their points: they are told the time, and give what they kept while nobody asked them.

Both happen when a node is met or is back, and every hour. The time goes through the gate, to a bus that refuses a
lift; a lift's node, which knows only how long it has been up, has its records dated by that. What was kept is taken once:
its readings and the number up to which they were fetched are committed together. Readings of a time in which the node was
being polled are left out, for they are known already.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.codec import Procedure
from gateway.codec.journal import Record, Standing, date, read_records, read_standing
from gateway.codec.modbus import Rtu, Tcp
from gateway.errors import BusError, Busy, GarbledAnswer, NoAnswer
from gateway.point import AnyPoint, ModbusPoint
from gateway.poll import PolledBus
from gateway.profile import ModbusProfile
from gateway.site import Device
from gateway.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")

EVERY_S = 3600.0
TRIES = 4
"""Of one request for records; a long journal is not begun anew for one answer that noise took."""
BUSY_PAUSE_S, BUSY_TRIES = 0.05, 100
STARTS_REMEMBERED = 16
POLLED_BEFORE_S = 7 * 86400.0
"""How far back it is looked up when a device was last polled before this start of the gateway."""
WRITTEN_WITHIN_S = 900.0
"""After which a node has written to its flash, and so given, whatever it had in memory."""
FUTURE_S = 60.0
"""A record that says it was so much later than now has no time that could be believed."""


class Nodes:
    """The nodes of all polled buses."""

    def __init__(
        self,
        buses: Mapping[str, PolledBus],
        store: Store,
        clock: Clock,
        tell_time: Callable[[Device, AnyPoint], Awaitable[None]],
    ) -> None:
        """tell_time: the gate's."""
        self._buses, self._store, self._clock, self._gate_tells = buses, store, clock, tell_time
        self._tended: set[str] = set()

    async def run(self) -> None:
        """Tends all nodes that answer, every hour, until cancelled."""
        nodes = [device for bus in self._buses.values() for device in bus.devices if tended(device)]
        while nodes:
            await self._clock.sleep(EVERY_S)
            for device in nodes:
                health = self._buses[device.bus].health[device.name]
                if health.last_answer_s is not None and health.lost_since_s is None:
                    await self.tend(device, math.inf)

    async def tend(self, device: Device, unheard_since_s: float | None) -> None:
        """Tells a node the time and takes what it kept. unheard_since_s: readings from then on are wanted; None: since it
        was polled by the gateway's run before this one. What fails is tried again the next time."""
        profile = device.profile
        if not isinstance(profile, ModbusProfile) or device.name in self._tended:
            return
        self._tended.add(device.name)
        try:
            if profile.journal is not None:  # noted first: whatever ends this, what is wanted stays wanted
                since_s = self._polled_until_s(device) if unheard_since_s is None else unheard_since_s
                known = _Known(self._store.state(_key(device)))
                if since_s < math.inf:
                    known.want(since_s, self._clock.now())
                    await self._store.decide({_key(device): known.as_json()})
            await self._tell_time(device, profile)
            if profile.journal is not None:
                await self._take_kept(device, profile, profile.journal.points)
        except BusError as error:
            log.warning("device=%s not asked for all it kept: %s", device.name, error)
        finally:
            self._tended.discard(device.name)

    async def _tell_time(self, device: Device, profile: ModbusProfile) -> None:
        if profile.clock is None or not self._clock.trusted:
            return
        try:
            await self._gate_tells(device, profile.clock.point)
        except BusError as error:
            log.warning("device=%s not told the time: %s", device.name, error)

    async def _take_kept(self, device: Device, profile: ModbusProfile, points: Mapping[int, str]) -> None:
        bus, limits = self._buses[device.bus], device.limits
        codec, address = bus.codec, device.number
        assert isinstance(codec, Rtu | Tcp)
        now_s = self._clock.now()
        standing = await self._asked(device, lambda: read_standing(codec, address, limits))
        known = _Known(self._store.state(_key(device)))
        lost = known.meet(standing)
        if self._clock.trusted:
            known.starts[standing.boots & 0xFFFF] = now_s - standing.uptime_s
        kept: list[Record] = []
        while known.next < standing.next:
            kept += await self._asked(device, lambda: read_records(codec, address, known.next, standing.next, limits))
            known.next = kept[-1].number + 1
        readings: list[tuple[float, Mapping[str, Any]]] = []
        undated = 0
        for record, time_s in date(kept, known.starts):
            point = device.points.get(points.get(record.kind, ""))
            if time_s is None or time_s > now_s + FUTURE_S:
                undated += 1
            elif isinstance(point, ModbusPoint) and known.since_s <= time_s <= known.until_s:
                readings.append((time_s, {"device": device.name, "values": {point.name: _value(point, record.raw)}}))
        if now_s > known.until_s + WRITTEN_WITHIN_S:
            known.since_s = math.inf
        await self._store.decide({_key(device): known.as_json()}, readings=readings)
        if readings or undated or lost:
            log.warning(
                "device=%s gave %d readings it had kept; %d without a time, %d overwritten before they were fetched",
                device.name, len(readings), undated, lost,
            )  # fmt: skip

    async def _asked(self, device: Device, make: Callable[[], Procedure[T]]) -> T:
        """What a procedure gives, tried again where the node is busy or noise took the answer."""
        tries = busy = 0
        while True:
            try:
                return await self._buses[device.bus].ask(device, make())
            except Busy:
                busy += 1
                if busy == BUSY_TRIES:
                    raise
                await asyncio.sleep(BUSY_PAUSE_S)
            except (NoAnswer, GarbledAnswer):
                tries += 1
                if tries == TRIES:
                    raise

    def _polled_until_s(self, device: Device) -> float:
        """The start of the last period in which the device was polled, as the store remembers it."""
        now_s = self._clock.now()
        for summary in reversed(self._store.summaries(device.name, now_s - POLLED_BEFORE_S, now_s)):
            if any(aggregate.n for aggregate in summary.points.values()):
                return summary.start_s
        return 0.0


class _Known:
    """What is remembered of a node. next: number of the first record not yet fetched; starts: see `journal.date`; readings
    from since_s (inf: none) to until_s are wanted."""

    def __init__(self, state: Any) -> None:
        state = state or {"next": 0, "boots": 0, "starts": [], "wanted": None}
        self.next: int = state["next"]
        self.boots: int = state["boots"]
        self.starts = {int(start): float(time_s) for start, time_s in state["starts"]}
        self.since_s, self.until_s = map(float, state["wanted"] or (math.inf, 0.0))

    def want(self, since_s: float, until_s: float) -> None:
        """Readings of a time in which the node was not polled, besides those that are wanted already."""
        self.since_s, self.until_s = min(self.since_s, since_s), max(self.until_s, until_s)

    def meet(self, standing: Standing) -> int:
        """Notes how the node stands; gives how many records were overwritten before they could be fetched."""
        if standing.next < self.next or standing.boots < self.boots:  # another node, or its flash was made new
            self.next, self.starts = standing.first, {}
        lost = max(0, standing.first - self.next) if self.boots else 0
        self.next, self.boots = max(self.next, standing.first), standing.boots
        return lost

    def as_json(self) -> dict[str, Any]:
        return {
            "next": self.next,
            "boots": self.boots,
            "starts": list(self.starts.items())[-STARTS_REMEMBERED:],
            "wanted": None if math.isinf(self.since_s) else (self.since_s, self.until_s),
        }


def _key(device: Device) -> str:
    return f"journal/{device.name}"


def tended(device: Device) -> bool:
    """Whether there is anything to tell or ask."""
    profile = device.profile
    return isinstance(profile, ModbusProfile) and (profile.clock is not None or profile.journal is not None)


def _value(point: ModbusPoint, raw: bytes) -> float | None:
    """None where there is no value, or none that the sensor can give."""
    value = point.decoder()(raw)
    return None if value is None or (point.range and not point.range[0] <= value <= point.range[1]) else value
