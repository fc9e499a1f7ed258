"""A watch: a model applied to named points. It joins window, scorer, verdict and rule, and owns the alert that is open.

The same watch serves live, in replay and in tests: it is given summaries in order of time and is asked to judge at its
steps. What it must remember over a power cut is small (`state`); the window is filled again from stored summaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any

from gateway.alert import Alert
from gateway.errors import ModelError
from gateway.inference import Model
from gateway.moved import Moved
from gateway.rule import alert_of
from gateway.site import WatchEntry
from gateway.summary import Aggregate, Summary
from gateway.suspect import Suspects, rests_on
from gateway.verdict import Decider, Decision, State, Verdict
from gateway.window import Features, Remembers, Settles, Window

MOST_STEPS = 2000
"""Steps that are caught up with at once (83 days of an hourly one): a clock that was decades behind must not have every
hour of them judged."""

AGAIN, QUIET_S = 0.7, 12 * 3600.0
"""From the level that an alert left, the next needs that share of the evidence, and comes so much later at the earliest."""


def window_of(kind: str, entry: WatchEntry, zone: tzinfo) -> Window:
    """A new window of the kind that a model's card names; zone: the site's. Raises ModelError when there is no such kind,
    ValueError when the inputs are not such a window's."""
    if kind != "building" and (entry.school_zone is not None or entry.closed):
        raise ValueError(f"school_zone, closed: expected of a building's watch; {entry.model!r} has no use for them")
    match kind:
        case "sector":
            from gateway.window.sector import SectorWindow

            return SectorWindow(entry.inputs, lambda time_s: _utc_offset_s(time_s, zone))
        case "lamp":
            from gateway.window.lamp import LampWindow

            return LampWindow(entry.inputs)
        case "lift":
            from gateway.window.lift import LiftWindow

            return LiftWindow(entry.inputs)
        case "rig":
            from gateway.window.rig import RigWindow

            return RigWindow(entry.inputs)
        case "bin":
            from gateway.window.bin import BinWindow

            return BinWindow(entry.inputs, zone)
        case "building":
            from gateway.window.building import BuildingWindow
            from gateway.window.habit import Calendar

            calendar = Calendar(zone, entry.school_zone, entry.is_closed)
            return BuildingWindow(entry.inputs, zone, calendar, entry.school_zone is not None)
    known = "sector, lamp, lift, rig, bin or building"
    raise ModelError([f"watch {entry.name!r}: the card of {entry.model!r} asks for window {kind!r}; use {known}"])


def _fits(window: Window, model: Model, entry: WatchEntry) -> None:
    """Raises ModelError when a network asks for other inputs than its window makes: it was trained with another release."""
    network, card = model.card.model, model.card
    if network is None or card.decides == "rule" or not window.channels:
        return
    made, asked = list(window.channels), network.channels
    if (network.steps, asked) != (window.steps, made):
        odd = sorted(set(asked) ^ set(made))[:5] or ["their order"]
        fault = (
            f"watch {entry.name!r}: {card.name}/card.toml: model.steps, model.channels: expected {window.steps} steps of "
            f"the {len(made)} channels of window {card.window!r}, got {network.steps} of {len(asked)} (differing: "
            f"{', '.join(odd)}); install the model that belongs to this release, or run its fit.py"
        )
        raise ModelError([fault])


def _try_out(window: Window, entry: WatchEntry, units: Mapping[str, str], period_s: float | None) -> None:
    """Gives a window one value of each point, so that a unit which its role cannot have, or summaries that are too long
    for it, are known before anything starts."""
    for role, points in entry.inputs.items():
        for point in points:
            try:
                window.add(point, 0.0, period_s or window.step_s, Aggregate(1, 0, 0.0, 0.0, 0.0, 0.0), units[point])
            except ValueError as error:
                raise ValueError(f"{role}: {point}: {error}") from None


def _utc_offset_s(time_s: float, zone: tzinfo) -> float:
    offset = datetime.fromtimestamp(time_s, zone).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


