"""The export for a collection planner, out of a real PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from central.bins import COLUMNS, bins
from central.cli import main
from central.errors import DatabaseError
from central.ngsi import parse_assets

FORECAST = {
    "fill": 0.63,
    "full": "2026-11-28T10:00:00Z",
    "early": "2026-11-27T10:00:00Z",
    "late": None,
    "emptied": None,
}


def said(url: str, gateway: str, seq: int, time: str, bins_: Any) -> None:
    body = {"version": "0", **({} if bins_ is None else {"bins": bins_})}
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists record_test partition of record default")
        connection.execute(
            "insert into record(gateway, epoch, seq, kind, time, body) values (%s, 'e', %s, 'status', %s, %s)",
            (gateway, seq, time, json.dumps(body)),
        )


def test_the_newest_of_every_bin_the_soonest_full_first(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(database_url, "a", 1, "2026-11-26T08:00:00Z", {"bac-1": FORECAST | {"fill": 0.1}})
    said(database_url, "a", 2, "2026-11-26T09:00:00Z", {"bac-1": FORECAST, "bac-2": None})
    said(database_url, "b", 1, "2026-11-26T09:00:00Z", {"bac-9": FORECAST | {"full": "2026-11-27T00:00:00Z"}})
    said(database_url, "c", 1, "2026-11-26T09:00:00Z", None)
    rows = bins(database_url)
    assert [row[:2] for row in rows] == [("b", "bac-9"), ("a", "bac-1"), ("a", "bac-2")]
    assert rows[1][:8] == (
        "a",
        "bac-1",
        "2026-11-26T09:00:00Z",
        "0.63",
        FORECAST["full"],
        FORECAST["early"],
        None,
        None,
    )
    assert main(["bins", "--database", database_url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[2] == "a,bac-1,2026-11-26T09:00:00Z,0.63,2026-11-28T10:00:00Z,2026-11-27T10:00:00Z,,,,,,,"
    assert lines[3] == "a,bac-2,2026-11-26T09:00:00Z,,,,,,,,,,"


def test_a_bin_that_burns_comes_first_and_has_a_place_where_one_is_known(database_url: str) -> None:
    state = {"fire": False, "tilted": False, "device": "bac-1"}
    said(
        database_url,
        "a",
        1,
        "2026-11-26T09:00:00Z",
        {
            "soon": FORECAST | state,
            "burns": {"fire": True, "tilted": False, "device": "bac-2"},
            "lies": {"fire": False, "tilted": True, "device": "bac-3"},
        },
    )
    assets = parse_assets(
        '[[asset]]\ngateway = "a"\ndevice = "bac-2"\ntype = "WasteContainer"\n'
        'id = "urn:ngsi-ld:WasteContainer:b2"\nlocation = [6.02, 47.24]\n'
    )
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in bins(database_url, assets)]
    assert [(row["bin"], row["fire"], row["tilted"]) for row in rows] == [
        ("burns", "true", "false"), ("soon", "false", "false"), ("lies", "false", "true"),
    ]  # fmt: skip
    assert [(row["latitude"], row["longitude"]) for row in rows] == [("47.24", "6.02"), (None, None), (None, None)]


def test_a_centre_without_bins_gives_the_header(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bins(database_url) == []
    assert main(["bins", "--database", database_url]) == 0
    assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"


def test_a_database_that_is_not_there_is_said() -> None:
    with pytest.raises(DatabaseError, match="database"):
        bins("postgresql://127.0.0.1:1/none")


def test_the_same_as_json(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(database_url, "a", 1, "2026-11-26T08:00:00Z", {"bac-1": FORECAST})
    assert main(["bins", "--json", "--database", database_url]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert tuple(row) == COLUMNS
    assert (row["bin"], row["full"], row["late"]) == ("bac-1", FORECAST["full"], None)
