"""`guet node`: build, flash, update, watch and simulate the nodes. Runs under CPython; the rest of firmware/ does not."""

from __future__ import annotations

from firmware.tool.verbs import main

__all__ = ["main"]
