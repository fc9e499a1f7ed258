"""The site file changed on trial: by a real gateway process on a simulated line, through the verbs that people use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.app import Gateway, home
from gateway.clock import SystemClock
from gateway.settings import Settings, _lacking, _page_fault
from gateway.site import digest
from gateway.site_change import state
from gateway.site_file import InPlace, Trial, versions
from gateway.site_trial import SiteFile, Worked
from gateway.store import Store
from tests.gateway.conftest import METER, PRESSURE, Field, guet, running


@dataclass
class Run:
    """`guet run` as a process."""

    process: asyncio.subprocess.Process
    folder: Path
    port: int

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def end(self) -> str:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, err = await self.process.communicate()
        return err.decode()

    async def until(self, what: str) -> Settings:
        """How the site file stands once the gateway runs and `what` holds of it: in place, or healthy."""
        async with asyncio.timeout(30):
            while True:
                assert self.process.returncode is None, await self.end()
                found = await state(self.folder / "site.toml")
                now = "in place" if found.trial is None else "healthy" if found.trial.healthy else ""
                if found.running and now == what:
                    return found
                await asyncio.sleep(0.05)  # another process has no event to wait for


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def run(folder: Path, *, page: bool = True) -> AsyncIterator[Run]:
    port = free_port()
    environment = {**os.environ, "GUET_LANG": "fr", "GUET_HOME": str(home()), "PYTHONPATH": str(home())}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "run", "site.toml", "--page", f"127.0.0.1:{port}" if page else "",
        cwd=folder, env=environment, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    one = Run(process, folder, port)
    try:
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def two(on_site: Field) -> AsyncIterator[Field]:
    """A pressure sensor and a meter that answer, and their site."""
    on_site.model(PRESSURE, 3)
    on_site.model(METER, 4)
    on_site.expect("amont", PRESSURE, 3)
    on_site.expect("compteur", METER, 4)
    on_site.site()
    async with on_site.powered():
        yield on_site


def changed(field: Field, old: str, new: str, name: str = "new.toml") -> str:
    """Writes a changed text beside the site file, and gives it."""
    text = (field.folder / "site.toml").read_text("utf-8").replace(old, new)
    (field.folder / name).write_text(text, "utf-8")
    return text


async def put(field: Field, *more: str, name: str = "new.toml") -> tuple[int, str, str]:
    return await guet("site", "put", name, "--by", "Jeanne", *more, folder=field.folder)


async def test_a_change_is_taken_by_the_gateway_that_runs_and_stays_when_kept(two: Field) -> None:
    text = changed(two, 'asset = ""', 'asset = "PRV-12"  # repeinte en 2019')
    async with run(two.folder) as one:
        await one.until("in place")
        pid = one.process.pid
        code, out, err = await put(two)
        assert (code, err) == (0, "")
        assert '+asset = "PRV-12"  # repeinte en 2019' in out
        assert "À L'ESSAI, tout marche" in out
        found = await one.until("healthy")
        assert (found.by, found.sha256) == ("Jeanne", digest(text))
        code, out, err = await guet("site", "keep", folder=two.folder)
        assert (code, err) == (0, "")
        assert (await one.until("in place")).undone is None
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET /device/amont HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        assert "PRV-12" in page, "the page shows the new site, on the same port"
        assert one.process.pid == pid
        assert "Traceback" not in await one.end()
    assert (two.folder / "site.toml").read_text("utf-8") == text
    code, out, _ = await guet("site", "versions", "--json", folder=two.folder)
    assert [(version["by"], version["why"]) for version in json.loads(out)] == [("", "")]
    async with Store.open(two.folder / "data", SystemClock()) as store:
        rows = store.rows("select body from outbox where kind = 'audit' order by seq")
    audits = [body for (body_text,) in rows if (body := json.loads(body_text))["what"] == "site file"]
    assert [body["state"] for body in audits] == ["in place", "on trial", "in place"], "the platform is told of each"
    assert [(body["sha256"], body["by"]) for body in audits[1:]] == [(digest(text), "Jeanne")] * 2


async def test_a_device_that_no_longer_answers_brings_the_text_back(two: Field) -> None:
    before = (two.folder / "site.toml").read_bytes()
    refused = changed(two, "address = 3", "address = 9")
    async with run(two.folder) as one:
        await one.until("in place")
        code, out, err = await put(two, "--within", "3s")
        assert (code, err) == (1, "")
        assert "a été annulée" in out
        assert "amont" in out
        assert (two.folder / "site.toml").read_bytes() == before
        found = await one.until("in place")
        assert found.undone is not None
        assert found.undone.by == "Jeanne"
        code, out, _ = await guet("site", "show", "--version", found.undone.version, folder=two.folder)
        assert out == refused, "what was refused is not lost"


async def test_a_change_that_nobody_keeps_goes_back(two: Field) -> None:
    before = (two.folder / "site.toml").read_bytes()
    changed(two, 'asset = ""', 'asset = "PRV-12"')
    async with run(two.folder) as one:
        await one.until("in place")
        assert (await put(two, "--within", "3s", "--keep-within", "3s"))[0] == 0
        assert "personne n'a dit de la garder" in (await one.until("in place")).undone.why
    assert (two.folder / "site.toml").read_bytes() == before


@pytest.mark.parametrize("ends", ["kill -9", "stop"])
async def test_a_trial_does_not_outlive_its_process(two: Field, ends: str) -> None:
    before = (two.folder / "site.toml").read_bytes()
    changed(two, 'asset = ""', 'asset = "PRV-12"')
    async with run(two.folder) as one:
        await one.until("in place")
        assert (await put(two))[0] == 0
        await (one.kill() if ends == "kill -9" else one.end())
    assert (two.folder / "site.toml").read_bytes() != before
    async with run(two.folder) as one:
        found = await one.until("in place")
        assert "pendant l'essai" in found.undone.why
    assert (two.folder / "site.toml").read_bytes() == before


async def test_what_lacks_is_named(on_site: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")
    on_site.expect("amont", PRESSURE, 3)
    site, path = on_site.site(), on_site.folder / "site.toml"
    text = path.read_text("utf-8")
    async with running(site, {}) as gateway:  # the line is dead
        trial = Trial("", "", "p", 60.0, 60.0)
        gateway.file = SiteFile(path, text, InPlace(digest(text), trial=trial), Worked(frozenset({"amont", "gone"})))
        assert await said(gateway) == ["gives no value any more: amont"]
        gateway.file.worked = Worked(frozenset(), frozenset({"ligne", "autre"}))
        assert await said(gateway) == ["nobody answers on bus ligne"], "although every device has another name"
        gateway.file.worked = Worked()
        assert await said(gateway) == []
        (fault,) = await said(gateway, ("127.0.0.1", free_port()))
        assert fault.startswith("the page does not answer: ")
        gateway.store.fault = "no room"
        assert await said(gateway) == ["the store: no room"]


@pytest.mark.parametrize(("answer", "fault"), [
    (b"HTTP/1.1 303 See Other\r\n\r\n", False), (b"HTTP/1.1 500 Broken\r\n\r\n", True), (b"", True), (b"SSH-2.0\r\n", True),
])  # fmt: skip
async def test_a_page_answers_when_it_says_anything_but_that_it_is_broken(answer: bytes, fault: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        assert bool(await _page_fault(server.sockets[0].getsockname()[:2])) == fault


async def said(gateway: Gateway, page: tuple[str, int] | None = None) -> list[str]:
    return [what async for what in _lacking(gateway, page)]


async def test_a_second_gateway_on_the_same_site_leaves_the_trial_alone(two: Field) -> None:
    text = changed(two, 'asset = ""', 'asset = "PRV-12"')
    async with run(two.folder) as one:
        await one.until("in place")
        assert (await put(two))[0] == 0
        code, _, err = await guet("run", "site.toml", "--page", "", folder=two.folder)
        assert code == 1
        assert "in use by another process" in err
        assert (await guet("site", "keep", folder=two.folder))[0] == 0
    assert (two.folder / "site.toml").read_text("utf-8") == text


async def test_without_a_gateway_the_trial_begins_with_the_next_start(two: Field) -> None:
    text = changed(two, 'asset = ""', 'asset = "PRV-12"')
    code, out, err = await put(two)
    assert (code, err) == (0, "")
    assert "dès que la passerelle démarrera" in out
    async with run(two.folder) as one:
        await one.until("healthy")
        assert (await guet("site", "back", "--by", "Jeanne", folder=two.folder))[0] == 0
        assert "annulée par Jeanne" in (await one.until("in place")).undone.why
    assert (two.folder / "site.toml").read_text("utf-8") != text


async def test_a_faulty_text_is_told_line_by_line_and_changes_nothing(two: Field) -> None:
    before = (two.folder / "site.toml").read_bytes()
    text = changed(two, "address = 3", "adress = 3")
    line = text.splitlines().index("adress = 3") + 1
    (two.folder / "new.toml").write_text(
        text + '[[watch]]\nname = "w"\nmodel = "leak"\ninputs = { flow = ["a/b"] }\n', "utf-8"
    )
    code, out, err = await put(two)
    assert (code, out) == (2, "")
    assert f"ligne {line} : site.toml: device[0].adress: clé inconnue" in err
    assert f"ligne {len(text.splitlines()) + 4} : site.toml: watch 'w'.inputs.flow" in err
    assert (two.folder / "site.toml").read_bytes() == before
    code, out, _ = await guet("site", "check", "new.toml", "--json", folder=two.folder)
    assert (code, [fault["line"] for fault in json.loads(out)]) == (2, [line, len(text.splitlines()) + 4])


async def test_the_second_of_two_editors_is_told(two: Field) -> None:
    base = digest((two.folder / "site.toml").read_text("utf-8"))
    changed(two, 'asset = ""', 'asset = "PRV-12"')
    changed(two, 'commune = "Exemple-le-Bourg"', 'commune = "Ailleurs"', "other.toml")
    for begun in (False, True):
        async with run(two.folder) if begun else _nothing() as one:
            if one is not None:
                await one.until("in place")
            assert (await put(two, "--base", base))[0] == 0
            code, _, err = await put(two, "--base", base, name="other.toml")
            assert code == 2
            assert "a changé entre-temps (par Jeanne)" in err
            assert "PRV-12" in (two.folder / "site.toml").read_text("utf-8")
            assert (await guet("site", "back", folder=two.folder))[0] == 0
            if one is not None:
                await one.until("in place")


async def test_a_file_changed_by_hand_is_taken_up_on_reload(two: Field) -> None:
    path = two.folder / "site.toml"
    before = path.read_text("utf-8")
    async with run(two.folder, page=False) as one:
        await one.until("in place")
        path.write_text(before.replace("address = 3", "adress = 3"), "utf-8")
        one.process.send_signal(signal.SIGHUP)
        assert (await one.until("in place")).by_hand
        path.write_text(before.replace('asset = ""', 'asset = "PRV-12"'), "utf-8")
        one.process.send_signal(signal.SIGHUP)
        await one.until("healthy")
        assert (await guet("site", "back", folder=two.folder))[0] == 0
        await one.until("in place")
        assert path.read_text("utf-8") == before, "what ran comes back, not what was never sound"
        assert "device[0].adress: unknown key" in await one.end()


async def test_every_version_says_who_and_when(two: Field) -> None:
    for number in range(3):
        changed(two, "# guet", "")
        text = (two.folder / "site.toml").read_text("utf-8") + f"# guet {number}\n"
        (two.folder / "new.toml").write_text(text, "utf-8")
        assert (await guet("site", "put", "new.toml", "--by", f"P{number}", folder=two.folder))[0] == 0
        assert (await guet("site", "keep", folder=two.folder))[0] == 0
    assert [version.by for version in versions(two.folder / "site.toml")] == ["P1", "P0", ""]


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield None
