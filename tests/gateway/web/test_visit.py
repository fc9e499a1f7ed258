"""Why and check through the page: the same jobs as the verbs', in the background, on simulated devices over Modbus TCP."""

import asyncio
import html
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.cause import CAUSES
from gateway.check import Checked, remembered
from gateway.hatch import Job
from gateway.outcome import outcomes as found_out
from gateway.progress import Progress
from gateway.web.session import Role
from tests.gateway.web.conftest import House, Visitor, a_house, a_leak
from tests.gateway.web.test_page import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.check.PACE_S", 0.02)
    monkeypatch.setattr("gateway.web.visit.READS_AT_ONCE", 3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def field(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with a_house(tmp_path_factory.mktemp("field"), history=False) as house:
        await house.until_read("debit-entree", "pression-amont", "pression-aval", "banc-pompe")
        yield house


async def ended(visitor: Visitor, path: str) -> str:
    """The page once its job has ended; while it runs it asks to be fetched again."""
    async with asyncio.timeout(30):
        while True:
            answer = await visitor.http.get(path)
            assert answer.status_code == 200, answer.text
            if 'data-state="running"' not in answer.text:
                assert "refresh" not in answer.headers
                return answer.text
            assert answer.headers["refresh"] == "2"
            await asyncio.sleep(0.05)


async def begun(visitor: Visitor, path: str, **fields: str) -> str:
    """Sends a form that begins a job, and gives the page once it has ended."""
    answer = await visitor.send(path, **fields)
    assert answer.status_code == 303, answer.text
    return await ended(visitor, answer.headers["location"])


async def test_why_stops_at_the_first_break_with_one_action_and_an_id_that_leads_to_the_guide(field: House) -> None:
    visitor = await field.signed_in()
    before = Page(await visitor.page("/why/pression-muette/pressure"))
    assert "Chercher la panne" in before.words
    text = await begun(visitor, "/why/pression-muette/pressure")
    page = Page(text)
    assert "À l'adresse 9 rien ne répond, alors que le reste du bus répond" in page.words
    assert "Vérifiez l'alimentation de pression-muette" in page.words
    steps = re.findall(r'data-step="(\w+)" data-state="(\w+)"', text)
    assert [state for _, state in steps] == ["ok", "ok", "ok", "broken", *["unseen"] * 4]
    assert "/causes#GUET-401" in page.of("a", "href")
    guide = Page(await visitor.page("/causes"))
    assert set(CAUSES) <= set(guide.ids)


async def test_why_of_a_sound_point_says_so(field: House) -> None:
    visitor = await field.signed_in()
    words = Page(await begun(visitor, "/why/pression-amont/pressure?lang=en")).words
    assert "Nothing is broken" in words
    assert "3.24 bar" in words


@pytest.mark.parametrize("path", ["/why/nobody/x", "/why/pression-amont/x", "/check/nobody/x", "/check/%3Cb%3E/%22"])
async def test_a_point_that_there_is_not_is_told_with_those_there_are(field: House, path: str) -> None:
    visitor = await field.signed_in()
    for answer in (await visitor.http.get(path), await visitor.send(path, what="check")):
        assert answer.status_code == 404
        assert "connus" in Page(answer.text).words or "il a : pressure, temperature" in Page(answer.text).words
        assert "<b>" not in answer.text.replace("<b>À", "")


async def test_everything_is_checked_and_remembered_by_whoever_is_signed_in(field: House) -> None:
    visitor = await field.signed_in(who="A. Martin")
    text = await begun(visitor, "/check", point="")
    verdicts = dict(re.findall(r'data-point="([^"]+)" data-verdict="(\w*)"', text))
    assert verdicts["pression-amont/pressure"] == "plausible"
    assert verdicts["pression-aval/temperature"] == "no_value"
    assert verdicts["pression-muette/pressure"] == "no_value"
    kept = remembered(field.gateway, "pression-amont/pressure")
    assert kept is not None
    assert (kept.by, kept.verdict) == ("A. Martin", "plausible")


async def test_a_doubtful_value_is_accepted_only_with_a_reason_which_stays(field: House) -> None:
    visitor = await field.signed_in(who="A. Martin")
    path, bad = "/check/pression-aval/temperature", '"><script>alert(1)</script>'
    await begun(visitor, path, what="check")
    for nonsense in ("", "   ", "x" * 500, "a\x1b[2Jb"):
        answer = await visitor.send(path, what="accept", reason=nonsense)
        assert answer.status_code == 400
        assert "Rien n'a été fait" in Page(answer.text).words
    text = await begun(visitor, path, what="accept", reason=bad)
    assert 'data-verdict="accepted"' in text
    assert "<script" not in text
    assert html.escape(bad).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text
    kept = remembered(field.gateway, "pression-aval/temperature")
    assert kept is not None
    assert (kept.verdict, kept.reason, kept.by) == ("accepted", bad, "A. Martin")
    assert (await visitor.send(path, what="explode")).status_code == 400


async def test_a_provocation_asks_for_something_and_can_be_cancelled(field: House) -> None:
    visitor = await field.signed_in()
    path = "/check/pression-amont/pressure"
    assert (await visitor.send(path, what="provoke")).status_code == 303
    async with asyncio.timeout(10):
        while "Fermez le robinet" not in (text := await visitor.page(path)) or "now-do" not in text:
            await asyncio.sleep(0.05)
    number = re.search(r'name="work" value="(\d+)"', text)
    assert number
    answer = await visitor.send("/cancel", work=number[1], to=path)
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert 'data-state="cancelled"' in await ended(visitor, path)
    assert field.gateway.buses["armoire"].health["pression-amont"].lost_since_s is None
    stray = await visitor.send("/cancel", work="999", to="https://evil.example/")
    assert stray.headers["location"] == "/"


async def test_who_comes_second_is_told_who_holds_it(field: House) -> None:
    first, second = await field.signed_in(who="A. Martin"), await field.signed_in(who="B. Petit")
    path = "/check/pression-amont/pressure"
    assert (await first.send(path, what="provoke")).status_code == 303
    refused = await second.send("/check", point="debit-entree")
    assert refused.status_code == 409
    words = Page(refused.text).words
    assert "Quelqu'un d'autre y travaille" in words
    assert re.search(r"A\. Martin occupe la passerelle \(vérification, depuis \d+ s\)", words)
    assert "Annuler" in Page(await second.page("/check")).words, "either may end it"
    number = re.search(r'name="work" value="(\d+)"', await second.page(path))
    assert number
    await second.send("/cancel", work=number[1], to=path)
    await ended(second, path)


async def test_a_job_that_breaks_says_so_and_gives_its_place_back(
    field: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(gateway: object, wish: object) -> AsyncIterator[Progress | Checked]:
        yield Progress(1, 2, "x")
        raise RuntimeError("ours")

    monkeypatch.setattr("gateway.web.visit.CHECK", Job("check", object, Checked, work, alone=True))
    visitor = await field.signed_in()
    for _ in range(2):
        text = await begun(visitor, "/check", point="")
        assert 'data-state="failed"' in text
        assert "faute du programme" in Page(text).words


async def test_looking_is_not_enough_to_ask_devices(field: House) -> None:
    viewer = await field.signed_in(Role.VIEWER)
    for path in ("/check", "/check/pression-amont/pressure", "/why/pression-amont/pressure"):
        assert (await viewer.http.get(path)).status_code == 403
        assert (await viewer.send(path, what="check")).status_code == 403
    assert "/check" not in Page(await viewer.page("/device/pression-amont")).of("a", "href")


async def test_pages_are_light_labelled_and_speak_one_language(field: House) -> None:
    visitor = await field.signed_in()
    style = (await visitor.http.get("/style.css")).content
    for path in ("/check", "/check/pression-amont/pressure", "/check/pression-aval/temperature", "/causes",
                 "/why/pression-muette/pressure", "/device/pression-aval"):  # fmt: skip
        for lang in ("fr", "en"):
            text = await visitor.page(path, lang=lang)
            page = Page(text)
            assert len(text.encode()) + len(style) < 60_000, path
            assert text.count("<h1>") == 1
            assert page.of("html", "lang") == [lang]
            assert len(page.ids) == len(set(page.ids)), path
            assert set(page.of("input", "id")) <= set(page.of("label", "for"))
            assert not any(word in page.words for word in ("Vérifier", "Chercher")) or lang == "fr", path
            assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


async def test_an_officer_confirms_or_refutes_and_others_do_not(field: House) -> None:
    alert = a_leak()
    await field.gateway.store.decide({}, (alert,))
    path = f"/alert/{alert.id}"
    technician = await field.signed_in()
    assert "Personne n'a encore dit si elle était juste" in Page(await technician.page(path)).words
    assert (await technician.send(path, what="confirm")).status_code == 403
    officer = await field.signed_in(Role.OFFICER, "L. Blanc")
    refused = await officer.send(path, what="refute")
    assert refused.status_code == 400, "a refusal takes a reason"
    assert (await officer.send(path, what="x", reason="y")).status_code == 400
    assert (await officer.send("/alert/A-none", what="confirm")).status_code == 400
    answer = await officer.send(path, what="refute", reason="remplissage du réservoir <b>")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    text = await officer.page(path)
    assert 'data-outcome="refuted"' in text
    assert "remplissage du réservoir <b>" in Page(text).words
    assert "L. Blanc" in Page(text).words
    assert "1 fausses" in Page(text).words
    assert found_out(field.gateway.store)[alert.id].by == "L. Blanc"
