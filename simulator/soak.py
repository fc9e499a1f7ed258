"""`guet soak`: months of a gateway's life in minutes, with everything that can go wrong going wrong.

The gateway is the real one, from its Modbus TCP links through its judge, its lighting and its gate to its outbox and its
MQTT session, and so is the disk; devices, platform and time are simulated. A seeded storm (`simulator.storm`) kills and
spoils devices, cuts the uplink for hours to weeks, takes the clock's time away and moves it, fills the disk in the middle of
a write, cuts the power between or within any two writes, and ruins the file. The site changes between lives, by hand, and
within them: the platform pushes others, sound ones and not (`simulator.pushing`). The same seed gives the same life.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final

import paho.mqtt.client

from gateway.alert import Alert
from gateway.app import Gateway, build_watches, home
from gateway.clock import SystemClock
from gateway.language import say
from gateway.lighting import Schedule, Slot
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.store import FILE, Limits, Store
from gateway.upstream.mqtt import Pace
from simulator.board import Board
from simulator.centre import Centre
from simulator.ledger import Ledger
from simulator.line import Faults
from simulator.modbus import TcpFault, TcpServer
from simulator.place import Place
from simulator.power import Files, PowerCut
from simulator.pushing import KEEP_WITHIN_S, KEY_FILE, Pushing
from simulator.storm import DAY_S, HOUR_S, Storm
from simulator.village import (
    AIR,
    BY_RULE,
    FAIL_SAFE,
    LAMP_REGISTERS,
    LAMPS,
    SETPOINT,
    VENTILATION,
    Village,
    site_text,
)
from simulator.virtual_time import VirtualLoop

BEGINS: Final = (
    datetime(2027, 1, 5, tzinfo=UTC),
    datetime(2027, 3, 27, tzinfo=UTC),
    datetime(2027, 10, 30, tzinfo=UTC),
)
"""Midwinter, or just before the clocks on the walls are changed."""
SPACE_BYTES: Final = 8 * 1024 * 1024
"""Small, so that a cut of some weeks fills it."""
LIMITS: Final = Limits(space_bytes=SPACE_BYTES)
PACE: Final = Pace(keepalive_s=600)
FILES: Final = Files(FILE, FILE + "-wal", ("store.lock",))
DRAINED_WITHIN_S: Final = 2 * DAY_S
MEMORY_MIB: Final = 96
"""What the process may grow by after its second day, the platform's own memory taken off."""
ROW_BYTES: Final = 1000
LEASE_S: Final = 3 * 3600.0
"""Within this a value that must not be held any more is taken back, retries and all."""
FOLLOWS_S: Final = 4200.0
"""Within this a lamp that can be reached has the level of its schedule."""


class _Witnessed(Store):
    """A store that says what was told durable."""

    durable: Callable[[str, str, bool], None]

    async def decide(
        self,
        states: Mapping[str, Any],
        alerts: Sequence[Alert] = (),
        audits: Sequence[tuple[float, Mapping[str, Any]]] = (),
        *,
        readings: Sequence[tuple[float, Mapping[str, Any]]] = (),
    ) -> None:
        await super().decide(states, alerts, audits, readings=readings)
        for alert in alerts:
            self.durable(self.epoch, alert.id, alert.cleared_s is not None)


