"""Points that overlap, that no device could give, or that no byte proves: refused, all at once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.value import SIZE, Format
from gateway.contradiction import reach
from gateway.errors import ProfileError
from gateway.profile import parse_profile

HEAD = """
maker = "Essai"
model = "E-1"
kind = "pump"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
"""


def point(name: str, address: int, type_: str = "u16", more: str = "", area: str = "holding") -> str:
    return (
        f'[[point]]\nname = "{name}"\nunit = "1"\npersonal = "no"\nregister = "{area}"\n'
        f'address = {address}\ntype = "{type_}"\n{more}\n'
    )


EXAMPLE = '[[example]]\nsource = "worked out by hand"\npoint = "a"\nraw = "00 7B"\nvalue = 123\n'


def faults_of(*parts: str, head: str = HEAD) -> tuple[str, ...]:
    try:
        parse_profile(head + "".join(parts), "essai/e1")
    except ProfileError as error:
        return error.faults
    return ()


# Overlaps


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (point("a", 10), point("b", 9, "u32")),
        (point("a", 10), point("b", 10, "i16")),
        (point("a", 10), point("b", 10, "u8")),
        (point("a", 10, more="mask = 0x00FF"), point("b", 9, "u32")),
        (point("a", 10, more="mask = 0x00FF"), point("b", 9, "u32", "mask = 0xFF")),
        (point("a", 10), point("b", 9, "u32", 'mask = 0xFFFF0000\nword_order = "little"')),
        (point("a", 10), point("b", 8, "u16", "exponent_at = 4")),
    ],
)
def test_the_same_bytes_taken_for_two_things_are_a_fault(one: str, other: str) -> None:
    (fault,) = faults_of(one, other, EXAMPLE)
    assert "points 'a' and 'b' overlap" in fault
    assert "correct address or type, or give masks" in fault


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (point("a", 10), point("b", 11)),
        (point("a", 10), point("b", 10, area="input")),
        (point("a", 10), point("b", 10, more="mask = 0x0001")),
        (point("a", 10), point("b", 9, "u32", "mask = 0xFFFF0000")),
        (point("a", 10), point("b", 9, "u32", 'mask = 0x0000FFFF\nword_order = "little"')),
        (point("a", 10), point("b", 10, "bit", area="coil") + point("c", 11, "bit", area="coil")),
    ],
)
def test_neighbours_areas_and_bits_do_not_overlap(one: str, other: str) -> None:
    assert faults_of(one, other, EXAMPLE) == ()


def test_the_same_place_twice_is_a_fault_whatever_the_scale() -> None:
    (fault,) = faults_of(point("a", 10), point("b", 10, more="scale = 0.1"), EXAMPLE)
    assert "are the same place of the device; keep one" in fault


# What no device could give


@pytest.mark.parametrize(
    ("type_", "more", "said"),
    [
        ("u16", "range = [-5, 100]", "point 'a'.range: expected it within 0 to 65535"),
        ("u16", "scale = 0.01\nrange = [0, 1000]", "within 0 to 655.35, all that u16 at scale 0.01 can give"),
        ("u16", "offset = -60\nrange = [-100, 10]", "within -60 to 65475"),
        ("u16", "mask = 0xF0\nrange = [0, 16.5]", "within 0 to 15, all that u16 with mask 0xf0"),
        ("bcd16", "range = [0, 10000.5]", "within 0 to 9999"),
        ("u16", "range = [0, 100]\nwrite = { min = 0, max = 101 }", "point 'a'.write: expected limits within 0 to 100"),
        ("u16", 'range = [0, 3]\nlabels = { "4" = "x" }', "point 'a'.labels: '4' is outside of 0 to 3"),
        ("u16", 'labels = { "oui" = "x" }', "point 'a'.labels: expected whole numbers as keys, got 'oui'"),
        ("u16", 'sentinels = [9]\nlabels = { "9" = "x" }', "point 'a'.labels: '9' is a sentinel too"),
    ],
)
def test_what_the_bytes_cannot_give_is_a_fault(type_: str, more: str, said: str) -> None:
    (fault,) = faults_of(point("a", 10, type_, more), point("z", 99), EXAMPLE.replace('"a"', '"z"'))
    assert said in fault


def test_an_example_of_the_device_lies_in_the_range_of_its_point() -> None:
    narrow = point("a", 10, more="range = [0, 100]")
    (fault,) = faults_of(narrow, EXAMPLE)
    assert "example[0]: 123 is outside of the range of 'a'" in fault
    assert faults_of(narrow, EXAMPLE + 'evidence = "standard"\n') == ()


def test_a_source_that_names_nothing_is_a_fault() -> None:
    (fault,) = faults_of(point("a", 10), EXAMPLE, head=HEAD.replace("invented for a test", "internet"))
    assert "source: expected the document or code that the map is from" in fault
    (fault,) = faults_of(point("a", 10), EXAMPLE, head=HEAD.replace('source = "invented for a test"\n', ""))
    assert "essai/e1.toml: source: missing; add it" in fault


def test_faults_of_keys_and_contradictions_are_told_together() -> None:
    told = faults_of(
        point("a", 10),
        point("b", 9, "u32"),
        point("c", 20, more='colour = "red"'),
        point("d", 30).replace('unit = "1"', 'unit = "furlong"'),
        point("e", 40, more="write = { min = 0 }"),
        point("f", 50, more="range = [-5, 5]"),
        EXAMPLE.replace("123", "124"),
        EXAMPLE.replace('"a"', '"d"'),
        head=HEAD.replace("pump", "submarine"),
    )
    for said in ("kind", "point[2].colour", "point[3].unit", "point[4].write.max", "'a' and 'b' overlap", "'f'.range",
                 "example[0]"):  # fmt: skip
        assert sum(said in fault for fault in told) == 1, said
    assert len(told) == 7


@given(
    st.sampled_from(sorted(set(SIZE) - {"bit"})),
    st.sampled_from(["big", "little"]),
    st.sampled_from(["big", "little"]),
    st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6),
    st.floats(-1e6, 1e6),
    st.binary(min_size=8, max_size=8),
)
def test_no_bytes_give_a_value_beyond_its_reach(
    type_: str, word: str, byte: str, scale: float, offset: float, raw: bytes
) -> None:
    form = Format.model_validate(
        {"type": type_, "word_order": word, "byte_order": byte, "scale": scale, "offset": offset}
    )
    ends, value = reach(form), form.decoder()(raw[: form.size])
    assert ends is not None
    if value is not None:
        slack = 1e-9 * max(abs(ends[0]), abs(ends[1]), 1.0)
        assert ends[0] - slack <= value <= ends[1] + slack
    assert all(math.isfinite(end) for end in ends)
