"""The store: what the gateway keeps on its disk through power cuts.

Five tables: summaries (the site's memory), alerts, states (what must outlive a power cut, such as a watch's verdict),
the outbox (records that the platform has not yet taken over) and a few facts about the file itself. One thread writes,
in groups: a commit on an SD card costs 5 to 100 ms and whole pages, whatever it holds, so rows wait until there are 100
of them or a second has passed; alerts and audit do not wait. Whoever reads sees what is committed.

What may be lost, and is then counted in a `gap` record: rows that find the writer's queue full, and unsent rows that
must make room on a full disk. Alerts, audit and gaps are neither.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Self, TypeVar

from gateway.alert import Alert
from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.summary import Summary
from gateway.upstream.payload import URGENT, Kind, body_text, runs, time_text

log = logging.getLogger(__name__)

FILE: Final = "store.db"
DURABLE_WITHIN_S: Final = 60.0
_DAY_S: Final = 86_400.0
_GAP_RUNS: Final = 500
_ROOM_ROWS: Final = 1000

_SCHEMA: Final = """
create table meta(name text primary key, value) without rowid;
create table outbox(seq integer primary key autoincrement, kind text not null, time_s real not null,
                    body text not null);
create index outbox_urgent on outbox(seq) where kind in ('alert', 'audit', 'gap');
-- In order of time, not of device: what comes in goes to the end, so a commit touches few pages.
create table summary(start_s real, device text, period_s real, body text not null,
                     primary key(start_s, device, period_s)) without rowid;
create table alert(id text primary key, raised_s real not null, cleared_s real, body text not null);
create index alert_raised on alert(raised_s);
create table state(name text primary key, body text not null) without rowid;
pragma user_version = 1;
"""
_PUT: Final = "insert into outbox(kind, time_s, body) values(?, ?, ?)"
_SUMMARY: Final = "insert or replace into summary values(?, ?, ?, ?)"
_ALERT: Final = "insert or replace into alert values(?, ?, ?, ?)"
_STATE: Final = "insert or replace into state values(?, ?)"
_DELETE: Final = "delete from outbox where seq between ? and ?"


_T = TypeVar("_T")
_Statement = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store may use. A group is committed after `commit_s` (real seconds) or `commit_rows`; `queue_rows` may
    wait in memory; `space_bytes` on disk, of which the share `reserve` is for alerts, audit and gaps alone."""

    commit_s: float = 1.0
    commit_rows: int = 100
    queue_rows: int = 10_000
    space_bytes: int = 512 * 1024 * 1024
    reserve: float = 0.1
    summary_days: float = 400.0
    alert_days: float = 1100.0


@dataclass(slots=True)
class _Dropped:
    """Rows of one kind that were dropped since the last gap record: how many, and from when to when."""

    count: int = 0
    from_s: float = float("inf")
    to_s: float = float("-inf")

    def add(self, time_s: float) -> None:
        self.count += 1
        self.from_s, self.to_s = min(self.from_s, time_s), max(self.to_s, time_s)


@dataclass(frozen=True, slots=True)
class _Job:
    """Statements that are committed together; `done` is told when they are."""

    statements: Sequence[_Statement]
    urgent: bool = False
    done: Callable[[BaseException | None], None] | None = None


@dataclass(slots=True)
class Counters:
    """Since this process opened the store. `bytes_kept`: of bodies; rows dropped by kind, for whatever cause."""

    rows: int = 0
    commits: int = 0
    bytes_kept: int = 0
    failures: int = 0
    dropped: dict[Kind, int] = field(default_factory=dict)


