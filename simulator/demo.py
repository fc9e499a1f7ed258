"""`guet demo`: the whole town on this machine, for one night. Composition root of the simulator.

Real processes and real protocols: the simulated devices on their ports, a gateway in a process of its own (which is
killed and started again), a NATS broker, an ingester, PostgreSQL. Only the devices and the speed of time are simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gateway.app import give_history, home, outbox_left, recorded
from gateway.clock import ScaledClock
from gateway.language import say
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.summary import Summary
from simulator.cut import Cut
from simulator.outcome import Night, in_short, outcome, shortcomings
from simulator.platform import Platform
from simulator.process import GatewayProcess
from simulator.scenario import HOUR_S, Event, Scenario, ScenarioError, load_scenario
from simulator.town import Town, past, sector_of_network, watched_devices

FIELD_PROBLEM, USAGE = 1, 2
LAST_WORDS_S = 12.0
"""Real time kept at the end for the gateway to empty its outbox and for the report."""
FASTEST = 1000.0
"""Times real time; above it the RS-485 line, which is paced as a real one, could not be polled any more."""
RECONNECTED_WITHIN_S = 5.0
SHORTEST_S = 40.0
READINGS = "night.csv"
"""In the folder that --keep names: what the gateway read, for `guet replay` and `guet rules try`, site.toml beside it."""


def demo(argv: list[str]) -> int:
    """Toute la commune : appareils, passerelle, plateforme, page / The whole town: devices, gateway, platform, page"""
    parser = argparse.ArgumentParser(prog="guet demo", description=demo.__doc__)
    add = parser.add_argument
    add("--scenario", default="night", metavar="NAME", help="night, storm, pump-rig")
    add("--seed", type=int, default=11)
    add("--for", dest="seconds", type=float, default=150.0, metavar="SECONDS", help="durée réelle / real time")
    add("--headless", action="store_true", help="sans page, puis fin / no page, then end")
    add("--json", type=Path, default=None, metavar="FILE", help="le bilan / the report")
    add("--page", default="127.0.0.1:8080", metavar="HOST:PORT")
    add("--network", type=Path, default=None, metavar="FILE.inp", help="réseau EPANET / EPANET network")
    add("--recordings", type=Path, default=None, metavar="FOLDER", help="de pump-rig / of pump-rig")
    add("--keep", type=Path, default=None, metavar="FOLDER", help="garder les fichiers / keep the files")
    options = parser.parse_args(argv)
    if options.seconds < SHORTEST_S:
        parser.error(say(f"--for : {SHORTEST_S:g} secondes au moins", f"--for: {SHORTEST_S:g} seconds at least"))
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(say(f"--json {options.json} : dossier inconnu", f"--json {options.json}: no such folder"))
    folder: Path = options.keep or Path(tempfile.mkdtemp(prefix="guet-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    page = "" if options.headless else options.page
    try:
        if options.scenario == "pump-rig":
            from simulator.rig import pump_rig

            return asyncio.run(pump_rig(options.recordings, folder, options.seconds, page, options.json))
        scenario = load_scenario(options.scenario, options.seed)
        return asyncio.run(_Play(scenario, folder, options.seconds, page, options.network).run(options.json))
    except ScenarioError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


class _Play:
    """One night being played."""

    def __init__(self, scenario: Scenario, folder: Path, seconds: float, page: str, network: Path | None) -> None:
        self.scenario, self.folder, self.seconds, self.page, self.network = scenario, folder, seconds, page, network
        self.began = time.monotonic()
        self.clock: ScaledClock | None = None
        self.cut_h = 0.0
        self.said: list[dict[str, object]] = []

    def now(self) -> float:
        """Simulated UTC seconds; the evening's first instant until the night begins."""
        return self.scenario.start_s if self.clock is None else self.clock.now()

    async def run(self, report_file: Path | None) -> int:
        scenario = self.scenario
        print(f"Guet — {scenario.title} (graine {scenario.seed})")
        async with AsyncExitStack() as stack:
            self._tell("la commune et la plateforme démarrent")
            sector = sector_of_network(self.network, scenario) if self.network is not None else None
            town = Town(scenario, self.now, self.folder, sector)
            platform = Platform(self.folder / "centre")
            await asyncio.gather(stack.enter_async_context(town), stack.enter_async_context(platform))
            for name, about in town.nodes().items():
                self._tell(f"{name} : nœud Guet sur la ligne RS-485 ({about['runs_in']})")
            uplink = await stack.enter_async_context(Cut(platform.mqtt_port))
            site_file = self.folder / "site.toml"
            site_file.write_text(town.site_toml(uplink.port), encoding="utf-8")
            profiles = home() / "device_profiles"
            site = parse_site(
                site_file.read_text("utf-8"), site_file.name, self.folder, lambda name: load_profile(profiles, name)
            )
            self._tell(f"{scenario.history_s / 86400:.0f} jours d'avant entrent dans la mémoire de la passerelle")
            at_start = ScaledClock(scenario.start_s, time.monotonic(), 1.0)
            summaries = await self._past(site)
            await give_history(site, at_start, summaries)
            self.clock = self._paced()
            self._tell(f"{len(summaries)} bilans d'appareil ; la nuit commence, {self.clock.speed:.0f} fois plus vite")
            gateway = GatewayProcess(self.folder, site_file, self.clock, self.page, town.radio.address)
            await stack.enter_async_context(gateway)
            async with asyncio.TaskGroup() as tasks:
                happening = [
                    tasks.create_task(self._cuts(uplink)),
                    tasks.create_task(self._kills(gateway)),
                    *(tasks.create_task(self._disturbs(town, event)) for event in scenario.of("bus_faults")),
                    tasks.create_task(self._progress(uplink)),
                ]
                await gateway.until(min(scenario.end_s, self.end_s))
                for task in happening:
                    task.cancel()
            until_s = self.now()
            self._tell("le jour est là : la passerelle vide sa file et s'arrête")
            if uplink.is_cut:
                await uplink.mend()
                await asyncio.sleep(RECONNECTED_WITHIN_S)
            await gateway.end()
            lines = await recorded(site, at_start, scenario.start_s, until_s)
            (self.folder / READINGS).write_text("\n".join([*lines, ""]), encoding="utf-8")
            last_seq, pending = await outbox_left(site, at_start)
            await platform.settled(last_seq - pending)
            wall_s = time.monotonic() - self.began
            night = Night(scenario, until_s, wall_s, gateway.kills, self.cut_h, last_seq, pending)
            faults = {bus: dict(faults.happened) for bus, faults in town.faults.items()}
            report = outcome(night, await platform.holds()) | {"nodes": town.nodes(), "faults": faults}
            code = self._conclude(report, report_file)
            if self.page:
                await gateway.start()
                print(
                    say(
                        f"La page reste ouverte : http://{self.page} (Ctrl-C pour finir)",
                        f"The page stays: http://{self.page} (Ctrl-C ends)",
                    )
                )
                await gateway.until(float("inf"))
        return code

    async def _past(self, site: Site) -> list[Summary]:
        """What every watched device said in the weeks before, told by as many processes as there are cores."""
        devices = watched_devices(site)
        cores = os.cpu_count() or 1
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
            shares = [devices[core::cores] for core in range(cores)]
            told = await asyncio.gather(
                *(loop.run_in_executor(pool, past, self.scenario, self.folder, self.network, share) for share in shares)
            )
        return sorted((summary for share in told for summary in share), key=lambda summary: summary.start_s)

    def _paced(self) -> ScaledClock:
        """A clock that plays the whole night in the time there is left, or as much of it as can be played."""
        left_s = max(10.0, self.seconds - (time.monotonic() - self.began) - LAST_WORDS_S)
        speed = min(FASTEST, self.scenario.hours * HOUR_S / left_s)
        self.end_s = self.scenario.start_s + left_s * speed
        return ScaledClock(self.scenario.start_s, time.monotonic(), speed)

    # -- what happens in the night -------------------------------------------------------------------------------------

    async def _wait_for(self, time_s: float) -> None:
        assert self.clock is not None
        await self.clock.sleep(max(0.0, time_s - self.clock.now()))

    async def _cuts(self, uplink: Cut) -> None:
        for event in self.scenario.of("uplink_cut"):
            await self._wait_for(event.at_s)
            await uplink.cut()
            cut_s = self.now()
            self._tell("le réseau est coupé : la passerelle travaille seule")
            try:
                await self._wait_for(event.end_s)
            finally:
                self.cut_h += (self.now() - cut_s) / HOUR_S
            await uplink.mend()
            self._tell("le réseau est revenu : la file se vide")

    async def _kills(self, gateway: GatewayProcess) -> None:
        for event in self.scenario.of("kill"):
            await self._wait_for(event.at_s)
            await gateway.kill()
            self._tell("la passerelle est tuée (kill -9) et redémarre")
            await gateway.start()

    async def _disturbs(self, town: Town, event: Event) -> None:
        await self._wait_for(event.at_s)
        town.disturb(event.subject, event.faults)
        self._tell(f"pannes sur le bus {event.subject} : {event.faults}")
        await self._wait_for(event.end_s)
        town.disturb(event.subject, "")
        self._tell(f"le bus {event.subject} va de nouveau bien")

    async def _progress(self, uplink: Cut) -> None:
        """A bar on a terminal, and the file that the page shows."""
        path = self.folder / "progress.json"
        hours = self.scenario.hours
        while True:
            elapsed_h = (self.now() - self.scenario.start_s) / HOUR_S
            way = "cut" if uplink.is_cut else "up"
            body = {"title": self.scenario.title, "elapsed_h": round(elapsed_h, 2), "hours": hours, "uplink": way}
            scratch = path.with_suffix(".new")
            scratch.write_text(json.dumps(body | {"events": self.said[-12:]}, ensure_ascii=False), encoding="utf-8")
            scratch.replace(path)
            if sys.stdout.isatty():
                done = int(30 * min(1.0, elapsed_h / hours))
                print(f"\r  {'█' * done}{'░' * (30 - done)} {elapsed_h:5.1f} h / {hours:g} h ", end="", flush=True)
            await asyncio.sleep(0.5)

    def _tell(self, text: str) -> None:
        """One line for people, with real and simulated time."""
        at_h = (self.now() - self.scenario.start_s) / HOUR_S
        self.said.append({"at_h": round(at_h, 2), "text": text, "done": True})
        start = "\r" if sys.stdout.isatty() else ""
        print(f"{start}{time.monotonic() - self.began:6.1f} s  nuit +{at_h:4.1f} h  {text:<72}", flush=True)

    def _conclude(self, report: dict[str, Any], report_file: Path | None) -> int:
        print(in_short(report))
        if report_file is not None:
            report_file.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        said = shortcomings(report, self.scenario)
        for sentence in said:
            sys.stderr.write(f"{sentence}\n")
        return FIELD_PROBLEM if said else 0
