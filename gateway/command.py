"""Remote commands: signed by the platform, good for a while and once, answered whatever comes of them.

A message on `guet/v1/{gateway}/cmd` is `{"command": TEXT, "signature": BASE64}`. TEXT is a JSON object as text, signed as it
stands (no canonical form to disagree about), with Ed25519, after the line `guet/v1/cmd`:

    {"id": "2f6c...", "gateway": "edge-0042", "issued": "2026-11-26T08:00:00Z", "expires": "2026-11-26T08:05:00Z",
     "do": "set", "point": "cta/setpoint", "value": 18, "lease": "2h", "reason": "...", "by": "..."}

`do`: "set" (needs value), "try" (set, as a dry run) or "release" (what the platform holds). An id is taken once: ids are
kept until their command has expired, over restarts, and a command that expires before one that is forgotten already is
refused, so that a clock that was put back opens no door. Without a trusted clock nothing is taken.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from gateway.alert import from_iso
from gateway.errors import CommandRefused
from gateway.point import Closed, duration_s
from gateway.profile import sentences

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"guet/v1/cmd\n"
MAX_BYTES = 8 * 1024
MAX_IDS = 1000
LONGEST_S = 86_400.0
"""A command may be good for a day at most."""
SKEW_S = 300.0
"""How far the platform's clock may be ahead of ours."""


class Command(Closed):
    """What the platform wants. Times as ISO 8601 with an offset."""

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    gateway: str
    issued: str
    expires: str
    do: Literal["set", "try", "release"]
    point: str = Field(min_length=1, max_length=140)
    value: float | None = None
    lease: str = "1h"
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field(min_length=1, max_length=100)

    @field_validator("issued", "expires")
    @classmethod
    def _time(cls, text: str) -> str:
        from_iso(text)
        return text

    @field_validator("lease")
    @classmethod
    def _duration(cls, lease: str) -> str:
        duration_s(lease)
        return lease

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.value is None) != (self.do == "release"):
            raise ValueError("value: expected with set and try, and not with release")
        if not 0 < self.expires_s - self.issued_s <= LONGEST_S:
            raise ValueError("expires: expected after issued, by a day at most")
        return self

    @property
    def issued_s(self) -> float:
        return from_iso(self.issued)

    @property
    def expires_s(self) -> float:
        return from_iso(self.expires)

    @property
    def lease_s(self) -> float:
        return duration_s(self.lease)


@dataclass(slots=True)
class Desk:
    """Where commands come in. key: the platform's; `state` must be on disk before a command is carried out."""

    gateway: str
    key: Ed25519PublicKey
    ids: dict[str, float]
    floor_s: float = 0.0

    def take(self, payload: bytes, now_s: float, trusted: bool) -> Command:
        """The command in a message, if it is to be carried out. Raises CommandRefused."""
        text = signed_text(payload, self.key, CONTEXT, "command", MAX_BYTES)
        try:
            command = Command.model_validate_json(text)
        except ValidationError as error:
            raise CommandRefused("; ".join(sentences(error, "command")), id_of(text)) from None
        if command.gateway != self.gateway:
            raise CommandRefused(
                f"expected a command for {self.gateway!r}, got one for {command.gateway!r}", command.id
            )
        if not trusted:
            raise CommandRefused(
                "the gateway's clock is not trusted yet, so nothing says that this is not old", command.id
            )
        if now_s >= command.expires_s:
            raise CommandRefused(f"expired at {command.expires}", command.id)
        if command.issued_s > now_s + SKEW_S:
            raise CommandRefused(f"issued in the future, at {command.issued}; compare the clocks", command.id)
        if command.id in self.ids:
            raise CommandRefused("this id was taken already", command.id)
        if command.expires_s <= self.floor_s:
            raise CommandRefused(
                "it expires before commands that are forgotten already; was the clock put back?", command.id
            )
        self._forget(now_s)
        if len(self.ids) >= MAX_IDS:
            raise CommandRefused(f"{MAX_IDS} commands are in force already", command.id)
        self.ids[command.id] = command.expires_s
        return command

    def state(self) -> dict[str, Any]:
        """For the store."""
        return {"ids": self.ids, "floor_s": self.floor_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.ids, self.floor_s = dict(state["ids"]), state["floor_s"]

    def _forget(self, now_s: float) -> None:
        for id_, expires_s in list(self.ids.items()):
            if expires_s <= now_s:
                del self.ids[id_]
                self.floor_s = max(self.floor_s, expires_s)


def signed_text(payload: bytes, key: Ed25519PublicKey, context: bytes, part: str, most: int) -> str:
    """What the platform has signed, for that purpose (`context`), of a message {part: text, "signature": base64} of `most`
    bytes. Raises CommandRefused."""
    from cryptography.exceptions import InvalidSignature

    if len(payload) > most:
        raise CommandRefused(f"expected at most {most} bytes, got {len(payload)}")
    try:
        body = json.loads(payload)
        text, signature = body[part], base64.b64decode(body["signature"], validate=True)
        if not isinstance(text, str):
            raise TypeError
        signed = context + text.encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CommandRefused(f'expected {{"{part}": text, "signature": base64}}') from None
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        raise CommandRefused("its signature is not the platform's") from None
    return text


def id_of(text: str) -> str:
    """The id of a signed text that is no command, where it has one."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = body.get("id") if isinstance(body, dict) else None
    return found[:64] if isinstance(found, str) else ""


def public_key(path: Path) -> Ed25519PublicKey:
    """The platform's key in a PEM file. Raises ValueError with a sentence."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path.name!r}: expected a file that can be read, got: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{path.name!r}: expected the platform's public Ed25519 key in PEM; ask the platform for it")
    return key


def signed(command: Command, key: Ed25519PrivateKey) -> bytes:
    """The message that carries a command: the platform's side."""
    text = command.model_dump_json(exclude_none=True)
    signature = base64.b64encode(key.sign(CONTEXT + text.encode())).decode()
    return json.dumps({"command": text, "signature": signature}).encode()
