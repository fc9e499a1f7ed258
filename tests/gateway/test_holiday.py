"""Public and school holidays against published calendars."""

from datetime import date

import pytest

from gateway.holiday import KNOWN_UNTIL, easter, is_public_holiday, is_school_holiday


@pytest.mark.parametrize(
    ("year", "day"),
    [
        (1961, (4, 2)),
        (2000, (4, 23)),
        (2024, (3, 31)),
        (2025, (4, 20)),
        (2026, (4, 5)),
        (2027, (3, 28)),
        (2038, (4, 25)),
    ],
)
def test_easter_of_the_ephemerides(year, day):
    assert easter(year) == date(year, *day)


def test_the_eleven_public_holidays_of_2026():
    found = [date.fromordinal(n) for n in range(date(2026, 1, 1).toordinal(), date(2027, 1, 1).toordinal())]
    assert [day.isoformat()[5:] for day in found if is_public_holiday(day)] == [
        "01-01", "04-06", "05-01", "05-08", "05-14", "05-25", "07-14", "08-15", "11-01", "11-11", "12-25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "zones"),
    [
        ("2026-02-06", ""), ("2026-02-07", "A"), ("2026-02-14", "AB"), ("2026-02-22", "ABC"), ("2026-02-23", "BC"),
        ("2026-03-02", "C"), ("2026-03-09", ""), ("2025-12-20", "ABC"), ("2026-01-05", ""), ("2026-07-20", "ABC"),
    ],
)  # fmt: skip
def test_winter_holidays_by_zone(day, zones):
    found = "".join(zone for zone in "ABC" if is_school_holiday(date.fromisoformat(day), zone))
    assert found == zones


@pytest.mark.parametrize(
    ("day", "zones"),
    [
        ("2026-10-16", ""), ("2026-10-17", "ABC"), ("2026-11-01", "ABC"), ("2026-11-02", ""), ("2026-12-18", ""),
        ("2026-12-19", "ABC"), ("2027-01-03", "ABC"), ("2027-01-04", ""), ("2027-02-05", ""), ("2027-02-06", "C"),
        ("2027-02-13", "AC"), ("2027-02-20", "ABC"), ("2027-02-22", "AB"), ("2027-03-01", "B"), ("2027-03-08", ""),
        ("2027-04-03", "C"), ("2027-04-10", "AC"), ("2027-04-17", "ABC"), ("2027-04-19", "AB"), ("2027-04-26", "B"),
        ("2027-05-03", ""), ("2027-05-05", ""), ("2027-05-07", "ABC"), ("2027-05-10", ""), ("2027-07-02", ""),
        ("2027-07-03", "ABC"),
    ],
)  # fmt: skip
def test_holidays_of_the_school_year_2026_to_2027_by_zone(day, zones):
    found = "".join(zone for zone in "ABC" if is_school_holiday(date.fromisoformat(day), zone))
    assert found == zones


def test_beyond_the_table_there_is_class_as_far_as_anybody_knows():
    assert not is_school_holiday(date(KNOWN_UNTIL.year + 1, 8, 1), "A")
