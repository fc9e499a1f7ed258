"""Features of a pressure signal for the burst model: integers out of a ring of samples, without heap.

One sample a second, mbar. A burst is a sudden fall that stays; demand is slower, a pump's start rises, noise returns.
"""

from array import array

from micropython import const

N_FEATURES = const(8)
_RING = const(64)
_RECENT = const(8)


class PressureWindow:
    """push() each sample; `ready` after 64. `features` writes N_FEATURES numbers in int8 range:

    0 mean before minus mean of the last 8      4 mean absolute step, last 8
    1 slow baseline minus mean of the last 8    5 mean absolute step, before
    2 largest fall between neighbours           6 newest minus the least of the last 8
    3 range of the last 8                       7 mean before minus the greatest of the last 8
    0, 1, 6, 7 in 16 mbar, 2, 3 in 16 mbar, 4, 5 in 4 mbar.
    """

    def __init__(self):
        self._ring = array("i", [0] * _RING)
        self._at = 0
        self._filled = 0
        self._baseline = 0  # mbar x 64; follows at 1/64 a sample

    @property
    def ready(self) -> bool:
        return self._filled == _RING

    def reset(self) -> None:
        """Forget everything: what came before a missing value says nothing about what comes after it."""
        self._filled = self._at = 0

    def push(self, pressure_mbar: int) -> None:
        if self._filled == 0:
            self._baseline = pressure_mbar << 6
        self._baseline += pressure_mbar - (self._baseline >> 6)
        self._ring[self._at] = pressure_mbar
        self._at = (self._at + 1) % _RING
        if self._filled < _RING:
            self._filled += 1

    def features(self, out) -> None:
        ring = self._ring
        oldest = self._at
        recent = before = steps = steps_before = fall = 0
        low = high = ring[(oldest - 1) % _RING]
        last = ring[oldest]
        for i in range(_RING):
            value = ring[(oldest + i) % _RING]
            step = value - last
            last = value
            if i < _RING - _RECENT:
                before += value
                steps_before += step if step >= 0 else -step
            else:
                recent += value
                steps += step if step >= 0 else -step
                low = min(low, value)
                high = max(high, value)
                fall = max(fall, -step)
        before //= _RING - _RECENT
        recent //= _RECENT
        out[0] = _int8((before - recent) >> 4)
        out[1] = _int8(((self._baseline >> 6) - recent) >> 4)
        out[2] = _int8(fall >> 4)
        out[3] = _int8((high - low) >> 4)
        out[4] = _int8(steps // _RECENT >> 2)
        out[5] = _int8(steps_before // (_RING - _RECENT) >> 2)
        out[6] = _int8((last - low) >> 4)
        out[7] = _int8((before - high) >> 4)


def _int8(value: int) -> int:
    return -128 if value < -128 else 127 if value > 127 else value
