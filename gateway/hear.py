"""Hearing: ear + codec -> snapshots, of devices that speak unasked. Failures of a device or an adapter end here, as the
quality of its readings: one that says nothing for some of its periods is lost until it is heard again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from gateway.clock import Clock
from gateway.codec import Broadcast, Place
from gateway.errors import GarbledAnswer, LinkError
from gateway.health import LOST_AFTER_FAILURES, Health
from gateway.link import Ear
from gateway.plan import Speaker, take
from gateway.reading import Flaw, FlawKind, Quality, Sink, Snapshot
from gateway.site import Device
from gateway.unit import UNITS

log = logging.getLogger(__name__)

LEAST_SILENCE_S = 60.0
"""A device that speaks unasked, however often, is not lost sooner: radio takes away a few advertisements in a row."""
MOST_AROUND = 256
"""Senders that a radio's bus remembers; in a street there are hundreds of strangers."""


class HeardBus:
    """One bus whose devices speak unasked.

    remember: told what the codec of a device must remember over a restart, whenever something of it is taken.
    """

    def __init__(
        self,
        name: str,
        ear: Ear,
        speakers: Mapping[str, Speaker],
        clock: Clock,
        sink: Sink,
        *,
        remember: Callable[[Device, int], None] = lambda device, memory: None,
    ) -> None:
        self.name, self.ear, self.speakers = name, ear, speakers
        self._devices = {speaker.device.name: speaker for speaker in speakers.values()}
        self.health: dict[str, Health] = {name: Health() for name in self._devices}
        self.strangers = 0
        self.around: dict[str, Broadcast] = {}
        """The last that each of MOST_AROUND senders said, ours or not; who was heard last stands last."""
        self._clock, self._sink, self._remember = clock, sink, remember
        self._rng = random.Random(name)  # noqa: S311 - spreads retries, no secret
        self._heard_s: dict[str, float] = {}  # by device, monotonic
        self._garbled: dict[str, str] = {}  # by device, what was wrong with all it said since it was understood
        self._adapter_error = ""
        self._taken: dict[str, dict[Place, tuple[float, bytes]]] = {name: {} for name in self._devices}
        self._flaws: dict[str, Mapping[Place, Flaw]] = {}  # by device, what its codec last said of it

    async def run(self) -> None:
        """Listens until cancelled, and notices who says nothing."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name=f"listen {self.name}")
            tasks.create_task(self._miss(), name=f"miss {self.name}")

    @property
    def unusable(self) -> str:
        """Why the adapter cannot be used; empty while it can."""
        return self._adapter_error

    @property
    def trouble(self) -> str:
        """What is wrong with the radio and what was tried, in words for people; empty while nothing is."""
        return self.ear.trouble or self._adapter_error

    @property
    def state(self) -> str:
        """The bus in words for people: what is wrong with it, else how it listens."""
        return self.trouble or self.ear.manner

    async def _miss(self) -> None:
        """Counts the periods in which a device said nothing. Lost, it gives readings without a value at its period, as a
        polled device does, each with since when, its last value, and what was tried."""
        started_s, started_mono_s = self._clock.now(), self._clock.monotonic()
        while self._devices:
            now_s, wait_s = self._clock.monotonic(), math.inf
            for speaker in self._devices.values():
                device = speaker.device
                period_s = max(device.every_s, LEAST_SILENCE_S / LOST_AFTER_FAILURES)
                missed = self.health[device.name].failures_in_a_row
                due_s = self._heard_s.get(device.name, started_mono_s) + (missed + 1) * period_s
                if due_s <= now_s:
                    self._missed(speaker, started_s)
                    due_s += period_s
                wait_s = min(wait_s, max(1.0, due_s - now_s))
            await self._clock.sleep(wait_s)

    def _missed(self, speaker: Speaker, started_s: float) -> None:
        device, health = speaker.device, self.health[speaker.device.name]
        now_s = self._clock.now()
        tried = self.trouble or self._garbled.get(device.name) or self.ear.advice
        if health.failed(tried, now_s, device.every_s, started_s):
            log.warning("device=%s lost: not heard for %d periods", device.name, health.failures_in_a_row)
        if health.lost_since_s is None:
            return
        never = health.last_answer_s is None
        lost = f"{datetime.fromtimestamp(health.lost_since_s, UTC):%d/%m %H:%M} UTC"
        since, known = ("le démarrage", "the start") if never else (lost, lost)
        taken, flaws = self._taken[device.name], {}
        for place, column in speaker.columns.items():
            last = column.decode(taken[place][1]) if place in taken else None
            value = "" if last is None else f"{last:g} {UNITS[column.unit].shown}".rstrip()
            said, told = (f", dernière valeur {value}", f", last value {value}") if value else ("", "")
            flaws[column.point] = Flaw(
                Quality.BAD,
                f"rien entendu depuis {since}{said} ; {tried}",
                FlawKind.SILENT,
                f"nothing heard since {known}{told}; {tried}",
            )
        self._sink(Snapshot(device.name, now_s, dict.fromkeys(device.points), flaws))

    async def _listen(self) -> None:
        """An adapter that is not there is tried again with a growing pause."""
        pause_s, lost = 1.0, False
        while True:
            try:
                async for heard in self.ear.listen():
                    if lost:
                        log.warning("bus=%s adapter is back", self.name)
                    pause_s, lost, self._adapter_error = 1.0, False, ""
                    self._hear(heard)
            except LinkError as error:
                if not lost:
                    log.warning("bus=%s adapter lost: %s", self.name, error)
                lost, self._adapter_error = True, str(error)
                for health in self.health.values():
                    health.last_error = str(error)
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(60.0, pause_s * 2)

    def _hear(self, heard: Broadcast) -> None:
        self.around.pop(heard.sender, None)
        self.around[heard.sender] = heard
        if len(self.around) > MOST_AROUND:
            del self.around[next(iter(self.around))]
        speaker = self.speakers.get(heard.sender)
        if speaker is None:
            self.strangers += 1
            return
        device, columns = speaker.device, speaker.columns
        try:
            said = speaker.codec.values(heard)
        except GarbledAnswer as error:
            self.health[device.name].last_error = self._garbled[device.name] = str(error)
            return
        if said is None:
            return
        now_s = self._clock.now()
        self._heard_s[device.name] = self._clock.monotonic()
        self._garbled.pop(device.name, None)
        if self.health[device.name].answered(now_s):
            log.warning("device=%s is heard again", device.name)
            self._taken[device.name].clear()
        wanted = {place: raw for place, raw in said.items() if place in columns}
        if not self._news(speaker, wanted, now_s):
            return
        taken = self._taken[device.name]
        values: dict[str, float | None] = {}
        flaws: dict[str, Flaw] = {}
        for place, raw in wanted.items():
            taken[place] = now_s, raw
            take(columns[place], columns[place].decode(raw), values, flaws)
        self._flaws[device.name] = speaker.codec.flaws
        for place, flaw in speaker.codec.flaws.items():
            if place in wanted and flaw.quality is Quality.UNCERTAIN:
                flaws.setdefault(columns[place].point, flaw)
            elif place in columns and place not in wanted and flaw.quality is Quality.BAD:
                values[columns[place].point], flaws[columns[place].point] = None, flaw
        self._sink(Snapshot(device.name, now_s, values, flaws))
        if speaker.codec.memory is not None:
            self._remember(device, speaker.codec.memory)

    def _news(self, speaker: Speaker, wanted: Mapping[Place, bytes], now_s: float) -> bool:
        """Whether what a device says is to be taken. Radios repeat themselves many times a second, and measure more often
        than is asked of them: a quantity is taken at its period, a state (a number without unit) when it changes too."""
        device = speaker.device
        taken = self._taken[device.name]
        if speaker.codec.flaws != self._flaws.get(device.name, {}):
            return True
        for place, raw in wanted.items():
            if (last := taken.get(place)) is None or not 0 <= now_s - last[0] < device.every_s / 2:
                return True
            column = speaker.columns[place]
            if raw != last[1] and column.unit == "1" and column.decode(raw) != column.decode(last[1]):
                return True
        return False
