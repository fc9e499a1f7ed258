"""The centre's own certificate authority: who a node, an ingester and each gateway is.

A certificate says one name: a gateway's id, or a node's host. What bears a gateway's name can never act as a node. Keys are
written for their owner only, and never again: what is there already stays. A gateway may also keep its key to itself and
hand in a request (CSR) to be signed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from central.contract import GATEWAY
from central.errors import CentralError

AUTHORITY_DAYS: Final = 3650
VALID_DAYS: Final = 730
_EARLY: Final = timedelta(hours=1)
"""A gateway whose clock is a little slow believes us nevertheless."""
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class Authority:
    """In a folder: `authority.pem`, and `authority.key`, with which anybody can be any gateway, and `commands.key`, which
    gateways obey: keep them off the network. Made where there is none. Raises CentralError for files that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.certificate_file = folder / "authority.pem"
        key_file = folder / "authority.key"
        if not key_file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Guet centre")])
            made = (
                _builder(name, name, key.public_key(), key.public_key(), AUTHORITY_DAYS)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_usage(signs=True), critical=True)
                .sign(key, hashes.SHA256())
            )
            _write(self.certificate_file, made.public_bytes(serialization.Encoding.PEM), 0o644)
            _write(key_file, _pem(key), 0o600)
        try:
            found = serialization.load_pem_private_key(key_file.read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise CentralError(f"{folder}: expected authority.pem and authority.key, got: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise CentralError(f"{key_file}: expected a key on an elliptic curve")
        self._key = found

    def gateway(self, folder: Path, gateway: str) -> None:
        """Gives a gateway (or the ingester) key, certificate and the authority's, in that folder."""
        self._equip(folder, gateway, [x509.DNSName(gateway)], server=False)

    def node(self, folder: Path, hosts: Sequence[str]) -> None:
        """The same for a node, which is reached at each of `hosts`, names or addresses. Raises CentralError."""
        self._equip(folder, hosts[0], [place(host) for host in hosts], server=True)

    def commands(self) -> bytes:
        """The public half of the key that commands and configurations are signed with (`commands.key`, made where there is
        none), in PEM. Raises CentralError."""
        path = self.certificate_file.with_name("commands.key")
        if not path.exists():
            _write(path, _pem(ed25519.Ed25519PrivateKey.generate()), 0o600)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise CentralError(f"{path}: expected a key, got: {error}") from error
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, request: bytes, days: int = VALID_DAYS) -> tuple[str, bytes]:
        """A gateway's request in PEM -> its id and certificate. Raises CentralError for one that is not a gateway's or was
        not made by who holds the key."""
        try:
            asked = x509.load_pem_x509_csr(request)
            names = [str(one.value) for one in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            key = asked.public_key()
            sound = asked.is_signature_valid
        except (ValueError, InvalidSignature) as error:
            raise CentralError(f"expected a certificate request in PEM, got: {error}") from error
        if (
            len(names) != 1
            or not GATEWAY.fullmatch(names[0])
            or not sound
            or not isinstance(key, ec.EllipticCurvePublicKey)
        ):
            raise CentralError(
                f"expected a request whose common name is a gateway's id, signed by its own key (EC), got {names}"
            )
        return names[0], self._issue(names[0], key, [x509.DNSName(names[0])], server=False, days=days)

    def _equip(self, folder: Path, name: str, where: Sequence[x509.GeneralName], *, server: bool) -> None:
        if (folder / "certificate.pem").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder / "key.pem", _pem(key), 0o600)
        _write(folder / "authority.pem", self.certificate_file.read_bytes(), 0o644)
        _write(folder / "certificate.pem", self._issue(name, key.public_key(), where, server=server), 0o644)

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        where: Sequence[x509.GeneralName],
        *,
        server: bool,
        days: int = VALID_DAYS,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        # A node is a client too, of the other nodes.
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
        made = (
            _builder(subject, self._certificate.subject, key, self._key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName(where), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def place(host: str) -> x509.GeneralName:
    """A machine's name or address, as a certificate says it. Raises CentralError for what is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise CentralError(f"{host!r}: expected the name or address of a machine") from None
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)
