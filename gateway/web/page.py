"""The local pages: what the gateway sees and does, for whoever stands before it, without JavaScript.

They are served from the gateway's own loop and must never disturb it: HTML is made in a thread, requests are few at a time,
a fault of the pages ends at the pages. Only addresses made of numbers and `localhost` are answered: a name could have been
pointed at this machine by a stranger's page (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.desk import Desk
from gateway.language import speaking
from gateway.web.door import Door, policy
from gateway.web.work import Errands

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.app import Gateway
    from gateway.web.asked import House, Row

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 32
CONNECTION_S = 15.0
"""Real time that a connection lasts; what is under way then may take as long again."""
END_WITHIN_S = 3.0
HEADERS = {
    "Content-Security-Policy": policy("'none'"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@asynccontextmanager
async def serve(
    gateway: Gateway,
    sock: socket.socket,
    progress: Path | None = None,
    desk: Desk | None = None,
    door: Door | None = None,
) -> AsyncIterator[None]:
    """Serves the pages on a bound socket, in this loop, while the block lasts; the socket is closed with it. Whatever
    happens to the pages, the block goes on. progress: a file that a simulation writes, shown at the top. desk: where the
    verbs' jobs are, too. door: of `door_of`, where who is signed in outlasts this gateway."""
    door = door_of(gateway.store.path.parent, sock, door)
    errands = Errands(gateway, desk or Desk())

    def built() -> ASGIApp:
        from gateway.web.asked import House, Press

        return application(House(gateway, door, Press(), errands, progress))

    serving = asyncio.create_task(_serve(_Late(built), sock), name="page")
    try:
        yield
    finally:
        serving.cancel()
        await errands.end()
        await asyncio.wait([serving], timeout=END_WITHIN_S + 1)
        sock.close()


def door_of(folder: Path, sock: socket.socket, before: Door | None = None) -> Door:
    """The door of the pages on a socket, of the gateway whose data is in a folder. before: the same one, where another
    gateway of this process had it, so that whoever changed a setting is still there to say that it stays."""
    if before is not None and before.folder == folder:
        return before
    return Door(folder, ipaddress.ip_address(sock.getsockname()[0]).is_loopback)


async def _serve(app: ASGIApp, sock: socket.socket) -> None:
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
            app, log_config=None, log_level="warning", access_log=False, lifespan="off",
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


@cache
def rows() -> tuple[Row, ...]:
    """Every path that there is. What is behind them is loaded with the first visitor."""
    from gateway.web import enter, hardware, parting, search, setting, sight, visit

    modules = (sight, enter, visit, search, parting, hardware, setting)
    return tuple(row for module in modules for row in module.ROWS)


def application(house: House) -> ASGIApp:
    """The pages as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    from gateway.web.asked import Answer, Asked

    async def nowhere(request: Request, error: Exception) -> Response:
        with speaking((asked := Asked(request, house)).speech.lang):
            text = asked.speech("Cette adresse ne mène à rien ici. Repartez de la vue d'ensemble.")
            return await asked.told(404, asked.speech("Page introuvable"), text)

    async def failed(request: Request, error: Exception) -> Response:
        """A fault of ours, or the store cannot be read: said in words; the server's log has the rest."""
        with speaking((asked := Asked(request, house)).speech.lang):
            text = asked.speech(
                "La passerelle, elle, continue. Réessayez ; si cela dure, le journal de la passerelle dit pourquoi."
            )
            return await asked.told(500, asked.speech("La page n'a pas pu être faite"), text)

    routes = [Route(row.path, Answer(house, row)) for row in rows()]
    return _Guard(Starlette(routes=routes, exception_handlers={HTTPException: nowhere, Exception: failed}))


class _Late:
    """An application that is built, in a thread, when somebody first comes: a gateway without visitors need not carry it,
    and one with devices to read need not wait for it."""

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self._build, self._app, self._one_at_a_time = build, None, asyncio.Lock()

    _app: ASGIApp | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._one_at_a_time:
            if self._app is None:
                self._app = await asyncio.to_thread(self._build)
        await self._app(scope, receive, send)


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
