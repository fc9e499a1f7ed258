"""Jobs that the page has begun: they run beside the requests, and what they found so far is here to be shown.

The same jobs as the verbs' (`gateway.jobs`), at the same desk. The last of each kind and subject is kept until the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gateway.desk import Desk, Work
from gateway.errors import GuetError
from gateway.hatch import LONGEST_JOB_S, Job
from gateway.language import say

if TYPE_CHECKING:
    from gateway.app import Gateway

log = logging.getLogger(__name__)

MOST_KEPT = 12
MOST_ROWS = 1000

State = Literal["running", "done", "cancelled", "failed"]


@dataclass(slots=True)
class Errand:
    """A job of the page. rows: what it found, the first MOST_ROWS; progress: the last word about how far it is; said: how
    it ended, where that needs saying. ended_s: UTC."""

    job: str
    subject: str
    work: Work
    state: State = "running"
    rows: list[Any] = field(default_factory=list)
    left_out: int = 0
    progress: Any = None
    ask: Any = None
    said: str = ""
    ended_s: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self.state == "running"


class Errands:
    """All jobs of the page, the last MOST_KEPT."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        self.desk = desk
        self._gateway = gateway
        self._kept: OrderedDict[tuple[str, str], Errand] = OrderedDict()

    def begin(self, job: Job[Any, Any], wish: Any, who: str, subject: str = "") -> Errand:
        """Starts a job, in the language that is spoken. Raises Taken where somebody else is at it."""
        errand: Errand

        def cancel() -> None:
            if errand.task is not None and errand.runs:
                errand.state = "cancelled"
                errand.task.cancel()

        work = self.desk.begin(job.name, who, job.alone, self._gateway.clock.now(), cancel)
        errand = Errand(job.name, subject, work)
        self._kept[job.name, subject] = errand
        self._kept.move_to_end((job.name, subject))
        for key in [key for key, one in self._kept.items() if not one.runs][: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[key]
        errand.task = asyncio.create_task(self._run(errand, job, wish), name=f"page's job {job.name}")
        return errand

    def last(self, job: str, subject: str = "") -> Errand | None:
        """The last job of a kind, on a subject, as it stands now: a page that is made of it is of one moment."""
        errand = self._kept.get((job, subject))
        return replace(errand, rows=list(errand.rows)) if errand is not None else None

    async def end(self) -> None:
        """Cancels all that run, and waits for them."""
        tasks = [errand.task for errand in self._kept.values() if errand.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, errand: Errand, job: Job[Any, Any], wish: Any) -> None:
        try:
            async with asyncio.timeout(LONGEST_JOB_S), aclosing(job.work(self._gateway, wish)) as rows:
                async for row in rows:
                    self._take(errand, row)
            errand.state = "done"
        except asyncio.CancelledError:
            errand.state = "cancelled"
        except GuetError as error:
            errand.state, errand.said = "failed", str(error)
        except Exception:
            log.exception("page: job %s ended by a fault", job.name)
            errand.state = "failed"
            errand.said = say(
                "faute du programme : le journal de la passerelle dit laquelle",
                "a fault of the program: the gateway's log says which",
            )
        finally:
            errand.ask = None
            errand.ended_s = self._gateway.clock.now()
            self.desk.end(errand.work)

    def _take(self, errand: Errand, row: Any) -> None:
        if getattr(row, "kind", "") == "progress":
            errand.progress = row
            if getattr(row, "ask", False):
                errand.ask = row
        elif len(errand.rows) < MOST_ROWS:
            errand.rows.append(row)
        else:
            errand.left_out += 1
