"""Simulated meters on a paced line: read by our gateway, by pyMeterBus's parser, and through everything a line can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from random import Random

import meterbus
import pytest

from gateway.clock import LoopClock
from gateway.codec import Limits
from gateway.codec.mbus import LINE, Mbus, MbusPlace, readout
from gateway.link.serial import SerialLink
from gateway.poll import PolledBus, run
from gateway.profile import load_profile
from gateway.reading import Quality, Snapshot
from gateway.site import Device
from simulator.line import Fault, Faults, Line
from simulator.mbus import Meter, day, heat_meter, moment, record, water_meter
from tests.bench.bus import SocketLine

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
LIMITS = Limits(max_read=4, patience_s=0.5)
HARMLESS = ("echo", "split", "gap")
FAULTS = ("crc", "bitflip", "truncated", "noise", "late", "silent", "collision", *HARMLESS)


def cold(address: int, litres: float, **more: int) -> Meter:
    return Meter(address, water_meter(lambda: litres, lambda: 120), 10_000_000 + address, **more)


def devices(profile_name: str, addresses: Sequence[int | str], every_s: float) -> list[Device]:
    profile = load_profile(PROFILES, profile_name)
    points = {point.name: point for point in profile.point}
    return [Device(f"m{a}", profile_name, profile, "b", a, "", every_s, points) for a in addresses]


def read(meter: Meter, *requests: str) -> list[bytes | None]:
    return [meter.answer(bytes.fromhex(request)) for request in requests]


# A meter by itself


def test_a_meter_answers_what_is_its_own_and_undamaged() -> None:
    meter = cold(5, 1000)
    assert read(meter, "10 40 05 45 16") == [b"\xe5"]
    assert read(meter, "10 40 06 46 16", "10 40 05 46 16", "10 40 FF 3F 16", "10 40 FD 3D 16") == [None] * 4


def test_the_bit_decides_whether_a_telegram_comes_again() -> None:
    meter = cold(5, 1000)
    _, first, same, other = read(meter, "10 40 05 45 16", "10 7B 05 80 16", "10 7B 05 80 16", "10 5B 05 60 16")
    assert first == same != other


def test_the_records_are_what_py_meter_bus_reads() -> None:
    at = datetime(2026, 11, 26, 6, 50)  # noqa: DTZ001
    data = (
        record(b"\x13", 12_345_678, digits=True)
        + record(b"\x3b", -5, 2, function=2)
        + record(b"\x13", 77, storage=35, tariff=9, subunit=3)
        + b"\x04\x6d"
        + moment(at)
        + b"\x42\x6c"
        + day(at)
    )
    meter = Meter(5, lambda: [data])
    _, answer = read(meter, "10 40 05 45 16", "10 7B 05 80 16")
    assert answer is not None
    theirs = json.loads(meterbus.load(answer).to_JSON())["body"]
    assert theirs["header"]["identification"] == "0x12, 0x34, 0x56, 0x78"
    one, two, three, four, five = theirs["records"]
    assert one["value"] == pytest.approx(12345.678)
    assert (two["value"], two["function"]) == (pytest.approx(-0.005), "FunctionType.MINIMUM_VALUE")
    assert (three["storage_number"], three["tariff"], three["device"]) == (35, 9, 3)
    assert (four["value"], five["value"], five["storage_number"]) == ("2026-11-26T06:50", "2026-11-26", 1)
    ours = readout(answer).records
    assert [found.value for found in ours[:3]] == [12345.678, -0.005, 0.077]
    assert (ours[2].storage, ours[2].tariff, ours[2].subunit) == (35, 9, 3)


# On a line of 2,400 baud, a real pseudo-terminal


async def test_a_readout_takes_what_the_line_takes() -> None:
    async with Line(2400, "8E1", units=[cold(5, 12_345_678)]) as line:
        link = SerialLink(line.port, LINE)
        (span,) = Mbus().spans([(MbusPlace(quantity="volume"), 0)], LIMITS)
        began_s = asyncio.get_running_loop().time()
        telegrams = await run(link, Mbus().read(5, span, LIMITS))
        took_s = asyncio.get_running_loop().time() - began_s
        await link.close()
    assert MbusPlace(quantity="volume").value(telegrams) == 12345.678
    assert took_s > (5 + 1 + 5 + len(telegrams)) * 11 / 2400, "no faster than the wire"
    assert line.violations == 0


# In virtual time


@pytest.mark.virtual_time
async def test_two_meters_at_one_address_are_told_apart_by_their_plates() -> None:
    async with SocketLine(
        2400, "8E1", units=[cold(0, 1000), Meter(0, water_meter(lambda: 2000, lambda: 0), 777)]
    ) as line:
        link = line.client()
        codec, seen = Mbus(), list[Snapshot]()
        places = devices("water/gwf_mtkcoder", ["10000000", "00000777"], 60.0)
        bus = PolledBus("b", link, codec, places, LoopClock(0.0), seen.append)
        for visit in bus.visits:
            await bus.visit(visit)
        await link.close()
    assert [snapshot.values["volume"] for snapshot in seen] == [1.0, 2.0]


@pytest.mark.virtual_time
async def test_a_heat_meter_in_two_telegrams_is_one_snapshot() -> None:
    heat = Meter(9, heat_meter(lambda: 37_351, lambda: 561.08, lambda: 34_700, lambda: (71.69, 46.16)), medium=4)
    (device,) = devices("heating/kamstrup_multical_601", [9], 60.0)
    async with SocketLine(2400, "8E1", units=[heat]) as line:
        link = line.client()
        (span,) = Mbus().spans([(MbusPlace(quantity="volume"), 0)], LIMITS)
        telegrams = await run(link, Mbus().read(9, span, LIMITS))
        await link.close()
    names = ("energy", "volume", "power", "flow_temperature", "return_temperature", "difference")
    points = [device.points[name] for name in names]
    assert [point.decoder()(telegrams) for point in points] == [37351.0, 561.08, 34.7, 71.69, 46.16, 25.53]  # type: ignore[union-attr]


@pytest.mark.virtual_time
async def test_status_and_range_become_quality_with_a_reason() -> None:
    units = [cold(1, 1000, status=0x08), cold(2, 99_000_000, status=0x04), Meter(3, lambda: [record(b"\x3b", 1, 2)])]
    codec, seen = Mbus(), list[Snapshot]()
    async with SocketLine(2400, "8E1", units=units) as line:
        link = line.client()
        places = devices("water/kamstrup_flowiq_2101", [1, 2, 3], 60.0)
        bus = PolledBus("b", link, codec, places, LoopClock(0.0), seen.append)
        for visit in bus.visits:
            await bus.visit(visit)
        await link.close()
    failing, weak, without = seen
    assert failing.values["volume"] == 1.0
    assert failing.flaws["volume"].quality is Quality.UNCERTAIN
    assert "défaut permanent" in failing.flaws["volume"].reason
    assert (failing.values["permanent_error"], failing.flaws.get("permanent_error")) == (1.0, None)
    assert (weak.values["volume"], weak.values["battery_low"]) == (99000.0, 1.0)
    assert "volume" not in weak.flaws
    assert without.values["volume"] is None
    assert without.flaws["volume"].quality is Quality.BAD
    assert "ne contient pas cette grandeur" in without.flaws["volume"].reason


@pytest.mark.virtual_time
async def test_a_value_beyond_what_the_meter_can_count_is_bad_with_the_reason() -> None:
    codec, seen = Mbus(), list[Snapshot]()
    async with SocketLine(
        2400, "8E1", units=[Meter(1, lambda: [record(b"\x3b", 31_000, 2) + record(b"\x13", -5)])]
    ) as line:
        link = line.client()
        places = devices("water/kamstrup_flowiq_2101", [1], 60.0)
        bus = PolledBus("b", link, codec, places, LoopClock(0.0), seen.append)
        await bus.visit(bus.visits[0])
        await link.close()
    (said,) = seen
    for point in ("flow", "volume"):
        assert said.values[point] is None
        assert "hors de la plage du capteur" in said.flaws[point].reason


@pytest.mark.virtual_time
async def test_an_endless_a_busy_and_an_absent_meter_cost_only_themselves() -> None:
    endless = cold(1, 1000, endless=True)
    units = [endless, cold(2, 2000, busy=True), cold(4, 4000)]
    codec, seen = Mbus(), list[Snapshot]()
    async with SocketLine(2400, "8E1", units=units) as line:
        link = line.client()
        places = devices("water/gwf_mtkcoder", [1, 2, 3, 4], 600.0)
        bus = PolledBus("b", link, codec, places, LoopClock(0.0), seen.append)
        for visit in bus.visits:
            await bus.visit(visit)
        await link.close()
    assert [snapshot.values["volume"] for snapshot in seen] == [1.0, None, None, 4.0]
    assert "refuse" in seen[1].flaws["volume"].reason
    assert "aucune réponse" in seen[2].flaws["volume"].reason


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", FAULTS)
async def test_each_fault_gives_the_right_value_or_none(kind: str) -> None:
    faults = Faults[Fault](rate=0.3, choice=[Fault(kind, by_s=1.5 if kind == "late" else 0.05)], random=Random(7))  # type: ignore[arg-type]
    seen = await _storm(faults, rounds=60)
    values = [snapshot.values["volume"] for snapshot in seen]
    wrong = [(s.device, s.values["volume"]) for s in seen if s.values["volume"] not in (None, float(s.device[1:]))]
    assert wrong == []
    assert faults.happened[kind] > 10
    assert sum(value is not None for value in values) > len(values) * (0.95 if kind in HARMLESS else 0.3)


@pytest.mark.virtual_time
async def test_a_storm_of_all_faults_gives_no_wrong_value() -> None:
    choice = [Fault(kind, by_s=by_s) for kind in FAULTS for by_s in (0.05, 0.45, 1.5)]  # type: ignore[arg-type]
    faults = Faults[Fault](rate=0.4, choice=choice, random=Random(11))
    seen = await _storm(faults, rounds=300)
    wrong = [(s.device, s.values["volume"]) for s in seen if s.values["volume"] not in (None, float(s.device[1:]))]
    assert wrong == []
    assert sum(faults.happened.values()) > 500


async def _storm(faults: Faults[Fault], rounds: int) -> list[Snapshot]:
    """Three meters of two telegrams each, whose volume in m3 is their address."""

    def two(address: int) -> Meter:
        return Meter(address, lambda: [record(b"\x3b", 7, 2), record(b"\x16", address)], 10_000_000 + address)

    codec, seen = Mbus(), list[Snapshot]()
    profile = load_profile(PROFILES, "water/gwf_mtkcoder")
    two_telegrams = profile.model_copy(update={"mbus": profile.mbus.model_copy(update={"telegrams": 2})})  # type: ignore[union-attr]
    places = [
        Device(f"m{a}", "x", two_telegrams, "b", a, "", 60.0, {point.name: point for point in profile.point})
        for a in (11, 12, 13)
    ]
    async with SocketLine(2400, "8E1", units=[two(11), two(12), two(13)], faults=faults) as line:
        link = line.client()
        bus = PolledBus("b", link, codec, places, LoopClock(0.0), seen.append)
        for _ in range(rounds):
            for visit in bus.visits:
                await bus.visit(visit)
        await link.close()
    return seen
