"""Every page in a real browser with its JavaScript off: accessible, light, narrow, by itself, and by the keyboard alone."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium, Page
from tests.browser.conftest import Axe, Town
from tests.gateway.web.conftest import a_leak

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("browser")]

LIGHT = 60_000
LOOK = {
    "overview": "/?pause=1",
    "device": "/device/debit-entree",
    "device without a value": "/device/pression-muette",
    "device with a flaw": "/device/pression-aval",
    "alert": f"/alert/{a_leak().id}",
    "nowhere": "/nowhere",
    "sign in": "/enter",
}
VISIT = {
    "why": "/why/pression-muette/pressure",
    "why, not asked yet": "/why/debit-entree/flow",
    "check": "/check",
    "check of a point": "/check/pression-aval/temperature",
    "causes": "/causes",
    "passwords": "/passwords",
    "scan": "/scan",
    "leave": "/leave",
    "report": "/report.html",
    "replace": "/replace/pression-amont",
    "claim": "/claim",
    "settings": "/settings",
}
"""What only the technician is shown."""
PAGES = LOOK | VISIT
SCREENS = {
    "fr": ((320, 1.0, False), (390, 1.0, True)),
    "en": ((1280, 2.0, False),),
}
"""Width in CSS pixels, zoom, night."""
OPERABLE = """[...document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), select, textarea')]
  .filter(one => one.checkVisibility())"""
FOCUSED = f"""(() => {{
  const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
  return {{
    number: {OPERABLE}.indexOf(it),
    outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    seen: box.width > 0 && box.top < innerHeight && box.bottom > 0 && box.left >= 0 && box.right <= innerWidth + 1,
  }};
}})()"""


async def opened(page: Page, town: Town, name: str, lang: str = "fr") -> None:
    if name in VISIT:
        await town.let_in(page)
    await page.go(town.url(PAGES[name], lang))
    assert page.status == (404 if name == "nowhere" else 200), await page.text()


@pytest.mark.parametrize("lang", SCREENS)
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_accessible_narrow_and_light(
    browser: Chromium, town: Town, axe: Axe, name: str, lang: str
) -> None:
    async with browser.page() as page:
        await opened(page, town, name, lang)
        assert 1000 < page.bytes < LIGHT
        for width, zoom, dark in SCREENS[lang]:
            await page.screen(width, zoom, dark=dark)
            assert await page.sideways() == 0, (width, zoom)
            assert await axe.violations(page) == [], (width, zoom, dark)
        assert page.strangers == []


async def test_the_test_can_fail(browser: Chromium, town: Town, axe: Axe) -> None:
    async with browser.page() as page:
        await page.call("Page.setBypassCSP", enabled=True)
        await opened(page, town, "device")
        await page.run(
            "document.querySelector('main').innerHTML += '<img src=\"http://192.0.2.1/x.png\">'"
            "+ '<p style=\"color:#ccc;width:900px\">Faible</p>'"
        )
        found = {line.split(":")[0] for line in await axe.violations(page)}
        assert {"image-alt", "color-contrast"} <= found
        assert await page.sideways() > 0
        assert page.strangers == ["http://192.0.2.1/x.png"]


@pytest.mark.parametrize("name", [name for name in PAGES if name != "report"])
async def test_everything_is_reached_by_tab_in_its_order_and_the_focus_is_seen(
    browser: Chromium, town: Town, name: str
) -> None:
    async with browser.page() as page:
        await opened(page, town, name)
        total = await page.run(f"{OPERABLE}.length")
        assert total > 3
        for number in range(total):
            await page.press("Tab")
            focused = await page.run(FOCUSED)
            assert focused == {"number": number, "outlined": True, "seen": True}, await page.run(
                "document.activeElement.outerHTML"
            )


async def test_a_walk_by_the_keyboard_alone(browser: Chromium, town: Town) -> None:
    async with browser.page() as page:
        await opened(page, town, "overview")
        await page.press("Tab")
        await page.press("Enter")  # past what is on every page
        await tab_to(page, "pathname", f"/alert/{a_leak().id}", within=4)
        async with page.arriving():
            await page.press("Enter")
        await tab_to(page, "innerText", "debit-entree")
        async with page.arriving():
            await page.press("Enter")
        await tab_to(page, "innerText", "Voir le tableau")
        table = "document.activeElement.parentElement.open"
        assert await page.run(table) is False
        await page.press("Enter")
        assert await page.run(table) is True


async def tab_to(page: Page, what: str, expected: str, within: int = 40) -> None:
    for _ in range(within):
        await page.press("Tab")
        if await page.run(f"document.activeElement.{what}") == expected:
            return
    raise AssertionError(f"no Tab leads to {expected!r}")
