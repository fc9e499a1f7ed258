"""Why a point has no data: each break is found at its own station, with one sentence, one action and a stable id."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.cause import CAUSES
from gateway.doctor import under_voltage
from gateway.errors import WishError
from gateway.jobs import JOBS, WHY
from gateway.language import speaking
from gateway.why import STEPS, Why, WhyWish, lines
from simulator.line import Fault
from simulator.modbus import Area
from tests.gateway.conftest import METER, PRESSURE, Field, built, f32, guet, running, told


async def ask_why(on_site: Field, point: str, line: str = "") -> Why:
    (found,) = await told(on_site.site(line), WHY, WhyWish(point))
    assert isinstance(found, Why)
    return found


def broken_at(found: Why) -> str:
    states = [step.state for step in found.steps]
    if "broken" not in states:
        return ""
    place = states.index("broken")
    assert set(states[place + 1 :]) <= {"unseen"}, "it stops at the first failure"
    assert found.cause.action
    return STEPS[place]


@pytest.fixture
def two(on_site: Field) -> Field:
    """A pressure sensor and a meter that both answer."""
    on_site.model(PRESSURE, 3)
    on_site.model(METER, 4)
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("compteur", METER, 4)
    return on_site


async def test_a_whole_way_breaks_nowhere(two: Field) -> None:
    site = two.site()
    async with two.powered(), running(site, dict(JOBS)):
        (found,) = await told(site, WHY, WhyWish("amont/pressure"))
    assert found.fine
    assert [step.state for step in found.steps] == ["ok"] * 7 + ["note"]
    assert found.value is not None


async def test_where_no_gateway_runs_that_is_the_cause(two: Field) -> None:
    async with two.powered():
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-102", "")
    assert found.value is not None, "the device itself was read"


async def test_a_port_that_is_not_there(two: Field) -> None:
    found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-201", "port")


async def test_a_silent_device_on_a_bus_that_works(two: Field) -> None:
    del two.units[0]
    async with two.powered():
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-401", "address")
    assert "amont" in found.cause.action


async def test_a_bus_on_which_nobody_answers(two: Field) -> None:
    two.units.clear()
    async with two.powered():
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-301", "bus")


async def test_the_only_device_of_a_bus_is_silent(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    async with on_site.powered():
        assert (await ask_why(on_site, "amont")).cause.id == "GUET-408"


async def test_two_devices_on_one_address(two: Field) -> None:
    two.fixed(3, "holding", f32(7.0, 8.0, 9.0))
    async with two.powered():
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-402", "address")


async def test_a_bus_at_the_wrong_speed(two: Field) -> None:
    async with two.powered() as line:
        line.faults.rate, line.faults.choice = 1.0, (Fault("baud"),)
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-302", "bus")


async def test_a_register_that_the_device_has_not(two: Field) -> None:
    two.units[0] = two.fixed(3, "holding", {100: 1})
    two.units.pop()
    async with two.powered():
        found = await ask_why(two, "amont")
    assert (found.cause.id, broken_at(found)) == ("GUET-501", "register")
    assert "guet scan --address 3" in found.cause.action


async def test_a_device_that_is_busy_for_ever(two: Field) -> None:
    async with two.powered() as line:
        line.faults.rate, line.faults.choice = 1.0, (Fault("busy"),)
        assert (await ask_why(two, "amont")).cause.id == "GUET-502"


@pytest.mark.parametrize(("value", "told_id"), [(float("nan"), "GUET-601"), (5000.0, "GUET-602")])
async def test_a_value_that_cannot_be(two: Field, value: float, told_id: str) -> None:
    area: Area = "holding"
    two.units[0] = two.fixed(3, area, dict.fromkeys(range(20), 0) | {2: f32(value)[0], 3: f32(value)[1]})
    two.units.pop()
    async with two.powered():
        found = await ask_why(two, "amont/pressure")
    assert (found.cause.id, broken_at(found)) == (told_id, "value")


async def test_a_platform_that_cannot_be_reached_is_last(two: Field, unused_tcp_port: int) -> None:
    site = two.site(more=f'[upstream]\nurl = "mqtt://127.0.0.1:{unused_tcp_port}"\n')
    async with two.powered(), running(site, dict(JOBS)) as gateway:
        assert gateway.uplink is not None
        async with asyncio.timeout(10):
            while not gateway.uplink.trouble:
                await asyncio.sleep(0.01)
        (found,) = await told(site, WHY, WhyWish("amont/pressure"))
    assert (found.cause.id, broken_at(found)) == ("GUET-801", "platform")


async def test_a_store_that_takes_nothing(two: Field) -> None:
    async with two.powered(), built(two.site()) as gateway:
        gateway.store.fault = "disk I/O error"
        found = await _asked(gateway, "amont/pressure")
    assert (found.cause.id, broken_at(found)) == ("GUET-701", "store")


async def _asked(gateway: Gateway, point: str) -> Why:
    (found,) = [found async for found in WHY.work(gateway, WhyWish(point))]
    return found


async def test_a_point_that_there_is_not_is_said_with_what_there_is(two: Field) -> None:
    with pytest.raises(WishError, match="connus : amont, compteur"):
        await ask_why(two, "aval/pressure")
    with pytest.raises(WishError, match="il a : pressure, temperature"):
        await ask_why(two, "amont/flow")


def test_a_board_that_says_its_supply_was_low(tmp_path: Path) -> None:
    assert not under_voltage(tmp_path)
    sensor = tmp_path / "hwmon1"
    sensor.mkdir()
    (sensor / "name").write_text("rpi_volt\n")
    assert not under_voltage(tmp_path), "a driver that says nothing"
    (sensor / "in0_lcrit_alarm").write_text("1\n")
    assert under_voltage(tmp_path)


FRENCH = """\
1 alimentation  à savoir  la passerelle ne tourne pas ; lecture directe
2 port          bon       {port} 115200 8N1
3 bus           bon       d'autres appareils du bus répondent
4 adresse       ROMPU     À l'adresse 3 rien ne répond, alors que le reste du bus répond
5 registre      non vu
6 valeur        non vu
7 mémoire       non vu
8 plateforme    non vu
→ À l'adresse 3 rien ne répond, alors que le reste du bus répond.
  Vérifiez l'alimentation d'amont, puis son connecteur, puis l'adresse réglée sur l'appareil. [GUET-401]
