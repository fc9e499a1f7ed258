"""How bright a lamp should be, when nobody tells it: almanac, photocell, curfew, and what to do when time is unknown.

Levels are thousandths of full output. Time is local, minutes after midnight, and the month; None where unknown.

    what is known          dark is decided by                        curfew
    time and photocell     the photocell, but never lit within       applied
                           an hour of noon (a dirty cell is no night)
    time only              the almanac                               applied
    photocell only         the photocell                             not applied: half a night of full light
                                                                     is safer than a dark street at the wrong hour
    neither                always dark: lit at full level
"""

from rules import Threshold

# Civil twilight, minutes after midnight UTC, in the middle of each month, at 47 degrees north on the Greenwich meridian;
# within a month it is up to 40 minutes off. `Almanac.shift_min` moves it to where the lamp stands: 4 minutes a degree
# west, minus 4 a degree east, plus the offset of local time.
_DAWN = (430, 390, 340, 280, 230, 200, 220, 260, 310, 350, 390, 420)
_DUSK = (1030, 1080, 1120, 1160, 1200, 1240, 1230, 1180, 1120, 1060, 1020, 1010)

_DAY = 1440


class Almanac:
    """Dark or not by the clock alone."""

    def __init__(self, shift_min: int = 0):
        self.shift_min = shift_min

    def dark(self, minute: int, month: int) -> bool:
        """minute: 0 to 1439 local; month: 1 to 12."""
        minute = (minute - self.shift_min) % _DAY
        return not _DAWN[month - 1] <= minute < _DUSK[month - 1]


class Schedule:
    """full: level by night; reduced: during the curfew, from `curfew_start` until `curfew_end` (minutes, may pass
    midnight; equal: no curfew). The photocell is `dark_below` and `light_above` in its own counts, held a minute."""

    def __init__(self, full: int, reduced: int, curfew_start: int, curfew_end: int, dark_below: int, light_above: int):
        self.full = full
        self.reduced = reduced
        self.curfew_start = curfew_start
        self.curfew_end = curfew_end
        self.almanac = Almanac()
        self.photocell = Threshold(on=dark_below, off=light_above, hold_s=60, missing_s=300, safe=True)

    def level(self, now: int, minute, month, brightness) -> int:
        """now: seconds that never go back; minute, month, brightness: None when unknown."""
        cell_dark = self.photocell.step(now, brightness)
        if minute is None:
            return self.full if cell_dark else 0
        if brightness is None:
            dark = self.almanac.dark(minute, month)
        else:
            dark = cell_dark and not 660 <= minute < 780
        if not dark:
            return 0
        return self.reduced if _within(minute, self.curfew_start, self.curfew_end) else self.full


def _within(minute: int, start: int, end: int) -> bool:
    if start <= end:
        return start <= minute < end
    return minute >= start or minute < end
