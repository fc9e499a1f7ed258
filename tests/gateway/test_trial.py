"""`guet rules`: what a site will do in plain words, and what it would have done with recorded readings."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import astral
import astral.sun
import pytest

from gateway.alert import from_iso, iso
from gateway.app import give_history, read_site, remembered
from gateway.cli import USAGE, main
from gateway.clock import SystemClock
from gateway.reading import Snapshot
from gateway.store import Store
from gateway.summary import Summariser
from gateway.trial import tried
from simulator.waste import Bin

SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "/dev/null"
[[device]]
name = "cta"
profile = "ventilation/systemair_save"
bus = "b"
address = 1
every = "15min"
[[device]]
name = "l1"
profile = "lighting/dali_led_gear"
bus = "rue"
address = 1
[[permit]]
point = "cta/setpoint"
by = ["rule", "remote"]
fail_safe = 20
dwell = "20min"
unless = [{ point = "cta/alarm", equals = 1 }]
[[rule]]
name = "chaud"
when = [{ point = "cta/extract_temperature", above = 25, until = 23, for = "30min" }]
set = [{ point = "cta/setpoint", value = 16 }]
alert = { kind = "energy_anomaly", text = "Salle trop chaude." }
[[lighting]]
name = "parking"
lamps = ["l1/level"]
category = "e"
activity = ["08:00", "19:30"]
slot = [{ from = "dusk", level = 100 }, { from = "22:00", level = 40 }]
"""
HEADER = "time,point,value\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE, encoding="utf-8")
    return path


def readings(path: Path, temperatures: list[float | None], alarm: int = 0) -> Path:
    """One reading every quarter of an hour from three in the afternoon on, 26 November 2026 in Paris."""
    start_s = 1_795_701_600
    lines = [
        f"{iso(start_s + 900 * step)},{point},{'' if value is None else value}\n"
        for step, temperature in enumerate(temperatures)
        for point, value in (("cta/extract_temperature", temperature), ("cta/alarm", alarm))
    ]
    file = path.parent / "readings.csv"
    file.write_text(HEADER + "".join(lines), encoding="utf-8")
    return file


def shown(site: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, object]]]:
    assert main(["rules", "try", str(site), "--readings", str(file), "--json"]) == 0
    body: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return body


