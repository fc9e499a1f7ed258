"""An edge node's life in front of a real broker, recorded on both sides: what the node sends on the wire, packet by packet,
and what a host application is given."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from central.broker import Broker
from gateway.clock import SystemClock
from gateway.reading import Quality
from gateway.site import Upstream
from gateway.store import Store
from gateway.summary import Aggregate, Summary
from gateway.upstream.mqtt import Pace
from gateway.upstream.sparkplug import Metric, Node, Payload, Point, Sample, Type, encode
from gateway.upstream.sparkplug_session import Source, SparkplugLane
from tests.gateway.upstream import tahu

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
GROUP, NODE, HOST = "Commune-34172", "edge-0042", "scada"
PACE = Pace(retry_s=0.05, retry_max_s=0.2, connect_s=5.0)


def field_at(data: bytes, at: int) -> tuple[bytes, int]:
    """A length of two bytes and so many more (MQTT 3.1.1, 1.5.3)."""
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    return data[at + 2 : end], end


@dataclass
class Packet:
    """What the node sent, read here and not by paho. connection: counted from 0; when: its place among all that happened."""

    connection: int
    when: int
    kind: int
    flags: int
    body: bytes

    @property
    def qos(self) -> int:
        return self.flags >> 1 & 3

    @property
    def retain(self) -> bool:
        return bool(self.flags & 1)

    @property
    def topic(self) -> str:
        return field_at(self.body, 0)[0].decode()

    @property
    def payload(self) -> Any:
        at = field_at(self.body, 0)[1] + (2 if self.qos else 0)
        return tahu.read(self.body[at:])

    @property
    def type(self) -> str:
        """NBIRTH, DDATA ... of a PUBLISH."""
        return self.topic.split("/")[2]

    def subscriptions(self) -> dict[str, int]:
        """Topics with the QoS asked for."""
        out, at = {}, 2
        while at < len(self.body):
            topic, at = field_at(self.body, at)
            out[topic.decode()] = self.body[at]
            at += 1
        return out


@dataclass
class Will:
    """A CONNECT, read by MQTT 3.1.1, 3.1."""

    protocol: str
    level: int
    clean: bool
    has_will: bool
    qos: int
    retain: bool
    topic: str
    payload: Any

    @classmethod
    def of(cls, packet: Packet) -> Will:
        name, at = field_at(packet.body, 0)
        level, flags = packet.body[at], packet.body[at + 1]
        _, at = field_at(packet.body, at + 4)
        topic, at = field_at(packet.body, at)
        payload, at = field_at(packet.body, at)
        return cls(
            name.decode(), level, bool(flags & 2), bool(flags & 4), flags >> 3 & 3, bool(flags & 32), topic.decode(),
            tahu.read(payload),
        )  # fmt: skip


@dataclass
class Heard:
    """What a host application was given."""

    topic: str
    payload: bytes
    when: int

    @property
    def type(self) -> str:
        return self.topic.split("/")[2]


@dataclass
class Record:
    """Everything, in order. marks: when the test did something, by name; now and then: the clock's, as UTC ms."""

    packets: list[Packet] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    began_ms: int = 0
    ended_ms: int = 0
    bd_seqs_on_disk: list[int] = field(default_factory=list)
    count: int = 0
    connections: int = 0

    def tick(self) -> int:
        self.count += 1
        return self.count

    def mark(self, name: str) -> None:
        self.marks[name] = self.tick()

    # what is asked of it

    def sent(self, *types: str, connection: int | None = None, before: str = "", after: str = "") -> list[Packet]:
        """PUBLISH packets of these types, in order."""
        until, since = self.marks.get(before, 10**9), self.marks.get(after, 0)
        return [
            packet
            for packet in self.packets
            if packet.kind == PUBLISH
            and (not types or packet.type in types)
            and connection in (None, packet.connection)
            and since < packet.when < until
        ]

    def of(self, kind: int) -> list[Packet]:
        return [packet for packet in self.packets if packet.kind == kind]

    def wills(self) -> list[Will]:
        return [Will.of(packet) for packet in self.of(CONNECT)]


