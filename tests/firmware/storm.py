"""What a line may carry, drawn by a seed, and what the standard says that a unit answers to it."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Iterator
from random import Random

import modbus_rtu

UNIT = 17
KNOWN = (1, 2, 3, 4, 5, 6, 15, 16, 0x11, 0x14, 0x15, 0x2B)
CODES = {1, 2, 3, 4, 6}
RESTART = (8, 3)
"""Holding and value that make a node restart, as its maintainer may want: left out, so that a restart is a failure."""


def sealed(body: bytes) -> bytes:
    return body + modbus_rtu.crc16(body, len(body)).to_bytes(2, "little")


def whole(frame: bytes) -> bool:
    return 4 <= len(frame) <= 256 and modbus_rtu.crc16(frame, len(frame)) == 0


def request(random: Random, unit: int) -> bytes:
    """A request with a right CRC; its numbers are near the map's, at the ends of their range, or anything."""

    def number() -> int:
        return random.choice((random.randint(0, 70), random.randint(0, 0xFFFF), 0, 0xFFFF, 0x8000))

    function = random.choice((*KNOWN, random.randint(0, 255)))
    address, count = number(), random.choice((1, 2, random.randint(0, 130), number()))
    if function in (1, 2, 3, 4, 5, 6):
        body = struct.pack(">HH", address, count if function < 5 else number())
    elif function in (15, 16):
        size = (count + 7) // 8 if function == 15 else 2 * count
        data = random.randbytes(min(size, 246))
        body = struct.pack(">HHB", address, count, min(size, 255)) + data
    elif function in (0x14, 0x15):
        file = random.choice((1, 256, 0x8000, random.randint(0, 0xFFFF)))
        few = random.randint(1, 8)
        body = struct.pack(">BHHH", 6, file, random.choice((0, 6, number())), few)
        body += random.randbytes(2 * few) if function == 0x15 else b""
        body = bytes((len(body),)) + body
    elif function == 0x2B:
        body = bytes((0x0E, random.randint(0, 5), random.randint(0, 9)))
    else:
        body = random.randbytes(random.choice((0, 0, 1, random.randint(0, 252))))
    if random.random() < 0.15:  # of the wrong length
        body = body[: random.randint(0, len(body))] + random.randbytes(random.randint(0, 4))
    return sealed((bytes((unit, function)) + body)[:254])


def restarts(frame: bytes) -> bool:
    """Whether it tells the node to restart."""
    if len(frame) < 8 or frame[0] not in (0, UNIT) or frame[1] not in (6, 16):
        return False
    address, count = struct.unpack(">HH", frame[2:6])
    at = RESTART[0] - address
    values = frame[4:6] if frame[1] == 6 else frame[7:-2]
    count = 1 if frame[1] == 6 else count
    return 0 <= at < count and values[2 * at : 2 * at + 2] == RESTART[1].to_bytes(2, "big")


def noise(random: Random) -> bytes:
    """One thing that a line may carry."""
    kind = random.choice(("own", "own", "own", "all", "other", "bent", "bytes", "cut", "two", "long"))
    frame = request(random, {"all": 0, "other": random.choice((1, 16, 18, 247))}.get(kind, UNIT))
    if kind == "bent":
        bent = bytearray(frame)
        bent[random.randrange(len(bent))] ^= 1 << random.randrange(8)
        return bytes(bent)
    if kind == "cut":
        return frame[: random.randrange(len(frame))]
    if kind == "two":
        return frame + request(random, random.choice((UNIT, 18, 0)))
    if kind == "bytes":
        return random.randbytes(random.randint(1, 300))
    if kind == "long":
        return random.randbytes(random.randint(300, 1500))
    return frame


def harmless(random: Random) -> Iterator[bytes]:
    """Noise without end, but no order to restart."""
    while True:
        made = noise(random)
        if not any(restarts(made[at:]) for at in range(len(made))):
            yield made


def meant(asked: bytes) -> bytes:
    """The request for the unit, or for all, that what is on the line is or ends in; b"" where there is none."""
    return next((asked[at:] for at in range(len(asked)) if whole(asked[at:]) and asked[at] in (0, UNIT)), b"")


def wrong(asked: bytes, answer: bytes) -> str:
    """What is wrong with the answer of the unit to what was on the line; "" when nothing is. Where what was asked ends in
    a whole request, though not all of it is one, an answer to that is right too."""
    mine = meant(asked)
    if not answer:
        return "silence" if whole(asked) and asked[0] == UNIT else ""
    if not mine or mine[0] == 0:
        return "answers what is not for it"
    if not whole(answer) or answer[0] != UNIT:
        return "an answer that is no frame of its own"
    function, length = mine[1], len(answer)
    if answer[1] == function | 0x80:
        good = (
            length == 5 and answer[2] in CODES and (answer[2] != 1 or function not in (1, 2, 3, 4, 5, 6, 15, 16, 0x11))
        )
        return "" if good else "a refusal that the standard does not know"
    if answer[1] != function or function not in KNOWN:
        return "another function"
    if function in (5, 6, 15, 16):
        return "" if answer[:6] == mine[:6] and length == 8 else "no echo"
    if function <= 4:
        count = int.from_bytes(mine[4:6], "big")
        size = (count + 7) // 8 if function < 3 else 2 * count
        return "" if answer[2] == size and length == 5 + size else "another length than asked for"
    return ""


def exchange(line: int, asked: bytes) -> bytes:
    """Says it, and gives what comes until 15 ms of silence. Where an answer is due it may be late: the machine is busy."""
    wait_s = 2.0 if meant(asked)[:1] == bytes((UNIT,)) else 0.06
    for at in range(0, len(asked), 256):
        os.write(line, asked[at : at + 256])
    answer = b""
    while select.select([line], [], [], wait_s if not answer else 0.015)[0]:
        answer += os.read(line, 512)
    return answer


def answers(line: int, seconds: float = 5) -> bool:
    """Whether the unit says who it is. A machine that was busy may have run what was said before into the request."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)
        answer = exchange(line, sealed(bytes((UNIT, 4, 0, 0, 0, 1))))
        if whole(answer) and answer[:3] == bytes((UNIT, 4, 2)):
            return True
    return False
