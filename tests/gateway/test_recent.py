"""The last values in memory: in order, bounded, whatever comes together with what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.recent import LENGTH, MOST_TRACKS, Recent

VALUE = st.none() | st.floats(-1e6, 1e6, width=32)


@given(st.lists(VALUE, max_size=3 * LENGTH))
def test_a_curve_holds_the_last_values_in_order(values: list[float | None]) -> None:
    recent = Recent()
    for at, value in enumerate(values):
        recent.add(float(at), {"other": 1.0, "it": value})
    assert recent.curve("it") == list(enumerate(values))[-LENGTH:]
    assert recent.curve("other") == [(at, 1.0) for at in range(len(values))][-LENGTH:]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, min_size=1), max_size=60))
def test_a_point_that_comes_now_with_these_and_now_with_those_has_one_curve(
    rows: list[dict[str, float | None]],
) -> None:
    recent = Recent()
    for at, row in enumerate(rows):
        recent.add(float(at), row)
    for point in "abc":
        assert recent.curve(point) == [(at, row[point]) for at, row in enumerate(rows) if point in row]


def test_a_point_never_read_has_no_curve() -> None:
    assert Recent().curve("it") == []


def test_a_clock_that_was_set_moves_all() -> None:
    recent = Recent()
    recent.add(10.0, {"a": 1.0})
    recent.add(20.0, {"b": 2.0, "a": 3.0})
    recent.moved(5.0)
    assert recent.curve("a") == [(15.0, 1.0), (25.0, 3.0)]


def test_a_device_that_says_something_else_each_time_does_not_fill_memory() -> None:
    recent = Recent()
    for at in range(4 * MOST_TRACKS):
        recent.add(float(at), {"it": float(at), f"odd{at}": 0.0})
    assert recent.curve("it") == [(at, at) for at in range(3 * MOST_TRACKS, 4 * MOST_TRACKS)]


def test_the_set_of_points_that_came_last_is_kept_longest() -> None:
    recent = Recent()
    recent.add(0.0, {"steady": 0.0})
    for at in range(1, 4 * MOST_TRACKS):
        recent.add(float(at), {f"odd{at}": 0.0})
        recent.add(at + 0.5, {"steady": float(at)})
    assert len(recent.curve("steady")) == 4 * MOST_TRACKS
