"""The store's file: its tables, and that it is sound, safe and nobody else's.

What was committed survives a power cut (WAL, synchronous FULL). A file that is damaged is set aside, never deleted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from gateway.errors import StoreError

log = logging.getLogger(__name__)

VERSION: Final = 2
LOCK: Final = "store.lock"

_SCHEMA: Final = """
create table meta(name text primary key, value) without rowid;
-- `guess`: where it is not null, by which guess of the time the row was dated.
create table outbox(seq integer primary key autoincrement, kind text not null, time_s real not null,
                    body text not null, guess integer);
create index outbox_urgent on outbox(seq) where kind in ('alert', 'audit', 'gap');
-- In order of time, not of device: what comes in goes to the end, so a commit touches few pages.
create table summary(start_s real, device text, period_s real, body text not null, guess integer,
                     primary key(start_s, device, period_s)) without rowid;
create table alert(id text primary key, raised_s real not null, cleared_s real, body text not null, guess integer);
create index alert_raised on alert(raised_s);
create table state(name text primary key, body text not null) without rowid;
"""
_FROM_1: Final = """
alter table outbox add column guess integer;
alter table summary add column guess integer;
alter table alert add column guess integer;
"""
_GUESSES: Final = """
create table guess(id integer primary key, boot text not null, offset_s real not null);
create index outbox_guess on outbox(guess) where guess is not null;
create index summary_guess on summary(guess) where guess is not null;
pragma user_version = 2;
"""


# What came later and changes nothing of the rest: an older program, put back, passes it over.
_ADDED: Final = "create table if not exists snippet(alert text primary key, body blob not null)"

_EPOCHS: Final = 20
_EPOCH: Final = re.compile(r"\b[0-9a-f]{12}\b")


def locked(folder: Path) -> tuple[IO[bytes], list[str]]:
    """Keeps a second process out, and lets go by itself when this one dies; with the epochs of the newest stores that
    were here, oldest first, so that one which vanished is noticed."""
    file = (folder / LOCK).open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreError(
            f"{folder}: expected a folder for this gateway alone, got one in use by another process"
        ) from None
    return file, _epochs(file)


def _epochs(lock: IO[bytes]) -> list[str]:
    lock.seek(0)
    return _EPOCH.findall(lock.read(65_536).decode(errors="replace"))[-_EPOCHS:]


def note(lock: IO[bytes], epoch: str) -> None:
    """Writes the epoch into the lock file, durably, behind those before it, if it is not there yet."""
    if epoch not in _epochs(lock):
        lock.write(f"\n{epoch}\n".encode())  # appended: a power cut must not take those before it along
        lock.flush()
        os.fsync(lock.fileno())


def opened(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """A sound file, open for writing; and the damaged one set aside for it."""
    set_aside = None
    if path.exists():
        disk, fault = _checked(path)
        if disk is not None:
            return disk, None
    if path.exists():
        stamp = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
        set_aside = path.with_name(f"{path.name}.damaged-{stamp}-{secrets.token_hex(2)}")
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(set_aside.with_name(set_aside.name + suffix))
        log.error("store %s: damaged (%s); set aside as %s, a new one begins", path, fault, set_aside.name)
    disk = connect(path)
    disk.execute("pragma auto_vacuum = incremental")
    disk.execute("pragma journal_mode = wal")
    with transaction(disk):
        _run(disk, _SCHEMA + _GUESSES + _ADDED)
        disk.execute("insert into meta values('epoch', ?)", (secrets.token_hex(6),))
    return disk, set_aside


def connect(path: Path) -> sqlite3.Connection:
    """A connection of which every commit survives a power cut."""
    disk = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    for setting in (
        "synchronous = full",
        "journal_size_limit = 4194304",
        "wal_autocheckpoint = 1000",
        "temp_store = memory",
        "cache_size = -2000",
    ):
        disk.execute(f"pragma {setting}")
    return disk


def _checked(path: Path) -> tuple[sqlite3.Connection | None, str]:
    """The file open and sound; or why it is not. An error of the disk rather than of the file is raised."""
    disk = None
    try:
        disk = connect(path)
        if not disk.execute("select 1 from sqlite_master").fetchone():
            disk.close()  # the power failed while it was being made: nothing was ever in it
            path.unlink()
            return None, "empty"
        disk.execute("pragma journal_mode = wal")
        found = disk.execute("pragma quick_check(1)").fetchone()[0]
        version = disk.execute("pragma user_version").fetchone()[0]
        epoch = disk.execute("select value from meta where name = 'epoch'").fetchone()
        if found == "ok" and version == 1 and epoch is not None:
            with transaction(disk):
                _run(disk, _FROM_1 + _GUESSES)
            version = VERSION
        if found == "ok" and version == VERSION and epoch is not None:
            disk.execute(_ADDED)
            return disk, ""
        fault = found if found != "ok" else f"expected version {VERSION} with an epoch, got version {version}"
    except sqlite3.DatabaseError as error:
        damaged = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in damaged:
            raise
        fault = str(error)
    if disk is not None:
        disk.close()
    return None, fault


def unsound(path: Path, most: int = 3, within_s: float = 60.0) -> str:
    """What SQLite finds wrong with a store's file, looked at beside whoever uses it; the first `most` faults, empty where
    there are none, or none were met in that time. Takes seconds on a slow card: for a thread."""
    until_s = time.monotonic() + within_s
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as disk:
            disk.set_progress_handler(lambda: time.monotonic() > until_s, 100_000)
            found = [str(row[0]) for row in disk.execute(f"pragma quick_check({most})")]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            return ""
        return str(error)
    return "" if found == ["ok"] else " ; ".join(found)


def _run(disk: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        disk.execute(statement)


def file_bytes(disk: sqlite3.Connection) -> int:
    """Of the file, with pages that are free again."""
    (pages,), (size,) = (disk.execute(f"pragma {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages * size)


def used_bytes(disk: sqlite3.Connection) -> int:
    """Of the file, without pages that are free again."""
    (pages,), (free,), (size,) = (
        disk.execute(f"pragma {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


@contextmanager
def transaction(disk: sqlite3.Connection) -> Iterator[None]:
    """All of it, or nothing."""
    disk.execute("begin immediate")
    try:
        yield
    except BaseException:
        if disk.in_transaction:
            disk.execute("rollback")
        raise
    disk.execute("commit")
