"""The lighting schedule: sun, slots, changes, and DALI's dimming curve."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import astral
import astral.sun
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lighting import Schedule, Slot, arc_power_level, light_percent
from gateway.sun import sun_times

PARIS = ZoneInfo("Europe/Paris")
STREET = (Slot("dusk", 100), Slot("22:00", 50), Slot("05:00", 100))
BESANCON = Schedule(STREET, 47.24, 6.02, PARIS)


def at(text: str) -> float:
    """Paris wall time -> UTC seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp()


@settings(deadline=None, max_examples=80)
@given(
    st.dates(date(2020, 1, 1), date(2045, 12, 31)),
    st.floats(-60, 60),
    st.floats(-175, 175),
)
def test_the_sun_rises_and_sets_within_a_minute_of_astral(day: date, latitude: float, longitude: float) -> None:
    solar = timezone(timedelta(minutes=round(longitude * 4)))
    noon_s = datetime(day.year, day.month, day.day, 12, tzinfo=solar).timestamp()
    observer = astral.Observer(latitude, longitude)
    rise_s, set_s = sun_times(noon_s, latitude, longitude)
    assert abs(astral.sun.sunrise(observer, day, tzinfo=solar).timestamp() - rise_s) < 60
    assert abs(astral.sun.sunset(observer, day, tzinfo=solar).timestamp() - set_s) < 60


def test_the_sun_where_it_does_not_set_or_does_not_rise() -> None:
    june = datetime(2026, 6, 21, 12, tzinfo=UTC).timestamp()
    december = datetime(2026, 12, 21, 12, tzinfo=UTC).timestamp()
    rise_s, set_s = sun_times(june, 70, 20)
    assert set_s - rise_s == pytest.approx(86400)
    rise_s, set_s = sun_times(december, 70, 20)
    assert set_s == rise_s
    tromso = Schedule(STREET, 70, 20, ZoneInfo("Europe/Oslo"))
    assert tromso.level_percent(june) == 0
    assert tromso.next_change(june) is None
    assert tromso.level_percent(december + 3600) == 100


def test_a_winter_evening_is_bright_the_night_dim_the_morning_bright_and_the_day_dark() -> None:
    assert BESANCON.level_percent(at("2026-01-14T16:30")) == 0
    assert BESANCON.level_percent(at("2026-01-14T18:00")) == 100
    assert BESANCON.level_percent(at("2026-01-14T21:59:59")) == 100
    assert BESANCON.level_percent(at("2026-01-14T22:00")) == 50
    assert BESANCON.level_percent(at("2026-01-15T04:59:59")) == 50
    assert BESANCON.level_percent(at("2026-01-15T05:00")) == 100
    assert BESANCON.level_percent(at("2026-01-15T09:00")) == 0


def test_a_local_time_that_has_passed_by_sunset_rules_from_sunset_on() -> None:
    early = Schedule((Slot("dusk", 100), Slot("21:00", 40)), 47.24, 6.02, PARIS)
    assert early.level_percent(at("2026-06-21T21:10")) == 0, "the sun sets at 21:36"
    assert early.level_percent(at("2026-06-21T21:40")) == 40


def test_a_local_time_after_sunrise_does_not_light_the_day() -> None:
    late = Schedule((Slot("dusk", 100), Slot("07:30", 80)), 47.24, 6.02, PARIS)
    assert late.level_percent(at("2026-06-22T08:00")) == 0
    assert late.level_percent(at("2026-12-22T08:00")) == 80


def test_dawn_can_leave_a_light_on() -> None:
    passage = Schedule((Slot("dusk", 40), Slot("dawn", 100)), 47.24, 6.02, PARIS)
    assert passage.level_percent(at("2026-06-21T13:00")) == 100
    assert passage.level_percent(at("2026-06-21T23:00")) == 40


@pytest.mark.parametrize(("noon", "hours"), [(date(2026, 3, 28), 23), (date(2026, 10, 24), 25), (date(2026, 5, 1), 24)])
def test_slots_keep_to_the_clock_on_the_wall_when_it_is_changed(noon: date, hours: int) -> None:
    morning = at(f"{noon + timedelta(days=1)}T05:00")
    assert morning - at(f"{noon}T05:00") == hours * 3600
    assert BESANCON.level_percent(morning - 1) == 50
    assert BESANCON.level_percent(morning) == 100


def test_the_next_change_is_where_the_level_changes() -> None:
    change = BESANCON.next_change(at("2026-01-14T18:00"))
    assert change is not None
    assert (change.time_s, change.percent) == (at("2026-01-14T22:00"), 50)
    assert Schedule((Slot("dusk", 0),), 47.24, 6.02, PARIS).next_change(at("2026-01-14T18:00")) is None


