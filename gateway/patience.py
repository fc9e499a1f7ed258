"""Patience with wrong secrets: some tries are free, then each makes the next one wait twice as long, up to a limit. Pure."""

from __future__ import annotations

FREE_TRIES = 5
"""Wrong ones in a row, from wherever they came, before the next one has to wait."""


def left_s(wrong: int, last_s: float, now_s: float, first_s: float, longest_s: float) -> float:
    """How long until the next try after `wrong` in a row, the last at last_s; 0 when it may be made now. Never more than the
    whole pause: a clock that was put back must not lock anybody out for years."""
    if wrong < FREE_TRIES:
        return 0.0
    pause_s = min(longest_s, first_s * 2.0 ** min(20, wrong - FREE_TRIES))
    return max(0.0, min(pause_s, last_s + pause_s - now_s))
