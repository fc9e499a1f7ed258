"""Virtual time: waiting costs nothing, and threads cost no virtual time."""

import asyncio
import time

import pytest

from simulator.virtual_time import VirtualLoop, in_virtual_time
from simulator.wire import Wire


def test_a_month_passes_at_once() -> None:
    async def month() -> float:
        await asyncio.sleep(30 * 86_400)
        return asyncio.get_running_loop().time()

    began_s = time.monotonic()
    assert in_virtual_time(month()) == pytest.approx(30 * 86_400)
    assert time.monotonic() - began_s < 10


def test_after_years_the_shortest_waits_still_end() -> None:
    async def years() -> int:
        await asyncio.sleep(10 * 365.25 * 86_400 + 0.1)
        for number in range(1000):
            await asyncio.sleep(0.001 + number * 1e-7)
        return number

    assert in_virtual_time(years()) == 999


def test_time_stands_still_while_a_thread_works() -> None:
    async def work() -> tuple[float, str]:
        loop = asyncio.get_running_loop()
        ticking = asyncio.create_task(asyncio.sleep(0.01, "tick"))
        async with asyncio.timeout(0.02):
            await asyncio.to_thread(time.sleep, 0.1)
        assert not ticking.done()
        return loop.time(), await ticking

    now_s, said = in_virtual_time(work())
    assert now_s == 0.0
    assert said == "tick"


def test_time_goes_on_after_a_thread_that_failed_or_was_given_up() -> None:
    async def work() -> float:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        given_up = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.05))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(work()) == pytest.approx(3600)


def test_what_can_never_end_is_said() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is set to happen"):
        in_virtual_time(wait())


class Echo(asyncio.Protocol):
    """Says everything twice, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard, self.gone = b"", asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if data.isupper():
            self.transport.write(data.lower())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


def test_a_loop_that_is_alone_connects_its_own_protocols_in_memory() -> None:
    async def work() -> tuple[bytes, bytes, float]:
        loop = asyncio.get_running_loop()
        ends: list[Echo] = []
        server = await loop.create_server(lambda: ends.append(Echo()) or ends[-1], "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, client = await loop.create_connection(Echo, "127.0.0.1", port)
        assert isinstance(transport, Wire)
        transport.write(b"A")
        transport.write(b"B")
        await asyncio.sleep(1.0)
        ends[0].transport.abort()
        await client.gone.wait()
        assert transport.is_closing()
        transport.write(b"C")
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Echo, "127.0.0.1", port)
        assert await asyncio.to_thread(lambda: 7) == 7
        return client.heard, ends[0].heard, loop.time()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(alone=True)) as runner:
        assert runner.run(work()) == (b"ab", b"AB", pytest.approx(1.0))


def test_a_wait_that_is_too_short_for_a_float_ends_all_the_same() -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3e7)
        due_s = loop.time() + 1e-12
        waits = 0
        while due_s - 3e7 > (now_s := loop.time() - 3e7) - 1e-9 and waits < 100:
            await asyncio.sleep(1e-12)
            waits += 1
        assert waits < 100
        return now_s

    assert in_virtual_time(work()) < 1e-3
