"""The bench of lighting can fail: a law or a sun that is another is found out; and it says what was missed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench import lighting


def test_our_decisions_are_those_of_an_independent_computation() -> None:
    found = lighting.decisions(3, 1000)
    assert found["wrong"] == 0, found["examples"]
    assert found["checked"] > 900
    assert found["worst_edge_s"] < lighting.EDGE_S


def test_another_law_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for category, other in (("e", ("E+1", "morning", "no")), ("e", ("E+2", "morning", "yes")),
                            ("a/clos", ("E+1", "morning", "no")), ("d/facade", ("E+2", "morning", "no"))):  # fmt: skip
        with monkeypatch.context() as changed:
            changed.setitem(lighting.LAW, category, other)
            assert lighting.decisions(3, 400, [category])["wrong"] > 0, (category, other)


def test_the_long_days_and_nights_beyond_the_polar_circles_are_those_of_the_sun() -> None:
    found = lighting.polar(3, 600)
    assert found["wrong"] == 0, found["examples"]
    assert min(found["without_a_sunset"], found["without_a_sunrise"]) > 20


def test_what_was_missed_is_said() -> None:
    kept: dict[str, Any] = {
        "decisions": {"checked": 10, "wrong": 0, "worst_edge_s": 20.0},
        "beyond_the_polar_circles": {"wrong": 0},
        "year": {"lamps": 200, "seconds": 20.0},
        "thousand_lamps": {"p99_ms": 10.0},
        "presence_to_light": {"six_lamps": {"last_lamp_p99_ms": 300}, "says": "x"},
    }
    assert lighting.missed(kept) == []
    kept["year"]["seconds"], kept["thousand_lamps"]["p99_ms"] = 61.0, 51.0
    kept["beyond_the_polar_circles"]["wrong"] = 2
    kept["decisions"]["wrong"], kept["presence_to_light"]["six_lamps"]["last_lamp_p99_ms"] = 1, 501
    assert len(lighting.missed(kept)) == 5
