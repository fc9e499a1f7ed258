"""A classroom that is heated for nobody: presence, rule, permit, thermostat on a simulated RS-485 line behind a converter,
with the real gateway in virtual time; and what the site says of itself in plain French."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.app import Gateway, recorded
from gateway.clock import LoopClock
from gateway.errors import SiteError
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.trial import explained, tried
from simulator.heating import Presence, Room, Thermostat
from simulator.modbus import Device, RtuOverTcp
from tests.gateway.conftest import living

pytestmark = pytest.mark.virtual_time
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
PARIS = ZoneInfo("Europe/Paris")
SITE = """
[gateway]
id = "ecole"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "store"
[[bus]]
name = "rs485"
protocol = "modbus-rtu-tcp"
host = "127.0.0.1"
port = {port}
[[device]]
name = "capteur"
profile = "occupancy/wirenboard_wb_msw_v3"
bus = "rs485"
address = 11
[[device]]
name = "thermostat"
profile = "heating/beca_bht006"
bus = "rs485"
address = 12
[[permit]]
point = "thermostat/setpoint"
min = {least}
max = 22
fail_safe = 20
every = "1min"
dwell = "10min"
lease = "30min"
unless = [{{ point = "thermostat/temperature", below = 12, until = 14 }}]
[[rule]]
name = "absence"
when = [
    {{ point = "capteur/motion_max", below = 40, for = "45min" }},
    {{ between = ["08:00", "05:00"] }},
]
set = [{{ point = "thermostat/setpoint", value = {reduced} }}]
"""


def at(text: str) -> float:
    """A local time of 26 November, or from "24:00" on of the morning after -> UTC seconds."""
    hours, minutes = (int(part) for part in text.split(":"))
    return datetime(2026, 11, 26, tzinfo=PARIS).timestamp() + 3600 * hours + 60 * minutes


def at_school(time_s: float) -> bool:
    """Somebody is there from half past eight to half past four."""
    return at("8:30") <= time_s < at("16:30")


class Classroom:
    """What the gateway has before it."""

    def __init__(self, now: Callable[[], float], outside_c: float, present: Callable[[float], bool]) -> None:
        self.room = Room(lambda time_s: outside_c, now())
        self.thermostat = Thermostat(self.room, now)
        self.devices = [Device(11, Presence(self.room, now, present)), Device(12, self.thermostat)]
        self.gateway: Gateway
        self.line: RtuOverTcp

    async def until(self, text: str) -> None:
        await asyncio.sleep(at(text) - self.gateway.clock.now())
        self.room.until(self.gateway.clock.now())


def site_of(folder: Path, port: int = 1, least: float = 15, reduced: float = 16) -> Site:
    text = SITE.format(port=port, least=least, reduced=reduced)
    return parse_site(text, "site.toml", folder, lambda name: load_profile(PROFILES, name))


@asynccontextmanager
async def classroom(
    tmp_path: Path, start: str, outside_c: float = 3.0, present: Callable[[float], bool] = at_school
) -> AsyncIterator[Classroom]:
    clock = LoopClock(at(start))
    there = Classroom(clock.now, outside_c, present)
    async with RtuOverTcp("127.0.0.1", 0, there.devices) as line:
        there.line = line
        async with living(site_of(tmp_path, line.port), tmp_path / "store", clock) as there.gateway:
            yield there


async def test_an_empty_room_is_lowered_after_the_hold_time_and_warm_again_for_the_morning(tmp_path: Path) -> None:
    async with classroom(tmp_path, "16:00") as there:
        await there.until("17:10")
        assert there.thermostat.written == [], "empty for forty minutes only"
        await there.until("17:20")
        assert there.thermostat.written == [16]
        await there.until("28:55")
        assert there.room.setpoint_c == 16, "the lease is renewed all night"
        assert 15.5 < there.room.temperature_c < 18
        await there.until("29:05")
        assert there.thermostat.written == [16, 20], "preheated from five o'clock"
        await there.until("32:00")
        assert there.room.temperature_c > 19.3
        done = [(d.action.value, d.action.origin, d.confirmed, d.read_back) for d in there.gateway.actions]
        assert done == [(16, "rule", True, 16), (20, "fail_safe", True, 20)]


async def test_who_comes_in_has_it_warm_again_at_once(tmp_path: Path) -> None:
    def evening(time_s: float) -> bool:
        return at_school(time_s) or at("19:00") <= time_s < at("19:30")

    async with classroom(tmp_path, "16:00", present=evening) as there:
        await there.until("18:59")
        assert there.room.setpoint_c == 16
        await there.until("19:03")
        assert there.room.setpoint_c == 20
        await there.until("20:10")
        assert there.room.setpoint_c == 20, "held for three quarters of an hour after the last one left"
        await there.until("20:20")
        assert there.room.setpoint_c == 16


async def test_a_sensor_that_is_lost_leaves_nobody_in_the_cold(tmp_path: Path) -> None:
    async with classroom(tmp_path, "16:00") as there:
        await there.until("18:00")
        assert there.room.setpoint_c == 16
        del there.line.units[0]
        await there.until("18:10")
        assert there.room.setpoint_c == 20


async def test_frost_takes_it_back_and_keeps_it_back(tmp_path: Path) -> None:
    async with classroom(tmp_path, "16:00") as there:
        await there.until("18:00")
        assert there.room.setpoint_c == 16
        there.room.temperature_c = 11.0  # a window was left open in the cold
        there.room.most_kw = 3.0
        await there.until("18:05")
        assert there.room.setpoint_c == 20
        await there.until("21:00")
        assert there.room.temperature_c < 14
        assert there.room.setpoint_c == 20, "not lowered again before 14 degrees"
        assert all(value >= 15 for value in there.thermostat.written)


async def test_the_thermostat_keeps_comfort_when_the_gateway_goes_and_is_told_so_when_it_returns(
    tmp_path: Path,
) -> None:
    async with classroom(tmp_path, "16:00") as there:
        await there.until("18:00")
        assert there.room.setpoint_c == 16
        await there.gateway.store.flush()
    async with classroom(tmp_path, "29:30") as again:  # back while the room is preheated
        again.room.setpoint_c = 16.0
        await again.until("29:35")
        assert again.room.setpoint_c == 20


@pytest.mark.parametrize(
    ("least", "reduced", "said"), [(5, 16, "profile's 7 to 26"), (15, 12, "15"), (7, 5, "7")], ids=str
)
def test_no_site_can_ask_for_frost(tmp_path: Path, least: float, reduced: float, said: str) -> None:
    with pytest.raises(SiteError, match=said):
        site_of(tmp_path, least=least, reduced=reduced)


def test_the_site_says_in_french_what_it_will_do(tmp_path: Path) -> None:
    lines = "\n".join(explained(site_of(tmp_path)))
    assert "quand capteur/motion_max" in lines
    assert "au-dessous de 40 depuis 45min et entre 08:00 et 05:00" in lines
    assert "écrire 16 °C à thermostat/setpoint ; ensuite 20 °C ; si une entrée est perdue : 20 °C" in lines
    assert "thermostat/setpoint : 15 … 22 °C (règle), valeur sûre 20, bail 30 min, interdit si" in lines


async def test_what_it_lived_through_can_be_tried_again(tmp_path: Path) -> None:
    async with classroom(tmp_path, "16:00") as there:
        await there.until("29:10")
        lived = [(d.action.point, d.action.value) for d in there.gateway.actions]
        site, clock = there.gateway.site, there.gateway.clock
    lines = await recorded(site, clock, at("16:00"), at("29:10"))
    file = tmp_path / "night.csv"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert [(d["point"], d["value"]) for d in tried(site, [], file).deeds] == lived


def test_what_a_lower_night_saves_is_the_heat_that_the_walls_did_not_lose() -> None:
    nights = []
    for lowered in (True, False):
        room = Room(lambda time_s: 3.0, at("17:15"))
        room.setpoint_c = 16.0 if lowered else 20.0
        room.until(at("29:00"))
        room.setpoint_c = 20.0
        room.until(at("41:00"))
        nights.append(room)
    saved = nights[1].heat_kwh - nights[0].heat_kwh
    assert abs(nights[0].temperature_c - nights[1].temperature_c) < 0.05, "as warm in the end"
    assert 5 < saved < 0.25 * 4 * 14, "less than if it had been 16 degrees all the while"
