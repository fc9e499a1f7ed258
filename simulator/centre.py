"""A virtual platform for soaks: a broker of MQTT 3.1.1 and a centre in one, on a socket of this machine, in whatever time
its event loop keeps. It commits nearly every record it is sent, answers late, twice and out of order, and can be cut off.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal, Self

from simulator.mqtt_packet import Packets, packet

Line = Literal["up", "refused", "silent"]
"""refused: connections break at once. silent: they stand, and nothing comes through."""
_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12
_UNSENT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """A record that was committed. digest: of its content; body: of the few kinds that are looked into later."""

    kind: str
    digest: int
    body: Mapping[str, Any] | None = None


class Centre:
    """See the module. `rows`: what it has committed, by epoch and number; `problems`: what must never happen. remembers:
    the kinds of which it keeps the content too; "audit configuration": of audits only those of that."""

    def __init__(self, chance: Random, remembers: Collection[str] | None = None) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        self.remembered: list[Mapping[str, Any]] = []
        """The content of what it remembers, in the order in which it came."""
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.slow_s = 0.0
        self.line: Line = "up"
        self._chance, self._remembers = chance, None if remembers is None else frozenset(remembers)
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, self._open), "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop_all()

    def bodies(self, kind: str) -> list[Mapping[str, Any]]:
        """The content of all records of a kind that it remembers, in the order of their numbers."""
        return [row.body for _, row in sorted(self.rows.items()) if row.kind == kind and row.body is not None]

    def drop_all(self) -> None:
        """Breaks every connection; what had come over it and was not read is gone."""
        for connection in tuple(self._open):
            connection.drop()

    def command(self, payload: bytes) -> bool:
        """Says something on `cmd`; whether anybody was connected to hear it, for nothing of it is kept."""
        heard = [connection.command(payload) for connection in tuple(self._open)]
        return any(heard)

    def set_line(self, line: Line) -> None:
        self.line = line
        if line == "refused":
            self.drop_all()

    def take(self, payload: bytes, answer: Callable[[bytes], None]) -> None:
        """Commits a record, and says so in its own time."""
        if self._chance.random() < 0.003:
            self.counts["lost by the broker"] += 1
            return
        body: dict[str, Any] = json.loads(payload)
        key, kind = (str(body["epoch"]), int(body["seq"])), str(body["kind"])
        kept = body if self._remembers is None or {kind, f"{kind} {body.get('what')}"} & self._remembers else None
        row = Row(kind, zlib.crc32(payload), kept)
        before = self.rows.setdefault(key, row)
        if before is row and kept is not None:
            self.remembered.append(kept)
        if before is not row:
            self.counts["repeated"] += 1
            if before.digest != row.digest:
                self.problems.append(f"number {key[1]} of {key[0]} came with two contents, the second {body}")
        self._acknowledge(*key, answer)

    def _acknowledge(self, epoch: str, seq: int, answer: Callable[[bytes], None]) -> None:
        """Late, twice, out of order, for a whole range of what is committed; and now and then what is no honest answer."""
        chance, first = self._chance, seq
        if chance.random() < 0.2:
            while first > 1 and seq - first < 50 and (epoch, first - 1) in self.rows:
                first -= 1
        honest = json.dumps({"epoch": epoch, "from": first, "to": seq}).encode()
        for _ in range(1 + (chance.random() < 0.1)):
            late_s = self.slow_s * chance.random() + (chance.random() < 0.1) * 5.0
            if late_s:
                asyncio.get_running_loop().call_later(late_s, answer, honest)
            else:
                answer(honest)
        if chance.random() < 0.002:
            self.counts["forged"] += 1
            unsent = {"epoch": epoch, "from": seq + _UNSENT, "to": seq + 2 * _UNSENT}
            foreign = {"epoch": "0" * 12, "from": 1, "to": _UNSENT}
            senseless = {"epoch": epoch, "from": -1, "to": "all"}
            answer(chance.choice([json.dumps(unsent), json.dumps(foreign), json.dumps(senseless), "\0{"]).encode())


class _Connection(asyncio.Protocol):
    """One client, and as much of MQTT 3.1.1 (OASIS, chapter 3) as it needs."""

    def __init__(self, centre: Centre, open_: set[_Connection]) -> None:
        self._centre, self._open = centre, open_
        self._packets, self._topics = Packets(), list[bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._open.add(self)
        if self._centre.line == "refused":
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)

    def drop(self) -> None:
        self._open.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self not in self._open or self._centre.line != "up":
            return
        for kind, body in self._packets.feed(data):
            self._handle(kind, body)

    def _handle(self, kind: int, body: bytes) -> None:
        if kind == _CONNECT:
            self._write(b"\x20\x02\x00\x00")
        elif kind == _SUBSCRIBE:
            asked, at = list[bytes](), 2
            while at + 2 <= len(body):
                end = at + 2 + int.from_bytes(body[at : at + 2], "big")
                asked.append(body[at:end])
                at = end + 1  # its quality of service
            self._topics += asked
            self._write(packet(0x90, body[:2] + bytes(len(asked))))
        elif kind == _PUBLISH:
            name = 2 + int.from_bytes(body[:2], "big")
            self._write(b"\x40\x02" + body[name : name + 2])
            self._centre.take(body[name + 2 :], self._acknowledge)
        elif kind == _PING:
            self._write(b"\xd0\x00")

    def _acknowledge(self, ack: bytes) -> None:
        self._say(b"/ack", ack)

    def command(self, payload: bytes) -> bool:
        return self._centre.line == "up" and self._say(b"/cmd", payload)

    def _say(self, leaf: bytes, payload: bytes) -> bool:
        """At QoS 0, to who has asked for it."""
        heard = [topic for topic in self._topics if topic.endswith(leaf)]
        for topic in heard:
            self._write(packet(0x30, topic + payload))
        return bool(heard)

    def _write(self, data: bytes) -> None:
        if self in self._open and self._centre.line == "up":
            self.transport.write(data)
