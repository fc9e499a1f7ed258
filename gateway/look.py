"""One bus whose devices answer when asked, looked at from end to end: who is there, at which setting, with which profile.

Questions at the bus's own setting go by turns with polling. Another setting needs the port itself: then the other devices
wait, one setting at a time, and it is said for how long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from gateway.cause import Cause, cause
from gateway.codec import Limits, PolledCodec, Procedure, Span
from gateway.codec.dali import QUERIES, QUERY_AREA
from gateway.codec.modbus import Rtu, Tcp
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.language import say
from gateway.link import Link
from gateway.point import PolledPoint, bytes_of
from gateway.poll import PolledBus, run
from gateway.profile import ModbusProfile, PolledProfile
from gateway.progress import Progress
from gateway.proposal import Ask, Fit, Proposal, Tried, known_profiles, proposals
from gateway.site import SPOKEN_ON, Device, Serial
from gateway.why import link_cause, port_fault

if TYPE_CHECKING:
    from gateway.app import Gateway

T = TypeVar("T")
State = Literal["answers", "refuses", "garbled", "silent", "heard"]

LOW = tuple(range(1, 33))
LOW_ELSEWHERE = (1, 2, 3, 4, 5, 10, 11, 20, 100, 247)
"""Where devices mostly come from their makers; asked at other settings where nobody is expected."""
ALL: Mapping[str, Sequence[int]] = {"modbus": range(1, 248), "dali": range(64)}
UNLIKELY = (246, 245, 247)
"""Unit ids that nobody sets: where all of them answer, the device answers to any."""
PATIENCE_S, SLOW_PATIENCE_S = 0.15, 1.0
COMMON_LINES = ("9600 8N1", "9600 8E1", "19200 8E1", "19200 8N1", "38400 8N1", "115200 8N1", "4800 8N1", "2400 8E1")
TRIES = 2
LISTEN_S = 20.0
"""Usual time to listen to a radio."""
MOST_PROPOSALS = 3


@dataclass(frozen=True, slots=True)
class ScanWish:
    """bus: empty for all of the site. addresses: only these; none given: the likely ones. every: all that there can be.
    lines: settings of a serial line to try beside the usual ones. slow: give each device a second. seconds: listening to a
    radio."""

    bus: str = ""
    addresses: tuple[int, ...] = ()
    every: bool = False
    lines: tuple[str, ...] = ()
    slow: bool = False
    seconds: float = LISTEN_S


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody at an address. line: the setting at which they answer, where there is one. expected: the device of the site
    that belongs there; fits: whether it is one (None: nobody is expected). evidence: the bytes, or the refusal."""

    bus: str
    address: int | str
    line: str
    state: State
    expected: str
    fits: bool | None
    identity: str = ""
    proposals: tuple[Proposal, ...] = ()
    evidence: str = ""
    strength_dbm: int | None = None
    kind: Literal["found"] = "found"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong on a bus, by its cause; device: of the site, where it is about one."""

    bus: str
    device: str
    cause: Cause
    kind: Literal["finding"] = "finding"


@dataclass(frozen=True, slots=True)
class Account:
    """The scan of one bus in numbers. suspended_s: how long its other devices had to wait."""

    bus: str
    protocol: str
    line: str
    expected: int
    found: int
    requests: int
    seconds: float
    suspended_s: float
    polling: bool
    said: str = ""
    kind: Literal["account"] = "account"


Row = Progress | Found | Finding | Account


class Look:
    """One bus whose devices answer when asked."""

    def __init__(self, gateway: Gateway, bus: PolledBus, wish: ScanWish) -> None:
        self._gateway, self._bus, self._wish = gateway, bus, wish
        self._settings = gateway.site.buses[bus.name]
        self._line = self._settings.line if isinstance(self._settings, Serial) else ""
        self._speaks = SPOKEN_ON[self._settings.protocol][0]
        self._expected = {device.number: device for device in bus.devices}
        self._found: dict[int, Found] = {}
        self._elsewhere: dict[int, Found] = {}  # at another setting of the line
        self._fits: dict[tuple[int, str], Fit] = {}
        self._any = False
        self._tried: list[str] = []  # other settings
        self._requests = 0
        self._suspended_s = 0.0

    async def rows(self) -> AsyncGenerator[Row, None]:
        loop = asyncio.get_running_loop()
        began_s, said = loop.time(), ""
        if isinstance(self._settings, Serial) and (broken := port_fault(self._settings.port)):
            yield Finding(self._bus.name, "", broken)
            return
        try:
            async for row in self._at_own_setting():
                yield row
            async for row in self._once_more():
                yield row
            lost = self._missing() or (not self._expected and not self._found)
            if lost and self._speaks == "modbus" and isinstance(self._settings, Serial):
                async for row in self._at_other_settings():
                    yield row
            if self._any:
                said = say("répond à toute adresse : un seul appareil, qui ne vérifie pas la sienne",
                           "answers to any address: one device, which does not check its own")  # fmt: skip
        except LinkError as error:
            yield Finding(self._bus.name, "", link_cause(self._settings, error))
        else:
            for finding in self._findings():
                yield finding
        here = [one for one in self._found.values() if one.state in ("answers", "refuses")]
        yield Account(
            self._bus.name, self._settings.protocol, self._line, len(self._expected), len(here), self._requests,
            round(loop.time() - began_s, 1), round(self._suspended_s, 1), self._gateway.running_since_s is not None, said,
        )  # fmt: skip

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, procedure: Procedure[T], address: int) -> T:
        """By turns with polling; who is expected there gets the pauses that it needs."""
        self._requests += 1
        device = self._expected.get(address)
        if device is not None:
            return await self._bus.ask(device, procedure)
        async with self._bus.aside() as link:
            return await run(link, procedure)

    def _asking(self, address: int) -> Ask:
        return lambda procedure: self._ask(procedure, address)

    async def _at_own_setting(self) -> AsyncGenerator[Row, None]:
        """The addresses in order of likelihood; ends early once everybody who is expected is there."""
        wish, codec = self._wish, self._bus.codec
        first = list(wish.addresses or self._expected)
        if not wish.addresses and isinstance(codec, Tcp):
            self._any = await self._answers_to_any()
        more: list[int] = []
        if wish.every:
            more = [address for address in ALL.get(self._speaks, ()) if address not in first]
        elif not wish.addresses and not self._any:
            low = ALL["dali"] if self._speaks == "dali" else LOW if self._speaks == "modbus" else ()
            more = [address for address in low if address not in first]
        addresses = [*first, *more]
        for done, address in enumerate(addresses):
            if done >= len(first) and not wish.every and self._expected and not self._missing():
                break
            yield self._progress(done, len(addresses), self._line, address)
            known = address in self._expected or bool(wish.addresses)
            state, evidence = await self._probe(self._asking(address), codec, address, TRIES if known else 1)
            if state == "silent":
                continue
            async for row in self._met(address, state, evidence):
                yield row

    async def _once_more(self) -> AsyncGenerator[Row, None]:
        """Asks those who are missing again, with patience: who is only slow must not be looked for at another speed. Where
        nobody at all has answered one is enough."""
        missing = self._missing()
        for done, address in enumerate(missing):
            if done and not self._found:
                return
            yield self._progress(done, len(missing), self._line, address)
            state, evidence = await self._probe(self._asking(address), self._bus.codec, address, 1, SLOW_PATIENCE_S)
            if state in ("answers", "refuses"):
                async for row in self._met(address, state, evidence):
                    yield row

    async def _met(self, address: int, state: State, evidence: str) -> AsyncGenerator[Row, None]:
        """Somebody is there: is it who is expected, and if not, who could it be."""
        device = self._expected.get(address)
        shown = device.address if device else address
        name = device.name if device else ""
        found = Found(self._bus.name, shown, self._line, state, name, None, evidence=evidence)
        if state in ("answers", "refuses"):
            fits = await self._fit(address, device) if device else None
            found = replace(found, fits=fits.fits if fits else None)
            if fits and fits.garbled and not fits.fits:
                found = replace(found, state="garbled")  # it answers now and then: noise, or two that share the address
            elif not found.fits:
                said = say(f"adresse {address} : essai des profils", f"address {address}: trying profiles")
                yield Progress(0, 0, said, bus=self._bus.name)
                identity = await self._identity(address)
                candidates = await self._candidates()
                tried = Tried(self._asking(address), self._bus.codec, address)
                best = [one async for one in proposals(tried, candidates, identity, MOST_PROPOSALS)]
                found = replace(found, identity=identity, proposals=tuple(best))
                for other in self._expected.values():
                    if not device or other.name != device.name:
                        await self._fit(address, other, tried)
        self._found[address] = found
        yield found

    async def _fit(self, address: int, device: Device, tried: Tried | None = None) -> Fit | None:
        """How the profile of a device of the site goes with who is at an address."""
        profile = device.profile
        assert isinstance(profile, PolledProfile)
        key = (address, device.profile_name)
        if key not in self._fits:
            try:
                self._fits[key] = await (tried or Tried(self._asking(address), self._bus.codec, address)).fit(
                    device.profile_name, profile
                )
            except (NoAnswer, GarbledAnswer):
                return None
        return self._fits[key]

    async def _probe(
        self, ask: Ask, codec: PolledCodec, address: int, tries: int = 1, patience_s: float = 0.0
    ) -> tuple[State, str]:
        """Whether somebody is at an address, and the evidence. Garbled only where it was so each time. Raises LinkError."""
        state: State = "silent"
        evidence = ""
        for _ in range(tries):
            try:
                await ask(self._question(codec, address, patience_s))
            except Refused as error:
                return "refuses", str(error)
            except GarbledAnswer as error:
                state, evidence = "garbled", error.raw[:16].hex(" ")
            except NoAnswer as error:
                if error.raw and not isinstance(codec, Tcp):  # it came too late, but it came
                    return "answers", error.raw[:16].hex(" ")
            else:
                return "answers", ""
        return state, evidence

    def _question(self, codec: PolledCodec, address: int, patience_s: float = 0.0) -> Procedure[bytes]:
        """The shortest question that a device must answer somehow: of one that is expected, its own first point.
        patience_s: more than usual."""
        patience_s = max(patience_s, SLOW_PATIENCE_S if self._wish.slow else PATIENCE_S)
        device = self._expected.get(address)
        point = next((point for point in device.points.values() if not point.write_only), None) if device else None
        if device is not None and isinstance(device.profile, PolledProfile) and isinstance(point, PolledPoint):
            limits = device.profile.limits()
            limits = replace(limits, patience_s=max(limits.patience_s, patience_s))
            (span,) = codec.spans([(point.place, bytes_of(point))], limits)
            return codec.read(address, span, limits)
        if self._speaks == "dali":
            return codec.read(address, Span(QUERY_AREA, QUERIES["status"].code, 1, {}), Limits(patience_s=0.2))
        return codec.read(address, Span(3, 0, 1, {}), Limits(patience_s=patience_s))

    async def _answers_to_any(self) -> bool:
        for address in [address for address in UNLIKELY if address not in self._expected][:2]:
            try:
                await self._ask(self._question(self._bus.codec, address), address)
            except Refused:
                continue
            except (NoAnswer, GarbledAnswer):
                return False
        return True

    async def _identity(self, address: int) -> str:
        """What a Modbus device says of itself, where it does."""
        codec = self._bus.codec
        if not isinstance(codec, Rtu | Tcp):
            return ""
        try:
            told = await self._ask(codec.identify(address, Limits(patience_s=0.5)), address)
        except LinkError:
            raise
        except BusError:
            return ""
        return " ".join(told[number] for number in sorted(told))[:120]

    async def _candidates(self) -> dict[str, PolledProfile]:
        """Profiles of this protocol, those of the site first."""
        from gateway.app import home

        known = await asyncio.to_thread(known_profiles, home() / "device_profiles")
        own = {device.profile_name: device.profile for device in self._expected.values()}
        fitting = {name: one for name, one in (own | dict(known)).items() if one.protocol == self._speaks}
        return {name: one for name, one in fitting.items() if isinstance(one, PolledProfile)}

    # -- other settings of a line --------------------------------------------------------------------------------------

    async def _at_other_settings(self) -> AsyncGenerator[Row, None]:
        """Asks those who are missing at other speeds and parities; the first setting at which somebody answers ends it for
        them."""
        wanted = self._missing() or list(self._wish.addresses or LOW_ELSEWHERE)
        lines = self._other_lines()
        for done, line in enumerate(lines):
            wanted = [address for address in wanted if address not in self._elsewhere]
            if not wanted:
                return
            yield self._progress(done, len(lines), line, wanted[0])
            self._tried.append(line)
            async with self._set_to(line) as ask:
                for address in wanted:
                    state, evidence = await self._probe(ask, Rtu(), address)
                    if state in ("answers", "refuses"):
                        name = self._expected[address].name if address in self._expected else ""
                        self._elsewhere[address] = Found(
                            self._bus.name, address, line, state, name, None, evidence=evidence
                        )
            for address in wanted:
                if address in self._elsewhere:
                    yield self._elsewhere[address]
            if self._elsewhere and not self._expected:
                return

    def _other_lines(self) -> list[str]:
        profiles = [device.profile for device in self._expected.values()]
        own = [
            profile.modbus.line for profile in profiles if isinstance(profile, ModbusProfile) and profile.modbus.line
        ]
        return [line for line in dict.fromkeys((*self._wish.lines, *own, *COMMON_LINES)) if line != self._line]

    @asynccontextmanager
    async def _set_to(self, line: str) -> AsyncIterator[Ask]:
        """The port at another setting, while everybody else waits."""
        from gateway.link.serial import SerialLink

        loop = asyncio.get_running_loop()
        async with self._bus.aside() as link:
            began_s = loop.time()
            await link.close()
            other: Link = SerialLink(cast("Serial", self._settings).port, line)

            async def ask(procedure: Procedure[bytes]) -> bytes:
                self._requests += 1
                return await run(other, procedure)

            try:
                yield ask
            finally:
                await other.close()
                self._suspended_s += loop.time() - began_s

    # -- what follows from it ------------------------------------------------------------------------------------------

    def _missing(self) -> list[int]:
        """Expected addresses at which nobody answers as they should."""
        asked = self._wish.addresses or tuple(self._expected)
        states = {address: one.state for address, one in self._found.items()}
        return [
            address
            for address in self._expected
            if address in asked and states.get(address, "silent") in ("silent", "garbled")
        ]

    def _findings(self) -> Iterator[Finding]:
        bus, line = self._bus.name, self._line
        asked = [address for address in self._expected if not self._wish.addresses or address in self._wish.addresses]
        good = [one for one in self._found.values() if one.state in ("answers", "refuses")]
        missing = self._missing()
        if (missing or not self._expected) and not good:
            yield from self._nobody(missing)
            return
        explained: set[int] = set()
        for address in asked:
            device = self._expected[address]
            one = self._found.get(address)
            if one is not None and one.fits:
                continue
            where = {"device": device.name, "address": device.address}
            if address in self._elsewhere:
                yield Finding(
                    bus,
                    device.name,
                    cause("GUET-305", bus=bus, line=line, found=self._elsewhere[address].line, **where),
                )
            elif one is not None and one.state == "garbled":
                yield Finding(bus, device.name, cause("GUET-402", **where))
            elif one is None:
                moved = [other for other in good if not other.expected and self._would_fit(int(other.address), device)]
                if len(moved) == 1:
                    explained.add(int(moved[0].address))
                    yield Finding(bus, device.name, cause("GUET-405", found=moved[0].address, **where))
                else:
                    yield Finding(bus, device.name, cause("GUET-401", **where))
            else:
                yield from self._misfit(device, one, explained)
        for one in good:
            if self._expected and not one.expected and int(one.address) not in explained:
                yield Finding(bus, "", cause("GUET-407", address=one.address))

    def _misfit(self, device: Device, one: Found, explained: set[int]) -> Iterator[Finding]:
        """Somebody else than expected answers at a device's address."""
        address = device.number
        if address in explained:
            return
        for other in self._expected.values():
            there = other.number
            swapped = (
                other.name != device.name
                and (found := self._found.get(there)) is not None
                and not found.fits
                and self._would_fit(address, other)
                and self._would_fit(there, device)
            )
            if swapped:
                explained.add(there)
                said = cause(
                    "GUET-406", device=device.name, address=device.address, other=other.name, found=other.address
                )
                yield Finding(self._bus.name, device.name, said)
                return
        facts = {"device": device.name, "address": device.address, "profile": device.profile_name}
        if one.proposals:
            yield Finding(self._bus.name, device.name, cause("GUET-504", found=one.proposals[0].profile, **facts))
        else:
            yield Finding(self._bus.name, device.name, cause("GUET-506", **facts))

    def _nobody(self, missing: Sequence[int]) -> Iterator[Finding]:
        """Nobody answers as they should at the bus's own setting."""
        bus, lines = self._bus.name, {one.line for one in self._elsewhere.values()}
        if len(lines) == 1:
            yield Finding(bus, "", cause("GUET-304", bus=bus, line=self._line, found=lines.pop()))
        elif any(one.state == "garbled" for one in self._found.values()):
            if len(self._expected) == 1:
                device = self._expected[missing[0]]
                yield Finding(bus, device.name, cause("GUET-402", address=device.address))
            else:
                yield Finding(bus, "", cause("GUET-302", bus=bus))
        elif len(self._expected) == 1:
            device = self._expected[missing[0]]
            yield Finding(bus, device.name, cause("GUET-408", address=device.address, device=device.name))
        else:
            lines_tried = ", ".join(dict.fromkeys((self._line, *self._tried)))
            yield Finding(
                bus, "", cause("GUET-306", bus=bus, lines=lines_tried) if lines_tried else cause("GUET-301", bus=bus)
            )

    def _would_fit(self, address: int, device: Device) -> bool:
        fit = self._fits.get((address, device.profile_name))
        return fit is not None and fit.fits

    def _progress(self, done: int, of: int, line: str, address: int) -> Progress:
        where = f"{self._bus.name} {line}".rstrip()
        said = say(f"{where}, adresse {address}", f"{where}, address {address}")
        return Progress(done, of, said, bus=self._bus.name)
