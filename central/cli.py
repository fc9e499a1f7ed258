"""`guet central run` and `guet central status`: the platform's side on one machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from central.broker import Broker
from central.database import Database, url_in
from central.errors import CentralError
from central.export import export, ngsi_ld
from central.ingest import Log, run_ingester
from central.ngsi import Asset, normalized, parse_assets
from central.node import tls_in
from central.replay import ask_for_replay
from central.status import GatewayStatus, gateways, refusals, report

FOLDER = Path("guet-central")
NATS_URL = "nats.url"


def main(argv: Sequence[str] | None = None) -> int:
    """Le centre : courtier, base, réception des relevés / The centre: broker, database, ingester"""
    options = _parser().parse_args(argv)
    try:
        if options.verb == "run":
            logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
            return asyncio.run(_run(options))
        if options.verb == "replay":
            return asyncio.run(_replay(options))
        if options.verb == "push":
            return asyncio.run(_push(options))
        if options.verb == "command":
            return asyncio.run(_command(options))
        if options.verb == "bins":
            return _bins(options)
        if options.verb == "configure":
            return _configure(options)
        if options.verb == "export":
            return _export(options)
        return _status(options)
    except CentralError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="guet central", description=main.__doc__)
    known = "run | status | export | replay | push | command | bins | configure"
    verbs = parser.add_subparsers(dest="verb", required=True, metavar=known)
    run = verbs.add_parser("run", help=_say("démarre le centre, jusqu'à Ctrl-C", "starts the centre, until Ctrl-C"))
    run.add_argument("--mqtt-port", type=int, default=1883, help=_say("port des passerelles", "port for gateways"))
    run.add_argument("--nats-port", type=int, default=4222, help=_say("port du journal", "port of the log"))
    existing = _say(
        "serveur NATS existant, au lieu d'en démarrer un", "an existing NATS server, instead of starting one"
    )
    run.add_argument("--nats", default="", metavar="URL[,URL]", help=existing)
    copies = _say("sur combien de nœuds NATS chaque relevé est gardé", "on how many NATS nodes each record is kept")
    run.add_argument("--replicas", type=int, default=1, choices=(1, 3, 5), help=copies)
    files = _say(
        "dossier avec certificate.pem, key.pem et authority.pem, pour --nats tls://...",
        "folder with certificate.pem, key.pem and authority.pem, for --nats tls://...",
    )
    run.add_argument("--tls", type=Path, default=None, metavar="FOLDER", help=files)
    status = verbs.add_parser("status", help=_say("l'état de chaque passerelle", "how each gateway stands"))
    status.add_argument("--json", action="store_true", help=_say("pour les machines", "for machines"))
    told = _say("alertes, actions et états, en JSON", "alerts, actions and states, as JSON")
    whole = verbs.add_parser("export", help=told)
    forms = _say("entités NGSI-LD (Smart Data Models)", "NGSI-LD entities (Smart Data Models)")
    whole.add_argument("--ngsi-ld", choices=("key-values", "normalized"), default=None, help=forms)
    city = _say("à quoi sert chaque appareil, et où", "what each device belongs to, and where that stands")
    whole.add_argument("--assets", type=Path, default=None, metavar="ASSETS.toml", help=city)
    written = _say(
        "écrit les configurations d'un ou de trois nœuds NATS et les certificats de chaque passerelle",
        "writes the configurations of one or three NATS nodes, and each gateway's certificates",
    )
    new = verbs.add_parser("configure", help=written)
    new.add_argument("folder", type=Path, metavar="FOLDER")
    for name, french, english in (
        ("node", "machine d'un nœud", "machine of a node"),
        ("gateway", "identifiant d'une passerelle à ajouter", "id of a gateway to add"),
        ("request", "demande de certificat (CSR) d'une passerelle", "certificate request (CSR) of a gateway"),
    ):
        new.add_argument(f"--{name}", action="append", default=[], required=name == "node", help=_say(french, english))
    new.add_argument("--name", default="", help=_say("nom qui mène à tous les nœuds", "name that leads to every node"))
    again = verbs.add_parser(
        "replay",
        help=_say("redemande à une passerelle ce dont elle se souvient", "asks a gateway again for what it remembers"),
    )
    again.add_argument("gateway")
    for name, french, english in (("from", "depuis", "since"), ("to", "jusqu'à", "until")):
        when = _say(f"{french} : date ISO 8601 avec fuseau", f"{english}: ISO 8601 with an offset")
        again.add_argument(f"--{name}", dest=f"{name}_", type=_instant, required=True, metavar="TIME", help=when)
    again.add_argument("--nats", default="", metavar="URL[,URL]", help=_say("journal à utiliser", "log to use"))
    again.add_argument("--tls", type=Path, default=None, metavar="FOLDER", help=files)
    pushed, order, waste = _push_options(verbs, files), _command_options(verbs, files), _bins_options(verbs)
    for verb in (run, status, whole, again, pushed, order, waste):
        own = _say(f"dossier des données (défaut : {FOLDER})", f"folder of the data (default: {FOLDER})")
        verb.add_argument("--data", type=Path, default=FOLDER, help=own)
        other = _say("PostgreSQL existant, au lieu de celui du dossier", "an existing PostgreSQL, not the folder's own")
        verb.add_argument("--database", default="", metavar="URL", help=other)
    return parser


def _push_options(verbs: Any, files: str) -> argparse.ArgumentParser:
    gives = _say(
        "donne à une passerelle un autre site, signé et à l'essai", "gives a gateway another site, signed and on trial"
    )
    pushed: argparse.ArgumentParser = verbs.add_parser("push", help=gives)
    pushed.add_argument("gateway")
    pushed.add_argument("site", type=Path, metavar="SITE.toml")
    signs = _say("ce qui signe : authority/commands.key", "what signs: authority/commands.key")
    pushed.add_argument("--key", type=Path, required=True, metavar="commands.key", help=signs)
    pushed.add_argument("--by", required=True, help=_say("qui le demande", "who asks for it"))
    pushed.add_argument("--reason", required=True, help=_say("pourquoi", "why"))
    waits = _say("combien de temps réessayer, en secondes", "for how long to try again, in seconds")
    pushed.add_argument("--within", type=float, default=900.0, metavar="SECONDS", help=waits)
    pushed.add_argument("--nats", default="", metavar="URL[,URL]", help=_say("journal à utiliser", "log to use"))
    pushed.add_argument("--tls", type=Path, default=None, metavar="FOLDER", help=files)
    pushed.add_argument("--json", action="store_true", help=_say("pour les machines", "for machines"))
    return pushed


def _command_options(verbs: Any, files: str) -> argparse.ArgumentParser:
    order: argparse.ArgumentParser = verbs.add_parser(
        "command", help=_say("commande signée à une passerelle", "a signed command to a gateway")
    )
    order.add_argument("gateway")
    order.add_argument("point", metavar="DEVICE/POINT")
    order.add_argument("value", type=float, nargs="?", default=None)
    for name, metavar, french, english in (
        ("key", "FILE", "clé privée Ed25519 (PEM)", "private Ed25519 key (PEM)"),
        ("reason", "TEXT", "pourquoi : figure au journal", "why: stands in the record"),
        ("by", "NAME", "qui l'ordonne", "who orders it"),
    ):
        kind = Path if name == "key" else str
        order.add_argument(f"--{name}", type=kind, required=True, metavar=metavar, help=_say(french, english))
    kept = _say("durée du maintien, 1h si rien n'est dit", "how long it holds, 1h where nothing is said")
    order.add_argument("--for", dest="lease", default="1h", metavar="2h", help=kept)
    how = order.add_mutually_exclusive_group()
    dry = _say("à blanc : tout est vérifié, rien n'est écrit", "dry run: all is checked, nothing is written")
    how.add_argument("--dry-run", action="store_true", help=dry)
    how.add_argument("--release", action="store_true", help=_say("rend le point à son site", "gives the point back"))
    limit = _say("attente de la réponse, puis la commande expire", "wait for the answer, then the command expires")
    order.add_argument("--within", type=float, default=30.0, metavar="SECONDS", help=limit)
    order.add_argument("--json", action="store_true", help=_say("pour les machines", "for machines"))
    order.add_argument("--nats", default="", metavar="URL[,URL]", help=_say("journal à utiliser", "log to use"))
    order.add_argument("--tls", type=Path, default=None, metavar="FOLDER", help=files)
    return order


def _bins_options(verbs: Any) -> argparse.ArgumentParser:
    full = _say("remplissage et débordement prévu des bacs", "fill and forecast overflow of bins")
    waste: argparse.ArgumentParser = verbs.add_parser("bins", help=full)
    form = waste.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help=_say("tableur (défaut)", "spreadsheet (default)"))
    form.add_argument("--json", action="store_true", help=_say("pour les machines", "for machines"))
    where = _say("où ils se trouvent, comme pour export", "where they stand, as for export")
    waste.add_argument("--assets", type=Path, default=None, metavar="ASSETS.toml", help=where)
    return waste


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        nats_url = options.nats
        if not nats_url:
            broker = await stack.enter_async_context(Broker(options.data, options.mqtt_port, options.nats_port))
            nats_url = broker.nats_url
            (options.data / NATS_URL).write_text(nats_url, encoding="utf-8")
            stack.callback((options.data / NATS_URL).unlink, missing_ok=True)
            print(_say(f"passerelles : {broker.mqtt_url}", f"gateways: {broker.mqtt_url}"))
        database = await stack.enter_async_context(Database(options.database or options.data))
        # With a password in it, an address is no one else's business.
        print(_say("base : ", "database: ") + (options.data.name if not options.database else "PostgreSQL"), flush=True)
        await run_ingester(Log(nats_url, options.replicas, tls_in(options.tls)), database.url, stop)
    return 0


def _assets(options: argparse.Namespace) -> Sequence[Asset]:
    """What the city knows of its devices, where a file says so."""
    try:
        return parse_assets(options.assets.read_text(encoding="utf-8")) if options.assets is not None else ()
    except OSError as error:
        raise CentralError(f"{options.assets}: {error.strerror}") from error


def _export(options: argparse.Namespace) -> int:
    url = options.database or url_in(options.data)
    if options.ngsi_ld is None:
        print(json.dumps(export(url), ensure_ascii=False))
        return 0
    found = ngsi_ld(url, _assets(options))
    print(
        json.dumps([normalized(one) for one in found] if options.ngsi_ld == "normalized" else found, ensure_ascii=False)
    )
    return 0


def _log_of(options: argparse.Namespace) -> Log:
    """The log that is named, else that of the centre that runs in the folder."""
    url = options.nats
    if not url:
        try:
            url = (options.data / NATS_URL).read_text(encoding="utf-8")
        except OSError:
            raise CentralError(
                f"{options.data}: expected the folder of a centre that runs, got none; name --data or --nats"
            ) from None
    return Log(url, tls=tls_in(options.tls))


async def _push(options: argparse.Namespace) -> int:
    from central.order import load_key
    from central.push import Answer, message, push

    if not 1 <= options.within <= 30 * 86_400:
        raise CentralError(f"--within: expected 1 second to 30 days, got {options.within:g} s")
    try:
        text = options.site.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CentralError(f"{options.site}: expected a site file in UTF-8, got: {error}") from error
    french = {"not yet": "pas encore", "accepted": "acceptée", "begun": "en marche, à l'essai", "refused": "refusée",
              "kept": "gardée", "returned": "retour au site d'avant"}  # fmt: skip

    def tell(answer: Answer) -> None:
        if options.json:
            print(json.dumps({"answer": answer.answer, "faults": answer.faults}, ensure_ascii=False), flush=True)
            return
        said = _say(french.get(answer.answer, answer.answer), answer.answer)
        print("\n  ".join([f"{options.gateway} : {said}", *answer.faults]), flush=True)

    name, payload = message(
        load_key(options.key), options.gateway, text, by=options.by, reason=options.reason, good_for_s=options.within
    )
    found = await push(_log_of(options), options.gateway, name, payload, options.within, tell)
    return 0 if found.answer == "kept" else 1


async def _command(options: argparse.Namespace) -> int:
    from central.command import Wish, command
    from central.order import load_key

    if not 1 <= options.within <= 3600:
        raise CentralError(f"--within: expected 1 to 3600 s, got {options.within:g}")
    wish = Wish(
        options.gateway,
        "release" if options.release else "try" if options.dry_run else "set",
        options.point,
        options.value,
        options.lease,
        options.reason,
        options.by,
    )
    found = await command(_log_of(options), wish, load_key(options.key), options.within)
    if options.json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        french = {"accepted": "acceptée", "refused": "refusée", "reverted": "annulée, valeur sûre rétablie"}
        shown = (
            "" if found.read_back is None else _say(f", relu {found.read_back:g}", f", read back {found.read_back:g}")
        )
        shown += _say(f", jusqu'à {found.until}", f", until {found.until}") if found.until else ""
        said = _say(french.get(found.answer, found.answer), found.answer)
        print(
            f"{options.gateway} {options.point} : {said}{shown}{' : ' + found.error if found.error else ''} ({found.id})"
        )
    return 0 if found.answer == "accepted" else 1


def _bins(options: argparse.Namespace) -> int:
    from central.bins import bins, write

    rows = bins(options.database or url_in(options.data), _assets(options))
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        write(rows, sys.stdout)
    return 0


async def _replay(options: argparse.Namespace) -> int:
    told = await ask_for_replay(_log_of(options), options.gateway, options.from_, options.to_)
    print(_say(f"{options.gateway} renvoie : {told}", f"{options.gateway} sends again: {told}"))
    return 0


def _instant(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise argparse.ArgumentTypeError(_say(f"{text} : fuseau absent (Z)", f"{text}: without an offset (Z)"))
    return when


def _configure(options: argparse.Namespace) -> int:
    from central.configure import configure

    requests = [Path(request) for request in options.request]
    known = configure(options.folder, options.node, options.gateway, requests, options.name)
    print(_say(f"{options.folder} : {len(options.node)} nœud(s), {len(known)} passerelle(s)",
               f"{options.folder}: {len(options.node)} node(s), {len(known)} gateway(s)"))  # fmt: skip
    print(_say("authority/*.key signe toute identité et tout ordre : hors réseau, en lieu sûr.",
               "authority/*.key signs any identity and any order: off the network, in a safe place."))  # fmt: skip
    return 0


def _status(options: argparse.Namespace) -> int:
    url = options.database or url_in(options.data)
    found, refused = gateways(url), refusals(url)
    if options.json:
        body = {
            "gateways": [gateway.as_json() for gateway in found],
            "refused": [one.as_json() for one in refused],
            "total": report(url),
        }
        print(json.dumps(body, indent=2, ensure_ascii=False))
        return 0
    for line in _table(found):
        print(line)
    if refused:
        print(_say("Messages refusés :", "Refused messages:"))
        for one in refused:
            print(f"  {one.gateway or '?'}  {one.reason}  {one.count}  {_ago(one.last)}  {one.detail or ''}".rstrip())
    return 0


def _table(found: Sequence[GatewayStatus]) -> list[str]:
    if not found:
        return [_say("Aucune passerelle entendue jusqu'ici.", "No gateway heard so far.")]
    french = ("passerelle", "vue", "en attente", "reçus", "manquants", "écartés", "répétés", "refusés", "alertes")
    english = ("gateway", "seen", "backlog", "records", "missing", "dropped", "repeated", "refused", "alerts")
    rows: list[tuple[str, ...]] = [english if _english() else french]
    for one in found:
        backlog = "?" if one.backlog is None else str(one.backlog)
        if one.backlog and one.days_until_full is not None:
            days = round(one.days_until_full)
            backlog += _say(f" (place pour {days} j)", f" (room for {days} d)")
        gaps = _say(f"{one.dropped} en {one.gaps} trous", f"{one.dropped} in {one.gaps} gaps") if one.gaps else "0"
        alerts = _say(f"{one.alerts} ({one.open_alerts} en cours)", f"{one.alerts} ({one.open_alerts} open)")
        numbers = (str(one.records), str(one.missing), gaps, str(one.redelivered), str(one.refused))
        rows.append((one.gateway, _ago(one.last_seen), backlog, *numbers, alerts))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _ago(when: datetime | None) -> str:
    if when is None:
        return _say("jamais", "never")
    seconds = max(0, round((datetime.now(UTC) - when).total_seconds()))
    for unit, size in (("j" if not _english() else "d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return _say(f"il y a {seconds // size} {unit}", f"{seconds // size} {unit} ago")
    return _say(f"il y a {seconds} s", f"{seconds} s ago")


def _english() -> bool:
    # As the gateway's command line decides it; the centre does not import the gateway.
    given = (os.environ.get(name) for name in ("GUET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    return next((text.lower().startswith("en") for text in given if text), False)


def _say(french: str, english: str) -> str:
    return english if _english() else french


if __name__ == "__main__":
    raise SystemExit(main())
