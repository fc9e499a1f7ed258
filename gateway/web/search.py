"""Who is on the buses: the job `scan` as a page, what it finds at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import WishError
from gateway.jobs import SCAN
from gateway.language import say
from gateway.look import Account, Finding, Found, ScanWish
from gateway.scan import account_line, addresses_of, answer_words, shown, state_words
from gateway.web.asked import Asked, Row
from gateway.web.visit import holder, refresh_of

if TYPE_CHECKING:
    from starlette.responses import Response

FOUND_SHOWN = 60
SPEEDS = ("1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200")
PARITIES, STOPS = ("N", "E", "O"), ("1", "2")


async def scan_page(asked: Asked) -> Response:
    """What is being looked at, what was found so far, what is wrong; before that, what the last scan of each bus found."""
    gateway = asked.gateway
    errand = asked.house.errands.last("scan")
    rows = errand.rows if errand is not None else []
    found = [row for row in rows if isinstance(row, Found)]
    return await asked.page(
        "scan.html", refresh_s=refresh_of(errand), errand=errand, holder=holder(asked), buses=list(gateway.site.buses),
        found=found[:FOUND_SHOWN], more=max(0, len(found) - FOUND_SHOWN),
        findings=[row for row in rows if isinstance(row, Finding)],
        accounts=[account_line(row) for row in rows if isinstance(row, Account)],
        before=[body for name in gateway.site.buses if (body := gateway.store.state(f"scan/{name}")) is not None],
        speeds=SPEEDS, answer_words=answer_words, state_words=state_words, shown=shown,
    )  # fmt: skip


async def scan(asked: Asked) -> Response:
    """Begins to look."""
    bus, address = asked.text("bus"), asked.text("address").strip()
    if bus and bus not in asked.gateway.site.buses:
        known = ", ".join(asked.gateway.site.buses)
        raise WishError(say(f"Pas de bus {bus!r} ; connus : {known}", f"There is no bus {bus!r}; known: {known}"))
    wish = ScanWish(
        bus, addresses_of(address), asked.text("every") == "1", _lines(asked), slow=asked.text("slow") == "1"
    )
    asked.house.errands.begin(SCAN, wish, asked.who)
    return asked.to("/scan")


def _lines(asked: Asked) -> tuple[str, ...]:
    """The setting of a line that is to be tried, too. Raises WishError."""
    speed, parity, stop = (asked.text(name) for name in ("speed", "parity", "stop"))
    if not speed:
        return ()
    if speed not in SPEEDS or parity not in PARITIES or stop not in STOPS:
        raise WishError(say("Réglage de ligne : choisissez dans les listes.", "Line setting: choose from the lists."))
    return (f"{speed} 8{parity}{stop}",)


ROWS = (Row("/scan", scan_page, post=scan),)
