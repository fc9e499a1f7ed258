"""Whether one may leave: every expected point checked, the store sound, an outage tried, the platform confirmed or put off
with a reason. Red until all of it is so; then the report is made and signed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.alert import iso
from gateway.check import number, remembered, verdict_words
from gateway.disk import unsound
from gateway.errors import WishError
from gateway.language import say, words_given
from gateway.outbox import Outbox
from gateway.progress import Progress
from gateway.replace import hardware
from gateway.report import body_of, signed
from gateway.seal import own_key
from gateway.upstream.payload import Kind
from gateway.why import LEAST_FREE_BYTES

if TYPE_CHECKING:
    from gateway.app import Gateway

LEAST_OUTAGE_S, LONGEST_OUTAGE_S = 5.0, 600.0
BACK_WITHIN_S = 60.0
MOST_NAMED = 8

ItemName = Literal["running", "points", "store", "outage", "platform"]


@dataclass(frozen=True, slots=True)
class LeaveWish:
    """by: who leaves. outage_s: cut the platform off for so long, to see that nothing is lost; 0: do not. defer: why the
    platform is confirmed later."""

    by: str = ""
    outage_s: float = 0.0
    defer: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One of the things that must be so."""

    name: ItemName
    title: str
    ok: bool
    said: str
    kind: Literal["item"] = "item"


@dataclass(frozen=True, slots=True)
class Left:
    """The end. number, document: of the signed report; empty while something is red."""

    ready: bool
    number: str
    document: str
    kind: Literal["left"] = "left"


async def leave(gateway: Gateway, wish: LeaveWish) -> AsyncGenerator[Progress | Item | Left, None]:
    """Looks at everything, tries what is wished, and makes the report where all is well. Raises WishError, SealError."""
    if wish.outage_s and not LEAST_OUTAGE_S <= wish.outage_s <= LONGEST_OUTAGE_S:
        raise WishError(say(f"--outage : attendu {LEAST_OUTAGE_S:g} à {LONGEST_OUTAGE_S:g} s",
                            f"--outage: expected {LEAST_OUTAGE_S:g} to {LONGEST_OUTAGE_S:g} s"))  # fmt: skip
    by, defer = words_given("--by", wish.by, 200), words_given("--defer", wish.defer)
    if wish.outage_s:
        async for progress in _outage(gateway, wish.outage_s):
            yield progress
    if defer:
        put_off = {"reason": defer, "by": by, "at": iso(gateway.clock.now())}
        await gateway.store.decide({"platform_deferred": put_off})
    items = [item async for item in readiness(gateway)]
    for item in items:
        yield item
    if not all(item.ok for item in items):
        yield Left(False, "", "")
        return
    told = [{"name": item.name, "title": item.title, "said": item.said} for item in items]
    state = gateway.store.state
    body = body_of(gateway, by, told, state("outage"), _platform(gateway))
    document = signed(body, await asyncio.to_thread(own_key, gateway.store.path.parent))
    audit = {"what": "commissioning report", "number": body["number"], "by": by}
    await gateway.store.decide({"report": {"number": body["number"], "document": document.decode()}},
                               audits=[(gateway.clock.now(), audit)])  # fmt: skip
    yield Left(True, body["number"], document.decode())


async def readiness(gateway: Gateway) -> AsyncGenerator[Item, None]:
    """What must be so before one leaves, each with how it is."""
    running = gateway.running_since_s is not None
    yield Item("running", say("passerelle", "gateway"), running,
               say("elle tourne", "it runs") if running else say("elle ne tourne pas : sudo systemctl start guet",
                                                                 "it does not run: sudo systemctl start guet"))  # fmt: skip
    yield _points(gateway)
    yield await _store(gateway)
    yield _tried(gateway)
    platform = _platform(gateway)
    yield Item("platform", say("plateforme", "platform"), platform["state"] != "unconfirmed", platform["said"])


def _points(gateway: Gateway) -> Item:
    unchecked, bad, accepted, fine = [], [], [], 0
    for device in gateway.site.devices.values():
        past = hardware(gateway.store, device.name)
        since_s = (past[-1].since_s or 0.0) if past else 0.0
        for name, point in device.points.items():
            if not device.bus or point.write_only:
                continue
            checked = remembered(gateway, f"{device.name}/{name}")
            if checked is None or checked.at_s < since_s:
                unchecked.append(f"{device.name}/{name}")
            elif not checked.fine:
                bad.append(f"{checked.point} {verdict_words(checked.verdict)}")
            else:
                fine += 1
                if checked.verdict == "accepted":
                    accepted.append(f"{checked.point}, « {checked.reason} »")
    whole = fine + len(unchecked) + len(bad)
    parts = [say(f"{fine}/{whole} points vérifiés", f"{fine}/{whole} points checked")]
    if unchecked:
        parts.append(say("à vérifier : ", "to be checked: ") + _few(unchecked))
    if bad:
        parts.append(say("pas bons : ", "not good: ") + _few(bad))
    if accepted:
        parts.append(say(f"{len(accepted)} acceptés : ", f"{len(accepted)} accepted: ") + _few(accepted))
    return Item("points", say("points", "points"), not unchecked and not bad and whole > 0, " ; ".join(parts))


