"""Records of the durable lane as MQTT messages, and the platform's acknowledgements of them. Pure.

One record is one JSON object: its identity (gateway, epoch, seq), its kind and time, then its body. `seq` counts from 1
without holes for as long as the store lives, so whoever receives can say what is missing; `epoch` names the store. The
contract is central/contract/.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from gateway.alert import iso
from gateway.errors import UplinkError

ROOT: Final = "guet/v1"
MAX_RECORD_BYTES: Final = 64 * 1024
MAX_ACK_BYTES: Final = 1024
_IDENTITY: Final = frozenset({"gateway", "epoch", "seq", "kind"})
_MAX_BODY: Final = MAX_RECORD_BYTES - 512
_MAX_SEQ: Final = 2**63 - 1


class Kind(StrEnum):
    """What a record is about, in order of what is sent first."""

    ALERT = "alert"
    AUDIT = "audit"
    GAP = "gap"
    STATUS = "status"
    SUMMARY = "summary"
    READING = "reading"


URGENT: Final = frozenset({Kind.ALERT, Kind.AUDIT, Kind.GAP})
"""What is committed at once, overtakes every backlog and is never dropped."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the outbox. `body`: the text of a JSON object, without identity, kind and time (see `body_text`)."""

    seq: int
    kind: Kind
    time_s: float
    body: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The platform has committed every record of `epoch` from `first` to `last`, both included."""

    epoch: str
    first: int
    last: int


def topic(gateway: str, leaf: str) -> str:
    """`leaf`: a Kind, "ack" or "cmd"."""
    return f"{ROOT}/{gateway}/{leaf}"


def body_text(body: Mapping[str, Any]) -> str:
    """The body as it is kept: compact JSON. Its own `time` is left out (the record has one); a number that JSON cannot
    say becomes null. Raises ValueError for a key that belongs to the record's identity, or a body beyond the limit."""
    if clash := _IDENTITY & body.keys():
        raise ValueError(f"body of a record: expected none of {sorted(_IDENTITY)}, got {sorted(clash)}")
    rest = {key: value for key, value in body.items() if key != "time"}
    try:
        text = _json(rest)
    except ValueError:
        text = _json(_finite(rest))
    if (size := len(text.encode())) > _MAX_BODY:
        raise ValueError(f"body of a record: expected at most {_MAX_BODY} bytes, got {size}")
    return text


def render(gateway: str, epoch: str, record: Record) -> tuple[str, bytes]:
    """Topic and payload of a record."""
    start, kind = _start(gateway, epoch), record.kind.value
    tail = "}" if record.body == "{}" else "," + record.body[1:]
    text = f'{start}{record.seq},"kind":"{kind}","time":"{time_text(record.time_s)}"{tail}'
    return f"{ROOT}/{gateway}/{kind}", text.encode()


@lru_cache(maxsize=4)
def _start(gateway: str, epoch: str) -> str:
    """What all records of a store begin with, up to their number."""
    return f'{_json({"gateway": gateway, "epoch": epoch})[:-1]},"seq":'


def parse_ack(payload: bytes) -> Ack:
    """`{"epoch": "...", "from": 1, "to": 9}` -> Ack. Raises UplinkError for anything else."""
    if len(payload) > MAX_ACK_BYTES:
        raise UplinkError(f"acknowledgement: expected at most {MAX_ACK_BYTES} bytes, got {len(payload)}; ignored")
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise UplinkError(f"acknowledgement: expected a JSON object, got {payload[:60]!r}; ignored") from None
    if not isinstance(body, dict):
        raise UplinkError(f"acknowledgement: expected a JSON object, got {payload[:60]!r}; ignored")
    epoch, first, last = body.get("epoch"), body.get("from"), body.get("to")
    if (
        not isinstance(epoch, str)
        or type(first) is not int
        or type(last) is not int
        or not 1 <= first <= last <= _MAX_SEQ
    ):
        raise UplinkError(
            f"acknowledgement: expected epoch (text) and 1 <= from <= to (whole numbers), got {payload[:80]!r}; ignored"
        )
    return Ack(epoch, first, last)


def runs(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The same numbers as runs (first, last) without holes, in order: 3 1 2 7 -> (1, 3) (7, 7)."""
    first = last = None
    for seq in sorted(set(seqs)):
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = seq
    if first is not None and last is not None:
        yield first, last


def time_text(time_s: float) -> str:
    """UTC seconds since 1970 -> ISO 8601 with a Z; to the millisecond where it is not a whole second."""
    ms = round(1000 * time_s)
    text = _second(ms // 1000)
    return f"{text}Z" if time_s == int(time_s) else f"{text}.{ms % 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(time_s: int) -> str:
    """Without the Z. Many records are of the same second."""
    return iso(time_s)[:-1]


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
    return value
