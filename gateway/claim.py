"""Claiming: a gateway becomes this site's, on the spot and without the Internet; the platform confirms it later.

Code (from the label) and job file (from the office) must belong together. The office's key is remembered at the first
claim; later job files must be signed by the same. The gateway's own key is made here, with a request for its certificate
beside it. Wrong codes are counted, each is logged, and after a few the next try has to wait. Nothing is written before all
of it is right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gateway.alert import iso
from gateway.errors import SealError, SiteError, WishError
from gateway.language import say, words_given
from gateway.pack import Proof, read_job
from gateway.patience import left_s
from gateway.seal import fingerprint, own_key, public_pem
from gateway.site_file import checked, put

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from gateway.store import Store

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
CLAIM, OFFICE, PASSWORD, TRIES = "claim.json", "office.pem", "password.json", "claim-tries.json"
REQUEST, CERTIFICATE = "certificate-request.pem", "certificate.pem"
WHAT = "gateway claimed"
MAX_BY = 200

State = Literal["none", "local", "confirmed"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim as it is kept. office, key: fingerprints of who prepared it and of this gateway."""

    gateway: str
    by: str
    at: str
    time_trusted: bool
    office: str
    key: str
    public_key: str
    job_sha256: str


def claim(
    content: bytes, code: str, *, by: str, path: Path, profiles: Path, now_s: float, time_trusted: bool = True
) -> Claimed:
    """Makes the gateway that of a job file: its site file is put at `path`. Raises SealError, WishError or SiteError, each
    with what is wrong; nothing is changed then, but a wrong code is counted."""
    try:
        try:
            return _claimed(content, code, by, path, profiles, now_s, time_trusted)
        except OSError as error:
            raise _not_kept(error) from None
    except (SealError, WishError, SiteError) as error:
        log.warning("claim refused: %s", str(error).splitlines()[0])
        raise


def _claimed(
    content: bytes, code: str, by: str, path: Path, profiles: Path, now_s: float, time_trusted: bool
) -> Claimed:
    if not (who := words_given("--by", by, MAX_BY)):
        raise WishError(say("--by : dites qui enrôle la passerelle", "--by: say who claims the gateway"))
    job, office, office_pem = read_job(content)
    site = checked(job.site, path, profiles)
    if site.gateway.id != job.gateway:
        raise SealError(say(f"la mission est pour {job.gateway}, son site pour {site.gateway.id}",
                            f"the job is for {job.gateway}, its site for {site.gateway.id}"))  # fmt: skip
    folder = site.data
    known = folder / OFFICE
    if known.exists() and fingerprint(known.read_text("ascii")) != office:
        raise SealError(say(f"cette mission est signée par {office}, cette passerelle obéit à une autre clé",
                            f"this job is signed by {office}, this gateway obeys another key"))  # fmt: skip
    _may_try(folder, now_s)
    if not job.code.proves(code):
        _count(folder, now_s)
        raise WishError(say("ce code n'est pas celui de cette mission : relisez l'étiquette (ni 0, ni 1, ni O, ni I)",
                            "this code is not this job's: read the label again (no 0, 1, O or I)"))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    key = own_key(folder)
    pem = public_pem(key)
    done = Claimed(job.gateway, who, iso(now_s), time_trusted, office, fingerprint(pem), pem,
                   hashlib.sha256(content).hexdigest())  # fmt: skip
    papers = {
        known: office_pem.encode("ascii"),
        folder / PASSWORD: json.dumps(job.password.model_dump()).encode(),
        folder / REQUEST: certificate_request(key, job.gateway, job.token).encode("ascii"),
        folder / CLAIM: json.dumps(asdict(done), ensure_ascii=False).encode(),
    }
    scratches: dict[Path, Path] = {}
    try:
        for paper, text in papers.items():  # all the room that it takes, before the site file is another
            scratches[paper] = _beside(paper, text)
        put(path, job.site, profiles, now_s)
        for paper, scratch in scratches.items():
            scratch.replace(paper)
    finally:
        for scratch in scratches.values():
            scratch.unlink(missing_ok=True)
    (folder / TRIES).unlink(missing_ok=True)
    return done


def _not_kept(error: OSError) -> WishError:
    """What the system refused to read or write, and what to do about it."""
    where, got = error.filename or say("le disque", "the disk"), error.strerror
    if isinstance(error, PermissionError):
        return WishError(say(f"{where} : pas le droit d'y écrire ; recommencez avec sudo",
                             f"{where}: no right to write there; try again with sudo"))  # fmt: skip
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WishError(say("le disque est plein : rien n'a été enrôlé ; guet doctor dit ce qui le remplit",
                             "the disk is full: nothing was claimed; guet doctor says what fills it"))  # fmt: skip
    return WishError(say(f"{where} : attendu un endroit où écrire, reçu : {got} ; donnez un autre chemin",
                         f"{where}: expected a place to write to, got: {got}; give another path"))  # fmt: skip


