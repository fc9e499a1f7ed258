"""Learns the lift model and measures it: `python -m edge_models.lift_door.fit`, extra `train`.

Lifts of the splits differ in everything (shaft.py); the family LEFT_OUT is only in "test". Same machine, same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_models import decay
from edge_models.decay import Ask, Kind, Record
from edge_models.lift_door.shaft import FAMILIES, LEFT_OUT, shafts
from gateway.window.lift import DAY, QUANTITIES, Lifts

FROM_D = 30
HOUR = 4
"""Slices of an hour."""


def record(ask: Ask) -> Record:
    """Some lifts, through the gateway's window."""
    drive = {"partly": False, "mixed": None}.get(ask.less, True)
    one = shafts(ask.seed, ask.things, ask.days, ask.families, ask.ramp_d, drive=drive)
    lifts = Lifts(ask.things)
    numbers, seen = [], []
    for number in range(one.rows.shape[1]):
        lifts.row(one.first_slice + number)[:] = one.rows[:, number]
        if number >= FROM_D * DAY and (number + 1) % (HOUR * ask.every_h) == 0:
            numbers.append(number)
            seen.append(lifts.see((one.first_slice + number + 1) * 900.0))
    at = np.array(numbers)
    return Record(
        at // HOUR,
        np.array([each.x for each in seen]),
        np.array([each.judged for each in seen]),
        np.array([each.rule_score for each in seen]),
        np.array([each.certain for each in seen]),
        one.gone[:, at].T,
        one.family,
        tuple((one.onset // HOUR).tolist()),
        tuple((one.end // HOUR).tolist()),
        one.rows.shape[1] // HOUR,
        ask.every_h,
    )


KIND = Kind(Path(__file__).parent, "ascenseur", FAMILIES, LEFT_OUT, QUANTITIES, 7, 0.01, 0.4, 16, record, 0.02)

if __name__ == "__main__":
    from edge_models.lift_door.fit import KIND as IMPORTED  # what other processes are given must have a name there

    decay.fit(IMPORTED)
