"""The hatch: the same job through a gateway that runs and without one; bounded, private, and never in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.app import Gateway
from gateway.desk import MOST_AT_ONCE, Desk
from gateway.errors import HatchError, StoreError, WishError
from gateway.hatch import FILE, MAX_WISH_BYTES, Job, _asked, ask, opened
from gateway.language import say
from tests.gateway.conftest import PRESSURE, Field, built, running, told


@dataclass(frozen=True, slots=True)
class Wish:
    text: str = "x"
    count: int = 3


@dataclass(frozen=True, slots=True)
class Row:
    text: str
    polling: bool


ended: list[str] = []


async def _echo(gateway: Gateway, wish: Wish) -> AsyncGenerator[Row, None]:
    try:
        for _ in range(wish.count):
            yield Row(say(f"bonjour {wish.text}", f"hello {wish.text}"), gateway.running_since_s is not None)
            await asyncio.sleep(0.001)
        if wish.text == "refuse":
            raise WishError("non")
        if wish.text == "break":
            raise RuntimeError("ours")
    finally:
        ended.append(wish.text)


ECHO = Job("echo", Wish, Row, _echo)
JOBS: dict[str, Job[Any, Any]] = {"echo": ECHO}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    ended.clear()


async def test_a_job_is_the_same_with_and_without_a_running_gateway(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    assert await told(site, ECHO, Wish("é")) == [Row("bonjour é", False)] * 3
    async with on_site.powered(), running(site, JOBS):
        assert await told(site, ECHO, Wish("é")) == [Row("bonjour é", True)] * 3
    assert not (site.data / FILE).exists()
    assert await told(site, ECHO, Wish()) == [Row("bonjour x", False)] * 3


async def test_who_asks_is_answered_in_their_own_language(on_site: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with on_site.powered(), running(site, JOBS):
        reader, writer = await asyncio.open_unix_connection(str(site.data / FILE))
        writer.write(b'{"job": "echo", "wish": {"count": 1}, "language": "en"}\n')
        assert json.loads(await reader.readline()) == {"row": {"text": "hello x", "polling": True}}
        assert json.loads(await reader.readline()) == {"end": ""}
        writer.close()
        assert (await told(site, ECHO, Wish(count=1)))[0].text == "bonjour x"


async def test_the_socket_is_this_user_s_alone_however_deep_the_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    field = Field(deep)
    field.expect("amont", PRESSURE, 3)
    site = field.site()
    async with running(site, JOBS):
        assert (site.data / FILE).stat().st_mode & 0o777 == 0o600
        assert len(await told(site, ECHO, Wish())) == 3


async def test_who_hangs_up_ends_the_job(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with running(site, JOBS):
        async with aclosing(ask(site, ECHO, Wish("long", 100_000))) as rows:
            async for _ in rows:
                break
        async with asyncio.timeout(5):
            while ended != ["long"]:
                await asyncio.sleep(0.01)


async def test_refusals_and_faults_come_through_as_sentences(on_site: Field, caplog: pytest.LogCaptureFixture) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with running(site, JOBS):
        with pytest.raises(WishError, match="non"):
            await told(site, ECHO, Wish("refuse", 1))
        with pytest.raises(HatchError, match="journal"):
            await told(site, ECHO, Wish("break", 1))
        assert "RuntimeError: ours" in caplog.text
        assert len(await told(site, ECHO, Wish())) == 3, "the gateway goes on"


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[]\n", b'{"job": "rm"}\n', b'{"job": "echo", "wish": {"count": "many"}}\n',
                                  b"\xff\n", b"x" * (2 * MAX_WISH_BYTES) + b"\n"])  # fmt: skip
async def test_whatever_else_is_said_is_refused(on_site: Field, line: bytes) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with running(site, JOBS):
        reader, writer = await asyncio.open_unix_connection(str(site.data / FILE))
        writer.write(line)
        if not line:
            writer.write_eof()
        try:
            answer = await reader.readline()
            assert json.loads(answer)["fault"] == "failed"
        except ConnectionError:
            assert len(line) > MAX_WISH_BYTES, "only what is too long may be cut off"
        writer.close()
        assert len(await told(site, ECHO, Wish())) == 3


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_garbage_gives_only_our_errors(line: bytes) -> None:
    with pytest.raises(ValueError):
        _asked(line, JOBS)


async def test_so_many_at_once_and_no_more(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with running(site, JOBS):
        asked = [asyncio.create_task(told(site, ECHO, Wish("n", 300))) for _ in range(MOST_AT_ONCE + 2)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, HatchError)]
        assert len(refused) == 2
        assert "trop de demandes" in str(refused[0])


async def test_who_must_be_alone_is_and_can_be_ended_from_elsewhere(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site, desk, alone = on_site.site(), Desk(), Job("echo", Wish, Row, _echo, alone=True)
    async with built(site) as gateway, opened(gateway, lambda: {"echo": alone}, desk):
        first = asyncio.create_task(told(site, alone, Wish("n", 100_000)))
        async with asyncio.timeout(5):
            while not desk.works():
                await asyncio.sleep(0.01)
        with pytest.raises(HatchError, match="par la ligne de commande, occupe la passerelle"):
            await told(site, alone, Wish())
        desk.works()[0].cancel()
        with pytest.raises(HatchError, match="annulé depuis la page"):
            await first
        assert desk.works() == []
        assert ended == ["n"]


async def test_a_store_that_somebody_else_holds_is_said(on_site: Field) -> None:
    on_site.expect("amont", PRESSURE, 3)
    site = on_site.site()
    async with built(site):
        with pytest.raises(StoreError, match="another"):
            await told(site, ECHO, Wish())
