"""The firmware against the published stubs of both families of boards, as pyright sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import missing
from running import ROOT

FIRMWARE = ROOT / "firmware"


def pyright(board: str, folder: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).parent / "pyright"
    command = str(beside) if beside.exists() else shutil.which("pyright")
    if command is None or not (FIRMWARE / f".stubs-{board}").exists():
        missing(
            f"pyright or firmware/.stubs-{board}",
            f"pip install pyright==1.1.414; pip install --target firmware/.stubs-{board} micropython-{board}-stubs==1.29.0.post1",
        )
    assert command is not None
    return subprocess.run([command, "-p", folder], capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.parametrize("board", ["esp32", "rp2"])
def test_firmware_is_typed(board: str) -> None:
    ran = pyright(board, FIRMWARE / f"pyrightconfig-{board}.json")
    assert ran.returncode == 0, ran.stdout
    assert "0 errors" in ran.stdout


def test_a_planted_error_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import machine\n\nmachine.Pin(1, machine.Pin.SIDEWAYS)\n")
    (tmp_path / "pyrightconfig.json").write_text(
        f'{{"include": ["planted.py"], "typeshedPath": "{FIRMWARE}/.stubs-rp2", "stubPath": "{FIRMWARE}/.stubs-rp2"}}'
    )
    ran = pyright("rp2", tmp_path)
    assert ran.returncode == 1 and "SIDEWAYS" in ran.stdout
