"""Asks a gateway to send what it remembers of a stretch of time once more: after a backup was put back."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any, Final

from nats import connect
from nats.errors import Error as NatsError

from central.errors import CentralError
from central.ingest import Log

HEARD_WITHIN_S: Final = 15.0


async def ask_for_replay(log: Log, gateway: str, since: datetime, until: datetime) -> str:
    """What the gateway says that it will send. Raises CentralError when it is not there to hear it, or the log is not."""
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen(message: Any) -> None:
        try:
            body = json.loads(message.data)
        except ValueError:
            return
        if isinstance(body, dict) and body.get("what") == "replay" and not heard.done():
            heard.set_result(str(body.get("reason")))

    try:
        client = await connect(log.urls.split(","), tls=log.context(), allow_reconnect=False, error_cb=_quiet)
    except (OSError, NatsError, TimeoutError) as error:
        raise CentralError(f"log: expected an answer, got: {error}; look at --nats") from error
    try:
        await client.subscribe(f"guet.v1.{gateway}.audit", cb=listen)
        asked = {"replay": {"from": since.isoformat(), "to": until.isoformat()}}
        await client.publish(f"guet.v1.{gateway}.cmd", json.dumps(asked).encode())
        await client.flush(timeout=5)
        async with asyncio.timeout(HEARD_WITHIN_S):
            return await heard
    except TimeoutError:
        raise CentralError(
            f"{gateway}: expected it to answer within {HEARD_WITHIN_S:.0f} s, got nothing; is it connected?"
        ) from None
    finally:
        await client.close()


async def _quiet(error: Exception) -> None:
    del error
