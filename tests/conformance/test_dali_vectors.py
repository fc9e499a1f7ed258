"""DALI against python-dali, in both directions: our codec's frames as it reads them, its simulated gear read by our codec,
our simulated gear read by its sequences and, on a pty, by its driver for the very same adapter."""

from __future__ import annotations

from collections.abc import Generator
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import Any

import pytest
from dali.address import GearShort
from dali.command import Command
from dali.exceptions import MemoryLocationNotImplemented
from dali.frame import BackwardFrame, ForwardFrame
from dali.gear import general, led
from dali.memory import diagnostics, energy, info, maintenance, oem
from dali.memory.location import FlagValue, MemoryBank, MemoryValue
from dali.tests import fakes

from gateway.codec import Limits, Procedure
from gateway.codec.dali import KEPT, LATCHED_BANKS, QUERIES, DaliPlace, Query, Sci, sci_frame
from simulator.dali import Adapter, Gear, GearDiagnostics, LightSource, SimulatedSci, energy_bank

LIMITS = Limits(max_read=255, max_hole=6, patience_s=0.2)
GEAR = GearDiagnostics(
    7_200_000,
    410,
    230.4,
    50,
    0.96,
    48,
    87,
    undervoltage=True,
    undervoltages=3,
    derating=True,
    deratings=12,
    shutdowns=1,
)
LIGHT = LightSource(411, 5_100_000, 48.2, 0.7, 61, shorts=2, open=True, opens=7)
BANKS = {202: energy_bank(123_456, 37.51), 205: GEAR.bank(), 206: LIGHT.bank()}
A5 = GearShort(5)


def address_and_command(frame: bytes) -> tuple[int, int]:
    assert reduce(xor, frame) == 0
    assert frame[0] & 0x0F == 3
    return frame[1], frame[2]


# Vectors: Lunatone D0045 (five bytes, xor), IEC 62386-102 7.2 (address byte), 11.x (opcodes)


def test_sci_frame_direct_arc_power_short_address_5_level_128() -> None:
    assert sci_frame(5 << 1, 128) == bytes.fromhex("03 0a 80 00 89")


def test_sci_frame_sent_twice_enable_write_memory_short_address_5() -> None:
    assert sci_frame(5 << 1 | 1, 0x81, twice=True) == bytes.fromhex("13 0b 81 00 99")


@pytest.mark.parametrize(
    ("query", "command"),
    [
        ("status", general.QueryStatus), ("version", general.QueryVersionNumber), ("device_type", general.QueryDeviceType),
        ("physical_minimum", general.QueryPhysicalMinimum), ("light_source_type", general.QueryLightSourceType),
        ("actual_level", general.QueryActualLevel), ("max_level", general.QueryMaxLevel),
        ("min_level", general.QueryMinLevel),
        ("power_on_level", general.QueryPowerOnLevel), ("system_failure_level", general.QuerySystemFailureLevel),
        ("fade", general.QueryFadeTimeFadeRate), ("led_failure", led.QueryFailureStatus),
        ("groups_8_15", general.QueryGroupsEightToFifteen),
    ],
)  # fmt: skip
def test_queries_have_the_opcodes_of_python_dali(query: Any, command: Any) -> None:
    assert bytes(command(A5).frame.as_byte_sequence) == bytes((0x0B, QUERIES[query].code))
    assert QUERIES[query].device_type == command.devicetype


def test_no_query_is_unchecked() -> None:
    (marks,) = [m for m in test_queries_have_the_opcodes_of_python_dali.pytestmark if m.name == "parametrize"]
    assert {query for query, _ in marks.args[1]} == set(QUERIES)


def test_latched_banks_are_those_of_diia_252_and_253() -> None:
    banks: list[MemoryBank] = [
        info.BANK_0, oem.BANK_1, energy.BANK_202, energy.BANK_203, energy.BANK_204, diagnostics.BANK_205,
        diagnostics.BANK_206, maintenance.BANK_207,
    ]  # fmt: skip
    assert {bank.address for bank in banks if bank.has_latch} == LATCHED_BANKS


