"""BTHome v2 against the examples of its specification, and object by object against the package bthome-ble."""

from __future__ import annotations

import struct
import unicodedata

import pytest
from bthome_ble.const import MEAS_TYPES
from bthome_ble.parser import BTHomeBluetoothDeviceData
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from habluetooth import BluetoothServiceInfoBleak
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import Broadcast
from gateway.codec.bthome import OBJECTS, Bthome, BthomePlace, format_of
from gateway.codec.value import SIZE

SENDER = "54:48:E6:8F:80:A5"
UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")

SYMBOLS = {
    "1": None, "Cel": "°C", "ug/m3": "μg/m3", "[lb_av]": "lb", "kW.h": "kWh", "[ppm]": "ppm",
    "deg": "°", "/min": "rpm", "deg/s": "°/s", "uS/cm": "μS/cm",
}  # fmt: skip
"""UCUM codes as bthome-ble writes them, where they differ."""


def ours(data: bytes, key: bytes = b"") -> dict[tuple[int, int], float]:
    said = Bthome(key).values(Broadcast(SENDER, {"fcd2": data})) or {}
    values = {}
    for place, raw in said.items():
        assert isinstance(place, BthomePlace)
        value = place.format().decoder()(raw)
        assert value is not None
        values[place.object, place.index] = value
    return values


def theirs(data: bytes, key: bytes | None = None) -> dict[str, object]:
    heard = BluetoothServiceInfoBleak(
        name="", address=SENDER, rssi=-60, manufacturer_data={}, service_data={UUID: data}, service_uuids=[], source="",
        device=None, advertisement=None, connectable=False, time=0.0, tx_power=None,
    )  # fmt: skip
    update = BTHomeBluetoothDeviceData(bindkey=key).update(heard)
    values = {**update.entity_values, **update.binary_entity_values}
    return {key.key: value.native_value for key, value in values.items() if key.key != "signal_strength"}


# Examples printed in the specification (bthome.io/format, bthome.io/encryption)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("40 02 ca 09 03 bf 13", {(0x02, 0): 25.06, (0x03, 0): 50.55}),
        ("40 00 09", {(0x00, 0): 9}),
        ("40 01 61", {(0x01, 0): 97}),
        ("40 04 13 8a 01", {(0x04, 0): 1008.83}),
        ("40 05 13 8a 14", {(0x05, 0): 13460.67}),
        ("40 08 ca 06", {(0x08, 0): 17.38}),
        ("40 0a 13 8a 14", {(0x0A, 0): 1346.067}),
        ("40 0b 02 1b 00", {(0x0B, 0): 69.14}),
        ("40 0c 02 0c", {(0x0C, 0): 3.074}),
        ("40 3f 02 0c", {(0x3F, 0): 307.4}),
        ("40 40 0c 00", {(0x40, 0): 12}),
        ("40 41 4e 00", {(0x41, 0): 7.8}),
        ("40 42 4e 34 00", {(0x42, 0): 13.39}),
        ("40 45 11 01", {(0x45, 0): 27.3}),
        ("40 47 87 56", {(0x47, 0): 2215.1}),
        ("40 49 dc 87", {(0x49, 0): 34.780}),
        ("40 4e 87 56 2a 01", {(0x4E, 0): 19551.879}),
        ("40 57 ea", {(0x57, 0): -22}),
        ("40 02 c4 09 02 91 0a", {(0x02, 0): 25.0, (0x02, 1): 27.05}),
    ],
)
def test_examples_of_the_specification(data: str, expected: dict[tuple[int, int], float]) -> None:
    assert ours(bytes.fromhex(data)) == pytest.approx(expected)


def test_encrypted_example_of_the_specification() -> None:
    data = bytes.fromhex("41 a4 72 66 c9 5f 73 00 11 22 33 78 23 72 14")
    assert ours(data, KEY) == pytest.approx({(0x02, 0): 25.06, (0x03, 0): 50.55})


# Object by object


