"""What the bench found, in a card: every figure with its interval, and none that was measured on something else."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edge_models import benched
from edge_models.decay import RULE_DECISION, rate, share
from gateway.inference import CARD, load_model

ROOT = Path(__file__).parents[2] / "edge_models"
BENCHED = sorted(file.parent.name for file in ROOT.glob(f"*/{benched.KEPT}"))
REPORT = {
    "at": "2026-01-02T03:04:05Z", "sha256": "ab", "decision": benched.named(RULE_DECISION), "seeds_from": 10_000,
    "rule": {
        "found_14_days_ahead": share(45, 50), "by_family": {"connector": share(3, 4), "surge": share(0, 0)},
        "false_alerts": rate(2, 4000.0) | {"goal_a_month": 0.001}, "goal_reached": True,
    },
}  # fmt: skip


def kept(folder: Path, report: dict[str, object]) -> Path:
    (folder / benched.KEPT).write_text(json.dumps(report), encoding="utf-8")
    return folder


def test_every_figure_with_an_interval_is_told_and_families_without_a_fault_are_not(tmp_path):
    made = tomllib.loads(benched.tail(kept(tmp_path, REPORT), "ab", RULE_DECISION))["metrics"]["figure"]
    told = {one["name"]: one for one in made}
    assert list(told) == [
        "bench, règle, annoncées 14 jours avant, part",
        "bench, règle, connector, part",
        "bench, règle, fausses alertes par mois",
    ]
    assert told["bench, règle, annoncées 14 jours avant, part"]["value"] == 0.9
    assert all(one["low"] < one["value"] < one["high"] for one in made)
    assert [one["n"] for one in made] == [50, 4, 4000]


def test_a_report_on_another_network_or_decision_is_not_told(tmp_path):
    folder = kept(tmp_path, REPORT)
    assert benched.tail(folder, "cd", RULE_DECISION) == ""
    assert benched.tail(folder, "ab", replace(RULE_DECISION, evidence=2.0)) == ""
    assert benched.tail(tmp_path / "none", "ab", RULE_DECISION) == ""


def test_a_report_on_another_model_is_refused():
    with pytest.raises(ValueError, match="lamp_driver: expected a report on the model as it is"):
        benched.keep({"at": "", "bench": "assets", "lamp_driver": REPORT})


@pytest.mark.parametrize("name", BENCHED)
def test_a_card_ends_with_what_is_kept_beside_it(name):
    model = load_model(ROOT / name)
    end = benched.tail(ROOT / name, model.sha256, model.decision)
    assert end, "measured on another network or decision: run guet bench again"
    assert (ROOT / name / CARD).read_text(encoding="utf-8").endswith(end)
