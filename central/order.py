"""What the centre tells a gateway on `cmd`: heard only by one that is connected, for the broker keeps nothing of it.

The private key signs for every gateway that has its public half as `[upstream] command_key`: keep it where people decide,
not on the broker's machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nats import connect
from nats.errors import Error as NatsError

from central.errors import CentralError
from central.ingest import Log

if TYPE_CHECKING:
    from nats.aio.client import Client


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key that orders are signed with. Raises CentralError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CentralError(f"{path}: expected a private key in PEM, got: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CentralError(f"{path}: expected an Ed25519 key, such as commands.key of `guet central configure`")
    return key


def signed(key: Ed25519PrivateKey, context: bytes, part: str, body: Mapping[str, Any]) -> bytes:
    """The message `{part: text, "signature": base64}`; context: the line that is signed before the text."""
    text = json.dumps(body, ensure_ascii=False)
    signature = base64.b64encode(key.sign(context + text.encode())).decode()
    return json.dumps({part: text, "signature": signature}).encode()


@asynccontextmanager
async def hearing(
    log: Log, gateway: str, heard: Callable[[Mapping[str, Any]], None], *, again: bool = False
) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Calls `heard` with every audit record of a gateway while the block lasts, and gives what sends it a message. again:
    where the log goes away, waits for it to come back. Raises CentralError where it is not there."""

    async def listen(message: Any) -> None:
        try:
            body = json.loads(message.data)
        except ValueError:
            return
        if isinstance(body, dict):
            heard(body)

    try:
        client: Client = await connect(log.urls.split(","), tls=log.context(), allow_reconnect=again, error_cb=_quiet)
    except (OSError, NatsError, TimeoutError) as error:
        raise CentralError(f"log: expected an answer, got: {error}; look at --nats") from error

    async def tell(payload: bytes) -> None:
        await client.publish(f"guet.v1.{gateway}.cmd", payload)
        if not again:
            await client.flush(timeout=5)

    try:
        await client.subscribe(f"guet.v1.{gateway}.audit", cb=listen)
        yield tell
    finally:
        await client.close()


async def _quiet(error: Exception) -> None:
    del error
