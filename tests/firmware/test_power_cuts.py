"""Power cuts at every write of boot record, journal and update: VfsLfs2, the boards' own file system, on a flash in memory."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from running import CUTS, LIB, defined, run, seeds
from test_updates import signed

from firmware.tool import bus
from firmware.tool.build import Signer, new_key

HEAP = ["-X", "heapsize=2M"]  # the flash is in that heap


@pytest.mark.parametrize("check", ["check_boot_record", "check_journal"])
def test_power_cut(check: str, micropython: Path) -> None:
    out = run([micropython, *HEAP], "MICROPYPATH", [LIB, CUTS], CUTS, check)
    assert out.count("ok ") == defined(CUTS, check)


@pytest.mark.parametrize("seed", seeds(1))
def test_power_cut_of_an_update(seed: int, micropython: Path, tmp_path: Path) -> None:
    """Files and the places of the cuts by the seed."""
    random = Random(seed)
    files = {name: random.randbytes(random.randint(1, 1500)) for name in ("one.mpy", "same.mpy", "two.bin")}
    key = Signer(new_key())
    old = signed(key, "lift", 5, {"same.mpy": files["same.mpy"], "old.mpy": b"old program"})
    new = signed(key, "lift", 6, files)
    facts = {
        "FILES": files, "NAMES": sorted(files), "KEY": key.public, "MANIFEST": new.manifest, "OLD": old.manifest,
        "STEP": random.randint(250, 330), "BEGIN": bus.BEGIN, "COMMIT": bus.COMMIT, "COMPLETE": bus.COMPLETE,
        "RECEIVING": bus.RECEIVING, "INSTALLED": bus.INSTALLED,
    }  # fmt: skip
    (tmp_path / "offered.py").write_text("".join(f"{name} = {fact!r}\n" for name, fact in facts.items()))
    out = run([micropython, *HEAP], "MICROPYPATH", [LIB, CUTS, tmp_path], CUTS, "check_update")
    assert out.count("ok ") == defined(CUTS, "check_update")


def test_everything_that_is_written_is_cut() -> None:
    assert sorted(path.stem for path in CUTS.glob("check_*.py")) == [
        "check_boot_record",
        "check_journal",
        "check_update",
    ]