async def _store(gateway: Gateway) -> Item:
    free = shutil.disk_usage(gateway.store.path.parent).free
    wrong = gateway.store.fault or await asyncio.to_thread(unsound, gateway.store.path)
    if not wrong and free < LEAST_FREE_BYTES:
        wrong = say("presque pleine", "nearly full")
    left = say(f"{number(free / 1e9)} Go libres", f"{number(free / 1e9)} GB free")
    said = f"{wrong} ; {left}" if wrong else say(f"{left}, base intègre", f"{left}, the file is sound")
    return Item("store", say("mémoire", "store"), not wrong, said)


def _tried(gateway: Gateway) -> Item:
    title = say("essai de coupure", "outage test")
    if gateway.site.upstream is None:
        return Item(
            "outage", title, True, say("sans objet : aucune plateforme à couper", "not applicable: no platform to cut")
        )
    outage = gateway.store.state("outage")
    if outage is None:
        return Item("outage", title, False, say("à faire : guet leave --outage 60", "to do: guet leave --outage 60"))
    seconds, lost = number(outage["seconds"]), outage["dropped"]
    said = say(f"coupure de {seconds} s : {outage['readings']} mesures lues, {lost} perdue(s)",
               f"cut for {seconds} s: {outage['readings']} readings taken, {lost} lost")  # fmt: skip
    if not outage["readings"]:
        said = say("rien n'a été lu pendant la coupure ; recommencer", "nothing was read during the cut; try again")
    elif outage["delivered"]:
        said += say(", tout est parti au retour", ", all was delivered afterwards")
    return Item("outage", title, lost == 0 and outage["readings"] > 0, said)


def _platform(gateway: Gateway) -> dict[str, Any]:
    """How far the platform knows of this gateway: none, confirmed, deferred or unconfirmed; and in words."""
    if gateway.site.upstream is None:
        return {"state": "none", "said": say("aucune n'est configurée", "none is configured")}
    uplink = gateway.uplink
    if uplink is not None and uplink.connected and uplink.last_acknowledged_s is not None:
        at = iso(uplink.last_acknowledged_s)
        return {"state": "confirmed", "at": at, "said": say(f"a confirmé le {at}", f"confirmed at {at}")}
    waiting = Outbox(gateway.store).pending_rows()
    deferred = gateway.store.state("platform_deferred")
    if deferred is not None:
        said = say(f"à confirmer plus tard : {deferred['reason']} ({deferred['by']}) ; {waiting} enregistrements attendent",
                   f"to be confirmed later: {deferred['reason']} ({deferred['by']}); {waiting} records wait")  # fmt: skip
        return {"state": "deferred", **deferred, "said": said}
    trouble = (
        uplink.trouble
        if uplink is not None and uplink.trouble
        else say("rien de confirmé encore", "nothing confirmed yet")
    )
    said = say(f"{trouble} ; guet leave --defer RAISON la remet à plus tard",
               f"{trouble}; guet leave --defer REASON puts it off")  # fmt: skip
    return {"state": "unconfirmed", "said": said}


async def _outage(gateway: Gateway, seconds: float) -> AsyncGenerator[Progress, None]:
    """Cuts the platform off while reading goes on, then sees whether all that came meanwhile is delivered."""
    uplink, store = gateway.uplink, gateway.store
    if uplink is None or gateway.running_since_s is None:
        raise WishError(say("l'essai demande une passerelle qui tourne et une plateforme configurée",
                            "the test needs a gateway that runs and a configured platform"))  # fmt: skip
    began_s, loop = gateway.clock.now(), asyncio.get_running_loop()
    readings, dropped = sum(gateway.live.readings.values()), sum(store.counters.dropped.values())
    outbox = Outbox(store)
    was_connected = uplink.connected
    async with uplink.cut():
        store.put(Kind.STATUS, began_s, gateway.status())  # at least this must go out afterwards
        end_s = loop.time() + seconds
        while (left_s := end_s - loop.time()) > 0:
            yield Progress(int(seconds - left_s), int(seconds), say(f"plateforme coupée, encore {left_s:.0f} s",
                                                                    f"platform cut off, {left_s:.0f} s left"))  # fmt: skip
            await asyncio.sleep(min(1.0, left_s))
        await store.flush()
        last = outbox.last_seq()
        readings = sum(gateway.live.readings.values()) - readings
    dropped = sum(store.counters.dropped.values()) - dropped
    delivered, give_up_s = False, loop.time() + (BACK_WITHIN_S if was_connected else 0.0)
    while not (delivered := not outbox.holds(0, last, 1)) and loop.time() < give_up_s:
        yield Progress(0, 0, say("retour de la plateforme", "platform comes back"))
        await asyncio.sleep(0.5)
    outcome = {"at": iso(began_s), "seconds": seconds, "readings": readings, "dropped": dropped, "delivered": delivered}
    await store.decide({"outage": outcome})


def _few(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (say(f" et {more} autres", f" and {more} more") if more > 0 else "")


def lines(item: Item) -> Iterator[str]:
    """An item for people."""
    mark = say("✔ bon", "✔ good") if item.ok else say("✘ ROUGE", "✘ RED")
    yield f"{mark:<8} {item.title:<18} {item.said}"


def last_line(left: Left) -> str:
    """The end for people."""
    if left.ready:
        return say(f"Vous pouvez partir. Procès-verbal {left.number}", f"You may leave. Report {left.number}")
    return say("Pas encore : ce qui est rouge reste à faire.", "Not yet: what is red is still to be done.")
