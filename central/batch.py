"""A batch of messages: checked against the contract, and stored in one transaction.

What was refused is counted, and kept to be looked at. Where a refused message still says which record of its own gateway it
is, that number is settled too: the gateway need not send for ever what will never be taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from central.contract import EPOCH, MAX_BYTES, MAX_SEQ, SUBJECT, Record, parse
from central.errors import ContractError

_KEPT_REFUSED: Final = 10_000
_PARTITION_LOCK: Final = 0x6775_6575

_STAGE: Final = """
create temporary table if not exists incoming (
    place integer generated always as identity, gateway text, epoch text, seq bigint, kind text, time timestamptz,
    payload jsonb, valid boolean, new boolean not null default false, beside text not null default '',
    kept boolean not null default false
) on commit delete rows
"""
# One text for the whole batch: the database takes the messages apart faster than we could hand them over in pieces.
_FILL: Final = """
insert into incoming(gateway, epoch, seq, kind, time, payload, valid)
select payload->>'gateway', payload->>'epoch', (payload->>'seq')::bigint, payload->>'kind',
       (payload->>'time')::timestamptz, payload, valid
from (select value as payload, true as valid from jsonb_array_elements(%s::jsonb)
      union all select value, false from jsonb_array_elements(%s::jsonb)) as came
