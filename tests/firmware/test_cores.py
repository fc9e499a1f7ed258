"""The same checks of the cores under CPython and, at a board's heap, under a real MicroPython."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from running import CHECKS, HERE, LIB, defined, run

NAMES = sorted(path.stem for path in CHECKS.glob("check_*.py"))


def test_there_are_checks() -> None:
    assert len(NAMES) >= 5


@pytest.mark.parametrize("check", NAMES)
def test_under_cpython(check: str) -> None:
    out = run([sys.executable], "PYTHONPATH", [HERE / "cpython", LIB], CHECKS, check)
    assert out.count("ok ") == defined(CHECKS, check)


@pytest.mark.parametrize("check", NAMES)
def test_under_micropython(check: str, micropython: Path) -> None:
    out = run([micropython, "-X", "heapsize=100k"], "MICROPYPATH", [LIB], CHECKS, check)
    assert out.count("ok ") == defined(CHECKS, check)
