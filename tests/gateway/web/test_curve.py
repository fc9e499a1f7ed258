"""The one writer of curves: well-formed whatever it is given, honest about gaps, readable in both languages."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import from_iso
from gateway.summary import Aggregate
from gateway.web.curve import Curve, Mark, Range, Sample, joined, seen, seen_over, svg, thin, time_ticks, value_ticks
from gateway.web.words import Speech

START_S = from_iso("2026-01-14T00:00:00Z")
FR = Speech("fr", ZoneInfo("Europe/Paris"), START_S + 86_400)
EN = replace(FR, lang="en")
SVG = "{http://www.w3.org/2000/svg}"


def a_curve(*values: float | None, step_s: float = 900.0, **changes: object) -> Curve:
    samples = [(START_S + number * step_s, seen(value)) for number, value in enumerate(values)]
    curve = Curve("c", "Débit", "m3/h", samples, START_S, START_S + max(1, len(values) - 1) * step_s, 2.5 * step_s)
    return replace(curve, **changes)  # type: ignore[arg-type]


def drawn(curve: Curve, speech: Speech = FR) -> ET.Element:
    """The picture, parsed. An <svg> within HTML needs no namespace; a reader of XML does."""
    return ET.fromstring(svg(curve, speech).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def lines(curve: Curve) -> list[str]:
    return [path.get("d", "") for path in drawn(curve).iter(f"{SVG}path") if path.get("class") == "curve-line"]


def words(curve: Curve, speech: Speech = FR) -> list[str]:
    return [text.text or "" for text in drawn(curve, speech).iter(f"{SVG}text")]


finite = st.floats(min_value=-1e30, max_value=1e30)
ranges = st.builds(lambda a, b, n: Range(min(a, b), a / 2 + b / 2, max(a, b), n), finite, finite, st.integers(1, 99))


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    times = sorted(draw(st.lists(st.floats(0, 1e6), max_size=40)))
    samples: list[Sample] = [(START_S + time_s, draw(st.none() | ranges)) for time_s in times]
    marks = draw(
        st.lists(
            st.builds(Mark, st.floats(START_S - 10, START_S + 2e6), st.text(max_size=9), st.just("onset")), max_size=3
        )
    )
    unit = draw(st.sampled_from(["bar", "1", "kW.h"]) | st.text(max_size=5))
    until_s = START_S + draw(st.floats(0, 2e6))
    title = draw(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20))
    return Curve("key", title, unit, samples, START_S, until_s, draw(st.floats(1, 1e5)), marks)


@given(curves(), st.sampled_from([FR, EN]))
def test_whatever_is_drawn_is_well_formed_and_finite(curve: Curve, speech: Speech) -> None:
    printable = all(char.isprintable() for mark in curve.marks for char in mark.word) and curve.unit.isprintable()
    text = svg(curve, speech)
    if printable:
        drawn(curve, speech)
    body = text[text.index("</desc>") :]
    coordinates = "".join(part for part in body.split('"') if part[:1] in "M0123456789-")
    assert "nan" not in coordinates
    assert "inf" not in coordinates
    assert len(text) < 12_000


def test_hostile_words_stay_words() -> None:
    hostile = '</title><script>alert("x")</script>'
    curve = a_curve(1, 2, title=hostile, key='k"><b', marks=[Mark(START_S + 300, hostile, "onset")])
    text = svg(curve, FR)
    assert "<script" not in text
    assert drawn(curve).findtext(f"{SVG}title") == hostile


def test_the_line_breaks_where_nothing_is_known() -> None:
    assert len(lines(a_curve(1, 2, None, 3, 4))) == 2
    assert len(lines(a_curve(1, 2, 3, 4))) == 1


def test_the_line_breaks_where_time_is_missing() -> None:
    samples = [(START_S + at_s, seen(1.0 + at_s)) for at_s in (0, 900, 1800, 9000, 9900)]
    assert len(lines(a_curve(samples=samples, until_s=START_S + 9900))) == 2


def test_a_lone_value_is_a_dot() -> None:
    (path,) = drawn(a_curve(None, 5, None)).iter(f"{SVG}path")
    assert path.get("class") == "curve-dot"


def test_the_line_is_where_the_values_are() -> None:
    first, second = lines(a_curve(0.0, 10.0))[0].removeprefix("M").split("L")
    assert first == "0 150", "the lowest value lies on the foot of the plot, at the left"
    assert second.split() == ["1000", "0"]


def test_a_band_goes_from_minimum_to_maximum() -> None:
    samples = [(START_S, Range(1, 2, 3)), (START_S + 900, Range(2, 3, 4))]
    classes = [path.get("class") for path in drawn(a_curve(samples=samples, until_s=START_S + 900)).iter(f"{SVG}path")]
    assert classes == ["curve-band", "curve-line"]


def test_words_and_numbers_follow_the_language() -> None:
    curve = a_curve(3.1, 3.4, unit="bar")
    assert "3,2" in words(curve)
    assert "3.2" in words(curve, EN)
    assert "bar" in words(curve)
    assert "3,25 bar" in (drawn(curve).findtext(f"{SVG}desc") or "").replace("\u00a0", " ")


def test_counts_and_flags_have_no_fractions_of_one_on_their_axis() -> None:
    assert words(a_curve(0, 0, 0, unit="1"))[:2] == ["0", "1"]
    assert {"12", "13"} <= set(words(a_curve(12, 12, 13, unit="1")))
    assert not any("," in word for word in words(a_curve(12, 12, 13, unit="1")))


def test_nothing_to_draw_is_said() -> None:
    assert "aucune valeur utilisable" in words(a_curve(None, None))
    assert "no usable value" in words(a_curve(), EN)


def test_no_word_of_a_mark_is_crossed_by_another_line() -> None:
    """Words stand left of late marks: the later one is the higher, and right of early marks the earlier one is."""
    late = [Mark(START_S + 7000, "début", "onset"), Mark(START_S + 8000, "alerte", "raised")]
    early = [Mark(START_S + 1000, "début", "onset"), Mark(START_S + 2000, "alerte", "raised")]
    for marks, highest in ((late, "alerte"), (early, "début")):
        picture = drawn(a_curve(*range(10), marks=marks))
        heights = {g.findtext(f"{SVG}text"): float(g.find(f"{SVG}text").get("y", "")) for g in picture.iter(f"{SVG}g")}  # type: ignore[union-attr]
        assert min(heights, key=lambda word: heights[word]) == highest
        assert len(set(heights.values())) == 2


def test_marks_outside_the_picture_are_left_out() -> None:
    assert list(drawn(a_curve(1, 2, marks=[Mark(START_S - 5, "avant", "onset")])).iter(f"{SVG}g")) == []


@given(st.lists(st.tuples(st.floats(0, 1e5), st.none() | ranges), max_size=400), st.integers(2, 80))
def test_thinning_keeps_every_peak_and_the_number_of_readings(samples: list[Sample], most: int) -> None:
    samples.sort(key=lambda sample: sample[0])
    thinned = thin(samples, most, 100.0)
    assert len(thinned) <= 2 * most + 2
    before, after = joined(found for _, found in samples), joined(found for _, found in thinned)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert (after.low, after.high, after.n) == (before.low, before.high, before.n)
        assert math.isclose(
            after.mean, before.mean, rel_tol=1e-6, abs_tol=1e-6 * max(abs(before.low), abs(before.high))
        )
    assert [time_s for time_s, _ in thinned] == sorted(time_s for time_s, _ in thinned)


def test_thinning_keeps_a_hole_that_would_be_seen() -> None:
    samples = [(900.0 * number, seen(1.0)) for number in range(1344) if not 300 <= number < 330]
    assert len([found for _, found in thin(samples, 84, 2250) if found is None]) == 1


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_are_few_and_enclose_the_values(low: float, span: float) -> None:
    high = low + span
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        return
    ticks = value_ticks(low, high)
    slack = 1e-6 * (high - low)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack


@given(st.floats(60, 400 * 86_400), st.floats(0, 400 * 86_400))
def test_times_are_few_and_within(span_s: float, offset_s: float) -> None:
    since_s = START_S + offset_s
    ticks = list(time_ticks(since_s, since_s + span_s, FR))
    assert len(ticks) <= 4
    assert all(since_s <= time_s <= since_s + span_s for time_s, _ in ticks)


def test_times_stay_round_when_the_clocks_change() -> None:
    """2026-03-29: at 2 o'clock in Paris it is 3."""
    since_s = from_iso("2026-03-28T23:00:00Z")
    ticks = [word for _, word in time_ticks(since_s, since_s + 14 * 3600, FR)]
    assert ticks == ["29\u00a0mars", "06:00", "12:00"]


def test_what_a_summary_saw() -> None:
    assert seen_over(Aggregate(3, 0, 2.0, 1.0, 3.0, 2.0)) == Range(1.0, 2.0, 3.0, 3)
    assert seen_over(Aggregate(0, 3, None, None, None, None)) is None
    assert seen_over(None) is None
    assert seen(math.inf) is None
