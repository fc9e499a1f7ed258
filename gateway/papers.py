"""The verbs about signed papers on the command line: `pack` in the office, `claim` at the cabinet, `verify` anywhere."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, replace
from logging.handlers import SysLogHandler
from pathlib import Path

from gateway.app import home
from gateway.claim import MAX_BY, REQUEST, Claimed, claim, claimed, state_words, take_certificate
from gateway.clock import SystemClock
from gateway.errors import SealError, WishError
from gateway.language import say, words_given
from gateway.pack import (
    MAX_JOB_BYTES,
    PAGE_ADDRESS,
    job_file,
    label_faults,
    label_html,
    label_pdf,
    label_svg,
    new_label,
    read_job,
    wifi_file,
)
from gateway.report import verify
from gateway.seal import MAX_BYTES, fingerprint, own_key, public_pem
from gateway.site_file import checked
from gateway.technician import FIELD_PROBLEM, FINE, USAGE, add_by, parser_of, plain

SYSTEM_LOG = "/dev/log"
OFFICE_KEYS = Path.home() / ".local/share/guet-office"


def verify_verb(argv: list[str]) -> int:
    """Vérifie un procès-verbal : JSON, page ou PDF / Verifies a commissioning report: JSON, page or PDF"""
    parser = parser_of("verify", verify_verb)
    parser.add_argument("report", type=Path, metavar="REPORT")
    parser.add_argument("--key", default="", metavar="FINGERPRINT", help="la clé attendue / the expected key")
    options = parser.parse_args(argv)
    try:
        with options.report.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        sys.stderr.write(f"{options.report}: {error.strerror}\n")
        return USAGE
    try:
        found = verify(content)
        if options.key and options.key.replace(" ", "").lower() != found.key.replace(" ", ""):
            raise SealError(say(f"scellé par une autre clé : {found.key}", f"sealed by another key: {found.key}"))
    except SealError as error:
        print(json.dumps({"valid": False, "why": str(error)}, ensure_ascii=False) if options.json
              else say(f"REFUSÉ : {plain(str(error))}", f"REFUSED: {plain(str(error))}"))  # fmt: skip
        return FIELD_PROBLEM
    if options.json:
        print(json.dumps({"valid": not found.note, **asdict(found)}, ensure_ascii=False))
    else:
        print(
            plain(
                say(
                    f"{found.number} : intact, scellé par la passerelle {found.gateway} le {found.made_at}, {found.by}",
                    f"{found.number}: whole, sealed by gateway {found.gateway} at {found.made_at}, {found.by}",
                )
            )
        )
        print(say(f"  clé {found.key}", f"  key {found.key}"))
        if found.note:
            print(f"! {found.note}")
    return FIELD_PROBLEM if found.note else FINE


def pack_verb(argv: list[str]) -> int:
    """Prépare au bureau la mission signée d'une passerelle et son étiquette / Prepares a signed job file and its label"""
    parser = parser_of("pack", pack_verb)
    parser.add_argument("site", type=Path, metavar="SITE.toml")
    add = parser.add_argument
    add("--out", type=Path, default=Path(), metavar="FOLDER", help="clé USB, dossier / USB stick, folder")
    add("--keys", type=Path, default=OFFICE_KEYS, metavar="FOLDER", help="la clé du bureau / the office's key")
    add("--wifi", default="", metavar="SSID", help="Wi-Fi de la passerelle / the gateway's Wi-Fi")
    add("--wifi-password", default="", help="sans : tiré au sort / without: drawn")
    add("--address", default=PAGE_ADDRESS, help="adresse de la page / of the page")
    add("--token", default="", help="pour le certificat, une fois / for the certificate, once")
    add_by(parser)
    options = parser.parse_args(argv)
    try:
        text = options.site.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{options.site}: {error}\n")
        return USAGE
    site = checked(text, options.site, home() / "device_profiles")
    label = replace(new_label(site.gateway.id, site.gateway.commune, options.wifi, options.wifi_password),
                    address=options.address.rstrip("/"))  # fmt: skip
    if faults := list(label_faults(label)):
        sys.stderr.write("\n".join([*faults, ""]))
        return USAGE
    by, token = words_given("--by", options.by, MAX_BY), words_given("--token", options.token, MAX_BY)
    key = own_key(options.keys)
    job = job_file(key, site.gateway.id, text, label, by=by, now_s=time.time(), token=token)
    read_job(job)  # what the cabinet would refuse is refused here
    made = {f"{site.gateway.id}.guet": job, f"label-{site.gateway.id}.svg": label_svg(label).encode(),
            f"label-{site.gateway.id}.html": label_html(label).encode(),
            f"label-{site.gateway.id}.pdf": label_pdf(label),
            f"wifi-{site.gateway.id}.nmconnection": wifi_file(label).encode()}  # fmt: skip
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, content in made.items():
            (options.out / name).write_bytes(content)
    except OSError as error:
        sys.stderr.write(f"--out {options.out}: {error.strerror}\n")
        return USAGE
    written = [str(options.out / name) for name in made]
    office = fingerprint(public_pem(key))
    if options.json:
        print(json.dumps({"gateway": site.gateway.id, "office": office, "files": written}, ensure_ascii=False))
        return FINE
    for path in written:
        print(path)
    print(say(f"signé par le bureau {office}", f"signed by the office {office}"))
    print(say("L'étiquette et le fichier wifi portent les secrets : sur l'armoire, sur la passerelle, pas ailleurs.",
              "The label and the wifi file bear the secrets: on the cabinet, on the gateway, nowhere else."))  # fmt: skip
    return FINE


