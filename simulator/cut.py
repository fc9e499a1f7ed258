"""A way to the platform that can be cut: a TCP relay on loopback, which a scenario closes and opens again."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Cut:
    """Relays 127.0.0.1:`port` to 127.0.0.1:`target`, which may change. While it is cut, connections are reset and new ones
    refused; while it is held, they stand and nothing comes through."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.is_cut = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._through = asyncio.Event()
        self._through.set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Lets the traffic through (again), on the same port."""
        self._through.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        self.is_cut = False

    def hold(self) -> None:
        """Lets nothing through until mended; what is under way is lost if it is cut meanwhile."""
        self._through.clear()

    async def cut(self) -> None:
        """Drops every connection at once and refuses new ones."""
        self.is_cut = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(far_writer)
        both = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        self._tasks.update(both)
        for task in both:
            task.add_done_callback(self._tasks.discard)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        for end in (writer, far_writer):
            self._open.discard(end)
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._through.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
