"""Virtual time: an event loop that skips its waiting, so that months of operation take minutes.

Threads are no part of that time. While one works for the loop (`asyncio.to_thread`), virtual time stands still, or what it
does to a disk would seem to take hours.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple

from simulator.wire import Wire

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_UNASKED: Final = 8
"""Turns without waiting in a row after which the sockets are asked too."""
THREAD_WITHIN_S: Final = 60.0
"""Real seconds that a thread may work for the loop while nothing else happens."""


class _Skipping(selectors.DefaultSelector):
    """Never waits, but for threads: where nothing is ready, the time it would have waited has passed."""

    now_s = 0.0
    threads = 0
    _unasked = 0
    between: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.between is not None:
            self.between()
        if self.threads and timeout != 0:
            ready = super().select(THREAD_WITHIN_S)
            if not ready:
                raise RuntimeError(f"a thread has worked for {THREAD_WITHIN_S:.0f} s; expected that it ends")
            return ready
        if timeout == 0 and self._unasked < MOST_UNASKED:
            self._unasked += 1  # there is enough to do; the sockets' turn comes
            return []
        self._unasked = 0
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is set to happen any more")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is its own. alone: what is given to threads is done on the spot, and connections between
    two of its own protocols never leave memory, so that the same program always goes the same way; what is done on the
    spot must not wait for the loop."""

    def __init__(self, alone: bool = False) -> None:
        self._alone = alone
        self._servers: dict[int, tuple[asyncio.Server, Callable[[], asyncio.BaseProtocol]]] = {}
        self._skipping = _Skipping()
        super().__init__(self._skipping)
        # asyncio runs what is due before now plus this; after some months, a nanosecond more than now is still now.
        self._clock_resolution = 1e-6

    def between_turns(self, call: Callable[[], None] | None) -> None:
        """Calls it between any two turns of the loop, before time passes."""
        self._skipping.between = call

    def time(self) -> float:
        return self._skipping.now_s

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # A wait too short to move time, once it is added to it, would be waited again and again.
        return super().call_later(max(delay, 2e-6) if delay > 0 else delay, callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        if self._alone:
            return self._done_at_once(func, *args)
        future = super().run_in_executor(executor, func, *args)
        self._skipping.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def create_server(self, protocol_factory: Any, *args: Any, **settings: Any) -> asyncio.Server:
        server = await super().create_server(protocol_factory, *args, **settings)
        for sock in server.sockets:
            self._servers[sock.getsockname()[1]] = server, protocol_factory
        return server

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **settings: Any
    ) -> tuple[asyncio.Transport, Any]:
        if not self._alone:
            return await super().create_connection(protocol_factory, host, port, **settings)
        await asyncio.sleep(0)
        server, answering = self._servers.get(port, (None, None))
        if server is None or answering is None or not server.is_serving():
            raise ConnectionRefusedError(f"nobody listens on port {port}")
        client, theirs = protocol_factory(), answering()
        assert isinstance(theirs, asyncio.Protocol)
        return Wire.connect(self, client, theirs), client

    def _done_at_once(self, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        del timeout  # on the way out, virtual time has no more say
        self._skipping.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._skipping.threads -= 1

    def _thread_ended(self, future: asyncio.Future[Any]) -> None:
        del future
        self._skipping.threads -= 1


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; the time it waits passes at once."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
