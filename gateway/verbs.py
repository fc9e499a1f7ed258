"""The gateway's own verbs of the command `guet`."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.alert import iso
from gateway.app import budgets, home, read_site
from gateway.clock import SystemClock, parse_clock
from gateway.errors import SiteError, collecting
from gateway.language import say
from gateway.service import Life, Service, alone, bound_socket
from gateway.site import Can, Serial, Site, load_site

if TYPE_CHECKING:
    from gateway.reaction import Reaction


def run(argv: list[str]) -> int:
    """Fait tourner la passerelle d'un site / Runs the gateway of a site"""
    parser = argparse.ArgumentParser(prog="guet run", description=run.__doc__)
    parser.add_argument("site", type=Path, metavar="SITE.toml")
    parser.add_argument(
        "--page",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="page locale, vide = aucune / local page, empty = none",
    )
    parser.add_argument(
        "--blank",
        action="store_true",
        help="sans ce fichier : attend d'être enrôlée / without that file: waits to be claimed",
    )
    parser.add_argument("--clock", type=parse_clock, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(argv)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    clock = options.clock or SystemClock()
    alone(options.site)
    first = Life.begun(options.site, clock.now(), blank=options.blank)
    with collecting(SiteError) as faults:
        faults += [f"{options.site.name}: {fault}" for fault in taken_ports(first.site)]
    page = bound_socket(options.page) if options.page else None
    return asyncio.run(Service(first, clock, page, options.progress).run())


def taken_ports(site: Site) -> Iterator[str]:
    """The serial ports that another program holds. One that is not there is a fault of the field, not of the start."""
    for name, bus in site.buses.items():
        if not isinstance(bus, Serial | Can):
            continue
        try:
            port = os.open(bus.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield f"bus {name!r}.port: {bus.port} is in use by another program; end it, or give the bus another port"
        finally:
            os.close(port)


def replay(argv: list[str]) -> int:
    """Rejoue des mesures enregistrées par le chemin du direct / Plays recorded readings through the live path"""
    parser = argparse.ArgumentParser(prog="guet replay", description=replay.__doc__)
    parser.add_argument("site", type=Path, metavar="SITE.toml")
    parser.add_argument("readings", type=Path, metavar="READINGS.csv[.gz]")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="ALERTS.jsonl", help="sans : sur la sortie / without: to the output"
    )
    parser.add_argument(
        "--json", action="store_true", help="le compte rendu, pour les machines / the account, for machines"
    )
    options = parser.parse_args(argv)
    from gateway.replay import replay as replayed  # `run` need not carry it
    from gateway.replay import write_alerts

    site, watches = read_site(options.site)
    started = time.monotonic()
    done = replayed(site, watches, options.readings)
    if options.out is None:
        write_alerts(done.alerts, sys.stdout)
    else:
        scratch = options.out.with_name(options.out.name + ".new")
        with scratch.open("w", encoding="utf-8") as out:
            write_alerts(done.alerts, out)
        scratch.replace(options.out)
    account = {
        "from": iso(done.first_s), "to": iso(done.last_s), "alerts": len(done.alerts), "repairs": asdict(done.repairs),
        "watches": done.says, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if options.json:
        sys.stderr.write(json.dumps(account, ensure_ascii=False) + "\n")
    else:
        said = ", ".join(f"{name} {count}" for name, count in account["repairs"].items() if count)  # type: ignore[attr-defined]
        sys.stderr.write(f"{account['from']} - {account['to']} : {len(done.alerts)} alerte(s) ; {said}\n")
        for name, words in done.says.items():
            sys.stderr.write(f"  {name} : {words}\n")
    return 0


def plan(argv: list[str]) -> int:
    """Ce que les bus auront à porter, avant tout câblage / What the buses will have to carry, before anything is wired"""
    parser = argparse.ArgumentParser(prog="guet plan", description=plan.__doc__)
    parser.add_argument("site", type=Path, metavar="SITE.toml")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    from gateway.reaction import reactions  # `run` need not carry it

    site = load_site(options.site, home() / "device_profiles")
    found = budgets(site)
    seen = reactions(site, found)
    if options.json:
        body = [
            {
                "bus": one.bus,
                "use": round(one.use, 4),
                "cycle_s": round(one.cycle_s, 4),
                "devices": [asdict(s) for s in one.shares],
                "presence": [
                    asdict(reaction) | {"worst_s": round(reaction.worst_s, 3)}
                    for reaction in seen
                    if reaction.bus == one.bus
                ],
            }
            for one in found
        ]
        print(json.dumps(body, ensure_ascii=False))
    else:
        for one in found:
            if not one.shares:
                print(say(f"bus {one.bus} : on n'y demande rien", f"bus {one.bus}: nothing is asked on it"))
                continue
            print(say(f"bus {one.bus} : occupé {one.use:.1%} du temps, un tour complet {one.cycle_s:.2f} s",
                      f"bus {one.bus}: busy {one.use:.1%} of the time, one full round {one.cycle_s:.2f} s"))  # fmt: skip
            for share in one.shares:
                rate = f"{share.requests} / {share.period_s:g} s"
                print(
                    f"  {share.device:<24} {rate:>12}  {share.busy_s * 1000:7.1f} ms  {share.use:7.2%}  {share.priority}"
                )
        for reaction in seen:
            print(_reaction_line(reaction))
    refused = [refusal for one in found if (refusal := one.refusal())]
    for refusal in refused:
        sys.stderr.write(f"{refusal}\n")
    return 1 if refused else 0


def _reaction_line(found: Reaction) -> str:
    """How long a street may take to light, for people."""
    if found.asked_s is None:
        how = say("parle de lui-même", "speaks by itself")
    else:
        how = say(f"demandé toutes les {found.asked_s:g} s", f"asked every {found.asked_s:g} s")
    return say(
        f"rue {found.street} : de la présence à la lumière, {found.worst_s:.2f} s au pire ({found.point} {how})",
        f"street {found.street}: from presence to light, {found.worst_s:.2f} s at worst ({found.point} {how})",
    )
