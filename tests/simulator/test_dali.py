"""The simulated street: gear by itself, the adapter's frames, and the whole on a pty at the bus's real pace."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.codec import Limits
from gateway.codec.dali import DaliPlace, Sci, sci_frame
from gateway.errors import GarbledAnswer, LinkError, NoAnswer
from gateway.link.serial import SerialLink
from gateway.poll import run
from simulator.dali import Adapter, Gear, SimulatedSci, energy_bank, scaled

LIMITS = Limits(max_read=255, max_hole=6, patience_s=0.2)
LEVEL = DaliPlace(query="actual_level")
SILENCE = bytes.fromhex("01 00 00 00 01")


def answered(value: int) -> bytes:
    return bytes((2, 0, 0, value, 2 ^ value))


# Gear


def test_a_level_is_kept_between_minimum_and_maximum() -> None:
    gear = Gear(0, min_level=85, max_level=200)
    levels = []
    for level in (254, 1, 0, 150):
        gear.dim(level)
        levels.append((gear.level, bool(gear.status & 0x08)))
    assert levels == [(200, True), (85, True), (0, False), (150, False)]


def test_a_fade_takes_its_time_and_shows_in_the_status() -> None:
    now = [0.0]
    gear = Gear(0, level=0, fade_s=4.0, clock=lambda: now[0])
    gear.dim(200)
    seen = []
    for at in (0.0, 1.0, 2.0, 4.0):
        now[0] = at
        seen.append((gear.level, bool(gear.status & 0x10)))
    assert seen == [(0, True), (50, True), (100, True), (200, False)]


def test_level_255_stops_a_fade_where_it_is() -> None:
    now = [0.0]
    gear = Gear(0, level=0, fade_s=4.0, clock=lambda: now[0])
    gear.dim(200)
    now[0] = 1.0
    gear.dim(255)
    now[0] = 4.0
    assert gear.level == 50


def test_mains_back_gives_the_power_on_level_until_it_is_dimmed() -> None:
    gear = Gear(0, power_on_level=170)
    gear.dim(20)
    gear.switch_mains(on=False)
    assert gear.level == 0
    gear.switch_mains(on=True)
    assert (gear.level, bool(gear.status & 0x80)) == (170, True)
    gear.dim(20)
    assert (gear.level, bool(gear.status & 0x80)) == (20, False)


def test_a_failed_lamp_is_dark_and_says_so() -> None:
    gear = Gear(0)
    gear.lamp_failure = True
    assert (gear.level, gear.status) == (0, 0b10)


def test_numbers_with_their_power_of_ten() -> None:
    assert scaled(37.51, -2, 4) == bytes.fromhex("fe 00 00 0e a7")
    assert scaled(12_000, 3, 2) == bytes.fromhex("03 00 0c")


# Adapter


def test_broadcast_dims_every_lamp_and_a_command_to_a_group_none() -> None:
    adapter = Adapter([Gear(1), Gear(2)])
    assert adapter.handle(sci_frame(0xFE, 40)) == SILENCE
    assert adapter.handle(sci_frame(0x80, 90)) == SILENCE
    assert [gear.level for gear in adapter.gears] == [40, 40]


def test_a_configuration_command_sent_once_does_nothing() -> None:
    adapter = Adapter([Gear(1, lambda number: energy_bank(1, 1))])
    adapter.handle(sci_frame(0xC3, 202) + sci_frame(0x03, 0x81) + sci_frame(0xA3, 2))
    assert adapter.handle(sci_frame(0xC7, 0xAA)) == SILENCE
    adapter.handle(sci_frame(0x03, 0x81, twice=True) + sci_frame(0xA3, 2))
    assert adapter.handle(sci_frame(0xC7, 0xAA)) == answered(0xAA)


def test_a_command_to_another_lamp_ends_writing() -> None:
    adapter = Adapter([Gear(1, lambda number: energy_bank(1, 1)), Gear(2)])
    adapter.handle(sci_frame(0xC3, 202) + sci_frame(0x03, 0x81, twice=True) + sci_frame(0xA3, 2))
    adapter.handle(sci_frame(0x05, 0xA0))
    assert adapter.handle(sci_frame(0xC7, 0xAA)) == SILENCE


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("03 03 a0 00 ff", "07 00 00 01 06"),  # checksum
        ("04 03 a0 00 a7", "07 00 00 04 03"),  # eDALI: unknown
        ("40 00 00 00 40", "00 00 00 00 00"),  # who are you
        ("23 03 a0 00 80", "00 00 00 00 00 02 00 00 fe fc"),  # with confirmation
    ],
)
def test_frames_of_the_adapter(request_: str, reply: str) -> None:
    assert Adapter([Gear(1)]).handle(bytes.fromhex(request_)) == bytes.fromhex(reply)


def test_requests_may_come_in_pieces() -> None:
    adapter = Adapter([Gear(1)])
    said = b"".join(adapter.handle(bytes((byte,))) for byte in sci_frame(0x03, 0xA0) * 2)
    assert said == answered(254) * 2


# On a pty, with the gateway's own link


async def read(link: SerialLink, short: int, place: DaliPlace, size: int = 1) -> bytes:
    (span,) = Sci().spans([(place, size)], LIMITS)
    return await run(link, Sci().read(short, span, LIMITS))


@contextlib.asynccontextmanager
async def linked(adapter: Adapter, pace: float):
    async with SimulatedSci(adapter, pace) as sci:
        link = SerialLink(sci.port, "38400 8N1")
        try:
            yield link
        finally:
            await link.close()


async def test_lamps_are_read_and_dimmed_over_the_serial_link() -> None:
    adapter = Adapter([Gear(5, lambda number: energy_bank(123_456, 37.51) if number == 202 else b""), Gear(6)])
    async with linked(adapter, 0.0) as link:
        assert await read(link, 5, DaliPlace(bank=202, location=0x04), 12) == energy_bank(123_456, 37.51)[4:]
        await run(link, Sci().write(6, LEVEL, b"\x50", LIMITS))
        assert [await read(link, short, LEVEL) for short in (5, 6)] == [b"\xfe", b"\x50"]
        with pytest.raises(NoAnswer):
            await read(link, 7, LEVEL)
        assert link.traffic.garbled == link.traffic.stray_bytes == link.traffic.silences == 0


async def test_the_bus_has_the_pace_of_1200_baud() -> None:
    """A query with its answer: 14.2 + 7 + 7.5 ms, and 13.5 ms before the next: 42 ms; no bus does it faster."""
    adapter = Adapter([Gear(5)])
    async with linked(adapter, 1.0) as link:
        await read(link, 5, LEVEL)
        start = asyncio.get_running_loop().time()
        for _ in range(10):
            await read(link, 5, LEVEL)
        each_s = (asyncio.get_running_loop().time() - start) / 10
        assert each_s >= 0.042
        assert link.traffic.silences == 0


async def test_faults_of_the_adapter_over_the_serial_link() -> None:
    adapter = Adapter([Gear(5)])
    async with linked(adapter, 0.0) as link:
        adapter.faults.extend(["garbled", "receive"])
        assert await read(link, 5, LEVEL) == b"\xfe"
        adapter.faults.extend(["receive"] * 3)
        with pytest.raises(GarbledAnswer, match="two lamps at this address"):
            await read(link, 5, LEVEL)
        adapter.faults.append("silent")
        with pytest.raises(LinkError, match="DALI adapter"):
            await read(link, 5, LEVEL)
        assert await read(link, 5, LEVEL) == b"\xfe"
