"""An alert: something that people should look into, with the reasons for it.

Its shape on the wire and in files is a contract (central/contract/alert.schema.json). One alert lasts from `raised` to
`cleared`; what goes on unchanged is not raised again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class AlertKind(StrEnum):
    """What is wrong."""

    LEAK = "leak"
    LAMP_FAILURE = "lamp_failure"
    LIFT_FAILURE = "lift_failure"
    PUMP_FAILURE = "pump_failure"
    ENERGY_ANOMALY = "energy_anomaly"
    BIN_OVERFLOW = "bin_overflow"
    SENSOR_FAULT = "sensor_fault"
    NO_DATA = "no_data"


class Severity(StrEnum):
    """How soon somebody must act: info = never by itself, critical = now."""

    INFO = "info"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence. weight: share of the score that it explains, 0 to 1; text: a French sentence. value, usual:
    what was seen and what is usual there, in unit (UCUM); None where that is no single number."""

    point: str
    feature: str
    weight: float
    text: str
    value: float | None = None
    usual: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the simple rule that always runs beside the model says of the same data."""

    rule: str
    fired: bool
    score: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """Of `n` alerts of about this score, while the model was calibrated, the share `value` was right. made: on what:
    "simulated" or "recorded"."""

    value: float
    n: int
    made: str


@dataclass(frozen=True, slots=True)
class Change:
    """A departure from the usual that is only `share` of what it was, 0 to 1. value: what the point would then have shown,
    in unit; None where that is no single number."""

    point: str
    feature: str
    share: float
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of the inputs named in the reasons with which the score, then `score`, would have stayed below the
    threshold. text: a French sentence."""

    score: float
    changes: Sequence[Change]
    text: str


@dataclass(frozen=True, slots=True)
class Alert:
    """See the module. Times are UTC seconds since 1970; `onset_s` is when it probably began, `cleared_s` None while it
    lasts. `model_sha256` is empty where a rule alone decided. `confidence` is None where the model's card has no
    calibration, `counterfactual` where no change of what is named would have been enough."""

    id: str
    kind: AlertKind
    subject: str
    onset_s: float
    raised_s: float
    severity: Severity
    score: float
    threshold: float
    model: str
    model_sha256: str
    reasons: Sequence[Reason]
    baseline: Baseline
    cleared_s: float | None = None
    confidence: Confidence | None = None
    counterfactual: Counterfactual | None = None

    def cleared(self, at_s: float) -> Alert:
        """The same alert, over since `at_s`."""
        return replace(self, cleared_s=at_s)

    def as_json(self) -> dict[str, Any]:
        """The contract's object."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "subject": self.subject,
            "onset": iso(self.onset_s),
            "raised": iso(self.raised_s),
            "cleared": None if self.cleared_s is None else iso(self.cleared_s),
            "severity": self.severity.value,
            "score": round(self.score, 6),
            "threshold": round(self.threshold, 6),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "reasons": [
                {"point": r.point, "feature": r.feature, "weight": round(r.weight, 4), "text": r.text}
                | _seen(r.unit, value=r.value, usual=r.usual)
                for r in self.reasons
            ],
            "baseline": {
                "rule": self.baseline.rule,
                "fired": self.baseline.fired,
                "score": round(self.baseline.score, 6),
            },
            "confidence": None if self.confidence is None else asdict(self.confidence),
            "counterfactual": None if self.counterfactual is None else self._otherwise(self.counterfactual),
        }

    @staticmethod
    def _otherwise(other: Counterfactual) -> dict[str, Any]:
        changes = [
            {"point": c.point, "feature": c.feature, "share": round(c.share, 4)} | _seen(c.unit, value=c.value)
            for c in other.changes
        ]
        return {"score": round(other.score, 6), "changes": changes, "text": other.text}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Alert:
        """The inverse of `as_json`. Raises ValueError when it is not an alert."""
        try:
            return cls._from_json(body)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"alert: expected the object of an alert, got {error!r}") from None

    @classmethod
    def _from_json(cls, body: Mapping[str, Any]) -> Alert:
        confidence, other = body.get("confidence"), body.get("counterfactual")  # alerts of before 2026-11-26 have none
        return cls(
            id=body["id"],
            kind=AlertKind(body["kind"]),
            subject=body["subject"],
            onset_s=from_iso(body["onset"]),
            raised_s=from_iso(body["raised"]),
            severity=Severity(body["severity"]),
            score=body["score"],
            threshold=body["threshold"],
            model=body["model"],
            model_sha256=body["model_sha256"],
            reasons=tuple(Reason(**reason) for reason in body["reasons"]),
            baseline=Baseline(**body["baseline"]),
            cleared_s=None if body["cleared"] is None else from_iso(body["cleared"]),
            confidence=None if confidence is None else Confidence(**confidence),
            counterfactual=None
            if other is None
            else Counterfactual(other["score"], tuple(Change(**change) for change in other["changes"]), other["text"]),
        )


def _seen(unit: str, **values: float | None) -> dict[str, Any]:
    """The numbers that are known, six figures each, with their unit; nothing where none is."""
    known = {name: float(f"{value:.6g}") for name, value in values.items() if value is not None}
    return known | {"unit": unit} if known else {}


def alert_id(kind: AlertKind, subject: str, raised_s: float) -> str:
    """Short name of an alert, the same whenever the same data are judged again."""
    return "A-" + hashlib.sha256(f"{kind.value}|{subject}|{raised_s:.0f}".encode()).hexdigest()[:10]


def iso(time_s: float) -> str:
    """UTC seconds since 1970 -> ISO 8601 with a Z, to the second."""
    return datetime.fromtimestamp(round(time_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> float:
    """ISO 8601 with an offset or Z -> UTC seconds since 1970. Raises ValueError without either."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r}: expected a time with 'Z' or an offset")
    return when.timestamp()
