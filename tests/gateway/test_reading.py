"""Snapshots become readings, each with unit, quality and reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reading import Flaw, FlawKind, Quality, Reading, Snapshot, split_point


def test_a_snapshot_gives_each_value_with_its_unit_and_quality() -> None:
    flaws = {"b": Flaw(Quality.BAD, "aucune réponse"), "c": Flaw(Quality.UNCERTAIN, "capteur vieux")}
    snapshot = Snapshot("debit", 12.5, {"a": 1.0, "b": None, "c": 3.0}, flaws)
    assert list(snapshot.readings({"a": "m3/h", "b": "bar"})) == [
        Reading("debit/a", 12.5, 1.0, "m3/h"),
        Reading("debit/b", 12.5, None, "bar", Quality.BAD, "aucune réponse"),
        Reading("debit/c", 12.5, 3.0, "", Quality.UNCERTAIN, "capteur vieux"),
    ]


@given(st.text(max_size=20))
def test_a_point_is_a_device_and_a_name_or_an_error_that_shows_it(text: str) -> None:
    if text.count("/") == 1 and not text.startswith("/") and not text.endswith("/"):
        assert "/".join(split_point(text)) == text
    else:
        with pytest.raises(ValueError) as caught:
            split_point(text)
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "/", "a", "a/", "/b", "a/b/c"])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(ValueError, match="device/point"):
        split_point(text)


def test_a_flaw_is_said_in_the_language_of_who_reads_and_known_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    flaw = Flaw(Quality.BAD, "aucune réponse", FlawKind.SILENT, "no answer")
    (reading,) = Snapshot("debit", 0.0, {"a": None}, {"a": flaw}).readings({})
    for language, said in (("fr", "aucune réponse"), ("en", "no answer")):
        monkeypatch.setenv("GUET_LANG", language)
        assert (reading.said, reading.kind) == (said, FlawKind.SILENT)
    assert Flaw(Quality.BAD, "de l'appareil").said == "de l'appareil", "where nobody has said it in English"
    assert Reading("debit/a", 0.0, 1.0, "").kind is None
