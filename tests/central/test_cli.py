"""`guet central status` for people and for machines."""

import json

import psycopg
import pytest

from central.batch import store
from central.cli import main
from gateway.upstream.payload import Kind
from tests.central.test_batch import record
from tests.central.test_contract import GAP
from tests.gateway.test_store import an_alert


async def filled(database_url: str) -> None:
    alert = an_alert()
    messages = [
        record(1, Kind.ALERT, {"alert": alert.as_json()}),
        record(2, body={"backlog": 5, "days_until_full": 40.6}),
        record(7, Kind.GAP, {**GAP, "count": 2, "seqs": [[4, 5]]}),
        ("guet.v1.g1.status", b"{}"),
        ("guet.v1.g2.status", record(1)[1]),
    ]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await store(connection, messages, set())


async def test_each_gateway_has_its_line_and_each_refusal_its_reason(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await filled(database_url)
    monkeypatch.setenv("GUET_LANG", "fr")
    assert main(["status", "--database", database_url]) == 0
    head, first, second, title, *refused = capsys.readouterr().out.splitlines()
    lines = [" ".join(line.split()) for line in (head, first, second)]
    assert lines == [
        "passerelle vue en attente reçus manquants écartés répétés refusés alertes",
        "g1 il y a 0 s 5 (place pour 41 j) 3 2 2 en 1 trous 0 1 1 (1 en cours)",
        "g2 jamais ? 0 0 0 0 1 0 (0 en cours)",
    ]
    assert title == "Messages refusés :"
    assert [line.split()[:3] for line in refused] == [["g1", "malformed", "1"], ["g2", "forged", "1"]]
    assert "guet.v1.g2.status" in refused[1]


async def test_machines_are_told_the_same(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(database_url)
    assert main(["status", "--database", database_url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    first = told["gateways"][0]
    assert {
        key: first[key] for key in ("gateway", "backlog", "missing", "gaps", "dropped", "refused", "open_alerts")
    } == {
        "gateway": "g1",
        "backlog": 5,
        "missing": 2,
        "gaps": 1,
        "dropped": 2,
        "refused": 1,
        "open_alerts": 1,
    }
    assert first["last_seen"] is not None
    assert [(one["gateway"], one["reason"], one["count"]) for one in told["refused"]] == [
        ("g1", "malformed", 1),
        ("g2", "forged", 1),
    ]
    assert told["total"]["refused"] == 2


def test_a_database_that_does_not_answer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--database", "postgresql://127.0.0.1:9/nothing"]) == 1
    assert "look at its address" in capsys.readouterr().err
