"""Rules: active, idle, lost, blocked; the earlier above the later; alerts raised once and cleared; memory over a restart."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.condition import Picture
from gateway.permit import Origin, Permit
from gateway.rulebook import Rulebook, RuleEntry, RuleState
from gateway.sun import Place

PLACE = Place(47.24, 6.02, ZoneInfo("Europe/Paris"))
PERMITS = {
    "cta/setpoint": Permit("cta/setpoint", frozenset({Origin.RULE}), 14, 24, fail_safe=20.0),
    "rue/level": Permit("rue/level", frozenset({Origin.RULE}), 0, 254),
}


def rule(name: str = "r", **more: Any) -> RuleEntry:
    body = {"name": name, "when": [{"point": "a/b", "above": 10}], "set": [{"point": "cta/setpoint", "value": 16}]}
    return RuleEntry.model_validate(body | more)


def book(*rules: RuleEntry) -> Rulebook:
    return Rulebook(rules, PERMITS, PLACE)


def seen(time_s: float = 0.0, **values: float | None) -> Picture:
    return Picture(time_s, {name.replace("_", "/"): value for name, value in values.items()})


def test_all_conditions_must_hold_and_none_of_unless() -> None:
    one = book(rule(when=[{"point": "a/b", "above": 10}, {"point": "a/c", "equals": 1}],
                    unless=[{"point": "a/d", "equals": 1}]))  # fmt: skip
    active, idle, blocked, lost = RuleState.ACTIVE, RuleState.IDLE, RuleState.BLOCKED, RuleState.LOST
    for values, expected in (
        ((11, 1, 0), active), ((10, 1, 0), idle), ((11, 0, 0), idle), ((11, 1, 1), blocked), ((11, 1, None), blocked),
        ((None, 1, 0), lost), ((None, 0, 0), idle), ((None, None, 0), lost), ((None, 1, 1), blocked),
    ):  # fmt: skip
        ruling = one.decide(seen(a_b=values[0], a_c=values[1], a_d=values[2]))
        assert ruling.states["r"] is expected, values
        assert ("cta/setpoint" in ruling.claims) == (expected in (active, lost))


def test_a_lost_input_takes_the_defensive_value_of_the_rule_or_of_the_permit() -> None:
    claim = book(rule()).decide(seen(a_b=None)).claims["cta/setpoint"]
    assert (claim.value, claim.defensive) == (20.0, True)
    own = rule(set=[{"point": "cta/setpoint", "value": 16, "lost": 18}])
    assert book(own).decide(seen(a_b=None)).claims["cta/setpoint"].value == 18
    lamp = rule(set=[{"point": "rue/level", "value": 254}])
    assert book(lamp).decide(seen(a_b=None)).claims == {}, "its street's schedule is the safe value"


def test_an_earlier_rule_outranks_a_later_one() -> None:
    frost = rule("gel", when=[{"point": "a/b", "above": 50}], set=[{"point": "cta/setpoint", "value": 22}])
    saving = rule("economie")
    assert book(frost, saving).decide(seen(a_b=60)).claims["cta/setpoint"].rule == "gel"
    assert book(frost, saving).decide(seen(a_b=20)).claims["cta/setpoint"].rule == "economie"


def test_an_alert_is_raised_once_stays_while_nobody_can_see_and_is_cleared() -> None:
    one = book(rule(alert={"kind": "energy_anomaly", "severity": "major", "text": "Trop."}))
    (raised,) = one.decide(seen(100, a_b=11)).alerts
    assert (raised.kind, raised.severity, raised.subject, raised.model) == ("energy_anomaly", "major", "r", "rule:r")
    assert [reason.text for reason in raised.reasons] == ["Trop.", "a/b au-dessus de 10 (11)"]
    assert one.decide(seen(200, a_b=12)).alerts == []
    assert one.decide(seen(300, a_b=None)).alerts == []
    (cleared,) = one.decide(seen(400, a_b=9)).alerts
    assert (cleared.id, cleared.cleared_s) == (raised.id, 400)


def test_the_onset_is_when_the_last_condition_began() -> None:
    one = book(rule(when=[{"point": "a/b", "above": 10, "for": "5min"}, {"point": "a/c", "equals": 1}],
                    alert={"kind": "leak", "text": "Fuite."}))  # fmt: skip
    one.decide(seen(0, a_b=11, a_c=0))
    one.decide(seen(100, a_b=11, a_c=1))
    (raised,) = one.decide(seen(300, a_b=11, a_c=1)).alerts
    assert (raised.onset_s, raised.raised_s) == (100, 300)


def test_memory_survives_a_restart_and_an_open_alert_is_not_raised_again() -> None:
    def make() -> Rulebook:
        return book(rule(when=[{"point": "a/b", "above": 10, "until": 5, "for": "5min"}],
                         alert={"kind": "leak", "text": "Fuite."}))  # fmt: skip

    one = make()
    one.decide(seen(0, a_b=11))
    assert len(one.decide(seen(300, a_b=11)).alerts) == 1
    again = make()
    again.restore(json.loads(json.dumps(one.state())))
    assert again.decide(seen(310, a_b=6)).alerts == []
    assert len(again.decide(seen(320, a_b=4)).alerts) == 1


def test_a_rule_that_was_changed_begins_anew() -> None:
    again = book(rule(when=[{"point": "a/b", "above": 10}, {"point": "a/c", "above": 10}]))
    again.restore({"r": {"conditions": [{"met": True, "since_s": 1.0}], "open": None}, "gone": {}})
    assert again.decide(seen(a_b=1, a_c=1)).states["r"] is RuleState.IDLE


@given(st.lists(st.tuples(st.floats(0, 20) | st.none(), st.floats(0, 2) | st.none(), st.floats(1, 100)), max_size=30))
def test_a_claim_is_only_ever_of_a_rule_that_is_active_or_lost(
    steps: list[tuple[float | None, float | None, float]],
) -> None:
    one = book(
        rule(
            "x", when=[{"point": "a/b", "above": 10, "until": 5, "for": "1min"}], unless=[{"point": "a/c", "above": 1}]
        ),
        rule("y", when=[{"point": "a/c", "below": 1}]),
    )
    time_s, opened = 0.0, 0
    for b, c, passed_s in steps:
        time_s += passed_s
        ruling = one.decide(seen(time_s, a_b=b, a_c=c))
        for claim in ruling.claims.values():
            assert ruling.states[claim.rule] in (RuleState.ACTIVE, RuleState.LOST)
            assert claim.defensive == (ruling.states[claim.rule] is RuleState.LOST)
        if c is None:
            assert ruling.states["x"] is RuleState.BLOCKED
        assert one.wakes_s(time_s) > time_s
        opened += len(ruling.alerts)
    assert opened == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"set": []}, "expected set, alert or both"),
        ({"when": []}, "at least 1"),
        ({"set": [{"point": "a/b", "value": 1}, {"point": "a/b", "value": 2}]}, "a point twice"),
        ({"alert": {"kind": "fire", "text": "x"}}, "kind"),
        ({"name": "with space"}, "pattern"),
        ({"then": []}, "then"),
    ],
)
def test_what_is_no_rule(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(**more)
