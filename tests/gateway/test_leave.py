"""Leaving: red until all is so, then a signed report as JSON, page and PDF; whatever is changed in it is named."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import nats
import pytest

from central.broker import Broker
from gateway.app import Gateway
from gateway.check import CheckWish
from gateway.errors import SealError, WishError
from gateway.jobs import CHECK, JOBS, LEAVE, REPLACE, SCAN
from gateway.leave import Item, LeaveWish, Left, leave, lines
from gateway.look import ScanWish
from gateway.pdf import Sheet, latin, width_of, wrapped
from gateway.replace import ReplaceWish
from gateway.report import page, paper, verify
from tests.gateway.conftest import PRESSURE, Field, built, guet, running, told


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    monkeypatch.setattr("gateway.check.PACE_S", 0.01)


@pytest.fixture
def one(on_site: Field) -> Field:
    on_site.model(PRESSURE, 3)
    on_site.expect("amont", PRESSURE, 3, asset="PRV-12")
    return on_site


def sorted_out(rows: list[Any]) -> tuple[dict[str, Item], Left]:
    left = rows[-1]
    assert isinstance(left, Left)
    return {row.name: row for row in rows if isinstance(row, Item)}, left


def reds(items: dict[str, Item]) -> set[str]:
    return {name for name, item in items.items() if not item.ok}


async def report_of(one: Field, **accept: str) -> dict[str, Any]:
    """A report of a site where all is well."""
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        await told(site, SCAN, ScanWish())
        await told(site, CHECK, CheckWish(by="AM", reads=4))
        for point, reason in accept.items():
            await told(site, CHECK, CheckWish(point, 4, accept=reason, by="AM"))
        _, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
    assert left.ready
    document: dict[str, Any] = json.loads(left.document)
    return document


async def test_it_is_red_until_all_points_are_checked(one: Field) -> None:
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert (reds(items), left.ready, left.document) == ({"points"}, False, "")
        assert "à vérifier : amont/pressure, amont/temperature" in items["points"].said
        await told(site, CHECK, CheckWish("amont/pressure", by="AM"))
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert "à vérifier : amont/temperature" in items["points"].said
        await told(site, CHECK, CheckWish("amont", by="AM"))
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert (reds(items), left.ready) == (set(), True)
        await told(site, REPLACE, ReplaceWish("amont", "B-2"))
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert reds(items) == {"points"}, "other hardware has to be checked anew"


async def test_it_is_red_while_the_gateway_does_not_run(one: Field) -> None:
    site = one.site()
    async with one.powered():
        await told(site, CHECK, CheckWish(by="AM"))
        items, _ = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
    assert reds(items) == {"running"}


async def test_a_bad_value_is_red_and_an_accepted_one_is_in_the_report(one: Field) -> None:
    one.expect("muette", PRESSURE, 9)
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        await told(site, CHECK, CheckWish(reads=4, by="AM"))
        items, _ = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert reds(items) == {"points"}
        assert "muette/pressure SANS VALEUR" in items["points"].said
        for point in ("muette/pressure", "muette/temperature"):
            await told(site, CHECK, CheckWish(point, 2, accept="capteur commandé", by="AM"))
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
    assert left.ready
    points = {point["point"]: point for point in json.loads(left.document)["body"]["points"]}
    assert (points["muette/pressure"]["verdict"], points["muette/pressure"]["reason"]) == (
        "accepted",
        "capteur commandé",
    )
    assert "capteur commandé" in page(json.loads(left.document)).decode()


async def test_the_platform_is_confirmed_or_put_off_with_a_reason(one: Field, unused_tcp_port: int) -> None:
    site = one.site(more=f'[upstream]\nurl = "mqtt://127.0.0.1:{unused_tcp_port}"\n')
    async with one.powered(), running(site, dict(JOBS)):
        await told(site, CHECK, CheckWish(reads=4, by="AM"))
        items, _ = sorted_out(await told(site, LEAVE, LeaveWish("AM")))
        assert reds(items) == {"outage", "platform"}
        assert "guet leave --outage 60" in items["outage"].said
        items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM", 5.0, "pas de réseau au regard")))
    assert (reds(items), left.ready) == (set(), True)
    body = json.loads(left.document)["body"]
    assert (body["platform"]["state"], body["platform"]["reason"]) == ("deferred", "pas de réseau au regard")
    assert body["outage"]["readings"] > 0
    assert (body["outage"]["dropped"], body["outage"]["delivered"]) == (0, False)


async def test_an_outage_is_tried_on_a_real_broker_and_all_is_delivered(one: Field, tmp_path: Path) -> None:
    async with Broker(tmp_path / "nats") as broker:
        centre = await nats.connect(broker.nats_url, allow_reconnect=False)
        heard: list[int] = []

        async def commit(message: Any) -> None:
            record = json.loads(message.data)
            if "seq" in record:
                heard.append(record["seq"])
                ack = {"epoch": record["epoch"], "from": record["seq"], "to": record["seq"]}
                await centre.publish("guet.v1.edge-0042.ack", json.dumps(ack).encode())

        await centre.subscribe("guet.v1.edge-0042.*", cb=commit)
        await centre.flush()
        site = one.site(more=f'[upstream]\nurl = "{broker.mqtt_url}"\n')
        async with one.powered(), running(site, dict(JOBS)) as gateway:
            await told(site, CHECK, CheckWish(reads=4, by="AM"))
            async with asyncio.timeout(20):
                while not gateway.online:
                    await asyncio.sleep(0.05)
            items, left = sorted_out(await told(site, LEAVE, LeaveWish("AM", 5.0)))
        await centre.close()
    assert (reds(items), left.ready) == (set(), True)
    body = json.loads(left.document)["body"]
    assert (body["outage"]["delivered"], body["outage"]["dropped"]) == (True, 0)
    assert body["outage"]["readings"] > 0
    assert body["platform"]["state"] == "confirmed"
    assert sorted(set(heard)) == list(range(1, max(heard) + 1)), "without a hole"


async def test_what_cannot_be_asked(one: Field) -> None:
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        for wish in (LeaveWish("AM", 1.0), LeaveWish("AM", 6000.0), LeaveWish("AM", 10.0)):
            with pytest.raises(WishError):
                await told(site, LEAVE, wish)


async def test_a_broken_store_is_red(one: Field) -> None:
    async with one.powered(), built(one.site()) as gateway:
        gateway.store.fault = "disk I/O error"
        items = await _items(gateway)
    assert "disk I/O error" in items["store"].said
    assert not items["store"].ok


async def _items(gateway: Gateway) -> dict[str, Item]:
    return {row.name: row async for row in leave(gateway, LeaveWish("AM")) if isinstance(row, Item)}


# The report


async def test_the_three_forms_are_whole_and_each_verifies_alone(one: Field) -> None:
    document = await report_of(one)
    text = json.dumps(document, ensure_ascii=False, indent=1).encode()
    for form in (text, page(document), paper(document)):
        found = verify(form)
        assert (found.gateway, found.by, found.note) == ("edge-0042", "AM", "")
    assert page(document) == page(document)
    assert paper(document) == paper(document), "the same calls give the same bytes"
    assert len(page(document)) < 60_000
    assert b"http" not in page(document).replace(b"http-equiv", b"").replace(b"http://www.w3.org/2000/svg", b"")
    assert "Procès-verbal de mise en service" in page(document).decode()
    body = document["body"]
    assert re.fullmatch(r"[0-9a-f]{64}", body["software"]["sha256"])
    assert [one["profile"] for one in body["profiles"]] == [PRESSURE]
    assert [(scan["bus"], scan["answering"], scan["causes"]) for scan in body["scans"]] == [("ligne", 1, [])]


async def test_whatever_is_changed_is_named(one: Field) -> None:
    document = await report_of(one)
    html, pdf = page(document), paper(document)
    value = f"{document['body']['points'][0]['value']}".encode()
    changes = {
        "a value in the signed part": html.replace(value, b"9.9", 1),
        "what is shown": html.replace(b"PLAUSIBLE", b"DOUTEUX", 1),
        "something added to the page": html.replace(b"</body>", b"<p>conforme</p></body>"),
        "another page around the signed part": b"<p>tout va bien</p>" + html,
        "a name": html.replace(b"AM", b"BM"),
    }
    for what, changed in changes.items():
        assert changed != html, what
        with pytest.raises(SealError):
            verify(changed)
    shown = "PLAUSIBLE".encode("cp1252").hex().encode()
    assert shown in pdf
    for changed in (
        pdf.replace(shown, b"DOUTEUX  ".hex().encode()),
        pdf.replace(value, b"9.9"),
        pdf + b"\n%",
        pdf[:-20],
    ):
        assert changed != pdf
        with pytest.raises(SealError):
            verify(changed)
    document["body"]["points"][0]["verdict"] = "accepted"
    with pytest.raises(SealError, match="contenu a été changé"):
        verify(json.dumps(document).encode())
    for garbage in (
        b"",
        b"%PDF-1.7",
        b'%PDF {"body":',
        b'<script type="application/json" id="guet-report">{}</script>',
    ):
        with pytest.raises(SealError):
            verify(garbage)


async def test_hostile_reasons_stay_text(one: Field) -> None:
    one.expect("muette", PRESSURE, 9)
    evil = "</script><script>alert(1)</script>\"'&<img src=x> endstream"
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        await told(site, CHECK, CheckWish(reads=4, by=evil))
        for point in ("muette/pressure", "muette/temperature"):
            await told(site, CHECK, CheckWish(point, 2, accept=evil, by="AM"))
        _, left = sorted_out(await told(site, LEAVE, LeaveWish(evil)))
    document = json.loads(left.document)
    html, pdf = page(document), paper(document)
    assert html.count(b"<script") == 1
    assert b"<img" not in html
    assert verify(html).by == evil
    assert verify(pdf).by == evil


async def test_the_command_from_start_to_verified(one: Field) -> None:
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        code, out, _ = await guet("leave", "--by", "AM", folder=one.folder)
        assert (code, out.splitlines()[-1]) == (1, "Pas encore : ce qui est rouge reste à faire.")
        assert (await guet("check", "--reads", "3", folder=one.folder))[0] == 0
        code, out, err = await guet("leave", "--by", "AM", "--out", "pv", folder=one.folder)
    assert (code, err) == (0, "")
    assert "Vous pouvez partir. Procès-verbal PV-edge-0042-" in out
    made = sorted((one.folder / "pv").iterdir())
    assert [path.suffix for path in made] == [".html", ".json", ".pdf"]
    for path in made:
        code, out, err = await guet("verify", str(path), folder=one.folder)
        assert (code, err) == (0, ""), path.suffix
        assert "intact, scellé par la passerelle edge-0042" in out
    made[0].write_bytes(made[0].read_bytes().replace(b"PLAUSIBLE", b"DOUTEUX"))
    code, out, _ = await guet("verify", str(made[0]), folder=one.folder)
    assert (code, out) == (1, "REFUSÉ : le contenu signé est intact, mais ce qui est affiché a été changé\n")
    code, out, _ = await guet("verify", str(made[1]), "--key", "00" * 16, "--json", folder=one.folder, lang="en")
    assert (code, json.loads(out)["valid"]) == (1, False)
    assert (await guet("verify", "none.json", folder=one.folder))[0] == 2


FRENCH = """\
✔ bon    passerelle         elle tourne
✘ ROUGE  points             0/2 points vérifiés ; à vérifier : amont/pressure, amont/temperature"""
ENGLISH = """\
✔ good   gateway            it runs
✘ RED    points             0/2 points checked ; to be checked: amont/pressure, amont/temperature"""


@pytest.mark.parametrize(("lang", "snapshot"), [("fr", FRENCH), ("en", ENGLISH)])
async def test_what_is_printed(one: Field, lang: str, snapshot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", lang)
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)):
        rows = await told(site, LEAVE, LeaveWish("AM"))
    shown = [line for row in rows if isinstance(row, Item) for line in lines(row)]
    assert "\n".join(shown[:2]) == snapshot
    assert len(shown) == 5


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\u202eb", "x" * 401, "a\nb"])
async def test_words_that_are_none_are_refused_and_nothing_is_kept(one: Field, evil: str) -> None:
    site = one.site()
    async with one.powered(), running(site, dict(JOBS)) as gateway:
        for job, wish in (
            (CHECK, CheckWish("amont/pressure", 1, accept=evil)),
            (CHECK, CheckWish("amont/pressure", 1, by=evil)),
            (LEAVE, LeaveWish(evil)),
            (LEAVE, LeaveWish("AM", defer=evil)),
            (REPLACE, ReplaceWish("amont", reason=evil)),
        ):
            with pytest.raises(WishError, match="signes imprimables"):
                await told(site, job, wish)  # type: ignore[arg-type]
        assert gateway.store.state("check/amont/pressure") is None
        assert gateway.store.state("platform_deferred") is None


# The PDF


def test_text_is_broken_where_it_fits_and_nothing_is_lost() -> None:
    text = "Vérifiez l'alimentation du capteur, puis son connecteur " + "x" * 200
    broken = wrapped(text, 100, 9)
    assert "".join(broken).replace(" ", "") == text.replace(" ", "")
    assert all(width_of(line, 9) <= 100 for line in broken)


def test_letters_that_the_font_has_not_become_dots() -> None:
    assert latin("écart 3 m³/h, œuvre, −2 °C, 中\x1b") == "écart 3 m³/h, œuvre, -2 °C, ··"


def test_a_long_table_goes_over_pages() -> None:
    sheet = Sheet("t", "f")
    for number in range(200):
        sheet.row((str(number), "x" * 60), (1, 2))
    content = sheet.finished()
    assert content.startswith(b"%PDF-1.7")
    assert (
        content.count(b"/Type /Page ") + content.count(b"/Type /Page\n") + len(re.findall(rb"/Type /Page[^s]", content))
        >= 4
    )
