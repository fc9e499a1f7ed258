"""From a gateway's disk to the centre's, on real processes that are killed with -9 on the way: nothing lost or doubled."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from central.broker import Broker
from central.ingest import run_ingester
from central.status import gateways, refusals, report
from gateway.clock import SystemClock
from gateway.outbox import Outbox
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink
from simulator.fleet import fleet
from tests.gateway.test_store import NOW_S, a_summary, an_alert

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PACE = Pace(resend_s=1.0, retry_s=0.1, retry_max_s=0.3)


async def until(met: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(met):
            await asyncio.sleep(0.02)


@pytest.fixture
async def centre(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Broker, str]]:
    stop = asyncio.Event()
    async with Broker(tmp_path / "nats") as broker:
        ingester = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
        yield broker, database_url
        stop.set()
        async with asyncio.timeout(10):
            await ingester


async def drained(store: Store, broker: Broker) -> None:
    await store.flush()
    uplink = Uplink(store, "g1", Upstream(url=broker.mqtt_url), SystemClock(), PACE)
    lane = asyncio.create_task(uplink.run())
    try:
        await until(lambda: uplink.outbox.pending_rows() == 0)
    finally:
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)


async def test_what_was_written_before_there_was_a_centre_arrives(tmp_path: Path, database_url: str) -> None:
    async with Broker(tmp_path / "nats") as broker, Store.open(tmp_path / "store", SystemClock()) as store:
        uplink = Uplink(store, "g1", Upstream(url=broker.mqtt_url), SystemClock(), PACE)
        lane = asyncio.create_task(uplink.run())
        for number in range(150):
            store.add_summary(a_summary(number))
        await store.flush()
        # Taken by the broker, with nobody there to keep them: that is why its word does not count.
        await until(lambda: sum(flight.at_broker for flight in uplink._flying.values()) >= 100)
        assert uplink.outbox.pending_rows() == 150
        stop = asyncio.Event()
        ingester = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
        await until(lambda: uplink.outbox.pending_rows() == 0)
        stop.set()
        await ingester
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)
    assert (report(database_url)["summaries"], report(database_url)["lost"]) == (150, 0)


async def test_a_store_made_anew_is_a_new_epoch_and_nothing_is_taken_for_a_repetition(
    tmp_path: Path, centre: tuple[Broker, str]
) -> None:
    broker, database_url = centre
    for turn in range(2):
        async with Store.open(tmp_path / f"card-{turn}", SystemClock()) as store:
            for number in range(30):
                store.add_summary(a_summary(number))
            await store.decide({}, [an_alert()])
            await drained(store, broker)
    found = report(database_url)
    assert (found["records"], found["redelivered"], found["alerts"], found["alert_records"]) == (62, 0, 1, 2)
    assert [(one.gateway, one.epochs) for one in gateways(database_url)] == [("g1", 2)]


async def test_a_card_that_forgot_what_it_had_committed_costs_no_record_of_what_came_after(
    tmp_path: Path, centre: tuple[Broker, str]
) -> None:
    """The last frames of the journal are gone, though the card had said that it holds them: their numbers come again."""
    broker, database_url = centre
    first, second = tmp_path / "before", tmp_path / "after"
    async with Store.open(first, SystemClock()) as store:
        for number in range(20):
            store.add_summary(a_summary(number))
        await store.flush()
        second.mkdir()
        for file in first.iterdir():  # what the card held while the gateway believed more
            shutil.copyfile(file, second / file.name)
        for number in range(20, 30):
            store.add_summary(a_summary(number))
        await store.decide({}, [an_alert("before")])
        await drained(store, broker)
        epoch = store.epoch
    async with Store.open(second, SystemClock()) as store:
        assert store.epoch == epoch
        for number in range(5):
            store.add_summary(a_summary(number, "valve"))
        await store.decide({}, [an_alert("after")])
        await drained(store, broker)
        assert Outbox(store).last_seq() == 26
    found = report(database_url)
    assert (found["records"], found["summaries"], found["alerts"]) == (37, 35, 2)
    assert (found["lost"], found["duplicates"], found["redelivered"]) == (0, 0, 20)
    (told,) = refusals(database_url)
    assert (told.reason, told.count) == ("contradiction", 6)


async def test_two_ingesters_share_the_work(tmp_path: Path, centre: tuple[Broker, str]) -> None:
    broker, database_url = centre
    stop = asyncio.Event()
    second = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
    async with Store.open(tmp_path / "store", SystemClock()) as store:
        for number in range(2000):
            store.add_summary(a_summary(number))
        await drained(store, broker)
    stop.set()
    await second
    found = report(database_url)
    assert (found["records"], found["lost"], found["duplicates"]) == (2000, 0, 0)


async def test_a_fleet_that_comes_back_at_once_is_drained(tmp_path: Path, centre: tuple[Broker, str]) -> None:
    broker, database_url = centre
    told = tmp_path / "told.json"
    arguments = ["--fleet", "60", "--records", "10", "--url", broker.mqtt_url, "--json", str(told)]
    assert await asyncio.to_thread(fleet, arguments) == 0
    found, seen = report(database_url), json.loads(told.read_text())
    assert (found["records"], found["lost"], found["duplicates"], found["refused"]) == (1200, 0, 0, 0)
    assert (seen["sessions"], seen["strange_acknowledgements"]) == (120, 0)
    assert [one.records for one in gateways(database_url)] == [20] * 60


async def test_nonsense_on_the_wire_is_refused_counted_and_stops_nothing(
    tmp_path: Path, centre: tuple[Broker, str]
) -> None:
    from paho.mqtt import publish

    broker, database_url = centre
    good = b'{"gateway":"g9","epoch":"e","seq":1,"kind":"status","time":"2026-01-01T00:00:00Z"}'
    sent = [
        ("guet/v1/g9/status", b"\x00\x01\xff"),
        ("guet/v1/g9/status", good.replace(b"g9", b"g1")),
        ("guet/v1/g9/status", good[:-1] + b',"text":"' + b"x" * 70_000 + b'"}'),
        ("guet/v1/g9/status", good.replace(b'"seq":1', b'"seq":2').replace(b"2026-01-01", b"2026-13-01")),
        ("guet/v1/g9/status", good),
        ("guet/v1/g9/status", good),  # replayed
    ]
    # The ingester makes the stream; what is said before is kept by nobody.
    async with Store.open(tmp_path / "store", SystemClock()) as store:
        store.put("status", NOW_S, {})
        await drained(store, broker)
    messages = [{"topic": topic, "payload": payload, "qos": 1} for topic, payload in sent]
    await asyncio.to_thread(publish.multiple, messages, "127.0.0.1", broker.mqtt_port)  # type: ignore[arg-type]
    await until(
        lambda: sum(one.count for one in refusals(database_url)) == 4 and report(database_url)["redelivered"] == 1
    )
    assert [(one.gateway, one.reason, one.count) for one in refusals(database_url)] == [
        ("g9", "forged", 1),
        ("g9", "malformed", 1),
        ("g9", "not JSON", 1),
        ("g9", "oversized", 1),
    ]
    assert [(one.gateway, one.records, one.missing, one.refused) for one in gateways(database_url)] == [
        ("g1", 1, 0, 0),
        ("g9", 1, 0, 4),
    ]


async def test_the_ingester_ends_when_told_and_waits_when_nothing_is_there(tmp_path: Path) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(run_ingester("nats://127.0.0.1:9", "postgresql://127.0.0.1:9/nothing", stop))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    stop.set()
    async with asyncio.timeout(5):
        await waiting


def test_guet_central_runs_shows_and_ends(tmp_path: Path) -> None:
    centre = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "central.cli",
            "run",
            "--data",
            str(tmp_path / "c"),
            "--mqtt-port",
            "0",
            "--nats-port",
            "0",
        ],
        stdout=subprocess.PIPE,
        env={**ENVIRONMENT, "GUET_LANG": "fr"},
    )
    assert centre.stdout is not None
    try:
        assert b"passerelles : mqtt://127.0.0.1:" in centre.stdout.readline()
        assert b"base : " in centre.stdout.readline()
        status = [sys.executable, "-m", "central.cli", "status", "--data", str(tmp_path / "c")]
        shown = subprocess.run([*status, "--json"], capture_output=True, env=ENVIRONMENT, timeout=30, check=False)
        assert shown.returncode == 0
        assert b'"lost": 0' in shown.stdout
        shown = subprocess.run(
            status, capture_output=True, env={**ENVIRONMENT, "GUET_LANG": "en"}, timeout=30, check=False
        )
        assert b"No gateway heard so far." in shown.stdout
    finally:
        centre.send_signal(signal.SIGTERM)
        centre.communicate(timeout=30)
    assert centre.returncode == 0
    gone = subprocess.run(status, capture_output=True, env=ENVIRONMENT, timeout=30, check=False)
    assert gone.returncode == 1
    assert b"guet central run" in gone.stderr
