"""`guet bench` by its real command: what a bench needs of the tree it finds, from whatever folder it is called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_bench_may_start_processes_of_its_own(tmp_path: Path) -> None:
    """The line of `guet bench bus` runs in one, which has to import the bench by its name."""
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "bench",
        "bus",
        "--seconds",
        "0.05",
        "--exchanges",
        "50",
        "--hours",
        "0.1",
    ]
    done = subprocess.run(
        [*command, "--json", "f.json"], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "f.json").read_text())
    assert (report["bench"], report["storm"]["wrong_values"], report["gap_violations"]) == ("bus", 0, 0)
