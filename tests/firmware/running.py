"""Runs a file of checks under some Python."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIB = ROOT / "firmware" / "lib"
CHECKS = HERE / "checks"
CUTS = HERE / "cuts"


def run(command: Sequence[str | Path], variable: str, folders: Sequence[Path], where: Path, check: str) -> str:
    """What it printed: `ok` and a name for each check. A failure fails the test with the traceback."""
    frozen = [".frozen"] if variable == "MICROPYPATH" else []
    env = os.environ | {
        variable: os.pathsep.join([*map(str, folders), str(where), *frozen]),
        "GUET_MODELS": str(ROOT / "firmware" / "models"),
    }
    with tempfile.TemporaryDirectory() as scratch:  # what a check writes goes there
        ran = subprocess.run(
            [*command, CHECKS / "run.py", check], cwd=scratch, env=env, capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def seeds(*usual: int) -> list[int]:
    """Of a test that draws: those in GUET_SEEDS ("7 8 9"), so that anybody may try others; else the usual ones."""
    return [int(seed) for seed in os.environ.get("GUET_SEEDS", "").split()] or list(usual)


def defined(where: Path, check: str) -> int:
    """How many checks the file defines: so many must have run."""
    return (where / f"{check}.py").read_text(encoding="utf-8").count("\ndef test_")
