"""A centre that lost what it had committed gets it back from what the gateways remember."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from central.broker import Broker
from central.cli import main
from central.ingest import run_ingester
from central.status import gateways
from gateway.clock import SystemClock
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink
from gateway.upstream.payload import time_text
from gateway.upstream.replay import Replay
from tests.central.test_delivery import until
from tests.gateway.test_store import NOW_S, a_summary, an_alert

PACE = Pace(resend_s=1.0, retry_s=0.1, retry_max_s=0.3)


async def test_what_the_database_lost_is_sent_again_and_counted_once(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = asyncio.Event()
    async with Broker(tmp_path / "nats") as broker, Store.open(tmp_path / "store", SystemClock()) as store:
        ingester = asyncio.create_task(run_ingester(broker.nats_url, database_url, stop))
        for number in range(50):
            store.add_summary(a_summary(number))
        await store.decide({}, [an_alert()])
        await store.flush()
        uplink = Uplink(store, "g1", Upstream(url=broker.mqtt_url), SystemClock(), PACE)
        replay = Replay(store, uplink.outbox, SystemClock())
        uplink.on_command = replay.arrived
        running = [asyncio.create_task(uplink.run()), asyncio.create_task(replay.run())]
        await until(lambda: uplink.outbox.last_seq() == 51 and uplink.outbox.pending_rows() == 0)

        def held(what: str) -> list[tuple[object, ...]]:
            with psycopg.connect(database_url) as connection:
                return connection.execute(what).fetchall()

        before = held("select time, device, period_s, points from summary order by time")
        with psycopg.connect(database_url) as connection:
            connection.execute("delete from record where kind = 'summary' and seq % 2 = 0")
            connection.execute("delete from alert")
        assert len(held("select from summary")) == 25
        ask = ["replay", "g1", "--from", time_text(0), "--to", time_text(NOW_S + 900), "--nats", broker.nats_url]
        assert await asyncio.to_thread(main, ask) == 0
        assert "50 summaries, 1 alerts" in capsys.readouterr().out
        await until(lambda: uplink.outbox.last_seq() == 103 and uplink.outbox.pending_rows() == 0)
        assert await asyncio.to_thread(main, ask) == 0
        await until(lambda: uplink.outbox.last_seq() == 155 and uplink.outbox.pending_rows() == 0)
        assert held("select time, device, period_s, points from summary order by time") == before
        assert len(held("select from record where kind = 'summary'")) == 125
        assert [(one.alerts, one.missing) for one in gateways(database_url)] == [(1, 0)]
        stop.set()
        for task in running:
            task.cancel()
        await asyncio.gather(ingester, *running, return_exceptions=True)


async def test_a_gateway_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("central.replay.HEARD_WITHIN_S", 0.3)
    times = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"]
    async with Broker(tmp_path / "nats") as broker:
        assert await asyncio.to_thread(main, ["replay", "g1", *times, "--nats", broker.nats_url]) == 1
    assert "is it connected?" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["replay", "g1", *times, "--data", str(tmp_path)]) == 1
    assert "name --data or --nats" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["replay", "g1", "--from", "2026-01-01", "--to", "2026-02-01T00:00:00Z"])
