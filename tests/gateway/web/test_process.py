"""`guet run` as a process, and its page: claimed through it, its site changed through it, and what strangers send to it."""

import asyncio
import html
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.app import home
from gateway.blank import JOB
from gateway.claim import claimed
from gateway.pack import MAX_JOB_BYTES, Label, job_file, new_label
from gateway.seal import own_key
from gateway.site_file import in_place, versions
from gateway.web.password import password_verb
from simulator.modbus import TcpServer
from tests.gateway.web.conftest import SITE, units
from tests.gateway.web.test_page import Page

DEVICE = (
    '[[device]]\nname = "{name}"\nprofile = "water/keller_x_line"\nbus = "armoire"\naddress = {unit}\nevery = "1s"\n'
)
NOW_S = 1.79e9


@pytest.fixture(autouse=True)
def _quick_passwords() -> None:
    """Not here: the other process takes its time, too."""


@dataclass
class Run:
    """The process, and a browser before it."""

    process: asyncio.subprocess.Process
    folder: Path
    http: httpx.AsyncClient
    text: str

    async def get(self, path: str, **query: str) -> httpx.Response:
        """Tries again while one gateway ends and the next begins."""
        async with asyncio.timeout(30):
            while True:
                assert self.process.returncode is None
                try:
                    return await self.http.get(path, params=query)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def send(self, path: str, **fields: str) -> httpx.Response:
        found = re.search(r'name="form" value="([\w-]+)"', (await self.get("/causes")).text)
        return await self.http.post(path, data={"form": found[1] if found else ""} | fields)

    async def enter(self, password: str) -> httpx.Response:
        return await self.http.post("/enter", data={"password": password, "who": "A. Martin"})

    async def until(self, words: str, path: str = "/settings") -> str:
        async with asyncio.timeout(40):
            while words not in html.unescape(text := (await self.get(path)).text):
                await asyncio.sleep(0.1)
        return text


@asynccontextmanager
async def run(folder: Path, host: str = "127.0.0.1", blank: bool = False) -> AsyncIterator[Run]:
    """blank: the site file is not there, only its text."""
    async with TcpServer("127.0.0.1", 0, units(), silent_absent=True) as field:
        text = SITE.format(upstream="", port=field.port) + DEVICE.format(name="pression-amont", unit=2)
        if not blank:
            (folder / "site.toml").write_text(text)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        environment = {**os.environ, "GUET_LANG": "fr", "GUET_HOME": str(home()), "PYTHONPATH": str(home())}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is compiled for -OO is kept, as where it is installed
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-OO", "-m", "gateway.cli", "run", "site.toml", "--page", f"{host}:{port}",
            *(["--blank"] if blank else []),
            cwd=folder, env=environment, stderr=(folder / "log").open("wb"),
        )  # fmt: skip
        origin = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=origin, headers={"origin": origin}, timeout=20, trust_env=False) as http:
            running = Run(process, folder, http, text)
            try:
                await running.get("/style.css")
                yield running
            finally:
                if process.returncode is None:
                    process.terminate()
                async with asyncio.timeout(30):
                    await process.wait()


def office(folder: Path, text: str, name: str = "office") -> tuple[bytes, Label]:
    label = new_label("exemple-0001", "Exemple-le-Bourg")
    return job_file(own_key(folder / name), "exemple-0001", text, label, by="bureau", now_s=NOW_S), label


async def claim(one: Run, job: bytes, code: str, **fields: str) -> httpx.Response:
    files = {"job": ("mission.guet", job, "application/json")}
    return await one.http.post("/claim", data={"code": code, "who": "A. Martin"} | fields, files=files)


