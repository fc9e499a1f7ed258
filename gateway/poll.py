"""Polling: plan + link + codec -> snapshots. Failures of a device or a port end here, as the quality of its readings.

One task a bus. A device that does not answer is declared lost on time *and* count, then probed with a growing pause, so
that it costs the others next to nothing; the first answer, to a read or to a write, puts it back. Every procedure has its
turn on the bus (`turns`): writes go before read-backs, those before polls, and what is brief even between two requests of a
long procedure. What all devices of a group are to be told goes as one command, where the codec has such (`together`). A
device that refuses a request because it has not all of its places is asked for less, at once, and what it refuses is
remembered. What came garbled, or from a busy device, or not at all from one that answered before, is asked for once more
within the visit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.codec import GroupCodec, Limits, Place, PolledCodec, Procedure, Span
from gateway.errors import ActionError, BusError, Busy, GarbledAnswer, LinkError, NoAnswer, NoSuchPlace, Refused
from gateway.health import LOST_AFTER_FAILURES, Health
from gateway.link import Link
from gateway.plan import NOTHING_REFUSED, Block, Refusals, Visit, plan_blocks, plan_visits
from gateway.point import AnyPoint, PolledPoint, WritablePoint, bytes_of
from gateway.profile import OBSERVED_ONLY
from gateway.reading import Flaw, FlawKind, Quality, Sink, Snapshot
from gateway.schedule import Schedule, Turn
from gateway.site import Device
from gateway.together import Together
from gateway.turns import Needless, Rank, Turns

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_PAUSE_PERIODS = 16
PROBE_SHARE = 0.01
"""A lost device is probed every LONGEST_PAUSE_PERIODS in the end, or as rarely as costs this share of the bus's time ..."""
LONGEST_PAUSE_S = 900.0
"""... but that often at least."""
SPLITS_A_VISIT = 4
"""Refused requests that are split and asked again within one visit; the rest is left for the next one, so that finding
out about one device holds nobody up."""
TRIES_AGAIN_A_VISIT = 1
BUSY_PAUSE_S = 0.1
"""How long a device that says that it is busy is left alone before it is asked again."""
WRITE_PROBE_S = 5.0
"""A lost device is written to that often at the most: each try costs the others its silence."""


