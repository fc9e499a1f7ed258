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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gateway.errors import CommandRefused
from gateway.point import Duration, duration_s
from gateway.signed import Signed, taken

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_IDS = 1000
LONGEST_S = 86_400.0
"""A command may be good for a day at most."""


class Command(Signed):
    """What the platform wants."""

    context: ClassVar = b"guet/v1/cmd\n"
    part: ClassVar = "command"
    what: ClassVar = "command"
    most: ClassVar = 8 * 1024

    do: Literal["set", "try", "release"]
    point: str = Field(min_length=1, max_length=140)
    value: float | None = None
    lease: Duration = "1h"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.value is None) != (self.do == "release"):
            raise ValueError("value: expected with set and try, and not with release")
        if not 0 < self.expires_s - self.issued_s <= LONGEST_S:
            raise ValueError("expires: expected after issued, by a day at most")
        return self

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
        command = taken(Command, payload, self.key, self.gateway, now_s, trusted)
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
