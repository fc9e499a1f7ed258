"""`ack = "broker"` on a real broker of MQTT 5 that nobody here wrote: mosquitto, where it is installed."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from gateway.clock import SystemClock
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink
from tests.gateway.test_store import NOW_S, a_summary

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin") or shutil.which("mosquitto")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="mosquitto is not installed here (apt install mosquitto): MQTT 5 is tried with our own only"
)
PACE = Pace(window=20, urgent=4, resend_s=0.3, retry_s=0.05, retry_max_s=0.2, connect_s=5.0)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {number} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([str(PROGRAM), "-c", str(settings)], stderr=subprocess.DEVNULL)
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


def listener(port: int, heard: list[dict[str, object]]) -> Client:
    """A foreign platform: subscribes at QoS 1 with MQTT 5."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
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
