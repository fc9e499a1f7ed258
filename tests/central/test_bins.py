"""The export for a collection planner, out of a real PostgreSQL."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from central.bins import COLUMNS, bins
from central.cli import main as verb
from gateway.alert import Alert, AlertKind, Baseline, Reason, Severity
from gateway.window.bin import Forecast

ASSETS = """
[[asset]]
gateway = "a"
device = "sonde-1"
type = "WasteContainer"
id = "urn:ngsi-ld:WasteContainer:exemple:1"
location = [6.02, 47.24]
"""


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def forecast(
    full: str = "2026-11-28T10:00", early: str = "2026-11-27T10:00", late: str = "", fill: float = 0.63
) -> Any:
    known = Forecast(fill, at(full), at(early), at(late) if late else None, None)
    return {"device": "sonde-1", "asset": "BAC-7"} | known.as_json()


def said(url: str, gateway: str, time: str, found: Any) -> None:
    body = {"version": "0", **({} if found is None else {"bins": found})}
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into latest(gateway, device, kind, time, body) values (%s, '', 'status', %s, %s)",
            (gateway, time, json.dumps(body)),
        )


def alarmed(url: str, gateway: str, subject: str, feature: str, raised: str, cleared: str | None = None) -> None:
    reason = Reason(f"{subject}/x", feature, 3.0, "")
    alert = Alert(
        f"{subject}-{feature}-{raised}", AlertKind.BIN_OVERFLOW, subject, at(raised), at(raised), Severity.CRITICAL, 3.0,
        1.0, "bin", "", (reason,), Baseline("bin", True, 1.0), None if cleared is None else at(cleared),
    )  # fmt: skip
    body = alert.as_json()
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into alert values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (gateway, alert.id, body["kind"], subject, "critical", body["onset"], body["raised"], body["cleared"],
             json.dumps(body)),
        )  # fmt: skip


def test_the_newest_of_every_bin_the_soonest_full_first(database_url: str) -> None:
    said(
        database_url, "a", "2026-11-26T09:00:00Z", {"bac-1": forecast(), "bac-2": {"device": "sonde-2", "asset": None}}
    )
    said(database_url, "b", "2026-11-26T09:00:00Z", {"bac-9": forecast("2026-11-27T00:00"), "bac-8": None})
    said(database_url, "c", "2026-11-26T09:00:00Z", None)
    rows = bins(database_url)
    assert [(row["gateway"], row["bin"]) for row in rows] == [
        ("b", "bac-9"),
        ("a", "bac-1"),
        ("a", "bac-2"),
        ("b", "bac-8"),
    ]
    assert rows[1] == {
        "gateway": "a", "bin": "bac-1", "device": "sonde-1", "asset": "BAC-7", "latitude": None, "longitude": None,
        "as_of": "2026-11-26T09:00:00Z", "fill": 0.63, "full": "2026-11-28T10:00:00Z", "early": "2026-11-27T10:00:00Z",
        "late": None, "emptied": None, "fire": None, "tilt": None,
    }  # fmt: skip
    assert {name for name, value in rows[2].items() if value is None} == set(COLUMNS) - {
        "gateway",
        "bin",
        "device",
        "as_of",
    }


def test_those_that_burn_or_lie_come_first_as_long_as_they_do(database_url: str) -> None:
    names = ("calme", "feu", "plein", "renverse", "eteint")
    said(database_url, "a", "2026-11-26T09:00:00Z", {name: forecast() for name in names})
    alarmed(database_url, "a", "feu", "fire", "2026-11-26T08:30")
    alarmed(database_url, "a", "renverse", "tilt", "2026-11-26T08:45")
    alarmed(database_url, "a", "plein", "fill", "2026-11-26T08:00")
    alarmed(database_url, "a", "eteint", "fire", "2026-11-26T02:00", "2026-11-26T03:00")
    alarmed(database_url, "other", "calme", "fire", "2026-11-26T08:00")
    rows = bins(database_url)
    assert [row["bin"] for row in rows] == ["feu", "renverse", "calme", "eteint", "plein"]
    assert [(row["fire"], row["tilt"]) for row in rows][:3] == [
        ("2026-11-26T08:30:00Z", None), (None, "2026-11-26T08:45:00Z"), (None, None),
    ]  # fmt: skip


def test_a_planner_makes_tomorrow_s_round_of_it(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only from the file: which bins the lorry goes to tomorrow, and where, so that one round in ten sees one overflow."""
    bins_of_a = {
        "demain": forecast("2026-11-27T20:00", "2026-11-27T09:00", "2026-11-28T09:00"),
        "risque": forecast("2026-11-29T20:00", "2026-11-27T15:00"),
        "plus-tard": forecast("2026-12-05T20:00", "2026-12-03T15:00"),
        "feu": forecast("2026-12-05T20:00", "2026-12-03T15:00"),
        "inconnu": {"device": "sonde-9", "asset": None},
    }
    said(database_url, "a", "2026-11-26T18:00:00Z", bins_of_a)
    alarmed(database_url, "a", "feu", "fire", "2026-11-26T17:55")
    (tmp_path / "assets.toml").write_text(ASSETS, encoding="utf-8")
    assert verb(["bins", "--csv", "--assets", str(tmp_path / "assets.toml"), "--database", database_url]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    burning = [row["bin"] for row in rows if row["fire"]]
    tomorrow = [row for row in rows if row["early"] and row["early"] < "2026-11-28T00:00:00Z" and not row["fire"]]
    assert burning == ["feu"], "that is the fire brigade's, before any lorry"
    assert [row["bin"] for row in tomorrow] == ["demain", "risque"]
    assert [(float(row["latitude"]), float(row["longitude"])) for row in tomorrow] == [(47.24, 6.02)] * 2
    assert rows[-1]["bin"] == "inconnu"
    assert (rows[-1]["latitude"], rows[-1]["fill"]) == ("", "")


def test_a_centre_without_bins_gives_the_header(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bins(database_url) == []
    assert verb(["bins", "--database", database_url]) == 0
    assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"


def test_what_is_not_there_is_said(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb(["bins", "--database", "postgresql://127.0.0.1:1/none"]) == 1
    assert "database: expected an answer" in capsys.readouterr().err
    assert verb(["bins", "--assets", str(tmp_path / "none.toml"), "--database", database_url]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_as_json_numbers_are_numbers(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(database_url, "a", "2026-11-26T08:00:00Z", {"bac-1": forecast()})
    assert verb(["bins", "--json", "--database", database_url]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert tuple(row) == COLUMNS
    assert (row["bin"], row["fill"], row["late"]) == ("bac-1", 0.63, None)
