"""What no single key of a profile shows: points that overlap, that no device could give, or that no byte proves.

Everything here is told by place, unit and bytes, never by what kind of device it is; the rules hold for every protocol
whose points say which bytes they are made of (`Point.claim`) and how their number is written (`Point.form`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.codec.value import SIZE, Format, reordered
from gateway.errors import GarbledAnswer

LEAST_SCALE = 1e-12
_LARGEST = {"f32": (2 - 2**-23) * 2.0**127, "f64": sys.float_info.max}


@dataclass(frozen=True, slots=True)
class Claim:
    """The bytes of the device that a point is made of. area: whatever separates them from others (register kind, memory
    bank, query); first: of the value's first byte (coils: of the cell); lead: bytes before it, down to its exponent."""

    area: Hashable
    first: int
    lead: int = 0


class Limits(Protocol):
    """Limits of a write."""

    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...


class PointLike(Protocol):
    """What is asked of a point here."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def range(self) -> tuple[float, float] | None: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def write(self) -> Limits | None: ...
    @property
    def form(self) -> Format | None: ...
    @property
    def claim(self) -> Claim | None: ...


class ExampleLike(Protocol):
    """What is asked of an example here."""

    @property
    def point(self) -> str: ...
    @property
    def evidence(self) -> str: ...
    @property
    def raw(self) -> str: ...
    @property
    def value(self) -> float | None: ...


def in_points(points: Sequence[PointLike]) -> Iterator[str]:
    """Faults of the points, each alone and each with the others."""
    names = [point.name for point in points]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"point {name!r} is described twice; give each its own name"
    for point in points:
        form = point.form
        if form is not None and not usable(form):
            yield f"point {point.name!r}.scale: expected a number of at least {LEAST_SCALE:g} in size"
        elif form is not None:
            yield from (f"point {point.name!r}.{fault}" for fault in _impossible(point, form))
    yield from _overlaps(points)


def usable(form: Format) -> bool:
    """Whether a number can be made at all; a scale next to nothing only gives noughts and infinities."""
    return abs(form.scale) >= LEAST_SCALE


def reach(form: Format) -> tuple[float, float] | None:
    """The lowest and the highest value that the bytes can give; None where a separate exponent sets no limit."""
    if form.exponent_at is not None:
        return None
    if form.type in _LARGEST:
        low, high = -_LARGEST[form.type], _LARGEST[form.type]
    elif form.type == "bit":
        low, high = 0.0, 1.0
    elif form.mask is not None:
        low, high = 0.0, float(form.mask // (form.mask & -form.mask))
    elif form.type.startswith("bcd"):
        low, high = 0.0, 10.0 ** (2 * form.size) - 1
    else:
        bits = 8 * form.size
        signed = form.type.startswith("i")
        low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    ends = sorted((_bounded(low * form.scale + form.offset), _bounded(high * form.scale + form.offset)))
    return ends[0], ends[1]


def _bounded(value: float) -> float:
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def _impossible(point: PointLike, form: Format) -> Iterator[str]:
    """What the point promises and its bytes, or its own range, cannot give."""
    ends = reach(form)
    way = f"{form.type}{f' with mask {form.mask:#x}' if form.mask else ''} at scale {form.scale:g}"
    slack = abs(form.scale) * (1 + 1e-9)
    if ends and point.range and not (ends[0] - slack <= point.range[0] and point.range[1] <= ends[1] + slack):
        yield (
            f"range: expected it within {ends[0]:g} to {ends[1]:g}, all that {way} can give, "
            f"got [{point.range[0]:g}, {point.range[1]:g}]; correct range, type or scale"
        )
    low, high = point.range or ends or (-math.inf, math.inf)
    if point.write is not None and point.range and not (low <= point.write.min and point.write.max <= high):
        yield (
            f"write: expected limits within {low:g} to {high:g}, "
            f"got {point.write.min:g} to {point.write.max:g}; correct the limits or the range"
        )
    for label in point.labels:
        try:
            number = int(label)
        except ValueError:
            yield f"labels: expected whole numbers as keys, got {label!r}; labels are for whole numbers only"
            continue
        if not low <= number <= high:
            yield f"labels: {label!r} is outside of {low:g} to {high:g}, what can be given; correct or remove it"
        elif number in form.sentinels and (form.scale, form.offset, form.mask) == (1, 0, None):
            yield f"labels: {label!r} is a sentinel too, which is never shown; remove one of both"


def _bits(claim: Claim, form: Format) -> tuple[tuple[int, int], frozenset[int]]:
    """First and end of the claimed bytes, and the claimed bits, numbered from the area's first byte on."""
    first, size = claim.first, SIZE[form.type]
    if form.mask is None:
        bits = set(range(8 * first, 8 * (first + size)))
    else:
        mask = reordered(form.mask.to_bytes(size, "big"), form.word_order, form.byte_order)
        bits = {8 * (first + at) + bit for at, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1}
    if claim.lead:
        bits |= set(range(8 * (first - claim.lead), 8 * (first - claim.lead) + 8))
    return (first - claim.lead, first + size), frozenset(bits)


