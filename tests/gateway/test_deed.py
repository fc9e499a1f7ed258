"""A whole gateway acting by itself in virtual time: rules on a ventilation unit over Modbus, a street of DALI lamps."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.action import Done
from gateway.app import Gateway, recorded
from gateway.clock import LoopClock
from gateway.profile import load_profile
from gateway.site import parse_site
from gateway.store import FILE
from gateway.trial import tried
from simulator.modbus import Device, Table, TcpServer
from tests.gateway.conftest import living

pytestmark = pytest.mark.virtual_time
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
PARIS = ZoneInfo("Europe/Paris")
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "store"
{extra}
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[device]]
name = "cta"
profile = "ventilation/systemair_save"
bus = "b"
address = 1
[[device]]
name = "l1"
profile = "lighting/intesis_ibmbsdal"
bus = "b"
address = 2
every = "5min"
[[device]]
name = "l2"
profile = "lighting/intesis_ibmbsdal"
bus = "b"
address = 3
every = "5min"
[[permit]]
point = "cta/setpoint"
fail_safe = 20
every = "1s"
[[permit]]
point = "l1/lamp0_level"
by = ["rule"]
[[permit]]
point = "l2/lamp0_level"
by = ["rule"]
[[rule]]
name = "qualite-air"
when = [{{ point = "cta/air_quality", above = 1, for = "5min" }}]
set = [{{ point = "cta/setpoint", value = 22 }}]
alert = {{ kind = "energy_anomaly", severity = "info", text = "Air vicié : consigne relevée." }}
[[rule]]
name = "reduit-nuit"
when = [{{ between = ["19:00", "22:00"] }}]
unless = [{{ point = "cta/frost_alarm", above = 0 }}]
set = [{{ point = "cta/setpoint", value = 16 }}]
[[rule]]
name = "plein-feu"
when = [{{ point = "cta/alarm", equals = 1 }}]
set = [{{ point = "l1/lamp0_level", value = 100 }}, {{ point = "l2/lamp0_level", value = 100 }}]
[[lighting]]
name = "rue-haute"
lamps = ["l1/lamp0_level", "l2/lamp0_level"]
slot = [{{ from = "dusk", level = 100 }}, {{ from = "22:00", level = 50 }}]
"""
AIR, SETPOINT, ALARM, FROST, LEVEL = 1122, 2000, 14002, 15015, 15


def at(text: str) -> float:
    """A local time of the evening of 26 November, or from "24:00" on of the morning after -> UTC seconds."""
    hours, minutes = (int(part) for part in text.split(":"))
    return datetime(2026, 11, 26, tzinfo=PARIS).timestamp() + 3600 * hours + 60 * minutes


class Field:
    """What the gateway has before it: a ventilation unit, and two lamps behind gateways of their own."""

    def __init__(self, server: TcpServer) -> None:
        self.server = server
        self.registers = dict.fromkeys(range(15200), 0) | {SETPOINT: 200}
        self.lamps = [dict.fromkeys(range(600), 0) for _ in range(2)]
        for address, registers in enumerate((self.registers, *self.lamps), 1):
            server.units[address] = Device(address, Table({"holding": registers}), turnaround_s=0.0)
        self.gateway: Gateway

    @property
    def setpoint(self) -> float:
        return self.registers[SETPOINT] / 10

    @property
    def levels(self) -> list[int]:
        return [registers[LEVEL] for registers in self.lamps]

    async def until(self, text: str) -> None:
        await asyncio.sleep(at(text) - self.gateway.clock.now())

    def done(self, point: str) -> list[Done]:
        return [one for one in self.gateway.actions if one.action.point == point]


@asynccontextmanager
async def field(tmp_path: Path, start: str, extra: str = "", text: str = SITE) -> AsyncIterator[Field]:
    async with TcpServer("127.0.0.1", 0, [], silent_absent=True) as server:
        there, clock = Field(server), LoopClock(at(start))
        whole = text.format(port=server.port, extra=extra)
        site = parse_site(whole, "site.toml", tmp_path, lambda name: load_profile(PROFILES, name))
        async with living(site, tmp_path / "store", clock) as there.gateway:
            yield there


async def test_a_rule_writes_and_lets_go_when_its_time_is_over(tmp_path: Path) -> None:
    async with field(tmp_path, "18:55") as there:
        await there.until("18:59")
        assert there.setpoint == 20
        await there.until("19:01")
        assert there.setpoint == 16
        await there.until("21:59")
        assert there.setpoint == 16, "the lease of an hour is renewed all the time"
        await there.until("22:01")
        assert there.setpoint == 20
        told = [(d.action.value, d.action.origin, d.confirmed) for d in there.done("cta/setpoint")]
        assert told == [(16, "rule", True), (20, "fail_safe", True)]


async def test_an_earlier_rule_takes_over_and_gives_back_with_an_alert(tmp_path: Path) -> None:
    async with field(tmp_path, "19:55") as there:
        await there.until("20:00")
        there.registers[AIR] = 2
        await there.until("20:04")
        assert there.setpoint == 16, "five minutes are not over"
        await there.until("20:08")
        assert there.setpoint == 22
        (alert,) = there.gateway.store.open_alerts()
        assert (alert.subject, alert.reasons[0].text) == ("qualite-air", "Air vicié : consigne relevée.")
        there.registers[AIR] = 0
        await there.until("20:12")
        assert there.setpoint == 16
        assert there.gateway.store.open_alerts() == []


