"""A site file: whatever is wrong with it is told at once, with file, key, what was expected and what to do."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway.site as module
from gateway.errors import SiteError
from gateway.profile import ModbusProfile, Profile, load_profile
from gateway.site import SPOKEN_ON, Device, Serial, Site, load_site, parse_site

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"

GATEWAY = """
[gateway]
id = "edge-0042"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
"""
BUSES = """
[[bus]]
name = "rs485-1"
protocol = "modbus-rtu"
port = "/dev/ttyUSB0"
line = "19200 8E1"
[[bus]]
name = "rue"
protocol = "dali-sci"
port = "/dev/ttyUSB1"
[[bus]]
name = "radio"
protocol = "ble"
"""
DEVICES = """
[[device]]
name = "debit"
profile = "water/siemens_mag6000"
bus = "rs485-1"
address = 3
[[device]]
name = "pression"
profile = "water/keller_x_line"
bus = "rs485-1"
address = 4
every = "5min"
[[device]]
name = "lampe-1"
profile = "lighting/d4i_driver"
bus = "rue"
address = 1
[[device]]
name = "bac-1"
profile = "waste/bthome_bin"
bus = "radio"
address = "a4:c1:38:00:00:01"
"""
USES = """
[[watch]]
name = "secteur"
model = "leak"
[watch.inputs]
flow = ["debit/flow"]
pressure = ["pression/pressure"]
[[lighting]]
name = "rue"
lamps = ["lampe-1/level"]
[[lighting.slot]]
from = "dusk"
level = 100
"""
WHOLE = GATEWAY + BUSES + DEVICES + USES


def profile_of(name: str) -> Profile:
    return load_profile(PROFILES, name)


def parse(text: str) -> Site:
    return parse_site(text, "site.toml", Path("/somewhere"), profile_of)


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(SiteError) as caught:
        parse(text)
    assert all(fault.startswith("site.toml: ") for fault in caught.value.faults)
    return caught.value.faults


def test_a_sound_site() -> None:
    site = parse(WHOLE)
    assert list(site.devices) == ["debit", "pression", "lampe-1", "bac-1"]
    assert site.devices["pression"].every_s == 300
    assert site.devices["bac-1"].address == "A4:C1:38:00:00:01"
    assert site.point("debit/flow").unit == "m3/h"
    assert site.data == Path("/somewhere/guet-data")
    assert site.period_s == 900
    assert site.zone.key == "Europe/Paris"
    assert isinstance(site.buses["rs485-1"], Serial)


KEYED = DEVICES.replace('"a4:c1:38:00:00:01"', '"a4:c1:38:00:00:01"\nkey_file = "bac-1.key"')
KEY = "231d39c1d7cc1ab1aee224cd096db932"


def with_key(folder: Path, text: str, mode: int = 0o640) -> Site:
    (folder / "bac-1.key").write_text(text)
    (folder / "bac-1.key").chmod(mode)
    return parse_site(GATEWAY + BUSES + KEYED, "site.toml", folder, profile_of)


def test_a_key_stands_in_a_file_of_its_own_and_shows_nowhere(tmp_path: Path) -> None:
    site = with_key(tmp_path, KEY + "\n")
    assert site.devices["bac-1"].key == bytes.fromhex(KEY)
    assert KEY not in repr(site)
    assert repr(bytes.fromhex(KEY)) not in repr(site)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (KEY, 0o644, "open to every user of this machine; run `chmod o= "),
        (KEY[:-1], 0o600, "expected 32 hexadecimal digits"),
        (KEY[:-1] + "é", 0o600, "expected 32 hexadecimal digits"),
        ("", 0o600, "expected 32 hexadecimal digits"),
    ],
)
def test_a_key_file_that_will_not_do_is_told_without_its_content(
    tmp_path: Path, text: str, mode: int, said: str
) -> None:
    with pytest.raises(SiteError) as caught:
        with_key(tmp_path, text, mode)
    (fault,) = caught.value.faults
    assert fault.startswith("site.toml: device 'bac-1'.key_file: 'bac-1.key'")
    assert said in fault
    assert KEY[:8] not in fault


def test_a_device_may_be_given_more_patience_than_its_profile_gives() -> None:
    at = "address = 4"
    given = DEVICES.replace(at, f"{at}\npatience_ms = 1500\ngap_ms = 20")
    device = parse(GATEWAY + BUSES + given).devices["pression"]
    assert isinstance(device.profile, ModbusProfile)
    assert device.limits == replace(device.profile.limits(), patience_s=1.5, gap_s=0.02)


def test_what_speaks_unasked_has_no_patience() -> None:
    text = GATEWAY + BUSES + DEVICES.replace('"a4:c1:38:00:00:01"', '"a4:c1:38:00:00:01"\npatience_ms = 9')
    (fault,) = faults_of(text)
    assert "bac-1'.patience_ms, interval_ms, gap_ms: expected of a device that is asked" in fault


def test_a_key_file_that_is_not_there_is_told_with_the_other_faults() -> None:
    faults = faults_of(GATEWAY + BUSES + KEYED.replace("address = 4", "address = 999"))
    assert [fault for fault in faults if "key_file: 'bac-1.key': expected a file that can be read" in fault]
    assert [fault for fault in faults if "999" in fault]


def test_only_what_encrypts_has_a_key() -> None:
    (fault,) = faults_of(GATEWAY + BUSES + DEVICES.replace("address = 4", 'address = 4\nkey_file = "k"'))
    assert "only BTHome devices have a key, 'water/keller_x_line' speaks modbus; remove it" in fault


def test_a_point_is_never_read_more_often_than_its_device() -> None:
    debit = parse(WHOLE).devices["debit"]
    assert debit.period_s(debit.points["flow"]) == 60
    assert debit.period_s(debit.points["volume"]) == 900
    slow = parse(WHOLE.replace('"5min"', '"2h"')).devices["pression"]
    assert slow.period_s(slow.points["pressure"]) == 7200


def test_every_protocol_of_a_bus_says_which_profiles_speak_on_it() -> None:
    kinds = {
        kind
        for bus in (module.Serial, module.Can, module.Tcp, module.Radio)
        for kind in bus.model_json_schema()["properties"]["protocol"].get("enum")
        or [bus.model_json_schema()["properties"]["protocol"]["const"]]
    }
    assert kinds == set(SPOKEN_ON)


ONE_FAULT = [
    (WHOLE.replace('commune = "Exemple-le-Bourg"\n', ""), "gateway.commune: missing"),
    (WHOLE.replace("latitude = 47.24", "latitude = 147.24"), "gateway.latitude: "),
    (WHOLE.replace("latitude = 47.24", "latitude = nan"), "gateway.latitude: "),
    (WHOLE.replace("Europe/Paris", "Europe/Bourg"), "gateway.timezone: 'Europe/Bourg': expected a zone"),
    (WHOLE.replace("Europe/Paris", "Europe"), "gateway.timezone: 'Europe': expected a zone"),
    (WHOLE.replace("Europe/Paris", "../../etc/passwd"), "gateway.timezone: "),
    (WHOLE.replace("longitude = 6.02", 'longitude = 6.02\nsummary = "7min"'), "gateway.summary: "),
    (WHOLE.replace("edge-0042", "edge/+/#"), "gateway.id: "),
    ("colour = 1\n" + WHOLE, "colour: unknown key"),
    ("ble = 1\n" + WHOLE, "ble: unknown key"),
    (WHOLE.replace("address = 3", "address = 3\nadress = 3"), "device[0].adress: unknown key"),
    (WHOLE.replace("address = 3", "address = 3\nble = 3"), "device[0].ble: unknown key"),
    (WHOLE.replace('"/dev/ttyUSB0"', '"/dev/ttyUSB0"\nhost = "x"'), "bus[0].host: unknown key"),
    (WHOLE.replace('"19200 8E1"', '"19200"'), "bus[0].line: "),
    (WHOLE.replace('line = "19200 8E1"', ""), "bus 'rs485-1'.line: missing; give speed and framing, its profiles suggest"),
    (WHOLE.replace('"modbus-rtu"', '"modbus"'), "bus[0].protocol: expected one of 'modbus-rtu', 'dali-sci'"),
    (WHOLE.replace('protocol = "ble"', ""), "bus[2].protocol: missing"),
    (WHOLE.replace('"/dev/ttyUSB1"', '"/dev/ttyUSB0"'), "bus 'rue': /dev/ttyUSB0 is the port of bus 'rs485-1' already"),
    (WHOLE.replace('"/dev/ttyUSB1"', '""'), "bus[1].port: "),
    (WHOLE.replace("address = 4", "address = 3"), "device 'pression'.address: 3 on bus 'rs485-1' is taken by 'debit'"),
    (WHOLE.replace("address = 4", "address = 248"), "device 'pression'.address: expected a unit id from 1 to 247, got 248"),
    (WHOLE.replace("address = 4", 'address = "4"'), "device 'pression'.address: expected a unit id from 1 to 247, got '4'"),
    (WHOLE.replace("address = 4", "address = 4.5"), "device[1].address: expected a unit id"),
    (WHOLE.replace("address = 4", "address = true"), "device[1].address: expected a unit id"),
    (WHOLE.replace("address = 1\n", "address = 64\n"), "device 'lampe-1'.address: expected a short address from 0 to 63"),
    (WHOLE.replace("address = 1\n", "\n"), "device 'lampe-1'.address: expected a short address from 0 to 63, got None"),
    (WHOLE.replace("a4:c1", "zz:c1"), "device 'bac-1'.address: expected a MAC"),
    (WHOLE.replace('bus = "rue"', 'bus = "rues"'), "device 'lampe-1'.bus: expected the name of a [[bus]] (rs485-1, rue"),
    (WHOLE.replace('bus = "rue"', 'bus = "rs485-1"'), "device 'lampe-1'.bus: 'rs485-1' speaks modbus-rtu"),
    (WHOLE.replace("water/keller_x_line", "water/kellar"), "device 'pression'.profile: water/kellar.toml: expected a"),
    (WHOLE.replace("water/keller_x_line", ""), "device 'pression'.profile: '': expected 'folder/name'"),
    (WHOLE.replace('"5min"', '"5 minutes"'), "device[1].every: '5 minutes': expected a duration"),
    (WHOLE.replace('name = "pression"', 'name = "debit"').replace("pression/pressure", "debit/flow"),
     "device 'debit': there are 2 of that name"),
    (WHOLE.replace('name = "rue"\nprotocol', 'name = "radio"\nprotocol').replace('bus = "rue"', 'bus = "radio"'),
     "bus 'radio': there are 2 of that name"),
    (WHOLE.replace("debit/flow", "debit/flaw"), "watch 'secteur'.inputs.flow: 'debit/flaw': device 'debit' has no point"),
    (WHOLE.replace("debit/flow", "debot/flow"), "watch 'secteur'.inputs.flow: 'debot/flow': there is no device"),
    (WHOLE.replace("debit/flow", "debit"), "watch 'secteur'.inputs.flow: 'debit': expected 'device/point'"),
    (WHOLE.replace('"lampe-1/level"', '"lampe-1/power"'), "lighting 'rue'.lamps: 'lampe-1/power' cannot be written"),
    (WHOLE.replace('"dusk"', '"midnight"'), "lighting[0].slot[0].from: "),
    (WHOLE.replace("level = 100", "level = 101"), "lighting[0].slot[0].level: "),
    (GATEWAY, "device: expected at least one [[device]]"),
    (GATEWAY.replace("[gateway]", "[gateway"), "not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "begins"), ONE_FAULT, ids=[begins[:40] for _, begins in ONE_FAULT])
def test_one_fault_is_told_once_with_its_key(text: str, begins: str) -> None:
    faults = faults_of(text)
    assert faults[0].startswith(f"site.toml: {begins}")
    if "2 of that name" not in begins:
        assert len(faults) == 1


METER = """
[[bus]]
name = "compteurs"
protocol = "mbus"
port = "/dev/ttyUSB2"
[[device]]
name = "mairie"
profile = "water/itron_cyble"
bus = "compteurs"
address = {address}
"""


@pytest.mark.parametrize("address", ["0", "250", '"00000251"', '"12345678"'])
def test_a_meter_has_a_primary_address_or_the_digits_of_its_plate(address: str) -> None:
    site = parse_site(WHOLE + METER.format(address=address), "site.toml", Path(), profile_of)
    assert site.devices["mairie"].address == (address.strip('"') if '"' in address else int(address))


@pytest.mark.parametrize("address", ["251", "-1", "12345678", '"1234567"', '"00000250"', '"1234567A"', '"5"'])
def test_a_meter_s_address_that_could_mean_two_things_is_refused(address: str) -> None:
    (fault,) = faults_of(WHOLE + METER.format(address=address))
    assert "expected a primary address from 0 to 250, or the eight digits on the type plate in quotes" in fault


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ('url = "http://x"', "expected 'mqtts://host:port'"),
        ('url = "mqtt://10.0.0.1"', "plain mqtt is only for this machine (127.0.0.1); use 'mqtts://10.0.0.1:8883'"),
        ('url = "mqtt://127.0.0.1.example.org"', "plain mqtt is only for this machine"),
        ('url = "mqtts://joe:secret@x"', "use the keys user and password_file"),
        ('url = "mqtts://x:99999"', "upstream.url: "),
        ('url = "mqtts://x:0"', "upstream.url: "),
        ('url = "mqtts://[::1"', "upstream.url: "),
        ('url = "mqtts://x"\nack = "maybe"', "upstream.ack: "),
        ('url = "mqtts://x"\nsparkplug_group = "a/b"', "expected a Sparkplug id"),
        ('url = "mqtts://x"\nsparkplug_host = "my scada"', "expected a Sparkplug id"),
        ('url = "mqtts://x"\npassword = "secret"', "upstream.password: unknown key"),
    ],
)
def test_the_way_to_the_platform_is_safe_or_refused(upstream: str, said: str) -> None:
    (fault,) = faults_of(WHOLE + f"[upstream]\n{upstream}\n")
    assert said in fault
    assert "secret" not in fault.replace("password", "")


@pytest.mark.parametrize(
    "url", ["mqtt://127.0.0.1:1883", "mqtt://localhost", "mqtt://[::1]:1883", "mqtts://broker.example.org:8883"]
)
def test_a_safe_way_is_taken(url: str) -> None:
    upstream = parse(WHOLE + f'[upstream]\nurl = "{url}"\n').upstream
    assert upstream is not None
    assert upstream.ack == "commit"


def test_an_unknown_key_a_missing_profile_and_a_clash_are_told_together() -> None:
    text = (
        WHOLE.replace("[gateway]", '[gateway]\ncolor = "red"')
        .replace("address = 4", "address = 3\nevry = 3")
        .replace("lighting/d4i_driver", "lighting/unknown")
        .replace("debit/flow", "debit/flaw")
    )
    faults = "\n".join(faults_of(text))
    assert faults.count("\n") == 4
    for said in ("gateway.color: unknown key", "device[1].evry: unknown key", "is taken by 'debit'",
                 "lighting/unknown.toml: expected a profile", "has no point 'flaw'"):  # fmt: skip
        assert said in faults


def test_what_follows_from_a_fault_is_not_told_as_another() -> None:
    assert len(faults_of(WHOLE.replace('"modbus-rtu"', '"modbus"'))) == 1  # devices on that bus
    assert len(faults_of(WHOLE.replace("address = 3", "address = []"))) == 1  # its points in a watch
    assert len(faults_of(WHOLE.replace("lighting/d4i_driver", "lighting/no"))) == 1  # its lamp in a street
    assert len(faults_of(WHOLE.replace("latitude = 47.24", 'latitude = "north"'))) == 1


def test_the_address_that_a_profile_suggests_counts_in_a_clash() -> None:
    text = WHOLE.replace("address = 3", "").replace("address = 4", "address = 1")
    (fault,) = faults_of(text)
    assert "1 on bus 'rs485-1' is taken by 'debit'" in fault


def test_the_same_address_on_two_buses_is_no_clash() -> None:
    other = BUSES.replace('"rs485-1"', '"rs485-2"').split("[[bus]]")[1].replace("ttyUSB0", "ttyUSB9")
    text = WHOLE.replace("address = 4", "address = 3").replace('x_line"\nbus = "rs485-1"', 'x_line"\nbus = "rs485-2"')
    assert parse(text + "[[bus]]" + other).devices["pression"].address == 3


def test_a_recorded_device_needs_no_bus_and_may_not_have_one() -> None:
    text = (
        GATEWAY
        + """
