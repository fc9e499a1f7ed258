"""Everything the centre holds of alerts, actions and how gateways ran, as one JSON object: for reports and for proofs."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from central.errors import DatabaseError
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
