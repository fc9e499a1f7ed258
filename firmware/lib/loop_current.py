"""A 4 to 20 mA transmitter: converter counts to microamperes to the measured quantity, in small integers.

Limits by NAMUR NE 43: 3.8 to 20.5 mA is measurement; below 3.6 or above 21.0 mA the transmitter or its wire has failed.
"""

from micropython import const

NO_VALUE = const(0xFFFF)
"""What a register holds where there is no value."""

GOOD = const(0)
OUT_OF_RANGE = const(1)
BROKEN_WIRE = const(2)
SHORT_CIRCUIT = const(3)


class Transmitter:
    """full_scale_ua: current at 65,535 counts, up to 30,000; span: the quantity at 20 mA (at 4 mA it is 0), up to
    30,000 of its unit. `read` leaves `current_ua`, `value` (NO_VALUE where there is none) and `state`."""

    def __init__(self, full_scale_ua: int, span: int):
        if not 1000 <= full_scale_ua <= 30000 or not 1 <= span <= 30000:
            raise ValueError("transmitter: full scale %d uA, span %d out of range" % (full_scale_ua, span))
        self.full_scale_ua = full_scale_ua
        self.span = span
        self.current_ua = 0
        self.value = NO_VALUE
        self.state = BROKEN_WIRE

    def read(self, counts: int) -> None:
        current = ((counts >> 1) * self.full_scale_ua + 16384) >> 15
        self.current_ua = current
        if current < 3600 or current > 21000:
            self.state = BROKEN_WIRE if current < 3600 else SHORT_CIRCUIT
            self.value = NO_VALUE
            return
        self.state = GOOD if 3800 <= current <= 20500 else OUT_OF_RANGE
        self.value = max(0, ((current - 4000) * self.span + 8000) // 16000)