class _Soak:
    def __init__(self, days: float, seed: int, folder: Path, progress: Callable[[float], None]) -> None:
        self._end_s, self._folder, self._progress = days * DAY_S, folder, progress
        self._chance, self._seed = Random(f"lives {seed}"), seed
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.ledger = Ledger(self.break_)
        self._visits = 0
        self._anew = False
        self._began_s = 0.0
        self._told_of: Collection[str] = ()
        self.gateway: Gateway
        self._profile = cache(lambda name: load_profile(home() / "device_profiles", name))
        self._settled_s = 0.0
        self._memory_bytes: int | None = None

    def break_(self, what: str) -> None:
        self.broken.append(f"day {asyncio.get_running_loop().time() / DAY_S:.4f}: {what}")

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop
        begin = BEGINS[self._seed % len(BEGINS)] + timedelta(hours=self._chance.random() * 24)
        self.board = Board(begin.timestamp(), known=True)
        self.clock = SystemClock(self.board)
        self._offset_s = self.clock.offset_s
        self.village = Village(self._lit, self._told)
        kinds = [TcpFault(kind, by_s=2.0, code=4, count=9) for kind in ("reset", "silent", "late", "split", "garbage")]
        faults = Faults(rate=0.02, choice=kinds, random=Random(f"faults {self._seed}"))
        folder = self._folder / "0"
        async with (
            TcpServer("127.0.0.1", 0, self.village.units, faults=faults, silent_absent=True) as self._devices,
            Centre(Random(f"centre {self._seed}"), remembers=("gap", "alert", "audit configuration")) as self.centre,
        ):
            chance = Random(f"pushing {self._seed}")
            self.pushing = Pushing(chance, self._folder, self.centre, self.board, self._text, self._seed)
            self.place = Place(self._text(0), self._parse, KEEP_WITHIN_S, self._begin_anew)
            self.pushing.allowed.add(self.place.text)
            self._schedule = _schedule(self._parse(self.place.text))
            pushing = loop.create_task(self.pushing.run(), name="pushing")
            self.storm = Storm(Random(f"storm {self._seed}"), self.centre, self._devices, self.village, self.board)
            while loop.time() < self._end_s:
                folder = await self._one_life(folder)
            pushing.cancel()
            await self.storm.calm()
            await self._drain(folder)
            self.pushing.settle(self.place, self.break_)
        return self._report()

    def _text(self, visits: int) -> str:
        return site_text(self.centre.port, self._devices.port, visits, KEY_FILE)

    def _parse(self, text: str) -> Site:
        return parse_site(text, "soak.toml", self._folder, self._profile)

    def _lives_in(self, folder: Path) -> None:
        """Each life has a copy of the disk in a folder of its own; the site calls it by one name."""
        name = self._folder / "guet-data"
        name.unlink(missing_ok=True)
        name.symlink_to(folder)

    def _begin_anew(self) -> None:
        self._anew = True
        self.gateway.stop.set()

    async def _run(self, store: _Witnessed) -> None:
        """Gateways on one store, one after the other, for as long as the site is changed while they run."""
        same_life = False
        while True:
            self._anew = False
            text = self.place.begin(same_life)
            self._began_s, before = self._loop.time(), self._told_of
            site = self._parse(text)
            self.gateway = gateway = self._gateway(site, store)
            self._told_of = site.devices.keys()
            assert gateway.pushes is not None
            gateway.pushes.place = self.place
            self.place.lacking = partial(_lacking, gateway, site.devices.keys() - before)
            await gateway.run()
            if not self._anew:
                return
            same_life = True

    # -- lives -----------------------------------------------------------------------------------------------------

    async def _one_life(self, folder: Path) -> Path:
        """From switching on to the next power cut, or to the next time it is told to end; gives what the disk holds then."""
        ends_s = min(self._end_s, self._loop.time() + self._chance.expovariate(1 / (4 * DAY_S)) + 60.0)
        power = PowerCut(self._loop, folder, FILES, self._chance, self._go_dark)
        self._lives_in(folder)
        async with _Witnessed.open(folder, self._clock(), LIMITS, thread=False) as store:
            running = self._loop.create_task(self._run(store))
            await asyncio.sleep(0)
            work = [running, self._loop.create_task(self._look(store))]
            await asyncio.wait(work, timeout=ends_s - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
            told_to_end = self._chance.random() < 0.25
            if self._loop.time() < self._end_s and not any(task.done() for task in work):
                if told_to_end:
                    self.gateway.stop.set()
                    await asyncio.wait([running], timeout=HOUR_S)
                else:
                    await self._cut(power, work)
            for task in work:
                if (
                    task.done()
                    and not task.cancelled()
                    and not power.happened
                    and not (told_to_end and task is running and not task.exception())
                ):
                    self.break_(f"a task of the gateway ended: {task.exception()!r}")
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self.storm.room_again()
        self.storm.journal = None
        if self.broken and self._loop.time() < self._end_s and not (power.happened or told_to_end):
            raise RuntimeError(self.broken[-1])
        off_s = self._chance.choice((5.0, 600.0, DAY_S)) * self._chance.random()
        if power.happened:
            self.counts["power cuts"] += 1
            shutil.rmtree(folder)
            if self._chance.random() < 0.08:
                self._ruin(power.folder)
            self.centre.set_line(self.storm.line)
            await asyncio.sleep(off_s)
            self.storm.power_on(off_s)
        elif told_to_end:
            self.counts["restarts"] += 1
        if self._chance.random() < 0.3:
            self.counts["visits"] += 1
            self._visits += 1
            if not self.place.on_trial:
                self.place.text = f"# visit {self._visits}\n" + self._text(self._visits)
                self.pushing.allowed.add(self.place.text)
        return power.folder

    async def _cut(self, power: PowerCut, work: list[asyncio.Task[None]]) -> None:
        power.arm()
        while not power.happened and not any(task.done() for task in work):
            await asyncio.sleep(0.25)
        power.disarm()

    def _clock(self) -> SystemClock:
        self.clock = SystemClock(self.board)
        return self.clock

    def _gateway(self, site: Site, store: _Witnessed) -> Gateway:
        store.durable = self.ledger.durable
        self.storm.journal = store.path.parent / FILES.journal
        if store.set_aside is not None:
            self.counts["files set aside"] += 1
        self._settled_s = self._loop.time()
        return Gateway(site, build_watches(site), store, self.clock, Random(self._chance.random()), PACE)

    def _go_dark(self) -> None:
        self.storm.room_again()  # the copy of what the disk held is ours, not the gateway's
        self.centre.set_line("refused")

    def _ruin(self, folder: Path) -> None:
        """A page is noise, the first or any other, and the journal that may mend it is gone."""
        epoch = (folder / "store.lock").read_text().split()[-1]
        (folder / FILES.journal).unlink()
        pages = (folder / FILE).stat().st_size // 4096
        if not pages:  # nothing of it had got out of the journal
            return
        page = self._chance.choice((0, self._chance.randrange(pages)))
        self.ledger.lost_epochs.add(epoch)
        self.pushing.forgot()
        self.counts["files ruined"] += 1
        with (folder / FILE).open("r+b") as file:
            file.seek(4096 * page)
            file.write(self._chance.randbytes(4096))

    async def _drain(self, folder: Path) -> None:
        """With all well again, everything must arrive."""
        self._lives_in(folder)
        async with _Witnessed.open(folder, self._clock(), LIMITS, thread=False) as store:
            running = self._loop.create_task(self._run(store))
            try:
                await asyncio.sleep(2 * KEEP_WITHIN_S)  # what is on trial stays or goes back
                gateway = self.gateway
                assert gateway.uplink is not None
                until_s = self._loop.time() + DRAINED_WITHIN_S
                await asyncio.sleep(60.0)
                while gateway.uplink.outbox.pending_rows() and self._loop.time() < until_s:
                    await asyncio.sleep(10.0)
                if left := gateway.uplink.outbox.pending_rows():
                    self.break_(f"{left} records did not drain in {DRAINED_WITHIN_S / DAY_S:g} days")
                # Its last words are said after that; they may wait for a next start.
                self.ledger.settle(self.centre, store.epoch, gateway.uplink.outbox.last_seq())
                gateway.stop.set()
                await asyncio.wait([running], timeout=DAY_S)
                if not running.done():
                    self.break_("the gateway did not stop when it was told to")
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    # -- what must hold ------------------------------------------------------------------------------------------------

    def _lit(self) -> bool:
        return self._schedule.level_percent(self.board.true_s()) > 0

    def _told(self, register: int, value: int) -> None:
        """A controller was told something."""
        self._note_steps()
        now_s = self._loop.time()
        if register == SETPOINT and value in (BY_RULE, FAIL_SAFE):
            self.counts["ventilation told"] += 1
            stale_s = self.village.stale_since_s
            if value == BY_RULE and stale_s is not None and now_s - stale_s > FOLLOWS_S:
                self.break_(f"the ventilation was told to warm, {now_s - stale_s:.0f} s after its interlock")
            return
        self.counts["lamps told"] += 1
        if register not in LAMP_REGISTERS or value not in (0, 20, 40, 70, 100):
            self.break_(f"register {register} was told {value}: nothing allows that")
        site_s = self.clock.now()
        allowed = {self._schedule.level_percent(site_s - ago_s) for ago_s in (0.0, 60.0, 120.0)}
        if value not in allowed and now_s - self._settled_s > 300.0:
            self.break_(f"a lamp was told {value} %, and its schedule says {sorted(allowed)}")

    def _note_steps(self) -> None:
        if abs(self.clock.offset_s - self._offset_s) > 1.0:
            self._offset_s, self._settled_s = self.clock.offset_s, self._loop.time()

    async def _look(self, store: Store) -> None:
        """Checked all along."""
        before: tuple[Gateway | None, int] = None, 0
        while True:
            await asyncio.sleep(HOUR_S)
            self._progress(self._loop.time())
            gateway = self.gateway
            assert gateway.uplink is not None
            seen = gateway, gateway.live.requests("tcp")
            if seen == before or (not seen[1] and self._loop.time() - self._began_s > HOUR_S):
                self.break_(f"no device was asked for an hour ({seen[1]} requests before)")
            before = seen
            if (used := store.used_bytes()) > SPACE_BYTES:
                self.break_(f"the store uses {used} bytes of {SPACE_BYTES}")
            if store.fault and not self.storm.disk_full and self._loop.time() - self.storm.settled_s > 60.0:
                self.break_(f"the store cannot be written: {store.fault}")
            if store.waiting > 2 * LIMITS.queue_rows or gateway.uplink.in_flight > 2100:
                self.break_(f"{store.waiting} rows and {gateway.uplink.in_flight} records wait in memory")
            self._look_at_lamps()
            self._look_at_ventilation()
            self._look_at_memory()

    def _look_at_lamps(self) -> None:
        self._note_steps()
        now_s = self.clock.now()
        wanted = {self._schedule.level_percent(now_s - 60.0 * ago) for ago in range(round(FOLLOWS_S / 60))}
        if len(wanted) > 1 or self._loop.time() - max(self._settled_s, self.storm.back_s.get(LAMPS, 0.0)) < FOLLOWS_S:
            return
        for register in LAMP_REGISTERS:
            if self.village.level(register) not in wanted:
                self.break_(f"a lamp is at {self.village.level(register)} %, and its schedule says {wanted}")

    def _look_at_ventilation(self) -> None:
        """Back at its fail-safe value when the interlock forbids to warm, or when nobody knows how warm it is."""
        now_s, back_s = self._loop.time(), self.storm.back_s
        if now_s - max(self._settled_s, back_s.get(VENTILATION, 0.0)) < LEASE_S:
            return
        stale_s, set_at = self.village.stale_since_s, self.village.level(SETPOINT)
        if stale_s is not None and now_s - stale_s > LEASE_S and set_at != FAIL_SAFE:
            self.break_(f"the ventilation is at {set_at} a while after its interlock")
        lost_s = self.storm.lost_s.get(AIR)
        if lost_s is not None and now_s - lost_s > LEASE_S and set_at != FAIL_SAFE:
            self.break_(f"the ventilation is at {set_at} a while after its sensor was lost")

    def _look_at_memory(self) -> None:
        if self._loop.time() < 2 * DAY_S:
            return
        used = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 - len(self.centre.rows) * ROW_BYTES
        if self._memory_bytes is None:
            self._memory_bytes = used
        if used - self._memory_bytes > MEMORY_MIB * 1024 * 1024:
            self.break_(f"the process grew by {(used - self._memory_bytes) >> 20} MiB since its second day")
            self._memory_bytes = used

    def _report(self) -> dict[str, Any]:
        kinds = Counter(row.kind for row in self.centre.rows.values())
        counts = self.counts + self.storm.counts + self.pushing.counts + self.centre.counts + self.ledger.counts
        return {
            "virtual_days": round(self._loop.time() / DAY_S, 3),
            "invariants_broken": len(self.broken),
            "broken": self.broken[:20],
            "records": dict(sorted(kinds.items())),
            "alerts_durable": len(self.ledger.alerts),
            "requests": self._devices.requests,
            "storm": dict(sorted(counts.items())),
            "line_faults": dict(sorted(self._devices.faults.happened.items())),
        }


def _lacking(gateway: Gateway, new: Collection[str]) -> tuple[str, ...]:
    """What has not answered since the gateway began: any of the new devices, or all."""
    health = gateway.buses["tcp"].health
    silent = [name for name, one in health.items() if one.last_answer_s is None]
    return tuple(silent) if len(silent) == len(health) else tuple(name for name in silent if name in new)


def _schedule(site: Site) -> Schedule:
    street, gateway = site.lighting["street"], site.gateway
    slots = [Slot(slot.at, slot.level) for slot in street.slots if slot.level is not None]
    return Schedule(slots, gateway.latitude, gateway.longitude, site.zone)


def live(days: float, seed: int, progress: Callable[[float], None] = lambda _: None) -> dict[str, Any]:
    """One gateway's life of so many days. The same arguments give the same report."""
    # In memory where there is such a place: power cuts are made from copies of the files, not by the disk.
    memory = Path("/dev/shm")  # noqa: S108
    place = memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 16 * SPACE_BYTES else None
    real_time = paho.mqtt.client.time_func
    gc.freeze()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="guet-soak-", dir=place) as made,
            asyncio.Runner(loop_factory=lambda: VirtualLoop(alone=True)) as runner,
        ):
            paho.mqtt.client.time_func = runner.get_loop().time  # its keep-alive lives in the same time
            return runner.run(_Soak(days, seed, Path(made), progress).run())
    finally:
        paho.mqtt.client.time_func = real_time
        gc.unfreeze()


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
