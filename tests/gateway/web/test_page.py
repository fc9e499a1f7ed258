"""The page of a real gateway on simulated devices, asked over a real socket."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from central.broker import Broker
from gateway.action import Action, Done
from gateway.alert import AlertKind, Baseline, Reason, Severity
from gateway.inference import Model, load_card
from gateway.reading import Flaw, Quality, Snapshot
from gateway.recent import LENGTH
from gateway.snippet import Samples, packed
from gateway.web import page as web_page
from gateway.web.page import HEADERS, MOST_CONNECTIONS
from gateway.web.sight import REFRESH_S
from gateway.web.words import WORDS
from tests.gateway.web.conftest import NIGHT_S, House, a_house, a_leak

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOWHERE = '[upstream]\nurl = "mqtt://127.0.0.1:1"\n'
VOID = {"meta", "link", "br", "img", "input", "hr"}
LIGHT = 60_000


class Page(HTMLParser):
    """A page taken apart: tags in balance, attributes, and what can be read."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if "id" in given:
            self.ids.append(given["id"])
        if tag not in VOID:
            self._open.append((tag, given.get("lang") or (self._open[-1][1] if self._open else "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open:
            self.texts.append((self._open[-1][1], " ".join(data.split())))

    @property
    def words(self) -> str:
        return " ".join(text for _, text in self.texts).replace("\u00a0", " ")

    def of(self, tag: str, attribute: str) -> list[str]:
        return [value for found, name, value in self.attributes if (found, name) == (tag, attribute)]


async def every_page(house: House, **query: str) -> dict[str, str]:
    alert = a_leak()
    paths = ["/", "/device/debit-entree", "/device/pression-aval", "/device/pression-muette", "/device/banc-pompe"]
    found = {path: await house.page(path, **query) for path in [*paths, f"/alert/{alert.id}"]}
    for path in ("/device/nobody", "/alert/none", "/nowhere"):
        answer = await house.http.get(path, params=query)
        assert answer.status_code == 404
        found[path] = answer.text
    return found


async def until_lost(house: House, name: str) -> None:
    async with asyncio.timeout(20):
        while house.gateway.buses["armoire"].health[name].lost_since_s is None:
            await asyncio.sleep(0.02)


async def test_every_page_is_whole_light_and_its_own(house: House) -> None:
    pages = await every_page(house)
    style = await house.http.get("/style.css")
    assert style.status_code == 200
    assert not re.search(r"url\(|@import", style.text)
    for path, text in pages.items():
        page = Page(text)
        assert len(text.encode()) + len(style.content) < LIGHT, path
        assert page.of("html", "lang") == ["fr"]
        assert len(page.ids) == len(set(page.ids)), path
        links = [value for _, name, value in page.attributes if name in ("href", "src", "action", "srcset")]
        assert links
        assert all(re.match(r"/(?!/)|#", link) for link in links), path
        assert "http" not in text, path
        assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]
        assert "<script" not in text


async def test_strict_headers_on_everything(house: House) -> None:
    for path in ("/", "/nowhere", "/api/overview.json", "/style.css", "/icon.svg"):
        answer = await house.http.get(path)
        assert {"server", "x-powered-by"} & set(answer.headers) == set()
        for name, text in HEADERS.items():
            if name != "Cache-Control":
                assert answer.headers[name] == text, path
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert "script-src" not in HEADERS["Content-Security-Policy"], "default-src 'none' forbids every script"


async def test_english_pages_have_no_french_of_ours_left(house: House) -> None:
    told = {french for french, english in WORDS.items() if english != french and "{" not in french}
    for path, text in (await every_page(house, lang="en")).items():
        page = Page(text)
        assert page.of("html", "lang") == ["en"]
        left = [words for lang, words in page.texts if lang == "en" and words in told]
        assert left == [], path
        inner = [link for link in page.of("a", "href") if link.startswith("/")]
        assert all("lang=en" in link for link in inner if link not in (path, "/")), "the language stays"


async def test_the_overview_says_what_each_device_does(house: House) -> None:
    await until_lost(house, "pression-muette")
    page = Page(await house.page("/"))
    assert "Fonctionne seul" in page.words
    assert re.search(r"debit-entree fonctionne Débit 5,12 m³/h Index", page.words)
    assert "pression-aval dégradé Température de la cellule : l'appareil dit qu'il n'a pas de valeur" in page.words
    assert re.search(r"pression-muette muet depuis \d\d:\d\d aucune réponse : vérifier l'alimentation", page.words)
    assert re.search(r"lu il y a \d+ (s|min)", page.words)
    assert re.search(r"Appareils 5 sur 7 fonctionnent", page.words)
    assert page.words.index("pression-muette") < page.words.index("debit-entree"), "who needs somebody comes first"
    assert page.words.index("Alertes ouvertes 1 ") < page.words.index("Appareils")
    assert "ascenseur-mairie données insuffisantes" in page.words or "ascenseur-mairie pas encore jugé" in page.words


async def test_ages_are_in_site_time(tmp_path: Path) -> None:
    """A minute of the site takes a second here."""
    async with a_house(tmp_path, history=False, run=False) as house:
        house.gateway.live.take(Snapshot("debit-entree", house.gateway.clock.now() - 7 * 60, {"volume": 123_456.7}))
        house.gateway.live.take(Snapshot("debit-entree", house.gateway.clock.now() - 200, {"flow": 5.12}))
        house.gateway.buses["armoire"].health["debit-entree"].answered(house.gateway.clock.now())
        words = Page(await house.page("/")).words
        assert re.search(r"Débit 5,12 m³/h( il y a \d min)? Index 123 457 m³ il y a (7|8|9|1\d) min", words)
        assert re.search(r"lu il y a [3-6] min", words)
        assert "périmée" in Page(await house.page("/device/debit-entree")).words, "more than three of its periods"


async def test_a_device_says_value_quality_reason_age_and_where_its_profile_is_from(house: House) -> None:
    page = Page(await house.page("/device/pression-aval"))
    assert re.search(r"Pression P1 3,01 bar Qualité : bonne il y a \d+ (s|min) \( ?\d\d:\d\d ?\)", page.words)
    assert (
        "Température de la cellule aucune valeur Qualité : mauvaise l'appareil dit qu'il n'a pas de valeur"
        in page.words
    )
    assert "Communication protocol X-Line, version 3.7" in page.words
    assert "texte du constructeur" in page.words
    assert page.words.count("Dernières lectures") == 2
    assert page.words.count("Les derniers jours") == 1, "of the temperature no summary has a value"
    assert page.of("svg", "role").count("img") == 3
    assert page.of("table", "class") == []
    assert len(re.findall(r"\d+ janv\. \d,\d\d \d,\d\d \d,\d\d", page.words)) >= 13, "a row for each day"


async def test_all_curves_of_a_device_can_be_reached(house: House) -> None:
    first = Page(await house.page("/device/banc-pompe"))
    assert "Points 1 à 4 sur 8" in first.words
    (following,) = [link for link in first.of("a", "href") if "from=4" in link and link.startswith("/device")]
    rest = Page((await house.http.get(following)).text)
    assert "Points 5 à 8 sur 8" in rest.words
    assert {"vibration_1", "flow"} <= {*first.ids, *rest.ids}
    for nonsense in ("-1", "999999", "9999999999", "x", "٣"):
        assert "Points" in await house.page("/device/banc-pompe", **{"from": nonsense})


async def test_an_alert_on_one_page(house: House) -> None:
    alert = a_leak()
    page = Page(await house.page(f"/alert/{alert.id}"))
    assert "Fuite d'eau probable : secteur-moulin" in page.words
    assert (
        "Début probable 14 janv. 18:00 Levée 14 janv. 22:00 après 4 h Terminée dure encore Gravité majeure"
        in page.words
    )
    assert "Score 4,21 pour un seuil de 3" in page.words
    reasons = [page.words.index(f"pèse {share} %") for share in (61, 27, 12)]
    assert reasons == sorted(reasons)
    assert "La règle simple « night_flow » dit OUI aussi (score 2,13" in page.words
    assert "avec debit-entree/flow à 9,6 m³/h au lieu de 15,1" in page.words
    assert "93 % des 41 alertes d'un tel score étaient justes, mesuré en simulation." in page.words
    assert f"leak Empreinte SHA-256 : {alert.model_sha256}" in page.words
    assert page.words.count("début 14 janv. 18:00") >= 2
    assert page.words.count("alerte 14 janv. 22:00") >= 2
    assert page.of("svg", "role").count("img") == 2, "flow and pressure"
    assert re.search(r"avant le début 4,\d\d 8,\d\d 1\d,\d depuis le début", page.words)


async def test_the_raw_samples_around_an_alert_can_be_fetched(tmp_path: Path) -> None:
    alert = a_leak()
    async with a_house(tmp_path, alerts=(alert,), run=False) as house:
        path = f"/alert/{alert.id}/readings.csv"
        assert path not in Page(await house.page(f"/alert/{alert.id}")).of("a", "href")
        assert (await house.http.get(path)).status_code == 404
        samples = Samples("debit-entree/flow", "m3/h", [-60.0, 0.0, 60.5], [9.25, None, 15.125])
        house.gateway.store.keep_snippet(alert.id, packed([samples]))
        await house.gateway.store.flush()
        assert path in Page(await house.page(f"/alert/{alert.id}")).of("a", "href")
        answer = await house.http.get(path)
        assert answer.headers["content-type"].startswith("text/csv")
        rows = answer.text.splitlines()
    assert rows[0] == "time,point,value,unit"
    assert [row.partition(",")[2] for row in rows[1:]] == [
        "debit-entree/flow,9.25,m3/h", "debit-entree/flow,,m3/h", "debit-entree/flow,15.125,m3/h",
    ]  # fmt: skip


async def test_an_alert_of_a_rule_about_a_device_without_data(tmp_path: Path) -> None:
    alert = a_leak(
        kind=AlertKind.NO_DATA, subject="pression-amont", model="no_data", model_sha256="", severity=Severity.MINOR,
        reasons=(Reason("pression-amont", "silence", 1.0, "aucune valeur depuis 2,1 h"),),
        baseline=Baseline("no_data", False, 0.5), cleared_s=NIGHT_S - 3600, confidence=None, counterfactual=None,
    )  # fmt: skip
    async with a_house(tmp_path, alerts=(alert,), run=False) as house:
        page = Page(await house.page(f"/alert/{alert.id}"))
        assert "Appareil sans données : pression-amont" in page.words
        assert "Une règle seule a décidé" in page.words
        assert "Non étalonné" in page.words
        assert "Inconnu : aucun changement de ce qui est nommé" in page.words
        assert "dit NON (score 0,500" in page.words
        assert page.of("svg", "role").count("img") == 2
        assert "/device/pression-amont" in page.of("a", "href")
        assert "Alertes terminées Appareil sans données" in Page(await house.page("/")).words


async def test_a_network_that_is_not_used_and_other_kernels_are_said(tmp_path: Path, root: Path) -> None:
    card = load_card(root / "edge_models/leak/card.toml").model_copy(update={"decides": "rule"})
    alert = a_leak(subject="ascenseur-mairie")
    async with a_house(tmp_path, alerts=(alert,), run=False) as house:
        assert "non utilisé" not in Page(await house.page("/")).words
        house.gateway.judge.watches["ascenseur-mairie"].model = Model(card, fallback="runs without XNNPACK")
        for path, said in (
            ("/", "réseau non utilisé"),
            (f"/alert/{alert.id}", "Le réseau de ce modèle n'est pas utilisé"),
        ):
            words = Page(await house.page(path)).words
            assert said in words
            assert "calculé par d'autres noyaux" in words
        assert "network not used" in Page(await house.page("/", lang="en")).words


async def test_unknown_things_are_told_in_words(house: House) -> None:
    answer = await house.http.get("/device/nobody")
    assert answer.status_code == 404
    assert "Appareils connus : debit-entree, pression-amont" in Page(answer.text).words
    answer = await house.http.post("/", content="x=1")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert "Ceci ne se demande pas ainsi" in Page(answer.text).words
    assert (await house.http.head("/")).status_code == 200


async def test_hostile_names_stay_names(tmp_path: Path) -> None:
    bad = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    alert = a_leak(
        id="A-<b>", subject=bad, model=bad, reasons=(Reason(bad, bad, 1.0, bad),), baseline=Baseline(bad, True, 2.0)
    )
    progress = tmp_path / "progress.json"
    event = {"at_h": 1, "text": bad, "done": False}
    progress.write_text(json.dumps({"title": bad, "elapsed_h": 1, "hours": 2, "uplink": bad, "events": [event]}))
    async with a_house(tmp_path, alerts=(alert,), progress=progress, run=False) as house:
        house.gateway.live.take(Snapshot("banc-pompe", NIGHT_S, {"flow": None}, {"flow": Flaw(Quality.BAD, bad)}))
        house.gateway.buses["armoire"].health["banc-pompe"].answered(NIGHT_S)
        paths = ["/", "/device/banc-pompe", "/alert/A-%3Cb%3E"]
        texts = [await house.page(path, lang=lang) for path in paths for lang in ("fr", "en", bad)]
        strange = ["/device/" + bad, "/alert/" + bad, "//evil.example/", "/%22%3E%3Cscript%3E", "/device/..%2f..%2fetc"]
        texts += [(await house.http.get(f"http://127.0.0.1:{house.port}{path}")).text for path in strange]
    for text in texts:
        page = Page(text)
        assert "<script" not in text
        assert not page.of("img", "src")
        assert all(re.match(r"/(?!/)|#", link) for link in page.of("a", "href"))
    assert sum("alert(1)" in Page(text).words for text in texts[:9]) == 9, "shown, as text"


@pytest.mark.parametrize(
    "host", ["evil.example", "guet.local", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1"]
)
async def test_a_name_that_a_stranger_could_point_here_is_refused(house: House, host: str) -> None:
    answer = await house.http.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "Exemple-le-Bourg" not in answer.text


async def test_two_host_headers_are_refused(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.split()[1] in (b"400", b"421")


async def test_the_overview_refreshes_itself_until_it_is_told_not_to(house: House) -> None:
    live, still = await house.http.get("/"), await house.http.get("/", params={"pause": "1"})
    assert live.headers["refresh"] == str(REFRESH_S)
    assert "/?pause=1" in Page(live.text).of("a", "href")
    assert "refresh" not in still.headers
    assert "Suivre en direct" in Page(still.text).words
    assert "refresh" not in (await house.http.get("/device/banc-pompe")).headers


async def test_without_its_platform_it_says_that_it_works_alone_and_how_much_waits(tmp_path: Path) -> None:
    async with a_house(tmp_path, upstream=NOWHERE, alerts=(a_leak(),), history=False, run=False) as house:
        for _ in range(3):
            house.gateway.store.put("status", NIGHT_S - 60, {"version": "1"})
        await house.gateway.store.flush()
        page = Page(await house.page("/"))
        since = "Fonctionne seul depuis 14 janv. 22:00 : le réseau est coupé, 4 enregistrements en attente"
        assert since in page.words, "the oldest that waits is the alert"
        body = (await house.http.get("/api/overview.json")).json()
        assert (body["state"], body["online"], body["waiting"]) == ("alone", False, 4)


async def test_what_waits_is_counted_no_further_than_needed(tmp_path: Path) -> None:
    async with a_house(tmp_path, upstream=NOWHERE, history=False, run=False) as house:
        for _ in range(8):
            for _ in range(1500):
                house.gateway.store.put("status", NIGHT_S, {})
            await house.gateway.store.flush()
        assert "plus de 10 000 enregistrements en attente" in Page(await house.page("/")).words


async def test_with_its_platform_it_works(tmp_path: Path) -> None:
    async with AsyncExitStack() as platform:
        broker = await platform.enter_async_context(Broker(tmp_path / "nats"))
        async with a_house(tmp_path, upstream=f'[upstream]\nurl = "{broker.mqtt_url}"\n') as house:
            async with asyncio.timeout(20):
                while not house.gateway.online:
                    await asyncio.sleep(0.02)
            page = Page(await house.page("/"))
            assert "Fonctionne Reliée à la plateforme" in page.words
            assert "seul" not in page.words
            assert (await house.http.get("/api/overview.json")).json()["state"] == "works"
            await platform.aclose()
            async with asyncio.timeout(20):
                while house.gateway.online:
                    await asyncio.sleep(0.02)
            words = Page(await house.page("/")).words
            assert "Fonctionne seul : le réseau est coupé, aucun enregistrement en attente" in words


async def test_a_bus_on_which_nobody_answers_degrades_the_gateway(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        now_s = house.gateway.clock.now()
        for health in house.gateway.buses["armoire"].health.values():
            assert "Dégradé" not in Page(await house.page("/")).words, "one that answers is enough"
            for _ in range(3):
                health.failed("no answer", now_s, 60, now_s - 600)
        page = Page(await house.page("/"))
        assert "Dégradé : aucun appareil ne répond sur le bus armoire" in page.words
        assert "Appareils 0 sur 7 fonctionnent" in page.words


async def test_a_store_that_cannot_be_read_is_said_and_stops_nothing(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False) as house:
        await house.until_read("debit-entree")
        house.gateway.store._reader.close()
        page = Page(await house.page("/"))
        assert "Dégradé : la mémoire ne peut pas être lue" in page.words
        assert "Aucune alerte ouverte" not in page.words, "that is not known"
        answer = await house.http.get(f"/alert/{a_leak().id}")
        assert answer.status_code == 500
        assert "La passerelle, elle, continue" in Page(answer.text).words
        before = house.gateway.live.readings["armoire"]
        async with asyncio.timeout(10):
            while house.gateway.live.readings["armoire"] == before:
                await asyncio.sleep(0.02)
        assert not house.running.done()


async def test_before_the_first_answer_devices_wait(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        page = Page(await house.page("/"))
        assert page.words.count("en attente de la première réponse") == 7
        assert "Aucune alerte ouverte." in page.words
        assert "Rien n'a encore été lu." in Page(await house.page("/device/debit-entree")).words


async def test_actions_say_what_was_read_back_and_that_the_network_was_cut(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        action = Action("banc-pompe/flow", 32.5, "horaire de rue-haute : 40 %")
        house.gateway.actions = [
            Done(action, NIGHT_S - 60, 32.5, True, True),
            Done(action, NIGHT_S, None, False, False, "no answer"),
        ]
        words = Page(await house.page("/")).words
        unread = "banc-pompe · Débit : 32,5 L/min 04:00 · rien relu, non confirmée · horaire de rue-haute : 40 %"
        read = "banc-pompe · Débit : 32,5 L/min 03:59 · relu 32,5 L/min, confirmée · réseau coupé à ce moment · horaire"
        assert 0 < words.index(unread) < words.index(read), "the newest first"


async def test_a_simulation_is_plainly_marked(tmp_path: Path) -> None:
    progress = tmp_path / "progress.json"
    async with a_house(tmp_path, progress=progress, history=False, run=False) as house:
        assert "Simulation" not in await house.page("/"), "there is no file yet"
        events = [
            {"at_h": 7.1, "text": "le réseau est coupé", "done": True},
            {"at_h": 13, "text": "il revient", "done": False},
        ]
        progress.write_text(
            json.dumps({"title": "Une nuit", "elapsed_h": 12.3, "hours": 24, "uplink": "cut", "events": events})
        )
        words = Page(await house.page("/")).words
        assert words.index("Simulation Les appareils et l'heure sont simulés") < words.index("Alertes ouvertes")
        assert "Une nuit heure 12,3 sur 24 · réseau coupé" in words
        assert "à 13,0 h il revient (à venir) à 7,1 h le réseau est coupé" in words
        assert (await house.http.get("/api/overview.json")).json()["simulation"]["cut"] is True


async def test_a_damaged_file_of_progress_harms_nothing(tmp_path: Path) -> None:
    progress = tmp_path / "progress.json"
    whole: dict[str, Any] = {"title": "Nuit", "elapsed_h": 1, "hours": 24, "uplink": "up", "events": []}
    damaged = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{" + b"[" * 100_000,
        json.dumps(whole).encode() + b" " * 70_000 + b"x",
    ]
    wrong: list[tuple[str, object]] = [
        ("hours", None),
        ("elapsed_h", "x"),
        ("events", 3),
        ("events", [{"at_h": 1}]),
        ("events", {}),
    ]
    damaged += [json.dumps(whole | {key: value}).encode() for key, value in wrong]
    async with a_house(tmp_path, progress=progress, history=False, run=False) as house:
        for content in damaged:
            progress.write_bytes(content)
            await house.page("/")
        for odd in ({"hours": 0}, {"elapsed_h": float("nan")}, {"elapsed_h": float("inf")}, {"hours": float("inf")}):
            progress.write_text(json.dumps(whole | odd))
            Page(await house.page("/"))


async def test_the_overview_for_machines(house: House) -> None:
    answer = await house.http.get("/api/overview.json")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["gateway"], body["commune"], body["state"]) == ("exemple-0001", "Exemple-le-Bourg", "alone")
    flow = next(device for device in body["devices"] if device["name"] == "debit-entree")["points"]["flow"]
    assert flow["unit"] == "m3/h"
    assert flow["value"] == pytest.approx(5.12, rel=1e-5)
    assert flow["quality"] == "good"
    assert flow["age_s"] >= 0
    assert body["alerts"] == [a_leak().as_json()]
    assert [watch["name"] for watch in body["watches"]] == ["ascenseur-mairie"]


async def test_full_rings_and_a_full_store_stay_light(tmp_path: Path) -> None:
    async with a_house(tmp_path, run=False) as house:
        live, device = house.gateway.live, house.gateway.site.devices["banc-pompe"]
        for number in range(LENGTH):
            values: dict[str, float | None] = dict.fromkeys(device.points, 1e5 * (number * 7919 % 997) / 997)
            live.take(Snapshot("banc-pompe", NIGHT_S - 60 * (LENGTH - number), values))
        for number in range(14 * 96):
            start_s = NIGHT_S - 900 * number
            snapshots = [
                Snapshot("banc-pompe", start_s, dict.fromkeys(device.points, 1e5 * (number * k % 991) / 991))
                for k in (3, 7)
            ]
            for summary in [s for snapshot in snapshots for s in house.gateway.judge.take(snapshot)]:
                house.gateway.store.add_summary(summary)
        await house.gateway.store.flush()
        text = await house.page("/device/banc-pompe")
        assert Page(text).of("svg", "role").count("img") == 8
        style = await house.http.get("/style.css")
        assert len(text.encode()) + len(style.content) < LIGHT


async def test_a_site_of_many_devices_is_shown_page_by_page(tmp_path: Path) -> None:
    many = "".join(
        f'\n[[device]]\nname = "pression-{n}"\nprofile = "water/keller_x_line"\nbus = "armoire"\naddress = {n}\n'
        for n in range(20, 110)
    )
    async with a_house(tmp_path, more=many, history=False, run=False) as house:
        now_s = house.gateway.clock.now()
        for name, device in house.gateway.site.devices.items():
            house.gateway.live.take(Snapshot(name, now_s, dict.fromkeys(device.points, 3.14159)))
            house.gateway.buses["armoire"].health[name].answered(now_s)
        seen: set[str] = set()
        link = "/"
        for _ in range(3):
            text = (await house.http.get(link)).text
            assert len(text.encode()) < LIGHT
            page = Page(text)
            seen |= {found for found in page.of("a", "href") if found.startswith("/device/")}
            link = next(
                (found for found in page.of("a", "href") if re.search(r"from=(40|80)$", found) and found != link), ""
            )
        assert len(seen) == 97


async def test_the_page_ends_in_time_whatever_its_clients_do(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with a_house(tmp_path, history=False, run=False) as house:
        port = house.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: 127.")
        await writer.drain()
        await house.page("/")
        began_s = loop.time()
    assert loop.time() - began_s < 8
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    del reader


async def test_more_connections_than_it_takes_are_refused_and_it_recovers(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=house.http.base_url, limits=limits, timeout=20, trust_env=False) as crowd:
            answers = await asyncio.gather(*(crowd.get("/") for _ in range(80)), return_exceptions=True)
        served = [answer for answer in answers if isinstance(answer, httpx.Response)]
        assert {answer.status_code for answer in served} == {200}
        assert MOST_CONNECTIONS / 2 <= len(served) < 80
        assert "Exemple-le-Bourg" in await house.page("/")


async def test_a_connection_that_says_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_page, "CONNECTION_S", 0.2)
    async with a_house(tmp_path, history=False, run=False) as house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: 127.")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_signals_stay_the_gateways(tmp_path: Path) -> None:
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    async with a_house(tmp_path, history=False, run=False) as house:
        await house.page("/")
        assert {number: signal.getsignal(number) for number in before} == before
