"""A node's own flash through a real power cut: kill -9 in the middle of its work."""

from __future__ import annotations

import struct
from pathlib import Path

import journal
from rig import Rig


def test_readings_written_before_a_power_cut_are_given_later_with_their_times(
    micropython: Path, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, "pressure", ADC26=12000 * 65535 // 24000)
    kept = journal.Journal(str(rig.flash / "records"), 1)  # a day's work, in the node's own format
    for minute in range(40):
        kept.append(1, 0, 5000 + minute, 200_000_000 + 60 * minute)
    kept.flush()
    try:
        rig.board.power_on()
        rig.answering()
        rig.power_cut()
        got = list(rig.service.journal())
        assert [record.value for record in got] == [5000 + minute for minute in range(40)]
        assert [record.time_s for record in got] == [1577836800 + 200_000_000 + 60 * minute for minute in range(40)]
        assert all(record.dated for record in got)
        assert struct.calcsize("<BBHIHH") == journal.RECORD
    finally:
        rig.close()