async def run(link: Link, procedure: Procedure[T], turns: Turns | None = None) -> T:
    """Runs a codec's procedure over a link; gives what it returns, raises the BusError it does not handle. turns: of the
    bus, whose turn it lends where it may."""
    try:
        ask = next(procedure)
        while True:
            if ask.may_wait and turns is not None:
                await turns.give_way()
            try:
                answer = await link.exchange(ask)
            except BusError as error:
                ask = procedure.throw(error)
            else:
                ask = procedure.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def _to_its_end(asking: Coroutine[Any, Any, T]) -> T:
    """What it gives. Given up by the caller, it is not broken off: for an answer that may still come the line would be kept
    longer than what is brief takes."""
    task = asyncio.get_running_loop().create_task(asking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


class PolledBus:
    """One bus whose devices answer when asked.

    refusals: what devices were found to refuse earlier; `learnt` is told when that changes, to remember it. `returned` is
    told when a device answers for the first time (None), and whenever one that was lost is back (since when it had been).
    """

    def __init__(
        self,
        name: str,
        link: Link,
        codec: PolledCodec,
        devices: Sequence[Device],
        clock: Clock,
        sink: Sink,
        *,
        refusals: Mapping[str, Refusals] = MappingProxyType({}),
        learnt: Callable[[str, Refusals], None] = lambda device, refusals: None,
        returned: Callable[[Device, float | None], None] = lambda device, since_s: None,
    ) -> None:
        self.name, self.link, self.codec, self.devices = name, link, codec, devices
        self.refusals = dict(refusals)
        self.health: dict[str, Health] = {device.name: Health() for device in devices}
        self.visits = plan_visits(devices, codec, self.refusals)
        self._learnt, self._returned = learnt, returned
        self._clock, self._sink = clock, sink
        self._turns = Turns()
        self._together = (
            Together(codec, {device.number for device in devices}) if isinstance(codec, GroupCodec) else None
        )
        self._schedule = Schedule()
        self._planned: dict[tuple[str, float, bool], Turn] = {}
        self._started_s = clock.now()
        self._free_at: dict[str, float] = {}  # loop time from which a slow device may be asked again
        self._last: tuple[str, float] = ("", 0.0)  # who used the bus last, and until which loop time
        self._last_write_s: dict[str, float] = {}  # loop time of the last try to write to a device

    async def run(self) -> None:
        """Polls until cancelled."""
        start_s = self._clock.monotonic()
        for visit in self.visits:
            self._add(visit, start_s)
        rested = False
        while True:
            turn = self._schedule.next(self._clock.monotonic())
            if turn is None:
                due_s = self._schedule.due_s()
                if due_s is None:
                    return
                await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
                rested = True
                continue
            if not rested:
                await asyncio.sleep(0)  # an overfull plan must not starve the rest of the gateway
            rested = False
            assert turn.visit is not None
            visit, began_s = turn.visit, self._clock.monotonic()
            await self.visit(visit)
            turn.cost_s = self._clock.monotonic() - began_s
            if turn.visit is not None:
                turn.due_s = self._next(turn.visit, turn.due_s, turn.cost_s)
                self._schedule.add(turn)

    def _add(self, visit: Visit, due_s: float) -> None:
        turn = Turn(visit, due_s)
        self._planned[visit.device.name, visit.period_s, visit.absent] = turn
        self._schedule.add(turn)

    def _learn(self, device: Device, known: Refusals) -> None:
        """Plans a device anew around what it refuses."""
        self.refusals[device.name] = known
        visits = plan_visits([device], self.codec, self.refusals)
        self.visits = [visit for visit in self.visits if visit.device.name != device.name] + visits
        wanted = {(visit.device.name, visit.period_s, visit.absent): visit for visit in visits}
        for key, turn in list(self._planned.items()):
            if key[0] == device.name:
                turn.visit = wanted.pop(key, None)
                if turn.visit is None:
                    del self._planned[key]
        for visit in wanted.values():
            self._add(visit, self._clock.monotonic() + visit.period_s)
        log.warning("device=%s refuses: absent=%s cuts=%s", device.name, sorted(known.absent), sorted(known.cuts))
        self._learnt(device.name, known)

    def forget(self, device: Device) -> None:
        """Other hardware stands there: what the old one refused says nothing of it, nor its groups."""
        if self._together is not None:
            self._together.forget(device.number)
        if self.refusals.get(device.name, NOTHING_REFUSED) != NOTHING_REFUSED:
            self._learn(device, NOTHING_REFUSED)

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
        # Made when it is needed, which is rarely: one kept for every bus would be two kilobytes of each.
        chance = random.Random(f"{self.name}/{visit.device.name}/{health.failures_in_a_row}")  # noqa: S311 - no secret
        return now_s + min(doubled * period_s, rarest_s) * chance.uniform(0.75, 1.0)

    async def visit(self, visit: Visit) -> None:
        """Reads one device now; whatever happens becomes a snapshot."""
        device, health = visit.device, self.health[visit.device.name]
        known = self.refusals.get(device.name, NOTHING_REFUSED)
        values: dict[str, float | None] = {}
        flaws: dict[str, Flaw] = {}
        error: BusError | None = None
        answered, splits, again = False, SPLITS_A_VISIT, TRIES_AGAIN_A_VISIT
        waiting = deque(visit.blocks)
        while waiting:
            block = waiting.popleft()
            health.requests += 1
            try:
                data = await self._read(device, block.span)
            except BusError as problem:
                error = problem
                answered = answered or isinstance(error, Refused)
                if isinstance(error, NoSuchPlace):
                    known = known.after(block)
                    if splits and (parts := self._parts(device, block, known)):
                        splits -= 1
                        waiting.extendleft(reversed(parts))
                        continue
                if again and _worth_another(error, health):
                    again -= 1
                    waiting.appendleft(block)
                    if isinstance(error, Busy):
                        await asyncio.sleep(BUSY_PAUSE_S)
                    continue
                given_up = isinstance(error, LinkError) or (
                    isinstance(error, NoAnswer) and health.failures_in_a_row > 0
                )
                unread = [
                    column.point for lost in ((block, *waiting) if given_up else (block,)) for column in lost.columns
                ]
                values |= dict.fromkeys(unread)
                flaws |= dict.fromkeys(unread, flaw_of(error))
                if given_up:
                    break
            else:
                answered = True
                block.decode(data, values, flaws)
                if visit.absent:
                    known = known.without([column.point for column in block.columns])
        now_s = self._clock.now()
        if answered or error is None:
            self._heard_of(device)
            if error is not None and any(value is None for value in values.values()):
                health.last_error = str(error)
        elif health.failed(str(error), now_s, visit.period_s, self._started_s):
            log.warning("device=%s lost: %s", device.name, error)
        if known != self.refusals.get(device.name, NOTHING_REFUSED):
            self._learn(device, known)
        self._sink(Snapshot(device.name, now_s, values, flaws))

    def _parts(self, device: Device, block: Block, known: Refusals) -> list[Block]:
        """The requests that read what a refused one was to read, without what the device is known not to have."""
        points = [device.points[column.point] for column in block.columns if column.point not in known.absent]
        return plan_blocks(device, points, self.codec, known)

    def _heard_of(self, device: Device) -> None:
        """Notes that a device answered, whatever it was asked."""
        health = self.health[device.name]
        first, since_s = health.last_answer_s is None, health.lost_since_s
        back = health.answered(self._clock.now())
        if back:
            log.warning("device=%s answers again", device.name)
            self._schedule.hasten(device.name, self._clock.monotonic())
        if first or back:
            self._returned(device, None if first else since_s)

    async def _exchange(
        self, device: Device, procedure: Procedure[T], limits: Limits, rank: Rank = Rank.POLL, *, brief: bool = False
    ) -> T:
        """Runs a procedure while nobody else uses the bus, and not sooner after the last one than the device can take."""
        await self._turns.take(rank, brief=brief)
        try:
            asking = self._at_turn(device, procedure, limits, lends=not brief)
            return await (_to_its_end(asking) if brief else asking)
        finally:
            self._turns.pass_on()

    async def _at_turn(self, device: Device, procedure: Procedure[T], limits: Limits, *, lends: bool = False) -> T:
        """The same, by whoever has the turn. lends: it may be lent; never by what is brief, which may have it lent."""
        loop = asyncio.get_running_loop()
        if limits.interval_s or limits.gap_s:
            ready_s = self._free_at.get(device.name, 0.0)
            if self._last[0] != device.name:
                ready_s = max(ready_s, self._last[1] + limits.gap_s)
            if (wait_s := ready_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
        try:
            return await run(self.link, procedure, self._turns if lends else None)
        finally:
            self._last = device.name, loop.time()
            if limits.interval_s:
                self._free_at[device.name] = loop.time() + limits.interval_s

    async def _read(self, device: Device, span: Span, rank: Rank = Rank.POLL, *, brief: bool = False) -> bytes:
        """The bytes of a span; what they say of the device's groups is taken."""
        procedure = self.codec.read(device.number, span, device.limits)
        data = await self._exchange(device, procedure, device.limits, rank, brief=brief)
        if self._together is not None:
            self._together.heard(device.number, span, data)
        return data

    async def ask(self, device: Device, procedure: Procedure[T]) -> T:
        """Runs a procedure of the bus's codec in its turn, past the plan. Raises BusError."""
        return await self._exchange(device, procedure, device.limits)

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Link]:
        """The link, while nobody else uses the bus: for one question to a device that is not planned, or for the port
        itself, closed and opened with other settings. Polling goes on after it."""
        await self._turns.take(Rank.POLL)
        try:
            yield self.link
        finally:
            self._last = "", asyncio.get_running_loop().time()
            self._turns.pass_on()

    async def write(self, device: Device, point: AnyPoint, value: float) -> None:
        """Writes one point. The caller has checked that it may. Raises BusError, ValueError when it cannot be put in the
        device's bytes, ActionError for what is only ever observed."""
        if device.profile.kind in OBSERVED_ONLY:
            raise ActionError(f"{device.name}: a {device.profile.kind} is observed and never written to")
        assert isinstance(point, WritablePoint)
        health, loop = self.health[device.name], asyncio.get_running_loop()
        raw = point.encode(value)
        if (
            health.lost_since_s is not None
            and loop.time() - self._last_write_s.get(device.name, -math.inf) < WRITE_PROBE_S
        ):
            raise NoAnswer(f"{device.name}: lost, and written to in vain just now; {health.last_error}")
        self._last_write_s[device.name] = loop.time()
        try:
            procedure = self.codec.write(device.number, point.place, raw, device.limits)
            await self._tell(device, point.place, raw, procedure)
        except Refused:
            self._heard_of(device)
            raise
        except BusError as error:
            if health.failed(str(error), self._clock.now(), device.every_s, self._started_s):
                log.warning("device=%s lost: %s", device.name, error)
            raise
        self._heard_of(device)

    async def _tell(self, device: Device, place: Place, raw: bytes, alone: Procedure[None]) -> None:
        """Writes a place; with the same for others of its group where it can. alone: writes it to this device."""
        limits, together = device.limits, self._together
        if together is None or not together.brief(place):
            await self._exchange(device, alone, limits, Rank.WRITE)
            return
        with together.waiting(device.number, place, raw) as telling:
            await asyncio.sleep(0)  # whoever is to be told the same at once says so now
            try:
                await self._turns.take(Rank.WRITE, brief=True, needless=telling.told)
            except Needless:
                return  # it was told with others
            try:
                if telling.told.is_set():
                    return
                lost = {other.number for other in self.devices if self.health[other.name].lost_since_s is not None}
                group = together.group(telling, lost)
                if group is None:
                    await self._at_turn(device, alone, limits)
                else:
                    await self._at_turn(device, together.codec.write_group(group, place, raw, limits), limits)
                    together.told(telling, group)
            finally:
                self._turns.pass_on()

    async def read_point(self, device: Device, point: AnyPoint) -> float | None:
        """One point, now, past the plan and before it: to see what came of a write. Raises BusError."""
        assert isinstance(point, PolledPoint)
        size = bytes_of(point)
        (span,) = self.codec.spans([(point.place, size)], device.limits)
        brief = self._together is not None and self._together.brief(point.place)
        data = await self._read(device, span, Rank.READ_BACK, brief=brief)
        start = span.offsets[point.place]
        return point.decoder()(data[start : start + size])


def _worth_another(error: BusError, health: Health) -> bool:
    """Whether a request is worth another try at once: a device that answered before may have lost one frame."""
    return isinstance(error, GarbledAnswer | Busy) or (
        isinstance(error, NoAnswer) and health.failures_in_a_row == 0 and health.answers > 0
    )


def flaw_of(error: BusError) -> Flaw:
    """A bus error as a technician reads it: what, and what to do."""
    match error:
        case Refused():
            told = FlawKind.REFUSED, f"l'appareil refuse ({error})", f"the device refuses ({error})"
        case NoAnswer():
            told = (
                FlawKind.SILENT,
                "aucune réponse : vérifier l'alimentation, le câblage, l'adresse",
                "no answer: check supply, wiring, address",
            )
        case GarbledAnswer():
            told = (
                FlawKind.GARBLED,
                "réponse brouillée : vérifier vitesse, parité, ou deux appareils à la même adresse",
                "garbled answer: check speed, parity, or two devices at one address",
            )
        case _:
            from gateway.fault_words import in_french  # a table of 300 sentences, for the day that a port is missing

            said = in_french(str(error)) or error
            told = FlawKind.PORT, f"port indisponible ({said})", f"the port is not available ({error})"
    kind, french, english = told
    return Flaw(Quality.BAD, french, kind, english)
