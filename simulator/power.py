"""Power cuts for a program that writes a journal: what the disk held at some moment, or in the middle of what it was being
given, is what the next life begins with.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

from simulator.virtual_time import VirtualLoop


@dataclass(frozen=True, slots=True)
class Files:
    """What a store consists of in its folder; the journal is its last."""

    main: str
    journal: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """How far the files were written at some moment. stamp: what a checkpoint changes."""

    size: int
    stamp: tuple[bytes, int]

    @classmethod
    def of(cls, folder: Path, files: Files) -> Self:
        with (folder / files.journal).open("rb") as file:
            head = file.read(32)
        return cls((folder / files.journal).stat().st_size, (head, (folder / files.main).stat().st_mtime_ns))


class PowerCut:
    """Cuts the power in some turn of the loop after it was armed. folder: named by a number; of the next life once it has
    happened. dark: called at that moment."""

    def __init__(self, loop: VirtualLoop, folder: Path, files: Files, chance: Random, dark: Callable[[], None]) -> None:
        self._loop, self._files, self._chance, self._dark = loop, files, chance, dark
        self._turns = 0
        self._before: _Written | None = None
        self.folder = folder
        self.happened = False

    def arm(self) -> None:
        self._turns = self._chance.randrange(400)
        self._loop.between_turns(self._between_turns)

    def disarm(self) -> None:
        self._loop.between_turns(None)

    def _between_turns(self) -> None:
        now, before = _Written.of(self.folder, self._files), self._before
        self._before = now
        self._turns -= 1
        if self._turns > 0 or before is None or (now.size == before.size and self._chance.random() < 0.9):
            return
        self.disarm()
        self._cut(before, now)

    def _cut(self, before: _Written, now: _Written) -> None:
        self._dark()
        after = self.folder.with_name(str(int(self.folder.name) + 1))
        after.mkdir()
        for name in (self._files.main, self._files.journal, *self._files.others):
            shutil.copyfile(self.folder / name, after / name)
        if before.stamp == now.stamp and now.size > before.size:
            kept = self._chance.choice((before.size, self._chance.randrange(before.size, now.size), now.size))
            with (after / self._files.journal).open("r+b") as file:
                file.truncate(kept)
        self.folder = after
        self.happened = True
