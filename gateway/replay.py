"""`guet replay`: recorded readings through the very judge of the live gateway, in the time of the recording.

READINGS.csv: header `time,point,value[,unit]`, times in ISO 8601 with Z or an offset, in order; an empty value is a reading
that is missing. What a recording of years cannot help having (a line twice, a clock that was put back, a sensor that was
changed to another unit) is repaired, counted and told; what nobody can repair (text for a number, an unknown point, a
time that is none) is an error that names the line. The same input gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gateway.alert import Alert, from_iso, iso
from gateway.errors import FileFault, collecting
from gateway.judge import Judge
from gateway.reading import Flaw, Quality, Snapshot, split_point
from gateway.site import Site
from gateway.unit import convert
from gateway.watch import Watch

HEADERS = (["time", "point", "value"], ["time", "point", "value", "unit"])
MOST_FAULTS = 20
CLOCK_BACK_S = 3 * 3600.0
"""A time that goes back by no more than this is a clock that was put right; by more, lines are in disorder."""
MISSING = Flaw(Quality.BAD, "absent de l'enregistrement")


class ReadingsError(FileFault):
    """A recording that cannot be replayed."""


@dataclass(slots=True)
class Repairs:
    """What was put right, in lines."""

    duplicates: int = 0
    clock_back: int = 0
    converted: int = 0
    missing: int = 0
    lines: int = 0


@dataclass(slots=True)
class Replayed:
    """What came of a replay: alerts in order of `raised`, and for each watch what it says at the end."""

    alerts: list[Alert]
    repairs: Repairs
    says: dict[str, str]
    first_s: float
    last_s: float


@dataclass(slots=True)
class Instant:
    """The values of one time, by device and point."""

    time_s: float
    values: dict[str, dict[str, float | None]] = field(default_factory=dict)


def replay(site: Site, watches: Sequence[Watch], readings: Path) -> Replayed:
    """Replays a file. Raises ReadingsError with its faults, each with its line."""
    judge = Judge(site, watches)
    repairs = Repairs()
    alerts: dict[str, Alert] = {}
    period_s = site.period_s
    first_s = last_s = tick_s = math.nan
    for instant in instants(site, readings, repairs):
        if math.isnan(first_s):
            first_s = instant.time_s
            tick_s = first_s // period_s * period_s + period_s
        while instant.time_s >= tick_s:
            alerts |= {alert.id: alert for alert in judge.tick(tick_s).alerts}
            tick_s += period_s
        for device, values in instant.values.items():
            flaws = {name: MISSING for name, value in values.items() if value is None}
            judge.take(Snapshot(device, instant.time_s, values, flaws))
        last_s = instant.time_s
    alerts |= {alert.id: alert for alert in judge.tick(tick_s).alerts}
    in_order = sorted(alerts.values(), key=lambda alert: (alert.raised_s, alert.id))
    return Replayed(in_order, repairs, {name: watch.says for name, watch in judge.watches.items()}, first_s, last_s)


def write_alerts(alerts: Sequence[Alert], out: IO[str]) -> None:
    """One object a line."""
    for alert in alerts:
        out.write(json.dumps(alert.as_json(), ensure_ascii=False, separators=(",", ":")) + "\n")


def instants(site: Site, path: Path, repairs: Repairs) -> Iterator[Instant]:
    """The readings of a file, instant by instant. Raises ReadingsError at the end of what was read, with all faults."""
    units = {f"{device.name}/{name}": unit for device in site.devices.values() for name, unit in device.units.items()}
    names = {point: split_point(point) for point in units}
    instant: Instant | None = None
    newest_s, behind = -math.inf, False
    times: dict[str, float] = {}
    with collecting(ReadingsError) as faults:
        for line, row in _rows(path, faults):
            if len(faults) >= MOST_FAULTS:
                faults.append(f"{path.name}: too many faults; mend these first")
                return
            try:
                time_s = times.get(row[0])
                if time_s is None:
                    time_s = times[row[0]] = from_iso(row[0])
                    if len(times) > 64:
                        del times[next(iter(times))]
                value = _value(row, units, repairs)
            except ValueError as fault:
                faults.append(f"{path.name}: line {line}: {fault}")
                continue
            repairs.lines += 1
            if newest_s - time_s > CLOCK_BACK_S:
                if not behind:  # once for all the lines of a block that is out of place
                    before = iso(newest_s)
                    faults.append(
                        f"{path.name}: line {line}: {row[0]} comes after {before}; put the lines in order of time"
                    )
                behind = True
                continue
            behind = False
            if time_s < newest_s:
                repairs.clock_back += 1
            if instant is None or time_s != instant.time_s:
                if instant is not None and not faults:
                    yield instant
                instant = Instant(time_s)
                newest_s = max(newest_s, time_s)
            device, name = names[row[1]]
            of_device = instant.values.setdefault(device, {})
            if name in of_device:
                repairs.duplicates += 1
            of_device[name] = value
        if instant is None and not faults:
            faults.append(f"{path.name}: expected readings after the header, found none")
        elif instant is not None and not faults:
            yield instant


def _value(row: Sequence[str], units: dict[str, str], repairs: Repairs) -> float | None:
    """The value in the point's own unit. Raises ValueError with a sentence."""
    if len(row) < 3:
        raise ValueError(f"expected time,point,value, got {len(row)} cells")
    if row[1] not in units:
        known = ", ".join(sorted(units)[:8])
        raise ValueError(f"{row[1]!r} is no point of the site; it has {known}{' ...' if len(units) > 8 else ''}")
    if not row[2].strip():
        repairs.missing += 1
        return None
    try:
        value = float(row[2])
    except ValueError:
        raise ValueError(f"value of {row[1]}: expected a number, got {row[2]!r}") from None
    if not math.isfinite(value):
        repairs.missing += 1
        return None
    unit = row[3].strip() if len(row) > 3 else ""
    if unit and unit != units[row[1]]:
        value = convert(value, unit, units[row[1]])
        repairs.converted += 1
    return value


def _rows(path: Path, faults: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines after the header, each with its number; `.gz` is unpacked on the way."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as text:
            reader = csv.reader(text)
            header = [cell.strip() for cell in next(reader, [])]
            if header not in HEADERS:
                faults.append(
                    f"{path.name}: line 1: expected the header time,point,value[,unit], got {','.join(header)!r}"
                )
                return
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        faults.append(
            f"{path.name}: cannot be read: {error}; expected CSV in UTF-8, packed by gzip where it ends in .gz"
        )
