"""A watch raises an alert once, clears it once, and after a power cut goes on as if there had been none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alert import Alert, AlertKind
from gateway.errors import ModelError
from gateway.inference import Model, load_model
from gateway.site import WatchEntry
from gateway.summary import Aggregate, Summary
from gateway.watch import MOST_STEPS, Watch, window_of

UNITS = {"porte/current": "mA", "porte/speed": "mm/s", "porte/state": "1", "porte/error": "1"}
INPUTS = {
    "door_current": ["porte/current"], "door_speed": ["porte/speed"], "door_state": ["porte/state"],
    "door_error": ["porte/error"],
}  # fmt: skip
ENTRY = WatchEntry(name="ascenseur", model="lift_door", inputs=INPUTS)
DAY_S, STEP_S, SLICE_S = 86400.0, 3600.0, 900.0
START_S = 20_000 * DAY_S
WORN_S, MENDED_S, END_S = START_S + 24 * DAY_S, START_S + 26 * DAY_S, START_S + 29 * DAY_S


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(Path(__file__).parent / "lift_rule")


def one(value: float) -> Aggregate:
    return Aggregate(3, 0, value, value, value, value)


def a_month(seed: int = 1) -> Iterator[Summary]:
    """A door that works, wears for two days (slower and with more current), and is mended."""
    chance = Random(seed)
    for at in range(int((END_S - START_S) // SLICE_S)):
        start_s = START_S + at * SLICE_S
        worn = WORN_S <= start_s < MENDED_S
        current, speed = chance.gauss(400, 6) * (1.25 if worn else 1), chance.gauss(200, 3) * (0.7 if worn else 1)
        points = {"current": one(current), "speed": one(speed), "state": one(1), "error": one(0)}
        yield Summary("porte", start_s, SLICE_S, points)


SUMMARIES = list(a_month())


def judged(watch: Watch, summaries: list[Summary]) -> list[Alert]:
    """Each summary goes in, then what can be judged at its end is."""
    said: list[Alert] = []
    for summary in summaries:
        watch.add(summary)
        said += watch.judge(summary.start_s + summary.period_s)
    return said


@pytest.fixture(scope="module")
def whole(model: Model) -> list[dict[str, object]]:
    return [alert.as_json() for alert in judged(after_a_quiet_month(model), EVENTFUL)]


def test_a_door_that_wears_is_told_once_and_its_end_once(whole: list[dict[str, object]]) -> None:
    raised, cleared = whole
    assert raised["kind"] == AlertKind.LIFT_FAILURE
    assert raised["subject"] == "ascenseur"
    assert raised["cleared"] is None
    assert raised["id"] == cleared["id"]
    assert cleared["cleared"] is not None
    alert = Alert.from_json(raised)
    assert WORN_S < alert.raised_s < WORN_S + 12 * 3600
    assert abs(alert.onset_s - WORN_S) <= 4 * 3600
    over = Alert.from_json(cleared).cleared_s
    assert over is not None
    assert MENDED_S < over < MENDED_S + 12 * 3600


def test_an_alert_says_why(whole: list[dict[str, object]]) -> None:
    alert = Alert.from_json(whole[0])
    assert {reason.feature for reason in alert.reasons} == {"slowdown", "current_rise"}
    assert sum(reason.weight for reason in alert.reasons) == pytest.approx(1, abs=0.001)
    assert all(reason.point in UNITS and reason.text for reason in alert.reasons)
    assert alert.model_sha256 == "", "a rule decided"
    assert alert.baseline.fired


def test_the_threshold_of_an_alert_is_the_one_it_went_over(whole: list[dict[str, object]]) -> None:
    alert = Alert.from_json(whole[0])
    assert alert.score >= alert.threshold


QUIET = [summary for summary in SUMMARIES if summary.start_s < WORN_S - DAY_S]
EVENTFUL = SUMMARIES[len(QUIET) :]


def after_a_quiet_month(model: Model) -> Watch:
    watch = Watch(ENTRY, model, UNITS)
    for summary in QUIET:
        watch.add(summary)
    assert watch.judge(WORN_S - DAY_S) == []
    return watch


def cut_at(model: Model, cut: int) -> list[dict[str, object]]:
    """The eventful days with a power cut after so many summaries: a new watch is given what the store kept."""
    first = after_a_quiet_month(model)
    said = judged(first, EVENTFUL[:cut])
    kept = json.loads(json.dumps(first.state()))
    second = Watch(ENTRY, model, UNITS)
    for summary in [*QUIET, *EVENTFUL[:cut]]:
        second.add(summary)
    second.restore(kept)
    assert second.says == first.says or first.says in ("suspect, sous le seuil de décision", "apprend")
    return [alert.as_json() for alert in said + judged(second, EVENTFUL[cut:])]


@settings(max_examples=6)
@given(cut=st.integers(0, len(EVENTFUL)))
def test_a_power_cut_at_any_moment_changes_no_alert(model: Model, whole: list[dict[str, object]], cut: int) -> None:
    assert cut_at(model, cut) == whole


@pytest.mark.parametrize("hours", range(0, 12, 3))
def test_a_power_cut_while_evidence_gathers_changes_no_alert(
    model: Model, whole: list[dict[str, object]], hours: int
) -> None:
    assert cut_at(model, 4 * (24 + hours) + 1) == whole


def test_what_was_missed_while_the_power_was_off_is_judged_on_return(
    model: Model, whole: list[dict[str, object]]
) -> None:
    """All summaries come at once (a history): the same alerts, at the same times."""
    watch = after_a_quiet_month(model)
    for summary in EVENTFUL:
        watch.add(summary)
    said = watch.judge(END_S)
    assert [alert.as_json() for alert in said] == whole


def test_a_clock_that_was_decades_behind_does_not_have_every_hour_judged(model: Model) -> None:
    watch = Watch(ENTRY, model, UNITS)
    watch.judge(0.0)
    watch.add(SUMMARIES[0])
    watch.judge(START_S)
    assert watch.judged_until_s == START_S
    steps = []
    features = watch.window.features
    watch.window.features = lambda now_s: steps.append(now_s) or features(now_s)  # type: ignore[func-returns-value,method-assign]
    watch.judge(START_S + 40 * 365 * DAY_S)
    assert len(steps) == MOST_STEPS


def test_other_devices_are_passed_over(model: Model) -> None:
    watch = Watch(ENTRY, model, UNITS)
    watch.add(Summary("autre", START_S, SLICE_S, {"current": one(1)}))
    watch.add(Summary("porte", START_S, SLICE_S, {"position": one(1)}))
    assert watch.judge(START_S + DAY_S) == []


def test_it_says_in_words_where_it_stands(model: Model) -> None:
    watch = Watch(ENTRY, model, UNITS)
    assert watch.says == "pas encore jugé"
    judged(watch, SUMMARIES[:96])
    assert watch.says.startswith("données insuffisantes : ")
    watch = after_a_quiet_month(model)
    assert watch.says == "normal"
    judged(watch, EVENTFUL[:192])
    assert watch.says == "alerte"
    again = Watch(ENTRY, model, UNITS)
    for summary in [*QUIET, *EVENTFUL[:192]]:
        again.add(summary)
    again.restore(watch.state())
    assert again.says == "alerte", "even before it judges anew"


@pytest.mark.parametrize(
    ("inputs", "units", "said"),
    [
        ({**INPUTS, "door_colour": ["porte/state"]}, UNITS, "door_colour"),
        ({"door_speed": ["porte/speed"]}, UNITS, "door_current"),
        (INPUTS, UNITS | {"porte/current": "bar"}, "door_current: porte/current: unit 'bar'"),
        (INPUTS, UNITS | {"porte/speed": "furlong"}, "door_speed: porte/speed: unit 'furlong'"),
    ],
    ids=["unknown role", "missing role", "impossible unit", "unknown unit"],
)
def test_inputs_that_cannot_be_used_are_known_before_anything_starts(
    model: Model, inputs: dict[str, list[str]], units: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Watch(WatchEntry(name="w", model="lift_door", inputs=inputs), model, units)
    assert said in str(caught.value)


def test_summaries_that_are_too_long_for_a_window_are_known_before_anything_starts(root: Path) -> None:
    entry = WatchEntry(name="w", model="rig", inputs={"signal": ["p/a", "p/b"]})
    window = window_of("rig", entry, UTC)
    with pytest.raises(ValueError, match="summarise more often"):
        window.add("p/a", 0.0, 900.0, one(1.0), "bar")


def test_a_window_that_there_is_not_is_a_fault_of_the_card() -> None:
    with pytest.raises(ModelError, match="use sector, lamp, lift, rig, bin or building"):
        window_of("tide", ENTRY, UTC)


def test_what_was_first_usual_outlives_a_restart(model: Model) -> None:
    before = after_a_quiet_month(model)
    after = Watch(ENTRY, model, UNITS)
    after.restore(json.loads(json.dumps(before.state())))
    assert after.state()["window"] == before.state()["window"]
    old = {key: value for key, value in before.state().items() if key != "window"}
    Watch(ENTRY, model, UNITS).restore(old)


def test_a_network_that_asks_for_other_inputs_than_its_window_makes_is_refused_before_anything_starts() -> None:
    leak = load_model(Path(__file__).resolve().parents[2] / "edge_models" / "leak")
    network = leak.card.model
    assert network is not None
    other = network.model_copy(update={"channels": ["odd", *network.channels[1:]]})
    old = Model(leak.card.model_copy(update={"model": other}), leak._interpreter)
    entry = WatchEntry(name="secteur", model="leak", inputs={"flow": ["debit/flow"]})
    with pytest.raises(ModelError) as caught:
        Watch(entry, old, {"debit/flow": "m3/h"})
    assert all(part in str(caught.value) for part in ("secteur", "leak/card.toml", "odd", "fit.py"))
