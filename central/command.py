"""Sends a gateway a signed command, and waits for its answer (central/contract/command.schema.json).

A command is good for a while and once; a gateway that is not connected never hears it.
"""

from __future__ import annotations

import asyncio
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.contract import GATEWAY
from central.errors import CentralError
from central.ingest import Log
from central.order import hearing, signed

CONTEXT: Final = b"guet/v1/cmd\n"
LEASE: Final = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a point. do: "try" is a dry run, "release" ends what the platform holds and takes no value; lease:
    how long it is to hold, such as "2h"."""

    gateway: str
    do: Literal["set", "try", "release"]
    point: str
    value: float | None
    lease: str
    reason: str
    by: str

    def faults(self) -> list[str]:
        """All that is wrong with it."""
        told = []
        if not GATEWAY.fullmatch(self.gateway):
            told.append(f"{self.gateway!r}: expected a gateway's id, {GATEWAY.pattern}")
        if not re.fullmatch(r"[^/]+/[^/]+", self.point) or len(self.point) > 140:
            told.append(f"{self.point!r}: expected DEVICE/POINT, such as cta/setpoint")
        if (self.value is None) != (self.do == "release") or (self.value is not None and not math.isfinite(self.value)):
            told.append(f"value: expected a number, and none to release, got {self.value}")
        if not LEASE.fullmatch(self.lease):
            told.append(f"--for: expected a duration such as 30min or 2h, got {self.lease!r}")
        for name, text, most in (("reason", self.reason, 500), ("by", self.by, 100)):
            if not 0 < len(text) <= most:
                told.append(
                    f"--{name}: expected 1 to {most} characters, got {len(text)}; it stands in the gateway's record"
                )
        return told

    def signed(self, key: Ed25519PrivateKey, now: datetime, good_s: float) -> tuple[str, bytes]:
        """Its id, unlike any other, and the message that carries it."""
        id_ = str(uuid.uuid4())
        body = {
            "id": id_,
            "gateway": self.gateway,
            "issued": now.isoformat(),
            "expires": (now + timedelta(seconds=good_s)).isoformat(),
            "do": self.do,
            "point": self.point,
            **({} if self.value is None else {"value": self.value}),
            "lease": self.lease,
            "reason": self.reason,
            "by": self.by,
        }
        return id_, signed(key, CONTEXT, "command", body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. answer: accepted, refused, reverted; read_back: what the device showed afterwards; until:
    when it ends (ISO 8601), which may be sooner than was asked for; empty where it holds nothing."""

    id: str
    answer: str
    error: str
    read_back: float | None
    until: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "command": self.id,
            "answer": self.answer,
            "error": self.error,
            "read_back": self.read_back,
            "until": self.until or None,
        }


async def command(log: Log, wish: Wish, key: Ed25519PrivateKey, within_s: float) -> Answer:
    """Sends it, good for as long as the answer is waited for. Raises CentralError for a wish that is wrong, a log that is
    not there, and when no answer comes: then nobody knows whether it was carried out, but later it will not be."""
    if faults := wish.faults():
        raise CentralError("\n".join(faults))
    id_, payload = wish.signed(key, datetime.now(UTC), within_s)
    heard: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    shown: dict[str, Any] = {}

    def listen(body: Mapping[str, Any]) -> None:
        if body.get("command") != id_:
            return
        if body.get("what") == "action":
            shown.update(body)
        elif body.get("what") == "command" and not heard.done():
            heard.set_result(dict(body))

    try:
        async with hearing(log, wish.gateway, listen) as tell:
            await tell(payload)
            async with asyncio.timeout(within_s):
                said = await heard
    except TimeoutError:
        raise CentralError(
            f"{wish.gateway}: expected an answer to command {id_} within {within_s:g} s, got none; is it connected, and "
            "does its site name a command_key? The command has expired by now"
        ) from None
    return Answer(
        id_, str(said.get("answer")), str(said.get("error") or ""), shown.get("read_back"), str(said.get("until") or "")
    )
