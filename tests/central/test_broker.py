"""The embedded broker: it starts, it says why when it cannot, it keeps what it took."""

import asyncio
import socket
import stat
from pathlib import Path

import nats
import pytest

from central.broker import HOST, Broker
from central.errors import BrokerError


async def test_it_listens_on_loopback_only_and_ends_with_its_context(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        settings = broker.configuration()
        assert settings["listen"] == f"127.0.0.1:{broker.nats_port}"
        assert settings["mqtt"]["listen"] == f"127.0.0.1:{broker.mqtt_port}"
        client = await nats.connect(broker.nats_url)
        await client.close()
        assert broker.pid is not None
    assert broker.pid is None
    with pytest.raises(OSError):
        socket.create_connection((HOST, broker.mqtt_port), timeout=0.5)


async def test_it_keeps_ports_and_log_through_a_kill(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        urls = broker.nats_url, broker.mqtt_url
        client = await nats.connect(broker.nats_url)
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", b"word")
        await client.close()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        assert (broker.nats_url, broker.mqtt_url) == urls
        client = await nats.connect(broker.nats_url)
        assert (await client.jetstream().stream_info("kept")).state.messages == 1
        await client.close()


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port}: expected a free port"):
            async with Broker(tmp_path, mqtt_port=port):
                pass


async def test_a_folder_that_cannot_be_used_is_said_with_the_brokers_own_words(tmp_path: Path) -> None:
    (tmp_path / "jetstream").write_text("a file where a folder should be")
    with pytest.raises(BrokerError, match="its log says"):
        async with Broker(tmp_path):
            pass


async def test_passwords_are_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    async with Broker(tmp_path, gateways={"g1": "secret"}, ingester="master") as broker:
        assert stat.S_IMODE((tmp_path / "nats.conf").stat().st_mode) == 0o600
        with socket.create_connection((HOST, broker.nats_port), timeout=5) as stranger:
            assert b'"auth_required":true' in stranger.recv(4096)
            stranger.sendall(b"CONNECT {}\r\nPING\r\n")
            assert b"Authorization Violation" in stranger.recv(4096)
        client = await nats.connect(broker.nats_url)
        await client.close()
