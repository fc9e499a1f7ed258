"""Profiles: a closed schema, all faults at once, and nothing that could be written where nothing may be."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ProfileError
from gateway.point import ModbusPoint, bytes_of, decoder_of, duration_s
from gateway.profile import (
    OBSERVED_ONLY,
    CanopenProfile,
    DaliProfile,
    ModbusProfile,
    load_profile,
    parse_profile,
    recorded_profile,
)

HEAD = """
maker = "Essai"
model = "E-1"
kind = "{kind}"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
"""
POINT = """
[[point]]
name = "flow"
unit = "m3/h"
personal = "no"
register = "holding"
address = 10
type = "u16"
scale = 0.1
"""
EXAMPLE = """
[[example]]
source = "worked out by hand"
point = "flow"
raw = "00 7B"
value = 12.3
"""


def text_of(head: str = "", point: str = POINT, example: str = EXAMPLE, kind: str = "pump") -> str:
    return HEAD.format(kind=kind) + head + point + example


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "essai/e1")
    return caught.value.faults


def test_a_sound_profile() -> None:
    profile = parse_profile(text_of(), "essai/e1")
    assert isinstance(profile, ModbusProfile)
    (point,) = profile.point
    assert (point.name, point.area, point.address, point.unit) == ("flow", "holding", 10, "m3/h")
    assert bytes_of(point) == 2
    assert decoder_of(point)(b"\x00\x7b") == 12.3


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (text_of(head="colour = 3\n"), "colour", "unknown key"),
        (text_of(point=POINT + "scal = 2\n"), "point[0].scal", "unknown key"),
        (text_of(head="[modbus]\npatience = 3\n"), "modbus.patience", "unknown key"),
        (text_of(head='[modbus]\nline = "9600 8N9"\n'), "modbus.line", "got '9600 8N9'"),
        (text_of(point=POINT.replace("m3/h", "furlong")), "point[0].unit", "'furlong' is not known; use a UCUM code"),
        (text_of(point=POINT.replace('personal = "no"\n', "")), "point[0].personal", "missing; add it"),
        (text_of(point=POINT.replace('"no"', '"maybe"')), "point[0].personal", "got 'maybe'"),
        (text_of(point=POINT.replace('"u16"', '"uint23"')), "point[0].type", "got 'uint23'"),
        (text_of(point=POINT.replace('"holding"', '"coil"')), "point[0]", "a coil or discrete input has type 'bit'"),
        (text_of(point=POINT + 'every = "soon"\n'), "point[0].every", "'soon': expected a duration"),
        (text_of(point=POINT + "range = [5, 5]\n"), "point[0]", "expected [lowest, highest]"),
        (text_of(point=POINT + "range = [nan, 5]\n"), "point[0].range[0]", "finite"),
        (text_of(point=POINT.replace("10", "70000")), "point[0].address", "got 70000"),
        (text_of(point=POINT.replace("10", "65535").replace("u16", "u32")), "point[0]", "go beyond 65535"),
        (text_of(point=POINT.replace("flow", "9 lives")), "point[0].name", "got '9 lives'"),
        (text_of(point=POINT + POINT), "point 'flow'", "described twice"),
        (text_of(point=POINT.replace("scale = 0.1", "scale = 1e-310")), "point 'flow'.scale", "at least 1e-12"),
        (text_of(point=POINT + POINT.replace("flow", "other")), "points 'flow' and 'other'", "same place"),
        (text_of(point=""), "point", "missing"),
        (text_of(example=""), "example", "at least one"),
        (text_of(example=EXAMPLE.replace("12.3", "99")), "example[0]", "gives 12.3 for 'flow', the example says 99.0"),
        (text_of(example=EXAMPLE.replace("00 7B", "00 00 7B")), "example[0].raw", "expected the 2 bytes of 'flow', got 3"),
        (text_of(example=EXAMPLE.replace("00 7B", "")), "example[0].raw", "expected the 2 bytes of 'flow', got 0"),
        (text_of(example=EXAMPLE.replace("00 7B", "zz")), "example[0].raw", "hexadecimal"),
        (text_of(example=EXAMPLE.replace('"flow"', '"flaw"')), "example[0].point", "'flaw' is no point"),
        (
            text_of().replace('"modbus"', '"modbux"'),
            "protocol",
            "'modbus', 'dali', 'mbus', 'gatt', 'bthome', 'ruuvi', 'canopen', got 'modbux'",
        ),
        (text_of().replace('protocol = "modbus"\n', ""), "protocol", "missing"),
        ("a = [", "(file)", "not TOML"),
    ],
    ids=lambda value: value[:30].strip() if isinstance(value, str) and "\n" not in value else "",
)  # fmt: skip
def test_a_fault_names_file_key_and_what_was_found(text: str, key: str, said: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith("essai/e1.toml: ")
    if said != "not TOML":
        assert fault.startswith((f"essai/e1.toml: {key}:", f"essai/e1.toml: {key} "))
    assert said in fault


def test_all_faults_are_told_at_once() -> None:
    text = text_of(head="colour = 3\n", point=POINT.replace("m3/h", "furlong").replace('"no"', '"maybe"'))
    assert len(faults_of(text)) == 3
    text = text_of(point=POINT + POINT, example=EXAMPLE.replace("12.3", "1"))
    assert len(faults_of(text)) == 2


def test_a_huge_wrong_value_does_not_flood_the_message() -> None:
    (fault,) = faults_of(text_of(point=POINT.replace("10", "'" + "x" * 5000 + "'")))
    assert len(fault) < 250


# What may be written

WRITE = "write = { min = 0, max = 100 }\n"


@pytest.mark.parametrize("kind", OBSERVED_ONLY)
def test_a_lift_that_could_be_written_to_does_not_load(kind: str) -> None:
    (fault,) = faults_of(text_of(point=POINT + WRITE, kind=kind))
    assert f"point 'flow'.write: a {kind} is observed and never written to" in fault


def test_every_kind_of_lift_is_observed_only() -> None:
    kinds = ModbusProfile.model_json_schema()["properties"]["kind"]["enum"]
    assert {kind for kind in kinds if "lift" in kind} == set(OBSERVED_ONLY)


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (POINT.replace("holding", "input") + WRITE, "can only be read"),
        (POINT.replace("scale = 0.1\n", "") + "mask = 0x0F\n" + WRITE, "shares its bytes"),
        (POINT + "write = { min = 0, max = 1e6 }\n", "does not fit u16"),
        (POINT + "write = { min = -1, max = 5 }\n", "does not fit u16"),
        (POINT + "sentinels = [1000]\n" + WRITE, "would mean 'no value'"),
    ],
)
def test_a_write_that_cannot_be_done_is_a_fault_of_the_file(point: str, said: str) -> None:
    fault = faults_of(text_of(point=point))[0]
    assert "point 'flow'.write" in fault
    assert said in fault


@pytest.mark.parametrize(
    "limits", ["{ min = 5, max = 4 }", "{ min = 0 }", "{ min = 0, max = inf }", "{ min = nan, max = 1 }", "true"]
)
def test_limits_of_a_write_are_two_numbers_in_order(limits: str) -> None:
    assert all("point[0].write" in fault for fault in faults_of(text_of(point=POINT + f"write = {limits}\n")))


def test_a_point_is_not_writable_unless_it_says_so() -> None:
    assert parse_profile(text_of(), "essai/e1").point[0].write is None


def test_of_dali_gear_only_levels_and_groups_can_be_written(root: Path) -> None:
    text = (root / "device_profiles/lighting/d4i_driver.toml").read_text("utf-8")
    profile = parse_profile(text, "lighting/d4i_driver")
    assert isinstance(profile, DaliProfile)
    assert [point.name for point in profile.point if point.write] == [
        "level",
        "power_on_level",
        "failure_level",
        "groups",
    ]
    other = text.replace('query = "status"\n', 'query = "status"\nwrite = { min = 0, max = 1 }\n')
    (fault,) = faults_of(other)
    assert "only actual_level, system_failure_level, power_on_level, groups_8_15 can be written" in fault


def test_a_device_that_only_speaks_cannot_be_written(root: Path) -> None:
    text = (root / "device_profiles/waste/bthome_bin.toml").read_text("utf-8")
    (fault,) = faults_of(text.replace("range = [20, 5000]\n", "write = { min = 0, max = 1 }\n"))
    assert "only speaks" in fault


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("60s", 60.0),
        (" 15min ", 900.0),
        ("1 h", 3600.0),
        ("2d", 172800.0),
        ("1.5h", 5400.0),
        ("366d", 31622400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,400}(ms|s|min|h|d)", fullmatch=True))
def test_a_duration_is_between_nothing_and_a_year_or_an_error(text: str) -> None:
    said = ""
    try:
        seconds = duration_s(text)
    except ValueError as error:
        said = str(error)
    assert "expected a duration" in said or 0 < seconds <= 366 * 86400


# Anything at all

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text())
def test_any_text_is_a_profile_or_our_error(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_profile(text, "any")


@given(st.sampled_from(["maker", "kind", "protocol", "point", "example", "modbus", "every", "evidence"]), ANYTHING)
def test_any_value_of_a_key_is_taken_or_our_error(key: str, value: Any) -> None:
    table = tomllib.loads(text_of()) | {key: value}
    check(table)


@given(
    st.sampled_from(["name", "unit", "address", "type", "scale", "offset", "mask", "sentinels", "range", "write", "labels",
                     "every", "word_order", "exponent_at", "register"]),
    ANYTHING,
)  # fmt: skip
def test_any_value_of_a_key_of_a_point_is_taken_or_our_error(key: str, value: Any) -> None:
    table = tomllib.loads(text_of())
    table["point"][0][key] = value
    check(table)


@given(st.sampled_from(["bthome_bin", "d4i_driver"]), st.integers(), st.integers(), ANYTHING)
def test_any_place_is_taken_or_our_error(name: str, number: int, index: int, value: Any) -> None:
    root = Path(__file__).resolve().parents[2]
    (file,) = (root / "device_profiles").glob(f"*/{name}.toml")
    table = tomllib.loads(file.read_text("utf-8"))
    table["point"][0] |= (
        {"object": number, "index": index} if name == "bthome_bin" else {"query": value, "bank": number}
    )
    check(table)


def check(table: dict[str, Any]) -> None:
    """Parses a table that no TOML text may be able to hold."""
    import gateway.profile as module

    loads = tomllib.loads
    module.tomllib.loads = lambda text: table  # type: ignore[assignment,misc]
    faults: tuple[str, ...] = ()
    try:
        parse_profile("", "any")
    except ProfileError as error:
        faults = error.faults
    finally:
        module.tomllib.loads = loads
    assert all(fault.startswith("any.toml: ") for fault in faults)


# Files


def test_a_profile_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "water").mkdir()
    (tmp_path / "water" / "one.toml").write_text(text_of(), "utf-8")
    with pytest.raises(ProfileError, match="known there: water/one"):
        load_profile(tmp_path, "water/two")
    with pytest.raises(ProfileError, match="folders: water"):
        load_profile(tmp_path, "fire/two")
    with pytest.raises(ProfileError, match="folders: "):
        load_profile(tmp_path / "nowhere", "water/one")
    assert load_profile(tmp_path, "water/one").model == "E-1"


@given(st.text(max_size=20))
def test_any_name_is_our_error(name: str) -> None:
    with pytest.raises(ProfileError):
        load_profile(Path(__file__).parent, name)


@pytest.mark.parametrize("name", ["../secret/x", "/etc/passwd", "", "/", "water/../x", "water/*", "a\0b/c", "water"])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="expected 'folder/name'"):
        load_profile(tmp_path, name)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "water").mkdir()
    (tmp_path / "water" / "one.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path, "water/one")


def test_a_recorded_device_has_the_points_it_is_given() -> None:
    profile = recorded_profile({"flow": "m3/h"})
    assert [(point.name, point.unit, point.personal) for point in profile.point] == [("flow", "m3/h", "no")]


def test_a_modbus_point_knows_its_place() -> None:
    (point,) = parse_profile(text_of(), "e").point
    assert isinstance(point, ModbusPoint)
    assert (point.place.area, point.place.address) == ("holding", 10)


NODE = """
maker = "Essai"
model = "N-1"
kind = "lift"
protocol = "canopen"
source = "manual N-1, page 3"
evidence = "manual"
[canopen]
bitrate = 250000
[[point]]
name = "position"
unit = "mm"
personal = "indirect"
cob_id = 0x18C
byte = 0
type = "i32"
range = [0, 100000]
[[example]]
source = "worked out by hand"
point = "position"
raw = "39 30 00 00"
value = 12345
"""


def test_a_node_of_a_lift_counts_lowest_byte_first() -> None:
    profile = parse_profile(NODE, "essai/n1")
    assert isinstance(profile, CanopenProfile)
    assert profile.point[0].decoder()(b"\x39\x30\x00\x00") == 12345


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("byte = 0", "byte = 5", "byte: 4 bytes from 5 on go beyond the 8 of a frame; correct either"),
        ("cob_id = 0x18C", "cob_id = 0x080\nplus_node = true", "cob_id: what an emergency message says"),
        ("cob_id = 0x18C", "cob_id = 0", "cob_id: "),
        ('type = "i32"', 'type = "i32"\nexponent_at = 1', "type: numbers in a frame have no exponent apart"),
        ('personal = "indirect"', 'personal = "indirect"\nwrite = { min = 0, max = 1 }', "a lift is observed"),
        ("bitrate = 250000", "bitrate = 800000", "canopen.bitrate: "),
    ],
)
def test_a_fault_of_a_node_is_told(good: str, bad: str, said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(NODE.replace(good, bad, 1), "essai/n1")
    assert any(said in fault for fault in caught.value.faults)
