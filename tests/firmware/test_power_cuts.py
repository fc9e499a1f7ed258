"""Power cuts at every write of boot record and journal: VfsLfs2, the boards' own file system, on a flash in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import CUTS, LIB, defined, run

CHECKS = sorted(path.stem for path in CUTS.glob("check_*.py"))


@pytest.mark.parametrize("check", CHECKS)
def test_power_cut(check: str, micropython: Path) -> None:
    out = run(
        [micropython, "-X", "heapsize=400k"], "MICROPYPATH", [LIB, CUTS], CUTS, check
    )  # the flash is in that heap
    assert out.count("ok ") == defined(CUTS, check)


def test_boot_record_and_journal_are_cut() -> None:
    assert CHECKS == ["check_boot_record", "check_journal"]
