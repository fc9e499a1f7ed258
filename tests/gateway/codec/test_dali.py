"""The DALI codec against simulated control gear, without port or time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Ask, Limits, Procedure, Span
from gateway.codec.dali import QUERY_AREA, DaliPlace, Sci, sci_frame
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from simulator.dali import Adapter, Fault, Gear, GearDiagnostics, LightSource, energy_bank

T = TypeVar("T")
LIMITS = Limits(max_read=255, max_hole=6, patience_s=0.2)
GEAR = GearDiagnostics(7_200_000, 410, 230.4, 50, 0.96, 48, 100)
LIGHT = LightSource(410, 5_100_000, 48.2, 0.7, 61)
BANKS = {202: energy_bank(123_456, 37.51), 205: GEAR.bank(), 206: LIGHT.bank(), 1: bytes(range(0x78))}


def street(*short_addresses: int) -> Adapter:
    return Adapter([Gear(short, lambda number: BANKS.get(number, b"")) for short in short_addresses])


def run(adapter: Adapter, procedure: Procedure[T], chunk: int = 64) -> T:
    """What a link does: the whole answer or an error into the procedure."""
    try:
        ask = next(procedure)
        while True:
            try:
                answer = exchange(adapter, ask, chunk)
            except BusError as error:
                ask = procedure.throw(error)
            else:
                ask = procedure.send(answer)
    except StopIteration as done:
        return done.value


def exchange(adapter: Adapter, ask: Ask, chunk: int) -> bytes:
    said = adapter.handle(ask.request)
    heard = b""
    while said:
        heard, said = heard + said[:chunk], said[chunk:]
        if length := ask.recognise(heard):
            return heard[:length]
    raise NoAnswer("nothing came") if not heard else GarbledAnswer("broke off", heard)


def read(adapter: Adapter, short: int, place: DaliPlace, size: int = 1) -> bytes:
    (span,) = Sci().spans([(place, size)], LIMITS)
    return run(adapter, Sci().read(short, span, LIMITS))


def bank(number: int, location: int) -> DaliPlace:
    return DaliPlace(bank=number, location=location)


# Places and spans


@pytest.mark.parametrize(
    "keys",
    [{}, {"query": "status", "bank": 1, "location": 3}, {"bank": 202}, {"location": 4}, {"query": "status", "location": 1},
     {"query": "colour"}, {"bank": 256, "location": 0}, {"bank": 1, "location": 255}, {"query": "status", "unit": "1"}],
)  # fmt: skip
def test_a_place_is_a_query_or_a_bank_with_a_location(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DaliPlace.model_validate(keys)


def test_queries_stand_alone_and_locations_of_a_bank_go_together() -> None:
    places = [(DaliPlace(query="status"), 1), (bank(202, 0x0B), 5), (bank(206, 0x20), 1), (bank(202, 0x04), 7)]
    spans = Sci().spans(places, LIMITS)
    assert [(s.area, s.first, s.count) for s in spans] == [(QUERY_AREA, 0x90, 1), (202, 0x04, 12), (206, 0x20, 1)]
    assert spans[1].offsets == {bank(202, 0x04): 0, bank(202, 0x0B): 7}


def test_points_in_bits_of_one_answer_ask_once() -> None:
    assert len(Sci().spans([(DaliPlace(query="status"), 1)] * 3, LIMITS)) == 1


def test_unwanted_locations_are_not_read() -> None:
    adapter = street(5)
    places = [(bank(205, 0x04), 4), (bank(205, 0x1B), 1)]
    (span,) = Sci().spans(places, LIMITS)
    data = run(adapter, Sci().read(5, span, LIMITS))
    assert [data[span.offsets[place] :][:size] for place, size in places] == [BANKS[205][4:8], BANKS[205][0x1B:0x1C]]
    assert adapter.frames == 19  # to read the hole would take 17 more


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 8)), min_size=1, max_size=20, unique_by=lambda cell: cell[0]
    ),
)
@settings(deadline=None, max_examples=60)
def test_places_of_a_bank_come_out_of_its_one_span(cells: list[tuple[int, int]]) -> None:
    content = bytes(range(0xFE))
    places = [(bank(1, location), size) for location, size in cells]
    (span,) = Sci().spans(places, LIMITS)
    data = run(Adapter([Gear(5, lambda number: content)]), Sci().read(5, span, LIMITS))
    assert len(data) == span.count
    for place, size in places:
        assert data[span.offsets[place] :][:size] == content[place.location or 0 :][:size].replace(b"\x01", b"\xff")


def test_a_place_beyond_the_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="end by 0xFE"):
        Sci().spans([(bank(1, 0xFD), 4)], LIMITS)


# Reading


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("actual_level", 254),
        ("status", 0b0000_0100),
        ("device_type", 6),
        ("max_level", 254),
        ("min_level", 1),
        ("led_failure", 0),
    ],
)
def test_a_query_gives_its_byte(query: str, expected: int) -> None:
    assert read(street(5, 6), 5, DaliPlace.model_validate({"query": query})) == bytes((expected,))


def test_led_failure_needs_its_device_type_enabled() -> None:
    adapter = street(5)
    adapter.gears[0].led_failure = 0x02
    assert read(adapter, 5, DaliPlace(query="led_failure")) == b"\x02"
    assert adapter.handle(sci_frame(0x0B, 0xF1)) == bytes.fromhex("01 00 00 00 01")  # alone: silence


@pytest.mark.parametrize(
    ("number", "location", "size"), [(202, 0x04, 12), (205, 0x04, 25), (206, 0x04, 29), (1, 0x03, 40)]
)
def test_a_bank_is_read_byte_for_byte(number: int, location: int, size: int) -> None:
    adapter = street(5, 9)
    assert read(adapter, 9, bank(number, location), size) == BANKS[number][location : location + size]


@given(st.integers(1, 64))
@settings(deadline=None, max_examples=20)
def test_any_chunking_gives_the_same_bytes(chunk: int) -> None:
    (span,) = Sci().spans([(bank(202, 0x04), 12)], LIMITS)
    assert run(street(5), Sci().read(5, span, LIMITS), chunk) == BANKS[202][4:16]


def moving() -> Callable[[int], bytes]:
    """A bank 202 whose energy steps over a byte's border at every look."""
    looks = iter(range(0xFFF0, 1 << 40, 0x11))

    def look(number: int) -> bytes:
        return energy_bank(next(looks), 1.0)

    return look


