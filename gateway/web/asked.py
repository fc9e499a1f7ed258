"""One request to the pages: who asks, in which language, what their form brings; and how a page is made of a template.

A path is a row of a plain table: what is read there and by whom, what may be sent there and by whom. Everything that is the
same for all of them (role, origin, secret of the form, size, time) is done here, before a handler sees anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gateway.desk import Taken
from gateway.errors import FileFault, GuetError, StoreError, WishError
from gateway.fault_words import told
from gateway.language import say, speaking
from gateway.web.curve import svg
from gateway.web.door import COOKIE, Door, TooSoon, from_here, policy
from gateway.web.picture import title_of
from gateway.web.session import Role, Session, is_ours
from gateway.web.view import View
from gateway.web.words import LANGS, Lang, Speech, role_words
from gateway.web.work import Errands

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from gateway.app import Gateway

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
MOST_PAGES_AT_ONCE = 2
PAGE_WITHIN_S = 20.0
MOST_FORM_BYTES = 16 * 1024
MOST_FIELDS = 24
FORM_WITHIN_S = 10.0
LINGER_S, LINGER_BYTES = 2.0, 4 * 1024 * 1024
"""How long, and how much of, what still comes of a refused form is thrown away, so that its sender gets to read why."""
SIMPLE, WITH_FILE = "application/x-www-form-urlencoded", "multipart/form-data"


class Refusal(GuetError):
    """A request that is not done, with the page that says why."""

    def __init__(self, status: int, sentence: str, heading: str = "", **headers: str) -> None:
        self.status, self.headers = status, headers
        self.heading = heading or say("Rien n'a été fait", "Nothing was done")
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class House:
    """What the pages are of. progress: a file that a simulation writes."""

    gateway: Gateway
    door: Door
    press: Press
    errands: Errands
    progress: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One path. reads, sends: the role that it takes. file: whether its form brings one; most: bytes of the form."""

    path: str
    get: Callable[[Asked], Awaitable[Response]] | None = None
    reads: Role = Role.TECHNICIAN
    post: Callable[[Asked], Awaitable[Response]] | None = None
    sends: Role = Role.TECHNICIAN
    file: bool = False
    most: int = MOST_FORM_BYTES

    @property
    def methods(self) -> list[str]:
        return [*(["GET", "HEAD"] if self.get else []), *(["POST"] if self.post else [])]


class Press:
    """Makes pages: of a few at a time, in a thread, within a time."""

    def __init__(self) -> None:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self.style = (HERE / "style.css").read_text(encoding="utf-8")
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals["style_version"] = sha256(self.style.encode()).hexdigest()[:12]
        self._templates.globals["say"] = say
        self._makers = asyncio.Semaphore(MOST_PAGES_AT_ONCE)

    async def html(self, template: str, context: dict[str, Any]) -> str:
        async with asyncio.timeout(PAGE_WITHIN_S), self._makers:
            return await asyncio.to_thread(self._templates.get_template(template).render, context)


