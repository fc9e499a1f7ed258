"""Where UTC comes from on this machine, and whether anything stands behind it.

A board without a clock battery starts with whatever time it last wrote down, or with 1970. Behind its UTC stands something
once network time has set it (the kernel is told so), or when a battery clock agrees with it. A PC always has a battery
clock, and a virtual machine its host's, whether we are let near it or not.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final, Protocol

log = logging.getLogger(__name__)

_AGREES_S: Final = 5.0


class TimeSource(Protocol):
    """What a machine knows of time."""

    boot: str
    """Names this run of the machine: between two of them, `steady` says nothing."""

    def utc(self) -> float:
        """Seconds since 1970, as far as the machine knows."""
        ...

    def steady(self) -> float:
        """Seconds since some moment of this boot; never set, never goes back."""
        ...

    def vouched(self) -> bool:
        """Whether `utc` is more than a guess: network time has set it, or a battery clock agrees."""
        ...


class Kernel:
    """Linux. root, machine: where its files are and what it is, another one for tests."""

    def __init__(self, root: Path = Path("/"), machine: str = "") -> None:
        self._root, self._machine = root, machine or os.uname().machine
        try:
            self.boot = (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            # Not Linux as we know it: what another process wrote down is then of another boot.
            self.boot = f"{time.time_ns():x}"

    def utc(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    def vouched(self) -> bool:
        return self._network_time() or self._battery_agrees()

    def _network_time(self) -> bool:
        if (self._root / "run/systemd/timesync/synchronized").exists():
            return True
        from gateway.adjtimex import (
            kernel_synchronized,
        )  # half a megabyte, for the time daemons that leave no such file

        return kernel_synchronized()

    def _battery_agrees(self) -> bool:
        clocks = sorted((self._root / "sys/class/rtc").glob("rtc*/since_epoch"))
        for clock in clocks:
            try:
                if abs(float(clock.read_text(encoding="ascii")) - self.utc()) <= _AGREES_S:
                    return True
            except (OSError, ValueError):  # one that was never set gives an error
                continue
        return not clocks and self._machine in ("x86_64", "AMD64", "i686")
