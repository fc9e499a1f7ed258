"""Where things are wired, and why the board started."""

import sys

import machine

# by platform, then by what a node calls it; `config.json` may override any of them
_PINS = {
    "rp2": {
        "tx": 4,
        "rx": 5,
        "de": 6,
        "signal": 26,
        "current": 27,
        "battery": 28,
        "lamp": 2,
        "closed": 10,
        "open": 11,
        "tilt": 12,
    },
    "esp32": {
        "tx": 17,
        "rx": 18,
        "de": 16,
        "signal": 1,
        "current": 2,
        "battery": 3,
        "lamp": 7,
        "closed": 10,
        "open": 11,
        "tilt": 12,
    },
}


def pins(config: dict) -> dict:
    """Pin numbers by role."""
    table = dict(_PINS.get(sys.platform, _PINS["rp2"]))
    table.update(config.get("pins", {}))
    return table


def crashed() -> bool:
    """Whether the run before ended by watchdog, error or command, rather than by a loss of power."""
    return machine.reset_cause() != machine.PWRON_RESET