# -- wrong codes -------------------------------------------------------------------------------------------------------


def _tries(folder: Path) -> tuple[int, float]:
    """How many wrong codes in a row, and when the last one was."""
    try:
        body = json.loads((folder / TRIES).read_bytes())
        return int(body["failed"]), float(body["last_s"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0, 0.0


def _may_try(folder: Path, now_s: float) -> None:
    failed, last_s = _tries(folder)
    if (wait_s := left_s(failed, last_s, now_s, FIRST_WAIT_S, LONGEST_WAIT_S)) > 0:
        raise WishError(say(f"trop de codes faux ({failed}) : attendez encore {math.ceil(wait_s)} s",
                            f"too many wrong codes ({failed}): wait another {math.ceil(wait_s)} s"))  # fmt: skip


def _count(folder: Path, now_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keep(folder / TRIES, json.dumps({"failed": _tries(folder)[0] + 1, "last_s": now_s}).encode())


# -- afterwards --------------------------------------------------------------------------------------------------------


def claimed(folder: Path) -> Claimed | None:
    """The claim that is kept in a data folder; None where there is none."""
    try:
        return Claimed(**json.loads((folder / CLAIM).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def password_matches(folder: Path, text: str, file: str = PASSWORD) -> bool:
    """Whether this is the page's password on the label, or the one that another file keeps the proof of. Takes a twentieth
    of a second of a processor, on purpose."""
    try:
        return Proof.model_validate_json((folder / file).read_bytes()).proves(text)
    except (OSError, ValueError):
        return False


async def announce(store: Store) -> None:
    """Tells the platform of a claim that it was not told of yet. Raises StoreError."""
    known = claimed(store.path.parent)
    if known is None or store.state("claim") == asdict(known):
        return
    audit: dict[str, Any] = {"what": WHAT, **{k: v for k, v in asdict(known).items() if k not in ("gateway", "at")}}
    from gateway.alert import from_iso

    await store.decide({"claim": asdict(known)}, audits=[(from_iso(known.at), audit)])


def state(store: Store) -> State:
    """How far a claim has come: the platform has confirmed it once it took the record over."""
    if store.state("claim") is None:
        return "none" if claimed(store.path.parent) is None else "local"
    waiting = store.rows("select 1 from outbox where kind = 'audit' and body like ? limit 1", (f'%"{WHAT}"%',))
    return "local" if waiting else "confirmed"


def state_words(found: State) -> str:
    """A claim's state for people."""
    french, english = {
        "none": ("à enrôler", "to be claimed"),
        "local": (
            "enrôlée localement, à confirmer par la plateforme",
            "claimed locally, to be confirmed by the platform",
        ),
        "confirmed": ("enrôlée, confirmée par la plateforme", "claimed, confirmed by the platform"),
    }[found]
    return say(french, english)


# -- the certificate ---------------------------------------------------------------------------------------------------


def certificate_request(key: EllipticCurvePrivateKey, gateway: str, token: str = "") -> str:
    """A request (PKCS #10) for the certificate of the uplink, signed by the gateway's key. token: given once by whoever
    issues certificates; goes along as the challenge password."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import AttributeOID, NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gateway)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if token:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, token.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def take_certificate(content: bytes, folder: Path) -> Path:
    """Keeps the certificate that was issued for this gateway's key. Raises SealError for any other."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    try:
        certificate = x509.load_pem_x509_certificates(content)[0]
        public = certificate.public_key()
    except (ValueError, IndexError, TypeError):
        raise SealError(say("certificat illisible : attendu PEM", "certificate cannot be read: expected PEM")) from None
    if not isinstance(public, EllipticCurvePublicKey) or public_pem(public) != public_pem(own_key(folder)):
        raise SealError(say("ce certificat est pour une autre clé que celle de cette passerelle",
                            "this certificate is for another key than this gateway's"))  # fmt: skip
    path = folder / CERTIFICATE
    keep(path, content)
    return path


def keep(path: Path, content: bytes) -> None:
    """Whole or not at all, for one user alone: this one, or, where this one is root, whoever owns the folder."""
    _beside(path, content).replace(path)


def _beside(path: Path, content: bytes) -> Path:
    """The content, durably, under another name beside the file that it is to replace."""
    scratch, owner = path.with_name(f".{path.name}.new"), path.parent.stat()
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as out:
            if os.geteuid() == 0:
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    return scratch
