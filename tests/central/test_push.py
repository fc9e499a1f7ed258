"""`guet central push` against a real broker and a gateway's own session, store and desk."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from central.broker import Broker
from central.cli import main
from central.configure import configure
from central.ingest import run_ingester
from central.order import load_key
from central.push import message
from central.status import report
from gateway.app import home
from gateway.clock import SystemClock
from gateway.profile import load_profile
from gateway.push import Push
from gateway.pushes import Pushes
from gateway.signed import taken
from gateway.site import Upstream, digest, parse_site
from gateway.store import Store
from gateway.upstream.mqtt import Uplink
from simulator.modbus import Device, TcpServer
from simulator.place import Place
from tests.central.test_delivery import ENVIRONMENT, PACE, until
from tests.gateway.test_timekeeping import Meter

SITE = """
[gateway]
id = "g1"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
data = "store"
[upstream]
url = "mqtt://127.0.0.1:1"
command_key = "centre/gateways/g1/commands.pem"
[[device]]
name = "debit"
profile = "recorded"
"""


async def test_a_site_is_pushed_until_it_is_answered_and_the_answer_is_told(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path / "centre", ["127.0.0.1"], ["g1"])
    assert 'command_key = "commands.pem"' in (tmp_path / "centre/gateways/g1/upstream.toml").read_text()

    def parse(text: str):  # type: ignore[no-untyped-def]
        return parse_site(text, "site.toml", tmp_path, lambda name: load_profile(home() / "device_profiles", name))

    place, clock, stop = Place(SITE, parse, keep_within_s=60.0), SystemClock(), asyncio.Event()
    place.begin()
    (tmp_path / "next.toml").write_text(SITE.replace("debit", "debit-entree"))
    (tmp_path / "wrong.toml").write_text(SITE.replace("recorded", "nothing/such").replace("Europe", "Europa"))
    async with Broker(tmp_path / "nats") as broker, Store.open(tmp_path / "store", clock) as store:
        ingester = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
        uplink = Uplink(store, "g1", Upstream(url=broker.mqtt_url), clock, PACE)
        running: list[asyncio.Task[None]] = []

        def begin() -> None:
            """As the gateway does anew when another site is in place."""
            pushes = Pushes(parse(place.text), store, clock, place)
            uplink.on_command = pushes.arrived
            running.append(asyncio.create_task(pushes.run()))

        begin()
        place.changed = begin
        running.append(asyncio.create_task(uplink.run()))
        await until(lambda: uplink.connected)
        words = ["push", "g1", "--key", str(tmp_path / "centre/authority/commands.key"), "--by", "mairie", "--json",
                 "--reason", "essai", "--within", "30", "--nats", broker.nats_url]  # fmt: skip
        assert await asyncio.to_thread(main, [*words, str(tmp_path / "wrong.toml")]) == 1
        (refused,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert refused["answer"] == "refused"
        assert {word for word in ("nothing/such", "Europa/Paris") if word in str(refused["faults"])} == {
            "nothing/such", "Europa/Paris",
        }  # fmt: skip
        await asyncio.sleep(1.1)  # the number is the second
        assert await asyncio.to_thread(main, [*words, str(tmp_path / "next.toml")]) == 0
        told = [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]
        assert told == ["accepted", "begun", "kept"]
        await until(lambda: uplink.outbox.pending_rows() == 0)
        stop.set()
        for task in running:
            task.cancel()
        await asyncio.gather(ingester, *running, return_exceptions=True)
    assert place.text == SITE.replace("debit", "debit-entree")
    assert report(database_url)["lost"] == 0


async def test_a_gateway_that_does_not_answer_and_a_key_that_is_none_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path / "centre", ["127.0.0.1"], ["g1"])
    (tmp_path / "site.toml").write_text(SITE)
    keys = tmp_path / "centre/authority"
    async with Broker(tmp_path / "nats") as broker:
        words = ["push", "g1", str(tmp_path / "site.toml"), "--by", "m", "--reason", "r", "--within", "1.5",
                 "--nats", broker.nats_url, "--key"]  # fmt: skip
        assert await asyncio.to_thread(main, [*words, str(keys / "commands.key")]) == 1
        assert "is it connected" in capsys.readouterr().err
    assert await asyncio.to_thread(main, [*words, str(keys / "authority.key")]) == 1
    assert "Ed25519" in capsys.readouterr().err


def test_what_the_centre_signs_is_what_a_gateway_takes(tmp_path: Path) -> None:
    configure(tmp_path, ["127.0.0.1"], ["g1"])
    key = load_key(tmp_path / "authority" / "commands.key")
    name, payload = message(key, "g1", SITE, by="mairie", reason="essai", good_for_s=60.0)
    push = taken(Push, payload, key.public_key(), "g1", SystemClock().now(), trusted=True)
    assert (push.id, digest(push.text())) == (name, digest(SITE))


async def test_a_gateway_that_runs_begins_anew_with_what_is_pushed_and_its_file_says_so(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real commands: `guet run`, `guet central push`."""
    configure(tmp_path / "centre", ["127.0.0.1"], ["g1"])
    stop = asyncio.Event()
    async with (
        Broker(tmp_path / "nats") as broker,
        TcpServer("127.0.0.1", 0, [Device(1, Meter(), 0.01)]) as devices,
    ):
        ingester = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
        line = f'[[bus]]\nname = "tcp"\nprotocol = "modbus-tcp"\nhost = "127.0.0.1"\nport = {devices.port}\n'
        meter = '[[device]]\nname = "m1"\nprofile = "energy/eastron_sdm120"\nbus = "tcp"\naddress = 1\nevery = "2s"\n'
        text = SITE.replace("mqtt://127.0.0.1:1", broker.mqtt_url) + line + meter
        file = tmp_path / "site.toml"
        file.write_text(text)
        (tmp_path / "next.toml").write_text("# from the town hall\n" + text.replace("2s", "3s"))
        (tmp_path / "wrong.toml").write_text(text.replace("eastron_sdm120", "nothing_such"))
        (tmp_path / "lost.toml").write_text(text.replace('id = "g1"', 'id = "g2"'))
        command = [sys.executable, "-m", "gateway.cli", "run", "site.toml", "--page", ""]
        with (tmp_path / "gateway.log").open("wb") as log:
            gateway = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, env=ENVIRONMENT, stdout=log, stderr=log
            )
        words = ["push", "g1", "--key", str(tmp_path / "centre/authority/commands.key"), "--by", "mairie", "--json",
                 "--reason", "essai", "--within", "60", "--nats", broker.nats_url]  # fmt: skip
        try:
            told = {}
            for name in ("wrong", "lost", "next"):
                await asyncio.sleep(1.1)  # the number is the second
                code = await asyncio.to_thread(main, [*words, str(tmp_path / f"{name}.toml")])
                rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
                told[name] = code, [row["answer"] for row in rows if row["answer"] != "not yet"]
            assert told == {
                "wrong": (1, ["refused"]),
                "lost": (1, ["refused"]),
                "next": (0, ["accepted", "begun", "kept"]),
            }
            assert file.read_text() == (tmp_path / "next.toml").read_text()
            assert gateway.returncode is None
        finally:
            gateway.terminate()
            async with asyncio.timeout(30):
                await gateway.wait()
            stop.set()
            await ingester
    assert (report(database_url)["lost"], report(database_url)["duplicates"]) == (0, 0)
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()
