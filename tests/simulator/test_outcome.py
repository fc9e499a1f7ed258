"""The report of a night: what the centre holds against what was done to the town, and every way to fall short."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.alert import Alert, AlertKind, Baseline, Severity, alert_id
from simulator.outcome import Centre, Night, in_short, matched, outcome, shortcomings
from simulator.scenario import HOUR_S, Event, Scenario, load_scenario

NIGHT = load_scenario("night", 11)
COUNTS = {"records": 500, "summaries": 400, "duplicates": 0, "redelivered": 3, "gaps": 0}
ACTION = {
    "what": "action", "time": "2026-01-14T22:00:00Z", "point": "lampe-1/level", "value": 85.0, "reason": "horaire",
    "read_back": 85.0, "confirmed": True, "while_offline": True, "error": "",
}  # fmt: skip
STATUS = {"buses": {"armoire": {"protocol": "modbus-tcp", "requests": 10, "readings": 30},
                    "radio": {"protocol": "ble", "requests": 5, "readings": 9}}}  # fmt: skip


def expected(scenario: Scenario = NIGHT) -> list[Event]:
    return [event for event in scenario.events if event.expect]


def alert_for(event: Event, after_h: float = 2.0, **change: Any) -> Alert:
    raised_s = max(event.at_s, NIGHT.start_s) + after_h * HOUR_S
    kind = AlertKind(event.expect)
    alert = Alert(alert_id(kind, event.subject, raised_s), kind, event.subject, event.at_s, raised_s, Severity.MAJOR, 2.0,
                  1.0, "m", "", (), Baseline("r", True, 1.5))  # fmt: skip
    return replace(alert, **change)


def a_night(**change: Any) -> Night:
    return replace(Night(NIGHT, NIGHT.end_s, 100.0, 1, 6.0, 500, 0), **change)


def a_centre(**change: Any) -> Centre:
    whole = Centre(COUNTS, [alert_for(event) for event in expected()], [ACTION], [STATUS, STATUS])
    return replace(whole, **change)


def said(night: Night | None = None, centre: Centre | None = None) -> list[str]:
    return shortcomings(outcome(night or a_night(), centre or a_centre()), NIGHT)


def test_a_night_as_it_should_be() -> None:
    report = outcome(a_night(), a_centre())
    assert shortcomings(report, NIGHT) == []
    assert report["simulated_hours"] == 24
    assert [alert["expected"] for alert in report["alerts"]] == [True] * 3
    assert {alert["kind"] for alert in report["alerts"]} == {"leak", "lamp_failure", "lift_failure"}
    assert report["central"]["lost"] == 0
    assert report["protocols"] == {
        "modbus-tcp": {"requests": 20, "readings": 60},
        "ble": {"requests": 10, "readings": 18},
    }
    assert json.loads(json.dumps(report)) == report
    assert "3 alertes" not in in_short(report)
    assert in_short(report).count("  alerte ") == 3


def test_the_report_has_what_the_contract_says() -> None:
    report = outcome(a_night(), a_centre())
    assert {"scenario", "seed", "simulated_hours", "wall_s", "alerts", "actions", "central", "uplink_cut_h", "kills",
            "protocols"} <= set(report)  # fmt: skip
    assert {"kind", "subject", "onset", "raised", "delay_h", "expected"} == set(report["alerts"][0])
    assert {"point", "value", "read_back", "while_offline"} <= set(report["actions"][0])
    assert {"summaries", "alerts", "lost", "duplicates", "gaps"} <= set(report["central"])


def test_what_was_done_while_the_network_was_gone_is_told_with_what_was_read_back() -> None:
    audits = [
        ACTION,
        {**ACTION, "point": "lampe-2/level"},
        {**ACTION, "point": "lampe-3/level", "read_back": None, "confirmed": False, "error": "silence"},
        {**ACTION, "point": "lampe-4/level", "while_offline": False},
    ]
    told = in_short(outcome(a_night(), a_centre(audits=audits))).splitlines()
    assert "    coupé 22:00  lampe-1/level, lampe-2/level : 85, relu 85 (horaire)" in told
    assert "    coupé 22:00  lampe-3/level : 85, non relu (horaire)" in told
    assert not any("lampe-4" in line for line in told)


@pytest.mark.parametrize("index", range(3))
def test_each_expected_alert_that_does_not_come_is_a_shortcoming(index: int) -> None:
    alerts = [alert_for(event) for event in expected()]
    missing = alerts.pop(index)
    (sentence,) = said(centre=a_centre(alerts=alerts))
    assert sentence == f"alerte attendue et non levée : {missing.kind.value} sur {missing.subject}"


def test_what_is_not_due_yet_is_not_missed() -> None:
    early = a_night(played_until_s=NIGHT.start_s + 600)
    assert outcome(early, a_centre(alerts=[]))["missed"] == []


def test_an_alert_of_another_kind_or_subject_is_unexpected() -> None:
    alerts = [alert_for(event) for event in expected()]
    strange = [
        *alerts,
        replace(alerts[0], id="A-x", subject="ailleurs"),
        replace(alerts[0], id="A-y", kind=AlertKind.NO_DATA),
    ]
    sentences = said(centre=a_centre(alerts=strange))
    assert len(sentences) == 2
    assert all(sentence.startswith("alerte inattendue : ") for sentence in sentences)


def test_a_second_alert_for_one_event_is_unexpected() -> None:
    alerts = [alert_for(event) for event in expected()]
    (sentence,) = said(centre=a_centre(alerts=[*alerts, alert_for(expected()[0], 3.0)]))
    assert "inattendue : leak" in sentence


def test_an_alert_before_its_cause_or_after_its_time_is_no_find() -> None:
    (leak, *_) = expected()
    for raised_s in (leak.at_s - 2 * HOUR_S, leak.due_s + 1):
        found, missed = matched(NIGHT, [replace(alert_for(leak), raised_s=raised_s)], NIGHT.end_s)
        assert found == {}
        assert leak in missed


@pytest.mark.parametrize(
    ("night", "centre", "sentence"),
    [
        ({"last_seq": 501}, {}, "enregistrements perdus : 1"),
        ({"last_seq": 510, "pending": 10}, {}, "restés dans la file à la fin : 10"),
        ({}, {"counts": COUNTS | {"duplicates": 2}}, "enregistrements en double : 2"),
        ({}, {"counts": COUNTS | {"records": 501}}, "enregistrements perdus : -1"),
        ({}, {"audits": []}, "aucune action confirmée pendant la coupure"),
        ({}, {"audits": [ACTION | {"confirmed": False}]}, "aucune action confirmée pendant la coupure"),
        ({}, {"audits": [ACTION | {"while_offline": False}]}, "aucune action confirmée pendant la coupure"),
        ({"kills": 0}, {}, "la passerelle n'a pas été tuée : la nuit a été trop courte"),
        ({}, {"statuses": []}, "la passerelle n'a jamais dit son état : rien n'est su des protocoles"),
        (
            {},
            {"statuses": [{"buses": {"rue": {"protocol": "dali-sci", "requests": 9, "readings": 0}}}]},
            "aucune lecture par dali-sci",
        ),
    ],
)
def test_every_way_to_fall_short_is_said(night: dict[str, Any], centre: dict[str, Any], sentence: str) -> None:
    assert said(a_night(**night), a_centre(**centre)) == [sentence]