class Asked:
    """One request."""

    def __init__(self, request: Request, house: House) -> None:
        self.request, self.house = request, house
        lang: Lang = next((lang for lang in LANGS if lang == request.query_params.get("lang")), LANGS[0])
        gateway = house.gateway
        self.view = View(gateway, Speech(lang, gateway.site.zone, gateway.clock.now()))
        self.session: Session | None = house.door.session(request.cookies)
        self.form: FormData | None = None

    @property
    def gateway(self) -> Gateway:
        return self.house.gateway

    @property
    def blank(self) -> bool:
        """Whether this gateway is nobody's yet."""
        return self.gateway.file is not None and self.gateway.file.blank

    @property
    def speech(self) -> Speech:
        return self.view.speech

    @property
    def role(self) -> Role:
        return self.session.role if self.session else Role.NOBODY

    @property
    def who(self) -> str:
        return self.session.who if self.session else ""

    def text(self, name: str) -> str:
        """A field of the form as it came; empty where it is missing or is a file."""
        found = self.form.get(name) if self.form is not None else None
        return found if isinstance(found, str) else ""

    def number(self, name: str) -> int:
        """A whole number from the question, 0 for anything else."""
        text = self.request.query_params.get(name, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0

    def link(self, path: str, **query: object) -> str:
        """An address of ours, in the language that is spoken."""
        if self.speech.lang != LANGS[0]:
            query.setdefault("lang", self.speech.lang)
        kept = {name: value for name, value in query.items() if value}
        return quote(path) + (f"?{urlencode(kept)}" if kept else "")

    def to(self, path: str, **query: object) -> Response:
        """Sends the browser to a page that is read."""
        from starlette.responses import RedirectResponse

        return RedirectResponse(self.link(path, **query), status_code=303)

    async def page(self, template: str, status: int = 200, refresh_s: int = 0, **values: Any) -> Response:
        """A page. refresh_s: after how long the browser is to come again; 0: never."""
        from markupsafe import Markup
        from starlette.responses import HTMLResponse

        speech, found = self.speech, status < 400
        context = {
            "t": speech, "view": self.view, "site": self.gateway.site, "title_of": title_of, "link": self.link,
            "here": quote(self.request.url.path) if found else "/", "session": self.session, "door": self.house.door,
            "place": say("Passerelle neuve", "New gateway") if self.blank else self.gateway.site.gateway.commune,
            "blank": self.blank, "work": () if self.blank else work(), "role_words": role_words,
            "may": {role.name.lower(): self.role >= role for role in Role},
            "draw": lambda curve: Markup(svg(curve, speech)),  # noqa: S704 - svg escapes
            "other_lang": next(lang for lang in LANGS if lang != speech.lang), "refresh_s": refresh_s, **values,
        }  # fmt: skip
        answer = HTMLResponse(await self.house.press.html(template, context), status_code=status)
        if b"<form" in bytes(answer.body):
            answer.headers["Content-Security-Policy"] = policy("'self'")
        if refresh_s:
            answer.headers["Refresh"] = str(refresh_s)
        return answer

    async def told(self, status: int, heading: str, text: str, **headers: str) -> Response:
        """A page that says one thing."""
        page = await self.page("message.html", status, heading=heading, text=text)
        page.headers.update(headers)
        return page


def work() -> tuple[tuple[str, str], ...]:
    """The technician's pages, as they stand at the top of every page."""
    return (
        ("/scan", say("Chercher", "Scan")),
        ("/check", say("Vérifier", "Check")),
        ("/leave", say("Partir", "Leave")),
        ("/settings", say("Réglages", "Settings")),
        ("/passwords", say("Mots de passe", "Passwords")),
    )


class Answer:
    """A row as an ASGI application."""

    def __init__(self, house: House, row: Row) -> None:
        self._house, self._row = house, row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.requests import Request

        bounded = _Bounded(receive, self._row.most)
        asked = Asked(Request(scope, bounded), self._house)
        with speaking(asked.speech.lang):
            try:
                response = await self._answered(asked)
            except (Refusal, TooSoon) as error:
                response = await refused(asked, error)
            late = response.status_code >= 400 and asked.request.method == "POST"
            await response(scope, receive, bounded.kept_open(send) if late else send)

    async def _answered(self, asked: Asked) -> Response:
        row, request = self._row, asked.request
        if request.method not in row.methods:
            raise Refusal(
                405,
                say("Repartez de la vue d'ensemble.", "Start again from the overview."),
                say("Ceci ne se demande pas ainsi", "This is not asked for like that"),
                Allow=", ".join(row.methods),
            )
        if request.method != "POST":
            assert row.get is not None
            if asked.blank and row.reads > Role.NOBODY:
                return asked.to("/claim")
            if not self._house.door.lets(asked.session, row.reads):
                return _shut_out(asked, row.reads)
            try:
                return await row.get(asked)
            except WishError as error:  # what its address names is not there
                raise Refusal(404, str(error), asked.speech("Page introuvable")) from None
            except FileFault as error:
                said = "\n".join(told(error.faults, asked.speech.lang == "en"))
                raise Refusal(500, said, asked.speech("La page n'a pas pu être faite")) from None
        assert row.post is not None
        if asked.blank and row.sends > Role.NOBODY and row.path != "/out":
            return asked.to("/claim")
        await self._take_form(asked)
        assert asked.form is not None
        try:
            return await row.post(asked)
        except (Refusal, TooSoon, StoreError):
            raise
        except Taken as error:
            raise Refusal(409, str(error), say("Quelqu'un d'autre y travaille", "Somebody else is at it")) from None
        except FileFault as error:
            raise Refusal(400, "\n".join(told(error.faults, asked.speech.lang == "en"))) from None
        except GuetError as error:
            raise Refusal(400, str(error)) from None
        finally:
            await asked.form.close()

    async def _take_form(self, asked: Asked) -> None:
        """Reads the form of a request. Raises Refusal for one that is too long, too slow, or not ours."""
        row, request = self._row, asked.request
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != (WITH_FILE if row.file else SIMPLE):
            raise Refusal(415, say("Ce n'est pas un formulaire de cette page.", "This is no form of this page."))
        if not from_here(request.headers.get("origin"), request.headers.get("referer"), request.headers["host"]):
            said = say(
                "Ce formulaire ne vient pas de cette page : ouvrez-la vous-même et recommencez.",
                "This form does not come from this page: open it yourself and try again.",
            )
            raise Refusal(403, said)
        if asked.role < row.sends:
            if asked.session is not None:
                raise _too_low(row.sends)
            said = say(
                "Personne n'est connecté ici, ou plus depuis un moment : connectez-vous.",
                "Nobody is signed in here, or not any more: sign in.",
            )
            raise Refusal(403, said)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:12]) > row.most:
            raise _too_long(row.most)
        asked.form = await _parsed(request, row)
        if asked.session is not None and not is_ours(asked.session, asked.text("form")):
            said = say(
                "Ce formulaire n'est pas de votre session : revenez à la page, actualisez-la et recommencez.",
                "This form is not of your session: go back to the page, refresh it and try again.",
            )
            raise Refusal(403, said)


