"""A simulated lift door: cycles, registers, wear and obstructions."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from statistics import mean, median
from zoneinfo import ZoneInfo

import pytest
from pymodbus.client import AsyncModbusTcpClient

from simulator.drift import Drift
from simulator.lift import BARRIER, STROKE_MM, Door, LiftDoor
from simulator.modbus import Device, IllegalAddress, Refusal, TcpServer

PARIS = ZoneInfo("Europe/Paris")
START = datetime(2026, 1, 14, 15, tzinfo=UTC).timestamp()
FIRST = int(START // 60)


def door(wear: Drift | None = None, obstructions: Drift | None = None, seed: int = 3) -> LiftDoor:
    return LiftDoor("ascenseur", seed, PARIS, lambda: START, wear=wear, obstructions=obstructions)


def closings(of: LiftDoor, first: int = FIRST, minutes: int = 1440) -> list[float]:
    return [m.mean_mm_s for slot in range(first, first + minutes) for m in of.cycle(slot) if m.closes]


@pytest.mark.parametrize("of", [door(), door(Drift(0, 0, 0.5), Drift(0, 0, 0.8))], ids=["new", "worn and obstructed"])
def test_every_cycle_opens_from_closed_ends_closed_and_fits_its_minute(of: LiftDoor) -> None:
    cycles = [list(of.cycle(slot)) for slot in range(FIRST, FIRST + 3000)]
    busy = [cycle for cycle in cycles if cycle]
    assert len(busy) > 300
    for slot, cycle in zip(range(FIRST, FIRST + 3000), cycles, strict=True):
        if cycle:
            assert (cycle[0].from_mm, cycle[-1].to_mm) == (0, 0)
            assert all(a.end_s == b.start_s and a.to_mm == b.from_mm for a, b in pairwise(cycle))
            assert slot * 60 <= cycle[0].start_s < cycle[-1].end_s <= (slot + 1) * 60


def test_the_panel_follows_a_cycle_continuously() -> None:
    of = door()
    slot = next(slot for slot in range(FIRST, FIRST + 200) if list(of.cycle(slot)))
    panels = [of.panel(slot * 60 + 0.1 * i) for i in range(600)]
    assert {p.state for p in panels} == {Door.CLOSED, Door.OPENING, Door.OPEN, Door.CLOSING}
    assert max(p.position_mm for p in panels) == pytest.approx(STROKE_MM)
    assert max(abs(a.position_mm - b.position_mm) for a, b in pairwise(panels)) < 80
    assert all((p.speed_mm_s > 0) <= (p.state in (Door.OPENING, Door.CLOSING)) for p in panels)


def test_a_door_at_rest_shows_its_last_closing() -> None:
    of = door()
    slot = next(slot for slot in range(FIRST, FIRST + 200) if list(of.cycle(slot)))
    closing = list(of.cycle(slot))[-1]
    registers = of.registers(closing.end_s + 1)
    assert registers[0x0001] == Door.CLOSED << 8
    assert registers[0x0005] == round(closing.mean_mm_s)
    assert registers[0x0002] == round(closing.current_ma)
    assert registers[0x0003] == registers[0x0004] == 0


def test_traffic_follows_the_hours_of_the_day() -> None:
    of = door()
    hours = [0] * 24
    for slot in range(FIRST, FIRST + 10 * 1440):
        hours[datetime.fromtimestamp(slot * 60, PARIS).hour] += bool(list(of.cycle(slot)))
    assert 160 < sum(hours[8:9]) < 280, "22 an hour, for ten days"
    assert sum(hours[1:4]) < 80
    assert sum(hours[1:4]) > 15, "it never quite sleeps"


def test_wear_slows_closing_by_its_severity_and_costs_current() -> None:
    healthy, worn = door(), door(Drift(START, 0, 0.25))
    assert mean(closings(worn)) / mean(closings(healthy)) == pytest.approx(0.75, abs=0.01)
    night = START + 20 * 3600
    assert worn.registers(night)[0x0002] / healthy.registers(night)[0x0002] == pytest.approx(1 / 0.75, abs=0.02)
    assert closings(worn, FIRST - 1440) == closings(healthy, FIRST - 1440), "not before it begins"


def test_obstructions_reopen_the_door_but_do_not_slow_its_usual_closing() -> None:
    calm, busy = door(), door(obstructions=Drift(0, 0, 0.4))
    reopened = [
        sum(any(m.error == BARRIER for m in of.cycle(slot)) for slot in range(FIRST, FIRST + 1440))
        for of in (calm, busy)
    ]
    assert reopened[1] > 5 * max(1, reopened[0])
    assert median(closings(busy)) == pytest.approx(median(closings(calm)), rel=0.01)


def test_any_instant_gives_the_same_whatever_was_asked_before() -> None:
    times = [START + 11.0 * i for i in range(600)]
    shuffled = times[:]
    Random(1).shuffle(shuffled)
    seen = {time_s: door().registers(time_s) for time_s in shuffled}
    of = door()
    assert all(of.registers(time_s) == seen[time_s] for time_s in times)


async def test_a_client_reads_the_registers_of_the_manual_and_can_write_none() -> None:
    of = door()
    async with TcpServer("127.0.0.1", 0, [Device(24, of)]) as server:
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        await asyncio.wait_for(client.connect(), 5)
        try:
            answer = await client.read_holding_registers(1, count=7, device_id=24)
            expected = of.registers(START)
            assert answer.registers == [expected[address] for address in range(1, 8)]
            assert (await client.read_holding_registers(0x0205, count=4, device_id=24)).registers == [5, 0, 2500, 2000]
            assert (await client.read_holding_registers(1, count=17, device_id=24)).exception_code == 3
            assert (await client.read_holding_registers(0x0008, count=1, device_id=24)).exception_code == 2
            assert (await client.write_register(0x1004, 1, device_id=24)).exception_code == 2
        finally:
            client.close()


def test_what_the_controller_does_not_have_is_refused() -> None:
    with pytest.raises(IllegalAddress):
        door().read("input", 1, 1)
    with pytest.raises(Refusal):
        door().read("holding", 1, 17)
