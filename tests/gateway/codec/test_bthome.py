"""The BTHome codec: what is kept, what is refused, what is remembered."""

from __future__ import annotations

import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Broadcast
from gateway.codec.bthome import OBJECTS, Bthome, BthomePlace, format_of
from gateway.errors import GarbledAnswer

BIN = "A4:C1:38:00:00:01"
KEY = bytes(range(16))


def hear(data: str, codec: Bthome | None = None, sender: str = BIN) -> dict[tuple[int, int], str]:
    said = (codec or Bthome()).values(Broadcast(sender, {"fcd2": bytes.fromhex(data)}, -60))
    assert said is not None
    return {(place.object, place.index): raw.hex() for place, raw in said.items()}


def sealed(counter: int, body: str = "40 52 03", sender: str = BIN, key: bytes = KEY) -> str:
    count = counter.to_bytes(4, "little")
    nonce = bytes.fromhex(sender.replace(":", "")) + b"\xd2\xfc\x41" + count
    cipher = AESCCM(key, tag_length=4).encrypt(nonce, bytes.fromhex(body), None)
    return (b"\x41" + cipher[:-4] + count + cipher[-4:]).hex()


def test_each_object_at_its_place() -> None:
    assert hear("40 00 07 01 57 40 52 03") == {(0x00, 0): "07", (0x01, 0): "57", (0x40, 0): "5203"}


def test_objects_of_one_id_are_told_apart_by_their_order() -> None:
    assert hear("40 40 01 00 40 02 00 40 03 00") == {(0x40, 0): "0100", (0x40, 1): "0200", (0x40, 2): "0300"}


def test_the_address_in_the_payload_is_passed_over() -> None:
    assert hear("42 01 00 00 38 c1 a4 40 52 03") == {(0x40, 0): "5203"}


def test_trigger_devices_are_read_as_any() -> None:
    assert hear("44 3a 01") == {(0x3A, 0): "01"}


def test_text_raw_bytes_commands_and_events_are_passed_over_by_their_length() -> None:
    body = "3b 02 01 aa bb" + "3c 01 05" + "53 03 61 62 63" + "54 02 01 02" + "f1 01 02 03 04" + "f2 01 02 03"
    assert hear("40 01 57" + body + "01 58") == {(0x01, 0): "57", (0x01, 1): "58"}


def test_an_unknown_object_ends_the_parsing_and_is_counted() -> None:
    codec = Bthome()
    assert hear("40 01 57 e7 40 52 03", codec) == {(0x01, 0): "57"}
    assert codec.unknown_objects == 1


def test_another_protocol_is_not_ours() -> None:
    assert Bthome().values(Broadcast(BIN, {"mfr:0499": b"\x05"})) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "1 to 255 bytes"),
        ("20 02", "expected version 2, got 1"),
        ("42 01 02", "an address of 6 bytes"),
        ("40 40 52", "expected 2 bytes, got 1"),
        ("40 53", "cut short before its length"),
        ("40 54 05 01", "expected 5 bytes, got 1"),
        ("41 40 52 03 00", "no key for it"),
    ],
)
def test_what_is_broken_is_said(data: str, why: str) -> None:
    with pytest.raises(GarbledAnswer, match=why):
        hear(data)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_values_or_our_error(data: bytes) -> None:
    for codec in (Bthome(), Bthome(KEY)):
        try:
            values = codec.values(Broadcast(BIN, {"fcd2": data}))
        except GarbledAnswer:
            continue
        for place, raw in (values or {}).items():
            assert isinstance(place, BthomePlace)
            place.format().decoder()(raw)


@given(st.lists(st.sampled_from(sorted(OBJECTS)), max_size=8), st.integers(1, 40))
@settings(deadline=None, max_examples=100)
def test_truncation_anywhere_is_our_error_or_fewer_objects(objects: list[int], cut: int) -> None:
    data = b"\x40" + b"".join(bytes((o,)) + bytes(format_of(o).size) for o in objects)
    whole = Bthome().values(Broadcast(BIN, {"fcd2": data}))
    assert whole is not None
    assert len(whole) == len(objects)
    try:
        part = Bthome().values(Broadcast(BIN, {"fcd2": data[:-cut]}))
    except GarbledAnswer:
        return
    assert part is not None
    assert part.items() <= whole.items()
    assert len(part) < len(whole) or not objects


