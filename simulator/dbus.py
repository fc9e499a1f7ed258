"""A D-Bus that is its own only service: one unix socket that is at once the message bus and what answers on it.

There is no daemon and there are no other services: every call of a client goes to `Service.call`, every signal goes to
every client (clients filter by themselves, match rules are taken and not used). Any number of processes may connect.
The wire format is dbus-fast's, of which two private functions are used: hence the exact pin of its version.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

from dbus_fast import Message, MessageType
from dbus_fast._private.unmarshaller import Unmarshaller

_BUS = "org.freedesktop.DBus"
_GUID = "67756574" * 4
_MAX_MESSAGE = 1 << 20
_MAX_BACKLOG = 1 << 20
_LOGIN_S = 5.0
_log = logging.getLogger(__name__)

Body = tuple[str, list[Any]]
"""Signature and values of a reply."""


class DbusError(Exception):
    """A call fails. `name` is the D-Bus error name, such as org.bluez.Error.Failed."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text)
        self.name, self.text = name, text


class Service(Protocol):
    """What answers on the bus."""

    async def call(self, message: Message) -> Body:
        """Answers a method call; raises DbusError to refuse it."""
        ...

    def signalled(self, message: Message) -> None:
        """A client sent a signal."""
        ...

    def gone(self, client: str) -> None:
        """A client went away."""
        ...


@dataclass(slots=True)
class _Client:
    name: str
    writer: asyncio.StreamWriter


class Bus:
    """The bus on the unix socket `path`, inside `async with`.

    dropped: signals not sent, because the client does not read.
    """

    def __init__(self, path: str, service: Service) -> None:
        self.path = path
        self.service = service
        self.dropped = 0
        self._clients: dict[str, _Client] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._names = self._serial = 0
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """What DBUS_SYSTEM_BUS_ADDRESS must say."""
        return f"unix:path={self.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        running = [*self._connections, *self._calls]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        Path(self.path).unlink(missing_ok=True)

    def emit(self, path: str, interface: str, member: str, signature: str, body: Sequence[Any]) -> None:
        """A signal to every client."""
        message = Message.new_signal(path, interface, member, signature, list(body))
        data = self._marshalled(message, "org.bluez")
        for client in self._clients.values():
            if client.writer.transport.get_write_buffer_size() > _MAX_BACKLOG:
                self.dropped += 1
            else:
                client.writer.write(data)

    def tell(self, client: str, path: str, interface: str, member: str) -> None:
        """Calls a method without arguments of an object that a client exports; its answer does not matter."""
        if (there := self._clients.get(client)) is not None:
            message = Message(destination=client, path=path, interface=interface, member=member)
            there.writer.write(self._marshalled(message, "org.bluez"))

    def _marshalled(self, message: Message, sender: str) -> bytes:
        self._serial += 1
        message.serial, message.sender = self._serial, sender
        return bytes(message._marshall(False))  # noqa: SLF001 - the only way to the wire format; see the pin

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._names += 1
        client = _Client(f":1.{self._names}", writer)
        try:
            async with asyncio.timeout(_LOGIN_S):
                await _log_in(reader, writer)
            self._clients[client.name] = client
            while True:
                self._take(client, await _read_message(reader))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError):
            pass
        except asyncio.CancelledError:
            pass  # the bus is closing; a cancelled handler would be reported by asyncio as an error
        finally:
            self._connections.discard(task)
            if self._clients.pop(client.name, None):
                self.service.gone(client.name)
            writer.close()

    def _take(self, client: _Client, message: Message) -> None:
        message.sender = client.name
        if message.message_type is MessageType.SIGNAL:
            self.service.signalled(message)
        elif message.message_type is MessageType.METHOD_CALL:
            # A task for each call: one that is slow (a connection) must not keep the next waiting.
            call = asyncio.create_task(self._answer(client, message))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _answer(self, client: _Client, message: Message) -> None:
        sender = "org.bluez"
        try:
            if message.interface == _BUS:
                sender = _BUS
                reply = Message.new_method_return(message, *_bus_call(message, client.name))
            else:
                reply = Message.new_method_return(message, *await self.service.call(message))
        except DbusError as error:
            reply = Message.new_error(message, error.name, error.text)
        except Exception as error:  # noqa: BLE001 - a caller must get an answer, whatever broke
            _log.exception("simulated D-Bus: %s.%s", message.interface, message.member)
            reply = Message.new_error(message, "org.freedesktop.DBus.Error.Failed", repr(error))
        client.writer.write(self._marshalled(reply, sender))


def _bus_call(message: Message, client: str) -> Body:
    """The bus's own methods, as far as clients use them."""
    match message.member:
        case "Hello":
            return "s", [client]
        case "AddMatch" | "RemoveMatch":
            return "", []
        case "GetNameOwner":
            return "s", ["org.bluez"]
        case "NameHasOwner":
            return "b", [True]
    raise DbusError("org.freedesktop.DBus.Error.UnknownMethod", f"{message.interface}.{message.member}")


async def _log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The SASL dialogue of the D-Bus specification. Everybody is let in: the socket's file rights are the door."""
    await reader.readexactly(1)
    while True:
        line = (await reader.readuntil(b"\r\n")).strip()
        if line.startswith(b"AUTH"):
            writer.write(b"OK " + _GUID.encode() + b"\r\n")
        elif line == b"NEGOTIATE_UNIX_FD":
            writer.write(b"AGREE_UNIX_FD\r\n")
        elif line == b"BEGIN":
            return
        else:
            writer.write(b"ERROR\r\n")


async def _read_message(reader: asyncio.StreamReader) -> Message:
    """One message, by the two lengths of its fixed header. Raises ValueError when it is none."""
    head = await reader.readexactly(16)
    order: Literal["little", "big"] = "little" if head[:1] == b"l" else "big"
    body = int.from_bytes(head[4:8], order)
    fields = int.from_bytes(head[12:16], order)
    if body + fields > _MAX_MESSAGE:
        raise ValueError(f"D-Bus message: expected at most {_MAX_MESSAGE} bytes, got {body + fields}")
    rest = await reader.readexactly((fields + 7) // 8 * 8 + body)
    # Any stream that can be read will do, though its annotation asks for a socket's.
    try:
        message = Unmarshaller(cast("Any", io.BytesIO(head + rest))).unmarshall()
    except Exception as error:  # whatever foreign bytes do to a parser that is not ours
        raise ValueError(f"D-Bus message: {error}") from error
    if message is None:
        raise ValueError("D-Bus message: incomplete")
    return message
