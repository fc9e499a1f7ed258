"""Ruuvi data format 5: the maker's test vectors, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Broadcast
from gateway.codec.ruuvi import FIELDS, PART, Ruuvi, RuuviPlace
from gateway.errors import GarbledAnswer

TAG = "CB:B8:33:4C:88:4F"
VALID = "05 12FC 5394 C37C 0004 FFFC 040C AC36 42 00CD CBB8334C884F"


def said(data: str, codec: Ruuvi | None = None) -> dict[str, float | None]:
    values = (codec or Ruuvi()).values(Broadcast(TAG, {PART: bytes.fromhex(data)}))
    assert values is not None
    decoded = {}
    for place, raw in values.items():
        assert isinstance(place, RuuviPlace)
        decoded[place.quantity] = place.format().decoder()(raw)
    return decoded


# Test vectors of the maker (docs.ruuvi.com, data format 5), by their names there


def test_valid_data() -> None:
    assert said(VALID) == pytest.approx({
        "temperature": 24.3, "humidity": 53.49, "pressure": 100044, "acceleration_x": 0.004, "acceleration_y": -0.004,
        "acceleration_z": 1.036, "battery": 2.977, "movements": 66,
    })  # fmt: skip


def test_maximum_values() -> None:
    assert said("05 7FFF FFFE FFFE 7FFF 7FFF 7FFF FFDE FE FFFE CBB8334C884F") == pytest.approx({
        "temperature": 163.835, "humidity": 163.835, "pressure": 115534, "acceleration_x": 32.767,
        "acceleration_y": 32.767, "acceleration_z": 32.767, "battery": 3.646, "movements": 254,
    })  # fmt: skip


def test_minimum_values() -> None:
    assert said("05 8001 0000 0000 8001 8001 8001 0000 00 0000 CBB8334C884F") == pytest.approx({
        "temperature": -163.835, "humidity": 0, "pressure": 50000, "acceleration_x": -32.767,
        "acceleration_y": -32.767, "acceleration_z": -32.767, "battery": 1.6, "movements": 0,
    })  # fmt: skip


def test_invalid_values() -> None:
    assert said("05 8000 FFFF FFFF 8000 8000 8000 FFFF FF FFFF FFFFFFFFFFFF") == dict.fromkeys(FIELDS)


# What is new, what is broken


def test_a_measurement_said_once_more_is_no_new_one() -> None:
    codec = Ruuvi()
    assert said(VALID, codec)
    assert said(VALID, codec) == {}
    assert said(VALID.replace("00CD", "00CE"), codec)
    assert said(VALID.replace("00CD", "0001"), codec), "a new battery counts from the beginning"
    assert codec.repeats == 1


def test_without_a_sequence_number_every_measurement_is_new() -> None:
    codec = Ruuvi()
    for _ in range(3):
        assert said(VALID.replace("00CD", "FFFF"), codec)


def test_another_protocol_is_not_ours() -> None:
    assert Ruuvi().values(Broadcast(TAG, {"fcd2": b"\x40"})) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "expected data format 5, got no data"),
        ("03 29 1a 1e", "expected data format 5, got 0x03; update the tag"),
        (VALID[:-2], "expected 24 bytes, got 23"),
        (VALID + "00", "expected 24 bytes, got 25"),
    ],
)
def test_what_is_broken_is_said(data: str, why: str) -> None:
    with pytest.raises(GarbledAnswer, match=why):
        said(data)


@given(st.binary(max_size=40) | st.binary(min_size=23, max_size=23).map(lambda rest: b"\x05" + rest))
def test_any_bytes_give_values_or_our_error(data: bytes) -> None:
    try:
        values = said(data.hex())
    except GarbledAnswer:
        assert len(data) != 24 or data[0] != 5
    else:
        assert set(values) == set(FIELDS)


def test_a_place_is_a_quantity_of_the_format() -> None:
    with pytest.raises(ValidationError):
        RuuviPlace.model_validate({"quantity": "sequence"})
