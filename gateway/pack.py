"""What the office prepares for a gateway: a signed job file, and the label that goes on the cabinet.

The job file holds the site (assets, expected devices, thresholds, platform address) and proofs of two secrets that stand on
the label only: the claim code, which ties this file to this cabinet, and the page's password. Whoever makes up a job file
does not know the code, and whoever reads a job file cannot work it out (scrypt). The label's two QR codes: join the
gateway's own Wi-Fi, open its page; both work without the Internet.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from pydantic import Field, ValidationError

from gateway.alert import iso
from gateway.errors import SealError
from gateway.language import language, say
from gateway.point import Closed
from gateway.profile import sentences
from gateway.seal import opened, sealed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KIND = "guet-job"
MAX_JOB_BYTES = 2 * 1024 * 1024
ALPHABET = "234679ACDEFHJKMNPRTUVWXY"
"""No letter that looks like a digit or like another: it is read off a label in the rain."""
LONGEST_WIFI = 32
PAGE_ADDRESS = "http://10.42.0.1"
"""Of the gateway in its own Wi-Fi (NetworkManager's shared address)."""
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


class Proof(Closed):
    """What proves a secret without giving it away: scrypt with a salt, both hexadecimal."""

    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    scrypt: str = Field(pattern=r"^[0-9a-f]{64}$")

    def proves(self, secret: str) -> bool:
        """Whether this is the secret; letters may be small, dashes and spaces left out."""
        return hmac.compare_digest(_scrypt(plain_code(secret), bytes.fromhex(self.salt)), bytes.fromhex(self.scrypt))


class Job(Closed):
    """The body of a job file. site: the text of site.toml. token: for a certificate, once."""

    kind: str
    format: int = Field(ge=1, le=1)
    gateway: str = Field(max_length=64)
    made_at: str = Field(max_length=40)
    by: str = Field(max_length=200)
    site: str = Field(max_length=MAX_JOB_BYTES)
    code: Proof
    password: Proof
    token: str = Field(default="", max_length=200)


@dataclass(frozen=True, slots=True)
class Label:
    """What stands on the cabinet. Secret as a whole: it is for whoever stands before it."""

    gateway: str
    commune: str
    code: str
    password: str
    wifi: str
    wifi_password: str
    address: str = PAGE_ADDRESS

    @property
    def wifi_text(self) -> str:
        """What phones understand as "join this Wi-Fi"."""
        return f"WIFI:T:WPA;S:{_escaped(self.wifi)};P:{_escaped(self.wifi_password)};;"

    @property
    def page_text(self) -> str:
        """The page's address for the claim."""
        return f"{self.address}/c/{self.code}"


def job_file(
    key: EllipticCurvePrivateKey, gateway: str, site: str, label: Label, *, by: str, now_s: float, token: str = ""
) -> bytes:
    """The signed job file of a gateway."""
    body = {
        "kind": KIND, "format": 1, "gateway": gateway, "made_at": iso(now_s), "by": by, "site": site,
        "code": proof(label.code), "password": proof(label.password), "token": token,
    }  # fmt: skip
    return json.dumps(sealed(body, key), ensure_ascii=False, indent=1).encode() + b"\n"


def read_job(content: bytes) -> tuple[Job, str, str]:
    """A job, who signed it, and their public key. Raises SealError for whatever is no job of anybody."""
    if len(content) > MAX_JOB_BYTES:
        raise SealError(say(f"fichier de mission : attendu au plus {MAX_JOB_BYTES} octets",
                            f"job file: expected at most {MAX_JOB_BYTES} bytes"))  # fmt: skip
    body, who = opened(content, KIND)
    try:
        job = Job.model_validate(body)
    except ValidationError as error:
        raise SealError("\n".join(sentences(error, "job"))) from None
    return job, who, str(json.loads(content)["seal"]["public_key"])


def new_label(gateway: str, commune: str, wifi: str = "", wifi_password: str = "") -> Label:
    """A label with fresh secrets."""
    return Label(
        gateway, commune, fresh(2), fresh(3), wifi or f"guet-{gateway}"[:LONGEST_WIFI], wifi_password or fresh(3)
    )


def label_faults(label: Label) -> Iterator[str]:
    """What would show only before the cabinet: a Wi-Fi that no phone joins (IEEE 802.11: a name of 1 to 32 bytes, a
    passphrase of 8 to 63 ASCII characters), an address that the page does not answer to."""
    if not 1 <= len(label.wifi.encode()) <= LONGEST_WIFI or not label.wifi.isprintable():
        yield say("--wifi : attendu un nom de 1 à 32 octets imprimables, sinon aucun téléphone ne s'y joint",
                  "--wifi: expected a name of 1 to 32 printable bytes, else no phone joins it")  # fmt: skip
    secret = label.wifi_password
    if not 8 <= len(secret) <= 63 or not (secret.isascii() and secret.isprintable()):
        yield say("--wifi-password : attendu de 8 à 63 signes sans accent (WPA) ; sans l'option, il est tiré au sort",
                  "--wifi-password: expected 8 to 63 ASCII characters (WPA); without the option, it is drawn")  # fmt: skip
    if not _is_page_address(label.address):
        such = f"{PAGE_ADDRESS}, http://192.168.1.20:8080"
        yield say(f"--address : attendu une adresse en chiffres : {such}",
                  f"--address: expected an address of numbers: {such}")  # fmt: skip


def _is_page_address(text: str) -> bool:
    """Whether it is http://NUMBERS or http://NUMBERS:PORT: the page answers to no name, which could be pointed anywhere."""
    try:
        parts = urlsplit(text)
        host = ipaddress.ip_address(parts.hostname or "")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return False
    return text == f"http://{f'[{host}]' if host.version == 6 else host}{port}"


def proof(secret: str) -> dict[str, str]:
    """What proves a secret later."""
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "scrypt": _scrypt(plain_code(secret), salt).hex()}


