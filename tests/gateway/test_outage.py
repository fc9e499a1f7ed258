"""Day burners, lamps that stay dark, a photocell that is wrong, and energy saved: on the power of simulated lamps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.alert import Alert
from gateway.condition import Picture
from gateway.lighting import Schedule, Slot, arc_power_level
from gateway.outage import Outages
from gateway.saving import Savings
from gateway.street import LightingEntry, Street
from gateway.sun import Place
from simulator.drift import Drift
from simulator.energy import PHASES, Cabinet
from simulator.lighting import NOMINAL_W, Lamp, LampFault

PARIS = ZoneInfo("Europe/Paris")
PLACE = Place(47.24, 6.02, PARIS)
SLOTS = [{"from": "dusk", "level": 100}, {"from": "23:00", "level": 50}, {"from": "05:30", "level": 100}]
SCHEDULE = Schedule([Slot(str(s["from"]), float(str(s["level"]))) for s in SLOTS], 47.24, 6.02, PARIS)
START_S = datetime(2026, 1, 14, 12, 0, tzinfo=PARIS).timestamp()
FULL_W = 36.5
"""What a simulated lamp takes at full light, about; its plate says 38."""
OTHER_W = 6.0


def lamps_of(count: int, dead: Sequence[int] = (), since_s: float = START_S) -> list[Lamp]:
    broken = LampFault("capacitor", Drift(since_s - 100, 1.0, 2.0, 0.0))
    return [
        Lamp(f"l{n}", 5, SCHEDULE, START_S - 86_400, [broken] if n in dead else [], town_seed=5)
        for n in range(1, count + 1)
    ]  # fmt: skip


def entry(count: int, **consumption: Any) -> LightingEntry:
    body = {"lamp_w": FULL_W, "standby_w": 0.3, **consumption}
    names = [f"l{number}/level" for number in range(1, count + 1)]
    return LightingEntry.model_validate({"name": "rue", "lamps": names, "slot": SLOTS, "consumption": body})


def lived(
    it: LightingEntry, lamps: list[Lamp], hours: float, step_s: float = 300.0, lux: Any = None
) -> tuple[list[Alert], Savings]:
    """Alerts of some hours from noon on, and what was saved."""
    street = Street(it, PLACE, dict.fromkeys(it.lamps, "1"))
    outages, savings = Outages(street, PLACE, dict.fromkeys(it.inputs(), 300.0)), Savings(street, PLACE)
    cabinet, found = Cabinet(lamps), list[Alert]()
    for step in range(int(hours * 3600 / step_s)):
        time_s = START_S + step * step_s
        values: dict[str, float | None] = {f"{lamp.name}/power": lamp.state(time_s).power_w for lamp in lamps}
        values["meter/power"] = sum(cabinet.power_w(phase, time_s) for phase in range(PHASES))
        values["cell/lux"] = lux(time_s) if lux else None
        picture = Picture(time_s, values)
        street.decide(picture)
        found += outages.judge(picture, ())
        savings.count(picture)
    return found, savings


@pytest.mark.parametrize("known", [{"lamp": "power"}, {"meter": ["meter/power"], "other_w": OTHER_W}])
def test_a_healthy_street_raises_nothing_for_three_days(known: dict[str, Any]) -> None:
    found, _ = lived(entry(6, **known), lamps_of(6), 72)
    assert found == []


def test_a_lamp_that_burns_by_day_is_named_and_cleared_when_it_is_out() -> None:
    lamps = lamps_of(6)
    lamps[2].order(START_S - 3600, 254)  # stuck: it never heard that it is day
    lamps[2].order(START_S + 3 * 3600, arc_power_level(0))
    found, _ = lived(entry(6, lamp="power"), lamps, 4)
    raised, cleared = found
    assert (raised.subject, raised.kind, raised.model) == ("l3", "lamp_failure", "rule:day_burner")
    assert START_S + 3000 <= raised.raised_s <= START_S + 2 * 3600
    assert cleared.id == raised.id
    assert cleared.cleared_s is not None


def test_a_day_burner_is_seen_on_the_meter_too() -> None:
    lamps = lamps_of(6)
    lamps[2].order(START_S - 3600, 254)
    (raised,) = lived(entry(6, meter=["meter/power"], other_w=OTHER_W), lamps, 4)[0]
    assert (raised.subject, raised.model) == ("rue", "rule:day_burner")
    assert "environ 1 lampe(s) allumée(s) de jour" in raised.reasons[0].text


@pytest.mark.parametrize(("dead", "expected"), [((4,), {"l4"}), ((1, 2), {"l1", "l2"})])
def test_lamps_that_stay_dark_are_named(dead: tuple[int, ...], expected: set[str]) -> None:
    found, _ = lived(entry(6, lamp="power"), lamps_of(6, dead), 10)
    assert {alert.subject for alert in found} == expected
    assert {alert.model for alert in found} == {"rule:outage"}


def test_dark_lamps_are_counted_on_the_meter() -> None:
    (raised,) = lived(entry(6, meter=["meter/power"], other_w=OTHER_W), lamps_of(6, (1, 2)), 10)[0]
    assert raised.model == "rule:outage"
    assert "environ 2 lampe(s) éteinte(s)" in raised.reasons[0].text


def test_a_lost_meter_says_nothing() -> None:
    it = entry(6, lamp="other")
    assert lived(it, lamps_of(6, (1,)), 10)[0] == []


@pytest.mark.parametrize(("lux", "expected"), [(lambda t: 3.0, "jour"), (lambda t: 400.0, "nuit")])
def test_a_photocell_that_contradicts_the_sun_for_an_hour_is_a_sensor_fault(lux: Any, expected: str) -> None:
    it = entry(1, lamp="power")
    it = LightingEntry.model_validate(it.model_dump(by_alias=True) | {"photocell": {"point": "cell/lux"}})
    found, _ = lived(it, lamps_of(1), 11, lux=lux)
    told = [alert for alert in found if alert.kind == "sensor_fault"]
    assert {alert.subject for alert in told} == {"cell"}
    assert expected in told[0].reasons[0].text


def test_a_photocell_that_agrees_is_left_in_peace() -> None:
    it = LightingEntry.model_validate(
        entry(1, lamp="power").model_dump(by_alias=True) | {"photocell": {"point": "cell/lux"}}
    )

    def lux(time_s: float) -> float:
        dawn_s, dusk_s = PLACE.sun_s(PLACE.local(time_s).date())
        return 5000.0 if dawn_s < time_s < dusk_s else 1.0

    assert lived(it, lamps_of(1), 48, lux=lux)[0] == []


def test_what_is_saved_is_the_reference_less_what_was_measured_and_the_method_is_said() -> None:
    it = entry(6, meter=["meter/power"], other_w=OTHER_W, co2_g_per_kwh=50, co2_source="essai, facteur inventé 2026")
    lamps = lamps_of(6)
    _, savings = lived(it, lamps, 25)
    night = savings.last
    assert night is not None
    cabinet = Cabinet(lamps)
    used_wh = sum(cabinet.energy_wh(p, START_S + 86_400) - cabinet.energy_wh(p, START_S) for p in range(PHASES))
    assert night.used_kwh == pytest.approx((used_wh - 24 * OTHER_W) / 1000, rel=0.02)
    dark_h = (PLACE.sun_s(datetime(2026, 1, 15).date())[0] - PLACE.sun_s(datetime(2026, 1, 14).date())[1]) / 3600  # noqa: DTZ001
    assert night.reference_kwh == pytest.approx(6 * (FULL_W * dark_h + 0.3 * (24 - dark_h)) / 1000, rel=0.002)
    assert 0.17 < night.saved_kwh / night.reference_kwh < 0.26, "half light for six and a half of fifteen hours"
    assert night.co2_kg == pytest.approx(night.saved_kwh * 0.05)
    assert night.watched_h == pytest.approx(24, abs=0.1)
    assert "mesuré" in night.method
    assert "essai, facteur inventé 2026" in night.method
    assert NOMINAL_W > FULL_W


def test_without_a_meter_it_is_computed_and_says_so() -> None:
    _, savings = lived(entry(6), lamps_of(6), 25)
    assert savings.last is not None
    assert "calculé" in savings.last.method
    assert savings.last.co2_kg is None
    assert savings.last.as_json()["saved_co2_kg"] is None
