"""The judge: periods end by readings or by the clock, silence is told once, and a restart changes neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import Alert, AlertKind
from gateway.inference import load_model
from gateway.judge import Judge
from gateway.reading import Flaw, Quality, Snapshot
from gateway.site import Site, parse_site
from gateway.summary import Aggregate, Summary
from gateway.watch import Watch

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
summary = "{period}"
[[device]]
name = "porte"
profile = "recorded"
every = "{every}"
[[device]]
name = "autre"
profile = "recorded"
every = "1min"
[[watch]]
name = "ascenseur"
model = "lift_door"
[watch.inputs]
door_current = ["porte/door_current"]
door_speed = ["porte/door_speed"]
"""
HOUR_S, START_S = 3600.0, 20_000 * 86400.0


def site_of(period: str = "15min", every: str = "1min") -> Site:
    def none(name: str) -> None:
        raise AssertionError(name)

    return parse_site(HEAD.format(period=period, every=every), "site.toml", Path(), none)  # type: ignore[arg-type]


def judge_of(site: Site) -> Judge:
    model = load_model(Path(__file__).parent / "lift_rule")
    watches = [
        Watch(entry, model, {point: site.point(point).unit for points in entry.inputs.values() for point in points})
        for entry in site.watches.values()
    ]
    return Judge(site, watches)


def said(device: str, time_s: float, value: float | None = 1.0) -> Snapshot:
    flaws = {} if value is not None else {"door_speed": Flaw(Quality.BAD, "aucune réponse")}
    return Snapshot(device, time_s, {"door_speed": value}, flaws)


def test_a_reading_of_the_next_period_ends_the_one_before() -> None:
    judge = judge_of(site_of())
    assert judge.take(said("porte", START_S + 10)) == []
    (summary,) = judge.take(said("porte", START_S + 901))
    assert (summary.device, summary.start_s, summary.points["door_speed"].n) == ("porte", START_S, 1)


def test_the_clock_ends_a_period_too_and_every_period_once() -> None:
    judge = judge_of(site_of())
    judge.take(said("porte", START_S + 10))
    judge.take(said("autre", START_S + 20))
    assert judge.tick(START_S + 890).summaries == []
    assert {summary.device for summary in judge.tick(START_S + 905).summaries} == {"porte", "autre"}
    assert judge.tick(START_S + 1805).summaries == []


def test_what_must_survive_is_told_after_each_step_that_was_judged() -> None:
    judge = judge_of(site_of())
    assert set(judge.tick(START_S + 5).states) == {"ascenseur"}
    assert judge.tick(START_S + 905).states == {}, "its step is an hour"
    assert set(judge.tick(START_S + HOUR_S + 5).states) == {"ascenseur"}


def silence(judge: Judge, from_s: float, to_s: float, talking: tuple[str, ...] = ("autre",)) -> list[Alert]:
    """Quarter by quarter; `porte` answers nothing good."""
    alerts = []
    at_s = from_s
    while at_s < to_s:
        for device in ("porte", "autre"):
            judge.take(said(device, at_s + 1, 1.0 if device in talking else None))
        at_s += 900
        alerts += judge.tick(at_s + 5).alerts
    return alerts


def test_a_device_without_a_good_value_is_told_after_two_hours_and_once() -> None:
    judge = judge_of(site_of())
    silence(judge, START_S, START_S + HOUR_S, ("porte", "autre"))
    (alert,) = silence(judge, START_S + HOUR_S, START_S + 9 * HOUR_S)
    assert (alert.kind, alert.subject, alert.model) == (AlertKind.NO_DATA, "porte", "no_data")
    assert alert.onset_s == START_S + HOUR_S - 900 + 1, "since the last good value"
    assert 2 * HOUR_S < alert.raised_s - alert.onset_s < 2 * HOUR_S + 1000
    assert (alert.threshold, alert.cleared_s) == (2.0, None)
    assert alert.score > alert.threshold
    assert "aucune réponse" in alert.reasons[0].text


def test_a_value_ends_the_silence() -> None:
    judge = judge_of(site_of())
    (raised,) = silence(judge, START_S, START_S + 4 * HOUR_S)
    judge.take(said("porte", START_S + 4 * HOUR_S + 10))
    (over,) = judge.tick(START_S + 4 * HOUR_S + 905).alerts
    assert over.id == raised.id
    assert over.cleared_s == START_S + 4 * HOUR_S + 905


def test_a_restart_does_not_end_a_silence_that_goes_on() -> None:
    (raised,) = silence(judge_of(site_of()), START_S, START_S + 4 * HOUR_S)
    again = judge_of(site_of())
    again.restore({}, [Alert.from_json(raised.as_json())])
    assert silence(again, START_S + 4 * HOUR_S, START_S + 9 * HOUR_S) == []
    again.take(said("porte", START_S + 9 * HOUR_S))
    (over,) = again.tick(START_S + 9 * HOUR_S + 905).alerts
    assert over.id == raised.id


def test_a_slow_device_is_given_four_of_its_periods() -> None:
    judge = judge_of(site_of(every="6h"))
    assert silence(judge, START_S, START_S + 23 * HOUR_S) == []
    (alert,) = silence(judge, START_S + 23 * HOUR_S, START_S + 26 * HOUR_S)
    assert alert.threshold == 24.0


def test_short_summaries_make_a_short_patience_and_say_so() -> None:
    judge = judge_of(site_of(period="5min"))
    (alert,) = silence(judge, START_S, START_S + 2 * HOUR_S)
    assert alert.threshold == pytest.approx(40 / 60)
    assert alert.score > alert.threshold


def test_a_clock_that_is_put_back_makes_nobody_silent_for_ever() -> None:
    judge = judge_of(site_of())
    silence(judge, START_S + 400 * 86400, START_S + 400 * 86400 + HOUR_S, ("porte", "autre"))
    alerts = silence(judge, START_S, START_S + 4 * HOUR_S)
    assert [alert.subject for alert in alerts] == ["porte"]


@given(
    st.lists(
        st.tuples(st.floats(0, 5 * 86400), st.sampled_from(["porte", "autre"]), st.none() | st.floats(0, 500)),
        max_size=40,
    )
)
def test_every_reading_is_in_one_summary(readings: list[tuple[float, str, float | None]]) -> None:
    judge = judge_of(site_of())
    summaries: list[Summary] = []
    for offset_s, device, value in sorted(readings, key=lambda reading: reading[0]):
        summaries += judge.take(said(device, START_S + offset_s, value))
    summaries += judge.tick(START_S + 6 * 86400).summaries
    counted = [(point.n, point.bad) for summary in summaries for point in summary.points.values()]
    assert sum(n for n, _ in counted) == sum(value is not None for _, _, value in readings)
    assert sum(bad for _, bad in counted) == sum(value is None for _, _, value in readings)
    assert len({(summary.device, summary.start_s) for summary in summaries}) == len(summaries)


def test_remembered_history_fills_the_windows() -> None:
    judge = judge_of(site_of())
    one = Aggregate(1, 0, 200.0, 200.0, 200.0, 200.0)
    history = [
        Summary("porte", START_S + 900 * at, 900.0, {"door_speed": one, "door_current": one, "other": one})
        for at in range(96 * 30)
    ]
    judge.remember(history)
    judge.tick(START_S + 30 * 86400)
    assert judge.watches["ascenseur"].says == "normal"
