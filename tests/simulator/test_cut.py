"""The cut: traffic goes through, stops dead, and goes through again on the same port. Real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulator.cut import Cut


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.readexactly(len(data))
    finally:
        writer.close()


async def test_bytes_go_through_both_ways() -> None:
    data = bytes(range(256)) * 4000
    async with echo() as target, Cut(target) as cut:
        assert not cut.is_cut
        assert await asked(cut.port, data) == data


async def test_a_cut_drops_what_is_open_and_refuses_what_is_new() -> None:
    async with echo() as target, Cut(target) as cut:
        reader, writer = await asyncio.open_connection("127.0.0.1", cut.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await cut.cut()
        assert cut.is_cut
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", cut.port)


async def test_what_is_held_is_under_way_until_it_is_mended_or_lost() -> None:
    async with echo() as target, Cut(target) as cut:
        reader, writer = await asyncio.open_connection("127.0.0.1", cut.port)
        cut.hold()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.readexactly(4)
        await cut.mend()
        async with asyncio.timeout(5):
            assert await reader.readexactly(4) == b"held"
        cut.hold()
        writer.write(b"lost")
        await asyncio.sleep(0.1)
        await cut.cut()
        await cut.mend()
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        assert await asked(cut.port, b"new") == b"new"


async def test_it_comes_back_on_the_same_port() -> None:
    async with echo() as target, Cut(target) as cut:
        port = cut.port
        for _ in range(3):
            await cut.cut()
            await cut.cut()
            await cut.mend()
            await cut.mend()
            assert cut.port == port
            assert await asked(port, b"again") == b"again"


async def test_a_platform_that_is_not_there_is_a_connection_that_ends() -> None:
    async with echo() as target:
        pass
    async with Cut(target) as cut:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asked(cut.port, b"nobody")


async def test_nothing_is_left_behind() -> None:
    async with echo() as target, Cut(target) as cut:
        connections = [await asyncio.open_connection("127.0.0.1", cut.port) for _ in range(5)]
        await asyncio.gather(*(reader.read(0) for reader, _ in connections))
    for _, writer in connections:
        writer.close()
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
