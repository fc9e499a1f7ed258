"""Other hardware in the same role: the name, the history and the thresholds stay; what was learnt of the old one does not.

The old serial number is kept, what the device was found to refuse is forgotten, the watches on it learn again from what
comes from now on, and the change stands on the curve (`changes`). The site file only changes where address or profile do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.alert import iso
from gateway.app import home
from gateway.errors import BusError, ProfileError, WishError
from gateway.fault_words import told
from gateway.language import say, speaks_english, words_given
from gateway.poll import PolledBus, run
from gateway.profile import PolledProfile, load_profile
from gateway.proposal import Tried
from gateway.store import Store

if TYPE_CHECKING:
    from gateway.app import Gateway

MOST_KEPT = 50
MAX_SERIAL = 64


@dataclass(frozen=True, slots=True)
class ReplaceWish:
    """serial: of the new hardware; old_serial: of the old, where nobody wrote it down when it came. address, profile: empty
    where they stay. anyway: although the new one does not answer yet."""

    device: str
    serial: str = ""
    old_serial: str = ""
    address: str = ""
    profile: str = ""
    reason: str = ""
    by: str = ""
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class Hardware:
    """What stood, or stands, in a role. until_s: None while it stands."""

    serial: str
    profile: str
    address: str
    since_s: float | None
    until_s: float | None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was done. answers: whether the new hardware answers as its profile says (None: it only speaks unasked).
    relearning: the watches that begin again."""

    device: str
    old: Hardware
    new: Hardware
    answers: bool | None
    relearning: tuple[str, ...]
    changes_file: bool


async def replace(gateway: Gateway, wish: ReplaceWish) -> AsyncGenerator[Replaced, None]:
    """Changes the hardware of a role. Raises WishError where it cannot be; nothing is changed then."""
    device = gateway.site.devices.get(wish.device)
    if device is None:
        known = ", ".join(gateway.site.devices)
        raise WishError(say(f"pas d'appareil {wish.device!r} sur ce site ; connus : {known}",
                            f"there is no device {wish.device!r} on this site; known: {known}"))  # fmt: skip
    by, reason = words_given("--by", wish.by, 200), words_given("--reason", wish.reason)
    serial = words_given("--serial", wish.serial, MAX_SERIAL)
    old_serial = words_given("--old-serial", wish.old_serial, MAX_SERIAL)
    answers = await _answers(gateway, wish)
    if answers is False and not wish.anyway:
        raise WishError(say("le nouvel appareil ne répond pas comme son profil : guet scan, ou ajoutez --anyway",
                            "the new device does not answer as its profile says: guet scan, or add --anyway"))  # fmt: skip
    now_s = gateway.clock.now()
    past = hardware(gateway.store, device.name)
    before = past[-1] if past else Hardware("", device.profile_name, str(device.address), None, None)
    old = Hardware(old_serial or before.serial, before.profile, before.address, before.since_s, now_s,
                   by, reason)  # fmt: skip
    new = Hardware(serial, wish.profile or device.profile_name, wish.address or str(device.address), now_s, None, by)
    kept = [*past[:-1], old, new][-MOST_KEPT:]
    audit = {"what": "device replaced", "device": device.name, "old_serial": old.serial, "serial": new.serial,
             "reason": reason, "by": by}  # fmt: skip
    states: dict[str, Any] = {f"hardware/{device.name}": [asdict(one) for one in kept]}
    relearning = await gateway.learn_again(device.name, now_s, states, [(now_s, audit)])
    changes_file = (new.profile, new.address) != (device.profile_name, str(device.address))
    yield Replaced(device.name, old, new, answers, tuple(relearning), changes_file)


def file_keys(wish: ReplaceWish) -> dict[str, str | int]:
    """What changes of the device in the site file."""
    keys: dict[str, str | int] = {"profile": wish.profile} if wish.profile else {}
    if wish.address:
        keys["address"] = int(wish.address) if wish.address.isdecimal() else wish.address
    return keys


def hardware(store: Store, device: str) -> list[Hardware]:
    """What stood in a role, oldest first; the last stands now. Empty where nothing was ever replaced."""
    return [Hardware(**one) for one in store.state(f"hardware/{device}") or []]


def changes(store: Store, device: str) -> list[tuple[float, str]]:
    """When other hardware came, UTC seconds, and in words: to mark on a curve."""
    marks = []
    for one in hardware(store, device)[1:]:
        if one.since_s is not None:
            serial = say(f" n° {one.serial}", f" no. {one.serial}") if one.serial else ""
            marks.append((one.since_s, say(f"appareil remplacé{serial}", f"device replaced{serial}")))
    return marks


async def _answers(gateway: Gateway, wish: ReplaceWish) -> bool | None:
    """Whether who is at the address now answers as the profile says."""
    device = gateway.site.devices[wish.device]
    bus = gateway.buses.get(device.bus)
    try:
        profile = load_profile(home() / "device_profiles", wish.profile) if wish.profile else device.profile
    except ProfileError as error:
        raise WishError("\n".join(told(error.faults, speaks_english()))) from None
    if profile.protocol != (spoken := device.profile.protocol):
        raise WishError(say(f"le profil {wish.profile!r} parle {profile.protocol}, le bus {spoken}",
                            f"the profile {wish.profile!r} speaks {profile.protocol}, the bus {spoken}"))  # fmt: skip
    if not isinstance(bus, PolledBus) or not isinstance(profile, PolledProfile):
        return None
    address = wish.address or str(device.address)
    if not address.isdecimal() or not 0 <= int(address) <= 250:
        if device.profile.protocol == "mbus":
            return None
        raise WishError(say(f"--address {address!r} : attendu un nombre de 0 à 250",
                            f"--address {address!r}: expected a number from 0 to 250"))  # fmt: skip
    other = next((one.name for one in bus.devices if str(one.address) == address and one.name != device.name), "")
    if other:
        raise WishError(say(f"--address {address} : déjà prise par {other}", f"--address {address}: taken by {other}"))

    async def ask(procedure: Any) -> bytes:
        async with bus.aside() as link:
            return await run(link, procedure)

    try:
        return (await Tried(ask, bus.codec, int(address)).fit(wish.profile or device.profile_name, profile)).fits
    except BusError:
        return False


def lines(done: Replaced) -> Iterator[str]:
    """What was done, for people."""
    old, new = done.old.serial or "—", done.new.serial or "—"
    yield say(f"{done.device} : n° {old} remplacé par n° {new} à {iso(done.new.since_s or 0)}",
              f"{done.device}: no. {old} replaced by no. {new} at {iso(done.new.since_s or 0)}")  # fmt: skip
    yield say("  nom, historique et seuils gardés ; le changement est marqué sur la courbe",
              "  name, history and thresholds are kept; the change is marked on the curve")  # fmt: skip
    if done.answers is not None:
        yield (
            say("  le nouvel appareil répond comme son profil", "  the new device answers as its profile says")
            if done.answers
            else say("  le nouvel appareil ne répond pas encore", "  the new device does not answer yet")
        )
    if done.relearning:
        names = ", ".join(done.relearning)
        yield say(f"  apprennent de nouveau : {names}", f"  learning again: {names}")
