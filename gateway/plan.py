"""The plan of a bus: which spans of which devices are read how often, and what becomes of their bytes.

Points of one device with the same period are read together and become one snapshot; the codec merges their places into
as few requests as the device takes. What a device turned out to refuse (`Refusals`) is planned around.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from gateway.codec import HeardCodec, Place, PolledCodec, Span
from gateway.codec.value import Decoder
from gateway.point import AnyPoint, HeardPoint, MbusPoint, PolledPoint, bytes_of, decoder_of
from gateway.reading import Flaw, FlawKind, Quality
from gateway.site import Device
from gateway.unit import UNITS

Decode = Callable[[bytes], float | None]


@dataclass(frozen=True, slots=True)
class Column:
    """One point within a span: where its bytes begin, how many there are, what number they make; doubt: why the device
    itself doubts that number, or has none, where it can say so (empty: it does not)."""

    point: str
    start: int
    stop: int
    decode: Decode
    range: tuple[float, float] | None
    unit: str
    doubt: Callable[[bytes], str] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One span and the points that it feeds."""

    span: Span
    columns: tuple[Column, ...]
    _whole: _Whole = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_whole", _Whole(self.columns))

    def decode(self, data: bytes, values: dict[str, float | None], flaws: dict[str, Flaw]) -> None:
        """Adds the values of the block's points, and why one has none."""
        self._whole.decode(data, values, flaws)


class _Whole:
    """The columns of a block, made ready so that one call of `struct` unpacks all that it can; the rest one by one."""

    __slots__ = ("_rest", "_rows", "_unpack")

    def __init__(self, columns: Sequence[Column]) -> None:
        layout, end = ">", 0
        rows, rest = [], []
        for column in sorted(columns, key=lambda column: column.start):
            decode = column.decode
            if isinstance(decode, Decoder) and decode.code and column.start >= end:
                low, high = column.range or (-math.inf, math.inf)
                layout += f"{column.start - end}x{decode.code}"
                end = column.start + struct.calcsize(">" + decode.code)
                rows.append((column.point, decode.finish, low, high, column))
            else:
                rest.append(column)  # not a type of struct's, or the same bytes as another
        self._unpack = struct.Struct(layout).unpack_from
        self._rows, self._rest = rows, rest

    def decode(self, data: bytes, values: dict[str, float | None], flaws: dict[str, Flaw]) -> None:
        for number, (point, finish, low, high, column) in zip(self._unpack(data), self._rows, strict=True):
            value = finish(number)
            if value is not None and low <= value <= high:
                values[point] = value
            else:
                take(column, value, values, flaws)
        for column in self._rest:
            raw = data[column.start : column.stop]
            take(column, column.decode(raw), values, flaws)
            if column.doubt is not None and (why := column.doubt(raw)):
                if flaws.get(column.point) is NO_VALUE:
                    flaws[column.point] = Flaw(Quality.BAD, why)
                else:
                    flaws.setdefault(column.point, Flaw(Quality.UNCERTAIN, why))


