"""Nodes of our own: they are told the time, and what they kept is taken once, whatever comes in between.

The node is a simulated Modbus server with a journal, on a real loopback socket; tests/firmware has the real one.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import ScaledClock
from gateway.codec.modbus import Tcp
from gateway.errors import ActionError, ProfileError
from gateway.link.tcp import TcpLink
from gateway.node import STARTS_REMEMBERED, WRITTEN_WITHIN_S, Nodes
from gateway.outbox import Outbox
from gateway.point import AnyPoint
from gateway.poll import PolledBus
from gateway.profile import ModbusProfile, load_profile, parse_profile
from gateway.site import Device as SiteDevice
from gateway.store import Store
from gateway.summary import Aggregate, Summary
from simulator.modbus import Area, Device, IllegalAddress, TcpServer

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
NOW_S = 1_790_000_000.0


class StillClock(ScaledClock):
    """Moved by the test."""

    def __init__(self) -> None:
        super().__init__(NOW_S, 0.0, 1.0)
        self.at_s = NOW_S
        self.trusted = True

    def now(self) -> float:
        return self.at_s


@dataclass(eq=False)
class Node:
    """What is inside: records as (time_s, flags, kind, value, start), numbered from `first` on."""

    boots: int = 1
    uptime_s: int = 1000
    first: int = 0
    kept: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    busy: int = 1
    """How often a request for records is refused so before it is answered."""

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if area != "input" or address + count > 41:
            raise IllegalAddress
        cells = [0] * 41
        last = self.first + len(self.kept)
        for at, number in ((6, self.boots), (8, self.uptime_s), (13, self.first), (20, last)):
            cells[at : at + 2] = [number >> 16, number & 0xFFFF]
        return cells[address : address + count]

    def write(self, area: Area, address: int, values: Any) -> None:
        if (area, address, len(values)) != ("holding", 0, 2):
            raise IllegalAddress
        self.told.append(values[0] << 16 | values[1])


class NodeDevice(Device):
    """Answers function 0x14 out of the node's records; the rest is pymodbus's."""

    def __init__(self, node: Node) -> None:
        super().__init__(1, node, turnaround_s=0.0)
        self.node, self.waited, self.files, self.dies_after = node, 0, 0, math.inf

    def respond(self, body: bytes) -> bytes:
        if body[0] != 0x14:
            return super().respond(body)
        self.files += 1
        if self.files > self.dies_after:
            return b"\x94\x04"
        self.waited += 1
        if self.waited <= self.node.busy:
            return b"\x94\x06"
        self.waited = 0
        _, _, _, file, register, count = struct.unpack(">BBBHHH", body)
        at = (file - 0x8000) * 1024 + register // 6
        data = b""
        for number in range(at, at + count // 6):
            time_s, flags, kind, value, start = self.node.kept[number - self.node.first]
            data += struct.pack(">IBBHHH", time_s, flags, kind, value, start, number & 0xFFFF)
        return bytes((0x14, len(data) + 2, len(data) + 1, 6)) + data


@dataclass
class Bench:
    """Gateway's side and node's side."""

    nodes: Nodes
    device: SiteDevice
    node: Node
    server: NodeDevice
    store: Store
    clock: StillClock
    bus: PolledBus

    def readings(self) -> list[tuple[float, dict[str, Any]]]:
        """All readings that are to be sent, with their times."""
        rows = self.store.rows("select time_s, body from outbox where kind = 'reading' order by seq")
        return [(time_s, json.loads(body)["values"]) for time_s, body in rows]


def telling(bus: PolledBus, clock: StillClock) -> Callable[[SiteDevice, AnyPoint], Awaitable[None]]:
    return lambda device, point: bus.write(device, point, clock.now())


@asynccontextmanager
async def bench(tmp_path: Path, profile: str = "guet/pressure", node: Node | None = None) -> AsyncIterator[Bench]:
    clock, node = StillClock(), node or Node()
    known = load_profile(PROFILES, profile)
    device = SiteDevice("noeud", profile, known, "b", 1, "", 10.0, {point.name: point for point in known.point})
    server = NodeDevice(node)
    async with TcpServer("127.0.0.1", 0, [server]) as tcp, Store.open(tmp_path / "data", clock) as store:
        link = TcpLink("127.0.0.1", tcp.port)
        bus = PolledBus("b", link, Tcp(), [device], clock, lambda snapshot: None)
        yield Bench(Nodes({"b": bus}, store, clock, telling(bus, clock)), device, node, server, store, clock, bus)
        await link.close()


def minutes(since_s: float, count: int, value: int = 5000) -> list[tuple[int, int, int, int, int]]:
    return [(int(since_s) + 60 * n, 0, 1, value + n, 1) for n in range(count)]


async def test_the_time_is_told_while_ours_is_trusted(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.nodes.tend(b.device, None)
        assert b.node.told == [int(NOW_S)]
        b.clock.at_s += 3600.4
        await b.nodes.tend(b.device, math.inf)
        assert b.node.told == [int(NOW_S), int(NOW_S) + 3600]
        b.clock.trusted = False
        await b.nodes.tend(b.device, None)
        assert len(b.node.told) == 2


async def test_the_time_is_told_every_hour_to_who_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.node.EVERY_S", 0.05)
    async with bench(tmp_path) as b:
        task = asyncio.create_task(b.nodes.run())
        await asyncio.sleep(0.2)
        assert b.node.told == [], "it was never heard"
        b.bus.health["noeud"].answered(NOW_S)
        async with asyncio.timeout(10):
            while len(b.node.told) < 3:
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_kept_while_nobody_asked_comes_once_with_its_times(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = minutes(NOW_S - 3000, 50)
        await b.nodes.tend(b.device, NOW_S - 1800)
        expected = [(NOW_S - 3000 + 60 * n, {"pressure_mean": 5000.0 + n}) for n in range(20, 50)]
        assert b.readings() == expected
        await b.nodes.tend(b.device, NOW_S - 1800)
        await b.nodes.tend(b.device, math.inf)
        assert b.readings() == expected


async def test_what_the_node_still_had_in_memory_comes_with_the_next_hour(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = minutes(NOW_S - 600, 5)
        await b.nodes.tend(b.device, NOW_S - 600)
        b.node.kept = minutes(NOW_S - 600, 70)  # five before the return, and an hour in which it was polled
        b.clock.at_s += 3600
        await b.nodes.tend(b.device, math.inf)
        assert [time_s for time_s, _ in b.readings()] == [NOW_S - 600 + 60 * n for n in range(11)]
        b.node.kept = minutes(NOW_S - 600, 130)
        b.clock.at_s += max(3600, WRITTEN_WITHIN_S)
        await b.nodes.tend(b.device, math.inf)
        assert len(b.readings()) == 11


async def test_a_gateway_that_was_off_asks_from_the_last_period_it_polled(tmp_path: Path) -> None:
    def summary(start_s: float, n: int) -> Summary:
        value = 5.0 if n else None
        return Summary("noeud", start_s, 900.0, {"pressure": Aggregate(n, 1, value, value, value, value)})

    async with bench(tmp_path) as b:
        b.store.add_summary(summary(NOW_S - 5400, 90))
        b.store.add_summary(summary(NOW_S - 4500, 0))  # it was lost by then
        await b.store.flush()
        b.node.kept = minutes(NOW_S - 7200, 120)
        await b.nodes.tend(b.device, None)
        assert [time_s for time_s, _ in b.readings()] == [NOW_S - 5400 + 60 * n for n in range(90)]


async def test_a_journal_that_breaks_off_is_taken_whole_the_next_time(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = minutes(NOW_S - 6000, 100)
        b.server.dies_after = 5
        await b.nodes.tend(b.device, NOW_S - 6000)
        assert b.readings() == []
        b.server.dies_after = math.inf
        b.clock.at_s += 3600
        again = Nodes(
            {"b": b.bus}, b.store, b.clock, telling(b.bus, b.clock)
        )  # the gateway may have been restarted meanwhile
        await again.tend(b.device, math.inf)
        assert len(b.readings()) == 100


async def test_a_lift_is_told_nothing_and_dated_by_how_long_it_has_been_up(tmp_path: Path) -> None:
    node = Node(boots=4, uptime_s=500)
    async with bench(tmp_path, "guet/lift", node) as b:
        await b.nodes.tend(b.device, None)  # this start is known from now on
        node.kept = [(100, 1, 1, 0xFFF6, 3), (200, 1, 1, 7, 4), (450, 1, 1, 8, 4)]
        node.boots, node.uptime_s = 5, 60
        node.kept.append((30, 1, 1, 9, 5))
        b.clock.at_s += 7200
        await b.nodes.tend(b.device, NOW_S - 1000)
        assert b.readings() == [
            (NOW_S - 300, {"score": 7.0}), (NOW_S - 50, {"score": 8.0}), (NOW_S + 7200 - 30, {"score": 9.0}),
        ]  # fmt: skip
        assert node.told == []
        pressure = load_profile(PROFILES, "guet/pressure")
        assert isinstance(pressure, ModbusProfile)
        assert pressure.clock is not None
        with pytest.raises(ActionError, match="never written to"):
            await b.bus.write(b.device, pressure.clock.point, NOW_S)


async def test_an_overwritten_part_is_counted_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = minutes(NOW_S - 600, 3)
        await b.nodes.tend(b.device, NOW_S - 600)
        b.node.first, b.node.kept = 40, minutes(NOW_S, 2)
        b.clock.at_s += 600
        await b.nodes.tend(b.device, NOW_S)
        assert len(b.readings()) == 5
        assert "37 overwritten" in caplog.text


async def test_another_node_in_its_place_gives_all_it_has(tmp_path: Path) -> None:
    async with bench(tmp_path, node=Node(boots=9)) as b:
        b.node.kept = minutes(NOW_S - 600, 10)
        await b.nodes.tend(b.device, NOW_S - 600)
        b.node.boots, b.node.kept = 1, minutes(NOW_S, 4, value=100)
        b.clock.at_s += 600
        await b.nodes.tend(b.device, NOW_S)
        assert b.readings()[-4:] == [(NOW_S + 60 * n, {"pressure_mean": 100.0 + n}) for n in range(4)]


async def test_what_is_no_value_or_from_the_future_or_unknown_is_not_a_number(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = [
            (int(NOW_S) - 60, 0, 1, 0xFFFF, 1),  # the sentinel
            (int(NOW_S) - 50, 0, 1, 40000, 1),  # beyond the range
            (int(NOW_S) + 9000, 0, 1, 5000, 1),
            (40, 1, 1, 5000, 77),  # of a start that nobody knows
            (int(NOW_S) - 40, 0, 255, 0, 1),  # flash was damaged
        ]
        await b.nodes.tend(b.device, NOW_S - 100)
        assert b.readings() == [(NOW_S - 60, {"pressure_mean": None}), (NOW_S - 50, {"pressure_mean": None})]


async def test_a_device_that_refuses_its_journal_is_told_the_time_all_the_same(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.server.dies_after = 0
        b.node.kept = minutes(NOW_S - 60, 1)
        await b.nodes.tend(b.device, NOW_S - 600)
        assert b.readings() == []
        assert b.node.told == [int(NOW_S)]


async def test_only_so_many_starts_are_remembered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for boots in range(1, 40):
            b.node.boots = boots
            await b.nodes.tend(b.device, math.inf)
        assert [start for start, _ in b.store.state("journal/noeud")["starts"]] == list(
            range(40 - STARTS_REMEMBERED, 40)
        )


async def test_records_are_sent_once_the_outbox_has_them(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.node.kept = minutes(NOW_S - 600, 10)
        await b.nodes.tend(b.device, NOW_S - 600)
        assert Outbox(b.store).pending_rows() == 10


PROFILE = """
maker = "Essai"
model = "E-1"
kind = "{kind}"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
{more}
[[point]]
name = "a"
unit = "1"
personal = "no"
register = "holding"
address = 3
type = "u32"
[[example]]
source = "worked out by hand"
point = "a"
raw = "00 00 00 07"
value = 7
"""


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("lift_door", "[clock]\naddress = 0", "clock: a lift_door is observed and never written to"),
        ("lift", "[clock]\naddress = 0", "clock: a lift is observed and never written to"),
        ("pump", "[clock]\naddress = 65535", "clock.address"),
        ("pump", "[clock]\nadress = 0", "clock.adress: unknown key"),
        (
            "pump",
            '[journal]\npoints = { 1 = "a" }',
            "journal.points.1: expected a point of type 'u16' or 'i16', got 'a'",
        ),
        (
            "pump",
            '[journal]\npoints = { 1 = "b" }',
            "journal.points.1: expected a point of type 'u16' or 'i16', got 'b'",
        ),
        ("pump", '[journal]\npoints = { 0 = "a" }', "journal.points.0"),
        ("pump", "[journal]\npoints = {}", "journal.points"),
    ],
)
def test_a_profile_that_asks_for_what_must_not_be_does_not_load(kind: str, more: str, said: str) -> None:
    with pytest.raises(ProfileError) as error:
        parse_profile(PROFILE.format(kind=kind, more=more), "essai/e1")
    assert any(said in fault for fault in error.value.faults), error.value.faults