def plain_code(text: str) -> str:
    """A code as it is compared: capitals, without dashes and spaces."""
    return "".join(char for char in text.upper() if char.isalnum())[:64]


def label_svg(label: Label) -> str:
    """The label as SVG, 100 by 60 mm, in the language that is spoken."""
    import segno

    def code(text: str, x: float, title: str) -> str:
        modules = segno.make(text, error="m", micro=False)
        size = len(modules.matrix) + 8
        inner = modules.svg_inline(scale=1, border=4, svgclass=None, lineclass=None, omitsize=True, light="white")
        body = inner[inner.index(">") + 1 : inner.rindex("</svg>")]
        return (
            f'<svg x="{x}" y="21" width="33" height="33" viewBox="0 0 {size} {size}" role="img">'
            f"<title>{escape(title)}</title>{body}</svg>"
        )

    rows = "".join(f'<text x="3" y="{y}" font-size="{size}">{escape(text)}</text>' for y, size, text in _rows(label))
    wifi, page = _steps(label)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100mm" height="60mm" viewBox="0 0 100 60" '
        'font-family="Helvetica,Arial,sans-serif"><rect width="100" height="60" fill="#fff"/>'
        f"{rows}{code(label.wifi_text, 9, wifi)}{code(label.page_text, 58, page)}"
        f'<text x="25.5" y="57.5" font-size="3" text-anchor="middle">{escape(wifi)}</text>'
        f'<text x="74.5" y="57.5" font-size="3" text-anchor="middle">{escape(page)}</text></svg>\n'
    )


