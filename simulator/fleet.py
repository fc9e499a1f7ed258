"""`guet simulate --fleet N`: the upstream traffic of N gateways, to find out how large a centre must be.

Each simulated gateway speaks the durable lane as a real one does (records at QoS 1 in a window, kept until the centre says
that they are committed, sent again when it does not, new connections after a random time) but has no devices and no disk.
All connect and send; then every connection breaks in the same instant, a backlog grows, and all come back at once.

Without --url a centre of its own is started (`guet central run`), and counted in the end is what its database holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.errors import UplinkError
from gateway.language import say
from gateway.site import LOOPBACK
from gateway.upstream.pace import Pace
from gateway.upstream.payload import Kind, Record, body_text, parse_ack, render, topic
from simulator.mqtt_packet import Packets, packet
from simulator.platform import Platform

FAILED = 1
PERIOD_S: Final = 900.0
CONNECT_S: Final = 20.0
KEEPALIVE_S: Final = 60
UNDER_WAY_S: Final = 0.05
"""Between a new backlog and the break: most of it is under way then, some on this side of the wire, some on the other."""
PACE: Final = Pace(window=100, retry_max_s=30.0)
_POINTS: Final = {f"point_{number}": [15, 0, 12.345678 + number, 1.0, 20.5, 13.25] for number in range(7)}
_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP = 2, 3, 4, 9, 13


@dataclass(slots=True)
class Counts:
    """Of the whole fleet."""

    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    sessions: int = 0
    failed: int = 0
    strange: int = 0
    waits_s: list[float] = field(default_factory=list)
    """From the first time that a record was sent to its acknowledgement."""


class FleetGateway:
    """One simulated gateway: its records, and the way they go."""

    def __init__(self, number: int, seed: int, host: str, port: int, counts: Counts) -> None:
        self.name = f"fleet-{number + 1:05d}"
        self.chance = Random(seed * 1_000_003 + number)
        self.epoch = f"{self.chance.getrandbits(48):012x}"
        self.counts = counts
        self.waiting: dict[int, Record] = {}
        self.flying: dict[int, tuple[float, float, int]] = {}
        """By number: when it was first sent, when it is sent again, how often it was sent."""
        self.seq = 0
        self.lane: _Lane | None = None
        self._host, self._port = host, port

    @property
    def connected(self) -> bool:
        return self.lane is not None and self.lane.accepted.done() and not self.lane.over.done()

    def measure(self, records: int, start_s: float) -> None:
        """Puts that many new summaries into the outbox."""
        for _ in range(records):
            self.seq += 1
            device = f"compteur-{self.seq % 20 + 1}"
            body = body_text({"device": device, "period_s": PERIOD_S, "points": _POINTS})
            self.waiting[self.seq] = Record(self.seq, Kind.SUMMARY, start_s + PERIOD_S * (self.seq // 20), body)
        if self.lane is not None:
            self.lane.news.set()

    async def run(self) -> None:
        """Connects, sends, and connects again, until cancelled."""
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, self.lane = await loop.create_connection(lambda: _Lane(self), self._host, self._port)
                    await self.lane.accepted
                self.counts.sessions += 1
                tries = 0
                await self._send(self.lane)
            except (OSError, UplinkError, TimeoutError):
                self.counts.failed += 1
            finally:
                if self.lane is not None:
                    self.lane.drop()
                self.lane = None
            await asyncio.sleep(PACE.pause_s(tries, self.chance))
            tries += 1

    async def _send(self, lane: _Lane) -> None:
        """Keeps the window full until the connection is over."""
        loop = asyncio.get_running_loop()
        for seq, (first_s, _, tries) in self.flying.items():
            self.flying[seq] = (first_s, 0.0, tries)
        pinged_s = loop.time()
        while not lane.over.done():
            now_s = loop.time()
            for record in [*self._due(now_s), *self._next()]:
                first_s, _, tries = self.flying.get(record.seq, (now_s, 0.0, 0))
                self.flying[record.seq] = (first_s, now_s + PACE.patience_s(tries + 1, self.chance), tries + 1)
                self.counts.sent += not tries
                self.counts.resent += tries > 0
                lane.publish(*render(self.name, self.epoch, record))
            if now_s - pinged_s > KEEPALIVE_S / 2:
                pinged_s = now_s
                lane.ping()
            lane.news.clear()
            try:
                async with asyncio.timeout(1.0):
                    await lane.news.wait()
            except TimeoutError:
                pass

    def _due(self, now_s: float) -> list[Record]:
        return [self.waiting[seq] for seq, (_, due_s, _) in self.flying.items() if due_s <= now_s]

    def _next(self) -> Iterator[Record]:
        """The newest first, as a gateway does."""
        room = PACE.window - len(self.flying)
        for seq in reversed(self.waiting):
            if room <= 0:
                return
            if seq not in self.flying:
                room -= 1
                yield self.waiting[seq]

    def acknowledged(self, payload: bytes) -> None:
        """The centre says that a range is committed."""
        try:
            ack = parse_ack(payload)
        except UplinkError:
            self.counts.strange += 1
            return
        if ack.epoch != self.epoch or ack.last > self.seq:
            self.counts.strange += 1
            return
        now_s = asyncio.get_running_loop().time()
        for seq in range(ack.first, ack.last + 1):
            if self.waiting.pop(seq, None) is not None:
                self.counts.acknowledged += 1
                self.counts.waits_s.append(now_s - self.flying.pop(seq, (now_s,))[0])


class _Lane(asyncio.Protocol):
    """One connection, and as much of MQTT 3.1.1 (OASIS, chapter 3) as a gateway needs."""

    def __init__(self, gateway: FleetGateway) -> None:
        loop = asyncio.get_running_loop()
        self._gateway = gateway
        self._packets = Packets()
        self._packet_id = 0
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name = _text(f"guet-{self._gateway.name}")
        self._write(0x10, b"\x00\x04MQTT\x04\x02" + KEEPALIVE_S.to_bytes(2, "big") + name)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(UplinkError("the connection was closed before it was accepted"))
        if not self.over.done():
            self.over.set_result(None)
        self.news.set()

    def drop(self) -> None:
        self._transport.abort()
        if not self.over.done():
            self.over.set_result(None)
        self.news.set()
        if self.accepted.done() and not self.accepted.cancelled():
            self.accepted.exception()

    def publish(self, where: str, payload: bytes) -> None:
        self._packet_id = self._packet_id % 0xFFFF + 1
        self._write(0x32, _text(where) + self._packet_id.to_bytes(2, "big") + payload)

    def ping(self) -> None:
        self._write(0xC0, b"")

    def _write(self, head: int, body: bytes) -> None:
        self._transport.write(packet(head, body))

    def data_received(self, data: bytes) -> None:
        for kind, body in self._packets.feed(data):
            self._handle(kind, body)

    def _handle(self, kind: int, body: bytes) -> None:
        if kind == _CONNACK:
            if body[1:2] != b"\x00":
                self._transport.abort()
            self._write(0x82, b"\x00\x01" + _text(topic(self._gateway.name, "ack")) + b"\x00")
        elif kind == _SUBACK:
            if body[2:3] == b"\x80":
                self._transport.abort()
            elif not self.accepted.done():
                self.accepted.set_result(None)
        elif kind == _PUBLISH:
            self._gateway.acknowledged(body[2 + int.from_bytes(body[:2], "big") :])
            self.news.set()


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def fleet(argv: list[str]) -> int:
    """Simule le trafic montant de N passerelles / Simulates the upstream traffic of N gateways"""
    parser = argparse.ArgumentParser(prog="guet simulate", description=fleet.__doc__)
    add = parser.add_argument
    add("--fleet", type=int, required=True, metavar="N", help="passerelles / gateways")
    add("--records", type=int, default=20, help="par passerelle, avant et après la coupure / of each, before and after")
    add("--url", default="", metavar="mqtt://127.0.0.1:PORT", help="un centre à soi / a centre of one's own")
    add("--within", type=float, default=300.0, metavar="SECONDS", help="au plus, par phase / at most, for each phase")
    add("--seed", type=int, default=1)
    add("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    if not 1 <= options.fleet <= 20_000 or options.records < 1:
        parser.error(say("--fleet : de 1 à 20000 ; --records : 1 au moins",
                         "--fleet: 1 to 20000; --records: 1 at least"))  # fmt: skip
    parts = urlsplit(options.url or "mqtt://127.0.0.1:1883")
    if parts.scheme != "mqtt" or parts.hostname not in LOOPBACK:
        parser.error(say("--url : mqtt:// sur cette machine seulement (127.0.0.1)",
                         "--url: mqtt:// on this machine only (127.0.0.1)"))  # fmt: skip
    report = asyncio.run(_run(options))
    text = json.dumps(report, ensure_ascii=False, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if report["ok"] else FAILED


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    _make_room_for_sockets(3 * options.fleet + 200)
    async with AsyncExitStack() as stack:
        platform = None
        if options.url:
            parts = urlsplit(options.url)
            host, port = parts.hostname or "", parts.port or 1883
        else:
            _tell(say("un centre démarre", "a centre starts"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guet-fleet-")))
            platform = await stack.enter_async_context(Platform(folder))
            host, port = "127.0.0.1", platform.mqtt_port
        counts = Counts()
        gateways = [FleetGateway(number, options.seed, host, port, counts) for number in range(options.fleet)]
        start_s = time.time() // PERIOD_S * PERIOD_S
        tasks = [asyncio.create_task(gateway.run(), name=gateway.name) for gateway in gateways]
        try:
            report = await _play(gateways, counts, options, start_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if platform is not None:
            wanted = 2 * options.fleet * options.records
            await platform.settled(wanted, options.within)
            held = (await platform.holds()).counts
            report |= {name: held[name] for name in ("records", "lost", "duplicates", "redelivered", "refused")}
            report["ok"] = report["ok"] and held["records"] == wanted and not (held["lost"] or held["duplicates"])
        return report


async def _play(
    gateways: list[FleetGateway], counts: Counts, options: argparse.Namespace, start_s: float
) -> dict[str, Any]:
    """Before the storm, and the storm; seconds of both, from the moment all may connect until all is acknowledged."""
    took: dict[str, float] = {}
    for phase in ("first", "storm"):
        for gateway in gateways:
            gateway.measure(options.records, start_s)
        if phase == "storm":
            await asyncio.sleep(UNDER_WAY_S)
            _tell(say("toutes les connexions tombent au même instant", "every connection breaks in the same instant"))
            for gateway in gateways:
                if gateway.lane is not None:
                    gateway.lane.drop()
        began_s = time.monotonic()
        while time.monotonic() - began_s < options.within:
            back = sum(gateway.connected for gateway in gateways)
            if back == len(gateways) and f"{phase}_connected_s" not in took:
                took[f"{phase}_connected_s"] = round(time.monotonic() - began_s, 2)
                _tell(say(f"{back} passerelles connectées", f"{back} gateways connected"))
            if f"{phase}_drained_s" not in took and not any(gateway.waiting for gateway in gateways):
                took[f"{phase}_drained_s"] = round(time.monotonic() - began_s, 2)
                _tell(say("tout est confirmé par le centre", "the centre has confirmed everything"))
            if {f"{phase}_connected_s", f"{phase}_drained_s"} <= took.keys():
                break
            await asyncio.sleep(0.05)
    waits_s = sorted(counts.waits_s) or [0.0]
    drained_s = took.get("storm_drained_s")
    waiting = sum(len(gateway.waiting) for gateway in gateways)
    return {
        "ok": waiting == 0,
        "fleet": len(gateways),
        "sent": counts.sent,
        "acknowledged": counts.acknowledged,
        "waiting": waiting,
        "resent": counts.resent,
        "sessions": counts.sessions,
        "failed_connections": counts.failed,
        "strange_acknowledgements": counts.strange,
        **took,
        "storm_rows_per_s": round(len(gateways) * options.records / drained_s) if drained_s else None,
        "acknowledged_after_s": {
            name: round(waits_s[int(part * (len(waits_s) - 1))], 3) for name, part in (("p50", 0.5), ("p99", 0.99))
        },
        "seed": options.seed,
    }


def _make_room_for_sockets(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
