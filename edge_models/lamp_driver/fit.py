"""Learns the lamp model and measures it: `python -m edge_models.lamp_driver.fit`, extra `train`.

Lamps of the splits differ in everything (street.py); the family LEFT_OUT is only in "test". Same machine, same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_models import decay
from edge_models.decay import DAY, Ask, Kind, Record
from edge_models.lamp_driver.street import FAMILIES, LEFT_OUT, street
from gateway.window.lamp import COLUMN, QUANTITIES, Lamps

FROM_D = 30
HELD_H = 6


def record(ask: Ask) -> Record:
    """Some lamps, through the gateway's window. While none of them is lit only every sixth hour is judged: nothing changes
    then but the clock."""
    one = street(
        ask.seed,
        ask.things,
        ask.days,
        ask.families,
        ask.ramp_d,
        neighbours={"alone": False, "mixed": None}.get(ask.less, True),
        whole=ask.less in ("", "alone"),
    )
    lamps = Lamps(ask.things, one.neighbours)
    lit = (np.nan_to_num(one.rows[..., COLUMN["power"]]) > 3).any(0)
    hours, seen = [], []
    for hour in range(one.rows.shape[1]):
        lamps.row(one.first_hour + hour)[:] = one.rows[:, hour]
        if hour >= FROM_D * DAY and (hour % HELD_H == 0 or (lit[hour] and hour % ask.every_h == 0)):
            hours.append(hour)
            seen.append(lamps.see((one.first_hour + hour + 1) * 3600.0))
    at = np.array(hours)
    return Record(
        at,
        np.array([each.x for each in seen]),
        np.array([each.judged for each in seen]),
        np.array([each.rule_score for each in seen]),
        np.array([each.certain for each in seen]),
        one.gone[:, at].T,
        one.family,
        tuple(one.onset.tolist()),
        tuple(one.end.tolist()),
        one.rows.shape[1],
        HELD_H,
    )


KIND = Kind(Path(__file__).parent, "lampe", FAMILIES, LEFT_OUT, QUANTITIES, 14, 0.0005, 0.3, 48, record)

if __name__ == "__main__":
    from edge_models.lamp_driver.fit import KIND as IMPORTED  # what other processes are given must have a name there

    decay.fit(IMPORTED)
