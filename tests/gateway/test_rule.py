"""What a verdict or a silence becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import AlertKind, Reason, Severity
from gateway.explanation import MOST_REASONS
from gateway.inference import load_model
from gateway.rule import alert_of, no_data_alert
from gateway.verdict import State, Verdict
from gateway.window import Features

MODEL = load_model(Path(__file__).parent / "lift_rule")


def features(weights: list[float], rule_score: float = 1.4) -> Features:
    reasons = [Reason(f"d/p{at}", "f", weight, "texte") for at, weight in enumerate(weights)]
    return Features(1000.0, np.zeros((1, 1), np.float32), reasons, rule_score)


def raised(score: float | None = 1.7, since_s: float | None = 500.0) -> Verdict:
    return Verdict(State.ALERT, since_s, raised=True, cleared=False, score=score, threshold=1.0)


@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), max_size=12))
def test_the_weights_of_reasons_add_up_to_one(weights: list[float]) -> None:
    alert = alert_of("s", MODEL, raised(), features(weights), 1000.0)
    assert len(alert.reasons) <= MOST_REASONS
    assert all(reason.weight > 0 for reason in alert.reasons)
    if any(weights[:]):
        assert sum(reason.weight for reason in alert.reasons) == pytest.approx(1)
        assert [r.weight for r in alert.reasons] == sorted((r.weight for r in alert.reasons), reverse=True)
    else:
        assert alert.reasons == ()


def test_an_alert_carries_what_was_decided_and_by_which_model() -> None:
    alert = alert_of("ascenseur", MODEL, raised(), features([1.0]), 1000.0)
    assert (alert.kind, alert.subject, alert.onset_s, alert.raised_s) == (
        AlertKind.LIFT_FAILURE,
        "ascenseur",
        500.0,
        1000.0,
    )
    assert (alert.score, alert.threshold, alert.model) == (1.7, 1.0, "lift_rule")
    assert (alert.baseline.rule, alert.baseline.fired, alert.baseline.score) == (MODEL.card.rule.name, True, 1.4)


def test_an_onset_that_is_not_known_is_now() -> None:
    assert alert_of("s", MODEL, raised(since_s=None), features([1.0]), 1000.0).onset_s == 1000.0


def test_the_rule_beside_the_model_fires_above_one() -> None:
    assert not alert_of("s", MODEL, raised(), features([1.0], 1.0), 0.0).baseline.fired


@pytest.mark.parametrize(
    ("score", "severity"), [(1.0, Severity.MINOR), (1.5, Severity.MAJOR), (2.5, Severity.CRITICAL)]
)
def test_the_card_says_how_soon(score: float, severity: Severity) -> None:
    assert alert_of("s", MODEL, raised(score), features([1.0]), 0.0).severity is severity


def test_a_silence_says_how_long_and_why() -> None:
    alert = no_data_alert("debit", 0.0, 3 * 3600.0, "aucune réponse", 7200.0)
    assert (alert.kind, alert.severity, alert.model_sha256) == (AlertKind.NO_DATA, Severity.MINOR, "")
    assert (alert.score, alert.threshold) == (3.0, 2.0)
    assert alert.reasons[0].text == "aucune valeur depuis 3.0 h : aucune réponse"
    assert no_data_alert("debit", 0.0, 3 * 3600.0, "", 7200.0).reasons[0].text == "aucune valeur depuis 3.0 h"
    assert alert.counterfactual is not None
    assert "2.0 h" in alert.counterfactual.text


def test_an_alert_without_a_calibration_says_no_confidence() -> None:
    assert alert_of("s", MODEL, raised(), features([1.0]), 0.0).confidence is None
