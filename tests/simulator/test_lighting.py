"""A simulated lamp: its banks as python-dali reads them, its physics, and its independence of when it is asked."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dali.memory import diagnostics, energy, maintenance, oem

from gateway.lighting import Schedule, Slot, arc_power_level
from simulator.drift import Drift
from simulator.lighting import NOMINAL_W, Lamp, LampFault

STREET = Schedule((Slot("dusk", 100), Slot("22:00", 50), Slot("05:00", 100)), 47.24, 6.02, ZoneInfo("Europe/Paris"))
SINCE = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
EVENING = datetime(2026, 1, 14, 19, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 1, 15, 1, tzinfo=UTC).timestamp()
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp()
DAY_S = 86400.0


def lamp(*faults: LampFault, name: str = "lampe-1", seed: int = 3) -> Lamp:
    return Lamp(name, seed, STREET, SINCE, faults, town_seed=3)


def capacitor(severity: float, start_s: float = SINCE) -> LampFault:
    return LampFault("capacitor", Drift(start_s, 0, severity))


def read(value: Any, of: Lamp, time_s: float, level: int = 254) -> Any:
    """A value of a memory bank, by python-dali's definition of where it is and how it is coded."""
    return value.from_list(list(of.bank(value.bank.address, time_s, level)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (energy.ActivePower, lambda s: s.power_w),
        (diagnostics.ControlGearExternalSupplyVoltage, lambda s: s.supply_v),
        (diagnostics.ControlGearPowerFactor, lambda s: s.power_factor),
        (diagnostics.ControlGearTemperature, lambda s: s.temperature_c),
        (diagnostics.ControlGearOutputCurrentPercent, lambda s: s.output_percent),
        (diagnostics.LightSourceVoltage, lambda s: s.source_v),
        (diagnostics.LightSourceCurrent, lambda s: s.source_a),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_python_dali_reads_what_the_lamp_measures(value: Any, expected: Any) -> None:
    of = lamp()
    resolution = {"Temperature": 0.5, "Percent": 0.5, "PowerFactor": 0.005, "Current": 0.0005}
    within = next((half for part, half in resolution.items() if value.__name__.endswith(part)), 0.05)
    assert float(read(value, of, EVENING)) == pytest.approx(expected(of.state(EVENING)), abs=within + 1e-9)


def test_python_dali_reads_flags_counters_and_nameplate() -> None:
    healthy, failed = lamp(), lamp(capacitor(1.0))
    assert read(diagnostics.ControlGearOverallFailureCondition, healthy, EVENING) is False
    assert read(diagnostics.ControlGearOverallFailureCondition, failed, EVENING) is True
    assert read(diagnostics.ControlGearOutputCurrentPercent, failed, EVENING) == 0
    assert read(diagnostics.ControlGearExternalSupplyVoltageFrequency, healthy, EVENING) == 50
    assert read(oem.InputPowerNominal, healthy, EVENING) == NOMINAL_W
    assert read(oem.LuminaireIdentification, healthy, EVENING) == "lampe-1 (simulated)"
    assert read(maintenance.RatedMedianUsefulLifeOfLuminaire, healthy, EVENING) == 100_000
    assert all(bank[0] == len(bank) - 1 for bank in (healthy.bank(n, EVENING, 254) for n in (1, 202, 205, 206, 207)))
    assert healthy.bank(203, EVENING, 254) == b""


def test_counters_never_fall_and_count_what_happens() -> None:
    of = lamp(capacitor(0.4))
    counters: Sequence[Any] = (
        energy.ActiveEnergy,
        diagnostics.ControlGearOperatingTime,
        diagnostics.ControlGearStartCounter,
        diagnostics.LightSourceStartCounter,
        diagnostics.LightSourceOnTime,
    )
    rows = [[int(read(c, of, SINCE + 1800 * i)) for c in counters] for i in range(1, 240)]
    assert all(later >= before for a, b in pairwise(rows) for before, later in zip(a, b, strict=True))
    for later, before in zip(rows[-1], rows[0], strict=True):
        assert later > before


def test_energy_is_the_integral_of_power() -> None:
    of = lamp()
    start, step = EVENING - 6 * 3600, 60
    summed = sum(of.state(start + step * (i + 0.5)).power_w for i in range(24 * 60)) * step / 3600
    assert of.energy_wh(start + DAY_S) - of.energy_wh(start) == pytest.approx(summed, rel=0.005)


def test_on_time_is_the_length_of_the_nights() -> None:
    of = lamp()
    lit = read(diagnostics.LightSourceOnTime, of, NOON + 5 * DAY_S) - read(diagnostics.LightSourceOnTime, of, NOON)
    nights = sum(b - a for a, b, percent in STREET.segments(NOON, NOON + 5 * DAY_S) if percent > 0)
    assert lit == pytest.approx(nights, abs=2)


def test_any_instant_gives_the_same_whatever_was_asked_before() -> None:
    times = [SINCE + 600.0 * i for i in range(200, 1000, 7)]
    straight, mixed = lamp(capacitor(0.6)), lamp(capacitor(0.6))
    shuffled = times[:]
    Random(1).shuffle(shuffled)
    seen = {time_s: mixed.bank(205, time_s, 254) + mixed.bank(206, time_s, 254) for time_s in shuffled}
    assert all(seen[time_s] == straight.bank(205, time_s, 254) + straight.bank(206, time_s, 254) for time_s in times)


def test_other_seeds_and_names_are_other_lamps_in_the_same_air() -> None:
    one, two = lamp(), lamp(name="lampe-2")
    assert one.state(EVENING) != two.state(EVENING)
    assert one.state(NOON).temperature_c == pytest.approx(two.state(NOON).temperature_c, abs=3)


def test_a_worn_capacitor_heats_lowers_the_power_factor_and_restarts() -> None:
    healthy, worn = lamp(), lamp(capacitor(0.5))
    for time_s in (EVENING, NIGHT):
        a, b = healthy.state(time_s), worn.state(time_s)
        assert b.temperature_c > a.temperature_c + 4
        assert b.power_factor < a.power_factor - 0.05
        assert b.output_percent == a.output_percent
    starts = [int(read(diagnostics.ControlGearStartCounter, x, EVENING)) for x in (healthy, worn)]
    assert starts[1] > starts[0] + 10


def test_bad_cooling_makes_the_driver_reduce_its_output_and_say_so() -> None:
    summer = datetime(2026, 7, 14, 23, tzinfo=UTC).timestamp()
    hot = Lamp(
        "x",
        3,
        Schedule((Slot("dusk", 100),), 47.24, 6.02, UTC),
        summer - DAY_S,
        (LampFault("cooling", Drift(0, 0, 1.2)),),
    )
    state = hot.state(summer)
    assert state.derating
    assert state.output_percent < 95
    assert read(diagnostics.ControlGearThermalDerating, hot, summer) is True
    assert read(diagnostics.ControlGearThermalDeratingCounter, hot, summer + DAY_S) >= 1


def test_a_short_in_the_string_lowers_its_voltage_by_one_led() -> None:
    healthy, short = lamp(), lamp(LampFault("string_short", Drift(NIGHT, 0, 1)))
    assert short.state(EVENING).source_v == healthy.state(EVENING).source_v
    lost_v = healthy.state(NIGHT + 60).source_v - short.state(NIGHT + 60).source_v
    assert 2.5 < lost_v < 3.1


def test_leds_short_one_after_the_other_and_never_by_halves() -> None:
    slow = lamp(LampFault("string_short", Drift(NIGHT, 4 * 3600, 4.0)))
    healthy = lamp()
    lost_v = [healthy.state(NIGHT + s).source_v - slow.state(NIGHT + s).source_v for s in (1800, 3500, 3700, 5400)]
    assert lost_v[0] == lost_v[1] == 0
    assert 2.5 < lost_v[2] < 3.1
    assert abs(lost_v[3] - lost_v[2]) < 0.1


def test_the_driver_warms_and_cools_slowly() -> None:
    dusk = next(change.time_s for change in STREET.night(datetime(2026, 1, 14, tzinfo=UTC).date()))
    of = lamp()
    rise = [of.state(dusk + 60 * m).temperature_c - of.state(dusk - 60).temperature_c for m in (1, 40, 180)]
    assert rise[0] < 0.5 * rise[2]
    assert rise[0] < rise[1] < rise[2]
    assert rise[2] > 15


def test_from_its_first_order_on_a_lamp_does_what_it_is_told() -> None:
    of = lamp()
    before_wh = of.energy_wh(NIGHT + 7200)
    of.order(NIGHT, 0)
    assert of.state(NIGHT - 1).output_percent == pytest.approx(50)
    assert of.state(NIGHT + 1).output_percent == 0
    assert of.state(NIGHT + 8 * 3600).output_percent == 0, "also when the schedule would light it"
    assert of.energy_wh(NIGHT + 7200) < before_wh - 20
    of.order(NIGHT + 3600, arc_power_level(100))
    assert of.state(NIGHT + 3601).output_percent == 100
    with pytest.raises(ValueError, match="an order at"):
        of.order(NIGHT, 254)


def test_before_its_beginning_a_lamp_is_not_known() -> None:
    with pytest.raises(ValueError, match="known from"):
        lamp().energy_wh(SINCE - 7200)
