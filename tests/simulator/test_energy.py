"""A simulated energy meter and the loads on it."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from pymodbus.client import AsyncModbusTcpClient

from gateway.lighting import Schedule, Slot
from simulator.energy import Building, Cabinet, Load, Meter
from simulator.lighting import Lamp
from simulator.modbus import Device, IllegalAddress, TcpServer

PARIS = ZoneInfo("Europe/Paris")
SINCE = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
EVENING = datetime(2026, 1, 14, 19, tzinfo=UTC).timestamp()
STREET = Schedule((Slot("dusk", 100), Slot("22:00", 50)), 47.24, 6.02, PARIS)
LAMPS = [Lamp(f"lampe-{i}", 3, STREET, SINCE, town_seed=3) for i in range(5)]


def building() -> Building:
    return Building("mairie", 3, PARIS, SINCE)


@pytest.mark.parametrize("load", [building(), Cabinet(LAMPS)], ids=["building", "cabinet"])
def test_counters_never_fall_and_are_the_integral_of_power(load: Load) -> None:
    for phase in range(3):
        values = [load.energy_wh(phase, EVENING + 1800 * i) for i in range(49)]
        assert values == sorted(values)
        step = 300
        summed = sum(load.power_w(phase, EVENING + step * (i + 0.5)) for i in range(288)) * step / 3600
        assert values[-1] - values[0] == pytest.approx(summed, rel=0.01)


def test_a_cabinet_takes_what_its_lamps_take_and_little_by_day() -> None:
    cabinet = Cabinet(LAMPS)
    noon = EVENING + 17 * 3600
    lit = sum(lamp.state(EVENING).power_w for lamp in LAMPS)
    assert sum(cabinet.power_w(phase, EVENING) for phase in range(3)) == pytest.approx(lit + 6)
    assert sum(cabinet.power_w(phase, noon) for phase in range(3)) < 10
    with pytest.raises(ValueError, match="one lamp"):
        Cabinet([])


def test_a_building_works_by_day_on_week_days() -> None:
    load = building()
    wednesday, sunday = (datetime(2026, 1, day, 10, tzinfo=PARIS).timestamp() for day in (14, 18))
    assert load.power_w(0, wednesday) > 1.5 * load.power_w(0, sunday)
    assert load.power_w(0, wednesday) > 1.5 * load.power_w(0, wednesday - 8 * 3600)
    assert load.power_w(0, sunday) > 0
    with pytest.raises(ValueError, match="known from"):
        load.energy_wh(0, SINCE - 7200)


def test_values_agree_with_each_other() -> None:
    meter = Meter("mairie", 3, building(), lambda: EVENING)
    values = meter.registers(EVENING)
    assert values[0x0034] == pytest.approx(values[0x000C] + values[0x000E] + values[0x0010])
    assert values[0x0038] ** 2 == pytest.approx(values[0x0034] ** 2 + values[0x003C] ** 2)
    assert values[0x0006] * values[0x0000] * values[0x001E] == pytest.approx(values[0x000C])
    assert values[0x0156] == pytest.approx(values[0x015A] + values[0x015C] + values[0x015E])
    assert 49.9 < values[0x0046] < 50.1


async def test_a_client_reads_floats_high_word_first_with_function_4() -> None:
    meter = Meter("mairie", 3, building(), lambda: EVENING)
    async with TcpServer("127.0.0.1", 0, [Device(2, meter)]) as server:
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        await asyncio.wait_for(client.connect(), 5)
        try:
            for address in (0x0000, 0x0034, 0x0046, 0x0156):
                answer = await client.read_input_registers(address, count=2, device_id=2)
                value = client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32, word_order="big")
                assert value == pytest.approx(meter.registers(EVENING)[address], rel=1e-6)
            assert (await client.read_holding_registers(0, count=2, device_id=2)).exception_code == 2
            assert (await client.write_register(0, 1, device_id=2)).exception_code == 2
        finally:
            client.close()


@pytest.mark.parametrize(("address", "count"), [(1, 2), (0, 3), (0x0180, 2)])
def test_half_a_number_or_none_at_all_is_refused(address: int, count: int) -> None:
    with pytest.raises(IllegalAddress):
        Meter("mairie", 3, building(), lambda: EVENING).read("input", address, count)
