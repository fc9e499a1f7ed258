"""Actions: within limits, read back, recorded whatever came of them; refused, with nothing on the bus, otherwise.

The device is a simulated Modbus server on a real loopback socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.action import READ_BACK_TRIES, Action, Done, Gate
from gateway.clock import LoopClock
from gateway.codec.modbus import Tcp
from gateway.errors import ActionError
from gateway.link.tcp import TcpLink
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
"""


class Stuck(Table):
    """A device that confirms a write (the read right after it) and does not obey."""

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        self.cells["coil"] = dict(enumerate(values, address))

    def read(self, area: Area, address: int, count: int) -> list[int]:
        told = self.cells.pop("coil", None)
        return [told[address]] if told else Table.read(self, area, address, count)


class Opened:
    def __init__(self, gate: Gate, server: TcpServer, records: list[Done]) -> None:
        self.gate, self.server, self.records, self.online = gate, server, records, True


@asynccontextmanager
async def opened(table: type[Table] = Table) -> AsyncIterator[Opened]:
    pump = Device(1, table({"holding": dict.fromkeys(range(10), 0)}), turnaround_s=0.0)
    async with TcpServer("127.0.0.1", 0, [pump], silent_absent=True) as server:
        site = parse_site(
            SITE.format(port=server.port), "site.toml", Path(),
            lambda name: parse_profile(PROFILE, name) if name == "pump/test" else load_profile(PROFILES, name),
        )  # fmt: skip
        link, codec, clock, records = TcpLink("127.0.0.1", server.port), Tcp(), LoopClock(1e9), list[Done]()
        devices = [device for device in site.devices.values() if device.bus == "b"]
        bus = PolledBus("b", link, codec, devices, clock, lambda snapshot: None)
        all_ = Opened(None, server, records)  # type: ignore[arg-type]  # set below
        all_.gate = Gate(site, {"b": bus}, clock, lambda: all_.online, records.append)
        yield all_
        await link.close()


async def test_an_action_is_done_read_back_and_recorded() -> None:
    async with opened() as it:
        done = await it.gate.perform(Action("pompe/speed", 42.5, "essai"))
        assert (done.confirmed, done.read_back, done.error, done.while_offline) == (True, 42.5, "", False)
        assert it.records == [done]
        assert done.as_json() == {
            "what": "action", "time": "2001-09-09T01:46:40Z", "point": "pompe/speed", "value": 42.5, "reason": "essai",
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
        ("pompe/speed", 9.99, "expected 10 to 80 %"),
        ("pompe/speed", float("nan"), "expected 10 to 80 %"),
        ("pompe/speed", float("inf"), "expected 10 to 80 %"),
        ("pompe/status", 1.0, "allows no write"),
        ("pompe/colour", 1.0, "no such point"),
        ("autre/speed", 1.0, "no such point"),
        ("pompe", 1.0, "no such point"),
        ("", 1.0, "no such point"),
        ("bac/distance", 100.0, "allows no write"),
        ("porte/door_speed", 100.0, "allows no write"),
        ("porte/door_state", 0.0, "allows no write"),
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
        assert it.server.requests == 2 * READ_BACK_TRIES
        assert it.records == [done]


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
        assert it.records == [done]


async def test_an_action_cut_short_is_recorded_as_not_confirmed() -> None:
    async with opened() as it:
        it.server.units.clear()
        task = asyncio.create_task(it.gate.perform(Action("pompe/speed", 20, "essai")))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (done,) = it.records
        assert not done.confirmed
        assert "interrupted" in done.error
