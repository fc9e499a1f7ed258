"""Who is at the page: roles, sessions, forms that are really ours, and patience with wrong passwords.

A password is that of a gateway, from its label or set on it; there are no names of people. Everything here is kept in memory
and bounded: a gateway that starts again has nobody signed in. Time and chance are handed over.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256

from gateway.patience import left_s

IDLE_S = 30 * 60.0
LONGEST_S = 12 * 3600.0
MOST_SESSIONS = 32
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 300.0
FORGIVEN_S = 3600.0
"""After so long without a wrong password the count begins anew."""


class Role(IntEnum):
    """What somebody may do; each may do what those below may. viewer: look; technician: also ask devices, check, replace,
    change settings, leave; officer: also confirm or refute alerts."""

    NOBODY = 0
    VIEWER = 1
    TECHNICIAN = 2
    OFFICER = 3


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in. who: as they call themselves, for the report. form: what each of their forms must carry.
    Times monotonic, in seconds."""

    role: Role
    who: str
    form: str
    since_s: float
    seen_s: float

    def over(self, now_s: float) -> bool:
        return now_s - self.seen_s > IDLE_S or now_s - self.since_s > LONGEST_S


class Sessions:
    """All who are signed in, by the hash of what their browser holds, so that a picture of our memory signs nobody in."""

    def __init__(self, token: Callable[[], str]) -> None:
        """token: gives a new secret text, of 128 bits or more."""
        self._token = token
        self._open: OrderedDict[str, Session] = OrderedDict()

    def open(self, role: Role, who: str, now_s: float) -> tuple[str, Session]:
        """A new session and the text that the browser is to hold. The one that was quiet longest makes room."""
        secret = self._token()
        session = Session(role, who, self._token(), now_s, now_s)
        self._open[_hash(secret)] = session
        while len(self._open) > MOST_SESSIONS:
            self._open.popitem(last=False)
        return secret, session

    def of(self, secret: str, now_s: float) -> Session | None:
        """Whose that text is; None for nobody's, or when the session is over."""
        key = _hash(secret)
        session = self._open.get(key)
        if session is None:
            return None
        if session.over(now_s):
            del self._open[key]
            return None
        self._open[key] = session = replace(session, seen_s=now_s)
        self._open.move_to_end(key)
        return session

    def close(self, secret: str) -> None:
        """Signs out."""
        self._open.pop(_hash(secret), None)

    def end(self, role: Role) -> None:
        """Signs out whoever came in with the password of that role, which is another now."""
        for key in [key for key, session in self._open.items() if session.role is role]:
            del self._open[key]

    def __len__(self) -> int:
        return len(self._open)


def is_ours(session: Session, form: str) -> bool:
    """Whether a form carries what ours carry: another site's page cannot know it."""
    return hmac.compare_digest(session.form.encode(), form.encode())


class Patience:
    """Wrong passwords. They are counted together: whoever tries from a thousand addresses waits like one who tries from one,
    and so does the technician beside them, five minutes at the most."""

    def __init__(self) -> None:
        self.wrong = 0
        self._last_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long until the next try; 0 when it may be made now."""
        if now_s - self._last_s > FORGIVEN_S:
            self.wrong = 0
        return left_s(self.wrong, self._last_s, now_s, FIRST_WAIT_S, LONGEST_WAIT_S)

    def was_wrong(self, now_s: float) -> None:
        self.wrong += 1
        self._last_s = now_s

    def was_right(self) -> None:
        self.wrong = 0


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
