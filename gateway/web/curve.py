"""Curves: one SVG writer for every page. Pure: numbers in, text out.

A curve is a line through means with a band from minimum to maximum behind it, broken where nothing is known, with marks
at instants. The picture is as wide as its place and `height` pixels high, and its letters are as big as the page's: the
data are stretched, the words are not. It speaks for itself to those who cannot see it (title, desc); the numbers belong
in a table beside it. Colours come from the classes: curve-line, curve-band, curve-dot, curve-grid, curve-mark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from xml.sax.saxutils import escape

from gateway.summary import Aggregate
from gateway.web.words import Speech

MOST_TIME_TICKS = 3
MOST_VALUE_TICKS = 4
_WIDTH = 1000
_FOOT, _HEAD, _ROW = 30, 32, 24  # pixels below the plot for times, above it for the unit and for each mark
_Place = Callable[[float], float]
_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 432000, 864000, 1728000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Range:
    """What was seen over a stretch of time, from `n` readings."""

    low: float
    mean: float
    high: float
    n: int = 1


Sample = tuple[float, Range | None]
"""Middle of a stretch of time, UTC seconds, and what was seen in it; None: nothing usable, the line breaks."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant with a word to it. kind chooses the stroke, so that marks differ by more than colour."""

    time_s: float
    word: str
    kind: Literal["onset", "raised", "cleared"]


@dataclass(frozen=True, slots=True)
class Curve:
    """What is to be drawn. Samples in order of time; the line also breaks where two are further apart than `gap_s`."""

    key: str
    title: str
    unit: str
    samples: Sequence[Sample]
    since_s: float
    until_s: float
    gap_s: float
    marks: Sequence[Mark] = ()
    height: int = 150


def seen(value: float | None) -> Range | None:
    """One reading."""
    return None if value is None or not math.isfinite(value) else Range(value, value, value)


def seen_over(aggregate: Aggregate | None) -> Range | None:
    """One period's summary of a point."""
    if aggregate is None or aggregate.mean is None or aggregate.min is None or aggregate.max is None:
        return None
    found = Range(aggregate.min, aggregate.mean, aggregate.max, aggregate.n)
    return found if math.isfinite(found.low + found.mean + found.high) else None


def joined(ranges: Iterable[Range | None]) -> Range | None:
    """Several as one; None when nothing was seen in any."""
    there = [found for found in ranges if found is not None]
    n = sum(found.n for found in there)
    if n == 0:
        return None
    mean = sum(found.mean * (found.n / n) for found in there)
    return Range(min(found.low for found in there), mean, max(found.high for found in there), n)


