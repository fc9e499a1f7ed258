"""MicroPython's `cryptolib.aes` in ECB mode, for CPython."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class aes:
    def __init__(self, key: bytes, mode: int) -> None:
        assert mode == 1, "the cores use ECB only"
        self._encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()

    def encrypt(self, block: bytes | bytearray, out: bytearray | None = None) -> bytes:
        result = self._encryptor.update(bytes(block))
        if out is not None:
            out[:] = result
        return result