def test_a_counter_that_moves_while_it_is_read_comes_out_whole() -> None:
    gear = Gear(5, moving())
    adapter = Adapter([gear])
    first = read(adapter, 5, bank(202, 0x04), 7)
    second = read(adapter, 5, bank(202, 0x04), 7)
    energies = [int.from_bytes(raw[1:], "big") for raw in (first, second)]
    assert all((energy - 0xFFF0) % 0x11 == 0 for energy in energies)  # a torn number would be between two looks
    assert energies[0] < energies[1]  # frozen for the time of one reading only


def test_a_bank_is_left_unfrozen() -> None:
    adapter = Adapter([Gear(5, moving())])
    read(adapter, 5, bank(202, 0x04), 7)

    def low_byte() -> bytes:
        adapter.handle(sci_frame(0xA3, 0x0A))
        return adapter.handle(sci_frame(0x0B, 0xC5))

    assert low_byte() != low_byte()


def test_a_bank_that_does_not_freeze_is_refused() -> None:
    adapter = street(5)
    adapter.gears[0].latches = False
    with pytest.raises(Refused, match="bank 202: expected it to freeze"):
        read(adapter, 5, bank(202, 0x04), 7)


@pytest.mark.parametrize("number", [203, 207, 17])
def test_a_bank_that_the_gear_does_not_have_reads_as_mask(number: int) -> None:
    assert read(street(5), 5, bank(number, 0x04), 3) == b"\xff\xff\xff"


def test_locations_beyond_the_last_read_as_mask() -> None:
    assert read(street(5), 5, bank(202, 0x0E), 4) == BANKS[202][0x0E:] + b"\xff\xff"


# What goes wrong


@pytest.mark.parametrize("place", [DaliPlace(query="status"), bank(202, 0x04), bank(1, 0x03), bank(207, 0x04)])
def test_absent_gear_is_no_answer(place: DaliPlace) -> None:
    with pytest.raises(NoAnswer, match=r"DALI gear 7: .* silence; check the lamp's mains supply"):
        read(street(5), 7, place)


def test_gear_without_mains_is_no_answer() -> None:
    adapter = street(5)
    adapter.gears[0].switch_mains(on=False)
    with pytest.raises(NoAnswer):
        read(adapter, 5, DaliPlace(query="actual_level"))


@pytest.mark.parametrize("fault", ["receive", "collision", "checksum", "garbled"])
@pytest.mark.parametrize(
    "place", [DaliPlace(query="actual_level"), DaliPlace(query="led_failure"), bank(202, 0x04), bank(1, 0x03)]
)
def test_two_corrupted_exchanges_in_a_row_are_repeated(fault: str, place: DaliPlace) -> None:
    size = 12 if place.bank == 202 else 1
    clean = street(5)
    expected = read(clean, 5, place, size)
    for frame in range(clean.frames):
        adapter = street(5)
        adapter.faults.extend([None] * frame + [fault, fault])
        assert read(adapter, 5, place, size) == expected, frame


