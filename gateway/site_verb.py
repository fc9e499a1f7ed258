"""`guet site`: the site file on the command line: text, faults, difference, versions, and changes on trial."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.app import home, site_of
from gateway.errors import FileFault, WishError
from gateway.fault_words import told
from gateway.language import say, speaks_english, words_given
from gateway.point import duration_s
from gateway.settings import BackWish, KeepWish, PutWish, Settings, settings, version_text
from gateway.site import digest
from gateway.site_change import Progress, change, keep_change, lines, state, undo_change, when
from gateway.site_file import difference, put, read_text
from gateway.site_line import located
from gateway.technician import (
    FIELD_PROBLEM,
    FINE,
    USAGE,
    add_by,
    plain,
    print_row,
    run_verb,
    show_progress,
    site_path,
)


def site(argv: list[str]) -> int:
    """Le fichier du site : voir, modifier à l'essai, revenir / The site file: see, change on trial, go back"""
    parser = argparse.ArgumentParser(prog="guet site", description=site.__doc__)
    verbs = parser.add_subparsers(dest="verb", metavar="show | check | diff | edit | put | keep | back | versions")
    _verb(verbs, "state", say("où il en est (sans verbe : ceci)", "how it stands (without a verb: this)"))
    shown = _verb(verbs, "show", say("son texte", "its text"))
    shown.add_argument("--version", default="", metavar="NAME", help=say("une version d'avant", "a version before"))
    for name, said in (
        ("check", say("les fautes d'un texte, avec leurs lignes", "the faults of a text, with their lines")),
        ("diff", say("ce qu'un texte changerait", "what a text would change")),
        ("put", say("met un texte en place, à l'essai", "puts a text in place, on trial")),
    ):
        one = _verb(verbs, name, said)
        one.add_argument("file", metavar="FILE", help=say("- : l'entrée", "-: the input"))
        if name == "put":
            one.add_argument("--base", default="", metavar="SHA256",
                             help=say("texte d'où l'on part (show --json)", "text it was made from"))  # fmt: skip
            _add_trial(one)
    _add_trial(_verb(verbs, "edit", say("l'ouvre dans $EDITOR, puis comme put", "opens it in $EDITOR, then as put")))
    stays = _verb(verbs, "keep", say("ce qui est à l'essai reste", "what is on trial stays"))
    stays.add_argument(
        "--anyway", action="store_true", help=say("même si tout ne marche pas", "although not all works")
    )
    add_by(stays)
    goes = _verb(verbs, "back", say("revient au texte d'avant", "goes back to the text before"))
    goes.add_argument("version", nargs="?", default="", metavar="NAME")
    add_by(goes)
    _verb(verbs, "versions", say("les dix derniers, avec date et auteur", "the last ten, with date and who"))
    asks_help = argv[:1] in (["-h"], ["--help"])
    options = parser.parse_args(argv if argv[:1] and (asks_help or argv[0] in _WORK) else ["state", *argv])
    options.site = site_path(options)
    work: Callable[[argparse.Namespace], int] = _WORK[options.verb]
    return work(options)


def _verb(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=said, description=said)
    parser.add_argument("--site", type=Path, default=None, metavar="SITE.toml")
    parser.add_argument("--json", action="store_true", help=say("pour les machines", "for machines"))
    return parser


def _add_trial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--within", type=_seconds, default=PutWish("", "").healthy_within_s, metavar="2min",
                        help=say("pour que tout marche de nouveau", "until all works again"))  # fmt: skip
    parser.add_argument("--keep-within", type=_seconds, default=PutWish("", "").keep_within_s, metavar="10min",
                        help=say("pour dire guet site keep", "until somebody says guet site keep"))  # fmt: skip
    add_by(parser)


def _seconds(text: str) -> float:
    try:
        return duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- looking -----------------------------------------------------------------------------------------------------------


def _state(options: argparse.Namespace) -> int:
    async def asked() -> int:
        found = await state(options.site)
        print_row(found, lines(found), options)
        return FINE if found.trial is None or found.trial.healthy or not found.trial.begun else FIELD_PROBLEM

    return run_verb(asked)


def _show(options: argparse.Namespace) -> int:
    text = read_text(options.site) if not options.version else version_text(options.site, options.version)
    if options.json:
        print(json.dumps({"text": text, "sha256": digest(text)}, ensure_ascii=False))
    else:
        sys.stdout.write(text)
    return FINE


def _check(options: argparse.Namespace) -> int:
    return USAGE if _told_faults(_given(options.file), options) else FINE


