"""Who comes in, and who does not: passwords, cookies, forms of other pages, forms that are no forms, over a real socket."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.language import LANGUAGES
from gateway.pack import fresh
from gateway.patience import FREE_TRIES
from gateway.web import asked, door
from gateway.web.asked import MOST_FORM_BYTES
from gateway.web.door import COOKIE, Door
from gateway.web.page import rows
from gateway.web.password import FILES, draw
from gateway.web.session import IDLE_S, LONGEST_WAIT_S, Role
from tests.gateway.web.conftest import House, a_house
from tests.gateway.web.test_page import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")
KIND = {"content-type": "application/x-www-form-urlencoded"}
GET = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
FORM = "content-type: application/x-www-form-urlencoded\r\n"
ELSEWHERE = [
    "//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aset-cookie: a=b", "/\r\nx: y", "", "javascript:1",
    "/enter", "/out", "/é",
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house whose passwords are there; nobody runs up wrong ones in it."""
    async with a_house(tmp_path_factory.mktemp("shop"), history=False, run=False) as house:
        draw(house.gateway.store.path.parent, Role.TECHNICIAN)
        yield house


async def raw(port: int, text: bytes, within_s: float = 10) -> bytes:
    """What is answered to these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), within_s)
    finally:
        writer.close()


# Passwords


async def test_a_gateway_without_a_password_lets_nobody_in_and_says_how_it_gets_one(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        page = Page(await house.page("/enter"))
        assert "Cette passerelle n'est pas enrôlée" in page.words
        assert "guet claim" in page.words
        assert "password" not in page.of("input", "type")
        for password in ("", "admin", "guet", "password", "\0"):
            answer = await house.http.post(
                "/enter", data={"password": password, "who": "AM"}, headers={"origin": house.origin}
            )
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


async def test_the_label_s_password_opens_as_it_is_read_aloud(shop: House) -> None:
    password = draw(shop.gateway.store.path.parent, Role.TECHNICIAN)
    for typed in (password, password.lower(), password.replace("-", ""), f" {password} "):
        visitor = await shop.signed_in(password=typed)
        words = Page(await visitor.page("/")).words
        assert "AM, technicien" in words
        assert "Quitter" in words


async def test_the_cookie_cannot_be_read_by_scripts_nor_sent_from_elsewhere(shop: House) -> None:
    password = draw(shop.gateway.store.path.parent, Role.TECHNICIAN)
    answer = await shop.http.post("/enter", data={"password": password, "who": "AM"}, headers={"origin": shop.origin})
    shop.http.cookies.clear()
    assert re.fullmatch(COOKIE + r"=[\w-]{40,}; Path=/; HttpOnly; SameSite=Strict", answer.headers["set-cookie"])
    assert answer.headers["cache-control"] == "no-store"


async def test_signing_out_ends_the_session_here_and_there(shop: House) -> None:
    visitor = await shop.signed_in()
    kept = visitor.http.cookies[COOKIE]
    answer = await visitor.send("/out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/enter")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    visitor.http.cookies.set(COOKIE, kept)
    assert "Se connecter" in await visitor.page("/")


async def test_a_page_that_takes_signing_in_leads_there_and_back(shop: House) -> None:
    answer = await shop.http.get("/passwords")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/enter?to=%2Fpasswords"
    page = Page(await shop.page("/enter", to="/passwords"))
    assert "/passwords" in page.of("input", "value")
    visitor = await shop.signed_in()
    again = await visitor.http.post("/enter", data={"password": visitor.password, "who": "AM", "to": "/passwords",
                                                    "form": await visitor.secret()})  # fmt: skip
    assert (again.status_code, again.headers["location"]) == (303, "/passwords")


@pytest.mark.parametrize("to", ELSEWHERE)
async def test_nobody_is_led_to_another_site_nor_into_another_header(shop: House, to: str) -> None:
    visitor = await shop.signed_in()
    form = {"password": visitor.password, "who": "AM", "to": to, "form": await visitor.secret()}
    answer = await visitor.http.post("/enter", data=form)
    assert answer.status_code == 303
    assert re.fullmatch(r"/(%0d%0aset-cookie.*)?", answer.headers["location"])
    assert list(answer.headers.get_list("set-cookie")) == [answer.headers["set-cookie"]]
    assert "x" not in answer.headers


async def test_a_hundred_wrong_passwords_are_refused_logged_and_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        folder = house.gateway.store.path.parent
        right = draw(folder, Role.TECHNICIAN)
        before = {file: (folder / file).read_bytes() for file in FILES.values() if (folder / file).exists()}
        wrong = [fresh(3) for _ in range(100)]
        with caplog.at_level(logging.WARNING):
            answers = [
                await house.http.post("/enter", data={"password": text, "who": "AM"}, headers={"origin": house.origin})
                for text in wrong
            ]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:FREE_TRIES] == [403] * FREE_TRIES
        assert set(statuses[FREE_TRIES:]) <= {429, 403}
        assert statuses.count(403) <= FREE_TRIES + 6, "what waits is not even looked at"
        late = next(answer for answer in reversed(answers) if answer.status_code == 429)
        assert re.search(r"attendez encore \d+ s", Page(late.text).words)
        assert 0 <= int(late.headers["retry-after"]) <= LONGEST_WAIT_S
        assert all("set-cookie" not in answer.headers for answer in answers)
        logged = [record.getMessage() for record in caplog.records if record.name == door.__name__]
        assert len(logged) >= 100
        assert not any(text in line or text.replace("-", "") in line for line in logged for text in [*wrong, right])
        assert before == {file: (folder / file).read_bytes() for file in before}
        assert right not in late.text


async def test_many_at_once_learn_no_more_than_one_after_the_other(tmp_path: Path) -> None:
    async with a_house(tmp_path, history=False, run=False) as house:
        draw(house.gateway.store.path.parent, Role.TECHNICIAN)
        async with httpx.AsyncClient(base_url=house.origin, trust_env=False, headers={"origin": house.origin}) as crowd:
            answers = await asyncio.gather(
                *(crowd.post("/enter", data={"password": fresh(3), "who": "AM"}) for _ in range(20))
            )
        assert sorted(answer.status_code for answer in answers) == [403] * FREE_TRIES + [429] * (20 - FREE_TRIES)


async def test_who_waited_comes_in(tmp_path: Path) -> None:
    now_s = 0.0
    draw(tmp_path, Role.OFFICER)
    password = draw(tmp_path, Role.TECHNICIAN)
    entrance = Door(tmp_path, True, lambda: now_s)
    for _ in range(FREE_TRIES):
        with pytest.raises(door.WishError):
            await entrance.enter("ABCD-EFGH-JKMN", "AM")
    with pytest.raises(door.TooSoon) as refusal:
        await entrance.enter(password, "AM")
    now_s += refusal.value.wait_s
    secret, session = await entrance.enter(password, "AM")
    assert session.role is Role.TECHNICIAN
    now_s += IDLE_S + 1
    assert entrance.session({COOKIE: secret}) is None


# Roles


async def test_on_the_network_nothing_is_read_without_a_password(tmp_path: Path) -> None:
    """The address that it listens on decides, not who asks: whoever puts something in front of it has chosen to."""
    async with a_house(tmp_path, history=False, run=False, page="0.0.0.0:0") as house:
        for row in rows():
            path = re.sub(r"\{\w+\}", "debit-entree", row.path)
            answer = await house.http.get(path)
            if row.reads is Role.NOBODY and row.get is not None:
                assert row.path in ("/enter", "/claim", "/c/{code}", "/style.css", "/icon.svg")
                assert answer.status_code == 200, path
            elif answer.status_code != 405:
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/enter"), path
            assert "debit-entree fonctionne" not in Page(answer.text).words
        viewer = await house.signed_in(Role.VIEWER)
        assert "debit-entree" in await viewer.page("/")
        refused = await viewer.http.get("/passwords")
        assert refused.status_code == 403
        assert "mot de passe du rôle « technicien »" in Page(refused.text).words


async def test_every_form_takes_the_role_that_the_table_says(shop: House) -> None:
    """With the session's secret and from the right address, but one role too low."""
    viewer = await shop.signed_in(Role.VIEWER)
    secret = await viewer.secret()
    tried = 0
    for row in rows():
        if row.post is None or row.sends <= Role.VIEWER:
            continue
        kind = "multipart/form-data; boundary=b" if row.file else KIND["content-type"]
        answer = await viewer.http.post(
            re.sub(r"\{\w+\}", "x", row.path), content=f"form={secret}", headers={"content-type": kind}
        )
        assert answer.status_code == 403, row.path
        tried += 1
    assert tried


