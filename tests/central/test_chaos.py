"""The bench `chaos` in short: real processes are killed, cut off, filled up in turn, and every record accounted for."""

import runpy
from pathlib import Path
from typing import Any

import psycopg
import pytest

from central.batch import store
from gateway.clock import SystemClock
from gateway.store import Store
from gateway.upstream.payload import Kind, Record, render
from tests.gateway.test_store import a_summary, an_alert

CHAOS = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "chaos.py"))


@pytest.mark.timeout(400)
def test_whatever_is_killed_or_cut_nothing_is_lost_and_nothing_stored_twice() -> None:
    found: dict[str, Any] = CHAOS["run"](records=1000, rounds=1, seed=4)
    assert not found["missed"]
    assert found["faults"] == dict.fromkeys(sorted(CHAOS["FAULTS"]), 1)
    assert found["sent"] == found["stored"] >= 1000
    assert (found["lost"], found["duplicated"], found["garbled"], found["waiting"]) == (0, 0, 0, 0)
    assert (found["gaps"], found["refused"]) == (0, 0)
    assert found["alerts"] > 0


async def test_what_is_missing_doubled_or_changed_is_found(tmp_path: Path, database_url: str) -> None:
    async with Store.open(tmp_path / "guet-data", SystemClock()) as disk:
        for number in range(5):
            disk.add_summary(a_summary(number))
        await disk.decide({}, [an_alert()])
        await disk.flush()
        epoch = disk.epoch
        rows = disk.rows("select seq, kind, time_s, body from outbox order by seq")
    records = [Record(seq, Kind(kind), time_s, body) for seq, kind, time_s, body in rows]
    messages = [render("g1", epoch, record) for record in records]
    dots = [(topic.replace("/", "."), payload) for topic, payload in messages]

    def found() -> dict[str, int]:
        return CHAOS["account"]({"g1": CHAOS["on_disk"](tmp_path)}, database_url)

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as centre:
        await store(centre, [one for at, one in enumerate(dots) if at != 2], set())
        assert (found()["sent"], found()["stored"], found()["waiting"], found()["lost"]) == (6, 5, 6, 0)
        disk_ = CHAOS["on_disk"](tmp_path)
        disk_.waiting.clear()
        account = CHAOS["account"]({"g1": disk_}, database_url)
        assert (bool(account["missed"]), account["lost"], account["garbled"]) == (True, 1, 1)
        await store(centre, dots, set())
        assert not CHAOS["account"]({"g1": disk_}, database_url)["missed"]
        await centre.execute(
            "insert into record select gateway, epoch, seq, kind, time + '1 s', now(), body from record where seq = 1"
        )
        account = CHAOS["account"]({"g1": disk_}, database_url)
        assert (bool(account["missed"]), account["lost"], account["duplicated"]) == (True, 0, 1)
        await centre.execute("update alert set severity = 'info', body = jsonb_set(body, '{severity}', '\"info\"')")
        assert CHAOS["account"]({"g1": disk_}, database_url)["garbled"] == 1
