-- The centre's database (PostgreSQL 14 or later). Safe to run again; the ingester does so whenever it starts.
--
-- What has arrived of an epoch is one multirange of sequence numbers, its `settled`. Because gateways number their records
-- without holes, it says in a few bytes what is a repetition (it is in it) and what is missing (the holes in it). It is
-- changed under a row lock in the transaction that stores the records, so both always agree, with any number of workers.

create table if not exists epoch (
    gateway text not null,
    epoch text not null,
    settled int8multirange not null default '{}',
    stored bigint not null default 0,
    redelivered bigint not null default 0,      -- arrived again, and absorbed
    declared bigint not null default 0,         -- dropped by the gateway, which said so in a gap record
    refused bigint not null default 0,          -- numbered, but not what the contract says; kept in `refused`
    gaps bigint not null default 0,             -- gap records
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now(),
    primary key (gateway, epoch)
);

-- `epoch`: as the gateway says it; with '~' and eight letters behind it where the number had come before with other content.
-- Partitioned by month of what the record is about; the ingester makes the months that it meets.
create table if not exists record (
    gateway text not null,
    epoch text not null,
    seq bigint not null,
    kind text not null,
    time timestamptz not null,
    received timestamptz not null default now(),
    body jsonb not null,
    primary key (gateway, epoch, seq, time)
) partition by range (time);
create index if not exists record_by_kind on record (gateway, kind, time);

-- How each device stands, its newest summary or reading, and each gateway (device ''), its newest status. An older one that
-- comes late changes nothing.
create table if not exists latest (
    gateway text not null,
    device text not null,
    kind text not null,
    time timestamptz not null,
    body jsonb not null,
    primary key (gateway, device, kind)
);

-- How each alert stands: its last record. A cleared one that overtakes its own raising stays cleared.
create table if not exists alert (
    gateway text not null,
    id text not null,
    kind text not null,
    subject text not null,
    severity text not null,
    onset timestamptz not null,
    raised timestamptz not null,
    cleared timestamptz,
    body jsonb not null,
    primary key (gateway, id)
);
create index if not exists alert_open on alert (gateway, raised) where cleared is null;

-- Messages that were not taken as records, and those that contradict one and are kept beside it. The newest are kept to be looked at, all are counted.
create table if not exists refused (
    id bigint generated always as identity primary key,
    received timestamptz not null default now(),
    subject text not null,
    gateway text,
    epoch text,
    seq bigint,
    reason text not null,
    detail text not null,
    payload bytea not null
);
create table if not exists refusal (
    gateway text not null,                      -- as the topic says, which the broker has checked; '' where it says none
    reason text not null,
    count bigint not null default 0,
    last timestamptz not null default now(),
    primary key (gateway, reason)
);

-- What was sent once more because it was asked for (`guet central replay`) counts where the first is not there.
create or replace view summary as
    select gateway, epoch, seq, time, body->>'device' as device, (body->>'period_s')::float8 as period_s,
           body->'points' as points
    from record as one
    where kind = 'summary' and not (body ? 'replayed' and exists (
        select from record as other
        where other.gateway = one.gateway and other.kind = 'summary' and other.time = one.time
        and other.body->>'device' = one.body->>'device'
        and (not other.body ? 'replayed' or (other.received, other.seq) < (one.received, one.seq))
    ));

-- Numbers that ought to be here: given by the gateway, and neither stored nor declared as dropped. While a gateway has
-- a backlog they are only late; once it has none they are lost.
create or replace view missing as
    select gateway, epoch, lower(run) as first, upper(run) - 1 as last, upper(run) - lower(run) as count
    from epoch,
         unnest(int8multirange(int8range(1, upper(settled))) - settled) as run
    where not isempty(settled);