async def test_the_officer_s_password_is_drawn_once_by_the_technician_and_then_only_by_an_officer(shop: House) -> None:
    technician = await shop.signed_in()
    answer = await technician.send("/passwords", role="officer", what="draw")
    assert answer.status_code == 200
    found = re.search(r'id="drawn">([\w-]+)<', answer.text)
    assert found
    officer = await shop.signed_in(Role.OFFICER, "LB", found[1])
    assert "LB, agent responsable" in Page(await officer.page("/")).words
    assert found[1] not in await technician.page("/passwords"), "shown once"
    for what in ("draw", "withdraw"):
        refused = await technician.send("/passwords", role="officer", what=what)
        assert refused.status_code == 403
        assert "lui seul le change" in Page(refused.text).words
    drawn = await officer.send("/passwords", role="officer", what="draw")
    assert drawn.status_code == 200
    assert "Se connecter" in await officer.page("/"), "the old password's sessions are over"
    for role, what in (("technician", "draw"), ("viewer", "x"), ("", ""), ("nobody", "draw")):
        assert (await technician.send("/passwords", role=role, what=what)).status_code == 400
    async with asyncio.timeout(5):
        while not (rows := shop.gateway.store.rows("select body from outbox where kind = 'audit'")):
            await asyncio.sleep(0.02)
    assert "password changed" in str(rows)
    assert found[1] not in str(rows)
    (shop.gateway.store.path.parent / FILES[Role.OFFICER]).unlink()


