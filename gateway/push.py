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
import json
import zlib
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from pydantic import Field

from gateway.errors import CommandRefused
from gateway.signed import Signed
from gateway.site import Site

PART: Final = "configuration"
MAX_BYTES: Final = 96 * 1024
MAX_SITE_BYTES: Final = 1024 * 1024


class Push(Signed):
    """What the platform says."""

    context: ClassVar = b"guet/v1/configuration\n"
    part: ClassVar = PART
    what: ClassVar = "site"
    most: ClassVar = MAX_BYTES

    number: int = Field(ge=1, le=2**53)
    site: str

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


def packed(text: str) -> str:
    """A site's text as a push holds it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
