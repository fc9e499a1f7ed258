"""The page speaks French, and every sentence of it has its English."""

import re
import string
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import AlertKind, Severity, from_iso
from gateway.reading import Quality
from gateway.web.words import EVIDENCE, FOLDERS, KINDS, OTHERS, QUALITIES, SEVERITIES, WORDS, Speech

PARIS = ZoneInfo("Europe/Paris")
NOW_S = from_iso("2026-01-15T03:20:00Z")
FR, EN = Speech("fr", PARIS, NOW_S), Speech("en", PARIS, NOW_S)
SAID = re.compile(
    r"""(?:\bt|\bsay|\bspeech)\(\s*("(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*|'(?:[^'\\]|\\.)*')(?!\s*,\s*f?["'])(?=\s*[,)]|\s+if)"""
)
"""A French sentence alone; one with its English beside it, as `language.say` takes them, needs no table."""


def sentences(root: Path) -> set[str]:
    """Every French sentence that templates and code hand to a Speech."""
    folder = root / "gateway" / "web"
    files = [*folder.glob("*.py"), *(folder / "templates").glob("*.html")]
    assert len(files) >= 10
    found = set()
    for file in files:
        for match in SAID.finditer(file.read_text(encoding="utf-8")):
            pieces = re.findall(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", match[1])
            found.add("".join(a or b for a, b in pieces))
    return found


def test_every_sentence_has_its_english(root: Path) -> None:
    said = sentences(root)
    assert len(said) > 100
    assert sorted(said - set(WORDS)) == []


def test_every_english_is_used(root: Path) -> None:
    """What stands in tables, and what other modules say word for word, is looked for as text."""
    text = "".join(
        file.read_text(encoding="utf-8")
        for file in (root / "gateway").rglob("*")
        if file.suffix in (".py", ".html") and file.name != "words.py"
    )
    tables = {*KINDS.values(), *SEVERITIES.values(), *QUALITIES.values(), *EVIDENCE.values(), *FOLDERS.values(), OTHERS}
    left = set(WORDS) - tables - sentences(root)
    assert sorted(french for french in left if french not in text) == []


@pytest.mark.parametrize("french", list(WORDS))
def test_both_languages_fill_the_same_braces(french: str) -> None:
    def braces(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    assert braces(french) == braces(WORDS[french])


def test_every_kind_severity_and_quality_has_words() -> None:
    assert set(KINDS) == {kind.value for kind in AlertKind}
    assert set(SEVERITIES) == {severity.value for severity in Severity}
    assert set(QUALITIES) == {quality.value for quality in Quality} | {"stale"}
    for french in (*KINDS.values(), *SEVERITIES.values(), *QUALITIES.values(), *EVIDENCE.values(), *FOLDERS.values()):
        assert FR(french) == french
        assert EN.known(french)


@pytest.mark.parametrize(
    ("value", "french", "english"),
    [
        (0.0, "0", "0"),
        (5.118, "5,12", "5.12"),
        (49.98, "50,0", "50.0"),
        (123_456.7, "123\u202f457", "123,457"),
        (-0.25, "−0,250", "−0.250"),
        (40.0, "40", "40"),
        (1.7e-38, "1,70e−38", "1.70e−38"),
        (None, "–", "–"),
        (float("nan"), "–", "–"),
    ],
)
def test_numbers_as_people_write_them(value: float | None, french: str, english: str) -> None:
    assert FR.number(value) == french
    assert EN.number(value) == english


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_short_enough_for_a_phone(value: float) -> None:
    assert 1 <= len(FR.number(value)) <= 14


def test_units_stand_behind_a_space_that_does_not_break() -> None:
    assert FR.value(3.24, "bar") == "3,24\u00a0bar"
    assert FR.value(7.0, "1") == "7"
    assert FR.value(None, "bar") == "–"


@pytest.mark.parametrize(
    ("seconds", "french"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (7200, "2 h"), (86_400, "24 h")],
)
def test_durations(seconds: float, french: str) -> None:
    assert FR.duration(seconds).replace("\u00a0", " ") == french


def test_durations_of_days() -> None:
    assert (FR.duration(3 * 86_400), EN.duration(3 * 86_400)) == ("3\u00a0j", "3\u00a0d")


def test_ages_in_site_time_and_never_negative() -> None:
    assert FR.ago(NOW_S - 60) == "il y a 60\u00a0s"
    assert EN.ago(NOW_S - 60) == "60\u00a0s ago"
    assert FR.ago(NOW_S + 900) == "il y a 0\u00a0s"


def test_times_in_the_zone_of_the_site() -> None:
    assert FR.at(NOW_S) == "04:20"
    assert FR.at(from_iso("2026-01-14T23:30:00Z")) == "00:30", "half past midnight in Paris is today"
    assert FR.at(from_iso("2026-01-14T22:30:00Z")) == "14\u00a0janv.\u00a023:30"
    assert EN.at(from_iso("2025-08-01T12:00:00Z")) == "1\u00a0Aug\u00a02025\u00a014:00"
    assert FR.full(NOW_S) == "jeudi 15\u00a0janv. 2026, 04:20"


def test_what_the_gateway_says_is_told_in_local_time() -> None:
    assert FR.told("muet depuis 2026-01-15T02:00:00Z") == "muet depuis 03:00"
    assert EN.told("aucune réponse : vérifier l'alimentation, le câblage, l'adresse").startswith("no answer")


def test_a_text_of_two_languages_gives_the_one_that_is_read() -> None:
    assert FR.bilingual("Dire. / Tells.") == "Dire."
    assert EN.bilingual("Dire. / Tells.") == "Tells."
    assert EN.bilingual("Dire.") == "Dire."
