"""The rulebook of a site: when, then, unless. Pure; one decision is made on one frozen picture of the inputs.

A rule is active when all of its conditions hold and none of its `unless`. What cannot be known is careful: an unknown
`unless` blocks; an unknown condition, where no other one is known to fail, makes the rule take its defensive value (`lost`,
else the fail-safe value of the permit). Of two rules that want the same point the earlier in the file has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.alert import Alert, AlertKind, Baseline, Reason, Severity, alert_id
from gateway.condition import Condition, ConditionEntry, Picture
from gateway.permit import Permit
from gateway.plain import condition_text
from gateway.point import Closed
from gateway.sun import Place

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class Setting(Closed):
    """A value for a point while the rule is active. lost: the value when an input of it is lost; the fail-safe value of
    the permit where left out."""

    point: str
    value: float
    lost: float | None = None


class RuleAlert(Closed):
    """What people are told while the rule is active. subject: the rule's name where left out; text: a French sentence."""

    kind: AlertKind
    severity: Severity = Severity.MINOR
    text: str = Field(min_length=1, max_length=300)
    subject: str = ""


class RuleEntry(Closed):
    """A rule in a site file. when: all must hold; unless: none may."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(pattern=NAME)
    when: list[ConditionEntry] = Field(min_length=1)
    unless: list[ConditionEntry] = []
    settings: list[Setting] = Field(default=[], alias="set")
    alert: RuleAlert | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.settings and self.alert is None:
            raise ValueError("expected set, alert or both; a rule that does nothing can go")
        points = [setting.point for setting in self.settings]
        if len(set(points)) < len(points):
            raise ValueError("set: a point twice; keep one")
        return self


class RuleState(StrEnum):
    """How a rule stands."""

    ACTIVE = "active"
    IDLE = "idle"
    LOST = "lost"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a rule wants of a point. defensive: because an input is lost."""

    value: float
    rule: str
    reason: str
    defensive: bool = False


@dataclass(slots=True)
class Ruling:
    """One decision: what is wanted of each point, alerts raised and cleared by it, how each rule stands."""

    claims: dict[str, Claim] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    states: dict[str, RuleState] = field(default_factory=dict)


class _Rule:
    """A rule at work."""

    def __init__(self, entry: RuleEntry, place: Place) -> None:
        self.entry = entry
        self.when = [Condition(one, place) for one in entry.when]
        self.unless = [Condition(one, place) for one in entry.unless]
        self.open: Alert | None = None

    def judge(self, picture: Picture) -> RuleState:
        # Every condition is asked every time: each keeps its own memory.
        held = [condition.holds(picture) for condition in self.when]
        forbidden = [condition.holds(picture) for condition in self.unless]
        if any(one is not False for one in forbidden):
            return RuleState.BLOCKED
        if False in held:
            return RuleState.IDLE
        return RuleState.LOST if None in held else RuleState.ACTIVE

    def raised(self, picture: Picture) -> Alert:
        told = self.entry.alert
        assert told is not None
        since = [c.since_s for c in self.when if c.since_s is not None]
        reasons = tuple(
            Reason(
                one.point or one.lost or one.verdict or "horloge",
                "règle",
                1 / len(self.entry.when),
                _evidence(one, picture),
            )
            for one in self.entry.when
        )
        subject = told.subject or self.entry.name
        return Alert(
            id=alert_id(told.kind, subject, picture.time_s),
            kind=told.kind,
            subject=subject,
            onset_s=max(since, default=picture.time_s),
            raised_s=picture.time_s,
            severity=told.severity,
            score=1.0,
            threshold=1.0,
            model=f"rule:{self.entry.name}",
            model_sha256="",
            reasons=(Reason(subject, "règle", 0.0, told.text), *reasons),
            baseline=Baseline(self.entry.name, fired=True, score=1.0),
        )


def _evidence(entry: ConditionEntry, picture: Picture) -> str:
    value = picture.values.get(entry.point) if entry.point else None
    return condition_text(entry) + ("" if value is None else f" ({value:g})")


class Rulebook:
    """See the module. Ask it in order of time."""

    def __init__(self, entries: Sequence[RuleEntry], permits: Mapping[str, Permit], place: Place) -> None:
        self._rules = [_Rule(entry, place) for entry in entries]
        self._permits = permits

    def decide(self, picture: Picture) -> Ruling:
        """What the rules want now."""
        ruling = Ruling()
        for rule in self._rules:
            name, state = rule.entry.name, rule.judge(picture)
            ruling.states[name] = state
            if state is RuleState.ACTIVE:
                reason = f"règle {name} : " + " et ".join(_evidence(one, picture) for one in rule.entry.when)
                for setting in rule.entry.settings:
                    ruling.claims.setdefault(setting.point, Claim(setting.value, name, reason))
            elif state is RuleState.LOST:
                for setting in rule.entry.settings:
                    value = self._defensive(setting)
                    if value is not None:
                        reason = f"règle {name} : une entrée est perdue, valeur de prudence"
                        ruling.claims.setdefault(setting.point, Claim(value, name, reason, defensive=True))
            if rule.entry.alert is not None:
                ruling.alerts += self._told(rule, state, picture)
        return ruling

    def _defensive(self, setting: Setting) -> float | None:
        if setting.lost is not None:
            return setting.lost
        permit = self._permits.get(setting.point)
        return permit.fail_safe if permit is not None else None

    @staticmethod
    def _told(rule: _Rule, state: RuleState, picture: Picture) -> list[Alert]:
        if state is RuleState.ACTIVE and rule.open is None:
            rule.open = rule.raised(picture)
            return [rule.open]
        # An alert is not over because nobody can see any more.
        if state in (RuleState.IDLE, RuleState.BLOCKED) and rule.open is not None:
            over, rule.open = rule.open.cleared(picture.time_s), None
            return [over]
        return []

    def wakes_s(self, time_s: float) -> float:
        """When a rule may change after `time_s` though no input does; inf for never."""
        conditions = [one for rule in self._rules for one in (*rule.when, *rule.unless)]
        return min((condition.wakes_s(time_s) for condition in conditions), default=float("inf"))

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did."""
        for rule in self._rules:
            for condition in (*rule.when, *rule.unless):
                condition.moved(by_s)

    def state(self) -> dict[str, Any]:
        """What must outlive a power cut."""
        return {
            rule.entry.name: {
                "conditions": [one.state() for one in (*rule.when, *rule.unless)],
                "open": rule.open.as_json() if rule.open is not None else None,
            }
            for rule in self._rules
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. A rule that was changed meanwhile begins anew, but keeps its open alert."""
        for rule in self._rules:
            kept = state.get(rule.entry.name)
            if kept is None:
                continue
            conditions = [*rule.when, *rule.unless]
            if len(kept["conditions"]) == len(conditions):
                for condition, one in zip(conditions, kept["conditions"], strict=True):
                    condition.restore(one)
            if rule.entry.alert is not None and kept["open"] is not None:
                rule.open = Alert.from_json(kept["open"])