async def test_a_claim_through_the_page_and_then_a_change_on_trial(tmp_path: Path) -> None:
    async with run(tmp_path) as one:
        job, label = office(tmp_path, one.text.replace("Exemple-le-Bourg", "Bourg-Neuf"))
        assert "enrôler" in (await one.get("/enter")).text
        assert label.code in Page((await one.get(f"/c/{label.code}")).text).of("input", "value")

        # What is no job of this gateway's changes nothing
        forged = json.loads(job)
        forged["body"]["by"] = "quelqu'un d'autre"
        cases = {"not signed": b"{}", "changed": json.dumps(forged).encode(), "not even text": b"\xff" * 1000, "": b""}
        for what, content in cases.items():
            answer = await claim(one, content, label.code)
            assert answer.status_code == 400, what
            assert "Rien n'a été fait" in Page(answer.text).words
        answer = await claim(one, job, "AAAA-AAAA")
        assert (answer.status_code, "relisez l'étiquette" in Page(answer.text).words) == (400, True)
        broken, other = office(tmp_path, one.text + DEVICE.format(name="pression-amont", unit=2))
        answer = await claim(one, broken, other.code)
        assert (answer.status_code, "pression-amont" in answer.text) == (400, True)
        assert (tmp_path / "site.toml").read_text() == one.text
        assert claimed(tmp_path / "guet-data") is None
        elsewhere = await one.http.post(
            "/claim",
            files={"job": ("m", job)},
            data={"code": label.code, "who": "x"},
            headers={"origin": "http://evil.example"},
        )
        assert elsewhere.status_code == 403

        answer = await claim(one, job, label.code)
        assert answer.status_code == 200, answer.text
        await one.until("Bourg-Neuf", "/")
        assert (await claim(one, job, label.code)).status_code == 403, "from now on it takes the password"
        assert (await one.enter(label.password)).status_code == 303

        # A change: its faults, its difference, its trial
        before = (tmp_path / "site.toml").read_text()
        base = re.search(r'name="base" value="(\w+)"', (await one.get("/settings")).text)
        assert base
        wrong = before.replace("address = 2", 'adress = 2\nbad = "<script>"')
        answer = await one.send("/settings", what="try", text=wrong.replace("\n", "\r\n"), base=base[1])
        assert answer.status_code == 400
        assert re.search(r"ligne \d+", Page(answer.text).words)
        assert "<script" not in answer.text
        good = before.replace('every = "1s"', 'every = "2s"')
        answer = await one.send("/settings", what="look", text=good.replace("\n", "\r\n"), base=base[1])
        assert '+every = "2s"' in Page(answer.text).words
        assert (tmp_path / "site.toml").read_text() == before
        assert (await one.send("/settings", what="try", text=good, base="0" * 64)).status_code == 400, (
            "based on another"
        )
        answer = await one.send("/settings", what="try", text=good, base=base[1])
        assert (answer.status_code, answer.headers["location"]) == (303, "/settings")
        text = await one.until('data-healthy="yes"')
        assert "revient tout seul dans" in text
        assert (await one.send("/settings", what="keep")).status_code == 303
        assert (tmp_path / "site.toml").read_text() == good
        assert (in_place(tmp_path / "site.toml").by, in_place(tmp_path / "site.toml").trial) == ("A. Martin", None)

        # Another, gone back from by hand; then an earlier one of the list
        base = re.search(r'name="base" value="(\w+)"', await one.until("Les textes d'avant"))
        assert base
        await one.send("/settings", what="try", text=good.replace('"2s"', '"3s"'), base=base[1])
        await one.until("data-healthy")
        assert (await one.send("/settings", what="back")).status_code == 303
        text = await one.until("La dernière modification a été annulée")
        assert (tmp_path / "site.toml").read_text() == good
        oldest = versions(tmp_path / "site.toml")[-1].name
        text = (await one.get("/settings", version=oldest)).text
        assert "+commune" in Page(text).words
        assert (await one.send("/settings", what="back", version=oldest)).status_code == 303
        await one.until("Exemple-le-Bourg", "/")
        for version in ("../../etc/passwd", "<script>", "x" * 500):
            assert (await one.send("/settings", what="back", version=version)).status_code == 400
            answer = await one.get("/settings", version=version)
            assert answer.status_code in (200, 404)
            assert "root:" not in answer.text


