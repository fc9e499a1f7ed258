"""The bench of Modbus TCP counts truly: a real gateway, few devices, a short while; no timing is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import tcp

pytestmark = pytest.mark.network


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "SETTLE_S", 0.5)


def test_every_value_that_was_polled_arrives_as_it_was_read(tmp_path: Path) -> None:
    got = tcp._ours(tmp_path / "site", devices=3, registers=16, period_s=0.1, seconds=2.0)

    assert got["wrong_values"] == 0
    assert got["requests_per_cycle"] == 2
    assert got["delivered_share"] == 1
    assert got["values_per_second"] > 100
    assert got["cpu_s_per_1000_values"] > 0
    assert got["rss_mib"] > 5
    assert got["jitter"]["p50"] > 0.5


def test_a_profile_that_bridges_the_hole_needs_one_request(tmp_path: Path) -> None:
    assert tcp._bridged(tmp_path, devices=2, registers=16, period_s=0.2) == {"requests_per_cycle_bridged": 1}


def test_the_floor_does_the_same_work() -> None:
    got = tcp._floor(devices=3, registers=16, period_s=0.1, seconds=1.0)

    assert got["requests_per_cycle"] == pytest.approx(2, abs=0.2)  # a cycle may be cut by the end of the second
    assert got["values_per_second"] > 100


def test_a_value_that_is_not_what_was_read_is_counted() -> None:
    field = tcp.runpy.run_path(str(tcp.HERE / "_field.py"))
    devices = field["Field"](1, 8)
    true = dict(devices.images[0][1])
    body = {"kind": "reading", "epoch": "e", "seq": 1, "device": "d0", "values": true}
    devices.took("guet/v1/bench/reading", tcp.json.dumps(body).encode())
    assert devices.counts.wrong == 0

    body |= {"seq": 2, "values": true | {"f4": 1234.5}}
    devices.took("guet/v1/bench/reading", tcp.json.dumps(body).encode())
    assert devices.counts.wrong == 1


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"registers": 12}, {"period": 0.001}, {"seconds": 0.0}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SystemExit, match="expected"):
        tcp.run(**wrong)  # type: ignore[arg-type]