ABSENT_EVERY_S = 3600.0
"""How often a place that a device said it does not have is asked for again: it may have been starting up."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """What a device has been found to refuse. absent: points whose place it does not have; cuts: points before which a
    request has to begin anew, because it refuses to be asked for both sides at once."""

    absent: frozenset[str] = frozenset()
    cuts: frozenset[str] = frozenset()

    def after(self, block: Block) -> Refusals:
        """What is known once the device said that it has nothing at a place of this block.

        A block of several places is cut at its widest hole, or else in the middle, until the place that is not there
        stands alone. That explains the cuts that led to it, and the next plan merges around it again; cuts that nothing
        explains stay.
        """
        columns = sorted(block.columns, key=lambda column: column.start)
        starts = sorted({column.start for column in columns})
        if len(starts) == 1:
            return Refusals(self.absent | {column.point for column in columns}, frozenset())
        stops = {start: max(c.stop for c in columns if c.start <= start) for start in starts}
        holes = {start: start - stops[before] for before, start in pairwise(starts)}
        cut = max(holes, key=holes.__getitem__) if max(holes.values()) > 0 else starts[len(starts) // 2]
        return Refusals(self.absent, self.cuts | {column.point for column in columns if column.start == cut})

    def without(self, points: Collection[str]) -> Refusals:
        """What is known once the device did give these points."""
        return Refusals(self.absent - set(points), self.cuts)

    def as_json(self) -> dict[str, list[str]]:
        """For the store."""
        return {"absent": sorted(self.absent), "cuts": sorted(self.cuts)}

    @classmethod
    def from_json(cls, body: Mapping[str, Sequence[str]]) -> Refusals:
        """The inverse of `as_json`. Points that the profile does not have any more do no harm."""
        return cls(frozenset(body["absent"]), frozenset(body["cuts"]))


NOTHING_REFUSED = Refusals()


@dataclass(frozen=True, slots=True)
class Visit:
    """All that is read of one device at one time; becomes one snapshot. period_s in site time. absent: it only asks for
    what the device said it does not have."""

    device: Device
    period_s: float
    blocks: tuple[Block, ...]
    absent: bool = False

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(column.point for block in self.blocks for column in block.columns)


def plan_visits(
    devices: Sequence[Device], codec: PolledCodec, refusals: Mapping[str, Refusals] = MappingProxyType({})
) -> list[Visit]:
    """The visits that keep every point of these devices, all on one polled bus, read at its period. refusals: by device,
    what it is known to refuse."""
    visits = []
    for device in devices:
        known = refusals.get(device.name, NOTHING_REFUSED)
        by_period: dict[float, list[AnyPoint]] = {}
        absent = [point for point in device.points.values() if point.name in known.absent]
        for point in device.points.values():
            if point.name not in known.absent and not point.write_only:
                by_period.setdefault(device.period_s(point), []).append(point)
        for period_s, points in sorted(by_period.items()):
            visits.append(Visit(device, period_s, tuple(plan_blocks(device, points, codec, known))))
        if absent:
            alone = [block for point in absent for block in plan_blocks(device, [point], codec)]
            # Of a device that refuses everything nothing is known, so it is asked as if nothing were.
            period_s = max(ABSENT_EVERY_S, device.every_s) if by_period else device.every_s
            visits.append(Visit(device, period_s, tuple(alone), absent=True))
    return visits


def plan_blocks(
    device: Device, points: Sequence[AnyPoint], codec: PolledCodec, known: Refusals = NOTHING_REFUSED
) -> list[Block]:
    """The requests that read these points, none over what the device is known to refuse."""
    placed = {point.name: point for point in points if isinstance(point, PolledPoint)}
    absent = {
        point.name: point
        for point in device.points.values()
        if point.name in known.absent and isinstance(point, PolledPoint)
    }
    blocks = _merged(device, [*placed.values(), *absent.values()], codec)
    if not absent and not known.cuts:
        return blocks
    return [
        block
        for whole in blocks
        for part in _parts(whole, known)
        for block in _merged(device, [placed[n] for n in part], codec)
    ]


def _parts(block: Block, known: Refusals) -> list[list[str]]:
    """The points of a block that may be read together, in the order of their places."""
    parts: list[list[str]] = [[]]
    previous = -1
    for column in sorted(block.columns, key=lambda column: column.start):
        here = [other.point for other in block.columns if other.start == column.start]
        if column.point in known.absent or (column.start != previous and known.cuts.intersection(here)):
            parts.append([])
        if column.point not in known.absent:
            parts[-1].append(column.point)
        previous = column.start
    return [part for part in parts if part]


_SHARED: Final[dict[tuple[object, ...], tuple[Sequence[PolledPoint], list[Block]]]] = {}
_MOST_SHARED: Final = 256


def _merged(device: Device, points: Sequence[PolledPoint], codec: PolledCodec) -> list[Block]:
    """Devices of one model have the same points, and share their blocks: these know nothing of a device, and of a codec
    no more than its kind."""
    key = type(codec), device.limits, *map(id, points)
    if key not in _SHARED:
        if len(_SHARED) >= _MOST_SHARED:
            _SHARED.clear()
        # The points stay alive with it, so that an id names one of them only.
        _SHARED[key] = points, _made(device, points, codec)
    return list(_SHARED[key][1])


def _made(device: Device, points: Sequence[PolledPoint], codec: PolledCodec) -> list[Block]:
    placed = [(point, point.place, bytes_of(point)) for point in points]
    spans = codec.spans([(place, size) for _, place, size in placed], device.limits)
    blocks = []
    for span in spans:
        columns = [
            Column(point.name, start, start + size, decoder_of(point), point.range, point.unit, _doubt_of(point))
            for point, place, size in placed
            if (start := span.offsets.get(place)) is not None
        ]
        blocks.append(Block(span, tuple(columns)))
    return blocks


def _doubt_of(point: PolledPoint) -> Callable[[bytes], str] | None:
    return point.place.doubt if isinstance(point, MbusPoint) else None


def take(column: Column, value: float | None, values: dict[str, float | None], flaws: dict[str, Flaw]) -> None:
    """One decoded value, judged by what the sensor can physically give."""
    if value is None:
        flaws[column.point] = NO_VALUE
    elif column.range is not None and not column.range[0] <= value <= column.range[1]:
        low, high = column.range
        shown = UNITS[column.unit].shown
        flaws[column.point] = Flaw(
            Quality.BAD,
            f"{value:g} {shown} : hors de la plage du capteur, {low:g} à {high:g} {shown}",
            FlawKind.OUT_OF_RANGE,
            f"{value:g} {shown}: outside the sensor's range, {low:g} to {high:g} {shown}",
        )
        value = None
    values[column.point] = value


NO_VALUE = Flaw(
    Quality.BAD, "l'appareil dit qu'il n'a pas de valeur", FlawKind.NO_VALUE, "the device says that it has no value"
)


@dataclass(frozen=True, slots=True)
class Speaker:
    """A device that speaks unasked: the codec that understands it, and the point at each place of what it says."""

    device: Device
    codec: HeardCodec
    columns: Mapping[Place, Column]


def plan_ears(devices: Sequence[Device], codecs: Mapping[str, Callable[[Device], HeardCodec]]) -> dict[str, Speaker]:
    """Who is listened for on a bus of unasked speakers, by all that it sends as. codecs: by the protocol of a profile; each
    device has its own, with its key and its memory, so that devices of several protocols share a radio."""
    known: dict[str, Speaker] = {}
    for device in devices:
        codec = codecs[device.profile.protocol](device)
        columns: dict[Place, Column] = {}
        for point in device.points.values():
            assert isinstance(point, HeardPoint)
            columns[point.place] = Column(point.name, 0, 0, decoder_of(point), point.range, point.unit)
        known |= dict.fromkeys(codec.senders(device.address), Speaker(device, codec, columns))
    return known
