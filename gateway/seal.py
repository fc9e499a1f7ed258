"""Signed documents: a JSON body with the signature of whoever made it, and what is wrong with one that was changed.

Key: ECDSA on P-256, made on the device, never leaves its data folder (mode 0600); the same key asks for the uplink's
certificate. What is signed is the canonical text of the body: sorted keys, no spaces, UTF-8. A key is named by its
fingerprint, the first 16 bytes of the SHA-256 of its public key, as people read it: four groups of eight.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import SealError
from gateway.language import say

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

KEY_FILE = "key.pem"
ALGORITHM = "ECDSA-P256-SHA256"
MAX_BYTES = 16 * 1024 * 1024


def own_key(folder: Path) -> EllipticCurvePrivateKey:
    """The device's key; made the first time. Raises SealError where the file cannot be used."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    path = folder / KEY_FILE
    try:
        if path.exists():
            if path.stat().st_mode & 0o077:
                raise SealError(say(f"{path} est lisible par d'autres : chmod 600 {path}",
                                    f"{path} can be read by others: chmod 600 {path}"))  # fmt: skip
            key = load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
                raise SealError(say(f"{path} : attendu une clé P-256", f"{path}: expected a P-256 key"))
            return key
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        scratch = folder / f".{KEY_FILE}.{os.getpid()}"
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
        scratch.rename(path)
    except (OSError, ValueError) as error:
        raise SealError(say(f"{path} : attendu une clé qui puisse être lue ou faite, reçu : {error}",
                            f"{path}: expected a key that can be read or made, got: {error}")) from None  # fmt: skip
    return key


def public_pem(key: EllipticCurvePrivateKey | EllipticCurvePublicKey) -> str:
    """The public key as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key() if isinstance(key, EllipticCurvePrivateKey) else key
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def fingerprint(pem: str) -> str:
    """A public key's name for people. Raises SealError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = _public(pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = hashlib.sha256(der).hexdigest()[:32]
    return " ".join(text[at : at + 8] for at in range(0, 32, 8))


def canonical(body: Mapping[str, Any]) -> bytes:
    """The text of a body that is signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sealed(body: Mapping[str, Any], key: EllipticCurvePrivateKey) -> dict[str, Any]:
    """The document of a body: {"body": ..., "seal": ...}."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    text = canonical(body)
    seal = {
        "algorithm": ALGORITHM,
        "sha256": hashlib.sha256(text).hexdigest(),
        "public_key": public_pem(key),
        "signature": base64.b64encode(key.sign(text, ec.ECDSA(hashes.SHA256()))).decode("ascii"),
    }
    return {"body": dict(body), "seal": seal}


def opened(text: bytes, kind: str) -> tuple[dict[str, Any], str]:
    """The body of a signed document of that kind, and the fingerprint of who signed it. Raises SealError, which says what
    is wrong with it."""
    if len(text) > MAX_BYTES:
        raise SealError(say(f"{len(text)} octets : attendu au plus {MAX_BYTES}",
                            f"{len(text)} bytes: expected at most {MAX_BYTES}"))  # fmt: skip
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise SealError(say("ce n'est pas un document signé de Guet : pas de JSON",
                            "this is no signed document of Guet: no JSON")) from None  # fmt: skip
    body = document.get("body") if isinstance(document, dict) else None
    seal = document.get("seal") if isinstance(document, dict) else None
    if not isinstance(body, dict) or not isinstance(seal, dict) or body.get("kind") != kind:
        raise SealError(say(f"ce n'est pas un document signé de Guet du genre attendu ({kind})",
                            f"this is no signed document of Guet of the kind expected ({kind})"))  # fmt: skip
    return body, verified(body, seal)


def verified(body: Mapping[str, Any], seal: Mapping[str, Any]) -> str:
    """The fingerprint of who signed the body. Raises SealError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if seal.get("algorithm") != ALGORITHM:
        raise SealError(say(f"signature : attendu {ALGORITHM}, reçu {seal.get('algorithm')!r}",
                            f"signature: expected {ALGORITHM}, got {seal.get('algorithm')!r}"))  # fmt: skip
    try:
        text = canonical(body)
        signature = base64.b64decode(str(seal.get("signature")), validate=True)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise SealError(say("la signature est illisible", "the signature cannot be read")) from None
    pem = str(seal.get("public_key"))
    public = _public(pem)
    if hashlib.sha256(text).hexdigest() != seal.get("sha256"):
        raise SealError(say("le contenu a été changé : son empreinte n'est plus celle qui est scellée",
                            "the content was changed: its digest is not the sealed one any more"))  # fmt: skip
    try:
        public.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise SealError(say("la signature n'est pas celle de cette clé : contenu, sceau ou clé changés",
                            "the signature is not this key's: content, seal or key changed")) from None  # fmt: skip
    return fingerprint(pem)


def _public(pem: str) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise SealError(say("la clé publique est illisible", "the public key cannot be read"))
    return key
