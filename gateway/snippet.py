"""The raw samples around an alert: what the devices said in the minutes before it and after, value by value.

Raw samples live in memory, in the ring of each device (`gateway.recent`: 8 bytes a value, 2.9 kB a point, 2.8 MiB for a
thousand points), and go as new ones come. When an alert is raised, those of the points that it speaks of are put on the disk
at once, behind it, and completed twice with what came since: a power cut in between costs the minutes after it, not those
before. They stay on the gateway, where `guet explain` finds them; what the platform gets is the alert with its reasons.

Times are kept as seconds from when the alert was raised, so that they move with it when the clock is put right.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.alert import Alert
from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.live import Live
from gateway.reading import split_point
from gateway.site import Site
from gateway.store import Store
from gateway.upstream.payload import time_text

log = logging.getLogger(__name__)

POINTS: Final = 12
"""Of one alert, the weightiest first."""
SAMPLES: Final = 400
"""Of one point: as many before the alert and as many after it at the most."""
MAX_BYTES: Final = 16 * 1024
"""Of one alert on the disk, compressed; what is more is thinned, the farthest from the alert first."""
BEFORE_S: Final = 6 * 3600.0
AFTER_S: Final = (120.0, 300.0)
"""When it is completed, in seconds after the alert: a ring holds six minutes of a device that is read every second."""
AT_ONCE: Final = 50
"""So many alerts can be completed at the same time; of more, only what was before them is kept."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Of one point, in order of time. offsets_s: from when the alert was raised, negative before; None: no usable value."""

    point: str
    unit: str
    offsets_s: Sequence[float]
    values: Sequence[float | None]


def points_of(alert: Alert, site: Site) -> list[str]:
    """The points that an alert speaks of: those of its reasons, then all of its subject, be it a watch or a device."""
    named = [reason.point for reason in alert.reasons]
    if (watch := site.watches.get(alert.subject)) is not None:
        named += [point for points in watch.inputs.values() for point in points]
    if (device := site.devices.get(alert.subject)) is not None:
        named += [f"{device.name}/{name}" for name in device.points]
    return [point for point in dict.fromkeys(named) if _known(point, site)][:POINTS]


def _known(point: str, site: Site) -> bool:
    device, _, name = point.partition("/")
    return device in site.devices and name in site.devices[device].points


def packed(points: Iterable[Samples]) -> bytes:
    """As it is kept: JSON, compressed, MAX_BYTES at the most."""
    kept = list(points)
    while True:
        body = [[s.point, s.unit, [round(t, 3) for t in s.offsets_s], list(s.values)] for s in kept]
        content = zlib.compress(json.dumps(body, separators=(",", ":")).encode())
        if len(content) <= MAX_BYTES:
            return content
        most = max(len(samples.offsets_s) for samples in kept)
        kept = [_nearest(samples, most * 3 // 4) for samples in kept]


def _nearest(samples: Samples, count: int) -> Samples:
    """So many of them, those nearest to the alert."""
    chosen = sorted(range(len(samples.offsets_s)), key=lambda at: abs(samples.offsets_s[at]))[:count]
    return _picked(samples, sorted(chosen))


def _picked(samples: Samples, chosen: Iterable[int]) -> Samples:
    chosen = list(chosen)
    return replace(
        samples, offsets_s=[samples.offsets_s[at] for at in chosen], values=[samples.values[at] for at in chosen]
    )


def unpacked(content: bytes) -> list[Samples]:
    """The inverse of `packed`; empty for what the disk has garbled."""
    try:
        body: Any = json.loads(zlib.decompress(content))
        return [Samples(str(point), str(unit), offsets_s, values) for point, unit, offsets_s, values in body]
    except (zlib.error, ValueError, TypeError) as error:
        log.error("snippet: cannot be understood, skipped: %r", error)
        return []


def joined(before: Sequence[Samples], now: Sequence[Samples]) -> list[Samples]:
    """What was kept and what came since, each sample once, SAMPLES before the alert and as many after it."""
    known = {samples.point: dict(zip(samples.offsets_s, samples.values, strict=True)) for samples in before}
    found = []
    for samples in now:
        kept = known.get(samples.point, {})
        last_s = max(kept, default=-BEFORE_S)
        fresh = zip(samples.offsets_s, samples.values, strict=True)
        rows = sorted([*kept.items(), *((at, value) for at, value in fresh if at > last_s + 0.001)])
        split = sum(at <= 0 for at, _ in rows)
        rows = rows[max(0, split - SAMPLES) : split + SAMPLES]
        found.append(replace(samples, offsets_s=[at for at, _ in rows], values=[value for _, value in rows]))
    return found


def csv_lines(points: Sequence[Samples], raised_s: float) -> Iterator[str]:
    """As `guet replay` reads them: time, point, value, unit, in order of time."""
    yield "time,point,value,unit"
    rows = [
        (raised_s + at, samples.point, value, samples.unit)
        for samples in points
        for at, value in zip(samples.offsets_s, samples.values, strict=True)
    ]
    for time_s, point, value, unit in sorted(rows, key=lambda row: row[:2]):
        yield f"{time_text(round(time_s, 3))},{point},{'' if value is None else repr(value)},{unit}"


class Snippets:
    """Keeps them; see the module."""

    def __init__(self, site: Site, live: Live, store: Store, clock: Clock) -> None:
        self._site, self._live, self._store, self._clock = site, live, store, clock
        self._under_way = 0

    async def keep(self, alert: Alert) -> None:
        """Of an alert that is raised now; takes as long as the last of AFTER_S."""
        if alert.cleared_s is not None or not (points := points_of(alert, self._site)):
            return
        began_s = self._clock.monotonic()
        late_s = self._clock.now() - alert.raised_s
        try:
            if self._store.snippet(alert.id) is not None:
                return
            self._capture(alert.id, points, late_s)
            if self._under_way >= AT_ONCE:
                return
            self._under_way += 1
            try:
                for after_s in AFTER_S:
                    await self._clock.sleep(began_s + after_s - self._clock.monotonic())
                    self._capture(alert.id, points, late_s + self._clock.monotonic() - began_s)
            finally:
                self._under_way -= 1
        except StoreError as error:
            log.error("alert=%s: samples around it not kept: %s", alert.id, error)

    def _capture(self, alert: str, points: Sequence[str], late_s: float) -> None:
        """late_s: how long ago the alert was raised, by the clock as it is set now."""
        raised_s = self._clock.now() - late_s
        kept = self._store.snippet(alert)
        now = [self._samples(point, raised_s) for point in points]
        self._store.keep_snippet(alert, packed(joined(unpacked(kept) if kept is not None else [], now)))

    def _samples(self, point: str, raised_s: float) -> Samples:
        device, name = split_point(point)
        device, name = split_point(point)
        rows = sorted(self._live.recent[device].curve(name), key=lambda row: row[0])
        rows = [(time_s - raised_s, value) for time_s, value in rows if time_s - raised_s >= -BEFORE_S]
        unit = self._site.devices[device].units[name]
        return Samples(point, unit, [at for at, _ in rows], [value for _, value in rows])
