"""A town hall's meter through the window, the shipped model and its decision: what is a fault, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gateway.alert import Alert
from gateway.inference import load_model
from gateway.replay import replay, write_alerts
from gateway.site import WatchEntry, load_site
from gateway.summary import Aggregate, Summary
from gateway.watch import Watch
from gateway.window.building import BuildingWindow
from gateway.window.habit import Calendar, degrees

ROOT = Path(__file__).parents[3]
PARIS = ZoneInfo("Europe/Paris")
FIRST = int(datetime(2026, 1, 4, 23, tzinfo=UTC).timestamp() // 3600)
"""Monday 5 January 2026, midnight in Paris."""

DAY, QUARTER_S = 24, 900.0
MODEL = load_model(ROOT / "edge_models" / "building")


def hall(days: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """kWh and outside temperature by the hour of a town hall: open Monday to Friday from 8 to 18, heated by resistances."""
    rng = np.random.default_rng(seed)
    calendar, hours = Calendar(PARIS), np.arange(days * DAY)
    when = [calendar.when(FIRST + int(hour)) for hour in hours]
    hour = np.array([one.hour for one in when])
    is_open = np.array([one.weekday < 5 and 8 <= one.hour < 18 for one in when])
    air = 5 + 3 * np.cos(2 * np.pi * (hour - 15) / 24) + 3 * np.sin(hours / 60)
    comfort = np.array([one.weekday < 5 and 6 <= one.hour < 18 for one in when])
    heating = 0.35 * np.maximum(0.0, np.where(comfort, 20, 15) - air)
    kwh = (1.5 + 5.0 * is_open * rng.uniform(0.7, 1.0, len(hours)) + heating) * np.exp(
        0.03 * rng.standard_normal(len(hours))
    )
    return kwh, air


def night(day: int) -> slice:
    """From six in the evening of a day to seven in the morning after."""
    return slice(day * DAY + 18, (day + 1) * DAY + 7)


def lived(
    kwh: np.ndarray,
    air: np.ndarray | None = None,
    start_kwh: float = 1000.0,
    full: float = 1e6,
    stuck: slice | None = None,
) -> tuple[list[Alert], Watch]:
    """A counter, read every quarter of an hour."""
    inputs = {"energy": ["meter/total"]} | ({"air": ["outside/air"]} if air is not None else {})
    entry = WatchEntry(name="mairie", model="building", inputs=inputs)
    watch = Watch(entry, MODEL, {"meter/total": "kW.h", "outside/air": "Cel"}, QUARTER_S, PARIS)
    counter, found, held = start_kwh, list[Alert](), None
    for hour, taken in enumerate(kwh.tolist()):
        for quarter in range(4):
            time_s = (FIRST + hour) * 3600.0 + quarter * QUARTER_S
            if stuck is not None and stuck.start <= hour < stuck.stop:
                held = counter if held is None else held
            shown = (counter if held is None else held) % full
            watch.add(Summary("meter", time_s, QUARTER_S, {"total": Aggregate(1, 0, shown, shown, shown, shown)}))
            if air is not None:
                warm = float(air[hour])
                watch.add(Summary("outside", time_s, QUARTER_S, {"air": Aggregate(1, 0, warm, warm, warm, warm)}))
            counter += taken / 4
            found += watch.judge(time_s + QUARTER_S)
    return found, watch


def test_three_weeks_are_not_enough_and_it_says_so() -> None:
    kwh, air = hall(20)
    found, watch = lived(kwh, air)
    assert found == []
    assert watch.says == "données insuffisantes : 12 jours sur 21, sans compter les 7 derniers"


def test_a_hall_that_lives_as_usual_is_left_in_peace_through_a_cold_spell_an_evening_and_easter_monday() -> None:
    kwh, air = hall(110)
    air[60 * DAY : 65 * DAY] -= 8
    kwh[60 * DAY : 65 * DAY] += 0.35 * 8
    kwh[50 * DAY + 18 : 50 * DAY + 22] += 4.0
    closed = slice(91 * DAY, 92 * DAY)  # 6 April 2026
    kwh[closed] = np.median(kwh[90 * DAY : 91 * DAY])
    found, watch = lived(kwh, air)
    assert found == []
    assert watch.says == "normal"


def test_heating_that_is_left_on_at_night_is_told_with_reasons_in_kwh_and_euros() -> None:
    kwh, air = hall(60)
    for day in range(50, 60):
        hours = night(day)
        kwh[hours] += 0.35 * 5 + 1.0
    found, _ = lived(kwh, air)
    alert = found[0]
    assert (alert.kind, alert.subject, alert.model) == ("energy_anomaly", "mairie", "building")
    onset_s = (FIRST + 50 * DAY + 18) * 3600.0
    assert onset_s < alert.raised_s < onset_s + 3 * 86_400
    reason = alert.reasons[0]
    assert reason.point == "meter/total"
    assert "fermé" in reason.text
    assert "kWh contre" in reason.text
    assert "€ à 0,20 €/kWh" in reason.text
    assert reason.value is not None
    assert reason.usual is not None
    assert reason.value > 1.2 * reason.usual
    assert sum(one.weight for one in alert.reasons) == pytest.approx(1)
    assert alert.counterfactual is not None
    assert alert.counterfactual.score < alert.threshold
    assert alert.baseline.rule == "médiane de l'heure de la semaine et degrés-heures"
    assert alert.confidence is not None
    assert alert.confidence.n >= 20


def test_a_counter_that_rolls_over_is_no_anomaly() -> None:
    kwh, air = hall(50)
    found, watch = lived(kwh, air, start_kwh=99_999 - kwh[: 40 * DAY].sum(), full=100_000)
    assert found == []
    assert watch.window._counter.rolled_over == 1  # type: ignore[attr-defined]


def test_a_meter_that_stands_still_is_a_sensor_fault_and_its_jump_no_anomaly() -> None:
    kwh, air = hall(50)
    found, _ = lived(kwh, air, stuck=slice(40 * DAY, 44 * DAY))
    assert [(one.kind, one.subject) for one in found if one.cleared_s is None] == [("sensor_fault", "meter")]
    assert "n'avance plus depuis" in found[0].reasons[0].text


def test_days_of_a_kind_that_is_not_known_yet_are_not_judged() -> None:
    window = BuildingWindow({"power": ["m/p"]}, PARIS, Calendar(PARIS, "A"), school=True)
    begin = int(datetime(2026, 7, 20, tzinfo=UTC).timestamp() // 3600)
    for hour in range(begin, begin + 45 * DAY):
        one = Aggregate(4, 0, 1500.0, 1400.0, 1600.0, 1500.0)
        window.add("m/p", hour * 3600.0, 3600.0, one, "W")
    back = datetime(2026, 9, 3, tzinfo=UTC).timestamp()
    assert window.features(back) is None
    assert "pas encore connus" in window.missing(back)


def test_degrees_are_of_the_day_before() -> None:
    air = np.array([[10.0] * 30 + [np.nan] * 30])
    cold = degrees(air)[0]
    assert cold[29] == pytest.approx(7.0)
    assert np.isnan(cold[59])


def test_replay_gives_the_same_bytes_twice_and_finds_what_the_live_way_finds(tmp_path: Path) -> None:
    kwh, air = hall(56)
    for day in range(48, 56):
        kwh[night(day)] += 3.0
    total = 1000 + np.concatenate([[0.0], np.cumsum(kwh)])
    lines = ["time,point,value"]
    for hour in range(len(kwh)):
        time = datetime.fromtimestamp((FIRST + hour) * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines += [f"{time},compteur/energy,{total[hour]:.3f}", f"{time},dehors/air,{air[hour]:.2f}"]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    site = load_site(tmp_path / "site.toml", ROOT / "device_profiles")
    texts = []
    for number in range(2):
        entry = site.watches["mairie"]
        units = {point: site.point(point).unit for points in entry.inputs.values() for point in points}
        done = replay(site, [Watch(entry, MODEL, units, site.period_s, site.zone)], tmp_path / "r.csv")
        with (tmp_path / f"{number}.jsonl").open("w", encoding="utf-8") as out:
            write_alerts(done.alerts, out)
        texts.append((tmp_path / f"{number}.jsonl").read_bytes())
    assert texts[0] == texts[1]
    (alert,) = done.alerts
    assert alert.kind == "energy_anomaly"
    assert alert.raised_s > (FIRST + 48 * DAY) * 3600.0


SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[device]]
name = "compteur"
profile = "recorded"
[[device]]
name = "dehors"
profile = "recorded"
[[watch]]
name = "mairie"
model = "building"
school_zone = "A"
closed = ["2026-12-24", "2026-12-28/2027-01-02"]
[watch.inputs]
energy = ["compteur/energy"]
air = ["dehors/air"]
"""


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"air": ["a/b"]}, "one point of energy or of power, got 0"),
        ({"energy": ["a/b"], "power": ["a/c"]}, "one point of energy or of power, got 2"),
        ({"energy": ["a/b", "a/c"]}, "one point for each role"),
        ({"energy": ["a/b"], "gas": ["a/c"]}, "role 'gas': unknown"),
    ],
)
def test_roles_that_it_does_not_know(inputs: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BuildingWindow(inputs, PARIS, Calendar(PARIS), school=False)


@pytest.mark.parametrize("closed", ["2026-13-01", "2026-12-24/2026-12-20", "Christmas"])
def test_closed_days_that_are_none(closed: str) -> None:
    with pytest.raises(ValueError, match="closed"):
        WatchEntry(name="a", model="building", inputs={"energy": ["a/b"]}, closed=[closed])


def test_school_zones_are_only_for_buildings() -> None:
    entry = WatchEntry(name="a", model="bin", inputs={"distance": ["a/b"]}, school_zone="A")
    with pytest.raises(ValueError, match="expected of a building's watch"):
        Watch(entry, load_model(ROOT / "edge_models" / "bin"), {"a/b": "mm"}, QUARTER_S, PARIS)
