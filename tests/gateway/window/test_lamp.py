"""The lamp window, fed with what simulated drivers hold in their memory banks."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gateway.inference import load_model
from gateway.lighting import Schedule, Slot, arc_power_level
from gateway.summary import Aggregate
from gateway.window import Features
from gateway.window.lamp import COLUMN, QUANTITIES, Lamps, LampWindow, by_chance
from gateway.window.past import FEATURES
from simulator.drift import Drift
from simulator.lighting import Lamp, LampFault

HOUR_S = 3600.0
START = datetime(2026, 1, 14, 15, tzinfo=UTC).timestamp()
DAWN = START + 16 * HOUR_S
STREET = Schedule((Slot("dusk", 100), Slot("22:00", 50), Slot("05:00", 100)), 47.24, 6.02, ZoneInfo("Europe/Paris"))
UNITS = {
    "temperature": "Cel", "power": "W", "level": "1", "power_factor": "1", "starts": "1", "output": "%",
    "source_voltage": "V", "failure": "1",
}  # fmt: skip
NEIGHBOURS = ("lampe-2", "lampe-3", "lampe-4")
INPUTS = {role: [f"lampe-1/{role}"] for role in UNITS} | {"neighbours": [f"{name}/temperature" for name in NEIGHBOURS]}


def values(lamp: Lamp, time_s: float) -> dict[str, float]:
    """What a driver's banks hold, by the locations of DALI Parts 252 and 253."""
    level = arc_power_level(lamp.ordered_percent(time_s))
    power, gear, source = (lamp.bank(number, time_s, level) for number in (202, 205, 206))
    return {
        "temperature": gear[0x1B] - 60,
        "power": int.from_bytes(power[0x0C:0x10], "big") / 10,
        "level": level,
        "power_factor": gear[0x0E] / 100,
        "starts": int.from_bytes(gear[0x08:0x0B], "big"),
        "output": gear[0x1C],
        "source_voltage": int.from_bytes(source[0x12:0x14], "big") / 10,
        "failure": gear[0x0F],
    }


def one(value: float | None) -> Aggregate:
    return Aggregate(0, 1, None, None, None, None) if value is None else Aggregate(1, 0, value, value, value, value)


Row = tuple[float, str, float]


def street(fault: LampFault | None = None, days: int = 35, hours: int = 16, seed: int = 5) -> list[Row]:
    """(start of the quarter, point, value) of every hourly reading of lamp 1 and its neighbours' temperatures."""
    since = START - (days + 1) * 86400
    lamps = [
        Lamp(f"lampe-{n}", seed, STREET, since, (fault,) if fault and n == 1 else (), town_seed=seed)
        for n in range(1, 5)
    ]
    rows: list[Row] = []
    for hour in range(-days * 24, hours):
        time_s = START + hour * HOUR_S + 1000
        quarter_s = time_s // 900 * 900
        rows += [(quarter_s, f"lampe-1/{role}", value) for role, value in values(lamps[0], time_s).items()]
        rows += [(quarter_s, f"{x.name}/temperature", values(x, time_s)["temperature"]) for x in lamps[1:]]
    return rows


def fill(window: LampWindow, rows: Sequence[Row]) -> LampWindow:
    for quarter_s, point, value in rows:
        window.add(point, quarter_s, 900, one(value), UNITS[point.split("/")[1]])
    return window


def judged(rows: Sequence[Row], inputs: Mapping[str, Sequence[str]] = INPUTS, now_s: float = DAWN) -> Features:
    points = {point for points in inputs.values() for point in points}
    features = fill(LampWindow(inputs), [row for row in rows if row[1] in points]).features(now_s)
    assert features is not None
    return features


@pytest.fixture(scope="module")
def healthy() -> list[Row]:
    return street()


@pytest.fixture(scope="module")
def ageing() -> list[Row]:
    return street(LampFault("capacitor", Drift(START - 27 * HOUR_S, 50 * HOUR_S, 1.0, 4)))


def test_a_healthy_lamp_is_far_from_an_alert(healthy: list[Row]) -> None:
    features = judged(healthy)
    assert features.rule_score < 0.5
    assert features.x.shape == (len(QUANTITIES), len(FEATURES))
    assert features.x.dtype == np.float32
    assert np.isfinite(features.x).all()


