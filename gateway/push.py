"""A site pushed by the platform: signed, checked whole, on trial, and answered whatever comes of it.

A message on `guet/v1/{gateway}/cmd` is `{"configuration": TEXT, "signature": BASE64}`, signed like a command, after the line
`guet/v1/configuration`. TEXT is a JSON object:

    {"id": "2f6c...", "gateway": "edge-0042", "number": 1795680000, "issued": "2026-11-26T08:00:00Z",
     "expires": "2026-11-27T08:00:00Z", "site": BASE64, "reason": "...", "by": "..."}

`site` is the text of a site file, compressed (zlib). `number` grows from one push to the next: an older one is refused,
however late it comes; the newest, come again, is only answered again, so that who gets no answer may send it for as long as
it likes. Without a trusted clock nothing is taken, and no site with which the platform would lose the gateway.

The answers are audit records, `what` "configuration". "not yet": to be sent again. Else first "refused", with all faults of
the text, or "accepted": it is sound, noted on the disk, and goes in place on trial; "begun" when the gateway runs it. Then,
once, "kept": with it the gateway works, and the platform is still reached; or "returned": the site before is in place again,
and why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import Field, ValidationError, field_validator

from gateway.alert import from_iso
from gateway.command import SKEW_S, id_of, signed_text
from gateway.errors import CommandRefused
from gateway.point import Closed
from gateway.profile import sentences
from gateway.site import Site

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT: Final = b"guet/v1/configuration\n"
PART: Final = "configuration"
MAX_BYTES: Final = 96 * 1024
MAX_SITE_BYTES: Final = 1024 * 1024


class NotYet(CommandRefused):
    """It may be taken when it comes again."""


class Push(Closed):
    """What the platform says. Times as ISO 8601 with an offset."""

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    gateway: str
    number: int = Field(ge=1, le=2**53)
    issued: str
    expires: str
    site: str
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field(min_length=1, max_length=100)

    @field_validator("issued", "expires")
    @classmethod
    def _time(cls, text: str) -> str:
        from_iso(text)
        return text

    def text(self) -> str:
        """The site file. Raises CommandRefused."""
        try:
            unpack = zlib.decompressobj()
            content = unpack.decompress(base64.b64decode(self.site, validate=True), MAX_SITE_BYTES + 1)
            if len(content) <= MAX_SITE_BYTES and unpack.eof:
                return content.decode()
        except (ValueError, zlib.error):
            pass
        raise CommandRefused(
            f"site: expected base64 of zlib of at most {MAX_SITE_BYTES} bytes of text in UTF-8", self.id
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How the site that runs stands. sha256: of its text; lacking: on trial, what does not work yet, in words, None before
    anybody can say; undone: why the last change was gone back from."""

    sha256: str
    on_trial: bool = False
    lacking: tuple[str, ...] | None = ()
    undone: str = ""


class Place(Protocol):
    """Where a pushed site goes: the file that the gateway runs."""

    async def check(self, text: str) -> Site:
        """The site of a text. Raises FileFault with all that is wrong with it, WishError where none can be taken now."""
        ...

    async def put(self, text: str, by: str) -> None:
        """Has it in place, on trial; the gateway begins anew with it. Raises as `check`."""
        ...

    def standing(self) -> Standing:
        """How the site stands."""
        ...

    async def keep(self, by: str) -> None:
        """Ends the trial: it stays. Raises as `check`."""
        ...


def asks_for_push(payload: bytes) -> bool:
    """Whether a message on `cmd` is for us, right or wrong."""
    try:
        body = json.loads(payload) if len(payload) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and PART in body


def digest(text: str) -> str:
    """What names a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def take(payload: bytes, key: Ed25519PublicKey, gateway: str, now_s: float, trusted: bool) -> Push:
    """The push in a message, if it is the platform's and for now. Raises CommandRefused."""
    text = signed_text(payload, key, CONTEXT, PART, MAX_BYTES)
    try:
        push = Push.model_validate_json(text)
    except ValidationError as error:
        raise CommandRefused("; ".join(sentences(error, PART)), id_of(text)) from None
    if push.gateway != gateway:
        raise CommandRefused(f"expected a site for {gateway!r}, got one for {push.gateway!r}", push.id)
    if not trusted:
        raise NotYet("the gateway's clock is not trusted yet, so nothing says that this is not old", push.id)
    if now_s >= from_iso(push.expires):
        raise CommandRefused(f"expired at {push.expires}", push.id)
    if from_iso(push.issued) > now_s + SKEW_S:
        raise NotYet(f"issued in the future, at {push.issued}; compare the clocks", push.id)
    return push


def signed(push: Push, key: Ed25519PrivateKey) -> bytes:
    """The message that carries it: the platform's side."""
    text = push.model_dump_json()
    return json.dumps({PART: text, "signature": base64.b64encode(key.sign(CONTEXT + text.encode())).decode()}).encode()


def packed(text: str) -> str:
    """A site's text as a push holds it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
