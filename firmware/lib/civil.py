"""Calendar time for a node: whole seconds since 2020-01-01 00:00 UTC.

Why not since 1970: on a 32-bit MicroPython a small integer ends at 2**30, and seconds since 1970 are past it, so that
every look at the clock would take heap. Since 2020 they fit until 2054.
"""

from micropython import const

_DAY = const(86400)
_UNIX_HIGH = const(0x5E0B)  # 2020-01-01 in Unix seconds is 0x5E0BE100
_UNIX_LOW = const(0xE100)


def _days(year: int, month: int, day: int) -> int:
    """Days since 2020-01-01, proleptic Gregorian, 2020 to 2099."""
    years = year - 2020
    days = years * 365 + (years + 3) // 4
    for m in range(1, month):
        days += _month_length(year, m)
    return days + day - 1


def _month_length(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 else 28
    return 30 if month in (4, 6, 9, 11) else 31


def seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    return _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second


def minute_of_day(now: int) -> int:
    return now % _DAY // 60


def date(now: int) -> tuple:
    """(year, month, day)."""
    days = now // _DAY
    year = 2020
    while days >= (366 if year % 4 == 0 else 365):
        days -= 366 if year % 4 == 0 else 365
        year += 1
    month = 1
    while days >= _month_length(year, month):
        days -= _month_length(year, month)
        month += 1
    return year, month, days + 1


def to_unix(now: int, cells, address: int) -> None:
    """Unix seconds of `now` into two registers, high word first, without a big integer."""
    low = (now & 0xFFFF) + _UNIX_LOW
    cells[address + 1] = low & 0xFFFF
    cells[address] = (now >> 16) + _UNIX_HIGH + (low >> 16)


def from_unix(high: int, low: int) -> int:
    """Seconds since 2020 of Unix seconds given as two words; -1 when they lie before 2020 or beyond 2053."""
    low -= _UNIX_LOW
    high -= _UNIX_HIGH
    if low < 0:
        low += 0x10000
        high -= 1
    return -1 if high < 0 or high >= 0x4000 else high << 16 | low
