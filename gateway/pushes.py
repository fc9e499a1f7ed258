"""What becomes of pushed sites (see `gateway.push`): each is checked whole, noted on the disk, put in place on trial, and
answered whatever comes of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.allowance import Allowance
from gateway.clock import Clock
from gateway.errors import CommandRefused, FileFault, StoreError, WishError
from gateway.push import PART, Place, Push, asks_for_push
from gateway.signed import NotYet, public_key, taken
from gateway.site import Site, digest
from gateway.store import Store
from gateway.upstream.payload import Kind

log = logging.getLogger(__name__)

STATE: Final = "pushed"
MOST_WAITING: Final = 5
LOOK_EVERY_S: Final = 5.0
REFUSED_AT_ONCE, REFUSED_EVERY_S = 10, 60.0
"""Of messages that are not taken, so many have an answer, then one in that time: a flood of forgeries fills no disk."""
MOST_LETTERS, MOST_IN_ALL = 500, 10_000
"""Of one fault, and of all that are told: a record has 64 KiB, and a letter may take six of them."""


class Pushes:
    """See the module. `run` it; `arrived` takes what came over the network and never waits. reached: whether the platform
    has taken something over since this gateway began. place: None: nobody can give this gateway another site."""

    def __init__(self, site: Site, store: Store, clock: Clock, place: Place | None = None) -> None:
        assert site.command_key is not None
        self.place = place
        self.reached: Callable[[], bool] = lambda: True
        self._gateway, self._key = site.gateway.id, public_key(site.command_key)
        self._store, self._clock = store, clock
        self._newest: dict[str, Any] = store.state(STATE) or {"number": 0}
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._allowance = Allowance(REFUSED_AT_ONCE, REFUSED_EVERY_S, clock)
        self._leaves = False
        """A site came in place, and this gateway ends: the one that runs it says what becomes of it."""
        self.dropped = 0
        """Messages that came while too many waited."""

    @staticmethod
    def asked(payload: bytes) -> bool:
        """Whether a message on `cmd` is for us, right or wrong."""
        return asks_for_push(payload)

    def arrived(self, payload: bytes) -> None:
        """A message on `cmd`."""
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Until cancelled."""
        if self._newest.get("answer") == "accepted" and self.place is not None and self.place.standing().on_trial:
            # Also something for the platform to take over: that it does is part of the proof.
            self._store.put(Kind.AUDIT, self._clock.now(), _body({**self._newest, "answer": "begun"}))
        while True:
            try:
                await self._settle()
                wait_s = LOOK_EVERY_S if self._newest.get("answer") == "accepted" else 3600.0
                async with asyncio.timeout(self._clock.loop_seconds(wait_s)):
                    payload = await self._waiting.get()
            except TimeoutError:
                continue
            except StoreError as error:
                log.error("configuration: %s", error)
                await self._clock.sleep(LOOK_EVERY_S)
                continue
            await self._one(payload)

    async def _one(self, payload: bytes) -> None:
        try:
            push = taken(Push, payload, self._key, self._gateway, self._clock.now(), self._clock.trusted)
            if push.id == self._newest.get("id"):
                self._again()
                return
            if push.number <= self._newest["number"]:
                raise CommandRefused(f"older than number {self._newest['number']}, which came before", push.id)
            if self._newest.get("answer") == "accepted":
                raise NotYet(f"number {self._newest['number']} is on trial; send it again after that", push.id)
            text = push.text()
        except CommandRefused as refused:
            self._refuse(refused)
            return
        await self._take(push, text)

    async def _take(self, push: Push, text: str) -> None:
        """A push that is ours and new: its number is used up, whatever comes of it."""
        newest = {"number": push.number, "id": push.id, "sha256": digest(text), "by": push.by, "reason": push.reason}
        faults: list[str] = []
        if self.place is None:
            faults.append("this gateway was started without a site file that may be changed")
        else:
            try:
                faults += self._losses(await self.place.check(text))
            except FileFault as error:
                faults += error.faults
            except WishError as error:
                faults.append(str(error))
        try:
            if faults:
                await self._answer(newest, "refused", faults)
                return
            assert self.place is not None
            # On disk before anything changes: an accepted site that a power cut takes away is answered by the next life.
            await self._answer(newest, "accepted")
            try:
                await self.place.put(text, push.by)
                self._leaves = True
            except (FileFault, WishError) as error:
                await self._answer(newest, "returned", [str(error)])
        except StoreError as error:
            log.error("configuration %s: %s", push.id, error)

    def _losses(self, site: Site) -> Iterator[str]:
        """With what of a site the platform would lose this gateway."""
        if site.gateway.id != self._gateway:
            yield f"gateway.id: expected {self._gateway!r}, got {site.gateway.id!r}; only who is there changes it"
        if site.command_key is None:
            yield "upstream.command_key: missing; without it the platform could never change the site again"
        if site.data.resolve() != self._store.path.parent.resolve():
            yield f"gateway.data: expected {self._store.path.parent}, where its memory is, got {site.data}"

    async def _settle(self) -> None:
        """What became of the one that was accepted."""
        if self._newest.get("answer") != "accepted" or self.place is None:
            return
        standing = self.place.standing()
        if standing.sha256 != self._newest["sha256"]:
            await self._answer(self._newest, "returned", [standing.undone or "it is not in place"])
        elif not standing.on_trial:
            await self._answer(self._newest, "kept")
        elif self._leaves:
            return  # that this gateway works says nothing of the next one
        elif standing.lacking == () and self.reached():
            try:
                await self.place.keep(str(self._newest["by"]))
            except (FileFault, WishError) as error:
                log.error("configuration %s: cannot be kept: %s", self._newest["id"], error)
                return
            await self._answer(self._newest, "kept")

    async def _answer(self, newest: Mapping[str, Any], answer: str, faults: list[str] | None = None) -> None:
        """Keeps it and says it, both or neither. Raises StoreError."""
        log.warning("configuration=%s number=%s %s %s", newest["id"], newest["number"], answer, faults or "")
        self._newest = {**newest, "answer": answer, "faults": _told(faults or [])}
        await self._store.decide({STATE: self._newest}, audits=[(self._clock.now(), _body(self._newest))])

    def _again(self) -> None:
        """The newest came again: who sent it may have missed the answer."""
        if self._allowance.take():
            self._store.put(Kind.AUDIT, self._clock.now(), _body(self._newest))

    def _refuse(self, refused: CommandRefused) -> None:
        log.warning("configuration=%s %s: %s", refused.id or "?", _word(refused), refused)
        if self._allowance.take():
            body = {"id": refused.id or None, "answer": _word(refused), "faults": _told([str(refused)])}
            self._store.put(Kind.AUDIT, self._clock.now(), _body({**body, "unanswered": self._allowance.refused}))
            self._allowance.refused = 0


def _told(faults: list[str]) -> list[str]:
    """As many of them as a record has room for."""
    told: list[str] = []
    for fault in faults:
        told.append(fault[:MOST_LETTERS])
        if sum(map(len, told)) > MOST_IN_ALL - MOST_LETTERS:
            left = len(faults) - len(told)
            return [*told, f"(+{left})"] if left else told
    return told


def _word(refused: CommandRefused) -> str:
    return "not yet" if isinstance(refused, NotYet) else "refused"


def _body(newest: Mapping[str, Any]) -> dict[str, Any]:
    """The audit record; `id` is the push's."""
    return {"what": PART, "origin": "remote", **newest}
