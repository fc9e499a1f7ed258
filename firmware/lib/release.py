"""A signed release: what a slot may hold.

Text lines, then a line end, then 64 bytes: the ECDSA P-256 signature (r, s) of all before them.

    guet-release 1
    node pressure
    hardware 1 3                      from revision 1 to 3
    version 42
    file 1153 <SHA-256 in hex> modbus_rtu.mpy
"""

import binascii
import hashlib

from micropython import const

MAX_BYTES = const(4096)
MAX_FILE = const(20000)
_MAX_FILES = const(48)
SIGNATURE = const(64)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


class Release:
    """Parsed from all its bytes; ValueError says what is wrong with them. `files`: (name, size, SHA-256). Whether the
    signature is genuine is not asked here."""

    def __init__(self, data: bytes):
        if not SIGNATURE < len(data) <= MAX_BYTES:
            raise ValueError("release: %d bytes, expected up to %d" % (len(data), MAX_BYTES))
        try:
            lines = str(memoryview(data)[:-SIGNATURE], "ascii").split("\n")
        except UnicodeError:
            raise ValueError("release: not text")
        if len(lines) < 6 or lines[0] != "guet-release 1" or lines[-1] != "":
            raise ValueError("release: expected 'guet-release 1' and complete lines")
        (self.node,) = _words(lines[1], "node", 1)
        low, high = _words(lines[2], "hardware", 2)
        self.hardware_low = _number(low, 65535)
        self.hardware_high = _number(high, 65535)
        (version,) = _words(lines[3], "version", 1)
        self.version = _number(version, 0x3FFFFFFF)
        self.files = []
        names = set()
        for line in lines[4:-1]:
            size, digest, name = _words(line, "file", 3)
            if not _proper(name) or name in names or len(digest) != 64 or len(names) == _MAX_FILES:
                raise ValueError("release: bad line %r" % line)
            try:
                hashed = binascii.unhexlify(digest)
            except ValueError:
                raise ValueError("release: bad line %r" % line)
            names.add(name)
            if _number(size, MAX_FILE) == 0:
                raise ValueError("release: %s is empty" % name)
            self.files.append((name, int(size), hashed))

    def misfit(self, node: str, hardware: int, floor: int) -> str:
        """Why this node must not take the release: "node", "hardware" or "version"; "" when it may."""
        if self.node != node:
            return "node"
        if not self.hardware_low <= hardware <= self.hardware_high:
            return "hardware"
        if self.version <= floor:
            return "version"
        return ""


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


def file_digest(path: str, chunk: bytearray) -> bytes:
    """SHA-256 of a file, read through `chunk`; b"" when there is none."""
    view = memoryview(chunk)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while True:
                n = file.readinto(chunk)
                if not n:
                    return digest.digest()
                digest.update(view[:n])
    except OSError:
        return b""


def slot_is_good(folder: str, digest: bytes) -> bool:
    """Whether `folder` holds exactly the verified release whose bytes hash to `digest`, every file intact."""
    try:
        with open(folder + "/release", "rb") as file:
            data = file.read(MAX_BYTES + 1)
        release = Release(data)
    except (OSError, ValueError):
        return False
    if hashlib.sha256(data).digest() != digest:
        return False
    chunk = bytearray(256)
    return all(file_digest(folder + "/" + name, chunk) == hashed for name, _, hashed in release.files)
