"""The durable lane: takes records from the outbox to an MQTT broker until the platform acknowledges them.

Acknowledgement is by commit (`ack = "commit"`): a record leaves when the centre says that it has committed it, never
on PUBACK, which says only that a broker has it in hand; brokers die. With `ack = "broker"`, for platforms that cannot
say so, a PUBACK with reason 0 must do; "no matching subscribers" is not delivery.

The outbox is the queue. paho holds a window of messages and nothing else: every connection is a new client, so that
what it keeps for a reconnection (and counts wrongly there) does not matter. It runs on the event loop; only connecting,
which blocks, has a thread. Time-outs here are the event loop's: the network is as slow as it is, however fast the
site's time runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.clock import Clock
from gateway.errors import StoreError, UplinkError
from gateway.outbox import Outbox
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.connection import Connection, new_client, password_of, server_of
from gateway.upstream.pace import Pace
from gateway.upstream.payload import URGENT, Record, parse_ack, render, topic

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

_BURST: Final = 10
_STEADY_S: Final = 60.0


@dataclass(slots=True)
class Counters:
    """Since the start. refused_acks: not understood, of another epoch, or for records never sent; undelivered: the
    broker had nobody to give them to, or would not take them."""

    sessions: int = 0
    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    refused_acks: int = 0
    undelivered: int = 0


@dataclass(slots=True)
class _Flight:
    """A record on its way. `at_broker`: this connection's broker has it in hand."""

    record: Record
    due_s: float
    tries: int = 1
    at_broker: bool = False


