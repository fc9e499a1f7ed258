"""The simulated servers, seen by pymodbus's clients: an independent reading of what they serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from simulator.line import Faults
from simulator.modbus import Area, Device, IllegalAddress, Refusal, Table, TcpFault, TcpServer


class Counting:
    """A register that is another at each read, and a command that is refused."""

    def __init__(self) -> None:
        self.reads = 0
        self.written: list[tuple[Area, int, list[int]]] = []

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if address + count > 10:
            raise IllegalAddress
        self.reads += 1
        return [self.reads] * count

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        if address == 9:
            raise Refusal(ExcCodes.DEVICE_BUSY)
        self.written.append((area, address, list(values)))


def table() -> Table:
    return Table(
        {
            "holding": {at: at * 3 for at in range(200)},
            "input": {0: 65535, 1: 1},
            "coil": {at: at % 3 == 0 for at in range(20)},
            "discrete": {at: at % 2 for at in range(20)},
        }
    )


@pytest.fixture
async def server() -> AsyncIterator[TcpServer]:
    units = [
        Device(1, table(), 0, {0: "Guet", 1: "simulated", 2: "1.0"}),
        Device(2, Counting(), 0),
        Device(3, table(), turnaround_s=0.05),
    ]
    async with TcpServer("127.0.0.1", 0, units) as it:
        yield it


@pytest.fixture
async def client(server: TcpServer) -> AsyncIterator[AsyncModbusTcpClient]:
    it = AsyncModbusTcpClient("127.0.0.1", port=server.port, timeout=0.3, retries=0)
    assert await it.connect()
    yield it
    it.close()


async def test_every_area_is_read(client: AsyncModbusTcpClient) -> None:
    assert (await client.read_holding_registers(3, count=125, device_id=1)).registers == [
        3 * at for at in range(3, 128)
    ]
    assert (await client.read_input_registers(0, count=2, device_id=1)).registers == [65535, 1]
    assert (await client.read_coils(0, count=10, device_id=1)).bits[:10] == [at % 3 == 0 for at in range(10)]
    assert (await client.read_discrete_inputs(1, count=9, device_id=1)).bits[:9] == [at % 2 == 1 for at in range(1, 10)]


async def test_every_kind_of_write_is_taken(client: AsyncModbusTcpClient) -> None:
    await client.write_register(5, 4711, device_id=1)
    await client.write_registers(6, [1, 2, 3], device_id=1)
    await client.write_coil(1, True, device_id=1)
    await client.write_coils(4, [True, False, True], device_id=1)
    assert (await client.read_holding_registers(5, count=4, device_id=1)).registers == [4711, 1, 2, 3]
    assert (await client.read_coils(0, count=8, device_id=1)).bits[:7] == [True, True, False, True, True, False, True]


async def test_values_are_those_of_the_moment(client: AsyncModbusTcpClient) -> None:
    got = [(await client.read_holding_registers(0, count=1, device_id=2)).registers for _ in range(3)]
    assert got == [[1], [2], [3]]


async def test_writes_arrive_with_area_and_address(server: TcpServer, client: AsyncModbusTcpClient) -> None:
    await client.write_registers(3, [7, 8], device_id=2)
    await client.write_coil(4, True, device_id=2)
    inside = server.units[2].registers
    assert isinstance(inside, Counting)
    assert inside.written == [("holding", 3, [7, 8]), ("coil", 4, [1])]


@pytest.mark.parametrize(
    ("unit", "address", "count", "code"), [(1, 199, 2, 2), (1, 60000, 1, 2), (2, 8, 5, 2), (77, 0, 1, 11)]
)
async def test_what_is_not_there_is_refused(
    client: AsyncModbusTcpClient, unit: int, address: int, count: int, code: int
) -> None:
    got = await client.read_holding_registers(address, count=count, device_id=unit)
    assert (got.isError(), got.exception_code) == (True, code)


async def test_a_device_may_refuse_for_its_own_reasons(client: AsyncModbusTcpClient) -> None:
    assert (await client.write_register(9, 1, device_id=2)).exception_code == 6


async def test_a_write_out_of_range_changes_nothing(client: AsyncModbusTcpClient) -> None:
    assert (await client.write_registers(198, [1, 2, 3], device_id=1)).exception_code == 2
    assert (await client.read_holding_registers(198, count=2, device_id=1)).registers == [594, 597]


async def test_a_device_tells_who_it_is(client: AsyncModbusTcpClient) -> None:
    got = await client.read_device_information(read_code=1, object_id=0, device_id=1)
    assert isinstance(got, ReadDeviceInformationResponse)
    assert got.information == {0: b"Guet", 1: b"simulated", 2: b"1.0"}


async def test_a_slow_device_takes_its_time(client: AsyncModbusTcpClient) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.read_holding_registers(0, count=1, device_id=3)
    assert loop.time() - began >= 0.05


async def test_many_clients_are_served() -> None:
    async with TcpServer("127.0.0.1", 0, [Device(1, table(), 0)]) as server:
        clients = [AsyncModbusTcpClient("127.0.0.1", port=server.port) for _ in range(5)]
        for one in clients:
            await one.connect()
        got = await asyncio.gather(
            *(one.read_holding_registers(i, count=1, device_id=1) for i, one in enumerate(clients))
        )
        assert [answer.registers for answer in got] == [[0], [3], [6], [9], [12]]
        assert server.connections == 5
        for one in clients:
            one.close()


async def test_an_absent_unit_may_be_silent_instead() -> None:
    async with TcpServer("127.0.0.1", 0, [], silent_absent=True) as server:
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port, timeout=0.1, retries=0)
        await client.connect()
        with pytest.raises(ModbusException):
            await client.read_holding_registers(0, count=1, device_id=1)
        client.close()


async def test_requests_in_pieces_and_two_at_once_are_answered_in_order(server: TcpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    one, two = bytes.fromhex("0001 0000 0006 01 03 0001 0001"), bytes.fromhex("0002 0000 0006 01 03 0002 0001")
    for cut in range(1, len(one)):
        writer.write(one[:cut])
        await asyncio.sleep(0)
        writer.write(one[cut:] + two)
        assert await reader.readexactly(11) == bytes.fromhex("0001 0000 0005 01 03 02 0003")
        assert await reader.readexactly(11) == bytes.fromhex("0002 0000 0005 01 03 02 0006")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("fault", "came"),
    [
        (TcpFault("transaction"), "0101 0000 0005 01 03 02 0003"),
        (TcpFault("foreign"), "0001 0000 0005 02 03 02 0003"),
        (TcpFault("exception", code=4), "0001 0000 0003 01 83 04"),
        (TcpFault("split"), "0001 0000 0005 01 03 02 0003"),
        (TcpFault("late", by_s=0.05), "0001 0000 0005 01 03 02 0003"),
        (TcpFault("reset"), None),
        (TcpFault("silent"), ""),
    ],
    ids=lambda value: value.kind if isinstance(value, TcpFault) else "",
)
async def test_a_fault_is_what_its_name_says(fault: TcpFault, came: str | None) -> None:
    async with TcpServer("127.0.0.1", 0, [Device(1, table(), 0)], faults=Faults(1.0, [fault])) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes.fromhex("0001 0000 0006 01 03 0001 0001"))
        if came is None:
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        else:
            expected = bytes.fromhex(came)
            assert await asyncio.wait_for(reader.readexactly(len(expected)), 1) == expected
        assert server.faults.happened == {fault.kind: 1}
        writer.close()


async def test_a_stale_answer_comes_in_front_of_the_right_one() -> None:
    async with TcpServer("127.0.0.1", 0, [Device(1, table(), 0)]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes.fromhex("0001 0000 0006 01 03 0001 0001"))
        first = await reader.readexactly(11)
        server.faults.add(TcpFault("stale"))
        writer.write(bytes.fromhex("0002 0000 0006 01 03 0002 0001"))
        assert await reader.readexactly(22) == first + bytes.fromhex("0002 0000 0005 01 03 02 0006")
        writer.close()


def test_an_rtu_unit_hears_only_whole_frames_that_are_for_it() -> None:
    unit = Device(1, table())
    request = bytes.fromhex("01 03 0000 0001 840A")
    assert unit.answer(request) == bytes.fromhex("01 03 02 0000 B844")
    assert unit.answer(request[:-1]) is None
    assert unit.answer(request[:-1] + b"\x0b") is None
    assert unit.answer(bytes.fromhex("02 03 0000 0001 8439")) is None
    assert unit.answer(b"") is None


def test_a_broadcast_is_obeyed_and_not_answered() -> None:
    cells = table()
    body = bytes.fromhex("00 06 0005 0001")
    assert Device(1, cells).answer(body + FramerRTU.compute_CRC(body).to_bytes(2, "big")) is None
    assert cells.cells["holding"][5] == 1
