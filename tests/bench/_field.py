"""The field and the platform of the bench `tcp`, in a process of their own: Modbus TCP devices, and what takes the records.

Both are as cheap as they can be, so that the gateway is measured and not they: raw frames on asyncio, answers kept ready.
The platform is simulated: it speaks MQTT 3.1.1 and 5 as a broker does, and acknowledges records of ours as committed after
COMMIT_S, as the ingester does. Every value of ours that arrives is compared with the registers it was read from.

Commands come on standard input, a line each: `reset`, `report` (answered with one line of JSON), `end`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from array import array
from itertools import pairwise
from typing import Any

COMMIT_S = 0.1
LONGEST = 60_000
"""Cycles that can be told from those before the last `reset`."""
HOLE = 10
"""Registers between the two blocks of a device, which it has too but nobody wants."""


def layout(registers: int) -> list[tuple[str, int, str]]:
    """Points of a device as (name, address, type): half of the registers i16, the rest f32, a quarter after a hole."""
    quarter = registers // 4
    whole = [(f"i{at}", at, "i16") for at in range(2 * quarter)]
    floats = [*range(2 * quarter, 3 * quarter, 2), *range(3 * quarter + HOLE, 4 * quarter + HOLE, 2)]
    return whole + [(f"f{at}", at, "f32") for at in floats]


def image(device: int, registers: int) -> tuple[bytearray, dict[str, float]]:
    """All registers of a device as bytes, and the values they stand for. Point i0 counts its answers."""
    memory, values = bytearray(2 * (registers + HOLE)), dict[str, float]()
    for name, at, kind in layout(registers):
        value = device * 3 % 700 + at if kind == "i16" else at + device % 64 / 64
        struct.pack_into(">h" if kind == "i16" else ">f", memory, 2 * at, value)
        values[name] = value
    return memory, values


class Counts:
    """Since the last `reset`. begin: serial number of the cycle before the first of these; delivered: of which cycles, from
    there, a record of ours came, and none of older ones."""

    def __init__(self, begin: int = 0) -> None:
        self.begin, self.delivered = begin, set[int]()
        self.requests = self.cycles = self.messages = self.values = self.wrong = self.none = self.again = 0
        self.asked: dict[int, array[float]] = {}
        self.first_s: float | None = None
        self.seen: set[int] = set()


class Field:
    """Devices, platform, and what was counted of both."""

    def __init__(self, devices: int, registers: int) -> None:
        self.images = [image(device, registers) for device in range(devices)]
        self.counts = Counts()
        self.serial = 0
        """Cycles that were ever begun; the last sixteen bits are what point i0 says."""
        self.epoch = ""

    def report(self) -> dict[str, Any]:
        """What was counted; periods in seconds, of all devices together, in order of size."""
        counts = self.counts
        periods = sorted(b - a for asked in counts.asked.values() for a, b in pairwise(asked))
        return {
            "requests": counts.requests,
            "cycles": counts.cycles,
            "delivered": sorted(counts.delivered),
            "messages": counts.messages,
            "values": counts.values,
            "wrong": counts.wrong,
            "none": counts.none,
            "again": counts.again,
            "answering": len(counts.asked),
            "first_s": counts.first_s,
            "periods": periods,
        }

    def took(self, topic: str, payload: bytes) -> tuple[str, int] | None:
        """One message. Of ours: its epoch and number, to be acknowledged."""
        body = json.loads(payload)
        counts = self.counts
        if not topic.startswith("guet/v1/"):
            counts.messages += 1
            counts.values += sum(isinstance(value, int | float) for value in body.values())
            return None
        seq = body["seq"]
        if seq in counts.seen:
            counts.again += 1
        elif body["kind"] == "reading":
            counts.seen.add(seq)
            counts.messages += 1
            device, values = body["device"], body["values"]
            counts.values += len(values)
            if isinstance(said := values.get("i0"), float | int):
                number = (int(said) - counts.begin - 1) & 0xFFFF
                if number < LONGEST:
                    counts.delivered.add(number)
            if device.startswith("d"):
                wanted = self.images[int(device[1:])][1]
                counts.none += sum(value is None for value in values.values())
                counts.wrong += sum(values.get(n, v) not in (v, None) for n, v in wanted.items() if n != "i0")
                counts.wrong += len(wanted.keys() ^ values.keys())
        return body["epoch"], seq


class Devices(asyncio.Protocol):
    """One connection of a client. device: behind this port; None: the unit id says which."""

    def __init__(self, field: Field, device: int | None) -> None:
        self._field, self._device = field, device
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._time = asyncio.get_running_loop().time

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        out = []
        while len(data) >= 12:
            transaction, _, _, unit, function, first, count = struct.unpack_from(">HHHBBHH", data)
            data = data[12:]
            device = unit - 1 if self._device is None else self._device
            memory = self._field.images[device][0]
            counts, now_s = self._field.counts, self._time()
            counts.requests += 1
            if first == 0:
                counts.cycles += 1
                counts.asked.setdefault(device, array("d")).append(now_s)
                if counts.first_s is None:
                    counts.first_s = now_s
                self._field.serial += 1
                struct.pack_into(">H", memory, 0, self._field.serial & 0xFFFF)
            out.append(struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count))
            out.append(memory[2 * first : 2 * (first + count)])
        self._rest = data
        if out:
            self._transport.write(b"".join(out))


class Platform(asyncio.Protocol):
    """One MQTT connection."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._rest, self._version = b"", 4
        self._gateway = ""
        self._due: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        out, at = bytearray(), 0
        while (found := _packet(data, at)) is not None:
            head, start, end = found
            out += self._packet(head, data[start:end])
            at = end
        self._rest = data[at:]
        if out:
            self._transport.write(bytes(out))

    def _packet(self, head: int, body: bytes) -> bytes:
        five = self._version == 5
        match head >> 4:
            case 1:
                self._version = body[6]
                return b"\x20\x03\x00\x00\x00" if body[6] == 5 else b"\x20\x02\x00\x00"
            case 8:
                return b"\x90" + (b"\x04" + body[:2] + b"\x00\x00" if five else b"\x03" + body[:2] + b"\x00")
            case 12:
                return b"\xd0\x00"
            case 3:
                length = int.from_bytes(body[:2], "big")
                topic, at = body[2 : 2 + length].decode(), 2 + length
                number = b""
                if head & 6:
                    number, at = body[at : at + 2], at + 2
                if five:
                    at += 1 + body[at]
                if (took := self._field.took(topic, body[at:])) is not None:
                    self._remember(topic.split("/")[2], *took)
                return b"\x40\x02" + number if number else b""
        return b""

    def _remember(self, gateway: str, epoch: str, seq: int) -> None:
        self._gateway, self._field.epoch = gateway, epoch
        if not self._due:
            asyncio.get_running_loop().call_later(COMMIT_S, self._commit)
        self._due.append(seq)

    def _commit(self) -> None:
        due, self._due = sorted(set(self._due)), []
        topic = f"guet/v1/{self._gateway}/ack".encode()
        first = last = due[0]
        for seq in [*due[1:], -1]:
            if seq == last + 1:
                last = seq
                continue
            payload = json.dumps({"epoch": self._field.epoch, "from": first, "to": last}).encode()
            body = len(topic).to_bytes(2, "big") + topic + payload
            length = bytes([len(body) & 127 | 128, len(body) >> 7]) if len(body) > 127 else bytes([len(body)])
            self._transport.write(b"\x30" + length + body)
            first = last = seq


def _packet(data: bytes, at: int) -> tuple[int, int, int] | None:
    """First byte, start and end of the body of the MQTT packet there; None while it is not whole."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(data))):
        length |= (data[place] & 127) << shift
        shift += 7
        if not data[place] & 128:
            end = place + 1 + length
            return (data[at], place + 1, end) if end <= len(data) else None
    return None


async def serve(devices: int, registers: int) -> None:
    """Serves until told to end; says first where."""
    loop = asyncio.get_running_loop()
    field = Field(devices, registers)
    servers = [await loop.create_server(lambda: Platform(field), "127.0.0.1", 0)]
    servers.append(await loop.create_server(lambda: Devices(field, None), "127.0.0.1", 0))
    for device in range(devices):
        servers.append(await loop.create_server(lambda device=device: Devices(field, device), "127.0.0.1", 0))
    mqtt, shared, *ports = (server.sockets[0].getsockname()[1] for server in servers)
    print(json.dumps({"mqtt": mqtt, "shared": shared, "ports": ports}), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while (command := (await commands.readline()).strip()) not in (b"end", b""):
        if command == b"reset":
            field.counts = Counts(field.serial)
        print(json.dumps(field.report() if command == b"report" else {"at_s": loop.time()}), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