async def _parsed(request: Request, row: Row) -> FormData:
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    try:
        async with asyncio.timeout(FORM_WITHIN_S):
            return await request.form(max_files=1 if row.file else 0, max_fields=MOST_FIELDS, max_part_size=row.most)
    except TimeoutError:
        said = say(
            "Le formulaire est arrivé trop lentement : recommencez plus près de la passerelle.",
            "The form came too slowly: try again closer to the gateway.",
        )
        raise Refusal(408, said) from None
    except (HTTPException, MultiPartException, ValueError, LookupError) as error:
        log.warning("page: form refused: %s", repr(error)[:200])
        said = say(
            "Ce formulaire est illisible : revenez à la page et recommencez.",
            "This form cannot be read: go back to the page and try again.",
        )
        raise Refusal(400, said) from None


def _shut_out(asked: Asked, role: Role) -> Response:
    """To the door for who has not come in; a sentence for whose role does not reach."""
    if asked.session is not None:
        raise _too_low(role)
    return asked.to("/enter", to=asked.request.url.path)


def _too_low(role: Role) -> Refusal:
    words = role_words(role)
    return Refusal(
        403,
        say(
            f"Il faut le mot de passe du rôle « {words} » : quittez, puis revenez avec lui.",
            f"It takes the password of the role “{words}”: sign out, then come back with it.",
        ),
        say("Ceci demande un autre mot de passe", "This takes another password"),
    )


def _too_long(most: int) -> Refusal:
    said = say(
        f"C'est trop gros : {most // 1024} Kio au plus. Est-ce le bon fichier ?",
        f"That is too large: {most // 1024} KiB at the most. Is it the right file?",
    )
    return Refusal(413, said)


async def refused(asked: Asked, error: Refusal | TooSoon) -> Response:
    """The page of a refusal."""
    if isinstance(error, TooSoon):
        error = Refusal(
            429, say("Attendez un peu", "Wait a little"), str(error), **{"Retry-After": f"{error.wait_s:.0f}"}
        )
    if asked.request.method == "POST":
        log.warning(
            "page: %s refused with %d: %s", asked.request.url.path[:80].encode(), error.status, str(error)[:200]
        )
    return await asked.told(error.status, error.heading, str(error), **error.headers)


class _Bounded:
    """What comes of a request, to a bound; `_too_long` is raised beyond it."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._left, self._ended = receive, most, most, False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._left < 0:
            raise _too_long(self._most)
        return message

    def kept_open(self, send: Send) -> Send:
        """A way to answer whose end waits a little for what is still coming, thrown away, and then hangs up: who is still
        sending would otherwise be cut off before they can read the answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                if self._ended:
                    await send(message)
                    return
                await send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
            elif self._ended:
                await send(message)
            else:
                await send({**message, "more_body": True})
                await self._linger()
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        return sending

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                self._left = LINGER_BYTES
                while not self._ended and self._left > 0:
                    message = await self._receive()
                    self._left -= len(message.get("body", b""))
                    self._ended = not message.get("more_body", False)
        except TimeoutError:
            pass


def cookie(secret: str) -> str:
    """What makes a browser hold a session; or give it up, where the secret is empty. Not `Secure`: this is plain HTTP."""
    return f"{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict" + ("" if secret else "; Max-Age=0")