def _overlaps(points: Sequence[PointLike]) -> Iterator[str]:
    """Points that take the same bits for different things. The same bytes in the same type may be seen as a whole and
    by their bits; anything else is a wrong address, type or mask."""
    seen: dict[Hashable, list[tuple[str, tuple[int, int], frozenset[int], Format]]] = {}
    for point in points:
        if point.claim is None or point.form is None:
            continue
        extent, bits = _bits(point.claim, point.form)
        others = seen.setdefault(point.claim.area, [])
        for other, other_extent, other_bits, form in others:
            both = f"points {other!r} and {point.name!r}"
            if other == point.name or not bits & other_bits:
                continue
            if extent != other_extent or point.form.type != form.type:
                yield f"{both} overlap: the same bytes are taken for two things; correct address or type, or give masks"
            elif bits == other_bits:
                yield f"{both} are the same place of the device; keep one"
        others.append((point.name, extent, bits, point.form))


def in_examples(
    examples: Sequence[ExampleLike], points: Mapping[str, tuple[PointLike, int | None, Callable[[bytes], float | None]]]
) -> Iterator[str]:
    """Faults of the examples. points: by name, each with its number of bytes (None: it varies) and its decoder."""
    for index, example in enumerate(examples):
        where = f"example[{index}]"
        if example.point not in points:
            yield f"{where}.point: {example.point!r} is no point of this profile; use one of {', '.join(points)}"
            continue
        point, size, decode = points[example.point]
        raw = bytes.fromhex(example.raw)
        if size is not None and len(raw) != size:
            yield f"{where}.raw: expected the {size} bytes of {example.point!r}, got {len(raw)}"
            continue
        try:
            got = decode(raw)
        except GarbledAnswer as error:
            yield f"{where}.raw: {error}; give it whole, as the device sends it"
            continue
        if not same(got, example.value):
            yield f"{where}: {example.raw!r} gives {got!r} for {example.point!r}, the example says {example.value!r}"
        elif example.evidence == "standard":
            pass  # proves how the number is written; no device needs to be able to say it
        elif got is not None and point.range and not point.range[0] <= got <= point.range[1]:
            yield f"{where}: {got:g} is outside of the range of {example.point!r}; correct the range or the example"


def same(got: float | None, wanted: float | None) -> bool:
    """Whether two values are equal but for rounding; None: no value."""
    if got is None or wanted is None:
        return got is wanted
    return abs(got - wanted) <= 1e-6 * max(1.0, abs(wanted))


def unbounded(points: Iterable[PointLike]) -> list[str]:
    """Measured points whose values nothing bounds: no range, though they have a unit or are no whole number."""
    return [
        point.name
        for point in points
        if point.range is None and (point.unit != "1" or (point.form is not None and point.form.type in _LARGEST))
    ]
