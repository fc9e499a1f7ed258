"""Simulates cases and keeps what the window makes of them: `python -m edge_models.leak.generate [FOLDER]`.

About 5 s of a core for each case; those that are there already are not made again.
"""

from __future__ import annotations

import sys
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from edge_models.leak.cases import draw, rows_of, subset

WORK = Path("build/leak")
CASES = {"fit": 120, "calibration": 60, "test": 60}
VARIANTS = {"fit": 2, "calibration": 1, "test": 1}
"""How many sets of sensors each case is seen with; the first is drawn like all."""


def make(job: tuple[str, int, Path]) -> str:
    """Writes one case: rows and rule's scores by variant, and its truth."""
    split, number, folder = job
    file = folder / f"{split}-{number}.npz"
    if file.exists():
        return f"{file.name}: there already"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wntr warns of every default it takes
        case = draw(split, number)
    rng = np.random.default_rng([number, 77])
    out: dict[str, object] = {}
    for variant in range(VARIANTS[split]):
        flows, pressures = subset(case, rng)
        rows, rule = rows_of(case, flows, pressures)
        out |= {
            f"rows{variant}": rows.astype(np.float16),
            f"rule{variant}": rule,
            f"sensors{variant}": (len(flows), len(pressures)),
        }
    leaks = [(leak.start, leak.end, leak.growth_h, leak.share, leak.m3_h) for leak in case.leaks]
    np.savez_compressed(
        file,
        values=case.values.astype(np.float32),
        leaks=np.array(leaks).reshape(-1, 5),
        loss=case.loss.astype(np.float32),
        inflow=case.inflow_m3_h,
        regime=case.regime,
        not_leaks=list(case.not_leaks),
        **out,  # type: ignore[arg-type]  # names and arrays
    )
    return f"{file.name}: {case.regime}, {len(leaks)} leaks"


def main(folder: Path = WORK) -> None:
    """All cases, two at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(split, number, folder) for split, count in CASES.items() for number in range(count)]
    with get_context("spawn").Pool(2) as pool:
        for done, said in enumerate(pool.imap_unordered(make, jobs), 1):
            if done % 20 == 0 or done == len(jobs):
                print(f"{done} of {len(jobs)}: {said}", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