def _diff(options: argparse.Namespace) -> int:
    changed = difference(read_text(options.site), _given(options.file), options.site.name)
    print(json.dumps(changed, ensure_ascii=False) if options.json else "\n".join(map(plain, changed)))
    return FINE


def _versions(options: argparse.Namespace) -> int:
    found = settings(options.site).before
    if options.json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return FINE
    for one in found:
        by = one.by or say("à la main", "by hand")
        put_at = when(one.at_s) if one.at_s is not None else "—"
        print(plain(f"{one.name:<28} {put_at}  {by}" + (f"  ({one.why})" if one.why else "")))
    if not found:
        print(say("aucune version d'avant", "no version before"))
    return FINE


# -- changing ----------------------------------------------------------------------------------------------------------


def _put(options: argparse.Namespace) -> int:
    text = _given(options.file)
    there = options.site.exists()
    base = options.base or (digest(read_text(options.site)) if there else "")
    if _told_faults(text, options):
        return USAGE
    if not there:
        put(options.site, text, home() / "device_profiles", time.time(), words_given("--by", options.by, 200))
        found = settings(options.site)
        print_row(found, lines(found), options)
        return FINE
    return _put_on_trial(text, base, options)


def _put_on_trial(text: str, base: str, options: argparse.Namespace) -> int:
    changed = difference(read_text(options.site), text, options.site.name)
    if not options.json:
        print("\n".join(map(plain, changed)), flush=True)

    async def asked() -> int:
        wish = PutWish(text, base, options.by, options.within, options.keep_within)
        found = await change(options.site, wish, _progress(options))
        print_row(found, lines(found), options)
        return FIELD_PROBLEM if changed and found.trial is None and found.undone is not None else FINE

    return run_verb(asked)


def _progress(options: argparse.Namespace) -> Progress:
    return lambda done, of, said: show_progress(done, of, said, options)


def _edit(options: argparse.Namespace) -> int:
    text = before = read_text(options.site)
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "nano")
    with TemporaryDirectory(prefix="guet-") as folder:
        copy = Path(folder) / options.site.name
        while True:
            copy.write_text(text, "utf-8")
            try:
                subprocess.run([*editor, str(copy)], check=True)  # noqa: S603 - the user's own editor
            except (OSError, subprocess.CalledProcessError) as error:
                raise WishError(
                    say(f"l'éditeur : {error} ; donnez EDITOR", f"the editor: {error}; set EDITOR")
                ) from None
            text = read_text(copy)
            if text == before or not _told_faults(text, options):
                break
            if input(say("corriger ? [o/n] ", "correct it? [y/n] ")).strip().lower()[:1] not in ("o", "y", ""):
                return USAGE
    return FINE if text == before else _put_on_trial(text, digest(before), options)


def _keep(options: argparse.Namespace) -> int:
    return _ended(options, keep_change(options.site, KeepWish(options.by, options.anyway)))


def _back(options: argparse.Namespace) -> int:
    return _ended(options, undo_change(options.site, BackWish(options.version, options.by), _progress(options)))


def _ended(options: argparse.Namespace, work: Coroutine[Any, Any, Settings]) -> int:
    async def asked() -> int:
        found = await work
        print_row(found, lines(found), options)
        return FINE

    return run_verb(asked)


def _given(file: str) -> str:
    """The text in a file, or of the input."""
    return sys.stdin.read() if file == "-" else read_text(Path(file))


def _told_faults(text: str, options: argparse.Namespace) -> int:
    """How many faults a text has, each told with its line."""
    try:
        site_of(text, options.site)
    except FileFault as error:
        found = located(error.faults, text)
    else:
        found = []
    if options.json and options.verb == "check":
        print(json.dumps([asdict(fault) for fault in found], ensure_ascii=False))
        return len(found)
    for fault in found:
        where = say(f"ligne {fault.line}", f"line {fault.line}") if fault.line else say("fichier", "file")
        first, *below = told([fault.said], speaks_english())
        sys.stderr.write("".join(f"{plain(line)}\n" for line in (f"{where} : {first}", *below)))
    if found:
        sys.stderr.write(
            say(f"{len(found)} faute(s) ; rien n'a été changé\n", f"{len(found)} fault(s); nothing was changed\n")
        )
    elif options.verb == "check":
        print(say("aucune faute", "no fault"))
    return len(found)


_WORK: dict[str, Callable[[argparse.Namespace], int]] = {
    "state": _state, "show": _show, "check": _check, "diff": _diff, "put": _put, "edit": _edit, "keep": _keep,
    "back": _back, "versions": _versions,
}  # fmt: skip
