"""Sparkplug B 3.0, the edge node's side: what its messages are made of, and in which order they may come. Pure.

The payload is protobuf; its few fields are written and read here, by the numbers of `sparkplug_b.proto`. `Node` knows what
a host may have been told: it makes births complete, counts `seq`, and gives data only of what was born and has changed.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from gateway.errors import UplinkError
from gateway.reading import Quality

NAMESPACE: Final = "spBv1.0"
REBIRTH: Final = "Node Control/Rebirth"
BD_SEQ: Final = "bdSeq"
MAX_COMMAND_BYTES: Final = 16 * 1024
_MOST_METRICS: Final = 1000

Value = float | int | bool | str | None


class Type(IntEnum):
    """The data types that we use, by their numbers (Sparkplug 3.0, 6.4.16)."""

    INT32 = 3
    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


QUALITY: Final = {Quality.BAD: 0, Quality.GOOD: 192, Quality.UNCERTAIN: 500}
"""The three values that the property Quality may have; 500 is stale, the nearest to what may be doubted."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a message. name or alias: a birth has both, where there are aliases; data have the alias alone.
    datatype: None where the birth has said it. time_ms: UTC. properties: of Type INT32 or STRING."""

    name: str | None
    time_ms: int | None
    value: Value
    datatype: Type | None = None
    alias: int | None = None
    historical: bool = False
    properties: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Payload:
    """One message."""

    time_ms: int | None
    metrics: Sequence[Metric]
    seq: int | None = None


# -- bytes ---------------------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _bytes(tag: int, value: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(value)) + value


def _double(tag: int, value: float) -> bytes:
    return _varint(tag << 3 | 1) + struct.pack("<d", value)


def encode(payload: Payload) -> bytes:
    """A payload's bytes. Raises ValueError for a value that its type cannot have."""
    out = b"" if payload.time_ms is None else _number(1, payload.time_ms)
    for metric in payload.metrics:
        out += _bytes(2, _metric(metric))
    return out if payload.seq is None else out + _number(3, payload.seq)


def _metric(metric: Metric) -> bytes:
    out = b"" if metric.name is None else _bytes(1, metric.name.encode())
    if metric.alias is not None:
        out += _number(2, metric.alias)
    if metric.time_ms is not None:
        out += _number(3, metric.time_ms)
    if metric.datatype is not None:
        out += _number(4, metric.datatype)
    if metric.historical:
        out += _number(5, 1)
    if metric.value is None:
        out += _number(7, 1)
    if metric.properties:
        out += _bytes(9, _properties(metric.properties))
    return out if metric.value is None else out + _value(metric.value, metric.datatype)


