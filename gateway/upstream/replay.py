"""Replay on demand: what the site still remembers of a stretch of time is sent to the platform once more.

A platform that lost what it had committed (a backup put back, a database made anew) asks for it on `guet/v1/{gateway}/cmd`:

    {"replay": {"from": "2026-11-01T00:00:00Z", "to": "2026-11-20T00:00:00Z"}}

Summaries that began in that time and alerts raised in it go out again as new records, with new numbers, marked
`"replayed": true`: the platform counts one only where it has not the first. They wait their turn behind everything else, a
few at a time, so that a long replay neither fills the disk nor costs a record that was never sent. Nothing is written to a
device, and nothing is told that was not told before; so the request needs no signature, only the broker's word that it comes
from the platform.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Final

from gateway.alert import from_iso
from gateway.clock import Clock
from gateway.errors import StoreError, UplinkError
from gateway.outbox import Outbox
from gateway.store import Store
from gateway.upstream.payload import Kind, time_text

log = logging.getLogger(__name__)

MAX_BYTES: Final = 1024
_PAGE: Final = 200
_FEW: Final = 400
"""So many records may wait for the platform when the next page is put behind them."""
_LOOK_S: Final = 0.2
_PAGE_OF: Final = """
select start_s, device, period_s, body from summary
where (start_s, device, period_s) > (?, ?, ?) and start_s < ? order by start_s, device, period_s limit ?
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, UTC seconds; its end is not part of it."""

    from_s: float
    to_s: float


def asks_for_replay(payload: bytes) -> bool:
    """Whether a message on `cmd` is for us, right or wrong."""
    try:
        body = json.loads(payload) if len(payload) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and "replay" in body


def parse_replay(payload: bytes) -> Span:
    """Raises UplinkError for anything but a request as above."""
    try:
        if len(payload) > MAX_BYTES:
            raise ValueError
        body = json.loads(payload)["replay"]
        span = Span(from_iso(body["from"]), from_iso(body["to"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        raise UplinkError(
            f"replay: expected from and to (ISO 8601 with an offset), got {payload[:80]!r}; ignored"
        ) from None
    if not span.from_s < span.to_s:
        raise UplinkError(f"replay: expected from before to, got {payload[:80]!r}; ignored")
    return span


class Replay:
    """See the module. One request at a time; a new one takes the place of the one that runs."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock) -> None:
        self._store, self._outbox, self._clock = store, outbox, clock
        self._asked: Span | None = None
        self._news = asyncio.Event()
        self.sent = 0

    def arrived(self, payload: bytes) -> None:
        """A request on `cmd`; a wrong one is logged."""
        try:
            self._asked = parse_replay(payload)
        except UplinkError as error:
            log.warning("%s", error)
            return
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if (span := self._asked) is not None:
                try:
                    await self._replay(span)
                except StoreError as error:
                    log.error("replay: ended early: %s", error)

    async def _replay(self, span: Span) -> None:
        sql = "select count(*) from summary where start_s >= ? and start_s < ?"
        summaries = int(self._store.rows(sql, (span.from_s, span.to_s))[0][0])
        alerts = [alert for alert in self._store.alerts(span.from_s) if alert.raised_s < span.to_s]
        words = f"{time_text(span.from_s)} to {time_text(span.to_s)}: {summaries} summaries, {len(alerts)} alerts"
        log.warning("replay of %s", words)
        told = {"what": "replay", "value": summaries + len(alerts), "reason": words}
        self._store.put(Kind.AUDIT, self._clock.now(), told)
        for alert in alerts:
            changed_s = alert.raised_s if alert.cleared_s is None else alert.cleared_s
            self._store.put(Kind.ALERT, changed_s, {"alert": alert.as_json(), "replayed": True})
        after = (span.from_s, "", 0.0)
        while not self._news.is_set():
            await self._store.flush()
            while self._outbox.pending_rows() > _FEW:
                await asyncio.sleep(_LOOK_S)
            page = self._store.rows(_PAGE_OF, (*after, span.to_s, _PAGE))
            for start_s, device, period_s, body in page:
                after = (start_s, device, period_s)
                try:
                    self._store.put(Kind.SUMMARY, start_s, {**json.loads(body), "replayed": True})
                    self.sent += 1
                except (ValueError, TypeError) as error:
                    log.error("replay: a summary cannot be understood, left out: %r", error)
            if len(page) < _PAGE:
                return
