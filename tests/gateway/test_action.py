"""Actions: within limits and permits, read back, recorded whatever came of them, taken back when a lease ends; refused, with
nothing on the bus, otherwise. The device is a simulated Modbus server on a real loopback socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.action import WRITES, Action, Done, Gate
from gateway.clock import LoopClock
from gateway.codec.modbus import Tcp
from gateway.condition import Picture
from gateway.errors import ActionError, NotNow
from gateway.link.tcp import TcpLink
from gateway.permit import Ledger, Origin
from gateway.poll import PolledBus
from gateway.profile import load_profile, parse_profile
from gateway.site import parse_site
from simulator.modbus import Area, Device, Table, TcpFault, TcpServer

pytestmark = pytest.mark.virtual_time
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
PROFILE = """
maker = "Essai"
model = "E-1"
kind = "pump"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
[modbus]
patience_ms = 100
[[point]]
name = "speed"
unit = "%"
personal = "no"
register = "holding"
address = 1
type = "u16"
scale = 0.1
write = { min = 10, max = 80 }
[[point]]
name = "setpoint"
unit = "bar"
personal = "no"
register = "holding"
address = 2
type = "f32"
write = { min = 0, max = 10 }
[[point]]
name = "status"
unit = "1"
personal = "no"
register = "holding"
address = 9
type = "u16"
[[example]]
source = "worked out by hand"
point = "speed"
raw = "00 7B"
value = 12.3
"""
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "pompe"
profile = "pump/test"
bus = "b"
address = 1
[[device]]
name = "porte"
profile = "lift/gros_sdk500"
bus = "b"
address = 2
[[device]]
name = "bac"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:01"
[[permit]]
point = "pompe/speed"
by = ["rule", "remote"]
max = 70
fail_safe = 10
every = "0.5s"
dwell = "60s"
lease = "10min"
unless = [{ point = "pompe/status", equals = 9 }]
[[permit]]
point = "pompe/setpoint"
fail_safe = 0
"""


class Stuck(Table):
    """A device that confirms a write (the read right after it) and does not obey."""

    writes = 0

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self.writes += 1
        self.cells["coil"] = dict(enumerate(values, address))

    def read(self, area: Area, address: int, count: int) -> list[int]:
        told = self.cells.pop("coil", None)
        return [told[address]] if told else Table.read(self, area, address, count)


class Opened:
    def __init__(self, server: TcpServer, records: list[Done]) -> None:
        self.gate: Gate
        self.server, self.records, self.online = server, records, True
        self.status: float | None = 0.0
        self.state: dict[str, Any] = {}
        self.registers: dict[int, int] = {}
        self.table: Any = None

    def look(self) -> Picture:
        return Picture(1e9, {"pompe/status": self.status})

    def keep(self, state: dict[str, Any]) -> None:
        self.state = state

    @property
    def speed(self) -> float:
        return self.registers[1] / 10


@asynccontextmanager
async def opened(table: type[Table] = Table, extra: str = "") -> AsyncIterator[Opened]:
    registers = dict.fromkeys(range(10), 0)
    answering = table({"holding": registers})
    pump = Device(1, answering, turnaround_s=0.0)
    async with TcpServer("127.0.0.1", 0, [pump], silent_absent=True) as server:
        site = parse_site(
            SITE.replace("{port}", str(server.port)) + extra, "site.toml", Path(),
            lambda name: parse_profile(PROFILE, name) if name == "pump/test" else load_profile(PROFILES, name),
        )  # fmt: skip
        link, codec, clock, records = TcpLink("127.0.0.1", server.port), Tcp(), LoopClock(1e9), list[Done]()
        devices = [device for device in site.devices.values() if device.bus == "b"]
        bus = PolledBus("b", link, codec, devices, clock, lambda snapshot: None)
        all_ = Opened(server, records)
        all_.registers, all_.table = registers, answering
        ledger = Ledger(site.permits, site.setups, site.place)
        all_.gate = Gate(site, ledger, {"b": bus}, clock, lambda: all_.online, records.append, all_.look, all_.keep)
        watching = asyncio.create_task(all_.gate.run())
        yield all_
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await link.close()