async def test_a_withdrawn_password_opens_no_more(shop: House) -> None:
    technician = await shop.signed_in()
    viewer = await shop.signed_in(Role.VIEWER, "CB")
    assert (await technician.send("/passwords", role="viewer", what="withdraw")).status_code == 200
    assert "Se connecter" in await viewer.page("/")
    again = await shop.http.post(
        "/enter", data={"password": viewer.password, "who": "CB"}, headers={"origin": shop.origin}
    )
    assert again.status_code == 403
    shop.http.cookies.clear()


# Forms that are not ours


async def test_a_form_without_the_session_s_secret_changes_nothing(shop: House) -> None:
    visitor, other = await shop.signed_in(), await shop.signed_in()
    for forged in ("", "x", await other.secret()):
        answer = await visitor.http.post("/out", data={"form": forged})
        assert answer.status_code == 403
        assert "pas de votre session" in Page(answer.text).words
    assert "Quitter" in await visitor.page("/")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},
        {"origin": "", "referer": "http://127.0.0.1/"},
        {"origin": "file://"},
    ],
)
async def test_a_form_from_another_address_changes_nothing(shop: House, headers: dict[str, str]) -> None:
    visitor = await shop.signed_in()
    answer = await visitor.http.post("/out", data={"form": await visitor.secret()}, headers=headers)
    assert answer.status_code == 403
    assert "ne vient pas de cette page" in Page(answer.text).words
    assert "Quitter" in await visitor.page("/")


async def test_a_form_that_hides_where_it_comes_from_changes_nothing(shop: House) -> None:
    visitor = await shop.signed_in()
    secret = await visitor.secret()
    del visitor.http.headers["origin"]
    assert (await visitor.http.post("/out", data={"form": secret})).status_code == 403
    answer = await visitor.http.post("/out", data={"form": secret}, headers={"referer": f"{shop.origin}/passwords"})
    assert answer.status_code == 303


async def test_forms_of_another_kind_are_refused(shop: House) -> None:
    visitor = await shop.signed_in()
    secret = await visitor.secret()
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", ""):
        answer = await visitor.http.post("/out", content=f"form={secret}", headers={"content-type": kind})
        assert answer.status_code == 415, kind


async def test_wrong_methods_are_told_which_there_are(shop: House) -> None:
    for method, path in (
        ("PUT", "/"),
        ("DELETE", "/enter"),
        ("GET", "/out"),
        ("PATCH", "/passwords"),
        ("OPTIONS", "/"),
    ):
        answer = await shop.http.request(method, path)
        assert answer.status_code == 405
        row = next(row for row in rows() if row.path == path)
        assert answer.headers["allow"] == ", ".join(row.methods)
    assert (await raw(shop.port, b"TRACE / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")).split()[
        1
    ] == b"405"


# Forms that are no forms


async def test_a_form_too_long_is_refused_before_it_is_read(shop: House) -> None:
    head = f"POST /enter HTTP/1.1\r\nhost: 127.0.0.1:{shop.port}\r\norigin: {shop.origin}\r\n{FORM}"
    answer = await raw(shop.port, f"{head}content-length: 1000000000\r\n\r\npassword=".encode())
    assert answer.split()[1] == b"413"
    assert b"connection: close" in answer.lower()
    assert f"{MOST_FORM_BYTES // 1024} Kio au plus".encode() in answer


