"""Writes the JSON Schemas beside this file anew."""

from __future__ import annotations

from pathlib import Path

from central.contract import ANSWERS, KINDS, schema_text

for kind in (*KINDS, *ANSWERS):
    Path(__file__).with_name(f"{kind}.schema.json").write_text(schema_text(kind), encoding="utf-8")
