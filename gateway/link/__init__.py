"""Links: bytes in and out, nothing else.

A link knows the physics of its line (speed, silence between frames, draining after a time-out) and nothing of what the
bytes mean: an `Ask` brings the function that recognises its answer. A link opens itself on first use, and again after it
was lost. Its time is the event loop's, never the site clock's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.codec import Ask, Broadcast


@dataclass(slots=True)
class Traffic:
    """What went over a link since it was made; counters only ever grow."""

    requests: int = 0
    answers: int = 0
    silences: int = 0
    garbled: int = 0
    reopened: int = 0
    dropped: int = 0
    """Broadcasts that nobody collected in time."""
    stray_bytes: int = 0
    """Bytes that came when nothing was asked, or were drained after a time-out."""


class Link(Protocol):
    """A bus whose devices answer when asked. One exchange at a time; callers need not lock."""

    traffic: Traffic

    async def exchange(self, ask: Ask) -> bytes:
        """Sends the request, gives the answer. Raises LinkError, NoAnswer or GarbledAnswer; after any of them the line
        is quiet and drained, so that a late answer can never be taken for the next one."""
        ...

    async def close(self) -> None:
        """Gives the port back. May be called twice."""
        ...


class Ear(Protocol):
    """A bus whose devices speak unasked."""

    traffic: Traffic

    @property
    def trouble(self) -> str:
        """Why nothing at all is heard and what was tried, in words for people; empty while something is."""
        ...

    @property
    def manner(self) -> str:
        """How it listens, in words for people."""
        ...

    @property
    def advice(self) -> str:
        """What to look at where one device is not heard and others are, in words for people."""
        ...

    def listen(self) -> AsyncIterator[Broadcast]:
        """All that is heard, as it comes, until closed. Raises LinkError when the adapter is not there."""
        ...

    async def close(self) -> None:
        """Gives the adapter back. May be called twice."""
        ...