class Store:
    """See the module. Made by `Store.open`; used from the thread of the event loop that opened it."""

    def __init__(self, folder: Path, clock: Clock, limits: Limits) -> None:
        self.path, self.limits = folder / FILE, limits
        self._clock = clock
        self.counters = Counters()
        self.fault = ""
        """Why nothing can be written at present; empty while all is well."""
        self.arrived = asyncio.Event()
        """Set whenever rows of the outbox were committed."""
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._hurry = self._closing = False
        self._dropped: dict[Kind, _Dropped] = {}
        self._lock, epoch_before = _locked(folder)
        try:
            self._disk, set_aside = _opened(self.path)
            self.epoch = str(self._disk.execute("select value from meta where name = 'epoch'").fetchone()[0])
            self._reader = _connect(self.path)
            self._reader.execute("pragma query_only = on")
            self._reader.text_factory = lambda text: text.decode(errors="replace")
            if epoch_before not in ("", self.epoch):
                self._disk.execute(_PUT, _vanished(epoch_before, clock.now()))
            _note(self._lock, self.epoch)
        except sqlite3.Error as error:
            self._lock.close()
            raise StoreError(
                f"{self.path}: expected a store that can be opened, got: {error}; look at the disk"
            ) from error
        self._writer = threading.Thread(target=self._write, name="store", daemon=True)
        self._writer.start()
        self.set_aside = set_aside
        """The damaged file that this one replaces, if there was one."""

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, clock: Clock, limits: Limits | None = None) -> AsyncIterator[Self]:
        """The store in `folder`, made where there is none. Raises StoreError when it cannot be used, or another process
        uses it. A damaged file is set aside beside it (`set_aside`), and the new one begins with a gap record."""
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(folder, clock, limits or Limits())
        try:
            yield store
        finally:
            await asyncio.to_thread(store._close)

    # -- writing ---------------------------------------------------------------------------------------------------

    def add_summary(self, summary: Summary) -> None:
        """Keep it and send it. Committed within a second or so; never waits."""
        body = body_text(summary.as_json())
        row = (summary.start_s, summary.device, summary.period_s, body)
        self._add(Kind.SUMMARY, summary.start_s, ((_SUMMARY, row), (_PUT, (Kind.SUMMARY.value, summary.start_s, body))))

    def put(self, kind: Kind | str, time_s: float, body: Mapping[str, Any]) -> None:
        """Send a record. Alerts go through `decide`. Raises ValueError for a body that cannot be a record's."""
        kind = Kind(kind)
        self._add(kind, time_s, ((_PUT, (kind.value, float(time_s), body_text(body))),))

    async def decide(
        self,
        states: Mapping[str, Any],
        alerts: Sequence[Alert] = (),
        audits: Sequence[tuple[float, Mapping[str, Any]]] = (),
    ) -> None:
        """Keep what was decided, all of it or nothing: states by name, alerts raised or cleared, audits as (time,
        body). Durable when it returns; raises StoreError when the disk did not take it in time (it goes on trying)."""
        rows: list[_Statement] = [(_STATE, (name, json.dumps({"state": state}))) for name, state in states.items()]
        for alert in alerts:
            body = alert.as_json()
            rows.append((_ALERT, (alert.id, alert.raised_s, alert.cleared_s, json.dumps(body))))
            changed_s = alert.raised_s if alert.cleared_s is None else alert.cleared_s
            rows.append((_PUT, (Kind.ALERT.value, changed_s, body_text({"alert": body}))))
        for time_s, audit in audits:
            rows.append((_PUT, (Kind.AUDIT.value, time_s, body_text(audit))))
        await self._durably(rows, urgent=True)

    def import_summaries(self, summaries: Iterable[Summary]) -> None:
        """Take over a history, to remember and not to send. Durable after `flush`, or once the store is closed."""
        rows: list[_Statement] = []
        for summary in summaries:
            rows.append((_SUMMARY, (summary.start_s, summary.device, summary.period_s, body_text(summary.as_json()))))
            if len(rows) == _ROOM_ROWS:
                self._submit(_Job(rows))
                rows = []
        self._submit(_Job(rows))

    async def flush(self) -> None:
        """Wait until all that was handed over is durable."""
        await self._durably((), urgent=True)

    def delete(self, seqs: Collection[int], done: Callable[[], None]) -> None:
        """Rows of the outbox that the platform has taken over. Not urgent: after a power cut they are sent again, which
        the platform notices. `done` is called on the event loop once they are gone."""

        def tell(error: BaseException | None) -> None:
            del error
            self._call(done)

        self._submit(_Job([(_DELETE, run) for run in runs(seqs)], done=tell))

    def give_up(self, seq: int, time_s: float) -> None:
        """A row of the outbox that the disk has garbled: instead of it goes a gap record."""
        what = _Dropped()
        what.add(time_s)
        self._submit(_Job([(_DELETE, (seq, seq)), (_PUT, self._gap("damaged", None, what, [(seq, seq)]))], urgent=True))

    # -- reading ---------------------------------------------------------------------------------------------------

    def summaries(self, devices: str | Collection[str], since_s: float, until_s: float) -> list[Summary]:
        """Those that begin from `since_s` on and before `until_s`, in order of time; of one device or of several."""
        wanted = {devices} if isinstance(devices, str) else set(devices)
        marks = ", ".join("?" * len(wanted))
        question = f"""select start_s, body from summary
            where start_s >= ? and start_s < ? and device in ({marks}) order by start_s"""  # noqa: S608 - marks only
        rows = self.rows(question, (since_s, until_s, *sorted(wanted)))
        made = (_read(Summary.from_json, body, {"time": time_text(start_s)}) for start_s, body in rows)
        return [summary for summary in made if summary is not None]

    def open_alerts(self) -> list[Alert]:
        """Those that last, in order of `raised`."""
        return [alert for alert in self.alerts() if alert.cleared_s is None]

    def alerts(self, since_s: float = 0.0) -> list[Alert]:
        """Those raised since then, in order of `raised`."""
        rows = self.rows("select body from alert where raised_s >= ? order by raised_s, id", (since_s,))
        made = (_read(Alert.from_json, body) for (body,) in rows)
        return [alert for alert in made if alert is not None]

    def state(self, name: str) -> Any:
        """What `decide` last kept under that name; None when it never did."""
        rows = self.rows("select body from state where name = ?", (name,))
        return _read(lambda body: body["state"], rows[0][0]) if rows else None

    def used_bytes(self) -> int:
        """On disk, without pages that are free again."""
        return _used_bytes(self._reader)

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question that changes nothing; for the methods above and the outbox."""
        try:
            return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}; look at the disk") from error

    # -- the queue in front of the writer ------------------------------------------------------------------------------

    def _add(self, kind: Kind, time_s: float, statements: Sequence[_Statement]) -> None:
        urgent = kind in URGENT
        if len(self._queue) >= self.limits.queue_rows * (2 if urgent else 1):
            self._drop(kind, time_s)
            return
        self._submit(_Job(statements, urgent))

    def _drop(self, kind: Kind, time_s: float) -> None:
        with self._wake:
            self._dropped.setdefault(kind, _Dropped()).add(time_s)
        self.counters.dropped[kind] = self.counters.dropped.get(kind, 0) + 1

    def _submit(self, job: _Job) -> None:
        with self._wake:
            if self._closing:
                raise StoreError(f"{self.path}: is closed")
            self._queue.append(job)
            if job.urgent:
                self._hurry = True
            if self._hurry or len(self._queue) in (1, self.limits.commit_rows):
                self._wake.notify()

    async def _durably(self, statements: Sequence[_Statement], urgent: bool) -> None:
        if len(self._queue) >= 2 * self.limits.queue_rows:
            raise StoreError(
                f"{self.path}: takes nothing more: {self.fault or 'the disk is too slow'}; look at the disk"
            )
        done: asyncio.Future[None] = self._loop.create_future()

        def settle(error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._submit(_Job(statements, urgent, lambda error: self._call(settle, error)))
        try:
            async with asyncio.timeout(DURABLE_WITHIN_S):
                await done
        except TimeoutError:
            raise StoreError(
                f"{self.path}: expected a commit within {DURABLE_WITHIN_S:.0f} s, got none"
                f"{': ' + self.fault if self.fault else ''}; look at the disk"
            ) from None

    def _call(self, function: Callable[..., None], *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *values)
        except RuntimeError:  # the loop is gone: nobody waits any more
            pass

    # -- the writer's thread ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        pause_s = 0.0
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                self._wake.wait_for(
                    lambda: self._hurry or self._closing or len(self._queue) >= self.limits.commit_rows,
                    self.limits.commit_s,
                )
                jobs, self._queue = self._queue, deque()
                dropped, self._dropped = self._dropped, {}
                self._hurry = False
            try:
                self._commit(jobs, dropped)
            except sqlite3.Error as error:
                self._failed(error, jobs, dropped)
                pause_s = min(max(2 * pause_s, 0.5), 30.0)
                if self._closing:
                    return
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, pause_s)
            else:
                pause_s = 0.0

    def _commit(self, jobs: Collection[_Job], dropped: Mapping[Kind, _Dropped]) -> None:
        statements: dict[str, list[tuple[Any, ...]]] = {}
        for job in jobs:
            for sql, values in job.statements:
                statements.setdefault(sql, []).append(values)
        for kind, what in dropped.items():
            statements.setdefault(_PUT, []).append(self._gap("queue", kind, what, ()))
        with _transaction(self._disk):
            for sql, rows in statements.items():
                self._disk.executemany(sql, rows)
            self._make_room()
        self.fault = ""
        put = statements.get(_PUT, ())
        self.counters.commits += 1
        self.counters.rows += len(put)
        self.counters.bytes_kept += sum(len(row[2]) for row in put)
        for job in jobs:
            if job.done is not None:
                job.done(None)
        if put:
            self._call(self.arrived.set)

    def _failed(self, error: sqlite3.Error, jobs: deque[_Job], dropped: Mapping[Kind, _Dropped]) -> None:
        """Nothing was written: put everything back, in front."""
        if not self.fault:
            log.error("store %s: cannot be written, will try again: %s", self.path, error)
        self.fault = str(error)
        self.counters.failures += 1
        with self._wake:
            self._queue.extendleft(reversed(jobs))
            for kind, what in dropped.items():
                since = self._dropped.setdefault(kind, _Dropped())
                since.count += what.count
                since.from_s, since.to_s = min(since.from_s, what.from_s), max(since.to_s, what.to_s)

    def _gap(self, reason: str, kind: Kind | None, what: _Dropped, seqs: Sequence[tuple[int, int]]) -> tuple[Any, ...]:
        """A row of the outbox that says what is missing; `seqs`: its numbers, where it had got any."""
        body = {
            "reason": reason,
            "dropped": kind and kind.value,
            "count": what.count,
            "from": time_text(what.from_s),
            "to": time_text(what.to_s),
            "seqs": seqs,
        }
        return Kind.GAP.value, self._clock.now(), body_text(body)

    # -- room ------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Within the writer's transaction. In this order: what is too old; unsent readings; memory older than sixty days;
        unsent status; then the oldest of memory, and every other one of the oldest unsent summaries, so that what is old
        gets coarser."""
        now_s = self._clock.now()
        if self.counters.commits % 100 == 0 and self._clock.trusted:
            self._disk.execute("delete from summary where start_s < ?", (now_s - self.limits.summary_days * _DAY_S,))
            old_s = now_s - self.limits.alert_days * _DAY_S
            self._disk.execute("delete from alert where cleared_s < ? and raised_s < ?", (old_s, old_s))
        limit = int(self.limits.space_bytes * (1 - self.limits.reserve))
        while _used_bytes(self._disk) > limit:
            if self._drop_rows(Kind.READING, 1) or self._forget(now_s - 60 * _DAY_S) or self._drop_rows(Kind.STATUS, 1):
                continue
            forgot, thinned = self._forget(now_s - _DAY_S), self._drop_rows(Kind.SUMMARY, 2)
            if not (forgot or thinned or self._drop_rows(Kind.SUMMARY, 1)):
                return

    def _drop_rows(self, kind: Kind, every: int) -> bool:
        """Of the oldest thousand unsent rows, those of every one, or every second, of their times: what several devices
        did in one period goes or stays together. Counted in gap records; False when there is too little to take."""
        oldest = self._disk.execute(
            "select seq, time_s from outbox where kind = ? order by seq limit ?", (kind.value, _ROOM_ROWS)
        ).fetchall()
        times = sorted({time_s for _, time_s in oldest})
        if len(times) < every:
            return False
        chosen = set(times[::every])
        leaving = {seq: time_s for seq, time_s in oldest if time_s in chosen}
        found = list(runs(leaving))
        self._disk.executemany(_DELETE, found)
        self.counters.dropped[kind] = self.counters.dropped.get(kind, 0) + len(leaving)
        for start in range(0, len(found), _GAP_RUNS):
            part, what = found[start : start + _GAP_RUNS], _Dropped()
            for first, last in part:
                for seq in range(first, last + 1):
                    what.add(leaving[seq])
            self._disk.execute(_PUT, self._gap("space", kind, what, part))
        return True

    def _forget(self, older_than_s: float) -> bool:
        """The oldest thousand summaries of the site's memory."""
        sql = (
            "delete from summary where (start_s, device, period_s) in "
            "(select start_s, device, period_s from summary where start_s < ? order by start_s limit ?)"
        )
        return self._disk.execute(sql, (older_than_s, _ROOM_ROWS)).rowcount > 0

    def _close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writer.join(DURABLE_WITHIN_S)
        self._reader.close()
        try:
            self._disk.execute("pragma incremental_vacuum")
            self._disk.close()
        except sqlite3.Error as error:
            log.error("store %s: not closed cleanly: %s", self.path, error)
        self._lock.close()


