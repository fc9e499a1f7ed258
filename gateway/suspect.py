"""Suspect sensors: a window says at each step which ones measure something else than what they are there for; what stays
suspect for a day becomes an alert of its own, and no other verdict rests on such a sensor alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.alert import Alert, Reason
from gateway.moved import Moved
from gateway.rule import sensor_fault_alert

if TYPE_CHECKING:
    from gateway.window import Features

PATIENCE_S = 86400.0


class Suspects:
    """The suspect sensors of one watch. open: their alerts, by point."""

    def __init__(self, rule: str) -> None:
        """rule: the name of what finds them."""
        self.open: dict[str, Alert] = {}
        self._rule = rule
        self._since_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}

    def judge(self, now_s: float, suspects: Sequence[Reason]) -> list[Alert]:
        """The alerts that begin or end at this step."""
        changed = []
        for reason in suspects:
            if now_s - self._seen_s.get(reason.point, now_s) > PATIENCE_S:
                del self._since_s[reason.point]
            since_s = self._since_s.setdefault(reason.point, now_s)
            self._seen_s[reason.point] = now_s
            if reason.point not in self.open and now_s - since_s >= PATIENCE_S:
                changed.append(self.accuse(now_s, reason))
        for point in [point for point, seen_s in self._seen_s.items() if now_s - seen_s > PATIENCE_S]:
            del self._seen_s[point], self._since_s[point]
            if point in self.open:
                changed.append(self.open.pop(point).cleared(now_s))
        return changed

    def accuse(self, now_s: float, reason: Reason) -> Alert:
        """A new alert about that sensor."""
        alert = sensor_fault_alert(reason, self._since_s.get(reason.point, now_s), now_s, self._rule)
        self.open[reason.point] = alert
        return alert

    def moved(self, moved: Moved) -> None:
        """What was dated by a guess is put right."""
        self.open = {point: moved.alert(alert) for point, alert in self.open.items()}
        self._since_s, self._seen_s = (
            {point: moved.time(time_s) for point, time_s in times.items()} for times in (self._since_s, self._seen_s)
        )

    def state(self) -> dict[str, Any]:
        """What must survive a power cut."""
        alerts = {point: alert.as_json() for point, alert in self.open.items()}
        return {"open": alerts, "since_s": dict(self._since_s), "seen_s": dict(self._seen_s)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.open = {point: Alert.from_json(body) for point, body in state["open"].items()}
        self._since_s, self._seen_s = dict(state["since_s"]), dict(state["seen_s"])


def rests_on(scorer: Callable[[Features], float], features: Features, threshold: float) -> Sequence[Reason]:
    """The suspects without whose departure the score would be below the threshold; none where it would not."""
    if not features.suspects or features.ease is None:
        return ()
    without = features.ease({reason.point: 0.0 for reason in features.suspects})
    return features.suspects if scorer(without) < threshold else ()
