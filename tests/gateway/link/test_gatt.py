"""Connecting to a Bluetooth sensor: real bleak on a simulated BlueZ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.codec import Ask, Limits
from gateway.codec.gatt import Gatt, GattPlace, request_of
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, NoSuchPlace, Refused
from gateway.link import gatt
from gateway.link.ble import BleEar
from gateway.link.gatt import GattLink
from gateway.poll import run
from simulator.bluez import Advertisement, Characteristic, Peripheral, SimulatedBluez

SENSOR, BIN = "A4:C1:38:E9:2A:F3", "A4:C1:38:00:00:01"
NUMBER = 0xA4C138E92AF3
PLACES = [GattPlace(characteristic="2a6e", size=2), GattPlace(characteristic="2a6f", size=2)]
LIMIT_S = 40.0


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatt, "PAUSE_S", 0.05)


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedBluez]:
    async with SimulatedBluez(str(tmp_path / "bus")) as simulated:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", simulated.address)
        yield simulated


def sensor(**more: Characteristic) -> Peripheral:
    group = {"2a6e": Characteristic(b"\x2e\x09"), "2a6f": Characteristic(b"\xe5\x14"), **more}
    return Peripheral(SENSOR, {"181a": group})


@asynccontextmanager
async def in_range(bluez: SimulatedBluez, peripheral: Peripheral) -> AsyncIterator[Peripheral]:
    bluez.add(peripheral)

    async def advertise() -> None:
        while True:
            bluez.advertise(Advertisement(peripheral.address, name="capteur"))
            bluez.advertise(Advertisement(BIN, {"fcd2": b"\x40\x40\x52\x03"}))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(advertise())
    yield peripheral
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def read(link: GattLink, places: list[GattPlace] = PLACES, patience_s: float = 5.0) -> bytes:
    limits = Limits(max_read=16, patience_s=patience_s)
    (span,) = Gatt().spans([(place, place.size) for place in places], limits)
    return await asyncio.wait_for(run(link, Gatt().read(NUMBER, span, limits)), LIMIT_S)


async def test_a_sensor_is_found_connected_to_read_and_left(bluez: SimulatedBluez) -> None:
    link = GattLink()
    async with in_range(bluez, sensor()) as peripheral:
        assert await read(link) == b"\x2e\x09\xe5\x14"
        assert not peripheral.connected
        assert (bluez.calls["Connect"], bluez.calls["ReadValue"]) == (1, 2)
        assert await read(link) == b"\x2e\x09\xe5\x14"
    assert (link.traffic.requests, link.traffic.answers, link.traffic.silences) == (2, 2, 0)


@pytest.mark.parametrize("fault", ["connect_refused", "busy", "broken_off"])
async def test_what_is_fleeting_is_tried_once_more(bluez: SimulatedBluez, fault: str) -> None:
    link = GattLink()
    async with in_range(bluez, sensor()) as peripheral:
        bluez.happen(fault)
        assert await read(link) == b"\x2e\x09\xe5\x14"
        assert not peripheral.connected
    assert (bluez.calls["Connect"], link.traffic.requests, link.traffic.answers) == (2, 2, 1)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("connect_refused", NoAnswer, "the connection is refused"),
        ("busy", NoAnswer, "the connection is refused"),
        ("broken_off", GarbledAnswer, "the connection was lost after 1 of 2 values"),
    ],
)
async def test_what_goes_on_is_told_and_the_next_reading_starts_afresh(
    bluez: SimulatedBluez, fault: str, kind: type[BusError], said: str
) -> None:
    link = GattLink()
    async with in_range(bluez, sensor()) as peripheral:
        for _ in range(gatt.TRIES):
            bluez.happen(fault)
        with pytest.raises(kind, match=said):
            await read(link)
        assert not peripheral.connected
        assert await read(link) == b"\x2e\x09\xe5\x14"


async def test_an_abort_by_interference_is_borne(bluez: SimulatedBluez) -> None:
    link = GattLink()
    async with in_range(bluez, sensor()):
        bluez.happen("aborted")
        bluez.happen("aborted")
        assert await read(link) == b"\x2e\x09\xe5\x14"
    assert (bluez.calls["Connect"], link.traffic.requests) == (3, 1)


async def test_a_connection_that_takes_too_long_is_given_up_and_left(bluez: SimulatedBluez) -> None:
    bluez.slow_s = 60.0
    async with in_range(bluez, sensor()) as peripheral:
        bluez.happen("slow_connect")
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(NoAnswer, match="does not connect within 1 s; check battery, distance"):
            await read(GattLink(), patience_s=1.0)
        assert asyncio.get_running_loop().time() - began_s < 6
        assert not peripheral.connected


async def test_a_sensor_that_is_not_there_is_no_answer(bluez: SimulatedBluez) -> None:
    with pytest.raises(NoAnswer, match="not heard within 1 s; check battery and distance, or is a phone connected"):
        await read(GattLink(), patience_s=1.0)
    assert not bluez.scanning


async def test_a_characteristic_that_is_not_there_is_no_such_place(bluez: SimulatedBluez) -> None:
    async with in_range(bluez, sensor()):
        with pytest.raises(NoSuchPlace, match="has no characteristic 2a6d"):
            await read(GattLink(), [*PLACES, GattPlace(characteristic="2a6d", size=4)])


async def test_a_characteristic_that_may_not_be_read_is_refused(bluez: SimulatedBluez) -> None:
    async with in_range(bluez, sensor(**{"2a19": Characteristic(b"\x64", flags=("notify",))})):
        with pytest.raises(Refused, match="00002a19-0000-1000-8000-00805f9b34fb cannot be read"):
            await read(GattLink(), [GattPlace(characteristic="2a19", size=1)])


async def test_without_bluetooth_it_says_what_to_do(bluez: SimulatedBluez) -> None:
    bluez.powered = False
    with pytest.raises(LinkError, match="Bluetooth hci0: Bluetooth is switched off; run `rfkill unblock bluetooth`"):
        await read(GattLink(), patience_s=1.0)


async def test_without_a_bus_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(LinkError, match="the system D-Bus is not there"):
        await read(GattLink(), patience_s=1.0)


async def test_a_cancelled_reading_leaves_the_device(bluez: SimulatedBluez) -> None:
    bluez.slow_s = 2.0
    async with in_range(bluez, sensor()) as peripheral:
        bluez.happen("slow_connect")
        reading = asyncio.create_task(read(GattLink()))
        async with asyncio.timeout(LIMIT_S):
            while not bluez.calls.get("Connect"):
                await asyncio.sleep(0.005)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            while not bluez.calls.get("Disconnect"):
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert not peripheral.connected


async def test_a_scan_goes_on_beside_a_connection(bluez: SimulatedBluez) -> None:
    ear, heard = BleEar(), list[str]()

    async def listen() -> None:
        async for broadcast in ear.listen():
            heard.append(broadcast.sender)

    listening = asyncio.create_task(listen())
    async with in_range(bluez, sensor()), asyncio.timeout(LIMIT_S):
        while not heard:
            await asyncio.sleep(0.01)
        for _ in range(3):
            assert await read(GattLink()) == b"\x2e\x09\xe5\x14"
            before = len(heard)
            while len(heard) < before + 3:
                await asyncio.sleep(0.01)
    assert set(heard) == {BIN}
    assert ear.trouble == ""
    await ear.close()
    await listening


async def test_two_readings_never_overlap(bluez: SimulatedBluez) -> None:
    link = GattLink()
    async with in_range(bluez, sensor()):
        assert await asyncio.gather(read(link), read(link)) == [b"\x2e\x09\xe5\x14"] * 2
    assert isinstance(Ask(request_of(NUMBER, []), len, 0, 1.0), Ask)
