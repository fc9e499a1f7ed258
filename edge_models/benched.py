"""What `guet bench` found, in the cards: `python -m edge_models.benched FILE...`, files of `--json`.

A model's part of a report is kept beside it (bench.json) and its figures end the card. Training writes them anew as long as
what it makes is what was measured: the same network and the same decision.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.inference import load_model
from gateway.verdict import Decision

MARK = "\n# guet bench, "
KEPT = "bench.json"
NO_RIVAL = ("metronome_of_a_week",)
"""Parts of a report that say what a figure is worth, not what a model is."""

FRENCH = {
    "model": "réseau", "rule": "règle", "by_family": "", "by_size": "", "less_known": "", "found": "signalés",
    "found_14_days_ahead": "annoncées 14 jours avant", "found_7_days_ahead": "annoncées 7 jours avant", "in_time":
    "annoncées à temps", "false_alerts": "fausses alertes par mois", "faint": "moins de 10 %",
    "false_alerts_before_faults": "fausses alertes avant des pannes, par mois", "alone": "sans voisines",
    "partly": "en partie lu", "never_learnt_ventilation": "ventilation, jamais apprise", "adds 10% to 25%":
    "de 10 à 25 % de plus", "adds 25% to 50%": "de 25 à 50 % de plus", "adds 50% and more": "de 50 % et plus",
}  # fmt: skip


def tail(folder: Path, sha256: str, decision: Decision) -> str:
    """The end of a card; nothing where the bench has not measured this network (empty: the rule) with this decision."""
    try:
        report = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    if report["sha256"] != sha256 or report["decision"] != named(decision):
        return ""
    heading = (
        f"{MARK}{report['at']}: seeds from {report['seeds_from']} on, that nothing was learnt from or chosen with\n"
    )
    return heading + "".join(f"\n{one}" for one in figures(report))


def named(decision: Decision) -> dict[str, str]:
    """A decision as a report holds it."""
    return {name: f"{value:g}" for name, value in asdict(decision).items()}


def figures(report: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """[[metrics.figure]] of every share and every rate of a report that has an interval."""
    for key, value in report.items():
        if not isinstance(value, Mapping) or key in NO_RIVAL:
            continue
        within = (*path, key)
        share = "share" in value
        if "low" in value and (value["of"] if share else value["months"]):
            words = [FRENCH.get(word, word.replace("_", " ")) for word in within]
            name = "bench, " + ", ".join(word for word in words if word) + (", part" if share else "")
            yield (
                f'[[metrics.figure]]\nname = "{name}"\nvalue = {value["share" if share else "a_month"]:.4g}\n'
                f"low = {value['low']:.4g}\nhigh = {value['high']:.4g}\nn = {round(value['of' if share else 'months'])}\n"
            )
        else:
            yield from figures(value, within)


def keep(report: Mapping[str, Any]) -> list[str]:
    """Puts what it says of each model beside that model and into its card; the models' names."""
    root = Path(__file__).parent
    parts = {report["bench"]: report} if "sha256" in report else report
    names = [name for name, part in parts.items() if isinstance(part, Mapping) and "sha256" in part]
    for name in names:
        folder, part = root / name, {"at": report["at"]} | dict(parts[name])
        model = load_model(folder)
        if (part["sha256"], part["decision"]) != (model.sha256, named(model.decision)):
            raise ValueError(
                f"{name}: expected a report on the model as it is, got one on another; run guet bench again"
            )
        (folder / KEPT).write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")
        card = folder / "card.toml"
        whole = card.read_text(encoding="utf-8").split(MARK)[0].rstrip() + "\n"
        card.write_text(whole + tail(folder, model.sha256, model.decision), encoding="utf-8")
    return names


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(", ".join(keep(json.loads(Path(file).read_text(encoding="utf-8")))))