async def test_an_action_is_done_read_back_and_recorded() -> None:
    async with opened() as it:
        done = await it.gate.perform(Action("pompe/speed", 42.5, "essai"))
        assert (done.confirmed, done.read_back, done.error, done.while_offline) == (True, 42.5, "", False)
        assert it.records == [done]
        assert done.as_json() == {
            "what": "action", "time": "2001-09-09T01:46:40Z", "point": "pompe/speed", "value": 42.5, "reason": "essai",
            "origin": "rule",
            "read_back": 42.5, "confirmed": True, "while_offline": False, "error": "",
        }  # fmt: skip


async def test_an_action_while_the_network_is_gone_says_so() -> None:
    async with opened() as it:
        it.online = False
        assert (await it.gate.perform(Action("pompe/speed", 20, "essai"))).while_offline


@pytest.mark.parametrize(
    ("point", "value", "read_back"), [("speed", 42.56, 42.6), ("setpoint", 0.1, 0.10000000149011612)]
)
async def test_a_value_that_the_device_must_round_is_confirmed(point: str, value: float, read_back: float) -> None:
    async with opened() as it:
        done = await it.gate.perform(Action(f"pompe/{point}", value, "essai"))
        assert (done.confirmed, done.read_back) == (True, read_back)


@pytest.mark.parametrize(
    ("point", "value", "said"),
    [
        ("pompe/speed", 81.0, "expected 10 to 80 %, got 81"),
        ("pompe/speed", 71.0, "permit.* allows 10 to 70, got 71"),
        ("pompe/speed", 9.99, "expected 10 to 80 %"),
        ("pompe/speed", float("nan"), "expected 10 to 80 %"),
        ("pompe/speed", float("inf"), "expected 10 to 80 %"),
        ("pompe/status", 1.0, "gives no limits of a write"),
        ("pompe/colour", 1.0, "no such point"),
        ("autre/speed", 1.0, "no such point"),
        ("pompe", 1.0, "no such point"),
        ("", 1.0, "no such point"),
        ("bac/distance", 100.0, "gives no limits"),
        ("porte/door_speed", 100.0, "observed and never written"),
        ("porte/door_state", 0.0, "observed and never written"),
    ],
)
async def test_what_may_not_be_done_is_refused_and_nothing_is_sent(point: str, value: float, said: str) -> None:
    async with opened() as it:
        with pytest.raises(ActionError, match=said) as caught:
            await it.gate.perform(Action(point, value, "essai"))
        assert "nothing was written" in str(caught.value)
        assert (it.server.requests, it.records) == (0, [])


async def test_a_device_that_does_not_obey_is_no_exception_but_is_not_confirmed() -> None:
    async with opened(Stuck) as it:
        done = await it.gate.perform(Action("pompe/speed", 20, "essai"))
        assert (done.confirmed, done.read_back) == (False, 0.0)
        assert done.error == "expected 20 back, got 0.0"
        assert it.table.writes == WRITES + WRITES, "what it was told, and the way back"
        assert [(r.action.value, r.action.origin) for r in it.records] == [(20, "rule"), (10, "fail_safe")]
        assert it.records[0] == done


async def test_a_lost_answer_is_tried_again() -> None:
    async with opened() as it:
        it.server.faults.add(TcpFault("silent"))
        done = await it.gate.perform(Action("pompe/speed", 20, "essai"))
        assert done.confirmed
        assert len(it.records) == 1


async def test_a_dead_device_is_recorded_too() -> None:
    async with opened() as it:
        it.server.units.clear()
        done = await it.gate.perform(Action("pompe/speed", 20, "essai"))
        assert (done.confirmed, done.read_back) == (False, None)
        assert "no answer" in done.error
        assert it.records[0] == done
        assert it.records[1].action.origin is Origin.FAIL_SAFE, "it may have heard: it is told the safe value too"


