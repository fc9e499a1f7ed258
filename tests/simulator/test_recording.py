"""Recordings: what is read from a CSV file, what is refused, and how it is played."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.modbus import IllegalAddress
from simulator.recording import Player, Recording, RecordingError, load_folder, parse_recording

RIG = """datetime;Current;Pressure;Volume Flow RateRMS;anomaly;changepoint\r
2020-03-09 10:14:33;1.33;0.054711;32.0;0.0;0.0\r
2020-03-09 10:14:34;1.35;;32.0;0.0;0.0\r
2020-03-09 10:14:37;1.36;-0.3;31.0;1.0;1.0\r
2020-03-09 10:14:38;1.37;0.4;30.5;1.0;0.0\r
2020-03-09 10:14:39;1.38;0.4;32.0;0.0;0.0\r
"""


def rig() -> Recording:
    return parse_recording(RIG, "0.csv")


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(RecordingError) as raised:
        parse_recording(text, "x.csv")
    return raised.value.faults


def test_signals_labels_and_gaps_are_read() -> None:
    recording = rig()
    assert recording.columns == ("Current", "Pressure", "Volume Flow RateRMS")
    assert recording.rows[0] == (1.33, 0.054711, 32.0)
    assert math.isnan(recording.rows[1][1]), "an empty cell is no value"
    assert recording.duration_s == 7
    assert recording.anomalies() == [(4, 6)]


def test_commas_other_time_columns_and_files_without_labels_are_taken_too() -> None:
    recording = parse_recording('timestamp,"value"\n2014-01-01T00:00:00Z,"3"\n2014-01-01T01:05:00+01:00,4\n', "nab.csv")
    assert recording.columns == ("value",)
    assert recording.times_s == (1388534400.0, 1388534700.0)
    assert recording.anomalies() == []


def test_a_player_holds_each_row_until_the_next_and_is_silent_before_and_after() -> None:
    player = Player(rig(), start_s=1000.0, now=lambda: 1003.5)
    assert player.values(1000.0)[0] == 1.33
    assert player.values(1003.9)[0] == 1.35, "held over the gap"
    assert player.values(1004.0)[0] == 1.36
    assert all(math.isnan(value) for value in player.values(999.9))
    assert all(math.isnan(value) for value in player.values(1007.0))


def test_a_player_serves_floats_high_word_first() -> None:
    player = Player(rig(), start_s=1000.0, now=lambda: 1000.0)
    words = player.read("holding", 0, 6)
    assert struct.unpack(">3f", struct.pack(">6H", *words)) == pytest.approx((1.33, 0.054711, 32.0))
    assert player.read("holding", 4, 2) == words[4:]
    for area, address, count in (("holding", 5, 2), ("input", 0, 2), ("holding", -2, 2)):
        with pytest.raises(IllegalAddress):
            player.read(area, address, count)  # type: ignore[arg-type]  # one of them is wrong on purpose
    with pytest.raises(IllegalAddress):
        player.write("holding", 0, [1])


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    lines = ("00;1;0", "01;x;0", "00;1;0", "later;1;0", "05;1", "06;inf;0")
    faults = faults_of("datetime;a;anomaly\n" + "\n".join(f"2020-01-01 00:00:{line}" for line in lines))
    assert [fault.split(": ")[1] for fault in faults] == ["line 3", "line 4", "line 5", "line 6", "line 7"]
    said = ("a number, got 'x'", "not after the line before", "expected a time", "expected 3 cells", "finite")
    assert all(part in fault for fault, part in zip(faults, said, strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with a time column"),
        ("a;b\n1;2\n", "got 'a'"),
        ("datetime;anomaly\n2020-01-01 00:00:00;1\n", "at least one column of measurements"),
        ("datetime;a;a\n2020-01-01 00:00:00;1;2\n", "2 times"),
        ("datetime;a\n", "found none"),
    ],
)
def test_files_that_are_no_recording_are_refused(text: str, said: str) -> None:
    assert said in faults_of(text)[0]


def test_a_file_full_of_faults_is_told_briefly() -> None:
    faults = faults_of("datetime;a\n" + "never;1\n" * 500)
    assert len(faults) == 21
    assert "480 more" in faults[-1]


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet=st.sampled_from('datetime;,"\n\r0123456789-:. abnif\t\x00'), max_size=120))
def test_any_text_is_a_recording_or_a_recording_error(text: str) -> None:
    try:
        times_s, faults = parse_recording("datetime;a\n" + text, "x.csv").times_s, ("x.csv: none",)
    except RecordingError as error:
        times_s, faults = (), error.faults
    assert list(times_s) == sorted(times_s)
    assert faults
    assert all(fault.startswith("x.csv: ") for fault in faults)


def test_a_folder_is_played_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name in ("10.csv", "2.csv"):
        (tmp_path / name).write_text(RIG)
    assert [recording.name for recording in load_folder(tmp_path)] == ["2.csv", "10.csv"]
    (tmp_path / "3.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "4.csv").write_text("a\n")
    with pytest.raises(RecordingError) as raised:
        load_folder(tmp_path)
    assert [fault.split(":")[0] for fault in raised.value.faults] == ["3.csv", "4.csv"]


def test_a_folder_without_recordings_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RecordingError, match="found none"):
            load_folder(folder)
