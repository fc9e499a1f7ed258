"""The technician's guide: every verb of the visit is in it, in both languages, and every option it shows is one."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

VERBS = {"pack", "claim", "scan", "check", "why", "leave", "verify", "replace", "plan"}


@pytest.fixture
def halves(root: Path) -> tuple[str, str]:
    french, _, english = (root / "docs/guide/README.md").read_text("utf-8").partition("\n---\n")
    return french, english


def test_every_verb_of_the_visit_is_explained_in_both_languages(halves: tuple[str, str]) -> None:
    for half in halves:
        assert {verb for verb in VERBS if f"guet {verb}" in half} == VERBS


def test_every_option_that_is_shown_is_one(halves: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    known = {found.name: found for found in entry_points(group="guet.verbs")}
    shown = re.findall(r"guet (\w+)([^\n`]*)", "".join(halves))
    assert len(shown) > 30
    for verb, rest in shown:
        with pytest.raises(SystemExit):
            known[verb].load()(["--help"])
        told = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in told, (verb, option)


def test_every_picture_is_there_small_and_told_in_words(halves: tuple[str, str], root: Path) -> None:
    folder = root / "docs/guide"
    shown = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]{20,})">', "".join(halves))
    assert {folder / path for path, _ in shown} == set((folder / "pictures").iterdir())
    assert all((folder / path).stat().st_size < 40_000 for path, _ in shown)
