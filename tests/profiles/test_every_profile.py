"""Every profile on disk loads, proves itself by bytes from another source, and allows no write that it should not."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.app import PROTOCOLS
from gateway.clock import SystemClock
from gateway.codec import PolledCodec
from gateway.codec.dali import Sci
from gateway.codec.gatt import Gatt
from gateway.codec.mbus import Mbus
from gateway.codec.modbus import Rtu, Tcp
from gateway.contradiction import unbounded
from gateway.errors import ActionError, LinkError, ProfileError
from gateway.link import Traffic
from gateway.link.slcan import SlcanEar
from gateway.plan import plan_ears, plan_visits
from gateway.point import WritablePoint, bytes_of, decoder_of
from gateway.poll import PolledBus
from gateway.profile import (
    OBSERVED_ONLY,
    BthomeProfile,
    CanopenProfile,
    DaliProfile,
    GattProfile,
    MbusProfile,
    ModbusProfile,
    Profile,
    RuuviProfile,
    json_schema,
    kinds,
    load_profile,
    parse_profile,
    recorded_profile,
)
from gateway.site import SPOKEN_ON, Device
from gateway.unit import UNITS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "device_profiles"
FILES = sorted(path for path in FOLDER.rglob("*.toml"))
NAMES = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FILES]
SCHEMA = FOLDER / "profile.schema.json"
HEARD = {
    protocol: make
    for bus in PROTOCOLS.values()
    if isinstance(bus.codec, Mapping)
    for protocol, make in bus.codec.items()
}
EVIDENCE_ELSEWHERE = ("source", "manual", "library", "standard")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def profile(name: str) -> Profile:
    return load_profile(FOLDER, name)


def device_of(name: str, profile: Profile) -> Device:
    points = {point.name: point for point in profile.point}
    return Device("d", name, profile, "b", 1, "", 60.0, points)


SWEPT = """
energy/abb_b23 energy/carlo_gavazzi_em24 energy/carlo_gavazzi_em24_e1 energy/eastron_sdm120 energy/eastron_sdm630
energy/eastron_sdm72 energy/finder_7m38 energy/janitza_b23 energy/orno_we514 energy/orno_we516
energy/schneider_iem3000 energy/siemens_pac2200 energy/socomec_countis_e3x energy/wirenboard_map3e_fw1
energy/wirenboard_map3e_fw2 guet/bin guet/lamp guet/lift guet/pressure heating/beca_bht006 heating/kampmann_148943
heating/shelly_blu_ht heating/xiaomi_lywsd03mmc_pvvx guet/canopen_lift lift/arkel_arcode lift/baumer_gxp5_417
lift/elgo_limax2 lift/gros_sdk500
lift/invertek_elevator_core lighting/d4i_driver
lighting/d4i_luminaire lighting/dali_led_gear lighting/ecodim_dali_gw2 lighting/intesis_ibmbsdal
occupancy/shelly_blu_door_window occupancy/shelly_blu_motion occupancy/wirenboard_wb_msw_v3 pump/abb_acs550
pump/danfoss_fc51 pump/eaton_m_max pump/grundfos_magna3 pump/invertek_optidrive_eco pump/schneider_atv312
pump/vacon_10 pump/water_rig ventilation/komfovent_ping2 ventilation/systemair_save waste/bthome_bin
waste/dfrobot_sen0492 waste/shelly_blu_distance water/apg_mnu water/dinel_ulm53l water/keller_x_line
water/krohne_ifc300 water/longrun_lrf3000s water/siemens_mag6000 water/vega_vegapuls_c21 water/xylem_magflux
weather/ecowitt_ws90 weather/ruuvitag weather/tsingsense_road weather/vaisala_hmdw110 weather/vaisala_wxt530
heating/engelmann_sensostar_2 heating/itron_cf_55 heating/kamstrup_multical_601 heating/sensus_pollucom_e
water/elster_falcon water/engelmann_waterstar water/gwf_mtkcoder water/itron_cyble water/kamstrup_flowiq_2101
"""
"""Every profile there is. A new one is written here too, so that none is ever left out of the sweep unnoticed."""

ONLY_OWN = """
energy/eastron_sdm72 energy/finder_7m38 energy/janitza_b23 energy/orno_we514 energy/orno_we516
energy/schneider_iem3000 energy/siemens_pac2200 energy/socomec_countis_e3x energy/wirenboard_map3e_fw1 guet/bin
guet/canopen_lift guet/lamp guet/lift guet/pressure heating/beca_bht006 pump/eaton_m_max pump/vacon_10 pump/water_rig
ventilation/systemair_save water/apg_mnu water/krohne_ifc300 water/siemens_mag6000 water/xylem_magflux
"""
"""Those whose examples are all worked out by ourselves: they prove our decoder, and say nothing of the device. They do
not count among the real models below."""

REAL_MODELS = 30
FIELDS: dict[str, tuple[set[str], int]] = {
    "water": ({"pressure_sensor", "level_sensor", "water_meter"}, 2),
    "flow": ({"flow_meter"}, 1),
    "pumps": ({"pump"}, 3),
    "lighting": ({"lamp"}, 3),
    "lifts": ({"lift", "lift_door", "lift_drive"}, 3),
    "energy": ({"energy_meter"}, 4),
    "bins": ({"bin"}, 2),
    "heating and ventilation": ({"heating", "ventilation"}, 3),
    "occupancy": ({"occupancy"}, 3),
    "weather": ({"weather", "road_weather"}, 3),
}
"""What kinds of device belong to which field, and how many real models of it there are at least."""


def test_the_sweep_sweeps_all_that_is_there() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert set(NAMES) == set(SWEPT.split())
    assert {name.split("/")[0] for name in NAMES} == set(kinds(FOLDER))
    assert all(name.count("/") == 1 for name in NAMES), "a profile lies in one folder, its kind"
    assert {ModbusProfile, DaliProfile, MbusProfile, GattProfile, BthomeProfile, RuuviProfile, CanopenProfile} == {
        type(load_profile(FOLDER, name)) for name in NAMES
    }


def real_models() -> dict[str, Profile]:
    """Profiles of devices that others make, each with bytes that others give."""
    profiles = {name: load_profile(FOLDER, name) for name in NAMES}
    return {
        name: profile
        for name, profile in profiles.items()
        if profile.evidence != "own" and any(example.evidence != "own" for example in profile.example)
    }


def test_profiles_that_only_we_prove_are_known_and_do_not_count() -> None:
    assert set(NAMES) - set(real_models()) == set(ONLY_OWN.split())
    assert len(real_models()) >= REAL_MODELS


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_the_town_has_real_models(field: str) -> None:
    its_kinds, least = FIELDS[field]
    found = [name for name, profile in real_models().items() if profile.kind in its_kinds]
    assert len(found) >= least, found


def test_every_kind_belongs_to_a_field() -> None:
    known = set().union(*(its_kinds for its_kinds, _ in FIELDS.values()))
    assert {load_profile(FOLDER, name).kind for name in NAMES} <= known


def test_variants_name_each_other_and_tell_themselves_apart(name: str, profile: Profile) -> None:
    for variant in profile.variants:
        other = load_profile(FOLDER, variant)
        assert name in other.variants
        assert (other.model, other.firmware) != (profile.model, profile.firmware)


def test_every_measured_point_has_a_range(profile: Profile) -> None:
    assert unbounded(profile.point) == []


def test_it_loads_and_each_example_decodes(profile: Profile) -> None:
    points = {point.name: point for point in profile.point}
    assert profile.example
    for example in profile.example:
        point = points[example.point]
        assert not isinstance(profile, type(recorded_profile({})))
        value = decoder_of(point)(bytes.fromhex(example.raw))  # type: ignore[arg-type]
        assert value == (None if example.value is None else pytest.approx(example.value, rel=1e-6))


def test_its_examples_tell_where_their_bytes_come_from(profile: Profile) -> None:
    assert all(len(example.source) >= 20 for example in profile.example)
    assert len({(example.point, example.raw) for example in profile.example}) == len(profile.example)


def test_it_says_where_its_map_comes_from(profile: Profile) -> None:
    assert len(profile.source) >= 20
    assert profile.evidence in EVIDENCE_ELSEWHERE or profile.caveats or "own" in profile.source


def test_every_key_of_personal_is_written_in_the_file(name: str) -> None:
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    assert table["point"]
    assert all(point["personal"] in ("no", "indirect", "direct") for point in table["point"])


def test_people_can_read_it(profile: Profile) -> None:
    for point in profile.point:
        assert point.title, f"{point.name}: a title in French for the technician"
        assert point.unit in UNITS
        assert all(re.fullmatch(r"-?\d+", raw) for raw in point.labels)


def test_every_writable_point_has_limits_within_what_it_can_give(profile: Profile) -> None:
    for point in profile.point:
        if point.write is not None:
            assert point.write.min < point.write.max
            assert point.range is not None
            assert point.range[0] <= point.write.min
            assert point.write.max <= point.range[1]


def test_what_is_written_can_be_read_back(profile: Profile) -> None:
    for point in profile.point:
        if point.write is not None:
            decode = decoder_of(point)  # type: ignore[arg-type]
            assert decode(point.encode(point.write.min)) == point.write.min  # type: ignore[union-attr]
            assert decode(point.encode(point.write.max)) == point.write.max  # type: ignore[union-attr]


def test_a_plan_reads_every_point_once_within_what_the_device_takes(name: str, profile: Profile) -> None:
    device = device_of(name, profile)
    if isinstance(profile, BthomeProfile | RuuviProfile | CanopenProfile):
        speaker = next(iter(plan_ears([device], HEARD).values()))
        assert {column.point for column in speaker.columns.values()} == set(device.points)
        return
    codecs: dict[str, list[PolledCodec]] = {
        "modbus": [Rtu(), Tcp()],
        "dali": [Sci()],
        "mbus": [Mbus()],
        "gatt": [Gatt()],
    }
    for codec in codecs[profile.protocol]:
        visits = plan_visits([device], codec)
        assert sorted(point for visit in visits for point in visit.points) == sorted(device.points)
        for visit in visits:
            for block in visit.blocks:
                for column in block.columns:
                    assert column.stop - column.start == bytes_of(device.points[column.point])  # type: ignore[arg-type]
                if isinstance(profile, ModbusProfile):
                    assert block.span.count <= max(profile.modbus.max_read, 4)


# Lifts are observed only


class _NoLink:
    """A port that fails the test as soon as anything is sent."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.sent: list[bytes] = []

    async def exchange(self, ask: Any) -> bytes:
        self.sent.append(ask.request)
        raise LinkError("sent")

    async def close(self) -> None:
        pass


