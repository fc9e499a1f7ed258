"""The client's Modbus against pymodbus, byte by byte, and against what lines really bring."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.framer.base import FramerBase
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as registers
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from gateway.codec import Limits, Procedure, Span
from gateway.codec.modbus import ModbusPlace, Rtu, Tcp, crc16
from gateway.errors import GarbledAnswer, NoAnswer, NoSuchPlace, Refused

T = TypeVar("T")
LIMITS = Limits()
FUNCTION = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
TO_SERVER, TO_CLIENT = DecodePDU(is_server=True), DecodePDU(is_server=False)
REQUESTS: dict[int, type[ModbusPDU]] = {
    1: bits.ReadCoilsRequest,
    2: bits.ReadDiscreteInputsRequest,
    3: registers.ReadHoldingRegistersRequest,
    4: registers.ReadInputRegistersRequest,
}
ANSWERS: dict[int, type[ModbusPDU]] = {
    1: bits.ReadCoilsResponse,
    2: bits.ReadDiscreteInputsResponse,
    3: registers.ReadHoldingRegistersResponse,
    4: registers.ReadInputRegistersResponse,
}
modest = settings(deadline=None, max_examples=60)


def play(procedure: Procedure[T], device: Callable[[bytes], bytes | Exception]) -> T:
    """Runs a procedure against a device that is a function; a link would cut the answer as it is recognised."""
    try:
        ask = next(procedure)
        while True:
            came = device(ask.request)
            try:
                if isinstance(came, Exception):
                    raise came
                length = ask.recognise(came)
                if not length:
                    raise NoAnswer("only a part came")
            except (NoAnswer, GarbledAnswer) as error:
                ask = procedure.throw(error)
            else:
                ask = procedure.send(came[:length])
    except StopIteration as end:
        value: T = end.value
        return value


def framer(codec: Rtu | Tcp, decoder: DecodePDU) -> FramerBase:
    return FramerRTU(decoder) if isinstance(codec, Rtu) else FramerSocket(decoder)


def heard(codec: Rtu | Tcp, request: bytes) -> ModbusPDU:
    """A request as pymodbus's server understands it."""
    used, pdu = framer(codec, TO_SERVER).handleFrame(request, 0, 0)
    assert used == len(request)
    assert pdu is not None
    return pdu


def device(codec: Rtu | Tcp, answer: Callable[[ModbusPDU], ModbusPDU]) -> Callable[[bytes], bytes]:
    """A device whose framing and PDUs are pymodbus's."""

    def respond(request: bytes) -> bytes:
        asked = heard(codec, request)
        pdu = answer(asked)
        pdu.dev_id, pdu.transaction_id = asked.dev_id, asked.transaction_id
        return framer(codec, TO_CLIENT).buildFrame(pdu)

    return respond


def place(register: str, address: int) -> ModbusPlace:
    return ModbusPlace.model_validate({"register": register, "address": address})


def span(function: int, first: int, count: int) -> Span:
    return Span(function, first, count, {})


def frame(text: str) -> bytes:
    """Hex of an RTU frame, its checksum added."""
    body = bytes.fromhex(text)
    return body + crc16(body).to_bytes(2, "little")


both = pytest.mark.parametrize("codec", [Rtu, Tcp])


# Requests and answers equal pymodbus's


@both
@modest
@given(unit=st.integers(1, 247), function=st.integers(1, 4), first=st.integers(0, 65000), data=st.data())
def test_a_read_request_is_the_one_pymodbus_sends(codec: Any, unit: int, function: int, first: int, data: Any) -> None:
    count = data.draw(st.integers(1, 2000 if function < 3 else 125))
    side = codec()
    ask = next(side.read(unit, span(function, first, count), LIMITS))
    pdu = REQUESTS[function](address=first, count=count, dev_id=unit, transaction_id=1)
    assert ask.request == framer(side, TO_SERVER).buildFrame(pdu)
    answer = ANSWERS[function](registers=[0] * count, bits=[False] * count, dev_id=unit, transaction_id=1)
    assert ask.answer_length == len(framer(side, TO_CLIENT).buildFrame(answer))


