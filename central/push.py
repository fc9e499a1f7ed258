"""`guet central push`: gives a gateway another site, signed, and waits for what becomes of it.

The message is not kept by the broker, so it is sent again until the gateway answers: one that has no network now gets it
when it is back, if that is within the time that the push is good for. What a gateway checks, and how it goes back by itself,
is its own business; it says so in audit records, which also arrive in the database.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nats import connect
from nats.errors import Error as NatsError

from central.errors import CentralError
from central.ingest import Log

AGAIN_S: Final = 10.0
FINAL: Final = ("refused", "kept", "returned")
_CONTEXT: Final = b"guet/v1/configuration\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway says: "accepted", "begun" (on trial), then "kept" or "returned"; or "refused"; with what is wrong."""

    answer: str
    faults: tuple[str, ...]


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key that commands are signed with. Raises CentralError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CentralError(f"{path}: expected a private key in PEM, got: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CentralError(f"{path}: expected an Ed25519 key, such as commands.key of `guet central configure`")
    return key


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
    text = json.dumps(body, ensure_ascii=False)
    signature = base64.b64encode(key.sign(_CONTEXT + text.encode())).decode()
    return name, json.dumps({"configuration": text, "signature": signature}).encode()


async def push(
    log: Log, gateway: str, name: str, payload: bytes, within_s: float, tell: Callable[[Answer], None]
) -> Answer:
    """Sends it until there is a final answer; tell: of each that is new. Raises CentralError without one in time."""
    news: asyncio.Queue[Answer] = asyncio.Queue()

    async def listen(heard: Any) -> None:
        try:
            body = json.loads(heard.data)
            if body["what"] == "configuration" and body["id"] == name:
                news.put_nowait(Answer(str(body["answer"]), tuple(str(fault) for fault in body.get("faults", ()))))
        except (ValueError, LookupError, TypeError):
            return

    told: list[Answer] = []
    try:
        client = await connect(log.urls.split(","), tls=log.context(), allow_reconnect=True, error_cb=_quiet)
    except (OSError, NatsError, TimeoutError) as error:
        raise CentralError(f"log: expected an answer, got: {error}; look at --nats") from error
    try:
        await client.subscribe(f"guet.v1.{gateway}.audit", cb=listen)
        async with asyncio.timeout(within_s):
            while True:
                if news.empty():
                    await client.publish(f"guet.v1.{gateway}.cmd", payload)
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
    finally:
        await client.close()


async def _quiet(error: Exception) -> None:
    del error
