"""Asks a gateway to send what it remembers of a stretch of time once more: after a backup was put back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from central.errors import CentralError
from central.ingest import Log
from central.order import hearing

HEARD_WITHIN_S: Final = 15.0


async def ask_for_replay(log: Log, gateway: str, since: datetime, until: datetime) -> str:
    """What the gateway says that it will send. Raises CentralError when it is not there to hear it, or the log is not."""
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def listen(body: Mapping[str, Any]) -> None:
        if body.get("what") == "replay" and not heard.done():
            heard.set_result(str(body.get("reason")))

    asked = {"replay": {"from": since.isoformat(), "to": until.isoformat()}}
    try:
        async with hearing(log, gateway, listen) as tell:
            await tell(json.dumps(asked).encode())
            async with asyncio.timeout(HEARD_WITHIN_S):
                return await heard
    except TimeoutError:
        raise CentralError(
            f"{gateway}: expected it to answer within {HEARD_WITHIN_S:.0f} s, got nothing; is it connected?"
        ) from None
