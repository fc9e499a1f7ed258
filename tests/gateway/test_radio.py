"""A real gateway on a simulated BlueZ: what goes wrong by radio reaches the words of its devices, and ends there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from gateway.app import Gateway, home
from gateway.clock import SystemClock
from gateway.hear import HeardBus
from gateway.link import gatt
from gateway.link.ble import BleEar
from gateway.reading import Quality
from gateway.site import Site, load_site
from gateway.store import Store
from simulator.bluez import Advertisement, Characteristic, Peripheral, SimulatedBluez

BIN, SENSOR = "A4:C1:38:00:00:01", "A4:C1:38:E9:2A:F3"
KEY = bytes(range(16))
LIMIT_S = 40.0
SITE = """
[gateway]
id = "radio"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "radio"
protocol = "ble"
[[bus]]
name = "capteurs"
protocol = "ble-gatt"
[[device]]
name = "bac"
profile = "waste/bthome_bin"
bus = "radio"
address = "{bin}"
every = "200ms"
{key}
[[device]]
name = "salle"
profile = "heating/xiaomi_lywsd03mmc_pvvx"
bus = "capteurs"
address = "{sensor}"
every = "300ms"
"""


def site_of(folder: Path, key: bytes = b"") -> Site:
    if key:
        (folder / "bac.key").write_text(key.hex(), "ascii")
        (folder / "bac.key").chmod(0o600)
    line = 'key_file = "bac.key"' if key else ""
    (folder / "site.toml").write_text(SITE.format(bin=BIN, sensor=SENSOR, key=line), "utf-8")
    return load_site(folder / "site.toml", home() / "device_profiles")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatt, "PAUSE_S", 0.05)


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedBluez]:
    async with SimulatedBluez(str(tmp_path / "bus")) as simulated:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", simulated.address)
        yield simulated


@asynccontextmanager
async def on_air(bluez: SimulatedBluez, says: Callable[[], bytes]) -> AsyncIterator[Peripheral]:
    """A bin that advertises what `says` gives, and a sensor that can be connected to."""
    values = {"2a6e": b"\x2e\x09", "2a6f": b"\xe5\x14", "2a19": b"\x64"}
    sensor = Peripheral(SENSOR, {"181a": {uuid: Characteristic(value) for uuid, value in values.items()}})
    bluez.add(sensor)

    async def advertise() -> None:
        while True:
            bluez.advertise(Advertisement(BIN, {"fcd2": says()}))
            bluez.advertise(Advertisement(SENSOR, name="capteur"))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(advertise())
    yield sensor
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    async with Store.open(site.data, clock) as store:
        gateway = Gateway(site, [], store, clock)
        task = asyncio.create_task(gateway.run())
        yield gateway
        gateway.stop.set()
        await asyncio.wait_for(task, LIMIT_S)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0.005)


def plain() -> bytes:
    return b"\x40\x40\xbc\x02"


def sealed(counter: int, key: bytes = KEY) -> bytes:
    count = counter.to_bytes(4, "little")
    nonce = bytes.fromhex(BIN.replace(":", "")) + b"\xd2\xfc\x41" + count
    cipher = AESCCM(key, tag_length=4).encrypt(nonce, b"\x40\xbc\x02", None)
    return b"\x41" + cipher[:-4] + count + cipher[-4:]


def words(gateway: Gateway, device: str) -> str:
    return gateway.live.state(gateway.site.devices[device]).words


async def test_one_adapter_listens_and_connects(bluez: SimulatedBluez, tmp_path: Path) -> None:
    async with on_air(bluez, plain), running(site_of(tmp_path)) as gateway:
        await until(lambda: words(gateway, "salle") == "fonctionne")
        await until(lambda: gateway.live.latest["bac"].get("distance"))
        latest = gateway.live.latest
        assert latest["bac"]["distance"].value == 700
        assert {name: reading.value for name, reading in latest["salle"].items()} == {
            "temperature": 23.5, "humidity": 53.49, "battery": 100.0,
        }  # fmt: skip


@pytest.mark.parametrize("fault", ["connect_refused", "broken_off"])
async def test_a_sensor_that_fails_says_why_and_is_read_again(
    bluez: SimulatedBluez, tmp_path: Path, fault: str
) -> None:
    async with on_air(bluez, plain), running(site_of(tmp_path)) as gateway:
        await until(lambda: words(gateway, "salle") == "fonctionne")
        for _ in range(2 * gatt.TRIES):
            bluez.happen(fault)
        await until(lambda: gateway.live.latest["salle"]["temperature"].quality is Quality.BAD)
        assert gateway.live.latest["salle"]["temperature"].value is None
        await until(lambda: words(gateway, "salle") == "fonctionne")
        assert gateway.live.latest["bac"]["distance"].quality is Quality.GOOD, "the scan went on"


async def test_a_link_that_is_lost_while_it_is_used_is_made_anew(bluez: SimulatedBluez, tmp_path: Path) -> None:
    async with on_air(bluez, plain) as sensor, running(site_of(tmp_path)) as gateway:
        await until(lambda: words(gateway, "salle") == "fonctionne")
        lost = 0
        async with asyncio.timeout(LIMIT_S):
            while lost < 3:
                if sensor.connected:
                    bluez.happen("lost_link")
                    lost += 1
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0)
        before = bluez.calls["ReadValue"]
        await until(lambda: bluez.calls["ReadValue"] > before + 6 and words(gateway, "salle") == "fonctionne")


async def test_a_stuck_scanner_is_told_and_ends_with_the_adapter_switched_off_and_on(
    bluez: SimulatedBluez, tmp_path: Path
) -> None:
    site = site_of(tmp_path)
    async with on_air(bluez, plain), running(site) as gateway:
        bus = gateway.buses["radio"]
        assert isinstance(bus, HeardBus)
        assert isinstance(bus.ear, BleEar)
        bus.ear.silence_s = 0.3
        await until(lambda: gateway.live.latest["bac"].get("distance"))
        bluez.happen("stuck_scanner")
        await until(lambda: "aucune annonce d'aucun appareil" in gateway.status()["buses"]["radio"]["state"])
        await until(lambda: not bluez.deaf)
        await until(lambda: gateway.status()["buses"]["radio"]["state"].startswith("écoute"))
        assert bluez.powered


async def test_a_recorded_message_is_not_believed_after_a_restart(bluez: SimulatedBluez, tmp_path: Path) -> None:
    said = sealed(1000)
    site = site_of(tmp_path, KEY)
    async with on_air(bluez, lambda: said):
        async with running(site) as gateway:
            await until(lambda: gateway.live.latest["bac"].get("distance"))
            await until(lambda: gateway.store.state("heard/bac"))
        kept = b"".join(file.read_bytes() for file in site.data.rglob("*") if file.is_file())
        assert KEY not in kept
        assert KEY.hex().encode() not in kept
        said = sealed(999)
        async with running(site) as gateway:
            health = gateway.buses["radio"].health["bac"]
            await until(lambda: "counter 999 after 1000: a replayed advertisement" in health.last_error)
            assert "distance" not in gateway.live.latest["bac"]
            said = sealed(1001)
            await until(lambda: gateway.live.latest["bac"].get("distance"))


async def test_another_key_is_another_device_and_begins_anew(bluez: SimulatedBluez, tmp_path: Path) -> None:
    said, other = sealed(1000), bytes(range(16, 32))
    async with on_air(bluez, lambda: said):
        async with running(site_of(tmp_path, KEY)) as gateway:
            await until(lambda: gateway.store.state("heard/bac"))
        said = sealed(500, other)
        async with running(site_of(tmp_path, other)) as gateway:
            await until(lambda: gateway.live.latest["bac"].get("distance"))
