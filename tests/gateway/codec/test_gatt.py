"""GATT: one request names a device and its characteristics, one answer has all their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Limits
from gateway.codec.gatt import Gatt, GattPlace, answer_of, long_uuid, mac, request_of, values_in, wanted_in
from gateway.errors import BusError, GarbledAnswer, NoSuchPlace, Refused

THERMOMETER = 0xA4C138E92AF3
TEMPERATURE = GattPlace(characteristic="2a6e", size=2)
HUMIDITY = GattPlace(characteristic="2a6f", size=2)
LOW, HIGH = GattPlace(characteristic="1f1f", byte=4, size=1, mask=15), GattPlace(characteristic="1f1f", byte=1, size=2)
LIMITS = Limits(max_read=16, patience_s=20.0)


def read(places: list[GattPlace], answer: bytes, limits: Limits = LIMITS) -> dict[GattPlace, bytes]:
    (span,) = Gatt().spans([(place, place.size) for place in places], limits)
    procedure = Gatt().read(THERMOMETER, span, limits)
    ask = next(procedure)
    ask.recognise(answer)
    with pytest.raises(StopIteration) as done:
        procedure.send(answer)
    data = done.value.value
    return {place: data[span.offsets[place] : span.offsets[place] + place.size] for place in places}


def test_a_uuid_of_16_bits_is_one_on_the_base_uuid() -> None:
    """Core Specification, Vol 3, Part B, 2.5.1."""
    assert long_uuid("2a6e") == "00002a6e-0000-1000-8000-00805f9b34fb"
    assert long_uuid("873ae82b-4c5a-4342-b539-9d900bf7ebd0") == "873ae82b-4c5a-4342-b539-9d900bf7ebd0"


def test_a_request_names_the_device_and_all_its_characteristics() -> None:
    request = request_of(THERMOMETER, ["2a6e", "873ae82b-4c5a-4342-b539-9d900bf7ebd0"])
    assert wanted_in(request) == (
        "A4:C1:38:E9:2A:F3",
        ["00002a6e-0000-1000-8000-00805f9b34fb", "873ae82b-4c5a-4342-b539-9d900bf7ebd0"],
    )
    assert mac(0x01) == "00:00:00:00:00:01"


def test_all_characteristics_of_a_device_are_one_connection() -> None:
    places = [TEMPERATURE, HUMIDITY, LOW, HIGH]
    values = [b"\x2e\x09", b"\xe5\x14\x00", b"\x00\x01\x02\x03\x64"]
    assert read(places, answer_of(values)) == {
        TEMPERATURE: b"\x2e\x09", HUMIDITY: b"\xe5\x14", LOW: b"\x64", HIGH: b"\x01\x02",
    }  # fmt: skip


def test_more_than_a_connection_takes_are_several() -> None:
    places = [GattPlace(characteristic=f"2a{n:02x}", size=1) for n in range(20)]
    spans = Gatt().spans([(place, 1) for place in places], LIMITS)
    assert [span.count for span in spans] == [16, 4]
    assert {place for span in spans for place in span.offsets} == set(places)


def test_a_characteristic_that_is_not_there_is_no_such_place() -> None:
    (span,) = Gatt().spans([(TEMPERATURE, 2), (HUMIDITY, 2)], LIMITS)
    procedure = Gatt().read(THERMOMETER, span, LIMITS)
    next(procedure)
    with pytest.raises(NoSuchPlace, match="A4:C1:38:E9:2A:F3: has no characteristic 2a6f"):
        procedure.send(answer_of([b"\x2e\x09", None]))


def test_a_value_that_is_too_short_is_garbled() -> None:
    (span,) = Gatt().spans([(TEMPERATURE, 2)], LIMITS)
    procedure = Gatt().read(THERMOMETER, span, LIMITS)
    next(procedure)
    with pytest.raises(GarbledAnswer, match="expected at least 2 bytes, got 1; is it this model"):
        procedure.send(answer_of([b"\x2e"]))


def test_nothing_is_ever_written() -> None:
    with pytest.raises(Refused, match="never written to"):
        Gatt().write(THERMOMETER, TEMPERATURE, b"\x00\x00", LIMITS)


@pytest.mark.parametrize("uuid", ["2A6E", "2a6", "2a6e0", "00002a6e", "00002A6E-0000-1000-8000-00805f9b34fb", ""])
def test_a_uuid_is_written_in_one_way_only(uuid: str) -> None:
    with pytest.raises(ValidationError):
        GattPlace(characteristic=uuid, size=1)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=512)), max_size=16))
def test_answers_are_what_was_put_into_them(values: list[bytes | None]) -> None:
    assert values_in(answer_of(values), len(values)) == values


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_at_all_are_values_or_our_own_error(data: bytes, count: int) -> None:
    try:
        values = values_in(data, count)
    except BusError:
        return
    assert len(values) == count
