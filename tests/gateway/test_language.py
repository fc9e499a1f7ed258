"""French unless the user reads English."""

from __future__ import annotations

import os

import pytest

from gateway.language import choose, say, speaks_english

NAMES = ("GUET_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")


def test_french_is_the_default() -> None:
    assert not speaks_english()
    assert say("oui", "yes") == "oui"


@pytest.mark.parametrize(
    ("text", "english"), [("en_GB.UTF-8", True), ("EN", True), ("fr_FR", False), ("C.UTF-8", False), ("de", False)]
)
def test_the_machine_s_language_counts(monkeypatch: pytest.MonkeyPatch, text: str, english: bool) -> None:
    monkeypatch.setenv("LANG", text)
    assert speaks_english() is english


def test_the_nearer_wish_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "fr_FR")
    monkeypatch.setenv("LC_ALL", "en_US")
    assert speaks_english()
    choose("fr")
    assert not speaks_english()
    choose("en")
    assert say("oui", "yes") == "yes"
    assert os.environ["GUET_LANG"] == "en"


def test_a_language_that_we_do_not_speak_is_refused() -> None:
    with pytest.raises(ValueError, match="expected fr or en"):
        choose("de")