@pytest.mark.parametrize("fault", ["receive", "collision", "checksum", "garbled"])
def test_three_corrupted_exchanges_are_garbled(fault: str) -> None:
    adapter = street(5)
    adapter.faults.extend([fault] * 3)
    with pytest.raises(GarbledAnswer):
        read(adapter, 5, DaliPlace(query="status"))


@pytest.mark.parametrize("number", [205, 1])
@pytest.mark.parametrize("second", ["lost", "receive"])
def test_frames_that_gear_did_not_hear_never_give_wrong_bytes(number: int, second: Fault) -> None:
    """Any frame of the reading is lost on the bus, and any later one too or its answer is corrupted; DTR0 and DTR1 are
    left from other reading before."""
    places = [(bank(number, 0x04), 4), (bank(number, 0x0B), 2), (bank(number, 0x1B), 1)]
    (span,) = Sci().spans(places, LIMITS)
    clean = street(5)
    expected = run(clean, Sci().read(5, span, LIMITS))
    outcomes = {"right": 0, "refused": 0}
    for first in range(clean.frames):
        for later in range(clean.frames - first):
            adapter = street(5)
            read(adapter, 5, bank(206, 0x04), 3)
            adapter.faults.extend([None] * first + ["lost"] + [None] * later + [second])
            try:
                data = run(adapter, Sci().read(5, span, LIMITS))
            except (GarbledAnswer, NoAnswer, Refused):
                outcomes["refused"] += 1
                continue
            assert data == expected, (first, later)
            outcomes["right"] += 1
    assert all(outcomes.values()), outcomes


@pytest.mark.parametrize(
    "faults",
    [
        [None, "lost", None, "lost"],  # DTR0 not set, a read not heard: they must not make up for each other
        [None, None, None, "lost", None, "lost", None, "lost"],  # the same at the second attempt
    ],
)
def test_lost_frames_that_make_up_for_each_other_are_noticed(faults: list[Fault | None]) -> None:
    adapter = street(5)
    read(adapter, 5, bank(1, 0x04))  # leaves DTR0 at 5
    adapter.faults.extend(faults)
    try:
        assert read(adapter, 5, bank(1, 0x04), 2) == BANKS[1][4:6]
    except GarbledAnswer:
        assert len(faults) > 4


def test_a_single_unwanted_location_is_read_and_a_wider_hole_is_not() -> None:
    (span,) = Sci().spans([(bank(1, 0x04), 1), (bank(1, 0x06), 1), (bank(1, 0x09), 1)], LIMITS)
    assert span.runs() == [(4, 3), (9, 1)]


@pytest.mark.parametrize(
    ("place", "frames"), [(DaliPlace(query="status"), 1), (bank(1, 0x03), 5), (bank(202, 0x04), 7)]
)
def test_absent_gear_costs_few_frames(place: DaliPlace, frames: int) -> None:
    adapter = street(5)
    with pytest.raises(NoAnswer):
        read(adapter, 7, place)
    assert adapter.frames == frames


def test_a_reading_survives_one_lost_frame_unless_it_named_the_bank() -> None:
    (span,) = Sci().spans([(bank(205, 0x04), 4), (bank(205, 0x1B), 1)], LIMITS)
    lost = []
    for frame in range(19):
        adapter = street(5)
        adapter.faults.extend([None] * frame + ["lost"])
        try:
            assert run(adapter, Sci().read(5, span, LIMITS)) == BANKS[205][4:8] + b"\xff" * 19 + BANKS[205][0x1B:0x1C]
        except GarbledAnswer:
            lost.append(frame)
    assert lost == [0]


def test_two_gears_at_one_address_are_garbled_with_the_reason() -> None:
    with pytest.raises(GarbledAnswer, match="two lamps at this address"):
        read(street(5, 5), 5, DaliPlace(query="actual_level"))


def test_a_short_circuit_is_the_links_fault() -> None:
    adapter = street(5)
    adapter.shorted = True
    with pytest.raises(LinkError, match="short circuit or no bus supply; check the bus wires"):
        read(adapter, 5, DaliPlace(query="status"))


def test_a_silent_adapter_is_the_links_fault() -> None:
    adapter = street(5)
    adapter.faults.append("silent")
    with pytest.raises(LinkError, match="DALI adapter: expected a reply within"):
        read(adapter, 5, DaliPlace(query="status"))


