"""The simulated BlueZ under real bleak: scanning, connecting, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bleak import BleakClient, BleakScanner
from bleak.args.bluez import OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.exc import BleakDBusError, BleakError

from simulator.bluez import Advertisement, Characteristic, Peripheral, SimulatedBluez, long_uuid
from simulator.dbus import DbusError

METER = "A4:C1:38:00:00:01"
BTHOME = long_uuid("fcd2")
BATTERY_SERVICE, BATTERY = long_uuid("180f"), long_uuid("2a19")
UART, UART_TX = "6e400001-b5a3-f393-e0a9-e50e24dcca9e", "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
LIMIT_S = 10.0


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedBluez]:
    async with SimulatedBluez(str(tmp_path / "bus")) as simulated:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", simulated.address)
        simulated.add(Peripheral(METER, {
            BATTERY_SERVICE: {BATTERY: Characteristic(b"\x57")},
            UART: {UART_TX: Characteristic(flags=("notify",))},
        }))  # fmt: skip
        yield simulated


def says(payload: bytes = b"\x40\x01\x57") -> Advertisement:
    return Advertisement(METER, {"fcd2": payload}, {0x0499: b"\x05"}, "meter", -63)


async def found(bluez: SimulatedBluez):
    """The meter, as a scanner finds it."""
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        finding = group.create_task(BleakScanner.find_device_by_address(METER, timeout=LIMIT_S))
        while not finding.done():
            bluez.advertise(says())
            await asyncio.sleep(0.01)
    device = finding.result()
    assert device is not None
    return device


async def test_an_active_scan_hears_everything_that_is_advertised(bluez: SimulatedBluez) -> None:
    heard = asyncio.get_running_loop().create_future()
    async with BleakScanner(lambda device, said: heard.done() or heard.set_result((device, said))):
        assert bluez.advertise(says())
        device, said = await asyncio.wait_for(heard, LIMIT_S)
    assert (device.address, said.local_name, said.rssi) == (METER, "meter", -63)
    assert said.service_data == {BTHOME: b"\x40\x01\x57"}
    assert said.manufacturer_data == {0x0499: b"\x05"}
    assert not bluez.scanning


async def test_nobody_hears_without_a_scan(bluez: SimulatedBluez) -> None:
    assert not bluez.advertise(says())


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ((0, 0x16, b"\xd2\xfc"), True), ((0, 0x16, b"\xd2\xfc\x40"), True), ((2, 0x16, b"\x40"), True),
        ((0, 0x16, b"\x1c\x18"), False), ((1, 0x16, b"\xd2\xfc"), False), ((0, 0xFF, b"\x99\x04"), True),
        ((0, 0x09, b"met"), True), ((0, 0x01, b"\x06"), False),
    ],
)  # fmt: skip
def test_monitor_patterns(pattern: tuple[int, int, bytes], heard: bool) -> None:
    assert says().matches(pattern) is heard


async def test_a_passive_scan_hears_what_its_pattern_matches(bluez: SimulatedBluez) -> None:
    got: list[dict[str, bytes]] = []
    patterns = [OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xd2\xfc")]
    async with BleakScanner(
        lambda device, said: got.append(said.service_data), scanning_mode="passive", bluez={"or_patterns": patterns}
    ):
        async with asyncio.timeout(LIMIT_S):
            while not bluez.scanning:
                await asyncio.sleep(0.005)
            assert not bluez.advertise(Advertisement("00:00:00:00:00:09", {"181a": b"\x01"}))
            assert bluez.advertise(says())
            while not got:
                await asyncio.sleep(0.005)
    assert got == [{BTHOME: b"\x40\x01\x57"}]


async def test_passive_scanning_may_be_missing(bluez: SimulatedBluez) -> None:
    bluez.passive = False
    patterns = [OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xd2\xfc")]
    with pytest.raises(BleakError, match="passive scanning on Linux requires BlueZ"):
        await BleakScanner(scanning_mode="passive", bluez={"or_patterns": patterns}).start()


async def test_connect_read_write_and_disconnect(bluez: SimulatedBluez) -> None:
    async with BleakClient(await found(bluez)) as client:
        assert {service.uuid: [c.uuid for c in service.characteristics] for service in client.services} == {
            BATTERY_SERVICE: [BATTERY],
            UART: [UART_TX],
        }
        assert await client.read_gatt_char(BATTERY) == b"\x57"
        bluez.notify(METER, BATTERY, b"\x56")
        assert await client.read_gatt_char(BATTERY) == b"\x56"
        with pytest.raises(BleakError):
            await client.read_gatt_char(UART_TX)
    assert bluez.calls["Disconnect"] >= 1


async def test_notifications_reach_who_subscribed(bluez: SimulatedBluez) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with BleakClient(await found(bluez)) as client:
        assert not bluez.notify(METER, UART_TX, b"early")
        await client.start_notify(UART_TX, lambda sender, data: got.put_nowait(bytes(data)))
        for n in range(5):
            assert bluez.notify(METER, UART_TX, struct.pack("<H", n))
        assert [await asyncio.wait_for(got.get(), LIMIT_S) for _ in range(5)] == [
            struct.pack("<H", n) for n in range(5)
        ]
        await client.stop_notify(UART_TX)
        assert not bluez.notify(METER, UART_TX, b"late")


async def test_a_lost_link_is_noticed_and_the_next_connection_works(bluez: SimulatedBluez) -> None:
    gone = asyncio.Event()
    client = BleakClient(await found(bluez), disconnected_callback=lambda _: gone.set())
    await client.connect()
    bluez.break_link(METER)
    await asyncio.wait_for(gone.wait(), LIMIT_S)
    assert not client.is_connected
    await client.connect()
    assert await client.read_gatt_char(BATTERY) == b"\x57"
    await client.disconnect()


async def test_injected_errors_come_once_each(bluez: SimulatedBluez) -> None:
    device = await found(bluez)
    bluez.faults["Connect"] = deque([DbusError("org.bluez.Error.Failed", "br-connection-canceled")])
    with pytest.raises(BleakDBusError, match="br-connection-canceled"):
        await BleakClient(device).connect()
    async with BleakClient(device) as client:
        bluez.faults["ReadValue"] = deque([DbusError("org.bluez.Error.NotPermitted", "Read not permitted")])
        with pytest.raises(BleakError):
            await client.read_gatt_char(BATTERY)
        assert await client.read_gatt_char(BATTERY) == b"\x57"


async def test_power_off_ends_a_scan_and_refuses_the_next(bluez: SimulatedBluez) -> None:
    scanner = BleakScanner()
    await scanner.start()
    bluez.powered = False
    assert not bluez.advertise(says())
    with pytest.raises(BleakDBusError, match="NotReady"):
        await BleakScanner().start()


async def test_a_forgotten_device_is_found_again(bluez: SimulatedBluez) -> None:
    await found(bluez)
    bluez.forget(METER)
    assert (await found(bluez)).address == METER


HEARER = """
import asyncio
from bleak import BleakScanner

