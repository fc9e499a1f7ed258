"""What was dated by a guess of the time, put right.

A row that was written while UTC was a guess names that guess: which boot of the machine, and by how much its UTC was ahead
of the boot's steady clock. Once the right number is known for the same boot, all such rows are moved, in one transaction. A
guess of an earlier boot can never be put right, for between two boots nothing counts the seconds: its rows stay as they are,
marked.

Records of the outbox wait for this, alerts excepted; what has left is never changed, for one number means one content. An
alert that has left is said again, with its right times.
"""

from __future__ import annotations

import json
import sqlite3

from gateway.alert import Alert, iso
from gateway.moved import Moved, moved_start
from gateway.summary import Summary
from gateway.upstream.payload import Kind, body_text


def correct(disk: sqlite3.Connection, boot: str, offset_s: float, steady_s: float) -> int:
    """Within a transaction: moves every row that a guess of this boot has dated, and lets all others go as they are. Gives
    how many rows were moved."""
    count = 0
    for guess, guessed_s in disk.execute("select id, offset_s from guess where boot = ?", (boot,)).fetchall():
        moved = Moved(offset_s - guessed_s, guessed_s - 1.0, guessed_s + steady_s + 1.0)
        count += _summaries(disk, guess, moved.by_s)
        count += _alerts(disk, guess, moved)
        count += _records(disk, guess, moved.by_s)
        disk.execute("delete from guess where id = ?", (guess,))
    release(disk)
    return count


def release(disk: sqlite3.Connection, but: str = "") -> None:
    """Within a transaction: the records that wait for a correction wait no longer, except those of the boot `but`."""
    disk.execute(
        "update outbox set guess = null where guess is not null and guess not in (select id from guess where boot = ?)",
        (but,),
    )


def _summaries(disk: sqlite3.Connection, guess: int, by_s: float) -> int:
    rows = disk.execute("select start_s, device, period_s, body from summary where guess = ?", (guess,)).fetchall()
    disk.execute("delete from summary where guess = ?", (guess,))
    for start_s, device, period_s, body in rows:
        key = (moved_start(start_s, period_s, by_s), device, period_s)
        there = disk.execute(
            "select body from summary where start_s = ? and device = ? and period_s = ?", key
        ).fetchone()
        both = body if there is None else _joined(body, there[0])
        disk.execute("insert or replace into summary values(?, ?, ?, ?, null)", (*key, both))
    return len(rows)


def _joined(first: str, second: str) -> str:
    """Two parts of one period as one body; the later one alone where either cannot be read."""
    try:
        earlier, later = (Summary.from_json({"time": iso(0.0), **json.loads(text)}) for text in (first, second))
    except (ValueError, LookupError, TypeError, AttributeError):
        return second
    return body_text(earlier.joined(later).as_json())


def _alerts(disk: sqlite3.Connection, guess: int, moved: Moved) -> int:
    rows = disk.execute("select id, body from alert where guess = ?", (guess,)).fetchall()
    for name, body in rows:
        try:
            alert = moved.alert(Alert.from_json(json.loads(body)))
        except ValueError:  # garbled by the disk; whoever reads it passes it over
            continue
        disk.execute(
            "update alert set raised_s = ?, cleared_s = ?, body = ?, guess = null where id = ?",
            (alert.raised_s, alert.cleared_s, json.dumps(alert.as_json()), name),
        )
        changed_s = alert.raised_s if alert.cleared_s is None else alert.cleared_s
        said = body_text({"alert": alert.as_json(), "time_moved_s": round(moved.by_s, 3)})
        disk.execute("insert into outbox(kind, time_s, body) values(?, ?, ?)", (Kind.ALERT.value, changed_s, said))
    return len(rows)


_FIELDS = "body = json_set(json_remove(body, '$.time_trusted'), '$.time_moved_s', round(:by_s, 3))"
_MINE = "where guess = :guess and json_valid(body) and kind"


def _records(disk: sqlite3.Connection, guess: int, by_s: float) -> int:
    """Those that have not left. Alerts have, or may have."""
    names = {"guess": guess, "by_s": by_s}
    period = "json_extract(body, '$.period_s')"
    moves = (
        f"update outbox set time_s = time_s + round(:by_s / {period}) * {period}, {_FIELDS} {_MINE} = 'summary'",  # noqa: S608
        f"update outbox set time_s = time_s + :by_s, {_FIELDS} {_MINE} not in ('summary', 'alert')",  # noqa: S608
    )
    return sum(disk.execute(sql, names).rowcount for sql in moves)
