"""What the platform says under its signature: to whom, from when until when, why and by whom. Pure.

A message is `{PART: TEXT, "signature": BASE64}`. TEXT is a JSON object as text, signed as it stands (no canonical form to
disagree about), with Ed25519, after a line that names its kind, so that none can be taken for one of another kind.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import Field, ValidationError, field_validator

from gateway.alert import from_iso
from gateway.errors import CommandRefused
from gateway.point import Closed
from gateway.profile import sentences

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SKEW_S = 300.0
"""How far the platform's clock may be ahead of ours."""


class NotYet(CommandRefused):
    """It may be taken when it comes again."""


class Signed(Closed):
    """What each kind has. Times as ISO 8601 with an offset.

    context: the line before the text; part: the text's key in a message; what: the kind in a sentence; most: bytes of a
    message."""

    context: ClassVar[bytes]
    part: ClassVar[str]
    what: ClassVar[str]
    most: ClassVar[int]

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    gateway: str
    issued: str
    expires: str
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field(min_length=1, max_length=100)

    @field_validator("issued", "expires")
    @classmethod
    def _time(cls, text: str) -> str:
        from_iso(text)
        return text

    @property
    def issued_s(self) -> float:
        return from_iso(self.issued)

    @property
    def expires_s(self) -> float:
        return from_iso(self.expires)


S = TypeVar("S", bound=Signed)


def taken(kind: type[S], payload: bytes, key: Ed25519PublicKey, gateway: str, now_s: float, trusted: bool) -> S:
    """What a message says, if it is the platform's, for this gateway and for now. trusted: whether `now_s` is. Raises
    CommandRefused; of it NotYet where only the time was wrong for it."""
    text = signed_text(payload, key, kind.context, kind.part, kind.most)
    try:
        said = kind.model_validate_json(text)
    except ValidationError as error:
        raise CommandRefused("; ".join(sentences(error, kind.part)), id_of(text)) from None
    if said.gateway != gateway:
        raise CommandRefused(f"expected a {kind.what} for {gateway!r}, got one for {said.gateway!r}", said.id)
    if not trusted:
        raise NotYet("the gateway's clock is not trusted yet, so nothing says that this is not old", said.id)
    if now_s >= said.expires_s:
        raise CommandRefused(f"expired at {said.expires}", said.id)
    if said.issued_s > now_s + SKEW_S:
        raise NotYet(f"issued in the future, at {said.issued}; compare the clocks", said.id)
    return said


def signed(said: Signed, key: Ed25519PrivateKey) -> bytes:
    """The message that carries it: the platform's side."""
    text = said.model_dump_json(exclude_none=True)
    signature = base64.b64encode(key.sign(said.context + text.encode())).decode()
    return json.dumps({said.part: text, "signature": signature}).encode()


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
