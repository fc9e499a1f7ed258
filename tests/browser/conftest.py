"""One Chromium and one gateway for all tests with a browser. Without a Chromium, or without axe, they skip and say so; in CI
that is a failure: `.ci/run` installs both."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_asyncio

from tests.browser.chromium import Chromium, Page, chromium
from tests.gateway.web.conftest import NIGHT_S, House, Visitor, a_house, a_leak

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def missing(what: str) -> NoReturn:
    said = f"{what} is missing: the pages were NOT tried in a browser (.ci/run shows how to install it)"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


class Axe:
    """Deque's axe-core (MPL-2.0), as published."""

    def __init__(self, source: str) -> None:
        self._source = source

    async def violations(self, page: Page) -> list[str]:
        """What axe finds on a page, one line for each element. The page came with scripts off; axe is one."""
        await page.scripts(True)
        run = f"axe.run({{runOnly: {list(RULES)}, resultTypes: ['violations']}}).then(found => found.violations)"
        found = await page.run(f"{self._source};{run}")
        await page.scripts(False)
        return [f"{rule['id']}: {rule['help']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@pytest.fixture(scope="session")
def axe(root: Path) -> Axe:
    script = root / "node_modules/axe-core/axe.min.js"
    if not script.exists():
        missing("axe-core")
    return Axe(script.read_text("utf-8"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Chromium]:
    if chromium() is None:
        missing("Chromium")
    async with Chromium.started() as running:
        yield running


@dataclass(frozen=True, slots=True)
class Town:
    """A gateway with everything to show, and the technician whose browser holds `cookies`."""

    house: House
    visitor: Visitor

    def url(self, path: str, lang: str = "fr") -> str:
        return f"{self.house.origin}{path}{'&' if '?' in path else '?'}lang={lang}"

    async def let_in(self, page: Page) -> None:
        """Makes the page's browser the technician's."""
        for cookie in self.visitor.http.cookies.jar:
            await page.call("Network.setCookie", name=cookie.name, value=cookie.value, url=self.house.origin)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A past, an alert that lasts and one that is over, a device that says nothing and one with a flaw; what the technician
    found of both is there to be read."""
    old = a_leak(NIGHT_S - 5 * 86400, cleared_s=NIGHT_S - 4 * 86400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.check.PACE_S", 0.02)
        patch.setattr("gateway.web.visit.READS_AT_ONCE", 3)
        patch.setattr("gateway.look.LOW", tuple(range(1, 11)))
        async with a_house(tmp_path_factory.mktemp("town"), alerts=(old, a_leak())) as house:
            await house.until_read("debit-entree", "pression-amont", "pression-aval", "banc-pompe")
            visitor = await house.signed_in(who="A. Martin")
            await _visited(visitor)
            yield Town(house, visitor)


async def begun(visitor: Visitor, path: str, **fields: str) -> str:
    """Sends a form that begins a job, and gives the page once it has ended."""
    answer = await visitor.send(path, **fields)
    assert answer.status_code == 303, answer.text
    async with asyncio.timeout(60):
        while 'data-state="running"' in (text := await visitor.page(answer.headers["location"])):
            await asyncio.sleep(0.05)
    return text


async def _visited(visitor: Visitor) -> None:
    """What a visit leaves on every page: a report, and after it something that is red again."""
    await begun(visitor, "/scan", bus="armoire")
    await begun(visitor, "/replace/pression-amont", serial="B-77", old_serial="A-12", reason="foudre")
    await begun(visitor, "/why/pression-muette/pressure")
    listed = await begun(visitor, "/check", point="")
    for point, verdict in re.findall(r'data-point="([^"]+)" data-verdict="(\w*)"', listed):
        if verdict != "plausible":
            await begun(visitor, f"/check/{point}", what="accept", reason="capteur à changer")
    assert 'data-ready="yes"' in await begun(visitor, "/leave", who="A. Martin")
    await begun(visitor, "/check/pression-aval/temperature", what="check")
    assert 'data-ready="no"' in await begun(visitor, "/leave", who="A. Martin")
