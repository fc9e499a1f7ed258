"""Room on the disk: what goes when there is too little of it, in which order, and that every record that goes is counted.

Alerts, audit and gaps never go; a share of the room is theirs alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.clock import Clock
from gateway.disk import file_bytes, used_bytes
from gateway.upstream.payload import Kind, body_text, runs, time_text

PUT: Final = "insert into outbox(kind, time_s, body, guess) values(?, ?, ?, ?)"
DELETE: Final = "delete from outbox where seq between ? and ?"
KEEP_FREE_BYTES: Final = 32 * 1024 * 1024
"""Of the disk, for the journal and for everybody else."""
_DAY_S: Final = 86_400.0
_GAP_RUNS: Final = 500
_ROWS: Final = 1000
_OLD_ALERTS: Final = 10
_SNIPPETS_AT_ONCE: Final = 20
_NEWEST_SNIPPETS: Final = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store may use. A group is committed after `commit_s` (real seconds) or `commit_rows`; `queue_rows` may
    wait in memory; `space_bytes` on disk, of which the share `reserve` is for alerts, audit and gaps alone; `snippets`: of
    so many alerts, the newest, the samples around them are kept."""

    commit_s: float = 1.0
    commit_rows: int = 100
    queue_rows: int = 10_000
    space_bytes: int = 512 * 1024 * 1024
    reserve: float = 0.1
    summary_days: float = 400.0
    alert_days: float = 1100.0
    snippets: int = 1000


@dataclass(slots=True)
class Dropped:
    """Rows of one kind that were dropped since the last gap record: how many, and from when to when."""

    count: int = 0
    from_s: float = float("inf")
    to_s: float = float("-inf")

    def add(self, time_s: float) -> None:
        self.count += 1
        self.from_s, self.to_s = min(self.from_s, time_s), max(self.to_s, time_s)


@dataclass(slots=True)
class Counters:
    """Since this process opened the store. `bytes_kept`: of bodies; rows dropped by kind, for whatever cause."""

    rows: int = 0
    commits: int = 0
    bytes_kept: int = 0
    failures: int = 0
    dropped: dict[Kind, int] = field(default_factory=dict)


class Room:
    """See the module. `make` is called within the writer's transactions."""

    def __init__(
        self, limits: Limits, clock: Clock, counters: Counters, free_bytes: Callable[[], int] = lambda: 2**62
    ) -> None:
        """free_bytes: what the disk has left."""
        self._limits, self._clock, self._counters, self._free_bytes = limits, clock, counters, free_bytes
        self._thinned_to = 0

    def gap(self, reason: str, kind: Kind | None, what: Dropped, seqs: Sequence[tuple[int, int]]) -> tuple[Any, ...]:
        """A row of the outbox that says what is missing; `seqs`: its numbers, where it had got any."""
        body: dict[str, Any] = {
            "reason": reason,
            "dropped": kind and kind.value,
            "count": what.count,
            "from": time_text(what.from_s),
            "to": time_text(what.to_s),
            "seqs": seqs,
        }
        if not self._clock.trusted:
            body["time_trusted"] = False
        return Kind.GAP.value, self._clock.now(), body_text(body), None

    def make(self, disk: sqlite3.Connection) -> None:
        """Within the transaction. In this order: what is too old; unsent readings; samples around all but the newest
        alerts; memory older than sixty days; unsent status; then the oldest of memory, and every other one of the older
        unsent summaries, so that what is old gets coarser."""
        now_s = self._clock.now()
        if self._counters.commits % 100 == 0 and self._clock.trusted:
            # Bit by bit: a clock that went years ahead and is mended soon must not cost the site its memory.
            self._forget(disk, now_s - self._limits.summary_days * _DAY_S)
            old_s = now_s - self._limits.alert_days * _DAY_S
            sql = "select id from alert where cleared_s < ? and raised_s < ? order by raised_s limit ?"
            disk.execute(f"delete from alert where id in ({sql})", (old_s, old_s, _OLD_ALERTS))  # noqa: S608
            self._thin_snippets(disk, self._limits.snippets, self._limits.snippets)
        # On a disk that is nearly full what the file has is all there is: a share of it is kept for alerts then.
        there = file_bytes(disk) + max(0, self._free_bytes() - KEEP_FREE_BYTES)
        limit = int(min(self._limits.space_bytes, there) * (1 - self._limits.reserve))
        while used_bytes(disk) > limit:
            if (
                self._drop(disk, Kind.READING, 1)
                or self._thin_snippets(disk, _NEWEST_SNIPPETS, _SNIPPETS_AT_ONCE)
                or self._forget(disk, now_s - 60 * _DAY_S)
                or self._drop(disk, Kind.STATUS, 1)
            ):
                continue
            forgot, thinned = self._forget(disk, now_s - _DAY_S), self._drop(disk, Kind.SUMMARY, 2)
            if not (forgot or thinned or self._drop(disk, Kind.SUMMARY, 1)):
                return

    def _drop(self, disk: sqlite3.Connection, kind: Kind, every: int) -> bool:
        """Of a thousand unsent rows, those of every one, or every second, of their times: what several devices did in one
        period goes or stays together. One call goes on where the last one ended, through all but the newest thousand.
        Counted in gap records; False when there is too little to take."""
        sql = "select seq, time_s from outbox where kind = ? and seq > ? order by seq limit ?"
        rows = disk.execute(sql, (kind.value, self._thinned_to if every > 1 else 0, 2 * _ROWS)).fetchall()
        if every > 1 and len(rows) < 2 * _ROWS:
            rows = disk.execute(sql, (kind.value, 0, _ROWS)).fetchall()
        rows = rows[:_ROWS]
        times = sorted({time_s for _, time_s in rows})
        if len(times) < every:
            return False
        if every > 1:
            self._thinned_to = rows[-1][0]
        chosen = set(times[every - 1 :: every])
        leaving = {seq: time_s for seq, time_s in rows if time_s in chosen}
        found = list(runs(leaving))
        disk.executemany(DELETE, found)
        self._counters.dropped[kind] = self._counters.dropped.get(kind, 0) + len(leaving)
        for start in range(0, len(found), _GAP_RUNS):
            part, what = found[start : start + _GAP_RUNS], Dropped()
            for first, last in part:
                for seq in range(first, last + 1):
                    what.add(leaving[seq])
            disk.execute(PUT, self.gap("space", kind, what, part))
        return True

    @staticmethod
    def _thin_snippets(disk: sqlite3.Connection, newest: int, at_once: int) -> bool:
        """The oldest, so many at once, until those of so many alerts are left."""
        too_many = disk.execute("select count(*) from snippet").fetchone()[0] - newest
        sql = (
            "delete from snippet where alert in (select snippet.alert from snippet left join alert on alert.id = alert "
            "order by raised_s limit ?)"
        )
        return too_many > 0 and disk.execute(sql, (min(too_many, at_once),)).rowcount > 0

    @staticmethod
    def _forget(disk: sqlite3.Connection, older_than_s: float) -> bool:
        """The oldest thousand summaries of the site's memory."""
        sql = (
            "delete from summary where (start_s, device, period_s) in "
            "(select start_s, device, period_s from summary where start_s < ? order by start_s limit ?)"
        )
        return disk.execute(sql, (older_than_s, _ROWS)).rowcount > 0
