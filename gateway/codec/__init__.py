"""Codecs: bytes <-> meaning, without input or output.

A codec of a polled bus turns "read this span of that device" into a *procedure*: a generator that yields an `Ask` (one
request and how its answer is recognised), is sent the bytes of the answer, and returns what it was after. Whoever holds
the link runs it (`poll.run`); a test runs it on plain bytes. A bus error is thrown into the generator at its yield, so a
codec that knows better (silence means "no" in DALI) may catch it. A codec of a bus where devices speak unasked turns one
`Broadcast` into values.

A profile says in which *place* of the device a point is (register, memory bank, object id). Places that can be read in
one go form a *span*; how, is the codec's business (`spans`). What comes back is the span's bytes, in which each place has
an offset; `value.Format` makes a number of the bytes there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar, runtime_checkable

from gateway.reading import Flaw


@dataclass(frozen=True, slots=True)
class Ask:
    """One request on a bus.

    request: as it goes on the wire, checksum and all.
    recognise: given the bytes that have come since the request, how many of them are the answer; 0 while more are
        needed. Raises GarbledAnswer when they cannot become the answer.
    answer_length: bytes the answer is expected to have, for the time it takes on the wire.
    patience_s: how long the device may think before its first byte.
    may_wait: something brief may be said to other devices before it, or asked of them, and nothing that the procedure set
        before is lost by it.
    """

    request: bytes
    recognise: Callable[[bytes], int]
    answer_length: int
    patience_s: float
    may_wait: bool = False


T_co = TypeVar("T_co", covariant=True)
Procedure = Generator[Ask, bytes, T_co]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Something a device said unasked.

    sender: who said it (BLE: the address, AA:BB:CC:DD:EE:FF in upper case; CAN: the COB-ID as "18c", which stands for
        one thing that one device says).
    parts: bytes by the kind of content (BLE: 16-bit service UUID as "fcd2", manufacturer as "mfr:0499"; CAN: "can").
    strength_dbm: of the radio signal, where there is one.
    """

    sender: str
    parts: Mapping[str, bytes]
    strength_dbm: int | None = None


class Place(Protocol):
    """Where in a device a point is. Hashable, equal by content."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Places of one device that one procedure reads.

    offsets: byte offset of each place in what the procedure returns.
    first, count, area: the codec's own terms (Modbus: register address, number of registers, function code;
        DALI: first location, number of locations, memory bank).
    """

    area: int
    first: int
    count: int
    offsets: Mapping[Place, int] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device model can take, from its profile.

    max_read: most cells (Modbus: registers) of one request. max_hole: most unwanted cells between two wanted ones in
    one request. patience_s: longest silence before its answer. interval_s: least time between two requests to it.
    gap_s: least time between an exchange with another device of the bus and a request to this one. mode: "block" merges
    neighbours, "object" asks for each value by itself, "single" for each register by itself.
    """

    max_read: int = 125
    max_hole: int = 10
    patience_s: float = 0.3
    interval_s: float = 0.0
    gap_s: float = 0.0
    mode: Literal["block", "object", "single"] = "block"


class PolledCodec(Protocol):
    """A bus where devices answer when asked. Addresses are the bus's own (Modbus unit id, DALI short address)."""

    def spans(self, places: Sequence[tuple[Place, int]], limits: Limits) -> list[Span]:
        """Fewest requests that read all `places`, each given with its size in bytes."""
        ...

    def read(self, address: int, span: Span, limits: Limits) -> Procedure[bytes]:
        """Reads a span; returns its bytes. Raises NoSuchPlace when the device has nothing at one of its places."""
        ...

    def write(self, address: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        """Writes one place. The caller has checked that it may. Raises Refused when the device will not."""
        ...


@runtime_checkable
class GroupCodec(PolledCodec, Protocol):
    """A bus where one command can be obeyed by several devices at once: by those of a group.

    membership: the place where a device keeps which groups it is in.
    """

    membership: Place

    def groups(self, raw: bytes) -> frozenset[int]:
        """The groups that the content of `membership` names."""
        ...

    def write_group(self, group: int, place: Place, raw: bytes, limits: Limits) -> Procedure[None]:
        """Writes one place of all devices of a group. Nobody confirms it: each has to be read back."""
        ...

    def brief(self, place: Place) -> bool:
        """Whether a place is written, and read, by one request that sets nothing else in any device."""
        ...


class HeardCodec(Protocol):
    """One device of a bus where devices speak unasked.

    flaws: what the device itself has said that makes its values doubtful (uncertain), or keeps them from coming (bad), by
    place; replaced as a whole when it says something new.
    memory: what must outlive a restart of the gateway (a counter of messages); None where there is nothing.
    """

    memory: int | None = None
    flaws: Mapping[Place, Flaw] = MappingProxyType({})

    def senders(self, address: int | str) -> Iterable[str]:
        """All that the device at this address of the site sends as (`Broadcast.sender`)."""
        return (str(address),)

    def values(self, heard: Broadcast) -> Mapping[Place, bytes] | None:
        """The bytes at each place that this broadcast carries; None when it is not ours to understand. Raises
        GarbledAnswer when it is ours and broken."""
        ...
