"""The composition root of the gateway: builds everything from a checked site, and runs it in one TaskGroup.

Nothing starts before everything could be built. The field side (polling, judging, acting) never waits for the uplink.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.action import Action, Done, Gate
from gateway.alert import Alert, iso
from gateway.budget import Budget, budget
from gateway.clock import Clock
from gateway.codec import HeardCodec, PolledCodec, bthome, ruuvi
from gateway.codec.bthome import Bthome
from gateway.codec.canopen_lift import CanopenLift
from gateway.codec.dali import Sci
from gateway.codec.gatt import Gatt
from gateway.codec.mbus import LINE as MBUS_LINE
from gateway.codec.mbus import Mbus
from gateway.codec.modbus import Rtu, Tcp
from gateway.codec.ruuvi import Ruuvi
from gateway.condition import Picture
from gateway.cycle import Cycle, ledger_of
from gateway.deed import Acting
from gateway.errors import ActionError, BusError, ModelError, SiteError, StoreError, collecting
from gateway.hear import HeardBus
from gateway.inference import Model, load_model
from gateway.judge import Judge
from gateway.link import Ear, Link
from gateway.link.serial import SerialLink
from gateway.link.tcp import TcpLink
from gateway.live import Live
from gateway.node import Nodes, tended
from gateway.outbox import Outbox
from gateway.permit import Origin
from gateway.plan import NOTHING_REFUSED, Refusals, plan_ears, plan_visits
from gateway.point import CanopenPoint
from gateway.poll import PolledBus
from gateway.reading import Snapshot, split_point
from gateway.site import Device, Site, WatchEntry, inputs_of, interlock_inputs_of
from gateway.site_file import checked, read_text
from gateway.site_trial import SiteFile
from gateway.snippet import Snippets
from gateway.store import FILE, Store
from gateway.summary import Summary
from gateway.timekeeping import Timekeeper
from gateway.upstream.mqtt import Pace, Uplink
from gateway.upstream.payload import Kind
from gateway.upstream.replay import Replay, asks_for_replay
from gateway.verdict import State
from gateway.watch import Watch

if TYPE_CHECKING:
    from gateway.edge_node import EdgeNode
    from gateway.order import Commands
    from gateway.pushes import Pushes

log = logging.getLogger(__name__)

HISTORY_S = 50 * 86400.0
"""How much of the store's past the windows are filled with at start."""
REMEMBERED_AT_ONCE = 500
"""Summaries that go into the windows before the rest of the gateway has a turn: some milliseconds."""
SETTLE_S = 5.0
"""Site time that answers may take after a period's end before it is closed."""
STATUS_EVERY_S = 3600.0
ALIVE_PERIODS = 4
"""Periods of summaries within which the judge must have had its turn."""
LAST_WORDS_S = 15.0
"""Real time that the outbox gets to empty itself when the gateway is told to end."""
LONGEST_RETRY_S = 900.0
"""Site time between two tries to reach the platform, at the most; SHORTEST_RETRY_S of real time at the least."""
SHORTEST_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a kind of bus is opened, and which codec speaks on it: one where devices are asked; where they are heard, one a
    device, by the protocol of its profile."""

    open: Callable[[Any], Link | Ear]
    codec: Callable[[], PolledCodec] | Mapping[str, Callable[[Device], HeardCodec]]


# Links that few gateways have are loaded by those that do.


def _radio(bus: Any) -> Ear:
    from gateway.link.ble import BleEar

    return BleEar(bus.adapter, (bthome.PART, ruuvi.PART))


def _connected(bus: Any) -> Link:
    from gateway.link.gatt import GattLink

    return GattLink(bus.adapter)


def _can(bus: Any) -> Ear:
    from gateway.link.slcan import SlcanEar

    return SlcanEar(bus.port, bus.line, bus.bitrate)


PROTOCOLS: dict[str, Protocol] = {
    "modbus-rtu": Protocol(lambda bus: SerialLink(bus.port, bus.line), Rtu),
    "modbus-tcp": Protocol(lambda bus: TcpLink(bus.host, bus.port), Tcp),
    "modbus-rtu-tcp": Protocol(lambda bus: TcpLink(bus.host, bus.port, numbered=False), Rtu),
    "dali-sci": Protocol(lambda bus: SerialLink(bus.port, bus.line or "38400 8N1", frames=False), Sci),
    "mbus": Protocol(lambda bus: SerialLink(bus.port, bus.line or MBUS_LINE), Mbus),
    "ble": Protocol(
        _radio,
        {"bthome": lambda device: Bthome(device.key), "ruuvi": lambda device: Ruuvi()},
    ),
    "ble-gatt": Protocol(_connected, Gatt),
    "slcan": Protocol(
        _can,
        {
            "canopen": lambda device: CanopenLift(
                device.number, [point.place for point in device.points.values() if isinstance(point, CanopenPoint)]
            )
        },
    ),
}
"""One row a protocol: this, and a codec, is all that a new one costs."""


def home() -> Path:
    """The folder that holds device_profiles/ and edge_models/: GUET_HOME, or where this checkout is."""
    return Path(os.environ.get("GUET_HOME") or Path(__file__).resolve().parents[1])


def read_site(path: Path) -> tuple[Site, list[Watch]]:
    """A site and its watches with their models. Raises SiteError or ModelError with everything that is wrong."""
    return site_of(read_text(path), path)


def site_of(text: str, path: Path) -> tuple[Site, list[Watch]]:
    """What `read_site` would give were the text in that file. Raises SiteError or ModelError."""
    site = checked(text, path, home() / "device_profiles")
    with collecting(SiteError) as faults:
        faults += [f"{path.name}: {refusal}" for found in budgets(site) if (refusal := found.refusal())]
    return site, build_watches(site)


def budgets(site: Site) -> list[Budget]:
    """How busy each bus will be; nothing is asked on one that is only heard."""
    found = []
    for name, bus in site.buses.items():
        codec = PROTOCOLS[bus.protocol].codec
        visits = [] if isinstance(codec, Mapping) else plan_visits(site.devices_on(name), codec())
        found.append(budget(bus, visits))
    return found


def build_watches(site: Site) -> list[Watch]:
    """The watches of a site. Raises ModelError with all faults of all models."""
    watches: list[Watch] = []
    faults: list[str] = []
    models: dict[str, Model] = {}
    for entry in site.watches.values():
        try:
            model = models.get(entry.model) or load_model(home() / "edge_models" / entry.model)
            models[entry.model] = model
            units = {point: site.point(point).unit for points in entry.inputs.values() for point in points}
            watches.append(Watch(entry, model, units, site.period_s, site.zone))
        except ModelError as error:
            faults += [f"watch {entry.name!r}: {fault}" for fault in error.faults]
        except ValueError as error:
            faults.append(f"watch {entry.name!r}.inputs: {error}")
    if faults:
        raise ModelError(faults)
    return watches


class Gateway:
    """A gateway: built whole from a checked site and an open store, then `run` until `stop` is set."""

    def __init__(
        self,
        site: Site,
        watches: list[Watch],
        store: Store,
        clock: Clock,
        chance: Random | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.site, self.store, self.clock = site, store, clock
        self.stop = asyncio.Event()
        self.running_since_s: float | None = None
        """Since when it polls; None: it was only built, for a verb that asks by itself."""
        self.file: SiteFile | None = None
        """The site file that it runs; None where nobody may change it through this gateway."""
        self.anew = False
        """Whether another begins at once where this one ends: with another text of the site file."""
        self._beside: set[asyncio.Task[None]] = set()
        self.buses = {name: self._bus(name) for name in site.buses}
        self.live = Live(site, clock, self.buses)
        self.judge = Judge(site, watches)
        self._snippets = Snippets(site, self.live, store, clock)
        pace = pace or Pace(retry_max_s=max(SHORTEST_RETRY_S, clock.loop_seconds(LONGEST_RETRY_S)))
        self.uplink = Uplink(store, site.gateway.id, site.upstream, clock, pace, chance) if site.upstream else None
        self.sparkplug: EdgeNode | None = None
        if site.upstream is not None and site.upstream.sparkplug:
            from gateway.edge_node import edge_node  # few sites speak it; the others need not carry it

            self.sparkplug = edge_node(site, site.upstream, store, clock, self.live, self.buses, pace, chance)
        writers = {name: bus for name, bus in self.buses.items() if isinstance(bus, PolledBus)}
        self._judging = asyncio.Lock()
        cycle = Cycle(site)
        self.ledger = ledger_of(site, cycle)
        self.gate = Gate(
            site, self.ledger, writers, clock, lambda: self.online, self._record_action, self._look, self._keep_holds
        )
        self.nodes = Nodes(writers, store, clock, self.gate.tell_time)
        self.acting = Acting(cycle, self.gate, clock, self._picture, self._decided, self._record_refusal)
        self._kept = site.kept
        moved = (self.live.moved, self.acting.moved)
        self.timekeeper = Timekeeper(
            store, self.judge, clock, lambda: self.online, self._remember, self._judging, moved
        )
        self.commands: Commands | None = None
        self.pushes: Pushes | None = None
        if site.command_key is not None:
            from gateway.order import Commands  # as above: not every site takes commands
            from gateway.pushes import Pushes

            self.commands, self.pushes = Commands(site, self.gate, store, clock), Pushes(site, store, clock)
        self.replay: Replay | None = None
        if self.uplink is not None and site.upstream is not None and site.upstream.ack == "commit":
            self.replay = Replay(store, self.uplink.outbox, clock)
        if self.uplink is not None and (self.replay is not None or self.commands is not None):
            self.uplink.on_command = self._asked
        if self.pushes is not None and (uplink := self.uplink) is not None:
            self.pushes.reached = lambda: uplink.last_acknowledged_s is not None
        self._inputs, self._interlocks = frozenset(inputs_of(site)), frozenset(interlock_inputs_of(site))
        self._heeds: defaultdict[str, set[str]] = defaultdict(set)
        """By device, its points that a decision hangs on."""
        for device, point in map(split_point, self._inputs):
            self._heeds[device].add(point)
        self.boot = f"{os.getpid()}-{clock.now():.0f}"
        self.actions: list[Done] = []
        self._judged_s = clock.monotonic()

    @property
    def online(self) -> bool:
        """Whether the platform can be reached now."""
        return self.uplink is not None and self.uplink.connected

    def _asked(self, payload: bytes) -> None:
        """What the platform says on `cmd`."""
        if self.replay is not None and asks_for_replay(payload):
            self.replay.arrived(payload)
        elif self.pushes is not None and self.pushes.asked(payload):
            self.pushes.arrived(payload)
        elif self.commands is not None:
            self.commands.arrived(payload)

    def _bus(self, name: str) -> PolledBus | HeardBus:
        bus = self.site.buses[name]
        protocol = PROTOCOLS[bus.protocol]
        devices = self.site.devices_on(name)
        link: Any = protocol.open(bus)
        if isinstance(protocol.codec, Mapping):
            speakers = plan_ears(devices, protocol.codec)
            for speaker in speakers.values():
                kept = self.store.state(f"heard/{speaker.device.name}")
                if kept is not None and kept["of"] == _identity(speaker.device):
                    speaker.codec.memory = kept["memory"]
            return HeardBus(name, link, speakers, self.clock, self._take, remember=self._remember_heard)
        refusals = {
            device.name: Refusals.from_json(body)
            for device in devices
            if (body := self.store.state(f"refusals/{device.name}")) is not None
        }
        return PolledBus(
            name, link, protocol.codec(), devices, self.clock, self._take,
            refusals=refusals, learnt=self._learnt, returned=self._returned,
        )  # fmt: skip

    def _take(self, snapshot: Snapshot) -> None:
        self.live.take(snapshot)
        if self._heeded(snapshot):
            self.gate.changed.set()
            self.acting.news.set()
        if self.sparkplug is not None:
            self.sparkplug.take(snapshot)
        for summary in self.judge.take(snapshot):
            self.store.add_summary(summary)
        if self.site.upstream is not None and self.site.upstream.readings:
            body = {"device": snapshot.device, "values": dict(snapshot.values)}
            self.store.put(Kind.READING, snapshot.time_s, body)

    def _heeded(self, snapshot: Snapshot) -> bool:
        """Whether a decision may hang on what a device just said."""
        heeded = self._heeds.get(snapshot.device)
        return heeded is not None and not heeded.isdisjoint(snapshot.values)

    def _remember_heard(self, device: Device, memory: int) -> None:
        state = {f"heard/{device.name}": {"of": _identity(device), "memory": memory}}
        self._later(self.store.decide(state), f"remember what {device.name} said last")

    def _learnt(self, device: str, refusals: Refusals) -> None:
        self._later(self.store.decide({f"refusals/{device}": refusals.as_json()}), f"remember {device}")

    def _returned(self, device: Device, since_s: float | None) -> None:
        if device.profile.setup or device.name in self._kept:
            self._later(self._set_up(device), f"set up {device.name}")
        if tended(device):
            self._later(self.nodes.tend(device, since_s), f"tend {device.name}")

    async def _set_up(self, device: Device) -> None:
        """Tells a device that is met or is back what its profile says it must be told; each goes through the gate."""
        for setting in device.profile.setup:
            reason = f"réglage demandé par le profil {device.profile_name}, à chaque retour de l'appareil"
            try:
                await self.gate.perform(Action(f"{device.name}/{setting.point}", setting.value, reason, Origin.SETUP))
            except ActionError as error:
                log.error("device=%s not set up: %s", device.name, error)
        for one in self._kept.get(device.name, ()):
            try:
                await self.gate.ensure(Action(one.point, one.value, one.reason, Origin.SETUP), one.leaves)
            except (ActionError, BusError) as error:
                log.error("point=%s not kept: %s", one.point, error)

    def _later(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Does something beside the field loop; what fails is logged and tried again when it next comes up."""

        async def guarded() -> None:
            try:
                await work
            except StoreError as error:
                log.error("%s: %s", name, error)

        task = asyncio.get_running_loop().create_task(guarded(), name=name)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        task.add_done_callback(lambda _: work.close())  # given up before it began, it would never be awaited

    def _picture(self) -> Picture:
        """The inputs of a decision, as they are now."""
        return Picture(self.clock.now(), self.live.values(self._inputs), self._verdicts())

    def _look(self) -> Picture:
        """The inputs of interlocks alone."""
        return Picture(self.clock.now(), self.live.values(self._interlocks), self._verdicts())

    def _verdicts(self) -> dict[str, State | None]:
        return {
            name: watch.verdict.state if watch.verdict is not None else None
            for name, watch in self.judge.watches.items()
        }

    def _strays(self, point: str, value: float, since_s: float) -> bool:
        """Whether a device was seen elsewhere since then: it lost its supply, or somebody else moved it."""
        device, name = split_point(point)
        snapshot = self.live.latest.brought[device].get(name)
        seen = snapshot.values[name] if snapshot is not None and snapshot.time_s > since_s else None
        return seen is not None and seen != value

    def _waits_for(self) -> bool:
        """Whether an input of a decision has not been heard of yet."""
        brought = self.live.latest.brought
        return any(not points <= brought[device].keys() for device, points in self._heeds.items())

    def _bins(self) -> dict[str, Any]:
        """By watch of a bin, which one it is, how full and when it will be: what a collection is planned by."""
        found = {}
        for name, watch in self.judge.watches.items():
            if watch.model.card.window == "bin" and watch.judged_until_s is not None:
                forecast = watch.window.forecast(watch.judged_until_s)  # type: ignore[attr-defined]  # of a BinWindow
                device = self.site.devices[split_point(self.site.watches[name].inputs["distance"][0])[0]]
                found[name] = {"device": device.name, "asset": device.asset or None}
                found[name] |= {} if forecast is None else forecast.as_json()
        return found

    def _saved(self) -> dict[str, Any]:
        """By street, what its last night saved, or what this one did so far."""
        found = {}
        for street, savings in zip(self.acting.cycle.streets, self.acting.cycle.savings, strict=True):
            if (night := savings.last or savings.current) is not None:
                found[street.entry.name] = night.as_json()
        return found

    def _decided(self, state: dict[str, Any], alerts: Sequence[Alert]) -> None:
        self._later(self.store.decide({"rules": state}, alerts), "what the rules decided")
        self._note_alerts(alerts)

    def _note_alerts(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            _log_alert(alert)
            if alert.cleared_s is None:
                self._later(self._snippets.keep(alert), f"keep the samples around {alert.id}")

    def _record_refusal(self, body: dict[str, Any]) -> None:
        self.store.put(Kind.AUDIT, self.clock.now(), body)

    def _keep_holds(self, state: dict[str, Any]) -> None:
        self._later(self.store.decide({"holds": state}), "remember who holds what")

    def _record_action(self, done: Done) -> None:
        self.actions = [*self.actions[-99:], done]
        self.store.put(Kind.AUDIT, done.time_s, done.as_json())

    async def run(self) -> None:
        """Runs until `stop` is set or cancelled; then gives the outbox a short while to empty, and the ports back."""
        self._restore()
        self.running_since_s = self.clock.now()
        try:
            async with asyncio.TaskGroup() as tasks:
                field = [tasks.create_task(bus.run(), name=f"bus {name}") for name, bus in self.buses.items()]
                field.append(tasks.create_task(self._tick(), name="judge"))
                field.append(tasks.create_task(self.timekeeper.run(), name="time"))
                field.append(tasks.create_task(self.nodes.run(), name="nodes"))
                field.append(tasks.create_task(self.gate.run(), name="gate"))
                if self.commands is not None:
                    field.append(tasks.create_task(self.commands.run(), name="commands"))
                if self.pushes is not None:
                    field.append(tasks.create_task(self.pushes.run(), name="pushes"))
                field.append(tasks.create_task(self.acting.run(self._waits_for, self._strays), name="acting"))
                if self.replay is not None:
                    field.append(tasks.create_task(self.replay.run(), name="replay"))
                uplink = tasks.create_task(self.uplink.run(), name="uplink") if self.uplink is not None else None
                if self.sparkplug is not None:
                    field.append(tasks.create_task(self.sparkplug.run(), name="sparkplug"))
                await self.stop.wait()
                for task in (*field, *self._beside):
                    task.cancel()
                self.store.put(Kind.STATUS, self.clock.now(), self.status())
                await self.store.flush()
                if uplink is not None:
                    if not self.anew:
                        await self._last_words()
                    uplink.cancel()
        finally:
            await self.close()

    async def close(self) -> None:
        """Gives the ports back. May be called twice."""
        for task in self._beside:
            task.cancel()
        for bus in self.buses.values():
            await (bus.link if isinstance(bus, PolledBus) else bus.ear).close()

    async def _last_words(self) -> None:
        """What is in the outbox goes while the platform is there to take it; the rest waits for the next start."""
        assert self.uplink is not None
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while self.uplink.connected and self.uplink.outbox.ready_rows() > 0:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            log.warning("uplink: %d records are left for the next start", self.uplink.outbox.pending_rows())

    def _restore(self) -> None:
        """What was remembered over the last end, however it came."""
        names = self.judge.watches
        states = {name: state for name in names if (state := self.store.state(f"watch/{name}")) is not None}
        self.judge.restore(states, self.store.open_alerts())
        if (holds := self.store.state("holds")) is not None:
            self.ledger.restore(holds, self.clock.monotonic(), self.clock.now())
        self.acting.cycle.restore(self.store.state("rules") or {}, self.store.open_alerts())

    async def _remember(self) -> None:
        """Fills the windows from the store, a little at a time: devices are being read meanwhile."""
        now_s = self.clock.now()
        history = await history_of(self.store, self.site.watches.values(), now_s)
        for at in range(0, len(history), REMEMBERED_AT_ONCE):
            self.judge.remember(history[at : at + REMEMBERED_AT_ONCE])
            await asyncio.sleep(0)

    async def learn_again(
        self, device: str, since_s: float, states: Mapping[str, Any], audits: Sequence[tuple[float, Mapping[str, Any]]]
    ) -> list[str]:
        """Other hardware stands in a role: what was learnt of the old is given up, its history stays. Keeps `states` and
        `audits` in the same moment; gives the names of the watches that begin again. Raises StoreError."""
        entries = [entry for entry in self.site.watches.values() if device in _watched(entry)]
        names = [entry.name for entry in entries]
        async with self._judging:
            watches = [self.judge.watches[name] for name in names if name in self.judge.watches]
            accused = {alert.id for watch in watches for alert in watch.suspects.open.values()}
            lasting = self.store.open_alerts()
            over = [alert.cleared(since_s) for alert in lasting if alert.subject in names or alert.id in accused]
            forgotten = {f"learns_since/{device}": since_s, f"refusals/{device}": NOTHING_REFUSED.as_json()}
            await self.store.decide(
                {**states, **forgotten, **dict.fromkeys((f"watch/{n}" for n in names), None)}, over, audits
            )
            bus = self.buses.get(self.site.devices[device].bus)
            if isinstance(bus, PolledBus):
                bus.forget(self.site.devices[device])
            for entry in entries:
                if watch := self.judge.watches.get(entry.name):
                    watch.begin_again()
                    for summary in await history_of(self.store, [entry], since_s):
                        watch.add(summary)
        return names

    def alive(self) -> bool:
        """Whether the judge has had its turn lately; for the watchdog."""
        return self.clock.monotonic() - self._judged_s < ALIVE_PERIODS * self.site.period_s

    async def _tick(self) -> None:
        """Ends periods, judges, and has what came of it on disk before it goes on."""
        async with self._judging:
            await self.timekeeper.start()
            await self._remember()
        period_s = self.site.period_s
        status_s = 0.0
        while True:
            now_s = self.clock.now()
            await self.clock.sleep(period_s - now_s % period_s + SETTLE_S)
            async with self._judging:
                now_s = self.clock.now()
                await self._judge(now_s)
            self._judged_s = self.clock.monotonic()
            if not 0 <= now_s - status_s < STATUS_EVERY_S:
                status_s = now_s
                self.store.put(Kind.STATUS, now_s, self.status())

    async def _judge(self, now_s: float) -> None:
        outcome = self.judge.tick(now_s)
        for summary in outcome.summaries:
            self.store.add_summary(summary)
        if outcome.states:
            self.acting.news.set()
            self.gate.changed.set()
        states = {f"watch/{name}": state for name, state in outcome.states.items()}
        if states or outcome.alerts:
            try:
                await self.store.decide(states, outcome.alerts)
            except StoreError as error:
                log.error("decided, but not on disk yet: %s", error)  # it stays in the store's queue
        self._note_alerts(outcome.alerts)

    def status(self) -> dict[str, Any]:
        """The status record's body (central/contract/status.schema.json): what this run of the gateway did so far."""
        return {
            "version": __version__,
            "boot": self.boot,
            "time": iso(self.clock.now()),
            "time_trusted": self.clock.trusted,
            "buses": {
                name: {
                    "protocol": self.site.buses[name].protocol,
                    "requests": self.live.requests(name),
                    "readings": self.live.readings[name],
                    **({"state": bus.state} if isinstance(bus, HeardBus) else {}),
                }
                for name, bus in self.buses.items()
            },
            "devices": {state.device.name: state.words for state in self.live.states()},
            "backlog": self.uplink.outbox.pending_rows() if self.uplink is not None else None,
            "days_until_full": self.uplink.outbox.days_until_full() if self.uplink is not None else None,
            **({"bins": bins} if (bins := self._bins()) else {}),
            **({"lighting": lighting} if (lighting := self._saved()) else {}),
        }


def _identity(device: Device) -> str:
    """Which hardware, with which key, a memory is of: another one begins anew. Of the key it says nothing."""
    return sha256(str(device.address).encode() + b"/" + device.key).hexdigest()


def _watched(entry: WatchEntry) -> set[str]:
    return {point.partition("/")[0] for points in entry.inputs.values() for point in points}


def _log_alert(alert: Alert) -> None:
    what = "cleared" if alert.cleared_s is not None else "raised"
    log.warning(
        "alert=%s %s kind=%s subject=%s score=%.2f", alert.id, what, alert.kind.value, alert.subject, alert.score
    )


async def give_history(site: Site, clock: Clock, summaries: Sequence[Summary]) -> None:
    """Gives the store of a site that is not running the summaries of an earlier time, to remember and not to send. Raises
    StoreError."""
    async with Store.open(site.data, clock) as store:
        store.import_summaries(summaries)


async def recorded(site: Site, clock: Clock, since_s: float, until_s: float) -> list[str]:
    """What the store of a site that is not running holds of that time, as the lines of a file for `guet replay` and `guet
    rules try`: of each point its last value of every period. Raises StoreError."""
    async with Store.open(site.data, clock) as store:
        summaries = store.summaries(list(site.devices), since_s, until_s)
    lines = ["time,point,value"]
    for summary in sorted(summaries, key=lambda summary: summary.start_s):
        end = iso(summary.start_s + summary.period_s)
        known = site.devices[summary.device].points
        for name, aggregate in summary.points.items():
            if name in known:
                lines.append(f"{end},{summary.device}/{name},{'' if aggregate.last is None else repr(aggregate.last)}")
    return lines


async def history_of(store: Store, entries: Iterable[WatchEntry], until_s: float) -> list[Summary]:
    """What the store has of the watched devices until then, in order of time; of each no more than of the hardware that
    stands."""
    history: list[Summary] = []
    for device in sorted({device for entry in entries for device in _watched(entry)}):
        since_s = max(until_s - HISTORY_S, float(store.state(f"learns_since/{device}") or 0.0))
        history += store.summaries(device, since_s, until_s)
        await asyncio.sleep(0)
    return sorted(history, key=lambda summary: summary.start_s)


async def remembered(site: Site, clock: Clock, before_s: float) -> list[Summary]:
    """The `history_of` a site that is not running. Nothing where there is no store. Raises StoreError."""
    if not (site.data / FILE).exists():
        return []
    async with Store.open(site.data, clock) as store:
        return await history_of(store, site.watches.values(), before_s)


async def outbox_left(site: Site, clock: Clock) -> tuple[int, int]:
    """Of a site that is not running: the last sequence number its store gave out, and how many records still wait."""
    async with Store.open(site.data, clock) as store:
        outbox = Outbox(store)
        return outbox.last_seq(), outbox.pending_rows()


__all__ = [
    "PROTOCOLS",
    "Gateway",
    "build_watches",
    "give_history",
    "history_of",
    "home",
    "outbox_left",
    "read_site",
    "recorded",
    "remembered",
]
