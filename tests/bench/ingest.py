"""How fast one worker takes records from the log to a committed row, checked against the contract: rows a second.

    guet bench ingest --json FILE [--rows 60000] [--gateways 100] [--workers 1]

The log (NATS, one node) is filled first with summaries of seven points, as many gateways send them; then real workers
(`guet central run`) are started and timed by what is committed in PostgreSQL, from the first tenth to the last row. Broker
and database run on the same machine as the workers, and on a busy one `rows_per_s` says more of it than of them:
`cpu_us_per_row` says what a row costs each, and `rows_per_s_unshared` what one worker does with the processors to itself,
which waits for the database and then works while the database waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import nats  # noqa: E402
import psycopg  # noqa: E402

from central.broker import Broker  # noqa: E402
from central.database import Database  # noqa: E402
from central.ingest import prepare  # noqa: E402
from central.status import report  # noqa: E402
from gateway.summary import Aggregate, Summary  # noqa: E402
from gateway.upstream.payload import Kind, Record, body_text, render  # noqa: E402

POINTS = {f"point_{number}": Aggregate(15, 0, 12.345678 + number, 1.0, 20.5, 13.25) for number in range(7)}
FIRST_S = 1_790_000_000.0
WITHIN_S = 300.0
LEAST_ROWS_PER_S = 10_000


def run(rows: int = 60_000, gateways: int = 100, workers: int = 1) -> dict[str, Any]:
    """rows: in all; gateways: that they come from; workers: on the one durable consumer."""
    if rows < 1000 or not 1 <= gateways <= rows or not 1 <= workers <= 16:
        raise SystemExit("bench ingest: expected --rows from 1000, --gateways from 1, --workers 1 to 16")
    with tempfile.TemporaryDirectory(prefix="guet-ingest-") as folder:
        return asyncio.run(_run(Path(folder), rows, gateways, workers))


async def _run(folder: Path, rows: int, gateways: int, workers: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(folder / "nats"))
        database = await stack.enter_async_context(Database(folder / "centre"))
        size = await _fill(broker.nats_url, rows, gateways)
        command = [sys.executable, "-m", "gateway.cli", "central", "run", "--nats", broker.nats_url]
        working = []
        for number in range(workers):
            log = stack.enter_context((folder / f"worker-{number}.log").open("wb"))
            one = await asyncio.create_subprocess_exec(*command, "--database", database.url, stdout=log, stderr=log)
            working.append(one)
            stack.callback(one.kill)
        groups = {"worker": [one.pid for one in working], "database": [database.pid], "broker": [broker.pid]}
        begin = await _reached(database.url, rows // 10)
        began_s, before = time.monotonic(), {name: _cpu_s(pids) for name, pids in groups.items()}
        end = await _reached(database.url, rows)
        took_s = time.monotonic() - began_s
        spent = {name: round(1e6 * (_cpu_s(pids) - before[name]) / (end - begin), 1) for name, pids in groups.items()}
        found = report(database.url)
        unshared = round(1e6 / (spent["worker"] + spent["database"]))
        wrong = {name: found[name] for name in ("lost", "duplicates", "refused")} | {"left": rows - found["records"]}
        missed = [f"{name}: {count}, expected 0" for name, count in wrong.items() if count]
        if unshared < LEAST_ROWS_PER_S:
            missed.append(f"rows_per_s_unshared: {unshared}, expected {LEAST_ROWS_PER_S} or more")
        return {
            "missed": missed,
            "rows": rows,
            "bytes_per_message": size,
            "gateways": gateways,
            "workers": workers,
            "rows_per_s": round((end - begin) / took_s),
            "rows_per_s_and_worker": round((end - begin) / took_s / workers),
            "rows_per_s_unshared": unshared,
            "cpu_us_per_row": spent,
            "lost": found["lost"],
            "duplicates": found["duplicates"],
        }


async def _fill(url: str, rows: int, gateways: int) -> int:
    """Puts everything into the log; gives the size of one message."""
    client = await nats.connect(url)
    await prepare(client, replicas=1)
    stream = client.jetstream(publish_async_max_pending=1000)
    payload = b""
    for number in range(rows):
        at, seq = number % gateways, number // gateways + 1
        body = body_text(Summary("debit-entree", 0.0, 900, POINTS).as_json())
        topic, payload = render(
            f"edge-{at:04d}", "e0123456789ab", Record(seq, Kind.SUMMARY, FIRST_S + 900.0 * seq, body)
        )
        await stream.publish_async(topic.replace("/", "."), payload)
    await stream.publish_async_completed()
    await client.close()
    return len(payload)


async def _reached(url: str, wanted: int) -> int:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        until_s = time.monotonic() + WITHIN_S
        while time.monotonic() < until_s:
            found = await (await connection.execute("select coalesce(sum(stored), 0)::bigint from epoch")).fetchone()
            if found is not None and found[0] >= wanted:
                return int(found[0])
            await asyncio.sleep(0.02)
    raise RuntimeError(f"after {WITHIN_S:.0f} s there were not {wanted} rows")


def _cpu_s(pids: list[int | None]) -> float:
    """Of these processes and those that they started."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(stat.parent.name) in pids or int(fields[1]) in pids:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
