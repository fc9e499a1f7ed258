"""A street of simulated DALI gear at the bus's real pace: from presence to light, and what the gear keeps for itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.app import Gateway
from gateway.clock import ScaledClock
from gateway.lighting import arc_power_level
from gateway.profile import load_profile
from gateway.reading import Snapshot
from gateway.site import parse_site
from gateway.store import Store
from simulator.dali import Adapter, Gear, SimulatedSci

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
NIGHT_S = datetime(2026, 11, 26, 23, 0, tzinfo=ZoneInfo("Europe/Paris")).timestamp()
LAMPS = 6
DIMMED = arc_power_level(20)
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "store"
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "{port}"
[[device]]
name = "radar"
profile = "recorded"
every = "1h"
[[watch]]
name = "porte"
model = "lift_door"
[watch.inputs]
door_current = ["radar/motion"]
door_speed = ["radar/speed"]
[[lighting]]
name = "rue-haute"
lamps = [{lamps}]
slot = [{{ from = "dusk", level = 100 }}, {{ from = "22:00", level = 20 }}]
fail_safe = 70
presence = {{ points = ["radar/motion"], level = 100, hold = "10min" }}
"""
LAMP = """
[[device]]
name = "l{number}"
profile = "lighting/dali_led_gear"
bus = "rue"
address = {number}
every = "30s"
"""


class There:
    def __init__(self, gears: list[Gear], adapter: Adapter) -> None:
        self.gears, self.adapter = gears, adapter
        self.gateway: Gateway

    def sees(self, motion: float) -> None:
        values: dict[str, float | None] = {"motion": motion, "speed": 0.0}
        self.gateway._take(Snapshot("radar", self.gateway.clock.now(), values, {}))

    async def until(self, level: int) -> float:
        """Seconds until every lamp has this level."""
        began_s = time.perf_counter()
        async with asyncio.timeout(20):
            while any(gear.level != level for gear in self.gears):
                await asyncio.sleep(0.002)
        return time.perf_counter() - began_s


@asynccontextmanager
async def street(tmp_path: Path, gears: list[Gear]) -> AsyncIterator[There]:
    adapter = Adapter(gears)
    async with SimulatedSci(adapter) as bus:
        lamps = ", ".join(f'"l{gear.short_address}/level"' for gear in gears)
        text = SITE.format(port=bus.port, lamps=lamps)
        text += "".join(LAMP.format(number=gear.short_address) for gear in gears)
        site = parse_site(text, "site.toml", tmp_path, lambda name: load_profile(PROFILES, name))
        clock = ScaledClock(NIGHT_S, time.monotonic(), 1.0)
        async with Store.open(tmp_path / "store", clock) as store:
            there = There(gears, adapter)
            there.gateway = Gateway(site, [], store, clock)
            running = asyncio.create_task(there.gateway.run())
            await asyncio.sleep(0)
            there.sees(0.0)
            yield there
            there.gateway.stop.set()
            await running


async def test_from_presence_to_light_and_a_level_that_is_kept_once(tmp_path: Path) -> None:
    gears = [Gear(short, level=0) for short in range(1, LAMPS + 1)]
    async with street(tmp_path, gears) as there:
        await there.until(DIMMED)
        async with asyncio.timeout(30):
            while any(gear.kept < 3 for gear in gears):
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)  # a group is used once all its lamps have shown that they are in it
        assert {(gear.power_on_level, gear.system_failure_level) for gear in gears} == {(arc_power_level(70),) * 2}
        there.adapter.heard.clear()
        there.sees(1.0)
        took_s = await there.until(254)
        assert took_s < 5, "a figure is bench lighting's; here it must come at all"
        assert there.gateway.acting.cycle.streets[0].light.why == "présence"
        told = [address for address, command in there.adapter.heard if not address & 1 and command == 254]
        assert told == [0x80 | 15 << 1], "one command for the group"
    async with street(tmp_path, gears) as again:
        await again.until(DIMMED)
        await asyncio.sleep(3)
        assert {gear.groups for gear in gears} == {1 << 15}
        assert [gear.kept for gear in gears] == [3] * LAMPS, "its memory wears out: it is read, and not written again"
    for gear in gears:
        gear.lose_bus()
    assert {gear.level for gear in gears} == {arc_power_level(70)}, (
        "the gateway is gone, and the bus: the gear holds it"
    )


async def test_presence_is_not_kept_waiting_by_read_backs_of_what_was_told_before(tmp_path: Path) -> None:
    gears = [Gear(short, level=0) for short in range(1, LAMPS + 1)]
    async with street(tmp_path, gears) as there:
        async with asyncio.timeout(30):
            while any(gear.groups != 1 << 15 for gear in gears):
                await asyncio.sleep(0.05)
        await there.until(DIMMED)
        await asyncio.sleep(1)
        there.sees(1.0)
        await there.until(254)  # told; the read-backs of six lamps take a quarter of a second from now on
        there.adapter.heard.clear()
        there.gateway.acting.cycle.streets[0]._seen_s = -float("inf")  # as if ten minutes had passed
        there.sees(0.0)
        await there.until(DIMMED)
        told = [address for address, command in there.adapter.heard if not address & 1 and command == DIMMED]
        assert told == [0x80 | 15 << 1], "with one command, though one read-back was under way"
        superseded = [done for done in there.gateway.actions if done.superseded]
        assert superseded
        assert all(not done.confirmed for done in superseded)


async def test_gear_that_is_in_groups_of_others_stays_in_them_and_is_told_with_its_street_all_the_same(
    tmp_path: Path,
) -> None:
    gears = [Gear(short, level=0) for short in range(1, LAMPS + 1)]
    before = [0, 1 << 0, 1 << 9, 1 << 9 | 1 << 2, 1 << 14, 1 << 15 | 1 << 8]
    for gear, groups in zip(gears, before, strict=True):
        gear.groups = groups
    async with street(tmp_path, gears) as there:
        async with asyncio.timeout(30):
            while any(not gear.groups >> 15 & 1 for gear in gears):
                await asyncio.sleep(0.05)
        await there.until(DIMMED)
        await asyncio.sleep(1.5)
        assert [gear.groups for gear in gears] == [groups | 1 << 15 for groups in before]
        there.adapter.heard.clear()
        there.sees(1.0)
        await there.until(254)
        told = [address for address, command in there.adapter.heard if not address & 1 and command == 254]
        assert told == [0x80 | 15 << 1], "one command for the street"
