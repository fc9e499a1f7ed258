"""The language of what people read: French, or English where the user asked for it (`--lang en`, GUET_LANG, LANG).

One process may speak with several people: a gateway answers each verb and each page in the language of who asks
(`speaking`), whatever its own is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gateway.errors import WishError

LANGUAGES = ("fr", "en")
LONGEST_REASON = 400
_asked: ContextVar[str] = ContextVar("language", default="")


def choose(language: str) -> None:
    """Sets the language of this process and of those it starts. Raises ValueError for another than fr and en."""
    os.environ["GUET_LANG"] = _known(language)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Within it, and in the tasks that are made within it, that language. Raises ValueError for another than fr and en."""
    before = _asked.set(_known(language))
    try:
        yield
    finally:
        _asked.reset(before)


def speaks_english() -> bool:
    """Whether the user reads English; without any sign, French."""
    if asked := _asked.get():
        return asked == "en"
    for name in ("GUET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if given := os.environ.get(name):
            return given.lower().startswith("en")
    return False


def language() -> str:
    """The language that is spoken here: fr or en."""
    return "en" if speaks_english() else "fr"


def say(french: str, english: str) -> str:
    """One of the two, as the user reads."""
    return english if speaks_english() else french


def words_given(option: str, text: str, most: int = LONGEST_REASON) -> str:
    """What a person gave as a name or reason, without blanks around it. Raises WishError for more than `most` characters,
    and for any that cannot be printed: nothing that moves a cursor or turns a line round may stand in a report."""
    words = text.strip()
    if len(words) > most or not words.isprintable():
        raise WishError(
            say(
                f"{option} : attendu au plus {most} signes imprimables",
                f"{option}: expected at most {most} printable characters",
            )
        )
    return words


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r}: expected fr or en")
    return language