class Tap:
    """Between the node and the broker: passes everything on, keeps what the node says, and can be cut."""

    def __init__(self, record: Record, port: int) -> None:
        self.record, self._port = record, port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.open = True

    async def __aenter__(self) -> Tap:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        number = self.record.connections
        self.record.connections += 1
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, ours}
        for task in (self._pass(theirs, writer, None), self._pass(reader, ours, number)):
            made = asyncio.ensure_future(task)
            self._tasks.add(made)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None) -> None:
        kept = b""
        try:
            while data := await reader.read(65536):
                if number is not None:
                    kept = self._read(kept + data, number)
                writer.write(data)
        except OSError:
            pass
        writer.close()

    def _read(self, data: bytes, number: int) -> bytes:
        while len(data) > 1:
            length = shift = 0
            at = 1
            while at < len(data):
                byte = data[at]
                length |= (byte & 0x7F) << shift
                shift += 7
                at += 1
                if not byte & 0x80:
                    break
            else:
                return data
            if len(data) < at + length:
                return data
            body = data[at : at + length]
            self.record.packets.append(Packet(number, self.record.tick(), data[0] >> 4, data[0] & 15, body))
            data = data[at + length :]
        return data


class Plant:
    """Three devices, of which a test says what they measure and whether they are there. `never` is never there."""

    def __init__(self, clock: SystemClock) -> None:
        self.clock = clock
        self.points = {
            "pump": {"flow": Point(unit="m3/h"), "pressure": Point(unit="bar"), "Flow": Point()},
            "lamp": {"power": Point(unit="W")},
            "never": {"power": Point(unit="W")},
        }
        self.values: dict[str, dict[str, Sample]] = {name: {} for name in self.points}
        self.there = {"pump", "lamp"}
        self.own = {"Status/Records Waiting": 3, "Properties/Software Version": "1.2", "Status/Time Trusted": True}
        self.own_points = {
            "Status/Records Waiting": Point(Type.INT64),
            "Properties/Software Version": Point(Type.STRING),
            "Status/Time Trusted": Point(Type.BOOLEAN),
        }

    def source(self) -> Source:
        return Source(
            lambda device: dict(self.values[device]),
            lambda device: device in self.there,
            lambda: {name: Sample(self.clock.now(), value) for name, value in self.own.items()},
        )

    def measures(self, device: str, lane: SparkplugLane | None = None, **values: float | None) -> None:
        now_s = self.clock.now()
        samples = {
            name: Sample(now_s, value, Quality.GOOD if value is not None else Quality.BAD)
            for name, value in values.items()
        }
        self.values[device] |= samples
        if lane is not None:
            lane.take(device, samples)


