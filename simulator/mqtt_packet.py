"""Control packets of MQTT 3.1.1 out of a stream of bytes, and into one (OASIS, 2.2): for who is a broker or a client here
without being either whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator


class Packets:
    """What has come over a connection, as packets."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The packets that these bytes complete: type (1 to 15) and what follows the length. What is not asked for stays."""
        self._received += data
        while (packet := self._next()) is not None:
            yield packet

    def _next(self) -> tuple[int, bytes] | None:
        length = 0
        for place in range(1, min(5, len(self._received))):
            byte = self._received[place]
            length |= (byte & 0x7F) << 7 * (place - 1)
            if not byte & 0x80:
                end = place + 1 + length
                if len(self._received) < end:
                    return None
                kind, body = self._received[0] >> 4, self._received[place + 1 : end]
                self._received = self._received[end:]
                return kind, body
        return None


def packet(head: int, body: bytes) -> bytes:
    """A packet. head: its first byte, type and flags."""
    length, left = bytearray(), len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length.append(low | 0x80 if left else low)
        if not left:
            return bytes((head,)) + bytes(length) + body
