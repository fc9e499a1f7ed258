"""Units: conversion is its own inverse, and never between things that are not the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.bthome import OBJECTS
from gateway.unit import UNITS, convert

NAMES = st.sampled_from(sorted(UNITS))
NUMBERS = st.floats(min_value=-1e9, max_value=1e9)


@given(NUMBERS, NAMES, NAMES)
def test_there_and_back_is_the_same(value: float, unit: str, wanted: str) -> None:
    if UNITS[unit].quantity != UNITS[wanted].quantity:
        return
    assert convert(convert(value, unit, wanted), wanted, unit) == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(NUMBERS, NAMES, NAMES)
def test_different_quantities_are_refused_but_metres_of_water(value: float, unit: str, wanted: str) -> None:
    given_, asked = UNITS[unit].quantity, UNITS[wanted].quantity
    if given_ == asked or (given_, asked) == ("length", "pressure"):
        convert(value, unit, wanted)
    else:
        with pytest.raises(ValueError, match=r"expected a .* such as"):
            convert(value, unit, wanted)


@given(st.text(max_size=8).filter(lambda text: text not in UNITS))
def test_an_unknown_unit_is_named(text: str) -> None:
    for unit, wanted in ((text, "bar"), ("bar", text)):
        with pytest.raises(ValueError, match="unknown") as caught:
            convert(1.0, unit, wanted)
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "result"),
    [
        (1.0, "m3/s", "m3/h", 3600.0),
        (1.0, "L/s", "m3/h", 3.6),
        (90.0, "L/min", "m3/h", 5.4),
        (10.0, "m", "bar", 0.980665),  # a metre of water is 9,806.65 Pa (ISO 80000-4)
        (10.0, "m[H2O]", "bar", 0.980665),
        (101325.0, "Pa", "bar", 1.01325),
        (0.0, "K", "Cel", -273.15),
        (25.0, "Cel", "K", 298.15),
        (2500.0, "W.h", "kW.h", 2.5),
        (1.5, "h", "min", 90.0),
    ],
)
def test_known_conversions(value: float, unit: str, wanted: str, result: float) -> None:
    assert convert(value, unit, wanted) == pytest.approx(result)


def test_a_pressure_is_no_length() -> None:
    with pytest.raises(ValueError, match="expected a length"):
        convert(1.0, "bar", "m")


def test_every_unit_that_bthome_can_send_and_we_know_is_spelt_alike() -> None:
    known = {kind.unit for kind in OBJECTS.values()} & set(UNITS)
    assert {"Cel", "%", "mm", "V", "m3/h", "lx"} <= known
