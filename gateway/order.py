"""Orders: what becomes of the platform's commands. Each is remembered on disk, carried out through the gate, and answered.

The answer is an audit record, `what` "command": "accepted" (done, `until` its lease ends, or let through as a dry run),
"refused" with the reason, or "reverted" where the device did not confirm. It overtakes every backlog, and is never dropped;
so that a flood of messages that are none, or repetitions, cannot fill the disk, of those only FORGED_AT_ONCE, and then one a
minute, have an answer of their own, which says how many had none (`unanswered`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.action import Action, Gate
from gateway.alert import iso
from gateway.allowance import Allowance
from gateway.clock import Clock
from gateway.command import Command, Desk
from gateway.errors import ActionError, CommandRefused, StoreError
from gateway.permit import Origin
from gateway.signed import public_key
from gateway.site import Site
from gateway.store import Store
from gateway.upstream.payload import Kind

log = logging.getLogger(__name__)

MOST_WAITING = 20
FORGED_AT_ONCE, FORGED_EVERY_S = 10, 60.0
STATE = "commands"


class Commands:
    """See the module. `run` it; `arrived` takes what came over the network and never waits."""

    def __init__(self, site: Site, gate: Gate, store: Store, clock: Clock) -> None:
        assert site.command_key is not None
        self._gate, self._store, self._clock = gate, store, clock
        self._desk = Desk(site.gateway.id, public_key(site.command_key), {})
        if (state := store.state(STATE)) is not None:
            self._desk.restore(state)
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self.dropped = 0
        """Messages that came while too many waited."""
        self._allowance = Allowance(FORGED_AT_ONCE, FORGED_EVERY_S, clock)

    def arrived(self, payload: bytes) -> None:
        """A message on `cmd`."""
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Carries out one command after the other, until cancelled."""
        while True:
            await self._one(await self._waiting.get())

    async def _one(self, payload: bytes) -> None:
        try:
            command = self._desk.take(payload, self._clock.now(), self._clock.trusted)
        except CommandRefused as refused:
            log.warning("command=%s refused: %s", refused.id or "?", refused)
            if self._allowance.take():
                body = {"command": refused.id or None, "answer": "refused", "error": str(refused)}
                self._answer({**body, "unanswered": self._allowance.refused})
                self._allowance.refused = 0
            return
        try:
            # An id that is not on disk would be taken again after a power cut.
            await self._store.decide({STATE: self._desk.state()})
        except StoreError as error:
            self._tell(command, "refused", f"the id cannot be kept: {error}")
            return
        answer, why = await self._carried_out(command)
        self._tell(command, answer, why, self._until(command) if answer == "accepted" else {})

    async def _carried_out(self, command: Command) -> tuple[str, str]:
        """The answer to a command and its reason."""
        if command.do == "release":
            hold = self._gate.ledger.holds.get(command.point)
            if hold is None or hold.origin is not Origin.REMOTE:
                return "refused", "the platform does not hold this point"
            self._gate.release(command.point)
            return "accepted", ""
        assert command.value is not None
        reason = f"{command.reason} ({command.by})"
        try:
            done = await self._gate.perform(
                Action(
                    command.point,
                    command.value,
                    reason,
                    Origin.REMOTE,
                    command.lease_s,
                    command.id,
                    command.do == "try",
                    command.expires_s,
                )
            )
        except ActionError as error:
            return "refused", str(error)
        return ("accepted", "") if done.confirmed or done.dry_run else ("reverted", done.error)

    def _until(self, command: Command) -> dict[str, Any]:
        """Until when it holds: the permit may give less than was asked for."""
        hold = self._gate.ledger.holds.get(command.point)
        if command.do != "set" or hold is None or hold.origin is not Origin.REMOTE:
            return {}
        return {"until": iso(self._clock.now() + hold.until_s - self._clock.monotonic())}

    def _tell(self, command: Command, answer: str, why: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._answer(
            {
                "command": command.id,
                "answer": answer,
                "error": why,
                "do": command.do,
                "point": command.point,
                "value": command.value,
                "reason": command.reason,
                "by": command.by,
                **more,
            }
        )

    def _answer(self, body: dict[str, Any]) -> None:
        self._store.put(Kind.AUDIT, self._clock.now(), {"what": "command", "origin": "remote", **body})
