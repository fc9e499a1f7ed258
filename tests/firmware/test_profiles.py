"""The gateway's profiles of our nodes against the nodes: their register maps as data, and the gateway's own poller on a
node in a real MicroPython."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import maps
import pytest
from rig import LINE, Rig
from running import ROOT

from firmware.tool.build import NODES
from gateway.clock import SystemClock
from gateway.codec.bthome import Bthome
from gateway.codec.modbus import Rtu
from gateway.link.serial import SerialLink
from gateway.poll import PolledBus
from gateway.profile import BthomeProfile, ModbusProfile, load_profile
from gateway.reading import Snapshot
from gateway.site import Device

PROFILES = ROOT / "device_profiles"
RENAMED = {"burn_minutes": "burn_time"}


def rows(node: str) -> dict[tuple[str, int], list[str]]:
    """Rows of the register map, by area and address: the shared ones and the node's own."""
    return {(row[0], int(row[1])): row for file in ("station_map", node) for row in maps.rows(file)}


def test_every_node_has_its_profile() -> None:
    assert set(NODES) <= {path.stem for path in (PROFILES / "guet").glob("*.toml")}


@pytest.mark.parametrize("node", [node for node in NODES if node != "bin"])
def test_a_profile_says_what_the_map_says(node: str) -> None:
    profile = load_profile(PROFILES, f"guet/{node}")
    assert isinstance(profile, ModbusProfile)
    known = rows(node)
    shown = set()
    for point in profile.point:
        _, _, name, kind, _, power = known[point.area, point.address][:6]
        assert RENAMED.get(name, name) == point.name
        assert kind == point.type
        percent = 100 if point.unit == "%" else 1
        milli = 1000 if point.name == "loop_current" else 1
        assert point.scale == pytest.approx(10.0 ** int(power) * percent / milli)
        shown.add((point.area, point.address))
    own = {place for place, row in known.items() if place[0] == "input" and 32 <= place[1] < 256}
    assert own <= shown, "a value that the node has and the gateway does not know"


@pytest.fixture
def rig(micropython: Path, tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path, "pressure", ADC26=12000 * 65535 // 24000)
    one.board.power_on()
    one.answering()
    yield one
    one.close()


async def test_the_gateway_polls_a_real_node(rig: Rig) -> None:
    rig.client.close()
    profile = load_profile(PROFILES, "guet/pressure")
    points = {point.name: point for point in profile.point}
    device = Device("amont", "guet/pressure", profile, "bus", 17, "", 1.0, points)
    codec, link, heard = Rtu(), SerialLink(os.ttyname(rig.client_tty), LINE), list[Snapshot]()
    bus = PolledBus("bus", link, codec, [device], SystemClock(), heard.append)
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(15):
            while len(heard) < 2 or not heard[-1].values.get("pressure"):
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await link.close()
    values = heard[-1].values
    assert values["pressure"] == pytest.approx(5000, abs=1)
    assert values["loop_current"] == pytest.approx(12.0, abs=0.01)
    assert values["transmitter_state"] == 0 and values["burst"] == 0 and values["boots"] == 1
    assert link.traffic.garbled == 0 and link.traffic.stray_bytes == 0  # a silence only says that this machine was busy


def test_the_gateway_hears_what_the_bin_node_says() -> None:
    import bthome
    from hearing import HEADER

    from gateway.codec import Broadcast

    profile = load_profile(PROFILES, "guet/bin")
    assert isinstance(profile, BthomeProfile)
    objects = (bthome.BATTERY, bthome.VOLTAGE, bthome.PROBLEM, bthome.DISTANCE_MM)
    said = bthome.Advertisement(objects).encode((71, 3074, 1, 640))
    values = Bthome().values(Broadcast("AA:BB:CC:DD:EE:FF", {"fcd2": bytes(said[HEADER:])}))
    assert values is not None
    decoded = {point.name: values[point.place] for point in profile.point}
    assert decoded == {"battery": b"\x47", "voltage": b"\x02\x0c", "overflow": b"\x01", "distance": b"\x80\x02"}
