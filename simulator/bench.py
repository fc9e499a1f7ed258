"""`guet bench`: the figures of the design, measured on this machine from a checkout. One file a bench, in tests/bench/.

Status 1 when the bench's report holds lines under "missed": each is a figure that is not within its limit."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from gateway.language import say

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "bench"
USAGE = 2


def bench(argv: list[str]) -> int:
    """Mesure les figures du projet, depuis le dépôt / Measures the project's figures, from a checkout"""
    names = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    if not names:
        sys.stderr.write(say("guet bench : seulement depuis le dépôt\n", "guet bench: only from a checkout\n"))
        return USAGE
    parser = argparse.ArgumentParser(prog="guet bench", description=bench.__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options, more = parser.parse_known_args(argv)
    started = time.monotonic()
    run = _load(options.name).run
    found: dict[str, Any] = run(**_arguments(run, more))
    report = {
        "bench": options.name,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": {"python": platform.python_version(), "arch": platform.machine(), "cores": os.cpu_count()},
        "seconds": round(time.monotonic() - started, 1),
        **found,
    }
    text = json.dumps(report, ensure_ascii=False, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    missed = [str(line) for line in found.get("missed", ())]
    if missed:
        head = say("guet bench : figures non tenues :", "guet bench: figures missed:")
        sys.stderr.write("\n  ".join([head, *missed]) + "\n")
    return 1 if missed else 0


def _load(name: str) -> Any:
    """The bench as a module with a name, so that processes that it starts can import it too."""
    sys.path.insert(0, str(FOLDER.parents[1]))
    spec = spec_from_file_location(f"tests.bench.{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments(run: Any, more: list[str]) -> dict[str, Any]:
    """`--name value` for each parameter of the bench's `run`, in the type of its default; `--name` alone for a bool."""
    parser = argparse.ArgumentParser(prog="guet bench")
    for name, parameter in inspect.signature(run).parameters.items():
        kind = type(parameter.default) if parameter.default not in (None, inspect.Parameter.empty) else str
        how: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind}
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, **how)
    return vars(parser.parse_args(more))
