"""The visit by the page, in a real Chromium with its JavaScript off: what is tapped is what a screen reader names."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench._cabinet import Cabinet, missed, standing
from tests.browser.chromium import BrowserError, Chromium, Page

LIGHT = 60_000
JOB_WITHIN_S = 300.0
FINDINGS = """JSON.stringify([...document.querySelectorAll('.finding')].map(card =>
  [card.dataset.device, card.querySelector('[data-cause]').dataset.cause, card.innerText]))"""
ITEMS = (
    """JSON.stringify([...document.querySelectorAll('[data-item]')].map(item => [item.dataset.item, item.innerText]))"""
)
DOUBTED = """JSON.stringify([...document.querySelectorAll('[data-point]')]
  .filter(line => !['plausible', 'accepted'].includes(line.dataset.verdict)).map(line => line.dataset.point))"""
STATE = """document.readyState !== 'complete' ? 'running' : document.querySelector('#work')?.dataset.state ?? 'none'"""
REPORT = ("html", "pdf", "json")


async def visit_by_page(seed: int, count: int, pictures: Path | None) -> dict[str, Any]:
    """pictures: where those of the guide are put."""
    async with standing(seed, count) as cabinet:
        claimed = await cabinet.claim()
        port = _free_port()
        async with (
            cabinet.running(f"127.0.0.1:{port}"),
            Chromium.started() as browser,
            browser.page() as page,
        ):
            visit = _Visit(cabinet, page, f"http://127.0.0.1:{port}", pictures)
            began_s = time.monotonic()
            found = await visit.whole()
            found |= {"claimed": claimed, "visit_s": round(time.monotonic() - began_s, 1), "taps": page.taps,
                      "pages": page.pages, "bytes": page.whole_visit, "heaviest_page": page.heaviest,
                      "requests_to_others": page.strangers, "stages": visit.stages}  # fmt: skip
        found["verify"] = await cabinet.verify()
    lost = missed(found)
    if page.strangers:
        lost.append(f"requests to other hosts: {page.strangers}")
    if page.heaviest > LIGHT:
        lost.append(f"a page of {page.heaviest} bytes, expected {LIGHT} at most")
    return {"missed": lost, **found}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class _Visit:
    """One technician's, step by step."""

    def __init__(self, cabinet: Cabinet, page: Page, origin: str, pictures: Path | None) -> None:
        self.cabinet, self.page, self.origin, self.pictures = cabinet, page, origin, pictures
        self.stages: dict[str, float] = {}

    async def whole(self) -> dict[str, Any]:
        cabinet, page = self.cabinet, self.page
        await page.go(self.origin)
        await page.follow("link", "Se connecter")
        await self.show("se-connecter")
        await page.fill("Mot de passe", cabinet.password)
        await page.fill("Vos initiales", "AM")
        await page.follow("button", "Entrer")

        await self.scan()
        await self.show("chercher")
        proposed = await page.run(
            "JSON.stringify([...document.querySelectorAll('.proposals b')].map(one => one.innerText))"
        )
        planted = cabinet.named(await self.read(FINDINGS), json.loads(proposed))
        planted["dead sensor"]["why"] = await self.why()
        early = await self.leave()

        cabinet.mend()
        await self.replace()
        await self.scan()
        left = [number for _, number, _ in await self.read(FINDINGS)]

        accepted = await self.check()
        ready = await self.leave(outage=1, defer="banc sans réseau")
        await self.show("partir")
        items = dict(await self.read(ITEMS))
        await self.take_report()
        report = {"ready": ready, "red_before_checks": not early, "accepted": accepted, "items": items}
        return {"planted": planted, "left_after_mending": left, "report": report}

    # -- the steps

    async def scan(self) -> None:
        await self.page.follow("link", "Chercher")
        await self.page.follow("button", "Chercher")
        await self.ended("scan")

    async def why(self) -> str:
        """The id of the cause why the dead device says nothing."""
        page = self.page
        await page.follow("link", "Exemple-le-Bourg")
        await page.follow("link", self.cabinet.dead)
        await page.follow("link", "Pourquoi ?")
        await page.follow("button", "Chercher la panne")
        await self.ended("why")
        await self.show("pourquoi")
        return str(await page.run("document.querySelector('[data-cause]')?.dataset.cause ?? ''"))

    async def replace(self) -> None:
        """Gives the device of another model its profile; the site file is changed on trial, and the gateway begins anew."""
        cabinet, page = self.cabinet, self.page
        await page.follow("link", "Exemple-le-Bourg")
        await page.follow("link", cabinet.other_model)
        await page.follow("link", "Remplacer le matériel")
        await page.fill("Nouveau profil", cabinet.true_profile[cabinet.other_model])
        await page.follow("button", "Remplacer")
        await self.ended("replace")
        await self.show("remplacer")
        await page.follow("button", "Mettre à l'essai")
        began_s = time.monotonic()
        async with asyncio.timeout(JOB_WITHIN_S):
            while not await self.healthy():
                await asyncio.sleep(1.0)
        self.stages["trial"] = round(time.monotonic() - began_s, 1)
        await self.show("essai")
        await page.follow("button", "Garder")

    async def check(self) -> int:
        """Checks all, accepts with a reason what is doubted; gives how many those were."""
        page = self.page
        await page.follow("link", "Vérifier")
        await page.follow("button", "Tout vérifier")
        await self.ended("check")
        await self.show("verifier")
        doubted = await self.read(DOUBTED)
        for number, point in enumerate(doubted):
            await page.go(f"{self.origin}/check/{point}")
            if not number:
                await self.show("verifier-un-point")
            await page.fill("Pourquoi la valeur est acceptée", "appareil simulé")
            await page.follow("button", "Forcer")
            await self.ended("check")
        return len(doubted)

    async def leave(self, outage: int = 0, defer: str = "") -> bool:
        """outage: which of the tests, by its place in the list."""
        page = self.page
        await page.follow("link", "Partir")
        if outage:
            await page.tap("combobox", "Essai de coupure")
            await page.press("Enter")  # the list closes again, and arrows choose
            for _ in range(outage):
                await page.press("ArrowDown")
            await page.fill("Plateforme à confirmer plus tard", defer)
        await page.follow("button", "Regarder")
        await self.ended("leave")
        return bool(await page.run("document.querySelector('#ready').dataset.ready === 'yes'"))

    async def take_report(self) -> None:
        """The three forms, as the links on the page give them; the browser's own sign-in is used."""
        import httpx

        folder = self.cabinet.folder / "pv"
        folder.mkdir()
        cookies = (await self.page.call("Network.getCookies"))["cookies"]
        number = await self.page.run("document.querySelector('#number')?.innerText ?? ''")
        async with httpx.AsyncClient(cookies={one["name"]: one["value"] for one in cookies}, trust_env=False) as http:
            for kind in REPORT if number else ():
                answer = await http.get(f"{self.origin}/report.{kind}", timeout=30)
                (folder / f"{number}.{kind}").write_bytes(answer.content)

    # -- what they share

    async def ended(self, what: str) -> None:
        """Waits while the page says that work is under way and comes again by itself."""
        began_s = time.monotonic()
        async with asyncio.timeout(JOB_WITHIN_S):
            state = "running"
            while state == "running":
                await asyncio.sleep(0.3)
                with suppress(BrowserError):  # it is just coming again
                    state = await self.page.run(STATE)
        self.stages[what] = round(self.stages.get(what, 0.0) + time.monotonic() - began_s, 1)
        if state != "done":
            raise BrowserError(f"{what}: the page says {state}: {(await self.page.text())[:500]}")

    async def healthy(self) -> bool:
        """Whether the gateway is back with the text on trial, and says that all works; it is away for a moment."""
        with suppress(BrowserError):
            await self.page.go(f"{self.origin}/settings")
            return bool(await self.page.run("document.querySelector('#trial')?.dataset.healthy === 'yes'"))
        return False

    async def read(self, expression: str) -> Any:
        return json.loads(await self.page.run(expression))

    async def show(self, name: str) -> None:
        if self.pictures is not None:
            await self.page.picture(self.pictures / f"{name}.webp")
