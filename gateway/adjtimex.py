"""What the kernel has been told of time: adjtimex(2), which Python does not offer."""

from __future__ import annotations

import ctypes
from typing import Final

_STA_UNSYNC: Final = 0x0040  # linux/timex.h
_TIME_ERROR: Final = 5


class _Timex(ctypes.Structure):
    """`struct timex`, adjtimex(2); long enough for any of them."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    ]


def kernel_synchronized() -> bool:
    """Whether a time daemon has told the kernel that its time is right (and is still there to say so)."""
    found = _Timex()  # modes 0: only asks
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return False
    return state not in (-1, _TIME_ERROR) and not found.status & _STA_UNSYNC