@both
@modest
@given(
    unit=st.integers(1, 247),
    function=st.integers(3, 4),
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=125),
)
def test_registers_come_back_as_the_bytes_on_the_wire(codec: Any, unit: int, function: int, values: list[int]) -> None:
    side = codec()
    answer = device(side, lambda _: ANSWERS[function](registers=values))
    got = play(side.read(unit, span(function, 0, len(values)), LIMITS), answer)
    assert got == struct.pack(f">{len(values)}H", *values)


@both
@modest
@given(function=st.integers(1, 2), values=st.lists(st.booleans(), min_size=1, max_size=2000))
def test_coils_come_back_one_byte_each(codec: Any, function: int, values: list[bool]) -> None:
    side = codec()
    got = play(
        side.read(9, span(function, 7, len(values)), LIMITS), device(side, lambda _: ANSWERS[function](bits=values))
    )
    assert list(got) == [int(v) for v in values]


def test_the_first_coil_is_the_lowest_bit_of_the_first_byte() -> None:
    assert list(play(Rtu().read(1, span(1, 0, 10), LIMITS), lambda _: frame("01 01 02 05 02"))) == [
        1,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
    ]


@both
@modest
@given(
    unit=st.integers(1, 247),
    address=st.integers(0, 65000),
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=123),
)
def test_a_register_write_is_the_one_pymodbus_sends(codec: Any, unit: int, address: int, values: list[int]) -> None:
    side = codec()
    ask = next(side.write(unit, place("holding", address), struct.pack(f">{len(values)}H", *values), LIMITS))
    kind = registers.WriteSingleRegisterRequest if len(values) == 1 else registers.WriteMultipleRegistersRequest
    pdu = kind(address=address, registers=values, dev_id=unit, transaction_id=1)
    pdu.count = len(values)
    assert ask.request == framer(side, TO_SERVER).buildFrame(pdu)


@both
@pytest.mark.parametrize("on", [0, 1])
def test_a_coil_write_is_the_one_pymodbus_sends(codec: Any, on: int) -> None:
    side = codec()
    ask = next(side.write(5, place("coil", 172), bytes((on,)), LIMITS))
    pdu = bits.WriteSingleCoilRequest(address=172, bits=[bool(on)], dev_id=5, transaction_id=1)
    assert ask.request == framer(side, TO_SERVER).buildFrame(pdu)


@both
def test_a_write_is_done_when_the_device_confirms_what_it_was_sent(codec: Any) -> None:
    side = codec()
    done: list[ModbusPDU] = []

    def answer(asked: ModbusPDU) -> ModbusPDU:
        done.append(asked)
        if isinstance(asked, registers.WriteMultipleRegistersRequest):
            return registers.WriteMultipleRegistersResponse(address=asked.address, count=asked.count)
        return asked

    play(side.write(1, place("holding", 10), b"\x12\x34", LIMITS), device(side, answer))
    play(side.write(1, place("holding", 10), b"\x12\x34\x56\x78", LIMITS), device(side, answer))
    play(side.write(1, place("coil", 3), b"\x01", LIMITS), device(side, answer))
    assert [pdu.function_code for pdu in done] == [6, 16, 5]


@both
def test_a_confirmation_of_another_value_is_none(codec: Any) -> None:
    side = codec()
    other = registers.WriteSingleRegisterResponse(address=10, registers=[0x1235])
    with pytest.raises(GarbledAnswer):
        play(side.write(1, place("holding", 10), b"\x12\x34", LIMITS), device(side, lambda _: other))


def test_a_device_without_function_6_is_written_with_16() -> None:
    side, seen = Rtu(), list[int]()

    def answer(asked: ModbusPDU) -> ModbusPDU:
        seen.append(asked.function_code)
        if asked.function_code == 6:
            return ExceptionResponse(6, 1)
        return registers.WriteMultipleRegistersResponse(address=asked.address, count=asked.count)

    play(side.write(1, place("holding", 10), b"\x00\x01", LIMITS), device(side, answer))
    assert seen == [6, 16]


def test_a_refused_value_is_not_tried_again_in_another_way() -> None:
    side, seen = Rtu(), list[int]()

    def answer(asked: ModbusPDU) -> ModbusPDU:
        seen.append(asked.function_code)
        return ExceptionResponse(asked.function_code, 3)

    with pytest.raises(Refused) as no:
        play(side.write(1, place("holding", 10), b"\x00\x01", LIMITS), device(side, answer))
    assert (no.value.code, seen) == (3, [6])


