"""Actions: the one gate through which anything is written to a device.

A write happens only if the point's profile gives limits and the value is within them; it is read back, and what came of it
goes into the audit trail whatever it was. Lifts have no path here: a profile of one that allows a write does not load, and
`PolledBus.write`, the one way to a codec's write, refuses them once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.alert import iso
from gateway.clock import Clock
from gateway.errors import ActionError, BusError
from gateway.profile import AnyPoint, WritablePoint
from gateway.reading import split_point
from gateway.site import Device, Site

log = logging.getLogger(__name__)

READ_BACK_TRIES = 3
READ_BACK_PAUSE_S = 0.15


class Writer(Protocol):
    """A bus that can be written to."""

    async def write(self, device: Device, point: AnyPoint, value: float) -> None: ...

    async def read_point(self, device: Device, point: AnyPoint) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Action:
    """Something to be done to a device, and why (a sentence for people)."""

    point: str
    value: float
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an action. read_back: what the device says after it; None when it said nothing, and for a point that can
    only be written, where `confirmed` means that the device confirmed the write."""

    action: Action
    time_s: float
    read_back: float | None
    confirmed: bool
    while_offline: bool
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """The audit record's body (central/contract/audit.schema.json)."""
        return {
            "what": "action",
            "time": iso(self.time_s),
            "point": self.action.point,
            "value": self.action.value,
            "reason": self.action.reason,
            "read_back": self.read_back,
            "confirmed": self.confirmed,
            "while_offline": self.while_offline,
            "error": self.error,
        }


class Gate:
    """See the module. `writers` by bus; `online` says whether the platform can be reached; `record` keeps the audit."""

    def __init__(
        self,
        site: Site,
        writers: Mapping[str, Writer],
        clock: Clock,
        online: Callable[[], bool],
        record: Callable[[Done], None],
    ) -> None:
        self._site, self._writers, self._clock, self._online, self._record = site, writers, clock, online, record

    async def perform(self, action: Action) -> Done:
        """Does it, reads it back, records it. Raises ActionError when it may not be done; a device that does not obey
        is no exception but a Done that is not confirmed."""
        device, point, writer, wanted = self._allowed(action)
        read_back: float | None = None
        error = "interrupted before it was done"
        try:
            for attempt in range(READ_BACK_TRIES):
                if attempt:
                    await asyncio.sleep(READ_BACK_PAUSE_S)
                try:
                    await writer.write(device, point, action.value)
                    if point.write_only:  # the device's confirmation of the write is all there is
                        error = ""
                        break
                    read_back = await writer.read_point(device, point)
                except BusError as problem:
                    error = str(problem)
                    continue
                error = "" if read_back == wanted else f"expected {wanted:g} back, got {read_back}"
                if not error:
                    break
        finally:  # what was begun is told, even if the gateway ends in the middle of it
            done = Done(action, self._clock.now(), read_back, not error, not self._online(), error)
            if error:
                log.warning("point=%s action not confirmed: %s", action.point, error)
            self._record(done)
        return done

    def _allowed(self, action: Action) -> tuple[Device, AnyPoint, Writer, float]:
        """Where it goes, and what must be read back: the nearest that the device can be told."""
        try:
            name, point_name = split_point(action.point)
            device = self._site.devices[name]
            point = device.points[point_name]
        except (ValueError, KeyError):
            raise ActionError(f"{action.point}: there is no such point in this site; nothing was written") from None
        writer = self._writers.get(device.bus)
        if point.write is None or writer is None or not isinstance(point, WritablePoint):
            raise ActionError(
                f"{action.point}: its profile {device.profile_name!r} allows no write; nothing was written"
            )
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
