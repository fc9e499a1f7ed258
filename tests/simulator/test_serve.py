"""`guet simulate`: what it serves is what a real gateway reads; what it must not touch it leaves alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from pymodbus.client import ModbusSerialClient

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.errors import FileFault
from gateway.reading import Quality
from gateway.site import load_site
from gateway.store import Store
from simulator.serve import _faults, _servable, serve_site, simulate

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
SITE = """
[gateway]
id = "banc"
commune = "Banc"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "rs485"
protocol = "modbus-rtu"
port = "{folder}/tty485"
line = "115200 8N1"
[[bus]]
name = "armoire"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {tcp}
[[bus]]
name = "pont"
protocol = "modbus-rtu-tcp"
host = "127.0.0.1"
port = {bridge}
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "{folder}/ttyDALI"
[[bus]]
name = "compteurs"
protocol = "mbus"
port = "{folder}/ttyMBUS"
line = "9600 8E1"
[[bus]]
name = "gaine"
protocol = "slcan"
port = "{folder}/ttyCAN"
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "compteur"
profile = "energy/eastron_sdm630"
bus = "rs485"
address = 3
every = "500ms"
[[device]]
name = "niveau"
profile = "water/dinel_ulm53l"
bus = "rs485"
address = 4
every = "500ms"
[[device]]
name = "debit"
profile = "water/siemens_mag6000"
bus = "armoire"
address = 1
every = "500ms"
[[device]]
name = "route"
profile = "weather/tsingsense_road"
bus = "pont"
address = 7
every = "500ms"
[[device]]
name = "lampe"
profile = "lighting/dali_led_gear"
bus = "rue"
address = 5
every = "5s"
[[bus]]
name = "capteurs"
protocol = "ble-gatt"
[[device]]
name = "salle"
profile = "heating/xiaomi_lywsd03mmc_pvvx"
bus = "capteurs"
address = "A4:C1:38:E9:2A:F3"
every = "1s"
[[device]]
name = "chaleur"
profile = "heating/kamstrup_multical_601"
bus = "compteurs"
address = "12345678"
every = "1s"
[[device]]
name = "ascenseur"
profile = "guet/canopen_lift"
bus = "gaine"
[[device]]
name = "bac"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:09"
"""


def two_free_ports() -> list[int]:
    """Both are held before either is let go: else the same could be given twice."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return [int(free.getsockname()[1]) for free in (one, other)]


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "banc.toml"
    tcp, bridge = two_free_ports()
    path.write_text(SITE.format(folder=tmp_path, tcp=tcp, bridge=bridge), "utf-8")
    return path


async def test_a_real_gateway_reads_every_device_of_a_simulated_site(
    site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load_site(site_file, PROFILES)
    bluez = site_file.parent / "bluez"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={bluez}")
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        served = await serve_site(stack, site, {}, 1, clock.now, bluez)
        assert [one.bus for one in served] == list(site.buses)
        store = await stack.enter_async_context(Store.open(site.data, clock))
        gateway = Gateway(site, [], store, clock)
        running = asyncio.create_task(gateway.run())
        wanted = {(device.name, point) for device in site.devices.values() for point in device.points}

        def good() -> set[tuple[str, str]]:
            return {
                (device, name)
                for device, name in wanted
                if (reading := gateway.live.latest[device].get(name)) and reading.quality is Quality.GOOD
            }

        try:
            async with asyncio.timeout(40):
                while good() != wanted:
                    assert not running.done(), running
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"never good: {sorted(wanted - good())}")
        finally:
            gateway.stop.set()
            await running
        assert all(sum(value for value in one.told().values() if isinstance(value, int)) > 0 for one in served)


@contextmanager
def simulated(*arguments: str, cwd: Path) -> Iterator[dict[str, object]]:
    code = "import sys; from simulator.serve import simulate; sys.exit(simulate(sys.argv[1:]))"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", code, *arguments, "--json"]
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found: dict[str, object] = json.loads(process.stdout.readline())
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=20)
        found["end"] = json.loads(rest)
        assert process.returncode == 0


def test_a_profile_is_served_on_a_port_of_that_name_and_gone_afterwards(tmp_path: Path) -> None:
    with simulated("profile", "energy/eastron_sdm630", "--port", "./ttyGUET", "--address", "3", cwd=tmp_path) as found:
        assert found["simulated"] == [{
            "bus": "bus", "where": "./ttyGUET",
            "devices": [{"name": "appareil", "profile": "energy/eastron_sdm630", "address": 3}],
        }]  # fmt: skip
        client = ModbusSerialClient(str(tmp_path / "ttyGUET"), baudrate=9600, timeout=1, retries=0)
        assert client.connect()
        answer = client.read_input_registers(0, count=2, device_id=3)
        client.close()
        assert 220 < client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32) < 240  # type: ignore[operator]
    assert not (tmp_path / "ttyGUET").is_symlink()
    end = found["end"]
    assert isinstance(end, dict)
    assert end["happened"]["bus"]["requests"] == 1


def test_faults_of_a_command_are_told_together(tmp_path: Path, site_file: Path) -> None:
    with pytest.raises(FileFault) as caught:
        simulate(["site", str(site_file), "--fault", "crc=2", "--fault", "nowhere:crc=0.1", "--fault", "radio:late=1"])
    told = "\n".join(caught.value.faults)
    for said in ("bus 'rs485': faults 'crc=2'", "expected a bus of the site, rs485", "bus 'radio'"):
        assert said in told


def test_what_is_there_already_is_never_replaced(site_file: Path) -> None:
    site = load_site(site_file, PROFILES)
    _servable(site)
    (site_file.parent / "tty485").write_text("precious", "utf-8")
    with pytest.raises(FileFault, match="is there and no link of a simulator"):
        _servable(site)
    (site_file.parent / "tty485").unlink()
    (site_file.parent / "tty485").symlink_to("/dev/null")
    with pytest.raises(FileFault, match="is there and no link of a simulator"):
        _servable(site)


def test_nothing_is_served_to_other_machines(site_file: Path) -> None:
    text = site_file.read_text("utf-8").replace('host = "127.0.0.1"', 'host = "192.168.1.20"')
    site_file.write_text(text, "utf-8")
    with pytest.raises(FileFault) as caught:
        _servable(load_site(site_file, PROFILES))
    assert len(caught.value.faults) == 2
    assert "nothing is simulated for other machines" in caught.value.faults[0]


def test_a_fault_without_a_bus_is_for_all_that_know_it(site_file: Path) -> None:
    site = load_site(site_file, PROFILES)
    found = _faults(["rue:garbled=0.1", "armoire:reset=0.2"], site)
    assert {name: odds[0].kind for name, odds in found.items()} == {"rue": "garbled", "armoire": "reset"}
    assert set(_faults(["silent=0.1"], site)) == {"rs485", "armoire", "pont", "rue", "compteurs"}
