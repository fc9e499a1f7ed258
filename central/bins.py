"""What a collection planner needs: the newest fill and forecast of every bin, where it stands, whether it burns or lies; as
CSV or JSON: `guet central bins`.

    gateway,bin,device,asset,latitude,longitude,as_of,fill,full,early,late,emptied,fire,tilt

`latitude`, `longitude`: from the city's assets file (`ngsi`), which alone knows where a device stands; `as_of`: when the
gateway said so; `fill`: 0 to 1 and above; `full`: when the bin is expected to be full, between `early` and `late` in eight
cases of ten; `emptied`: the last collection that was seen; `fire`, `tilt`: since when an alert of that says so. Times in
ISO 8601, UTC; empty where nothing is known, or beyond a month. Those that burn or lie come first, then the fullest soonest;
bins without a forecast last. The SQL (`QUERY`) can be used as it stands by any program that reads the database.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

import psycopg

from central.errors import DatabaseError
from central.ngsi import Asset

COLUMNS: Final = (
    "gateway", "bin", "device", "asset", "latitude", "longitude", "as_of", "fill", "full", "early", "late", "emptied",
    "fire", "tilt",
)  # fmt: skip
QUERY: Final = """
select newest.gateway, bin.key as bin, bin.value->>'device' as device, bin.value->>'asset' as asset,
       to_char(newest.time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as as_of,
       (bin.value->>'fill')::float8 as fill, bin.value->>'full' as "full", bin.value->>'early' as early,
       bin.value->>'late' as late, bin.value->>'emptied' as emptied, told.fire, told.tilt
from latest newest, jsonb_each(newest.body->'bins') bin, lateral (
    select to_char(min(raised) filter (where body @? '$.reasons[*] ? (@.feature == "fire")') at time zone 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS"Z"') as fire,
           to_char(min(raised) filter (where body @? '$.reasons[*] ? (@.feature == "tilt")') at time zone 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS"Z"') as tilt
    from alert where alert.gateway = newest.gateway and cleared is null and kind = 'bin_overflow' and subject = bin.key
) told
where newest.device = '' and newest.kind = 'status' and jsonb_typeof(newest.body->'bins') = 'object'
order by told.fire is null, told.tilt is null, bin.value->>'full' nulls last, newest.gateway, bin.key
"""


def bins(database_url: str, assets: Sequence[Asset] = ()) -> list[dict[str, Any]]:
    """By COLUMNS, one a bin: numbers, texts, None for what is not known. Raises DatabaseError."""
    places = {(asset.gateway, asset.device): asset.location for asset in assets}
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            answer = connection.execute(QUERY)
            names = [column.name for column in answer.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in answer]
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error
    for row in found:
        row["longitude"], row["latitude"] = places.get((row["gateway"], row["device"]), (None, None))
    return [{name: row[name] for name in COLUMNS} for row in found]


def write(rows: Sequence[Mapping[str, Any]], out: IO[str]) -> None:
    """The rows as CSV, with their header."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if row[name] is None else row[name] for name in COLUMNS] for row in rows)