def thin(samples: Sequence[Sample], most: int, gap_s: float) -> list[Sample]:
    """About `most` samples that still show every peak, and every hole that would be seen: neighbours in time become one
    range, and None stands between two where nothing was seen for longer than `gap_s` and than one stretch."""
    if len(samples) <= most:
        return list(samples)
    first_s = samples[0][0]
    stretch_s = (samples[-1][0] - first_s) / most or 1.0
    out: list[Sample] = []
    group: list[tuple[float, Range]] = []
    for time_s, found in samples:
        if found is None:
            continue
        hole = bool(group) and time_s - group[-1][0] > max(gap_s, stretch_s)
        if group and (hole or (time_s - first_s) // stretch_s != (group[0][0] - first_s) // stretch_s):
            out.append(_as_one(group))
            if hole:
                out.append(((group[-1][0] + time_s) / 2, None))
            group = []
        group.append((time_s, found))
    return [*out, _as_one(group)] if group else out


def _as_one(group: Sequence[tuple[float, Range]]) -> Sample:
    return sum(time_s for time_s, _ in group) / len(group), joined(found for _, found in group)


def svg(curve: Curve, speech: Speech) -> str:
    """The picture, as an <svg> element."""
    low, high, values = _scale([found for _, found in curve.samples if found is not None])
    span_s = max(curve.until_s - curve.since_s, 1.0)
    top, plot = _HEAD + _ROW * len(curve.marks), curve.height
    foot = top + plot

    def across(time_s: float) -> float:
        return (time_s - curve.since_s) / span_s

    def down(value: float) -> float:
        return plot * (high - value) / (high - low)

    key = escape(curve.key, {'"': "&quot;"})
    out = [
        f'<svg class="curve" role="img" width="100%" height="{foot + _FOOT}" aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">{escape(curve.title)}</title>',
        f'<desc id="{key}-d">{escape(described(curve, speech))}</desc>',
    ]
    if shown := speech.unit(curve.unit).strip():
        out.append(f'<text x="-8" y="{top - 20}" text-anchor="end">{escape(shown)}</text>')
    if not values:
        nothing = escape(speech("aucune valeur utilisable"))
        out.append(f'<text x="50%" y="{top + plot / 2:.0f}" text-anchor="middle">{nothing}</text>')
    for value in values:
        y = top + down(value)
        out.append(f'<line class="curve-grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="-8" y="{y + 6:.1f}" text-anchor="end">{escape(_short(value, values, speech))}</text>')
    for time_s, word in time_ticks(curve.since_s, curve.until_s, speech):
        x = 100 * across(time_s)
        inwards = -16 if x > 93 else 16 if x < 4 else 0
        out.append(f'<line class="curve-grid" x1="{x:.1f}%" x2="{x:.1f}%" y1="{foot}" y2="{foot + 6}"/>')
        out.append(f'<text x="{x:.1f}%" y="{foot + 24}" dx="{inwards}" text-anchor="middle">{escape(word)}</text>')
    out.append(
        f'<svg y="{top}" width="100%" height="{plot}" viewBox="0 0 {_WIDTH} {plot}" preserveAspectRatio="none">'
        + "".join(_data(curve, lambda t: _WIDTH * across(t), down))
        + "</svg>"
    )
    out += _marks([mark for mark in curve.marks if curve.since_s <= mark.time_s <= curve.until_s], across, foot)
    return "".join([*out, "</svg>"])


def _marks(marks: Sequence[Mark], across: _Place, foot: int) -> Iterator[str]:
    """Each with a row of its own for its word, all words on the same side of their lines, so that none is crossed."""
    ordered = sorted(marks, key=lambda mark: mark.time_s)
    leftwards = bool(ordered) and across(ordered[-1].time_s) > 0.5
    for row, mark in enumerate(reversed(ordered) if leftwards else ordered):
        x, y = 100 * across(mark.time_s), _ROW * (row + 1)
        side, shift = ("end", -8) if leftwards else ("start", 8)
        yield (
            f'<g class="curve-mark {mark.kind}"><line x1="{x:.2f}%" x2="{x:.2f}%" y1="{y - 18}" y2="{foot}"/>'
            f'<text x="{x:.2f}%" dx="{shift}" y="{y - 4}" text-anchor="{side}">{escape(mark.word)}</text></g>'
        )


def described(curve: Curve, speech: Speech) -> str:
    """What the curve shows, in a sentence."""
    found = joined(found for _, found in curve.samples)
    period = f"{speech.at(curve.since_s)} – {speech.at(curve.until_s)}"
    if found is None:
        return f"{period} : {speech('aucune valeur utilisable')}"
    said = speech(
        "moyenne {mean}, de {low} à {high}, {n} lectures",
        mean=speech.value(found.mean, curve.unit),
        low=speech.value(found.low, curve.unit),
        high=speech.value(found.high, curve.unit),
        n=speech.whole(found.n),
    )
    marks = "".join(f" ; {mark.word}" for mark in curve.marks)
    return f"{period} : {said}{marks}"


def time_ticks(since_s: float, until_s: float, speech: Speech) -> Iterator[tuple[float, str]]:
    """Round local times between the two, with their words: the hour, or the day at midnight."""
    span_s = until_s - since_s
    if not span_s > 0:
        return
    step_s = next(
        (step for step in _STEPS_S if span_s / step <= MOST_TIME_TICKS),
        86400 * math.ceil(span_s / 86400 / MOST_TIME_TICKS),
    )
    start = speech.local(since_s)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = start.replace(tzinfo=None) - midnight.replace(tzinfo=None)
    # Whole steps of wall time from midnight, so that ticks stay on round hours when the clocks change.
    number = math.ceil(passed.total_seconds() / step_s)
    while (time_s := (when := midnight + timedelta(seconds=step_s * number)).timestamp()) <= until_s:
        if time_s >= since_s:
            at_midnight = (when.hour, when.minute, when.second) == (0, 0, 0)
            seconds = f":{when.second:02d}" if step_s < 60 else ""
            yield time_s, speech.day(time_s) if at_midnight else speech.clock(time_s) + seconds
        number += 1


def value_ticks(low: float, high: float, least_step: float = 0.0) -> list[float]:
    """Round values that lie from below `low` to above `high`, two to six of them."""
    step = max(least_step, _round_step((high - low) / (MOST_VALUE_TICKS - 1)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= rough * (1 - 1e-9))


def _scale(ranges: Sequence[Range]) -> tuple[float, float, list[float]]:
    """Lowest and highest value of the plot, and the ticks. Noise is not blown up to the full height, and zero is shown
    where it is near."""
    if not ranges:
        return 0.0, 1.0, []
    low, high = min(found.low for found in ranges), max(found.high for found in ranges)
    whole = all(value == math.floor(value) for found in ranges for value in (found.low, found.high))
    least = max(0.02 * max(abs(low), abs(high)), 1.0 if whole or low == high == 0 else 1e-6)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
        if min(found.low for found in ranges) >= 0:
            low = max(0.0, low)
    if 0 < low < 0.4 * high:
        low = 0.0
    ticks = value_ticks(low, high, 1.0 if whole else 0.0)
    return ticks[0], ticks[-1], ticks


def _short(value: float, ticks: Sequence[float], speech: Speech) -> str:
    """A tick's number, with as many decimals as tell the ticks apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    size = max(abs(ticks[0]), abs(ticks[-1]))
    if size >= 1e9:
        return speech.number(value)
    for limit, sign in ((1e7, "M"), (1e4, "k")):
        if size >= limit and step >= limit / 1e3:
            unit = limit / 10
            return f"{speech.fixed(value / unit, _decimals(step / unit))}\u202f{sign}"
    return speech.fixed(value, _decimals(step))


def _decimals(step: float) -> int:
    for digits in range(4):
        if abs(step * 10**digits - round(step * 10**digits)) < 1e-6 * max(1.0, step * 10**digits):
            return digits
    return 4


def _data(curve: Curve, across: _Place, down: _Place) -> Iterator[str]:
    """Band and line of each unbroken run."""
    for run in _runs(curve.samples, curve.gap_s):
        if any(found.high > found.low for _, found in run):
            there = [f"{across(time_s):.0f} {_y(down(found.high))}" for time_s, found in run]
            back = [f"{across(time_s):.0f} {_y(down(found.low))}" for time_s, found in reversed(run)]
            yield f'<path class="curve-band" d="M{"L".join(there + back)}Z"/>'
        means = [f"{across(time_s):.0f} {_y(down(found.mean))}" for time_s, found in run]
        # A lone value has no length: its round ends are its dot.
        name, path = ("curve-line", "L".join(means)) if len(means) > 1 else ("curve-dot", f"{means[0]}h0")
        yield f'<path class="{name}" vector-effect="non-scaling-stroke" d="M{path}"/>'


def _runs(samples: Sequence[Sample], gap_s: float) -> Iterator[list[tuple[float, Range]]]:
    run: list[tuple[float, Range]] = []
    for time_s, found in samples:
        if run and (found is None or time_s - run[-1][0] > gap_s):
            yield run
            run = []
        if found is not None:
            run.append((time_s, found))
    if run:
        yield run


def _y(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
