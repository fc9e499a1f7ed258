"""Why a score is what it is, and what would have changed it: asked of the scorer itself, whatever it is.

The window gives candidates, and can tell what a scorer would have seen had some of them been as usual ("eased"). A
candidate's weight is the mean of what easing it alone takes from the score and of what it adds by itself when all others
are eased: the first alone would find nothing where two say the same, the second nothing where one needs the other. Points
that the scorer sees only pooled share what they weigh together by how far each departs. The
counterfactual eases the strongest together, as little as is enough for a score below the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gateway.alert import Change, Counterfactual, Reason
from gateway.unit import UNITS
from gateway.window import Features

MOST_REASONS = 5
MOST_ASKED = 12
"""Candidates, the strongest first, whose part in the score is asked for: two scores each."""

SEEN_SHARE = 0.01
"""Of the weight that the scorer gives, so much goes by the window's evidence."""

HALVINGS = 10
Scorer = Callable[[Features], float]


def reasons_of(scorer: Scorer, features: Features) -> tuple[Reason, ...]:
    """The reasons for a score, the weightiest first; their weights add up to 1. Where the window cannot ease, or easing
    changes nothing, the weights are those of its own evidence."""
    asked = [reason for reason in features.evidence if reason.weight > 0][:MOST_ASKED]
    weighed = asked
    if (ease := features.ease) is not None and asked:
        points = {reason.point for reason in asked}
        with_all, with_none = scorer(features), scorer(ease(dict.fromkeys(points, 0.0)))
        parts = {}
        for point in points:
            taken = with_all - scorer(ease({point: 0.0}))
            added = scorer(ease(dict.fromkeys(points - {point}, 0.0))) - with_none
            parts[point] = max(0.0, (taken + added) / 2)
        parts |= _apportioned({point: parts[point] for point in parts if point in features.alike}, features.alike)
        if any(parts.values()):
            weighed = _named(_shared(asked, parts), asked)
    weighed = sorted((reason for reason in weighed if reason.weight > 0), key=lambda reason: -reason.weight)
    weighed = weighed[:MOST_REASONS]
    total = sum(reason.weight for reason in weighed)
    return tuple(replace(reason, weight=reason.weight / total) for reason in weighed)


def counterfactual_of(
    scorer: Scorer, features: Features, reasons: Sequence[Reason], threshold: float
) -> Counterfactual | None:
    """See `Counterfactual`; None where the window cannot ease, or all that is named is not enough."""
    ease = features.ease
    if ease is None:
        return None
    points = list(dict.fromkeys(reason.point for reason in reasons))

    def score(count: int, share: float) -> float:
        return scorer(ease(dict.fromkeys(points[:count], share)))

    for count in range(1, len(points) + 1):
        if score(count, 0.0) < threshold:
            break
    else:
        return None
    enough, too_much = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (enough + too_much) / 2
        if score(count, share) < threshold:
            enough = share
        else:
            too_much = share
    named = [reason for reason in reasons if reason.point in points[:count]]
    changes = tuple(_change(reason, enough) for reason in named)
    return Counterfactual(score(count, enough), changes, _sentence(named, changes))


def _apportioned(parts: dict[str, float], departs: Mapping[str, float]) -> dict[str, float]:
    """The whole of some parts, shared out by how far each point departs."""
    whole, far = sum(parts.values()), sum(departs[point] for point in parts)
    return {point: whole * departs[point] / far for point in parts} if far > 0 else parts


def _shared(asked: Sequence[Reason], parts: dict[str, float]) -> list[Reason]:
    """Reasons with the part of their point; several of one point share it as the window weighed them."""
    total = {point: sum(reason.weight for reason in asked if reason.point == point) for point in parts}
    return [replace(reason, weight=parts[reason.point] * reason.weight / total[reason.point]) for reason in asked]


def _named(weighed: Sequence[Reason], asked: Sequence[Reason]) -> list[Reason]:
    """The same, with a little of the window's own evidence: what the scorer could have done without is named last."""
    scored, seen = sum(reason.weight for reason in weighed), sum(reason.weight for reason in asked)
    pairs = zip(weighed, asked, strict=True)
    return [replace(one, weight=one.weight + SEEN_SHARE * scored * own.weight / seen) for one, own in pairs]


def _change(reason: Reason, share: float) -> Change:
    value = None
    if reason.value is not None and reason.usual is not None:
        value = reason.usual + share * (reason.value - reason.usual)
    return Change(reason.point, reason.feature, share, value, reason.unit if value is not None else "")


def _sentence(reasons: Sequence[Reason], changes: Sequence[Change]) -> str:
    parts = []
    for reason, change in zip(reasons, changes, strict=True):
        if change.value is not None and reason.value is not None:
            parts.append(f"{change.point} à {_shown(change.value, change.unit)} au lieu de {_shown(reason.value, '')}")
        elif change.share < 0.01:
            parts.append(f"{change.point} comme d'ordinaire")
        else:
            parts.append(f"{change.point} plus près de l'ordinaire de {100 * (1 - change.share):.0f} %")
    return f"Le score serait resté sous le seuil avec {' et '.join(dict.fromkeys(parts))}."


def _shown(value: float, unit: str) -> str:
    """As French people write it; three figures at least."""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {UNITS[unit].shown if unit in UNITS else unit}".strip().replace(".", ",")