class Watch:
    """See the module. Raises ModelError or ValueError on construction when model and inputs do not go together."""

    def __init__(
        self,
        entry: WatchEntry,
        model: Model,
        units: Mapping[str, str],
        period_s: float | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        """units: of every point among the inputs. period_s: of the summaries that will come. zone: whose days people live
        by. Raises ModelError for a window that there is not, ValueError for inputs that it cannot use."""
        self.name, self.model, self.units = entry.name, model, units
        self._new_window = partial(window_of, model.card.window, entry, zone)
        self.window = self._new_window()
        _fits(self.window, model, entry)
        _try_out(window_of(model.card.window, entry, zone), entry, units, period_s)
        self.decider = Decider(self._decision())
        self.verdict: Verdict | None = None
        self.open: Alert | None = None
        self.suspects = Suspects("sensor_fault")
        self.judged_until_s: float | None = None
        self.latest: Features | None = None
        self.score: float | None = None
        self._devices = {point.split("/")[0] for points in entry.inputs.values() for point in points}
        self._points = {point for points in entry.inputs.values() for point in points}

    def begin_again(self) -> None:
        """Forgets what was learnt, because other hardware stands in a role: windows empty, grace period anew, no alert."""
        self.window = self._new_window()
        self.decider = Decider(self._decision())
        self.verdict = self.open = self.latest = self.score = None
        self.suspects = Suspects("sensor_fault")

    def add(self, summary: Summary) -> None:
        """Takes in one device's summary; those of other devices are passed over."""
        if summary.device not in self._devices:
            return
        for name, aggregate in summary.points.items():
            point = f"{summary.device}/{name}"
            if point in self._points:
                self.window.add(point, summary.start_s, summary.period_s, aggregate, self.units[point])

    def judge(self, now_s: float) -> list[Alert]:
        """Judges every step that has passed up to `now_s`; gives the alerts raised or cleared by it, in order of time."""
        step_s = self.window.step_s
        last_s = now_s // step_s * step_s
        earliest_s = last_s - MOST_STEPS * step_s
        if self.judged_until_s is None:
            self.judged_until_s = last_s - step_s
        elif self.judged_until_s < earliest_s:
            self.judged_until_s = earliest_s
        changed: list[Alert] = []
        while self.judged_until_s < last_s:
            self.judged_until_s += step_s
            changed += self._judge_step(self.judged_until_s)
        return changed

    def corrected(self, moved: Moved) -> None:
        """What was dated by a guess is put right. The window is empty then, but for what it cannot learn again."""
        known = self.window.state() if isinstance(self.window, Settles) and isinstance(self.window, Remembers) else None
        self.window = self._new_window()
        if known is not None and isinstance(self.window, Remembers):
            self.window.restore(known)
        self.judged_until_s = moved.known(self.judged_until_s)
        if self.judged_until_s is not None:
            self.judged_until_s = self.judged_until_s // self.window.step_s * self.window.step_s
        self.decider.moved(moved.known)
        if self.open is not None:
            self.open = moved.alert(self.open)
        self.suspects.moved(moved)

    def _decision(self) -> Decision:
        decision = self.model.decision
        levelled = isinstance(self.window, Settles) and self.window.levelled
        return replace(decision, evidence=AGAIN * decision.evidence) if levelled else decision

    def _judge_step(self, at_s: float) -> list[Alert]:
        features = self.window.features(at_s)
        self.latest = features
        self.score = self.model.judge(features) if features is not None else None
        verdict = self.verdict = self.decider.step(at_s, self.score)
        if features is None:
            return self._close(at_s) if verdict.cleared else []
        levels = self.window if isinstance(self.window, Settles) else None
        if verdict.raised and levels is not None and levels.is_more(at_s):
            self._begin_from_level(at_s)
            return self.suspects.judge(at_s, features.suspects)
        changed = self._close(at_s) if verdict.cleared or verdict.raised else []
        if verdict.raised:
            accused = rests_on(self.model.judge, features, verdict.threshold)
            new = [reason for reason in accused if reason.point not in self.suspects.open]
            changed += [self.suspects.accuse(at_s, reason) for reason in new]
            if not accused:
                self.open = alert_of(self.name, self.model, verdict, features, at_s)
                changed.append(self.open)
        if levels is not None:
            changed += self._settle(levels, at_s)
        return changed + self.suspects.judge(at_s, features.suspects)

    def _close(self, at_s: float) -> list[Alert]:
        """Ends the alert that is open, if any."""
        if self.open is None:
            return []
        over, self.open = self.open.cleared(at_s), None
        if isinstance(self.window, Settles):
            self.window.cleared()
        return [over]

    def _settle(self, levels: Settles, at_s: float) -> list[Alert]:
        """What was alerted and lasts becomes the level from which the next is seen; its alert then ends with it."""
        assert self.verdict is not None
        if self.open is not None and self.verdict.raised:
            levels.raised(at_s, self.open.onset_s)
        if levels.settle(at_s):
            self._begin_from_level(at_s)
        self.decider.decision = self._decision()  # levels are forgotten in time
        if self.open is None or self.decider.alerting:
            return []
        if not levels.running(at_s):
            return self._close(at_s)
        self.verdict = replace(self.verdict, state=State.ALERT, since_s=self.open.onset_s)
        return []

    def _begin_from_level(self, at_s: float) -> None:
        """Scores are others from now on: evidence gathers anew."""
        assert self.verdict is not None
        self.decider = Decider(self._decision())
        self.decider.wait(at_s + QUIET_S)
        lasts = (State.ALERT, self.open.onset_s) if self.open is not None else (State.NORMAL, None)
        self.verdict = replace(self.verdict, raised=False, state=lasts[0], since_s=lasts[1])

    @property
    def says(self) -> str:
        """The watch's state in words, for people."""
        if self.judged_until_s is None:
            return "pas encore jugé"
        if missing := self.window.missing(self.judged_until_s):
            return f"données insuffisantes : {missing}"
        if self.open is not None:
            return "alerte"
        if self.suspects.open:
            return f"capteur en défaut : {', '.join(sorted(self.suspects.open))}"
        match self.verdict.state if self.verdict else None:
            case State.SUSPECT:
                return "suspect, sous le seuil de décision"
            case State.LEARNING:
                return "apprend"
        return "normal"

    def state(self) -> dict[str, Any]:
        """What must survive a power cut."""
        return {
            "judged_until_s": self.judged_until_s,
            "decider": self.decider.state(),
            "open": self.open.as_json() if self.open else None,
            "window": self.window.state() if isinstance(self.window, Remembers) else None,
            "suspects": self.suspects.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.judged_until_s = state["judged_until_s"]
        self.open = Alert.from_json(state["open"]) if state["open"] else None
        known = state.get("window")  # states of before 2026-11-26 have none
        if known is not None and isinstance(self.window, Remembers):
            self.window.restore(known)
        self.decider.decision = self._decision()
        self.decider.restore(state["decider"])
        if "suspects" in state:  # not in those of before 2026-11-26
            self.suspects.restore(state["suspects"])
