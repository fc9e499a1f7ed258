"""M-Bus against the standard and against pyMeterBus: frames and data types by their clauses of EN 13757-2 and -3, and whole
telegrams recorded from real meters, each record of which both decoders must read alike."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import meterbus
import pytest

from gateway.codec.mbus import MbusPlace, frame_length, readout, selection, short_frame
from gateway.codec.mbus_record import Quantity, Record, records
from gateway.profile import MbusProfile, load_profile

PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"


def seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - datetime.fromisoformat("1970-01-01")).total_seconds()


def one(data: str) -> Record:
    (record,), more = records(bytes.fromhex(data))
    assert not more
    return record


# Link layer, EN 13757-2 (IEC 60870-5-2, frame format FT 1.2)


def test_5_3_short_frames_of_reset_and_request() -> None:
    assert short_frame(0x40, 1) == bytes.fromhex("10 40 01 41 16")  # SND_NKE
    assert short_frame(0x7B, 254) == bytes.fromhex("10 7B FE 79 16")  # REQ_UD2, FCB set
    assert short_frame(0x5B, 1) == bytes.fromhex("10 5B 01 5C 16")  # REQ_UD2, FCB clear


def test_5_3_lengths_of_the_three_kinds_of_frame() -> None:
    assert frame_length(bytes.fromhex("E5")) == 1
    assert frame_length(bytes.fromhex("10 40 01 41 16")) == 5
    assert frame_length(bytes.fromhex("68 03 03 68 53 FE 50 A1 16")) == 9  # control frame: application reset


def test_13757_3_clause_12_selection_of_12345678_with_all_else_left_open() -> None:
    assert selection(12345678) == bytes.fromhex("68 0B 0B 68 53 FD 52 78 56 34 12 FF FF FF FF B2 16")


def test_frames_are_read_as_ours_by_py_meter_bus() -> None:
    for control, address in ((0x40, 0), (0x5B, 250), (0x7B, 253)):
        theirs = meterbus.load(short_frame(control, address))
        assert (theirs.header.cField.parts, theirs.header.aField.parts) == ([control], [address])


# Data types, EN 13757-3 Annex A, and value information, clause 6.4


@pytest.mark.parametrize(
    ("data", "quantity", "value"),
    [
        ("0C 13 78 56 34 12", "volume", 12345.678),  # type A, 8 digits, 10^-3 m3
        ("0B 3B 40 12 00", "volume_flow", 1.24),
        ("0A 5A 45 F1", "flow_temperature", -14.5),  # type A: F as highest digit is a minus
        ("0C 13 78 5A 34 12", "volume", None),  # type A: a digit that is none
        ("0C 13 AA AA AA AA", "volume", None),
        ("02 59 18 FC", "flow_temperature", -10.0),  # type B, two's complement
        ("02 59 00 80", "flow_temperature", None),  # type B: the lowest number is "invalid"
        ("03 60 46 31 00", "temperature_difference", 12.614),
        ("07 03 00 E8 76 48 17 00 00 00", "energy", 100_000_000.0),  # 64 bits, 1 Wh
        ("06 03 40 42 0F 00 00 00", "energy", 1000.0),  # 48 bits
        ("05 5B 22 F3 26 42", "flow_temperature", 41.73743),  # type H, a float32
        ("05 5B 00 00 C0 7F", "flow_temperature", None),  # NaN
        ("05 5B 00 00 80 7F", "flow_temperature", None),  # infinity
        ("02 6C BF 1C", "date", seconds("2013-12-31")),  # type G
        ("02 6C 00 00", "date", None),
        ("02 6C FF FF", "date", None),
        ("04 6D 32 37 1F 15", "datetime", seconds("2008-05-31T23:50")),  # type F
        ("04 6D B2 37 1F 15", "datetime", None),  # type F: marked invalid
        ("04 6D 0A 0C CD 13", "datetime", seconds("2014-03-13T12:10")),
        ("06 6D 38 A2 0C F3 1A 2B", "datetime", None),  # type I: marked invalid
        ("04 0E 01 00 00 00", "energy", 1_000_000 / 3_600_000),  # 10^6 J
        ("04 FB 01 05 00 00 00", "energy", 5000.0),  # FB: MWh
        ("04 FB 08 09 00 00 00", "energy", 250.0),  # FB: 9 x 0.1 GJ
        ("02 FD 47 E6 00", "voltage", 2.3),  # FD: 10^-2 V
        ("02 23 A7 04", "on_time", 1191 * 24.0),
        ("04 22 30 01 00 00", "on_time", 304.0),
        ("04 20 10 0E 00 00", "on_time", 1.0),
        ("02 43 64 00", "volume_flow", 0.6),  # 10^-4 m3/min
        ("02 4D 0A 00", "volume_flow", 3.6),  # 10^-4 m3/s
        ("02 6A 1A 04", "pressure", 105.0),
        ("02 FD 17 00 80", "error_flags", 32768.0),  # bits are never negative (type D)
        ("02 FF 20 34 12", "manufacturer", 4660.0),
        ("0D 13 C4 78 56 34 12", "volume", 12345.678),  # LVAR: 8 digits
        ("0D 13 D2 34 12", "volume", -1.234),  # LVAR: negative digits
        ("0D 13 E3 40 E2 01", "volume", 123.456),  # LVAR: binary
        ("0D 13 05 31 32 33 34 35", "volume", None),  # LVAR: text
        ("00 13", "volume", None),  # no data
        ("04 93 7D 01 00 00 00", "volume", 1.0),  # VIFE 7D: times 1,000
        ("04 93 74 E8 03 00 00", "volume", 0.01),  # VIFE 74: times 10^-2
        ("02 DA 7A 0A 00", "flow_temperature", 1.01),  # VIFE 7A: plus 10^-1 of a unit of the VIF
        ("04 93 15 0A 00 00 00", "volume", None),  # VIFE 15 is a report: no data available
        ("34 13 0A 00 00 00", "volume", None),  # function 3: a value during an error
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_6_3_and_6_4_a_record_says_what_it_says(data: str, quantity: Quantity, value: float | None) -> None:
    record = one(data)
    assert record.quantity == quantity
    assert record.value == value, "exactly: no noise of floating point"


def test_annex_a_type_i_with_seconds() -> None:
    # 2015-10-19 12:34:56 : seconds, minutes, hours, day with the low bits of the year, month with its high bits, week
    assert one("06 6D 38 22 0C F3 1A 2B").value == seconds("2015-10-19T12:34:56")


def test_annex_a_type_f_says_its_century() -> None:
    assert one("04 6D 00 20 21 01").value == seconds("2001-01-01")  # year 1 of the hundred after 1900 + 100
    assert one("04 6D 00 00 21 01").value == seconds("2001-01-01")
    assert one("04 6D 00 00 A1 A1").value == seconds("1985-01-01")


def test_6_3_3_storage_tariff_and_subunit_gather_over_all_dife() -> None:
    record = one("84 8F 0F 13 01 00 00 00")  # two DIFE: storage 15 x 2 + 15 x 32
    assert (record.storage, record.tariff, record.subunit) == (510, 0, 0)
    record = one("C4 D1 62 13 01 00 00 00")  # storage 1 + 1x2 + 2x32, tariff 1 + 2x4, subunit 1 + 1x2
    assert (record.storage, record.tariff, record.subunit) == (67, 9, 3)


def test_6_4_4_a_changed_meaning_never_passes_for_the_plain_one() -> None:
    record = one("04 93 3C 13 00 00 00")
    assert (record.quantity, record.modifiers, record.value) == ("volume", (0x3C,), 0.019)
    telegram = bytes.fromhex("68 0E 0E 68 08 01 78") + bytes.fromhex("04 93 3C 13 00 00 00 2F 2F 2F 2F")
    telegram += bytes((sum(telegram[4:]) & 0xFF, 0x16))
    assert MbusPlace(quantity="volume").value(telegram) is None
    assert MbusPlace(quantity="volume", modifiers=(0x3C,)).value(telegram) == 0.019


def test_6_3_2_filler_more_follows_and_the_makers_own() -> None:
    found, more = records(bytes.fromhex("2F 01 13 05 2F 2F 01 14 06 1F"))
    assert ([record.value for record in found], more) == ([0.005, 0.06], True)
    found, more = records(bytes.fromhex("01 13 05 0F FF FF FF"))
    assert (len(found), more) == (1, False)


def test_oms_volume_2_annex_n_gas_meter() -> None:
    telegram = bytes.fromhex(
        "68 20 20 68 08 FD 72 78 56 34 12 93 15 33 03 2A 00 00 00 0C 14 27 04 85 02 04 6D 32 37 1F 15 02 FD 17 00 00 89 16"
    )
    assert readout(telegram).identification == 12345678
    assert MbusPlace(quantity="volume").value(telegram) == 28504.27
    assert MbusPlace(quantity="datetime").value(telegram) == seconds("2008-05-31T23:50")
    assert MbusPlace(quantity="error_flags").value(telegram) == 0


# Whole telegrams of real meters against pyMeterBus

TELEGRAMS = {
    "landis_t230": """
