"""A recording of real measurements, played as a device: a CSV file with a time and any columns of numbers.

Made for SKAB (a water-pump rig, 1 Hz; `;` between cells, columns datetime, eight signals, anomaly, changepoint), it
takes any file of that form: the separator is found, the columns `anomaly` and `changepoint` are labels, everything else
is a signal. No recording is shipped: whoever plays one says where it is.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import FileFault
from simulator.modbus import Area, IllegalAddress

TIME_COLUMNS = ("datetime", "time", "timestamp", "date")
LABEL_COLUMNS = ("anomaly", "changepoint")
_MOST_FAULTS = 20


class RecordingError(FileFault):
    """A recording that cannot be played."""


@dataclass(frozen=True, slots=True)
class Recording:
    """times_s: UTC seconds as in the file (a time without zone is taken as UTC), rising. rows: one tuple of `columns`
    an instant, NaN for an empty cell. anomalous: by row, whether a label says so; empty without labels."""

    name: str
    columns: tuple[str, ...]
    times_s: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    anomalous: tuple[bool, ...]

    @property
    def duration_s(self) -> float:
        """Until one second after the last row."""
        return self.times_s[-1] - self.times_s[0] + 1.0

    def row(self, elapsed_s: float) -> int | None:
        """The row that holds `elapsed_s` after the first one; None before it and from `duration_s` on."""
        if not 0 <= elapsed_s < self.duration_s:
            return None
        return bisect_right(self.times_s, self.times_s[0] + elapsed_s) - 1

    def anomalies(self) -> list[tuple[float, float]]:
        """Stretches that the labels call anomalous, as (from, to) in seconds after the first row."""
        stretches: list[tuple[float, float]] = []
        ends = [*self.times_s[1:], self.times_s[-1] + 1.0]
        for is_anomalous, from_s, to_s in zip(self.anomalous, self.times_s, ends, strict=False):
            start, end = from_s - self.times_s[0], to_s - self.times_s[0]
            if is_anomalous and stretches and stretches[-1][1] == start:
                stretches[-1] = (stretches[-1][0], end)
            elif is_anomalous:
                stretches.append((start, end))
        return stretches


class Player:
    """A recording that is played from `start_s` on, at the pace at which it was taken, as a Modbus device: signal i is
    a 32-bit float, high word first, in the holding registers 2i and 2i+1. While nothing is played they hold NaN, which
    means "no value". `now`: UTC seconds."""

    def __init__(self, recording: Recording, start_s: float, now: Callable[[], float]) -> None:
        self.recording, self.start_s, self.now = recording, start_s, now

    def values(self, time_s: float) -> tuple[float, ...]:
        """The signals at `time_s`."""
        row = self.recording.row(time_s - self.start_s)
        return self.recording.rows[row] if row is not None else (math.nan,) * len(self.recording.columns)

    def read(self, area: Area, address: int, count: int) -> list[int]:
        """Registers as they are now. Raises IllegalAddress."""
        words = [word for value in self.values(self.now()) for word in struct.unpack(">HH", struct.pack(">f", value))]
        if area != "holding" or not 0 <= address <= len(words) - count:
            raise IllegalAddress
        return words[address : address + count]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        """Always raises IllegalAddress: what was measured stays."""
        raise IllegalAddress


def load_folder(folder: Path) -> list[Recording]:
    """Every *.csv of a folder, in order of name (2.csv before 10.csv). Raises RecordingError with all faults of all."""
    paths = sorted(folder.glob("*.csv"), key=lambda path: (len(path.stem), path.stem)) if folder.is_dir() else []
    if not paths:
        raise RecordingError(
            [f"{folder}: expected a folder with recordings (*.csv), found none; name the one that has"]
        )
    recordings: list[Recording] = []
    faults: list[str] = []
    for path in paths:
        try:
            recordings.append(load_recording(path))
        except RecordingError as error:
            faults += error.faults
    if faults:
        raise RecordingError(faults)
    return recordings


def load_recording(path: Path) -> Recording:
    """A recording from its file. Raises RecordingError with its faults, each with file and line."""
    try:
        return parse_recording(path.read_text(encoding="utf-8-sig"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError([f"{path.name}: cannot be read: {error}; expected a CSV file in UTF-8"]) from None


def parse_recording(text: str, name: str) -> Recording:
    """A recording from the text of its file. Raises RecordingError with its faults, each with file and line."""
    lines = text.split("\n")
    separator = max(";,\t", key=lines[0].count)
    header = _cells(lines[0], separator)
    faults = [f"{name}: line 1: {fault}" for fault in _header_faults(header)]
    if faults:
        raise RecordingError(faults)
    signals = [i for i, column in enumerate(header) if i and column.lower() not in LABEL_COLUMNS]
    label = next((i for i, column in enumerate(header) if column.lower() == "anomaly"), None)
    times_s: list[float] = []
    rows: list[tuple[float, ...]] = []
    anomalous: list[bool] = []
    for number, line in enumerate(lines[1:], 2):
        where, cells = f"{name}: line {number}", _cells(line, separator)
        if not any(cells):
            continue
        if len(cells) != len(header):
            faults.append(f"{where}: expected {len(header)} cells as in the header, got {len(cells)}; correct the line")
            continue
        try:
            time_s = _time_s(cells[0])
            row = tuple(_number(header[i], cells[i]) for i in signals)
            is_anomalous = label is not None and _number("anomaly", cells[label]) > 0.5
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        if times_s and time_s <= times_s[-1]:
            faults.append(f"{where}: {cells[0]!r} is not after the line before; put the lines in order of time")
            continue
        times_s.append(time_s)
        rows.append(row)
        anomalous.append(is_anomalous)
    if not rows and not faults:
        faults.append(f"{name}: expected lines of measurements after the header, found none")
    if faults:
        more = [f"{name}: and {len(faults) - _MOST_FAULTS} more lines like these"] if len(faults) > _MOST_FAULTS else []
        raise RecordingError(faults[:_MOST_FAULTS] + more)
    columns = tuple(header[i] for i in signals)
    return Recording(name, columns, tuple(times_s), tuple(rows), tuple(anomalous) if label is not None else ())


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _header_faults(header: Sequence[str]) -> list[str]:
    if header[0].lower() not in TIME_COLUMNS:
        return [f"expected a header that begins with a time column ({', '.join(TIME_COLUMNS)}), got {header[0]!r}"]
    twice = sorted({column for column in header if header.count(column) > 1})
    faults = [f"column {column!r} is there {header.count(column)} times; give each its own name" for column in twice]
    if not [column for column in header[1:] if column.lower() not in LABEL_COLUMNS]:
        faults.append(f"expected at least one column of measurements besides {', '.join(header)}")
    return faults


def _time_s(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r}: expected a time such as '2020-03-09 10:14:33'") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _number(column: str, text: str) -> float:
    """A cell; NaN when it is empty."""
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{column}: expected a number, got {text!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{column}: expected a finite number or an empty cell, got {text!r}")
    return number
