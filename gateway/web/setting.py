"""The settings: the text of the site file, changed on trial, kept or gone back from (`gateway.settings`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.app import site_of
from gateway.errors import FileFault, WishError
from gateway.language import say
from gateway.settings import BackWish, KeepWish, PutWish, back, keep, put, settings, version_text
from gateway.site import digest
from gateway.site_file import MAX_BYTES, difference, read_text
from gateway.site_line import Fault, located
from gateway.web.asked import MOST_FORM_BYTES, Asked, Row

if TYPE_CHECKING:
    from starlette.responses import Response

    from gateway.site_trial import SiteFile

REFRESH_S, COUNTDOWN_S = 2, 10
MOST_LINES = 400
MOST_FAULTS = 50


def _file(asked: Asked) -> SiteFile:
    """Raises WishError where there is none."""
    if asked.gateway.file is None:
        raise WishError(say("Cette passerelle n'a pas de fichier de site à changer (démonstration).",
                            "This gateway has no site file to change (a demonstration)."))  # fmt: skip
    return asked.gateway.file


async def settings_page(asked: Asked) -> Response:
    """How the site file stands; the text to change; the texts before."""
    if asked.gateway.file is None:
        said = say("Cette passerelle n'a pas de fichier de site à changer (démonstration).",
                   "This gateway has no site file to change (a demonstration).")  # fmt: skip
        return await asked.told(200, say("Réglages", "Settings"), said)
    return await _page(asked)


async def _page(asked: Asked, status: int = 200, text: str | None = None, base: str = "", **more: Any) -> Response:
    """text: what the person has made of it so far, and base the digest of what that began from."""
    file = _file(asked)
    found = settings(file.path, file)
    in_place = read_text(file.path)
    trial = found.trial
    refresh_s = 0
    if trial is not None and text is None:
        refresh_s = COUNTDOWN_S if trial.healthy else REFRESH_S
    values: dict[str, Any] = {"faults": (), "faulty": False, "changes": None, "version": "", "version_changes": ()}
    if trial is None and text is None and (name := asked.request.query_params.get("version", "")[:80]):
        old = version_text(file.path, name)
        values |= {"version": name, "version_changes": difference(in_place, old, name)[:MOST_LINES]}
    return await asked.page(
        "settings.html", status, refresh_s, found=found, trial=trial, text=in_place if text is None else text,
        base=base or digest(in_place), **(values | more),
    )  # fmt: skip


async def change(asked: Asked) -> Response:
    """Looks at a changed text (its faults, or the difference), tries it, keeps it or goes back."""
    gateway = asked.gateway
    match asked.text("what"):
        case "look" | "try" as what:
            text, base = asked.text("text").replace("\r\n", "\n"), asked.text("base")
            if faults := await _faults(asked, text):
                return await _page(asked, 400, text, base, faults=faults[:MOST_FAULTS], faulty=True)
            if what == "look":
                changes = difference(read_text(_file(asked).path), text, _file(asked).path.name)
                return await _page(asked, 200, text, base, changes=changes[:MOST_LINES])
            async for _ in put(gateway, PutWish(text, base, asked.who)):
                pass
        case "keep":
            async for _ in keep(gateway, KeepWish(asked.who, asked.text("anyway") == "1")):
                pass
        case "back":
            async for _ in back(gateway, BackWish(asked.text("version")[:80], asked.who)):
                pass
        case _:
            raise WishError(
                say("Attendu : regarder, essayer, garder ou revenir.", "Expected: look, try, keep or back.")
            )
    return asked.to("/settings")


async def _faults(asked: Asked, text: str) -> list[Fault]:
    """All that is wrong with a text, by line."""
    try:
        await asyncio.to_thread(site_of, text, _file(asked).path)
    except FileFault as error:
        return located(error.faults, text)
    return []


ROWS = (Row("/settings", settings_page, post=change, most=3 * MAX_BYTES + MOST_FORM_BYTES),)