68 E2 E2 68 08 00 72 05 02 66 66 A7 32 07 04 01 10 00 00 09 74 04 09 70 08 0C 06 00 00 00 00 0C 14 00 00 00
00 0B 2D 00 00 00 0B 3B 00 00 00 0B 5A 95 01 00 0B 5E 97 01 00 0B 62 02 00 F0 0C 78 05 02 66 66 89 10 71 07
3C 22 69 37 00 00 0C 22 69 37 00 00 0C 26 00 00 00 00 8C 90 10 06 00 00 00 00 9B 10 2D 00 00 00 9B 10 3B 00
00 00 9B 10 5A 07 03 00 9B 10 5E 07 05 00 94 10 AD 6F 00 00 00 00 94 10 BB 6F 00 00 00 00 94 10 DA 6F 32 14
7A 18 94 10 DE 6F 2B 0B 69 18 4C 06 00 00 00 00 4C 14 00 00 00 00 7C 22 69 34 00 00 4C 26 00 00 00 00 CC 90
10 06 00 00 00 00 DB 10 2D 00 00 00 DB 10 3B 00 00 00 DB 10 5A 07 03 00 DB 10 5E 07 05 00 84 8F 0F 6D 00 00
E1 F1 04 6D 04 0C 8D 11 0F 09 07 00 66 01 7D 16
""",
    "svm_f22": """
