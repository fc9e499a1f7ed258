"""The trial of a site's text by the process that runs it: what worked before must work again, or the text goes back."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.site import digest
from gateway.site_file import InPlace, in_place, read_text, taken_up

if TYPE_CHECKING:
    from gateway.store import Store

PROCESS = secrets.token_hex(8)
"""Names this process, on this machine and after any restart of it."""


@dataclass(frozen=True, slots=True)
class Worked:
    """What worked before a change: devices that gave values, buses on which one did; platform: whether it was reached."""

    devices: frozenset[str] = frozenset()
    buses: frozenset[str] = frozenset()
    platform: bool = False


NOTHING_WORKED = Worked()


@dataclass(slots=True)
class SiteFile:
    """The site file of a gateway that runs. text: what runs. lacking: what does not work yet of what must, in words; None
    before anybody looked. since_s: of the event loop, when the trial began. blank: there is no file yet
    (`gateway.blank`)."""

    path: Path
    text: str
    known: InPlace
    worked: Worked = NOTHING_WORKED
    lacking: tuple[str, ...] | None = None
    since_s: float = 0.0
    blank: bool = False

    @property
    def on_trial(self) -> bool:
        """Whether what runs is on trial."""
        return self.known.trial is not None and self.known.sha256 == digest(self.text)

    @classmethod
    def taken_up(cls, path: Path, now_s: float, worked: Worked = NOTHING_WORKED) -> SiteFile:
        """What is to be run now: a trial that waits is this process's, one that another had not ended is gone back from.
        Raises SiteError where there is no file that can be read."""
        taken_up(path, PROCESS, now_s)
        return cls(path, read_text(path), in_place(path), worked)


async def announce(store: Store, file: SiteFile, now_s: float) -> None:
    """Tells the platform which text the gateway runs, and what became of the last one; once. Raises StoreError."""
    known = file.known
    state = "on trial" if known.trial is not None else "undone" if known.undone is not None else "in place"
    body: dict[str, Any] = {"state": state, "sha256": digest(file.text), "by": known.by}
    if known.undone is not None:
        body |= {"reason": known.undone.why, "undone_by": known.undone.by}
    if store.state("site") != body:
        await store.decide({"site": body}, audits=[(now_s, {"what": "site file", **body})])
