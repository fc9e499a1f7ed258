"""The town: what its devices answer is what its truth says, on the ports and without them, and a gateway can read it all."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import Limits
from gateway.codec.modbus import ModbusPlace, Rtu, Tcp
from gateway.errors import GarbledAnswer
from gateway.link.tcp import TcpLink
from gateway.plan import plan_visits
from gateway.poll import run
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from simulator.modbus import IllegalAddress
from simulator.scenario import Scenario, load_scenario
from simulator.town import BINS, LAMPS, Floats, Town, watched_devices

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
DAY_S = 86400.0
NIGHT = replace(load_scenario("night", 11), history_s=DAY_S)


def town_of(folder: Path, scenario: Scenario = NIGHT) -> Town:
    return Town(scenario, lambda: scenario.start_s, folder)


def site_of(town: Town, folder: Path) -> Site:
    return parse_site(town.site_toml(1883), "site.toml", folder, lambda name: load_profile(PROFILES, name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("town")


# Registers that are floats

AT = {3002: (">f", lambda t: t), 3014: (">d", lambda t: 2 * t)}


@given(st.integers(2990, 3020), st.integers(1, 20))
def test_any_span_of_floats_is_cut_out_of_the_same_registers(address: int, count: int) -> None:
    floats = Floats(AT, lambda: 7.5)
    whole = dict.fromkeys(range(2900, 3100), 0)
    for first, data in ((3002, struct.pack(">f", 7.5)), (3014, struct.pack(">d", 15.0))):
        whole |= {first + at // 2: int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)}
    if address + count > 3030:
        with pytest.raises(IllegalAddress):
            floats.read("holding", address, count)
    else:
        assert floats.read("holding", address, count) == [whole[at] for at in range(address, address + count)]


def test_floats_are_read_only_and_only_holding() -> None:
    floats = Floats(AT, lambda: 0.0)
    with pytest.raises(IllegalAddress):
        floats.read("input", 3002, 2)
    with pytest.raises(IllegalAddress):
        floats.write("holding", 3002, [0])


# The town


async def test_its_site_is_sound_and_names_every_device(folder: Path) -> None:
    async with town_of(folder) as town:
        site = site_of(town, folder)
    lamps = {name for name in site.devices if name.startswith("lampe-")}
    assert len(lamps) == LAMPS
    assert len([name for name in site.devices if name.startswith("bac-")]) == BINS
    assert {bus.protocol for bus in site.buses.values()} == {"modbus-tcp", "modbus-rtu", "dali-sci", "ble"}
    assert {event.subject for event in NIGHT.events if event.expect} <= set(site.watches)
    assert {device.name for device in watched_devices(site)} <= set(site.devices)
    assert {device.name for device in watched_devices(site)} >= {"debit-entree", "ascenseur-porte", "bac-1", *lamps}
    assert {setting.point for rule in site.rules for setting in rule.settings} == {f"{name}/level" for name in lamps}


async def test_over_a_real_port_a_device_says_what_its_truth_is(folder: Path) -> None:
    async with town_of(folder) as town:
        site = site_of(town, folder)
        link, codec = TcpLink("127.0.0.1", town.server.port), Tcp()
        device = site.devices["debit-entree"]
        values: dict[str, float | None] = {}
        for visit in plan_visits([device], codec):
            for block in visit.blocks:
                data = await run(link, codec.read(1, block.span, device.limits))
                block.decode(data, values, {})
        await link.close()
    assert values["flow"] == pytest.approx(town.sector.metered_flow_m3_h(NIGHT.start_s), rel=1e-5)
    assert values["volume"] is not None


async def test_a_bus_is_disturbed_by_the_faults_that_are_named_and_calm_after(folder: Path) -> None:
    async with town_of(folder) as town:
        device = site_of(town, folder).devices["debit-entree"]
        visit = plan_visits([device], Tcp())[0]
        link = TcpLink("127.0.0.1", town.server.port)
        ask = partial(Tcp().read, 1, visit.blocks[0].span, device.limits)
        town.disturb("armoire", "transaction=1")
        with pytest.raises(GarbledAnswer):
            await run(link, ask())
        assert town.faults["armoire"].happened["transaction"] >= 1
        town.disturb("armoire", "")
        assert await run(link, ask())
        await link.close()


async def test_on_the_line_each_device_has_its_own_address_and_a_stranger_gets_no_answer(folder: Path) -> None:
    town = town_of(folder)
    addresses = [device.address for device in town.line_units.values()]
    assert len(addresses) == len(set(addresses)) == 5
    codec, limits = Rtu(), Limits()
    (span,) = codec.spans([(ModbusPlace(register="holding", address=2), 4)], limits)
    asks = [next(codec.read(unit, span, limits)) for unit in (*addresses, 99)]
    answers = [town._answer_rtu(ask.request) for ask in asks]
    assert [bool(answer) for answer in answers] == [True] * 5 + [False]


async def test_the_weeks_before_are_whole_aligned_and_end_where_the_night_begins(folder: Path) -> None:
    async with town_of(folder) as town:
        site = site_of(town, folder)
        wanted = [site.devices[name] for name in ("debit-entree", "ascenseur-porte", "lampe-1", "bac-1")]
        told = list(town.history(wanted))
        assert not town.telling_the_past
    for device in wanted:
        starts = [summary.start_s for summary in told if summary.device == device.name]
        step_s = 3600.0 if device.name in ("lampe-1", "bac-1") else 900.0
        assert starts == [NIGHT.start_s - DAY_S + at * step_s for at in range(int(DAY_S // step_s))]
    flow = [summary.points["flow"].mean for summary in told if summary.device == "debit-entree"]
    assert all(mean is not None and mean > 0 for mean in flow)
    assert len({round(mean or 0, 3) for mean in flow}) > 20, "it lives"


async def test_the_same_seed_is_the_same_past_whatever_else_is_asked(folder: Path) -> None:
    async with town_of(folder) as town:
        site = site_of(town, folder)
        both = [site.devices["debit-entree"], site.devices["lampe-2"]]
        together = [summary for summary in town.history(both) if summary.device == "lampe-2"]
    async with town_of(folder) as town:
        assert list(town.history(both[1:])) == together


async def test_it_gives_its_ports_back(folder: Path) -> None:
    async with town_of(folder) as town:
        port, line = town.server.port, Path(town.line.port)
        assert line.exists()
    assert not line.exists()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