def claim_verb(argv: list[str]) -> int:
    """Enrôle la passerelle avec la mission et le code de l'étiquette / Claims the gateway with job file and label code"""
    parser = parser_of("claim", claim_verb)
    add = parser.add_argument
    add("job", nargs="?", type=Path, metavar="JOB.guet")
    add(
        "site",
        nargs="?",
        type=Path,
        default=Path("site.toml"),
        metavar="SITE.toml",
        help="où l'écrire / where to write it",
    )
    add("--code", default="", help="sans : demandé / without: asked for")
    add("--certificate", type=Path, metavar="FILE.pem", help="certificat reçu / certificate that was issued")
    add(
        "--data", type=Path, default=Path("guet-data"), metavar="FOLDER", help="avec --certificate / with --certificate"
    )
    add_by(parser)
    options = parser.parse_args(argv)
    _log_to_the_system()
    try:
        if options.certificate is not None:
            return _certificate(options)
        if options.job is None:
            parser.error(say("attendu JOB.guet ou --certificate", "expected JOB.guet or --certificate"))
        code = options.code or _asked_code()
        clock = SystemClock()
        done = claim(_read(options.job, MAX_JOB_BYTES), code, by=options.by, path=options.site.absolute(),
                     profiles=home() / "device_profiles", now_s=clock.now(), time_trusted=clock.trusted)  # fmt: skip
    except (SealError, WishError) as error:
        sys.stderr.write(f"{plain(str(error))}\n")
        return FIELD_PROBLEM
    _tell(done, options)
    return FINE


def _log_to_the_system() -> None:
    """What is refused is told to the person, and to the machine's log, which the gateway's own log is part of."""
    handler: logging.Handler = logging.NullHandler()
    if Path(SYSTEM_LOG).is_socket():
        handler = SysLogHandler(SYSTEM_LOG, SysLogHandler.LOG_DAEMON)
        handler.ident = "guet: "
    logging.getLogger("gateway").addHandler(handler)


def _tell(done: Claimed, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(asdict(done) | {"state": "local"}, ensure_ascii=False))
        return
    print(say(f"{done.gateway} : {state_words('local')}", f"{done.gateway}: {state_words('local')}"))
    print(say(f"  par {done.by}, le {done.at} ; préparée par le bureau {done.office}",
              f"  by {done.by}, at {done.at}; prepared by the office {done.office}"))  # fmt: skip
    print(say(f"  clé de la passerelle {done.key} ; demande de certificat : {REQUEST}",
              f"  key of the gateway {done.key}; request for a certificate: {REQUEST}"))  # fmt: skip
    if not done.time_trusted:
        print(say("! heure non sûre : donnez le réseau, ou sudo timedatectl set-time",
                  "! the clock is a guess: give it a network, or sudo timedatectl set-time"))  # fmt: skip
    print(say("  ensuite : guet scan, guet check, guet leave", "  next: guet scan, guet check, guet leave"))


def _certificate(options: argparse.Namespace) -> int:
    if claimed(options.data) is None:
        raise WishError(say(f"--data {options.data} : aucune passerelle enrôlée là",
                            f"--data {options.data}: no gateway was claimed there"))  # fmt: skip
    path = take_certificate(_read(options.certificate, MAX_JOB_BYTES), options.data)
    print(json.dumps({"certificate": str(path)}) if options.json else path)
    return FINE


def _asked_code() -> str:
    try:
        return input(say("Code de l'étiquette : ", "Code on the label: "))
    except EOFError:
        return ""


def _read(path: Path, most: int) -> bytes:
    """A file, no more of it than is ever needed to refuse it. Raises WishError."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise WishError(f"{path}: {error.strerror}") from None
