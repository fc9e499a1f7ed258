"""`guet central push`: gives a gateway another site, signed, and waits for what becomes of it.

The message is not kept by the broker, so it is sent again until the gateway answers: one that has no network now gets it
when it is back, if that is within the time that the push is good for. What a gateway checks, and how it goes back by itself,
is its own business; it says so in audit records, which also arrive in the database.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.errors import Error as NatsError

from central.errors import CentralError
from central.ingest import Log
from central.order import hearing, signed

AGAIN_S: Final = 10.0
FINAL: Final = ("refused", "kept", "returned")
_CONTEXT: Final = b"guet/v1/configuration\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway says: "accepted", "begun" (on trial), then "kept" or "returned"; or "refused"; with what is wrong."""

    answer: str
    faults: tuple[str, ...]


def message(
    key: Ed25519PrivateKey, gateway: str, site: str, *, by: str, reason: str, good_for_s: float, number: int = 0
) -> tuple[str, bytes]:
    """A new push: its id and the message. number: of now, in seconds, where not given."""
    now = datetime.now(UTC)
    name = uuid.uuid4().hex
    body = {
        "id": name,
        "gateway": gateway,
        "number": number or int(now.timestamp()),
        "issued": now.isoformat(timespec="seconds"),
        "expires": (now + timedelta(seconds=good_for_s)).isoformat(timespec="seconds"),
        "site": base64.b64encode(zlib.compress(site.encode(), 9)).decode(),
        "reason": reason,
        "by": by,
    }
    return name, signed(key, _CONTEXT, "configuration", body)


async def push(
    log: Log, gateway: str, name: str, payload: bytes, within_s: float, tell: Callable[[Answer], None]
) -> Answer:
    """Sends it until there is a final answer; tell: of each that is new. Raises CentralError without one in time."""
    news: asyncio.Queue[Answer] = asyncio.Queue()

    def listen(body: Mapping[str, Any]) -> None:
        if body.get("what") == "configuration" and body.get("id") == name and "answer" in body:
            news.put_nowait(Answer(str(body["answer"]), tuple(str(fault) for fault in body.get("faults", ()))))

    told: list[Answer] = []
    try:
        async with hearing(log, gateway, listen, again=True) as tell_gateway, asyncio.timeout(within_s):
            while True:
                if news.empty():
                    await tell_gateway(payload)
                try:
                    found = await asyncio.wait_for(news.get(), AGAIN_S)
                except TimeoutError:
                    continue
                if found not in told:
                    tell(found)
                told.append(found)
                if found.answer in FINAL:
                    return found
    except TimeoutError:
        said = f"only {told[-1].answer!r}" if told else "nothing; is it connected, and has its site a command_key?"
        raise CentralError(f"{gateway}: expected a final answer within {within_s:.0f} s, got {said}") from None
    except NatsError as error:
        raise CentralError(f"log: {error}") from error
