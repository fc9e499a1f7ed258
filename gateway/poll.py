"""Polling: plan + link + codec -> snapshots. Failures of a device or a port end here, as the quality of its readings.

One task a bus. A device that does not answer is declared lost on time *and* count, then probed with a growing pause, so
that it costs the others next to nothing; the first answer puts it back. Every procedure holds the bus alone; a write waits
for the procedure that is under way and for no more.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway.clock import Clock
from gateway.codec import Broadcast, Limits, Place, PolledCodec, Procedure
from gateway.errors import ActionError, BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.link import Ear, Link
from gateway.plan import Ears, Visit, decode_block, take
from gateway.profile import OBSERVED_ONLY, AnyPoint, BthomePoint, RecordedPoint, bytes_of
from gateway.reading import Flaw, Quality, Snapshot
from gateway.site import Device

log = logging.getLogger(__name__)
T = TypeVar("T")
Sink = Callable[[Snapshot], None]

LOST_AFTER_FAILURES = 3
LOST_AFTER_PERIODS = 2.0
"""A device is lost when it failed that often in a row *and* said nothing for that many of its periods."""
LONGEST_PAUSE_PERIODS = 16
PROBE_SHARE = 0.01
"""A lost device is probed every LONGEST_PAUSE_PERIODS in the end, or as rarely as costs this share of the bus's time ..."""
LONGEST_PAUSE_S = 900.0
"""... but that often at least."""
UNREACHABLE = (10, 11)
"""Modbus exceptions by which a gateway says that the device behind it gave no answer (MAP 7): silence, not refusal."""


@dataclass(slots=True)
class Health:
    """What is known of a device, since when, and on what evidence. Times are site time, UTC seconds; None: never."""

    answers: int = 0
    failures_in_a_row: int = 0
    last_answer_s: float | None = None
    lost_since_s: float | None = None
    last_error: str = ""
    requests: int = 0

    def answered(self, now_s: float) -> bool:
        """Notes an answer; True when the device had been lost."""
        back = self.lost_since_s is not None
        self.answers += 1
        self.failures_in_a_row, self.lost_since_s, self.last_error, self.last_answer_s = 0, None, "", now_s
        return back

    def failed(self, error: str, now_s: float, period_s: float, started_s: float) -> bool:
        """Notes a failure; True when it makes the device lost."""
        self.failures_in_a_row += 1
        self.last_error = error
        silent_s = now_s - (self.last_answer_s if self.last_answer_s is not None else started_s)
        lost = self.failures_in_a_row >= LOST_AFTER_FAILURES and silent_s >= LOST_AFTER_PERIODS * period_s
        if lost and self.lost_since_s is None:
            self.lost_since_s = self.last_answer_s if self.last_answer_s is not None else started_s
            return True
        return False


async def run(link: Link, procedure: Procedure[T]) -> T:
    """Runs a codec's procedure over a link; gives what it returns, raises the BusError it does not handle."""
    try:
        ask = next(procedure)
        while True:
            try:
                answer = await link.exchange(ask)
            except BusError as error:
                ask = procedure.throw(error)
            else:
                ask = procedure.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


