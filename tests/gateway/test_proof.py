"""`guet profile`: a file tried against its own examples, and against a simulated device whose bytes pymodbus makes."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema
import pytest

from gateway.app import PROTOCOLS
from gateway.cli import main
from gateway.codec.modbus import Rtu
from gateway.errors import FileFault
from gateway.link.serial import SerialLink
from gateway.lone import lone_site, profile_given
from gateway.proof import HARMLESS, Row, Verdict, _grouped, asked_rows, heard_rows, profile, remarks
from gateway.site import Device
from simulator.bluez import Advertisement, SimulatedBluez
from simulator.line import Fault, Faults, Line
from simulator.modbus import Device as ModbusDevice
from simulator.modbus import Table
from simulator.model import ModelBeacon, ModelRegisters

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
BAD = """
maker = "Essai"
model = "E-1"
kind = "pump"
protocol = "modbus"
source = "internet"
evidence = "own"
[[point]]
name = "a"
unit = "furlong"
personal = "no"
register = "holding"
address = 10
type = "u16"
[[point]]
name = "b"
unit = "bar"
personal = "no"
register = "holding"
address = 20
type = "f32"
write = {}
[[point]]
name = "c"
unit = "bar"
personal = "no"
register = "holding"
address = 30
type = "u16"
scale = 0.01
range = [0, 1000]
[[point]]
name = "d"
unit = "bar"
personal = "no"
register = "holding"
address = 29
type = "u32"
[[example]]
source = "worked out by hand"
point = "c"
raw = "00 64"
value = 10
"""


Served = tuple[Device, SerialLink, ModelRegisters]


def options(**given: str) -> argparse.Namespace:
    keys = ("protocol", "port", "host", "line", "adapter", "address")
    return argparse.Namespace(**dict.fromkeys(keys, "") | given)


# The file


def test_a_sound_file_is_fine_and_needs_not_be_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_text((PROFILES / "energy/eastron_sdm630.toml").read_text("utf-8"), "utf-8")
    assert main(["--lang", "fr", "profile", "check", str(copy)]) == 0
    told = capsys.readouterr().out
    assert "43 66 33 34" in told
    assert "230.2 V" in told
    assert "bon" in told


def test_every_fault_is_told_with_key_expectation_and_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(BAD, "utf-8")
    assert main(["profile", "check", str(bad)]) == 2
    told = capsys.readouterr().err
    for said in ("source: expected the document", "point[0].unit: unit 'furlong' is not known; use a UCUM code",
                 "point[1].write.min: missing; add it", "point[1].write.max: missing; add it",
                 "point 'c'.range: expected it within 0 to 655.35", "points 'c' and 'd' overlap",
                 "example[0]: '00 64' gives 1.0 for 'c', the example says 10.0"):  # fmt: skip
        assert said in told
    assert main(["profile", "check", str(bad), "--json"]) == 2
    body = json.loads(capsys.readouterr().out)
    assert len(body["faults"]) == 7


def test_machines_get_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "check", "energy/wirenboard_map3e_fw2", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["faults"] == []
    assert body["examples"][0] == {
        "point": "power", "raw": "00 02 fa f0", "value": pytest.approx(999.99744), "unit": "W", "verdict": "good",
        "why": "Integer arithmetic by the template's scale (0.00512 W), high word first: 0x0002FAF0 is 195312, 999.99744 W",
    }  # fmt: skip
    assert "readings" not in body
    assert any("energy/wirenboard_map3e_fw1" in remark for remark in body["remarks"])


def test_what_is_no_fault_and_should_be_known_is_said() -> None:
    _, found = profile_given("energy/eastron_sdm72", PROFILES)
    assert any("aucun exemple ne vient d'ailleurs" in remark for remark in remarks(found))
    _, found = profile_given("energy/carlo_gavazzi_em24", PROFILES)
    told = "\n".join(remarks(found))
    assert "aucun exemple pour des nombres écrits ainsi : power_factor, frequency" in told


def test_the_schema_is_printed_and_takes_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads((PROFILES / "profile.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": "/dev/x", "address": "300"}, "address"),
        ({"port": "/dev/x", "line": "9600 9X1"}, "line"),
        ({"protocol": "dali-sci", "port": "/dev/x"}, "dali-sci"),
        ({"host": "1.2.3.4", "port": "99999"}, "port"),
        ({"address": "3"}, "port"),
    ],
)
def test_options_are_checked_as_a_site_file_is(given: dict[str, str], said: str) -> None:
    with pytest.raises(FileFault) as caught:
        lone_site("energy/eastron_sdm630", profile_given("energy/eastron_sdm630", PROFILES)[1], options(**given))
    assert any(said in fault for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "given", "bus"),
    [
        ("energy/eastron_sdm630", {"port": "/dev/x"}, ("modbus-rtu", "9600 8N1")),
        ("water/siemens_mag6000", {"port": "/dev/x", "line": "19200 8E1"}, ("modbus-rtu", "19200 8E1")),
        ("energy/eastron_sdm630", {"host": "10.0.0.9"}, ("modbus-tcp", 502)),
        ("energy/eastron_sdm630", {"host": "h", "port": "4001", "protocol": "modbus-rtu-tcp"}, ("modbus-rtu-tcp", 4001)),
        ("lighting/d4i_driver", {"port": "/dev/x", "address": "5"}, ("dali-sci", "")),
        ("waste/bthome_bin", {"address": "a4:c1:38:00:00:01"}, ("ble", "hci0")),
    ],
)  # fmt: skip
def test_what_is_not_said_follows_from_the_profile(name: str, given: dict[str, str], bus: tuple[str, object]) -> None:
    site = lone_site(name, profile_given(name, PROFILES)[1], options(**given))
    found = site.buses["bus"]
    shown = getattr(found, "adapter", None) or (found.port if hasattr(found, "host") else getattr(found, "line", None))
    assert (found.protocol, shown) == bus


# A device


@asynccontextmanager
async def line_of(
    name: str, faults: Faults[Fault] | None = None
) -> AsyncIterator[tuple[Device, SerialLink, ModelRegisters]]:
    """A simulated device of that profile on a real pseudo-terminal, the gateway's link to it, and what is inside."""
    found = profile_given(name, PROFILES)[1]
    site = lone_site(name, found, options(port="/dev/x", address="3"))
    device = site.devices["appareil"]
    inside = ModelRegisters(found, lambda: 1.7e9, 1, "d")  # type: ignore[arg-type]
    async with Line(38400, "8N1", units=[ModbusDevice(3, inside)], faults=faults) as line:
        link = SerialLink(line.port, "38400 8N1")
        yield device, link, inside
        await link.close()


