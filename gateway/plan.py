"""The plan of a bus: which spans of which devices are read how often, and what becomes of their bytes.

Points of one device with the same period are read together and become one snapshot; the codec merges their places into
as few requests as the device takes. (Deadlines, bus budget and splitting after an illegal address build on this.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.codec import HeardCodec, Place, PolledCodec, Span
from gateway.profile import AnyPoint, BthomePoint, DaliPoint, ModbusPoint, bytes_of, decoder_of
from gateway.reading import Flaw, Quality
from gateway.site import Device
from gateway.unit import UNITS

Decode = Callable[[bytes], float | None]


@dataclass(frozen=True, slots=True)
class Column:
    """One point within a span: where its bytes begin, how many there are, what number they make."""

    point: str
    start: int
    stop: int
    decode: Decode
    range: tuple[float, float] | None
    unit: str


@dataclass(frozen=True, slots=True)
class Block:
    """One span and the points that it feeds."""

    span: Span
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """All that is read of one device at one time; becomes one snapshot. period_s in site time."""

    device: Device
    period_s: float
    blocks: tuple[Block, ...]

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(column.point for block in self.blocks for column in block.columns)


def plan_visits(devices: Sequence[Device], codec: PolledCodec) -> list[Visit]:
    """The visits that keep every point of these devices, all on one polled bus, read at its period."""
    visits = []
    for device in devices:
        by_period: dict[float, list[AnyPoint]] = {}
        for point in device.points.values():
            by_period.setdefault(device.period_s(point), []).append(point)
        for period_s, points in sorted(by_period.items()):
            blocks = tuple(_blocks(device, points, codec))
            visits.append(Visit(device, period_s, blocks))
    return visits


def _blocks(device: Device, points: Sequence[AnyPoint], codec: PolledCodec) -> list[Block]:
    placed = [(point, point.place, bytes_of(point)) for point in points if isinstance(point, ModbusPoint | DaliPoint)]
    profile = device.profile
    assert profile.protocol in ("modbus", "dali"), "only polled protocols are planned"
    spans = codec.spans([(place, size) for _, place, size in placed], profile.limits())
    blocks = []
    for span in spans:
        columns = [
            Column(point.name, start, start + size, decoder_of(point), point.range, point.unit)
            for point, place, size in placed
            if (start := span.offsets.get(place)) is not None
        ]
        blocks.append(Block(span, tuple(columns)))
    return blocks


def decode_block(block: Block, data: bytes, values: dict[str, float | None], flaws: dict[str, Flaw]) -> None:
    """Adds the values of a block's points, and why one has none."""
    for column in block.columns:
        take(column, column.decode(data[column.start : column.stop]), values, flaws)


def take(column: Column, value: float | None, values: dict[str, float | None], flaws: dict[str, Flaw]) -> None:
    """One decoded value, judged by what the sensor can physically give."""
    if value is None:
        flaws[column.point] = NO_VALUE
    elif column.range is not None and not column.range[0] <= value <= column.range[1]:
        low, high = column.range
        shown = UNITS[column.unit].shown
        flaws[column.point] = Flaw(
            Quality.BAD, f"{value:g} {shown} : hors de la plage du capteur, {low:g} à {high:g} {shown}"
        )
        value = None
    values[column.point] = value


NO_VALUE = Flaw(Quality.BAD, "l'appareil dit qu'il n'a pas de valeur")


@dataclass(frozen=True, slots=True)
class Ears:
    """What a bus of unasked speakers means: for each sender, its device and the points at each place."""

    codec: HeardCodec
    devices: dict[str, tuple[Device, dict[Place, Column]]]


def plan_ears(devices: Sequence[Device], codec: HeardCodec) -> Ears:
    """Who is listened for on a bus of unasked speakers."""
    known = {}
    for device in devices:
        columns: dict[Place, Column] = {}
        for point in device.points.values():
            assert isinstance(point, BthomePoint)
            columns[point.place] = Column(point.name, 0, 0, decoder_of(point), point.range, point.unit)
        known[str(device.address)] = (device, columns)
    return Ears(codec, known)
