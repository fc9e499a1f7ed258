"""Everything that goes wrong around the soak's gateway, drawn from one seed: its uplink, its devices, its clock, its disk,
its platform.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from simulator.board import Board
from simulator.centre import Centre, Line
from simulator.modbus import TcpServer
from simulator.village import Village

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0


class Storm:
    """See the module. journal: the file that grows when the gateway writes, while there is one; disk_full: whether the disk
    takes nothing more at present, and `settled_s` since when it does again."""

    def __init__(self, chance: Random, centre: Centre, devices: TcpServer, village: Village, board: Board) -> None:
        self._chance, self._centre, self._devices, self._village, self._board = chance, centre, devices, village, board
        self._loop = asyncio.get_running_loop()
        self._units = dict(devices.units)
        self.counts: Counter[str] = Counter()
        self.journal: Path | None = None
        self.line: Line = "up"
        self.disk_full = False
        self.settled_s = 0.0
        self.back_s: dict[int, float] = {}
        """By device: since when it has been there, infinite while it is not."""
        self.lost_s: dict[int, float] = {}
        """By device that is not there: since when."""
        works = (
            self._uplink, self._dying, self._spoiling, self._bad_air, self._clocks, self._slowness, self._full_disk
        )  # fmt: skip
        self._tasks = [self._loop.create_task(work(), name=f"storm {work.__name__}") for work in works]

    async def calm(self) -> None:
        """Ends it; all is well again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.room_again()
        self._devices.units = dict(self._units)
        self._village.spoilt, self._village.stale_since_s = False, None
        self._centre.slow_s, self.line = 0.0, "up"
        self._centre.set_line("up")
        self._board.told()

    def power_on(self, off_s: float) -> None:
        """The board starts after so long without power, mostly with the time that it last wrote down."""
        draw = self._chance.random()
        if draw < 0.8:
            wrong_s = -off_s - self._chance.random() * HOUR_S
        elif draw < 0.9:
            wrong_s = 60.0 - self._board.true_s()
        else:
            wrong_s = 10 ** self._chance.uniform(0, 5)
        self._board.power_on(wrong_s)
        told_s = self._chance.expovariate(1 / (2 * HOUR_S)) if self._chance.random() < 0.9 else 30 * DAY_S
        self._loop.call_later(told_s, self._told, self._board.boot)

    def _told(self, boot: str) -> None:
        if self._board.boot == boot:
            self.counts["time told"] += not self._board.known
            self._board.told()

    async def _pause(self, mean_s: float) -> None:
        await asyncio.sleep(self._chance.expovariate(1 / mean_s))

    async def _uplink(self) -> None:
        while True:
            await self._pause(3 * DAY_S)
            self.line = self._chance.choice(("refused", "refused", "silent"))
            longest_s = DAY_S / 4 if self.line == "silent" else self._chance.choice((HOUR_S, DAY_S, 40 * DAY_S))
            self.counts[f"uplink {self.line}"] += 1
            self._centre.set_line(self.line)
            await asyncio.sleep(longest_s * self._chance.random())
            self.line = "up"
            self._centre.drop_all()
            self._centre.set_line("up")

    async def _dying(self) -> None:
        while True:
            await self._pause(2 * DAY_S)
            unit = self._chance.choice(sorted(self._units))
            if self._devices.units.pop(unit, None) is None:
                continue
            self.counts["devices died"] += 1
            self.back_s[unit], self.lost_s[unit] = float("inf"), self._loop.time()
            self._loop.call_later(self._chance.random() * 3 * DAY_S, self._revive, unit)

    def _revive(self, unit: int) -> None:
        self._devices.units[unit] = self._units[unit]
        self.back_s[unit] = self._loop.time()
        self.lost_s.pop(unit, None)

    async def _spoiling(self) -> None:
        while True:
            await self._pause(20 * DAY_S)
            self.counts["lamp drivers ran hot"] += 1
            self._village.spoilt = True
            await self._pause(5 * DAY_S)
            self._village.spoilt = False

    async def _bad_air(self) -> None:
        while True:
            await self._pause(2 * DAY_S)
            self.counts["interlocks"] += 1
            self._village.stale_since_s = self._loop.time()
            await self._pause(3 * HOUR_S)
            self._village.stale_since_s = None

    async def _clocks(self) -> None:
        """Network time that lies for a while, and somebody who sets a board that has none."""
        while True:
            await self._pause(10 * DAY_S)
            self.counts["clock jumps"] += 1
            boot, known = self._board.boot, self._board.known
            jump_s = self._chance.choice((1.0, -1.0)) * 10 ** self._chance.uniform(0, 5.5)
            self._board.wrong_s += max(jump_s, 60.0 - self._board.utc())
            await self._pause(DAY_S)
            if known:
                self._told(boot)

    async def _slowness(self) -> None:
        while True:
            await self._pause(5 * DAY_S)
            self._centre.slow_s = 600.0 * self._chance.random()
            await self._pause(DAY_S / 4)
            self._centre.slow_s = 0.0

    async def _full_disk(self) -> None:
        """No file of this process may grow beyond what it is now, give or take a page: a write that is longer is cut in the
        middle and fails, as on a full disk."""
        while True:
            await self._pause(8 * DAY_S)
            if self.journal is None:
                continue
            self.counts["disk full"] += 1
            self.disk_full = True
            limit = self.journal.stat().st_size + self._chance.randrange(8192)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            await asyncio.sleep(self._chance.choice((60.0, HOUR_S, DAY_S)) * self._chance.random())
            self.room_again()

    def room_again(self) -> None:
        if self.disk_full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            self.disk_full, self.settled_s = False, self._loop.time()