@pytest.mark.parametrize(
    ("register", "raw"), [("input", b"\0\0"), ("discrete", b"\1"), ("holding", b"\0"), ("coil", b"")]
)
def test_what_cannot_be_written_is_the_callers_mistake(register: str, raw: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        next(Rtu().write(1, place(register, 0), raw, LIMITS))


# What is no answer is not taken for one


@both
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 200])
def test_a_refusal_carries_its_code(codec: Any, code: int) -> None:
    side = codec()
    with pytest.raises(Refused) as no:
        play(side.read(3, span(3, 0, 4), LIMITS), device(side, lambda _: ExceptionResponse(3, code)))
    assert no.value.code == code
    assert isinstance(no.value, NoSuchPlace) == (code == 2)


@both
@pytest.mark.parametrize("code", [10, 11])
def test_a_gateway_that_tells_of_silence_is_silence(codec: Any, code: int) -> None:
    side = codec()
    with pytest.raises(NoAnswer, match=f"exception {code} .*behind the gateway"):
        play(side.read(3, span(3, 0, 4), LIMITS), device(side, lambda _: ExceptionResponse(3, code)))


@both
def test_an_object_is_asked_for_by_itself_and_a_register_too_where_the_device_wants_it(codec: Any) -> None:
    places = [(place("holding", 0), 4), (place("holding", 2), 2), (place("holding", 3), 4)]
    for mode, requests in (
        ("block", [(0, 5)]),
        ("object", [(0, 2), (2, 1), (3, 2)]),
        ("single", [(0, 2), (2, 1), (3, 2)]),
    ):
        found = codec().spans(places, Limits(mode=mode))
        assert [(one.first, one.count) for one in found] == requests


def _cell_by_cell(reads: list[int]) -> tuple[bytes, list[int]]:
    """What an object of two registers gives in the mode `single`, when each read of one register gives these values."""
    side, asked = Rtu(), list[int]()

    def answer(request: Any) -> registers.ReadHoldingRegistersResponse:
        assert request.count == 1
        asked.append(request.address)
        return registers.ReadHoldingRegistersResponse(registers=[reads[len(asked) - 1]])

    return play(side.read(3, span(3, 8, 2), Limits(mode="single")), device(side, answer)), asked


def test_a_number_read_in_parts_counts_when_it_stood_still() -> None:
    data, asked = _cell_by_cell([1, 2, 1, 2])
    assert (data, asked) == (bytes((0, 1, 0, 2)), [8, 9, 8, 9])


def test_a_number_that_changed_between_its_parts_is_read_again() -> None:
    data, _ = _cell_by_cell([1, 0xFFFF, 2, 0, 2, 0])
    assert data == bytes((0, 2, 0, 0)), "never 1, 0 nor 2, 0xFFFF"


def test_a_number_that_never_stands_still_is_no_number() -> None:
    with pytest.raises(GarbledAnswer, match="changed each time"):
        _cell_by_cell([1, 1, 2, 2, 3, 3, 4, 4])


def test_a_refusal_is_named_as_the_standard_names_it() -> None:
    with pytest.raises(Refused, match=r"exception 2 \(illegal data address\)"):
        play(Rtu().read(3, span(3, 0, 4), LIMITS), lambda _: frame("03 83 02"))


@pytest.mark.parametrize(
    "came",
    [
        pytest.param("04 03 04 0001 0002", id="another unit"),
        pytest.param("03 04 04 0001 0002", id="another function"),
        pytest.param("03 03 02 0001", id="fewer registers"),
        pytest.param("03 03 06 0001 0002 0003", id="more registers"),
        pytest.param("03 84 02", id="refusal of another function"),
        pytest.param("13 03 04 0001 0002", id="unit with one bit turned"),
    ],
)
def test_another_frame_with_a_right_checksum_is_garbled(came: str) -> None:
    with pytest.raises(GarbledAnswer):
        play(Rtu().read(3, span(3, 0, 2), LIMITS), lambda _: frame(came))