def _read(make: Callable[[Mapping[str, Any]], _T], text: str, more: Mapping[str, Any] | None = None) -> _T | None:
    """What is made of a row's JSON object; None where the disk has garbled it, which SQLite does not notice in a value."""
    try:
        return make({**json.loads(text), **(more or {})})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.error("store: a row cannot be understood, skipped: %r", error)
        return None


def _vanished(epoch: str, now_s: float) -> tuple[Any, ...]:
    """A row of the outbox: the store of that epoch is no more, and nobody knows how much of it was unsent."""
    unknown = {"dropped": None, "count": None, "from": None, "seqs": ()}
    body = {"reason": "damaged", "to": time_text(now_s), "epoch_lost": epoch, **unknown}
    return Kind.GAP.value, now_s, body_text(body)


def _locked(folder: Path) -> tuple[IO[bytes], str]:
    """Keeps a second process out, and lets go by itself when this one dies; with the epoch noted in it the last time, so
    that a store which vanished is noticed."""
    file = (folder / "store.lock").open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreError(
            f"{folder}: expected a folder for this gateway alone, got one in use by another process"
        ) from None
    file.seek(0)
    return file, file.read(40).decode(errors="replace").strip()


def _note(lock: IO[bytes], epoch: str) -> None:
    lock.seek(0)
    if lock.read(40).decode(errors="replace").strip() != epoch:
        lock.truncate(0)
        lock.write(epoch.encode())
        lock.flush()
        os.fsync(lock.fileno())


