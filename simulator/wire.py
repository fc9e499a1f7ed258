"""A connection that never leaves memory: what one end writes, the other receives in the loop's next turn, always."""

from __future__ import annotations

import asyncio
from typing import Any

Either = asyncio.Protocol | asyncio.BufferedProtocol


class Wire(asyncio.Transport):
    """One end. `Wire.connect` makes both."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Either) -> None:
        super().__init__({"socket": _Socket()})
        self._loop, self._protocol, self._open = loop, protocol, True
        self._other: Wire

    @classmethod
    def connect(cls, loop: asyncio.AbstractEventLoop, client: Either, server: Either) -> asyncio.Transport:
        """The client's end."""
        ours, theirs = cls(loop, client), cls(loop, server)
        ours._other, theirs._other = theirs, ours
        server.connection_made(theirs)
        client.connection_made(ours)
        return ours

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._open:
            self._loop.call_soon(self._other.arrive, bytes(data))

    def arrive(self, data: bytes) -> None:
        if not self._open:
            return
        if isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(data)
            return
        while data:
            room = memoryview(self._protocol.get_buffer(len(data)))
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self._protocol.buffer_updated(count)
            data = data[count:]

    def is_closing(self) -> bool:
        return not self._open

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self._other.lost)

    def lost(self) -> None:
        if self._open:
            self._open = False
            self._protocol.connection_lost(ConnectionResetError("the other end has gone"))


class _Socket:
    """Takes settings that mean nothing here."""

    def setsockopt(self, *_: Any) -> None:
        return
