"""Polling: a device that fails costs the others next to nothing, says why, and comes back; a write waits its turn.

The devices are simulated Modbus servers (answers made by pymodbus) on real loopback sockets; the hours are virtual.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.clock import LoopClock
from gateway.codec import Broadcast, HeardCodec, Limits, Span
from gateway.codec.bthome import PART, Bthome
from gateway.codec.canopen_lift import CanopenLift
from gateway.codec.modbus import Tcp
from gateway.codec.ruuvi import Ruuvi
from gateway.errors import ActionError, LinkError, NoAnswer, NoSuchPlace, Refused
from gateway.health import Health
from gateway.hear import HeardBus
from gateway.link import Traffic
from gateway.link.tcp import TcpLink
from gateway.plan import ABSENT_EVERY_S, Refusals, plan_ears
from gateway.point import CanopenPoint
from gateway.poll import SPLITS_A_VISIT, PolledBus, flaw_of
from gateway.profile import Profile, load_profile, parse_profile
from gateway.reading import Quality, Snapshot
from gateway.site import Device as SiteDevice
from gateway.turns import AT_ONCE
from simulator.modbus import Device, Table, TcpFault, TcpFaultKind, TcpServer

pytestmark = pytest.mark.virtual_time
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"

# Three blocks: 0 to 3, 100, 200 (the holes between are too wide to read through).
PROFILE = """
maker = "Essai"
model = "E-1"
kind = "{kind}"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
[modbus]
patience_ms = 300
interval_ms = {interval}
[[example]]
source = "worked out by hand"
point = "a"
raw = "00 07"
value = 7
"""
POINT = """
[[point]]
name = "{name}"
unit = "1"
personal = "no"
register = "holding"
address = {address}
type = "u16"
range = [0, 1000]
write = {{ min = 0, max = 1000 }}
"""
PLACES = {"a": 0, "b": 3, "c": 100, "d": 200}


def profile_of(kind: str = "pump", interval: int = 0) -> Profile:
    points = "".join(POINT.format(name=name, address=address) for name, address in PLACES.items())
    return parse_profile(PROFILE.format(kind=kind, interval=interval) + points, "essai")


def site_device(number: int, every_s: float = 10.0, profile: Profile | None = None) -> SiteDevice:
    profile = profile or profile_of()
    points = {point.name: point for point in profile.point}
    return SiteDevice(f"d{number}", "essai", profile, "bus", number, "", every_s, points)


def table(**values: int) -> Table:
    """Registers of a device; those of PLACES, and what lies between a and b."""
    cells = {1: 0, 2: 0} | {address: values.get(name, 1) for name, address in PLACES.items()}
    return Table({"holding": {address: cell for address, cell in cells.items() if cell >= 0}})


class Played:
    """A bus that is being polled, and what it said."""

    def __init__(self, bus: PolledBus, server: TcpServer, snapshots: list[Snapshot]) -> None:
        self.bus, self.server, self.snapshots = bus, server, snapshots

    def of(self, device: str) -> list[Snapshot]:
        return [snapshot for snapshot in self.snapshots if snapshot.device == device]


@asynccontextmanager
async def polled(
    devices: Sequence[SiteDevice],
    units: Mapping[int, Table],
    *,
    silent_absent: bool = True,
    run: bool = True,
    refusals: Mapping[str, Refusals] = {},
    **told: Callable[..., None],
) -> AsyncIterator[Played]:
    served = [Device(number, registers, turnaround_s=0.0) for number, registers in units.items()]
    async with TcpServer("127.0.0.1", 0, served, silent_absent=silent_absent) as server:
        link, codec, snapshots = TcpLink("127.0.0.1", server.port), Tcp(), list[Snapshot]()
        bus = PolledBus("bus", link, codec, devices, LoopClock(0.0), snapshots.append, refusals=refusals, **told)
        task = asyncio.create_task(bus.run()) if run else None
        try:
            yield Played(bus, server, snapshots)
        finally:
            if task is not None:
                assert not task.done(), task
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await link.close()


async def test_every_device_is_read_at_its_period() -> None:
    devices = [site_device(1, 10.0), site_device(2, 60.0)]
    async with polled(devices, {1: table(a=5, d=9), 2: table()}) as played:
        await asyncio.sleep(601)
    assert len(played.of("d1")) == 61
    assert len(played.of("d2")) == 11
    assert played.of("d1")[0].values == {"a": 5.0, "b": 1.0, "c": 1.0, "d": 9.0}
    assert played.of("d1")[0].flaws == {}
    times = [snapshot.time_s for snapshot in played.of("d1")]
    assert all(abs(time_s - 10 * at) < 0.5 for at, time_s in enumerate(times)), "on its own grid, without drift"


async def test_a_value_that_no_sensor_can_give_is_bad_and_says_why() -> None:
    async with polled([site_device(1)], {1: table(a=5000)}) as played:
        await asyncio.sleep(1)
    (snapshot,) = played.snapshots
    assert snapshot.values["a"] is None
    assert snapshot.flaws["a"].quality is Quality.BAD
    assert "hors de la plage du capteur, 0 à 1000" in snapshot.flaws["a"].reason
    assert set(snapshot.flaws) == {"a"}


async def test_a_block_that_is_refused_does_not_stop_the_others() -> None:
    async with polled([site_device(1)], {1: table(c=-1, a=7)}) as played:
        await asyncio.sleep(1)
    (snapshot,) = played.snapshots
    assert snapshot.values == {"a": 7.0, "b": 1.0, "c": None, "d": 1.0}
    assert "illegal data address" in snapshot.flaws["c"].reason
    health = played.bus.health["d1"]
    assert (health.answers, health.failures_in_a_row) == (1, 0)
    assert "illegal data address" in health.last_error


@pytest.mark.parametrize("kind", ["foreign", "exception"])  # exception: busy
async def test_a_garbled_or_busy_answer_is_asked_for_once_more_within_the_visit(kind: TcpFaultKind) -> None:
    async with polled([site_device(1)], {1: table(a=7)}) as played:
        played.server.faults.add(TcpFault(kind))
        await asyncio.sleep(2)
    (snapshot,) = played.snapshots
    assert snapshot.values == {"a": 7.0, "b": 1.0, "c": 1.0, "d": 1.0}
    assert snapshot.flaws == {}


async def test_a_lost_frame_of_a_device_that_answers_costs_no_reading() -> None:
    async with polled([site_device(1)], {1: table(a=7)}) as played:
        await asyncio.sleep(5)
        played.server.faults.add(TcpFault("silent"))
        await asyncio.sleep(10)
    assert [snapshot.values["a"] for snapshot in played.snapshots] == [7.0, 7.0]


async def test_what_stays_garbled_does_not_cost_the_others() -> None:
    async with polled([site_device(1)], {1: table()}) as played:
        played.server.faults.add(TcpFault("foreign"), TcpFault("foreign"))
        await asyncio.sleep(1)
    (snapshot,) = played.snapshots
    assert snapshot.values == {"a": None, "b": None, "c": 1.0, "d": 1.0}
    assert "réponse brouillée" in snapshot.flaws["a"].reason
    assert played.bus.health["d1"].failures_in_a_row == 0


async def test_a_dead_device_is_lost_on_time_and_count_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with polled([site_device(1), site_device(2)], {1: table()}) as played:
        await asyncio.sleep(15)
        assert played.bus.health["d2"].lost_since_s is None, "twice is not often enough"
        await asyncio.sleep(10)
        health = played.bus.health["d2"]
        assert health.lost_since_s is not None
        assert health.lost_since_s < 5, "since it was last heard, or since the start"
        await asyncio.sleep(3600)
    assert all(value is None for snapshot in played.of("d2") for value in snapshot.values.values())
    assert "aucune réponse" in played.of("d2")[-1].flaws["d"].reason
    assert [record.getMessage()[:15] for record in caplog.records if "d2" in record.getMessage()] == ["device=d2 lost:"]
    assert len(played.of("d1")) >= 360


async def test_a_device_that_fails_quickly_is_not_lost_before_its_time() -> None:
    health = Health()
    health.answered(0.0)
    assert [health.failed("x", float(at), 10.0, 0.0) for at in range(1, 25)].index(True) == 19, "two periods of silence"


@pytest.mark.parametrize("every_s", [1.0, 10.0, 60.0])
async def test_a_dead_device_on_a_bus_of_ten_costs_less_than_two_percent(every_s: float) -> None:
    devices = [site_device(number, every_s) for number in range(1, 11)]
    async with polled(devices, {number: table() for number in range(1, 10)}) as played:
        await asyncio.sleep(60 * every_s)  # until the pauses have grown
        health = played.bus.health
        asked, everything = health["d10"].requests, sum(one.requests for one in health.values())
        served = len(played.of("d1"))
        seconds = max(600, 120 * every_s)
        await asyncio.sleep(seconds)
    probes = health["d10"].requests - asked
    assert probes > 0
    assert probes * 0.5 < 0.02 * seconds, "half a second each: patience, and the way there and back"
    assert probes < 0.02 * (sum(one.requests for one in health.values()) - everything)
    assert len(played.of("d1")) - served >= 0.98 * seconds / every_s


async def test_a_lost_device_that_comes_back_is_read_at_its_period_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with polled([site_device(1), site_device(2)], {1: table()}) as played:
        await asyncio.sleep(3600)
        played.server.units[2] = Device(2, table(a=3), turnaround_s=0.0)
        await asyncio.sleep(200)
        health = played.bus.health["d2"]
        assert (health.lost_since_s, health.failures_in_a_row, health.last_error) == (None, 0, "")
        count = len(played.of("d2"))
        await asyncio.sleep(100)
        assert len(played.of("d2")) in (count + 10, count + 11)
    assert played.of("d2")[-1].values["a"] == 3.0
    assert sum("answers again" in record.getMessage() for record in caplog.records) == 1


async def test_when_all_are_lost_there_is_nobody_to_spare_and_each_is_tried_at_its_period() -> None:
    async with polled([site_device(1), site_device(2)], {}) as played:
        await asyncio.sleep(3600)
        played.server.units[1] = Device(1, table(), turnaround_s=0.0)
        await asyncio.sleep(11)
        assert played.bus.health["d1"].lost_since_s is None
        assert played.bus.health["d2"].lost_since_s is not None


async def test_a_gateway_that_says_its_device_is_silent_is_silence_not_an_answer() -> None:
    async with polled([site_device(1), site_device(2)], {1: table()}, silent_absent=False) as played:
        await asyncio.sleep(60)
    health = played.bus.health["d2"]
    assert (health.answers, health.last_answer_s) == (0, None)
    assert health.lost_since_s is not None
    assert "aucune réponse" in played.of("d2")[0].flaws["a"].reason
    assert "exception 11" in health.last_error


async def test_a_port_that_nobody_listens_on_is_a_fault_of_the_device() -> None:
    async with TcpServer("127.0.0.1", 0, []) as server:
        port = server.port
    snapshots: list[Snapshot] = []
    link, codec = TcpLink("127.0.0.1", port), Tcp()
    bus = PolledBus("bus", link, codec, [site_device(1)], LoopClock(0.0), snapshots.append)
    polling = asyncio.create_task(bus.run())
    await asyncio.sleep(100)
    assert not polling.done()
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert len(snapshots) == 10, "the only one on its bus: tried at its period"
    assert "port indisponible" in snapshots[0].flaws["a"].reason
    assert "cannot connect" in bus.health["d1"].last_error


# Writes and single reads


async def test_a_write_is_taken_and_can_be_read_back() -> None:
    device = site_device(1)
    async with polled([device], {1: table()}) as played:
        await played.bus.write(device, device.points["c"], 42.0)
        assert await played.bus.read_point(device, device.points["c"]) == 42.0


async def test_a_write_waits_for_the_procedure_under_way_and_no_more() -> None:
    devices = [site_device(number) for number in range(1, 6)]
    async with polled(devices, {1: table()}, run=False) as played:
        # Four dead devices: a round takes 4 x 3 requests of half a second each.
        async def round_() -> None:
            for visit in played.bus.visits[1:]:
                await played.bus.visit(visit)

        polling = asyncio.create_task(round_())
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await played.bus.write(devices[0], devices[0].points["a"], 5.0)
        assert 0.3 < asyncio.get_running_loop().time() - began <= 0.5
        assert not polling.done()
        await polling


async def test_a_write_that_the_device_refuses_is_raised() -> None:
    device = site_device(1)
    async with polled([device], {1: table(c=-1)}) as played:
        with pytest.raises(Refused):
            await played.bus.write(device, device.points["c"], 1.0)
        with pytest.raises(ValueError, match="does not fit"):
            await played.bus.write(device, device.points["a"], 70000.0)


async def test_a_cancelled_write_leaves_the_bus_usable() -> None:
    devices = [site_device(1), site_device(2)]
    async with polled(devices, {1: table()}, run=False) as played:
        write = asyncio.create_task(played.bus.write(devices[1], devices[1].points["a"], 1.0))
        await asyncio.sleep(0.1)
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
        assert await played.bus.read_point(devices[0], devices[0].points["a"]) == 1.0


async def test_nothing_is_written_to_a_lift() -> None:
    lift = load_profile(PROFILES, "lift/gros_sdk500")
    device = SiteDevice("porte", "lift", lift, "bus", 1, "", 60.0, {point.name: point for point in lift.point})
    async with polled([device], {1: table()}, run=False) as played:
        with pytest.raises(ActionError, match="observed"):
            await played.bus.write(device, device.points["door_current"], 1.0)
        assert played.server.requests == 0


async def test_a_slow_device_is_given_its_pause_between_requests() -> None:
    device = site_device(1, 10.0, profile_of(interval=250))
    async with polled([device], {1: table()}, run=False) as played:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await played.bus.visit(played.bus.visits[0])
        assert 0.5 <= loop.time() - began < 0.6, "three requests, two pauses"


# What a device refuses


async def test_a_request_over_a_hole_that_is_refused_is_split_and_nothing_is_lost() -> None:
    told: dict[str, Refusals] = {}
    cells = dict.fromkeys((0, 3, 100, 200), 1)  # 1 and 2, between a and b, are not there
    async with polled([site_device(1)], {1: Table({"holding": cells})}, learnt=told.__setitem__) as played:
        await asyncio.sleep(1)
        first = played.server.requests
        await asyncio.sleep(10)
    assert played.snapshots[0].values == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}, "in the very same visit"
    assert played.snapshots[0].flaws == {}
    assert (first, played.server.requests - first) == (5, 4), "one refused request, once"
    assert told == {"d1": Refusals(cuts=frozenset({"b"}))}
    assert played.bus.health["d1"].last_error == ""


def many(count: int) -> Profile:
    points = "".join(POINT.format(name=f"p{at:03}", address=at) for at in range(count))
    head = PROFILE.format(kind="pump", interval=0).replace('point = "a"', 'point = "p000"')
    return parse_profile(head + points, "essai")


@pytest.mark.parametrize("missing", [{5}, {0}, {19}, {3, 4, 11}, {2, 9, 17}, set(range(0, 20, 4))])
async def test_registers_that_are_not_there_are_found_and_the_rest_is_merged_around_them(missing: set[int]) -> None:
    device, told = site_device(1, 10.0, many(20)), dict[str, Refusals]()
    cells = {at: at for at in range(20) if at not in missing}
    async with polled([device], {1: Table({"holding": cells})}, learnt=told.__setitem__) as played:
        await asyncio.sleep(400)
        settled = played.server.requests
        await asyncio.sleep(100)
        per_visit = (played.server.requests - settled) / 10
    last = played.snapshots[-1]
    assert last.values == {f"p{at:03}": float(at) for at in range(20) if at not in missing}
    assert told["d1"] == Refusals(absent=frozenset(f"p{at:03}" for at in missing))
    runs = sum(at not in missing and (at == 0 or at - 1 in missing) for at in range(20))
    assert per_visit == runs, "as few requests as the device takes"


async def test_what_is_not_there_says_so_and_is_asked_for_once_an_hour() -> None:
    device, told = site_device(1, 60.0, many(8)), dict[str, Refusals]()
    registers = Table({"holding": {at: at for at in range(8) if at != 5}})
    async with polled([device], {1: registers}, learnt=told.__setitem__) as played:
        await asyncio.sleep(ABSENT_EVERY_S)
        refused = [s for s in played.snapshots if "p005" in s.values and s.values["p005"] is None]
        assert 1 <= len(refused) <= 4, "while it was looked for"
        assert "illegal data address" in refused[-1].flaws["p005"].reason
        registers.cells["holding"][5] = 55  # a new firmware
        await asyncio.sleep(2 * ABSENT_EVERY_S)
    assert told["d1"] == Refusals()
    assert played.snapshots[-1].values["p005"] == 55.0


async def test_a_device_that_refuses_everything_is_asked_on_and_read_once_it_gives_something() -> None:
    registers = Table({"holding": {}})
    async with polled([site_device(1)], {1: registers}) as played:
        await asyncio.sleep(600)
        assert set(played.snapshots[-1].values.values()) == {None}
        registers.cells["holding"] = {0: 5, 1: 0, 2: 0, 3: 6, 100: 7, 200: 8}  # it has started up
        await asyncio.sleep(30)
    assert played.snapshots[-1].values == {"a": 5.0, "b": 6.0, "c": 7.0, "d": 8.0}


async def test_what_was_refused_is_remembered_over_a_restart() -> None:
    device = site_device(1, 10.0, many(8))
    known = {"d1": Refusals.from_json(Refusals(absent=frozenset({"p005"})).as_json())}
    units = {1: Table({"holding": {at: at for at in range(8) if at != 5}})}
    async with polled([device], units, refusals=known, learnt=pytest.fail) as played:
        await asyncio.sleep(1)
        assert played.server.requests == 3, "0 to 4, 6 and 7, and 5 alone"
    assert {name for s in played.snapshots for name in s.values} == {f"p{at:03}" for at in range(8)}


async def test_looking_for_what_is_missing_holds_nobody_up() -> None:
    devices = [site_device(1, 10.0, many(100)), site_device(2, 10.0)]
    units = {1: Table({"holding": {at: at for at in range(0, 100, 2)}}), 2: table()}
    async with polled(devices, units) as played:
        most = 0
        for _ in range(60):
            before = played.server.requests
            await asyncio.sleep(10)
            most = max(most, played.server.requests - before)
    assert len(played.of("d2")) == 60
    assert most <= 100 + SPLITS_A_VISIT + 4


# Who comes back, and who goes first


async def test_a_lost_device_is_revived_by_a_write_that_it_takes() -> None:
    devices = [site_device(1), site_device(2, 300.0)]
    async with polled(devices, {1: table()}) as played:
        await asyncio.sleep(3 * 3600)
        health = played.bus.health["d2"]
        assert health.lost_since_s is not None
        played.server.units[2] = Device(2, table(), turnaround_s=0.0)
        await played.bus.write(devices[1], devices[1].points["a"], 3.0)
        assert health.lost_since_s is None
        await asyncio.sleep(11)
    assert played.of("d2")[-1].values["a"] == 3.0, "and it is read soon, not when its pause would have been over"


async def test_a_device_that_can_only_be_written_to_is_lost_and_revived_by_its_writes() -> None:
    one = 'write_only = true\nname = "{name}"'
    text = PROFILE.format(kind="lamp", interval=0)
    text += "".join(POINT.replace('name = "{name}"', one).format(name=n, address=at) for n, at in PLACES.items())
    device = site_device(1, 1.0, parse_profile(text, "essai"))
    async with polled([device, site_device(2)], {2: table()}) as played:
        health, point = played.bus.health["d1"], device.points["a"]
        for _ in range(4):
            with pytest.raises(NoAnswer):
                await played.bus.write(device, point, 1.0)
            await asyncio.sleep(6)
        assert health.lost_since_s is not None
        assert health.requests == 0, "it is never read"
        before = played.server.requests
        with pytest.raises(NoAnswer):
            await played.bus.write(device, point, 1.0)
        with pytest.raises(NoAnswer, match="written to in vain just now"):
            await played.bus.write(device, point, 1.0)
        assert played.server.requests - before == 1
        played.server.units[1] = Device(1, table(), turnaround_s=0.0)
        await asyncio.sleep(6)
        await played.bus.write(device, point, 9.0)
        assert health.lost_since_s is None


async def test_a_device_is_announced_when_it_is_met_and_whenever_it_comes_back() -> None:
    met: list[str] = []
    since: list[float | None] = []

    def returned(device: SiteDevice, since_s: float | None) -> None:
        met.append(device.name)
        since.append(since_s)

    async with polled([site_device(1), site_device(2)], {1: table()}, returned=returned) as played:
        await asyncio.sleep(600)
        assert met == ["d1"]
        played.server.units[2] = Device(2, table(), turnaround_s=0.0)
        await asyncio.sleep(200)
        last_s = played.bus.health["d2"].last_answer_s
        del played.server.units[2]
        await asyncio.sleep(600)
        played.server.units[2] = Device(2, table(), turnaround_s=0.0)
        await asyncio.sleep(200)
    assert met == ["d1", "d2", "d2"]
    assert since == [None, None, last_s]


async def test_a_procedure_is_run_in_its_turn_and_its_refusal_told() -> None:
    device = site_device(1, 10.0)
    async with polled([device], {1: table()}, run=False) as played:
        answer = await played.bus.ask(device, played.bus.codec.read(1, Span(3, 0, 2, {}), Limits()))
        assert len(answer) == 4
        with pytest.raises(NoSuchPlace):
            await played.bus.ask(device, played.bus.codec.read(1, Span(3, 60000, 2, {}), Limits()))


async def test_writes_go_first_and_do_not_starve_reads() -> None:
    device = site_device(1, 10.0, profile_of(interval=100))
    async with polled([device], {1: table()}, run=False) as played:
        order: list[str] = []

        async def write(number: int) -> None:
            await played.bus.write(device, device.points["a"], float(number))
            order.append("write")

        async def visit() -> None:
            await played.bus.visit(played.bus.visits[0])  # three requests
            order.append("visit")

        visiting = asyncio.create_task(visit())
        await asyncio.sleep(0)
        await asyncio.gather(visiting, *(asyncio.create_task(write(number)) for number in range(20)))
    at = order.index("visit")
    assert AT_ONCE <= at <= 2 * AT_ONCE, order


async def test_a_device_is_given_its_gap_after_another_one_was_asked() -> None:
    text = PROFILE.format(kind="pump", interval=0) + POINT.format(name="a", address=0)
    gap = parse_profile(text.replace("interval_ms = 0", "gap_ms = 200"), "essai")
    one, other = site_device(1, 10.0, gap), site_device(2, 10.0)
    async with polled([one, other], {1: table(), 2: table()}, run=False) as played:
        loop, (first, *_, second) = asyncio.get_running_loop(), played.bus.visits
        await played.bus.visit(second)
        began = loop.time()
        await played.bus.visit(first)
        assert 0.2 <= loop.time() - began < 0.25, "the other was asked just before"
        began = loop.time()
        await played.bus.visit(first)
        assert loop.time() - began < 0.05, "nobody was asked between"


# What people are told


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoAnswer("x"), "aucune réponse : vérifier"),
        (LinkError("/dev/x: gone"), "port indisponible (/dev/x: gone)"),
        (Refused("no", 2), "l'appareil refuse (no)"),
    ],
    ids=["silence", "port", "refusal"],
)
async def test_a_reason_says_what_to_do(error: NoAnswer | LinkError | Refused, said: str) -> None:
    assert flaw_of(error).reason.startswith(said)


# A bus whose devices speak unasked

Say = Broadcast | LinkError


class Air:
    """A simulated adapter: what it hears, with the pauses in between; an error where the adapter is gone."""

    def __init__(self, says: Sequence[tuple[float, Say]]) -> None:
        self.traffic, self._says, self.listened = Traffic(), list(says), 0
        self.trouble, self.manner, self.advice = "", "écoute", "vérifier la pile, la distance, les obstacles"

    async def listen(self) -> AsyncIterator[Broadcast]:
        self.listened += 1
        while self._says:
            pause_s, said = self._says.pop(0)
            await asyncio.sleep(pause_s)
            if isinstance(said, LinkError):
                raise said
            yield said
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


BIN, TAG = "A4:C1:38:00:00:01", "CB:B8:33:4C:88:4F"
HEARD: dict[str, Callable[[SiteDevice], HeardCodec]] = {
    "bthome": lambda device: Bthome(device.key),
    "ruuvi": lambda device: Ruuvi(),
}


def heard_device(name: str, profile_name: str, address: str) -> SiteDevice:
    profile = load_profile(PROFILES, profile_name)
    points = {point.name: point for point in profile.point}
    return SiteDevice(name, profile_name, profile, "radio", address, "", 900.0, points)


def measured(sequence: int, hundredths: int = 2430, movements: int = 0) -> Broadcast:
    """What the tag says."""
    data = struct.pack(">BhHHhhhHBH6s", 5, hundredths * 2, 20000, 50000, 0, 0, 0, 0xAC36, movements, sequence, bytes(6))
    return Broadcast(TAG, {"mfr:0499": data}, -60)


def said(mm: int, sender: str = BIN, packet: int | None = None) -> Broadcast:
    head = b"" if packet is None else bytes((0x00, packet))
    return Broadcast(sender, {PART: b"\x40" + head + b"\x40" + mm.to_bytes(2, "little")}, -60)


async def heard(says: Sequence[tuple[float, Say]], seconds: float) -> tuple[HeardBus, list[Snapshot], Air]:
    devices = [heard_device("bac", "waste/bthome_bin", BIN), heard_device("tag", "weather/ruuvitag", TAG)]
    snapshots: list[Snapshot] = []
    air = Air(says)
    bus = HeardBus("radio", air, plan_ears(devices, HEARD), LoopClock(0.0), snapshots.append)
    listening = asyncio.create_task(bus.run())
    await asyncio.sleep(seconds)
    assert not listening.done()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return bus, snapshots, air


async def test_what_a_bin_says_becomes_a_snapshot() -> None:
    bus, snapshots, _ = await heard([(1.0, said(700))], 5)
    assert [(snapshot.device, snapshot.values) for snapshot in snapshots] == [("bac", {"distance": 700.0})]
    assert bus.health["bac"].last_answer_s == pytest.approx(1.0)


async def test_a_radio_that_repeats_itself_is_taken_at_its_period() -> None:
    bus, snapshots, _ = await heard([(0.5, said(700)) for _ in range(3600)], 1801)
    assert [snapshot.time_s for snapshot in snapshots] == [0.5, 450.5, 900.5, 1350.5], "half its period"
    assert bus.health["bac"].answers == 3600


async def test_a_change_of_state_is_taken_at_once() -> None:
    _, snapshots, _ = await heard([(1.0, measured(n, 2430 + n, movements=n // 4)) for n in range(8)], 10)
    assert [snapshot.values["movements"] for snapshot in snapshots] == [0.0, 1.0]


async def test_a_quantity_that_is_measured_too_often_is_taken_at_its_period() -> None:
    _, snapshots, _ = await heard([(1.0, measured(n, 2430 + n % 7)) for n in range(1000)], 1001)
    assert [snapshot.time_s for snapshot in snapshots] == [1.0, 451.0, 901.0]


async def test_what_a_device_says_in_turns_is_all_taken() -> None:
    battery = Broadcast(BIN, {PART: b"\x40\x01\x50"}, -60)
    _, snapshots, _ = await heard([(1.0, said(700)), (1.0, battery)] * 300, 601)
    assert [(snapshot.time_s, *snapshot.values) for snapshot in snapshots] == [
        (1.0, "distance"), (2.0, "battery"), (451.0, "distance"), (452.0, "battery"),
    ]  # fmt: skip


async def test_devices_of_two_protocols_share_a_radio() -> None:
    _, snapshots, _ = await heard([(1.0, said(700)), (1.0, measured(7))], 5)
    assert [(snapshot.device, len(snapshot.values)) for snapshot in snapshots] == [("bac", 1), ("tag", 5)]
    assert snapshots[1].values["temperature"] == 24.3


def of(device: str, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    return [snapshot for snapshot in snapshots if snapshot.device == device]


async def test_a_device_that_falls_silent_is_lost_after_three_of_its_periods_and_says_its_last_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    bus, snapshots, _ = await heard([(100.0, said(700))], 100 + 3 * 900 - 1)
    assert [snapshot.values for snapshot in of("bac", snapshots)] == [{"distance": 700.0}]
    assert bus.health["bac"].lost_since_s is None
    bus, snapshots, _ = await heard([(100.0, said(700))], 100 + 5 * 900 + 1)
    silent = of("bac", snapshots)[1:]
    assert [snapshot.time_s for snapshot in silent] == [100 + 900 * n for n in (3, 4, 5)]
    assert silent[0].values == {"distance": None, "temperature": None, "battery": None}
    assert silent[0].flaws["distance"].reason == (
        "rien entendu depuis 01/01 00:01 UTC, dernière valeur 700 mm ; vérifier la pile, la distance, les obstacles"
    )
    assert bus.health["bac"].lost_since_s == 100
    assert [record.getMessage() for record in caplog.records if "device=bac" in record.getMessage()] == [
        "device=bac lost: not heard for 3 periods"
    ]


async def test_a_device_that_is_never_heard_is_lost_too() -> None:
    bus, snapshots, _ = await heard([], 3 * 900 + 1)
    assert bus.health["tag"].lost_since_s == 0
    assert of("tag", snapshots)[0].flaws["temperature"].reason.startswith("rien entendu depuis le démarrage ; vérifier")


async def test_a_lost_device_that_speaks_is_back_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bus, snapshots, _ = await heard([(1.0, said(700)), (5000.0, said(700))], 5002)
    assert of("bac", snapshots)[-1].values == {"distance": 700.0}
    assert bus.health["bac"].lost_since_s is None
    assert sum("device=bac is heard again" in record.getMessage() for record in caplog.records) == 1


async def test_a_device_that_cannot_be_understood_is_lost_with_that_reason() -> None:
    broken = Broadcast(BIN, {PART: b"\x41" + bytes(12)})
    _, snapshots, _ = await heard([(100.0, broken)] * 40, 3 * 900 + 1)
    assert "the site has no key for it" in of("bac", snapshots)[0].flaws["distance"].reason


async def test_what_was_tried_on_the_adapter_is_said_with_each_lost_device() -> None:
    bus, snapshots, _ = await heard([(0.0, LinkError("hci0: no such adapter"))] * 1000, 3 * 900 + 1)
    assert bus.state == "hci0: no such adapter"
    assert {snapshot.device for snapshot in snapshots} == {"bac", "tag"}
    assert all(flaw.reason.endswith("; hci0: no such adapter") for s in snapshots for flaw in s.flaws.values())


async def test_strangers_are_counted_and_not_believed() -> None:
    bus, snapshots, _ = await heard([(1.0, said(700, "00:11:22:33:44:55"))], 5)
    assert (bus.strangers, snapshots) == (1, [])


async def test_a_broken_broadcast_is_told_and_does_not_end_listening() -> None:
    broken = Broadcast("A4:C1:38:00:00:01", {PART: b"\x40\x40\x01"})
    bus, snapshots, _ = await heard([(1.0, broken)], 2)
    assert snapshots == []
    assert bus.health["bac"].last_error
    bus, snapshots, _ = await heard([(1.0, broken), (1.0, said(500))], 5)
    assert len(snapshots) == 1
    assert bus.health["bac"].last_error == ""


async def test_a_distance_out_of_range_is_bad() -> None:
    _, snapshots, _ = await heard([(1.0, said(5))], 5)
    assert snapshots[0].values["distance"] is None
    assert "hors de la plage" in snapshots[0].flaws["distance"].reason


# A node of a lift, which says each thing under an identifier of its own


def node_says(identifier: int, data: str) -> Broadcast:
    return Broadcast(f"{identifier:03x}", {"can": bytes.fromhex(data)})


async def overheard(says: Sequence[tuple[float, Say]], seconds: float) -> tuple[HeardBus, list[Snapshot]]:
    profile = load_profile(PROFILES, "guet/canopen_lift")
    points = {point.name: point for point in profile.point}
    device = SiteDevice("lift", "guet/canopen_lift", profile, "gaine", 4, "", 60.0, points)
    places = [point.place for point in profile.point if isinstance(point, CanopenPoint)]
    snapshots: list[Snapshot] = []
    speakers = plan_ears([device], {"canopen": lambda device: CanopenLift(device.number, places)})
    bus = HeardBus("gaine", Air(says), speakers, LoopClock(0.0), snapshots.append)
    listening = asyncio.create_task(bus.run())
    await asyncio.sleep(seconds)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return bus, snapshots


HEARTBEAT, STANDING = node_says(0x704, "05"), node_says(0x18C, "39 30 00 00 00 00")


async def test_a_node_is_heard_under_all_its_identifiers() -> None:
    bus, snapshots = await overheard([(1.0, STANDING), (1.0, HEARTBEAT), (1.0, node_says(0x205, "01"))], 10)
    assert [snapshot.values for snapshot in snapshots] == [{"position": 12345.0, "speed": 0.0}, {"state": 5.0}]
    assert (bus.health["lift"].answers, bus.strangers, list(bus.health)) == (2, 1, ["lift"])


async def test_a_node_is_lost_on_time_and_count_once_nothing_of_it_is_heard() -> None:
    beats: list[tuple[float, Say]] = [(30.0, HEARTBEAT)] * 20
    bus, snapshots = await overheard([(1.0, STANDING), *beats], 601)
    assert bus.health["lift"].lost_since_s is None, "its heartbeat is enough"
    assert all(flaw.quality is not Quality.BAD for snapshot in snapshots for flaw in snapshot.flaws.values())
    bus, snapshots = await overheard([(1.0, STANDING), *beats], 601 + 3 * 60 + 1)
    assert bus.health["lift"].lost_since_s == 601
    assert snapshots[-1].values == dict.fromkeys(snapshots[-1].values)
    assert (
        snapshots[-1].flaws["position"].reason.startswith("rien entendu depuis 01/01 00:10 UTC, dernière valeur 12345")
    )


async def test_a_node_that_stops_measuring_takes_its_values_back_though_it_is_heard() -> None:
    _, snapshots = await overheard([(1.0, STANDING), (1.0, HEARTBEAT), (1.0, node_says(0x704, "7F"))], 10)
    last = snapshots[-1]
    assert (last.values["state"], last.values["position"], last.values["load"]) == (127.0, None, None)
    assert "state" not in last.flaws
    assert last.flaws["position"].quality is Quality.BAD
    assert "est en pré-opérationnel et n'envoie aucune mesure" in last.flaws["position"].reason


async def test_a_node_that_finds_an_error_is_doubted_until_it_takes_it_back() -> None:
    moving = node_says(0x18C, "3A 30 00 00 01 00")
    error, fine = node_says(0x084, "00 10 01 00 00 10 00 00"), node_says(0x084, "00 00 00 00 00 00 00 00")
    _, snapshots = await overheard([(1.0, STANDING), (1.0, error), (40.0, moving), (1.0, fine), (40.0, moving)], 200)
    told = [(snapshot.values.get("position"), snapshot.flaws.get("position")) for snapshot in snapshots]
    doubts = [flaw.quality if flaw else None for value, flaw in told if value is not None]
    assert doubts == [None, Quality.UNCERTAIN, None]


async def test_bits_of_a_state_that_are_another_point_s_are_no_news() -> None:
    door = [(1.0, node_says(0x284, data)) for data in ("01 00 00", "01 4B 00", "01 96 00", "05 96 00", "01 96 00")]
    _, snapshots = await overheard(door, 20)
    assert [(snapshot.values["door"], snapshot.values["barrier"]) for snapshot in snapshots] == [
        (1.0, 0.0), (1.0, 1.0), (1.0, 0.0),
    ], "the load alone is taken at its period"  # fmt: skip


async def test_an_adapter_that_is_gone_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    gone: list[tuple[float, Say]] = [(0.0, LinkError("hci0: no such adapter"))] * 20
    bus, snapshots, air = await heard([*gone, (1.0, said(700))], 1000)
    assert len(snapshots) == 1
    assert air.listened == 21
    told = [record.getMessage() for record in caplog.records if "radio" in record.getMessage()]
    assert bus.state == "écoute"
    assert told == ["bus=radio adapter lost: hci0: no such adapter", "bus=radio adapter is back"]
    assert bus.health["bac"].last_error == ""
