"""The TCP link against real sockets: pymodbus's own server, ours with faults, and what networks do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.codec import Ask, Limits, Span
from gateway.codec.modbus import ModbusPlace, Rtu, Tcp
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.link import tcp
from gateway.link.tcp import SILENCES_BEFORE_RECONNECT, TcpLink
from gateway.poll import run
from simulator.modbus import TCP_FAULT_KINDS, Device, Table, TcpFault, TcpServer

LIMITS = Limits(patience_s=0.05)
SPAN = Span(3, 0, 4, {})
GOOD = bytes.fromhex("0064 0065 0066 0067")


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs no allowance for a slow network."""
    monkeypatch.setattr(tcp, "NETWORK_S", 0.1)


@pytest.fixture
async def server() -> AsyncIterator[TcpServer]:
    cells = Table({"holding": {at: 100 + at for at in range(64)}})
    async with TcpServer("127.0.0.1", 0, [Device(unit, cells, 0) for unit in (1, 2)]) as it:
        yield it


@pytest.fixture
async def link(server: TcpServer) -> AsyncIterator[TcpLink]:
    it = TcpLink("127.0.0.1", server.port)
    yield it
    await it.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A server of that handler on a port of its own; on leaving, waits until its connections have ended."""
    running = set[asyncio.Task[None] | None]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(2):
        await asyncio.gather(*(task for task in running if task))


async def read(link: TcpLink, codec: Rtu | Tcp, unit: int = 1, span: Span = SPAN) -> bytes:
    return await run(link, codec.read(unit, span, LIMITS))


async def test_one_connection_serves_many_units_and_exchanges(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    for turn in range(50):
        assert await read(link, codec, 1 + turn % 2) == GOOD
    assert (server.connections, link.traffic.answers, link.traffic.reopened) == (1, 50, 0)


async def test_answers_that_come_in_parts_are_not_mixed_between_connections() -> None:
    """All connections share the memory that the event loop reads into."""

    async def by_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = await reader.readexactly(2)
        unit = (await reader.readexactly(10))[4]
        for byte in number + bytes([0, 0, 0, 11, unit, 3, 8]) + bytes([unit]) * 8:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async with serving(by_bytes) as port:
        links = [TcpLink("127.0.0.1", port) for _ in range(8)]
        got = await asyncio.gather(*(read(link, Tcp(), unit) for unit, link in enumerate(links, 1)))
        assert got == [bytes([unit]) * 8 for unit in range(1, 9)]
        for link in links:
            await link.close()


async def test_pymodbus_own_server_is_read_and_written() -> None:
    device = SimDevice(id=3, simdata=[SimData(0, values=[11, 22, 33], datatype=DataType.REGISTERS)])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ModbusTcpServer([device], address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    link, codec = TcpLink("127.0.0.1", port), Tcp()
    place = ModbusPlace.model_validate({"register": "holding", "address": 1})
    assert await read(link, codec, 3, Span(3, 0, 3, {})) == bytes.fromhex("000B 0016 0021")
    await run(link, codec.write(3, place, b"\x12\x34", LIMITS))
    await run(link, codec.write(3, place, b"\x12\x34\x56\x78", LIMITS))
    assert await read(link, codec, 3, Span(3, 0, 3, {})) == bytes.fromhex("000B 1234 5678")
    with pytest.raises(Refused) as no:
        await read(link, codec, 3, Span(3, 500, 2, {}))
    assert no.value.code == 2
    await link.close()
    await server.shutdown()  # type: ignore[no-untyped-call] # pymodbus


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (TcpFault("reset"), LinkError),
        (TcpFault("silent"), NoAnswer),
        (TcpFault("late", by_s=0.3), NoAnswer),
        (TcpFault("split"), None),
        (TcpFault("transaction"), GarbledAnswer),
        (TcpFault("stale"), None),
        (TcpFault("twice"), None),
        (TcpFault("foreign"), GarbledAnswer),
        (TcpFault("exception", code=6), Refused),
        (TcpFault("garbage"), GarbledAnswer),
    ],
    ids=lambda value: value.kind if isinstance(value, TcpFault) else "",
)
async def test_a_fault_is_told_apart_and_over_with_its_exchange(
    server: TcpServer, link: TcpLink, fault: TcpFault, outcome: type[BusError] | None
) -> None:
    codec = Tcp()
    assert await read(link, codec, span=Span(3, 8, 4, {})) != GOOD
    server.faults.add(fault)
    if outcome is None:
        assert await read(link, codec) == GOOD
    else:
        with pytest.raises(outcome):
            await read(link, codec)
    assert server.faults.happened == {fault.kind: 1}
    for _ in range(3):
        assert await read(link, codec) == GOOD


def test_the_table_above_has_every_fault_there_is() -> None:
    (marked,) = test_a_fault_is_told_apart_and_over_with_its_exchange.pytestmark  # type: ignore[attr-defined] # pytest's
    assert {fault.kind for fault, _ in marked.args[1]} == set(TCP_FAULT_KINDS) - {"half_open", "vanished"}


async def test_a_connection_that_will_never_answer_again_is_given_up(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    assert await read(link, codec) == GOOD
    server.faults.add(TcpFault("half_open"))
    for _ in range(3):
        with pytest.raises(NoAnswer):
            await read(link, codec)
    assert await read(link, codec) == GOOD
    assert (link.traffic.reopened, server.faults.happened) == (1, {"half_open": 1})


async def test_a_device_that_vanished_is_silent_then_unreachable_then_back(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    server.faults.add(TcpFault("vanished", by_s=3600))
    for _ in range(3):
        with pytest.raises(NoAnswer):
            await read(link, codec)
    with pytest.raises(LinkError):
        await read(link, codec)
    server.vanish(0.0)
    await asyncio.sleep(0.01)
    assert await read(link, codec) == GOOD


async def test_a_late_answer_is_stepped_over_on_the_same_connection(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    server.faults.add(TcpFault("late", by_s=0.2))
    with pytest.raises(NoAnswer):
        await read(link, codec, span=Span(3, 8, 4, {}))
    for _ in range(20):
        assert await read(link, codec) == GOOD
        await asyncio.sleep(0.005)
    assert server.connections == 1
    assert link.traffic.stray_bytes in (0, 17), "between two exchanges, or in front of an answer"


async def test_after_garbage_the_connection_is_made_anew(server: TcpServer, link: TcpLink) -> None:
    """Where the next frame begins is no longer known."""
    server.faults.add(TcpFault("garbage"))
    with pytest.raises(GarbledAnswer):
        await read(link, Tcp())
    assert await read(link, Tcp()) == GOOD
    assert server.connections == 2


async def test_an_absent_unit_behind_a_gateway_is_said_at_once(link: TcpLink) -> None:
    with pytest.raises(NoAnswer, match="target device failed to respond"):
        await read(link, Tcp(), 77)


async def test_after_some_silences_in_a_row_the_connection_is_made_anew(server: TcpServer, link: TcpLink) -> None:
    """A cable pulled out of a far switch looks like this: no error, only nothing."""
    codec = Tcp()
    server.faults.add(*[TcpFault("silent")] * SILENCES_BEFORE_RECONNECT)
    for _ in range(SILENCES_BEFORE_RECONNECT):
        with pytest.raises(NoAnswer):
            await read(link, codec)
    assert await read(link, codec) == GOOD
    assert (server.connections, link.traffic.reopened, link.traffic.silences) == (2, 1, SILENCES_BEFORE_RECONNECT)


async def test_a_server_that_restarts_is_found_again(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    await read(link, codec)
    server.drop_all()
    await asyncio.sleep(0.02)
    assert await read(link, codec) == GOOD
    assert link.traffic.reopened == 1


async def test_where_nobody_listens_it_is_said_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LinkError, match=f"127.0.0.1:{port}: cannot connect"):
        await read(TcpLink("127.0.0.1", port), Tcp())


async def test_connecting_has_a_limit() -> None:
    """A listener whose queue is full answers no more."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        link = TcpLink("127.0.0.1", full.getsockname()[1], connect_s=0.2)
        with pytest.raises(LinkError, match=r"no connection within 0\.2 s"):
            await read(link, Tcp())
        for one in waiting:
            one.close()


