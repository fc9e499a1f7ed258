"""The settings: the text of the site file that a gateway runs, looked at, changed on trial, kept or gone back from.

A changed text is checked whole, put in place, and the gateway begins anew with it in the same process. Within a limit all
must work again that worked before (devices that gave values, the buses, the store, the page), and then somebody must say
that it stays: else the text before comes back by itself. A power cut, a crash or a stop during the trial goes back, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.app import home, site_of
from gateway.disk import unsound
from gateway.errors import GuetError, SiteError, WishError
from gateway.language import say, words_given
from gateway.poll import PolledBus
from gateway.site import digest
from gateway.site_file import (
    InPlace,
    Trial,
    Undone,
    Version,
    checked,
    go_back,
    history_of,
    in_place,
    put_on_trial,
    read_text,
    versions,
)
from gateway.site_file import keep as kept
from gateway.site_trial import PROCESS, SiteFile, Worked, announce

if TYPE_CHECKING:
    from gateway.app import Gateway

log = logging.getLogger(__name__)

HEALTHY_WITHIN_S, KEEP_WITHIN_S = 120.0, 600.0
LEAST_S, LONGEST_S = 1.0, 86_400.0
LOOK_EVERY_S = 1.0
TOLD_WITHIN_S = 0.5
"""Who asked for the change is answered before the gateway begins anew."""
PAGE_WITHIN_S = 10.0
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class SettingsWish:
    """Nothing is wished but to see."""


@dataclass(frozen=True, slots=True)
class PutWish:
    """base: `digest` of the text that the person changed; another one may have come in place since."""

    text: str
    base: str
    by: str = ""
    healthy_within_s: float = HEALTHY_WITHIN_S
    keep_within_s: float = KEEP_WITHIN_S


@dataclass(frozen=True, slots=True)
class KeepWish:
    """anyway: although not all works again."""

    by: str = ""
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class BackWish:
    """version: its name; empty: the one before."""

    version: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class OnTrial:
    """begun: whether the gateway runs it already. healthy: all works again that must; lacking: what does not, in words.
    left_s: until it goes back by itself."""

    begun: bool
    healthy: bool
    lacking: tuple[str, ...]
    left_s: float


@dataclass(frozen=True, slots=True)
class Before:
    """A version, for people. name: what `guet site back` takes."""

    name: str
    by: str
    at_s: float | None
    until_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How the site file stands. sha256, by, at_s: of the text in place, who put it there and when, as far as known. trial:
    None where it is there for good. undone: the last change that was gone back from, while nothing else was put since.
    by_hand: the file was changed by hand since the gateway began, which runs another text. before: newest first."""

    file: str
    sha256: str
    by: str
    at_s: float | None
    running: bool
    by_hand: bool
    trial: OnTrial | None
    undone: Undone | None
    before: tuple[Before, ...]
    kind: Literal["settings"] = "settings"


# -- looking -----------------------------------------------------------------------------------------------------------


def settings(path: Path, file: SiteFile | None = None) -> Settings:
    """How a site file stands. file: of the gateway that runs it. Raises SiteError where it cannot be read."""
    known = in_place(path)
    return Settings(
        path.name, known.sha256, known.by, known.at_s, file is not None,
        file is not None and known.sha256 != digest(file.text) and known.trial is None,
        _on_trial(known, file), known.undone, tuple(_before(version) for version in versions(path)),
    )  # fmt: skip


def _before(version: Version) -> Before:
    return Before(version.name, version.by, version.at_s, version.until_s, version.why)


def _on_trial(known: InPlace, file: SiteFile | None) -> OnTrial | None:
    if (trial := known.trial) is None:
        return None
    if file is None or not file.on_trial:
        return OnTrial(False, False, (), trial.keep_within_s)
    left_s = file.since_s + trial.keep_within_s - asyncio.get_running_loop().time()
    return OnTrial(True, file.lacking == (), file.lacking or (), max(0.0, left_s))


async def show(gateway: Gateway, wish: SettingsWish) -> AsyncGenerator[Settings, None]:
    """How the site file of a running gateway stands. Raises WishError, SiteError."""
    yield settings((file := _file(gateway)).path, file)


def _file(gateway: Gateway) -> SiteFile:
    if gateway.file is None:
        raise WishError(say("cette passerelle n'a pas de fichier de site à changer (démonstration)",
                            "this gateway has no site file to change (a demonstration)"))  # fmt: skip
    return gateway.file


# -- changing ----------------------------------------------------------------------------------------------------------


