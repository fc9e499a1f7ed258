"""Signing in and out, and who else may: passwords are drawn here for a viewer and for an officer, and shown once."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from gateway.errors import WishError
from gateway.language import say
from gateway.upstream.payload import Kind
from gateway.web.asked import Asked, Refusal, Row, cookie
from gateway.web.door import COOKIE, LONGEST_NAME, TooSoon
from gateway.web.password import LONGEST, NAMES, draw, withdraw
from gateway.web.session import Role

if TYPE_CHECKING:
    from starlette.responses import Response

_OURS = re.compile(r"/(?!/)[\w./~%-]{0,200}", re.ASCII)


def _back(path: str) -> str:
    """Where to go after signing in: a path of ours, never another site."""
    return path if _OURS.fullmatch(path) and not path.startswith(("/enter", "/out")) else "/"


async def enter(asked: Asked) -> Response:
    """The form; or how a gateway without a password gets one."""
    return await _form(asked, asked.request.query_params.get("to", ""))


async def _form(asked: Asked, to: str, status: int = 200, wrong: str = "", **headers: str) -> Response:
    page = await asked.page("enter.html", status, to=_back(to), wrong=wrong, who=asked.text("who")[:LONGEST_NAME],
                            roles=asked.house.door.roles(), longest=LONGEST, longest_name=LONGEST_NAME)  # fmt: skip
    page.headers.update(headers)
    return page


async def sign_in(asked: Asked) -> Response:
    """Takes a password; a wrong one brings the form again, with what is wrong."""
    if not asked.house.door.roles():
        said = say(
            "Cette passerelle n'a pas de mot de passe : il vient avec l'enrôlement.",
            "This gateway has no password: it comes with the claim.",
        )
        raise Refusal(403, said, say("Personne ne peut encore entrer", "Nobody can come in yet"))
    if not asked.text("who").strip():
        said = say(
            "Dites qui vous êtes : vos initiales suffisent, elles iront dans le procès-verbal.",
            "Say who you are: your initials are enough, they go into the report.",
        )
        return await _form(asked, asked.text("to"), 400, said)
    try:
        secret, _ = await asked.house.door.enter(asked.text("password"), asked.text("who"))
    except TooSoon as error:
        return await _form(asked, asked.text("to"), 429, str(error), **{"Retry-After": f"{error.wait_s:.0f}"})
    except WishError as error:
        return await _form(asked, asked.text("to"), 403, str(error))
    answer = asked.to(_back(asked.text("to")))
    answer.headers["Set-Cookie"] = cookie(secret)
    return answer


async def sign_out(asked: Asked) -> Response:
    """Ends the session."""
    asked.house.door.sessions.close(asked.request.cookies.get(COOKIE, ""))
    answer = asked.to("/enter")
    answer.headers["Set-Cookie"] = cookie("")
    return answer


async def passwords(asked: Asked, drawn: str = "", of: Role = Role.NOBODY) -> Response:
    """Who may sign in."""
    roles = asked.house.door.roles()
    rows = [(role, role in roles, _may_change(asked, role)) for role in (Role.VIEWER, Role.OFFICER)]
    return await asked.page("passwords.html", rows=rows, drawn=drawn, of=of)


async def change_password(asked: Asked) -> Response:
    """Draws a password for a viewer or an officer, or withdraws it. The new one is in the answer, and nowhere after."""
    role, what = NAMES.get(asked.text("role"), Role.NOBODY), asked.text("what")
    if role not in (Role.VIEWER, Role.OFFICER) or what not in ("draw", "withdraw"):
        said = say(
            "Ici se changent les mots de passe du lecteur et de l'agent ; celui du technicien est sur l'étiquette.",
            "The viewer's and the officer's passwords can be changed here; the technician's is on the label.",
        )
        raise Refusal(400, said)
    if not _may_change(asked, role):
        said = say(
            "Le mot de passe de l'agent responsable existe : lui seul le change. S'il est perdu, sur la passerelle : "
            "guet password officer SITE.toml.",
            "The officer's password exists: only an officer changes it. If it is lost, on the gateway: "
            "guet password officer SITE.toml.",
        )
        raise Refusal(403, said, say("Ceci demande un autre mot de passe", "This takes another password"))
    folder, drawn = asked.house.door.folder, ""
    try:
        if what == "draw":
            drawn = await asyncio.to_thread(draw, folder, role)
        else:
            await asyncio.to_thread(withdraw, folder, role)
    except OSError as error:
        said = say(f"Il n'a pas pu être gardé : {error.strerror}.", f"It could not be kept: {error.strerror}.")
        raise Refusal(500, said) from None
    asked.house.door.sessions.end(role)
    if asked.role is role:  # their own: they stay, with the new one
        asked.session = None
    now_s = asked.gateway.clock.now()
    audit = {"what": "password changed", "role": role.name.lower(), "withdrawn": what == "withdraw", "by": asked.who}
    asked.gateway.store.put(Kind.AUDIT, now_s, audit)
    return await passwords(asked, drawn, role)


def _may_change(asked: Asked, role: Role) -> bool:
    """An officer's password is the officers' once there is one; before, whoever holds the label draws the first."""
    return role is Role.VIEWER or asked.role is Role.OFFICER or role not in asked.house.door.roles()


ROWS = (
    Row("/enter", enter, Role.NOBODY, sign_in, Role.NOBODY),
    Row("/out", None, Role.VIEWER, sign_out, Role.VIEWER),
    Row("/passwords", passwords, Role.TECHNICIAN, change_password, Role.TECHNICIAN),
)
