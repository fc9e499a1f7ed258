"""The commissioning report: what was installed, that each point was checked, by whom, what was accepted and why.

One signed JSON body; the page that prints well, and the PDF, are made from it and carry it inside, so that each can be
verified alone: what is shown must be what this version makes of the body, to the byte.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.alert import iso
from gateway.app import home
from gateway.check import Outcome, TestName, Verdict, number, outcome_words, remembered, test_words, verdict_words
from gateway.errors import SealError
from gateway.language import language, say, speaking
from gateway.replace import hardware
from gateway.seal import fingerprint, opened, sealed, verified
from gateway.unit import UNITS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from gateway.app import Gateway

KIND = "guet-commissioning-report"
_EMBEDDED = re.compile(rb'<script type="application/json" id="guet-report">(.*?)</script>', re.DOTALL)
_TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table of the report."""

    cells: tuple[str, ...]
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the report. shares: of the width, by column."""

    title: str
    head: tuple[str, ...]
    shares: tuple[float, ...]
    rows: tuple[Line, ...]


# -- making it ---------------------------------------------------------------------------------------------------------


def body_of(
    gateway: Gateway, by: str, items: Sequence[Mapping[str, Any]], outage: Any, platform: Any
) -> dict[str, Any]:
    """The body of a report on the site as it is now. items: what had to be so before leaving, and is."""
    site, now_s = gateway.site, gateway.clock.now()
    profiles = {device.profile_name for device in site.devices.values() if device.bus}
    return {
        "kind": KIND,
        "format": 1,
        "number": f"PV-{site.gateway.id}-{iso(now_s).replace('-', '').replace(':', '')}",
        "language": language(),
        "made_at": iso(now_s),
        "time_trusted": gateway.clock.trusted,
        "by": by,
        "gateway": {"id": site.gateway.id, "commune": site.gateway.commune, "store": gateway.store.epoch},
        "software": {"version": __version__, "sha256": software_sha256(), "layout_sha256": layout_sha256()},
        "models": [
            {"watch": name, "model": watch.model.card.name, "sha256": watch.model.sha256 or None}
            for name, watch in sorted(gateway.judge.watches.items())
        ],
        "profiles": [
            {"profile": name, "sha256": _sha256((home() / "device_profiles" / f"{name}.toml").read_bytes())}
            for name in sorted(profiles)
        ],
        "points": list(_points(gateway)),
        "devices": [
            {"device": device.name, "asset": device.asset, "profile": device.profile_name, "bus": device.bus,
             "address": str(device.address), "hardware": [
                 {"serial": one.serial, "since": _time(one.since_s), "until": _time(one.until_s), "by": one.by,
                  "reason": one.reason} for one in hardware(gateway.store, device.name)]}
            for device in site.devices.values()
        ],
        "scans": [found for name in site.buses if (found := gateway.store.state(f"scan/{name}")) is not None],
        "items": list(items),
        "outage": outage,
        "platform": platform,
        "claim": gateway.store.state("claim"),
    }  # fmt: skip


def _points(gateway: Gateway) -> Iterator[dict[str, Any]]:
    for device in gateway.site.devices.values():
        for name, point in device.points.items():
            checked = remembered(gateway, f"{device.name}/{name}")
            if checked is not None:
                yield {
                    "point": checked.point, "title": point.title or name, "value": checked.value, "unit": checked.unit,
                    "verdict": checked.verdict, "reads": checked.reads, "read_at": _time(checked.time_s),
                    "at": iso(checked.at_s), "by": checked.by, "reason": checked.reason,
                    "tests": [{"name": t.name, "outcome": t.outcome, "said": t.said} for t in checked.tests],
                }  # fmt: skip


@cache
def software_sha256() -> str:
    """Digest over every file of this package, by name and content: what runs here."""
    folder = Path(__file__).parent
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".html", ".css") and path.is_file():
            whole.update(f"{path.relative_to(folder)}\0{_sha256(path.read_bytes())}\n".encode())
    return whole.hexdigest()


@cache
def layout_sha256() -> str:
    """Digest over what makes page and PDF of a body: where it is the same, both can be made again to the byte."""
    names = ("report.html", "report.py", "pdf.py", "check.py", "unit.py", "language.py")
    return _sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in names))


def signed(body: Mapping[str, Any], key: EllipticCurvePrivateKey) -> bytes:
    """The report itself: JSON for the platform, and for whoever verifies it."""
    return json.dumps(sealed(body, key), ensure_ascii=False, indent=1).encode() + b"\n"


# -- showing it --------------------------------------------------------------------------------------------------------


def page(document: Mapping[str, Any]) -> bytes:
    """The report as a page that prints well, in the language in which it was made."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    body, seal = document["body"], document["seal"]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # "<" as JSON may write it: what stands in the body can never end the element.
    embedded = json.dumps(document, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    with speaking(body["language"]):
        text = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
            body=body, seal=seal, tables=tables(body), words=_words(), fingerprint=fingerprint(seal["public_key"]),
            embedded=Markup(embedded), qr=Markup(_qr(seal["sha256"])),  # noqa: S704 - both are ours, and escaped above
        )  # fmt: skip
    return text.encode()


