"""Rules: what a verdict, or a silence, leads to. An alert for people here; actions for devices are asked for in `app`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.alert import Alert, AlertKind, Baseline, Change, Counterfactual, Reason, Severity, alert_id
from gateway.explanation import counterfactual_of, reasons_of
from gateway.verdict import Verdict
from gateway.window import Features

if TYPE_CHECKING:
    from gateway.inference import Model

SILENT_AFTER_PERIODS = 8
"""Periods of summaries without one good value before people are told that a device gives no data (two hours)."""


def alert_of(subject: str, model: Model, verdict: Verdict, features: Features, now_s: float) -> Alert:
    """The alert that a raised verdict stands for, with why, how sure, and what would have changed it."""
    card, score = model.card, verdict.score if verdict.score is not None else 0.0
    features = model.informed(features)
    reasons = reasons_of(model.judge, features)
    return Alert(
        id=alert_id(card.kind, subject, now_s),
        kind=card.kind,
        subject=subject,
        onset_s=verdict.since_s if verdict.since_s is not None else now_s,
        raised_s=now_s,
        severity=model.severity(score),
        score=score,
        threshold=verdict.threshold,
        model=card.name,
        model_sha256=model.sha256,
        reasons=reasons,
        baseline=Baseline(card.rule.name, features.rule_score > 1, features.rule_score),
        confidence=model.confidence(score),
        counterfactual=counterfactual_of(model.judge, features, reasons, verdict.threshold),
    )


def no_data_alert(device: str, since_s: float, now_s: float, reason: str, patience_s: float) -> Alert:
    """A device has given no good value since `since_s`, which is longer than `patience_s`."""
    hours = (now_s - since_s) / 3600
    text = f"aucune valeur depuis {hours:.1f} h" + (f" : {reason}" if reason else "")
    return Alert(
        id=alert_id(AlertKind.NO_DATA, device, now_s),
        kind=AlertKind.NO_DATA,
        subject=device,
        onset_s=since_s,
        raised_s=now_s,
        severity=Severity.MINOR,
        score=hours,
        threshold=patience_s / 3600,
        model="no_data",
        model_sha256="",
        reasons=(Reason(device, "silence", 1.0, text),),
        baseline=Baseline("no_data", fired=True, score=hours),
        counterfactual=Counterfactual(
            patience_s / 3600,
            (Change(device, "silence", patience_s / (now_s - since_s)),),
            f"Une seule bonne valeur de {device} dans les {patience_s / 3600:.1f} h aurait suffi.",
        ),
    )


def sensor_fault_alert(reason: Reason, since_s: float, now_s: float, rule: str) -> Alert:
    """A sensor measures something else than what it is there for, as the reason says, since `since_s`."""
    device = reason.point.split("/")[0]
    return Alert(
        id=alert_id(AlertKind.SENSOR_FAULT, reason.point, now_s),
        kind=AlertKind.SENSOR_FAULT,
        subject=device,
        onset_s=since_s,
        raised_s=now_s,
        severity=Severity.MINOR,
        score=reason.weight,
        threshold=1.0,
        model=rule,
        model_sha256="",
        reasons=(replace(reason, weight=1.0),),
        baseline=Baseline(rule, fired=True, score=reason.weight),
    )
