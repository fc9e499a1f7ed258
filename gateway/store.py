"""The store: what the gateway keeps on its disk through power cuts.

Six tables: summaries (the site's memory), alerts, the raw samples around each, states (what must outlive a power cut, such
as a watch's verdict), the outbox (records that the platform has not yet taken over) and a few facts about the file itself.
One thread writes, in groups: a commit on an SD card costs 5 to 100 ms and whole pages, whatever it holds, so rows wait
until there are 100 of them or a second has passed; alerts and audit do not wait. Whoever reads sees what is committed.

What may be lost, and is then counted in a `gap` record: rows that find the writer's queue full, and unsent rows that
must make room on a full disk. Alerts, audit and gaps are neither.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from gateway.alert import Alert
from gateway.clock import Clock
from gateway.correction import correct, release
from gateway.disk import connect, locked, note, opened, transaction, used_bytes
from gateway.errors import StoreError
from gateway.room import DELETE, PUT, Counters, Dropped, Limits, Room
from gateway.summary import Summary
from gateway.upstream.payload import URGENT, Kind, body_text, runs, time_text

log = logging.getLogger(__name__)

FILE: Final = "store.db"
DURABLE_WITHIN_S: Final = 60.0
_ROOM_ROWS: Final = 1000

_SUMMARY: Final = "insert or replace into summary values(?, ?, ?, ?, ?)"
_ALERT: Final = "insert or replace into alert values(?, ?, ?, ?, ?)"
_GUESS: Final = "insert or ignore into guess values(?, ?, ?)"
_SNIPPET: Final = "insert or replace into snippet values(?, ?)"
_STATE: Final = "insert or replace into state values(?, ?)"


_T = TypeVar("_T")
_Statement = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Job:
    """Statements that are committed together; `done` is told when they are. `work` comes after those of all jobs of the
    same commit."""

    statements: Sequence[_Statement]
    urgent: bool = False
    done: Callable[[BaseException | None], None] | None = None
    work: Callable[[sqlite3.Connection], object] | None = None


class Store:
    """See the module. Made by `Store.open`; used from the thread of the event loop that opened it."""

    def __init__(self, folder: Path, clock: Clock, limits: Limits, thread: bool) -> None:
        self.path, self.limits = folder / FILE, limits
        self._clock = clock
        self.counters = Counters()
        self.fault = ""
        """Why nothing can be written at present; empty while all is well."""
        self.arrived = asyncio.Event()
        """Set whenever rows of the outbox were committed."""
        self.additions = 0
        """Counts the commits that may have given the outbox rows to send."""
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._hurry = self._closing = False
        self._pause_s = 0.0
        self._dropped: dict[Kind, Dropped] = {}
        self._room = Room(limits, clock, self.counters, self._free_bytes)
        self._guesses: dict[tuple[str, float], int] = {}
        self._holding = True
        self._lock, epochs_before = locked(folder)
        try:
            self._disk, set_aside = opened(self.path)
            self.epoch = str(self._disk.execute("select value from meta where name = 'epoch'").fetchone()[0])
            self._reader = connect(self.path)
            self._reader.execute("pragma query_only = on")
            self._reader.text_factory = lambda text: text.decode(errors="replace")
            self._last_guess = int(self._disk.execute("select coalesce(max(id), 0) from guess").fetchone()[0])
            if self.epoch not in epochs_before:
                # All of them: what one vanished store had to say of another may have vanished with it.
                with transaction(self._disk):
                    self._disk.executemany(PUT, [_vanished(epoch, clock.now()) for epoch in epochs_before])
            note(self._lock, self.epoch)
        except sqlite3.Error as error:
            self._lock.close()
            raise StoreError(
                f"{self.path}: expected a store that can be opened, got: {error}; look at the disk"
            ) from error
        self._writer = threading.Thread(target=self._write, name="store", daemon=True) if thread else None
        self._timer: asyncio.TimerHandle | None = None
        if self._writer is not None:
            self._writer.start()
        self.set_aside = set_aside
        """The damaged file that this one replaces, if there was one."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, clock: Clock, limits: Limits | None = None, *, thread: bool = True
    ) -> AsyncIterator[Self]:
        """The store in `folder`, made where there is none. Raises StoreError when it cannot be used, or another process
        uses it. A damaged file is set aside beside it (`set_aside`), and the new one begins with a gap record. Without a
        thread of its own it writes on the event loop's: for virtual time, which would leap while a thread works."""
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(folder, clock, limits or Limits(), thread)
        try:
            yield store
        finally:
            if thread:
                await asyncio.to_thread(store._close)
            else:
                store._close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add_summary(self, summary: Summary) -> None:
        """Keep it and send it. Committed within a second or so; never waits."""
        body, (rows, guess, held) = self._text(summary.as_json()), self._dated()
        rows.append((_SUMMARY, (summary.start_s, summary.device, summary.period_s, body, guess)))
        rows.append((PUT, (Kind.SUMMARY.value, summary.start_s, body, held)))
        self._add(Kind.SUMMARY, summary.start_s, rows)

    def put(self, kind: Kind | str, time_s: float, body: Mapping[str, Any]) -> None:
        """Send a record. Alerts go through `decide`. Raises ValueError for a body that cannot be a record's."""
        kind, (rows, _, held) = Kind(kind), self._dated()
        rows.append((PUT, (kind.value, float(time_s), self._text(body), held)))
        self._add(kind, time_s, rows)

    async def decide(
        self,
        states: Mapping[str, Any],
        alerts: Sequence[Alert] = (),
        audits: Sequence[tuple[float, Mapping[str, Any]]] = (),
        *,
        readings: Sequence[tuple[float, Mapping[str, Any]]] = (),
    ) -> None:
        """Keep what was decided, all of it or nothing: states by name, alerts raised or cleared, audits and readings as
        (time, body); readings are of who knows the time itself. Durable when it returns; raises StoreError when the disk
        did not take it in time (it goes on trying)."""
        rows, guess, held = self._dated()
        rows += _states(states)
        for alert in alerts:
            body = alert.as_json()
            rows.append((_ALERT, (alert.id, alert.raised_s, alert.cleared_s, json.dumps(body), guess)))
            changed_s = alert.raised_s if alert.cleared_s is None else alert.cleared_s
            rows.append((PUT, (Kind.ALERT.value, changed_s, self._text({"alert": body}), None)))
        rows += [(PUT, (Kind.AUDIT.value, time_s, self._text(body), held)) for time_s, body in audits]
        rows += [(PUT, (Kind.READING.value, time_s, self._text(body), None)) for time_s, body in readings]
        await self._durably(rows, urgent=True)

    async def correct(self, boot: str, offset_s: float, steady_s: float, states: Mapping[str, Any]) -> None:
        """UTC is `offset_s` ahead of this boot's steady clock, which is at `steady_s`: whatever a guess of the same boot has
        dated is moved, and the states kept, all of it or nothing. No record waits for it after that. Durable when it
        returns, like `decide`."""

        def work(disk: sqlite3.Connection) -> None:
            if count := correct(disk, boot, offset_s, steady_s):
                log.warning(
                    "store %s: the time is known now, %d rows that a guess had dated are moved", self.path, count
                )

        self._guesses.clear()
        self._holding = True
        await self._durably(_states(states), urgent=True, work=work)

    async def release(self, but: str = "") -> None:
        """Records that wait until the time is known wait no longer, but for those of the boot `but`. Without one, new ones
        will not wait either."""
        self._holding = bool(but)
        await self._durably((), urgent=True, work=lambda disk: release(disk, but))

    def import_summaries(self, summaries: Iterable[Summary]) -> None:
        """Take over a history, to remember and not to send. Durable after `flush`, or once the store is closed."""
        rows: list[_Statement] = []
        for summary in summaries:
            body = body_text(summary.as_json())
            rows.append((_SUMMARY, (summary.start_s, summary.device, summary.period_s, body, None)))
            if len(rows) == _ROOM_ROWS:
                self._submit(_Job(rows))
                rows = []
        self._submit(_Job(rows))

    def keep_snippet(self, alert: str, body: bytes) -> None:
        """The samples around an alert, in place of those kept before. Not urgent; left out where the queue is full."""
        if len(self._queue) < self.limits.queue_rows:
            self._submit(_Job([(_SNIPPET, (alert, body))]))

    async def flush(self) -> None:
        """Wait until all that was handed over is durable."""
        await self._durably((), urgent=True)

    def delete(self, seqs: Collection[int], done: Callable[[], None]) -> None:
        """Rows of the outbox that the platform has taken over. Not urgent: after a power cut they are sent again, which
        the platform notices. `done` is called on the event loop once they are gone."""

        def tell(error: BaseException | None) -> None:
            del error
            self._call(done)

        self._submit(_Job([(DELETE, run) for run in runs(seqs)], done=tell))

    def give_up(self, seq: int, time_s: float) -> None:
        """A row of the outbox that the disk has garbled: instead of it goes a gap record."""
        what = Dropped()
        what.add(time_s)
        self._submit(
            _Job([(DELETE, (seq, seq)), (PUT, self._room.gap("damaged", None, what, [(seq, seq)]))], urgent=True)
        )

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

    def snippet(self, alert: str) -> bytes | None:
        """The samples around an alert; None where there are none."""
        rows = self.rows("select body from snippet where alert = ?", (alert,))
        return bytes(rows[0][0]) if rows else None

    def newest_s(self) -> float:
        """Until when the site's memory goes, as far as its times are no guess; 0 without any."""
        rows = self.rows("select start_s + period_s from summary where guess is null order by start_s desc limit 1")
        return float(rows[0][0]) if rows else 0.0

    def state(self, name: str) -> Any:
        """What `decide` last kept under that name; None when it never did."""
        rows = self.rows("select body from state where name = ?", (name,))
        return _read(lambda body: body["state"], rows[0][0]) if rows else None

    @property
    def waiting(self) -> int:
        """How many rows, or groups of rows, wait in memory to be written."""
        return len(self._queue)

    def used_bytes(self) -> int:
        """On disk, without pages that are free again."""
        return used_bytes(self._reader)

    def free_bytes(self) -> int:
        """On the disk, outside the store's file. Raises StoreError."""
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise StoreError(f"{self.path.parent}: cannot be asked for its room: {error}; look at the disk") from error

    def _free_bytes(self) -> int:
        try:
            return self.free_bytes()
        except StoreError:  # then writing says more
            return 2**62

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The answer to a question that changes nothing; for the methods above and the outbox."""
        try:
            return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}; look at the disk") from error

    def _dated(self) -> tuple[list[_Statement], int | None, int | None]:
        """What goes with rows that are written now: a statement, the guess that dates them if it is one, and the same if
        their records wait until it is put right."""
        guess = self._clock.guess
        if guess is None:
            return [], None, None
        if guess not in self._guesses:
            self._last_guess += 1
            self._guesses[guess] = self._last_guess
        number = self._guesses[guess]
        return [(_GUESS, (number, *guess))], number, number if self._holding else None

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
            self._dropped.setdefault(kind, Dropped()).add(time_s)
        self.counters.dropped[kind] = self.counters.dropped.get(kind, 0) + 1

    def _submit(self, job: _Job) -> None:
        with self._wake:
            if self._closing:
                raise StoreError(f"{self.path}: is closed")
            self._queue.append(job)
            if job.urgent:
                self._hurry = True
            if self._writer is None:
                self._plan()
            elif self._hurry or len(self._queue) in (1, self.limits.commit_rows):
                self._wake.notify()

    async def _durably(
        self,
        statements: Sequence[_Statement],
        urgent: bool,
        work: Callable[[sqlite3.Connection], object] | None = None,
    ) -> None:
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

        self._submit(_Job(statements, urgent, lambda error: self._call(settle, error), work))
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

    # -- the writer's thread, or the event loop's turns that stand in for it -----------------------------------------------

    def _write(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                self._wake.wait_for(lambda: self._closing or self._is_due(), self.limits.commit_s)
            self._turn()
            if self._pause_s:
                with self._wake:
                    if self._wake.wait_for(lambda: self._closing, self._pause_s):
                        return

    def _plan(self) -> None:
        """Has the loop write what waits when it is due; after a failure not before its pause is over."""
        in_s = self._pause_s or (0.0 if self._is_due() else self.limits.commit_s)
        if self._timer is not None:
            if self._pause_s or self._loop.time() + in_s >= self._timer.when():
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(in_s, self._loop_turn)

    def _loop_turn(self) -> None:
        self._timer = None
        self._turn()
        if self._queue:
            self._plan()

    def _is_due(self) -> bool:
        return self._hurry or len(self._queue) >= self.limits.commit_rows

    def _turn(self) -> None:
        """Commits all that waits; when that fails, sets for how long to pause."""
        with self._wake:
            jobs, self._queue = self._queue, deque()
            dropped, self._dropped = self._dropped, {}
            self._hurry = False
        try:
            self._commit(jobs, dropped)
        except sqlite3.Error as error:
            self._failed(error, jobs, dropped)
            self._pause_s = min(max(2 * self._pause_s, 0.5), 30.0)
        else:
            self._pause_s = 0.0

    def _commit(self, jobs: Collection[_Job], dropped: Mapping[Kind, Dropped]) -> None:
        statements: dict[str, list[tuple[Any, ...]]] = {}
        for job in jobs:
            for sql, values in job.statements:
                statements.setdefault(sql, []).append(values)
        for kind, what in dropped.items():
            statements.setdefault(PUT, []).append(self._room.gap("queue", kind, what, ()))
        with transaction(self._disk):
            for sql, rows in statements.items():
                self._disk.executemany(sql, rows)
            for job in jobs:
                if job.work is not None:
                    job.work(self._disk)
            self._room.make(self._disk)
        self.fault = ""
        put = statements.get(PUT, ())
        added = bool(put) or any(job.work is not None for job in jobs)
        self.additions += added  # before anybody is told that it is done, and looks
        self.counters.commits += 1
        self.counters.rows += len(put)
        self.counters.bytes_kept += sum(len(row[2]) for row in put)
        for job in jobs:
            if job.done is not None:
                job.done(None)
        if added:
            self._call(self.arrived.set)

    def _failed(self, error: sqlite3.Error, jobs: deque[_Job], dropped: Mapping[Kind, Dropped]) -> None:
        """Nothing was written: put everything back, in front."""
        if not self.fault:
            log.error("store %s: cannot be written, will try again: %s", self.path, error)
        self.fault = str(error)
        self.counters.failures += 1
        with self._wake:
            self._queue.extendleft(reversed(jobs))
            for kind, what in dropped.items():
                since = self._dropped.setdefault(kind, Dropped())
                since.count += what.count
                since.from_s, since.to_s = min(since.from_s, what.from_s), max(since.to_s, what.to_s)

    def _close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._writer is not None:
            self._writer.join(DURABLE_WITHIN_S)
        elif self._queue:
            self._turn()
        if self._timer is not None:
            self._timer.cancel()
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
    return Kind.GAP.value, now_s, body_text(body), None


def _states(states: Mapping[str, Any]) -> list[_Statement]:
    return [(_STATE, (name, json.dumps({"state": state}))) for name, state in states.items()]


__all__ = ["DURABLE_WITHIN_S", "FILE", "Counters", "Limits", "Store"]
