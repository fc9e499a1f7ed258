"""A signed release: what a slot may hold.

Text lines, then 64 bytes: the ECDSA P-256 signature (r, s) of all before them. Files are in order of their names.

    guet-release 1
    node pressure
    hardware 1 3                      from revision 1 to 3
    version 42
    file 1153 <SHA-256 in hex> modbus_rtu.mpy

It is read line by line, each time anew: a board has no room for all of it at once.
"""

import binascii
import hashlib

from micropython import const

MAX_BYTES = const(4096)
MAX_FILE = const(20000)
_MAX_FILES = const(48)
_LONGEST_LINE = const(160)
SIGNATURE = const(64)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


class Release:
    """Parsed out of an open file, which it goes on reading, or out of its first `size` bytes; ValueError says what is wrong
    with it. Whether the signature is genuine is not asked here."""

    def __init__(self, file, size: int = -1):
        if size < 0:
            size = file.seek(0, 2)
        if not SIGNATURE < size <= MAX_BYTES:
            raise ValueError("release: %d bytes, expected up to %d" % (size, MAX_BYTES))
        self._file = file
        self.signed = size - SIGNATURE
        """Bytes that the signature is of."""
        self._go_to(0)
        if self._line() != "guet-release 1":
            raise ValueError("release: expected 'guet-release 1'")
        (self.node,) = _words(self._line(), "node", 1)
        low, high = _words(self._line(), "hardware", 2)
        self.hardware_low = _number(low, 65535)
        self.hardware_high = _number(high, 65535)
        (version,) = _words(self._line(), "version", 1)
        self.version = _number(version, 0x3FFFFFFF)
        self._files_at = self._at
        count = 0
        before = ""
        for name, _, _ in self.files():
            count += 1
            if name <= before or count > _MAX_FILES:
                raise ValueError("release: %s out of order, or too many" % name)
            before = name
        if count == 0:
            raise ValueError("release: no files")

    def files(self):
        """(name, size, SHA-256) of each."""
        self._go_to(self._files_at)
        while self._at < self.signed:
            line = self._line()
            size, digest, name = _words(line, "file", 3)
            if not _proper(name) or len(digest) != 64 or _number(size, MAX_FILE) == 0:
                raise ValueError("release: bad line %r" % line)
            try:
                hashed = binascii.unhexlify(digest)
            except ValueError:
                raise ValueError("release: bad line %r" % line)
            yield name, int(size), hashed

    def misfit(self, node: str, hardware: int, floor: int) -> str:
        """Why this node must not take the release: "node", "hardware" or "version"; "" when it may."""
        if self.node != node:
            return "node"
        if not self.hardware_low <= hardware <= self.hardware_high:
            return "hardware"
        if self.version <= floor:
            return "version"
        return ""

    def _go_to(self, at: int) -> None:
        self._file.seek(at)
        self._at = at

    def _line(self) -> str:
        line = self._file.readline(_LONGEST_LINE)
        self._at += len(line)
        if self._at > self.signed or line[-1:] != b"\n":
            raise ValueError("release: expected complete lines")
        try:
            return str(line[:-1], "ascii")
        except UnicodeError:
            raise ValueError("release: not text")


def _words(line: str, keyword: str, n: int) -> list:
    words = line.split(" ")
    if len(words) != n + 1 or words[0] != keyword:
        raise ValueError("release: expected '%s' and %d words, got %r" % (keyword, n, line))
    return words[1:]


def _number(text: str, high: int) -> int:
    if not text or len(text) > 10 or not all(c in "0123456789" for c in text) or int(text) > high:
        raise ValueError("release: expected a number up to %d, got %r" % (high, text))
    return int(text)


def _proper(name: str) -> bool:
    """A plain module file: nothing that could leave its folder."""
    stem, _, suffix = name.partition(".")
    return 0 < len(stem) <= 32 and all(c in _LETTERS for c in stem) and suffix in ("mpy", "py", "bin")


def digest_of(file, chunk: bytearray, n: int = -1) -> bytes:
    """SHA-256 of an open file's first n bytes, -1: of all, read through `chunk`."""
    view = memoryview(chunk)
    digest = hashlib.sha256()
    file.seek(0)
    while n:
        got = file.readinto(view if n < 0 else view[: min(n, len(chunk))])
        if not got:
            break
        digest.update(view[:got])
        n -= got if n > 0 else 0
    return digest.digest()


def file_digest(path: str, chunk: bytearray) -> bytes:
    """SHA-256 of a file; b"" when there is none."""
    try:
        with open(path, "rb") as file:
            return digest_of(file, chunk)
    except OSError:
        return b""


def slot_is_good(folder: str, digest: bytes) -> bool:
    """Whether `folder` holds exactly the verified release whose bytes hash to `digest`, every file intact."""
    chunk = bytearray(256)
    try:
        with open(folder + "/release", "rb") as file:
            if digest_of(file, chunk) != digest:
                return False
            return all(file_digest(folder + "/" + name, chunk) == hashed for name, _, hashed in Release(file).files())
    except (OSError, ValueError):
        return False
