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
import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from gateway.alert import Alert
from gateway.clock import Clock
from gateway.disk import connect, locked, note, opened, transaction, used_bytes
from gateway.errors import StoreError
from gateway.summary import Summary
from gateway.upstream.payload import URGENT, Kind, body_text, runs, time_text

log = logging.getLogger(__name__)

FILE: Final = "store.db"
DURABLE_WITHIN_S: Final = 60.0
_DAY_S: Final = 86_400.0
_GAP_RUNS: Final = 500
_ROOM_ROWS: Final = 1000
_OLD_ALERTS: Final = 10

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
        self._hurry = self._closing = self._writing = False
        self._dropped: dict[Kind, _Dropped] = {}
        self._thinned_to = 0
        self._lock, epochs_before = locked(folder)
        try:
            self._disk, set_aside = opened(self.path)
            self.epoch = str(self._disk.execute("select value from meta where name = 'epoch'").fetchone()[0])
            self._reader = connect(self.path)
            self._reader.execute("pragma query_only = on")
            self._reader.text_factory = lambda text: text.decode(errors="replace")
            if self.epoch not in epochs_before:
                # All of them: what one vanished store had to say of another may have vanished with it.
                with transaction(self._disk):
                    self._disk.executemany(_PUT, [_vanished(epoch, clock.now()) for epoch in epochs_before])
            note(self._lock, self.epoch)
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
        body = self._text(summary.as_json())
        row = (summary.start_s, summary.device, summary.period_s, body)
        self._add(Kind.SUMMARY, summary.start_s, ((_SUMMARY, row), (_PUT, (Kind.SUMMARY.value, summary.start_s, body))))

    def put(self, kind: Kind | str, time_s: float, body: Mapping[str, Any]) -> None:
        """Send a record. Alerts go through `decide`. Raises ValueError for a body that cannot be a record's."""
        kind = Kind(kind)
        self._add(kind, time_s, ((_PUT, (kind.value, float(time_s), self._text(body))),))

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
            rows.append((_PUT, (Kind.ALERT.value, changed_s, self._text({"alert": body}))))
        for time_s, audit in audits:
            rows.append((_PUT, (Kind.AUDIT.value, time_s, self._text(audit))))
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

    def settle(self) -> None:
        """Has what waits committed now, and blocks until that is done or has failed: for virtual time, which would
        otherwise leap while the writer's thread works."""
        if not (self._queue or self._writing):
            return
        with self._wake:
            self._hurry = bool(self._queue)
            self._wake.notify()
            self._wake.wait_for(lambda: self.fault or not (self._queue or self._writing), DURABLE_WITHIN_S)

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
        return used_bytes(self._reader)

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question that changes nothing; for the methods above and the outbox."""
        try:
            return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}; look at the disk") from error

    def _text(self, body: Mapping[str, Any]) -> str:
        """A record's body, marked where its times are a guess."""
        return body_text(body if self._clock.trusted else {**body, "time_trusted": False})

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
                self._writing = True
                jobs, self._queue = self._queue, deque()
                dropped, self._dropped = self._dropped, {}
                self._hurry = False
            try:
                self._commit(jobs, dropped)
            except sqlite3.Error as error:
                self._failed(error, jobs, dropped)
                pause_s = min(max(2 * pause_s, 0.5), 30.0)
                self._written()
                if self._closing:
                    return
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, pause_s)
            else:
                self._written()
                pause_s = 0.0

    def _written(self) -> None:
        with self._wake:
            self._writing = False
            self._wake.notify_all()

    def _commit(self, jobs: Collection[_Job], dropped: Mapping[Kind, _Dropped]) -> None:
        statements: dict[str, list[tuple[Any, ...]]] = {}
        for job in jobs:
            for sql, values in job.statements:
                statements.setdefault(sql, []).append(values)
        for kind, what in dropped.items():
            statements.setdefault(_PUT, []).append(self._gap("queue", kind, what, ()))
        with transaction(self._disk):
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
        unsent status; then the oldest of memory, and every other one of the older unsent summaries, so that what is old
        gets coarser."""
        now_s = self._clock.now()
        if self.counters.commits % 100 == 0 and self._clock.trusted:
            # Bit by bit: a clock that went years ahead and is mended soon must not cost the site its memory.
            self._forget(now_s - self.limits.summary_days * _DAY_S)
            old_s = now_s - self.limits.alert_days * _DAY_S
            sql = "select id from alert where cleared_s < ? and raised_s < ? order by raised_s limit ?"
            self._disk.execute(f"delete from alert where id in ({sql})", (old_s, old_s, _OLD_ALERTS))  # noqa: S608
        limit = int(self.limits.space_bytes * (1 - self.limits.reserve))
        while used_bytes(self._disk) > limit:
            if self._drop_rows(Kind.READING, 1) or self._forget(now_s - 60 * _DAY_S) or self._drop_rows(Kind.STATUS, 1):
                continue
            forgot, thinned = self._forget(now_s - _DAY_S), self._drop_rows(Kind.SUMMARY, 2)
            if not (forgot or thinned or self._drop_rows(Kind.SUMMARY, 1)):
                return

    def _drop_rows(self, kind: Kind, every: int) -> bool:
        """Of a thousand unsent rows, those of every one, or every second, of their times: what several devices did in one
        period goes or stays together. One call goes on where the last one ended, through all but the newest thousand.
        Counted in gap records; False when there is too little to take."""
        sql = "select seq, time_s from outbox where kind = ? and seq > ? order by seq limit ?"
        rows = self._disk.execute(sql, (kind.value, self._thinned_to if every > 1 else 0, 2 * _ROOM_ROWS)).fetchall()
        if every > 1 and len(rows) < 2 * _ROOM_ROWS:
            rows = self._disk.execute(sql, (kind.value, 0, _ROOM_ROWS)).fetchall()
        rows = rows[:_ROOM_ROWS]
        times = sorted({time_s for _, time_s in rows})
        if len(times) < every:
            return False
        if every > 1:
            self._thinned_to = rows[-1][0]
        chosen = set(times[every - 1 :: every])
        leaving = {seq: time_s for seq, time_s in rows if time_s in chosen}
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