"""

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
    # A number that comes again says the same again. If not, a disk forgot what it had committed and gave the number a second
    # time, two gateways have one identity, or somebody made it up. Both contents are kept, the second under an epoch of its
    # own that its content names, so that it is one record however often it comes; it is counted, and kept to be looked at.
    """
    update incoming set beside = found.beside from (
        select distinct on (gateway, epoch, seq, other.name) place, other.name as beside
        from (select *, '~' || left(md5(payload::text), 8) as name from incoming where not new and valid) as other
        where exists (
            select from record where record.gateway = other.gateway and record.epoch = other.epoch and record.seq = other.seq
        ) and not exists (
            select from record where record.gateway = other.gateway and record.epoch = other.epoch
            and record.seq = other.seq and record.time = other.time and record.kind = other.kind
            and record.body = other.payload - '{gateway,epoch,seq,kind,time}'::text[]
        ) and not exists (
            select from record where record.gateway = other.gateway and record.epoch = other.epoch || other.name
            and record.seq = other.seq
        )
    ) as found where incoming.place = found.place
    """,
    """
    insert into record(gateway, epoch, seq, kind, time, body)
    select gateway, epoch || beside, seq, kind, time, payload - '{gateway,epoch,seq,kind,time}'::text[]
    from incoming where beside <> ''
    """,
    "update incoming set kept = true where valid and (new or beside <> '')",
    """
    insert into latest(gateway, device, kind, time, body)
    select distinct on (gateway, device, kind) gateway, coalesce(payload->>'device', '') as device, kind, time,
           payload - '{gateway,epoch,seq,kind,time,device}'::text[]
    from incoming where kept and kind in ('summary', 'reading', 'status')
    order by gateway, device, kind, time desc
    on conflict (gateway, device, kind) do update set time = excluded.time, body = excluded.body
    where excluded.time >= latest.time
    """,
    """
    insert into alert(gateway, id, kind, subject, severity, onset, raised, cleared, body)
    select distinct on (gateway, body->>'id') gateway, body->>'id', body->>'kind', body->>'subject', body->>'severity',
           (body->>'onset')::timestamptz, (body->>'raised')::timestamptz, (body->>'cleared')::timestamptz, body
    from (select gateway, seq, payload->'alert' as body from incoming where kept and kind = 'alert') as came
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
               count(*) filter (where kept) as stored, count(*) filter (where new and not valid) as refused,
               count(*) filter (where kept and kind = 'gap') as gap_records,
               count(*) filter (where not new and not kept) as redelivered
        from incoming group by gateway, epoch
    ), gaps as (
        select gateway, epoch, range_agg(int8range((run->>0)::bigint, least((run->>1)::bigint, seq - 1), '[]')) as dropped
        from incoming, jsonb_array_elements(payload->'seqs') as run
        where kept and kind = 'gap' and (run->>0)::bigint <= least((run->>1)::bigint, seq - 1)
        group by gateway, epoch
    )
    update epoch set
        settled = epoch.settled + came.fresh + coalesce(gaps.dropped, '{}'),
        stored = epoch.stored + came.stored,
        refused = epoch.refused + came.refused,
        gaps = epoch.gaps + came.gap_records,
        redelivered = epoch.redelivered + came.redelivered,
        declared = epoch.declared + coalesce((
            select sum(upper(run) - lower(run)) from unnest(gaps.dropped - epoch.settled - came.fresh) as run), 0),
        last_seen = now()
    from came left join gaps using (gateway, epoch)
    where epoch.gateway = came.gateway and epoch.epoch = came.epoch
    """,
    """
    insert into refused(subject, gateway, epoch, seq, reason, detail, payload)
    select 'guet.v1.' || gateway || '.' || kind, gateway, epoch, seq, 'contradiction',
           'expected what this number held when it came first, got other content: both are kept, this under epoch '
           || epoch || beside || '; does another gateway bear this name, or did its disk forget?',
           convert_to(payload::text, 'UTF8')
    from incoming where beside <> ''
    """,
    """
    insert into refusal(gateway, reason, count)
    select gateway, 'contradiction', count(*) from incoming where beside <> '' group by gateway order by gateway
    on conflict (gateway, reason) do update set count = refusal.count + excluded.count, last = now()
    """,
    f"delete from refused where id <= (select max(id) from refused) - {_KEPT_REFUSED}",  # noqa: S608 - a number of ours
)
_RANGES: Final = """
select gateway, epoch, lower(run), upper(run) - 1
from (select gateway, epoch, range_agg(int8range(seq, seq, '[]')) as seqs from incoming group by gateway, epoch) as came,
     unnest(seqs) as run
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was not taken, and why. epoch and seq when it said which record of `gateway` it is."""

    subject: str
    reason: str
    detail: str
    payload: bytes
    gateway: str
    epoch: str | None
    seq: int | None


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
    taken, refusals = check(messages)
    await _make_months(connection, {_month(record) for _, record in taken} - months, months)
    try:
        return await _store(connection, [payload for payload, _ in taken], refusals)
    except psycopg.DataError:
        # Something that the contract lets pass and PostgreSQL does not, such as a NUL in a text: find it, refuse it.
        sound: list[bytes] = []
        for payload, record in taken:
            try:
                await connection.execute("select %s::jsonb", (payload.decode(),))
                sound.append(payload)
            except psycopg.DataError as error:
                detail = str(error).splitlines()[0]
                subject = f"guet.v1.{record.gateway}.{record.kind}"
                refusals.append(_refusal(subject, payload, ContractError("malformed", detail)))
        return await _store(connection, sound, refusals)


def check(messages: Iterable[tuple[str, bytes]]) -> tuple[list[tuple[bytes, Record]], list[Refusal]]:
    """Divides messages into what is to be stored and what is refused."""
    taken: list[tuple[bytes, Record]] = []
    refusals: list[Refusal] = []
    for subject, payload in messages:
        try:
            taken.append((payload, parse(subject, payload)))
        except ContractError as error:
            refusals.append(_refusal(subject, payload, error))
    return taken, refusals


def _refusal(subject: str, payload: bytes, error: ContractError) -> Refusal:
    found = SUBJECT.fullmatch(subject)
    gateway = found[1] if found else ""
    epoch, seq = _number(gateway, payload) if found else (None, None)
    return Refusal(subject[:200], error.reason, str(error)[:500], payload[:MAX_BYTES], gateway, epoch, seq)


def _number(gateway: str, payload: bytes) -> tuple[str | None, int | None]:
    """Epoch and seq of a refused message, where it still says them and says them of its own gateway."""
    if len(payload) > MAX_BYTES:
        return None, None
    try:
        body = json.loads(payload)
        epoch, seq = body["epoch"], body["seq"]
        mine = body["gateway"] == gateway and isinstance(epoch, str) and EPOCH.fullmatch(epoch)
        return (epoch, seq) if mine and type(seq) is int and 0 < seq < MAX_SEQ else (None, None)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None, None


def _month(record: Record) -> str:
    return f"{datetime.fromisoformat(record.time).astimezone(UTC):%Y-%m}"


async def _make_months(connection: psycopg.AsyncConnection[Any], wanted: Iterable[str], months: set[str]) -> None:
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
    connection: psycopg.AsyncConnection[Any], payloads: Sequence[bytes], refusals: Sequence[Refusal]
) -> list[Ack]:
    numbers = [{"gateway": one.gateway, "epoch": one.epoch, "seq": one.seq} for one in refusals if one.seq is not None]
    async with connection.transaction(), connection.pipeline():
        await connection.execute(_STAGE)
        await connection.execute(_FILL, ((b"[" + b",".join(payloads) + b"]").decode(), json.dumps(numbers)))
        for refusal in refusals:
            await _keep_refused(connection, refusal)
        for statement in _STATEMENTS:
            await connection.execute(statement)
        found = await connection.execute(_RANGES)
        return [Ack(*one) for one in await found.fetchall()]


async def _keep_refused(connection: psycopg.AsyncConnection[Any], refusal: Refusal) -> None:
    await connection.execute(
        "insert into refused(subject, gateway, epoch, seq, reason, detail, payload) values(%s, %s, %s, %s, %s, %s, %s)",
        (
            _printable(refusal.subject),
            refusal.gateway,
            refusal.epoch,
            refusal.seq,
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


def _printable(text: str) -> str:
    return text.replace("\x00", "�").encode(errors="replace").decode()
