"""`guet scan`: what is on the site's buses: who answers where, whether it is who is expected there, and if not, why not.

Likely first: the addresses and the setting of the site, then low addresses until the expected number is found, then, for
those still missing, other settings of the line; every address only where it is asked for. Any answer means present, an
exception answer too. Silence is told from garbage: nothing at all is wiring, supply or address; bytes that are no answer
are speed, parity or two devices on one address. How one bus is looked at: `gateway.look`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.alert import iso
from gateway.check import number
from gateway.codec import Broadcast, HeardCodec
from gateway.codec.canopen_lift import PART as CAN_PART
from gateway.errors import GarbledAnswer, WishError
from gateway.hear import HeardBus
from gateway.language import say
from gateway.line import PATTERN as LINE
from gateway.look import Account, Finding, Found, Look, Row, ScanWish
from gateway.point import HeardPoint, decoder_of
from gateway.progress import Progress
from gateway.proposal import Proposal, Value, known_profiles
from gateway.site import Can, Device
from gateway.unit import UNITS
from gateway.why import deaf, port_fault, unheard, unusable

if TYPE_CHECKING:
    from gateway.app import Gateway


HIGHEST_ADDRESS = 250


def addresses_of(text: str) -> tuple[int, ...]:
    """The addresses that a person names: `12`, `1-32`, `3, 7, 20-25`; none where there is nothing. Raises WishError."""
    found: list[int] = []
    for part in filter(None, re.split(r"[,;\s]+", re.sub(r"\s*[-–]\s*", "-", text.strip()))):
        low, dash, high = part.partition("-")
        ends = [int(end) for end in (low, high if dash else low) if re.fullmatch(r"[0-9]{1,3}", end)]
        if len(ends) != 2 or not ends[0] <= ends[1] <= HIGHEST_ADDRESS:
            raise WishError(say(f"adresse {part[:20]!r} : attendu 0 à {HIGHEST_ADDRESS}, comme 12 ou 1-32",
                                f"address {part[:20]!r}: expected 0 to {HIGHEST_ADDRESS}, such as 12 or 1-32"))  # fmt: skip
        found += range(ends[0], ends[1] + 1)
    return tuple(dict.fromkeys(found))


async def scan(gateway: Gateway, wish: ScanWish) -> AsyncGenerator[Row, None]:
    """Looks on one bus after the other; each thing found is told at once. Raises WishError for a bus that there is not."""
    buses = gateway.buses
    if wish.bus and wish.bus not in buses:
        known = ", ".join(buses)
        raise WishError(say(f"--bus {wish.bus!r} : connus : {known}", f"--bus {wish.bus!r}: known: {known}"))
    for address in wish.addresses:
        if not 0 <= address <= HIGHEST_ADDRESS:
            raise WishError(say(f"--address {address} : attendu 0 à {HIGHEST_ADDRESS}",
                                f"--address {address}: expected 0 to {HIGHEST_ADDRESS}"))  # fmt: skip
    for line in wish.lines:
        if not re.fullmatch(LINE, line):
            raise WishError(say(f"--line {line!r} : attendu « 9600 8N1 »", f"--line {line!r}: expected '9600 8N1'"))
    if not 0 < wish.seconds <= 600:
        raise WishError(
            say(f"--for {wish.seconds:g} : attendu 1 à 600 s", f"--for {wish.seconds:g}: expected 1 to 600 s")
        )
    for name in [wish.bus] if wish.bus else list(buses):
        bus = buses[name]
        rows = _hear(gateway, bus, wish) if isinstance(bus, HeardBus) else Look(gateway, bus, wish).rows()
        seen: list[Row] = []
        async for row in rows:
            if not isinstance(row, Progress):
                seen.append(row)
            yield row
        await _remember(gateway, name, seen)


async def _remember(gateway: Gateway, bus: str, rows: Sequence[Row]) -> None:
    """Keeps what a whole scan of a bus found, for the report."""
    account = next((row for row in rows if isinstance(row, Account)), None)
    found = [[str(row.address), row.expected, row.state, row.fits] for row in rows if isinstance(row, Found)]
    causes = [[row.cause.id, row.cause.sentence] for row in rows if isinstance(row, Finding)]
    body = {
        "bus": bus, "at": iso(gateway.clock.now()), "found": found, "causes": causes,
        "expected": account.expected if account else None, "answering": account.found if account else None,
    }  # fmt: skip
    await gateway.store.decide({f"scan/{bus}": body})


async def _hear(gateway: Gateway, bus: HeardBus, wish: ScanWish) -> AsyncGenerator[Row, None]:
    """Listens for a while: whoever is heard is there."""
    settings = gateway.site.buses[bus.name]
    if isinstance(settings, Can) and (broken := port_fault(settings.port)):
        yield Finding(bus.name, "", broken)
        return
    loop = asyncio.get_running_loop()
    began_s, told = loop.time(), set[int | str]()
    task = None if gateway.running_since_s is not None else asyncio.create_task(bus.run(), name=f"bus {bus.name}")
    try:
        while (left_s := began_s + wish.seconds - loop.time()) > 0:
            for heard in list(bus.around.values()):
                found = _heard(bus, heard)
                if found is not None and found.address not in told:
                    told.add(found.address)
                    yield found
            if bus.unusable or (not wish.every and not _missing(bus)):
                break
            done, count = int(wish.seconds - left_s), len(told)
            said = say(f"{bus.name} : à l'écoute, {count} entendus", f"{bus.name}: listening, {count} heard")
            yield Progress(done, int(wish.seconds), said, bus=bus.name)
            await asyncio.sleep(min(0.5, left_s))
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    missing = _missing(bus)
    if found_cause := unusable(bus, settings) or deaf(bus, settings):
        yield Finding(bus.name, "", found_cause)
    else:
        for device in missing:
            yield Finding(bus.name, device.name, unheard(device, settings))
    seconds, polling = round(loop.time() - began_s, 1), gateway.running_since_s is not None
    expected = len(bus.health)
    yield Account(
        bus.name, settings.protocol, "", expected, expected - len(missing), 0, seconds, 0.0, polling, bus.state
    )


def _missing(bus: HeardBus) -> list[Device]:
    """The devices of the site that were not heard."""
    devices = {speaker.device.name: speaker.device for speaker in bus.speakers.values()}
    return [device for name, device in devices.items() if bus.health[name].last_answer_s is None]


def _heard(bus: HeardBus, heard: Broadcast) -> Found | None:
    """A sender, with the profiles that its words fit; None for what names no device."""
    speaker = bus.speakers.get(heard.sender)
    if speaker is not None:
        device = speaker.device
        fits = bus.health[device.name].last_answer_s is not None
        return Found(bus.name, device.address, "", "heard", device.name, fits, strength_dbm=heard.strength_dbm)
    evidence = ", ".join(sorted(heard.parts))
    if CAN_PART in heard.parts:  # CANopen: the last seven bits of an identifier are the node's number
        node = int(heard.sender, 16) & 0x7F
        known = node in (speaker.device.number for speaker in bus.speakers.values())
        return None if known or not node else Found(bus.name, node, "", "heard", "", None, evidence=heard.sender)
    proposed = tuple(_spoken(heard))
    return Found(bus.name, heard.sender, "", "heard", "", None, "", proposed, evidence, heard.strength_dbm)


def _spoken(heard: Broadcast) -> Iterator[Proposal]:
    """The profiles of beacons that say no more than this sender does, those with most points first."""
    from gateway.app import PROTOCOLS, home

    codecs = PROTOCOLS["ble"].codec
    assert isinstance(codecs, Mapping)
    best: list[Proposal] = []
    for name, profile in known_profiles(home() / "device_profiles").items():
        codec = _codec(profile.protocol)
        try:
            said = codec.values(heard) if codec else None
        except GarbledAnswer:
            continue
        points = [point for point in profile.point if isinstance(point, HeardPoint)]
        if not said or not all(point.place in said for point in points):
            continue
        values = tuple(Value(point.name, point.title or point.name, decoder_of(point)(said[point.place]), point.unit)
                       for point in points[:4])  # fmt: skip
        best.append(Proposal(name, f"{profile.maker} {profile.model}", float(len(points)), False, values))
    yield from sorted(best, key=lambda one: -one.weight)[:3]


def _codec(protocol: str) -> HeardCodec | None:
    from gateway.codec.bthome import Bthome
    from gateway.codec.ruuvi import Ruuvi

    match protocol:
        case "bthome":
            return Bthome(b"")
        case "ruuvi":
            return Ruuvi()
    return None


# -- words -------------------------------------------------------------------------------------------------------------


def lines(row: Row) -> Iterator[str]:
    """One row for people; nothing for progress."""
    match row:
        case Found():
            yield from _found_lines(row)
        case Finding():
            yield f"→ {row.cause.sentence}."
            yield f"  {row.cause.action} [{row.cause.id}]"
        case Account():
            yield account_line(row)


def heading() -> str:
    """Above the table of what is found."""
    return (f"{say('bus', 'bus'):<12} {say('adr', 'addr'):>17}  {say('réponse', 'answer'):<10} "
            f"{say('attendu', 'expected'):<22} {say('état', 'state')}")  # fmt: skip


def answer_words(row: Found) -> str:
    """Whether it answered, in a word."""
    return {
        "answers": say("oui", "yes"), "refuses": say("oui (exc)", "yes (exc)"), "garbled": say("brouillé", "garbled"),
        "heard": say("entendu", "heard"), "silent": say("non", "no"),
    }[row.state]  # fmt: skip


def _found_lines(row: Found) -> Iterator[str]:
    yield f"{row.bus:<12} {row.address!s:>17}  {answer_words(row):<10} {row.expected or '—':<22} {state_words(row)}"
    if row.identity:
        yield f"    {say('se nomme', 'calls itself')} : {row.identity}"
    for one in row.proposals:
        sure = say(" (se nomme ainsi)", " (calls itself so)") if one.sure else ""
        values = ", ".join(f"{value.title} {shown(value)}" for value in one.values)
        yield f"    {one.profile}{sure} : {values}"


def state_words(row: Found) -> str:
    """Whether it is who is expected, in a few words."""
    if row.state == "garbled":
        return say("deux appareils ? vitesse ? parité ?", "two devices? speed? parity?")
    signal = "" if row.strength_dbm is None else f" {row.strength_dbm} dBm"
    if row.state == "heard" and row.expected:
        unread = say("entendu, pas compris", "heard, not understood")
        return (say("attendu ✔", "expected ✔") if row.fits else unread) + signal
    if signal:
        return signal.strip()
    match row.fits:
        case True:
            return say("attendu ✔", "expected ✔")
        case False:
            return say("ne répond pas comme son profil", "does not answer as its profile says")
    if row.expected:
        return say(f"répond en {row.line}", f"answers at {row.line}")
    return say(
        "inattendu : à choisir" if row.proposals else "inattendu",
        "unexpected: choose" if row.proposals else "unexpected",
    )


def shown(value: Value) -> str:
    """A value that a profile would show now."""
    return "—" if value.value is None else f"{number(value.value)} {UNITS[value.unit].shown}".rstrip()


def account_line(row: Account) -> str:
    """The scan of a bus in a sentence."""
    waited = ""
    if row.suspended_s and row.polling:
        waited = say(f" Lecture des autres appareils suspendue {number(row.suspended_s)} s.",
                     f" Reading of the other devices suspended for {number(row.suspended_s)} s.")  # fmt: skip
    elif row.polling:
        waited = say(" La lecture a continué pendant ce temps.", " Reading went on meanwhile.")
    said = f" {row.said[:1].upper()}{row.said[1:]}." if row.said else ""
    where = f"{row.bus} ({f'{row.protocol} {row.line}'.rstrip()})"
    return say(f"{where} : attendus {row.expected}, trouvés {row.found}, {number(row.seconds)} s.{waited}{said}",
               f"{where}: expected {row.expected}, found {row.found}, {number(row.seconds)} s.{waited}{said}")  # fmt: skip
