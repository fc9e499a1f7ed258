"""A whole gateway on a board without a clock battery, in virtual time: real links, store and session; simulated meter,
platform and board."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.alert import from_iso, iso
from gateway.app import Gateway, build_watches, home
from gateway.clock import BUILT_S, SystemClock
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.store import Store
from gateway.timekeeping import HOLD_S
from simulator.board import Board
from simulator.centre import Centre
from simulator.modbus import Area, Device, TcpServer
from simulator.village import LAMP_REGISTERS, Village, site_text

TRUE_S = (BUILT_S + 50 * 86400.0) // 900 * 900
HOUR_S = 3600.0

SITE = """
[gateway]
id = "g1"
commune = "Simulée"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[upstream]
url = "mqtt://127.0.0.1:{platform}"
[[bus]]
name = "tcp"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {devices}
[[device]]
name = "m1"
profile = "energy/eastron_sdm120"
bus = "tcp"
address = 1
every = "300s"
"""


class Meter:
    def read(self, area: Area, address: int, count: int) -> list[int]:
        return [0x4248 if at % 2 == 0 else 0 for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Any) -> None:
        raise AssertionError("nothing is written here")


class Life:
    """A gateway that is switched on and off; and what the platform has been sent, by number."""

    def __init__(self, folder: Path, site: Site, centre: Centre, board: Board) -> None:
        self.folder, self.site, self.centre, self.board = folder, site, centre, board
        self.devices: TcpServer

    @asynccontextmanager
    async def on(self) -> AsyncIterator[Gateway]:
        clock = SystemClock(self.board)
        async with Store.open(self.folder, clock, thread=False) as store:
            gateway = Gateway(self.site, [], store, clock, Random(1))
            running = asyncio.ensure_future(gateway.run())
            yield gateway
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def rows(self, kind: str) -> list[Mapping[str, Any]]:
        return list(self.centre.bodies(kind))

    def starts(self) -> list[float]:
        """When the summaries begin that the platform has, in hours of the true time."""
        return sorted((from_iso(body["time"]) - TRUE_S) / HOUR_S for body in self.rows("summary"))


@pytest.fixture
def life(tmp_path: Path) -> Callable[[Board], Any]:
    @asynccontextmanager
    async def make(board: Board) -> AsyncIterator[Life]:
        async with (
            TcpServer("127.0.0.1", 0, [Device(1, Meter(), 0.01)]) as devices,
            Centre(Random(1)) as centre,
        ):
            text = SITE.format(platform=centre.port, devices=devices.port)
            profiles = home() / "device_profiles"
            site = parse_site(text, "site.toml", Path(), lambda name: load_profile(profiles, name))
            made = Life(tmp_path, site, centre, board)
            made.devices = devices
            yield made
            assert centre.problems == []

    return make


pytestmark = pytest.mark.virtual_time
QUARTERS = [0.25 * number for number in range(1000)]


async def test_what_was_dated_by_a_guess_waits_and_leaves_with_its_right_time(life: Any) -> None:
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it:
        it.centre.set_line("refused")
        async with it.on() as gateway:
            await asyncio.sleep(4 * HOUR_S + 120)
            it.centre.set_line("up")
            await asyncio.sleep(HOLD_S - 60)
            assert it.rows("summary") == []
            assert not gateway.clock.trusted
            board.told()
            await asyncio.sleep(2 * HOUR_S)
            assert gateway.clock.now() == pytest.approx(board.true_s())
        assert it.starts() == QUARTERS[:24]
        assert it.rows("alert") == []  # no device has been silent: the clock has only been set
        # The jump fell into a quarter: it is one, with all its readings.
        assert {body["points"]["power"][0] for body in it.rows("summary")[1:-1]} == {3}
        assert all("time_trusted" not in body for body in it.rows("summary"))
        assert {body.get("time_moved_s") for body in it.rows("summary")} == {5 * HOUR_S, None}


@pytest.mark.parametrize("wrong_s", [-3 * HOUR_S - 500.0, 2 * HOUR_S + 100.0], ids=["forward", "back"])
async def test_the_memory_is_put_right_whichever_way_the_clock_jumps(life: Any, wrong_s: float) -> None:
    board = Board(TRUE_S, wrong_s=wrong_s)
    async with life(board) as it:
        it.centre.set_line("refused")
        async with it.on() as gateway:
            await asyncio.sleep(4.6 * HOUR_S)
            board.told()
            it.centre.set_line("up")
            await asyncio.sleep(1.9 * HOUR_S)
            kept = gateway.store.summaries("m1", 0, 1e11)
        # Half a period off at the most, so a quarter of an hour is met twice or passed over where the guess ends.
        hours = [(summary.start_s - TRUE_S) / HOUR_S for summary in kept]
        assert hours == sorted(set(hours))
        assert -0.125 <= hours[0] <= 0.125
        assert len(hours) in (25, 26)
        assert sum(summary.points["power"].n for summary in kept) in range(75, 79)
        assert it.starts() == hours
        assert it.rows("alert") == []


async def test_a_gateway_that_never_learns_the_time_says_so_and_sends_all_the_same(life: Any) -> None:
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it:
        async with it.on():
            await asyncio.sleep(3 * HOUR_S)
            assert len(it.rows("summary")) == 11
            assert {body["time_trusted"] for body in it.rows("summary")} == {False}
            sent = {body["seq"]: body for body in it.rows("summary")}
            board.told()
            await asyncio.sleep(HOUR_S)
        now = {body["seq"]: body for body in it.rows("summary")}
        assert {seq: now[seq] for seq in sent} == sent
        assert [body.get("time_trusted") for seq, body in now.items() if seq not in sent] == [None] * (
            len(now) - len(sent)
        )


async def test_an_alert_of_an_unknown_time_goes_at_once_and_is_said_again_with_the_right_one(life: Any) -> None:
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it, it.on() as gateway:
        await asyncio.sleep(60.0)
        gateway.buses["tcp"].link.port = 1  # nobody is there any more
        await gateway.buses["tcp"].link.close()
        await asyncio.sleep(2 * HOUR_S)
        (said,) = it.rows("alert")
        assert said["time_trusted"] is False
        board.told()
        await asyncio.sleep(600.0)
        first, again = it.rows("alert")
        assert first == said
        assert "time_trusted" not in again
        wrong, right = first["alert"], again["alert"]
        assert right["id"] == wrong["id"]
        for name in ("onset", "raised"):
            assert right[name] == iso(from_iso(wrong[name]) + 5 * HOUR_S)
        assert gateway.store.open_alerts()[0].raised_s == from_iso(right["raised"])


async def test_a_boot_that_knew_the_time_still_knows_it_after_a_restart_of_the_program(life: Any) -> None:
    board = Board(TRUE_S, known=True)
    async with life(board) as it:
        async with it.on():
            await asyncio.sleep(HOUR_S)
        board.known, board.wrong_s = False, -40.0  # its network is gone, and somebody has set it
        async with it.on() as gateway:
            assert gateway.clock.trusted
            assert gateway.clock.now() == pytest.approx(board.true_s())
        board.power_on(-40.0)
        async with it.on() as gateway:
            assert not gateway.clock.trusted


async def test_what_waited_over_a_restart_of_the_program_is_put_right_by_the_next(life: Any) -> None:
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it:
        it.centre.set_line("refused")
        async with it.on():
            await asyncio.sleep(2 * HOUR_S)
        board.told()
        it.centre.set_line("up")
        async with it.on():
            await asyncio.sleep(HOUR_S)
        starts = it.starts()
        assert starts[:7] == QUARTERS[:7]
        assert all("time_trusted" not in body for body in it.rows("summary"))


async def test_a_power_cut_before_the_time_is_known_leaves_what_can_never_be_known_marked(
    life: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    board = Board(TRUE_S, wrong_s=-5 * HOUR_S)
    async with life(board) as it:
        it.centre.set_line("refused")
        async with it.on():
            await asyncio.sleep(2 * HOUR_S)
        board.power_on(-5 * HOUR_S)
        it.centre.set_line("up")
        async with it.on():
            await asyncio.sleep(HOLD_S / 2)
            marked = it.rows("summary")
            assert len(marked) == 7
            assert {body["time_trusted"] for body in marked} == {False}
            board.told()
            await asyncio.sleep(HOUR_S)
        assert len(it.rows("summary")) in (11, 12)
        assert sum("time_trusted" in body for body in it.rows("summary")) == 7
    assert json.dumps([record.message for record in caplog.records]) == "[]"


@pytest.mark.parametrize("by_s", [-3 * 86400.0, 3 * 86400.0], ids=["back", "forward"])
async def test_a_clock_that_is_set_makes_nothing_older_and_no_lamp_stray(tmp_path: Path, by_s: float) -> None:
    told: list[tuple[float, int, int]] = []
    board = Board(TRUE_S + 18 * HOUR_S, known=True)
    village = Village(lambda: True, lambda register, value: told.append((board.true_s(), register, value)))
    async with TcpServer("127.0.0.1", 0, village.units) as devices, Centre(Random(1)) as centre:
        profiles = home() / "device_profiles"
        text = site_text(centre.port, devices.port, 0)
        site = parse_site(text, "site.toml", Path(), lambda name: load_profile(profiles, name))
        clock = SystemClock(board)
        async with Store.open(tmp_path, clock, thread=False) as store:
            gateway = Gateway(site, build_watches(site), store, clock, Random(1))
            running = asyncio.ensure_future(gateway.run())
            await asyncio.sleep(2.1 * HOUR_S)
            lamps_told = sum(register in LAMP_REGISTERS for _, register, _ in told)
            assert lamps_told >= 2
            ages = {name: clock.now() - reading.time_s for name, reading in gateway.live.latest["lamps"].items()}
            board.wrong_s = by_s
            await asyncio.sleep(120.0)
            now_s = clock.now()
            assert now_s == pytest.approx(board.true_s() + by_s)
            for name, reading in gateway.live.latest["lamps"].items():
                assert now_s - reading.time_s == pytest.approx(ages[name] + 120.0)
            assert not any(state.words.startswith("muet") for state in gateway.live.states())
            assert gateway.live.recent["m1"].curve("power")[-1][0] <= now_s
            await asyncio.sleep(900.0)
            assert sum(register in LAMP_REGISTERS for _, register, _ in told) == lamps_told
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