def test_there_are_lifts_and_none_has_a_write() -> None:
    profiles = {name: load_profile(FOLDER, name) for name in NAMES}
    assert all(profile.kind in OBSERVED_ONLY for name, profile in profiles.items() if "lift" in name)
    lifts = [profile for profile in profiles.values() if profile.kind in OBSERVED_ONLY]
    assert len(lifts) >= 2
    assert not any(point.write for profile in lifts for point in profile.point)


async def test_not_even_a_forged_profile_writes_to_a_lift() -> None:
    lift = load_profile(FOLDER, "lift/gros_sdk500")
    assert isinstance(lift, ModbusProfile)
    device = device_of("lift/gros_sdk500", lift)
    for codec in (Rtu(), Tcp()):
        link = _NoLink()
        bus = PolledBus("b", link, codec, [device], SystemClock(), lambda snapshot: None)
        for point in device.points.values():
            with pytest.raises(ActionError, match="observed and never written to"):
                await bus.write(device, point, 1.0)
        assert link.sent == []


def test_a_codec_s_write_is_called_in_one_place_only() -> None:
    """What the test above closes is the only way: no other code of the gateway calls a codec's write."""
    found = []
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write":
                owner = ast.unparse(node.func.value)
                if "codec" in owner or owner == "super()":
                    found.append((path.name, owner))
    assert found == [("poll.py", "self.codec")]


