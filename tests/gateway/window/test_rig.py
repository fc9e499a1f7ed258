"""The rig window: a machine against its own first minutes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway.inference import load_model
from gateway.summary import Aggregate
from gateway.window import Features
from gateway.window.rig import STEPS, RigWindow
from simulator.noise import Noise

START = 1_600_000_020.0
UNITS = {"vibration": "g", "current": "A", "flow": "L/min", "room": "Cel"}
INPUTS = {"signal": [f"banc/{name}" for name in UNITS]}
USUAL = {"vibration": 0.027, "current": 1.2, "flow": 32.0, "room": 25.0}
Change = Callable[[str, float], float]


def run(
    window: RigWindow, change: Change = lambda name, s: 1.0, until_s: int = 900, start_s: float = START
) -> RigWindow:
    """Summaries of 10 s of an even machine with 2 % of noise, times what has changed after so many seconds."""
    for step in range(until_s // 10):
        for name in reversed(UNITS):
            noise = 1 + 0.02 * Noise(1, name).gauss(step)
            value = USUAL[name] * noise * change(name, step * 10.0)
            window.add(
                f"banc/{name}", start_s + step * 10, 10, Aggregate(10, 0, value, value, value, value), UNITS[name]
            )
    return window


def at(window: RigWindow, seconds: float) -> Features:
    features = window.features(START + seconds)
    assert features is not None
    return features


def test_an_even_machine_is_far_from_an_alert() -> None:
    features = at(run(RigWindow(INPUTS)), 900)
    assert features.rule_score < 0.8
    assert features.x.shape == (STEPS, len(UNITS))
    assert features.x.dtype == np.float32


def test_a_loss_of_flow_is_found_within_a_minute_and_named_in_french() -> None:
    features = at(run(RigWindow(INPUTS), lambda name, s: 0.85 if name == "flow" and s >= 600 else 1.0), 660)
    assert features.rule_score > 1
    assert features.evidence[0].point == "banc/flow"
    assert "après le démarrage" in features.evidence[0].text


def test_the_room_may_warm_without_an_alert() -> None:
    features = at(run(RigWindow(INPUTS), lambda name, s: 1.3 if name == "room" and s >= 600 else 1.0), 900)
    assert features.rule_score < 0.8
    assert features.x[-1, 3] == 8, "the model may see it all the same"


def test_it_learns_for_its_first_minutes_and_says_so() -> None:
    window = run(RigWindow(INPUTS), until_s=440)
    assert window.features(START + 420) is None
    assert window.missing(START + 420) == "en marche depuis 420 s sur 460"
    assert "arrêtée" in window.missing(START + 1000)
    assert RigWindow(INPUTS).features(START) is None


def test_after_a_stop_it_learns_anew() -> None:
    window = run(RigWindow(INPUTS))
    run(window, lambda name, s: 2.0, start_s=START + 1200)
    assert window.features(START + 1500) is None
    assert at(window, 2100).rule_score < 0.8, "twice as much is normal for this run"


def test_what_comes_later_does_not_change_what_was_known() -> None:
    early = run(RigWindow(INPUTS), until_s=660)
    late = run(RigWindow(INPUTS), lambda name, s: 3.0 if s >= 660 else 1.0)
    assert at(early, 660).rule_score == at(late, 660).rule_score
    assert (at(early, 660).x == at(late, 660).x).all()


def test_a_signal_that_fails_is_left_out() -> None:
    window = RigWindow(INPUTS)
    run(window, until_s=600)
    for step in range(60, 90):
        for name in ("current", "flow", "room"):
            value = USUAL[name]
            window.add(f"banc/{name}", START + step * 10, 10, Aggregate(1, 0, value, value, value, value), UNITS[name])
        window.add("banc/vibration", START + step * 10, 10, Aggregate(0, 10, None, None, None, None), "g")
    features = at(window, 900)
    assert features.rule_score < 0.8
    assert features.x[-1, 0] == 0


def test_a_constant_signal_does_not_divide_by_nothing() -> None:
    window = RigWindow({"signal": ["banc/flow", "banc/current"]})
    for step in range(90):
        for name in ("flow", "current"):
            value = 1.0 if step < 70 else 1.0 + 1e-9
            window.add(f"banc/{name}", START + step * 10, 10, Aggregate(1, 0, value, value, value, value), UNITS[name])
    assert at(window, 900).rule_score < 0.1


@pytest.mark.parametrize("inputs", [{}, {"signal": ["banc/flow"]}, {"signal": ["a/b", "a/c"], "flow": ["a/d"]}])
def test_roles_that_do_not_fit_are_refused(inputs: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="expected one role 'signal'"):
        RigWindow(inputs)


def test_unknown_units_and_summaries_too_long_to_judge_by_are_refused() -> None:
    window, one = RigWindow(INPUTS), Aggregate(1, 0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="unit 'furlong'"):
        window.add("banc/flow", START, 10, one, "furlong")
    with pytest.raises(ValueError, match="summarise more often"):
        window.add("banc/flow", START, 900, one, "L/min")


def test_its_card_lets_the_rule_decide() -> None:
    model = load_model(Path(__file__).parents[3] / "edge_models" / "rig")
    assert (model.card.window, model.card.kind, model.card.decides) == ("rig", "pump_failure", "rule")