async def test_what_an_address_of_the_settings_names_wrongly_and_a_lost_site_file_are_told_in_words(
    tmp_path: Path,
) -> None:
    async with run(tmp_path) as one:
        job, label = office(tmp_path, one.text.replace("Exemple-le-Bourg", "Bourg-Neuf"))
        assert (await claim(one, job, label.code)).status_code == 200
        await one.until("Bourg-Neuf", "/")
        assert (await one.enter(label.password)).status_code == 303
        for version in ("../../etc/passwd", "<script>", "²", "\x1b[2J", "x" * 500):
            answer = await one.get("/settings", version=version)
            assert answer.status_code == 404, version
            assert "pas de version" in Page(answer.text).words
            assert "<script" not in answer.text
        (tmp_path / "site.toml").rename(tmp_path / "elsewhere.toml")
        answer = await one.get("/settings")
        assert answer.status_code == 500
        assert "site.toml" in Page(answer.text).words
        (tmp_path / "elsewhere.toml").rename(tmp_path / "site.toml")
        assert (await one.get("/settings")).status_code == 200
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_a_gibibyte_is_refused_at_once_and_the_gateway_goes_on(tmp_path: Path) -> None:
    async with run(tmp_path) as one:
        port = one.http.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST /claim HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\norigin: http://127.0.0.1:{port}\r\n"
            "content-type: multipart/form-data; boundary=b\r\ncontent-length: 1073741824\r\n\r\n"
            '--b\r\ncontent-disposition: form-data; name="job"; filename="m"\r\n\r\n'
        )
        writer.write(head.encode())
        sent = 0

        async def endless() -> None:
            nonlocal sent
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        sending = asyncio.create_task(endless())
        began_s = asyncio.get_running_loop().time()
        answer = await asyncio.wait_for(reader.readuntil(b"</html>"), 15)
        assert asyncio.get_running_loop().time() - began_s < 8
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        assert answer.split()[1] == b"413"
        assert f"{(MAX_JOB_BYTES + 16 * 1024) // 1024} Kio au plus".encode() in answer
        assert sent < 32 * 1024 * 1024, "most of it was never taken"
        assert (await one.get("/")).status_code == 200
        assert "refused with 413" in (tmp_path / "log").read_text()
        large = await claim(one, b"x" * (MAX_JOB_BYTES + 1), "A")
        assert large.status_code == 400
        assert "fichier de mission" in Page(large.text).words


async def test_on_a_network_a_gateway_without_a_password_cannot_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with run(tmp_path, "0.0.0.0") as one:
        job, label = office(tmp_path, one.text)
        assert "n'importe qui pourrait la prendre" in Page((await one.get("/claim")).text).words
        assert (await claim(one, job, label.code)).status_code == 403
        assert (await one.get("/")).headers["location"].startswith("/enter")
        assert password_verb(["technician", str(tmp_path / "site.toml")]) == 0
        assert (await one.enter(capsys.readouterr().out.strip())).status_code == 303
        assert "pression-amont" in (await one.get("/")).text
        found = re.search(r'name="form" value="([\w-]+)"', (await one.get("/claim")).text)
        assert found
        assert (await claim(one, job, label.code, form=found[1])).status_code == 200


async def test_a_blank_gateway_with_a_job_waiting_is_claimed_with_the_code_alone(tmp_path: Path) -> None:
    async with run(tmp_path, "0.0.0.0", blank=True) as one:
        job, label = office(tmp_path, one.text)
        assert (await one.get("/")).headers["location"] == "/claim", "nothing else is there yet"
        (tmp_path / JOB).write_bytes(b"rubbish")
        assert "sudo guet claim" in Page((await one.get("/claim")).text).words
        (tmp_path / JOB).write_bytes(job)
        page = Page((await one.get(f"/c/{label.code}")).text)
        assert "Il ne manque que le code" in page.words
        assert label.code in page.of("input", "value")
        # Neither a wrong code nor a job of another office makes it anybody's
        answer = await claim(one, b"", "AAAA-AAAA")
        assert (answer.status_code, "relisez l'étiquette" in Page(answer.text).words) == (400, True)
        strange, other = office(tmp_path, one.text, "stranger")
        answer = await claim(one, strange, other.code)
        assert (answer.status_code, "celle qui attend ici" in Page(answer.text).words) == (400, True)
        assert not (tmp_path / "site.toml").exists()

        answer = await claim(one, b"", label.code)
        assert answer.status_code == 200, answer.text
        assert (await one.enter(label.password)).status_code == 303
        await one.until("pression-amont", "/")
        assert not (tmp_path / JOB).exists()
        assert (tmp_path / "site.toml").read_text() == one.text


async def test_a_blank_gateway_on_a_network_takes_a_password_drawn_on_it_or_a_file_put_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with run(tmp_path, "0.0.0.0", blank=True) as one:
        job, label = office(tmp_path, one.text)
        assert "Trois façons" in Page((await one.get("/claim")).text).words
        assert (await claim(one, job, label.code)).status_code == 403
        assert password_verb(["technician", str(tmp_path / "site.toml")]) == 0
        assert (await one.enter(capsys.readouterr().out.strip())).headers["location"] == "/"
        assert (await one.get("/settings")).headers["location"] == "/claim"
        page = Page((await one.get("/claim")).text)
        assert "job" in page.of("input", "name")

        # A file by hand that cannot be run is waited out, and said; then one that can
        (tmp_path / "site.toml").write_text("[gateway]\n")
        async with asyncio.timeout(20):
            while "cannot be run, still waiting" not in (tmp_path / "log").read_text():
                await asyncio.sleep(0.1)
        (tmp_path / "site.toml").write_text(one.text)
        await one.until("pression-amont", "/")
