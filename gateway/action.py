"""Actions: the one gate through which anything is written to a device.

In this order: the profile's limits, the permit of the site, its interlocks, who holds the point, rate and dwell (`permit`);
then the write, read back until the device shows it or its time is over; then the record in the audit trail, whatever came of
it. What a rule or a remote command had written returns to the fail-safe value when its lease ends, when an interlock comes
up or when the read-back fails; leases outlive a power cut. Lifts have no path here: a profile of one that allows a write
does not load, no permit for one is taken, and `PolledBus.write`, the one way to a codec's write, refuses them once more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.alert import iso
from gateway.clock import Clock
from gateway.condition import Picture
from gateway.errors import ActionError, BusError, NotNow
from gateway.permit import READ_BACK_S, Ledger, Origin, Permit, unwritable
from gateway.point import AnyPoint, WritablePoint
from gateway.reading import split_point
from gateway.site import Device, Site

log = logging.getLogger(__name__)

WRITES = 3
"""How often a device is told the same thing, when it says nothing or does not move."""
READ_BACK_PAUSE_S = 0.15
SUPERSEDED = "not read back: something else was wanted before"
LONGEST_WAIT_S = 60.0
"""Site time between two looks at the leases, at the most."""


class Writer(Protocol):
    """A bus that can be written to."""

    async def write(self, device: Device, point: AnyPoint, value: float) -> None: ...

    async def read_point(self, device: Device, point: AnyPoint) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Action:
    """Something to be done to a device, by whom, and why (a sentence for people). lease_s: how long it is to hold, within
    what the permit allows; command: the id of the remote command that it answers; dry_run: only as if; before_s: when it
    is not to be begun any more (UTC seconds)."""

    point: str
    value: float
    reason: str
    origin: Origin = Origin.RULE
    lease_s: float | None = None
    command: str = ""
    dry_run: bool = False
    before_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an action. read_back: what the device says after it; None when it said nothing, and for a point that can
    only be written, where `confirmed` means that the device confirmed the write. dry_run: it was let through and not
    written. superseded: something else was wanted before it was read back."""

    action: Action
    time_s: float
    read_back: float | None
    confirmed: bool
    while_offline: bool
    error: str = ""
    dry_run: bool = False
    superseded: bool = False

    def as_json(self) -> dict[str, Any]:
        """The audit record's body (central/contract/audit.schema.json)."""
        return {
            "what": "action",
            "time": iso(self.time_s),
            "point": self.action.point,
            "value": self.action.value,
            "reason": self.action.reason,
            "origin": self.action.origin.value,
            "read_back": self.read_back,
            "confirmed": self.confirmed,
            "while_offline": self.while_offline,
            "error": self.error,
            **({"command": self.action.command} if self.action.command else {}),
            **({"dry_run": True} if self.dry_run else {}),
        }


