"""Plans: every point is read at its period, in as few requests as the device takes, and judged by what it can give."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import Span
from gateway.codec.bthome import Bthome, BthomePlace
from gateway.codec.modbus import Rtu
from gateway.codec.value import Format
from gateway.plan import NO_VALUE, Block, Column, plan_ears, plan_visits, take
from gateway.profile import load_profile
from gateway.reading import Flaw, Quality
from gateway.site import Device

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"


def device_of(name: str, every_s: float = 60.0, address: int | str = 1) -> Device:
    profile = load_profile(PROFILES, name)
    return Device("d", name, profile, "b", address, "", every_s, {point.name: point for point in profile.point})


def test_points_of_one_period_are_read_together() -> None:
    visits = plan_visits([device_of("energy/eastron_sdm630")], Rtu())
    assert [(visit.period_s, len(visit.blocks)) for visit in visits] == [(60.0, 2), (900.0, 1)]
    assert visits[0].points == ("voltage_l1", "power", "frequency") or len(visits[0].points) == 3


def test_two_points_of_one_register_are_one_request() -> None:
    (visit,) = plan_visits([device_of("lift/gros_sdk500")], Rtu())
    (block,) = visit.blocks
    assert block.span.count == 5
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    block.decode(bytes.fromhex("0105 0190 0000 2328 00C8"), values, flaws)
    assert values == {"door_state": 1, "door_error": 5, "door_current": 400, "door_position": 900.0, "door_speed": 200}
    assert flaws == {}


def column(low: float, high: float) -> Column:
    return Column("p", 0, 2, lambda data: float(int.from_bytes(data, "big")), (low, high), "bar")


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_a_value_is_kept_or_its_flaw_says_why(raw: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    take(column(low, high), float(raw), values, flaws)
    if low <= raw <= high:
        assert (values, flaws) == ({"p": float(raw)}, {})
    else:
        assert values == {"p": None}
        assert flaws["p"].quality is Quality.BAD
        assert "hors de la plage du capteur" in flaws["p"].reason
        assert "bar" in flaws["p"].reason


def test_no_value_is_a_flaw_too() -> None:
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    take(column(0, 1), None, values, flaws)
    assert (values, flaws) == ({"p": None}, {"p": NO_VALUE})


def test_each_column_gets_its_own_bytes() -> None:
    columns = tuple(
        Column(name, at, at + 2, lambda data: float(int.from_bytes(data, "big")), None, "1")
        for at, name in ((0, "a"), (4, "b"))
    )
    (visit,) = plan_visits([device_of("water/keller_x_line")], Rtu())
    values: dict[str, float | None] = {}
    Block(visit.blocks[0].span, columns).decode(bytes.fromhex("0001 FFFF 0002"), values, {})
    assert values == {"a": 1.0, "b": 2.0}


def test_heard_devices_are_known_by_address_and_their_points_by_place() -> None:
    speakers = plan_ears(
        [device_of("waste/bthome_bin", address="A4:C1:38:00:00:01")], {"bthome": lambda device: Bthome()}
    )
    speaker = speakers["A4:C1:38:00:00:01"]
    assert speaker.device.name == "d"
    assert speaker.columns[BthomePlace(object=0x40)].point == "distance"


FORMATS = st.builds(
    Format,
    type=st.sampled_from(
        ["u8", "i8", "bit", "u16", "i16", "u24", "u32", "i32", "u48", "u64", "i64", "f32", "f64", "bcd16"]
    ),
    word_order=st.sampled_from(["big", "little"]),
    byte_order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([1.0, 0.1, 10.0, -0.25]),
    offset=st.sampled_from([0.0, -40.0]),
)


@given(st.lists(st.tuples(FORMATS, st.integers(0, 32)), max_size=12), st.binary(min_size=40, max_size=40))
def test_a_block_unpacked_at_once_gives_what_its_columns_give_one_by_one(
    formats: list[tuple[Format, int]], data: bytes
) -> None:
    columns = tuple(
        Column(f"p{number}", at, at + form.size, form.decoder(), (-1000.0, 1000.0) if number % 2 else None, "1")
        for number, (form, at) in enumerate(formats)
    )
    whole: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    Block(Span(3, 0, 20, {}), columns).decode(data, whole, flaws)

    single: dict[str, float | None] = {}
    single_flaws: dict[str, Flaw] = {}
    for column in columns:
        take(column, column.decode(data[column.start : column.stop]), single, single_flaws)
    assert (whole, flaws) == (single, single_flaws)
