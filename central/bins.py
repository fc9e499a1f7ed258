"""What a collection planner needs, the newest fill and forecast of every bin, as CSV: `python -m central.bins`.

    gateway,bin,as_of,fill,full,early,late,emptied

`as_of`: when the gateway said so; `fill`: 0 to 1 and above; `full`: when the bin is expected to be full, between `early` and
`late` in eight cases of ten; `emptied`: the last collection that was seen. Times in ISO 8601, UTC; empty where nothing is
known, or beyond a month. The fullest soonest come first; bins without a forecast last. The SQL (`QUERY`) can be used as it
stands by any program that reads the database.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import psycopg

from central.database import url_in
from central.errors import CentralError, DatabaseError

COLUMNS: Final = ("gateway", "bin", "as_of", "fill", "full", "early", "late", "emptied")
QUERY: Final = """
select newest.gateway, bin.key,
       to_char(newest.time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       bin.value->>'fill', bin.value->>'full', bin.value->>'early', bin.value->>'late', bin.value->>'emptied'
from (
    select distinct on (gateway) gateway, time, body from record where kind = 'status' order by gateway, time desc, seq desc
) newest, jsonb_each(newest.body->'bins') bin
where jsonb_typeof(newest.body->'bins') = 'object'
order by bin.value->>'full' nulls last, newest.gateway, bin.key
"""


def bins(database_url: str) -> list[tuple[str | None, ...]]:
    """One row a bin, as COLUMNS. Raises DatabaseError."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            return [tuple(row) for row in connection.execute(QUERY)]
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error


def write(rows: Sequence[tuple[str | None, ...]], out: IO[str]) -> None:
    """The rows as CSV, with their header."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Ce qu'il faut pour planifier une collecte, en CSV / What a collection is planned by, as CSV"""
    parser = argparse.ArgumentParser(prog="python -m central.bins", description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path("guet-central"), help="dossier des données / data folder")
    parser.add_argument("--database", default="", metavar="URL", help="PostgreSQL")
    options = parser.parse_args(argv)
    try:
        write(bins(options.database or url_in(options.data)), sys.stdout)
    except CentralError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