def test_an_ageing_capacitor_is_found_with_its_reasons_in_french(ageing: list[Row]) -> None:
    features = judged(ageing)
    assert features.rule_score > 1.5
    found = {reason.feature: reason for reason in features.evidence}
    assert {"excess_temperature", "power_factor_drop"} <= found.keys()
    assert "de plus que d'ordinaire" in found["excess_temperature"].text
    assert found["excess_temperature"].point == "lampe-1/temperature"
    assert [r.weight for r in features.evidence] == sorted((r.weight for r in features.evidence), reverse=True)


def test_temperature_and_power_alone_find_it_too_with_neighbours(ageing: list[Row]) -> None:
    few = {role: INPUTS[role] for role in ("temperature", "power", "neighbours")}
    assert judged(ageing, few).rule_score > 1


def test_without_neighbours_the_rule_stays_quiet_about_a_healthy_lamp(healthy: list[Row]) -> None:
    alone = {role: points for role, points in INPUTS.items() if role != "neighbours"}
    assert judged(healthy, alone).rule_score < 0.7


@pytest.mark.parametrize(
    ("fault", "feature"),
    [
        (LampFault("string_short", Drift(START, 0, 1)), "source_voltage_shift"),
        (LampFault("capacitor", Drift(START + 6 * HOUR_S, 0, 1)), "failure"),
    ],
)
def test_other_faults_are_found_as_what_they_are(fault: LampFault, feature: str) -> None:
    features = judged(street(fault))
    assert features.rule_score > 1
    assert features.evidence[0].feature == feature


def score_without(rows: list[Row], sound: Mapping[tuple[float, str], float], hidden: set[str]) -> float:
    return judged([(t, p, sound[t, p] if p in hidden else v) for t, p, v in rows]).rule_score


def test_without_the_named_inputs_there_is_no_alert_and_without_random_ones_there_mostly_is(healthy: list[Row]) -> None:
    """Without: as they would be on the same lamp had it no fault."""
    faults = [
        LampFault("capacitor", Drift(START - 27 * HOUR_S, 50 * HOUR_S, 1.0, 4)),
        LampFault("cooling", Drift(START - 24 * HOUR_S, 30 * HOUR_S, 0.4)),
        LampFault("string_short", Drift(START, 0, 2)),
    ]
    rng = np.random.default_rng(0)
    ended, ended_by_chance = [], []
    sound = {(t, point): value for t, point, value in healthy}
    for fault in faults:
        failing = street(fault)
        features = judged(failing)
        assert features.rule_score > 1

        named = {reason.point for reason in features.evidence[:3]}
        others = [f"lampe-1/{role}" for role in UNITS]
        ended.append(score_without(failing, sound, named) <= 1)
        chosen = [set(rng.choice(others, len(named), replace=False)) for _ in range(4)]
        ended_by_chance += [score_without(failing, sound, hidden) <= 1 for hidden in chosen]
    assert np.mean(ended) >= 0.8
    assert np.mean(ended) > np.mean(ended_by_chance) + 0.3


def test_a_driver_that_protects_itself_is_found_by_its_output() -> None:
    """In the warm nights of July, on a driver whose cooling gets blocked."""
    july = START + 180 * 86400
    schedule = Schedule((Slot("dusk", 100),), 47.24, 6.02, UTC)
    fault = LampFault("cooling", Drift(july, 0, 1.2))
    lamp = Lamp("lampe-1", 5, schedule, july - 36 * 86400, (fault,))
    window = LampWindow({role: INPUTS[role] for role in ("temperature", "power", "level", "output")})
    for hour in range(-35 * 24, 14):
        time_s = july + hour * HOUR_S
        fill(
            window,
            [
                (time_s, f"lampe-1/{r}", v)
                for r, v in values(lamp, time_s).items()
                if r in ("temperature", "power", "level", "output")
            ],
        )
    features = window.features(july + 14 * HOUR_S)
    assert features is not None
    assert features.rule_score > 1
    assert {"output_gap", "excess_temperature"} <= {reason.feature for reason in features.evidence}


def test_a_lamp_that_stays_dark_is_found_after_two_hours_and_said_all_day(healthy: list[Row]) -> None:
    dead = [(t, p, 0.3 if p == "lampe-1/power" and t > START else v) for t, p, v in healthy]
    first = judged([row for row in dead if row[0] < START + 4 * HOUR_S], now_s=START + 4 * HOUR_S)
    assert first.rule_score == 3
    assert "ne consomme rien" in first.evidence[0].text
    assert judged(dead).rule_score == 3