[[device]]
name = "rejoue"
profile = "recorded"
[[watch]]
name = "secteur"
model = "leak"
[watch.inputs]
flow = ["rejoue/flow"]
pressure = ["rejoue/amont"]
"""
    )
    site = parse(text)
    assert site.devices["rejoue"].units == {"flow": "m3/h", "amont": "bar"}
    (fault,) = faults_of(text.replace('"recorded"', '"recorded"\nbus = "x"'))
    assert "device 'rejoue'.bus: a recorded device has none" in fault


def test_a_faulty_profile_is_told_with_its_own_faults(tmp_path: Path) -> None:
    (tmp_path / "water").mkdir()
    good = (PROFILES / "water/keller_x_line.toml").read_text("utf-8")
    bad = good.replace('unit = "bar"', 'unit = "barr"').replace('unit = "Cel"', 'unit = "degC"')
    (tmp_path / "water" / "mine.toml").write_text(bad, "utf-8")
    (tmp_path / "site.toml").write_text(
        GATEWAY + BUSES + '[[device]]\nname = "p"\nprofile = "water/mine"\nbus = "rs485-1"\naddress = 2\n', "utf-8"
    )
    with pytest.raises(SiteError) as caught:
        load_site(tmp_path / "site.toml", tmp_path)
    assert [fault[:64] for fault in caught.value.faults] == [
        "site.toml: device 'p'.profile: water/mine.toml: point[0].unit: u",
        "site.toml: device 'p'.profile: water/mine.toml: point[1].unit: u",
    ]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_a_file_that_is_missing_or_no_text_or_empty(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "site.toml").write_bytes(content)
    with pytest.raises(SiteError, match=r"site\.toml: "):
        load_site(tmp_path / "site.toml", PROFILES)


# Anything at all

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text())
def test_any_text_is_a_site_or_our_error(text: str) -> None:
    with pytest.raises(SiteError):
        parse(text)


def check(table: dict[str, Any]) -> None:
    """Parses a table that no TOML text may be able to hold."""
    loads = tomllib.loads
    module.tomllib.loads = lambda text: table  # type: ignore[attr-defined]
    faults: tuple[str, ...] = ("site.toml: none",)
    try:
        parse_site("", "site.toml", Path(), lambda name: KNOWN.get(name) or profile_of(name))
    except SiteError as error:
        faults = error.faults
    finally:
        module.tomllib.loads = loads  # type: ignore[attr-defined]
    assert faults
    assert all(fault.startswith("site.toml: ") for fault in faults)


KNOWN = {entry["profile"]: profile_of(entry["profile"]) for entry in tomllib.loads(WHOLE)["device"]}
TABLE_KEYS = sorted({(kind, key) for kind, entries in tomllib.loads(WHOLE).items() if isinstance(entries, list)
                     for entry in entries for key in (*entry, "every", "unknown")})  # fmt: skip


@given(st.sampled_from(["gateway", "upstream", "bus", "device", "watch", "lighting", "other"]), ANYTHING)
def test_any_value_of_a_table_is_taken_or_our_error(key: str, value: Any) -> None:
    check(tomllib.loads(WHOLE) | {key: value})


@given(st.lists(st.tuples(st.sampled_from(TABLE_KEYS), st.integers(0, 3), ANYTHING), min_size=1, max_size=4))
def test_any_values_of_any_keys_are_taken_or_our_error(changes: list[tuple[tuple[str, str], int, Any]]) -> None:
    table = tomllib.loads(WHOLE)
    for (kind, key), at, value in changes:
        entries = table[kind]
        entries[at % len(entries)][key] = value
    check(table)


@given(st.sampled_from(sorted([*tomllib.loads(WHOLE)["gateway"], "data", "summary"])), ANYTHING)
def test_any_value_of_the_gateway_is_taken_or_our_error(key: str, value: Any) -> None:
    table = tomllib.loads(WHOLE)
    table["gateway"][key] = value
    check(table)


@given(st.text(max_size=30))
def test_any_address_of_the_platform_is_taken_or_our_error(url: str) -> None:
    check(tomllib.loads(WHOLE) | {"upstream": {"url": f"mqtts://{url}"}})


@pytest.mark.parametrize(
    ("address", "number"), [(17, 17), ("12345678", 12345678), ("A4:C1:38:00:00:01", 0xA4C138000001)]
)
def test_an_address_is_a_number_to_the_codec_of_an_asked_bus(address: int | str, number: int) -> None:
    profile = load_profile(PROFILES, "guet/lift")
    assert Device("d", "guet/lift", profile, "b", address, "", 60.0, {}).number == number


LIFT = (
    GATEWAY
    + """