def test_a_trial_says_what_would_have_been_written_when_and_why(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = shown(site, readings(site, [24, 26, 26, 26, 26, 24, 22, 22, 22, 22]), capsys)
    deeds = [(d["time"], d["value"], d["origin"]) for d in body["deeds"] if d["point"] == "cta/setpoint"]
    assert deeds == [("2026-11-26T14:45:00Z", 16.0, "rule"), ("2026-11-26T15:30:00Z", 20.0, "fail_safe")]
    assert all(d["dry_run"] for d in body["deeds"])
    (alert,) = body["alerts"]
    assert (alert["raised"], alert["cleared"]) == ("2026-11-26T14:45:00Z", "2026-11-26T15:30:00Z")
    lamp = [(d["time"], d["value"], d["reason"]) for d in body["deeds"] if d["point"] == "l1/level"]
    assert lamp[0][1] == 0.0
    dusk_s = astral.sun.sunset(astral.Observer(47.24, 6.02), date(2026, 11, 26)).timestamp()
    assert abs(from_iso(str(lamp[1][0])) - dusk_s) < 60, "at sunset, between two readings"
    assert lamp[1][1] == 254.0


def test_a_trial_stops_at_an_interlock_and_at_a_lost_input(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = shown(site, readings(site, [26.0] * 6, alarm=1), capsys)
    (refusal,) = [d for d in body["deeds"] if d["what"] == "refusal"]
    assert "verrouillage : cta/alarm vaut 1" in str(refusal["error"])
    body = shown(site, readings(site, [26, 26, 26, 26, None, None, 26, 26]), capsys)
    deeds = [(d["time"], d["value"], d["origin"], d["reason"]) for d in body["deeds"] if d["point"] == "cta/setpoint"]
    assert [deed[:3] for deed in deeds[:2]] == [
        ("2026-11-26T14:30:00Z", 16.0, "rule"), ("2026-11-26T15:00:00Z", 20.0, "rule"),
    ]  # fmt: skip
    assert "valeur de prudence" in deeds[1][3]  # type: ignore[operator]


def test_the_law_puts_out_a_car_park_two_hours_after_its_activity(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = shown(site, readings(site, [20.0] * 40), capsys)
    lamp = [(d["time"], d["value"], d["reason"]) for d in body["deeds"] if d["point"] == "l1/level"]
    assert [value for _, value, _ in lamp] == [0.0, 254.0, 0.0]
    assert lamp[2][0] == "2026-11-26T20:30:00Z"
    assert lamp[2][2] == "extinction : arrêté du 27 décembre 2018, art. 2, catégorie e"


def test_the_same_trial_gives_the_same_bytes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = readings(site, [24, 26, 26, 26, 26, 24, 22, 22])
    main(["rules", "try", str(site), "--readings", str(file), "--json"])
    first = capsys.readouterr().out
    main(["rules", "try", str(site), "--readings", str(file), "--json"])
    assert capsys.readouterr().out == first


def test_a_trial_for_people_and_a_file_that_is_none(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "try", str(site), "--readings", str(readings(site, [26.0] * 5))]) == 0
    out = capsys.readouterr().out
    assert "règle chaud : cta/extract_temperature au-dessus de 25 (jusqu'à 23) depuis 30min (26)" in out
    assert main(["rules", "try", str(site), "--readings", str(site)]) == USAGE
    assert "expected the header time,point,value" in capsys.readouterr().err


def test_a_site_explains_itself_in_french_and_english(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    assert main(["rules", "explain", str(site)]) == 0
    french = capsys.readouterr().out
    for piece in (
        "1. chaud",
        "quand cta/extract_temperature au-dessus de 25 (jusqu'à 23) depuis 30min,",
        "écrire 16 °C à cta/setpoint ; ensuite 20 °C ; si une entrée est perdue : 20 °C",
        "alerter (Consommation d'énergie anormale, gravité mineure) : Salle trop chaude.",
        "extinction selon l'arrêté du 27 décembre 2018, art. 2, catégorie e",
        "au coucher du soleil : 100 %",
        "cta/setpoint : 14 … 24 °C (commande à distance, règle), valeur sûre 20, bail 60 min, interdit si cta/alarm vaut 1",
        "Commandes à distance : aucune n'est acceptée.",
    ):
        assert piece in french, piece
    monkeypatch.setenv("GUET_LANG", "en")
    assert main(["rules", "explain", str(site), "--json"]) == 0
    english = json.loads(capsys.readouterr().out)
    assert "Remote commands: none is taken." in english
    assert any("when cta/extract_temperature above 25 (until 23) for 30min," in line for line in english)


def test_it_says_which_of_two_rules_has_a_point_that_both_may_want(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (
        '[[rule]]\nname = "{name}"\nwhen = [{{ between = ["20:00", "22:00"] }}]\n'
        'set = [{{ point = "cta/setpoint", value = {to} }}]\n'
    )
    site.write_text(SITE.replace("[[lighting]]", more.format(name="soir", to=18) + "[[lighting]]"), encoding="utf-8")
    monkeypatch.setenv("GUET_LANG", "fr")
    assert main(["rules", "explain", str(site)]) == 0
    told = capsys.readouterr().out
    assert "si chaud agit aussi, c'est elle qui l'emporte sur cta/setpoint" in told
    site.write_text(SITE.replace("[[lighting]]", more.format(name="soir", to=16) + "[[lighting]]"), encoding="utf-8")
    assert main(["rules", "explain", str(site)]) == 0
    assert "l'emporte sur" not in capsys.readouterr().out, "both want the same"


BIN_SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "store"
[[bus]]
name = "radio"
protocol = "ble"
[[device]]
name = "bac"
profile = "waste/bthome_bin"
bus = "radio"
address = "A4:C1:38:00:00:01"
[[watch]]
name = "collecte"
model = "bin"
[watch.inputs]
distance = ["bac/distance"]
[[rule]]
name = "plein"
when = [{ verdict = "collecte" }]
alert = { kind = "bin_overflow", text = "Le bac est plein." }
"""


async def test_a_trial_begins_with_what_the_store_knows_of_the_weeks_before(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(BIN_SITE, encoding="utf-8")
    site, watches = read_site(path)
    start_s, week = 1_795_701_600.0, 7 * 96
    made = Bin("bac", 3, site.zone)

    def distance_mm(step: int) -> float:
        return float(made.distance_mm(start_s + 900 * step))

    file = tmp_path / "readings.csv"
    rows = [f"{iso(start_s + 900 * step)},bac/distance,{distance_mm(step)}\n" for step in range(12)]
    file.write_text(HEADER + "".join(rows), encoding="utf-8")
    assert not await remembered(site, SystemClock(), start_s), "there is no store"
    assert tried(site, watches, file).unknown == {"plein"}, "three hours teach no rhythm"
    summariser = Summariser("bac")
    past = [
        summary
        for step in range(-week, 0)
        for summary in summariser.add(Snapshot("bac", start_s + 900 * step, {"distance": distance_mm(step)}, {}))
    ]
    await give_history(site, SystemClock(), past)
    known = await remembered(site, SystemClock(), start_s)
    assert len(known) == len(past)
    site, watches = read_site(path)
    assert tried(site, watches, file, lambda before_s: known).unknown == set()
    replaced_s = start_s - 900 * 40
    async with Store.open(site.data, SystemClock()) as store:
        await store.decide({"learns_since/bac": replaced_s})
    since = await remembered(site, SystemClock(), start_s)
    assert since == [summary for summary in known if summary.start_s >= replaced_s], "no more than of what stands there"
    assert 0 < len(since) < len(known)


def test_a_rule_of_which_nothing_can_be_known_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.toml"
    path.write_text(BIN_SITE, encoding="utf-8")
    file = tmp_path / "readings.csv"
    file.write_text(HEADER + "2026-11-26T14:00:00Z,bac/distance,800\n", encoding="utf-8")
    assert main(["rules", "try", str(path), "--readings", str(file)]) == 0
    assert "plein" in capsys.readouterr().err
