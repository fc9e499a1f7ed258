"""Days on which a French public building is shut: public holidays, and school holidays by zone.

Public holidays: article L3133-1 of the Code du travail, computed for any year. School holidays are decreed some years
ahead; what is not decreed yet is not in the table, and a site may name its own closed days.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

SchoolZone = Literal["A", "B", "C"]

_FIXED = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
_AFTER_EASTER_D = (1, 39, 50)
"""Easter Monday, Ascension, Whit Monday."""

_FOR_ALL = (
    ("2023-07-08", "2023-09-04"), ("2023-10-21", "2023-11-06"), ("2023-12-23", "2024-01-08"),
    ("2024-07-06", "2024-09-02"), ("2024-10-19", "2024-11-04"), ("2024-12-21", "2025-01-06"),
    ("2025-05-30", "2025-06-01"), ("2025-07-05", "2025-09-01"), ("2025-10-18", "2025-11-03"),
    ("2025-12-20", "2026-01-05"), ("2026-05-15", "2026-05-17"), ("2026-07-04", "2026-09-01"),
    ("2026-10-17", "2026-11-02"), ("2026-12-19", "2027-01-04"), ("2027-05-07", "2027-05-09"),
    ("2027-07-03", "2027-09-01"),
)  # fmt: skip
_BY_ZONE: dict[SchoolZone, tuple[tuple[str, str], ...]] = {
    "A": (
        ("2024-02-17", "2024-03-04"), ("2024-04-13", "2024-04-29"), ("2025-02-22", "2025-03-10"),
        ("2025-04-19", "2025-05-05"), ("2026-02-07", "2026-02-23"), ("2026-04-04", "2026-04-20"),
        ("2027-02-13", "2027-03-01"), ("2027-04-10", "2027-04-26"),
    ),
    "B": (
        ("2024-02-24", "2024-03-11"), ("2024-04-20", "2024-05-06"), ("2025-02-08", "2025-02-24"),
        ("2025-04-05", "2025-04-22"), ("2026-02-14", "2026-03-02"), ("2026-04-11", "2026-04-27"),
        ("2027-02-20", "2027-03-08"), ("2027-04-17", "2027-05-03"),
    ),
    "C": (
        ("2024-02-10", "2024-02-26"), ("2024-04-06", "2024-04-22"), ("2025-02-15", "2025-03-03"),
        ("2025-04-12", "2025-04-28"), ("2026-02-21", "2026-03-09"), ("2026-04-18", "2026-05-04"),
        ("2027-02-06", "2027-02-22"), ("2027-04-03", "2027-04-19"),
    ),
}  # fmt: skip
"""From the first day without class to the day of return, which is not one of them; arrêtés on the school calendar."""

KNOWN_UNTIL = date(2027, 8, 31)
"""The last day of which the table knows whether there is class."""


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return date(year, month, day + 1)


@lru_cache(maxsize=64)
def public_holidays(year: int) -> frozenset[date]:
    """The eleven public holidays of metropolitan France."""
    fixed = (date(year, month, day) for month, day in _FIXED)
    return frozenset((*fixed, *(easter(year) + timedelta(days) for days in _AFTER_EASTER_D)))


@lru_cache(maxsize=8)
def _schools_shut(zone: SchoolZone) -> frozenset[date]:
    spans = ((date.fromisoformat(a), date.fromisoformat(b)) for a, b in (*_FOR_ALL, *_BY_ZONE[zone]))
    return frozenset(first + timedelta(days) for first, end in spans for days in range((end - first).days))


def is_public_holiday(day: date) -> bool:
    """In metropolitan France, without those of Alsace and Moselle alone."""
    return day in public_holidays(day.year)


def is_school_holiday(day: date, zone: SchoolZone) -> bool:
    """Whether there is no class in the whole of the zone; False beyond KNOWN_UNTIL."""
    return day in _schools_shut(zone)
