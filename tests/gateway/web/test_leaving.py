"""Scan, replace and leave through the page, to the signed report, on simulated devices over Modbus TCP."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.replace import hardware
from gateway.report import verify
from gateway.web.session import Role
from tests.gateway.web.conftest import House, a_house
from tests.gateway.web.test_page import Page
from tests.gateway.web.test_visit import begun, ended

pytestmark = pytest.mark.asyncio(loop_scope="module")
BAD = '"><script>alert(1)</script>'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.check.PACE_S", 0.02)
    monkeypatch.setattr("gateway.web.visit.READS_AT_ONCE", 3)
    monkeypatch.setattr("gateway.look.LOW", tuple(range(1, 11)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def field(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with a_house(tmp_path_factory.mktemp("field"), history=False) as house:
        await house.until_read("debit-entree", "pression-amont", "pression-aval", "banc-pompe")
        yield house


async def test_a_scan_shows_what_it_finds_at_once_and_names_what_is_wrong(field: House) -> None:
    visitor = await field.signed_in()
    assert (await visitor.send("/scan", bus="armoire")).status_code == 303
    seen: list[int] = []
    async with asyncio.timeout(30):
        while 'data-state="running"' in (text := await visitor.page("/scan")):
            seen.append(len(re.findall(r"data-address", text)))
            await asyncio.sleep(0.05)
    assert any(seen), "what is found is shown while it goes on"
    text = await ended(visitor, "/scan")
    assert dict(re.findall(r'data-address="(\d+)" data-state="(\w+)"', text)) == {
        str(n): "answers" for n in range(1, 7)
    }
    assert re.findall(r'data-cause="([\w-]+)"', text) == ["GUET-401"]
    assert re.search(r"attendus 7, trouvés 6", Page(text).words)
    assert field.gateway.store.state("scan/armoire")["answering"] == 6


async def test_a_scan_of_one_address(field: House) -> None:
    visitor = await field.signed_in()
    text = await begun(visitor, "/scan?lang=en", bus="", address="3")
    assert re.findall(r'data-address="(\d+)"', text) == ["3"]
    assert "expected ✔" in Page(text).words


@pytest.mark.parametrize(
    "fields",
    [
        {"bus": "nobody"},
        {"bus": BAD},
        {"address": "x"},
        {"address": "-1"},
        {"address": "251"},
        {"address": "٣"},
        {"address": "5-2"},
        {"address": "1-2-3"},
        {"speed": "9601", "parity": "N", "stop": "1"},
        {"speed": "9600"},
    ],
)
async def test_a_scan_of_nothing_is_refused_with_a_sentence(field: House, fields: dict[str, str]) -> None:
    visitor = await field.signed_in()
    answer = await visitor.send("/scan", **fields)
    assert answer.status_code == 400
    assert "<script" not in answer.text
    assert re.search(r"connus : armoire|attendu 0 à 250|choisissez dans les listes", Page(answer.text).words)


async def test_other_hardware_comes_into_a_role_and_whoever_did_it_is_kept(field: House) -> None:
    visitor = await field.signed_in(who="A. Martin")
    text = await begun(visitor, "/replace/debit-entree", serial="B-77", old_serial="A-12", reason=BAD)
    assert "<script" not in text
    assert html.escape(BAD, quote=False)[2:] in text.replace("&#34;", '"')
    assert "n° A-12 remplacé par n° B-77" in Page(text).words
    stood = hardware(field.gateway.store, "debit-entree")
    assert [(one.serial, one.by) for one in stood] == [("A-12", "A. Martin"), ("B-77", "A. Martin")]
    assert stood[0].reason == BAD
    assert "appareil remplacé n° B-77" in Page(await visitor.page("/device/debit-entree")).words, "marked on the curve"


async def test_hardware_that_does_not_answer_is_not_taken_for_there(field: House) -> None:
    visitor = await field.signed_in()
    text = await begun(visitor, "/replace/pression-muette", serial="C-1")
    assert 'data-state="failed"' in text
    assert "ne répond pas comme son profil" in Page(text).words
    assert hardware(field.gateway.store, "pression-muette") == []
    text = await begun(visitor, "/replace/pression-muette", serial="C-1", anyway="1")
    assert hardware(field.gateway.store, "pression-muette")[-1].serial == "C-1"
    for path in ("/replace/nobody", "/replace/%3Cscript%3E"):
        for answer in (await visitor.http.get(path), await visitor.send(path, serial="x")):
            assert answer.status_code == 404
            assert "<script" not in answer.text
    refused = await visitor.send("/replace/debit-entree", what="file")
    assert refused.status_code == 400


async def test_red_until_all_is_checked_then_the_report_in_three_forms(field: House) -> None:
    visitor = await field.signed_in(who="A. Martin")
    for name in ("html", "pdf", "json"):
        assert (await visitor.http.get(f"/report.{name}")).status_code == 404
    text = await begun(visitor, "/leave", who="A. Martin")
    assert 'data-ready="no"' in text
    assert ("points", "no") in re.findall(r'data-item="(\w+)" data-ok="(\w+)"', text)
    text = await begun(visitor, "/check", point="")
    for point, verdict in re.findall(r'data-point="([^"]+)" data-verdict="(\w*)"', text):
        if verdict not in ("plausible", "accepted"):
            await begun(visitor, f"/check/{point}", what="accept", reason=f"capteur commandé {BAD}")
    text = await begun(visitor, "/leave", who="A. Martin")
    assert re.findall(r'data-item="\w+" data-ok="no"', text) == []
    assert 'data-ready="yes"' in text
    assert "Vous pouvez partir" in Page(text).words
    found = re.search(r'id="number">([\w-]+)<', text)
    assert found
    for name in ("html", "pdf", "json"):
        answer = await visitor.http.get(f"/report.{name}")
        assert answer.status_code == 200
        assert name != "html" or b"<script>alert" not in answer.content
        proven = verify(answer.content)
        assert (proven.number, proven.by, proven.note) == (found[1], "A. Martin", "")
    assert "unsafe" not in (await visitor.http.get("/report.html")).headers["content-security-policy"]
    assert (await visitor.http.get("/report.pdf")).headers[
        "content-disposition"
    ] == f'attachment; filename="{found[1]}.pdf"'
    body = json.loads((await visitor.http.get("/report.json")).text)["body"]
    assert {one["by"] for one in body["points"]} == {"A. Martin"}
    viewer = await field.signed_in(Role.VIEWER)
    assert (await viewer.http.get("/report.json")).status_code == 403, "who checked what is not for everybody"


NONSENSE = [
    {"who": " "}, {"who": "x" * 100}, {"who": "AM", "outage": "5000"}, {"who": "AM", "outage": "nan"},
    {"who": "AM", "defer": "a\tb"},
]  # fmt: skip


@pytest.mark.parametrize("fields", NONSENSE)
async def test_leaving_as_nobody_or_for_a_nonsense_test_is_refused(field: House, fields: dict[str, str]) -> None:
    visitor = await field.signed_in()
    assert (await visitor.send("/leave", **fields)).status_code == 400


async def test_an_outage_is_tried_as_a_job_and_the_platform_put_off_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.parting.OUTAGES", (0, 5))
    nowhere = '[upstream]\nurl = "mqtt://127.0.0.1:1"\n'
    async with a_house(tmp_path_factory.mktemp("cut"), history=False, upstream=nowhere) as house:
        await house.until_read("debit-entree")
        visitor = await house.signed_in(who="A. Martin")
        answer = await visitor.send("/leave", who="A. Martin", outage="5", defer="pas de réseau")
        assert answer.status_code == 303
        async with asyncio.timeout(10):
            while "plateforme coupée, encore" not in (text := await visitor.page("/leave")):
                await asyncio.sleep(0.1)
        assert "Annuler" in text
        items = dict(re.findall(r'data-item="(\w+)" data-ok="(\w+)"', await ended(visitor, "/leave")))
        assert (items["outage"], items["platform"]) == ("yes", "yes")
        assert house.gateway.store.state("platform_deferred")["by"] == "A. Martin"


async def test_pages_are_light_labelled_and_speak_one_language(field: House) -> None:
    visitor = await field.signed_in()
    style = (await visitor.http.get("/style.css")).content
    for path in ("/scan", "/leave", "/replace/debit-entree", "/claim", "/c/7K4M-2Q9X", "/settings"):
        for lang in ("fr", "en"):
            text = await visitor.page(path, lang=lang)
            page = Page(text)
            assert len(text.encode()) + len(style) < 60_000, path
            assert text.count("<h1>") == 1
            assert page.of("html", "lang") == [lang]
            assert len(page.ids) == len(set(page.ids)), path
            fields = {*page.of("input", "id"), *page.of("select", "id"), *page.of("textarea", "id")}
            assert fields <= set(page.of("label", "for")), path
            left = [word for word in ("Chercher", "Partir", "Remplacer", "Enrôler") if word in page.words]
            assert left == [] or lang == "fr", path
            assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


async def test_a_gateway_of_a_demonstration_cannot_be_claimed_nor_changed(
    field: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field.gateway, "file", None)
    visitor = await field.signed_in()
    assert "pas de fichier de site" in Page(await visitor.page("/settings")).words
    files = {"job": ("a.guet", b"{}", "application/json")}
    answer = await visitor.http.post(
        "/claim", data={"form": await visitor.secret(), "code": "A", "who": "AM"}, files=files
    )
    assert answer.status_code == 400
    assert "pas de fichier de site" in Page(answer.text).words