async def test_an_action_cut_short_is_recorded_as_not_confirmed() -> None:
    async with opened() as it:
        it.server.units.clear()
        task = asyncio.create_task(it.gate.perform(Action("pompe/speed", 20, "essai")))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        done = it.records[0]
        assert not done.confirmed
        assert "interrupted" in done.error


async def test_without_a_permit_nothing_is_written() -> None:
    async with opened() as it:
        for origin in (Origin.LIGHTING, Origin.SETUP, Origin.FAIL_SAFE):
            with pytest.raises(ActionError, match="nothing was written"):
                await it.gate.perform(Action("pompe/speed", 20, "essai", origin))
        with pytest.raises(ActionError, match=r"permit.* is for rule, not for remote"):
            await it.gate.perform(Action("pompe/setpoint", 2, "essai", Origin.REMOTE))
        assert (it.server.requests, it.records) == (0, [])


@pytest.mark.parametrize(("status", "why"), [(9.0, "pompe/status vaut 9"), (None, "une entrée est perdue")])
async def test_an_interlock_forbids_and_what_cannot_be_known_forbids_too(status: float | None, why: str) -> None:
    async with opened() as it:
        it.status = status
        with pytest.raises(ActionError, match=why):
            await it.gate.perform(Action("pompe/speed", 20, "essai"))
        assert (it.server.requests, it.records) == (0, [])


async def test_an_interlock_that_comes_up_takes_back_what_was_written() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        it.status = 9.0
        it.gate.changed.set()
        await asyncio.sleep(1)
        assert it.speed == 10
        assert it.records[-1].action.reason == "retour à la valeur sûre : verrouillage : pompe/status vaut 9"
        assert it.gate.ledger.holds == {}


async def test_a_lease_that_is_not_renewed_ends_in_the_fail_safe_value() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        await asyncio.sleep(590)
        it.gate.ledger.renew("pompe/speed", 590.0)
        await asyncio.sleep(590)
        assert it.speed == 20, "renewed after ten minutes less ten seconds"
        await asyncio.sleep(20)
        assert it.speed == 10
        assert [r.action.origin for r in it.records] == ["rule", "fail_safe"]


async def test_a_lease_asked_for_is_no_longer_than_the_permit_allows() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai", Origin.REMOTE, lease_s=120.0))
        await asyncio.sleep(121)
        assert it.speed == 10
        await asyncio.sleep(60)
        await it.gate.perform(Action("pompe/speed", 20, "essai", Origin.REMOTE, lease_s=1e6))
        await asyncio.sleep(601)
        assert it.speed == 10


async def test_rate_and_dwell_say_how_long_to_wait() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        with pytest.raises(NotNow, match=r"at most every 0\.5 s") as caught:
            await it.gate.perform(Action("pompe/speed", 20, "essai"))
        assert 0 < caught.value.wait_s <= 0.5
        await asyncio.sleep(1)
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        await asyncio.sleep(1)
        with pytest.raises(NotNow, match="20 has to stay for 60 s") as caught:
            await it.gate.perform(Action("pompe/speed", 30, "essai"))
        await asyncio.sleep(caught.value.wait_s)
        assert (await it.gate.perform(Action("pompe/speed", 30, "essai"))).confirmed


async def test_a_rule_outranks_a_remote_command_and_not_the_other_way_round() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai", Origin.REMOTE))
        await asyncio.sleep(61)
        await it.gate.perform(Action("pompe/speed", 30, "essai", Origin.RULE))
        await asyncio.sleep(61)
        with pytest.raises(NotNow, match="rule holds it at 30 and outranks remote"):
            await it.gate.perform(Action("pompe/speed", 20, "essai", Origin.REMOTE))
        assert it.speed == 30