def paper(document: Mapping[str, Any]) -> bytes:
    """The report as PDF, with the signed JSON inside."""
    import segno

    from gateway.pdf import MARGIN, WIDTH, Sheet

    body, seal = document["body"], document["seal"]
    with speaking(body["language"]):
        words = _words()
        sheet = Sheet(body["number"], f"{body['number']} · SHA-256 {seal['sha256'][:16]}…")
        code = segno.make(seal["sha256"], error="m", micro=False)
        sheet.squares([list(row) for row in code.matrix], WIDTH - MARGIN - 90, 90)
        sheet.heading(words["title"], 15)
        sheet.paragraph(body["number"], 11)
        sheet.paragraph(f"{body['gateway']['commune']} · {body['gateway']['id']}")
        sheet.paragraph(f"{words['made']} {body['made_at']} {words['by']} {body['by']}")
        if not body["time_trusted"]:
            sheet.paragraph(words["time_guess"])
        sheet.skip(20)
        for table in tables(body):
            sheet.heading(table.title)
            if not table.rows:
                sheet.paragraph(words["none"])
                continue
            sheet.row(table.head, table.shares, bold=True)
            for row in table.rows:
                sheet.row(row.cells, table.shares, bold=row.accepted)
        sheet.heading(words["seal"])
        sheet.paragraph(f"SHA-256 {seal['sha256']}")
        sheet.paragraph(f"{words['key']} {fingerprint(seal['public_key'])}")
        sheet.paragraph(words["verify"])
        sheet.attach(f"{body['number']}.json", json.dumps(document, ensure_ascii=False, sort_keys=True).encode())
        return sheet.finished()


def tables(body: Mapping[str, Any]) -> list[Table]:
    """What the report shows, in the language that is spoken."""
    points = [
        Line((
            f"{one['title']} ({one['point']})", _value(one["value"], one["unit"]), _verdict(one["verdict"]),
            " ; ".join(f"{_test(t['name'])} {_outcome(t['outcome'])} : {t['said']}" for t in one["tests"]) or one["reason"],
            f"{one['by']}, {one['at']}",
        ), one["verdict"] == "accepted")
        for one in body["points"]
    ]  # fmt: skip
    accepted = [Line((one["point"], one["reason"], f"{one['by']}, {one['at']}"), True) for one in body["points"]
                if one["verdict"] == "accepted"]  # fmt: skip
    devices = [
        Line((one["device"], one["asset"] or "—", one["profile"], f"{one['bus']} {one['address']}", _serials(one)))
        for one in body["devices"]
    ]  # fmt: skip
    items = [Line((one["title"], one["said"])) for one in body["items"]]
    scans = [
        Line((one["bus"], one["at"], f"{_count(one['answering'])} / {_count(one['expected'])}",
              _causes(one)))
        for one in body["scans"]
    ]  # fmt: skip
    digests = [
        Line((say("logiciel", "software"), body["software"]["version"], body["software"]["sha256"])),
        *(Line((f"{say('modèle', 'model')} {one['model']}", one["watch"], one["sha256"] or say("règle", "rule")))
          for one in body["models"]),
        *(Line((say("profil", "profile"), one["profile"], one["sha256"])) for one in body["profiles"]),
    ]  # fmt: skip
    return [
        Table(say("Prêt à partir", "Ready to leave"), (say("point", "item"), say("constat", "finding")), (2, 5),
              tuple(items)),
        Table(say("Valeurs acceptées avec une raison", "Values accepted with a reason"),
              (say("point", "point"), say("raison", "reason"), say("par, le", "by, at")), (2, 3, 2), tuple(accepted)),
        Table(say("Points vérifiés", "Points checked"),
              (say("point", "point"), say("valeur", "value"), say("verdict", "verdict"), say("preuves", "evidence"),
               say("par, le", "by, at")), (2.8, 1.3, 1.5, 4.6, 2.8), tuple(points)),
        Table(say("Appareils", "Devices"),
              (say("appareil", "device"), say("ouvrage", "asset"), say("profil", "profile"),
               say("bus, adresse", "bus, address"), say("numéros de série", "serial numbers")),
              (2, 1.5, 3, 2, 3), tuple(devices)),
        Table(say("Dernière recherche sur chaque bus", "Last scan of each bus"),
              (say("bus", "bus"), say("le", "at"), say("répondent / attendus", "answering / expected"),
               say("causes", "causes")), (1.5, 2.2, 1.8, 5), tuple(scans)),
        Table(say("Empreintes", "Digests"), (say("quoi", "what"), say("nom", "name"), "SHA-256"), (1.6, 3, 7),
              tuple(digests)),
    ]  # fmt: skip


