"""AES-CCM encryption (RFC 3610) without associated data, in place and without heap, over a block cipher in ECB mode.

The block cipher is MicroPython's `cryptolib.aes`, done by hardware on most boards. Messages up to 255 bytes.
"""

from cryptolib import aes
from micropython import const

_ECB = const(1)


class Ccm:
    """One key. nonce_length: 7 to 13 bytes; tag_length: even, 4 to 16 bytes."""

    def __init__(self, key: bytes, nonce_length: int = 13, tag_length: int = 4):
        if len(key) != 16 or not 7 <= nonce_length <= 13 or tag_length not in (4, 6, 8, 10, 12, 14, 16):
            raise ValueError("CCM: expected a key of 16 bytes, a nonce of 7 to 13, an even tag of 4 to 16")
        self._aes = aes(key, _ECB)
        self.tag_length = tag_length
        self._counter = bytearray(16)
        self._stream = bytearray(16)
        self._mac = bytearray(16)
        self._flags = ((tag_length - 2) >> 1) << 3 | (14 - nonce_length)
        self._nonce_length = nonce_length

    def encrypt(self, nonce, buf, at: int, n: int) -> None:
        """Encrypt buf[at : at + n] in place; the tag follows at at + n."""
        self._start(nonce, n)
        counter = self._counter
        stream = self._stream
        mac = self._mac
        cipher = self._aes
        for i in range(n):
            k = i & 15
            if k == 0:
                if i:
                    cipher.encrypt(mac, mac)
                counter[15] += 1
                cipher.encrypt(counter, stream)
            mac[k] ^= buf[at + i]
            buf[at + i] ^= stream[k]
        if n:
            cipher.encrypt(mac, mac)
        self._finish()
        for i in range(self.tag_length):
            buf[at + n + i] = mac[i]

    def _start(self, nonce, n: int) -> None:
        """Block B0 encrypted into the running MAC, counter block A0 ready."""
        counter = self._counter
        for i in range(16):
            counter[i] = 0
        counter[0] = self._flags
        for i in range(self._nonce_length):
            counter[1 + i] = nonce[i]
        counter[15] = n
        self._aes.encrypt(counter, self._mac)
        counter[0] = self._flags & 7
        counter[15] = 0

    def _finish(self) -> None:
        """The MAC becomes the tag: masked with the key stream of counter 0."""
        counter = self._counter
        stream = self._stream
        mac = self._mac
        counter[15] = 0
        self._aes.encrypt(counter, stream)
        for i in range(16):
            mac[i] ^= stream[i]
