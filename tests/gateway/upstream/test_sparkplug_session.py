"""The Sparkplug lane in front of real brokers: what is not as it should be, and a whole gateway that has it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central.broker import Broker
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.profile import load_profile
from gateway.site import Upstream, parse_site
from gateway.store import Store
from gateway.upstream.mqtt import Pace
from gateway.upstream.sparkplug import Node, Sample
from gateway.upstream.sparkplug_session import MOST_UNSENT, STATE, SparkplugLane
from simulator.modbus import Device, TcpServer
from tests.gateway.test_timekeeping import SITE, Meter
from tests.gateway.upstream import tahu
from tests.gateway.upstream.recorded import GROUP, HOST, NODE, PACE, HostApplication, Plant, Record, until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "store", SystemClock()) as opened:
        yield opened


class Lane:
    """A lane that runs, with its plant and a host that hears it."""

    def __init__(self, broker: Broker, store: Store, **settings: Any) -> None:
        self.record, self.plant = Record(), Plant(SystemClock())
        self.host = HostApplication(self.record, broker.mqtt_port)
        node = Node(GROUP, NODE, self.plant.points, self.plant.own_points)
        upstream = Upstream(url=broker.mqtt_url, sparkplug=True, **settings)
        self.lane = SparkplugLane(store, node, upstream, self.plant.clock, self.plant.source(), PACE, Random(1))

    async def __aenter__(self) -> "Lane":
        self.running = asyncio.create_task(self.lane.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self.running.done()
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.host.close()

    def heard(self, kind: str) -> list[Any]:
        return [tahu.read(it.payload) for it in self.record.heard if it.type == kind]


async def test_without_a_primary_host_it_is_born_at_once(broker: Broker, store: Store) -> None:
    async with Lane(broker, store) as it:
        await until(lambda: len(it.heard("DBIRTH")) == 2, "its devices are born")
        assert it.lane.trouble == ""


@pytest.mark.parametrize("payload", [b"", b"\xff" * 40, b"{", b"\x00" * 20_000], ids=["empty", "noise", "JSON", "long"])
async def test_a_command_that_is_none_is_counted_and_changes_nothing(
    broker: Broker, store: Store, payload: bytes
) -> None:
    async with Lane(broker, store) as it:
        await until(lambda: it.heard("NBIRTH"), "it is born")
        it.host.client.publish(f"spBv1.0/{GROUP}/NCMD/{NODE}", payload, qos=1).wait_for_publish(5)
        it.host.command()
        await until(lambda: len(it.heard("NBIRTH")) == 2, "it still hears commands")
        assert it.lane.counters.refused == (payload != b"")
        assert len(it.heard("NBIRTH")) == 2


@pytest.mark.parametrize(
    "payload",
    [b"OFFLINE", b"[]", b"\xff", b"[" * 900, json.dumps({"online": 0, "timestamp": 9000}).encode(),
     json.dumps({"online": False, "timestamp": "9000"}).encode(), json.dumps({"online": False}).encode() + b" " * 2000],
)  # fmt: skip
async def test_a_state_that_is_none_does_not_end_it(broker: Broker, store: Store, payload: bytes) -> None:
    async with Lane(broker, store, sparkplug_host=HOST) as it:
        it.host.state(True, 1000)
        await until(lambda: it.heard("NBIRTH"), "it is born")
        it.host.client.publish(f"spBv1.0/STATE/{HOST}", payload, qos=1).wait_for_publish(5)
        await until(lambda: it.lane.counters.refused == 1, "it is refused")
        await asyncio.sleep(0.1)
        assert it.lane.node.alive
        assert it.heard("NDEATH") == []


async def test_a_state_on_the_disk_that_was_garbled_begins_anew(broker: Broker, store: Store) -> None:
    await store.decide({STATE: {"bd_seq": "seven", "until_s": None}})
    async with Lane(broker, store) as it:
        await until(lambda: it.heard("NBIRTH"), "it is born")
        assert it.lane.node.bd_seq == 0


async def test_bd_seq_goes_round_after_255(broker: Broker, store: Store) -> None:
    await store.decide({STATE: {"bd_seq": 255, "until_s": 1.0}})
    async with Lane(broker, store) as it:
        await until(lambda: it.heard("NBIRTH"), "it is born")
        assert it.heard("NBIRTH")[0].metrics[0].long_value == 0


def fill(sock: Any) -> None:
    """With PINGREQ."""
    while True:
        sock.send(b"\xc0\x00" * 30_000)


async def test_a_broker_that_takes_nothing_does_not_fill_the_memory(broker: Broker, store: Store) -> None:
    async with Lane(broker, store) as it:
        await until(lambda: it.lane.node.born, "it is born")
        assert broker.pid is not None
        assert it.lane._client is not None
        sock = it.lane._client.socket()
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            with pytest.raises(BlockingIOError):
                fill(sock)
            for number in range(MOST_UNSENT + 500):
                it.lane.take("pump", {"flow": Sample(1.0, float(number))})
            assert len(it.lane._unsent) == MOST_UNSENT + 1
            await until(lambda: "does not take" in it.lane.trouble, "it gives up")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await until(lambda: it.lane.counters.births == 2, "it has begun anew")
        assert len(it.lane._unsent) < 10


async def test_nobody_there_is_no_end(store: Store) -> None:
    plant = Plant(SystemClock())
    node = Node(GROUP, NODE, plant.points, plant.own_points)
    pace = Pace(retry_s=0.01, retry_max_s=0.02, connect_s=1.0)
    lane = SparkplugLane(store, node, Upstream(url="mqtt://127.0.0.1:9"), plant.clock, plant.source(), pace, Random(1))
    running = asyncio.create_task(lane.run())
    await until(lambda: lane.trouble, "it says so")
    await asyncio.sleep(0.1)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_site_that_asks_for_it_is_an_edge_node(broker: Broker, tmp_path: Path) -> None:
    record = Record()
    host = HostApplication(record, broker.mqtt_port)
    async with TcpServer("127.0.0.1", 0, [Device(1, Meter(), 0.001)]) as devices:
        text = SITE.format(platform=broker.mqtt_port, devices=devices.port)
        text = (
            text.replace("[[bus]]", "sparkplug = true\n[[bus]]", 1).replace("300s", "1s").replace("Simulée", "Le Bourg")
        )
        site = parse_site(text, "site.toml", Path(), lambda name: load_profile(ROOT / "device_profiles", name))
        async with Store.open(tmp_path / "store", SystemClock()) as store:
            gateway = Gateway(site, [], store, SystemClock())
            running = asyncio.create_task(gateway.run())
            await until(lambda: any(it.type == "DBIRTH" for it in record.heard), "its meter is born")
            gateway.stop.set()
            await running
        await until(lambda: any(it.type == "NDEATH" for it in record.heard), "its death is told")
    host.close()
    assert {it.topic for it in record.heard if it.type in ("NBIRTH", "DBIRTH", "NDEATH")} == {
        "spBv1.0/Le-Bourg/NBIRTH/g1",
        "spBv1.0/Le-Bourg/DBIRTH/g1/m1",
        "spBv1.0/Le-Bourg/NDEATH/g1",
    }
    (birth,) = [tahu.read(it.payload) for it in record.heard if it.type == "DBIRTH"]
    metrics = {metric.name: metric for metric in birth.metrics}
    assert set(metrics) == set(site.devices["m1"].points)
    assert tahu.value(metrics["power"]) == 50.0
    assert tahu.properties(metrics["power"]) == {"engUnit": (12, "W"), "Quality": (3, 192)}