def wifi_file(label: Label) -> str:
    """The Wi-Fi on the label as a connection file of NetworkManager: the gateway's own, there where no other Wi-Fi that it
    knows is, beside whatever its cable does. As secret as the label."""
    host = urlsplit(label.address).hostname or ""
    address = host if re.fullmatch(r"\d+(\.\d+){3}", host) else urlsplit(PAGE_ADDRESS).hostname
    return (
        "[connection]\nid=guet\ntype=wifi\nautoconnect-priority=-10\n\n"
        f"[wifi]\nmode=ap\nband=bg\nssid={_in_keyfile(label.wifi).replace(';', chr(92) * 2 + ';')}\n\n"
        f"[wifi-security]\nkey-mgmt=wpa-psk\npsk={_in_keyfile(label.wifi_password)}\n\n"
        f"[ipv4]\naddress1={address}/24\nmethod=shared\n\n[ipv6]\nmethod=disabled\n"
    )


def label_html(label: Label) -> str:
    """The label as a page: seen with a word of what it is, printed as the label alone, on its size or on any paper."""
    title = say(f"Étiquette de la passerelle {label.gateway}", f"Label of gateway {label.gateway}")
    words = say(
        "À imprimer à 100 %, sans marges, sur une étiquette de 100 × 60 mm ou sur du papier. Elle porte les secrets : sur "
        "l'armoire, et nulle part ailleurs. Effacez ce fichier ensuite.",
        "Print at 100 %, without margins, on a label of 100 × 60 mm or on paper. It bears the secrets: on the cabinet, and "
        "nowhere else. Delete this file afterwards.",
    )
    return (
        f'<!doctype html>\n<html lang="{language()}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>'
        "@page{size:100mm 60mm;margin:0}body{margin:0;font:1.1rem/1.5 Helvetica,Arial,sans-serif;background:#fff;color:#111}"
        "main{padding:1rem;max-width:40rem}main>svg{display:block;max-width:100%;outline:1px dashed #666}"
        "@media print{header{display:none}main{padding:0;max-width:none}main>svg{outline:none}}</style></head>"
        f"<body><main><header><h1>{escape(title)}</h1><p>{escape(words)}</p></header>\n{label_svg(label)}</main></body></html>\n"
    )


def label_pdf(label: Label) -> bytes:
    """The label on a page."""
    import segno

    from gateway.pdf import MARGIN, Sheet

    sheet = Sheet(f"{label.gateway}", f"{label.gateway} · {label.commune}")
    for _, size, text in _rows(label):
        sheet.paragraph(text, 3 * size)
    sheet.skip(12)
    for at, text in enumerate((label.wifi_text, label.page_text)):
        matrix = [list(row) for row in segno.make(text, error="m", micro=False).matrix]
        sheet.squares(matrix, MARGIN + at * 220, 200)
    sheet.skip(206)
    sheet.row(_steps(label), (220, 290), 10)
    return sheet.finished()


def _steps(label: Label) -> tuple[str, str]:
    """What stands below the two QR codes."""
    return (
        say("1 rejoindre le Wi-Fi", "1 join the Wi-Fi"),
        say(f"2 ouvrir {label.address}", f"2 open {label.address}"),
    )


def _rows(label: Label) -> list[tuple[float, float, str]]:
    """Where each line of text stands, how high it is, in millimetres, and what it says."""
    return [
        (6.0, 4.6, f"{label.gateway} · {label.commune}"[:40]),
        (11.0, 4.0, f"code {label.code}"),
        (15.0, 3.0, say(f"mot de passe de la page {label.password}", f"password of the page {label.password}")),
        (19.0, 3.0, f"Wi-Fi {label.wifi}  {label.wifi_password}"),
    ]


def fresh(groups: int) -> str:
    """A new secret that can be read aloud: groups of four of ALPHABET."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(groups))


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, dklen=32, **_COST)


def _escaped(text: str) -> str:
    """As the Wi-Fi text of QR codes wants it."""
    return "".join(f"\\{char}" if char in '\\;,:"' else char for char in text)


def _in_keyfile(text: str) -> str:
    """As a value of such a file wants it."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return "\\s" + text[1:] if text.startswith(" ") else text