68 5C 5C 68 08 01 72 89 60 00 01 CD 4E 09 0C 94 70 00 00 04 06 6E 6D 00 00 04 13 45 C6 09 00 84 40 13 45 C6
09 00 02 5B F3 00 02 5F F3 00 02 62 00 00 04 22 E2 18 00 00 04 26 DB 18 00 00 04 3B 00 00 00 00 04 2C 00 00
00 00 04 6D 0C 15 A8 22 84 40 6E 00 00 00 00 84 80 40 6E 00 00 00 00 1F A7 16
""",
    "sontex_531": """
68 51 51 68 08 01 72 24 06 42 08 EE 4D 0D 04 2C 30 00 00 04 0E 00 00 00 00 04 14 00 00 00 00 05 5B 00 00 00
00 05 5F 00 00 00 00 05 3E 00 00 00 00 05 2B 00 00 00 00 C4 00 0E 00 00 00 00 C4 00 14 00 00 00 00 C4 40 14
00 00 00 00 C4 80 40 14 00 00 00 00 1F 71 16
""",
    "float_records": """
68 31 31 68 08 01 72 45 58 57 03 B4 05 34 04 9E 00 27 B6 03 06 F9 34 15 03 15 C6 00 4D 05 2E 00 00 00 00 05
3D 00 00 00 00 05 5B 22 F3 26 42 05 5F C7 DA 0D 42 FA 16
""",
    "minocal_wr3": """
