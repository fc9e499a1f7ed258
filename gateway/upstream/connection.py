"""One MQTT connection on the event loop, over paho: it is opened, used and closed once.

paho keeps for a reconnection what it counts wrongly there, so every connection is a new client. Only connecting, which
blocks, has a thread.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.errors import SiteError, UplinkError
from gateway.site import LOOPBACK, Upstream

if TYPE_CHECKING:
    from paho.mqtt.client import Client


class Connection:
    """See the module. wake: set when it is over. Who owns it sets on_connect, on_subscribe, on_message and on_publish of the
    client, which are called on the event loop's thread, and says `accept` or `fail` there."""

    def __init__(self, client: Client, host: str, port: int, connect_s: float, wake: asyncio.Event) -> None:
        self.client, self._host, self._port, self._connect_s, self._wake = client, host, port, connect_s, wake
        self.over = asyncio.Event()
        self.why = ""
        """Why it is over."""
        self._answered = asyncio.Event()
        self._running = False
        self._ticking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

        def on_disconnect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self.fail(self.why or str(reason))

        client.on_disconnect = on_disconnect
        client.on_socket_register_write, client.on_socket_unregister_write = self._write, self._written
        client.on_socket_close = self._closing

    def accept(self) -> None:
        """All that was asked for at the beginning is granted."""
        self._answered.set()

    def fail(self, why: str) -> None:
        """It is over."""
        self.why = why
        self.over.set()
        self._answered.set()
        self._wake.set()

    async def open(self, keepalive_s: int) -> None:
        """TCP, TLS, and CONNECT on its way. Raises UplinkError, OSError."""
        await self._connect(keepalive_s)
        # Only now, and on this thread: paho has queued its CONNECT and asked for a writer that was not there yet.
        self._running = True
        sock = self.client.socket()
        if sock is None:
            raise UplinkError(f"{self._host}:{self._port}: the connection was closed at once")
        self._loop.add_reader(sock, self._read)
        self._loop.add_writer(sock, self.client.loop_write)
        self._ticking = self._loop.create_task(_tick(self.client, keepalive_s / 6), name="mqtt keep-alive")

    async def _connect(self, keepalive_s: int) -> None:
        """In a thread, because paho does that blocking. A thread given up closes what it opened."""

        def give_up(done: asyncio.Future[Any]) -> None:
            if not done.cancelled():
                done.exception()
            _shut(self.client)

        work = asyncio.to_thread(self.client.connect, self._host, self._port, keepalive_s)
        connecting = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(self._connect_s):
                await asyncio.shield(connecting)
        except TimeoutError:
            connecting.add_done_callback(give_up)
            raise UplinkError(f"{self._host}:{self._port}: expected an answer within {self._connect_s:.0f} s") from None
        except asyncio.CancelledError:
            connecting.add_done_callback(give_up)
            raise

    async def answered(self) -> None:
        """Waits until it is accepted. Raises UplinkError when it is refused or nothing comes."""
        try:
            async with asyncio.timeout(self._connect_s):
                await self._answered.wait()
        except TimeoutError:
            raise UplinkError(f"{self._host}:{self._port}: expected CONNACK within {self._connect_s:.0f} s") from None
        if self.over.is_set():
            raise UplinkError(f"{self._host}:{self._port}: refused: {self.why}")

    def close(self) -> None:
        """Says goodbye if there is still somebody to hear it."""
        if self._ticking is not None:
            self._ticking.cancel()
        self.client.disconnect()
        self.client.loop_write()
        self._detach()
        _shut(self.client)

    def _detach(self) -> None:
        if (sock := self.client.socket()) is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _read(self) -> None:
        try:
            self.client.loop_read()
            # What TLS has already deciphered does not make the socket readable again.
            while isinstance(sock := self.client.socket(), ssl.SSLSocket) and sock.pending():
                self.client.loop_read()
        except Exception as error:  # noqa: BLE001 - whatever a broker's bytes do to paho ends this connection, no more
            self._detach()
            self.fail(f"it sent what is no MQTT: {error!r}")

    def _write(self, _client: Client, _data: Any, sock: Any) -> None:
        if self._running:
            self._loop.add_writer(sock, self.client.loop_write)

    def _written(self, _client: Client, _data: Any, sock: Any) -> None:
        if self._running:
            self._loop.remove_writer(sock)

    def _closing(self, _client: Client, _data: Any, sock: Any) -> None:
        if self._running:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)


def server_of(upstream: Upstream) -> tuple[str, int, ssl.SSLContext | None]:
    """Host, port, and how to be sure whom we speak to. Raises SiteError for what must not or cannot be used."""
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    if parts.scheme == "mqtt":
        if host not in LOOPBACK:
            wrong = f"expected 'mqtts://...' to reach {host!r}, got plain 'mqtt://', which is for this machine only"
            raise SiteError([f"[upstream] url: {wrong}"])
        return host, parts.port or 1883, None
    if parts.scheme != "mqtts" or not host:
        raise SiteError([f"[upstream] url: expected 'mqtts://host:port', got {upstream.url!r}"])
    try:
        context = ssl.create_default_context(cafile=upstream.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if upstream.certificate:
            context.load_cert_chain(upstream.certificate, upstream.key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(name for name in (upstream.ca, upstream.certificate, upstream.key) if name)
        wrong = f"expected PEM files that belong together, got {files}: {error}"
        raise SiteError([f"[upstream] ca, certificate, key: {wrong}"]) from error
    return host, parts.port or 8883, context


def password_of(upstream: Upstream) -> str:
    """What is in its file, if it has one. Raises SiteError."""
    if not upstream.password_file:
        return ""
    try:
        return Path(upstream.password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SiteError([f"[upstream] password_file: expected a file that can be read, got: {error}"]) from error


def new_client(
    name: str, tls: ssl.SSLContext | None, user: str, password: str, connect_s: float, *, version_5: bool = False
) -> Client:
    """A client that begins with nothing remembered and never connects again by itself. version_5: MQTT 5, not 3.1.1."""
    from paho.mqtt.client import Client, MQTTv5, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        clean_session=None if version_5 else True,
        protocol=MQTTv5 if version_5 else MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = connect_s / 2
    if tls is not None:
        client.tls_set_context(tls)
    if user:
        client.username_pw_set(user, password or None)
    return client


async def _tick(client: Client, every_s: float) -> None:
    """Keep-alive."""
    while True:
        await asyncio.sleep(every_s)
        client.loop_misc()


def _shut(client: Client) -> None:
    """Close the socket now, whatever state paho thinks it is in."""
    if (sock := client.socket()) is not None:
        sock.close()
