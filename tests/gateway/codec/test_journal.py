"""A node's journal: whatever comes is records, or one of our errors; and when what was kept was."""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import Ask, Limits
from gateway.codec.journal import AT_ONCE, Record, Standing, date, read_records, read_standing
from gateway.codec.modbus import MAX_FILE_REGISTERS, Tcp
from gateway.errors import BusError, Busy, GarbledAnswer

LIMITS = Limits()


def answered(procedure: Generator[Ask, bytes, Any], pdu: bytes) -> tuple[bytes, Any]:
    """The PDU of the request, and what the procedure makes of that answer."""
    ask = next(procedure)
    frame = ask.request[:4] + struct.pack(">HB", len(pdu) + 1, 5) + pdu
    assert ask.recognise(frame) == len(frame)
    with pytest.raises(StopIteration) as done:
        procedure.send(frame)
    return ask.request[7:], done.value.value


def test_the_example_of_the_standard_6_14() -> None:
    request, data = answered(Tcp().read_file(5, 4, 1, 2, LIMITS), bytes.fromhex("14 06 05 06 0DFE 0020"))
    assert request == bytes.fromhex("14 07 06 0004 0001 0002")
    assert data == bytes.fromhex("0DFE 0020")


def test_how_a_node_stands() -> None:
    cells = struct.pack(">II6xI10xI", 3, 7200, 40, 70000)
    request, standing = answered(read_standing(Tcp(), 5, LIMITS), bytes((4, len(cells))) + cells)
    assert request == bytes.fromhex("04 0006 0010")
    assert standing == Standing(boots=3, uptime_s=7200, first=40, next=70000)


def records(first: int, count: int) -> bytes:
    return b"".join(
        struct.pack(">IBBHHH", 1000 + n, 1, 2, n & 0xFFFF, 9, n & 0xFFFF) for n in range(first, first + count)
    )


def file_answer(data: bytes) -> bytes:
    return bytes((0x14, len(data) + 2, len(data) + 1, 6)) + data


@pytest.mark.parametrize(
    ("first", "next_", "file", "register", "count"),
    [
        (0, 3, 0x8000, 0, 3),
        (1020, 1100, 0x8000, 6120, 4),
        (1024, 9999, 0x8001, 0, AT_ONCE),
        (70000, 70001, 0x8044, 2208, 1),
    ],
)
def test_where_records_are(first: int, next_: int, file: int, register: int, count: int) -> None:
    assert 6 * AT_ONCE <= MAX_FILE_REGISTERS
    request, got = answered(read_records(Tcp(), 5, first, next_, LIMITS), file_answer(records(first, count)))
    assert request == struct.pack(">BBBHHH", 0x14, 7, 6, file, register, 6 * count)
    assert [record.number for record in got] == list(range(first, first + count))
    assert got[0] == Record(first, 2, struct.pack(">H", first & 0xFFFF), 1000 + first, False, 9)


def test_an_answer_to_an_earlier_request_is_not_believed() -> None:
    procedure = read_records(Tcp(), 5, 20, 40, LIMITS)
    ask = next(procedure)
    pdu = file_answer(records(0, 20))
    with pytest.raises(GarbledAnswer, match="expected record 20, got 0; an answer came too late"):
        procedure.send(ask.request[:4] + struct.pack(">HB", len(pdu) + 1, 5) + pdu)


def test_a_busy_node_says_so() -> None:
    procedure = read_records(Tcp(), 5, 0, 1, LIMITS)
    ask = next(procedure)
    with pytest.raises(Busy):
        procedure.send(ask.request[:4] + bytes.fromhex("0003 05 94 06"))


@given(st.binary(max_size=300))
def test_any_bytes_give_only_our_errors(data: bytes) -> None:
    for procedure in (read_records(Tcp(), 5, 0, 20, LIMITS), read_standing(Tcp(), 5, LIMITS)):
        ask = next(procedure)
        try:
            ask.recognise(data)
            if (n := ask.recognise(ask.request[:6] + data)) > 0:
                procedure.send((ask.request[:6] + data)[:n])
        except (BusError, StopIteration):
            pass


def test_times_come_from_the_node_or_from_when_it_started() -> None:
    kept = [
        Record(1, 1, b"\0\1", 60, False, 4),  # of a start that nobody knows
        Record(2, 1, b"\0\2", 60, False, 5),  # of one that was seen
        Record(3, 1, b"\0\3", 90, False, 6),  # of one that a later record dates
        Record(4, 0, b"\0\0", 8000, True, 6),
        Record(5, 1, b"\0\5", 8200, True, 6),
    ]
    assert [(record.number, time_s) for record, time_s in date(kept, {5: 5000.5})] == [
        (1, None), (2, 5060.5), (3, 8090.0), (5, 8200.0),
    ]  # fmt: skip
