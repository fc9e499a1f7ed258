"""The node on the town's line: Guet's firmware in a real MicroPython."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.line import Line
from simulator.node import PressureNode, can_run


@pytest.mark.skipif(not can_run(), reason="no MicroPython for this platform")
async def test_a_node_starts_in_a_folder_that_is_named_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with PressureNode(Line(19_200), 5, Path("night") / "node", lambda: 3.0) as node:
        assert node.starts == 1
