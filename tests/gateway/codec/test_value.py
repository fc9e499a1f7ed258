"""Bytes to numbers and back: every type, order, sentinel and scale."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec.value import SIZE, Format

modest = settings(deadline=None, max_examples=120)
WHOLE = ["u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u48", "u64", "i64"]
orders = st.sampled_from(["big", "little"])


def limits(kind: str) -> tuple[int, int]:
    bits = int(kind[1:])
    return (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def whole(draw: Any) -> tuple[str, int]:
    kind = draw(st.sampled_from(WHOLE))
    low, high = limits(kind)
    # a float holds 53 bits: beyond, a count of a 64-bit meter is rounded, as it would be everywhere downstream
    return kind, draw(st.integers(max(low, -(2**53)), min(high, 2**53)))


@modest
@given(case=whole(), word_order=orders, byte_order=orders)
def test_what_is_written_is_read_back(case: tuple[str, int], word_order: Any, byte_order: Any) -> None:
    kind, number = case
    form = Format.model_validate({"type": kind, "word_order": word_order, "byte_order": byte_order})
    data = form.encode(number)
    assert len(data) == form.size == SIZE[kind]
    assert form.decoder()(data) == number


@modest
@given(number=st.integers(0, 2**32 - 1), word_order=orders, byte_order=orders)
def test_orders_of_a_double_word_are_those_of_struct(number: int, word_order: Any, byte_order: Any) -> None:
    high, low = number >> 16, number & 0xFFFF
    words = (high, low) if word_order == "big" else (low, high)
    wire = struct.pack((">" if byte_order == "big" else "<") + "HH", *words)
    form = Format(type="u32", word_order=word_order, byte_order=byte_order)
    assert form.decoder()(wire) == number


@pytest.mark.parametrize(
    ("word_order", "byte_order", "wire"),
    [
        pytest.param("big", "big", "42 F6 E9 79", id="ABCD"),
        pytest.param("little", "big", "E9 79 42 F6", id="CDAB"),
        pytest.param("big", "little", "F6 42 79 E9", id="BADC"),
        pytest.param("little", "little", "79 E9 F6 42", id="DCBA"),
    ],
)
def test_the_four_orders_of_a_float(word_order: Any, byte_order: Any, wire: str) -> None:
    form = Format(type="f32", word_order=word_order, byte_order=byte_order)
    value = form.decoder()(bytes.fromhex(wire))
    assert value is not None
    assert round(value, 3) == 123.456
    assert form.encode(123.456) == bytes.fromhex(wire)


@modest
@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False), order=orders)
def test_a_float_is_read_as_it_was_sent(number: float, order: Any) -> None:
    form = Format(type="f32", word_order=order)
    assert form.decoder()(form.encode(number)) == number


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        ("f32", "7FC00000"),
        ("f32", "7F800000"),
        ("f32", "FF800000"),
        ("f64", "7FF8000000000000"),
        ("f64", "FFF0000000000000"),
    ],
)
def test_what_is_no_finite_number_is_no_value(kind: Any, wire: str) -> None:
    assert Format(type=kind).decoder()(bytes.fromhex(wire)) is None


def test_a_number_that_scales_out_of_range_is_no_value() -> None:
    assert Format(type="f64", scale=10.0).decoder()(struct.pack(">d", 1.7e308)) is None


@pytest.mark.parametrize(
    ("kind", "wire", "sentinel"), [("u16", "FFFF", 0xFFFF), ("i16", "8000", -0x8000), ("u32", "FFFFFFFE", 0xFFFFFFFE)]
)
def test_a_sentinel_is_the_raw_number_whatever_the_scale(kind: Any, wire: str, sentinel: int) -> None:
    form = Format(type=kind, scale=0.01, offset=-60, sentinels=(sentinel,))
    assert form.decoder()(bytes.fromhex(wire)) is None


def test_the_sentinel_of_a_masked_value_is_compared_before_the_mask() -> None:
    form = Format(type="u16", mask=0xFF00, sentinels=(0xFFFF,))
    assert form.decoder()(b"\xff\xff") is None
    assert form.decoder()(b"\xff\x00") == 255


@pytest.mark.parametrize(("mask", "expected"), [(0x0001, 1), (0x00F0, 0xC), (0xFF00, 0xA5), (0x8000, 1), (0x0002, 0)])
def test_a_mask_gives_its_bits_from_bit_0(mask: int, expected: int) -> None:
    assert Format(type="u16", mask=mask).decoder()(b"\xa5\xc1") == expected


def test_scale_comes_before_offset() -> None:
    assert Format(type="u8", scale=1, offset=-60).decoder()(b"\x55") == 25  # DALI bank 205, temperature
    value = Format(type="u16", scale=0.01, offset=-273.15).decoder()((29815).to_bytes(2, "big"))  # kelvin in 1/100
    assert value is not None
    assert round(value, 6) == 25


@pytest.mark.parametrize(
    ("wire", "expected"), [("FF 00000064", 10.0), ("02 00000064", 10000.0), ("00 0001E240", 123456.0)]
)
def test_a_dali_exponent_in_front_is_a_power_of_ten(wire: str, expected: float) -> None:
    assert Format(type="u32", exponent_at=1).decoder()(bytes.fromhex(wire)) == pytest.approx(expected)


def test_an_exponent_further_in_front_is_found() -> None:
    assert Format(type="u16", exponent_at=3).decoder()(bytes.fromhex("01 AA BB 0005")) == pytest.approx(50)


@pytest.mark.parametrize(
    ("kind", "wire", "expected"), [("bcd8", "42", 42), ("bcd16", "0120", 120), ("bcd32", "12345678", 12345678)]
)
def test_bcd_is_read_digit_by_digit(kind: Any, wire: str, expected: int) -> None:
    assert Format(type=kind).decoder()(bytes.fromhex(wire)) == expected


@pytest.mark.parametrize("wire", ["0A", "F0", "FF"])
def test_a_digit_above_nine_is_no_value(wire: str) -> None:
    assert Format(type="bcd8").decoder()(bytes.fromhex(wire)) is None


def test_bcd_words_in_the_other_order() -> None:
    assert Format(type="bcd32", word_order="little").decoder()(bytes.fromhex("5678 1234")) == 12345678


def test_a_coil_is_nought_or_one() -> None:
    decode = Format(type="bit").decoder()
    assert (decode(b"\0"), decode(b"\1")) == (0, 1)


@modest
@given(scale=st.sampled_from([0.1, 0.01, 0.001, 1 / 3, 60.0]), number=st.integers(-30000, 30000))
def test_writing_takes_the_nearest_raw_number(scale: float, number: int) -> None:
    form = Format(type="i16", scale=scale, offset=0.5)
    value = number * scale + 0.5
    assert form.encode(value) == number.to_bytes(2, "big", signed=True)
    assert form.encode(value + 0.4 * scale) == number.to_bytes(2, "big", signed=True)


@pytest.mark.parametrize(("kind", "value"), [("u8", 256), ("u8", -1), ("i16", 32768), ("u16", 1e9)])
def test_what_does_not_fit_cannot_be_written(kind: Any, value: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Format(type=kind).encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["u16", "f32"])
def test_no_value_cannot_be_written(kind: Any, value: float) -> None:
    with pytest.raises(ValueError):
        Format(type=kind).encode(value)


def test_a_float_too_large_for_its_width_cannot_be_written() -> None:
    with pytest.raises(ValueError):
        Format(type="f32").encode(1e39)


def test_the_raw_number_that_means_no_value_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="no value"):
        Format(type="u16", sentinels=(0xFFFF,)).encode(65535)


@pytest.mark.parametrize("form", [{"type": "u16", "mask": 1}, {"type": "bcd16"}, {"type": "u32", "exponent_at": 1}])
def test_what_shares_its_bytes_cannot_be_written(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="shares its bytes"):
        Format.model_validate(form).encode(1)


@pytest.mark.parametrize("value", [0.5, 2, -1])
def test_a_bit_is_written_as_nought_or_one_only(value: float) -> None:
    with pytest.raises(ValueError):
        Format(type="bit").encode(value)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "u23"},
        {"type": "f32", "mask": 1},
        {"type": "f32", "sentinels": [0]},
        {"type": "u16", "scale": 0},
        {"type": "u16", "scale": math.inf},
        {"type": "u16", "scale": math.nan},
        {"type": "u16", "offset": math.nan},
        {"type": "u16", "mask": 0},
        {"type": "u16", "mask": 0x10000},
        {"type": "i16", "sentinels": [0xFFFF]},
        {"type": "u16", "sentinels": [-1]},
        {"type": "u16", "order": "big"},
    ],
)
def test_an_impossible_format_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Format.model_validate(form)


@modest
@given(kind=st.sampled_from(sorted(SIZE)), data=st.data(), word_order=orders, byte_order=orders)
def test_any_bytes_are_a_finite_number_or_no_value(kind: Any, data: Any, word_order: Any, byte_order: Any) -> None:
    form = Format(type=kind, word_order=word_order, byte_order=byte_order, scale=0.1)
    value = form.decoder()(data.draw(st.binary(min_size=form.size, max_size=form.size)))
    assert value is None or math.isfinite(value)


@modest
@given(exponent=st.integers(-128, 127), raw=st.integers(0, 2**48 - 1))
def test_an_exponent_of_ten_is_exact_to_a_few_units_of_the_last_place(exponent: int, raw: int) -> None:
    value = Format(type="u48", exponent_at=1).decoder()(struct.pack("b", exponent) + raw.to_bytes(6, "big"))
    exact = Decimal(raw).scaleb(exponent)
    assert value is not None
    assert value == pytest.approx(float(exact), rel=1e-14)
