"""The serial link on a real pseudo-terminal, against a simulated line that keeps wire time."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import time
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import Ask, Limits, Span
from gateway.codec.modbus import ModbusPlace, Rtu, crc16
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.line import parse_line
from gateway.link.serial import BATCH_S, SerialLink
from gateway.poll import run
from simulator.line import FAULT_KINDS, Fault, Line
from simulator.modbus import Device, Table
from simulator.virtual_time import in_virtual_time
from tests.bench.bus import SocketLine, Witness, is_wrong, storm

LINE = "38400 8E1"
LIMITS = Limits(patience_s=0.1)
SPAN = Span(3, 0, 4, {})
CELLS = {at: 100 + at for at in range(64)}


def unit(address: int, turnaround_s: float = 0.004) -> Device:
    return Device(address, Table({"holding": dict(CELLS), "coil": dict.fromkeys(range(16), 0)}), turnaround_s)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with Line(38400, "8E1", units=[unit(1), unit(2)]) as bus:
        yield bus


@pytest.fixture
async def link(line: Line) -> AsyncIterator[SerialLink]:
    port = SerialLink(line.port, LINE)
    yield port
    await port.close()


async def read(link: SerialLink, codec: Rtu, address: int = 1, span: Span = SPAN) -> list[int]:
    data = await run(link, codec.read(address, span, LIMITS))
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


GOOD = [100, 101, 102, 103]


async def test_registers_are_read_with_every_silence_kept(line: Line, link: SerialLink) -> None:
    codec = Rtu()
    for turn in range(20):
        assert await read(link, codec, 1 + turn % 2) == GOOD
    assert line.violations == 0
    assert (link.traffic.requests, link.traffic.answers, link.traffic.stray_bytes) == (20, 20, 0)


# What goes wrong with one exchange, and that the next one is right


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault("crc"), GarbledAnswer),
        (Fault("bitflip"), GarbledAnswer),
        (Fault("truncated"), GarbledAnswer),
        (Fault("noise"), GarbledAnswer),
        (Fault("foreign"), GarbledAnswer),
        (Fault("collision"), GarbledAnswer),
        (Fault("exception", code=6), Refused),
        (Fault("busy"), Refused),
        (Fault("illegal"), Refused),
        (Fault("baud"), GarbledAnswer),
        (Fault("silent"), NoAnswer),
        (Fault("parity"), NoAnswer),
        (Fault("late", by_s=0.15), NoAnswer),
        (Fault("echo"), None),
        (Fault("gap", by_s=0.05), None),
        (Fault("split"), None),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_a_fault_is_told_apart_and_over_with_its_exchange(
    line: Line, link: SerialLink, fault: Fault, outcome: type[BusError] | None
) -> None:
    codec = Rtu()
    assert await read(link, codec) == GOOD
    line.faults.add(fault)
    if outcome is None:
        assert await read(link, codec) == GOOD
    else:
        with pytest.raises(outcome):
            await read(link, codec)
    assert line.faults.happened == {fault.kind: 1}
    for _ in range(3):
        assert await read(link, codec) == GOOD
    assert line.violations == 0


def test_the_table_above_has_every_fault_there_is() -> None:
    (marked,) = test_a_fault_is_told_apart_and_over_with_its_exchange.pytestmark  # type: ignore[attr-defined] # pytest's
    assert {fault.kind for fault, _ in marked.args[1]} == set(FAULT_KINDS)


async def test_a_late_answer_is_counted_and_said(line: Line, link: SerialLink) -> None:
    line.faults.add(Fault("late", by_s=0.15))
    with pytest.raises(NoAnswer, match="came too late") as error:
        await read(link, Rtu())
    assert error.value.raw.hex(" ").startswith("01 03 08 00 64")
    assert link.traffic.stray_bytes == 13
    assert (link.traffic.silences, link.traffic.answers) == (1, 0)


async def test_a_wrong_checksum_keeps_its_bytes_as_evidence(line: Line, link: SerialLink) -> None:
    line.faults.add(Fault("crc"))
    with pytest.raises(GarbledAnswer, match="checksum") as error:
        await read(link, Rtu())
    assert len(error.value.raw) == 13
    assert link.traffic.garbled == 1


async def test_a_whole_frame_that_is_wrong_is_given_up_before_a_gap_could_be_over() -> None:
    async def play() -> float:
        async with SocketLine(38400, units=[unit(1)], tick_s=1.0) as bus:
            link, loop = bus.client(), asyncio.get_running_loop()
            bus.faults.add(Fault("crc"))
            with pytest.raises(GarbledAnswer):
                await read(link, Rtu())
            await link.close()
            return loop.time()

    took_s = await asyncio.to_thread(in_virtual_time, play())
    assert took_s < 21 * 11 / 38400 + 0.004 + 1.5 * BATCH_S


async def test_a_wrong_checksum_does_not_cost_the_devices_patience(line: Line, link: SerialLink) -> None:
    loop, slow = asyncio.get_running_loop(), Limits(patience_s=5)
    line.faults.add(Fault("crc"), Fault("truncated"), Fault("noise"))
    for _ in range(3):
        began = loop.time()
        with pytest.raises(GarbledAnswer):
            await run(link, Rtu().read(1, SPAN, slow))
        assert loop.time() - began < 1


async def test_late_answers_to_a_are_not_taken_for_those_to_b_and_c(line: Line, link: SerialLink) -> None:
    """The line of events at which pymodbus 3.16.1 gives B the registers of A, and C those of B."""
    codec, spans = Rtu(), [Span(3, 0, 4, {}), Span(3, 4, 4, {}), Span(3, 8, 2, {})]
    line.faults.add(Fault("late", by_s=0.25))
    for span in spans * 2:
        try:
            got = await read(link, codec, span=span)
        except (NoAnswer, GarbledAnswer):
            continue
        assert got == [100 + at for at in range(span.first, span.first + span.count)]


async def test_even_an_answer_that_outlasts_the_quarantine_is_not_taken(line: Line, link: SerialLink) -> None:
    codec, spans, right = Rtu(), [Span(3, 0, 4, {}), Span(3, 4, 4, {}), Span(3, 8, 2, {})], 0
    line.faults.add(Fault("late", by_s=0.6))
    for span in spans * 3:
        try:
            got = await read(link, codec, span=span)
        except (NoAnswer, GarbledAnswer):
            continue
        assert got == [100 + at for at in range(span.first, span.first + span.count)]
        right += 1
    assert right >= 5


def test_no_wrong_value_in_a_storm_of_every_fault() -> None:
    figures = storm(2500, rate_each=0.05, seed=7)
    assert set(figures["faults"]) == set(FAULT_KINDS)
    assert figures["wrong_values"] == 0
    assert figures["gap_violations"] == 0
    assert figures["good"] > 500  # sixteen kinds of fault leave a fifth of all exchanges in peace


# Bytes that nobody asked for


async def test_bytes_between_exchanges_are_counted_dropped_and_waited_out(line: Line, link: SerialLink) -> None:
    codec = Rtu()
    await read(link, codec)
    line._deliver(b"\x01\x03\x08" + bytes(10))
    await asyncio.sleep(0.01)
    assert link.traffic.stray_bytes == 13
    assert await read(link, codec) == GOOD


async def test_a_line_that_is_never_silent_is_said_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.link.serial.BABBLE_S", 0.2)
    async with Line(38400, units=[unit(1)]) as bus:
        link = SerialLink(bus.port, LINE)
        await read(link, Rtu())

        async def babble() -> None:
            while True:
                bus._deliver(b"\x55")
                await asyncio.sleep(0.001)

        noise = asyncio.create_task(babble())
        with pytest.raises(GarbledAnswer):
            await asyncio.wait_for(read(link, Rtu()), 3)
        noise.cancel()
        await link.close()


async def test_a_flood_keeps_memory_bounded(line: Line, link: SerialLink) -> None:
    ask = Ask(b"\x01\x02\x03", lambda _: 0, 8, 0.05)

    async def flood() -> None:
        for _ in range(40):
            line._deliver(bytes(1000))
            await asyncio.sleep(0.002)

    noise = asyncio.create_task(flood())
    with pytest.raises(BusError) as error:
        await link.exchange(ask)
    assert len(error.value.raw) <= 2048
    await noise


# Echo


async def test_an_adapter_that_hears_itself_is_read_all_the_same() -> None:
    async with Line(38400, units=[unit(1)], echo=True) as bus:
        link, codec = SerialLink(bus.port, LINE), Rtu()
        for _ in range(3):
            assert await read(link, codec) == GOOD
        await link.close()


async def test_an_echo_is_no_confirmation_of_a_write() -> None:
    """A register write is confirmed by the same bytes: with no device there, the echo alone must not pass for it."""
    place = ModbusPlace.model_validate({"register": "holding", "address": 3})
    async with Line(38400, units=[unit(1)], echo=True) as bus:
        link, codec = SerialLink(bus.port, LINE), Rtu()
        await run(link, codec.write(1, place, b"\x00\x07", LIMITS))
        assert (await read(link, codec))[3] == 7
        with pytest.raises(NoAnswer):
            await run(link, codec.write(9, place, b"\x00\x07", LIMITS))
        await link.close()


# However the bytes are cut


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.tuples(st.integers(1, 9), st.floats(0, 0.08)), max_size=14), count=st.integers(1, 30))
def test_any_cutting_of_an_answer_gives_the_same_bytes(cuts: list[tuple[int, float]], count: int) -> None:
    """In virtual time; a pause is anything an adapter or a busy machine does."""
    body = bytes(range(2 * count))
    frame = bytes((1, 3, 2 * count)) + body
    whole = frame + crc16(frame).to_bytes(2, "little")

    async def play() -> bytes:
        async with SocketLine(38400) as bus:
            link = bus.client()
            exchange = asyncio.ensure_future(run(link, Rtu().read(1, Span(3, 0, count, {}), LIMITS)))
            await asyncio.sleep(0.01)
            at = 0
            for size, pause_s in cuts:
                bus._deliver(whole[at : at + size])
                at += size
                if at >= len(whole):
                    break
                await asyncio.sleep(pause_s)
            bus._deliver(whole[at:])
            got = await exchange
            await link.close()
            return got

    assert in_virtual_time(play()) == body


@settings(deadline=None, max_examples=40)
@given(noise=st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.floats(0, 0.3)), max_size=6))
def test_garbage_gives_only_our_errors_and_then_a_right_answer(noise: list[tuple[bytes, float]]) -> None:
    async def play() -> None:
        async with SocketLine(19200, units=[Device(1, Witness(1))], tick_s=1.0) as bus:
            link, codec, loop = bus.client(), Rtu(), asyncio.get_running_loop()

            async def make_noise() -> None:
                for data, pause_s in noise:
                    bus._deliver(data)
                    await asyncio.sleep(pause_s)

            making = asyncio.ensure_future(make_noise())
            span = Span(3, 0, 4, {})
            while not making.done():
                asked_s = loop.time()
                try:
                    data = await run(link, codec.read(1, span, LIMITS))
                except BusError:
                    continue
                assert not is_wrong(data, 1, span, asked_s, loop.time())
            await asyncio.sleep(1)
            data = await run(link, codec.read(1, span, LIMITS))
            assert data[:2] == bytes((1 << 2, 0))
            await link.close()

    in_virtual_time(play())


# The port itself


async def test_a_port_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    link = SerialLink(str(tmp_path / "ttyNone"), LINE)
    with pytest.raises(LinkError, match="no such port; serial adapters there are"):
        await read(link, Rtu())


async def test_a_port_in_use_says_so(line: Line, link: SerialLink) -> None:
    await read(link, Rtu())
    with pytest.raises(LinkError, match="in use by another program"):
        await read(SerialLink(line.port, LINE), Rtu())


async def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkError, match="cannot be opened"):
        await read(SerialLink(str(tmp_path / "file"), LINE), Rtu())


async def test_an_adapter_pulled_out_and_put_back_is_used_again(tmp_path: Path) -> None:
    by_path = tmp_path / "platform-usb-0:1.2:1.0-port0"
    async with Line(38400, units=[unit(1)], link=by_path) as bus:
        link, codec = SerialLink(str(by_path), LINE), Rtu()
        assert await read(link, codec) == GOOD
        bus.unplug()
        for _ in range(2):
            with pytest.raises(LinkError):
                await read(link, codec)
        bus.plug()
        assert await read(link, codec) == GOOD
        assert link.traffic.reopened == 1
        await link.close()


async def test_an_adapter_pulled_out_during_an_exchange_is_said_at_once(line: Line, link: SerialLink) -> None:
    loop = asyncio.get_running_loop()
    await read(link, Rtu())
    began = loop.time()
    waiting = asyncio.ensure_future(run(link, Rtu().read(9, SPAN, Limits(patience_s=20))))
    await asyncio.sleep(0.02)
    line.unplug()
    with pytest.raises(LinkError, match="went away"):
        await waiting
    assert loop.time() - began < 1


async def test_an_adapter_pulled_out_while_the_line_is_left_to_calm_is_said(line: Line, link: SerialLink) -> None:
    waiting = asyncio.ensure_future(run(link, Rtu().read(9, SPAN, Limits(patience_s=0.2))))
    await asyncio.sleep(0.3)
    line.unplug()
    with pytest.raises((LinkError, NoAnswer)):
        await waiting
    with pytest.raises(LinkError):
        await read(link, Rtu())


async def test_closing_twice_is_allowed_and_fails_who_waits(line: Line, link: SerialLink) -> None:
    waiting = asyncio.ensure_future(run(link, Rtu().read(9, SPAN, Limits(patience_s=20))))
    await asyncio.sleep(0.02)
    await link.close()
    await link.close()
    with pytest.raises(LinkError, match="closed"):
        await waiting


async def test_a_caller_that_gives_up_does_not_leave_its_answer_to_the_next(line: Line, link: SerialLink) -> None:
    codec = Rtu()
    await read(link, codec)
    line.faults.add(Fault("late", by_s=0.05))
    waiting = asyncio.ensure_future(read(link, codec, span=Span(3, 40, 4, {})))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await read(link, codec) == GOOD
    assert link.traffic.stray_bytes == 13


async def test_exchanges_asked_for_at_once_take_turns(line: Line, link: SerialLink) -> None:
    codec = Rtu()
    spans = [Span(3, at, 1 + at % 4, {}) for at in range(12)]
    got = await asyncio.gather(*(read(link, codec, 1 + span.first % 2, span) for span in spans))
    assert got == [[100 + at for at in range(span.first, span.first + span.count)] for span in spans]
    assert line.violations == 0


async def test_a_client_at_another_speed_hears_nothing(line: Line) -> None:
    link = SerialLink(line.port, "9600 8N1")
    with pytest.raises(NoAnswer, match="check power, wiring"):
        await read(link, Rtu())
    assert line.wrong_speed == 1
    await link.close()


@pytest.mark.parametrize("begun", [0, 4, 40])
async def test_an_answer_that_came_while_the_machine_was_busy_is_taken(begun: int) -> None:
    """begun: bytes that were seen before; 40 of them are enough to look away until the end is near."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    link, answer = SerialLink(os.ttyname(theirs), LINE), bytes(range(100))
    waiting = asyncio.create_task(link.exchange(Ask(b"ask", lambda data: 100 if len(data) >= 100 else 0, 100, 0.1)))
    await asyncio.sleep(0.01)
    assert os.read(ours, 100) == b"ask"
    os.write(ours, answer[:begun])
    await asyncio.sleep(0.005)
    rest = threading.Timer(0.05, os.write, (ours, answer[begun:]))
    rest.start()
    time.sleep(0.4)
    assert await waiting == answer
    rest.join()
    await link.close()
    os.close(ours)
    os.close(theirs)


async def test_an_adapter_cable_needs_no_silence() -> None:
    """A plain echo behind the port: `frames=False` sends as soon as it is asked to."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: os.write(ours, bytes(b ^ 0xFF for b in os.read(ours, 100))))
    link = SerialLink(os.ttyname(theirs), "1200 8N1", frames=False)
    whole: Callable[[bytes], int] = lambda data: 2 if len(data) >= 2 else 0  # noqa: E731
    began = loop.time()
    for _ in range(3):
        assert await link.exchange(Ask(b"\x00\x01", whole, 2, 0.2)) == b"\xff\xfe"
    assert loop.time() - began < 3 * 3.5 * 10 / 1200
    await link.close()
    loop.remove_reader(ours)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("text", ["", "19200", "19200 8X1", "19200 9N1", "0 8N1", "fast 8N1", "19200 8N3", "19200,8N1"])
def test_an_impossible_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected speed and character"):
        parse_line(text)