68 CD CD 68 08 00 72 59 27 80 31 4D 6A 82 04 2B 00 00 00 04 06 00 00 00 00 04 14 01 00 00 00 04 2D 00 00 00
00 04 3C 00 00 00 00 02 59 00 00 02 5D 00 00 84 04 06 00 00 00 00 C4 04 6D 00 00 81 11 94 01 2D 00 00 00 00
94 01 6D 1E 0B 8D 11 54 3C 01 00 00 00 54 6D 1E 07 78 13 8C 40 79 00 00 00 00 81 40 FD 09 07 84 40 13 01 00
00 00 C4 04 13 01 00 00 00 8C 80 40 79 00 00 00 00 84 80 40 13 01 00 00 00 81 80 40 FD 09 07 84 05 13 01 00
00 00 02 FD 17 04 00 04 6D 01 0C 8D 11 82 80 01 6C 81 11 84 80 01 06 00 00 00 00 84 C0 01 13 01 00 00 00 84
80 41 13 01 00 00 00 92 80 01 6C 81 11 94 80 01 3C 00 00 00 00 94 80 01 2D 00 00 00 00 AA 16
""",
}
"""Recorded telegrams of libmbus (test/test-frames) beside those of the profiles."""

THEIRS: dict[str, tuple[Quantity, float]] = {
    "VIFUnit.ENERGY_WH": ("energy", 1e-3), "VIFUnit.ENERGY_J": ("energy", 1 / 3.6e6), "VIFUnit.VOLUME": ("volume", 1),
    "VIFUnit.POWER_W": ("power", 1e-3), "VIFUnit.VOLUME_FLOW": ("volume_flow", 1), "VIFUnit.ON_TIME": ("on_time", 1 / 3600),
    "VIFUnit.OPERATING_TIME": ("operating_time", 1 / 3600), "VIFUnit.FLOW_TEMPERATURE": ("flow_temperature", 1),
    "VIFUnit.RETURN_TEMPERATURE": ("return_temperature", 1), "VIFUnit.TEMPERATURE_DIFFERENCE": ("temperature_difference", 1),
    "VIFUnit.DATE": ("date", 0), "VIFUnit.DATE_TIME_GENERAL": ("datetime", 0), "VIFUnitExt.ERROR_FLAGS": ("error_flags", 1),
    "VIFUnit.UNITS_FOR_HCA": ("heat_cost_units", 1),
}  # fmt: skip
FUNCTIONS = {
    "FunctionType.INSTANTANEOUS_VALUE": "instantaneous", "FunctionType.MAXIMUM_VALUE": "maximum",
    "FunctionType.MINIMUM_VALUE": "minimum", "FunctionType.ERROR_STATE_VALUE": "error",
}  # fmt: skip


def recorded() -> dict[str, bytes]:
    """Those above, and those of all profiles, by a name of their own."""
    found = {name: bytes.fromhex(text) for name, text in TELEGRAMS.items()}
    for path in sorted(PROFILES.rglob("*.toml")):
        if 'protocol = "mbus"' in path.read_text("utf-8"):
            profile = load_profile(PROFILES, path.relative_to(PROFILES).with_suffix("").as_posix())
            assert isinstance(profile, MbusProfile)
            for raw in sorted({example.raw for example in profile.example}):
                found[f"{path.stem}-{len(found)}"] = bytes.fromhex(raw)
    return found


def test_the_comparison_takes_in_real_meters() -> None:
    assert len(recorded()) >= 14


@pytest.mark.parametrize("name", recorded())
def test_py_meter_bus_reads_the_same(name: str) -> None:
    raw = recorded()[name]
    ours = readout(raw).records
    theirs = json.loads(meterbus.load(raw).to_JSON())["body"]["records"]
    theirs = [record for record in theirs if record["function"] in FUNCTIONS]
    assert len(ours) == len(theirs)
    compared = 0
    for own, other in zip(ours, theirs, strict=True):
        assert own.function == FUNCTIONS[other["function"]]
        assert own.storage == other["storage_number"]
        if "tariff" in other:
            assert (own.tariff, own.subunit) == (other["tariff"], other["device"])
        if other["type"] not in THEIRS or own.value is None:
            continue
        quantity, factor = THEIRS[other["type"]]
        if own.modifiers:
            continue  # pyMeterBus reads past a changed meaning
        assert own.quantity == quantity
        wanted = other["value"] * factor if factor else seconds(other["value"])
        assert own.value == pytest.approx(wanted, rel=1e-6)
        compared += 1
    assert compared >= 1
