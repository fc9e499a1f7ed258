"""The cores in a 32-bit MicroPython (WebAssembly, under Node.js): there a product beyond 2**30 allocates, as on a board.

The package is named by MICROPYTHON_WASM (its micropython.mjs), or looked for in node_modules. Continuous integration
installs it wherever there is npm (.ci/run), and must then have run these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import missing
from running import CHECKS, HERE, LIB, ROOT, defined

NAMES = sorted(path.stem for path in CHECKS.glob("check_*.py") if path.stem != "check_bthome")
"""All but BTHome: that build has no cryptolib."""


def find() -> tuple[str, Path]:
    node = shutil.which("node")
    named = os.environ.get("MICROPYTHON_WASM")
    beside = ROOT / "node_modules" / "@micropython" / "micropython-webassembly-pyscript" / "micropython.mjs"
    module = Path(named) if named else beside
    if node is None or not module.exists():
        missing(
            "a 32-bit MicroPython",
            "Node.js and npm install @micropython/micropython-webassembly-pyscript@1.27.0",
            strict=shutil.which("npm") is not None,
        )
    assert node is not None
    return node, module


def run(name: str, code_folder: Path = CHECKS) -> subprocess.CompletedProcess[str]:
    node, module = find()
    command = [node, HERE / "wasm.mjs", module, LIB, code_folder, ROOT / "firmware" / "models", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_cores_stay_within_small_integers(name: str) -> None:
    ran = run(name)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("ok ") == defined(CHECKS, name)


def test_this_interpreter_would_notice(tmp_path: Path) -> None:
    shutil.copy(CHECKS / "heap.py", tmp_path)
    (tmp_path / "check_wide.py").write_text(
        "from heap import no_heap\n\ndef quadruple(x):\n    return x * 4\n\ndef test_wide():\n    no_heap(quadruple, 1 << 29)\n"
    )
    ran = run("check_wide", tmp_path)
    assert ran.returncode != 0 and "MemoryError" in ran.stdout + ran.stderr
