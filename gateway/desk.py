"""Who works on the gateway now: one bounded table of the jobs that run, whether a verb asked for them or the page.

A job that is *alone* keeps the buses busy or changes what the others look at: of those only one runs at a time, and who
comes second is told who holds it and since when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from gateway.errors import HatchError
from gateway.language import say

MOST_AT_ONCE = 4


class Taken(HatchError):
    """Somebody else is at it."""


@dataclass(frozen=True, slots=True)
class Work:
    """One job that runs. who: as they call themselves; empty where they do not. began_s: UTC. cancel: ends it."""

    number: int
    job: str
    who: str
    alone: bool
    began_s: float
    cancel: Callable[[], object]


class Desk:
    """The table."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._works: dict[int, Work] = {}

    def begin(self, job: str, who: str, alone: bool, now_s: float, cancel: Callable[[], object]) -> Work:
        """Takes a place; `end` gives it back. Raises Taken."""
        if len(self._works) >= MOST_AT_ONCE:
            raise Taken(say("trop de demandes à la fois ; réessayer", "too many at once; try again"))
        holder = next((work for work in self._works.values() if alone and work.alone), None)
        if holder is not None:
            name = holder.who or say("quelqu'un, par la ligne de commande,", "somebody at the command line")
            since_s = max(0.0, now_s - holder.began_s)
            raise Taken(
                say(
                    f"{name} occupe la passerelle ({job_words(holder.job)}, depuis {since_s:.0f} s) : attendre, ou annuler",
                    f"{name} holds the gateway ({job_words(holder.job)}, for {since_s:.0f} s): wait, or cancel it",
                )
            )
        work = Work(next(self._numbers), job, who, alone, now_s, cancel)
        self._works[work.number] = work
        return work

    def end(self, work: Work) -> None:
        """Gives the place back. May be called twice."""
        self._works.pop(work.number, None)

    def works(self) -> list[Work]:
        """All that run now, the oldest first."""
        return list(self._works.values())


def job_words(job: str) -> str:
    """A job for people."""
    french, english = {
        "scan": ("recherche", "scan"),
        "check": ("vérification", "check"),
        "why": ("recherche de panne", "walk"),
        "replace": ("remplacement", "replacement"),
        "leave": ("départ", "leaving"),
    }.get(job, (job, job))
    return say(french, english)