def test_no_number_of_bthome_ble_is_missing_here() -> None:
    """Theirs and not ours: what is no number (command, dimmer, text, raw, firmware versions)."""
    assert set(MEAS_TYPES) - set(OBJECTS) == {0x3B, 0x3C, 0x53, 0x54, 0xF1, 0xF2}
    assert set(OBJECTS) <= set(MEAS_TYPES)


@pytest.mark.parametrize("object_id", OBJECTS, ids=hex)
def test_length_sign_and_scale_are_those_of_bthome_ble(object_id: int) -> None:
    kind, oracle = OBJECTS[object_id], MEAS_TYPES[object_id]
    assert SIZE[kind.type] == oracle.data_length
    assert kind.type.startswith("i") == (oracle.data_format == "signed_integer")
    assert kind.scale == pytest.approx(oracle.factor)


@pytest.mark.parametrize(
    "object_id", [o for o in OBJECTS if hasattr(MEAS_TYPES[o].meas_format, "native_unit_of_measurement")], ids=hex
)
def test_units_are_those_of_bthome_ble(object_id: int) -> None:
    unit, oracle = OBJECTS[object_id].unit, MEAS_TYPES[object_id].meas_format.native_unit_of_measurement
    if object_id == 0x50:
        assert (unit, oracle) == ("s", None)  # seconds since 1970 here, a date there
    else:
        symbol = SYMBOLS.get(unit, unit)
        assert symbol == (None if oracle is None else unicodedata.normalize("NFKC", getattr(oracle, "value", oracle)))


SINGLE = sorted(o for o in OBJECTS if o not in (0x00, 0x3A, 0x50, 0xF0))


@given(st.sampled_from(SINGLE), st.binary(min_size=4, max_size=4))
@settings(deadline=None, max_examples=300)
def test_one_object_means_the_same_to_both(object_id: int, raw: bytes) -> None:
    kind = OBJECTS[object_id]
    data = bytes((0x40, object_id)) + raw[: SIZE[kind.type]]
    (value,) = ours(data).values()
    (oracle,) = theirs(data).values()
    if isinstance(oracle, bool):
        assert bool(value) == oracle
    else:
        assert value == pytest.approx(oracle, abs=kind.scale / 2)


DISTINCT = (0x01, 0x02, 0x03, 0x04, 0x0A, 0x0C, 0x12, 0x1A, 0x26, 0x40, 0x43, 0x49, 0x4F, 0x55, 0x5C)
"""Of each quantity one object: bthome-ble gives a distance in mm and one in m the same name, and keeps the last."""


@given(st.lists(st.tuples(st.sampled_from(DISTINCT), st.binary(min_size=4, max_size=4)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_several_objects_mean_the_same_to_both(objects: list[tuple[int, bytes]]) -> None:
    objects.sort(key=lambda item: item[0])
    data = b"\x40" + b"".join(bytes((o,)) + raw[: SIZE[OBJECTS[o].type]] for o, raw in objects)
    mine = sorted(float(bool(value)) if _binary(o) else round(value, 6) for (o, _), value in ours(data).items())
    oracle = sorted(round(float(value), 6) for value in theirs(data).values())
    assert mine == pytest.approx(oracle, abs=1e-2)


def _binary(object_id: int) -> bool:
    return not hasattr(MEAS_TYPES[object_id].meas_format, "native_unit_of_measurement")


@given(st.integers(0, 99), st.integers(-4000, 8500))
@settings(deadline=None, max_examples=30)
def test_encrypted_means_the_same_to_both(counter: int, hundredths: int) -> None:
    body = b"\x02" + struct.pack("<h", hundredths)
    count = counter.to_bytes(4, "little")
    nonce = bytes.fromhex(SENDER.replace(":", "")) + b"\xd2\xfc\x41" + count
    sealed = AESCCM(KEY, tag_length=4).encrypt(nonce, body, None)
    data = b"\x41" + sealed[:-4] + count + sealed[-4:]
    assert ours(data, KEY) == pytest.approx({(0x02, 0): hundredths / 100})
    assert theirs(data, KEY) == {"temperature": pytest.approx(hundredths / 100)}


def test_formats_are_little_endian() -> None:
    assert {(format_of(o).byte_order, format_of(o).word_order) for o in OBJECTS} == {("little", "little")}
