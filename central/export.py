"""Everything the centre holds of alerts, actions and how gateways ran, as one JSON object: for reports and for proofs. And
what a context broker is told of it, as NGSI-LD entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from central.errors import DatabaseError
from central.ngsi import Asset, Held, entities
from central.status import report

_ALERTS: Final = "select body->'alert' from record where kind = 'alert' order by time, seq"
_AUDITS: Final = """
select body || jsonb_build_object('time', to_char(time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
from record where kind = 'audit' order by time, seq
"""
_LAST_STATUS: Final = """
select distinct on (gateway, body->>'boot') body from record where kind = 'status' order by gateway, body->>'boot', seq desc
"""


def export(database_url: str) -> dict[str, Any]:
    """counts: as `status.report`; alerts: the last record of each, in order of time raised; audits: all; statuses: the last
    one of each start of each gateway. Raises DatabaseError."""
    counts = report(database_url)
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            last = {body["id"]: body for (body,) in connection.execute(_ALERTS)}
            return {
                "counts": counts,
                "alerts": sorted(last.values(), key=lambda body: (body["raised"], body["id"])),
                "audits": [body for (body,) in connection.execute(_AUDITS)],
                "statuses": [body for (body,) in connection.execute(_LAST_STATUS)],
            }
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error


def ngsi_ld(database_url: str, assets: Sequence[Asset] = ()) -> list[dict[str, Any]]:
    """The newest of every device, and every alert, as entities in key-values. Raises DatabaseError."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            latest = connection.execute("select gateway, device, kind, time, body from latest").fetchall()
            alerts = connection.execute("select gateway, body from alert").fetchall()
    except psycopg.Error as error:
        raise DatabaseError(f"database: expected an answer, got: {str(error).strip()}; look at its address") from error
    return entities(Held(latest, alerts), assets)
