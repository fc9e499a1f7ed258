"""Packets of MQTT: the lengths of the standard's table, and the same packets however a stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.mqtt_packet import Packets, packet


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001")],  # OASIS, table 2.4
)
def test_a_length_is_written_as_the_standard_s_table_says(size: int, length: str) -> None:
    assert packet(0x30, bytes(size)) == b"\x30" + bytes.fromhex(length) + bytes(size)


@given(st.lists(st.tuples(st.integers(1, 15), st.binary(max_size=300)), max_size=6), st.integers(1, 50))
def test_any_cut_of_a_stream_gives_the_same_packets(sent: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(packet(kind << 4, body) for kind, body in sent)
    packets = Packets()
    assert [one for at in range(0, len(stream), step) for one in packets.feed(stream[at : at + step])] == sent


def test_who_stops_asking_finds_the_rest_later() -> None:
    packets = Packets()
    assert next(packets.feed(packet(0x10, b"a") + packet(0x20, b"b"))) == (1, b"a")
    assert list(packets.feed(b"")) == [(2, b"b")]
