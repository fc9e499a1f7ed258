"""A TCP connection to a device, a Modbus TCP gateway, or a converter that passes serial bytes on.

It connects on first use, and again after it was lost. A connection whose other end is gone without a word (half-open)
shows only as silence, so a few silences in a row close it too.
"""

from __future__ import annotations

import asyncio
import socket

from gateway.codec import Ask
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer
from gateway.link import Traffic

CONNECT_S = 3.0
NETWORK_S = 0.2
"""Allowed for the way there and back, on top of the device's own patience: a slow radio bridge."""
SILENCES_BEFORE_RECONNECT = 3
MAX_ANSWER = 4096
"""Bytes kept of what comes during one exchange."""
_ARRIVED = bytearray(MAX_ANSWER)
"""Where the event loop puts what came, for all connections: each takes its bytes out at once. A plain `asyncio.Protocol`
would have 256 KiB fetched from the kernel, and given back, for every answer of 29 bytes."""


class TcpLink:
    """One connection, one exchange at a time.

    numbered: answers carry the number of their request (Modbus TCP), so that a late one is known and stepped over.
        Where they do not (RTU over TCP), a silence is followed by as long a wait for the late answer, as on a serial
        line.
    """

    def __init__(self, host: str, port: int, *, numbered: bool = True, connect_s: float = CONNECT_S) -> None:
        self.host, self.port = host, port
        self.traffic = Traffic()
        self._numbered, self._connect_s = numbered, connect_s
        self._turn = asyncio.Lock()
        self._wire: _Wire | None = None
        self._connected = False
        self._silences = 0

    async def exchange(self, ask: Ask) -> bytes:
        async with self._turn:
            wire = self._wire
            if wire is None or wire.lost:
                wire = await self._connect()
            self.traffic.requests += 1
            try:
                answer = await wire.exchange(ask)
            except BusError as error:
                await self._after_failure(wire, ask, error)
                raise
            except asyncio.CancelledError:
                if not self._numbered:  # its answer could be taken for the next one's
                    wire.drop()
                raise
            self._silences = 0
            self.traffic.answers += 1
            return answer

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.drop()
            self._wire = None

    async def _connect(self) -> _Wire:
        where = f"{self.host}:{self.port}"
        try:
            async with asyncio.timeout(self._connect_s):
                _, self._wire = await asyncio.get_running_loop().create_connection(
                    lambda: _Wire(where, self.traffic), self.host, self.port
                )
        except TimeoutError:
            raise LinkError(
                f"{where}: no connection within {self._connect_s:g} s; check address, cable and firewall"
            ) from None
        except OSError as error:
            raise LinkError(f"{where}: cannot connect: {error.strerror or error}; check address and port") from None
        if self._connected:
            self.traffic.reopened += 1
        self._connected = True
        self._silences = 0
        return self._wire

    async def _after_failure(self, wire: _Wire, ask: Ask, error: BusError) -> None:
        if isinstance(error, GarbledAnswer):
            self.traffic.garbled += 1
            wire.drop()  # where the next frame begins is no longer known
        elif isinstance(error, NoAnswer):
            self.traffic.silences += 1
            self._silences += 1
            if not self._numbered:
                await asyncio.sleep(ask.patience_s)
            if self._silences >= SILENCES_BEFORE_RECONNECT:
                wire.drop()


class _Wire(asyncio.BufferedProtocol):
    """One connection, from made to lost."""

    def __init__(self, where: str, traffic: Traffic) -> None:
        self.lost = False
        self._where, self._traffic = where, traffic
        self._transport: asyncio.Transport | None = None
        self._ask: Ask | None = None
        self._outcome: asyncio.Future[bytes] | None = None
        self._received = b""
        self._due_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    async def exchange(self, ask: Ask) -> bytes:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._ask, self._received = ask, b""
        outcome: asyncio.Future[bytes] = loop.create_future()
        self._outcome = outcome
        self._due_s = due_s = loop.time() + ask.patience_s + NETWORK_S
        if self._alarm is None or self._alarm.when() > due_s:
            self._set_alarm(loop)
        self._transport.write(ask.request)
        try:
            return await outcome
        finally:
            self._ask = self._outcome = None

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for many exchanges: it is left to ring, and then finds out whether there is one that is too late."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(self._due_s, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        if self._outcome is None or self._outcome.done():
            return
        if self._due_s > loop.time():
            self._set_alarm(loop)
        else:
            self._too_late()

    def drop(self) -> None:
        """Closes without waiting for the other end."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        link = transport.get_extra_info("socket")
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return _ARRIVED

    def buffer_updated(self, nbytes: int) -> None:
        outcome, ask = self._outcome, self._ask
        if outcome is None or ask is None or outcome.done():
            self._traffic.stray_bytes += nbytes
            return
        self._received = received = self._received + _ARRIVED[:nbytes]
        try:
            length = ask.recognise(received)
        except GarbledAnswer as error:
            outcome.set_exception(error)
            return
        if length:
            self._traffic.stray_bytes += len(received) - length
            outcome.set_result(received[:length])
        elif len(received) > MAX_ANSWER:
            text = f"{self._where}: {len(received)} bytes and no answer among them"
            outcome.set_exception(GarbledAnswer(text, received[:MAX_ANSWER]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._outcome is not None and not self._outcome.done():
            reason = f": {exc}" if exc else ""
            self._outcome.set_exception(LinkError(f"{self._where}: the other end closed the connection{reason}"))

    def _too_late(self) -> None:
        if self._outcome is None or self._outcome.done() or self._ask is None:
            return
        ms = (self._ask.patience_s + NETWORK_S) * 1000
        if self._received:
            text = f"{self._where}: no whole answer within {ms:.0f} ms; does the device number its answers rightly?"
            self._outcome.set_exception(GarbledAnswer(text, self._received))
        else:
            text = f"{self._where}: no answer within {ms:.0f} ms; check power and unit id"
            self._outcome.set_exception(NoAnswer(text))