class HostApplication:
    """paho, on a thread: hears everything of Sparkplug, says STATE and commands."""

    def __init__(self, record: Record, port: int) -> None:
        self.record = record
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="host")
        self.client.on_message = self._hear
        listening = threading.Event()
        self.client.on_subscribe = lambda *_: listening.set()
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert listening.wait(10)

    def _hear(self, _client: Any, _data: Any, message: Any) -> None:
        if "/STATE/" not in message.topic:
            self.record.heard.append(Heard(message.topic, message.payload, self.record.tick()))

    def state(self, online: bool, at_ms: int, host: str = HOST) -> None:
        body = json.dumps({"online": online, "timestamp": at_ms}).encode()
        self.client.publish(f"spBv1.0/STATE/{host}", body, qos=1, retain=True).wait_for_publish(5)

    def command(self, value: bool = True, name: str = "Node Control/Rebirth", node: str = NODE) -> None:
        payload = encode(Payload(1, [Metric(name, 1, value, Type.BOOLEAN)]))
        self.client.publish(f"spBv1.0/{GROUP}/NCMD/{node}", payload, qos=0).wait_for_publish(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def until(met: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(20):
            while not met():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


async def a_life(folder: Path) -> Record:
    """A node waits for its host, is born, tells, loses a device, is asked to be born again, loses its host, its network, its
    power, and is told to end."""
    record, clock = Record(), SystemClock()
    record.began_ms = round(clock.now() * 1000)
    plant = Plant(clock)
    plant.measures("pump", flow=4.5, pressure=None, Flow=1.0)
    plant.measures("lamp", power=60.0)
    async with Broker(folder / "nats") as broker, Tap(record, broker.mqtt_port) as tap:
        host = HostApplication(record, broker.mqtt_port)
        upstream = Upstream(url=f"mqtt://127.0.0.1:{tap.port}", sparkplug=True, sparkplug_host=HOST)

        @asynccontextmanager
        async def powered(mark: str) -> AsyncIterator[tuple[SparkplugLane, Store]]:
            """A gateway from switching on to being told to end; its disk is the same each time."""
            async with Store.open(folder / "store", clock) as store:
                node = Node(GROUP, NODE, plant.points, plant.own_points)
                lane = SparkplugLane(store, node, upstream, clock, plant.source(), PACE, Random(1))
                running = asyncio.create_task(lane.run())
                yield lane, store
                assert not running.done()
                record.bd_seqs_on_disk.append(store.state("sparkplug")["bd_seq"])
                record.mark(mark)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await asyncio.sleep(0.2)

        async with powered("stop") as (lane, store):
            await until(lambda: record.of(SUBSCRIBE), "it listens")
            await asyncio.sleep(0.3)
            record.mark("another host online")
            host.state(True, 1000, host="other")
            host.state(False, 2000)
            await asyncio.sleep(0.3)
            record.mark("host online")
            host.state(True, 3000)
            await until(lambda: lane.node.born >= {"pump", "lamp"}, "it is born")
            plant.measures("pump", lane, flow=5.0, pressure=None, Flow=1.0)
            plant.measures("lamp", lane, power=60.0)
            plant.measures("pump", lane, flow=5.5, pressure=2.0)
            plant.own["Status/Records Waiting"] = 4
            lane._looked_s = -1e9  # a minute has passed
            await until(lambda: record.sent("NDATA"), "it tells of itself")
            record.mark("lamp dies")
            plant.there.remove("lamp")
            await until(lambda: record.sent("DDEATH"), "the lamp's death is told")
            plant.measures("lamp", lane, power=1.0)
            record.mark("lamp returns")
            plant.there.add("lamp")
            await until(lambda: record.sent("DBIRTH", after="lamp returns"), "the lamp is born again")
            host.command(False)
            host.command(name="node control/rebirth")
            host.command(node="edge-0042x")
            await asyncio.sleep(0.3)
            record.mark("rebirth")
            host.command()
            await until(lambda: len(record.sent("DBIRTH", after="rebirth")) == 2, "it is born again")
            plant.measures("pump", lane, flow=6.0)
            for number in range(300):  # round the 256 once
                plant.measures("pump", lane, flow=100.0 + number)
            host.state(False, 2500)  # older than what it said last: of no account
            await asyncio.sleep(0.3)
            record.mark("host offline")
            host.state(False, 4000)
            await until(lambda: len(record.of(CONNECT)) > 1, "it has gone and come again")
            plant.measures("pump", lane, flow=7.0)
            await asyncio.sleep(0.5)
            record.mark("host online again")
            host.state(True, 5000)
            await until(lambda: lane.node.born >= {"pump", "lamp"}, "it is born for the host")
            now_s = clock.now()
            for age_s in (1800.0, 60.0):  # the first lies before the interruption
                mean = Aggregate(3, 0, age_s, 0.0, age_s, age_s)
                store.add_summary(Summary("pump", now_s - age_s, 30.0, {"flow": mean}))
            await store.flush()
            record.mark("cut")
            tap.cut()
            await until(lambda: len(record.of(CONNECT)) > 2 and lane.node.born >= {"pump", "lamp"}, "it is back")
            await until(
                lambda: any(m.is_historical for p in record.sent("DDATA") for m in p.payload.metrics), "it tells"
            )
            plant.measures("pump", lane, flow=8.0)
        async with powered("last stop") as (lane, store):
            await until(lambda: lane.node.born >= {"pump", "lamp"}, "it is born after a restart")
        host.close()
    record.ended_ms = round(clock.now() * 1000)
    return record