"""
ENGLISH = """\
1 supply        note      the gateway does not run; read directly
2 port          good      {port} 115200 8N1
3 bus           good      other devices of the bus answer
4 address       BROKEN    At address 3 nothing answers, while the rest of the bus does
5 register      not seen
6 value         not seen
7 store         not seen
8 platform      not seen
→ At address 3 nothing answers, while the rest of the bus does.
  Check the supply of amont, then its connector, then the address that is set on it. [GUET-401]
"""


@pytest.mark.parametrize(("lang", "snapshot"), [("fr", FRENCH), ("en", ENGLISH)])
async def test_what_is_printed(two: Field, lang: str, snapshot: str) -> None:
    del two.units[0]
    two.site()
    async with two.powered():
        code, out, _ = await guet("why", "amont/pressure", folder=two.folder, lang=lang)
        assert (code, out) == (1, snapshot.format(port=two.folder / "tty"))
        code, out, _ = await guet("why", "amont/pressure", "--json", folder=two.folder, lang=lang)
    body = json.loads(out)
    assert (code, body["cause"]["id"], body["steps"][3]["state"]) == (1, "GUET-401", "broken")


async def test_usage_and_files_are_told_apart_from_the_field(two: Field) -> None:
    code, _, err = await guet("why", "nulle/part", folder=two.folder)
    assert (code, "aucun fichier de site" in err) == (2, True)
    two.site()
    code, _, err = await guet("why", "nulle/part", folder=two.folder)
    assert (code, "pas d'appareil 'nulle'" in err) == (2, True)


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_cause_can_be_told(lang: str) -> None:
    import re
    from string import Formatter

    for number, words in CAUSES.items():
        assert re.fullmatch(r"GUET-[1-8]\d\d", number)
        fields = [{field for _, field, _, _ in Formatter().parse(text) if field} for text in words]
        assert fields[0] == fields[1], number
        assert fields[2] == fields[3], number
        with speaking(lang):
            assert words.french != words.english


def test_a_whole_way_is_told_whole() -> None:
    from gateway.cause import Cause
    from gateway.why import Step

    found = Why("a/b", tuple(Step(name, "ok", "") for name in STEPS), Cause("", "", ""), 1.0, "bar", 0.0)
    assert list(lines(found))[-1].startswith("→ Rien n'est rompu")


def test_the_guide_lists_every_cause(root: Path) -> None:
    from gateway.cause import table

    assert (root / "docs/guide/causes.md").read_text("utf-8") == table(), (
        "python -m gateway.cause > docs/guide/causes.md"
    )
