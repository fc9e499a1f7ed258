"""What follows a form, on a gateway in a process of its own: from a blank one to a change of its site on trial, each page in
a real browser with its JavaScript off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.blank import JOB
from tests.browser.chromium import Chromium, Page
from tests.browser.conftest import Axe
from tests.gateway.web.test_process import office, run

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("browser")]

LIGHT = 60_000


async def seen(page: Page, axe: Axe, status: int = 200) -> str:
    """What the page says, after it was looked at as every page is."""
    assert page.status == status, await page.text()
    assert page.bytes < LIGHT
    assert page.strangers == []
    for width, zoom, dark in ((320, 1.0, False), (390, 1.0, True), (1280, 2.0, False)):
        await page.screen(width, zoom, dark=dark)
        assert await page.sideways() == 0, (width, zoom)
        assert await axe.violations(page) == [], (width, zoom, dark)
    await page.screen()
    return await page.text()


async def test_from_a_blank_gateway_to_a_change_that_is_kept(browser: Chromium, axe: Axe, tmp_path: Path) -> None:
    async with run(tmp_path, "0.0.0.0", blank=True) as one, browser.page() as page:
        origin = str(one.http.base_url)
        job, label = office(tmp_path, one.text)
        await page.go(f"{origin}/?lang=en")
        assert "Three ways" in await seen(page, axe)
        (tmp_path / JOB).write_bytes(job)
        await page.go(f"{origin}/c/AAAA-AAAA")
        assert "Il ne manque que le code" in await seen(page, axe)
        await page.fill("Qui enrôle", "A. Martin")
        await page.follow("button", "Enrôler")
        assert "relisez l'étiquette" in await seen(page, axe, 400)
        await page.go(f"{origin}/c/{label.code}")
        await page.fill("Qui enrôle", "A. Martin")
        await page.follow("button", "Enrôler")
        assert "connectez-vous avec le mot de passe" in await seen(page, axe)

        await one.get("/style.css")  # until the gateway is there again
        await page.go(f"{origin}/enter?to=/settings")
        await page.fill("Mot de passe", "AAAA-AAAA-AAAA")
        await page.fill("Vos initiales", "A. Martin")
        await page.follow("button", "Entrer")
        assert "relisez l'étiquette" in await seen(page, axe, 403)
        await page.fill("Mot de passe", label.password)
        await page.follow("button", "Entrer")
        assert "Les textes d'avant" in await seen(page, axe)

        await page.fill("site.toml", one.text.replace("address = 2", 'address = "x"'))
        await page.follow("button", "Vérifier et voir la différence")
        said = await seen(page, axe, 400)
        assert "attendu un numéro d'appareil de 1 à 247" in said
        assert "expected a unit id from 1 to 247" in said
        await page.fill("site.toml", one.text.replace('"1s"', '"2s"'))
        await page.follow("button", "Vérifier et voir la différence")
        assert '+every = "2s"' in await seen(page, axe)
        await page.follow("button", "Mettre à l'essai")
        async with asyncio.timeout(60):
            while "À l'essai : tout marche" not in (await page.text()).replace("\u00a0", " "):
                await asyncio.sleep(0.5)
                await one.get("/style.css")
                await page.go(f"{origin}/settings")
        assert "revient tout seul" in await seen(page, axe)
        await page.follow("button", "Garder")
        assert "en place" in await seen(page, axe)
        assert '"2s"' in (tmp_path / "site.toml").read_text()
