"""Why a point has no data: the way of a value is walked from the supply to the platform, and stops where it is broken.

The device is visited now, as polling visits it; only where that gives nothing is the point asked for alone, to learn which
kind of failure it was, and the other devices of the bus, to learn whether it is the bus's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gateway.cause import Cause, cause
from gateway.check import examined, number
from gateway.disk import unsound
from gateway.doctor import under_voltage
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, NoSuchPlace, Refused, StoreError, WishError
from gateway.fault_words import in_french
from gateway.health import Health
from gateway.hear import HeardBus
from gateway.language import say
from gateway.outbox import Outbox
from gateway.poll import PolledBus
from gateway.reading import FlawKind, Quality, Reading
from gateway.site import AnyBus, Can, Device, Radio, Serial, Site, Tcp

if TYPE_CHECKING:
    from gateway.app import Gateway

StepName = Literal["supply", "port", "bus", "address", "register", "value", "store", "platform"]
STEPS: tuple[StepName, ...] = get_args(StepName)
COMPARED = 6
"""Other devices of a bus that are asked at the most, to learn whether the bus works."""
LISTEN_S = 30.0
LEAST_FREE_BYTES = 100 * 1024 * 1024
CONFIRMED_WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class WhyWish:
    """The point that is asked about."""

    point: str


@dataclass(frozen=True, slots=True)
class Step:
    """One station of the way. state: "ok"; "broken"; "note": no fault, and worth knowing; "unseen": behind the break."""

    name: StepName
    state: Literal["ok", "broken", "note", "unseen"]
    said: str


@dataclass(frozen=True, slots=True)
class Why:
    """The answer. cause: where the way is broken; its id is empty where it is whole. value, time_s: the last usable
    reading, None where there was none since the gateway started."""

    point: str
    steps: tuple[Step, ...]
    cause: Cause
    value: float | None
    unit: str
    time_s: float | None

    @property
    def fine(self) -> bool:
        return not self.cause.id


class _Broken(Exception):
    """Ends the walk."""

    def __init__(self, found: Cause) -> None:
        self.cause = found


def located(site: Site, point: str) -> tuple[Device, str]:
    """The device and the name of a point. Raises WishError, which says what there is instead."""
    device_name, _, name = point.partition("/")
    device = site.devices.get(device_name)
    if device is None:
        known = ", ".join(site.devices)
        raise WishError(say(f"{point!r} : pas d'appareil {device_name!r} sur ce site ; connus : {known}",
                             f"{point!r}: there is no device {device_name!r} on this site; known: {known}"))  # fmt: skip
    if not name:
        name = next(iter(device.points))
    if name not in device.points:
        known = ", ".join(device.points)
        raise WishError(say(f"{point!r} : {device_name} n'a pas de point {name!r} ; il a : {known}",
                             f"{point!r}: {device_name} has no point {name!r}; it has: {known}"))  # fmt: skip
    return device, name


async def why(gateway: Gateway, wish: WhyWish) -> AsyncGenerator[Why, None]:
    """The one answer. Raises WishError for a point that there is not."""
    device, name = located(gateway.site, wish.point)
    walk = _Walk(gateway, device, name)
    done: list[Step] = []
    found = Cause("", "", "")
    for step in STEPS:
        try:
            state, said = await getattr(walk, step)()
            done.append(Step(step, state, said))
        except _Broken as broken:
            found = broken.cause
            done.append(Step(step, "broken", found.sentence))
            break
    done += [Step(step, "unseen", "") for step in STEPS[len(done) :]]
    if not found.id and gateway.running_since_s is None:
        found = cause("GUET-102")
    last = walk.last_usable()
    yield Why(f"{device.name}/{name}", tuple(done), found, last[1] if last else None, device.points[name].unit,
              last[0] if last else None)  # fmt: skip


_Told = tuple[Literal["ok", "note"], str]


class _Walk:
    """The stations, one method each: what is fine is told, what is broken is raised."""

    def __init__(self, gateway: Gateway, device: Device, name: str) -> None:
        self._gateway, self._device, self._name = gateway, device, name
        self._bus = gateway.buses.get(device.bus)
        self._error: BusError | None = None
        self._together = False

    def last_usable(self) -> tuple[float, float] | None:
        """Time and value."""
        recent = self._gateway.live.recent[self._device.name]
        known = [(at, value) for at, value in recent.curve(self._name) if value is not None]
        return known[-1] if known else None

    @property
    def _reading(self) -> Reading | None:
        return self._gateway.live.latest[self._device.name].get(self._name)

    async def supply(self) -> _Told:
        if under_voltage():
            raise _Broken(cause("GUET-101"))
        if self._gateway.running_since_s is None:
            return "note", say(
                "la passerelle ne tourne pas ; lecture directe", "the gateway does not run; read directly"
            )
        minutes = round((self._gateway.clock.now() - self._gateway.running_since_s) / 60)
        lasting = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
        return "ok", say(f"la passerelle tourne depuis {lasting}", f"the gateway has run for {lasting}")

    async def port(self) -> _Told:
        if self._bus is None:
            return "note", say("appareil rejoué : ni port ni bus", "a recorded device: no port and no bus")
        settings = self._gateway.site.buses[self._device.bus]
        if isinstance(settings, Serial | Can) and (found := port_fault(settings.port)):
            raise _Broken(found)
        if isinstance(self._bus, HeardBus):
            await self._listen(self._bus)
            if found := unusable(self._bus, settings):
                raise _Broken(found)
            return "ok", self._bus.ear.manner
        point = self._device.points[self._name]
        if point.write_only:
            raise _Broken(cause("GUET-503", point=f"{self._device.name}/{self._name}"))
        await self._visit(self._bus)
        if isinstance(self._error, LinkError):
            raise _Broken(link_cause(settings, self._error))
        return "ok", _where(settings)

    async def bus(self) -> _Told:
        bus, name = self._bus, self._device.bus
        if isinstance(bus, HeardBus):
            if found := deaf(bus, self._gateway.site.buses[name]):
                raise _Broken(found)
            heard = len(bus.around)
            return "ok", say(f"{heard} émetteurs entendus", f"{heard} senders heard")
        if bus is None:
            return "note", ""
        if self._error is None or isinstance(self._error, Refused):
            return "ok", _traffic(bus)
        if "never silent" in str(self._error):
            raise _Broken(cause("GUET-303", bus=name))
        others = await self._others(bus)
        if any(error is None or isinstance(error, Refused) for error in others):
            return "ok", say("d'autres appareils du bus répondent", "other devices of the bus answer")
        if isinstance(self._error, GarbledAnswer):
            raise _Broken(cause("GUET-302", bus=name))
        if not others:
            raise _Broken(cause("GUET-408", address=self._device.address, device=self._device.name))
        raise _Broken(cause("GUET-301", bus=name))

    async def address(self) -> _Told:
        device, bus = self._device, self._bus
        if isinstance(bus, HeardBus) and _not_heard(bus.health[device.name]):
            raise _Broken(unheard(device, self._gateway.site.buses[device.bus]))
        if isinstance(self._error, GarbledAnswer):
            raise _Broken(cause("GUET-402", address=device.address))
        if isinstance(self._error, NoAnswer):
            raise _Broken(cause("GUET-401", address=device.address, device=device.name))
        return "ok", say(f"{device.address} répond", f"{device.address} answers") if bus else ""

    async def register(self) -> _Told:
        facts = {"device": self._device.name, "point": self._name, "address": self._device.address}
        bus = self._bus
        absent = bus.refusals.get(self._device.name) if isinstance(bus, PolledBus) else None
        if isinstance(self._error, NoSuchPlace) or (absent and self._name in absent.absent and self._error):
            raise _Broken(cause("GUET-501", **facts))
        if self._error is not None:
            raise _Broken(cause("GUET-502", said=str(self._error), **facts))
        if self._together:
            raise _Broken(cause("GUET-505", device=self._device.name))
        return "ok", say("le registre est lu", "the register is read") if bus else ""

    async def value(self) -> _Told:
        device, reading = self._device, self._reading
        point = f"{device.name}/{self._name}"
        if reading is None:
            return "note", say("pas encore de mesure", "no reading yet")
        if reading.value is None:
            if reading.kind is FlawKind.OUT_OF_RANGE:
                raise _Broken(
                    cause("GUET-602", point=point, device=device.name, said=reading.reason.partition(" : ")[0])
                )
            raise _Broken(cause("GUET-601", point=point, device=device.name))
        verdict = examined(self._gateway, device, self._name)
        shown = f"{number(reading.value)} {say_unit(reading.unit)}".rstrip()
        for test in verdict.tests:
            if test.outcome == "bad":
                raise _Broken(cause("GUET-604", point=point, said=test.said))
        if doubt := next((test for test in verdict.tests if test.outcome == "doubt" and test.name == "life"), None):
            if verdict.reads >= 2 * 18:
                raise _Broken(cause("GUET-603", point=point, said=doubt.said))
            return "note", f"{shown} ; {doubt.said}"
        if reading.quality is not Quality.GOOD:
            return "note", f"{shown} ; {reading.said}"
        return "ok", shown

    async def store(self) -> _Told:
        store = self._gateway.store
        free = shutil.disk_usage(store.path.parent).free
        if store.fault:
            raise _Broken(cause("GUET-701", said=store.fault))
        try:
            await store.flush()
        except StoreError as error:
            raise _Broken(cause("GUET-701", said=str(error))) from None
        if said := await asyncio.to_thread(unsound, store.path):
            raise _Broken(cause("GUET-703", said=said))
        if free < LEAST_FREE_BYTES:
            raise _Broken(cause("GUET-702", said=_bytes(free)))
        kept = store.rows("select max(start_s) from summary where device = ?", (self._device.name,))[0][0]
        left = say(f"{_bytes(free)} libres", f"{_bytes(free)} free")
        if (days := Outbox(store).days_until_full()) is not None:
            left += say(
                f", place pour {days:.0f} jours sans plateforme", f", room for {days:.0f} days without platform"
            )
        if kept is None:
            return "ok", left
        minutes = max(0.0, self._gateway.clock.now() - float(kept)) / 60
        return "ok", say(f"{left} ; dernier résumé de cet appareil il y a {number(minutes)} min",
                         f"{left}; last summary of this device {number(minutes)} min ago")  # fmt: skip

    async def platform(self) -> _Told:
        gateway = self._gateway
        if gateway.uplink is None:
            return "note", say("aucune plateforme configurée : tout reste ici",
                               "no platform is configured: everything stays here")  # fmt: skip
        waiting = Outbox(gateway.store).pending_rows()
        if gateway.running_since_s is None:
            return "note", say(f"{waiting} enregistrements attendent", f"{waiting} records wait")
        if not gateway.clock.trusted:
            raise _Broken(cause("GUET-803"))  # what a guess has dated is held back
        if not gateway.uplink.connected:
            said = gateway.uplink.trouble or say("pas encore reliée", "not connected yet")
            raise _Broken(cause("GUET-801", said=said, waiting=waiting))
        since_s = gateway.uplink.last_acknowledged_s or gateway.running_since_s
        silent_s = gateway.clock.now() - since_s
        if waiting and silent_s > CONFIRMED_WITHIN_S:
            raise _Broken(cause("GUET-802", said=f"{number(silent_s / 60)} min", waiting=waiting))
        return "ok", say(f"reliée, {waiting} enregistrements en attente", f"connected, {waiting} records wait")

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _visit(self, bus: PolledBus) -> None:
        """Reads the device as polling does; then, where the point has no value, the point alone."""
        for visit in bus.visits:
            if visit.device.name == self._device.name and self._name in visit.points:
                await bus.visit(visit)
                break
        reading = self._reading
        if reading is not None and reading.value is not None:
            return
        try:
            await bus.read_point(self._device, self._device.points[self._name])
        except BusError as error:
            self._error = error
            return
        known = bus.refusals.get(self._device.name)
        self._together = reading is not None and reading.kind is FlawKind.REFUSED and bool(known and known.cuts)

    async def _others(self, bus: PolledBus) -> list[BusError | None]:
        """What other devices of the bus said last or say now; stops at the first that answers."""
        found: list[BusError | None] = []
        for device in [device for device in bus.devices if device.name != self._device.name][:COMPARED]:
            point = next((point for point in device.points.values() if not point.write_only), None)
            if point is None:
                continue
            try:
                await bus.read_point(device, point)
            except BusError as error:
                found.append(error)
            else:
                found.append(None)
            if found[-1] is None or isinstance(found[-1], Refused):
                break
        return found

    async def _listen(self, bus: HeardBus) -> None:
        """Gives a radio that nobody listens to a while to hear the device."""
        if self._gateway.running_since_s is not None or bus.health[self._device.name].last_answer_s is not None:
            return
        task = asyncio.create_task(bus.run(), name=f"bus {bus.name}")
        try:
            async with asyncio.timeout(LISTEN_S):
                while bus.health[self._device.name].last_answer_s is None and not bus.trouble:
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def unusable(bus: HeardBus, settings: AnyBus) -> Cause | None:
    """The cause of an adapter that cannot be listened with; None where it can."""
    if not bus.unusable:
        return None
    if isinstance(settings, Radio):
        return cause("GUET-205", port=settings.adapter, said=bus.unusable)
    return cause("GUET-206", port=settings.port, said=bus.unusable)


def deaf(bus: HeardBus, settings: AnyBus) -> Cause | None:
    """The cause of an adapter that works and hears nothing of anybody; None where it hears something."""
    if bus.around and not bus.ear.trouble:
        return None
    if isinstance(settings, Can):
        return cause("GUET-307", bus=bus.name, rate=settings.bitrate)
    return cause("GUET-404", bus=bus.name, said=bus.state)


def unheard(device: Device, settings: AnyBus) -> Cause:
    """The cause of a device that is not heard while others are."""
    which = "GUET-403" if isinstance(settings, Radio) else "GUET-409"
    return cause(which, device=device.name, address=device.address, bus=device.bus)


def _not_heard(health: Health) -> bool:
    return health.last_answer_s is None or health.lost_since_s is not None


def port_fault(port: str) -> Cause | None:
    """Why a serial port cannot be opened, as far as its file says; None where it looks usable."""
    if not Path(port).exists():
        there = ", ".join(sorted(str(path) for path in Path("/dev/serial/by-path").glob("*")))
        return cause("GUET-201", port=port, there=there or say("aucun", "none"))
    if not os.access(port, os.R_OK | os.W_OK):
        return cause("GUET-203", port=port)
    return None


def link_cause(bus: AnyBus, error: LinkError) -> Cause:
    """The cause of a link that cannot be used."""
    match bus:
        case Tcp():
            return cause("GUET-204", port=f"{bus.host}:{bus.port}", said=_said(error))
        case Radio():
            return cause("GUET-205", port=bus.adapter, said=_said(error))
    if found := port_fault(bus.port):
        return found
    if "in use by another" in str(error):
        return cause("GUET-202", port=bus.port)
    return cause("GUET-206", port=bus.port, said=_said(error))


def _said(error: BusError) -> str:
    """What a link says, in the language that is spoken."""
    return say(in_french(str(error)) or str(error), str(error))


def say_unit(unit: str) -> str:
    """The unit as people write it."""
    from gateway.unit import UNITS

    return UNITS[unit].shown


def _where(bus: AnyBus) -> str:
    match bus:
        case Serial():
            return f"{bus.port} {bus.line}".rstrip()
        case Can():
            return f"{bus.port} {bus.bitrate}"
        case Tcp():
            return f"{bus.host}:{bus.port}"
        case Radio():
            return bus.adapter


def _traffic(bus: PolledBus) -> str:
    traffic = bus.link.traffic
    return say(f"{traffic.answers} réponses à {traffic.requests} demandes",
               f"{traffic.answers} answers to {traffic.requests} requests")  # fmt: skip


def _bytes(count: int) -> str:
    return say(f"{number(count / 1e9)} Go", f"{number(count / 1e9)} GB") if count >= 1e9 else say(
        f"{count // 1_000_000} Mo", f"{count // 1_000_000} MB")  # fmt: skip


def lines(found: Why) -> Iterator[str]:
    """The answer for people."""
    marks = {"ok": say("bon", "good"), "note": say("à savoir", "note"), "broken": say("ROMPU", "BROKEN"),
             "unseen": say("non vu", "not seen")}  # fmt: skip
    for place, step in enumerate(found.steps, 1):
        yield f"{place} {step_title(step.name):<13} {marks[step.state]:<9} {step.said}".rstrip()
    if found.fine:
        yield say("→ Rien n'est rompu : la valeur est lue, gardée, envoyée.",
                  "→ Nothing is broken: the value is read, kept, sent.")  # fmt: skip
        return
    yield f"→ {found.cause.sentence}."
    yield f"  {found.cause.action} [{found.cause.id}]"


def step_title(name: StepName) -> str:
    """A station's name for people."""
    french, english = {
        "supply": ("alimentation", "supply"), "port": ("port", "port"), "bus": ("bus", "bus"),
        "address": ("adresse", "address"), "register": ("registre", "register"), "value": ("valeur", "value"),
        "store": ("mémoire", "store"), "platform": ("plateforme", "platform"),
    }[name]  # fmt: skip
    return say(french, english)
