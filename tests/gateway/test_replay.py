"""Replay: recorded readings through the judge, and what is said of a recording that is not as it should be."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.app import read_site
from gateway.cli import main
from gateway.replay import ReadingsError, Repairs, Replayed, replay

SITE = """
[gateway]
id = "edge-1"
commune = "Exemple"
timezone = "Europe/Paris"
latitude = 47.2
longitude = 6.0

[[device]]
name = "porte"
profile = "recorded"

[[watch]]
name = "ascenseur"
model = "lift_door"
[watch.inputs]
door_current = ["porte/door_current"]
door_speed = ["porte/door_speed"]
"""
HEAD = "time,point,value\n"
AT_TEN = "2026-01-01T10:00:00Z,porte"
START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAY = 86400.0

Row = tuple[float, str, str]


def _doors(days: float, slow_from: float | None = None) -> Iterator[Row]:
    """A door seen every quarter of an hour, 25 % slower from a day on."""
    time_s = START
    while time_s < START + days * DAY:
        slow = slow_from is not None and time_s >= START + slow_from * DAY
        wiggle = (time_s / 900 * 7919 % 11 - 5) / 5  # a spread, the same each time
        yield time_s, "porte/door_speed", f"{(250 if not slow else 187) + wiggle:.1f}"
        yield time_s, "porte/door_current", f"{(820 if not slow else 1010) + 4 * wiggle:.1f}"
        time_s += 900


def _stamp(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def play(tmp_path: Path) -> Callable[[str], Replayed]:
    """Replays the text of a recording on the site above."""
    site_file = tmp_path / "site.toml"
    site_file.write_text(SITE)

    def play(text: str) -> Replayed:
        readings = tmp_path / "readings.csv"
        readings.write_text(text)
        return replay(*read_site(site_file), readings)

    return play


def _csv(rows: Iterator[Row]) -> str:
    return "time,point,value\n" + "".join(f"{_stamp(time_s)},{point},{value}\n" for time_s, point, value in rows)


def test_a_door_that_slows_is_one_alert_after_its_onset(play: Callable[[str], Replayed]) -> None:
    done = play(_csv(_doors(40, slow_from=37)))
    assert [alert.kind.value for alert in done.alerts] == ["lift_failure"]
    (alert,) = done.alerts
    assert START + 37 * DAY < alert.raised_s < START + 38 * DAY
    assert sum(reason.weight for reason in alert.reasons) == pytest.approx(1)


def test_a_door_that_stays_as_it_was_is_no_alert(play: Callable[[str], Replayed]) -> None:
    assert play(_csv(_doors(40))).alerts == []


def test_too_short_a_past_is_said_and_not_judged(play: Callable[[str], Replayed]) -> None:
    done = play(_csv(_doors(2, slow_from=1)))
    assert done.alerts == []
    assert "données insuffisantes" in done.says["ascenseur"]


def test_a_silence_of_hours_is_a_no_data_alert_that_ends(play: Callable[[str], Replayed]) -> None:
    rows = [row for row in _doors(3) if not START + DAY <= row[0] < START + 1.5 * DAY]
    (alert,) = play(_csv(iter(rows))).alerts
    assert (alert.kind.value, alert.subject) == ("no_data", "porte")
    assert alert.cleared_s is not None
    assert alert.cleared_s == pytest.approx(START + 1.5 * DAY, abs=1800)


def test_missing_values_repeated_lines_and_a_clock_put_back_are_counted(play: Callable[[str], Replayed]) -> None:
    text = (
        "time,point,value\n"
        "2026-01-01T10:00:00Z,porte/door_speed,250\n"
        "2026-01-01T10:00:00Z,porte/door_speed,250\n"
        "2026-01-01T10:15:00Z,porte/door_speed,\n"
        "2026-01-01T09:30:00Z,porte/door_speed,249\n"
    )
    assert play(text).repairs == Repairs(duplicates=1, clock_back=1, missing=1, lines=4)


def test_another_unit_is_converted(play: Callable[[str], Replayed]) -> None:
    text = f"time,point,value,unit\n{AT_TEN}/door_speed,0.25,m/s\n{AT_TEN}/door_current,820,mA\n"
    assert play(text).repairs.converted == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: expected the header"),
        ("a,b\n1,2\n", "line 1: expected the header"),
        ("time,point,value\n", "expected readings after the header"),
        (
            f"{HEAD}{AT_TEN}/door_speed,fast\n",
            "line 2: value of porte/door_speed: expected a number",
        ),
        (f"{HEAD}{AT_TEN}/colour,1\n", "line 2: 'porte/colour' is no point of the site"),
        (
            f"{HEAD}2026-01-01T10:00:00,porte/door_speed,1\n",
            "line 2: '2026-01-01T10:00:00': expected a time with 'Z'",
        ),
        (f"{HEAD}yesterday,porte/door_speed,1\n", "line 2:"),
        (f"{HEAD}{AT_TEN}/door_speed\n", "line 2: expected time,point,value, got 2 cells"),
        (
            f"{HEAD}2026-01-02T10:00:00Z,porte/door_speed,1\n{AT_TEN}/door_speed,1\n",
            "line 3: 2026-01-01T10:00:00Z comes after 2026-01-02T10:00:00Z; put the lines in order",
        ),
        (
            "time,point,value,unit\n2026-01-01T10:00:00Z,porte/door_speed,1,bar\n",
            "line 2: unit 'bar' (pressure): expected a speed",
        ),
    ],
)
def test_what_cannot_be_replayed_is_told_by_its_line(play: Callable[[str], Replayed], text: str, expected: str) -> None:
    with pytest.raises(ReadingsError) as told:
        play(text)
    assert expected in str(told.value)


def test_all_faults_are_told_at_once(play: Callable[[str], Replayed]) -> None:
    with pytest.raises(ReadingsError) as told:
        play("time,point,value\nx,porte/door_speed,1\n2026-01-01T10:00:00Z,porte/door_speed,y\n")
    assert len(told.value.faults) == 2


def test_a_block_out_of_place_is_one_fault_not_one_a_line(play: Callable[[str], Replayed]) -> None:
    def block(day: int) -> str:
        return "".join(f"2026-01-{day:02}T{hour:02}:00:00Z,porte/door_speed,250\n" for hour in range(24))

    with pytest.raises(ReadingsError) as told:
        play(HEAD + block(5) + block(3) + block(6) + block(4))
    assert ["line 26" in told.value.faults[0], "line 74" in told.value.faults[1]] == [True, True]
    assert len(told.value.faults) == 2


def test_the_command_writes_the_same_bytes_twice_and_reads_packed_files(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    with gzip.open(tmp_path / "readings.csv.gz", "wt") as packed:
        packed.write(_csv(_doors(40, slow_from=37)))
    outs = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for out in outs:
        code = main(["replay", str(tmp_path / "site.toml"), str(tmp_path / "readings.csv.gz"), "--out", str(out)])
        assert code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    (line,) = outs[0].read_text().splitlines()
    assert list(json.loads(line)) == [
        "id", "kind", "subject", "onset", "raised", "cleared", "severity", "score", "threshold", "model", "model_sha256",
        "reasons", "baseline", "confidence", "counterfactual",
    ]  # fmt: skip


def test_a_faulty_recording_leaves_no_file_behind_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "readings.csv").write_text("time,point,value\n")
    out = tmp_path / "alerts.jsonl"
    assert main(["replay", str(tmp_path / "site.toml"), str(tmp_path / "readings.csv"), "--out", str(out)]) == 2
    assert list(tmp_path.glob("alerts*")) == []
