"""SLCAN: what an adapter writes becomes frames, in any pieces; what it is told can put nothing on a bus."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import slcan
from gateway.codec.slcan import BITRATES, COMMANDS, LONGEST, Frame, Reader
from simulator.can import CanFrame

FRAMES = st.one_of(
    st.builds(Frame, st.integers(0, 0x7FF), st.binary(max_size=8)),
    st.builds(Frame, st.integers(0, 0x1FFFFFFF), st.binary(max_size=8), st.just(True)),
)


def line_of(frame: Frame) -> bytes:
    return CanFrame(frame.identifier, frame.data, frame.extended).line()


# Lines as the manuals print them


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (b"t10021133\r", Frame(0x100, b"\x11\x33")),  # CAN232 manual, command t: identifier 100, two bytes 11 and 33
        (b"T0000010021133\r", Frame(0x100, b"\x11\x33", True)),  # command T
        (b"t1230\r", Frame(0x123, b"")),
        (b"t18C4393000001A2B\r", Frame(0x18C, b"\x39\x30\x00\x00")),  # command Z1: four digits of milliseconds
        (b"t18c4393000000001a2b3\r", Frame(0x18C, b"\x39\x30\x00\x00")),  # eight, and in small letters
        (b"\nt7011" + b"7F\r", Frame(0x701, b"\x7f")),
    ],
)
def test_a_line_is_a_frame(line: bytes, frame: Frame) -> None:
    reader = Reader()
    assert reader.feed(line) == [frame]
    assert reader.garbled == 0


def test_names_of_frames_tell_short_identifiers_from_long_ones() -> None:
    assert (Frame(0x18C, b"").name, Frame(0x18C, b"", True).name) == ("18c", "0000018c")


def test_requests_confirmations_and_refusals_are_told_apart() -> None:
    reader = Reader()
    assert reader.feed(b"r7010\rR000007014\r\rz\rV1013\r\x07\x07FA4\r") == []
    assert (reader.remote, reader.confirmed, reader.refused, reader.garbled) == (2, 1, 2, 0)
    state = reader.take_state()
    assert str(state) == "avertissement d'erreurs, erreurs, mode passif, erreurs sur le bus"
    assert reader.take_state() is None


@pytest.mark.parametrize(
    "line",
    [b"t18C", b"t18C9" + b"00" * 9, b"t8001" + b"00", b"t18C439300000F", b"t18C2393", b"tXYZ0", b"T2000000000", b"x", b"O",
     b"t18C43930", b"F1", b"t18C2 930", "t18C1é0".encode()],
)  # fmt: skip
def test_what_is_no_line_is_counted_and_dropped(line: bytes) -> None:
    reader = Reader()
    assert reader.feed(line + b"\rt7010\r") == [Frame(0x701, b"")]
    assert reader.garbled == 1


def test_an_endless_line_is_one_garbled_line_and_takes_no_memory() -> None:
    reader = Reader()
    for _ in range(1000):
        assert reader.feed(b"t" * 997) == []
        assert len(reader._line) <= LONGEST
    assert reader.feed(b"\rt7010\r") == [Frame(0x701, b"")]
    assert reader.garbled == 1


# Properties


@given(st.lists(FRAMES, max_size=20), st.lists(st.integers(0, 200), max_size=30))
def test_any_chunking_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(line_of, frames))
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    reader = Reader()
    heard = [frame for a, b in pairwise(edges) for frame in reader.feed(stream[a:b])]
    assert heard == frames
    assert reader.garbled == 0


@given(st.lists(st.binary(max_size=200), max_size=10), FRAMES)
def test_any_garbage_raises_nothing_and_the_next_line_is_heard(garbage: list[bytes], frame: Frame) -> None:
    reader = Reader()
    for piece in garbage:
        for found in reader.feed(piece):
            assert len(found.data) <= 8
        assert sys.getsizeof(reader._line) < 4 * LONGEST
    assert reader.feed(b"\r" + line_of(frame))[-1] == frame


@given(FRAMES, st.data())
def test_a_line_that_lost_a_character_is_never_another_frame_of_its_kind(frame: Frame, data: st.DataObject) -> None:
    line = line_of(frame)
    at = data.draw(st.integers(1, len(line) - 2))
    heard = Reader().feed(line[:at] + line[at + 1 :])
    assert all(len(other.data) < len(frame.data) or not frame.data for other in heard), "only a shorter one can be made"


# What may be told


def test_nothing_that_an_adapter_is_told_can_put_a_frame_on_a_bus() -> None:
    """LAWICEL: t, T, r, R send; O opens for sending; s sets registers by hand; U, Z, X, M, m change what we do not need."""
    assert {command[:1] for command in COMMANDS} == {b"C", b"S", b"L", b"F"}
    assert all(command.endswith(b"\r") and command.count(b"\r") == 1 for command in COMMANDS)
    assert set(BITRATES.values()) < COMMANDS
    assert {command for command in COMMANDS if command[:1] == b"S"} == {b"S%d\r" % n for n in (0, 1, 2, 3, 4, 5, 6, 8)}


def test_the_codec_has_no_function_that_makes_a_line() -> None:
    public = {name for name, value in vars(slcan).items() if callable(value) and value.__module__ == slcan.__name__}
    assert public == {"Frame", "State", "Reader"}
    assert {name for name in vars(Frame) if not name.startswith("_")} == {"identifier", "data", "extended", "name"}