def test_an_adapter_that_only_confirms_is_silence_of_the_gear() -> None:
    procedure = Sci().read(5, Span(QUERY_AREA, 0x90, 1, {}), LIMITS)
    ask = next(procedure)
    assert ask.recognise(bytes(5)) == 0
    with pytest.raises(NoAnswer, match="DALI gear 5"):
        procedure.throw(GarbledAnswer("broke off", bytes(5)))


def test_a_confirmation_with_half_an_answer_is_not_silence() -> None:
    procedure = Sci().read(5, Span(QUERY_AREA, 0x90, 1, {}), LIMITS)
    half = bytes(5) + b"\x02\x00"
    ask = next(procedure)
    for _ in range(2):
        assert ask.recognise(half) == 0
        ask = procedure.throw(GarbledAnswer("broke off", half))
    assert ask.recognise(half) == 0
    with pytest.raises(GarbledAnswer):
        procedure.throw(GarbledAnswer("broke off", half))


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=100)
def test_any_bytes_from_the_adapter_give_only_our_errors(data: bytes) -> None:
    ask = next(Sci().read(5, Span(QUERY_AREA, 0xA0, 1, {}), LIMITS))
    try:
        length = ask.recognise(data)
    except GarbledAnswer:
        return
    assert 0 <= length <= len(data)
    assert length or len(data) < 5 * 16


def test_patience_covers_the_frames_on_the_bus() -> None:
    (span,) = Sci().spans([(bank(202, 0x04), 1)], LIMITS)
    procedure = Sci().read(5, span, LIMITS)
    asks = [next(procedure)]
    asks.append(procedure.send(bytes.fromhex("01 00 00 00 01")))
    assert asks[1].request[0] & 0x10  # ENABLE WRITE MEMORY, sent twice
    assert asks[0].patience_s >= LIMITS.patience_s + 0.050
    assert asks[1].patience_s >= LIMITS.patience_s + 0.100


@pytest.mark.parametrize("short", [-1, 64])
def test_a_short_address_is_0_to_63(short: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 63"):
        run(street(5), Sci().read(short, Span(QUERY_AREA, 0x90, 1, {}), LIMITS))


# Writing


@pytest.mark.parametrize("level", [0, 1, 128, 254])
def test_a_level_is_written(level: int) -> None:
    adapter = street(5, 6)
    run(adapter, Sci().write(5, DaliPlace(query="actual_level"), bytes((level,)), LIMITS))
    assert [gear.level for gear in adapter.gears] == [level, 254]
    assert read(adapter, 5, DaliPlace(query="actual_level")) == bytes((level,))


@pytest.mark.parametrize("query", ["system_failure_level", "power_on_level"])
def test_gear_keeps_a_level_for_itself_and_goes_there(query: str) -> None:
    adapter = street(5, 6)
    place = DaliPlace(query=query)  # type: ignore[arg-type]
    run(adapter, Sci().write(5, place, b"\x64", LIMITS))
    assert [getattr(gear, query) for gear in adapter.gears] == [100, 254]
    assert read(adapter, 5, place) == b"\x64"
    assert [gear.level for gear in adapter.gears] == [254, 254], "it moves nothing now"
    for gear in adapter.gears:
        if query == "power_on_level":
            gear.switch_mains(False)
            gear.switch_mains(True)
        else:
            gear.lose_bus()
    assert [gear.level for gear in adapter.gears] == [100, 254]


@pytest.mark.parametrize("fault", ["lost", "receive", "collision"])
@pytest.mark.parametrize("at", range(4))
def test_a_frame_that_goes_astray_keeps_no_wrong_level(fault: Fault, at: int) -> None:
    adapter = street(5)
    adapter.faults.extend([None] * at + [fault])
    try:
        run(adapter, Sci().write(5, DaliPlace(query="power_on_level"), b"\x64", LIMITS))
    except BusError:
        pass
    assert adapter.gears[0].power_on_level in (100, 254)


@pytest.mark.parametrize(
    ("place", "raw"),
    [
        (DaliPlace(query="actual_level"), b"\xff"),
        (DaliPlace(query="actual_level"), b""),
        (DaliPlace(query="actual_level"), b"\1\2"),
        (DaliPlace(query="system_failure_level"), b"\xff"),
        (DaliPlace(query="max_level"), b"\1"),
        (DaliPlace(query="status"), b"\1"),
        (bank(1, 3), b"\1"),
    ],
)
def test_nothing_but_a_level_is_written(place: DaliPlace, raw: bytes) -> None:
    adapter = street(5)
    with pytest.raises(ValueError, match="DALI gear 5: expected"):
        run(adapter, Sci().write(5, place, raw, LIMITS))
    assert adapter.frames == 0
