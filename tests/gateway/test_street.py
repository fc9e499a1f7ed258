"""How bright a street is: schedule and classes, photocell, events, presence, floor, law, ramp, burn hours; what a site may
not ask for is refused at load."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import astral
import astral.sun
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.condition import Picture
from gateway.errors import SiteError
from gateway.lighting import arc_power_level
from gateway.profile import load_profile
from gateway.site import parse_site
from gateway.street import CLASSES, LightingEntry, Street, class_percent
from gateway.sun import Place

PARIS = ZoneInfo("Europe/Paris")
PLACE = Place(47.24, 6.02, PARIS)
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
SLOTS = [{"from": "dusk", "level": 100}, {"from": "22:00", "level": 50}, {"from": "05:00", "level": 80}]
ECONOMY = {"presence": {"points": ["r/motion"], "level": 90, "hold": "1min"}}
CELL = {"photocell": {"point": "c/lux", "dark": 20, "light": 40, "most": "45min"}}


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=PARIS).timestamp()


def street(unit: str = "%", lamps: int = 1, hours_unit: str = "h", **more: Any) -> Street:
    names = [f"l{number}/level" for number in range(1, lamps + 1)]
    entry = LightingEntry.model_validate({"name": "rue", "lamps": names, "slot": SLOTS} | more)
    return Street(entry, PLACE, dict.fromkeys(names, unit), hours_unit)


def level(it: Street, time_s: float, **values: float | None) -> float:
    return it.decide(Picture(time_s, {name.replace("_", "/"): value for name, value in values.items()})).percent


def test_without_sensors_and_law_it_is_the_schedule() -> None:
    it = street()
    for text, expected in (("11-26T12:00", 0), ("11-26T18:00", 100), ("11-26T23:00", 50), ("11-27T06:00", 80)):
        assert level(it, at(text)) == expected


def test_classes_are_levels_of_what_the_installation_is_made_for() -> None:
    it = street(design="M3", slot=[{"from": "dusk", "class": "M3"}, {"from": "22:00", "class": "M5"}])
    assert level(it, at("11-26T18:00")) == 100
    assert level(it, at("11-26T23:00")) == 50
    assert class_percent("P2", "P4") == 50


@pytest.mark.parametrize(
    ("table", "family", "first", "values"),
    [
        ("EN 13201-2, table 1, average luminance, cd/m2", "M", 1, (2.0, 1.5, 1.0, 0.75, 0.5, 0.3)),
        ("EN 13201-2, table 2, average illuminance, lx", "C", 0, (50, 30, 20, 15, 10, 7.5)),
        ("EN 13201-2, table 3, average illuminance, lx", "P", 1, (15, 10, 7.5, 5, 3, 2)),
    ],
    ids=lambda one: one if isinstance(one, str) and "table" in one else "",
)
def test_classes_maintain_what_the_standard_says(
    table: str, family: str, first: int, values: tuple[float, ...]
) -> None:
    wanted = {f"{family}{first + number}": value for number, value in enumerate(values)}
    assert {name: value for name, value in CLASSES.items() if name[0] == family} == wanted, table


def test_a_class_of_another_family_or_above_the_installation_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="family"):
        class_percent("P1", "M6")
    with pytest.raises(ValueError, match="more light than"):
        class_percent("P3", "P2")


def test_presence_raises_at_once_holds_and_lets_go() -> None:
    it = street(**ECONOMY)
    night = at("11-26T23:00")
    assert level(it, night, r_motion=0) == 50
    assert level(it, night + 1, r_motion=1) == 90
    assert level(it, night + 30, r_motion=0) == 90
    assert it.wakes_s(night + 30) == night + 61
    assert level(it, night + 60.9, r_motion=0) == 90
    assert level(it, night + 61, r_motion=0) == 50


def test_a_clock_that_is_set_keeps_presence_for_as_long_as_it_was_to_be() -> None:
    for by_s in (-7200.0, 5.0, 900.0):
        it = street(**ECONOMY)
        night = at("11-27T02:00")
        assert level(it, night, r_motion=1) == 90
        it.moved(by_s)
        assert level(it, night + by_s + 59, r_motion=0) == 90
        assert level(it, night + by_s + 61, r_motion=0) == 50


def test_presence_never_dims_and_never_lights_the_day() -> None:
    it = street(**ECONOMY)
    assert level(it, at("11-26T12:00"), r_motion=1) == 0
    assert level(it, at("11-26T18:00"), r_motion=1) == 100


def test_a_lost_presence_sensor_counts_as_somebody() -> None:
    it = street(**ECONOMY)
    assert level(it, at("11-26T23:00"), r_motion=None) == 90
    assert "perdu" in it.light.why


def test_traffic_counts_above_a_threshold() -> None:
    it = street(presence={"points": ["r/count"], "above": 20, "level": 100, "hold": "15min"})
    assert level(it, at("11-26T23:00"), r_count=20) == 50
    assert level(it, at("11-26T23:15"), r_count=21) == 100


def test_the_photocell_moves_dusk_and_dawn_by_some_minutes_and_no_more() -> None:
    it = street(**CELL)
    dusk = astral.sun.sunset(astral.Observer(47.24, 6.02), date(2026, 11, 26)).timestamp()
    assert level(it, dusk - 46 * 60, c_lux=5) == 0, (
        "a storm at four in the afternoon is the photocell's opinion, not more"
    )
    assert level(it, dusk - 40 * 60, c_lux=5) == 100
    it = street(**CELL)
    assert level(it, dusk + 600, c_lux=100) == 0, "a bright evening"
    assert level(it, dusk + 900, c_lux=30) == 0, "between dark and light it stays"
    assert level(it, dusk + 1200, c_lux=15) == 100
    assert level(it, dusk + 46 * 60, c_lux=100) == 100
    dawn = astral.sun.sunrise(astral.Observer(47.24, 6.02), date(2026, 11, 27)).timestamp()
    assert level(it, dawn + 600, c_lux=5) == 80
    assert level(it, dawn + 1200, c_lux=50) == 0
    assert level(it, dusk + 86_400 - 600, c_lux=None) == 0, "without it the sun decides"


def test_an_event_is_another_night_and_its_order_lifts_the_law() -> None:
    event = {"name": "14 juillet", "on": "2026-07-14", "to": "02:00", "level": 100, "derogation": "AM-2026-7"}
    it = street(category="b/patrimoine", event=[event])
    assert level(it, at("07-15T01:30")) == 100
    assert (
        it.light.why
        == "14 juillet (AM-2026-7) : 100 %, dérogation AM-2026-7 (arrêté du 27 décembre 2018, art. 2, catégorie b)"
    )
    assert level(it, at("07-15T02:30")) == 0
    assert level(it, at("07-16T01:30")) == 0


def test_the_law_puts_out_and_presence_is_let_in_only_where_the_site_says_that_it_may() -> None:
    shut = {"category": "e", "activity": ["08:00", "19:30"]}
    it = street(**shut, **ECONOMY)
    assert level(it, at("11-26T21:29"), r_motion=0) == 100
    assert level(it, at("11-26T21:30"), r_motion=1) == 0
    assert it.light.required == 100
    assert it.ceiling(at("11-26T22:00")) == (0.0, "arrêté du 27 décembre 2018, art. 2, catégorie e")
    adapted = street(**shut, presence={"points": ["r/motion"], "level": 60, "in_curfew": True})
    assert level(adapted, at("11-26T23:00"), r_motion=1) == 60
    assert "détection admise" in adapted.light.why
    assert level(adapted, at("11-26T23:30"), r_motion=None) == 0, "a broken sensor is nobody, before the law"


def test_the_floor_holds_while_it_is_lit_and_does_not_light_what_is_off() -> None:
    slots = [{"from": "dusk", "level": 100}, {"from": "22:00", "level": 10}, {"from": "01:00", "level": 0}]
    it = street(slot=slots, floor=20)
    assert level(it, at("11-26T23:00")) == 20
    assert level(it, at("11-27T02:00")) == 0


def test_a_ramp_goes_in_steps_and_presence_does_not_wait_for_it() -> None:
    it = street(ramp="1min", **ECONOMY)
    ten = at("11-26T22:00")
    assert level(it, ten - 1, r_motion=0) == 100
    seen = []
    time_s = ten
    while time_s < ten + 120:
        seen.append((round(time_s - ten), level(it, time_s, r_motion=0)))
        time_s = min(it.wakes_s(time_s), time_s + 60)
    steps = [percent for _, percent in seen]
    assert steps[0] == 100
    assert steps[-1] == 50
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 7, "thirty seconds in steps of five"
    assert level(it, ten + 200, r_motion=1) == 90


def test_a_ramp_begins_when_it_is_asked_however_long_ago_that_was() -> None:
    it = street(ramp="5min")
    assert level(it, at("11-26T18:00")) == 100
    assert level(it, at("11-26T22:00")) == 100
    assert level(it, at("11-26T22:00") + 60) == 80


def test_burn_hours_are_given_back() -> None:
    it = street(lamps=3, hours_unit="s", constant_output={"hours": "on_time", "start": 80, "end_hours": 100_000})
    picture = Picture(at("11-26T18:00"), {"l1/on_time": 0.0, "l2/on_time": 50_000 * 3600.0, "l3/on_time": None})
    it.decide(picture)
    assert it.values(picture) == {"l1/level": 80.0, "l2/level": 90.0, "l3/level": 100.0}
    assert street("1").values(picture) == {"l1/level": 0.0}
    dali = street("1")
    dali.decide(picture)
    assert dali.values(picture) == {"l1/level": float(arc_power_level(100))}


@given(
    st.integers(0, 365 * 24 * 60),
    st.lists(
        st.tuples(st.integers(1, 7200), st.sampled_from([0.0, 1.0, None]), st.floats(0, 200) | st.none()), max_size=20
    ),
    st.sampled_from(["", "1min", "20min"]),
)
def test_whatever_the_sensors_say_it_stays_within_law_floor_and_scale(
    start_min: int, steps: list[tuple[int, float | None, float | None]], ramp: str
) -> None:
    it = street(ramp=ramp, floor=15, category="d/facade", **ECONOMY, **CELL)
    time_s = at("01-01T00:00") + 60 * start_min
    settled = True
    for passed_s, motion, lux in steps:
        time_s += passed_s
        percent = level(it, time_s, r_motion=motion, c_lux=lux)
        assert 0 <= percent <= 100
        assert it.wakes_s(time_s) > time_s
        most, because = it.ceiling(time_s)
        if because and not ramp:
            assert percent <= most
        settled = not ramp
        if settled and percent > 0:
            assert percent >= 15


SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "/dev/null"
[[device]]
name = "l1"
profile = "lighting/d4i_driver"
bus = "rue"
address = 1
[[lighting]]
name = "rue"
lamps = ["l1/level"]
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('slot = [{ from = "22:00", level = 50 }]', "expected one from 'dusk'"),
        ('slot = [{ from = "dusk" }]', "either level or class"),
        ('slot = [{ from = "dusk", class = "M3" }]', "design: missing"),
        ('design = "M4"\nslot = [{ from = "dusk", class = "M3" }]', "needs more light than the installation"),
        ('design = "P1"\nslot = [{ from = "dusk", class = "M3" }]', "of the family of 'P1'"),
        ('category = "e"\nslot = [{ from = "dusk", level = 1 }]', "activity: missing"),
        ('category = "h"\nslot = [{ from = "dusk", level = 1 }]', "category"),
        ('slot = [{ from = "dusk", level = 1 }]\npresence = { points = ["l1/none"] }', "has no point 'none'"),
        (
            'slot = [{ from = "dusk", level = 1 }]\npresence = { points = ["l1/power"], in_curfew = true }',
            "no such adaptation",
        ),
        ('slot = [{ from = "dusk", level = 1 }]\nphotocell = { point = "l1/power" }', "is in W; expected lx"),
        ('slot = [{ from = "dusk", level = 1 }]\nphotocell = { point = "l1/power", dark = 50 }', "expected more than dark"),
        ('slot = [{ from = "dusk", level = 1 }]\nconstant_output = { hours = "power" }', "is in W; expected h or s"),
        ('slot = [{ from = "dusk", level = 1 }]\nconsumption = { lamp_w = 38, co2_g_per_kwh = 50 }', "co2_source: missing"),
        ('slot = [{ from = "dusk", level = 1 }]\nconsumption = { lamp_w = 38, lamp = "level" }', "is in 1; expected W"),
        ('slot = [{ from = "dusk", level = 1 }]\nramp = "1h"', "half an hour at most"),
        (('slot = [{ from = "dusk", level = 1 }]\n[[lighting]]\nname = "b"\nlamps = ["l1/level"]\n'
         'slot = [{ from = "dusk", level = 1 }]'), "a lamp follows one street"),
    ],
)  # fmt: skip
def test_what_a_street_may_not_ask_for(text: str, said: str) -> None:
    with pytest.raises(SiteError) as caught:
        parse_site(SITE + text, "site.toml", Path(), lambda name: load_profile(PROFILES, name))
    assert any(said in fault for fault in caught.value.faults), caught.value.faults


def test_the_gear_keeps_the_level_of_the_evening_or_the_one_that_the_site_gives() -> None:
    def kept(more: str) -> dict[str, float]:
        site = parse_site(SITE + more, "site.toml", Path(), lambda name: load_profile(PROFILES, name))
        return {one.point: one.value for of_device in site.kept.values() for one in of_device}

    assert kept('slot = [{ from = "dusk", level = 70 }]') == dict.fromkeys(
        ("l1/power_on_level", "l1/failure_level"), float(arc_power_level(70))
    )
    assert set(kept('fail_safe = 40\nslot = [{ from = "dusk", level = 70 }]').values()) == {float(arc_power_level(40))}


def test_a_slot_is_a_level_or_a_class() -> None:
    with pytest.raises(ValidationError):
        LightingEntry.model_validate(
            {"name": "r", "lamps": ["a/b"], "slot": [{"from": "dusk", "level": 1, "class": "M1"}]}
        )