@pytest.mark.parametrize(
    "came",
    [
        pytest.param("0001 0000 0007 04 03 04 0001 0002", id="another unit"),
        pytest.param("0001 0000 0007 03 04 04 0001 0002", id="another function"),
        pytest.param("0001 0000 0005 03 03 02 0001", id="fewer registers"),
        pytest.param("0001 0000 0008 03 03 04 0001 0002 00", id="a byte too many"),
        pytest.param("0001 0001 0007 03 03 04 0001 0002", id="another protocol"),
        pytest.param("0001 0000 0001 03 03 04 0001 0002", id="impossible length"),
        pytest.param("4854 5450 2f31 2e31 2034 3030", id="a web server"),
    ],
)
def test_another_frame_over_tcp_is_garbled(came: str) -> None:
    with pytest.raises(GarbledAnswer):
        play(Tcp().read(3, span(3, 0, 2), LIMITS), lambda _: bytes.fromhex(came))


@modest
@given(
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=20), where=st.integers(0, 1000), bit=st.integers(0, 7)
)
def test_no_single_wrong_bit_is_accepted(values: list[int], where: int, bit: int) -> None:
    good = frame(f"05 03 {2 * len(values):02x}" + "".join(f"{v:04x}" for v in values))
    bad = bytearray(good)
    bad[where % len(bad)] ^= 1 << bit
    with pytest.raises((GarbledAnswer, NoAnswer)):
        play(Rtu().read(5, span(3, 0, len(values)), LIMITS), lambda _: bytes(bad))


@both
@modest
@given(values=st.lists(st.integers(0, 65535), min_size=1, max_size=30))
def test_a_part_of_an_answer_asks_for_more_at_every_cut(codec: Any, values: list[int]) -> None:
    side = codec()
    ask = next(side.read(1, span(3, 0, len(values)), LIMITS))
    whole = device(side, lambda _: ANSWERS[3](registers=values))(ask.request)
    assert [ask.recognise(whole[:n]) for n in range(len(whole))] == [0] * len(whole)
    assert ask.recognise(whole) == len(whole) == ask.recognise(whole + b"\x55\xaa")


@both
@settings(deadline=None, max_examples=300)
@given(noise=st.binary(max_size=300), count=st.integers(1, 125), cut=st.integers(0, 300))
def test_garbage_gives_only_our_errors_however_it_is_cut(codec: Any, noise: bytes, count: int, cut: int) -> None:
    ask = next(codec().read(1, span(3, 0, count), LIMITS))
    for came in (noise[:cut], noise):
        try:
            length = ask.recognise(came)
        except GarbledAnswer:
            continue
        assert 0 <= length <= len(came)


@pytest.mark.parametrize("glitch", ["00", "ff", "00 ff 00 00"])
def test_traces_of_a_driver_switching_on_are_passed_over(glitch: str) -> None:
    came = bytes.fromhex(glitch) + frame("01 03 02 002A")
    assert play(Rtu().read(1, span(3, 0, 1), LIMITS), lambda _: came) == b"\x00\x2a"


def test_more_of_them_than_a_driver_leaves_are_garbage() -> None:
    with pytest.raises(GarbledAnswer):
        play(Rtu().read(1, span(3, 0, 1), LIMITS), lambda _: bytes(5) + frame("01 03 02 002A"))


# Answers that come too late


def test_over_tcp_the_answer_to_an_earlier_request_is_stepped_over() -> None:
    side = Tcp()
    late = bytes.fromhex("0001 0000 0005 03 03 02 1111")
    with pytest.raises(NoAnswer):
        play(side.read(3, span(3, 0, 1), LIMITS), lambda _: NoAnswer("silence"))
    answer = late + bytes.fromhex("0002 0000 0005 03 03 02 2222")
    assert play(side.read(3, span(3, 0, 1), LIMITS), lambda _: answer) == b"\x22\x22"


def test_transactions_are_counted_round() -> None:
    side, numbers = Tcp(), set()
    for _ in range(0x10000 + 2):
        numbers.add(next(side.read(1, span(3, 0, 1), LIMITS)).request[:2])
    assert len(numbers) == 0x10000


