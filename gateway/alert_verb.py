"""`guet alert`: what people found out about alerts, on the command line. How one came about is told by `guet explain`."""

from __future__ import annotations

import argparse
import json
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from gateway.alert import Alert, iso
from gateway.app import home
from gateway.explain import stored
from gateway.hatch import ask
from gateway.jobs import OUTCOME
from gateway.language import say
from gateway.outcome import OutcomeWish, outcome_words
from gateway.site import load_site
from gateway.store import FILE
from gateway.technician import FINE, add_by, plain, print_row, run_verb, site_path

SHOWN = 20


def alert(argv: list[str]) -> int:
    """Les alertes : confirmer ou réfuter, avec la raison / Alerts: confirm or refute, with the reason"""
    parser = argparse.ArgumentParser(prog="guet alert", description=alert.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | confirm | refute")
    listed = verbs.add_parser("list", help=say(f"les {SHOWN} dernières", f"the last {SHOWN}"))
    right = verbs.add_parser("confirm", help=say("elle était juste", "it was right"))
    wrong = verbs.add_parser("refute", help=say("elle était fausse", "it was false"))
    for verb in (listed, right, wrong):
        verb.add_argument("--site", type=Path, default=None, metavar="SITE.toml")
        verb.add_argument("--json", action="store_true", help=say("pour les machines", "for machines"))
    for verb in (right, wrong):
        verb.add_argument("alert", metavar="ALERT", help="A-0123456789")
        verb.add_argument(
            "--reason", default="", help=say("ce qui a été trouvé", "what was found"), required=verb is wrong
        )
        add_by(verb)
    options = parser.parse_args(argv)
    site = load_site(site_path(options), home() / "device_profiles")
    if options.verb == "list":
        return _list(site.data / FILE, options)

    async def asked() -> int:
        wish = OutcomeWish(options.alert, options.verb == "confirm", options.reason, options.by)
        async with aclosing(ask(site, OUTCOME, wish)) as rows:
            async for row in rows:
                print_row(row, [f"{row.alert} : {outcome_words(row)}"], options)
        return FINE

    return run_verb(asked)


def _list(file: Path, options: argparse.Namespace) -> int:
    texts, found = stored(file)
    for text in texts[-SHOWN:]:
        try:
            one = Alert.from_json(json.loads(text))
        except ValueError:
            continue  # what the disk has garbled is nobody's alert
        outcome = found.get(one.id)
        if options.json:
            print(json.dumps(one.as_json() | {"outcome": outcome and asdict(outcome)}, ensure_ascii=False))
            continue
        over = say("dure encore", "still lasts") if one.cleared_s is None else iso(one.cleared_s)
        print(
            plain(f"{one.id}  {iso(one.raised_s)} → {over}  {one.kind.value} {one.subject} : {outcome_words(outcome)}")
        )
    return FINE
