"""`guet explain`: one alert on one page, from a store in use or from a replay's file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.alert import Alert
from gateway.cli import FIELD_PROBLEM, USAGE, main
from gateway.clock import SystemClock
from gateway.store import Store
from tests.gateway.conftest import HEAD
from tests.gateway.test_alert import an_alert

SITE = f"""{HEAD}
[[device]]
name = "debit"
profile = "recorded"
"""


@pytest.fixture
def replayed(tmp_path: Path) -> Path:
    file = tmp_path / "alerts.jsonl"
    file.write_text(json.dumps(an_alert().as_json()) + "\n\nnot an alert\n", encoding="utf-8")
    return file


def test_the_page_says_why_how_sure_and_what_would_have_changed_it(
    replayed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    assert main(["explain", "A-1", "--in", str(replayed)]) == 0
    text = capsys.readouterr().out
    for words in ("100 % le débit de nuit monte", "Ce qui aurait changé la décision", "resté sous le seuil",
                  "90 % des 40 alertes d'un tel score étaient justes, mesuré en simulation", "dit OUI aussi",
                  "sert à : Dire qu'un secteur"):  # fmt: skip
        assert words in text


def test_it_speaks_english(replayed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")
    assert main(["explain", "last", "--in", str(replayed)]) == 0
    assert "90% of 40 alerts of such a score were right, as measured in simulation" in capsys.readouterr().out


def test_what_is_not_calibrated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = an_alert().as_json() | {"confidence": None, "counterfactual": None}
    (tmp_path / "a.jsonl").write_text(json.dumps(body), encoding="utf-8")
    assert main(["--lang", "fr", "explain", "A-1", "--in", str(tmp_path / "a.jsonl")]) == 0
    text = capsys.readouterr().out
    assert "Non étalonné" in text
    assert "Inconnu : aucun changement" in text


def test_an_alert_of_a_gateway_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")

    async def held() -> None:
        async with Store.open(tmp_path / "data", SystemClock()) as store:
            await store.decide({}, [an_alert()], [])
            assert main(["explain", "A-1", "--in", str(tmp_path / "site.toml"), "--json"]) == 0

    asyncio.run(held())
    assert Alert.from_json(json.loads(capsys.readouterr().out)) == an_alert()


def test_an_unknown_alert_is_a_problem_that_names_those_there_are(
    replayed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "A-2", "--in", str(replayed)]) == FIELD_PROBLEM
    assert "A-1" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "A-1", "--in", str(tmp_path / "none.jsonl")]) == USAGE
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    assert main(["explain", "A-1", "--in", str(tmp_path / "site.toml")]) == FIELD_PROBLEM
    assert "none.jsonl" in capsys.readouterr().err