def _opened(path: Path) -> tuple[sqlite3.Connection, Path | None]:
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
    disk = _connect(path)
    disk.execute("pragma auto_vacuum = incremental")
    disk.execute("pragma journal_mode = wal")
    with _transaction(disk):
        for statement in _SCHEMA.split(";"):
            disk.execute(statement)
        disk.execute("insert into meta values('epoch', ?)", (secrets.token_hex(6),))
    return disk, set_aside


def _connect(path: Path) -> sqlite3.Connection:
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
        disk = _connect(path)
        if not disk.execute("select 1 from sqlite_master").fetchone():
            disk.close()  # the power failed while it was being made: nothing was ever in it
            path.unlink()
            return None, "empty"
        disk.execute("pragma journal_mode = wal")
        found = disk.execute("pragma quick_check(1)").fetchone()[0]
        version = disk.execute("pragma user_version").fetchone()[0]
        epoch = disk.execute("select value from meta where name = 'epoch'").fetchone()
        if found == "ok" and version == 1 and epoch is not None:
            return disk, ""
        fault = found if found != "ok" else f"expected version 1 with an epoch, got version {version}"
    except sqlite3.DatabaseError as error:
        damaged = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in damaged:
            raise
        fault = str(error)
    if disk is not None:
        disk.close()
    return None, fault


def _used_bytes(disk: sqlite3.Connection) -> int:
    (pages,), (free,), (size,) = (
        disk.execute(f"pragma {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


@contextmanager
def _transaction(disk: sqlite3.Connection) -> Iterator[None]:
    disk.execute("begin immediate")
    try:
        yield
    except BaseException:
        if disk.in_transaction:
            disk.execute("rollback")
        raise
    disk.execute("commit")
