"""What an alert names is what made it: hiding that ends the alert, hiding as many others mostly does not."""

from pathlib import Path

import numpy as np
import pytest

from edge_models.lamp_driver.street import FAMILIES as LAMP_FAMILIES
from edge_models.lamp_driver.street import street
from edge_models.lift_door.shaft import FAMILIES as LIFT_FAMILIES
from edge_models.lift_door.shaft import shafts
from gateway.explanation import counterfactual_of, reasons_of
from gateway.inference import load_model
from gateway.summary import Aggregate
from gateway.window.lamp import ROLES as LAMP_ROLES
from gateway.window.lamp import LampWindow
from gateway.window.lift import ROLES as LIFT_ROLES
from gateway.window.lift import LiftWindow

MODELS = Path(__file__).parents[2] / "edge_models"


def fed(window, roles, rows, first, slot_s, until):
    for number in range(max(0, until - int(36 * 86400 / slot_s)), until):
        for (role, unit), value in zip(roles.items(), rows[number], strict=True):
            if np.isfinite(value):
                seen = float(value)
                aggregate = Aggregate(1, 0, seen, seen, seen, seen)
                window.add(f"x/{role}", (first + number) * slot_s, slot_s, aggregate, unit)
    return window.features((first + until) * slot_s)


def lamps():
    inputs = {role: [f"x/{role}"] for role in LAMP_ROLES}
    one = street(11, 24, 62, LAMP_FAMILIES, (8, 12), history_d=45, neighbours=True, whole=True)
    for i, end in enumerate(one.end):
        yield fed(LampWindow(inputs), LAMP_ROLES, one.rows[i], one.first_hour, 3600.0, int(end) // 24 * 24 - 18)


def lifts():
    inputs = {role: [f"x/{role}"] for role in LIFT_ROLES}
    one = shafts(11, 12, 56, LIFT_FAMILIES, (8, 12), history_d=40, drive=True)
    for i, end in enumerate(one.end):
        yield fed(LiftWindow(inputs), LIFT_ROLES, one.rows[i], one.first_slice, 900.0, int(end) // 4 * 4 - 8)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "things"), [("lamp_driver", lamps), ("lift_door", lifts)])
def test_hiding_what_is_named_ends_the_alert_more_often_than_hiding_as_much_by_chance(name, things):
    model, rng = load_model(MODELS / name), np.random.default_rng(0)
    threshold = model.decision.threshold
    ended, by_chance, changed, alerts = [], [], [], 0
    for features in things():
        if features is None or model.judge(features) < threshold:
            continue
        alerts += 1
        reasons = reasons_of(model.judge, features)
        assert sum(reason.weight for reason in reasons) == pytest.approx(1)
        named = list(dict.fromkeys(reason.point for reason in reasons))
        every = [f"x/{role}" for role in (LAMP_ROLES if name == "lamp_driver" else LIFT_ROLES)]
        others = [point for point in every if point not in named]
        ended.append(model.judge(features.ease(dict.fromkeys(named, 0.0))) < threshold)
        few = min(len(named), len(others))
        chosen = rng.choice(others, few, replace=False).tolist()
        by_chance.append(model.judge(features.ease(dict.fromkeys(chosen, 0.0))) < threshold)
        other = counterfactual_of(model.judge, features, reasons, threshold)
        changed.append(other is not None and other.score < threshold)
    assert alerts >= 5
    assert np.mean(ended) >= 0.8
    assert np.mean(ended) > np.mean(by_chance) + 0.3
    assert np.mean(changed) >= 0.8
