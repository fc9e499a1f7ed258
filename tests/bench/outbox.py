"""What it costs to keep a record: rows per second through the store, and bytes written to the disk per byte kept.

Power-safe as in operation (WAL, synchronous FULL, group commit). `python -m tests.bench.outbox [FOLDER]`: in FOLDER, to try
another disk.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.store import Store
from gateway.summary import Aggregate, Summary

ROWS = 60_000
POINTS = {f"point_{number}": Aggregate(15, 0, 12.345678 + number, 1.0, 20.5, 13.25) for number in range(7)}


def run(folder: Path | None = None) -> dict[str, Any]:
    """Figures of one run. `written_per_kept` is None where the system does not say what a process wrote."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        return asyncio.run(_run(Path(made)))


async def _run(folder: Path) -> dict[str, Any]:
    body = Summary("debit-entree", 0.0, 900, POINTS).as_json()
    now_s = time.time()
    written, began_s, cpu_s = _written_bytes(), time.perf_counter(), time.process_time()
    async with Store.open(folder, SystemClock()) as store:
        for number in range(ROWS):
            store.put("summary", now_s + number, body)
            if number % 100 == 99:
                await asyncio.sleep(0)
                # Groups as small as in operation, not what a long queue would make of them.
                while len(store._queue) > 200:
                    store.arrived.clear()
                    await store.arrived.wait()
        await store.flush()
        took_s, spent_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        counters = store.counters
    after = _written_bytes()
    return {
        "rows": counters.rows,
        "rows_per_s": round(counters.rows / took_s),
        "cpu_us_per_row": round(1e6 * spent_s / counters.rows, 1),
        "commits": counters.commits,
        "bytes_per_row": round(counters.bytes_kept / counters.rows),
        "written_per_kept": None
        if written is None or after is None
        else round((after - written) / counters.bytes_kept, 2),
        "dropped": sum(counters.dropped.values()),
        "synchronous": "full",
    }


def _written_bytes() -> int | None:
    """What this process has sent to the disk, checkpoints included (Linux)."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes")), None)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]) if sys.argv[1:] else None), indent=2))
