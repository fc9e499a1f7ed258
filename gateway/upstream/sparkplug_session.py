"""The Sparkplug lane: an edge node beside the durable lane, for whoever speaks Sparkplug B 3.0 (SCADA, ThingsBoard).

It carries the present, at QoS 0 as the specification has it, and promises nothing: what must not be lost goes over the
durable lane. After an interruption it tells what was, marked as historical, from the site's own memory of summaries.
MQTT 3.1.1 with a clean session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.clock import Clock
from gateway.errors import StoreError, UplinkError
from gateway.reading import Quality
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.connection import Connection, new_client, password_of, server_of
from gateway.upstream.mqtt import Pace
from gateway.upstream.sparkplug import Message, Node, Sample, state_topic

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

log = logging.getLogger(__name__)

STATE: Final = "sparkplug"
"""The name of the state that survives a power cut: bdSeq, and until when the host was told the present."""
OVERLAP_S: Final = 120.0
"""What was sent so shortly before a connection broke may not have arrived."""
NOTED_EVERY_S: Final = 900.0
LOOK_EVERY_S: Final = 1.0
SELF_EVERY_S: Final = 60.0
STATE_EVERY_S: Final = 10.0
HISTORY_EVERY_S: Final = 0.05
MOST_UNSENT: Final = 1000
_STEADY_S: Final = 60.0
_CHUNK_S: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the lane looks: the latest of a device, whether it is there, and the node's own metrics."""

    latest: Callable[[str], Mapping[str, Sample]]
    here: Callable[[str], bool]
    own: Callable[[], Mapping[str, Sample]]


@dataclass(slots=True)
class Counters:
    """Since the start. refused: commands and states that could not be understood."""

    sessions: int = 0
    births: int = 0
    sent: int = 0
    historical: int = 0
    refused: int = 0


