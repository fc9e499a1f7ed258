"""The technician's verbs on the command line: arguments in, tables out. What they do is in the modules they are named after,
which the page calls too; where they do it is the hatch's business.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.app import home
from gateway.check import Checked, CheckWish
from gateway.check import lines as check_lines
from gateway.errors import SiteError, WishError
from gateway.hatch import ask
from gateway.jobs import CHECK, LEAVE, REPLACE, SCAN, WHY
from gateway.language import say
from gateway.leave import Item, LeaveWish, Left
from gateway.leave import last_line as leave_last
from gateway.leave import lines as leave_lines
from gateway.lone import bare_site
from gateway.look import LISTEN_S, Finding, Found, ScanWish
from gateway.progress import Progress
from gateway.replace import ReplaceWish, file_keys
from gateway.replace import lines as replace_lines
from gateway.scan import addresses_of, heading
from gateway.scan import lines as scan_lines
from gateway.settings import KeepWish, PutWish
from gateway.site import Site, digest, load_site
from gateway.site_change import change, keep_change
from gateway.site_change import lines as site_lines
from gateway.site_file import checked, difference, with_device
from gateway.why import WhyWish
from gateway.why import lines as why_lines

FINE, FIELD_PROBLEM, USAGE = 0, 1, 2
SITE_FILES = ("site.toml", "/etc/guet/site.toml")


def scan_verb(argv: list[str]) -> int:
    """Cherche qui répond sur les bus, et dit ce qui cloche / Finds who answers on the buses, and says what is wrong"""
    parser = parser_of("scan", scan_verb)
    _add_site(parser)
    add = parser.add_argument
    add("--bus", default="", help="un seul bus / one bus only")
    add("--port", default="", help="sans fichier de site : ce port / without a site file: this port")
    add("--host", default="", help="sans fichier de site : par TCP / without a site file: over TCP")
    add("--protocol", default="", help="avec --port : modbus-rtu, dali-sci… / with --port")
    add("--address", action="append", default=[], metavar="N", help="seulement 12, 1-32 / only 12, 1-32")
    add("--all", action="store_true", help="toutes les adresses / every address")
    add(
        "--line",
        action="append",
        default=[],
        metavar="'9600 8N1'",
        help="réglage à essayer aussi / try this setting too",
    )
    add("--slow", action="store_true", help="une seconde par appareil / a second for each device")
    add(
        "--for",
        dest="seconds",
        type=float,
        default=LISTEN_S,
        metavar="SECONDS",
        help="écoute radio / listening to a radio",
    )
    options = parser.parse_args(argv)

    async def asked() -> int:
        addresses = addresses_of(" ".join(options.address))
        wish = ScanWish(options.bus, addresses, options.all, tuple(options.line), options.slow, options.seconds)
        with TemporaryDirectory(prefix="guet-") as scratch:
            bare = bool(options.port or options.host)
            site = bare_site(options, Path(scratch)) if bare else _site(options)
            return await looked(site, wish)

    async def looked(site: Site, wish: ScanWish) -> int:
        wrong = headed = 0
        async with aclosing(ask(site, SCAN, wish)) as rows:
            async for row in rows:
                if isinstance(row, Progress):
                    show_progress(row.done, row.of, row.said, options)
                    continue
                wrong += isinstance(row, Finding)
                head = [] if headed or not isinstance(row, Found) else [heading()]
                headed += bool(head)
                print_row(row, [*head, *scan_lines(row)], options)
        return FIELD_PROBLEM if wrong else FINE

    return run_verb(asked)


def why_verb(argv: list[str]) -> int:
    """Pourquoi un point n'a pas de valeur / Why a point has no value"""
    parser = parser_of("why", why_verb)
    parser.add_argument("point", metavar="DEVICE/POINT")
    _add_site(parser)
    options = parser.parse_args(argv)

    async def asked() -> int:
        async with aclosing(ask(_site(options), WHY, WhyWish(options.point))) as rows:
            async for found in rows:
                print_row(found, why_lines(found), options)
                return FINE if found.fine else FIELD_PROBLEM
        return FIELD_PROBLEM

    return run_verb(asked)


