"""From presence to light: what `guet plan` says is the worst, and what a gateway in virtual time then takes."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest

from gateway.app import budgets
from gateway.clock import LoopClock
from gateway.profile import load_profile
from gateway.reaction import Reaction, reactions
from gateway.site import Site, parse_site
from gateway.verbs import plan
from simulator.modbus import Device, Table, TcpServer
from tests.gateway.conftest import HEAD, living

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
NIGHT_S = datetime(2026, 11, 26, 23, 0, tzinfo=ZoneInfo("Europe/Paris")).timestamp()
CABINET = """
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[device]]
name = "radar"
profile = "occupancy/wirenboard_wb_msw_v3"
bus = "b"
address = 1
every = "{every}"
"""
HEARD = """
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "radar"
profile = "occupancy/shelly_blu_motion"
bus = "radio"
address = "A4:C1:38:00:00:01"
"""
STREET = """
[[lighting]]
name = "rue"
lamps = [{lamps}]
slot = [{{ from = "dusk", level = 100 }}, {{ from = "22:00", level = 20 }}]
presence = {{ points = ["radar/motion"], level = 100, above = {above}, hold = "5s" }}
"""
LEVEL = 15


def lamps_on(bus: str, count: int, profile: str, first: int) -> str:
    return "".join(
        f'[[device]]\nname = "l{n}"\nprofile = "lighting/{profile}"\nbus = "{bus}"\naddress = {first + n}\nevery = "1min"\n'
        for n in range(count)
    )


def street(count: int, point: str, above: float = 0) -> str:
    return STREET.format(lamps=", ".join(f'"l{n}/{point}"' for n in range(count)), above=above)


def site_of(text: str, folder: Path = Path()) -> Site:
    return parse_site(HEAD + text, "site.toml", folder, lambda name: load_profile(PROFILES, name))


def reaction(text: str) -> Reaction:
    site = site_of(text)
    (found,) = reactions(site, budgets(site))
    return found


def test_a_sensor_that_is_asked_is_as_slow_as_its_period_and_one_that_speaks_is_not() -> None:
    dali = '[[bus]]\nname = "rue"\nprotocol = "dali-sci"\nport = "/dev/ttyUSB0"\n' + lamps_on(
        "rue", 16, "dali_led_gear", 1
    )
    heard = reaction(HEARD + dali + street(16, "level"))
    assert heard.asked_s is None
    assert heard.worst_s < 0.5, "one command for the street"
    asked = reaction(CABINET.format(port=502, every="60s") + dali + street(16, "level"))
    assert asked.asked_s == 60
    assert 60 < asked.worst_s < 61


def test_lamps_without_groups_are_told_one_after_the_other() -> None:
    dali = '[[bus]]\nname = "rue"\nprotocol = "dali-sci"\nport = "/dev/ttyUSB0"\n'
    one = reaction(HEARD + dali + lamps_on("rue", 1, "dali_led_gear", 1) + street(1, "level"))
    assert one.told_s == pytest.approx(0.086)
    line = '[[bus]]\nname = "rue"\nprotocol = "modbus-rtu"\nport = "/dev/ttyUSB0"\nline = "19200 8E1"\n'
    ten = reaction(HEARD + line + lamps_on("rue", 10, "intesis_ibmbsdal", 2) + street(10, "lamp0_level"))
    two = reaction(HEARD + line + lamps_on("rue", 2, "intesis_ibmbsdal", 2) + street(2, "lamp0_level"))
    assert ten.told_s > 3 * two.told_s > 0


@pytest.mark.virtual_time
async def test_no_street_takes_longer_than_the_plan_says(tmp_path: Path) -> None:
    chance = Random(7)
    async with TcpServer("127.0.0.1", 0, [], silent_absent=True) as server:
        radar = dict.fromkeys(range(400), 0)
        lamps = [dict.fromkeys(range(600), 0) for _ in range(4)]
        server.units[1] = Device(1, Table({"input": radar, "holding": radar}), turnaround_s=0.0)
        for unit, cells in enumerate(lamps, 2):
            server.units[unit] = Device(unit, Table({"holding": cells, "input": cells}), turnaround_s=0.0)
        text = CABINET.format(port=server.port, every="4s") + lamps_on("b", 4, "intesis_ibmbsdal", 2)
        site = site_of(text + street(4, "lamp0_level", 50), tmp_path)
        (told,) = reactions(site, budgets(site))
        motion = site.devices["radar"].points["motion"].address  # type: ignore[attr-defined]
        took: list[float] = []
        async with living(site, tmp_path / "store", LoopClock(NIGHT_S)):
            await asyncio.sleep(90)
            loop = asyncio.get_running_loop()
            for _ in range(40):
                assert {cells[LEVEL] for cells in lamps} == {20}
                await asyncio.sleep(4 * chance.random())
                began_s = loop.time()
                radar[motion] = 200
                while {cells[LEVEL] for cells in lamps} != {100}:
                    await asyncio.sleep(0.005)
                took.append(loop.time() - began_s)
                radar[motion] = 0
                await asyncio.sleep(15)
    assert max(took) <= told.worst_s, (max(took), told)
    assert max(took) > 0.7 * told.worst_s, "and it is no idle threat"


def test_the_verb_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "site.toml"
    text = CABINET.format(port=502, every="30s") + lamps_on("b", 2, "intesis_ibmbsdal", 2) + street(2, "lamp0_level")
    file.write_text(HEAD + text, encoding="utf-8")
    assert plan([str(file)]) == 0
    assert "rue rue : de la présence à la lumière, 30." in capsys.readouterr().out
    assert plan([str(file), "--json"]) == 0
    (bus,) = json.loads(capsys.readouterr().out)
    (presence,) = bus["presence"]
    assert (presence["street"], presence["asked_s"]) == ("rue", 30.0)