class Gate:
    """See the module. `writers` by bus; `online` says whether the platform can be reached; `record` keeps the audit;
    `look` gives the inputs as they are now, for interlocks; `remember` is told what must outlive a power cut."""

    def __init__(
        self,
        site: Site,
        ledger: Ledger,
        writers: Mapping[str, Writer],
        clock: Clock,
        online: Callable[[], bool],
        record: Callable[[Done], None],
        look: Callable[[], Picture],
        remember: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> None:
        self._site, self.ledger, self._writers, self._clock = site, ledger, writers, clock
        self._online, self._record, self._look, self._remember = online, record, look, remember
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._reading_back: dict[str, asyncio.Timeout] = {}
        self.changed = asyncio.Event()
        """Set when a lease or an input of an interlock is another."""

    async def perform(self, action: Action) -> Done:
        """Does it, reads it back, records it. Raises ActionError when it may not be done, NotNow when waiting helps; a
        device that does not obey is no exception but a Done that is not confirmed."""
        device, point, writer, wanted = self._writable(action)
        async with self._busy[action.point]:
            now_s = self._clock.monotonic()
            if self._clock.now() >= action.before_s:
                raise ActionError(
                    f"{action.point}: expired while another write to it was under way; nothing was written"
                )
            refusal = self.ledger.refusal(action.point, action.value, action.origin, now_s, self._look())
            if refusal is not None:
                text = f"{action.point}: {refusal.why}; nothing was written"
                raise NotNow(text, refusal.again_s - now_s) if refusal.again_s is not None else ActionError(text)
            permit = self.ledger.permits.get(action.point)
            if self._site.dry_run or action.dry_run or (permit is not None and permit.dry_run):
                return self._as_if(action)
            done = await self._write(action, device, point, writer, wanted, permit)
        if not done.confirmed and not done.superseded and action.origin in (Origin.RULE, Origin.REMOTE):
            await self._return(action.point, f"non relu : {done.error}")
        return done

    async def ensure(self, action: Action, leaves: int = 0) -> Done | None:
        """As `perform`, unless the device shows the value already (None): for what wears out when it is written. leaves: of
        a value made of bits, those that stay as the device shows them. Raises ActionError, and BusError when the device
        cannot be asked."""
        device, point, writer, wanted = self._writable(action)
        shown = await writer.read_point(device, point)
        if leaves:
            if shown is None:
                raise ActionError(f"{action.point}: it does not say which bits are set; nothing was written")
            wanted = float(int(shown) & leaves | int(wanted))
        return None if shown == wanted else await self.perform(replace(action, value=wanted) if leaves else action)

    def _as_if(self, action: Action) -> Done:
        """A dry run: all but the write."""
        done = Done(action, self._clock.now(), None, False, not self._online(), dry_run=True)
        if not action.dry_run:
            self.ledger.wrote(action.point, action.value, action.origin, self._clock.monotonic(), action.lease_s)
        self._record(done)
        return done

    async def _write(
        self, action: Action, device: Device, point: AnyPoint, writer: Writer, wanted: float, permit: Permit | None
    ) -> Done:
        loop = asyncio.get_running_loop()
        patience_s = permit.read_back_s if permit is not None else READ_BACK_S
        read_back: float | None = None
        error, superseded = "interrupted before it was done", False
        seen, writes, write, until_s = math.nan, 0, True, math.inf
        try:
            while True:
                try:
                    if write:
                        writes += 1
                        await writer.write(device, point, action.value)
                        until_s = min(until_s, loop.time() + patience_s)
                    if point.write_only:  # the device's confirmation of the write is all there is
                        error = ""
                        break
                    async with asyncio.timeout(None) as limit:  # `supersede` ends it
                        self._reading_back[action.point] = limit
                        read_back = await writer.read_point(device, point)
                except BusError as problem:
                    error, write, until_s = str(problem), True, min(until_s, loop.time() + patience_s)
                except TimeoutError:
                    error, superseded = SUPERSEDED, True
                    break
                else:
                    if read_back == wanted:
                        error = ""
                        break
                    error = f"expected {wanted:g} back, got {read_back}"
                    # One that is on its way must not be told again, or its fade would begin anew.
                    write, seen = read_back is None or read_back == seen, math.nan if read_back is None else read_back
                finally:
                    self._reading_back.pop(action.point, None)
                if (write and writes == WRITES) or loop.time() >= until_s:
                    break
                await asyncio.sleep(READ_BACK_PAUSE_S)
        finally:  # what was begun is told, even if the gateway ends in the middle of it
            done = Done(
                action, self._clock.now(), read_back, not error, not self._online(), error, superseded=superseded
            )
            if error and not superseded:
                log.warning("point=%s action not confirmed: %s", action.point, error)
            self._account(done)
        return done

    def allows(self, point: str, value: float, origin: Origin) -> bool:
        """Whether it might be written now, as far as permits, interlocks and the law go."""
        return self.ledger.refusal(point, value, origin, self._clock.monotonic(), self._look()) is None

    def supersede(self, point: str) -> bool:
        """Something else is wanted of a point that was told and is being read back: that is not waited for any more (True),
        where the point may be told again at once. What it is told next is read back in its place."""
        permit = self.ledger.permits.get(point)
        if point not in self._reading_back or permit is None or permit.every_s or permit.dwell_s:
            return False
        self._reading_back.pop(point).reschedule(-math.inf)
        return True

    def _account(self, done: Done) -> None:
        """Into the ledger and the audit trail."""
        action, now_s = done.action, self._clock.monotonic()
        if done.confirmed or done.superseded:
            self.ledger.wrote(action.point, action.value, action.origin, now_s, action.lease_s)
        elif action.origin is not Origin.FAIL_SAFE:
            self.ledger.tried(action.point, action.value, action.origin, now_s)
        if action.origin is not Origin.LIGHTING:
            self._remember(self.ledger.state(now_s, self._clock.now()))
        self._record(done)
        self.changed.set()

    async def tell_time(self, device: Device, point: AnyPoint) -> None:
        """Tells a device what time it is. That moves nothing and is not to be held, so it needs no permit and leaves no
        record; a dry run tells nothing. Raises BusError, ActionError."""
        if not self._site.dry_run:
            await self._writers[device.bus].write(device, point, float(round(self._clock.now())))

    def release(self, point: str) -> None:
        """Nobody wants the point held any more; it returns to its fail-safe value at once (`run`)."""
        self.ledger.let_go(point, self._clock.monotonic())
        self.changed.set()

    async def run(self) -> None:
        """Watches over leases and interlocks until cancelled, by itself: whoever asked for a value may be gone."""
        while True:
            self.changed.clear()
            now_s = self._clock.monotonic()
            for point, _, why in self.ledger.returns(now_s, self._look()):
                await self._return(point, why)
            wait_s = min(LONGEST_WAIT_S, self.ledger.wakes_s(self._clock.monotonic(), self._clock.now()))
            try:
                async with asyncio.timeout(self._clock.loop_seconds(max(0.05, wait_s))):
                    await self.changed.wait()
            except TimeoutError:
                pass

    async def _return(self, point: str, why: str) -> None:
        """A point to its fail-safe value."""
        permit = self.ledger.permits.get(point)
        if permit is None or permit.fail_safe is None:
            return
        self.ledger.reverting(point, self._clock.monotonic())
        try:
            await self.perform(Action(point, permit.fail_safe, f"retour à la valeur sûre : {why}", Origin.FAIL_SAFE))
        except ActionError as error:
            log.error("point=%s cannot return: %s", point, error)

    def _writable(self, action: Action) -> tuple[Device, AnyPoint, Writer, float]:
        """Where it goes, and what must be read back: the nearest that the device can be told."""
        try:
            name, point_name = split_point(action.point)
            device = self._site.devices[name]
            point = device.points[point_name]
        except (ValueError, KeyError):
            raise ActionError(f"{action.point}: there is no such point in this site; nothing was written") from None
        writer = self._writers.get(device.bus)
        if (why := unwritable(device.profile, point)) or writer is None:
            raise ActionError(
                f"{action.point}: {why or 'its bus cannot be written to'} (profile {device.profile_name!r}); "
                "nothing was written"
            )
        assert isinstance(point, WritablePoint)
        assert point.write is not None
        if not point.write.min <= action.value <= point.write.max:
            raise ActionError(
                f"{action.point}: expected {point.write.min:g} to {point.write.max:g} {point.unit}, got {action.value:g}; "
                "nothing was written"
            )
        try:
            wanted = point.decoder()(point.encode(action.value))
        except ValueError as error:
            raise ActionError(f"{action.point}: {error}; nothing was written") from None
        if wanted is None:
            raise ActionError(f"{action.point}: {action.value:g} would mean 'no value'; nothing was written")
        return device, point, writer, wanted
