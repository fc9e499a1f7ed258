"""Finding who answers on a bus, and what is wrong there: every planted fault is named by its cause."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import home
from gateway.clock import SystemClock
from gateway.errors import WishError
from gateway.jobs import JOBS, SCAN
from gateway.look import Account, Finding, Found, Row, ScanWish
from gateway.profile import load_profile
from gateway.scan import addresses_of, heading, lines
from gateway.site import Site, load_site
from simulator.bluez import Advertisement, SimulatedBluez
from simulator.can import Adapter as CanAdapter
from simulator.can import SimulatedSlcan
from simulator.dali import Adapter, SimulatedSci
from simulator.line import Fault
from simulator.mbus import Meter, water_meter
from simulator.modbus import Device, TcpServer
from simulator.model import ModelBeacon, ModelGear, ModelNode, ModelRegisters
from tests.gateway.conftest import HEAD, METER, PRESSURE, Field, guet, running, told

ORNO = "energy/orno_we514"


@pytest.fixture(autouse=True)
def _french(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    monkeypatch.setattr("gateway.look.PATIENCE_S", 0.03)
    monkeypatch.setattr("gateway.look.SLOW_PATIENCE_S", 0.3)
    monkeypatch.setattr("gateway.look.LOW", tuple(range(1, 12)))
    monkeypatch.setattr("gateway.look.COMMON_LINES", ("9600 8E1", "19200 8E1"))


class Looked:
    """The rows of one scan, sorted out."""

    def __init__(self, rows: list[Row]) -> None:
        self.found = {row.address: row for row in rows if isinstance(row, Found)}
        self.causes = [(row.device, row.cause.id) for row in rows if isinstance(row, Finding)]
        self.sentences = [row.cause.sentence for row in rows if isinstance(row, Finding)]
        self.accounts = [row for row in rows if isinstance(row, Account)]

    @property
    def account(self) -> Account:
        (account,) = self.accounts
        return account


async def look(site: Site, **wish: object) -> Looked:
    return Looked(await told(site, SCAN, ScanWish(**wish)))  # type: ignore[arg-type]


async def looked(on_site: Field, line: str = "", **wish: object) -> Looked:
    async with on_site.powered():
        return await look(on_site.site(line), **wish)


@pytest.fixture
def two(on_site: Field) -> Field:
    """A pressure sensor and a meter, both expected and there."""
    on_site.model(PRESSURE, 3)
    on_site.model(METER, 4)
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("compteur", METER, 4)
    return on_site


async def test_everybody_expected_is_there_and_nobody_else_is_looked_for(two: Field) -> None:
    two.model(PRESSURE, 20)
    found = await looked(two)
    assert found.causes == []
    assert {address: (one.expected, one.fits) for address, one in found.found.items()} == {
        3: ("amont", True),
        4: ("compteur", True),
    }
    assert (found.account.expected, found.account.found) == (2, 2)
    assert found.account.requests < 12, "it stops when all are found"


async def test_every_address_only_when_asked(two: Field) -> None:
    two.model(PRESSURE, 20)
    found = await looked(two, addresses=(3, 20))
    assert found.causes == [("", "GUET-407")]
    assert found.found[20].proposals[0].profile == PRESSURE


async def test_an_exception_answer_means_present(on_site: Field) -> None:
    on_site.fixed(7, "coil", {9999: 1})
    on_site.expect("amont", PRESSURE, 3)
    found = await looked(on_site)
    assert found.found[7].state == "refuses"
    assert "exception 2" in found.found[7].evidence
    assert set(found.causes) == {("amont", "GUET-401"), ("", "GUET-407")}


async def test_two_devices_on_one_address(two: Field) -> None:
    two.model(METER, 3, name="intrus", seed=5)
    found = await looked(two)
    assert found.causes == [("amont", "GUET-402")]
    assert found.found[3].state == "garbled"
    assert found.found[4].fits, "the others are clear"


async def test_the_whole_line_is_at_another_speed(two: Field) -> None:
    two.speed, two.framing = 19200, "8N1"
    found = await looked(two, line="9600 8N1")
    assert found.causes == [("", "GUET-304")]
    assert "réglé sur 9600 8N1, ses appareils répondent en 19200 8" in found.sentences[0]
    assert found.account.suspended_s > 0


async def test_a_parity_that_nobody_understands(on_site: Field) -> None:
    on_site.model(PRESSURE, 3)
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("aval", PRESSURE, 5)
    async with on_site.powered() as line:
        line.faults.rate, line.faults.choice = 1.0, (Fault("parity"),)
        found = await look(on_site.site())
    assert found.causes == [("", "GUET-306")]
    assert "9600 8E1" in found.sentences[0]
    assert found.found == {}, "silence: no unit takes a request whose bytes do not fit"


async def test_garbage_from_everybody_is_no_silence(two: Field) -> None:
    async with two.powered() as line:
        line.faults.rate, line.faults.choice = 1.0, (Fault("baud"),)
        found = await look(two.site())
    assert found.causes == [("", "GUET-302")]


async def test_nobody_at_all(two: Field) -> None:
    two.units.clear()
    assert (await looked(two)).causes == [("", "GUET-306")]


async def test_swapped_addresses_are_named_as_such(two: Field) -> None:
    two.units[0].address, two.units[1].address = 4, 3
    found = await looked(two)
    assert found.causes == [("amont", "GUET-406")]
    assert found.sentences == ["amont (adresse 3) et compteur (adresse 4) sont échangés"]


async def test_a_device_at_another_address(two: Field) -> None:
    two.units[0].address = 11
    found = await looked(two)
    assert found.causes == [("amont", "GUET-405")]
    assert "adresse 11" in found.sentences[0]


async def test_a_wrong_register_map_and_the_profile_that_fits(two: Field) -> None:
    two.units.pop()
    two.model(ORNO, 4)
    found = await looked(two)
    assert found.causes == [("compteur", "GUET-504")]
    best = found.found[4].proposals
    assert ORNO in [one.profile for one in best]
    shown = {value.point: value.value for one in best if one.profile == ORNO for value in one.values}
    assert shown
    assert all(value is not None for value in shown.values()), "with what each would show now"


async def test_a_device_that_names_itself_is_sure(on_site: Field) -> None:
    unit = on_site.model(ORNO, 4)
    on_site.units[0] = Device(4, unit.registers, 0.002, {0: "ORNO", 1: "OR-WE-514", 2: "1.0"})
    on_site.expect("amont", PRESSURE, 4)
    found = await looked(on_site)
    assert found.found[4].identity == "ORNO OR-WE-514 1.0"
    assert (found.found[4].proposals[0].profile, found.found[4].proposals[0].sure) == (ORNO, True)


async def test_a_dead_sensor_beside_living_ones(two: Field) -> None:
    two.expect("aval", PRESSURE, 5)
    found = await looked(two)
    assert found.causes == [("aval", "GUET-401")]


class Drowsy(Device):
    """Takes its time for the first two answers."""

    drowsy = 2

    def answer(self, frame: bytes) -> bytes | None:
        data = super().answer(frame)
        if data is not None:
            self.turnaround_s = 1.5 if self.drowsy else 0.002
            self.drowsy = max(0, self.drowsy - 1)
        return data


async def test_who_is_slow_to_answer_is_not_looked_for_at_another_speed(two: Field) -> None:
    two.framing = "8E1"  # a pseudo-terminal has no parity: at 8N1 the slow one is heard, too
    two.units[1] = Drowsy(4, two.units[1].registers)
    found = await looked(two)
    assert (found.causes, found.account.suspended_s) == ([], 0.0)
    assert found.found[4].fits


async def test_polling_goes_on_at_the_bus_s_own_setting(two: Field) -> None:
    site = two.site()
    async with two.powered(), running(site, dict(JOBS)) as gateway:
        found = await look(site, every=False, addresses=tuple(range(1, 12)))
        assert gateway.live.latest["amont"]
        assert (found.account.polling, found.account.suspended_s, found.causes) == (True, 0.0, [])
        states = gateway.live.states()
        assert all(not state.words.startswith("muet") for state in states), "a scan makes nobody lost"


async def test_after_other_settings_polling_finds_its_own_again(two: Field) -> None:
    two.expect("aval", PRESSURE, 5)
    site = two.site()
    async with two.powered(), running(site, dict(JOBS)) as gateway:
        found = await look(site)
        assert found.causes == [("aval", "GUET-401")]
        assert found.account.suspended_s > 0
        before = gateway.live.latest["amont"]["pressure"].time_s
        async with asyncio.timeout(5):
            while gateway.live.latest["amont"]["pressure"].time_s <= before:
                await asyncio.sleep(0.05)
        assert gateway.live.latest["amont"]["pressure"].value is not None


async def test_no_port_is_no_silence(two: Field) -> None:
    assert (await look(two.site())).causes == [("", "GUET-201")]


# Other buses


def tcp_site(folder: Path, port: int, devices: str) -> Site:
    path = folder / "site.toml"
    bus = f'[[bus]]\nname = "ligne"\nprotocol = "modbus-tcp"\nhost = "127.0.0.1"\nport = {port}\n'
    path.write_text(HEAD + bus + devices, "utf-8")
    return load_site(path, home() / "device_profiles")


async def test_units_behind_a_tcp_gateway(on_site: Field) -> None:
    on_site.model(PRESSURE, 3)
    on_site.model(METER, 9)
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("compteur", METER, 4)
    async with TcpServer("127.0.0.1", 0, on_site.units) as server:
        found = await look(tcp_site(on_site.folder, server.port, "".join(on_site.entries)))
    assert found.causes == [("compteur", "GUET-405")]


async def test_a_tcp_device_that_answers_to_any_address_is_one(on_site: Field) -> None:
    registers = on_site.model(PRESSURE, 0).registers
    on_site.expect("amont", PRESSURE, 3)
    async with TcpServer("127.0.0.1", 0, [Device(0, registers)]) as server:
        found = await look(tcp_site(on_site.folder, server.port, on_site.entries[0]))
    assert (found.causes, list(found.found)) == ([], [3])
    assert "répond à toute adresse" in found.account.said


async def test_no_connection_at_all(on_site: Field, unused_tcp_port: int) -> None:
    on_site.expect("amont", PRESSURE, 3)
    found = await look(tcp_site(on_site.folder, unused_tcp_port, on_site.entries[0]))
    assert found.causes == [("", "GUET-204")]


LAMPS = """
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "{port}"
[[device]]
name = "lampe-1"
profile = "lighting/dali_led_gear"
bus = "rue"
address = 5
[[device]]
name = "lampe-2"
profile = "lighting/dali_led_gear"
bus = "rue"
address = 6
"""


async def test_lamps_on_dali(on_site: Field) -> None:
    profile = load_profile(home() / "device_profiles", "lighting/dali_led_gear")
    clock = SystemClock().now
    gears = [ModelGear(profile, address, clock, 1, f"g{n}") for n, address in enumerate((5, 9))]  # type: ignore[arg-type]
    path = on_site.folder / "site.toml"
    path.write_text(HEAD + LAMPS.format(port=on_site.folder / "sci"), "utf-8")
    async with SimulatedSci(Adapter(gears), link=on_site.folder / "sci"):
        found = await look(load_site(path, home() / "device_profiles"))
    assert found.found[5].fits
    assert found.causes == [("lampe-2", "GUET-405")]


RADIO = """
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "bac"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:01"
[[device]]
name = "bac-loin"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:02"
"""


async def test_beacons_that_are_heard(on_site: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile(home() / "device_profiles", "waste/bthome_bin")
    beacon = ModelBeacon(profile, SystemClock().now, 1, "bac")  # type: ignore[arg-type]
    path = on_site.folder / "site.toml"
    path.write_text(HEAD + RADIO, "utf-8")
    async with SimulatedBluez(str(on_site.folder / "bluez")) as radio:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.address)

        async def speak() -> None:
            while True:
                for address in ("A4:C1:38:00:00:01", "A4:C1:38:00:00:77"):
                    radio.advertise(Advertisement(address, {"fcd2": beacon.service_data()}))
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        found = await look(load_site(path, home() / "device_profiles"), seconds=3.0)
        speaking.cancel()
    assert (found.found["A4:C1:38:00:00:01"].expected, found.found["A4:C1:38:00:00:01"].fits) == ("bac", True)
    assert "waste/bthome_bin" in [one.profile for one in found.found["A4:C1:38:00:00:77"].proposals]
    assert found.causes == [("bac-loin", "GUET-403")]


SHAFT = """
[[bus]]
name = "gaine"
protocol = "slcan"
port = "{port}"
[[device]]
name = "cabine"
profile = "lift/baumer_gxp5_417"
bus = "gaine"
address = 9
"""


async def test_nodes_of_a_lift_that_are_overheard(on_site: Field) -> None:
    """A node is there once anything that it sends is heard; one that is not is told with words for a bus, not a radio."""
    path, link = on_site.folder / "site.toml", on_site.folder / "can"
    path.write_text(HEAD + SHAFT.format(port=link), "utf-8")
    site = load_site(path, home() / "device_profiles")
    device = site.devices["cabine"]
    async with SimulatedSlcan(
        CanAdapter(), [ModelNode(device.profile, 9, time.time, 1, "cabine")], time.time, link=link
    ):  # type: ignore[arg-type]
        found = await look(site, seconds=3.0)
    assert {row.expected for row in found.found.values()} == {"cabine"}
    assert (found.causes, found.account.expected, found.account.found) == ([], 1, 1)
    other = ModelNode(device.profile.model_copy(update={"point": device.profile.point[2:]}), 10, time.time, 1, "x")  # type: ignore[arg-type]
    async with SimulatedSlcan(CanAdapter(), [other], time.time, link=link):
        found = await look(site, seconds=3.0)
    assert (found.causes, found.account.found) == ([("cabine", "GUET-409")], 0)
    assert (await look(site, seconds=3.0)).causes == [("", "GUET-201")]


LIFT = """
[[bus]]
name = "can"
protocol = "slcan"
port = "{port}"
[[device]]
name = "cabine"
profile = "lift/elgo_limax2"
bus = "can"
address = 4
"""


async def test_nodes_on_a_can_bus_are_overheard(on_site: Field) -> None:
    profile = load_profile(home() / "device_profiles", "lift/elgo_limax2")
    clock = SystemClock().now
    nodes = [ModelNode(profile, number, clock, 1, f"n{number}") for number in (4, 12)]  # type: ignore[arg-type]
    path = on_site.folder / "site.toml"
    path.write_text(HEAD + LIFT.format(port=on_site.folder / "can"), "utf-8")
    site = load_site(path, home() / "device_profiles")
    assert (await look(site)).causes == [("", "GUET-201")]
    async with SimulatedSlcan(CanAdapter(), nodes, clock, link=on_site.folder / "can"):
        found = await look(site, seconds=4.0, every=True)
    assert found.causes == []
    assert (found.found[4].expected, found.found[4].fits) == ("cabine", True)
    assert found.found[12].expected == ""
    async with SimulatedSlcan(CanAdapter(), [], clock, link=on_site.folder / "can"):
        assert (await look(site, seconds=2.0)).causes == [("", "GUET-307")]


WATER = """
[[bus]]
name = "ligne"
protocol = "mbus"
port = "{port}"
line = "2400 8E1"
[[device]]
name = "compteur-eau"
profile = "water/{profile}"
bus = "ligne"
address = {address}
"""


async def test_a_meter_on_m_bus_by_its_number(on_site: Field) -> None:
    on_site.speed, on_site.framing = 2400, "8E1"
    on_site.units.append(Meter(5, water_meter(lambda: 1234.0, lambda: 120.0), 10_000_005))  # type: ignore[arg-type]
    path = on_site.folder / "site.toml"
    for address, causes in (("5", []), ("'10000005'", []), ("'10000006'", [("compteur-eau", "GUET-408")])):
        text = WATER.format(port=on_site.folder / "tty", profile="itron_cyble", address=address)
        path.write_text(HEAD + text, "utf-8")
        async with on_site.powered():
            found = await look(load_site(path, home() / "device_profiles"))
        assert [cause for cause in found.causes if cause[1] not in ("GUET-504", "GUET-506")] == causes


# The command


@pytest.mark.parametrize("wish", [{"bus": "x"}, {"addresses": (300,)}, {"lines": ("9600",)}, {"seconds": 0.0}])
async def test_what_cannot_be_asked_is_refused(two: Field, wish: dict[str, object]) -> None:
    with pytest.raises(WishError, match="--"):
        await look(two.site(), **wish)


FRENCH = """\
bus                        adr  réponse    attendu                état
ligne                        3  oui        amont                  attendu ✔
ligne                        4  oui        compteur               attendu ✔
→ À l'adresse 5 rien ne répond, alors que le reste du bus répond.
  Vérifiez l'alimentation d'aval, puis son connecteur, puis l'adresse réglée sur l'appareil. [GUET-401]