async def rows_of(device: Device, link: SerialLink) -> list[Row]:
    return [row async for row in asked_rows(device, Rtu(), link)]


async def test_every_point_of_a_device_is_shown_with_its_bytes() -> None:
    async with line_of("energy/eastron_sdm630") as (device, link, _):
        rows = await rows_of(device, link)
        assert [row.point for row in rows] == list(device.points)
        assert all(row.verdict == "good" and row.raw and len(row.raw) == 4 for row in rows)
        assert 220 < (rows[0].value or 0) < 240
        assert await _grouped(device, Rtu(), link, rows) == []


async def test_a_value_beyond_the_range_and_no_value_are_told_apart() -> None:
    async with line_of("pump/grundfos_magna3") as (device, link, inside):
        inside.values.held |= {"differential_pressure": None, "liquid_temperature": 250.0}
        by_name = {row.point: row for row in await rows_of(device, link)}
        assert by_name["differential_pressure"].verdict == "no_value"
        assert by_name["liquid_temperature"].verdict == "outside"
        assert by_name["liquid_temperature"].value == pytest.approx(250.0, abs=0.02)
        assert "vérifier type, ordre des mots et échelle" in by_name["liquid_temperature"].why


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("crc", "garbled"), ("illegal", "refused"), ("busy", "refused"), ("silent", "silent"), ("foreign", "garbled")],
)
async def test_what_goes_wrong_is_the_verdict_and_never_a_number(kind: str, verdict: Verdict) -> None:
    async with line_of("energy/eastron_sdm630", Faults(1.0, [Fault(kind)])) as (device, link, _):  # type: ignore[arg-type]
        rows = await rows_of(device, link)
        assert rows[0].verdict == verdict
        assert all(row.value is None and row.why for row in rows)


async def test_nobody_there_is_not_asked_for_every_point() -> None:
    async with line_of("energy/eastron_sdm630", Faults(1.0, [Fault("silent")])) as (device, link, _):
        rows = await rows_of(device, link)
        assert [row.verdict for row in rows] == ["silent", "silent", "unasked", "unasked"]


async def test_a_port_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    found = profile_given("energy/eastron_sdm630", PROFILES)[1]
    site = lone_site("energy/eastron_sdm630", found, options(port=str(tmp_path / "nothing"), address="3"))
    link = PROTOCOLS["modbus-rtu"].open(site.buses["bus"])
    rows = await rows_of(site.devices["appareil"], link)  # type: ignore[arg-type]
    assert [row.verdict for row in rows] == ["port", "unasked", "unasked", "unasked"]


async def test_limits_that_are_not_the_device_s_show_when_points_are_read_together() -> None:
    """A device that has its points and nothing between them, though the profile says that holes may be read."""
    name = "energy/eastron_sdm630"
    async with line_of(name) as (device, link, inside):
        cells = {at: 0 for point in device.points.values() for at in (point.address, point.address + 1)}  # type: ignore[union-attr]
        bare = Table({"input": {at: inside.read("input", at, 1)[0] for at in cells}})
        inside.read = bare.read  # type: ignore[method-assign]
        rows = await rows_of(device, link)
        assert all(row.verdict in HARMLESS for row in rows)
        told = await _grouped(device, Rtu(), link, rows)
        assert told
        assert "réduire max_read ou max_hole" in told[0]


async def test_a_beacon_is_heard_point_by_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, mac = "waste/bthome_bin", "A4:C1:38:00:00:01"
    found = profile_given(name, PROFILES)[1]
    site = lone_site(name, found, options(address=mac))
    async with SimulatedBluez(str(tmp_path / "bluez")) as radio:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.address)
        protocol, beacon = PROTOCOLS["ble"], ModelBeacon(found, lambda: 1.7e9, 1, "d")  # type: ignore[arg-type]

        async def advertise() -> None:
            while True:
                radio.advertise(Advertisement("A4:C1:38:00:00:02", {"fcd2": b"\x40\x01\x61"}))
                radio.advertise(Advertisement(mac, {"fcd2": beacon.service_data()}))
                await asyncio.sleep(0.02)

        task = asyncio.create_task(advertise())
        ear = protocol.open(site.buses["bus"])
        rows = [
            row
            async for row in heard_rows(
                site.devices["appareil"], protocol.codec["bthome"](site.devices["appareil"]), ear, 10
            )
        ]  # type: ignore[arg-type,index]
        await ear.close()
        assert {row.point: row.verdict for row in rows} == dict.fromkeys(site.devices["appareil"].points, "good")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ear = protocol.open(site.buses["bus"])
        rows = [
            row
            async for row in heard_rows(
                site.devices["appareil"], protocol.codec["bthome"](site.devices["appareil"]), ear, 0.3
            )
        ]  # type: ignore[arg-type,index]
        await ear.close()
        assert {row.verdict for row in rows} == {"silent"}