def test_a_bank_reading_is_the_commands_that_python_dali_knows() -> None:
    adapter = Adapter([Gear(5, lambda number: BANKS.get(number, b""))])
    (span,) = Sci().spans([(DaliPlace(bank=202, location=0x0B), 2)], LIMITS)
    said: list[Command] = []
    procedure = Sci().read(5, span, LIMITS)
    try:
        ask = next(procedure)
        while True:
            command = Command.from_frame(ForwardFrame(16, bytes(address_and_command(ask.request))))
            assert bool(ask.request[0] & 0x10) == command.sendtwice, command
            said.append(command)
            ask = procedure.send(adapter.handle(ask.request))
    except StopIteration as done:
        answer = done.value
    assert answer == BANKS[202][0x0B:0x0D]
    assert [str(command) for command in said] == [str(command) for command in (
        general.DTR1(202), general.EnableWriteMemory(A5), general.DTR0(2), general.WriteMemoryLocation(0xAA),
        general.DTR0(0x0B), general.ReadMemoryLocation(A5), general.ReadMemoryLocation(A5),
        general.QueryContentDTR0(A5), general.QueryContentDTR1(A5),
        general.EnableWriteMemory(A5), general.DTR0(2), general.WriteMemoryLocationNoReply(0xFF),
    )]  # fmt: skip


# Our codec reads python-dali's simulated gear


class FakeBank202(fakes.FakeMemoryBank):
    bank = energy.BANK_202
    initial_contents = BANKS[202]


class FakeBank206(fakes.FakeMemoryBank):
    bank = diagnostics.BANK_206
    initial_contents = BANKS[206]


def run_on_fake(gear: Any, procedure: Procedure[Any]) -> Any:
    device_type = 0
    try:
        ask = next(procedure)
        while True:
            command = Command.from_frame(
                ForwardFrame(16, bytes(address_and_command(ask.request))), devicetype=device_type
            )
            device_type = command.param if isinstance(command, general.EnableDeviceType) else 0
            value = gear.send(command)
            body = bytes((0x01, 0, 0, 0)) if value is None else bytes((0x02, 0, 0, value))
            ask = procedure.send(body + bytes((reduce(xor, body),)))
    except StopIteration as done:
        return done.value


@pytest.mark.parametrize(
    ("number", "first", "count"), [(202, 0x04, 12), (206, 0x04, 29), (207, 0x04, 2), (202, 0x0E, 4)]
)
def test_python_dalis_gear_is_read_by_our_codec(number: int, first: int, count: int) -> None:
    gear = fakes.Gear(shortaddr=5, memory_banks=(FakeBank202, FakeBank206))
    (span,) = Sci().spans([(DaliPlace(bank=number, location=first), count)], LIMITS)
    expected = BANKS.get(number, b"")[first : first + count].ljust(count, b"\xff")
    assert run_on_fake(gear, Sci().read(5, span, LIMITS)) == expected


def test_python_dalis_gear_takes_our_level() -> None:
    gear = fakes.Gear(shortaddr=5)
    run_on_fake(gear, Sci().write(5, DaliPlace(query="actual_level"), b"\x64", LIMITS))
    assert gear.level.as_integer == 100 if hasattr(gear.level, "as_integer") else gear.level == 100
    (span,) = Sci().spans([(DaliPlace(query="actual_level"), 1)], LIMITS)
    assert run_on_fake(gear, Sci().read(5, span, LIMITS)) == b"\x64"


@pytest.mark.parametrize(
    ("query", "sets", "asks"),
    [
        ("power_on_level", general.SetPowerOnLevel, general.QueryPowerOnLevel),
        ("system_failure_level", general.SetSystemFailureLevel, general.QuerySystemFailureLevel),
    ],
)
def test_the_command_that_keeps_a_level_is_python_dalis_and_python_dali_reads_it_back(
    query: Query, sets: type[Command], asks: type[Command]
) -> None:
    assert sets(A5).sendtwice  # type: ignore[call-arg]
    assert sets(A5).frame.as_byte_sequence == [5 << 1 | 1, KEPT[query]]  # type: ignore[call-arg]
    adapter = Adapter([Gear(5)])
    procedure = Sci().write(5, DaliPlace(query=query), b"\x64", LIMITS)
    try:
        ask = next(procedure)
        while True:
            ask = procedure.send(adapter.handle(ask.request))
    except StopIteration:
        pass

    def asking() -> Generator[Command, Any, Any]:
        return (yield asks(A5))  # type: ignore[call-arg]

    assert run_sequence(adapter, asking()).value == 100


# python-dali reads our simulated gear


def run_sequence(adapter: Adapter, sequence: Generator[Command, Any, Any]) -> Any:
    """What python-dali's drivers do with a sequence."""
    response = None
    try:
        while True:
            command = sequence.send(response)
            if command.devicetype:
                adapter.handle(sci_frame(0xC1, command.devicetype))
            high, low = command.frame.as_byte_sequence
            said = adapter.handle(sci_frame(high, low, command.sendtwice))
            backward = BackwardFrame(said[3]) if said[0] & 0x0F == 2 else None
            response = command.response(backward) if command.response else None
    except StopIteration as done:
        return done.value


