"""The ingester: takes records from the log into the database, and tells the gateways what is safe.

    log (JetStream) -> check against the contract -> COMMIT -> acknowledge to the log -> acknowledge to the gateways

in this order, so that whatever dies in between, a record is only done again, and what is done again is absorbed. Any number
of them may work on the one durable consumer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

import psycopg
from nats import connect
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from central.batch import store
from central.errors import CentralError
from central.node import KINDS, Tls

log = logging.getLogger(__name__)

STREAM: Final = "GUET"
CONSUMER: Final = "ingest"
SUBJECTS: Final = [f"guet.v1.*.{kind}" for kind in KINDS]
BATCH: Final = 1000
_LINGER_S: Final = 0.01
_CONNECT_S: Final = 10.0
_PULL_S: Final = 5.0
"""How long a request for messages stands. A node that dies takes it along unheard: so long nothing comes then."""
_STOP_S: Final = 0.25
_ACK_WAIT_S: Final = 60.0
_RETRY_S: Final = (0.2, 30.0)


@dataclass(frozen=True, slots=True)
class Log:
    """Where the log is: urls of NATS nodes, with commas between; replicas: on how many nodes each record is kept; tls: who
    we are and whom we trust, where the nodes want to know."""

    urls: str
    replicas: int = 1
    tls: Tls | None = None

    def context(self) -> ssl.SSLContext | None:
        """Raises CentralError for files that do not belong together."""
        if self.tls is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.tls.authority))
            context.load_cert_chain(self.tls.certificate, self.tls.key)
        except OSError as error:
            raise CentralError(
                f"{self.tls.certificate.parent}: expected PEM files that belong together, got: {error}"
            ) from error
        return context


async def run_ingester(nats: Log | str, database_url: str, stop: asyncio.Event) -> None:
    """Works until `stop` is set; begins again by itself when the log or the database go away. Raises CentralError for
    certificates that cannot be used."""
    where = Log(nats) if isinstance(nats, str) else nats
    tls = where.context()
    pause_s, most_s = _RETRY_S
    while not stop.is_set():
        began_s = asyncio.get_running_loop().time()
        try:
            await _work(where, tls, database_url, stop)
        except (OSError, NatsError, psycopg.Error, CentralError, TimeoutError) as error:
            log.warning("ingester: %s: %s; trying again", type(error).__name__, str(error).strip())
            if asyncio.get_running_loop().time() - began_s > most_s:
                pause_s = _RETRY_S[0]
            try:
                async with asyncio.timeout(random.uniform(0, pause_s)):  # noqa: S311 - spreads workers, guards nothing
                    await stop.wait()
            except TimeoutError:
                pass
            pause_s = min(2 * pause_s, most_s)


async def _work(where: Log, tls: ssl.SSLContext | None, database_url: str, stop: asyncio.Event) -> None:
    lost = asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    # Without reconnection: one place decides when to try again, and begins from a clean state; with any node of several.
    async with asyncio.timeout(_CONNECT_S):
        client = await connect(
            where.urls.split(","),
            tls=tls,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,
            disconnected_cb=on_lost,
            closed_cb=on_lost,
            error_cb=_quiet,
        )
    try:
        pull = await _Pull.open(client, lost, where.replicas)
        async with await psycopg.AsyncConnection.connect(database_url, connect_timeout=10) as connection:
            await connection.set_autocommit(True)
            await connection.execute("set statement_timeout = '60s'")
            months: set[str] = set()
            while not stop.is_set():
                messages = await pull.batch(stop)
                if not messages:
                    continue
                acks = await store(connection, [(message.subject, message.data) for message in messages], months)
                for message in messages:
                    await client.publish(message.reply, b"+ACK")
                for ack in acks:
                    body = {"epoch": ack.epoch, "from": ack.first, "to": ack.last}
                    await client.publish(f"guet.v1.{ack.gateway}.ack", json.dumps(body).encode())
                await client.flush(timeout=5)
    finally:
        await client.close()


async def _quiet(error: Exception) -> None:
    log.debug("ingester: %s", error)


async def prepare(client: Client, replicas: int) -> None:
    """Makes the stream and its durable consumer, or has them as they should be."""
    manager = client.jsm()
    stream = StreamConfig(
        name=STREAM,
        subjects=SUBJECTS,
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=7 * 86_400,
        max_bytes=4 * 1024**3,
        num_replicas=replicas,
    )
    consumer = ConsumerConfig(
        durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_S, max_ack_pending=10 * BATCH
    )
    try:
        await manager.add_stream(stream)
    except BadRequestError:  # it is there already, and was made otherwise
        await manager.update_stream(stream)
    await manager.add_consumer(STREAM, consumer)


class _Pull:
    """A standing request for messages to the durable consumer, so that they come without being asked for one by one."""

    def __init__(self, client: Client, lost: asyncio.Event) -> None:
        self._client, self._lost = client, lost
        self._inbox = client.new_inbox()
        self._waiting: deque[Msg] = deque()
        self._came = asyncio.Event()
        self._asked = 0
        self._until_s = 0.0

    @classmethod
    async def open(cls, client: Client, lost: asyncio.Event, replicas: int) -> _Pull:
        await prepare(client, replicas)
        pull = cls(client, lost)
        await client.subscribe(pull._inbox, cb=pull._take)
        return pull

    async def _take(self, message: Msg) -> None:
        if message.headers and "Status" in message.headers:  # the request is over: nothing left, expired, or no server
            if message.headers["Status"] != "100":
                self._asked = 0
        else:
            self._asked -= 1
            self._waiting.append(message)
        self._came.set()

    async def batch(self, stop: asyncio.Event) -> list[Msg]:
        """Up to BATCH messages, soon after the first; none now and then, or when told to stop."""
        loop = asyncio.get_running_loop()
        while not self._waiting:
            if self._lost.is_set():
                raise CentralError("the connection to the log was lost")
            if stop.is_set():
                return []
            await self._ask(loop.time())
            self._came.clear()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._came.wait()
            except TimeoutError:
                pass
        if len(self._waiting) < BATCH:
            await asyncio.sleep(_LINGER_S)
        out = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        await self._ask(loop.time())
        return out

    async def _ask(self, now_s: float) -> None:
        if self._asked > BATCH // 2 and now_s < self._until_s:
            return
        self._asked, self._until_s = BATCH, now_s + _PULL_S + 1.0
        request = {"batch": BATCH, "expires": int(_PULL_S * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}"
        await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