class Uplink:
    """See the module. `run` it for as long as the gateway lives; it never ends because of the network or platform."""

    def __init__(
        self,
        store: Store,
        gateway: str,
        upstream: Upstream,
        clock: Clock,
        pace: Pace | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """chance: spreads a fleet's tries over time; one's own where not given."""
        self._gateway, self._clock, self._pace = gateway, clock, pace or Pace()
        self._by_broker = upstream.ack == "broker"
        self._host, self._port, self._tls = server_of(upstream)
        self._user, self._password = upstream.user, password_of(upstream)
        self.outbox = Outbox(store)
        self.counters = Counters()
        self.connected = False
        self.last_acknowledged_s: float | None = None
        """Site time when the platform last took something over."""
        self.trouble = ""
        """Why there is no connection; empty while there is one."""
        self.on_command: Callable[[bytes], None] | None = None
        """Who takes what arrives on `cmd`; nobody subscribes to it without."""
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._connection: Connection | None = None
        self._flying: dict[int, _Flight] = {}
        self._mids: dict[int, int] = {}
        """Records by the number that this connection's messages have."""
        self._chance = chance or random.Random()  # noqa: S311 - spreads a fleet, guards nothing

    @property
    def in_flight(self) -> int:
        """Records sent and not yet acknowledged; at most `Pace.window` and `Pace.urgent`."""
        return len(self._flying)

    async def run(self) -> None:
        """Connects, sends, and connects again, until cancelled."""
        tries = 0
        loop = asyncio.get_running_loop()
        while True:
            await self._allowed.wait()
            began_s, acknowledged = loop.time(), self.counters.acknowledged
            try:
                await self._connect_and_send()
            except (UplinkError, StoreError, OSError, ValueError) as error:
                self._say_unavailable(str(error) or type(error).__name__)
            finally:
                self.connected = False
            if loop.time() - began_s >= _STEADY_S or self.counters.acknowledged > acknowledged:
                tries = 0
            await asyncio.sleep(self._pace.pause_s(tries, self._chance))
            tries += 1

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """No connection while the block lasts, as in an outage; then it is tried again."""
        self._allowed.clear()
        if self._connection is not None:
            self._connection.fail("cut off on purpose")
        try:
            yield
        finally:
            self._allowed.set()

    def _say_unavailable(self, why: str) -> None:
        if not self.trouble:
            log.warning("uplink %s:%s unavailable: %s", self._host, self._port, why)
        self.trouble = why

    # -- one connection --------------------------------------------------------------------------------------------

    async def _connect_and_send(self) -> None:
        pace = self._pace
        connection = Connection(self._client(), self._host, self._port, pace.connect_s, self.outbox.changed)
        self._connection = connection
        self._mids.clear()
        self._listen(connection)
        try:
            await connection.open(pace.keepalive_s)
            await connection.answered()
            self.counters.sessions += 1
            self.connected = True
            if self.trouble:
                log.warning("uplink %s:%s available again", self._host, self._port)
                self.trouble = ""
            await self._send(connection)
            raise UplinkError(f"{self._host}:{self._port}: connection lost: {connection.why}")
        finally:
            connection.close()
            now_s = asyncio.get_running_loop().time()
            for flight in self._flying.values():
                if not flight.at_broker:
                    flight.due_s = now_s
                flight.at_broker = False

    def _client(self) -> Client:
        # NATS speaks 3.1.1 only; but only 5 says in a PUBACK whether anybody was there to receive.
        name, connect_s = f"guet-{self._gateway}", self._pace.connect_s
        client = new_client(name, self._tls, self._user, self._password, connect_s, version_5=self._by_broker)
        client.max_inflight_messages_set(0)  # the window is ours; paho would look through all of it at each PUBACK
        return client

    def _listen(self, connection: Connection) -> None:
        """All callbacks run on the event loop's thread."""
        client = connection.client
        acks, commands = topic(self._gateway, "ack"), topic(self._gateway, "cmd")
        heard = [] if self._by_broker else [(acks, 0)]
        if self.on_command is not None:
            heard.append((commands, 1))

        def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                connection.fail(str(reason))
            elif heard:
                client.subscribe(heard)
            else:
                connection.accept()

        def on_subscribe(_client: Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
            if any(reason.is_failure for reason in reasons):
                connection.fail(f"it does not let {self._gateway!r} hear its acknowledgements and commands")
            connection.accept()

        def on_publish(_client: Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
            self._taken_by_broker(mid, reason.value)

        def on_message(_client: Client, _data: Any, message: Any) -> None:
            if message.topic == acks:
                self._acknowledged(message.payload)
            elif message.topic == commands and self.on_command is not None and not message.retain:
                self.on_command(message.payload)

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_publish, client.on_message = on_publish, on_message

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _send(self, connection: Connection) -> None:
        """Keeps the window full until the connection is over."""
        loop = asyncio.get_running_loop()
        while not connection.over.is_set():
            self.outbox.changed.clear()
            now_s = loop.time()
            for number, flight in enumerate([f for f in self._flying.values() if f.due_s <= now_s]):
                if flight.record.seq in self._flying:
                    self._again(connection, flight, now_s)
                await _breathe(number)
            records = self._next()
            for number, record in enumerate(records):
                self._flying[record.seq] = _Flight(record, loop.time() + self._pace.patience_s(1, self._chance))
                self._publish(connection, record)
                self.counters.sent += 1
                await _breathe(number)
            if records:
                continue
            due_s = min((flight.due_s for flight in self._flying.values()), default=now_s + 60.0)
            try:
                async with asyncio.timeout(max(0.01, min(60.0, due_s - loop.time()))):
                    await self.outbox.changed.wait()
            except TimeoutError:
                pass

    def _next(self) -> list[Record]:
        """What the window has room for; waits for a quarter of it, so that the disk is not asked for single records."""
        urgent = sum(flight.record.kind in URGENT for flight in self._flying.values())
        room = self._pace.window - (len(self._flying) - urgent)
        others = room if room >= self._pace.window // 4 else 0
        records = self.outbox.take(self._pace.urgent - urgent, others, self._flying)
        if not records and not self._flying and self.outbox.ready_rows() > 0:
            self.outbox.rewind()
            records = self.outbox.take(self._pace.urgent, self._pace.window, self._flying)
        return records

    def _again(self, connection: Connection, flight: _Flight, now_s: float) -> None:
        flight.tries += 1
        flight.at_broker = False
        flight.due_s = now_s + self._pace.patience_s(flight.tries, self._chance)
        self.counters.resent += 1
        self._publish(connection, flight.record)

    def _publish(self, connection: Connection, record: Record) -> None:
        where, payload = render(self._gateway, self.outbox.epoch, record)
        info = connection.client.publish(where, payload, qos=1)
        self._mids[info.mid] = record.seq

    # -- being answered ----------------------------------------------------------------------------------------------

    def _taken_by_broker(self, mid: int, reason: int) -> None:
        seq = self._mids.pop(mid, None)
        flight = None if seq is None else self._flying.get(seq)
        if flight is None:
            return
        if reason != 0:
            self.counters.undelivered += 1
            return
        flight.at_broker = True
        if self._by_broker:
            self._leave([flight.record.seq])

    def _acknowledged(self, payload: bytes) -> None:
        """Takes only what this process has sent: what it has not may have been forged, and is sent again anyway."""
        try:
            ack = parse_ack(payload)
            if ack.epoch != self.outbox.epoch:
                raise UplinkError(
                    f"acknowledgement: expected epoch {self.outbox.epoch}, got {ack.epoch[:40]!r}; ignored"
                )
        except UplinkError as error:
            self._refuse(str(error))
            return
        seqs = [seq for seq in self._flying if ack.first <= seq <= ack.last]
        self._leave(seqs)
        if ack.last - ack.first + 1 > len(seqs):
            unsent = self.outbox.holds(ack.first, ack.last, limit=1)
            if unsent or ack.last > self.outbox.last_seq():
                self._refuse(f"acknowledgement: {ack.first} to {ack.last} includes records never sent; those stay")

    def _leave(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self._flying[seq]
        if seqs:
            self.outbox.acknowledge(seqs)
            self.counters.acknowledged += len(seqs)
            self.last_acknowledged_s = self._clock.now()
            self.outbox.changed.set()

    def _refuse(self, why: str) -> None:
        self.counters.refused_acks += 1
        count = self.counters.refused_acks
        if count & (count - 1) == 0:  # 1, 2, 4, 8 ...: not every one of a flood
            log.warning("uplink: %s (%d so far)", why, count)


async def _breathe(number: int) -> None:
    """Lets polling go on in the middle of a long backlog."""
    if number % _BURST == _BURST - 1:
        await asyncio.sleep(0)


__all__ = ["Counters", "Pace", "Uplink", "server_of"]
