"""The local page: what the gateway sees and does, for whoever stands before it. Read only, without JavaScript.

It is served from the gateway's own loop and must never disturb it: HTML is made in a thread, requests are few at a time,
a fault of the page ends at the page. Only addresses made of numbers and `localhost` are answered: a name could have been
pointed at this machine by a stranger's page (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gateway.web.curve import svg
from gateway.web.picture import CURVES_A_PAGE, Pictures, title_of
from gateway.web.view import DEVICES_A_PAGE, POINTS_A_DEVICE, View
from gateway.web.words import LANGS, Speech

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.app import Gateway

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
REFRESH_S = 5
MOST_CONNECTIONS = 32
CONNECTION_S = 15.0
"""Real time that a connection lasts; what is under way then may take as long again."""
MOST_PAGES_AT_ONCE = 2
PAGE_WITHIN_S = 20.0
END_WITHIN_S = 3.0
PROGRESS_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0d4f5c"/>'
    '<path d="M4 16q12-15 24 0q-12 15-24 0z" fill="none" stroke="#fff" stroke-width="2.5"/>'
    '<circle cx="16" cy="16" r="4.5" fill="#ffc861"/></svg>'
)


@asynccontextmanager
async def serve(gateway: Gateway, sock: socket.socket, progress: Path | None = None) -> AsyncIterator[None]:
    """Serves the page on a bound socket, in this loop, while the block lasts; the socket is closed with it. Whatever
    happens to the page, the block goes on. `progress`: a file that a simulation writes, shown at the top."""
    serving = asyncio.create_task(_serve(gateway, sock, progress), name="page")
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=END_WITHIN_S + 1)
        sock.close()


async def _serve(gateway: Gateway, sock: socket.socket, progress: Path | None) -> None:
    """Until cancelled; then what is under way gets a short while."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Server(uvicorn.Server):
        """Signals are the gateway's."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    class Line(H11Protocol):
        """A connection that cannot be held for ever, one of a few: the field side needs its file descriptors."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base has it
            super().connection_made(transport)
            if len(self.connections) > MOST_CONNECTIONS:
                transport.abort()
                return
            self.ends = [
                self.loop.call_later(CONNECTION_S, self.shutdown),
                self.loop.call_later(2 * CONNECTION_S, transport.abort),
            ]

        def connection_lost(self, exc: Exception | None) -> None:
            for end in getattr(self, "ends", ()):
                end.cancel()
            super().connection_lost(exc)

    try:
        config = uvicorn.Config(
            application(gateway, progress), log_config=None, log_level="warning", access_log=False, lifespan="off",
            http=Line, ws="none", proxy_headers=False, server_header=False,
            timeout_keep_alive=5, timeout_graceful_shutdown=int(END_WITHIN_S) - 1,
        )  # fmt: skip
        server = Server(config)
        running = asyncio.create_task(server.serve(sockets=[sock]), name="page server")
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            server.should_exit = True
            await asyncio.wait([running], timeout=END_WITHIN_S)
            running.cancel()
            raise
    except (Exception, SystemExit):
        log.exception("page: ended by a fault; the gateway goes on without it")


def application(gateway: Gateway, progress: Path | None = None) -> ASGIApp:
    """The page as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    site = _Pages(gateway, progress)
    app: Starlette = Starlette(
        routes=[
            Route("/", site.overview, methods=["GET"]),
            Route("/device/{name}", site.device, methods=["GET"]),
            Route("/alert/{name}", site.alert, methods=["GET"]),
            Route("/api/overview.json", site.overview_json, methods=["GET"]),
            Route("/style.css", site.style, methods=["GET"]),
            Route("/icon.svg", site.icon, methods=["GET"]),
        ],
        exception_handlers={HTTPException: site.refused, Exception: site.failed},
    )
    return _Guard(app)


class _Guard:
    """What holds for every answer: the headers, and the addresses that are answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), text.encode()) for name, text in HEADERS.items()
                      if name.lower().encode() not in given),
                ]  # fmt: skip
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and answers_to(hosts[0]):
            await self._app(scope, receive, guarded)
            return
        from starlette.responses import PlainTextResponse

        said = (
            "Cette page répond à une adresse en chiffres, comme http://127.0.0.1:8080/, ou à localhost.\n"
            "This page answers to an address of numbers, such as http://127.0.0.1:8080/, or to localhost.\n"
        )
        await PlainTextResponse(said, status_code=421)(scope, receive, guarded)


