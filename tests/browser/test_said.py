"""What people read, kept as text beside the tests: a sentence that changes is seen in review. GUET_SAID=write keeps it anew.

The pages are read out of the browser, at one frozen moment. The verbs are run on a line whose registers stand still; what
differs from run to run (times, durations, places) is put into one form.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.clock import ScaledClock
from gateway.reading import Flaw, Quality, Snapshot
from tests.browser.chromium import Chromium
from tests.browser.conftest import Town
from tests.gateway.conftest import METER, PRESSURE, Field, f32, guet
from tests.gateway.web.conftest import NIGHT_S, a_house, a_leak

SAID = Path(__file__).parent / "said"
in_browser = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("browser")]
PAGES = {
    "overview": "/?pause=1",
    "device": "/device/pression-aval",
    "alert": f"/alert/{a_leak().id}",
    "sign-in": "/enter",
    "why": "/why/pression-aval/temperature",
    "check": "/check/pression-aval/temperature",
    "scan": "/scan",
    "leave": "/leave",
    "replace": "/replace/pression-aval",
    "claim": "/claim",
}
SAME = (
    (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+\d\d:\d\d)", "TIME"),
    (r"\d{8}T\d{6}Z", "TIME"),
    (r"(?<![\d:])\d\d:\d\d(:\d\d)?", "TIME"),
    (r"\d+([.,]\d+)? (s|ms|min|h|GB|Go|MB|Mo)\b", r"N \2"),
    (r"\d+ (lectures|readings|requêtes|requests|réponses|answers)", r"N \1"),
    (r"/\S*/(tty|data|site\.toml|guet\.sock)", r"PLACE/\1"),
    (r"0x[0-9a-f]+|[0-9a-f]{12,}", "HEX"),
)


def compared(name: str, lang: str, text: str) -> None:
    path = SAID / lang / f"{name}.txt"
    lines = "\n".join(line.rstrip() for line in text.replace("\u202f", " ").replace("\u00a0", " ").splitlines())
    text = re.sub(r"\n{3,}", "\n\n", lines).strip() + "\n"
    if os.environ.get("GUET_SAID") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{path.name} says something else; GUET_SAID=write keeps it"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def still(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A gateway that does nothing, at one moment, with a few values."""
    clock = ScaledClock(NIGHT_S, time.monotonic(), 1e-9)
    async with a_house(tmp_path_factory.mktemp("still"), clock=clock, alerts=(a_leak(),), run=False) as house:
        live = house.gateway.live
        live.take(Snapshot("debit-entree", NIGHT_S - 20, {"flow": 5.12, "volume": 123_456.7}))
        nothing = {"temperature": Flaw(Quality.BAD, "l'appareil dit qu'il n'a pas de valeur")}
        live.take(Snapshot("pression-aval", NIGHT_S - 40, {"pressure": 3.01, "temperature": None}, nothing))
        yield Town(house, await house.signed_in(who="A. Martin"))


class TestPages:
    pytestmark = in_browser

    @pytest.mark.parametrize("lang", ["fr", "en"])
    @pytest.mark.parametrize("name", PAGES)
    async def test_a_page_says_what_it_said(self, browser: Chromium, still: Town, name: str, lang: str) -> None:
        async with browser.page() as page:
            await still.let_in(page)
            await page.go(still.url(PAGES[name], lang))
            compared(name, lang, await page.text())


VERBS = {
    "verb-scan": ("scan", "--address", "3", "--address", "4"),
    "verb-why": ("why", "aval/pressure"),
    "verb-check": ("check", "amont", "--reads", "2", "--by", "AM"),
    "verb-leave": ("leave", "--by", "AM"),
}


@pytest.mark.parametrize("lang", ["fr", "en"])
async def test_the_verbs_say_what_they_said(tmp_path: Path, lang: str) -> None:
    """One device answers as it should, one is another model, one is dead."""
    on_site = Field(tmp_path)
    on_site.fixed(3, "holding", f32(0.0, 3.24, 0.0, 0.0, 11.6))
    on_site.fixed(4, "holding", {0: 7})
    on_site.expect("amont", PRESSURE, 3, asset="PRV-12")
    on_site.expect("compteur", METER, 4)
    on_site.expect("aval", PRESSURE, 5)
    on_site.site()
    async with on_site.powered():
        for name, words in VERBS.items():
            code, out, err = await guet(*words, folder=on_site.folder, lang=lang)
            text = f"$ guet {' '.join(words)}\n{out}{err}exit {code}"
            for pattern, form in SAME:
                text = re.sub(pattern, form, text)
            compared(name, lang, text)