async def put(gateway: Gateway, wish: PutWish) -> AsyncGenerator[Settings, None]:
    """Checks a text, puts it in place on trial, and has the gateway begin anew with it. Raises SiteError or ModelError with
    all faults of the text, WishError where another text came in place meanwhile; nothing is changed then."""
    file = _file(gateway)
    trial = trial_of(wish, PROCESS)
    by = words_given("--by", wish.by, 200)
    await asyncio.to_thread(site_of, wish.text, file.path)
    file.known = put_on_trial(file.path, wish.text, wish.base, trial, gateway.clock.now(), by, file.text)
    if file.known.trial is not None:
        file.worked = worked(gateway)
        _begin_anew(gateway)
    yield settings(file.path, file)


async def reread(gateway: Gateway) -> None:
    """The file was changed by hand: its text goes on trial. What is wrong with it is logged, and what runs goes on."""
    file = _file(gateway)
    try:
        text = read_text(file.path)
        async for _ in put(gateway, PutWish(text, digest(text))):
            pass
    except GuetError as error:
        log.error("site: what stands in %s is not taken up:\n%s", file.path.name, error)


async def keep(gateway: Gateway, wish: KeepWish) -> AsyncGenerator[Settings, None]:
    """What is on trial stays. Raises WishError where nothing is, or where it does not work yet; SiteError."""
    file = _file(gateway)
    by = words_given("--by", wish.by, 200)
    if file.on_trial and file.lacking != () and not wish.anyway:
        said = " ; ".join(file.lacking or (say("l'essai vient de commencer", "the trial has just begun"),))
        raise WishError(say(f"pas encore : {said} (--anyway pour garder quand même)",
                            f"not yet: {said} (--anyway to keep it all the same)"))  # fmt: skip
    file.known = kept(file.path, by)
    await announce(gateway.store, file, gateway.clock.now())
    yield settings(file.path, file)


async def back(gateway: Gateway, wish: BackWish) -> AsyncGenerator[Settings, None]:
    """Ends a trial now; without one, puts an earlier version on trial. Raises WishError, SiteError."""
    file = _file(gateway)
    by = words_given("--by", wish.by, 200)
    if file.known.trial is not None and not wish.version:
        undo(gateway, say(f"annulée par {by}", f"undone by {by}") if by else say("annulée", "undone"))
        yield settings(file.path, file)
        return
    text = version_text(file.path, wish.version)
    async for found in put(gateway, PutWish(text, in_place(file.path).sha256, by)):
        yield found


def trial_of(wish: PutWish, process: str) -> Trial:
    """The trial that is wished for. Raises WishError for a limit that is none."""
    for option, seconds in (("--within", wish.healthy_within_s), ("--keep-within", wish.keep_within_s)):
        if not LEAST_S <= seconds <= LONGEST_S:
            raise WishError(say(f"{option} : attendu {LEAST_S:g} à {LONGEST_S:g} s",
                                f"{option}: expected {LEAST_S:g} to {LONGEST_S:g} s"))  # fmt: skip
    return Trial("", "", process, wish.healthy_within_s, max(wish.healthy_within_s, wish.keep_within_s))


def version_text(path: Path, name: str) -> str:
    """The text of a version; without a name, of the newest. Raises WishError where there is none of that name."""
    known = versions(path)
    found = next((version for version in known if name in ("", version.name, version.path.stem)), None)
    if found is None:
        there = ", ".join(version.name for version in known) or say("aucune", "none")
        raise WishError(say(f"pas de version {name!r} ; il y a : {there}", f"no version {name!r}; there are: {there}"))
    return read_text(found.path)


def undo(gateway: Gateway, why: str) -> None:
    """Goes back to the text before a trial, and has the gateway begin anew with it. Never raises: where the text before is
    not there any more, what runs goes on."""
    file = _file(gateway)
    try:
        file.known = go_back(file.path, why, gateway.clock.now())
    except (SiteError, WishError) as error:
        log.error("site: on trial, and cannot be gone back from: %s", error)
        return
    log.warning("site: gone back to the text before: %s", why)
    _begin_anew(gateway)


def _begin_anew(gateway: Gateway) -> None:
    gateway.anew = True
    asyncio.get_running_loop().call_later(TOLD_WITHIN_S, gateway.stop.set)


# -- whether all works again -------------------------------------------------------------------------------------------


def worked(gateway: Gateway) -> Worked:
    """What works now."""
    devices = frozenset(name for name in gateway.site.devices if _gives_values(gateway, name))
    buses = frozenset(gateway.site.devices[name].bus for name in devices)
    return Worked(devices, buses, gateway.online)


