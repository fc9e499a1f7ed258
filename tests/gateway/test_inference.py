"""Model folders: cards, hashes, the runtime."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from gateway.alert import Severity
from gateway.errors import ModelError
from gateway.inference import CARD, load_card, load_model
from gateway.window import Features

MODELS = Path(__file__).parents[2] / "edge_models"


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "leak"
    copy.mkdir()
    for name in (CARD, "model.tflite"):
        shutil.copy(MODELS / "leak" / name, copy / name)
    return copy


def edit(folder, old, new):
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    assert old in text
    card.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_shipped_leak_model_loads_with_its_delegate(folder):
    model = load_model(folder)
    assert model.card.model is not None
    assert model.sha256 == model.card.model.sha256
    assert model.fallback == ""


def test_a_changed_file_is_refused_with_both_hashes(folder):
    file = folder / "model.tflite"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"leak/card.toml: model.sha256: expected [0-9a-f]{64}, got [0-9a-f]{64}"):
        load_model(folder)


def test_a_missing_file_is_named(folder):
    (folder / "model.tflite").unlink()
    with pytest.raises(ModelError, match=r"model\.tflite cannot be read"):
        load_model(folder)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"card\.toml: cannot be read"):
        load_model(tmp_path)


def test_all_faults_of_a_card_are_told_at_once(folder):
    edit(folder, 'kind = "leak"', 'kind = "leek"\ncolour = "blue"')
    edit(folder, 'decides = "model"', 'decides = "dice"')
    with pytest.raises(ModelError) as caught:
        load_card(folder / CARD)
    said = "\n".join(caught.value.faults)
    assert "colour: unknown key" in said
    assert "kind" in said
    assert "decides" in said


def test_a_card_whose_channels_are_not_those_of_the_file_is_refused(folder):
    edit(folder, '"flow_3h", ', "")
    with pytest.raises(ModelError, match="expected an input of"):
        load_model(folder)


def test_a_card_must_have_a_network_or_let_the_rule_decide(folder):
    text = (folder / CARD).read_text(encoding="utf-8")
    begin, end = text.index("[model]"), text.index("[decision]")
    (folder / CARD).write_text(text[:begin] + text[end:], encoding="utf-8")
    with pytest.raises(ModelError, match=r"add \[model\] or let the rule decide"):
        load_model(folder)
    edit(folder, 'decides = "model"', 'decides = "rule"')
    model = load_model(folder)
    assert model.sha256 == ""
    assert model.judge(Features(0.0, np.zeros((1, 1), np.float32), [], 1.25)) == 1.25


def test_clear_above_the_threshold_is_refused(folder):
    card = load_card(folder / CARD)
    edit(folder, f"clear = {card.decision.clear}", f"clear = {card.decision.threshold + 1}")
    with pytest.raises(ModelError, match="clear: expected at most the threshold"):
        load_model(folder)


def test_input_that_is_not_finite_counts_as_not_known(folder):
    model = load_model(folder)
    shape = (model.card.model.steps, len(model.card.model.channels))
    zeros, holes = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    holes[3, 5], holes[4, 6] = np.nan, np.inf
    assert model.score(holes) == model.score(zeros)


def test_input_beyond_the_range_is_held_at_its_ends(folder):
    model = load_model(folder)
    shape = (model.card.model.steps, len(model.card.model.channels))
    assert model.quantised(np.full(shape, 1e9, np.float32)).max() == 127
    assert model.quantised(np.full(shape, -1e9, np.float32)).min() == -128


def test_another_shape_is_refused(folder):
    with pytest.raises(ValueError, match="expected input"):
        load_model(folder).score(np.zeros((3, 3), np.float32))


def test_severity_rises_with_the_score(folder):
    model = load_model(folder)
    table = model.card.severity
    assert model.severity(table.major - 0.1) is Severity.MINOR
    assert model.severity(table.major) is Severity.MAJOR
    assert model.severity(table.critical) is Severity.CRITICAL


def test_a_runtime_without_its_delegate_is_said(folder, monkeypatch):
    from ai_edge_litert import interpreter

    class Plain(interpreter.Interpreter):
        """LiteRT as it is when it cannot start XNNPACK."""

        def __init__(self, **options):
            without = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            super().__init__(experimental_op_resolver_type=without, **options)

    monkeypatch.setattr(interpreter, "Interpreter", Plain)
    assert "without XNNPACK" in load_model(folder).fallback


def test_a_network_that_is_not_used_is_not_run_and_known_to_be_there(folder):
    assert not load_model(folder).refused
    edit(folder, 'decides = "model"', 'decides = "rule"')
    model = load_model(folder)
    assert model.refused
    assert model.sha256 == ""
    assert model.judge(Features(0.0, np.zeros((1, 1), np.float32), (), 1.5)) == 1.5


CALIBRATION = """
[calibration]
made = "simulated"
text = "half of them failed"
[[calibration.band]]
score = 1.0
right = 18
alerts = 20
[[calibration.band]]
score = 3.0
right = 30
alerts = 30
"""


def calibrated(folder):
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    card.write_text(text.partition("[calibration]")[0] + CALIBRATION, encoding="utf-8")


@pytest.mark.parametrize(("score", "value", "n"), [(1.0, 0.9, 20), (2.9, 0.9, 20), (3.0, 1.0, 30), (99.0, 1.0, 30)])
def test_confidence_is_what_became_of_alerts_of_such_a_score(folder, score, value, n):
    calibrated(folder)
    confidence = load_model(folder).confidence(score)
    assert (confidence.value, confidence.n, confidence.made) == (value, n, "simulated")


def test_below_what_was_seen_and_without_a_calibration_nobody_knows(folder):
    calibrated(folder)
    assert load_model(folder).confidence(0.5) is None
    assert load_model(MODELS / "bin").confidence(2.0) is None


@pytest.mark.parametrize(("old", "new"), [("right = 18", "right = 21"), ("score = 3.0", "score = 1.0")])
def test_a_calibration_that_cannot_be_is_refused(folder, old, new):
    calibrated(folder)
    edit(folder, old, new)
    with pytest.raises(ModelError, match="calibration"):
        load_model(folder)
