"""The soak: short lives of the real gateway; and that it sees what it is there to see."""

import json
from pathlib import Path

import pytest

import gateway.signed
import simulator.pushing
from simulator.centre import Centre
from simulator.soak import live, soak


def test_a_life_breaks_no_invariant_and_happens_the_same_way_again() -> None:
    first, second = live(0.6, 4), live(0.6, 4)
    assert first == second
    assert first["broken"] == []
    assert first["records"]["summary"] > 100
    assert first != live(0.6, 5)


def test_a_record_that_the_platform_forgot_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Centre.take

    def forgetful(self: Centre, payload: bytes, answer: object) -> None:
        take(self, payload, answer)  # type: ignore[arg-type]
        body = json.loads(payload)
        if body["seq"] in (50, 51):
            self.rows.pop((body["epoch"], body["seq"]), None)

    monkeypatch.setattr(Centre, "take", forgetful)
    broken = live(0.5, 1)["broken"]
    assert any("2 records neither arrived nor were counted, first 50" in what for what in broken)


def test_the_command_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak(["--days", "0.2", "--seed", "2", "--json", str(tmp_path / "soak.json")]) == 0
    report = json.loads((tmp_path / "soak.json").read_text())
    assert (report["days"], report["seed"], report["invariants_broken"]) == (0.2, 2, 0)
    assert json.loads(capsys.readouterr().out) == report
    with pytest.raises(SystemExit):
        soak(["--days", "nan"])


def test_a_site_is_pushed_in_mid_flight_and_the_life_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator.pushing, "EVERY_S", 2 * 3600.0)
    found = live(1.0, 7)
    assert found["broken"] == []
    assert found["storm"]["site kept"] >= 2
    assert found["storm"]["site begun"] >= 3
    assert found == live(1.0, 7)


def test_a_gateway_that_takes_a_forged_site_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator.pushing, "EVERY_S", 3600.0)
    monkeypatch.setattr(simulator.pushing, "KINDS", ("forged",))
    assert live(0.4, 1)["broken"] == []
    monkeypatch.setattr(gateway.signed, "signed_text", lambda payload, *_: json.loads(payload)["configuration"])
    broken = live(0.4, 1)["broken"]
    assert any("nothing allows" in what for what in broken)
    assert any("forged site was answered" in what for what in broken)
