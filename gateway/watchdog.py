"""The watchdog of the machine: systemd is told that the gateway is up, and then again and again that it is alive.

Only while the event loop turns and the judge ticks; a gateway that hangs is ended and started again by systemd
(sd_notify(3): one datagram a state, to the socket that NOTIFY_SOCKET names).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tells systemd a state ("READY=1"); False where nobody listens. Never raises: without it the gateway still works."""
    where = environment.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            out.sendto(state.encode(), "\0" + where[1:] if where.startswith("@") else where)
    except OSError as error:
        log.warning("systemd was not told %s: %s", state.partition("=")[0], error)
        return False
    return True


def period_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often systemd wants a sign of life, a third of its patience; None where it does not watch this process."""
    given, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not given.isdecimal() or int(given) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(given) / 3e6


@asynccontextmanager
async def supervised(alive: Callable[[], bool]) -> AsyncIterator[None]:
    """Within it systemd takes the program for ready, and for alive as long as `alive` says so."""
    notify("READY=1")
    feeding = asyncio.create_task(_feed(alive), name="watchdog")
    try:
        yield
    finally:
        feeding.cancel()
        notify("STOPPING=1")


async def _feed(alive: Callable[[], bool]) -> None:
    every_s = period_s()
    hungry = False
    while every_s is not None:
        if alive():
            notify("WATCHDOG=1")
            hungry = False
        elif not hungry:
            hungry = True
            log.error("the judge has stood still for too long; the watchdog is not fed any more")
        await asyncio.sleep(every_s)