class PolledBus:
    """One bus whose devices answer when asked."""

    def __init__(
        self, name: str, link: Link, codec: PolledCodec, visits: list[Visit], clock: Clock, sink: Sink
    ) -> None:
        self.name, self.link, self.codec, self.visits = name, link, codec, visits
        self.health: dict[str, Health] = {visit.device.name: Health() for visit in visits}
        self._clock, self._sink = clock, sink
        self._alone = asyncio.Lock()
        self._rng = random.Random(name)  # noqa: S311 - spreads retries, no secret
        self._started_s = clock.now()
        self._free_at: dict[str, float] = {}  # loop time from which a slow device may be asked again

    async def run(self) -> None:
        """Polls until cancelled."""
        start_s = self._clock.monotonic()
        due = [(start_s, order, visit) for order, visit in enumerate(self.visits)]
        heapq.heapify(due)
        while due:
            at_s, order, visit = heapq.heappop(due)
            if (wait_s := at_s - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait_s)
            else:
                await asyncio.sleep(0)  # an overfull plan must not starve the rest of the gateway
            began_s = self._clock.monotonic()
            await self.visit(visit)
            heapq.heappush(due, (self._next(visit, at_s, self._clock.monotonic() - began_s), order, visit))

    def _next(self, visit: Visit, at_s: float, took_s: float) -> float:
        """When the visit is due again: on its own grid; for a lost device, after a pause that grows, with jitter. Where all
        devices are lost (a cable, a port, a supply) there is nobody to spare, and they are wanted back soon."""
        now_s, period_s = self._clock.monotonic(), visit.period_s
        health = self.health[visit.device.name]
        if health.lost_since_s is None or all(other.lost_since_s is not None for other in self.health.values()):
            late = max(0.0, now_s - at_s)
            return at_s + period_s * (1 + late // period_s)
        doubled = 2.0 ** min(10, health.failures_in_a_row - LOST_AFTER_FAILURES)
        rarest_s = min(max(LONGEST_PAUSE_PERIODS * period_s, took_s / PROBE_SHARE), max(LONGEST_PAUSE_S, period_s))
        return now_s + min(doubled * period_s, rarest_s) * self._rng.uniform(0.75, 1.0)

    async def visit(self, visit: Visit) -> None:
        """Reads one device now; whatever happens becomes a snapshot."""
        device, health = visit.device, self.health[visit.device.name]
        limits = _limits(device)
        values: dict[str, float | None] = {}
        flaws: dict[str, Flaw] = {}
        error: BusError | None = None
        answered = False
        for at, block in enumerate(visit.blocks):
            health.requests += 1
            try:
                data = await self._exchange(device, self.codec.read(int(device.address), block.span, limits), limits)
            except BusError as problem:
                error = problem
                if isinstance(problem, Refused) and problem.code in UNREACHABLE:
                    error = NoAnswer(str(problem))
                given_up = isinstance(error, LinkError) or (
                    isinstance(error, NoAnswer) and health.failures_in_a_row > 0
                )
                answered = answered or isinstance(error, Refused)
                flaw = Flaw(Quality.BAD, reason(error))
                for unread in visit.blocks[at:] if given_up else (block,):
                    for column in unread.columns:
                        values[column.point] = None
                        flaws[column.point] = flaw
                if given_up:
                    break
            else:
                answered = True
                decode_block(block, data, values, flaws)
        now_s = self._clock.now()
        if answered or error is None:
            if health.answered(now_s):
                log.warning("device=%s answers again", device.name)
            if error is not None:
                health.last_error = str(error)
        elif health.failed(str(error), now_s, visit.period_s, self._started_s):
            log.warning("device=%s lost: %s", device.name, error)
        self._sink(Snapshot(device.name, now_s, values, flaws))

    async def _exchange(self, device: Device, procedure: Procedure[T], limits: Limits) -> T:
        """Runs a procedure while nobody else uses the bus, and not sooner after the last one than the device can take."""
        loop = asyncio.get_running_loop()
        async with self._alone:
            if limits.interval_s and (wait_s := self._free_at.get(device.name, 0.0) - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            try:
                return await run(self.link, procedure)
            finally:
                if limits.interval_s:
                    self._free_at[device.name] = loop.time() + limits.interval_s

    async def write(self, device: Device, point: AnyPoint, value: float) -> None:
        """Writes one point. The caller has checked that it may. Raises BusError, ValueError when it cannot be put in the
        device's bytes, ActionError for what is only ever observed."""
        assert not isinstance(point, RecordedPoint | BthomePoint)
        if device.profile.kind in OBSERVED_ONLY:
            raise ActionError(f"{device.name}: a {device.profile.kind} is observed and never written to")
        limits = _limits(device)
        await self._exchange(
            device, self.codec.write(int(device.address), point.place, point.encode(value), limits), limits
        )
        self.health[device.name].answered(self._clock.now())

    async def read_point(self, device: Device, point: AnyPoint) -> float | None:
        """One point, now, past the plan. Raises BusError."""
        assert not isinstance(point, RecordedPoint | BthomePoint)
        limits = _limits(device)
        size = bytes_of(point)
        (span,) = self.codec.spans([(point.place, size)], limits)
        data = await self._exchange(device, self.codec.read(int(device.address), span, limits), limits)
        start = span.offsets[point.place]
        return point.decoder()(data[start : start + size])


class HeardBus:
    """One bus whose devices speak unasked."""

    def __init__(self, name: str, ear: Ear, ears: Ears, clock: Clock, sink: Sink) -> None:
        self.name, self.ear, self.ears = name, ear, ears
        self.health: dict[str, Health] = {device.name: Health() for device, _ in ears.devices.values()}
        self.strangers = 0
        self._clock, self._sink = clock, sink
        self._rng = random.Random(name)  # noqa: S311 - spreads retries, no secret
        self._last: dict[str, tuple[float, Mapping[Place, bytes] | None]] = {}

    async def run(self) -> None:
        """Listens until cancelled; an adapter that is not there is tried again with a growing pause."""
        pause_s, lost = 1.0, False
        while True:
            try:
                async for heard in self.ear.listen():
                    if lost:
                        log.warning("bus=%s adapter is back", self.name)
                    pause_s, lost = 1.0, False
                    self._hear(heard.sender, self._understood(heard))
            except LinkError as error:
                if not lost:
                    log.warning("bus=%s adapter lost: %s", self.name, error)
                lost = True
                for health in self.health.values():
                    health.last_error = str(error)
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(60.0, pause_s * 2)

    def _understood(self, heard: Broadcast) -> Mapping[Place, bytes] | None:
        try:
            return self.ears.codec.values(heard)
        except GarbledAnswer as error:
            if known := self.ears.devices.get(heard.sender):
                self.health[known[0].name].last_error = str(error)
            return None

    def _hear(self, sender: str, said: Mapping[Place, bytes] | None) -> None:
        known = self.ears.devices.get(sender)
        if known is None:
            self.strangers += 1
            return
        if said is None:
            return
        device, columns = known
        wanted = {place: raw for place, raw in said.items() if place in columns}
        now_s = self._clock.now()
        self.health[device.name].answered(now_s)
        last_s, last = self._last.get(sender, (-math.inf, None))
        if not wanted or (wanted == last and now_s - last_s < device.every_s / 2):
            return  # radios repeat themselves many times a second; unchanged values are taken at their period
        self._last[sender] = now_s, wanted
        values: dict[str, float | None] = {}
        flaws: dict[str, Flaw] = {}
        for place, raw in wanted.items():
            take(columns[place], columns[place].decode(raw), values, flaws)
        self._sink(Snapshot(device.name, now_s, values, flaws))


def reason(error: BusError) -> str:
    """A bus error as a technician reads it: what, and what to do."""
    match error:
        case Refused():
            return f"l'appareil refuse ({error})"
        case NoAnswer():
            return "aucune réponse : vérifier l'alimentation, le câblage, l'adresse"
        case GarbledAnswer():
            return "réponse brouillée : vérifier vitesse, parité, ou deux appareils à la même adresse"
        case _:
            return f"port indisponible ({error})"


def _limits(device: Device) -> Limits:
    profile = device.profile
    assert profile.protocol in ("modbus", "dali"), "only polled protocols have limits"
    return profile.limits()
