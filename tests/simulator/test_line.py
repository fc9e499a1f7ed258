"""The simulated RS-485 line, seen by a plain serial port and by pymodbus's client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

import pytest
import serial
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer.rtu import FramerRTU

from simulator.line import FAULT_KINDS, Fault, Faults, Line, _at_half_speed
from simulator.modbus import Device, Table

REQUEST = bytes.fromhex("01 03 0000 0004 4409")
ANSWER = bytes.fromhex("01 03 08 0064 0065 0066 0067")
ANSWER += FramerRTU.compute_CRC(ANSWER).to_bytes(2, "big")


def unit(address: int = 1, first: int = 100, turnaround_s: float = 0.01) -> Device:
    return Device(address, Table({"holding": {at: first + at for at in range(32)}}), turnaround_s)


class Client:
    """A port that notes what comes and when."""

    def __init__(self, line: Line) -> None:
        self.port = serial.Serial(line.port, line.baud, timeout=0)
        self.loop = asyncio.get_running_loop()
        self.came: list[tuple[float, bytes]] = []
        self.loop.add_reader(self.port.fileno(), self._read)

    def _read(self) -> None:
        self.came.append((self.loop.time(), os.read(self.port.fileno(), 4096)))

    async def ask(self, request: bytes = REQUEST, for_s: float = 0.15) -> bytes:
        self.came.clear()
        self.sent_at = self.loop.time()
        self.port.write(request)
        await asyncio.sleep(for_s)
        return b"".join(data for _, data in self.came)

    def close(self) -> None:
        self.loop.remove_reader(self.port.fileno())
        self.port.close()


async def test_an_answer_takes_its_time_on_the_wire() -> None:
    async with Line(9600, "8E1", units=[unit(turnaround_s=0.02)]) as line:
        client = Client(line)
        assert await client.ask() == ANSWER
        first_s, last_s = client.came[0][0] - client.sent_at, client.came[-1][0] - client.sent_at
        character_s = 11 / 9600
        assert first_s >= 8 * character_s + 0.02 + character_s
        assert last_s >= 21 * character_s + 0.02
        assert last_s < 21 * character_s + 0.02 + 0.05, "the machine may be busy, but not that busy"
        assert len(client.came) > 3, "bytes come as they are sent"
        client.close()


async def test_no_unit_answers_before_it_can_know_that_the_request_is_over() -> None:
    async with Line(9600, "8N1", units=[unit(turnaround_s=0.0)]) as line:
        client = Client(line)
        assert await client.ask() == ANSWER
        assert client.came[0][0] - client.sent_at >= (8 + 3.5) * 10 / 9600
        client.close()


async def test_a_request_in_pieces_is_one_request() -> None:
    async with Line(9600, units=[unit()]) as line:
        client = Client(line)
        client.port.write(REQUEST[:3])
        await asyncio.sleep(0.002)
        assert await client.ask(REQUEST[3:]) == ANSWER
        assert line.requests == 1
        client.close()


async def test_units_that_are_not_asked_are_silent() -> None:
    async with Line(19200, units=[unit(2), unit(3)]) as line:
        client = Client(line)
        assert await client.ask() == b""
        assert (line.requests, line.answers) == (1, 0)
        client.close()


async def test_two_units_at_one_address_spoil_each_others_answer() -> None:
    async with Line(19200, units=[unit(1, 100), unit(1, 0xF00)]) as line:
        client = Client(line)
        came = await client.ask()
        assert len(came) == len(ANSWER)
        assert came != ANSWER
        assert FramerRTU.compute_CRC(came[:-2]) != int.from_bytes(came[-2:], "big")
        client.close()


async def test_a_client_that_does_not_wait_is_counted() -> None:
    async with Line(2400, units=[unit()]) as line:  # 16 ms of gap: a busy machine must not seem to wait
        client = Client(line)
        client.port.write(REQUEST)
        while sum(len(data) for _, data in client.came) < len(ANSWER):
            await asyncio.sleep(0.001)
        await client.ask(for_s=0.4)
        assert line.violations == 1
        await asyncio.sleep(0.1)
        await client.ask(for_s=0.4)
        assert line.violations == 1
        client.close()


async def test_a_client_at_another_speed_is_not_understood() -> None:
    async with Line(9600, units=[unit()]) as line:
        client = Client(line)
        client.port.baudrate = 19200
        assert await client.ask() == b""
        client.port.baudrate = 9600
        assert await client.ask() == ANSWER
        assert line.wrong_speed == 1
        client.close()


FRAME_S = 21 * 11 / 38400 + 0.01


@pytest.mark.parametrize("kind", FAULT_KINDS)
async def test_a_fault_happens_once_and_is_counted(kind: str) -> None:
    fault = next(Fault(k, by_s=0.04) for k in FAULT_KINDS if k == kind)
    async with Line(38400, units=[unit()]) as line:
        client = Client(line)
        line.faults.add(fault)
        came = await client.ask()
        match kind:
            case "crc":
                assert (came[:-1], len(came)) == (ANSWER[:-1], len(ANSWER))
                assert came != ANSWER
            case "bitflip":
                assert sum((a ^ b).bit_count() for a, b in zip(came, ANSWER, strict=True)) == 1
            case "truncated":
                assert 0 < len(came) < len(ANSWER)
                assert ANSWER.startswith(came)
            case "noise":
                assert (came[3:], len(came)) == (ANSWER, len(ANSWER) + 3)
            case "echo":
                assert came == REQUEST + ANSWER
            case "foreign":
                assert (came[0], came[1:-2]) == (2, ANSWER[1:-2])
                assert FramerRTU.compute_CRC(came[:-2]) == int.from_bytes(came[-2:], "big")
            case "exception":
                assert came[:3] == bytes.fromhex("01 83 06")
            case "busy" | "illegal":
                assert came[:3] == bytes((1, 0x83, {"busy": 6, "illegal": 2}[kind]))
            case "baud":
                assert came != ANSWER
                assert came
            case "gap" | "late":
                assert came == ANSWER
                assert client.came[-1][0] - client.sent_at >= FRAME_S + 0.04
            case "silent" | "parity":
                assert came == b""
            case "collision":
                assert len(came) == len(ANSWER)
                assert came != ANSWER
            case "split":
                assert came == ANSWER
                assert client.came[-1][0] - client.sent_at > FRAME_S
        assert line.faults.happened == {kind: 1}
        assert await client.ask() == ANSWER
        client.close()


def test_at_half_speed_every_bit_is_seen_twice() -> None:
    """Worked by hand: 0x00 is ten low levels of which the receiver makes start bit, eight noughts and a stop bit that is
    missing; then eight more low and two high (the stop bit), seen as start, seven noughts, one."""
    assert _at_half_speed(b"\xff") == b"\xfe"  # 0 0 then ones: start, then 0 1 1 1 1 1 1 1
    assert _at_half_speed(b"\x00") == b"\x00\x80"


def test_weights_draw_as_often_as_they_say() -> None:
    faults = Faults(0.5, [Fault("crc"), Fault("late")], [4.0, 1.0], Random(3))
    drawn = [fault.kind for _ in range(4000) if (fault := faults.draw())]
    assert 0.47 < len(drawn) / 4000 < 0.53
    assert 3.3 < drawn.count("crc") / drawn.count("late") < 4.8


def test_the_same_seed_draws_the_same_faults() -> None:
    def drawn(seed: int) -> list[str]:
        faults = Faults(0.3, [Fault(kind) for kind in FAULT_KINDS], random=Random(seed))
        return [fault.kind if (fault := faults.draw()) else "" for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 30 < sum(map(bool, drawn(1))) < 90


async def test_what_waits_in_the_queue_comes_before_chance() -> None:
    faults = Faults(1.0, [Fault("crc")])
    faults.add(Fault("late"), Fault("echo"))
    assert [fault.kind for fault in (faults.draw(), faults.draw(), faults.draw()) if fault] == ["late", "echo", "crc"]


async def test_a_pulled_adapter_takes_its_link_with_it_and_brings_it_back(tmp_path: Path) -> None:
    by_path = tmp_path / "port0"
    async with Line(19200, units=[unit()], link=by_path) as line:
        assert line.port == str(by_path)
        first = by_path.readlink()
        line.unplug()
        line.unplug()
        assert not by_path.is_symlink()
        line.plug()
        client = Client(line)
        assert await client.ask() == ANSWER
        client.close()
        assert first.name
    assert not by_path.is_symlink()


async def test_a_unit_does_one_thing_at_a_time() -> None:
    """A request that comes while a unit is late is answered after the late answer, not before."""
    async with Line(38400, units=[unit()]) as line:
        client = Client(line)
        line.faults.add(Fault("late", by_s=0.1))
        client.port.write(REQUEST)
        await asyncio.sleep(0.05)
        second = bytes.fromhex("01 03 0008 0001")
        second += FramerRTU.compute_CRC(second).to_bytes(2, "big")
        came = await client.ask(second, 0.2)
        assert came.startswith(ANSWER)
        assert came[len(ANSWER) :].startswith(bytes.fromhex("01 03 02 006C"))
        client.close()


async def test_pymodbus_client_reads_and_writes_through_the_line() -> None:
    async with Line(19200, "8N1", units=[unit(1), unit(2, 500)]) as line:
        client = AsyncModbusSerialClient(line.port, baudrate=19200, timeout=0.5, retries=0)
        assert await client.connect()
        for address, first in ((1, 100), (2, 500)):
            got = await client.read_holding_registers(4, count=3, device_id=address)
            assert got.registers == [first + 4, first + 5, first + 6]
            await asyncio.sleep(0.01)
        await client.write_registers(0, [7, 8, 9], device_id=2)
        await asyncio.sleep(0.01)
        assert (await client.read_holding_registers(0, count=3, device_id=2)).registers == [7, 8, 9]
        await asyncio.sleep(0.01)
        assert (await client.read_holding_registers(900, count=3, device_id=2)).exception_code == 2
        await asyncio.sleep(0.01)
        with pytest.raises(ModbusException):
            await client.read_holding_registers(0, count=1, device_id=9)
        client.close()


async def test_the_trap_that_our_codec_avoids_is_real() -> None:
    """pymodbus's serial client takes the late answer to A for the one to B: the line shows what we must not do. Should
    this fail with a newer pymodbus, it has learnt to tell them apart; good."""
    async with Line(19200, "8N1", units=[unit(1)]) as line:
        client = AsyncModbusSerialClient(line.port, baudrate=19200, timeout=0.15, retries=0)
        assert await client.connect()
        line.faults.add(Fault("late", by_s=0.25))
        with pytest.raises(ModbusException):
            await client.read_holding_registers(0, count=4, device_id=1)
        got = await client.read_holding_registers(4, count=4, device_id=1)
        assert got.registers == [100, 101, 102, 103], "registers 0 to 3, though 4 to 7 were asked for"
        client.close()
