"""Signed documents: whatever is changed is noticed and named; garbage gives only our errors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SealError
from gateway.seal import KEY_FILE, MAX_BYTES, fingerprint, opened, own_key, public_pem, sealed

BODY = {"kind": "k", "commune": "Épinal", "points": [{"value": 3.2, "reason": "vanne \u202e fermée"}]}


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def text(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def test_what_was_sealed_is_opened(key: ec.EllipticCurvePrivateKey) -> None:
    document = sealed(BODY, key)
    assert opened(text(document), "k") == (BODY, fingerprint(public_pem(key)))
    reordered = {"seal": document["seal"], "body": dict(reversed(document["body"].items()))}
    assert opened(json.dumps(reordered, indent=4).encode(), "k")[0] == BODY, "layout and order say nothing"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["body"]["points"][0].update(value=3.3), "contenu a été changé"),
        (lambda d: d["body"].update(more=1), "contenu a été changé"),
        (lambda d: d["body"].pop("commune"), "contenu a été changé"),
        (lambda d: d["seal"].update(sha256="0" * 64), "contenu a été changé"),
        (lambda d: d["seal"].update(signature=base64.b64encode(b"x" * 70).decode()), "pas celle de cette clé"),
        (lambda d: d["seal"].update(signature="%"), "illisible"),
        (
            lambda d: d["seal"].update(public_key=public_pem(ec.generate_private_key(ec.SECP256R1()))),
            "pas celle de cette",
        ),
        (lambda d: d["seal"].update(public_key=public_pem(ec.generate_private_key(ec.SECP384R1()))), "clé publique"),
        (lambda d: d["seal"].update(public_key="x"), "clé publique"),
        (lambda d: d["seal"].update(algorithm="none"), "ECDSA-P256-SHA256"),
        (lambda d: d["body"].update(kind="other"), "du genre attendu"),
        (lambda d: d.pop("seal"), "du genre attendu"),
    ],
)
def test_what_is_changed_is_named(key: ec.EllipticCurvePrivateKey, change: Any, said: str) -> None:
    document = json.loads(text(sealed(BODY, key)))
    change(document)
    with pytest.raises(SealError, match=said):
        opened(text(document), "k")


KEYS = st.sampled_from(["body", "seal", "kind", "algorithm", "signature", "public_key", "sha256"])
JSON = st.recursive(st.none() | st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_gives_only_our_error(garbage: bytes) -> None:
    with pytest.raises(SealError):
        opened(garbage, "k")


def test_too_much_is_refused_unread() -> None:
    with pytest.raises(SealError, match="au plus"):
        opened(b" " * (MAX_BYTES + 1), "k")


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    made = own_key(tmp_path / "data")
    path = tmp_path / "data" / KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_pem(own_key(tmp_path / "data")) == public_pem(made)
    path.chmod(0o644)
    with pytest.raises(SealError, match="chmod 600"):
        own_key(tmp_path / "data")
    path.chmod(0o600)
    path.write_bytes(b"no key")
    with pytest.raises(SealError, match=KEY_FILE):
        own_key(tmp_path / "data")
    other = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SealError, match="P-256"):
        own_key(tmp_path / "data")
