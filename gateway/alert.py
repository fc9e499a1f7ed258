"""An alert: something that people should look into, with the reasons for it.

Its shape on the wire and in files is a contract (central/contract/alert.schema.json). One alert lasts from `raised` to
`cleared`; what goes on unchanged is not raised again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """One piece of evidence. weight: share of the score that it explains, 0 to 1; text: a French sentence."""

    point: str
    feature: str
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the simple rule that always runs beside the model says of the same data."""

    rule: str
    fired: bool
    score: float


@dataclass(frozen=True, slots=True)
class Alert:
    """See the module. Times are UTC seconds since 1970; `onset_s` is when it probably began, `cleared_s` None while it
    lasts. `model_sha256` is empty where a rule alone decided."""

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
                for r in self.reasons
            ],
            "baseline": {
                "rule": self.baseline.rule,
                "fired": self.baseline.fired,
                "score": round(self.baseline.score, 6),
            },
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Alert:
        """The inverse of `as_json`. Raises ValueError when it is not an alert."""
        try:
            return cls._from_json(body)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"alert: expected the object of an alert, got {error!r}") from None

    @classmethod
    def _from_json(cls, body: Mapping[str, Any]) -> Alert:
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
        )


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
