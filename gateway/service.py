"""The service: the process of `guet run`, and the gateways that live in it one after the other, each with the text of the
site file that is in place then. What lasts from one to the next is the process, the page's port and what systemd knows.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import hatch
from gateway.app import Gateway, site_of
from gateway.clock import Clock
from gateway.desk import Desk
from gateway.disk import LOCK, locked
from gateway.errors import FileFault, SiteError
from gateway.hatch import Job
from gateway.site import Site
from gateway.site_file import data_folders, go_back
from gateway.site_trial import NOTHING_WORKED, SiteFile, Worked, announce
from gateway.store import Store
from gateway.watch import Watch
from gateway.watchdog import supervised

if TYPE_CHECKING:
    from gateway.web.door import Door

log = logging.getLogger(__name__)

BETWEEN_S = 120.0
"""How long there may be no gateway between two, before the watchdog of the machine is left to end the process."""
COLLECT_AFTER = 4_000
"""Objects made beyond those gone, until the collector looks for circles among them (gc.set_threshold). Few here are in one,
and with Python's own 700 it takes a twentieth of the time at full load; so many are half a megabyte at most."""


@dataclass(slots=True)
class Life:
    """What one gateway is built from."""

    file: SiteFile
    site: Site
    watches: list[Watch]

    @classmethod
    def begun(cls, path: Path, now_s: float, worked: Worked = NOTHING_WORKED, blank: bool = False) -> Life:
        """With the text that is in place; where that one is on trial and cannot be used (a model was taken away), with the
        one before. blank: without a file there, as one that waits for it. Raises SiteError or ModelError with all faults."""
        if blank and not path.exists():
            from gateway.blank import blank_file, blank_site  # with keys and job files, which no other gateway needs

            return cls(blank_file(path), blank_site(path), [])
        file = SiteFile.taken_up(path, now_s, worked)
        try:
            return cls(file, *site_of(file.text, path))
        except FileFault as error:
            if not file.on_trial:
                raise
            _back(file, error, now_s)
            file = SiteFile.taken_up(path, now_s)
            return cls(file, *site_of(file.text, path))


def alone(path: Path) -> None:
    """Raises StoreError where another process runs this site: its trial is its own."""
    for data in data_folders(path):
        if (data / LOCK).exists():
            locked(data)[0].close()


def _back(file: SiteFile, error: BaseException, now_s: float) -> None:
    """What cannot even be started is gone back from. Raises SiteError."""
    why = "; ".join(error.faults) if isinstance(error, FileFault) else str(error) or repr(error)
    log.error("site: cannot be run, gone back to the text before: %s", why)
    go_back(file.path, why, now_s)


class Service:
    """See the module. page: bound already."""

    def __init__(self, first: Life, clock: Clock, page: socket.socket | None, progress: Path | None) -> None:
        self._life, self._clock, self._page, self._progress = first, clock, page, progress
        self._gateway: Gateway | None = None
        self._door: Door | None = None
        self._ended = self._supervised = False
        self._between_s = 0.0
        self._rereading: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Until it is told to end."""
        loop = asyncio.get_running_loop()
        self._between_s = loop.time()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reread)
        async with AsyncExitStack() as whole:
            while not self._ended:
                worked = NOTHING_WORKED
                try:
                    worked = await self._live(whole)
                except Exception as error:
                    if not self._life.file.on_trial:
                        raise
                    _back(self._life.file, error, self._clock.now())
                finally:
                    self._gateway, self._between_s = None, loop.time()
                if not self._ended:
                    gc.unfreeze()
                    path = self._life.file.path
                    self._life = await asyncio.to_thread(Life.begun, path, self._clock.now(), worked)
        if self._page is not None:
            self._page.close()
        return 0

    async def _live(self, whole: AsyncExitStack) -> Worked:
        """One gateway, from its beginning to its end; gives what worked before the change that ended it."""
        life = self._life
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(Store.open(life.site.data, self._clock))
            if (life.site.data / "claim.json").exists():  # else its code, with that of keys and QR codes, is not needed
                from gateway.claim import announce as announce_claim

                await announce_claim(store)
            gateway = Gateway(life.site, life.watches, store, self._clock)
            gateway.file = life.file
            if gateway.pushes is not None:
                from gateway.push_file import FilePlace

                gateway.pushes.place = FilePlace(gateway, life.file)
            if not life.file.blank:
                await announce(store, life.file, self._clock.now())
            # What was built now lives as long as this gateway: the collector need not go through it again and again.
            gc.collect()
            gc.freeze()
            # And what is made later is mostly gone without it.
            gc.set_threshold(COLLECT_AFTER)
            desk = Desk()
            await stack.enter_async_context(hatch.opened(gateway, _jobs, desk))
            where = None
            if self._page is not None:
                from gateway.web.page import door_of, serve

                where = _reached(self._page)
                self._door = door_of(life.site.data, self._page, self._door)
                page = serve(gateway, self._page.dup(), self._progress, desk, self._door)
                await stack.enter_async_context(page)
            self._gateway = gateway
            if not self._supervised:
                self._supervised = True
                await whole.enter_async_context(supervised(self._alive))
            if self._ended:  # while it was being built
                return NOTHING_WORKED
            if life.file.blank:
                stack.callback(asyncio.create_task(self._claimed(gateway), name="blank").cancel)
            if life.file.on_trial:
                from gateway.settings import watched

                looking = asyncio.create_task(watched(gateway, where), name="trial")
                stack.callback(looking.cancel)
            await gateway.run()
        if not gateway.anew:
            self._ended = True
        return life.file.worked

    def _alive(self) -> bool:
        if self._gateway is None:
            return asyncio.get_running_loop().time() - self._between_s < BETWEEN_S
        return self._gateway.alive()

    async def _claimed(self, gateway: Gateway) -> None:
        """The site file has come: another gateway begins with it."""
        from gateway.blank import until_claimed

        assert gateway.file is not None
        await until_claimed(gateway.file.path)
        gateway.anew = True
        gateway.stop.set()

    def _end(self) -> None:
        self._ended = True
        if self._gateway is not None:
            self._gateway.anew = False
            self._gateway.stop.set()

    def _reread(self) -> None:
        """SIGHUP: somebody changed the file by hand."""
        if self._gateway is not None:
            from gateway.settings import reread

            self._rereading = asyncio.create_task(reread(self._gateway), name="reread")


def _reached(page: socket.socket) -> tuple[str, int]:
    """Where this machine reaches the page."""
    host, port = page.getsockname()[:2]
    return "127.0.0.1" if host == "0.0.0.0" else host, port  # noqa: S104 - compared, not bound


def _jobs() -> Mapping[str, Job[Any, Any]]:
    from gateway.jobs import JOBS

    return JOBS


def bound_socket(text: str) -> socket.socket:
    """The socket of the page, bound now, so that a port that is taken is known before anything starts. Raises SiteError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise SiteError([f"--page {text!r}: expected HOST:PORT, such as 127.0.0.1:8080"])
    bound = socket.socket(socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host or "127.0.0.1", int(port)))
        bound.listen(16)
    except (OSError, OverflowError) as error:
        bound.close()
        raise SiteError(
            [f"--page {text}: expected a free port, got: {error}; end the other program or give another port"]
        ) from None
    return bound
