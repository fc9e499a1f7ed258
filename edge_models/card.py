"""What the gateway loads beside a network: its card, and inputs with the exact outputs that every runtime is held to."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models import benched
from gateway.verdict import Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.inference import Model


def write_card(
    folder: Path, content: bytes, shape: tuple[int, Sequence[str]], decision: Decision, marks: dict[str, str]
) -> None:
    """card.toml, from card.template.toml and what was measured. marks: what stands for @name@ in it."""
    table = "\n".join(f"{key} = {round(value, 4)}" for key, value in asdict(decision).items() if math.isfinite(value))
    card = (folder / "card.template.toml").read_text(encoding="utf-8")
    every = {
        "sha256": hashlib.sha256(content).hexdigest(), "bytes": str(len(content)), "steps": str(shape[0]),
        "channels": json.dumps(list(shape[1])), "decision": table, "major": f"{decision.threshold + 2:.3f}",
        "critical": f"{decision.threshold + 4:.3f}", "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    for name, value in (every | marks).items():
        card = card.replace(f"@{name}@", value)
    used = every["sha256"] if marks["decides"] == "model" else ""
    (folder / "card.toml").write_text(card.rstrip() + "\n" + benched.tail(folder, used, decision), encoding="utf-8")


def write_examples(folder: Path, model: Model, examples: NDArray[np.float32]) -> None:
    """example.json: inputs (n, *input shape) and the exact int8 outputs of the pinned runtime. Raises RuntimeError where
    another one runs."""
    if model.fallback:
        raise RuntimeError(f"golden examples: expected the pinned runtime with its delegate; {model.fallback}")
    x = np.concatenate([model.quantised(one) for one in examples])
    outputs, forecasts = zip(*((model.raw(one[None]), model.forecast()) for one in x), strict=True)
    body: dict[str, Any] = {
        "runtime": "ai-edge-litert 2.3.0, XNNPACK",
        "shape": list(x.shape),
        "inputs": base64.b64encode(zlib.compress(x.tobytes(), 9)).decode(),
        "outputs": outputs,
    }
    if (every := np.array(forecasts)).size:
        body["forecasts"] = base64.b64encode(zlib.compress(every.tobytes(), 9)).decode()
    (folder / "example.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