async def test_an_interlock_of_a_rule_and_a_lost_device_are_careful(tmp_path: Path) -> None:
    async with field(tmp_path, "19:55") as there:
        await there.until("20:00")
        there.registers[FROST] = 1
        await there.until("20:07")
        assert there.setpoint == 20, "blocked: it lets go"
        there.registers[FROST] = 0
        await there.until("20:14")
        assert there.setpoint == 16
        unit = there.server.units.pop(1)
        await there.until("20:40")
        there.server.units[1] = unit
        await there.until("21:10")
        assert there.setpoint == 16
        causes = {d.action.reason for d in there.done("cta/setpoint") if not d.confirmed}
        assert causes, "while it was away what was tried is on record"


async def test_what_an_interlock_bars_is_tried_ever_more_rarely_and_at_once_when_the_bar_is_gone(
    tmp_path: Path,
) -> None:
    bar = 'fail_safe = 20\nunless = [{{ point = "cta/frost_alarm", above = 0 }}]\n'
    own = 'unless = [{{ point = "cta/frost_alarm", above = 0 }}]\nset = [{{ point = "cta/setpoint", value = 16 }}]'
    text = SITE.replace("fail_safe = 20\n", bar).replace(own, own.partition("\n")[2])
    async with field(tmp_path, "18:50", text=text) as there:
        there.registers[FROST] = 1
        await there.until("19:01")
        assert there.setpoint == 20
        told = there.gateway.acting._told["cta/setpoint"]
        pauses = []
        for minute in range(2, 170):
            await there.until(f"{19 + minute // 60}:{minute % 60}")
            wait_s = told.again_s - there.gateway.clock.monotonic()
            assert wait_s <= 600, "never longer than ten minutes"
            pauses.append(wait_s)
        tries = told.refusals
        assert 18 <= tries <= 26, "10 s, doubled up to ten minutes: 7 in the first ten minutes, then six an hour"
        assert max(pauses[30:]) > 500
        await there.gateway.store.flush()
        with sqlite3.connect(tmp_path / "store" / FILE) as disk:
            rows = disk.execute("select body from outbox where kind = 'audit'").fetchall()
        refusals = [body for (row,) in rows if (body := json.loads(row))["what"] == "refusal"]
        assert len(refusals) == 1, "one reason is told once"
        assert "verrouillage" in refusals[0]["error"]
        await asyncio.sleep(120)
        assert told.again_s - there.gateway.clock.monotonic() > 400, "it would wait long yet"
        there.registers[FROST] = 0
        freed_s = there.gateway.clock.now()
        while there.setpoint != 16:
            assert there.gateway.clock.now() - freed_s < 330, "as soon as the input was read, every five minutes"
            await asyncio.sleep(1)


async def test_a_rule_outranks_the_schedule_of_a_street_and_gives_it_back(tmp_path: Path) -> None:
    async with field(tmp_path, "21:55") as there:
        await there.until("21:59")
        assert there.levels == [100, 100]
        await there.until("22:01")
        assert there.levels == [50, 50]
        there.registers[ALARM] = 1
        await there.until("22:04")
        assert there.levels == [100, 100]
        there.registers[ALARM] = 0
        await there.until("22:07")
        assert there.levels == [50, 50]
        assert [d.action.origin for d in there.done("l1/lamp0_level")][-2:] == ["rule", "lighting"]


async def test_a_lamp_that_is_elsewhere_is_told_again(tmp_path: Path) -> None:
    async with field(tmp_path, "22:00") as there:
        await there.until("22:10")
        there.lamps[0][LEVEL] = 100  # it lost its supply, or somebody moved it
        await there.until("22:21")
        assert there.levels == [50, 50]


async def test_a_dead_lamp_keeps_nobody_dark_and_is_tried_ever_more_rarely(tmp_path: Path) -> None:
    async with field(tmp_path, "16:30") as there:
        unit = there.server.units.pop(2)
        await there.until("17:00")
        assert there.levels == [0, 100]
        await there.until("20:00")
        tries = [d for d in there.done("l1/lamp0_level") if d.action.value == 100]
        assert 12 <= len(tries) <= 26, "30 s, doubled up to ten minutes"
        there.server.units[2] = unit
        await there.until("20:15")
        assert there.levels == [100, 100]


async def test_what_a_rule_held_at_a_kill_is_taken_back_or_taken_up_after_it(tmp_path: Path) -> None:
    async with field(tmp_path, "19:55") as there:
        await there.until("20:00")
        assert there.setpoint == 16
        await there.gateway.store.flush()
    async with field(tmp_path, "15:00") as again:
        again.registers[SETPOINT] = 160  # it is three in the afternoon again: the rule does not want it
        await asyncio.sleep(120)
        assert again.setpoint == 20


async def test_a_dry_site_decides_and_records_and_writes_nothing(tmp_path: Path) -> None:
    async with field(tmp_path, "18:55", "dry_run = true") as there:
        await there.until("22:02")
        assert there.setpoint == 20
        assert there.levels == [0, 0]
        assert {(d.action.point, d.dry_run) for d in there.gateway.actions} == {
            ("cta/setpoint", True), ("l1/lamp0_level", True), ("l2/lamp0_level", True),
        }  # fmt: skip
        assert len(there.gateway.actions) == 6, "lit and dimmed twice; the set-point, and back"


async def test_what_a_gateway_lived_through_can_be_tried_again(tmp_path: Path) -> None:
    async with field(tmp_path, "18:55") as there:
        await there.until("22:30")
        site, clock = there.gateway.site, there.gateway.clock
        lived = [(d.action.point, d.action.value) for d in there.done("cta/setpoint")]
    lines = await recorded(site, clock, at("18:00"), at("22:30"))
    file = tmp_path / "night.csv"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    again = [(d["point"], d["value"]) for d in tried(site, [], file).deeds if d["point"] == "cta/setpoint"]
    assert again == lived == [("cta/setpoint", 16.0), ("cta/setpoint", 20.0)]
