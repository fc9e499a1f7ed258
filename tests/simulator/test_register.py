"""The simulator's encoder and the gateway's decoder know nothing of each other, and agree."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec.value import SIZE, Format
from simulator.register import bytes_of, raw_of, words_of

ORDERS = st.sampled_from(["big", "little"])


def form(type_: str, word: str = "big", byte: str = "big", **more: object) -> Format:
    return Format.model_validate({"type": type_, "word_order": word, "byte_order": byte, **more})


@pytest.mark.parametrize(
    ("type_", "word", "byte", "raw", "said"),
    [
        ("u32", "big", "big", 0x01020304, "01 02 03 04"),
        ("u32", "little", "big", 0x01020304, "03 04 01 02"),  # mbmd transform_test.go: words swapped
        ("u32", "big", "little", 0x01020304, "02 01 04 03"),
        ("u32", "little", "little", 0x01020304, "04 03 02 01"),
        ("u48", "little", "big", 0x010203040506, "05 06 03 04 01 02"),
        ("i16", "big", "big", -2, "FF FE"),
        ("u24", "big", "big", 0x010203, "01 02 03"),
        ("u24", "little", "little", 0x8A1300, "00 13 8A"),
        ("bcd32", "big", "big", 12345678, "12 34 56 78"),
        ("f32", "big", "big", 230.2, "43 66 33 33"),  # nearest to Eastron's 43 66 33 34
        ("f32", "little", "big", 1.2345678, "06 51 3F 9E"),  # Longrun LRF-3000S manual, page 50
    ],
)
def test_bytes_of_documents(type_: str, word: str, byte: str, raw: float, said: str) -> None:
    assert bytes_of(form(type_, word, byte), raw) == bytes.fromhex(said)


@given(st.sampled_from(sorted(set(SIZE) - {"bit"})), ORDERS, ORDERS, st.data())
def test_what_it_writes_the_gateway_reads(type_: str, word: str, byte: str, data: st.DataObject) -> None:
    how, bits = form(type_, word, byte), 8 * SIZE[type_]
    if type_.startswith("f"):
        raw: float = data.draw(st.floats(width=32 if type_ == "f32" else 64, allow_nan=False, allow_infinity=False))
    elif type_.startswith("bcd"):
        raw = data.draw(st.integers(0, 10 ** (bits // 4) - 1))
    elif type_.startswith("i"):
        raw = data.draw(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1))
    else:
        raw = data.draw(st.integers(0, (1 << bits) - 1))
    said = bytes_of(how, raw)
    assert len(said) == how.size
    got = how.decoder()(said)
    assert got is not None
    assert math.isclose(got, raw, rel_tol=0, abs_tol=0) or got == float(raw)
    words = words_of(how, raw)
    assert struct.pack(f">{len(words)}H", *words)[: len(said)] == said


@given(st.sampled_from(["i16", "u16", "i32", "u32", "f32"]), ORDERS, ORDERS, st.integers(0, 32767))
def test_what_the_gateway_writes_it_reads(type_: str, word: str, byte: str, value: int) -> None:
    how = form(type_, word, byte)
    said = how.encode(value)
    assert raw_of(how, struct.unpack(f">{len(said) // 2}H", said)) == value


def test_what_cannot_be_written_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        raw_of(form("bcd16"), [1])
