"""A batch of messages: checked against the contract, and stored in one transaction.

What was refused is counted, and kept to be looked at. Where a refused message still says which record of its own gateway it
is, that number is settled too: the gateway need not send for ever what will never be taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from central.contract import MAX_BYTES, SUBJECT, Gap, Record, parse
from central.errors import ContractError

_KEPT_REFUSED: Final = 10_000
_PARTITION_LOCK: Final = 0x6775_6575

_STAGE: Final = """
create temporary table if not exists incoming (
    place integer generated always as identity, gateway text, epoch text, seq bigint, kind text, time timestamptz,
    payload jsonb, valid boolean, gap_seqs int8multirange, new boolean not null default false
) on commit delete rows
"""
_COPY: Final = "copy incoming(gateway, epoch, seq, kind, time, payload, valid, gap_seqs) from stdin"

_STATEMENTS: Final = (
    # Whoever holds an epoch's row decides what of it is new; in order, so that two workers never wait for each other.
    """
    insert into epoch(gateway, epoch) select distinct gateway, epoch from incoming order by gateway, epoch
    on conflict do nothing
    """,
    """
    select from epoch where (gateway, epoch) in (select gateway, epoch from incoming)
    order by gateway, epoch for update
    """,
    """
    update incoming set new = true from (
        select distinct on (gateway, epoch, seq) place
        from incoming join epoch using (gateway, epoch) where not seq <@ settled
        order by gateway, epoch, seq, valid desc, place
    ) as first where incoming.place = first.place
    """,
    """
    insert into record(gateway, epoch, seq, kind, time, body)
    select gateway, epoch, seq, kind, time, payload - '{gateway,epoch,seq,kind,time}'::text[]
    from incoming where new and valid
    """,
    """
    insert into latest(gateway, device, kind, time, body)
    select distinct on (gateway, device, kind) gateway, payload->>'device' as device, kind, time,
           payload - '{gateway,epoch,seq,kind,time,device}'::text[]
    from incoming where new and valid and kind in ('summary', 'reading')
    order by gateway, device, kind, time desc
    on conflict (gateway, device, kind) do update set time = excluded.time, body = excluded.body
    where excluded.time >= latest.time
    """,
    """
    insert into alert(gateway, id, kind, subject, severity, onset, raised, cleared, body)
    select distinct on (gateway, body->>'id') gateway, body->>'id', body->>'kind', body->>'subject', body->>'severity',
           (body->>'onset')::timestamptz, (body->>'raised')::timestamptz, (body->>'cleared')::timestamptz, body
    from (select gateway, seq, payload->'alert' as body from incoming where new and valid and kind = 'alert') as came
    order by gateway, body->>'id', body->>'cleared' is null, seq desc
    on conflict (gateway, id) do update set
        kind = excluded.kind, subject = excluded.subject, severity = excluded.severity, onset = excluded.onset,
        raised = excluded.raised, cleared = excluded.cleared, body = excluded.body
    where excluded.cleared is not null or alert.cleared is null
    """,
    # A gap declares numbers below its own only.
    """
    with came as (
        select gateway, epoch, coalesce(range_agg(int8range(seq, seq, '[]')) filter (where new), '{}') as fresh,
               count(*) filter (where new and valid) as stored, count(*) filter (where new and not valid) as refused,
               count(*) filter (where not new) as redelivered
        from incoming group by gateway, epoch
    ), gaps as (
        select gateway, epoch, range_agg(run) as dropped
        from incoming, unnest(gap_seqs * int8multirange(int8range(1, seq))) as run where new group by gateway, epoch
    )
    update epoch set
        settled = epoch.settled + came.fresh + coalesce(gaps.dropped, '{}'),
        stored = epoch.stored + came.stored,
        refused = epoch.refused + came.refused,
        redelivered = epoch.redelivered + came.redelivered,
        declared = epoch.declared + coalesce((
            select sum(upper(run) - lower(run)) from unnest(gaps.dropped - epoch.settled - came.fresh) as run), 0),
        last_seen = now()
    from came left join gaps using (gateway, epoch)
    where epoch.gateway = came.gateway and epoch.epoch = came.epoch
    """,
)
_RANGES: Final = """
select gateway, epoch, lower(run), upper(run) - 1
from (select gateway, epoch, range_agg(int8range(seq, seq, '[]')) as seqs from incoming group by gateway, epoch) as came,
     unnest(seqs) as run
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A record that is to be stored; not `valid`: its number only, because the message was refused."""

    gateway: str
    epoch: str
    seq: int
    kind: str
    time: datetime | None
    payload: str | None
    valid: bool
    gap_seqs: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was not taken, and why. `row` when it said whose number it is."""

    subject: str
    reason: str
    detail: str
    payload: bytes
    gateway: str
    row: Row | None


@dataclass(frozen=True, slots=True)
class Ack:
    """To be told to a gateway: all from `first` to `last`, both included, is safe."""

    gateway: str
    epoch: str
    first: int
    last: int


