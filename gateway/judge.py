"""The judge: snapshots -> summaries -> watches -> alerts, in order of time and without input or output.

One judge serves the live gateway, the replay of a recording and the tests; what differs is only who gives it snapshots and
who keeps what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.alert import Alert
from gateway.moved import Moved
from gateway.reading import Snapshot
from gateway.rule import SILENT_AFTER_PERIODS, no_data_alert
from gateway.site import Site
from gateway.summary import Summariser, Summary
from gateway.watch import Watch


@dataclass(slots=True)
class Outcome:
    """What one tick gave. `states`: by watch, what must survive a power cut, to be stored with the alerts at once."""

    summaries: list[Summary] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)


class Judge:
    """See the module."""

    def __init__(self, site: Site, watches: Sequence[Watch]) -> None:
        self.watches = {watch.name: watch for watch in watches}
        self._summarisers = {name: Summariser(name, site.period_s) for name in site.devices}
        self._done: list[Summary] = []
        self._silence = {name: _Silence(name, device.every_s, site.period_s) for name, device in site.devices.items()}

    def restore(self, states: Mapping[str, Any], open_alerts: Iterable[Alert]) -> None:
        """Puts back what was remembered, before anything else is told."""
        for name, watch in self.watches.items():
            if name in states:
                watch.restore(states[name])
        for alert in open_alerts:
            if (silence := self._silence.get(alert.subject)) is not None and alert.model == "no_data":
                silence.open, silence.good_s = alert, alert.onset_s

    def remember(self, history: Iterable[Summary]) -> None:
        """Fills the windows from stored summaries, in order of time; before the first tick, while snapshots may come."""
        for summary in history:
            self._distribute(summary)

    def take(self, snapshot: Snapshot) -> list[Summary]:
        """Takes a snapshot in; gives the summaries it completes (a period also ends by `tick`). Watches see them at the
        next tick."""
        done = list(self._summarisers[snapshot.device].add(snapshot))
        self._silence[snapshot.device].heard(snapshot)
        self._done += done
        return done

    def tick(self, now_s: float) -> Outcome:
        """Ends the periods that are over at `now_s`, and judges what can be judged then."""
        outcome = Outcome()
        for summariser in self._summarisers.values():
            outcome.summaries += summariser.close(now_s)
        for summary in (*self._done, *outcome.summaries):
            self._distribute(summary)
        self._done.clear()
        for watch in self.watches.values():
            before = watch.judged_until_s
            outcome.alerts += watch.judge(now_s)
            if watch.judged_until_s != before:
                outcome.states[watch.name] = watch.state()
        for silence in self._silence.values():
            outcome.alerts += silence.judge(now_s)
        return outcome

    def moved(self, by_s: float) -> None:
        """The clock was set: it now says `by_s` more than it did. What runs goes on under its new time."""
        for summariser in self._summarisers.values():
            summariser.moved(by_s)
        for silence in self._silence.values():
            silence.moved(by_s)

    def corrected(self, moved: Moved) -> dict[str, Any]:
        """What was dated by a guess is put right; the windows are empty then and must be filled again (`remember`). Gives
        the states of the watches, by name, to be stored."""
        self._done.clear()  # they are on their way to the store, from where the windows are filled
        for watch in self.watches.values():
            watch.corrected(moved)
        for silence in self._silence.values():
            if silence.open is not None:
                silence.open = moved.alert(silence.open)
        return {name: watch.state() for name, watch in self.watches.items()}

    def _distribute(self, summary: Summary) -> None:
        for watch in self.watches.values():
            watch.add(summary)


class _Silence:
    """Tells people when a device gives no good value for too long, and when it does again."""

    def __init__(self, device: str, every_s: float, period_s: float) -> None:
        self.device = device
        self.patience_s = max(SILENT_AFTER_PERIODS * period_s, 4 * every_s)
        self.good_s: float | None = None
        self.reason = ""
        self.open: Alert | None = None

    def heard(self, snapshot: Snapshot) -> None:
        if any(value is not None for value in snapshot.values.values()):
            self.good_s, self.reason = snapshot.time_s, ""
        elif snapshot.flaws:
            self.reason = next(iter(snapshot.flaws.values())).reason

    def moved(self, by_s: float) -> None:
        if self.good_s is not None:
            self.good_s += by_s

    def judge(self, now_s: float) -> list[Alert]:
        if self.good_s is None or self.good_s > now_s:  # just started, or the clock was put back
            self.good_s = now_s
        silent = now_s - self.good_s > self.patience_s
        if silent and self.open is None:
            self.open = no_data_alert(self.device, self.good_s, now_s, self.reason, self.patience_s)
            return [self.open]
        if not silent and self.open is not None:
            over, self.open = self.open.cleared(now_s), None
            return [over]
        return []