async def main():
    heard = asyncio.Event()
    async with BleakScanner(lambda device, said: heard.set()):
        print("scanning", flush=True)
        await asyncio.wait_for(heard.wait(), 10)
    print("heard", flush=True)

asyncio.run(main())
"""


async def test_several_processes_hear_at_once(bluez: SimulatedBluez) -> None:
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bluez.address}
    hearers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", HEARER, env=environment, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    async with asyncio.timeout(30):
        for hearer in hearers:
            assert hearer.stdout is not None
            assert await hearer.stdout.readline() == b"scanning\n"
        assert bluez.advertise(says())
        for hearer in hearers:
            assert hearer.stdout is not None
            assert await hearer.stdout.readline() == b"heard\n"
            assert await hearer.wait() == 0


async def test_a_client_that_goes_away_scans_no_more(bluez: SimulatedBluez) -> None:
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bluez.address}
    hearer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HEARER, env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        assert hearer.stdout is not None
        assert await hearer.stdout.readline() == b"scanning\n"
        assert bluez.scanning
        hearer.kill()
        await hearer.wait()
        while bluez.scanning:
            await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_costs_bounded_memory(bluez: SimulatedBluez, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "bus", limit=1024)
    writer.write(b"\0AUTH EXTERNAL 30\r\n")
    assert (await reader.readline()).startswith(b"OK ")
    writer.write(b"BEGIN\r\n")
    async with BleakScanner():
        for n in range(20_000):
            bluez.advertise(says(n.to_bytes(24, "big")))
            if n % 100 == 0:
                await asyncio.sleep(0)
            if bluez.dropped:
                break
        assert bluez.dropped
    writer.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\0",
        b"\0GET / HTTP/1.0\r\n\r\n",
        b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + b"\xff" * 64,
        b"\0AUTH EXTERNAL 30\r\nBEGIN\r\nl\1\0\1\0\0\0\0\1\0\0\0\10\0\0\0" + b"\xff" * 8,
    ],
)
async def test_rubbish_on_the_socket_hurts_nobody(bluez: SimulatedBluez, tmp_path: Path, rubbish: bytes) -> None:
    _, writer = await asyncio.open_unix_connection(tmp_path / "bus")
    writer.write(rubbish)
    await writer.drain()
    writer.close()
    assert (await found(bluez)).address == METER
