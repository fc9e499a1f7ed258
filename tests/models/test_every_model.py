"""Checks that every model in edge_models/ must pass."""

import base64
import json
import tomllib
import zlib
from pathlib import Path

import numpy as np
import pytest

from gateway.inference import CARD, Model, load_card, load_model

ROOT = Path(__file__).parents[2] / "edge_models"
FOLDERS = sorted(file.parent.name for file in ROOT.glob(f"*/{CARD}"))
NETWORKS = [name for name in FOLDERS if "model" in tomllib.loads((ROOT / name / CARD).read_text(encoding="utf-8"))]


def test_the_sweep_sees_every_folder():
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(("_", "."))}
    assert set(FOLDERS) == folders
    assert "leak" in NETWORKS


@pytest.mark.parametrize("name", FOLDERS)
def test_the_card_is_complete_and_named_after_its_folder(name):
    card = load_model(ROOT / name).card
    assert card.name == name
    assert card.purpose
    assert card.not_for
    assert card.data.text


@pytest.mark.parametrize("name", ["lamp_driver", "lift_door", "rig"])
def test_an_alert_about_a_machine_says_how_often_such_alerts_were_right_and_of_how_many(name):
    model = load_model(ROOT / name)
    for score in (model.decision.threshold + 0.01, model.card.severity.critical + 1):
        confidence = model.confidence(score)
        assert confidence is not None
        assert confidence.n >= 20
        assert confidence.made == ("recorded" if name == "rig" else "simulated")


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_examples_are_byte_exact(name):
    model = load_model(ROOT / name, even_refused=True)
    stored = json.loads((ROOT / name / "example.json").read_text(encoding="utf-8"))
    inputs = np.frombuffer(zlib.decompress(base64.b64decode(stored["inputs"])), np.int8).reshape(stored["shape"])
    outputs = [model.raw(one[None]) for one in inputs]
    apart = max(abs(a - b) for a, b in zip(outputs, stored["outputs"], strict=True))
    assert len(outputs) >= 32
    assert len(set(outputs)) > 8
    assert apart <= (4 if model.fallback else 0)


@pytest.mark.parametrize("name", [name for name in NETWORKS if load_card(ROOT / name / CARD).model.forecast])
def test_golden_forecasts_are_byte_exact(name):
    model = load_model(ROOT / name, even_refused=True)
    stored = json.loads((ROOT / name / "example.json").read_text(encoding="utf-8"))
    inputs, wanted = (
        np.frombuffer(zlib.decompress(base64.b64decode(stored[key])), np.int8).reshape(
            len(stored["outputs"]), steps, -1
        )
        for key, steps in (("inputs", model.card.model.steps), ("forecasts", model.card.model.steps))
    )
    found = [(model.raw(one[None]), model.forecast())[1] for one in inputs]
    apart = np.abs(np.array(found).astype(int) - wanted[..., 0])
    assert len(np.unique(wanted)) > 8
    assert apart.max() <= (4 if model.fallback else 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_small_and_its_channels_are_those_of_its_window(name):
    card = load_model(ROOT / name, even_refused=True).card
    assert card.model.bytes <= 32768
    if card.window == "sector":
        from gateway.window.channel import CHANNELS, LAGS_H

        assert tuple(card.model.channels) == CHANNELS
        assert card.model.steps == len(LAGS_H)


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_do_not_depend_on_what_was_scored_before(name):
    model = load_model(ROOT / name, even_refused=True)
    shape = (model.card.model.steps, len(model.card.model.channels))
    inputs = np.random.default_rng(0).normal(0, 3, (20, *shape)).astype(np.float32)
    forward = [model.score(x) for x in inputs]
    assert [model.score(x) for x in inputs[::-1]][::-1] == forward


@pytest.mark.parametrize("name", [name for name in NETWORKS if not load_model(ROOT / name).refused])
def test_a_network_that_knows_nothing_does_not_alarm(name):
    model: Model = load_model(ROOT / name)
    nothing = np.zeros((model.card.model.steps, len(model.card.model.channels)), np.float32)
    assert model.score(nothing) < model.decision.threshold