async def store(
    connection: psycopg.AsyncConnection[Any], messages: Iterable[tuple[str, bytes]], months: set[str]
) -> list[Ack]:
    """Checks and stores messages (subject, payload) in one transaction; gives what may be acknowledged to gateways once it
    returns. `months`: those whose partitions are known to exist. Raises psycopg.Error when nothing was stored."""
    rows, refusals = check(messages)
    await _make_months(connection, rows, months)
    try:
        return await _store(connection, rows, refusals)
    except psycopg.DataError:
        # Something that the contract lets pass and PostgreSQL does not, such as a NUL in a text: find it, refuse it.
        sound: list[Row] = []
        for row in rows:
            try:
                await connection.execute("select %s::jsonb", (row.payload,))
                sound.append(row)
            except psycopg.DataError as error:
                subject = f"guet.v1.{row.gateway}.{row.kind}"
                detail = str(error).splitlines()[0]
                refusals.append(_refusal(subject, (row.payload or "").encode(), ContractError("malformed", detail)))
        return await _store(connection, sound, refusals)


def check(messages: Iterable[tuple[str, bytes]]) -> tuple[list[Row], list[Refusal]]:
    """Divides messages into what is to be stored and what is refused."""
    rows: list[Row] = []
    refusals: list[Refusal] = []
    for subject, payload in messages:
        try:
            record = parse(subject, payload)
        except ContractError as error:
            refusals.append(_refusal(subject, payload, error))
        else:
            rows.append(_row(record, payload))
    return rows, refusals


def _row(record: Record, payload: bytes) -> Row:
    seqs = [(first, last) for first, last in record.seqs if first <= last] if isinstance(record, Gap) else ()
    return Row(record.gateway, record.epoch, record.seq, record.kind, record.time, payload.decode(), True, seqs)


def _refusal(subject: str, payload: bytes, error: ContractError) -> Refusal:
    """With the number of the record where the message still says it, and says it of its own gateway: then that number is
    accounted for, and the gateway need not send it for ever."""
    found = SUBJECT.fullmatch(subject)
    gateway = found[1] if found else ""
    row = None
    if found and len(payload) <= MAX_BYTES:
        try:
            body = json.loads(payload)
            epoch, seq = body["epoch"], body["seq"]
            mine = body["gateway"] == gateway and type(seq) is int and 0 < seq < 2**63 - 1
            if mine and isinstance(epoch, str) and 0 < len(epoch) <= 40 and epoch.isascii() and epoch.isprintable():
                row = Row(gateway, epoch, seq, found[2], None, None, False)
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
    return Refusal(subject[:200], error.reason, str(error)[:500], payload[:MAX_BYTES], gateway, row)


async def _make_months(connection: psycopg.AsyncConnection[Any], rows: Sequence[Row], months: set[str]) -> None:
    wanted = {f"{row.time:%Y-%m}" for row in rows if row.time is not None} - months
    for month in sorted(wanted):
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(%s)", (_PARTITION_LOCK,))
            year, number = int(month[:4]), int(month[5:])
            after = f"{year + number // 12:04d}-{number % 12 + 1:02d}"
            await connection.execute(
                f"create table if not exists record_{month.replace('-', '_')} partition of record "
                f"for values from ('{month}-01 00:00+00') to ('{after}-01 00:00+00')"
            )
        months.add(month)


async def _store(
    connection: psycopg.AsyncConnection[Any], rows: Sequence[Row], refusals: Sequence[Refusal]
) -> list[Ack]:
    numbered = [*rows, *(refusal.row for refusal in refusals if refusal.row is not None)]
    async with connection.transaction():
        await connection.execute(_STAGE)
        async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in numbered:
                gaps = "{" + ",".join(f"[{first},{last + 1})" for first, last in row.gap_seqs) + "}"
                await copy.write_row(
                    (row.gateway, row.epoch, row.seq, row.kind, row.time, row.payload, row.valid, gaps)
                )
        for refusal in refusals:
            await _keep_refused(connection, refusal)
        for statement in _STATEMENTS:
            await connection.execute(statement)
        found = await connection.execute(_RANGES)
        return [Ack(*columns) for columns in await found.fetchall()]


async def _keep_refused(connection: psycopg.AsyncConnection[Any], refusal: Refusal) -> None:
    row = refusal.row
    await connection.execute(
        "insert into refused(subject, gateway, epoch, seq, reason, detail, payload) values(%s, %s, %s, %s, %s, %s, %s)",
        (
            _printable(refusal.subject),
            refusal.gateway,
            row and row.epoch,
            row and row.seq,
            refusal.reason,
            _printable(refusal.detail),
            refusal.payload,
        ),
    )
    await connection.execute(
        "insert into refusal(gateway, reason, count) values(%s, %s, 1) "
        "on conflict (gateway, reason) do update set count = refusal.count + 1, last = now()",
        (refusal.gateway, refusal.reason),
    )
    await connection.execute("delete from refused where id <= (select max(id) from refused) - %s", (_KEPT_REFUSED,))


def _printable(text: str) -> str:
    return text.replace("\x00", "�").encode(errors="replace").decode()
