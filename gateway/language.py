"""The language of what people read: French, or English where the user asked for it (`--lang en`, GUET_LANG, LANG)."""

from __future__ import annotations

import os


def choose(language: str) -> None:
    """Sets the language of this process and of those it starts. Raises ValueError for another than fr and en."""
    if language not in ("fr", "en"):
        raise ValueError(f"language {language!r}: expected fr or en")
    os.environ["GUET_LANG"] = language


def speaks_english() -> bool:
    """Whether the user reads English; without any sign, French."""
    for name in ("GUET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if given := os.environ.get(name):
            return given.lower().startswith("en")
    return False


def say(french: str, english: str) -> str:
    """One of the two, as the user reads."""
    return english if speaks_english() else french
