"""What the centre knows of each gateway: last seen, what it holds, what is missing. All of it is counted in SQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from central.errors import DatabaseError

_GATEWAYS: Final = """
with counted as (
    select gateway, sum(stored) as stored, sum(redelivered) as redelivered, sum(declared) as dropped,
           sum(gaps) as gaps, count(*) as epochs, max(last_seen) as last_seen
    from epoch group by gateway
), holes as (
    select gateway, sum(count) as missing from missing group by gateway
), alerts as (
    select gateway, count(*) as alerts, count(*) filter (where cleared is null) as open_alerts from alert group by gateway
), turned_away as (
    select gateway, sum(count) as refused from refusal group by gateway
), told as (
    select gateway, (body->>'backlog')::bigint as backlog, (body->>'days_until_full')::float8 as days_until_full
    from latest where kind = 'status'
)
select gateway, last_seen, coalesce(epochs, 0) as epochs, coalesce(stored, 0)::bigint as records,
       coalesce(missing, 0)::bigint as missing, coalesce(dropped, 0)::bigint as dropped,
       coalesce(redelivered, 0)::bigint as redelivered, coalesce(refused, 0)::bigint as refused,
       coalesce(alerts, 0) as alerts, coalesce(open_alerts, 0) as open_alerts, coalesce(gaps, 0)::bigint as gaps, backlog,
       days_until_full
from counted full join turned_away using (gateway) left join holes using (gateway) left join alerts using (gateway)
     left join told using (gateway)
order by gateway
"""

_REFUSALS: Final = """
select gateway, reason, count, last, (
    select detail from refused where refused.gateway = refusal.gateway and refused.reason = refusal.reason
    order by id desc limit 1
) as detail from refusal order by gateway, reason
"""

# From the rows themselves, not from what the ingester noted about them: this is the proof, that is the book-keeping.
_PROOF: Final = """
with held as (
    select gateway, split_part(epoch, '~', 1) as epoch, count(*) as rows, count(distinct (epoch, seq)) as distinct_rows,
           range_agg(int8range(seq, seq, '[]')) as seqs, max(seq) as last
    from record group by 1, 2
), told as (
    select gateway, split_part(epoch, '~', 1) as epoch,
           range_agg(int8range((run->>0)::bigint, (run->>1)::bigint, '[]')) as seqs
    from record, jsonb_array_elements(body->'seqs') as run where kind = 'gap' group by 1, 2
), unread as (
    select gateway, epoch, range_agg(int8range(seq, seq, '[]')) as seqs
    from refused where seq is not null group by gateway, epoch
), holes as (
    select int8multirange(int8range(1, last + 1)) - held.seqs
           - coalesce(told.seqs, '{}'::int8multirange) - coalesce(unread.seqs, '{}'::int8multirange) as runs
    from held left join told using (gateway, epoch) left join unread using (gateway, epoch)
)
select (select count(*) from record where kind = 'summary') as summaries,
       (select count(*) from alert) as alerts,
       (select count(*) from record where kind = 'alert') as alert_records,
       coalesce((select sum(upper(run) - lower(run)) from holes, unnest(runs) as run), 0)::bigint as lost,
       coalesce((select sum(rows - distinct_rows) from held), 0)::bigint as duplicates,
       (select count(*) from record where kind = 'gap') as gaps,
       coalesce((select sum((body->>'count')::bigint) from record where kind = 'gap'), 0)::bigint as dropped,
       coalesce((select sum(rows) from held), 0)::bigint as records,
       coalesce((select sum(redelivered) from epoch), 0)::bigint as redelivered,
       coalesce((select sum(count) from refusal), 0)::bigint as refused
"""


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One gateway. missing: numbers not here that ought to be, late or lost; dropped: those that the gateway says it had to
    drop, in so many `gaps`; redelivered: arrived again and absorbed; backlog: what waited on it when it last said so, None
    if it never did; days_until_full: for how many days it then had room without us; last_seen None: nothing of it was ever
    taken."""

    gateway: str
    last_seen: datetime | None
    epochs: int
    records: int
    missing: int
    dropped: int
    redelivered: int
    refused: int
    alerts: int
    open_alerts: int
    gaps: int
    backlog: int | None
    days_until_full: float | None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "last_seen": None if self.last_seen is None else self.last_seen.isoformat()}


def gateways(database_url: str) -> list[GatewayStatus]:
    """Each gateway that was ever heard. Raises DatabaseError."""
    with _connected(database_url) as connection, connection.cursor(row_factory=class_row(GatewayStatus)) as cursor:
        return cursor.execute(_GATEWAYS).fetchall()


@dataclass(frozen=True, slots=True)
class Refused:
    """What was refused for one reason: of which gateway ('' where the topic said none), how many, when last, and what was
    wrong with the last one."""

    gateway: str
    reason: str
    count: int
    last: datetime
    detail: str | None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "last": self.last.isoformat()}


def refusals(database_url: str) -> list[Refused]:
    """By gateway and reason. Raises DatabaseError."""
    with _connected(database_url) as connection, connection.cursor(row_factory=class_row(Refused)) as cursor:
        return cursor.execute(_REFUSALS).fetchall()


def report(database_url: str) -> dict[str, int]:
    """What the centre holds, counted from the rows: `summaries`, `alerts` (`alert_records`: raised and cleared), `lost`
    (numbers missing and not declared; complete only when no gateway has a backlog), `duplicates` (records stored twice),
    `gaps` (gap records; `dropped`: rows they declare), `redelivered` (arrived again, absorbed), `refused`. Raises
    DatabaseError."""
    with _connected(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(_PROOF)
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, cursor.fetchone() or (), strict=True))


def _connected(database_url: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(database_url, connect_timeout=10)
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error
