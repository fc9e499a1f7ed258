"""`ack = "broker"` on a real broker of MQTT 5 that nobody here wrote: mosquitto, where it is installed."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from central.configure import configure
from gateway.clock import SystemClock
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink
from tests.gateway.test_store import NOW_S, a_summary

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin") or shutil.which("mosquitto")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="mosquitto is not installed here (apt install mosquitto): MQTT 5 is tried with our own only"
)
PLATFORMS = Path(__file__).parents[3] / "docs" / "platforms"
PACE = Pace(window=20, urgent=4, resend_s=0.3, retry_s=0.05, retry_max_s=0.2, connect_s=5.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def mosquitto(folder: Path, settings: str, number: int) -> AsyncIterator[int]:
    (folder / "here.conf").write_text(settings)
    process = subprocess.Popen([str(PROGRAM), "-c", "here.conf"], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", number), 1).close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield number
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    number = free_port()
    settings = f"listener {number} 127.0.0.1\nallow_anonymous true\npersistence false\n"
    async with mosquitto(tmp_path, settings, number) as running:
        yield running


def listener(port: int, heard: list[dict[str, object]], certificates: Path | None = None) -> Client:
    """A foreign platform: subscribes at QoS 1 with MQTT 5."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    if certificates is not None:
        files = (str(certificates / name) for name in ("authority.pem", "certificate.pem", "key.pem"))
        client.tls_set(*files)
    subscribed = []
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.on_message = lambda _client, _data, message: heard.append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.subscribe("guet/v1/+/summary", qos=1)
    while not subscribed:
        client.loop(0.1)
    client.loop_start()
    return client


async def test_what_nobody_was_there_to_receive_stays_and_goes_once_somebody_is(tmp_path: Path, port: int) -> None:
    async with Store.open(tmp_path / "store", SystemClock()) as store:
        for number in range(60):
            store.add_summary(a_summary(number))
        store.put("status", NOW_S, {})
        await store.flush()
        uplink = Uplink(store, "g1", Upstream(url=f"mqtt://127.0.0.1:{port}", ack="broker"), SystemClock(), PACE)
        lane = asyncio.create_task(uplink.run())
        try:
            async with asyncio.timeout(30):
                # Every PUBACK said 0x10, "no matching subscribers".
                while uplink.counters.undelivered < 40:
                    await asyncio.sleep(0.02)
                assert uplink.outbox.pending_rows() == 61
                assert uplink.counters.acknowledged == 0
                heard: list[dict[str, object]] = []
                client = await asyncio.to_thread(listener, port, heard)
                while uplink.outbox.pending_rows() > 1:
                    await asyncio.sleep(0.02)
                client.loop_stop()
        finally:
            lane.cancel()
            await asyncio.gather(lane, return_exceptions=True)
        # Of the status nobody wanted to hear.
        assert [kind for (kind,) in store.rows("select kind from outbox")] in (["status"], [])
        assert uplink.outbox.pending_rows() == 1
        assert {body["seq"] for body in heard} == set(range(1, 61))


async def test_the_worked_configuration_knows_each_gateway_by_its_certificate(tmp_path: Path) -> None:
    centre, number = tmp_path / "centre", free_port()
    configure(centre, ["127.0.0.1"], ["g1", "g2"])
    place = centre / "node-1"
    shutil.copy(PLATFORMS / "mosquitto.acl", place)
    (place / "mosquitto.acl").chmod(0o644)
    settings = (PLATFORMS / "mosquitto.conf").read_text().replace("listener 8883", f"listener {number} 127.0.0.1")
    if os.geteuid() == 0:
        settings += "user root\n"  # else it may not read a folder that is only ours
    gateways = centre / "gateways"
    url = f"mqtts://127.0.0.1:{number}"

    def as_(who: str) -> Upstream:
        files = {"ca": "authority.pem", "certificate": "certificate.pem", "key": "key.pem"}
        own = {name: str(gateways / who / file) for name, file in files.items()}
        return Upstream(url=url, ack="broker", **own)

    async with (
        mosquitto(place, settings, number),
        Store.open(tmp_path / "store", SystemClock()) as store,
        Store.open(tmp_path / "other", SystemClock()) as other,
    ):
        heard: list[dict[str, object]] = []
        client = await asyncio.to_thread(listener, number, heard, centre / "ingester")
        store.add_summary(a_summary(1))
        other.add_summary(a_summary(2))
        await store.flush()
        await other.flush()
        honest = Uplink(store, "g1", as_("g1"), SystemClock(), PACE)
        forger = Uplink(other, "g1", as_("g2"), SystemClock(), PACE)
        stranger = Uplink(other, "g1", Upstream(url=url, ack="broker", ca=str(gateways / "g1" / "authority.pem")),
                          SystemClock(), PACE)  # fmt: skip
        for uplink, done in (
            (forger, lambda: forger.counters.undelivered > 0),  # 0x87, not authorized
            (stranger, lambda: stranger.trouble != ""),
            (honest, lambda: honest.outbox.pending_rows() == 0),
        ):
            lane = asyncio.create_task(uplink.run())
            async with asyncio.timeout(20):
                while not done():
                    await asyncio.sleep(0.02)
            lane.cancel()
            await asyncio.gather(lane, return_exceptions=True)
        client.loop_stop()
        assert stranger.counters.sessions == 0
        assert other.rows("select count(*) from outbox") == [(1,)]
        assert [(body["gateway"], body["device"]) for body in heard] == [("g1", "pump")]
        assert {body["time"] for body in heard} == {a_summary(1).as_json()["time"]}
