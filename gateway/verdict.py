"""From a score over time to a verdict: persistence, hysteresis, and a floor that follows.

Evidence is what the score has exceeded the threshold by, added up step by step and falling back to nothing (a CUSUM): a
strong sign decides within a few steps, a weak one must last. Once an alert is raised its level is known: a floor takes
the score's height, so that only what comes on top of it counts as the next event, and sinks to it again when it falls.
It fades once the alert has cleared, so that an alert can clear soon and what only paused is not raised again.

When it began is read off the score too: it left its usual level then, which may be long before it passed the threshold.
Nothing here knows what is being watched; one step is as long as the watch's window says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum


class State(StrEnum):
    """What can be said of a watch."""

    LEARNING = "learning"
    NORMAL = "normal"
    SUSPECT = "suspect"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Decision:
    """How scores are judged, from a model's card; scores in the units of the model's output.

    threshold: above it evidence grows by the excess to the given power, below it evidence shrinks by what is lacking.
    evidence: how much decides. cap: the most that one step adds or takes. clear: an alert ends once the score stayed under
    it for clear_s. grace_s: no alert for so long after the first score. rise: after an alert, the next begins that far above
    the floor, and at the earliest hold_s later. relax_s: time constant with which floor and usual level follow the score.
    jump: where a watch is usually quiet, so far above its usual level is enough, if it is not below clear. fade_s: time
    constant with which the floor follows the score once the alert has cleared; 0: it goes at once.
    """

    threshold: float
    evidence: float
    cap: float
    clear: float
    clear_s: float
    grace_s: float
    rise: float
    hold_s: float
    relax_s: float
    power: float = 1.0
    jump: float = math.inf
    fade_s: float = 0.0


LEFT = 0.25
"""A score has left its usual level once it is that part of the way to the threshold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided at one step. since_s: when the suspicion or alert probably began, None when there is none; raised:
    an alert begins with this step; cleared: the alert that lasted ends with it. Both: another event on top of the first.
    score: None where there was none; threshold: what the score was held against, the floor included."""

    state: State
    since_s: float | None
    raised: bool
    cleared: bool
    score: float | None
    threshold: float


@dataclass(slots=True)
class _Memory:
    """All that a Decider remembers; times in UTC seconds."""

    first_s: float | None = None
    last_s: float | None = None
    evidence: float = 0.0
    usual: float | None = None  # where the score is when nothing is wrong: an average with time constant relax_s
    calm_s: float | None = None  # the last step at which it was about there
    floor: float | None = None
    alert_s: float | None = None  # onset of the alert that lasts
    raised_s: float | None = None  # of the last alert, lasting or not
    low_s: float | None = None  # since when the score is low enough to clear


class Decider:
    """Judges one watch. Give it every step in order; a step that is not after the last one changes nothing."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self._memory = _Memory()

    def step(self, time_s: float, score: float | None) -> Verdict:
        """The verdict at `time_s`, UTC seconds. Without a score (None or not finite) all stays as it was."""
        memory = self._memory
        if score is None or not math.isfinite(score) or (memory.last_s is not None and time_s <= memory.last_s):
            return self._verdict(score=None)
        if memory.first_s is None or memory.last_s is None:
            memory.first_s, memory.calm_s, memory.usual = time_s, time_s, score
        else:
            self._follow(time_s, score, time_s - memory.last_s)
        memory.last_s = time_s
        limit = self._limit()  # what the score is held against, before an alert sets a floor of its own
        self._gather(time_s, score)
        cleared = self._clears(time_s, score)
        raised = self._raises(time_s)
        if raised:
            cleared = cleared or memory.alert_s is not None
            memory.alert_s = memory.calm_s
            memory.raised_s = time_s
            memory.floor = score
            memory.evidence, memory.calm_s, memory.low_s = 0.0, time_s, None
        elif memory.alert_s is None and memory.floor is not None:
            self._fade(score)
        return self._verdict(score, limit, raised=raised, cleared=cleared)

    @property
    def alerting(self) -> bool:
        """Whether an alert lasts."""
        return self._memory.alert_s is not None

    def wait(self, until_s: float) -> None:
        """Raises nothing before then."""
        self._memory.raised_s = until_s - self.decision.hold_s

    def state(self) -> dict[str, float | None]:
        """All it remembers, for JSON."""
        return asdict(self._memory)

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Goes on from `state()`. Raises ValueError when that is not one."""
        names = {entry.name for entry in fields(_Memory)}
        if set(state) != names or not all(value is None or isinstance(value, int | float) for value in state.values()):
            raise ValueError(
                f"state of a verdict: expected numbers for {', '.join(sorted(names))}, got {dict(state)!r}"
            )
        if state["evidence"] is None:
            raise ValueError("state of a verdict: expected a number for evidence, got nothing")
        self._memory = _Memory(**state)  # type: ignore[arg-type]  # checked above

    def moved(self, known: Callable[[float | None], float | None]) -> None:
        """The clock was set: every time it remembers is what `known` makes of it."""
        memory = self._memory
        for name in ("first_s", "last_s", "calm_s", "alert_s", "raised_s", "low_s"):
            setattr(memory, name, known(getattr(memory, name)))

    def _limit(self) -> float:
        memory, decision = self._memory, self.decision
        if memory.floor is not None:
            return max(decision.threshold, memory.floor + decision.rise)
        if memory.usual is None:
            return decision.threshold
        return min(decision.threshold, max(memory.usual + decision.jump, decision.clear))

    def _follow(self, time_s: float, score: float, passed_s: float) -> None:
        """The floor: up with the score while a new alert cannot come yet, then towards it. Without one the usual level."""
        memory = self._memory
        lasting = memory.floor is None or memory.alert_s is not None
        constant_s = self.decision.relax_s if lasting else self.decision.fade_s
        step = -math.expm1(-passed_s / constant_s) if constant_s > 0 else 1.0
        if memory.floor is None:
            assert memory.usual is not None
            memory.usual += (min(score, self.decision.threshold) - memory.usual) * step
        elif self._held(time_s):
            memory.floor = max(memory.floor, score)
        else:
            memory.floor += (score - memory.floor) * step

    def _gather(self, time_s: float, score: float) -> None:
        memory, decision = self._memory, self.decision
        excess = score - self._limit()
        excess = min(excess**decision.power, decision.cap) if excess > 0 else max(excess, -decision.cap)
        # Held at the most that decides, so that what the grace or hold period gathered is not carried for ever.
        memory.evidence = min(max(memory.evidence + excess, 0.0), decision.evidence)
        usual = memory.floor if memory.floor is not None else memory.usual
        if usual is None or score <= usual + LEFT * (self._limit() - usual):
            memory.calm_s = time_s

    def _clears(self, time_s: float, score: float) -> bool:
        memory, decision = self._memory, self.decision
        if memory.alert_s is None:
            return False
        if score >= decision.clear:
            memory.low_s = None
            return False
        if memory.low_s is None:
            memory.low_s = time_s
        if time_s - memory.low_s < decision.clear_s:
            return False
        memory.alert_s = memory.low_s = None
        return True

    def _fade(self, score: float) -> None:
        """The floor goes once it holds nothing back any more."""
        memory, decision = self._memory, self.decision
        assert memory.floor is not None
        if decision.fade_s <= 0:
            memory.floor = None
        elif memory.floor + decision.rise <= decision.threshold:
            memory.floor, memory.usual = None, min(score, decision.threshold)

    def _raises(self, time_s: float) -> bool:
        memory, decision = self._memory, self.decision
        assert memory.first_s is not None
        ripe = memory.evidence >= decision.evidence and time_s - memory.first_s >= decision.grace_s
        return ripe and not self._held(time_s)

    def _held(self, time_s: float) -> bool:
        raised_s = self._memory.raised_s
        return raised_s is not None and time_s - raised_s < self.decision.hold_s

    def _verdict(
        self, score: float | None, limit: float | None = None, raised: bool = False, cleared: bool = False
    ) -> Verdict:
        memory, decision = self._memory, self.decision
        suspect = memory.evidence >= 0.25 * decision.evidence
        if memory.alert_s is not None:
            state, since_s = State.ALERT, memory.alert_s
        elif memory.first_s is None or memory.last_s is None or memory.last_s - memory.first_s < decision.grace_s:
            state, since_s = State.LEARNING, None
        elif suspect:
            state, since_s = State.SUSPECT, memory.calm_s
        else:
            state, since_s = State.NORMAL, None
        return Verdict(state, since_s, raised, cleared, score, self._limit() if limit is None else limit)