def test_a_lift_on_its_own_bus_is_heard_by_what_cannot_write() -> None:
    """Whoever overhears a lift has neither a way to ask nor one to write: not its bus, not its codec, not its points."""
    overheard = [name for name in NAMES if isinstance(load_profile(FOLDER, name), CanopenProfile)]
    assert overheard
    for name in overheard:
        lift = load_profile(FOLDER, name)
        assert lift.kind in OBSERVED_ONLY
        for bus, protocol in PROTOCOLS.items():
            if lift.protocol not in SPOKEN_ON[bus]:
                continue
            assert isinstance(protocol.codec, Mapping), "a bus that is heard, of which app makes no writer"
            codec = protocol.codec[lift.protocol](device_of(name, lift))
            assert not hasattr(codec, "write")
            assert not hasattr(codec, "read")
        for point in lift.point:
            assert not isinstance(point, WritablePoint)
            assert not hasattr(SlcanEar, "exchange")
    text = (FOLDER / f"{overheard[0]}.toml").read_text("utf-8")
    text = text.replace('personal = "indirect"', 'personal = "indirect"\nwrite = { min = 0, max = 1 }', 1)
    with pytest.raises(ProfileError, match="observed and never written to"):
        parse_profile(text, overheard[0])


def test_the_plan_of_a_lift_only_reads() -> None:
    lift = load_profile(FOLDER, "lift/gros_sdk500")
    assert isinstance(lift, ModbusProfile)
    codec = Rtu()
    for visit in plan_visits([device_of("lift/gros_sdk500", lift)], codec):
        for block in visit.blocks:
            ask = next(codec.read(24, block.span, lift.limits()))
            assert ask.request[1] in (1, 2, 3, 4)


# The schema for editors


def test_the_schema_for_editors_is_current() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == json_schema(), (
        "run: python -m gateway.profile > device_profiles/profile.schema.json"
    )


def test_the_schema_for_editors_takes_every_profile(name: str) -> None:
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(table)))


def test_an_editor_finds_the_schema_by_the_first_line(name: str) -> None:
    assert (FOLDER / f"{name}.toml").read_text(encoding="utf-8").startswith("#:schema ../profile.schema.json\n")


def test_the_schema_for_editors_refuses_an_unknown_key(name: str) -> None:
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    table["point"][0]["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(json.loads(json.dumps(table)))


def test_the_readme_tells_every_field() -> None:
    schema = json_schema()
    fields = {field for part in schema["$defs"].values() for field in part.get("properties", {})}
    told = (FOLDER / "README.md").read_text("utf-8")
    assert fields >= {"maker", "point", "sentinels", "object", "bank", "personal"}
    assert [field for field in sorted(fields) if f"`{field}`" not in told and f"[{field}]" not in told] == []
