"""Who comes in: the one place that knows passwords, sessions and patience, and what a form must bring to be taken as ours.

Two things are asked of every form, each enough alone in a browser that behaves: it comes from a page at this very address
(`Origin`, else `Referer`), and it carries its session's secret. The cookie is never sent along from elsewhere (SameSite).
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import WishError
from gateway.language import say, words_given
from gateway.web.password import known, role_of
from gateway.web.session import Patience, Role, Session, Sessions

log = logging.getLogger(__name__)

COOKIE = "guet"
LONGEST_NAME = 80


class TooSoon(WishError):
    """A password that was not even looked at, after too many wrong ones. wait_s: how long until the next may be tried."""

    def __init__(self, sentence: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(sentence)


class Door:
    """The door of one gateway's pages. folder: of its data, where the passwords' proofs are. home: whether only this machine
    can reach the pages, so that looking is free; elsewhere it takes a password."""

    def __init__(
        self,
        folder: Path,
        home: bool,
        now_s: Callable[[], float] = time.monotonic,
        token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self.folder, self.home = folder, home
        self.sessions, self.patience = Sessions(token), Patience()
        self._now_s = now_s
        self._one_at_a_time = asyncio.Lock()

    def roles(self) -> frozenset[Role]:
        """Those that have a password; empty: nobody can sign in."""
        return known(self.folder)

    def session(self, cookies: Mapping[str, str]) -> Session | None:
        """Whose cookie that is."""
        secret = cookies.get(COOKIE, "")
        return self.sessions.of(secret, self._now_s()) if secret else None

    def lets(self, session: Session | None, role: Role) -> bool:
        """Whether somebody may read what takes that role."""
        if role is Role.VIEWER and self.home:
            return True
        return (session.role if session else Role.NOBODY) >= role

    async def enter(self, password: str, who: str) -> tuple[str, Session]:
        """Signs in; gives what the browser is to hold. Raises TooSoon, or WishError for a wrong password or a name that
        cannot stand in a report. One after the other, so that who tries many at once learns no more."""
        name = words_given(say("nom", "name"), who, LONGEST_NAME)
        async with self._one_at_a_time:
            if (wait_s := self.patience.wait_s(self._now_s())) > 0:
                wait_s = math.ceil(wait_s)
                log.warning("page: password refused unseen, %d were wrong, %d s to wait", self.patience.wrong, wait_s)
                said = say(
                    f"Trop de mots de passe faux ({self.patience.wrong}) : attendez encore {wait_s} s.",
                    f"Too many wrong passwords ({self.patience.wrong}): wait another {wait_s} s.",
                )
                raise TooSoon(said, wait_s)
            role = await asyncio.to_thread(role_of, self.folder, password)
            if role is None:
                self.patience.was_wrong(self._now_s())
                log.warning("page: wrong password, %d in a row", self.patience.wrong)
                said = say(
                    "Ce n'est pas un mot de passe de cette passerelle : relisez l'étiquette de l'armoire.",
                    "This is no password of this gateway: read the label on the cabinet again.",
                )
                raise WishError(said)
            self.patience.was_right()
        log.info("page: signed in as %s", role.name.lower())
        return self.sessions.open(role, name, self._now_s())


def from_here(origin: str | None, referer: str | None, host: str) -> bool:
    """Whether a form was sent by a page at this address. What says nothing of where it comes from does not."""
    named = origin if origin is not None else referer
    if not named:
        return False
    try:
        found = urlsplit(named)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and found.netloc.lower() == host.lower()


def policy(form_action: str) -> str:
    """What a browser is to allow a page of ours."""
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        f"form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
    )
