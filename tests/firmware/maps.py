"""The register map that all nodes share, read out of its source."""

from __future__ import annotations

import re

from running import ROOT


def rows(file: str) -> list[list[str]]:
    """Rows of nodes/<file>.py, split in words."""
    text = (ROOT / "firmware" / "nodes" / f"{file}.py").read_text(encoding="utf-8")
    (block,) = re.findall(r'ROWS = """\\\n(.*?)"""', text, re.S)
    return [line.split(" ") for line in block.splitlines()]


def inputs() -> dict[int, list[str]]:
    """Input registers that all nodes share, by address."""
    return {int(row[1]): row for row in rows("station_map") if row[0] == "input"}
