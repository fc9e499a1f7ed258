"""`guet bench`: a report on standard output and in a file, and a status that says whether figures were missed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulator import bench

ONE = """
def run(requests: int = 5, node: str = "lamp"):
    missed = [f"turnaround: expected less than {requests}"] if requests > 9 else []
    return {"requests": requests, "node": node, "missed": missed}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(ONE, encoding="utf-8")
    (tmp_path / "plain.py").write_text("def run():\n    return {'figure': 1}\n", encoding="utf-8")
    (tmp_path / "_part.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(bench, "FOLDER", tmp_path)


def test_all_figures_kept_is_status_0_and_the_report_is_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    assert bench.bench(["one", "--requests", "7", "--json", str(file)]) == 0
    said = capsys.readouterr()
    report = json.loads(file.read_text(encoding="utf-8"))
    assert json.loads(said.out) == report
    assert (report["bench"], report["requests"], report["node"], report["missed"]) == ("one", 7, "lamp", [])
    assert {"at", "machine", "seconds"} <= set(report)
    assert said.err == ""


def test_a_missed_figure_is_status_1_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert bench.bench(["one", "--requests", "10", "--json", str(file)]) == 1
    assert "turnaround: expected less than 10" in capsys.readouterr().err
    assert json.loads(file.read_text(encoding="utf-8"))["missed"] == ["turnaround: expected less than 10"]


def test_a_bench_that_judges_nothing_misses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.bench(["plain"]) == 0
    assert json.loads(capsys.readouterr().out)["figure"] == 1


@pytest.mark.parametrize("arguments", [["two"], ["_part"], ["one", "--speed", "3"], ["one", "--requests", "many"], []])
def test_what_there_is_not_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.bench(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_without_a_checkout_there_is_nothing_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "FOLDER", tmp_path / "nowhere")
    assert bench.bench(["one"]) == 2
    said = capsys.readouterr().err
    assert "checkout" in said or "dépôt" in said


def test_a_bench_may_start_processes_of_its_own(tmp_path: Path) -> None:
    """The line of `guet bench bus` runs in one, which has to import the bench by its name, from whatever folder."""
    more = ["bench", "bus", "--seconds", "0.05", "--exchanges", "50", "--hours", "0.1", "--json", "f.json"]
    command = [sys.executable, "-m", "gateway.cli", *more]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "f.json").read_text())
    assert (report["bench"], report["storm"]["wrong_values"], report["gap_violations"]) == ("bus", 0, 0)
