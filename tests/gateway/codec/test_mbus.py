"""M-Bus: a readout as a procedure on plain bytes; any bytes give telegrams or our own error, in any portions alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Ask, Limits
from gateway.codec.mbus import (
    ABSENT,
    MAX_FRAME,
    MAX_TELEGRAMS,
    Mbus,
    MbusPlace,
    frame_length,
    readout,
    selection,
    short_frame,
)
from gateway.codec.mbus_record import MAX_EXTENSIONS, records
from gateway.errors import BusError, GarbledAnswer, NoAnswer, Refused

LIMITS = Limits(max_read=4, patience_s=0.5)
VOLUME = MbusPlace(quantity="volume")
E5 = b"\xe5"


def telegram(data: str, *, address: int = 5, number: int = 12345678, status: int = 0, ci: int = 0x72) -> bytes:
    header = bytes.fromhex(f"{number:08}")[::-1] + bytes.fromhex("2D2C 01 07 2A") + bytes((status, 0, 0))
    header = header if ci == 0x72 else header[8:] if ci == 0x7A else b""
    body = bytes((0x08, address, ci)) + header + bytes.fromhex(data)
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


NOW = telegram("0C 13 78 56 34 12")


class Played:
    """A procedure run against prepared answers; an error among them is thrown where the answer would be."""

    def __init__(self, address: int, answers: Sequence[bytes | BusError], limits: Limits = LIMITS) -> None:
        self.asked: list[bytes] = []
        self.left = list(answers)
        (span,) = Mbus().spans([(VOLUME, 0)], limits)
        procedure = Mbus().read(address, span, limits)
        self.result = b""
        try:
            ask: Ask = next(procedure)
            while True:
                self.asked.append(ask.request)
                answer = self.left.pop(0)
                if isinstance(answer, BusError):
                    ask = procedure.throw(answer)
                    continue
                try:
                    length = ask.recognise(answer)
                except GarbledAnswer as error:
                    ask = procedure.throw(error)
                    continue
                assert length == len(answer)
                ask = procedure.send(answer)
        except StopIteration as done:
            self.result = done.value


# A readout


def test_a_meter_is_reset_and_asked_with_the_frame_count_bit_set() -> None:
    played = Played(5, [E5, NOW])
    assert played.asked == [bytes.fromhex("10 40 05 45 16"), bytes.fromhex("10 7B 05 80 16")]
    assert VOLUME.value(played.result) == 12345.678


def test_the_bit_turns_for_each_further_telegram_and_all_of_them_are_read() -> None:
    parts = [telegram("01 13 05 1F"), telegram("01 3B 06 1F"), telegram("01 5B 07")]
    played = Played(5, [E5, *parts])
    assert [asked[1] for asked in played.asked] == [0x40, 0x7B, 0x5B, 0x7B]
    assert played.result == b"".join(parts)
    found = [MbusPlace(quantity=name).value(played.result) for name in ("volume", "volume_flow", "flow_temperature")]
    assert found == [0.005, 0.006, 7.0]


def test_a_meter_that_never_ends_is_left_after_the_telegrams_of_its_profile() -> None:
    parts = [telegram(f"01 13 {n:02X} 1F") for n in range(9)]
    played = Played(5, [E5, *parts])
    assert len(played.asked) == 1 + LIMITS.max_read
    assert VOLUME.value(played.result) == 0.0


def test_no_profile_can_ask_for_more_telegrams_than_the_bound() -> None:
    (span,) = Mbus().spans([(VOLUME, 0)], Limits(max_read=125))
    assert span.count == MAX_TELEGRAMS


@pytest.mark.parametrize("wrong", [NoAnswer("silence"), NOW[:-2] + b"\0\x16", NOW[:8] + b"\0" + NOW[9:]])
def test_a_damaged_telegram_is_asked_for_once_more_with_the_same_bit(wrong: bytes | BusError) -> None:
    played = Played(5, [E5, wrong, NOW])
    assert [asked[1] for asked in played.asked] == [0x40, 0x7B, 0x7B]
    assert VOLUME.value(played.result) == 12345.678
    with pytest.raises(BusError):
        Played(5, [E5, wrong, wrong])


def test_the_answer_to_a_repeated_question_that_comes_twice_counts_once() -> None:
    first, second = telegram("01 13 05 1F"), telegram("01 13 06")
    played = Played(5, [E5, first, first, second])
    assert played.result == first + second
    assert MbusPlace(quantity="volume", index=1).value(played.result) == 0.006


def test_a_dead_meter_costs_one_question() -> None:
    with pytest.raises(NoAnswer):
        Played(5, [NoAnswer("silence")])


def test_another_meter_s_answer_is_no_answer() -> None:
    for stranger in (telegram("01 13 05", address=6), bytes.fromhex("10 40 05 45 16")):
        with pytest.raises(GarbledAnswer):
            Played(5, [E5, stranger, stranger])
    with pytest.raises(GarbledAnswer, match="expected E5"):
        Played(5, [NOW])


def test_a_meter_without_data_or_with_an_error_refuses() -> None:
    with pytest.raises(Refused, match="has no data"):
        Played(5, [E5, E5])
    body = bytes((0x08, 5, 0x70, 8))
    report = bytes((0x68, 4, 4, 0x68)) + body + bytes((sum(body), 0x16))
    with pytest.raises(Refused, match=r"reports error 8 \(busy\)") as refused:
        Played(5, [E5, report])
    assert refused.value.code == 8


def test_a_meter_is_selected_by_the_eight_digits_of_its_plate_and_must_bear_them() -> None:
    played = Played(12345678, [E5, telegram("01 13 05", address=0)])
    assert played.asked == [selection(12345678), short_frame(0x7B, 253)]
    assert VOLUME.value(played.result) == 0.005
    with pytest.raises(GarbledAnswer, match="another one answers"):
        Played(12345678, [E5, telegram("01 13 05", number=12345679)])
    with pytest.raises(GarbledAnswer, match="another one answers"):
        Played(12345678, [E5, telegram("01 13 05", ci=0x78)])


def test_telegrams_of_two_meters_are_no_readout() -> None:
    with pytest.raises(GarbledAnswer, match="two meters"):
        Played(5, [E5, telegram("01 13 05 1F"), telegram("01 13 06", number=87654321)])


def test_nothing_that_sets_a_meter_is_ever_sent() -> None:
    """Reset of the link, request for data, selection: of these three kinds is every frame, with any address and answers."""
    asked = [*Played(5, [E5, NOW]).asked, *Played(12345678, [E5, telegram("01 13 05", address=0)]).asked]
    assert all(frame[1] in (0x40, 0x7B, 0x5B) if frame[0] == 0x10 else frame[4:7] == b"\x53\xfd\x52" for frame in asked)
    with pytest.raises(Refused, match="never written to"):
        Mbus().write(5, VOLUME, b"\0", LIMITS)


# What the meter says of itself


def test_a_permanent_error_makes_values_doubtful_and_a_weak_battery_does_not() -> None:
    assert VOLUME.doubt(telegram("01 13 05")) == ""
    assert VOLUME.doubt(telegram("01 13 05", status=0x04)) == ""
    assert VOLUME.doubt(telegram("01 13 05", status=0x10)) == ""
    assert "défaut permanent" in VOLUME.doubt(telegram("01 13 05", status=0x08))
    assert "défaut permanent" in VOLUME.doubt(telegram("01 13 05", status=0x08, ci=0x7A))
    assert "erreur d'application" in VOLUME.doubt(telegram("01 13 05", status=0x02))


def test_a_value_in_error_and_a_missing_one_say_so() -> None:
    in_error = telegram("31 13 05")
    assert VOLUME.value(in_error) is None
    assert "pendant un défaut" in VOLUME.doubt(in_error)
    assert VOLUME.value(telegram("01 3B 05")) is None
    assert VOLUME.doubt(telegram("01 3B 05")) == ABSENT


def test_the_status_is_a_number_too_where_there_is_a_header() -> None:
    status = MbusPlace(quantity="status")
    assert (status.value(telegram("", status=0x14)), status.doubt(telegram("", status=0x08))) == (20.0, "")
    assert (status.value(telegram("", ci=0x78)), status.doubt(telegram("", ci=0x78))) == (None, ABSENT)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quantity": "status", "storage": 1}, "byte of the header"),
        ({"quantity": "manufacturer"}, "modifiers are missing"),
        ({"quantity": "volumes"}, "quantity"),
        ({"quantity": "volume", "function": "error"}, "function"),
        ({"quantity": "volume", "modifiers": [200]}, "modifiers"),
    ],
)
def test_an_impossible_place_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MbusPlace.model_validate(changed)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (telegram("", ci=0x73), "CI 0x73"),
        (telegram("05 13 00"), "expected 4 bytes of data"),
        (telegram("0D 13 09 31"), "expected 9 bytes of text"),
        (telegram("0D 13 FF"), "reserved"),
        (telegram("3F 13"), "reserved"),
        (telegram("84"), "DIFE"),
        (telegram("04 93"), "VIFE"),
        (telegram("84" + "80" * 10 + "00 13 00000000"), "more than 10 DIFE"),
        (telegram("04 93" + "80" * 10 + "00 00000000"), "more than 10 VIFE"),
        (NOW[:-1], "whole telegrams"),
        (E5, "whole telegrams"),
        (b"", "whole telegrams"),
        (NOW * (MAX_TELEGRAMS * MAX_FRAME // len(NOW) + 1), "at most 16 telegrams"),
    ],
)
def test_what_cannot_be_read_says_why(bad: bytes, said: str) -> None:
    with pytest.raises(GarbledAnswer, match=said):
        readout(bad)


def test_an_encrypted_telegram_is_said_to_be_one() -> None:
    plain = bytearray(telegram("01 13 05"))
    plain[18] = 0x05
    plain[-2] = sum(plain[4:-2]) & 0xFF
    with pytest.raises(GarbledAnswer, match="encrypted"):
        readout(bytes(plain))


# Any bytes, in any portions

FRAMES = st.sampled_from(
    [E5, short_frame(0x40, 5), NOW, telegram("01 13 05 1F"), telegram("2F" * 200), telegram("", ci=0x78)]
)


@given(st.lists(FRAMES, min_size=1, max_size=5), st.data())
def test_any_portions_of_a_stream_give_the_same_frames(frames: list[bytes], data: st.DataObject) -> None:
    stream, found, buffer = b"".join(frames), list[bytes](), b""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[start:end]
        while length := frame_length(buffer):
            found.append(buffer[:length])
            buffer = buffer[length:]
    assert (found, buffer) == (frames, b"")


@given(st.binary(max_size=400))
def test_garbage_is_a_frame_or_our_error(data: bytes) -> None:
    try:
        length = frame_length(data)
    except GarbledAnswer:
        return
    assert 0 <= length <= min(len(data), MAX_FRAME)
    try:
        readout(data)
    except GarbledAnswer:
        pass


@given(st.binary(max_size=252))
def test_any_content_of_a_telegram_gives_finite_values_or_our_error(data: bytes) -> None:
    try:
        found, _ = records(data)
    except GarbledAnswer:
        return
    assert len(found) <= len(data) // 2 + 1
    for record in found:
        assert record.value is None or abs(record.value) < float("inf")
        assert len(record.modifiers) <= MAX_EXTENSIONS


@given(st.integers(1, 80), st.integers(0, 255), st.integers(0, 7))
def test_one_wrong_bit_anywhere_is_found(at: int, byte: int, bit: int) -> None:
    whole = telegram("04 13 01 02 03 04 02 3B 05 06")
    broken = bytearray(whole)
    broken[at % len(whole)] ^= 1 << bit
    try:
        assert frame_length(bytes(broken)) == 0, "waits for more, and is given up in the end"
    except GarbledAnswer:
        pass