class SlowUnit:
    """Answers in order, each answer so many requests after its own."""

    def __init__(self, behind: int) -> None:
        self.answers: list[bytes] = []
        self.behind = behind

    def __call__(self, request: bytes) -> bytes | Exception:
        _, function, first, count = struct.unpack(">BBHH", request[:6])
        data = b"".join(struct.pack(">H", 1000 + at) for at in range(first, first + count))
        self.answers.append(frame((bytes((7, function, 2 * count)) + data).hex()))
        return self.answers[-1 - self.behind] if len(self.answers) > self.behind else NoAnswer("silence")


@pytest.mark.parametrize("behind", [1, 2])
def test_a_late_answer_to_a_is_never_the_answer_to_b_or_c(behind: int) -> None:
    """The case in which clients that match by unit alone go on shifted by one answer for ever."""
    side, unit = Rtu(), SlowUnit(behind)
    wrong = right = 0
    for turn in range(40):
        first, count = [(0, 4), (4, 4), (8, 2), (20, 4)][turn % 4]
        if turn == 20:
            unit.behind = 0
            unit.answers.clear()
        try:
            got = play(side.read(7, span(3, first, count), LIMITS), unit)
        except (NoAnswer, GarbledAnswer):
            continue
        if got == b"".join(struct.pack(">H", 1000 + at) for at in range(first, first + count)):
            right += 1
        else:
            wrong += 1
    assert wrong == 0
    assert right >= 15


def test_a_doubt_is_settled_by_asking_for_another_shape_and_only_once() -> None:
    side, asked = Rtu(), list[tuple[int, int]]()

    def unit(request: bytes) -> bytes | Exception:
        _, _, first, count = struct.unpack(">BBHH", request[:6])
        asked.append((first, count))
        if len(asked) == 1:
            return NoAnswer("silence")
        return frame(f"07 03 {2 * count:02x} " + "0000" * count)

    with pytest.raises(NoAnswer):
        play(side.read(7, span(3, 16, 4), LIMITS), unit)
    play(side.read(7, span(3, 16, 4), LIMITS), unit)
    play(side.read(7, span(3, 16, 4), LIMITS), unit)
    assert asked == [(16, 4), (16, 3), (16, 4), (16, 4)]


def test_a_unit_that_answers_no_other_shape_is_believed_again_in_the_end() -> None:
    side, silent_first = Rtu(), [True]

    def unit(request: bytes) -> bytes | Exception:
        count = request[5]
        if count != 4 or silent_first:
            silent_first.clear()
            return NoAnswer("silence")
        return frame("07 03 08 " + "0000" * 4)

    failures = 0
    for _ in range(8):
        try:
            play(side.read(7, span(3, 0, 4), LIMITS), unit)
        except NoAnswer:
            failures += 1
    assert failures == 5, "the first, and one for each other shape"


def test_what_one_unit_owes_is_nothing_to_another() -> None:
    side = Rtu()
    with pytest.raises(NoAnswer):
        play(side.read(7, span(3, 0, 4), LIMITS), lambda _: NoAnswer("silence"))
    ask = next(side.read(8, span(3, 0, 4), LIMITS))
    assert ask.request[:6] == bytes.fromhex("08 03 0000 0004")


def test_a_read_given_up_midway_leaves_a_doubt() -> None:
    side = Rtu()
    procedure = side.read(7, span(3, 0, 4), LIMITS)
    next(procedure)
    procedure.close()
    assert next(side.read(7, span(3, 0, 4), LIMITS)).request[:6] == bytes.fromhex("07 03 0000 0003")


# Spans


@st.composite
def wanted(draw: Any) -> list[tuple[ModbusPlace, int]]:
    register = st.sampled_from(["coil", "discrete", "holding", "input"])
    found = draw(st.lists(st.tuples(register, st.integers(0, 400), st.sampled_from([1, 2, 4, 8])), max_size=40))
    return [(place(r, a), 1 if r in ("coil", "discrete") else size) for r, a, size in found]