def test_the_hour_of_switching_on_is_not_taken_for_a_dark_lamp(healthy: list[Row]) -> None:
    """Its level may be read after, its power before."""
    hours = sorted({t for t, p, v in healthy if p == "lampe-1/power"})
    lit = [t for t, p, v in healthy if p == "lampe-1/level" and v > 0 and t > START]
    before = max(t for t in hours if t < lit[0])
    early = [(t, p, 254.0 if p == "lampe-1/level" and t == before else v) for t, p, v in healthy]
    assert judged([row for row in early if row[0] <= before], now_s=before // HOUR_S * HOUR_S + HOUR_S).rule_score < 1


def test_a_stormy_night_of_restarts_alone_is_no_failing_driver(healthy: list[Row]) -> None:
    storm = [(t, p, v + min(12, max(0, (t - START) // HOUR_S)) if p == "lampe-1/starts" else v) for t, p, v in healthy]
    features = judged(storm)
    assert features.evidence[0].feature == "restarts"
    assert features.rule_score < 1


def restarting(rows: list[Row], nights: int) -> list[Row]:
    """The same with two restarts in each of the last nights."""
    return [
        (at, point, value + 2 * max(0, nights - max(0, int((DAWN - at) // 86400))))
        if point == "lampe-1/starts"
        else (at, point, value)
        for at, point, value in rows
    ]


def test_a_lamp_that_restarts_night_after_night_is_found_and_one_of_two_nights_is_not(healthy: list[Row]) -> None:
    bad = judged(restarting(healthy, 6))
    assert bad.rule_score > 1
    assert bad.evidence[0].feature == "restarted_nights"
    assert "redémarré" in bad.evidence[0].text
    assert judged(restarting(healthy, 2)).rule_score < 1


def counted(nights: Sequence[int], days: int = 60) -> tuple[Lamps, float]:
    """A lamp of which only its load and its restarts are read: two on each of these nights, days ago. When that is."""
    lamps, first = Lamps(1, has_neighbours=False), 480_000 - 480_000 % 24 + 12
    starts = 7.0
    for hour in range(days * 24):
        starts += 2 * (hour % 24 == 10 and days - hour // 24 in nights)
        row = lamps.row(first + hour)
        row[0, COLUMN["power"]] = 40 if 4 <= hour % 24 < 16 else 0.3
        row[0, COLUMN["starts"]] = starts
        if hour % 24 == 23:
            lamps.learn((first + hour + 1) * HOUR_S)
    return lamps, (first + days * 24) * HOUR_S


@pytest.mark.parametrize(
    ("nights", "found"),
    [
        ((1, 4, 6, 8, 11, 14, 16, 19), True),  # a contact that goes bad slowly
        ((8, 10, 11, 13, 14, 16, 17, 19), False),  # put right a week ago
        ((1, 9), False),
        (range(1, 61), False),  # a street that is switched at its mains, from the beginning
        (range(1, 36), False),  # or for five weeks
        ((*range(3, 61, 3),), False),  # a poor mains
    ],
)
def test_seldom_restarts_that_come_back_for_weeks_are_found_unless_they_were_there_before(nights, found) -> None:
    lamps, now_s = counted(nights)
    seen = lamps.see(now_s)
    assert seen.judged[0]
    assert (seen.rule_score[0] > 1) == found


def test_the_chance_of_so_many_restarts_is_that_of_a_count_whose_rate_was_counted() -> None:
    none = np.array([[0.0, 28.0]] * 4)  # with the one night in twenty of before: geometric
    assert by_chance(np.array([0, 1, 5, 7]), 7, none) == pytest.approx([(7 / 55) ** k for k in (0, 1, 5, 7)], rel=1e-6)
    rates = np.random.default_rng(1).gamma(1 + 3, 1 / (20 + 28), 200_000)
    drawn = np.random.default_rng(2).poisson(20 * rates)
    assert by_chance(np.array([5]), 20, np.array([[3.0, 28.0]]))[0] == pytest.approx((drawn >= 5).mean(), rel=0.05)
    assert np.isnan(by_chance(np.array([5]), 20, np.array([[np.nan, np.nan]]))[0])


def test_how_often_it_restarted_at_first_outlives_a_restart_of_the_gateway(healthy: list[Row]) -> None:
    window = fill(LampWindow(INPUTS), healthy)
    assert window.missing(DAWN) == ""
    state = json.loads(json.dumps(window.state()))
    assert state["restarted"][1] >= 14
    again = LampWindow(INPUTS)
    again.restore(state)
    assert again.state() == state
    again.restore({name: values for name, values in state.items() if name != "restarted"})  # of an earlier version
    assert again.state()["restarted"] is None
    for wrong in ("often", [3], [5, 2], [1, "a"], [-1, 4]):
        with pytest.raises(ValueError, match="restarted: expected nights"):
            again.restore(state | {"restarted": wrong})


def test_a_lamp_known_before_is_judged_in_nights_too_short_to_learn_from() -> None:
    lamps, first = Lamps(1, has_neighbours=False), 480_000
    for hour in range(80 * 24):
        row = lamps.row(first + hour)
        lit = hour % 24 < (9 if hour < 50 * 24 else hour // 24 % 3 == 0)
        row[0, COLUMN["power"]] = 40 if lit else 0.3
        row[0, COLUMN["temperature"]] = 40
        if hour % 24 == 23:
            lamps.learn((first + hour + 1) * HOUR_S)
    seen = lamps.see((first + 80 * 24) * HOUR_S)
    assert lamps.nights[0] < 14
    assert seen.judged[0]


@pytest.mark.parametrize("shorted", [False, True])
def test_a_lamp_that_is_lit_for_an_hour_a_day_is_judged_by_what_need_not_be_warm(shorted: bool) -> None:
    """Its driver never settles between two readings: of its temperature nothing is known, of its LEDs all."""
    lamps, first = Lamps(1, has_neighbours=False), 480_000
    for hour in range(60 * 24):
        row, lit = lamps.row(first + hour), hour % 24 == 8
        row[0, COLUMN["power"]] = 40 if lit else 0.3
        row[0, COLUMN["temperature"]] = 30 if lit else 20
        row[0, COLUMN["source_voltage"]] = (81 if shorted and hour >= 52 * 24 else 87) if lit else 0
        if hour % 24 == 23:
            lamps.learn((first + hour + 1) * HOUR_S)
    seen = lamps.see((first + 60 * 24) * HOUR_S)
    assert seen.judged[0]
    assert np.isnan(seen.gone.now[0, 0])
    assert (seen.rule_score[0] > 1) == shorted


def test_standby_is_not_taken_for_light() -> None:
    lamps, first = Lamps(1, has_neighbours=False), 480_000
    for hour in range(60 * 24):
        lamps.row(first + hour)[0, : COLUMN["level"]] = 20, 0.3 + 0.1 * (hour % 3)
        if hour % 24 == 23:
            lamps.learn((first + hour + 1) * HOUR_S)
    assert lamps.nights[0] == 0
    assert not lamps.see((first + 60 * 24) * HOUR_S).judged[0]


def test_a_lamp_that_is_read_every_third_hour_is_judged_too(healthy: list[Row], ageing: list[Row]) -> None:
    def seldom(rows: list[Row]) -> list[Row]:
        return [row for row in rows if int(row[0] // HOUR_S) % 3 == 0]

    # The fault of one night is seen an hour later than it would be by reading every hour.
    assert judged(seldom(healthy)).rule_score < 0.5
    assert judged(seldom(ageing)).rule_score > 0.8


def test_leds_that_give_less_voltage_because_they_are_warmer_are_not_shorted() -> None:
    """From winter to summer a string of thirty loses more than a volt: read with its temperature, it has not changed."""
    lamps = Lamps(1, has_neighbours=False)
    first = 480_000
    for hour in range(100 * 24):
        warm = 25 * min(1, max(0, (hour - 40 * 24) / (50 * 24)))
        row = lamps.row(first + hour)
        row[0, COLUMN["power"]] = 40 if hour % 24 < 10 else 0.3
        row[0, COLUMN["temperature"]] = 40 + warm
        row[0, COLUMN["source_voltage"]] = 87 * (1 - 0.0006 * (15 + warm))
        if hour >= 30 * 24 and hour % 24 == 9:
            seen = lamps.see((first + hour + 1) * HOUR_S)
    assert seen.judged[0]
    assert abs(seen.slow[0, 3]) < 0.3


def test_a_new_level_of_the_street_is_no_failing_driver(healthy: list[Row]) -> None:
    """Half a watt per percent: the lamps get 70 % instead of 50 at night, and are as much warmer."""
    since = START - 36 * 86400
    dimmed = Schedule((Slot("dusk", 100), Slot("22:00", 70), Slot("05:00", 100)), 47.24, 6.02, ZoneInfo("Europe/Paris"))
    new = [Lamp(f"lampe-{n}", 5, dimmed, since, town_seed=5) for n in range(1, 5)]
    rows = [row for row in healthy if row[0] < START]
    for hour in range(16):
        time_s = START + hour * HOUR_S + 1000
        rows += [(time_s // 900 * 900, f"lampe-1/{role}", v) for role, v in values(new[0], time_s).items()]
        rows += [(time_s // 900 * 900, f"{x.name}/temperature", values(x, time_s)["temperature"]) for x in new[1:]]
    assert judged(rows).rule_score < 0.7


def test_gaps_change_little_and_silent_neighbours_are_not_replaced(healthy: list[Row], ageing: list[Row]) -> None:
    thinned = [row for index, row in enumerate(healthy) if (int(row[0]) // 900 * 7 + index) % 4]
    assert judged(thinned).rule_score < 0.6
    silent = [row for row in healthy if row[0] < START - 3 * 86400 or row[1].startswith("lampe-1/")]
    assert judged(silent).rule_score < 0.6
    thinned = [row for index, row in enumerate(ageing) if (int(row[0]) // 900 * 7 + index) % 4]
    assert judged(thinned).rule_score > 1


def test_points_of_one_step_may_come_in_any_order(ageing: list[Row]) -> None:
    mixed = sorted(ageing, key=lambda row: (row[0], hash(row[1]) % 97))
    assert judged(mixed).rule_score == judged(ageing).rule_score


def test_a_window_filled_again_after_a_restart_says_the_same(ageing: list[Row]) -> None:
    longer = [*street(days=50, hours=-35 * 24), *ageing]
    assert judged(longer).rule_score == judged(ageing).rule_score
    assert (judged(longer).x == judged(ageing).x).all()


def test_what_comes_later_does_not_change_what_was_known(ageing: list[Row]) -> None:
    now_s = START + 2 * HOUR_S
    window = fill(LampWindow(INPUTS), [row for row in ageing if row[0] < now_s])
    before = window.features(now_s)
    fill(window, [row for row in ageing if now_s <= row[0] < now_s + 6 * HOUR_S])
    after = window.features(now_s)
    assert before is not None
    assert after is not None
    assert before.rule_score == pytest.approx(after.rule_score, rel=0.05), "the oldest hours have gone, no more"


def test_units_are_converted_and_impossible_ones_refused(ageing: list[Row]) -> None:
    window = LampWindow(INPUTS)
    for quarter_s, point, value in ageing:
        match point.split("/")[1]:
            case "temperature":
                window.add(point, quarter_s, 900, one(value + 273.15), "K")
            case "power":
                window.add(point, quarter_s, 900, one(value / 1000), "kW")
            case role:
                window.add(point, quarter_s, 900, one(value), UNITS[role])
    features = window.features(DAWN)
    assert features is not None
    assert features.rule_score == pytest.approx(judged(ageing).rule_score, rel=1e-6)
    with pytest.raises(ValueError, match="expected a temperature"):
        window.add("lampe-1/temperature", START, 900, one(None), "W")


def test_what_is_missing_is_said() -> None:
    window = LampWindow(INPUTS)
    assert window.features(START) is None
    assert window.missing(START).startswith("0 nuits éclairées sur 14")
    fill(window, street(days=20))
    assert window.features(DAWN) is None
    assert window.missing(DAWN).startswith("13 nuits éclairées sur 14")


def test_a_lamp_that_was_not_read_for_a_day_is_not_judged(healthy: list[Row]) -> None:
    window = fill(LampWindow(INPUTS), healthy)
    assert window.missing(DAWN) == ""
    assert window.missing(DAWN + 25 * HOUR_S) == "aucune lecture du pilote depuis 24 heures"
    assert window.features(DAWN + 25 * HOUR_S) is None


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"temperature": ["a/t"]}, "role 'power': expected one point, got 0"),
        ({"temperature": ["a/t", "b/t"], "power": ["a/p"]}, "role 'temperature': expected one point, got 2"),
        ({"temperature": ["a/t"], "power": ["a/p"], "humidity": ["a/h"]}, "role 'humidity': unknown"),
    ],
)
def test_roles_that_do_not_fit_are_refused(inputs: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LampWindow(inputs)


def test_its_card_is_of_its_kind() -> None:
    model = load_model(Path(__file__).parents[3] / "edge_models" / "lamp_driver")
    assert (model.card.window, model.card.kind) == ("lamp", "lamp_failure")
    assert model.card.model is None or model.card.model.channels == list(FEATURES)
