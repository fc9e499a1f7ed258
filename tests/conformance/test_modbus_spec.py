"""The worked examples of the Modbus documents, by clause.

MAP: MODBUS Application Protocol Specification V1.1b3. MSL: MODBUS over Serial Line V1.02. MTG: MODBUS Messaging on
TCP/IP Implementation Guide V1.0b. The documents print PDUs; the framing around them here is the one of MSL 2.5.1 with
unit 1, its checksum calculated by pymodbus.
"""

from __future__ import annotations

import pytest
from pymodbus.framer.rtu import FramerRTU

from gateway.codec import Limits, Span
from gateway.codec.modbus import ModbusPlace, Rtu, Tcp, crc16
from gateway.errors import Refused
from gateway.line import parse_line
from simulator.modbus import Device, Table

LIMITS = Limits()


def rtu(pdu: str) -> bytes:
    body = b"\x01" + bytes.fromhex(pdu)
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


READS = [
    pytest.param(1, 0x13, 0x13, "01 0013 0013", "01 03 CD 6B 05", "1011001111010110101", id="MAP 6.1 coils 20 to 38"),
    pytest.param(
        2, 0xC4, 0x16, "02 00C4 0016", "02 03 AC DB 35", "0011010111011011101011", id="MAP 6.2 inputs 197 to 218"
    ),
    pytest.param(3, 0x6B, 3, "03 006B 0003", "03 06 022B 0000 0064", "022B00000064", id="MAP 6.3 registers 108 to 110"),
    pytest.param(4, 0x08, 1, "04 0008 0001", "04 02 000A", "000A", id="MAP 6.4 input register 9"),
]


@pytest.mark.parametrize(("function", "first", "count", "request_pdu", "answer_pdu", "values"), READS)
def test_read_examples(function: int, first: int, count: int, request_pdu: str, answer_pdu: str, values: str) -> None:
    procedure = Rtu().read(1, Span(function, first, count, {}), LIMITS)
    ask = next(procedure)
    assert ask.request == rtu(request_pdu)
    answer = rtu(answer_pdu)
    assert ask.answer_length == len(answer) == ask.recognise(answer)
    with pytest.raises(StopIteration) as end:
        procedure.send(answer)
    expected = bytes(int(bit) for bit in values) if function < 3 else bytes.fromhex(values)
    assert end.value.value == expected


WRITES = [
    pytest.param("coil", 0xAC, "01", "05 00AC FF00", "05 00AC FF00", id="MAP 6.5 coil 173 on"),
    pytest.param("holding", 0x01, "0003", "06 0001 0003", "06 0001 0003", id="MAP 6.6 register 2"),
    pytest.param(
        "holding", 0x01, "000A0102", "10 0001 0002 04 000A 0102", "10 0001 0002", id="MAP 6.12 registers 2 and 3"
    ),
]


@pytest.mark.parametrize(("register", "address", "raw", "request_pdu", "answer_pdu"), WRITES)
def test_write_examples(register: str, address: int, raw: str, request_pdu: str, answer_pdu: str) -> None:
    place = ModbusPlace.model_validate({"register": register, "address": address})
    procedure = Rtu().write(1, place, bytes.fromhex(raw), LIMITS)
    ask = next(procedure)
    assert ask.request == rtu(request_pdu)
    answer = rtu(answer_pdu)
    assert ask.answer_length == len(answer) == ask.recognise(answer)
    with pytest.raises(StopIteration):
        procedure.send(answer)


def test_map_7_exception_example() -> None:
    """One coil read at 0x04A1 of a server that has not so many."""
    procedure = Rtu().read(1, Span(1, 0x04A1, 1, {}), LIMITS)
    ask = next(procedure)
    assert ask.request == rtu("01 04A1 0001")
    answer = rtu("81 02")
    assert ask.recognise(answer) == len(answer)
    with pytest.raises(Refused) as no:
        procedure.send(answer)
    assert no.value.code == 2


def test_map_6_21_identification_example() -> None:
    procedure = Rtu().identify(1, LIMITS)
    ask = next(procedure)
    assert ask.request == rtu("2B 0E 01 00")
    texts = [b"Company identification", b"Product code XX", b"V2.11"]
    objects = b"".join(bytes((number, len(text))) + text for number, text in enumerate(texts))
    answer = rtu("2B 0E 01 01 00 00 03" + objects.hex())
    assert [ask.recognise(answer[:n]) for n in range(len(answer))] == [0] * len(answer)
    with pytest.raises(StopIteration) as end:
        procedure.send(answer)
    assert end.value.value == {0: "Company identification", 1: "Product code XX", 2: "V2.11"}


def test_msl_6_2_2_checksum_example() -> None:
    """Unit 2, function 7: the checksum is 0x1241, sent 41 12."""
    assert crc16(bytes.fromhex("02 07")) == 0x1241
    assert crc16(bytes.fromhex("02 07 41 12")) == 0


@pytest.mark.parametrize(
    ("line", "silence_ms"),
    [("9600 8E1", 4.01), ("9600 8N1", 3.646), ("19200 8E1", 2.005), ("38400 8E1", 1.75), ("115200 8N1", 1.75)],
)
def test_msl_2_5_1_1_silence_between_frames(line: str, silence_ms: float) -> None:
    """3.5 characters; a fixed 1.75 ms above 19,200 baud."""
    assert parse_line(line).silence_s * 1000 == pytest.approx(silence_ms, abs=0.01)


@pytest.mark.parametrize(("line", "bits"), [("19200 8E1", 11), ("19200 8N2", 11), ("19200 8N1", 10), ("19200 7E1", 10)])
def test_msl_2_5_1_a_character_has_its_start_parity_and_stop_bits(line: str, bits: int) -> None:
    assert parse_line(line).character_s * 19200 == pytest.approx(bits)


def test_mtg_3_1_3_header() -> None:
    """Transaction, protocol 0, length of unit and PDU, unit."""
    ask = next(Tcp().read(0xFF, Span(3, 4, 1, {}), LIMITS))
    assert ask.request == bytes.fromhex("0001 0000 0006 FF 03 0004 0001")
    assert ask.recognise(bytes.fromhex("0001 0000 0005 FF 03 02 0005")) == 11


@pytest.mark.parametrize(("function", "most"), [(1, 2000), (2, 2000), (3, 125), (4, 125)])
def test_map_6_1_to_6_4_most_of_one_read(function: int, most: int) -> None:
    register = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}[function]
    size = 1 if function < 3 else 2
    places = [(ModbusPlace.model_validate({"register": register, "address": at}), size) for at in range(most + 1)]
    assert [span.count for span in Rtu().spans(places, Limits(max_read=1000))] == [most, 1]


@pytest.mark.parametrize(
    ("request_pdu", "answer_pdu"),
    [
        pytest.param("03 0000 0000", "83 03", id="MAP 6.3 no register asked for"),
        pytest.param("03 0000 007E", "83 03", id="MAP 6.3 more than 125"),
        pytest.param("03 0008 0004", "83 02", id="MAP 6.3 beyond the last"),
        pytest.param("41 0000 0001", "C1 01", id="MAP 7 function not known"),
        pytest.param("2B 0E 01 00", "AB 01", id="MAP 6.21 not supported"),
    ],
)
def test_the_simulated_device_refuses_as_the_standard_says(request_pdu: str, answer_pdu: str) -> None:
    device = Device(1, Table({"holding": dict.fromkeys(range(10), 0)}))
    assert device.respond(bytes.fromhex(request_pdu)) == bytes.fromhex(answer_pdu)
