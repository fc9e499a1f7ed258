"""What curves the pages show: from the live ring and from the stored summaries.

Every question to the store is bounded, in rows read and in rows handed on, and asked piece by piece, so that the field
side is never kept waiting by somebody who looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.alert import Alert
from gateway.reading import split_point
from gateway.replace import changes
from gateway.site import Device, Site
from gateway.summary import Summary
from gateway.web.curve import Curve, Mark, Range, Sample, joined, seen, seen_over, thin
from gateway.web.words import Speech

if TYPE_CHECKING:
    from gateway.app import Gateway

CURVES_A_PAGE = 4
MOST_CHANGES = 3
ALERT_CURVES = 4
BINS = 72
"""Stretches of time in one curve: enough for a phone, few enough for a page under 60 kB."""
_DAY_S = 86_400.0
_DAYS_SHOWN = 14
_PERIODS_READ, _ROWS_PASSED, _ROWS_AT_ONCE = 2_000, 200_000, 4_000
"""Most summaries of one device in one answer; most rows of all devices passed over for it; most of them in one go."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A curve and the table beside it: rows of a period in words and what was seen in it."""

    heading: str
    curve: Curve
    rows: Sequence[tuple[str, Range | None]]


class Pictures:
    """The curves of one answer, in one language, at one moment."""

    def __init__(self, gateway: Gateway, speech: Speech) -> None:
        self.gateway, self.speech = gateway, speech

    async def of_device(self, device: Device, names: Sequence[str]) -> dict[str, list[Picture]]:
        """Of each point: the live ring, and the stored days below it."""
        now_s = self.speech.now_s
        days = await self._history(device.name, now_s - _DAYS_SHOWN * _DAY_S, now_s)
        out: dict[str, list[Picture]] = {}
        for name in names:
            found = [
                self._live(device, name),
                self._days(device, name, days),
            ]
            out[name] = [picture for picture in found if picture is not None]
        return out

    def _live(self, device: Device, name: str) -> Picture | None:
        ring = self.gateway.live.recent[device.name].curve(name)
        samples = sorted(((time_s, seen(value)) for time_s, value in ring), key=lambda sample: sample[0])
        if not samples:
            return None
        say, until_s = self.speech, max(self.speech.now_s, samples[-1][0])
        period_s = device.period_s(device.points[name])
        since_s = min(samples[0][0], until_s - 5 * period_s)
        heading = say("Dernières lectures")
        marks = self._changes(device.name, since_s, until_s)
        curve = self._curve(f"{device.name}/{name}", heading, samples, since_s, until_s, period_s, "live", marks)
        rows = [(say("toutes les lectures"), joined(found for _, found in samples))]
        return Picture(heading, curve, rows)

    def _days(self, device: Device, name: str, days: Sequence[Summary]) -> Picture | None:
        samples = samples_of(days, name)
        if not samples:
            return None
        say = self.speech
        heading, period_s = say("Les derniers jours"), self.gateway.site.period_s
        since_s = min(samples[0][0] - period_s / 2, say.now_s - _DAY_S)
        marks = self._changes(device.name, since_s, say.now_s)
        curve = self._curve(f"{device.name}/{name}", heading, samples, since_s, say.now_s, period_s, "days", marks)
        return Picture(heading, curve, self._by_day(samples))

    def _changes(self, device: str, since_s: float, until_s: float) -> list[Mark]:
        """Where other hardware came."""
        known = [(at_s, words) for at_s, words in changes(self.gateway.store, device) if since_s <= at_s <= until_s]
        return [Mark(at_s, words, "onset") for at_s, words in known[-MOST_CHANGES:]]

    def _by_day(self, samples: Sequence[Sample]) -> list[tuple[str, Range | None]]:
        by_day: dict[str, list[Range | None]] = {}
        for time_s, found in samples:
            by_day.setdefault(self.speech.day(time_s), []).append(found)
        return [(day, joined(found)) for day, found in reversed(by_day.items())]

    def _curve(
        self, point: str, heading: str, samples: Sequence[Sample], since_s: float, until_s: float, period_s: float,
        key: str, marks: Sequence[Mark] = (), height: int = 150,
    ) -> Curve:  # fmt: skip
        drawn = thin(samples, BINS, 2.5 * period_s)
        stretch_s = (samples[-1][0] - samples[0][0]) / BINS
        device, name = split_point(point)
        return Curve(
            key=f"{key}-{name}" if key in ("live", "days") else f"{key}-{device}-{name}",
            title=f"{title_of(self.gateway.site, point)}, {heading.lower()}",
            unit=self.gateway.site.point(point).unit,
            samples=drawn,
            since_s=since_s,
            until_s=until_s,
            gap_s=2.5 * max(period_s, stretch_s),
            marks=marks,
            height=height,
        )

    async def of_alert(self, alert: Alert) -> list[tuple[str, Picture]]:
        """The points that an alert rests on, from well before its onset to after it was raised."""
        say = self.speech
        lasted_s = max(alert.raised_s - alert.onset_s, 3600.0)
        since_s = alert.onset_s - min(max(2 * lasted_s, 2 * _DAY_S), 10 * _DAY_S)
        until_s = min(max(alert.cleared_s or alert.raised_s, alert.raised_s + lasted_s), alert.raised_s + 3 * _DAY_S)
        until_s = min(until_s, max(say.now_s, alert.raised_s))
        marks = [
            Mark(alert.onset_s, f"{say('début')} {self._instant(alert.onset_s, until_s - since_s)}", "onset"),
            Mark(alert.raised_s, f"{say('alerte')} {self._instant(alert.raised_s, until_s - since_s)}", "raised"),
        ]
        if alert.cleared_s is not None and alert.cleared_s <= until_s:
            marks.append(Mark(alert.cleared_s, f"{say('fin')} {say.clock(alert.cleared_s)}", "cleared"))
        out = []
        histories: dict[str, list[Summary]] = {}
        for point in self._points_of(alert):
            device, name = split_point(point)
            if device not in histories:
                histories[device] = await self._history(device, since_s, until_s)
            samples = samples_of(histories[device], name)
            if samples:
                period_s = self.gateway.site.period_s
                heading = say("Mesures autour du début")
                curve = self._curve(point, heading, samples, since_s, until_s, period_s, "around", marks, 190)
                before = joined(found for time_s, found in samples if time_s < alert.onset_s)
                after = joined(found for time_s, found in samples if time_s >= alert.onset_s)
                rows = [(say("avant le début"), before), (say("depuis le début"), after)]
                out.append((point, Picture(title_of(self.gateway.site, point), curve, rows)))
            if len(out) == ALERT_CURVES:
                break
        return out

    def _instant(self, time_s: float, span_s: float) -> str:
        return self.speech.at(time_s) if span_s > 20 * 3600 else self.speech.clock(time_s)

    def _points_of(self, alert: Alert) -> list[str]:
        """The points of its reasons, the heaviest first, then the other inputs of its watch, or of its device."""
        site = self.gateway.site
        wanted = [reason.point for reason in alert.reasons]
        if (entry := site.watches.get(alert.subject)) is not None:
            wanted += [point for points in entry.inputs.values() for point in points]
        elif (device := site.devices.get(alert.subject)) is not None:
            wanted += [f"{device.name}/{name}" for name in device.points]
        known = {f"{device.name}/{name}" for device in site.devices.values() for name in device.points}
        return [point for point in dict.fromkeys(wanted) if point in known]

    async def _history(self, device: str, since_s: float, until_s: float) -> list[Summary]:
        """A device's stored summaries, as far back from `until_s` as one answer may reach."""
        period_s, devices = self.gateway.site.period_s, max(1, len(self.gateway.site.devices))
        since_s = max(since_s, until_s - period_s * min(_PERIODS_READ, _ROWS_PASSED / devices))
        step_s = period_s * max(1, _ROWS_AT_ONCE // devices)
        step_s = min(step_s, 200 * period_s)
        out: list[Summary] = []
        while since_s < until_s:
            out += self.gateway.store.summaries(device, since_s, min(since_s + step_s, until_s))
            since_s += step_s
            await asyncio.sleep(0)
        return out


def samples_of(summaries: Iterable[Summary], name: str) -> list[Sample]:
    """One point's course through its device's summaries; nothing where it is in none of them."""
    out = [(summary.start_s + summary.period_s / 2, seen_over(summary.points.get(name))) for summary in summaries]
    return out if any(found is not None for _, found in out) else []


def title_of(site: Site, point: str) -> str:
    """What people call `device/point`: the profile's title of it, or its name."""
    try:
        return site.point(point).title or point.partition("/")[2]
    except (KeyError, ValueError):
        return point
