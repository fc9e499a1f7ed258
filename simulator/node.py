"""A node on a simulated RS-485 line: Guet's own firmware in a real MicroPython, in a process of its own.

Simulated are the board (pins that are files, a UART that is a pseudo-terminal) and the transmitter on its input. The node
lives in real time, whatever the speed of the town: it samples and counts in its own seconds, and takes the date from
whoever tells it.
"""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware.tool.build import build, flash_image, mpy_cross
from firmware.tool.simulate import HEAP, HEAP_TO_COMPILE, Board, find_micropython, install
from firmware.tool.verbs import configuration
from simulator.line import Line

READY_WITHIN_S = 20.0
TENDED_EVERY_S = 0.2
FULL_SCALE_UA, SPAN_MBAR = 24_000, 10_000
"""What the pressure node's input and settings are out of the box: 24 mA at full counts, 10 bar at 20 mA."""


def can_run() -> bool:
    """Whether there is an interpreter on this machine."""
    found = find_micropython()
    return found is not None and found.exists()


class PressureNode:
    """unit_id: on the line. pressure_bar: the truth at its transmitter, asked for several times a second."""

    def __init__(self, line: Line, unit_id: int, folder: Path, pressure_bar: Callable[[], float]) -> None:
        folder = self._folder = folder.absolute()  # the board runs in a folder of its own
        self._line, self._pressure_bar = line, pressure_bar
        self._config = configuration("pressure", unit_id, "19200 8E1", name="demo")
        self._input = folder / "adc26"
        self._master = self._slave = -1
        self._board: Board | None = None
        self._tending: asyncio.Task[None] | None = None

    @property
    def starts(self) -> int:
        """How often its program was started: once, unless something went wrong."""
        return self._board.starts if self._board else 0

    async def __aenter__(self) -> Self:
        """Returns when the node is there. Raises TimeoutError when it is not in time."""
        flash = self._folder / "flash"
        install(flash_image(build("pressure", 1, (1, 1), None), self._config), flash)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._measure()
        signals = {"SIM_UART1": os.ttyname(self._slave), "SIM_ADC26": str(self._input)}
        output = self._folder / "node.log"
        self._board = Board(flash, signals, HEAP if mpy_cross() else HEAP_TO_COMPILE, output)
        self._board.power_on()
        self._tending = asyncio.create_task(self._tend(), name="node")
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while b"ready" not in output.read_bytes():
                    await asyncio.sleep(0.05)
        except BaseException:
            await self._end()
            raise
        asyncio.get_running_loop().add_reader(self._master, self._said)
        self._line.parties.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        self._line.parties.remove(self)
        await self._end()

    def hear(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            pass  # a node that does not read has lost what was said, as on a real line

    def _said(self) -> None:
        """The node writes an answer in one piece."""
        self._line.say(self, os.read(self._master, 512))

    def _measure(self) -> None:
        current_ua = 4000 + self._pressure_bar() * 1000 * 16000 / SPAN_MBAR
        scratch = self._input.with_suffix(".new")
        scratch.write_text(str(round(65535 * current_ua / FULL_SCALE_UA)), encoding="ascii")
        scratch.replace(self._input)

    async def _tend(self) -> None:
        assert self._board is not None
        while True:
            self._measure()
            self._board.tend()
            await asyncio.sleep(TENDED_EVERY_S)

    async def _end(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        if self._board is not None:
            self._board.power_off()
        os.close(self._master)
        os.close(self._slave)
