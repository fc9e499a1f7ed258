"""Where a simulated gateway's site stands, and where a pushed one goes on trial: what the site file and its trial are to a
real one. A trial belongs to one life: who begins and finds one that another life had begun goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.push import Standing
from gateway.site import Site, digest


class Place:
    """See the module. parse: the site of a text, raises SiteError; changed: called when another text is in place, and the
    gateway must begin anew; lacking: what does not work yet, None before anybody can say."""

    def __init__(
        self, text: str, parse: Callable[[str], Site], keep_within_s: float, changed: Callable[[], None] | None = None
    ) -> None:
        self.text, self._parse, self._keep_within_s, self.changed = text, parse, keep_within_s, changed
        self.lacking: Callable[[], tuple[str, ...] | None] = tuple
        self.ran: list[str] = []
        """All texts that gateways began with."""
        self.life = 0
        self._before: tuple[str, int] | None = None
        self._until_s = 0.0
        self._undone = ""

    @property
    def on_trial(self) -> bool:
        return self._before is not None

    def begin(self, same_life: bool = False) -> str:
        """A gateway begins: the text that it runs. same_life: in the process that put it on trial."""
        self.life += not same_life
        if self._before is not None and self._before[1] != self.life:
            self._back("the gateway ended during the trial")
        self.ran.append(self.text)
        return self.text

    async def check(self, text: str) -> Site:
        return self._parse(text)

    async def put(self, text: str, by: str) -> None:
        del by
        self._parse(text)
        if text == self.text:
            return
        self._before, self.text = (self.text, self.life), text
        self._until_s = asyncio.get_running_loop().time() + self._keep_within_s
        self._undone = ""
        if self.changed is not None:
            self.changed()

    def standing(self) -> Standing:
        if self._before is not None and asyncio.get_running_loop().time() > self._until_s:
            self._back(f"not all was well within {self._keep_within_s:.0f} s")
            if self.changed is not None:
                self.changed()
        if self._before is None:
            return Standing(digest(self.text), undone=self._undone)
        return Standing(digest(self.text), on_trial=True, lacking=self.lacking())

    async def keep(self, by: str) -> None:
        del by
        self._before = None

    def _back(self, why: str) -> None:
        assert self._before is not None
        self.text, self._before, self._undone = self._before[0], None, why