@settings(deadline=None, max_examples=60)
@given(st.integers(1_700_000_000, 2_000_000_000), st.integers(1, 3 * 86400), st.floats(0, 1))
def test_segments_cover_the_time_once_and_agree_with_the_level(start_s: int, length_s: int, part: float) -> None:
    segments = list(BESANCON.segments(start_s, start_s + length_s))
    assert segments[0][0] == start_s
    assert segments[-1][1] == start_s + length_s
    assert all(a[1] == b[0] and a[2] != b[2] for a, b in pairwise(segments))
    for from_s, to_s, percent in segments:
        assert to_s > from_s
        assert BESANCON.level_percent(from_s + part * 0.999 * (to_s - from_s)) == percent


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ((Slot("22:00", 50),), "expected one from 'dusk'"),
        ((Slot("dusk", 100), Slot("dusk", 50)), "two of them"),
        ((Slot("dusk", 101),), "from 0 to 100"),
        ((Slot("dusk", 100), Slot("24:00", 50)), "a local time such as"),
        ((Slot("dusk", 100), Slot("noon", 50)), "a local time such as"),
    ],
)
def test_slots_that_make_no_schedule_are_refused(slots: tuple[Slot, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Schedule(slots, 47.24, 6.02, PARIS)


@pytest.mark.parametrize(("percent", "level"), [(0.1, 1), (1, 85), (10, 170), (50, 229), (100, 254)])
def test_levels_on_the_standard_dimming_curve_iec_62386_102(percent: float, level: int) -> None:
    """Its ends are in the standard, 85 for 1 % in makers' guides; three decades over 253 steps give the others."""
    assert arc_power_level(percent) == level
    assert light_percent(level) == pytest.approx(percent, rel=0.02)
    assert light_percent(level) / light_percent(level - 1 or 1) == pytest.approx(10 ** (3 / 253) if level > 1 else 1)


@given(st.integers(0, 254))
def test_every_level_comes_back_from_its_light(level: int) -> None:
    assert arc_power_level(light_percent(level)) == level


def test_light_that_dali_cannot_give() -> None:
    assert arc_power_level(0.001) == 1, "the least there is, but not off"
    assert arc_power_level(0) == 0
    with pytest.raises(ValueError, match="0 to 100"):
        arc_power_level(100.1)
    with pytest.raises(ValueError, match="0 to 254"):
        light_percent(255)


@pytest.mark.parametrize(
    ("place", "latitude", "longitude", "zone"),
    [("Tromsø", 69.65, 18.96, "Europe/Oslo"), ("Longyearbyen", 78.22, 15.65, "Arctic/Longyearbyen")],
)
def test_in_the_polar_night_it_is_lit_at_noon_too_whether_the_clock_is_ahead_of_the_sun_or_behind(
    place: str, latitude: float, longitude: float, zone: str
) -> None:
    street = Schedule((Slot("dusk", 100), Slot("22:00", 50)), latitude, longitude, ZoneInfo(zone))
    for day in (date(2026, 1, 5), date(2026, 11, 30), date(2026, 12, 21)):
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
        for minute in range(-60, 61):
            time_s = (noon + timedelta(minutes=minute)).timestamp()
            assert street.level_percent(time_s) in (100, 50), (place, day, minute)
            change = street.next_change(time_s)
            assert change is None or change.percent == street.level_percent(change.time_s) != street.level_percent(
                time_s
            )
    june = datetime(2026, 6, 21, tzinfo=ZoneInfo(zone)).timestamp()
    assert {street.level_percent(june + 600 * step) for step in range(144)} == {0}, "in midsummer there is no night"
    assert street.next_change(june) is None


@pytest.mark.parametrize(("night", "hours"), [("2026-03-28", 9), ("2026-10-24", 11), ("2026-11-28", 10)])
def test_a_night_in_which_the_clock_changes_is_an_hour_shorter_or_longer_between_two_local_times(
    night: str, hours: int
) -> None:
    street = Schedule((Slot("dusk", 100), Slot("20:00", 80), Slot("06:00", 90)), 47.24, 6.02, PARIS)
    day = date.fromisoformat(night)
    spans = [
        end_s - start_s
        for start_s, end_s, percent in street.segments(at(f"{night}T12:00"), at(f"{day + timedelta(days=1)}T12:00"))
        if percent == 80
    ]
    assert spans == [hours * 3600]