[[bus]]
name = "gaine"
protocol = "slcan"
port = "/dev/ttyACM0"
[[device]]
name = "ascenseur"
profile = "guet/canopen_lift"
bus = "gaine"
"""
)


def test_a_lift_s_bus_is_only_listened_to_at_its_bit_rate() -> None:
    site = parse(LIFT)
    bus = site.buses["gaine"]
    assert isinstance(bus, module.Can)
    assert (bus.line, bus.bitrate, site.devices["ascenseur"].address) == ("115200 8N1", 250_000, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LIFT.replace('port = "/dev/ttyACM0"', 'port = "/dev/ttyACM0"\nbitrate = 800000'), "bus[0].bitrate: "),
        (LIFT.replace('port = "/dev/ttyACM0"', 'port = "/dev/ttyACM0"\nmode = "open"'), "bus[0].mode: unknown key"),
        (LIFT + "address = 128\n", "device 'ascenseur'.address: expected a node id from 1 to 127, got 128"),
        (LIFT + 'address = "4"\n', "device 'ascenseur'.address: expected a node id from 1 to 127, got '4'"),
        (LIFT.replace("guet/canopen_lift", "lift/gros_sdk500"), "device 'ascenseur'.bus: 'gaine' speaks slcan"),
        (
            LIFT + '[[device]]\nname = "codeur"\nprofile = "lift/baumer_gxp5_417"\nbus = "gaine"\naddress = 9\n',
            "device 'codeur'.profile: identifier 18C on bus 'gaine' is what 'ascenseur' sends; one of the two profiles",
        ),
    ],
)
def test_one_fault_of_a_lift_s_bus_is_told(text: str, said: str) -> None:
    (fault,) = faults_of(text)
    assert said in fault


def test_a_radio_may_listen_and_connect_but_not_twice_the_same() -> None:
    both = GATEWAY + BUSES + DEVICES + '[[bus]]\nname = "capteurs"\nprotocol = "ble-gatt"\n'
    assert {bus.protocol for bus in parse(both).buses.values()} >= {"ble", "ble-gatt"}
    (fault,) = faults_of(both + '[[bus]]\nname = "autres"\nprotocol = "ble-gatt"\n')
    assert "bus 'autres': hci0 (ble-gatt) is the port of bus 'capteurs' already" in fault


def test_a_connected_sensor_has_a_mac() -> None:
    sensor = '[[device]]\nname = "salle"\nprofile = "heating/xiaomi_lywsd03mmc_pvvx"\nbus = "capteurs"\naddress = {}\n'
    text = GATEWAY + BUSES + DEVICES + '[[bus]]\nname = "capteurs"\nprotocol = "ble-gatt"\n' + sensor
    assert parse(text.format('"a4:c1:38:e9:2a:f3"')).devices["salle"].address == "A4:C1:38:E9:2A:F3"
    (fault,) = faults_of(text.format(3))
    assert "device 'salle'.address: expected a MAC such as 'A4:C1:38:00:00:01', got 3" in fault