def _value(value: float | int | bool | str, datatype: Type | None) -> bytes:
    match value:
        case bool():
            return _number(14, int(value))
        case int() if datatype is Type.INT32:
            return _number(10, value & 0xFFFF_FFFF)
        case int():
            return _number(11, value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            return _double(13, value)
        case str():
            return _bytes(15, value.encode())
    raise ValueError(f"{value!r}: expected a number, a truth or a text")


def _properties(properties: Mapping[str, int | str]) -> bytes:
    keys = b"".join(_bytes(1, name.encode()) for name in properties)
    return keys + b"".join(_bytes(2, _property(value)) for value in properties.values())


def _property(value: int | str) -> bytes:
    if isinstance(value, str):
        return _number(1, Type.STRING) + _bytes(8, value.encode())
    return _number(1, Type.INT32) + _number(3, value & 0xFFFF_FFFF)


def decode(data: bytes) -> Payload:
    """What a payload says, of that which an edge node must understand. Raises UplinkError for what is none, or too long."""
    if len(data) > MAX_COMMAND_BYTES:
        raise UplinkError(f"Sparkplug: expected at most {MAX_COMMAND_BYTES} bytes, got {len(data)}; ignored")
    try:
        fields = list(_fields(data))
        metrics = tuple(_read_metric(value) for tag, value in fields if tag == 2 and isinstance(value, bytes))
        if len(metrics) > _MOST_METRICS:
            raise ValueError(f"{len(metrics)} metrics")
        return Payload(_last(fields, 1), metrics, _last(fields, 3))
    except (ValueError, struct.error) as error:
        raise UplinkError(f"Sparkplug: expected a payload, got {data[:40]!r}: {error}; ignored") from None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        tag, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _read_varint(data, at)
            yield tag, value
            continue
        if wire == 2:
            length, at = _read_varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number of more than ten bytes")


def _last(fields: Iterable[tuple[int, int | bytes]], wanted: int) -> int | None:
    found = [value for tag, value in fields if tag == wanted]
    if found and not isinstance(found[-1], int):
        raise ValueError(f"field {wanted} is no number")
    return found[-1] if found else None  # type: ignore[return-value]  # checked above


def _read_metric(data: bytes) -> Metric:
    fields = dict(_fields(data))
    name, datatype = fields.get(1), fields.get(4)
    known = Type(datatype) if datatype in set(Type) else None
    return Metric(
        name.decode() if isinstance(name, bytes) else None,
        _last(fields.items(), 3),
        None if fields.get(7) else _read_value(fields, known),
        known,
        _last(fields.items(), 2),
        bool(fields.get(5)),
    )


def _read_value(fields: Mapping[int, Any], datatype: Type | None) -> Value:
    for tag, read in _READ.items():
        if tag in fields:
            if isinstance(fields[tag], int) == (tag in (12, 13, 15)):
                raise ValueError(f"field {tag} is of the wrong kind")
            value: int | float | str = read(fields[tag])
            if isinstance(value, int) and not isinstance(value, bool) and datatype in (Type.INT32, Type.INT64):
                bits = 32 if datatype is Type.INT32 else 64
                value = value - (1 << bits) if value >> (bits - 1) & 1 else value
            return value
    return None


_READ: Final[Mapping[int, Callable[[Any], int | float | str]]] = {
    10: lambda value: value & 0xFFFF_FFFF,
    11: lambda value: value,
    12: lambda value: struct.unpack("<f", value)[0],
    13: lambda value: struct.unpack("<d", value)[0],
    14: bool,
    15: lambda value: value.decode(),
}


# -- topics --------------------------------------------------------------------------------------------------------------

_ID: Final = re.compile(r"[^+/#\x00-\x1f]{1,100}")


def checked_id(text: str) -> str:
    """A group's, edge node's or device's id. Raises ValueError for one that no topic can hold."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r}: expected 1 to 100 characters without '+', '/' or '#'")
    return text


def topic(group: str, kind: str, node: str, device: str | None = None) -> str:
    """kind: NBIRTH, NDATA, NDEATH, NCMD, or with a device DBIRTH, DDATA, DDEATH, DCMD."""
    if (kind[0] == "D") != (device is not None):
        raise ValueError(f"{kind}: expected a device with a message of a device, and none with one of the node")
    parts = [NAMESPACE, checked_id(group), kind, checked_id(node), *([] if device is None else [checked_id(device)])]
    return "/".join(parts)


def state_topic(host: str) -> str:
    """Where a host says whether it is there."""
    return f"{NAMESPACE}/STATE/{checked_id(host)}"


# -- the edge node -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published now: at QoS 0 and not retained, all but the will."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Point:
    """What a metric is, whatever its value: its type and the unit (UCUM) of a quantity."""

    datatype: Type = Type.DOUBLE
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value at one instant."""

    time_s: float
    value: Value
    quality: Quality = Quality.GOOD


class Node:
    """See the module. devices: their points by name, all that they will ever report; own: the node's metrics with their
    types. Metrics have aliases, counted in the order of the births; bdSeq and Rebirth have none."""

    def __init__(
        self,
        group: str,
        node: str,
        devices: Mapping[str, Mapping[str, Point]],
        own: Mapping[str, Point],
        datatype_in_data: bool = False,
    ) -> None:
        self.group, self.node = checked_id(group), checked_id(node)
        self.devices, self.own = devices, own
        self._datatype_in_data = datatype_in_data
        self.bd_seq = 0
        self._seq = 0
        names: list[tuple[str | None, str]] = [(None, name) for name in own]
        names += [(checked_id(device), name) for device, points in devices.items() for name in points]
        self._alias = {key: number for number, key in enumerate(names, 1)}
        self._said: dict[tuple[str | None, str], Sample] = {}
        self.born: set[str] = set()
        """The devices whose birth the host has, or should have."""
        self.alive = False
        """Whether the node's own birth is out."""

    def will(self, time_s: float) -> Message:
        """NDEATH, to be left with the broker at CONNECT at QoS 1, or published before a DISCONNECT."""
        metric = Metric(BD_SEQ, _ms(time_s), self.bd_seq, Type.INT64)
        return Message(topic(self.group, "NDEATH", self.node), encode(Payload(_ms(time_s), [metric])))

    def commands(self) -> str:
        """Where to listen, at QoS 1, before the birth."""
        return topic(self.group, "NCMD", self.node)

    def die(self) -> None:
        """The connection is gone: a new birth must come first."""
        self.alive = False
        self.born.clear()

    def birth(self, time_s: float, samples: Mapping[str, Sample]) -> Message:
        """NBIRTH. samples: of the node's own metrics, by name; one that is missing is null. Every device's birth must follow
        before its data."""
        self._seq, self.alive = 0, True
        self.born.clear()
        now_ms = _ms(time_s)
        metrics = [
            Metric(BD_SEQ, now_ms, self.bd_seq, Type.INT64),
            Metric(REBIRTH, now_ms, False, Type.BOOLEAN),
            *(self._born(None, name, samples.get(name), time_s) for name in self.own),
        ]
        return self._message("NBIRTH", None, now_ms, metrics)

    def device_birth(self, device: str, time_s: float, samples: Mapping[str, Sample]) -> Message:
        """DBIRTH, with every point of the device."""
        if not self.alive:
            raise ValueError(f"{device}: expected the node's own birth before a device's")
        self.born.add(device)
        metrics = [self._born(device, name, samples.get(name), time_s) for name in self.devices[device]]
        return self._message("DBIRTH", device, _ms(time_s), metrics)

    def device_death(self, device: str, time_s: float) -> Message | None:
        """DDEATH; None for a device that was not born."""
        if device not in self.born:
            return None
        self.born.remove(device)
        return self._message("DDEATH", device, _ms(time_s), [])

    def data(self, device: str | None, time_s: float, samples: Mapping[str, Sample]) -> Message | None:
        """DDATA, or NDATA without a device: those that are not what the host was last told; None when there are none, or
        the birth is not out."""
        if not self.alive or (device is not None and device not in self.born):
            return None
        changed = [
            (name, sample)
            for name, sample in samples.items()
            if (device, name) in self._alias and self._is_news(self._said.get((device, name)), sample)
        ]
        if not changed:
            return None
        metrics = [self._changed(device, name, sample) for name, sample in changed]
        return self._message("NDATA" if device is None else "DDATA", device, _ms(time_s), metrics)

    def history(self, device: str, time_s: float, samples: Sequence[tuple[str, Sample]]) -> Message | None:
        """DDATA of what was: as `data`, whatever has been said since, and marked as historical."""
        if not self.alive or device not in self.born:
            return None
        known = [(name, sample) for name, sample in samples if (device, name) in self._alias]
        metrics = [self._changed(device, name, sample, historical=True) for name, sample in known]
        return self._message("DDATA", device, _ms(time_s), metrics) if metrics else None

    def is_rebirth(self, topic_: str, payload: bytes) -> bool:
        """Whether a message asks for a new birth. Raises UplinkError for what is no command."""
        if topic_ != self.commands():
            return False
        return any(metric.name == REBIRTH and metric.value is True for metric in decode(payload).metrics)

    @staticmethod
    def _is_news(before: Sample | None, now: Sample) -> bool:
        return before is None or (before.value, before.quality) != (now.value, now.quality)

    def _born(self, device: str | None, name: str, sample: Sample | None, time_s: float) -> Metric:
        point = self.own[name] if device is None else self.devices[device][name]
        sample = sample or Sample(time_s, None, Quality.BAD)
        self._said[device, name] = sample
        properties: dict[str, int | str] = {"engUnit": point.unit} if point.unit else {}
        return replace(
            self._metric(device, name, sample, point),
            name=name,
            datatype=point.datatype,
            properties=properties | _quality(sample),
        )

    def _changed(self, device: str | None, name: str, sample: Sample, historical: bool = False) -> Metric:
        point = self.own[name] if device is None else self.devices[device][name]
        if not historical:
            self._said[device, name] = sample
        metric = self._metric(device, name, sample, point)
        return replace(
            metric,
            datatype=point.datatype if self._datatype_in_data else None,
            historical=historical,
            properties=_quality(sample),
        )

    def _metric(self, device: str | None, name: str, sample: Sample, point: Point) -> Metric:
        value = sample.value
        if point.datatype is Type.DOUBLE and value is not None:
            value = float(value) if math.isfinite(float(value)) else None
        return Metric(None, _ms(sample.time_s), value, alias=self._alias[device, name])

    def _message(self, kind: str, device: str | None, now_ms: int, metrics: Sequence[Metric]) -> Message:
        payload = encode(Payload(now_ms, metrics, self._seq))
        self._seq = (self._seq + 1) % 256
        return Message(topic(self.group, kind, self.node, device), payload)


def _quality(sample: Sample) -> dict[str, int | str]:
    return {"Quality": QUALITY[sample.quality]}


def _ms(time_s: float) -> int:
    return max(0, round(time_s * 1000))