def answers_to(host: str) -> bool:
    """Whether a Host header names this page: `localhost` or an IP address, with or without a port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, "0"
    if not (port.isascii() and port.isdecimal()):
        return False
    if name.lower() == "localhost":
        return True
    try:
        if name.startswith("[") and name.endswith("]"):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


class _Pages:
    """One method a page."""

    def __init__(self, gateway: Gateway, progress: Path | None) -> None:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self._gateway, self._progress = gateway, progress
        self._style = (HERE / "style.css").read_text(encoding="utf-8")
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals["style_version"] = sha256(self._style.encode()).hexdigest()[:12]
        self._makers = asyncio.Semaphore(MOST_PAGES_AT_ONCE)

    async def overview(self, request: Request) -> Response:
        view = self._view(request)
        first = _number(request, "from")
        devices = view.devices()
        start = min(first, max(0, (len(devices) - 1) // DEVICES_A_PAGE * DEVICES_A_PAGE))
        shown = devices[start : start + DEVICES_A_PAGE]
        refresh = request.query_params.get("pause") != "1"
        return await self._page(
            request, view, "overview.html",
            refresh=refresh,
            state=view.state(),
            progress=self._read_progress(),
            alerts=view.alerts(),
            watches=view.watches(),
            devices=shown,
            shown=POINTS_A_DEVICE,
            working=sum(device.kind == "works" for device in devices),
            total=len(devices),
            first=start,
            step=DEVICES_A_PAGE,
            actions=view.actions(),
        )  # fmt: skip

    async def device(self, request: Request) -> Response:
        view = self._view(request)
        device = self._gateway.site.devices.get(request.path_params["name"])
        if device is None:
            known = list(self._gateway.site.devices)
            listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            said = view.speech(
                "Il n'y a pas d'appareil de ce nom sur ce site. Appareils connus : {known}.", known=listed
            )
            return await self._page(request, view, "message.html", 404, heading="Page introuvable", text=said)
        names_of = list(device.points)
        start = min(_number(request, "from"), max(0, (len(names_of) - 1) // CURVES_A_PAGE * CURVES_A_PAGE))
        names = names_of[start : start + CURVES_A_PAGE]
        return await self._page(
            request, view, "device.html",
            device=view.device(self._gateway.live.state(device)),
            pictures=await Pictures(self._gateway, view.speech).of_device(device, names),
            sheet=view.sheet(device),
            first=start,
            step=CURVES_A_PAGE,
            total=len(names_of),
        )  # fmt: skip

    async def alert(self, request: Request) -> Response:
        view = self._view(request)
        alert = view.alert(request.path_params["name"])
        if alert is None:
            said = view.speech(
                "Il n'y a pas d'alerte de ce nom dans la mémoire de la passerelle. "
                "Les alertes connues sont dans la vue d'ensemble."
            )
            return await self._page(request, view, "message.html", 404, heading="Page introuvable", text=said)
        watch = self._gateway.judge.watches.get(alert.subject)
        model = watch.model if watch is not None and watch.model.card.name == alert.model else None
        return await self._page(
            request, view, "alert.html",
            alert=alert, model=model, pictures=await Pictures(self._gateway, view.speech).of_alert(alert),
            devices=view.devices_of(alert),
        )  # fmt: skip

    async def overview_json(self, request: Request) -> Response:
        from starlette.responses import Response as Answer

        body = self._view(request).as_json() | {"simulation": self._read_progress()}
        text = json.dumps(body, ensure_ascii=False)
        return Answer(text, media_type="application/json")

    async def style(self, request: Request) -> Response:
        from starlette.responses import Response as Answer

        return Answer(self._style, media_type="text/css", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def icon(self, request: Request) -> Response:
        from starlette.responses import Response as Answer

        return Answer(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    async def refused(self, request: Request, error: Exception) -> Response:
        """Not found, or not a question."""
        from starlette.exceptions import HTTPException

        assert isinstance(error, HTTPException)
        view = self._view(request)
        heading, text = (
            ("Cette page se lit seulement", "Rien ne peut être envoyé ni changé par cette page.")
            if error.status_code == 405
            else ("Page introuvable", "Cette adresse ne mène à rien ici. Repartez de la vue d'ensemble.")
        )
        page = await self._page(
            request, view, "message.html", error.status_code, heading=heading, text=view.speech(text)
        )
        page.headers.update(error.headers or {})
        return page

    async def failed(self, request: Request, error: Exception) -> Response:
        """A fault of ours, or the store cannot be read: said in words; the server's log has the rest."""
        view = self._view(request)
        text = view.speech(
            "La passerelle, elle, continue. Réessayez ; si cela dure, le journal de la passerelle dit pourquoi."
        )
        return await self._page(request, view, "message.html", 500, heading="La page n'a pas pu être faite", text=text)

    # -- making a page ---------------------------------------------------------------------------------------------

    def _view(self, request: Request) -> View:
        asked = request.query_params.get("lang", "")
        lang = next((lang for lang in LANGS if lang == asked), LANGS[0])
        return View(self._gateway, Speech(lang, self._gateway.site.zone, self._gateway.clock.now()))

    async def _page(self, request: Request, view: View, template: str, status: int = 200, **values: Any) -> Response:
        from markupsafe import Markup
        from starlette.responses import HTMLResponse

        speech = view.speech

        def link(path: str, **query: object) -> str:
            if speech.lang != LANGS[0]:
                query.setdefault("lang", speech.lang)
            kept = {name: value for name, value in query.items() if value}
            return quote(path) + (f"?{urlencode(kept)}" if kept else "")

        context = {
            "t": speech, "view": view, "site": self._gateway.site, "title_of": title_of, "link": link,
            "here": "/" if status != 200 else quote(request.url.path),
            "refresh": False, "refresh_s": REFRESH_S, "draw": lambda curve: Markup(svg(curve, speech)),  # noqa: S704 - svg escapes
            "other_lang": next(lang for lang in LANGS if lang != speech.lang), **values,
        }  # fmt: skip
        async with asyncio.timeout(PAGE_WITHIN_S), self._makers:
            html = await asyncio.to_thread(self._templates.get_template(template).render, context)
        return HTMLResponse(html, status_code=status)

    def _read_progress(self) -> dict[str, Any] | None:
        """What a simulation says of itself; None without one, or when its file is not what it should be."""
        if self._progress is None:
            return None
        try:
            with self._progress.open("rb") as file:
                body = json.loads(file.read(PROGRESS_BYTES))
            return {
                "title": str(body["title"]),
                "elapsed_h": max(0.0, float(body["elapsed_h"])),
                "hours": max(0.1, float(body["hours"])),
                "cut": body["uplink"] == "cut",
                "events": [
                    {"at_h": float(event["at_h"]), "text": str(event["text"]), "done": bool(event["done"])}
                    for event in body["events"][-4:]
                ],
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _number(request: Request, name: str) -> int:
    """A whole number from the question, 0 for anything else."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0