def check_verb(argv: list[str]) -> int:
    """Vérifie que les valeurs sont crédibles, et dit pourquoi / Checks that values are credible, and says why"""
    parser = parser_of("check", check_verb)
    parser.add_argument("point", nargs="?", default="", metavar="DEVICE[/POINT]")
    _add_site(parser)
    parser.add_argument("--reads", type=int, default=CheckWish().reads, metavar="N",
                        help="lectures par point / readings of each point")  # fmt: skip
    parser.add_argument("--provoke", action="store_true", help="essai : provoquer un changement / cause a change")
    parser.add_argument("--accept", default="", metavar="REASON",
                        help="accepter une valeur douteuse / accept a doubtful value")  # fmt: skip
    add_by(parser)
    options = parser.parse_args(argv)
    if options.point.endswith(".toml"):
        options.site, options.point = Path(options.point), ""

    async def asked() -> int:
        wish = CheckWish(options.point, options.reads, options.provoke, options.accept, options.by)
        bad = 0
        async with aclosing(ask(_site(options), CHECK, wish)) as rows:
            async for row in rows:
                if isinstance(row, Checked):
                    bad += not row.fine
                    print_row(row, check_lines(row), options)
                else:
                    show_progress(row.done, row.of, row.said, options, row.ask)
        return FIELD_PROBLEM if bad else FINE

    return run_verb(asked)


def replace_verb(argv: list[str]) -> int:
    """Remplace le matériel d'un rôle, qui garde son histoire / Replaces the hardware of a role, which keeps its history"""
    parser = parser_of("replace", replace_verb)
    parser.add_argument("device", metavar="DEVICE")
    _add_site(parser)
    add = parser.add_argument
    add("--serial", default="", help="numéro du nouvel appareil / number of the new device")
    add("--old-serial", default="", help="numéro de l'ancien / number of the old one")
    add("--address", default="", help="sa nouvelle adresse / its new address")
    add("--profile", default="", help="son nouveau profil / its new profile")
    add("--reason", default="", help="pourquoi / why")
    add("--anyway", action="store_true", help="même s'il ne répond pas encore / although it does not answer yet")
    add_by(parser)
    options = parser.parse_args(argv)

    async def asked() -> int:
        path, site = site_path(options), _site(options)
        before = after = path.read_text("utf-8")
        wish = ReplaceWish(options.device, options.serial, options.old_serial, options.address, options.profile,
                           options.reason, options.by, options.anyway)  # fmt: skip
        if (keys := file_keys(wish)) and options.device in site.devices:
            after = with_device(before, options.device, keys)
            checked(after, path, home() / "device_profiles")  # all its faults, before anything is done
        async with aclosing(ask(site, REPLACE, wish)) as rows:
            done = [row async for row in rows][-1]
        after_it = say(f"  ensuite : guet check {done.device}", f"  next: guet check {done.device}")
        print_row(done, [*replace_lines(done), after_it], options)
        if not done.changes_file:
            return FINE
        if not options.json:
            print("\n".join(plain(line) for line in difference(before, after, path.name)), flush=True)
        put = PutWish(after, digest(before), options.by)
        found = await change(path, put, lambda passed, of, said: show_progress(passed, of, said, options))
        if found.trial is not None and (found.trial.healthy or options.anyway or not found.running):
            found = await keep_change(path, KeepWish(options.by, options.anyway))
        if not options.json:
            print_row(found, site_lines(found), options)
        return FINE if found.undone is None else FIELD_PROBLEM

    return run_verb(asked)