def expected_values() -> list[tuple[type[MemoryValue], object]]:
    d, e = diagnostics, energy
    return [
        (e.ActiveEnergy, Decimal(123_456)), (e.ActivePower, Decimal("37.51")),
        (d.ControlGearOperatingTime, 7_200_000), (d.ControlGearStartCounter, 410),
        (d.ControlGearExternalSupplyVoltage, Decimal("230.4")), (d.ControlGearExternalSupplyVoltageFrequency, 50),
        (d.ControlGearPowerFactor, Decimal("0.96")), (d.ControlGearOverallFailureCondition, False),
        (d.ControlGearOverallFailureConditionCounter, 0), (d.ControlGearExternalSupplyUndervoltage, True),
        (d.ControlGearExternalSupplyUndervoltageCounter, 3), (d.ControlGearExternalSupplyOvervoltage, False),
        (d.ControlGearExternalSupplyOvervoltageCounter, 0), (d.ControlGearOutputPowerLimitation, False),
        (d.ControlGearOutputPowerLimitationCounter, 0), (d.ControlGearThermalDerating, True),
        (d.ControlGearThermalDeratingCounter, 12), (d.ControlGearThermalShutdown, False),
        (d.ControlGearThermalShutdownCounter, 1), (d.ControlGearTemperature, 48), (d.ControlGearOutputCurrentPercent, 87),
        (d.LightSourceStartCounterResettable, 411), (d.LightSourceStartCounter, 411),
        (d.LightSourceOnTimeResettable, 5_100_000), (d.LightSourceOnTime, 5_100_000),
        (d.LightSourceVoltage, Decimal("48.2")), (d.LightSourceCurrent, Decimal("0.700")),
        (d.LightSourceOverallFailureCondition, False), (d.LightSourceOverallFailureConditionCounter, 0),
        (d.LightSourceShortCircuit, False), (d.LightSourceShortCircuitCounter, 2),
        (d.LightSourceOpenCircuit, True), (d.LightSourceOpenCircuitCounter, 7),
        (d.LightSourceThermalDerating, False), (d.LightSourceThermalDeratingCounter, 0),
        (d.LightSourceThermalShutdown, False), (d.LightSourceThermalShutdownCounter, 0), (d.LightSourceTemperature, 61),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "bank", [energy.BANK_202, diagnostics.BANK_205, diagnostics.BANK_206], ids=lambda bank: str(bank.address)
)
def test_python_dali_reads_whole_banks_of_our_gear(bank: MemoryBank) -> None:
    adapter = Adapter([Gear(5, lambda number: BANKS.get(number, b""))])
    values = run_sequence(adapter, bank.read_all(A5))
    wanted = {value: expected for value, expected in expected_values() if value.bank is bank}
    assert {value: values[value] for value in wanted} == wanted
    assert not any(isinstance(value, FlagValue) for value in wanted)


def test_python_dali_finds_no_bank_that_our_gear_does_not_have() -> None:
    adapter = Adapter([Gear(5, lambda number: BANKS.get(number, b""))])
    with pytest.raises(MemoryLocationNotImplemented):
        run_sequence(adapter, maintenance.RatedMedianUsefulLifeOfLuminaire.read(A5))


def test_python_dali_understands_our_status() -> None:
    gear = Gear(5)
    adapter = Adapter([gear])

    def status() -> list[str]:
        return [str(bit) for bit in run_sequence(adapter, _one(general.QueryStatus(A5))).status]

    assert status() == ["arc power on"]
    gear.lamp_failure = True
    assert status() == ["lamp failure"]
    gear.lamp_failure = False
    gear.switch_mains(on=False)
    gear.switch_mains(on=True)
    assert status() == ["arc power on", "power failure"]
    run_sequence(adapter, _one(general.DAPC(A5, 0)))
    assert status() == []


def _one(command: Command) -> Generator[Command, Any, Any]:
    return (yield command)


async def test_python_dalis_own_driver_reads_our_street_on_a_pty() -> None:
    pytest.importorskip("serialx", reason="python-dali's serial drivers need serialx")
    from dali.driver.serial import DriverSCIRS232

    gears = [Gear(5, lambda number: BANKS.get(number, b"")), Gear(6)]
    async with SimulatedSci(Adapter(gears)) as sci:
        driver = DriverSCIRS232("scirs232:" + sci.port)
        await driver.connect()
        assert (await driver.send(general.QueryActualLevel(A5))).value == 254
        await driver.send(general.DAPC(A5, 128))
        assert (await driver.send(general.QueryActualLevel(A5))).value == 128
        assert await driver.send(energy.ActivePower.read(A5)) == Decimal("37.51")
        assert (await driver.send(general.QueryActualLevel(GearShort(9)))).raw_value is None
        driver._transport.close()