async def test_a_return_that_a_device_does_not_confirm_is_tried_again_ever_more_rarely() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        unit = it.server.units.pop(1)
        await asyncio.sleep(600 + 4 * 3600)
        tries = [r for r in it.records if r.action.origin is Origin.FAIL_SAFE]
        assert 8 <= len(tries) <= 13, "30 s, doubled up to an hour"
        it.server.units[1] = unit
        await asyncio.sleep(3700)
        assert it.speed == 10
        assert it.records[-1].confirmed
        count = len(it.records)
        await asyncio.sleep(86400)
        assert len(it.records) == count, "once it is back, all is said"


async def test_what_was_held_at_a_power_cut_returns_after_it() -> None:
    async with opened() as it:
        await it.gate.perform(Action("pompe/speed", 20, "essai"))
        saved = it.state
        assert saved["holds"]["pompe/speed"]["until_s"] == pytest.approx(1e9 + 600, abs=2)
    async with opened() as it:
        it.registers[1] = 200
        it.gate.ledger.restore(saved, 0.0, 1e9 + 300)
        it.gate.changed.set()
        await asyncio.sleep(10)
        assert it.speed == 20, "the lease has five minutes left"
        await asyncio.sleep(300)
        assert it.speed == 10


async def test_a_lease_from_the_future_is_over() -> None:
    async with opened() as it:
        hold = {"value": 20.0, "origin": "rule", "since_s": 2e9, "until_s": 2e9 + 600}
        it.gate.ledger.restore({"holds": {"pompe/speed": hold, "gone/point": hold}}, 0.0, 1e9)
        it.gate.changed.set()
        await asyncio.sleep(1)
        assert it.speed == 10


@pytest.mark.parametrize("how", ["site", "permit", "action"])
async def test_a_dry_run_checks_and_records_and_writes_nothing(how: str) -> None:
    extra = {"permit": "dry_run = true", "site": "", "action": ""}[how]
    async with opened(extra=extra) as it:
        if how == "site":
            it.gate._site = replace(it.gate._site, gateway=it.gate._site.gateway.model_copy(update={"dry_run": True}))
        point = "pompe/setpoint"
        done = await it.gate.perform(Action(point, 2.0, "essai", dry_run=how == "action"))
        assert (done.dry_run, done.confirmed, it.server.requests) == (True, False, 0)
        assert it.records[0].as_json()["dry_run"] is True
        with pytest.raises(ActionError, match="expected 0 to 10"):
            await it.gate.perform(Action(point, 11.0, "essai", dry_run=True))


class Slow(Table):
    """A device that gets where it is told within some seconds, and begins anew when told again."""

    writes = 0

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self.writes += 1
        self.told, self.since_s = values[0], asyncio.get_running_loop().time()
        self.cells["coil"] = {address: values[0]}

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if (told := self.cells.pop("coil", None)) is not None:
            return [told[address]]
        share = min(1.0, (asyncio.get_running_loop().time() - self.since_s) / 3.0)
        return [round(self.told * share)]


async def test_a_device_on_its_way_is_not_told_again() -> None:
    async with opened(Slow) as it:
        done = await it.gate.perform(Action("pompe/speed", 50, "essai"))
        assert (done.confirmed, done.read_back, it.table.writes) == (True, 50, 1)


async def test_what_expires_while_another_write_to_its_point_is_under_way_is_not_begun() -> None:
    async with opened(Stuck) as there:
        slow = asyncio.create_task(there.gate.perform(Action("pompe/speed", 30.0, "essai")))
        await asyncio.sleep(0.1)
        assert there.table.writes == 1, "it is being read back"
        late = Action("pompe/speed", 40.0, "essai", Origin.REMOTE, before_s=1e9 + 0.2)
        with pytest.raises(ActionError, match="expired while another write"):
            await there.gate.perform(late)
        assert not (await slow).confirmed
        assert all(done.action.value != 40 for done in there.records)
