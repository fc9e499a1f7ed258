"""The central platform of a demo: the real one, in processes of its own, started and asked by its own commands."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.alert import Alert
from simulator.outcome import Centre

READY_WITHIN_S = 90.0
READY_LINES = 2
"""The centre says where its broker is, and then that its database is there."""
ASK_WITHIN_S = 30.0


class Platform:
    """`guet central run` in a folder of its own. `mqtt_port` is where gateways come in, once inside `async with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mqtt_port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "central.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_central("run", "--data", str(self._folder), "--mqtt-port", "0", "--nats-port", "0"),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while said.count(b"\n") < READY_LINES and (line := await self._process.stdout.readline()):
                    said += line
        except TimeoutError:
            pass
        found = re.search(rb"mqtt://127\.0\.0\.1:(\d+)", said)
        if found is None or said.count(b"\n") < READY_LINES:
            await self._end()
            tail = (self._folder / "central.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the platform was not ready within {READY_WITHIN_S:.0f} s:\n{tail}")
        self.mqtt_port = int(found[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def holds(self) -> Centre:
        """Everything that it holds, as it says itself."""
        told = await self._ask("export")
        return Centre(
            counts=told["counts"],
            alerts=[Alert.from_json(body) for body in told["alerts"]],
            audits=told["audits"],
            statuses=told["statuses"],
        )

    async def settled(self, records: int, within_s: float = 10.0) -> None:
        """Waits until it has that many records, for a while at most: what is still missing then is missing."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while (await self._ask("export"))["counts"]["records"] < records and loop.time() < until:
            await asyncio.sleep(0.5)

    async def _ask(self, verb: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *_central(verb, "--data", str(self._folder)), stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                answer, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeError(f"guet central {verb}: no answer within {ASK_WITHIN_S:.0f} s") from None
        told: dict[str, Any] = json.loads(answer)
        return told


def _central(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", "central", *arguments]