async def watched(gateway: Gateway, page: tuple[str, int] | None) -> None:
    """Looks after the trial of the text that a gateway runs, until it is over. page: where its page should answer."""
    file, loop = _file(gateway), asyncio.get_running_loop()
    file.since_s, trial = loop.time(), file.known.trial
    assert trial is not None
    while file.lacking != ():
        file.lacking = tuple([what async for what in _lacking(gateway, page)])
        if file.known.trial is None:
            return
        if file.lacking and loop.time() - file.since_s > trial.healthy_within_s:
            undo(gateway, " ; ".join(file.lacking))
            return
        await asyncio.sleep(LOOK_EVERY_S if file.lacking else 0.0)
    await asyncio.sleep(file.since_s + trial.keep_within_s - loop.time())
    if file.known.trial is not None:
        minutes = f"{trial.keep_within_s / 60:g}"
        undo(
            gateway, say(f"personne n'a dit de la garder en {minutes} min", f"nobody said to keep it in {minutes} min")
        )


async def _lacking(gateway: Gateway, page: tuple[str, int] | None) -> AsyncGenerator[str, None]:
    """What does not work of what must, in words."""
    silent = list(_silent(gateway))
    for what in silent:
        yield what
    if page is not None and (fault := await _page_fault(page)):
        yield say(f"la page ne répond pas : {fault}", f"the page does not answer: {fault}")
    fault = gateway.store.fault
    if not fault and not silent:  # a whole look at the file is dear
        fault = await asyncio.to_thread(unsound, gateway.store.path, 1)
    if fault:
        yield say(f"la mémoire : {fault}", f"the store: {fault}")


def _silent(gateway: Gateway) -> Iterator[str]:
    file = _file(gateway)
    assert file.known.trial is not None
    within_s = file.known.trial.healthy_within_s
    devices = gateway.site.devices
    # What only speaks unasked is not waited for longer than the trial may take.
    awaited = {
        name for name in file.worked.devices & devices.keys()
        if isinstance(gateway.buses.get(devices[name].bus), PolledBus) or 3 * devices[name].every_s < within_s
    }  # fmt: skip
    mute = sorted(name for name in awaited if not _gives_values(gateway, name))
    if mute:
        named = ", ".join(mute[:MOST_NAMED]) + (f" (+{len(mute) - MOST_NAMED})" if len(mute) > MOST_NAMED else "")
        yield say(f"ne donne plus de valeur : {named}", f"gives no value any more: {named}")
    for name in sorted(file.worked.buses & gateway.buses.keys()):
        on_it = gateway.site.devices_on(name)
        asked = isinstance(gateway.buses[name], PolledBus)
        if on_it and asked and not any(_gives_values(gateway, device.name) for device in on_it):
            yield say(f"personne ne répond sur le bus {name}", f"nobody answers on bus {name}")
    if file.worked.platform and gateway.uplink is not None and not gateway.online and _other_platform(gateway, file):
        trouble = gateway.uplink.trouble or say("pas encore reliée", "not connected yet")
        yield say(f"la plateforme : {trouble}", f"the platform: {trouble}")


def _gives_values(gateway: Gateway, device: str) -> bool:
    bus = gateway.buses.get(gateway.site.devices[device].bus)
    if bus is None or bus.health[device].lost_since_s is not None:
        return False
    brought = gateway.live.latest.brought[device]
    return any(snapshot.values[name] is not None for name, snapshot in brought.items())


def _other_platform(gateway: Gateway, file: SiteFile) -> bool:
    """Whether the change is of the way to the platform: a network that is down by chance undoes no other change."""
    assert file.known.trial is not None
    try:
        before = read_text(history_of(file.path) / file.known.trial.before)
        return checked(before, file.path, home() / "device_profiles").upstream != gateway.site.upstream
    except SiteError:
        return True


async def _page_fault(page: tuple[str, int]) -> str:
    """Why the page does not answer; empty where it does, whatever it says."""
    try:
        async with asyncio.timeout(PAGE_WITHIN_S):
            reader, writer = await asyncio.open_connection(*page)
            try:
                writer.write(f"GET / HTTP/1.1\r\nHost: {page[0]}:{page[1]}\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
                status = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return str(error) or say("rien ne vient", "nothing comes")
    if len(status) < 2 or not status[1].isdigit() or int(status[1]) >= 500:
        return b" ".join(status).decode(errors="replace") or say("rien ne vient", "nothing comes")
    return ""