async def test_a_form_without_end_is_cut_at_the_bound(shop: House) -> None:
    """While it is still being sent: who sends it gets to read why."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
    writer.write(f"POST /enter HTTP/1.1\r\nhost: 127.0.0.1:{shop.port}\r\norigin: {shop.origin}\r\n{FORM}".encode())
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    sent = 0

    async def endless() -> None:
        nonlocal sent
        while True:
            writer.write(b"fa0\r\n" + b"x" * 4000 + b"\r\n")
            await writer.drain()
            sent += 4000

    sending = asyncio.create_task(endless())
    try:
        answer = await asyncio.wait_for(reader.readuntil(b"</html>"), 10)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
    assert answer.split()[1] == b"413"
    assert sent < 16_000_000


async def test_a_form_that_trickles_is_not_waited_for(shop: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "FORM_WITHIN_S", 0.2)
    monkeypatch.setattr(asked, "LINGER_S", 0.2)
    head = f"POST /enter HTTP/1.1\r\nhost: 127.0.0.1:{shop.port}\r\norigin: {shop.origin}\r\n{FORM}"
    answer = await raw(shop.port, f"{head}content-length: 100\r\n\r\npass".encode())
    assert answer.split()[1] == b"408"
    assert b"trop lentement" in answer


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
async def test_garbage_in_a_form_gives_only_our_answers(shop: House, body: bytes, file: bool) -> None:
    for kind in (KIND["content-type"], "application/x-www-form-urlencoded; charset=nonsense"):
        answer = await shop.http.post("/passwords", content=body, headers={"origin": shop.origin, "content-type": kind})
        assert answer.status_code == 403
    shop_headers = {"origin": shop.origin, **KIND}
    answer = await shop.http.post("/enter", content=b"who=&" + body, headers=shop_headers)
    assert answer.status_code in (303, 400, 403, 429)


async def test_a_cookie_of_nonsense_is_nobody_s(shop: House) -> None:
    for nonsense in (b"guet=", b"guet=a; guet=b", b"\xff\xfe", b"guet=" + b"x" * 4000, b"guet=../../etc/passwd"):
        answer = await raw(
            shop.port, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncookie: " + nonsense + b"\r\n\r\n"
        )
        assert answer.split()[1] == b"200"
        assert b"Se connecter" in answer


async def test_what_people_type_is_shown_as_text(shop: House) -> None:
    bad = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    password = draw(shop.gateway.store.path.parent, Role.TECHNICIAN)
    answer = await shop.http.post(
        "/enter", data={"password": bad, "who": bad, "to": bad}, headers={"origin": shop.origin}
    )
    page = Page(answer.text)
    assert "<script" not in answer.text
    assert not page.of("img", "src")
    assert bad in page.of("input", "value"), "what was typed is still there"
    again = await shop.signed_in(who=bad[:60], password=password)
    text = await again.page("/")
    assert "<script" not in text
    assert "alert(1)" in Page(text).words


async def test_a_policy_lets_a_page_with_a_form_send_it_here_and_no_other_page_any(shop: House) -> None:
    visitor = await shop.signed_in()
    assert "form-action 'self'" in (await visitor.http.get("/")).headers["content-security-policy"]
    assert "form-action 'none'" in (await shop.http.get("/")).headers["content-security-policy"]
    assert "form-action 'self'" in (await shop.http.get("/enter")).headers["content-security-policy"]


async def test_every_page_of_the_door_is_whole_light_and_in_both_languages(shop: House) -> None:
    visitor = await shop.signed_in()
    style = (await shop.http.get("/style.css")).content
    for lang in LANGUAGES:
        for text in (
            await shop.page("/enter", lang=lang),
            await visitor.page("/passwords", lang=lang),
            (await visitor.send(f"/passwords?lang={lang}", role="viewer", what="draw")).text,
            (await visitor.http.post(f"/passwords?lang={lang}", data={"form": ""})).text,
        ):
            page = Page(text)
            assert len(text.encode()) + len(style) < 60_000
            assert page.of("html", "lang") == [lang]
            labels, inputs = set(page.of("label", "for")), set(page.of("input", "id"))
            assert inputs <= labels, "every field has its label"
            assert len(page.ids) == len(set(page.ids))
            assert text.count("<h1>") == 1
            actions = page.of("form", "action")
            assert all(action.endswith("?lang=en") for action in actions) or lang == "fr"
