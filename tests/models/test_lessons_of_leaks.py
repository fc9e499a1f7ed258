"""What the leak model is given to learn from: on gateways written by hand, without a simulation or a network."""

import numpy as np
import pytest

from edge_models.leak.gateways import AFTER_H, EARLY_WEIGHT, FRESH_H, MENDED_H, PAST_H, SUDDEN, Gateway, School
from edge_models.leak.matching import Course, total
from edge_models.leak.measured import FALSE_A_MONTH, decide
from gateway.window.channel import CHANNELS, LAGS_H

HOURS = 100 * 24
FIRST = 30 * 24
START, END = 40 * 24, 70 * 24


BURST = (START, END, 0, 0.1, 2.0)


def gateway(*leaks: tuple[float, ...], name: str = "fit-0") -> Gateway:
    """leaks: (start, end, growth_h, share, m3_h) each."""
    rows = np.zeros((HOURS, len(CHANNELS)), np.float16)
    rows[FIRST:, [CHANNELS.index("known"), CHANNELS.index("fresh")]] = 1
    loss = np.zeros((HOURS, len(leaks)))
    for column, (start, end, growth_h, share, _) in enumerate(leaks):
        loss[int(start) : int(end), column] = share * np.clip(np.arange(1, end - start + 1) / max(growth_h, 1), 0, 1)
    padded = np.concatenate([np.zeros((PAST_H, len(CHANNELS)), np.float16), rows])
    return Gateway(
        name, padded, np.zeros(HOURS), np.array(leaks).reshape(-1, 5), np.full(len(leaks), 9.0), loss, (1, 3), "prv"
    )


def lessons(one: Gateway) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, weights and how often an hour was picked in fifty draws."""
    label, weight, often = np.full(HOURS, np.nan), np.zeros(HOURS), np.zeros(HOURS)
    for seed in range(50):
        hours, labels, weights = one.samples(np.random.default_rng(seed))
        label[hours], weight[hours] = labels, weights
        often[hours] += 1
    return label, weight, often


def test_nothing_is_learnt_before_the_window_knows_the_sector_or_where_nothing_fresh_was_read() -> None:
    one = gateway(BURST)
    one.rows[50 * 24 : 51 * 24, CHANNELS.index("fresh")] = 0
    _, _, often = lessons(one)
    assert not often[:FIRST].any()
    assert not often[50 * 24 : 51 * 24].any()
    assert often[FIRST : START - 1].all()


def test_a_burst_is_a_leak_from_its_start_and_its_first_day_counts_more() -> None:
    label, weight, _ = lessons(gateway(BURST))
    assert (label[FIRST:START] == 0).all()
    assert (label[START : START + FRESH_H - 1] == 1).all()
    assert weight[START + 10] == pytest.approx(EARLY_WEIGHT)
    assert weight[START + 30] == pytest.approx(1.0)


def test_a_leak_that_has_run_for_long_is_the_new_level_and_counts_as_calm() -> None:
    label, weight, _ = lessons(gateway(BURST))
    settled = slice(START + FRESH_H + 1, END)
    assert (label[settled] == 0).all()
    assert (weight[settled] < 1).all()


def test_the_day_after_a_repair_is_not_learnt_from_and_those_after_it_count_twice() -> None:
    label, weight, often = lessons(gateway(BURST))
    assert not often[END : END + MENDED_H].any()
    assert (label[END + MENDED_H :] == 0).all()
    assert (weight[END + MENDED_H : END + AFTER_H] == 2).all()
    assert (weight[END + AFTER_H :] == 1).all()


def test_a_leak_that_is_too_small_to_be_meant_is_neither_leak_nor_calm() -> None:
    _, _, often = lessons(gateway((START, END, 0, 0.004, 0.1)))
    assert not often[START : END + MENDED_H].any()


def test_hours_that_look_like_a_burst_are_seen_more_often() -> None:
    one = gateway()
    one.rows[60 * 24 : 70 * 24, SUDDEN[0]] = 6
    _, _, often = lessons(one)
    assert often[60 * 24 : 70 * 24].mean() > 2.5 * often[FIRST : 60 * 24].mean()


def test_an_input_is_an_hour_and_its_lags_blank_before_the_first_row() -> None:
    one = gateway()
    one.rows[:, 0] = np.arange(HOURS) % 1000
    x = one.inputs()
    assert x.shape == (HOURS - one.first, len(LAGS_H), len(CHANNELS))
    assert x[5, :, 0].tolist() == [(one.first + 5 - lag) % 1000 for lag in LAGS_H]
    one.rows[:, CHANNELS.index("known")] = 1
    assert one.inputs()[0, :, CHANNELS.index("known")].tolist() == [0.0] * (len(LAGS_H) - 1) + [1.0]


def test_a_school_holds_all_rows_once_and_its_gateways_look_into_them() -> None:
    some = [gateway(BURST), gateway(name="fit-1")]
    some[1].rows[7, 0] = 5
    school = School.of(some)
    for begin, one, before in zip(school.begins, school.gateways, some, strict=True):
        assert np.shares_memory(one.padded, school.rows)
        assert (school.rows[begin : begin + len(one.padded)] == before.padded).all()
    assert school.rows[school.begins[1] + PAST_H + 7, 0] == 5


def courses(alarming: int) -> list[Course]:
    """Forty gateways with a leak that is plain to see; in some of them a lesser score without one."""
    out = []
    for i in range(40):
        rng = np.random.default_rng(i)
        scores = rng.normal(-3, 1, HOURS)
        scores[START : START + 15 * 24] = rng.normal(4, 0.5, 15 * 24)
        if i < alarming:
            scores[80 * 24 : 83 * 24] = 2
        out.append(Course(scores, np.array([[START, END, 0, 0.1, 2.0]]), np.array([9.0]), "both", "prv"))
    return out


def test_the_decision_that_is_chosen_raises_no_more_false_alerts_than_allowed() -> None:
    decision, each = decide(courses(alarming=20))
    tally = total(each)
    assert tally.found == 40
    assert tally.false_a_month <= FALSE_A_MONTH
    assert decision.threshold >= 2
    assert decision.clear < decision.threshold


def test_where_no_decision_is_calm_enough_that_is_an_error() -> None:
    rising = Course(np.arange(HOURS) / 50, np.zeros((0, 5)), np.zeros(0), "both", "prv")
    with pytest.raises(ArithmeticError, match="expected a threshold with few enough false alarms"):
        decide([rising])