class SparkplugLane:
    """See the module. `run` it for as long as the gateway lives, and give it every snapshot (`take`)."""

    def __init__(
        self,
        store: Store,
        node: Node,
        upstream: Upstream,
        clock: Clock,
        source: Source,
        pace: Pace | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._store, self.node, self._clock, self._source = store, node, clock, source
        self._pace, self._chance = pace or Pace(), chance or random.Random()  # noqa: S311 - spreads a fleet
        self._host_id = upstream.sparkplug_host
        self._server = server_of(upstream)
        self._user, self._password = upstream.user, password_of(upstream)
        self.counters = Counters()
        self.trouble = ""
        """Why there is no connection; empty while there is one."""
        self._client: Client | None = None
        self._unsent: deque[MQTTMessageInfo] = deque()
        self._wake = asyncio.Event()
        self._host_online = False
        self._host_ms = -1
        self._wants_rebirth = False
        self._noted_s = self._looked_s = 0.0
        self._noting: asyncio.Task[None] | None = None

    def take(self, device: str, samples: Mapping[str, Sample]) -> None:
        """What a device has just said. Goes at once if the host is to be told; never waits."""
        self._say(self.node.data(device, self._clock.now(), samples))

    async def run(self) -> None:
        """Connects, is born, tells, and does it again, until cancelled; then it dies as the specification has it."""
        tries = 0
        loop = asyncio.get_running_loop()
        where = f"{self._server[0]}:{self._server[1]}"
        while True:
            began_s = loop.time()
            try:
                await self._session()
            except (UplinkError, StoreError, OSError, ValueError) as error:
                why = str(error) or type(error).__name__
                if not self.trouble:
                    log.warning("sparkplug %s unavailable: %s", where, why)
                self.trouble = why
            tries = 0 if loop.time() - began_s >= _STEADY_S else tries + 1
            pause_s = min(self._pace.retry_max_s, self._pace.retry_s * 2 ** min(tries, 20))
            await asyncio.sleep(self._chance.uniform(0, pause_s))

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        since_s = await self._next_bd_seq()
        host, port, _ = self._server
        connection = Connection(self._new_client(), host, port, self._pace.connect_s, self._wake)
        self._listen(connection)
        self._host_online, self._wants_rebirth = False, False
        try:
            await connection.open(self._pace.keepalive_s)
            await connection.answered()
            self.counters.sessions += 1
            self.trouble = ""
            await self._host_there(connection)
            self._unsent.clear()
            self._client = connection.client
            self._be_born()
            await self._tell(connection, since_s)
        finally:
            was_alive = self.node.alive
            self._client = None
            self.node.die()
            if was_alive and not connection.over.is_set():
                self._die_on_purpose(connection.client)
            connection.close()
            if was_alive:
                self._noted_s = 0.0
                self._note_soon(self._clock.now())

    async def _next_bd_seq(self) -> float:
        """The next bdSeq, on the disk before anybody sees it; gives until when the host was told the present."""
        known = self._store.state(STATE)
        match known:
            case {"bd_seq": int(last), "until_s": float(until_s)}:
                pass
            case _:  # the first time, or garbled by the disk
                last, until_s = -1, self._clock.now()
        self.node.bd_seq = (last + 1) % 256
        await self._store.decide({STATE: {"bd_seq": self.node.bd_seq, "until_s": until_s}})
        return until_s

    def _new_client(self) -> Client:
        name = f"guet-{self.node.node}-sparkplug"
        client = new_client(name, self._server[2], self._user, self._password, self._pace.connect_s)
        will = self.node.will(self._clock.now())
        client.will_set(will.topic, will.payload, qos=1, retain=False)
        return client

    def _listen(self, connection: Connection) -> None:
        client = connection.client
        topics = [(self.node.commands(), 1)]
        if self._host_id:
            topics.append((state_topic(self._host_id), 1))

        def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                connection.fail(str(reason))
            else:
                client.subscribe(topics)

        def on_subscribe(_client: Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
            if any(reason.is_failure for reason in reasons):
                connection.fail(f"it does not let {self.node.node!r} hear its commands")
            connection.accept()

        def on_message(_client: Client, _data: Any, message: Any) -> None:
            self._hear(message.topic, message.payload)
            self._wake.set()

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message

    async def _host_there(self, connection: Connection) -> None:
        """Waits for the primary host, if there is one to wait for; subscribes again now and then, upon which the broker says
        once more what it keeps of its STATE."""
        while self._host_id and not self._host_online:
            woken = await self._rest(STATE_EVERY_S)
            if connection.over.is_set():
                raise UplinkError(f"connection lost: {connection.why}")
            if not woken:
                connection.client.subscribe(state_topic(self._host_id), qos=1)

    async def _rest(self, seconds: float) -> bool:
        """False when the time has passed and nothing has happened."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    # -- telling -------------------------------------------------------------------------------------------------------

    def _be_born(self) -> None:
        """The node, then each of its devices that is there; nothing else comes between."""
        now_s = self._clock.now()
        self._wants_rebirth = False
        self.counters.births += 1
        self._say(self.node.birth(now_s, self._source.own()))
        for device in self.node.devices:
            if self._source.here(device):
                self._say(self.node.device_birth(device, now_s, self._source.latest(device)))

    async def _tell(self, connection: Connection, since_s: float) -> None:
        history = self._history(since_s - OVERLAP_S, self._clock.now())
        pending = next(history, None)
        while not connection.over.is_set():
            await self._rest(HISTORY_EVERY_S if pending is not None else LOOK_EVERY_S)
            if self._host_id and not self._host_online:
                raise UplinkError(f"the primary host {self._host_id!r} is not there")
            if self._wants_rebirth:
                self._be_born()
            self._look_at_devices()
            self._look_at_self()
            if len(self._unsent) > MOST_UNSENT:
                raise UplinkError(f"it does not take what it is sent: {len(self._unsent)} messages wait")
            if pending is not None and len(self._unsent) < MOST_UNSENT // 2:
                self._say_what_was(*pending)
                pending = next(history, None)
            if pending is None:
                self._note_soon(self._clock.now())
        raise UplinkError(f"connection lost: {connection.why}")

    def _look_at_devices(self) -> None:
        now_s = self._clock.now()
        for device in self.node.devices:
            here = self._source.here(device)
            if here and device not in self.node.born:
                self._say(self.node.device_birth(device, now_s, self._source.latest(device)))
            elif not here:
                self._say(self.node.device_death(device, now_s))

    def _look_at_self(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s >= SELF_EVERY_S:
            self._looked_s = now_s
            self._say(self.node.data(None, self._clock.now(), self._source.own()))

    def _history(self, since_s: float, until_s: float) -> Iterator[tuple[str, Sequence[tuple[str, Sample]]]]:
        """By device and period, in order of time: the means of the site's memory, dated by the period's end."""
        start_s = since_s
        while start_s < until_s:
            for summary in self._store.summaries(list(self.node.devices), start_s, min(until_s, start_s + _CHUNK_S)):
                end_s = summary.start_s + summary.period_s
                samples = [
                    (name, Sample(end_s, aggregate.mean, Quality.GOOD))
                    for name, aggregate in summary.points.items()
                    if aggregate.mean is not None
                ]
                yield summary.device, samples
            start_s += _CHUNK_S

    def _say_what_was(self, device: str, samples: Sequence[tuple[str, Sample]]) -> None:
        message = self.node.history(device, self._clock.now(), samples)
        self.counters.historical += message is not None
        self._say(message)

    def _note_soon(self, now_s: float) -> None:
        """Until now the host was told the present: on the disk every now and then."""
        if 0 <= now_s - self._noted_s < NOTED_EVERY_S:
            return
        self._noted_s = now_s
        note = {STATE: {"bd_seq": self.node.bd_seq, "until_s": now_s}}
        self._noting = asyncio.get_running_loop().create_task(self._store.decide(note), name="sparkplug note")
        self._noting.add_done_callback(_say_failure)

    def _say(self, message: Message | None) -> None:
        if message is None or self._client is None:
            return
        while self._unsent and self._unsent[0].is_published():
            self._unsent.popleft()
        if len(self._unsent) > MOST_UNSENT:
            return  # this connection is about to be given up; what is not said comes with the next birth
        self.counters.sent += 1
        self._unsent.append(self._client.publish(message.topic, message.payload, qos=0, retain=False))

    def _die_on_purpose(self, client: Client) -> None:
        """A broker of MQTT 3.1.1 throws the will away at DISCONNECT, so it is published before."""
        will = self.node.will(self._clock.now())
        client.publish(will.topic, will.payload, qos=1, retain=False)
        client.loop_write()

    # -- being told ----------------------------------------------------------------------------------------------------

    def _hear(self, topic: str, payload: bytes) -> None:
        try:
            if self._host_id and topic == state_topic(self._host_id):
                self._hear_state(payload)
            elif self.node.is_rebirth(topic, payload):
                self._wants_rebirth = self.node.alive
        except UplinkError as error:
            self.counters.refused += 1
            count = self.counters.refused
            if count & (count - 1) == 0:  # 1, 2, 4, 8 ...: not every one of a flood
                log.warning("sparkplug: %s (%d so far)", error, count)

    def _hear_state(self, payload: bytes) -> None:
        """Only what is not older than what the host said last."""
        try:
            body = json.loads(payload) if len(payload) <= 1024 else None
        except (ValueError, RecursionError):
            body = None
        online, at_ms = (body.get("online"), body.get("timestamp")) if isinstance(body, dict) else (None, None)
        if not isinstance(online, bool) or type(at_ms) is not int:
            raise UplinkError(
                f"STATE: expected online (true or false) and timestamp (a whole number), got {payload[:60]!r}; ignored"
            )
        if at_ms >= self._host_ms:
            self._host_online, self._host_ms = online, at_ms


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and isinstance(error := task.exception(), StoreError):
        log.error("sparkplug: %s", error)
