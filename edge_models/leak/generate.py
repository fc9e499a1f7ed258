"""Simulates cases and keeps what the window makes of them: `python -m edge_models.leak.generate [FOLDER]`.

Two seconds of a core for each case; those that are there already are not made again.
"""

from __future__ import annotations

import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from edge_models.leak.cases import Case, draw, rows_of, subset
from edge_models.leak.visibility import seen_leaks

WORK = Path("build/leak")
CASES = {"fit": 1380, "calibration": 300, "test": 100}

DRY = 3
"""Each case to learn from is seen a second time with other sensors; every so many then without flow meters: such sites are
rarer, and harder."""


def make(job: tuple[str, int, Path]) -> str:
    """Writes one case with one set of sensors: rows, rule's scores and the truth; and what other sensors see."""
    split, number, folder = job
    file, other = folder / f"{split}-{number}.npz", folder / f"{split}-{number}-also.npz"
    also = split == "fit"
    if file.exists() and (other.exists() or not also):
        return f"{file.name}: there already"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wntr warns of every default it takes
        case = draw(split, number, twins=split != "fit")
    rng = np.random.default_rng([number, 77])
    flows, pressures = subset(case, rng)
    columns = flows + pressures
    sigmas = np.zeros(len(case.leaks))
    if case.effects is not None:
        seen = seen_leaks(case, columns, len(flows), [f"s/{column}" for column in columns])
        sigmas = np.array([leak.sigmas for leak in seen])
    leaks = [(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h) for leak in case.leaks]
    truth = {
        "leaks": np.array(leaks).reshape(-1, 5),
        "sigmas": sigmas,
        "loss": case.loss.astype(np.float32),
        "inflow": case.inflow_m3_h,
        "regime": case.regime,
    }
    np.savez(file, **_seen(case, flows, pressures), **truth)  # type: ignore[arg-type]  # names and arrays
    if also:
        flows, pressures = subset(case, rng)
        if number % DRY == 0:
            flows, pressures = [], pressures or list(range(case.flows, case.values.shape[1]))
        np.savez(other, **_seen(case, flows, pressures))  # type: ignore[arg-type]  # names and arrays
    return f"{file.name}: {case.regime}, {len(leaks)} leaks"


def _seen(case: Case, flows: list[int], pressures: list[int]) -> dict[str, object]:
    rows, rule = rows_of(case, flows, pressures)
    return {"rows": rows.astype(np.float16), "rule": rule, "sensors": (len(flows), len(pressures))}


def main(folder: Path = WORK) -> None:
    """All cases, two at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(split, number, folder) for split, count in CASES.items() for number in range(count)]
    begun = time.monotonic()
    with get_context("spawn").Pool(2) as pool:
        for done, said in enumerate(pool.imap_unordered(make, jobs), 1):
            if done % 20 == 0 or done == len(jobs):
                print(f"{done} of {len(jobs)}, {time.monotonic() - begun:.0f} s: {said}", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
