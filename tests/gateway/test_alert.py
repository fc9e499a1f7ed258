"""An alert keeps its meaning through JSON, and its name through a second judging of the same data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.alert import (
    Alert,
    AlertKind,
    Baseline,
    Change,
    Confidence,
    Counterfactual,
    Reason,
    Severity,
    alert_id,
    from_iso,
    iso,
)

# What is sent is rounded: times to the second, scores to six places, weights to four.
TIMES = st.integers(min_value=0, max_value=4_102_444_799).map(float)
SCORES = st.integers(min_value=-(10**12), max_value=10**12).map(lambda n: n / 10**6)
REASONS = st.builds(
    Reason, point=st.text(min_size=1), feature=st.text(min_size=1), weight=st.integers(0, 10**4).map(lambda n: n / 10**4),
    text=st.text(min_size=1),
)  # fmt: skip
SHARES = st.integers(0, 10**4).map(lambda n: n / 10**4)
SIX_FIGURES = st.integers(-(10**6) + 1, 10**6 - 1).map(lambda n: n / 10**3)
CONFIDENCES = st.builds(Confidence, SHARES, st.integers(1, 10**6), st.sampled_from(["simulated", "recorded"]))
CHANGES = st.builds(Change, st.text(), st.text(), SHARES) | st.builds(
    Change, st.text(), st.text(), SHARES, SIX_FIGURES, st.sampled_from(["Cel", "bar"])
)
ALERTS = st.builds(
    Alert,
    id=st.text(min_size=1, max_size=40),
    kind=st.sampled_from(AlertKind),
    subject=st.text(min_size=1, max_size=40),
    onset_s=TIMES,
    raised_s=TIMES,
    severity=st.sampled_from(Severity),
    score=SCORES,
    threshold=SCORES,
    model=st.text(min_size=1, max_size=20),
    model_sha256=st.sampled_from(["", "0" * 64]),
    reasons=st.lists(REASONS, max_size=4).map(tuple),
    baseline=st.builds(Baseline, rule=st.text(), fired=st.booleans(), score=SCORES),
    cleared_s=st.none() | TIMES,
    confidence=st.none() | CONFIDENCES,
    counterfactual=st.none() | st.builds(Counterfactual, SCORES, st.lists(CHANGES, max_size=3).map(tuple), st.text()),
)


def an_alert() -> Alert:
    return Alert(
        "A-1", AlertKind.LEAK, "secteur", 1e9, 1e9 + 900, Severity.MAJOR, 2.0, 1.0, "leak", "",
        (Reason("debit/flow", "night", 1.0, "le débit de nuit monte", 15.1, 6.0, "m3/h"),),
        Baseline("night", True, 1.2), None, Confidence(0.9, 40, "simulated"),
        Counterfactual(0.9, (Change("debit/flow", "night", 0.3, 8.7, "m3/h"),), "Le score serait resté sous le seuil."),
    )  # fmt: skip


@given(ALERTS)
def test_an_alert_survives_json(alert: Alert) -> None:
    assert Alert.from_json(json.loads(json.dumps(alert.as_json()))) == alert


@given(ALERTS)
def test_a_second_trip_changes_nothing(alert: Alert) -> None:
    once = alert.as_json()
    assert Alert.from_json(once).as_json() == once


def test_every_kind_is_in_the_schema_of_the_centre(root: Path) -> None:
    schema = json.loads((root / "central/contract/alert.schema.json").read_text("utf-8"))
    assert set(schema["$defs"]["Alert"]["properties"]["kind"]["enum"]) == {kind.value for kind in AlertKind}


def test_what_is_sent_fits_the_schema_of_the_centre(root: Path) -> None:
    schema = json.loads((root / "central/contract/alert.schema.json").read_text("utf-8"))
    only_alert = {"$defs": schema["$defs"], "$ref": "#/$defs/Alert"}
    for alert in (an_alert(), an_alert().cleared(1e9 + 1800)):
        assert list(Draft202012Validator(only_alert).iter_errors(alert.as_json())) == []


@pytest.mark.parametrize(
    "change",
    [{"kind": "flood"}, {"severity": "odd"}, {"onset": "2026-01-01T00:00:00"}, {"onset": 5}, {"reasons": [{"weigth": 1}]},
     {"reasons": None}, {"baseline": []}, {"confidence": 0.9}, {"counterfactual": {"score": 1}}, {"raised": "soon"}],
    ids=str,
)  # fmt: skip
def test_what_is_no_alert_is_said_to_be_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Alert.from_json(an_alert().as_json() | change)


SINCE = {"confidence", "counterfactual"}


def test_an_alert_of_before_there_were_counterfactuals_can_be_read() -> None:
    body = {key: value for key, value in an_alert().as_json().items() if key not in SINCE}
    alert = Alert.from_json(body)
    assert alert.confidence is None
    assert alert.counterfactual is None


def test_what_the_design_fixes_stands_before_what_was_added() -> None:
    fixed = ["id", "kind", "subject", "onset", "raised", "cleared", "severity", "score", "threshold", "model",
             "model_sha256", "reasons", "baseline"]  # fmt: skip
    assert [*fixed, "confidence", "counterfactual"] == list(an_alert().as_json())


@pytest.mark.parametrize("key", sorted(set(an_alert().as_json()) - SINCE))
def test_a_missing_key_is_no_alert(key: str) -> None:
    body = an_alert().as_json()
    del body[key]
    with pytest.raises(ValueError, match=key):
        Alert.from_json(body)


def test_clearing_changes_the_end_and_nothing_else() -> None:
    alert = an_alert()
    over = alert.cleared(1e9 + 3600)
    assert over.as_json() == alert.as_json() | {"cleared": "2001-09-09T02:46:40Z"}


def test_the_name_of_an_alert_follows_from_what_and_when() -> None:
    name = alert_id(AlertKind.LEAK, "secteur", 1e9)
    assert name == alert_id(AlertKind.LEAK, "secteur", 1e9)
    others = {alert_id(AlertKind.NO_DATA, "secteur", 1e9), alert_id(AlertKind.LEAK, "b", 1e9),
              alert_id(AlertKind.LEAK, "secteur", 1e9 + 900)}  # fmt: skip
    assert len(others | {name}) == 4


@given(st.floats(min_value=0, max_value=4_102_444_799))
def test_a_time_survives_to_the_second(time_s: float) -> None:
    assert abs(from_iso(iso(time_s)) - time_s) <= 0.5


def test_times_are_utc_whatever_their_offset() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert from_iso("2026-01-14T16:00:00+01:00") == from_iso("2026-01-14T15:00:00Z")
    with pytest.raises(ValueError, match="offset"):
        from_iso("2026-01-14T16:00:00")
