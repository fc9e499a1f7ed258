"""The node's time: seconds since its start, which always go on, and UTC, which may be unknown."""

import time

import civil
from machine import RTC
from micropython import const

_EARLIEST_YEAR = const(2026)
"""A clock that says less was never set: boards start in 2000, 2015 or 2021."""


class Clock:
    def __init__(self):
        self._ticks = time.ticks_ms()
        self._ms = 0
        self._uptime = 0
        self.start_utc = -1
        """UTC of this start, seconds since 2020; -1 while time is unknown."""
        # The board's clock outlives a reset by watchdog, though not a power cut.
        year, month, day, _, hour, minute, second, _ = RTC().datetime()
        if year >= _EARLIEST_YEAR:
            self.start_utc = civil.seconds(year, month, day, hour, minute, second)

    def uptime(self) -> int:
        """Whole seconds since start. Must be called at least once in six days, or ticks wrap unseen."""
        ticks = time.ticks_ms()
        self._ms += time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        self._uptime += self._ms // 1000
        self._ms %= 1000
        return self._uptime

    def utc(self) -> int:
        """Seconds since 2020, -1 while unknown."""
        uptime = self.uptime()
        return -1 if self.start_utc < 0 else self.start_utc + uptime

    def set(self, utc: int) -> None:
        self.start_utc = utc - self.uptime()
        year, month, day = civil.date(utc)
        second = utc % 86400
        RTC().datetime((year, month, day, 0, second // 3600, second // 60 % 60, second % 60, 0))