@settings(deadline=None, max_examples=150)
@given(places=wanted(), max_read=st.integers(4, 125), max_hole=st.integers(0, 20))
def test_every_place_is_in_a_span_where_it_says(
    places: list[tuple[ModbusPlace, int]], max_read: int, max_hole: int
) -> None:
    spans = Rtu().spans(places, Limits(max_read=max_read, max_hole=max_hole))
    for item, size in places:
        (home,) = [s for s in spans if item in s.offsets]
        assert home.area == FUNCTION[item.area]
        width = 2 if home.area > 2 else 1
        assert home.offsets[item] == width * (item.address - home.first)
        assert home.offsets[item] + size <= width * home.count
    for one in spans:
        assert one.count <= (max_read if one.area > 2 else 16 * max_read)
    for one, after in pairwise(spans):
        if one.area == after.area:  # nothing was left out of a request that had room for it
            width, scale = (2, 1) if one.area > 2 else (1, 16)
            cells = min(size for item, size in places if item in after.offsets and item.address == after.first) // width
            hole = after.first - (one.first + one.count)
            assert hole > max_hole * scale or after.first + max(1, cells) - one.first > max_read * scale


def test_neighbours_are_read_in_one_request_and_a_small_hole_with_them() -> None:
    places = [(place("holding", a), 2) for a in (0, 1, 2, 8)]
    assert [(s.area, s.first, s.count) for s in Rtu().spans(places, Limits(max_hole=5))] == [(3, 0, 9)]
    assert [(s.first, s.count) for s in Rtu().spans(places, Limits(max_hole=4))] == [(0, 3), (8, 1)]


def test_the_door_controllers_sixteen_registers_are_kept() -> None:
    places = [(place("holding", a), 2) for a in range(40)]
    assert [s.count for s in Rtu().spans(places, Limits(max_read=16))] == [16, 16, 8]


def test_a_wide_number_is_never_cut_in_two() -> None:
    places = [(place("input", a), 4) for a in (0, 2, 4)]
    assert [(s.first, s.count) for s in Rtu().spans(places, Limits(max_read=5))] == [(0, 4), (4, 2)]
    assert [s.count for s in Rtu().spans([(place("input", 0), 8)], Limits(max_read=2))] == [4]


def test_two_points_of_one_register_share_it() -> None:
    (one,) = Rtu().spans([(place("holding", 1), 2), (place("holding", 1), 4)], LIMITS)
    assert (one.first, one.count) == (1, 2)


def test_a_number_beyond_the_last_register_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond address 65535"):
        Rtu().spans([(place("holding", 65535), 4)], LIMITS)


@pytest.mark.parametrize(
    "wrong", [{"register": "holding", "address": 65536}, {"register": "coils", "address": 0}, {"address": 0}]
)
def test_an_impossible_place_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ModbusPlace.model_validate(wrong)


# Identification


@both
def test_a_device_says_who_it_is(codec: Any) -> None:
    side = codec()
    who = ReadDeviceInformationResponse(read_code=1, information={0: b"Keller", 1: b"33X", 2: b"5.20"})
    assert play(side.identify(1, LIMITS), device(side, lambda _: who)) == {0: "Keller", 1: "33X", 2: "5.20"}


def test_an_identification_in_parts_is_put_together() -> None:
    parts = [frame("01 2B 0E 01 01 FF 01 01 00 01 41"), frame("01 2B 0E 01 01 00 00 02 01 01 42 02 01 43")]
    assert play(Rtu().identify(1, LIMITS), lambda _: parts.pop(0)) == {0: "A", 1: "B", 2: "C"}


def test_an_identification_that_never_ends_does() -> None:
    asked = []

    def unit(request: bytes) -> bytes:
        asked.append(request)
        return frame("01 2B 0E 01 01 FF 01 01 00 01 41")

    assert play(Rtu().identify(1, LIMITS), unit) == {0: "A"}
    assert len(asked) == 2


@settings(deadline=None, max_examples=200)
@given(noise=st.binary(max_size=80))
def test_a_garbled_identification_gives_only_our_errors(noise: bytes) -> None:
    head = bytes.fromhex("01 2B 0E 01")
    body = head + noise
    came = body + crc16(body).to_bytes(2, "little")
    try:
        play(Rtu().identify(1, LIMITS), lambda _: came)
    except (GarbledAnswer, NoAnswer):
        pass


@both
def test_the_server_id_is_given_as_the_device_writes_it(codec: Any) -> None:
    came = frame("01 11 03 41 42 FF") if codec is Rtu else bytes.fromhex("0001 0000 0006 01 11 03 41 42 FF")
    assert play(codec().server_id(1, LIMITS), lambda _: came) == b"AB\xff"