# Places


@pytest.mark.parametrize(
    "keys",
    [{"object": 0x53}, {"object": 0x30}, {"object": -1}, {"object": 0x40, "index": -1}, {}, {"object": 0x40, "at": 1}],
)
def test_a_place_is_a_number_of_the_format(keys: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        BthomePlace.model_validate(keys)


def test_a_place_knows_how_its_number_is_written() -> None:
    assert BthomePlace(object=0x02).format().decoder()(bytes.fromhex("ca 09")) == pytest.approx(25.06)
    assert BthomePlace(object=0x4F).format().decoder()(bytes.fromhex("87 56 2a 01")) == pytest.approx(19551.879)
    assert BthomePlace(object=0x57).format().decoder()(b"\xea") == -22


# Encryption


def test_an_encrypted_device_is_read_with_its_key() -> None:
    assert hear(sealed(1), Bthome(KEY)) == {(0x40, 0): "5203"}


def test_without_the_package_that_decrypts_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(GarbledAnswer, match="install the package `cryptography`"):
        hear(sealed(1), Bthome(KEY))


def test_a_wrong_key_is_said() -> None:
    with pytest.raises(GarbledAnswer, match="not this device's"):
        hear(sealed(1), Bthome(bytes(16)))


def test_damage_is_told_from_a_wrong_key_once_the_key_has_fitted() -> None:
    codec = Bthome(KEY)
    damaged = bytearray.fromhex(sealed(2))
    damaged[3] ^= 1
    with pytest.raises(GarbledAnswer, match="not this device's"):
        hear(damaged.hex(), codec)
    hear(sealed(1), codec)
    with pytest.raises(GarbledAnswer, match="did fit before"):
        hear(damaged.hex(), codec)
    assert hear(sealed(2), codec)


@given(st.binary(min_size=9, max_size=40))
@settings(deadline=None, max_examples=100)
def test_no_key_is_in_any_message(data: bytes) -> None:
    with pytest.raises(GarbledAnswer) as caught:
        Bthome(KEY).values(Broadcast(BIN, {"fcd2": b"\x41" + data}))
    assert KEY.hex() not in str(caught.value).replace(" ", "")


def test_a_device_with_a_key_is_not_believed_in_plain_text() -> None:
    with pytest.raises(GarbledAnswer, match="expected encryption"):
        hear("40 40 52 03", Bthome(KEY))


def test_a_replayed_advertisement_is_not_used() -> None:
    codec = Bthome(KEY)
    hear(sealed(1000), codec)
    hear(sealed(1000), codec)  # the same once more, as devices send it
    with pytest.raises(GarbledAnswer, match="replayed"):
        hear(sealed(999), codec)
    assert hear(sealed(0), codec)  # a new battery
    assert hear(sealed(150), codec)


def test_what_it_remembers_is_the_counter_of_the_last_message_that_decrypted() -> None:
    before, plain = Bthome(KEY), Bthome()
    hear(sealed(1000), before)
    hear("40 40 52 03", plain)
    assert (before.memory, plain.memory) == (1000, None)
    after = Bthome(KEY)
    after.memory = before.memory
    with pytest.raises(GarbledAnswer, match="counter 999 after 1000: a replayed"):
        hear(sealed(999), after)


def test_a_forged_counter_does_not_silence_a_device() -> None:
    codec = Bthome(KEY)
    forged = bytearray.fromhex(sealed(1000))
    forged[-8:-4] = b"\xff\xff\xff\xff"
    with pytest.raises(GarbledAnswer):
        hear(forged.hex(), codec)
    assert hear(sealed(1001), codec)


def test_a_key_has_16_bytes_and_is_in_no_message() -> None:
    with pytest.raises(ValueError, match="expected 16 bytes, got 8") as caught:
        Bthome(b"secret!!")
    assert "secret" not in str(caught.value)