def leave_verb(argv: list[str]) -> int:
    """Dit s'il est temps de partir, et fait le procès-verbal signé / Says whether one may leave, and makes the report"""
    parser = parser_of("leave", leave_verb)
    _add_site(parser)
    add = parser.add_argument
    add(
        "--outage",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="essai : couper la plateforme / cut the platform off",
    )
    add("--defer", default="", metavar="REASON", help="plateforme confirmée plus tard / platform confirmed later")
    add("--out", type=Path, default=Path(), metavar="FOLDER", help="où écrire / where to write")
    add_by(parser)
    options = parser.parse_args(argv)

    async def asked() -> int:
        ready = False
        async with aclosing(ask(_site(options), LEAVE, LeaveWish(options.by, options.outage, options.defer))) as rows:
            async for row in rows:
                match row:
                    case Progress():
                        show_progress(row.done, row.of, row.said, options)
                    case Item():
                        print_row(row, leave_lines(row), options)
                    case Left():
                        written = _write_report(row, options.out) if row.ready else []
                        print_row(row, [leave_last(row), *(f"  {path}" for path in written)], options)
                        ready = row.ready
        return FINE if ready else FIELD_PROBLEM

    return run_verb(asked)


def _write_report(left: Left, folder: Path) -> list[Path]:
    """The report as JSON, page and PDF."""
    from gateway.report import page, paper

    document = json.loads(left.document)
    made = {".json": left.document.encode(), ".html": page(document), ".pdf": paper(document)}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in made.items():
            path = folder / f"{left.number}{suffix}"
            path.write_bytes(content)
            written.append(path)
    except OSError as error:
        raise WishError(say(f"--out {folder} : {error.strerror}", f"--out {folder}: {error.strerror}")) from None
    return written


# -- what the verbs share ----------------------------------------------------------------------------------------------


def parser_of(name: str, verb: Callable[[list[str]], int]) -> argparse.ArgumentParser:
    """The parser of a verb, with --json."""
    parser = argparse.ArgumentParser(prog=f"guet {name}", description=verb.__doc__)
    parser.add_argument("--json", action="store_true", help="pour les machines / for machines")
    return parser


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", nargs="?", type=Path, default=None, metavar="SITE.toml",
                        help=f"sans : GUET_SITE, {', '.join(SITE_FILES)} / default")  # fmt: skip


def add_by(parser: argparse.ArgumentParser) -> None:
    """--by: who does it."""
    parser.add_argument("--by", default=_user(), metavar="NAME", help="qui / who")


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return ""


def site_path(options: argparse.Namespace) -> Path:
    """The site file that is meant. Raises SiteError where there is none."""
    if options.site is not None:
        return Path(options.site)
    if given := os.environ.get("GUET_SITE"):
        return Path(given)
    for name in SITE_FILES:
        if Path(name).is_file():
            return Path(name)
    looked = ", ".join(("GUET_SITE", *SITE_FILES))
    raise SiteError([say(f"aucun fichier de site : ni argument, ni {looked}",
                         f"no site file: expected an argument, or one of {looked}")])  # fmt: skip


def _site(options: argparse.Namespace) -> Site:
    return load_site(site_path(options), home() / "device_profiles")


def run_verb(work: Callable[[], Awaitable[int]]) -> int:
    """Runs a verb. Ctrl-C ends it cleanly: what was found stays printed, the exit code says interrupted."""

    async def guarded() -> int:
        task = asyncio.ensure_future(work())
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            sys.stderr.write(
                say("\ninterrompu ; ce qui précède reste acquis\n", "\ninterrupted; what is above holds\n")
            )
            return 130

    try:
        return asyncio.run(guarded())
    except WishError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE


def plain(text: str) -> str:
    """Text as it may go to a terminal: what a device or a file says must not move the cursor."""
    return "".join(char if char.isprintable() else "·" for char in text)


def print_row(row: Any, lines: Iterable[str], options: argparse.Namespace) -> None:
    """What a job told: for people, or with --json for machines."""
    if options.json:
        print(json.dumps(asdict(row), ensure_ascii=False), flush=True)
        return
    _wipe()
    for line in lines:
        print(plain(line), flush=True)


def show_progress(done: int, of: int, said: str, options: argparse.Namespace, ask_person: bool = False) -> None:
    """A line that is written over, on a terminal; what the person has to do stays, everywhere."""
    if ask_person:
        _wipe()
        sys.stderr.write(f">>> {plain(said)}\n")
    elif sys.stderr.isatty() and not options.json:
        filled = int(8 * done / of) if of else 0
        sys.stderr.write(f"\r\x1b[K{'█' * filled}{'░' * (8 - filled)} {plain(said)}")
    sys.stderr.flush()


def _wipe() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
