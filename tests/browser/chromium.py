"""The machine's own Chromium, driven over its DevTools pipe as a person drives it: taps, keys, what is to be read.

No library: Playwright brings 168 MB and a Node, made for the browser that it downloads, and our pages have no scripts to
wait for. Everything here works with the page's JavaScript switched off; only `run` needs it on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=fr",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
WITHIN_S = 20.0
Key = Literal["Tab", "Enter", " ", "ArrowDown", "ArrowUp"]
CODES: dict[Key, tuple[int, str]] = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    " ": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
}


class BrowserError(Exception):
    """The browser refused, or did not find what it was to use."""


def chromium() -> str | None:
    """Where the browser is, by GUET_CHROMIUM or on the path; None without one."""
    return os.environ.get("GUET_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser, for as many pages as there is need of."""

    def __init__(self, write: Callable[[bytes], Any], reader: asyncio.StreamReader) -> None:
        self._write, self._reader = write, reader
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[Chromium]:
        """Starts it, with a profile of its own. Raises BrowserError where there is none."""
        path = chromium()
        if path is None:
            raise BrowserError(f"no browser: expected GUET_CHROMIUM, or one of {', '.join(NAMES)} on the path")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        with tempfile.TemporaryDirectory(prefix="guet-chromium-", ignore_cleanup_errors=True) as profile:
            # It reads commands from descriptor 3 and writes to 4.
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}', "sh", path, *FLAGS[:-1],
                f"--user-data-dir={profile}", FLAGS[-1], pass_fds=(theirs_in, theirs_out),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            os.close(theirs_in)
            os.close(theirs_out)
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
            inward, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb")
            )
            outward, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ours_out, "wb"))
            browser = cls(outward.write, reader)
            listening = asyncio.create_task(browser._listen(), name="chromium")
            try:
                yield browser
            finally:
                with suppress(BrowserError, TimeoutError):
                    await browser.call("Browser.close")
                outward.close()
                inward.close()
                try:
                    async with asyncio.timeout(10):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()
                listening.cancel()
                await asyncio.wait([listening])

    async def call(self, method: str, session: str = "", **values: Any) -> dict[str, Any]:
        """One command of the DevTools protocol. Raises BrowserError with what the browser says."""
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": values, **({"sessionId": session} if session else {})}
        self._write(json.dumps(message).encode() + b"\0")
        try:
            async with asyncio.timeout(WITHIN_S):
                found = await answer
        finally:
            del self._waiting[number]
        if "error" in found:
            raise BrowserError(f"{method}: {found['error'].get('message', found['error'])}")
        result: dict[str, Any] = found.get("result", {})
        return result

    async def _listen(self) -> None:
        while True:
            try:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            except asyncio.IncompleteReadError:
                for answer in self._waiting.values():
                    if not answer.done():
                        answer.set_exception(BrowserError("the browser has ended"))
                return
            if (number := message.get("id")) is not None:
                if (waiting := self._waiting.get(number)) is not None and not waiting.done():
                    waiting.set_result(message)
            elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                page.happened(message["method"], message["params"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page that shares nothing with others, on a phone's screen."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        try:
            for domain in ("Page", "Network", "DOM", "Accessibility"):
                await page.call(f"{domain}.enable")
            await page.call("Page.setLifecycleEventsEnabled", enabled=True)
            await page.call("Network.setCacheDisabled", cacheDisabled=True)
            await page.call("Fetch.enable")
            await page.scripts(False)
            await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
            await page.screen()
            yield page
        finally:
            del self._pages[session]
            with suppress(BrowserError):
                await self.call("Target.disposeBrowserContext", browserContextId=context)


@dataclass
class Page:
    """What somebody sees and does. bytes: what came over the wire for the page that is there, heaviest: for
    the worst of the `pages`, whole_visit: for all; strangers: requests to any other
    host than the page's, all refused; taps: links and buttons used."""

    _browser: Chromium
    _session: str
    bytes: int = 0
    heaviest: int = 0
    whole_visit: int = 0
    pages: int = 0
    taps: int = 0
    status: int = 0
    strangers: list[str] = field(default_factory=list)
    origin: str = ""
    _width: int = 0
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def call(self, method: str, **values: Any) -> Any:
        return self._browser.call(method, self._session, **values)

    def happened(self, event: str, values: dict[str, Any]) -> None:
        match event:
            case "Page.frameStartedLoading":
                self.bytes = 0
            case "Page.loadEventFired":
                self.pages += 1
                self._loaded.set()
            case "Network.loadingFinished":
                self.bytes += int(values["encodedDataLength"])
                self.heaviest = max(self.heaviest, self.bytes)
                self.whole_visit += int(values["encodedDataLength"])
            case "Network.responseReceived" if values["type"] == "Document":
                self.status = values["response"]["status"]
            case "Fetch.requestPaused":
                url = values["request"]["url"]
                ours = not self.origin or "{0.scheme}://{0.netloc}".format(urlsplit(url)) == self.origin
                if not ours:
                    self.strangers.append(url)
                task = asyncio.create_task(self._decide(values["requestId"], ours))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _decide(self, request: str, ours: bool) -> None:
        with suppress(BrowserError):  # the page went away meanwhile, and its requests with it
            if ours:
                await self.call("Fetch.continueRequest", requestId=request)
            else:
                await self.call("Fetch.failRequest", requestId=request, errorReason="BlockedByClient")

    async def screen(self, width: int = 390, zoom: float = 1.0, *, dark: bool = False) -> None:
        """A phone's, so many pixels wide, by day or at night; or a window of that width in which everything is zoomed."""
        self._width = round(width / zoom)
        await self.call("Emulation.setDeviceMetricsOverride", width=self._width, height=round(844 / zoom),
                        deviceScaleFactor=zoom, mobile=zoom == 1.0)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def scripts(self, on: bool) -> None:
        """Whether the page may run any; `run` works without, but waits for nothing."""
        await self.call("Emulation.setScriptExecutionDisabled", value=not on)

    # -- going places

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """What is done in the block leads to another page, and that one is there afterwards."""
        self._loaded.clear()
        yield
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._loaded.wait()
        except TimeoutError:
            raise BrowserError(f"no page came within {WITHIN_S:.0f} s; there is: {(await self.text())[:300]}") from None

    async def go(self, url: str) -> None:
        """As by the address line."""
        self.origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        async with self.arriving():
            found = await self.call("Page.navigate", url=url)
        if found.get("errorText"):
            raise BrowserError(f"{url}: {found['errorText']}")

    async def follow(self, role: str, name: str) -> None:
        """Taps a link or a button that leads to another page."""
        async with self.arriving():
            await self.tap(role, name)

    async def tap(self, role: str, name: str) -> None:
        """Taps what a screen reader calls so."""
        node = await self.find(role, name)
        await self.call("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
        quads = (await self.call("DOM.getContentQuads", backendNodeId=node))["quads"]
        if not quads:
            raise BrowserError(f"{role} {name!r} cannot be seen")
        x, y = sum(quads[0][0::2]) / 4, sum(quads[0][1::2]) / 4
        self.taps += 1
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, key: Key) -> None:
        code, text = CODES[key]
        more = {"text": text} if text else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key if key != " " else "Space",
                        windowsVirtualKeyCode=code, **more)  # fmt: skip
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key if key != " " else "Space",
                        windowsVirtualKeyCode=code)  # fmt: skip

    async def fill(self, name: str, text: str, role: str = "textbox") -> None:
        """Taps a field and writes into it, in place of what stood there."""
        await self.tap(role, name)
        await self.run("document.activeElement.select()")
        await self.call("Input.insertText", text=text)

    # -- what is there

    async def nodes(self) -> list[dict[str, Any]]:
        """What a screen reader is told, in order."""
        found = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        return [node for node in found if not node["ignored"]]

    async def find(self, role: str, name: str) -> int:
        """The one element with that role whose name begins so; the whole name goes first."""
        those = [
            (str(node.get("name", {}).get("value", "")), node)
            for node in await self.nodes()
            if node["role"]["value"] == role
        ]
        exact = [node for said, node in those if said == name] or [
            node for said, node in those if said.startswith(name)
        ]
        if not exact:
            raise BrowserError(f"no {role} {name!r}; there are: {', '.join(said for said, _ in those)[:600]}")
        return int(exact[0]["backendDOMNodeId"])

    async def text(self) -> str:
        """What is to be read."""
        return str(await self.run("document.body.innerText"))

    async def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"].get("exception", {}).get("description", found)))
        return found["result"].get("value")

    async def sideways(self) -> int:
        """By how many CSS pixels the page is wider than the screen."""
        return int(await self.run("document.scrollingElement.scrollWidth")) - self._width

    async def picture(self, path: Path, height: int = 700) -> None:
        """What stands below the head of the page, so many CSS pixels of it at most, as WebP."""
        top, bottom = await self.run(
            "(() => { const box = document.querySelector('main').getBoundingClientRect(); "
            "return [box.top + scrollY, box.bottom + scrollY]; })()"
        )
        clip = {"x": 0, "y": top, "width": self._width, "height": min(height, bottom - top), "scale": 1}
        shot = await self.call(
            "Page.captureScreenshot", format="webp", quality=60, captureBeyondViewport=True, clip=clip
        )
        path.write_bytes(base64.b64decode(shot["data"]))
