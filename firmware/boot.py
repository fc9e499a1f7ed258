# First thing of all: every output into its fail-safe state. No configuration to parse, nothing that could fail before.
from machine import Pin

try:
    from failsafe import OUTPUTS  # ((pin, level), ...), written by `guet node flash`
except ImportError:
    OUTPUTS = ()
for _pin, _level in OUTPUTS:
    Pin(_pin, Pin.OUT, value=_level)