async def test_closing_twice_is_allowed_and_fails_who_waits(server: TcpServer, link: TcpLink) -> None:
    codec = Tcp()
    server.faults.add(TcpFault("silent"))
    waiting = asyncio.ensure_future(read(link, codec))
    await asyncio.sleep(0.02)
    await link.close()
    await link.close()
    with pytest.raises(LinkError):
        await waiting


async def test_exchanges_asked_for_at_once_take_turns(link: TcpLink) -> None:
    codec = Tcp()
    spans = [Span(3, at, 1, {}) for at in range(30)]
    got = await asyncio.gather(*(read(link, codec, 1, span) for span in spans))
    assert got == [bytes((0, 100 + at)) for at in range(30)]


async def test_a_flood_ends_the_exchange_and_keeps_memory_bounded() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes.fromhex("7777 0000 0005 01 03 02 0000") * 100)
            await writer.drain()

    async with serving(flood) as port:
        link = TcpLink("127.0.0.1", port)
        with pytest.raises(GarbledAnswer, match="no answer among them") as error:
            await read(link, Tcp())
        assert len(error.value.raw) <= tcp.MAX_ANSWER
        await link.close()


class Converter:
    """RTU frames over TCP, as a serial converter passes them on. `late_s`: how late each answer is, in turn."""

    def __init__(self, device: Device) -> None:
        self.device, self.late_s, self.connections = device, list[float](), 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        loop = asyncio.get_running_loop()
        while frame := await reader.read(256):
            if answer := self.device.answer(frame):
                loop.call_later(self.late_s.pop(0) if self.late_s else 0, writer.write, answer)


async def test_rtu_over_tcp_never_takes_a_late_answer() -> None:
    converter = Converter(Device(1, Table({"holding": {at: 100 + at for at in range(64)}})))
    async with serving(converter.serve) as port:
        link, codec, right = TcpLink("127.0.0.1", port, numbered=False), Rtu(), 0
        assert await read(link, codec) == GOOD
        converter.late_s = [0.175, 0, 0.3]
        for turn in range(9):
            span = Span(3, 4 * (turn % 3), 4, {})
            try:
                got = await read(link, codec, span=span)
            except (NoAnswer, GarbledAnswer):
                continue
            assert got == b"".join(bytes((0, 100 + at)) for at in range(span.first, span.first + 4))
            right += 1
        assert right >= 5
        await link.close()


async def test_a_caller_that_gives_up_on_an_unnumbered_answer_drops_the_connection() -> None:
    converter = Converter(Device(1, Table({"holding": {at: 100 + at for at in range(64)}})))
    async with serving(converter.serve) as port:
        link = TcpLink("127.0.0.1", port, numbered=False)
        converter.late_s = [0.05]
        waiting = asyncio.ensure_future(link.exchange(Ask(b"\x01\x03\x00\x00\x00\x01\x84\x0a", len, 7, 1)))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await read(link, Rtu()) == GOOD
        assert converter.connections == 2
        await link.close()
