"""Sensors at fault: told after a day, over after a day, and no ground for another verdict."""

import json
from dataclasses import replace

import numpy as np

from gateway.alert import AlertKind, Reason
from gateway.suspect import Suspects, rests_on
from gateway.window import Features

HOUR_S = 3600.0
ODD = Reason("haut/pressure", "alone_24h", 1.4, "pression +0,300 bar", 3.3, 3.0, "bar")
X = np.ones((1, 1), np.float32)


def course(suspects, hours, begin=0, odd=lambda hour: True):
    return [
        alert
        for hour in range(begin, begin + hours)
        for alert in suspects.judge(hour * HOUR_S, [ODD] if odd(hour) else [])
    ]


def test_a_day_of_suspicion_is_one_alert_of_the_device_with_the_point_in_its_reason():
    (alert,) = course(Suspects("x"), 100)
    assert alert.kind is AlertKind.SENSOR_FAULT
    assert (alert.subject, alert.onset_s, alert.raised_s) == ("haut", 0, 24 * HOUR_S)
    assert [(reason.point, reason.weight) for reason in alert.reasons] == [("haut/pressure", 1.0)]


def test_less_than_a_day_is_none():
    assert course(Suspects("x"), 200, odd=lambda hour: hour % 60 < 20) == []


def test_it_is_over_a_day_after_the_last_sign_and_can_come_again():
    said = course(Suspects("x"), 200, odd=lambda hour: hour < 40 or hour >= 100)
    assert [alert.cleared_s is not None for alert in said] == [False, True, False]
    assert said[1].cleared_s == 64 * HOUR_S
    assert said[0].id == said[1].id != said[2].id


def test_a_power_cut_changes_nothing():
    whole = course(Suspects("x"), 100, odd=lambda hour: hour < 50)
    for cut in (3, 24, 60, 80):
        first = Suspects("x")
        said = course(first, cut, odd=lambda hour: hour < 50)
        second = Suspects("x")
        second.restore(json.loads(json.dumps(first.state())))
        assert said + course(second, 100 - cut, cut, odd=lambda hour: hour < 50) == whole


def test_a_score_that_falls_without_the_suspect_rests_on_it():
    quiet = Features(0.0, 0 * X, [], 0.0)
    features = Features(0.0, X, [], 0.0, lambda shares: quiet, suspects=[ODD])
    assert rests_on(lambda seen: float(seen.x.sum()), features, 0.5) == [ODD]
    assert rests_on(lambda seen: 1.0, features, 0.5) == ()
    assert rests_on(lambda seen: 1.0, replace(features, suspects=()), 0.5) == ()
