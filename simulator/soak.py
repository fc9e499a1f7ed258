"""`guet soak`: months of a gateway's life in minutes, with everything that can go wrong going wrong.

The gateway is the real one, from its Modbus TCP links to its outbox and its MQTT session, and so is the disk; devices, the
platform and time are simulated. A seeded storm kills and spoils devices, cuts the uplink for hours to weeks, moves the
clock, cuts the power between or within any two writes, and ruins the file. Alerts are handed to the store by the storm,
as a watch would. The same seed gives the same life.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from gateway.alert import Alert, AlertKind, Baseline, Reason, Severity, alert_id
from gateway.app import Gateway, home
from gateway.clock import LoopClock
from gateway.language import say
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.store import FILE, Limits, Store
from simulator.centre import Centre, Line
from simulator.line import Faults
from simulator.modbus import Area, Device, TcpFault, TcpServer
from simulator.virtual_time import VirtualLoop

DAY_S: Final = 86_400.0
START_S: Final = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
SPACE_BYTES: Final = 8 * 1024 * 1024
"""Small, so that a cut of some weeks fills it."""
LIMITS: Final = Limits(space_bytes=SPACE_BYTES)
METERS: Final = 3
EVERY_S: Final = 300
STALLED_S: Final = 3600.0
DRAINED_WITHIN_S: Final = 2 * DAY_S
JOURNAL: Final = FILE + "-wal"

_SITE = """
[gateway]
id = "soak"
commune = "Simulée"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[upstream]
url = "mqtt://127.0.0.1:{platform}"
[[bus]]
name = "tcp"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {devices}
"""
_METER = """
[[device]]
name = "m{unit}"
profile = "energy/eastron_sdm120"
bus = "tcp"
address = {unit}
every = "{every_s}s"
"""


class _Meter:
    """Registers that follow the time."""

    def read(self, area: Area, address: int, count: int) -> list[int]:
        now = int(asyncio.get_running_loop().time()) // 60
        return [0x4248 if at % 2 == 0 else (now + at) & 0xFFFF for at in range(address, address + count)]

    def write(self, area: Area, address: int, values: Any) -> None:
        raise AssertionError("the soak's site writes nothing")


class _Clock(LoopClock):
    """Site time that may be wrong by `off_s`."""

    off_s = 0.0

    def now(self) -> float:
        return super().now() + self.off_s


@dataclass(frozen=True, slots=True)
class _Journal:
    """How far the file was written at some moment. stamp: what a checkpoint changes."""

    size: int
    stamp: tuple[bytes, int]

    @classmethod
    def of(cls, folder: Path) -> _Journal:
        with (folder / JOURNAL).open("rb") as file:
            head = file.read(32)
        return cls((folder / JOURNAL).stat().st_size, (head, (folder / FILE).stat().st_mtime_ns))


@dataclass(slots=True)
class _Life:
    """What has to be remembered over power cuts, and what was found."""

    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    alerts: dict[str, str] = field(default_factory=dict)
    """Epoch in which each alert was told durable."""
    lost_epochs: set[str] = field(default_factory=set)
    open: list[Alert] = field(default_factory=list)

    def break_(self, what: str) -> None:
        self.broken.append(f"day {asyncio.get_running_loop().time() / DAY_S:.4f}: {what}")


class _PowerCut:
    """Cuts the power in some turn of the loop: what the disk held then, or in the middle of what it was writing, is what
    the next life begins with."""

    def __init__(self, store: Store, chance: Random, dark: Callable[[], None]) -> None:
        self._store, self._chance, self._dark = store, chance, dark
        self._turns = -1
        self._before: _Journal | None = None
        self.folder = store.path.parent
        self.happened = asyncio.Event()

    def arm(self) -> None:
        self._turns = self._chance.randrange(400)

    def between_turns(self) -> None:
        if self._turns < 0 or self.happened.is_set():
            return
        self._turns -= self._turns > 0
        now, before = _Journal.of(self.folder), self._before
        self._before = now
        if self._turns or before is None or (now.size == before.size and self._chance.random() < 0.9):
            return
        self._cut(before, now)

    def _cut(self, before: _Journal, now: _Journal) -> None:
        number = int(self.folder.name) + 1
        after = self.folder.with_name(str(number))
        after.mkdir()
        for name in (FILE, JOURNAL, "store.lock"):
            shutil.copyfile(self.folder / name, after / name)
        if before.stamp == now.stamp and now.size > before.size:
            kept = self._chance.choice((before.size, self._chance.randrange(before.size, now.size), now.size))
            with (after / JOURNAL).open("r+b") as file:
                file.truncate(kept)
        self._dark()
        self.folder = after
        self.happened.set()


class _Soak:
    def __init__(self, days: float, seed: int, folder: Path, progress: Callable[[float], None]) -> None:
        self._end_s, self._folder, self._progress = days * DAY_S, folder, progress
        self._chance = Random(f"storm {seed}")
        self._seed = seed
        self.life = _Life()

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop
        kinds = [TcpFault(kind, by_s=2.0, code=4, count=9) for kind in ("reset", "silent", "late", "split", "garbage")]
        faults = Faults(rate=0.02, choice=kinds, random=Random(f"faults {self._seed}"))
        units = [Device(unit, _Meter(), 0.01) for unit in range(1, METERS + 1)]
        self.clock = _Clock(START_S)
        folder = self._folder / "0"
        async with (
            TcpServer("127.0.0.1", 0, units, faults=faults, silent_absent=True) as self._devices,
            Centre(Random(f"centre {self._seed}")) as self.centre,
        ):
            storm = [
                loop.create_task(work)
                for work in (self._uplink_storm(), self._device_storm(), self._clock_storm(), self._slow_storm())
            ]
            site = self._site()
            while loop.time() < self._end_s:
                folder = await self._one_life(site, folder)
            for task in storm:
                task.cancel()
            await asyncio.gather(*storm, return_exceptions=True)
            self._devices.units = {unit.address: unit for unit in units}
            self.centre.slow_s, self.clock.off_s = 0.0, 0.0
            self.centre.set_line("up")
            await self._drain(site, folder)
        return self._report()

    def _site(self) -> Site:
        text = _SITE.format(platform=self.centre.port, devices=self._devices.port)
        text += "".join(_METER.format(unit=unit, every_s=EVERY_S) for unit in range(1, METERS + 1))
        return parse_site(text, "soak.toml", Path(), lambda name: load_profile(home() / "device_profiles", name))

    # -- lives -----------------------------------------------------------------------------------------------------

    async def _one_life(self, site: Site, folder: Path) -> Path:
        """From switching on to the next power cut; gives what the disk holds then."""
        ends_s = min(self._end_s, self._loop.time() + self._chance.expovariate(1 / (4 * DAY_S)) + 60.0)
        async with Store.open(folder, self.clock, LIMITS, thread=False) as store:
            self._opened(store)
            power = _PowerCut(store, self._chance, self._go_dark)
            self._loop.between_turns(power.between_turns)
            try:
                gateway = Gateway(site, [], store, self.clock, Random(self._chance.random()))
                work = [
                    self._loop.create_task(gateway.run()),
                    self._loop.create_task(self._alert_storm(store, power)),
                    self._loop.create_task(self._look(gateway, store)),
                ]
                await asyncio.wait(work, timeout=ends_s - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if self._loop.time() < self._end_s and not any(task.done() for task in work):
                    power.arm()
                    dark = self._loop.create_task(power.happened.wait())
                    await asyncio.wait([*work, dark], return_when=asyncio.FIRST_COMPLETED)
                    dark.cancel()
                for task in work:
                    if task.done() and not task.cancelled() and not power.happened.is_set():
                        self.life.break_(f"a task of the gateway ended: {task.exception()!r}")
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)
            finally:
                self._loop.between_turns(None)
        if self._loop.time() < self._end_s and not power.happened.is_set():
            raise RuntimeError(self.life.broken[-1] if self.life.broken else "a life ended without a power cut")
        if power.happened.is_set():
            self.life.counts["power cuts"] += 1
            shutil.rmtree(folder)
            if self._chance.random() < 0.05:
                self._ruin(power.folder)
            self.centre.set_line(self._line)
            await asyncio.sleep(self._chance.choice((5.0, 600.0, 86_400.0)) * self._chance.random())
        return power.folder

    def _opened(self, store: Store) -> None:
        if store.set_aside is not None:
            self.life.counts["files set aside"] += 1

    def _go_dark(self) -> None:
        self.centre.set_line("refused")

    def _ruin(self, folder: Path) -> None:
        """The first page is noise, and the journal that may mend it is gone."""
        epoch = (folder / "store.lock").read_text().split()[-1]
        self.life.lost_epochs.add(epoch)
        self.life.counts["files ruined"] += 1
        (folder / JOURNAL).unlink()
        with (folder / FILE).open("r+b") as file:
            file.write(self._chance.randbytes(4096))

    async def _drain(self, site: Site, folder: Path) -> None:
        """With all well again, everything must arrive."""
        async with Store.open(folder, self.clock, LIMITS, thread=False) as store:
            self._opened(store)
            power = _PowerCut(store, self._chance, self._go_dark)
            self._loop.between_turns(power.between_turns)
            try:
                gateway = Gateway(site, [], store, self.clock, Random(0))
                running = self._loop.create_task(gateway.run())
                assert gateway.uplink is not None
                until_s = self._loop.time() + DRAINED_WITHIN_S
                while gateway.uplink.outbox.pending_rows() and self._loop.time() < until_s:
                    await asyncio.sleep(10.0)
                if left := gateway.uplink.outbox.pending_rows():
                    self.life.break_(f"{left} records did not drain in {DRAINED_WITHIN_S / DAY_S:g} days")
                # Its last words are said after that; they may wait for a next start.
                self._check_arrival(store.epoch, gateway.uplink.outbox.last_seq())
                gateway.stop.set()
                await asyncio.wait([running], timeout=DAY_S)
                if not running.done():
                    self.life.break_("the gateway did not stop when it was told to")
            finally:
                self._loop.between_turns(None)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    # -- the storm ---------------------------------------------------------------------------------------------------

    _line: Line = "up"

    async def _pause(self, mean_s: float) -> None:
        await asyncio.sleep(self._chance.expovariate(1 / mean_s))

    async def _uplink_storm(self) -> None:
        while True:
            await self._pause(3 * DAY_S)
            self._line = self._chance.choice(("refused", "refused", "silent"))
            longest_s = DAY_S / 4 if self._line == "silent" else self._chance.choice((3600.0, DAY_S, 40 * DAY_S))
            self.life.counts[f"uplink {self._line}"] += 1
            self.centre.set_line(self._line)
            await asyncio.sleep(longest_s * self._chance.random())
            self._line = "up"
            self.centre.drop_all()
            self.centre.set_line("up")

    async def _device_storm(self) -> None:
        while True:
            await self._pause(2 * DAY_S)
            unit = self._chance.randint(1, METERS)
            if (device := self._devices.units.pop(unit, None)) is None:
                continue
            self.life.counts["devices died"] += 1
            self._loop.call_later(self._chance.random() * 3 * DAY_S, self._devices.units.setdefault, unit, device)

    async def _clock_storm(self) -> None:
        while True:
            await self._pause(10 * DAY_S)
            self.life.counts["clock jumps"] += 1
            self.clock.off_s = self._chance.choice((1.0, -1.0)) * 10 ** self._chance.uniform(0, 5.5)
            await self._pause(DAY_S)
            self.clock.off_s = 0.0

    async def _slow_storm(self) -> None:
        while True:
            await self._pause(5 * DAY_S)
            self.centre.slow_s = 600.0 * self._chance.random()
            await self._pause(DAY_S / 4)
            self.centre.slow_s = 0.0

    async def _alert_storm(self, store: Store, power: _PowerCut) -> None:
        while True:
            await self._pause(DAY_S / 4)
            now_s = self.clock.now()
            if self.life.open and self._chance.random() < 0.5:
                alert = replace(self.life.open.pop(0), cleared_s=now_s)
            else:
                alert = _alert(f"sector-{self.life.counts['alerts']}", now_s)
                self.life.open.append(alert)
            self.life.counts["alerts"] += 1
            await store.decide({"soak": self.life.counts["alerts"]}, [alert])
            if power.happened.is_set():
                return
            self.life.alerts[f"{alert.id} {alert.cleared_s is not None}"] = store.epoch

    # -- what must hold ------------------------------------------------------------------------------------------------

    async def _look(self, gateway: Gateway, store: Store) -> None:
        """Checked all along."""
        requests = 0
        while True:
            await asyncio.sleep(STALLED_S)
            self._progress(self._loop.time())
            seen = gateway.live.requests("tcp")
            if seen == requests:
                self.life.break_(f"no device was asked for an hour ({requests} requests before)")
            requests = seen
            if (used := store.used_bytes()) > SPACE_BYTES:
                self.life.break_(f"the store uses {used} bytes of {SPACE_BYTES}")
            if store.fault:
                self.life.break_(f"the store cannot be written: {store.fault}")

    def _check_arrival(self, epoch_now: str, last_now: int) -> None:
        rows, life = self.centre.rows, self.life
        life.broken += self.centre.problems
        given: dict[str, int] = {epoch_now: last_now}
        for epoch, seq in rows:
            given[epoch] = max(given.get(epoch, 0), seq)
        gaps = [body for body in rows.values() if body["kind"] == "gap"]
        counted: dict[str, set[int]] = {epoch: set() for epoch in given}
        for gap in gaps:
            seqs = {seq for first, last in gap["seqs"] for seq in range(first, last + 1)}
            counted[gap["epoch"]] |= seqs
            if seqs and len(seqs) != gap["count"]:
                life.break_(f"a gap counts {gap['count']} records and lists {len(seqs)}")
        told_lost = {gap["epoch_lost"] for gap in gaps if "epoch_lost" in gap}
        for epoch in sorted(life.lost_epochs & given.keys() - told_lost):
            life.break_(f"a store was ruined and no gap says so (last number {given[epoch]})")
        for epoch, last in given.items():
            missing = [n for n in range(1, last + 1) if (epoch, n) not in rows and n not in counted[epoch]]
            if missing and epoch in told_lost:
                life.counts["lost with a ruined file"] += len(missing)
            elif missing:
                life.break_(f"{len(missing)} records neither arrived nor were counted, first {missing[0]} of {last}")
        there = {
            f"{body['alert']['id']} {body['alert'].get('cleared') is not None}"
            for body in rows.values()
            if body["kind"] == "alert"
        }
        for alert, epoch in life.alerts.items():
            if alert not in there:
                if epoch in told_lost:
                    life.counts["alerts lost with a ruined file"] += 1
                else:
                    life.break_(f"alert {alert} was durable and never arrived")
        life.counts["records counted in gaps"] = sum(len(seqs) for seqs in counted.values())

    def _report(self) -> dict[str, Any]:
        kinds = Counter(str(body["kind"]) for body in self.centre.rows.values())
        return {
            "virtual_days": round(self._loop.time() / DAY_S, 3),
            "invariants_broken": len(self.life.broken),
            "broken": self.life.broken[:20],
            "records": dict(sorted(kinds.items())),
            "alerts_durable": len(self.life.alerts),
            "requests": self._devices.requests,
            "storm": dict(sorted((self.life.counts + self.centre.counts).items())),
            "line_faults": dict(sorted(self._devices.faults.happened.items())),
        }


def _alert(subject: str, raised_s: float) -> Alert:
    reasons = (Reason("m1/power", "night", 0.8, "Simulé."),)
    return Alert(
        id=alert_id(AlertKind.LEAK, subject, raised_s),
        kind=AlertKind.LEAK,
        subject=subject,
        onset_s=raised_s - 3600,
        raised_s=raised_s,
        severity=Severity.MAJOR,
        score=4.2,
        threshold=3.0,
        model="simulated",
        model_sha256="00" * 32,
        reasons=reasons,
        baseline=Baseline("night", True, 2.0),
    )


def live(days: float, seed: int, progress: Callable[[float], None] = lambda _: None) -> dict[str, Any]:
    """One gateway's life of so many days. The same arguments give the same report."""
    # In memory where there is such a place: power cuts are made from copies of the files, not by the disk.
    memory = Path("/dev/shm")  # noqa: S108
    place = memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 16 * SPACE_BYTES else None
    with (
        tempfile.TemporaryDirectory(prefix="guet-soak-", dir=place) as made,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(_Soak(days, seed, Path(made), progress).run())


def soak(argv: list[str]) -> int:
    """Une année de pannes en quelques minutes, sur la vraie passerelle / A year of faults in minutes, on the real gateway"""
    parser = argparse.ArgumentParser(prog="guet soak", description=soak.__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    if not 0 < options.days <= 3660 or not math.isfinite(options.days):
        parser.error(say("--days : plus de 0, 3660 au plus", "--days: above 0, 3660 at most"))
    logging.getLogger("gateway").setLevel(logging.CRITICAL)
    shown = [time.monotonic()]

    def progress(virtual_s: float) -> None:
        if time.monotonic() - shown[0] > 2:
            shown[0] = time.monotonic()
            sys.stderr.write(say(f"jour {virtual_s / DAY_S:.0f}\n", f"day {virtual_s / DAY_S:.0f}\n"))

    report = {"days": options.days, "seed": options.seed, **live(options.days, options.seed, progress)}
    text = json.dumps(report, ensure_ascii=False, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if report["invariants_broken"] else 0