"""
ENGLISH = """\
bus                       addr  answer     expected               state
ligne                        3  yes        amont                  expected ✔
ligne                        4  yes        compteur               expected ✔
→ At address 5 nothing answers, while the rest of the bus does.
  Check the supply of aval, then its connector, then the address that is set on it. [GUET-401]
"""


@pytest.mark.parametrize(("lang", "snapshot"), [("fr", FRENCH), ("en", ENGLISH)])
async def test_what_is_told(two: Field, lang: str, snapshot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", lang)
    two.expect("aval", PRESSURE, 5)
    async with two.powered():
        rows = await told(two.site(), SCAN, ScanWish(addresses=(3, 4, 5)))
    *shown, last = [line for row in rows for line in lines(row)]
    assert "\n".join([heading(), *shown]) + "\n" == snapshot
    assert last.startswith("ligne (modbus-rtu 115200 8N1)")


async def test_the_command_prints_a_table_and_ends_well(two: Field) -> None:
    two.site()
    async with two.powered():
        code, out, err = await guet("scan", "site.toml", folder=two.folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == FRENCH.splitlines()[:3]


async def test_a_port_can_be_looked_at_before_there_is_a_site(on_site: Field) -> None:
    on_site.model(ORNO, 2)
    async with on_site.powered():
        command = ("scan", "--port", str(on_site.folder / "tty"), "--line", "115200 8N1", "--address", "2", "--json")
        code, out, err = await guet(*command, folder=on_site.folder)
        assert (code, err) == (0, "")
        found, account = (json.loads(line) for line in out.splitlines())
        assert (found["address"], found["proposals"][0]["profile"], account["found"]) == (2, ORNO, 1)
        assert [path.name for path in on_site.folder.iterdir()] == ["tty"], "nothing is left behind"
    code, out, _ = await guet(*command, folder=on_site.folder)
    assert (code, json.loads(out.splitlines()[0])["cause"]["id"]) == (1, "GUET-201")
    code, _, err = await guet("scan", "--port", "/dev/x", "--line", "fast", folder=on_site.folder)
    assert (code, "line" in err) == (2, True)


async def test_without_a_site_other_speeds_are_tried(on_site: Field) -> None:
    on_site.speed, on_site.framing = 19200, "8E1"
    on_site.model(PRESSURE, 2)
    async with on_site.powered():
        command = ("scan", "--port", str(on_site.folder / "tty"), "--line", "9600 8E1", "--address", "2", "--json")
        code, out, _ = await guet(*command, folder=on_site.folder)
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, rows[0]["line"], rows[1]["cause"]["id"]) == (1, "19200 8E1", "GUET-304")


async def test_an_interrupt_keeps_what_was_found(two: Field) -> None:
    two.units.pop(0)  # address 3 is silent, and then other settings are tried for it, for seconds
    two.site()
    environment = {**os.environ, "GUET_HOME": str(home()), "PYTHONPATH": str(home())}
    async with two.powered():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli", "scan", "--address", "4", "--address", "3", "--json",
            cwd=two.folder, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(20):
            first = await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert (json.loads(first)["address"], json.loads(first)["expected"]) == (4, "compteur")
    assert process.returncode == 130
    assert b"Traceback" not in err


async def test_what_a_device_says_cannot_move_the_cursor(on_site: Field) -> None:
    registers = ModelRegisters(load_profile(home() / "device_profiles", ORNO), SystemClock().now, 1, "x")  # type: ignore[arg-type]
    on_site.units.append(Device(3, registers, 0.002, {0: "\x1b[2J\x1b]0;pwn\x07", 1: "x" * 60, 2: "1"}))
    on_site.expect("amont", PRESSURE, 3)
    on_site.site()
    async with on_site.powered():
        _, out, err = await guet("scan", folder=on_site.folder)
    assert "\x1b" not in out + err
    assert "pwn" in out


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", ()),
        ("12", (12,)),
        ("1-4", (1, 2, 3, 4)),
        (" 3, 7;20 - 22 ", (3, 7, 20, 21, 22)),
        ("5 5-6", (5, 6)),
    ],
)
def test_addresses_are_named_one_by_one_or_from_to(text: str, addresses: tuple[int, ...]) -> None:
    assert addresses_of(text) == addresses


@given(st.text(max_size=40))
def test_any_text_gives_addresses_or_a_sentence(text: str) -> None:
    with suppress(WishError):
        assert all(0 <= address <= 250 for address in addresses_of(text))
