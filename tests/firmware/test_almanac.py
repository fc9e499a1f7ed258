"""The lamp's almanac against astral's."""

from __future__ import annotations

from datetime import UTC, date, timedelta

from astral import Observer
from astral.sun import sun
from schedule import Almanac


def test_dawn_and_dusk_are_within_forty_minutes_all_year() -> None:
    almanac = Almanac()
    for day in range(365):
        when = date(2026, 1, 1) + timedelta(days=day)
        real = sun(Observer(47.0, 0.0), when, tzinfo=UTC)
        dark = [almanac.dark(minute, when.month) for minute in range(1440)]
        dawn, dusk = dark.index(False), 1440 - dark[::-1].index(False)
        assert abs(dawn - (real["dawn"].hour * 60 + real["dawn"].minute)) <= 40, when
        assert abs(dusk - (real["dusk"].hour * 60 + real["dusk"].minute)) <= 40, when


def test_it_moves_to_where_the_lamp_stands() -> None:
    almanac = Almanac(shift_min=60)
    assert almanac.dark(430 + 59, 1) and not almanac.dark(430 + 60, 1)
    assert not almanac.dark(1030 + 59, 1) and almanac.dark(1030 + 60, 1)
