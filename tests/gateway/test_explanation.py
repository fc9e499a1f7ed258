"""Reasons and counterfactuals are asked of the scorer: a scorer that cares for other things gives other reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import Reason
from gateway.explanation import MOST_REASONS, counterfactual_of, reasons_of
from gateway.window import Features

Scorer = Callable[[Features], float]


def seen(departures: list[float], weights: list[float] | None = None, numbers: bool = False) -> Features:
    """Points d/p0, d/p1, ... whose departures are the input of the scorer."""
    points = [f"d/p{at}" for at in range(len(departures))]
    about = (10.0, 8.0, "bar") if numbers else (None, None, "")
    evidence = [Reason(p, "f", w, "texte", *about) for p, w in zip(points, weights or departures, strict=True)]

    def ease(shares: Mapping[str, float]) -> Features:
        x = [value * shares.get(point, 1.0) for point, value in zip(points, departures, strict=True)]
        return Features(0.0, np.array([x], np.float32), evidence, 0.0)

    return Features(0.0, np.array([departures], np.float32), evidence, 0.0, ease)


def weighted(*weights: float) -> Scorer:
    return lambda features: float(features.x[0] @ np.array(weights))


def test_reasons_are_the_scorers_not_the_windows() -> None:
    features = seen([1.0, 1.0, 1.0], weights=[3.0, 2.0, 1.0])
    reasons = reasons_of(weighted(0.0, 1.0, 3.0), features)
    assert [r.point for r in reasons] == ["d/p2", "d/p1", "d/p0"]
    assert [r.weight for r in reasons] == pytest.approx([0.75, 0.25, 0.0], abs=0.01), (
        "what it did without is named last"
    )


def test_two_points_that_say_the_same_are_both_reasons() -> None:
    loudest: Scorer = lambda features: float(features.x.max())  # noqa: E731
    assert [r.weight for r in reasons_of(loudest, seen([2.0, 2.0]))] == [0.5, 0.5]


def test_two_points_that_need_each_other_are_both_reasons() -> None:
    both: Scorer = lambda features: float(features.x.prod())  # noqa: E731
    assert [r.weight for r in reasons_of(both, seen([2.0, 2.0]))] == [0.5, 0.5]


def test_points_that_a_scorer_sees_only_pooled_share_their_weight_by_how_far_each_departs() -> None:
    loudest: Scorer = lambda features: float(features.x[0, :2].max() + features.x[0, 2])  # noqa: E731
    features = replace(seen([2.0, 2.0, 1.0]), alike={"d/p0": 0.1, "d/p1": 0.3})
    weights = {r.point: r.weight for r in reasons_of(loudest, features)}
    assert weights["d/p1"] == pytest.approx(3 * weights["d/p0"], rel=0.1)
    assert weights["d/p2"] == pytest.approx(1 / 3, abs=0.02)


def test_a_window_that_cannot_ease_gives_its_own_weights_and_no_counterfactual() -> None:
    evidence = [Reason("d/a", "f", 3.0, "texte"), Reason("d/b", "f", 1.0, "texte")]
    features = Features(0.0, np.ones((1, 2), np.float32), evidence, 4.0)
    reasons = reasons_of(weighted(0.0, 1.0), features)
    assert [r.weight for r in reasons] == [0.75, 0.25]
    assert counterfactual_of(weighted(0.0, 1.0), features, reasons, 0.5) is None


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_the_change_that_is_named_is_enough_and_hardly_more(departures: list[float], part: float) -> None:
    scorer = weighted(*[1.0] * len(departures))
    features = seen(departures)
    reasons = reasons_of(scorer, features)
    threshold = part * sum(departures)
    found = counterfactual_of(scorer, features, reasons, threshold)
    if found is None:
        rest = sum(sorted(departures)[:-MOST_REASONS])
        assert rest >= threshold - 1e-3
        return
    assert features.ease is not None
    points = [change.point for change in found.changes]
    share = found.changes[0].share
    assert scorer(features.ease(dict.fromkeys(points, share))) == pytest.approx(found.score)
    assert found.score < threshold
    assert scorer(features.ease(dict.fromkeys(points, share + 0.002))) >= threshold - 1e-4
    assert [reason.point for reason in reasons[: len(points)]] == points, "the weightiest first"


def test_a_number_is_told_as_a_number() -> None:
    features = seen([2.0], numbers=True)
    reasons = reasons_of(weighted(1.0), features)
    found = counterfactual_of(weighted(1.0), features, reasons, 1.0)
    assert found is not None
    assert found.changes[0].value == pytest.approx(9.0, abs=0.01)
    assert found.text == "Le score serait resté sous le seuil avec d/p0 à 9 bar au lieu de 10."


def test_what_nothing_named_could_change_has_no_counterfactual() -> None:
    always: Scorer = lambda features: 5.0  # noqa: E731
    features = seen([1.0, 2.0])
    reasons = reasons_of(always, features)
    assert [r.point for r in reasons] == ["d/p1", "d/p0"], "the window's own evidence, where easing changes nothing"
    assert counterfactual_of(always, features, reasons, 1.0) is None
