"""The outbox: which records wait for the platform, in which order they go, and when they may leave.

Order: alerts, audit and gaps first, oldest first; then the newest of the rest before the old, because the platform
wants to know how things are before it wants to know how they were. A record leaves only when it is acknowledged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Final

from gateway.room import KEEP_FREE_BYTES
from gateway.store import Store
from gateway.upstream.payload import URGENT, Kind, Record

_KINDS: Final = ", ".join(f"'{kind.value}'" for kind in sorted(URGENT))
_COLUMNS: Final = "select seq, kind, time_s, body, json_valid(body) from outbox where guess is null and kind"
_DAY_S: Final = 86_400.0
_PACE_ROWS: Final = 100


class Outbox:
    """The store's unsent records, as one session with the platform goes through them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leaving: set[int] = set()
        self.acknowledged = 0
        self.rewind()

        self.changed = store.arrived
        """Set when records came in."""

    @property
    def epoch(self) -> str:
        return self._store.epoch

    def rewind(self) -> None:
        """Begin again with all that is there; what is in flight must be kept out by `take`'s caller."""
        self._urgent_above = 0
        self._newest = self._below = 0
        self._started = False
        self._dry = [-1, -1]  # of urgent and others: at which of the store's additions there was nothing more

    def take(self, urgent: int, others: int, flying: Collection[int] = ()) -> list[Record]:
        """The next records to send, at most so many that are urgent and so many that are not; none twice until
        `rewind`, none of `flying`. Empty: all were taken, though some may be unacknowledged. Raises StoreError."""
        out: list[Record] = []
        for number, (more, limit) in enumerate(((self._urgent, urgent), (self._others, others))):
            additions, left = self._store.additions, limit
            if self._dry[number] == additions:
                continue
            while left > 0:
                if not (found := more(left)):
                    self._dry[number] = additions
                    break
                fresh = [record for record in found if record.seq not in self._leaving and record.seq not in flying]
                out += fresh
                left -= len(fresh)
        return out

    def holds(self, first: int, last: int, limit: int) -> int:
        """How many records from `first` to `last` wait here and are not about to leave; counts up to `limit`."""
        rows = self._store.rows(
            "select seq from outbox where seq between ? and ? limit ?", (first, last, limit + len(self._leaving))
        )
        return sum(seq not in self._leaving for (seq,) in rows)

    def acknowledge(self, seqs: Collection[int]) -> None:
        """The platform has taken these over. They are gone from the disk with the next commit."""
        done = set(seqs) - self._leaving
        if not done:
            return
        self._leaving |= done
        self.acknowledged += len(done)
        self._store.delete(done, lambda: self._leaving.difference_update(done))

    def pending(self) -> dict[Kind, int]:
        """How many wait, by kind; reads the whole table, so not for every second."""
        rows = self._store.rows("select kind, count(*) from outbox group by kind")
        return {Kind(kind): count for kind, count in rows}

    def pending_rows(self) -> int:
        """How many wait."""
        return self._waiting("outbox")

    def ready_rows(self) -> int:
        """How many of them may leave now: those that a guess of the time has dated wait until it is put right."""
        return self._waiting("(select seq from outbox where guess is null)")

    def _waiting(self, rows: str) -> int:
        leaving = json.dumps(list(self._leaving))
        sql = f"select count(*) from {rows} where seq not in (select value from json_each(?))"  # noqa: S608 - ours
        return int(self._store.rows(sql, (leaving,))[0][0])

    def last_seq(self) -> int:
        """The highest number ever given in this epoch; 0 before the first."""
        rows = self._store.rows("select seq from sqlite_sequence where name = 'outbox'")
        return int(rows[0][0]) if rows else 0

    def oldest_s(self) -> float | None:
        """Time of the record that has waited longest, UTC seconds."""
        rows = self._store.rows("select time_s from outbox order by seq limit 1")
        return float(rows[0][0]) if rows else None

    def days_until_full(self) -> float | None:
        """How long there is room for as long as nothing is acknowledged, at the pace of the newest thousand records, or of
        the newest summaries where few records wait; None with too few to say. Raises StoreError."""
        rows = self._store.rows("select time_s, length(body) from outbox order by seq desc limit 1000")
        if len(rows) < _PACE_ROWS:
            rows = self._store.rows("select start_s, length(body) from summary order by start_s desc limit 1000")
        if len(rows) < 10:
            return None
        span_s: float = max(time_s for time_s, _ in rows) - min(time_s for time_s, _ in rows)
        if span_s <= 0:
            return None
        # Every summary is kept twice, as memory and as record; about 40 bytes a row are SQLite's own.
        bytes_per_day: float = sum(2 * length + 80 for _, length in rows) / span_s * _DAY_S
        limits = self._store.limits
        ours = limits.space_bytes * (1 - limits.reserve) - self._store.used_bytes()
        return max(0.0, min(ours, self._store.free_bytes() - KEEP_FREE_BYTES)) / bytes_per_day

    def _urgent(self, limit: int) -> list[Record]:
        sql = f"{_COLUMNS} in ({_KINDS}) and seq > ? order by seq limit ?"
        out = self._records(sql, self._urgent_above, limit)
        if out:
            self._urgent_above = out[-1].seq
        return out

    def _others(self, limit: int) -> list[Record]:
        """First what came in since the last time, newest first; then on downwards from where we were. When more came in
        than fits, the rest of it is met again after `rewind`."""
        out = self._records(f"{_COLUMNS} not in ({_KINDS}) and seq > ? order by seq desc limit ?", self._newest, limit)
        if out:
            self._newest = out[0].seq
            if not self._started:
                self._started, self._below = True, out[-1].seq
            return out
        out = self._records(f"{_COLUMNS} not in ({_KINDS}) and seq < ? order by seq desc limit ?", self._below, limit)
        if out:
            self._below = out[-1].seq
        return out

    def _records(self, sql: str, seq: int, limit: int) -> list[Record]:
        rows = self._store.rows(sql, (seq, limit)) if limit > 0 else []
        return [record for row in rows if (record := self._record(*row)) is not None]

    def _record(self, seq: int, kind: str, time_s: float, body: str, sound: bool) -> Record | None:
        """None where the disk has garbled it: what is no JSON would be sent for ever."""
        try:
            if sound and body.startswith("{") and math.isfinite(time_s):
                return Record(seq, Kind(kind), time_s, body)
        except (ValueError, TypeError):
            pass
        self._store.give_up(seq, time_s if isinstance(time_s, float) and math.isfinite(time_s) else 0.0)
        return None
