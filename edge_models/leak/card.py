"""What stands in the card of the leak model, from what was measured; and its golden inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edge_models.leak.generate import CASES
from edge_models.leak.matching import MONTH_H, Fate, Tally, gain, intervals, total, wilson
from edge_models.leak.measured import Measured, delays
from edge_models.leak.visibility import FAINT, VISIBLE
from gateway.window.channel import CLIP, RULE_NIGHTS_Z, RULE_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.inference import Model

KINDS = {"both": "débit et pression", "flow": "débit seul", "pressure": "pression seule"}
REGIME_WORDS = {
    "gravity": "réseaux gravitaires",
    "inlets": "plusieurs entrées",
    "prv": "un réducteur de pression",
    "prvs": "plusieurs réducteurs",
    "tank": "château d'eau et pompe",
}


def figures_of(
    final: Measured,
    rule: Measured,
    before: Measured,
    rivals: Mapping[int, tuple[float, tuple[float, float]]],
    other: str,
) -> list[str]:
    """The figures of the card: on test networks only. rivals: by seed, by how much more is found than by the other kind."""
    tally, rule_tally = total(final.test), total(rule.test)
    share, false, alarm = intervals(final.test)
    rule_share, rule_false, _ = intervals(rule.test)
    leaks, count = len(tally.fates), len(final.test)
    out = [
        figure("fuites trouvées, part", tally.share_found, share, leaks),
        figure("fausses alertes par mois et passerelle", tally.false_a_month, false, count),
        figure("temps sans fuite passé en alerte, part", tally.alarm_share, alarm, count),
        part("fuites visibles (> 5 sigma) trouvées", [fate for fate in tally.fates if fate.sigmas > VISIBLE]),
        part("fuites faibles (3 à 5 sigma) trouvées", [f for f in tally.fates if FAINT <= f.sigmas <= VISIBLE]),
        part("fuites invisibles (< 3 sigma) trouvées", [fate for fate in tally.fates if fate.sigmas < FAINT]),
    ]
    alerted = [fate for fate in tally.fates if fate.delay_h is not None]
    ended = sum(fate.ended for fate in alerted)
    out.append(
        figure(
            "bonnes alertes qui finissent avant la réparation, part",
            ended / max(1, len(alerted)),
            wilson(ended, len(alerted)),
            len(alerted),
        )
    )
    for low, high, name in (
        (0, 0.03, "< 3 %"),
        (0.03, 0.06, "3 à 6 %"),
        (0.06, 0.15, "6 à 15 %"),
        (0.15, 9, ">= 15 %"),
    ):
        out.append(part(f"fuites de {name} du débit trouvées", [f for f in tally.fates if low <= f.share < high]))
    for low, high, name in ((0, 2.5, "< 2,5"), (2.5, 5, "2,5 à 5"), (5, 1e9, ">= 5")):
        out.append(part(f"fuites de {name} m3/h trouvées", [f for f in tally.fates if low <= f.m3_h < high]))
    for low, name in ((0.06, "6 %"), (0.15, "15 %")):
        if late := delays(tally, low):
            out.append(
                figure(
                    f"délai médian, rupture visible d'au moins {name} du débit, heures", median(late), None, len(late)
                )
            )
    for attribute, words in (("kind", KINDS), ("regime", REGIME_WORDS)):
        for value, name in words.items():
            some = [one for one in final.test if getattr(one, attribute) == value]
            if some:
                out.append(part(f"{name} : fuites trouvées", total(some).fates))
                out.append(
                    figure(
                        f"{name} : fausses alertes par mois", total(some).false_a_month, intervals(some)[1], len(some)
                    )
                )
    by_network = [one.share_found for one in final.test if one.fates]
    low, high = np.percentile(by_network, [10, 90]).tolist()
    out += [
        figure(
            "par réseau : part trouvée, moyenne (bornes : 1er et 9e déciles)",
            float(np.mean(by_network)),
            (low, high),
            len(by_network),
        ),
        figure("règle seule : fuites trouvées, part", rule_tally.share_found, rule_share, leaks),
        figure("règle seule : fausses alertes par mois et passerelle", rule_tally.false_a_month, rule_false, count),
        figure("fuites trouvées de plus que la règle, part, apparié", *gain(final.test, rule.test), leaks),
    ]
    for seed, (more, between) in rivals.items():
        out.append(figure(f"fuites trouvées de plus que {other}, graine {seed}, part, apparié", more, between, leaks))
    lost, calibrated = gain(final.calibration, before.calibration), len(total(final.calibration).fates)
    return [*out, figure("int8 contre flottant, réseaux de réglage : fuites de plus, part, apparié", *lost, calibrated)]


def part(name: str, fates: list[Fate]) -> str:
    """The share of some leaks that was found."""
    found = sum(fate.delay_h is not None for fate in fates)
    return figure(f"{name}, part", found / max(1, len(fates)), wilson(found, len(fates)), len(fates))


def median(delays_h: list[float]) -> float:
    """Never infinite: at most a month, which stands for missed."""
    return float(np.median(np.minimum(delays_h, MONTH_H)))


def speed(model: Model, examples: NDArray[np.float32]) -> str:
    """Milliseconds that one score takes here, and how many of a thousand take longer than the 99 %."""
    took = []
    for x in examples[:2000]:
        begun = time.perf_counter()
        model.score(x)
        took.append(1000 * (time.perf_counter() - begun))
    middle, late = np.percentile(took, [50, 99]).tolist()
    return figure("un score sur cette machine x86-64, ms, médiane (haut : p99)", middle, (middle, late), len(took))


def bands(tally: Tally) -> str:
    """[[calibration.band]]s: what became of alerts on the calibration networks, in three by score."""
    alerts = sorted(tally.alerts)
    out = []
    for i in range(3):
        some = alerts[i * len(alerts) // 3 : (i + 1) * len(alerts) // 3]
        low = some[0][0] if i else -99.0
        right = sum(found for _, found in some)
        out.append(f"[[calibration.band]]\nscore = {low:.4f}\nright = {right}\nalerts = {len(some)}\n")
    return "\n".join(out)


def figure(name: str, value: float, interval95: tuple[float, float] | None, n: int) -> str:
    """A [[metrics.figure]] of the card."""
    between = f"low = {interval95[0]:.3f}\nhigh = {interval95[1]:.3f}\n" if interval95 else ""
    return f'[[metrics.figure]]\nname = "{name}"\nvalue = {value:.3f}\n{between}n = {n}\n'


def marks_of(measured: Measured, rule: Measured) -> dict[str, str]:
    """What stands in the card of what was measured, beside its figures."""
    calibrated = total(measured.calibration)
    return {
        "networks": f"{CASES['fit']} / {CASES['calibration']} / {CASES['test']}",
        "rule": f"{rule.decision.threshold:.2f}, z {RULE_NIGHTS_Z}, CUSUM {RULE_STEP}",
        "rarity": f"{len(calibrated.fates)} fuites en {calibrated.months:.0f} mois de passerelle",
        "bands": bands(calibrated),
    }


def golden(examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some of them, and behind them some inputs like none that were ever seen."""
    picked = examples[np.linspace(0, len(examples) - 1, 48).astype(int)]
    noise = np.clip(np.random.default_rng(0).normal(0, 3, (16, *picked.shape[1:])), -CLIP, CLIP).astype(np.float32)
    return np.concatenate([picked, noise])
