"""The gateway's own verbs of the command `guet`."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway import hatch
from gateway.alert import iso
from gateway.app import Gateway, budgets, home, read_site
from gateway.clock import Clock, SystemClock, parse_clock
from gateway.errors import SiteError, collecting
from gateway.hatch import Job
from gateway.language import say
from gateway.replay import replay as replayed
from gateway.replay import write_alerts
from gateway.site import Can, Serial, Site, load_site
from gateway.store import Store
from gateway.watch import Watch
from gateway.watchdog import supervised


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
    parser.add_argument("--clock", type=parse_clock, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(argv)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    site, watches = read_site(options.site)
    with collecting(SiteError) as faults:
        faults += [f"{options.site.name}: {fault}" for fault in taken_ports(site)]
    page = bound_socket(options.page) if options.page else None
    return asyncio.run(_run(site, watches, options.clock or SystemClock(), page, options.progress))


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
    found = budgets(load_site(options.site, home() / "device_profiles"))
    if options.json:
        body = [
            {
                "bus": one.bus,
                "use": round(one.use, 4),
                "cycle_s": round(one.cycle_s, 4),
                "devices": [asdict(s) for s in one.shares],
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
    refused = [refusal for one in found if (refusal := one.refusal())]
    for refusal in refused:
        sys.stderr.write(f"{refusal}\n")
    return 1 if refused else 0


def bound_socket(text: str) -> socket.socket:
    """The socket of the page, bound now, so that a port that is taken is known before anything starts. Raises SiteError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise SiteError([f"--page {text!r}: expected HOST:PORT, such as 127.0.0.1:8080"])
    bound = socket.socket(socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host or "127.0.0.1", int(port)))
        bound.listen(16)
    except (OSError, OverflowError) as error:
        bound.close()
        raise SiteError(
            [f"--page {text}: expected a free port, got: {error}; end the other program or give another port"]
        ) from None
    return bound


def _jobs() -> Mapping[str, Job[Any, Any]]:
    from gateway.technician import JOBS

    return JOBS


async def _run(
    site: Site, watches: list[Watch], clock: Clock, page: socket.socket | None, progress: Path | None
) -> int:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(site.data, clock))
        if (site.data / "claim.json").exists():  # else its code, with that of keys and QR codes, is not needed
            from gateway.claim import announce

            await announce(store)
        gateway = Gateway(site, watches, store, clock)
        # What was built now lives as long as the process: the collector need not go through it again and again.
        gc.collect()
        gc.freeze()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, gateway.stop.set)
        await stack.enter_async_context(hatch.opened(gateway, _jobs))
        if page is not None:
            from gateway.web.page import serve

            await stack.enter_async_context(serve(gateway, page, progress))
        await stack.enter_async_context(supervised(gateway.alive))
        await gateway.run()
    return 0
