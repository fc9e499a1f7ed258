"""A gateway in a process of its own: the real command, which can be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.clock import ScaledClock

END_WITHIN_S = 30.0


class GatewayProcess:
    """`guet run` of a site, in site time. page: HOST:PORT, or empty for none; home: where its profiles and models are, if
    not here. Its log is `gateway.log` in `folder`."""

    def __init__(
        self,
        folder: Path,
        site_file: Path,
        clock: ScaledClock,
        page: str = "",
        dbus: str = "",
        home: Path | None = None,
    ) -> None:
        self.folder, self.clock = folder, clock
        self.kills = 0
        self._arguments = ["run", str(site_file), "--page", page, "--progress", str(folder / "progress.json")]
        self._env = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"DBUS_SYSTEM_BUS_ADDRESS": dbus} if dbus else {})
        if home is not None:
            self._env["GUET_HOME"] = str(home)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> None:
        """Starts it; an instance that still runs is not there any more."""
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli", *self._arguments, "--clock", str(self.clock),
                env=self._env, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self) -> None:
        """Ends it as a power cut would (kill -9)."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
            self.kills += 1

    async def end(self) -> None:
        """Asks it to end, which it does when its outbox is empty; after a limit it is ended."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def until(self, time_s: float) -> None:
        """Waits for that site time. Raises RuntimeError with the end of its log when the gateway ends by itself."""
        while (wait_s := time_s - self.clock.now()) > 0:
            await self.clock.sleep(min(wait_s, 2 * self.clock.speed))
            assert self._process is not None
            code = self._process.returncode
            if code is not None and code != -signal.SIGKILL:
                raise RuntimeError(f"the gateway ended by itself with {code}:\n{self.log()}")

    def log(self) -> str:
        """The end of its log."""
        return (self.folder / "gateway.log").read_text(errors="replace")[-4000:]
