"""The simulated lift bus: its physics, its adapter as python-can knows such adapters, and a real gateway that listens."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import can
import pytest

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.codec.slcan import Reader
from gateway.reading import Quality
from gateway.site import load_site
from gateway.store import Store
from simulator.can import Adapter, CanFault, CanFrame, LiftController, SimulatedSlcan
from simulator.car import LANDINGS, STOREY_MM, LiftCar
from simulator.lift import Door, LiftDoor
from simulator.line import Faults

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
PARIS = ZoneInfo("Europe/Paris")
MORNING_S = 1_764_144_000.0  # 26 November 2025, 9:00 in Paris
LIMIT_S = 15.0


def car(seed: int = 3) -> LiftCar:
    return LiftCar(LiftDoor("ascenseur", seed, PARIS, lambda: MORNING_S), seed, MORNING_S)


# Physics


def test_the_car_stands_at_a_landing_whenever_its_door_is_not_closed() -> None:
    lift = car()
    opened = 0
    for tenth in range(0, 36_000, 3):
        now_s = MORNING_S + tenth / 10
        if lift.door.panel(now_s).state is not Door.CLOSED:
            travel = lift.at(now_s)
            opened += 1
            assert travel.speed_mm_s == 0
            assert abs(travel.position_mm - round(travel.position_mm / STOREY_MM) * STOREY_MM) < 15
    assert opened > 100


def test_the_car_moves_as_its_speed_says_and_counts_its_trips() -> None:
    lift = car()
    before = lift.at(MORNING_S)
    moved = 0
    for tenth in range(1, 18_000):
        now = lift.at(MORNING_S + tenth / 10)
        way_mm = now.position_mm - before.position_mm
        assert abs(way_mm - (now.speed_mm_s + before.speed_mm_s) / 2 / 10) < 20
        assert -20 < now.position_mm < (LANDINGS - 1) * STOREY_MM + 20
        assert 0 <= now.load_kg <= 300
        assert now.trips - before.trips in (0, 1)
        moved += way_mm != 0
        before = now
    assert moved > 50
    assert before.trips > 2
    assert car().at(MORNING_S + 1799.9).trips == before.trips


# The adapter, as python-can knows it


@asynccontextmanager
async def adapter_of(*frames: CanFrame) -> AsyncIterator[SimulatedSlcan]:
    class Chatter:
        def due(self, time_s: float) -> tuple[CanFrame, ...]:
            return frames

    async with SimulatedSlcan(Adapter(), [Chatter()] if frames else [], time.monotonic) as simulated:
        yield simulated


@asynccontextmanager
async def python_can(simulated: SimulatedSlcan, *, listen_only: bool) -> AsyncIterator[can.BusABC]:
    def opened() -> can.BusABC:
        return can.Bus(
            interface="slcan", channel=simulated.port, bitrate=250_000, listen_only=listen_only, sleep_after_open=0.0,
            timeout=0.05,
        )  # fmt: skip

    bus = await asyncio.to_thread(opened)
    try:
        async with asyncio.timeout(LIMIT_S):
            while simulated.adapter.mode != ("listening" if listen_only else "open"):
                await asyncio.sleep(0.01)
        yield bus
    finally:
        await asyncio.to_thread(bus.shutdown)


async def test_python_can_hears_what_our_reader_hears() -> None:
    rng = Random(5)
    frames = [
        CanFrame(rng.randrange(0x20000000 if long else 0x800), rng.randbytes(rng.randrange(9)), extended=long)
        for long in [rng.random() < 0.3 for _ in range(200)]
    ]
    async with adapter_of() as simulated:
        theirs: list[can.Message] = []
        async with python_can(simulated, listen_only=True) as bus:
            for start in range(0, len(frames), 50):  # less than a pseudo-terminal holds
                for frame in frames[start : start + 50]:
                    simulated.put(frame)
                for _ in frames[start : start + 50]:
                    message = await asyncio.to_thread(bus.recv, 5.0)
                    assert message is not None
                    theirs.append(message)
    ours = Reader().feed(b"".join(frame.line() for frame in frames))
    assert len(theirs) == len(frames)
    assert [(m.arbitration_id, bytes(m.data), m.is_extended_id) for m in theirs] == [
        (frame.identifier, frame.data, frame.extended) for frame in ours
    ]


async def test_the_adapter_notes_what_it_is_told_to_send() -> None:
    """So that a test which finds nothing noted has found something."""
    message = can.Message(arbitration_id=0x604, data=b"\x40\x83\x63\x01", is_extended_id=False)
    async with adapter_of() as simulated:
        for listen_only in (True, False):
            told = len(simulated.adapter.told)
            async with python_can(simulated, listen_only=listen_only) as bus, asyncio.timeout(LIMIT_S):
                await asyncio.to_thread(bus.send, message)
                while b"t604440836301" not in simulated.adapter.told[told:]:
                    await asyncio.sleep(0.01)
            assert simulated.adapter.sent == ([] if listen_only else [b"t604440836301"])


@pytest.mark.parametrize("kind", ["lost", "garbled"])
async def test_faults_of_frames_are_counted_and_no_wrong_frame_comes_of_them(kind: str) -> None:
    chance = Faults(0.2, [CanFault(kind)], random=Random(1))  # type: ignore[arg-type]
    adapter = Adapter(chance=chance)
    for command in (b"S5\r", b"L\r"):
        adapter.hear(command, 0.0)
    frame, reader = CanFrame(0x18C, b"\x01\x02\x03\x04\x05\x06"), Reader()
    heard = [found for _ in range(1000) for found in reader.feed(adapter.carry(frame, 0.0))]
    assert all(found.data == frame.data and found.identifier == 0x18C for found in heard)
    assert len(heard) == 1000 - chance.happened[kind]
    assert 100 < chance.happened[kind] < 300
    assert reader.garbled == (chance.happened[kind] if kind == "garbled" else 0)


# A real gateway

SITE = """
[gateway]
id = "banc"
commune = "Banc"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "gaine"
protocol = "slcan"
port = "{port}"
bitrate = 250000
[[device]]
name = "ascenseur"
profile = "guet/canopen_lift"
bus = "gaine"
every = "500ms"
"""


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(port=tmp_path / "can"), "utf-8")
    return path


async def test_a_lift_is_overheard_end_to_end(site_file: Path) -> None:
    site = load_site(site_file, PROFILES)
    clock, lift = SystemClock(), LiftController(car(), node=4)
    since_s = clock.now()
    adapter = Adapter()
    async with (
        SimulatedSlcan(
            adapter, [lift], lambda: MORNING_S + clock.now() - since_s, link=site_file.parent / "can"
        ) as can,
        Store.open(site.data, clock) as store,
    ):
        gateway = Gateway(site, [], store, clock)
        running = asyncio.create_task(gateway.run())
        latest = gateway.live.latest

        async def until_state(words: str) -> str:
            async with asyncio.timeout(LIMIT_S):
                while not (said := gateway.live.state(site.devices["ascenseur"]).words).startswith(words):
                    await asyncio.sleep(0.02)
            return said

        await until_state("fonctionne")
        readings = latest["ascenseur"]
        assert set(readings) == set(site.devices["ascenseur"].points)
        travel = lift.car.at(MORNING_S + clock.now() - since_s)
        assert readings["position"].value == pytest.approx(travel.position_mm, abs=1600)
        assert readings["trips"].value == travel.trips
        assert readings["state"].value == 5
        assert all(reading.quality is Quality.GOOD for reading in readings.values())

        lift.emergency(0x8130, 0x11, b"\x01\x02\x03\x04\x05")
        said = await until_state("dégradé")
        assert "signale l'erreur 8130 (surveillance ou communication), registre 11, octets 01 02 03 04 05" in said
        assert latest["ascenseur"]["position"].value is not None
        assert latest["ascenseur"]["position"].quality is Quality.UNCERTAIN
        lift.emergency(0)
        await until_state("fonctionne")

        lift.state = 127
        assert "est en pré-opérationnel et n'envoie aucune mesure" in await until_state("dégradé")
        assert latest["ascenseur"]["position"].value is None
        lift.state = 5
        await until_state("fonctionne")

        lift.weighs = False
        assert await until_state("dégradé") == "dégradé : load, l'appareil dit qu'il n'a pas de valeur"
        lift.weighs = True

        can.unplug()
        async with asyncio.timeout(LIMIT_S):
            while "still plugged in" not in gateway.status()["buses"]["gaine"]["state"]:
                await asyncio.sleep(0.02)
        can.replug()
        async with asyncio.timeout(LIMIT_S):
            while gateway.status()["buses"]["gaine"]["state"] != "écoute seule à 250 kbit/s":
                await asyncio.sleep(0.02)
        await until_state("fonctionne")
        gateway.stop.set()
        await asyncio.wait_for(running, LIMIT_S)
    assert adapter.sent == []
    assert {command[:1] for command in adapter.told} <= {b"C", b"S", b"L", b"F"}


def test_the_frames_of_the_controller_are_those_of_its_profile() -> None:
    lift = LiftController(car(), node=4)
    frames = {frame.identifier: frame.data for frame in lift.due(MORNING_S)}
    assert set(frames) == {0x704, 0x18C, 0x284, 0x384}
    travel = lift.car.at(MORNING_S)
    assert struct.unpack("<ih", frames[0x18C]) == (round(travel.position_mm), round(travel.speed_mm_s))
