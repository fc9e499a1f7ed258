"""How `guet bench leaks` counts: on lives written by hand, without a simulation."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from edge_models.leak.cases import Case, Event, Leak
from edge_models.leak.matching import Course, paired, tallies, wilson
from edge_models.leak.rivals import crossings, cusum, ewma, metronome, night_flow
from edge_models.leak.visibility import SeenLeak, most_sigmas, residual_spreads, seen_leaks, spreads
from edge_models.leak.watched import Accusation, Alarm, Watched
from gateway.verdict import Decision
from tests.bench.leaks import count, first_named, hidden, not_leaks, picture, report, run, visibility

HOURS = 100 * 24
JUDGED_FROM = 30 * 24


def leak(
    start: int, end: int, sigmas: float = 9.0, moved: tuple[str, ...] = ("s/1", "s/2"), m3_h: float = 3.0
) -> SeenLeak:
    return SeenLeak(start, end, 0, m3_h / 20, m3_h, sigmas, moved)


def life(leaks: tuple[SeenLeak, ...], alarms: tuple[Alarm, ...] = (), name: str = "a") -> Watched:
    """A flow of 20 m3/h that each leak adds to, and three pressures."""
    rng = np.random.default_rng(3)
    flow = 20 + rng.normal(0, 0.5, HOURS)
    for one in leaks:
        flow[one.start : one.end] += one.m3_h
    values = np.column_stack([flow, 4 + rng.normal(0, 0.01, (HOURS, 3))])
    judged = np.arange(HOURS) >= JUDGED_FROM
    return Watched(name, 1, ("s/0", "s/1", "s/2", "s/3"), values, judged, leaks, alarms, np.zeros(HOURS))


@pytest.mark.parametrize(("sigmas", "name"), [(5.1, "visible"), (5.0, "faint"), (3.0, "faint"), (2.9, "invisible")])
def test_a_leak_is_visible_above_five_sigmas_and_faint_from_three(sigmas: float, name: str) -> None:
    assert visibility(sigmas) == name


def test_sigmas_are_of_the_24_hour_mean_not_of_the_largest_hour() -> None:
    effect = np.zeros((72, 2))
    effect[10, 0] = -24.0  # one hour
    effect[30:60, 1] = 0.5  # a day and more
    assert most_sigmas(effect, np.array([1.0, 0.25])) == pytest.approx(2.0)
    assert most_sigmas(effect, np.array([0.25, 1.0])) == pytest.approx(4.0)
    assert most_sigmas(effect[:20], np.array([1.0, 1.0])) == 0


def test_the_spread_of_a_sensor_is_that_of_its_24_hour_means() -> None:
    flow, *pressures = spreads(residual_spreads(life(()).values, 1), 1)
    assert flow == pytest.approx(0.5 / np.sqrt(24), rel=0.4)
    assert len(pressures) == 3
    assert pressures == pytest.approx([0.01 / np.sqrt(24)] * 3, rel=0.4)


def test_a_second_alert_for_a_leak_finds_nothing_unless_another_leak_runs() -> None:
    assert paired([(100, 200), (150, 300)], [90, 120, 130, 160, 180]) == {0: 1, 1: 3}


def test_two_leaks_at_once_take_an_alert_each() -> None:
    assert paired([(100, 200), (150, 300)], [120, 160, 170]) == {0: 0, 1: 1}


def test_what_is_raised_within_a_day_of_the_repair_still_finds_the_leak() -> None:
    assert paired([(100, 200)], [224]) == {0: 0}
    assert paired([(100, 200)], [225]) == {}
    assert paired([(100, 200)], [100]) == {}, "an hour that ends as the leak begins has seen none of it"


def test_delays_false_alarms_and_alarm_time_of_a_gateway() -> None:
    leaks = (leak(100, 200), leak(1000, 1200), leak(1500, 1600))
    alarms = (Alarm(1010, 1210), Alarm(1300, 1310))
    counted = count(life(leaks, alarms), alarms)
    assert counted.leaks == leaks[1:], "the first was over before anything was judged"
    assert counted.delays_h == (10, None)
    assert counted.false == 1
    assert counted.calm_h == HOURS - JUDGED_FROM - 300
    assert counted.alarm_h == 10 + 10, "what lasts on after the repair counts"
    assert counted.months == pytest.approx((HOURS - JUDGED_FROM) / 720)


@pytest.mark.parametrize(("loud_h", "ended"), [(60, True), (100, False), (140, False)])
def test_an_alert_that_ends_while_its_leak_runs_is_said_so(loud_h: int, ended: bool) -> None:
    decision = Decision(1.0, 4.0, 4.0, 0.5, 3600.0, 0.0, rise=1.0, hold_s=86400.0, relax_s=432000.0)
    scores = np.full(400, -2.0)
    scores[200 : 200 + loud_h] = 3.0
    leaks = np.array([[200, 300, 0, 0.1, 2.0], [350, 360, 0, 0.1, 2.0]])
    (tally,), *_ = tallies([Course(scores, leaks, np.array([9.0, 9.0]), "flow", "tank")], [decision])
    assert [(fate.delay_h is not None, fate.ended) for fate in tally.fates] == [(True, ended), (False, False)]


def test_the_first_named_pressure_is_right_if_it_is_one_of_the_two_that_move_most() -> None:
    leaks = (leak(1000, 1100), leak(1300, 1400), leak(1700, 1800))
    alarms = (Alarm(1010, 1100, "s/2"), Alarm(1310, 1400, "s/3"), Alarm(1710, 1800), Alarm(2000, 2010, "s/1"))
    named = first_named([life(leaks, alarms)])
    assert (named["alerts"], named["right"], named["unnamed"]) == (3, 1, 1)
    alike = replace(leak(1300, 1400), as_far=("s/3",))
    assert first_named([life((alike,), alarms[1:2])])["as_far"] == 1, "as far as the second: told, and not right"
    unknown = first_named([life((leak(1000, 1100, moved=()),), alarms[:1])])
    assert (unknown["alerts"], unknown["value"]) == (0, None), "what it moves was not simulated"


def test_pressures_that_a_leak_moves_alike_are_told_beside_the_two_it_moves_most() -> None:
    hours, begin = 45 * 24, 40 * 24
    effects = np.zeros((1, hours, 5))  # one flow, four pressures
    effects[0, begin:, 1:] = -0.100, -0.200, -0.097, -0.090
    values = np.random.default_rng(3).normal(5, 0.01, (hours, 5)) + effects[0]
    flawless, loss = np.zeros((hours, 5), bool), np.zeros((hours, 1))
    case = Case("c", "gravity", 1, values, flawless, (Leak(begin, hours, 0, 0.1, 3.0),), loss, 30.0, (), effects)
    (seen,) = seen_leaks(case, range(5), 1, ["q", "p1", "p2", "p3", "p4"])
    assert (seen.moved, seen.as_far) == (("p2", "p1"), ("p3",))


def test_what_a_leak_shows_in_a_residual_is_less_than_its_effect_where_all_pressures_move_alike() -> None:
    """A pressure that its neighbour tells to the millibar: a leak that moves both alike moves that residual by nothing."""
    hours, begin = 45 * 24, 40 * 24
    rng = np.random.default_rng(3)
    town = rng.normal(0, 0.1, (hours, 1))
    values = 4 + town + rng.normal(0, 0.001, (hours, 3))
    effects = np.zeros((2, hours, 3))
    effects[0, begin : begin + 48] = -0.1  # of all three
    effects[1, begin + 96 :, 0] = -0.1  # of the first alone
    leaks = (Leak(begin, begin + 48, 0, 0.1, 3.0), Leak(begin + 96, hours, 0, 0.1, 3.0))
    flawless, loss = np.zeros((hours, 3), bool), np.zeros((hours, 2))
    case = Case("c", "gravity", 0, values + effects.sum(0), flawless, leaks, loss, 30.0, (), effects)
    both = seen_leaks(case, range(3), 0, ["a", "b", "c"], in_residuals=True)
    (first, second), (together, alone) = ([leak.sigmas for leak in both], [leak.shown for leak in both])
    assert first > 20
    assert together < 0.5 * first
    assert alone > 20
    assert second > 20
    blind = replace(case, effects=None)
    unknown = seen_leaks(blind, range(3), 0, ["a", "b", "c"], in_residuals=True)
    assert np.isnan([leak.shown for leak in unknown]).all()


def test_what_hiding_does_is_counted_where_there_was_enough_to_hide() -> None:
    alarms = (Alarm(1010, 1100, "s/2", True, False), Alarm(1310, 1400, "s/2", True, True), Alarm(1500, 1510))
    assert hidden([life((), alarms)]) == {"alerts": 2, "silent_without_named": 2, "silent_without_others": 1}


def test_false_alerts_after_what_is_no_leak_and_sensors_accused_are_counted_by_kind() -> None:
    events = (Event("setting", 1000), Event("drift", 1200, 2), Event("jump", 100, 3))
    alarms = (Alarm(1050, 1060), Alarm(1200 + 29 * 24, 2000), Alarm(2300, 2310))
    said = (Accusation(1300, 2), Accusation(1400, 1))
    one = replace(life((leak(2290, 2320),), alarms), events=events, accusations=said)
    counted = not_leaks([one])
    assert counted["setting"] == {"happened": 1, "false_alert": 1, "accused": 0}
    assert counted["drift"] == {"happened": 1, "false_alert": 1, "accused": 1}
    assert "jump" not in counted, "nobody watched yet"
    assert counted["good_sensors_accused"] == 1


def test_an_interval_of_wilson_is_that_of_the_textbook() -> None:
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=0.001)
    assert wilson(0, 0) == (0.0, 1.0)


def test_always_on_finds_all_and_is_never_silent() -> None:
    one = life((leak(1000, 1200), leak(1500, 1600)))
    counted = count(one, metronome(one, 24))
    assert counted.found == 2
    assert counted.alarm_h >= counted.calm_h - 1
    assert counted.false == 70 - 2


@pytest.mark.parametrize("score", [night_flow, ewma, cusum])
def test_plain_detectors_see_a_burst_of_six_sigmas_and_not_before(score) -> None:
    one = life((leak(1200, 1400),))
    scores = score(one)
    threshold = 1.05 * scores[JUDGED_FROM:1200].max()
    alarms = crossings(one, scores, threshold)
    assert 1200 < alarms[0].raised <= 1232


def test_a_score_clears_after_a_day_under_half_the_threshold() -> None:
    scores = np.zeros(HOURS)
    scores[1000:1010], scores[1010:1020] = 3.0, 1.2
    assert crossings(life(()), scores, 2.0) == [Alarm(1001, 1044)]


def test_the_report_holds_every_figure_and_the_interval_holds_the_value() -> None:
    found = (leak(1000, 1200, 9.0), leak(1500, 1600, 4.0, m3_h=6.0))
    lives = [life(found, (Alarm(1010, 1210, "s/1"),), "a"), life((leak(1000, 1200, 1.0, m3_h=1.0),), (), "b")]
    made = report(lives)
    model = made["model"]
    assert (model["leaks"], model["found"], model["false"]) == (3, 1, 0)
    assert [model["by_visibility"][name]["found"] for name in ("visible", "faint", "invisible")] == [1, 0, 0]
    assert [(row["leaks"], row["found"]) for row in model["by_m3_h"].values()] == [(1, 0), (1, 1), (1, 0)]
    assert model["delay_h"]["abrupt"] == {"n": 1, "median": 10.0, "p90": 10.0}
    assert model["found_share"]["low"] <= model["found_share"]["value"] <= model["found_share"]["high"]
    assert set(model["by_sensors"]) == {"both"}
    assert made["rivals"]["always_on"]["found"] == 3
    assert made["rivals"]["minimum_night_flow"]["false_a_gateway_month"]["value"] <= 0.1


def test_a_picture_shows_each_sensor_each_leak_and_each_alert() -> None:
    from xml.etree import ElementTree

    text = picture(life((leak(1000, 1200),), (Alarm(1010, 1210),)))
    ElementTree.fromstring(text)
    assert text.count('class="curve"') == 4
    assert text.count("alerte</text>") == text.count("réparation 1</text>") == 1


def test_without_wntr_the_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wntr", None)
    with pytest.raises(SystemExit, match="pip install"):
        run(networks=1)