def _causes(scan: Mapping[str, Any]) -> str:
    told = " ; ".join(f"{number_of} {said}" for number_of, said in scan["causes"])
    return told or say("rien à signaler", "nothing to report")


def _count(count: int | None) -> str:
    return "—" if count is None else str(count)


def _serials(device: Mapping[str, Any]) -> str:
    stood = (f"{one['serial'] or '—'} ({one['since'] or '?'} – {one['until'] or '…'})" for one in device["hardware"])
    return " ; ".join(stood) or "—"


def _words() -> dict[str, str]:
    return {
        "title": say("Procès-verbal de mise en service", "Commissioning report"),
        "made": say("établi le", "made at"), "by": say("par", "by"), "none": say("aucun", "none"),
        "time_guess": say("heure de la passerelle non sûre", "the gateway's clock was a guess"),
        "seal": say("Sceau", "Seal"), "key": say("clé de la passerelle", "key of the gateway"),
        "verify": say("Vérifier ce document : guet verify FICHIER ; comparer la clé avec celle que connaît la plateforme.",
                      "To verify this document: guet verify FILE; compare the key with the one that the platform knows."),
        "qr": say("Code QR : l'empreinte SHA-256 de ce document", "QR code: the SHA-256 digest of this document"),
    }  # fmt: skip


def _value(value: float | None, unit: str) -> str:
    shown = UNITS[unit].shown if unit in UNITS else unit
    return "—" if value is None else f"{number(value)} {shown}".rstrip()


def _verdict(verdict: Verdict) -> str:
    return verdict_words(verdict)


def _test(name: TestName) -> str:
    return test_words(name)


def _outcome(outcome: Outcome) -> str:
    return outcome_words(outcome)


def _qr(text: str) -> str:
    """A QR code as an SVG element."""
    import segno

    code: str = segno.make(text, error="m", micro=False).svg_inline(scale=3, border=4, light="white")
    return code


def _time(time_s: float | None) -> str | None:
    return None if time_s is None else iso(time_s)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- verifying it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """A report that is what it says it is. note: what could not be compared, empty where all was."""

    number: str
    gateway: str
    made_at: str
    by: str
    key: str
    sha256: str
    note: str = ""


def verify(content: bytes) -> Verified:
    """A report as JSON, page or PDF. Raises SealError, which names what is wrong with it."""
    if content.startswith(b"%PDF"):
        text, render = _inside_pdf(content), paper
    elif found := _EMBEDDED.search(content):
        text, render = found[1], page
    else:
        text, render = content, None
    body, key = opened(text, KIND)
    document = json.loads(text)
    if set(document) != {"body", "seal"}:
        raise SealError(say("le document contient autre chose que son contenu et son sceau",
                            "the document has something besides its body and its seal"))  # fmt: skip
    note = ""
    if render is not None:
        try:
            same = render(document) == content
        except (KeyError, TypeError, ValueError, AttributeError):
            same = False
        if not same:
            if body.get("software", {}).get("layout_sha256") == layout_sha256():
                raise SealError(say("le contenu signé est intact, mais ce qui est affiché a été changé",
                                    "the signed content is whole, but what is shown was changed"))  # fmt: skip
            note = say("fait par une autre version : le contenu signé est intact, la mise en page n'a pas pu être comparée",
                       "made by another version: the signed content is whole, its layout could not be compared")  # fmt: skip
    verified(body, document["seal"])
    gateway = body.get("gateway")
    name = str(gateway.get("id")) if isinstance(gateway, dict) else "?"
    return Verified(str(body.get("number")), name, str(body.get("made_at")), str(body.get("by")), key,
                    str(document["seal"]["sha256"]), note)  # fmt: skip


def _inside_pdf(content: bytes) -> bytes:
    """The signed JSON that a PDF of ours carries, uncompressed. Raises SealError."""
    start = content.find(b'{"body":')
    end = content.find(b"\nendstream", start)
    if start < 0 or end < 0:
        raise SealError(say("ce PDF ne porte pas de procès-verbal signé", "this PDF carries no signed report"))
    return content[start:end]
