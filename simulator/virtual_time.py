"""Virtual time: an event loop that skips its waiting, so that months of operation take minutes.

Threads are no part of that time. While one works for the loop (`asyncio.to_thread`), virtual time stands still, or what it
does to a disk would seem to take hours.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREAD_WITHIN_S: Final = 60.0
"""Real seconds that a thread may work for the loop while nothing else happens."""


class _Skipping(selectors.DefaultSelector):
    """Never waits, but for threads: where nothing is ready, the time it would have waited has passed."""

    now_s = 0.0
    threads = 0
    between: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.between is not None:
            self.between()
        if self.threads and timeout != 0:
            ready = super().select(THREAD_WITHIN_S)
            if not ready:
                raise RuntimeError(f"a thread has worked for {THREAD_WITHIN_S:.0f} s; expected that it ends")
            return ready
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is set to happen any more")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is its own."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)
        # asyncio runs what is due before now plus this; after some months, a nanosecond more than now is still now.
        self._clock_resolution = 1e-6

    def between_turns(self, call: Callable[[], None] | None) -> None:
        """Calls it between any two turns of the loop, before time passes."""
        self._skipping.between = call

    def time(self) -> float:
        return self._skipping.now_s

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._skipping.threads += 1
        future.add_done_callback(self._thread_ended)
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
