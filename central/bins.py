"""What a collection planner needs, the newest fill and forecast of every bin, as CSV: `guet central bins`.

    gateway,bin,as_of,fill,full,early,late,emptied,fire,tilted,device,latitude,longitude

`as_of`: when the gateway said so; `fill`: 0 to 1 and above; `full`: when the bin is expected to be full, between `early` and
`late` in eight cases of ten; `emptied`: the last collection that was seen; `fire`, `tilted`: true while it seems to burn, or
lies; `latitude`, `longitude`: where an assets file (`central/ngsi.py`) says that its device stands. Times in ISO 8601, UTC;
empty where nothing is known, or beyond a month. Bins that burn come first, then the fullest soonest; those without a
forecast last. The SQL (`QUERY`) can be used as it stands by any program that reads the database.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import IO, Final

import psycopg

from central.errors import DatabaseError
from central.ngsi import Asset

TOLD: Final = ("gateway", "bin", "as_of", "fill", "full", "early", "late", "emptied", "fire", "tilted", "device")
COLUMNS: Final = (*TOLD, "latitude", "longitude")
QUERY: Final = """
select newest.gateway, bin.key,
       to_char(newest.time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       bin.value->>'fill', bin.value->>'full', bin.value->>'early', bin.value->>'late', bin.value->>'emptied',
       bin.value->>'fire', bin.value->>'tilted', bin.value->>'device'
from (
    select distinct on (gateway) gateway, time, body from record where kind = 'status' order by gateway, time desc, seq desc
) newest, jsonb_each(newest.body->'bins') bin
where jsonb_typeof(newest.body->'bins') = 'object'
order by bin.value->>'fire' = 'true' desc nulls last, bin.value->>'full' nulls last, newest.gateway, bin.key
"""


def bins(database_url: str, assets: Iterable[Asset] = ()) -> list[tuple[str | None, ...]]:
    """One row a bin, as COLUMNS. Raises DatabaseError."""
    places = {(one.gateway, one.device): (str(one.location[1]), str(one.location[0])) for one in assets}
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            return [(*row, *places.get((row[0], row[-1]), (None, None))) for row in connection.execute(QUERY)]
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error


def write(rows: Sequence[tuple[str | None, ...]], out: IO[str]) -> None:
    """The rows as CSV, with their header."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
