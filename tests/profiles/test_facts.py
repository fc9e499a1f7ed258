"""Facts of device profiles that a slip would change: word order, address and scale, each from a source of its own.

A profile and the simulator share one codec and one file, so a wrong word order or an address that is one off passes
every test that only goes round. Here the devices' registers are filled by the numbers and examples of the documents, as
the documents count them, and read with the places of the profile; and libraries that are not ours decode the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import dali.gear.general
import dali.gear.led
import pytest
from bthome_ble.parser import BTHomeBluetoothDeviceData
from dali.memory import maintenance, oem
from habluetooth import BluetoothServiceInfoBleak
from pymodbus.client import ModbusTcpClient

from gateway.codec import Broadcast
from gateway.codec.bthome import Bthome
from gateway.point import BthomePoint, DaliPoint, ModbusPoint
from gateway.profile import Profile, load_profile

UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
FOLDER = Path(__file__).parents[2] / "device_profiles"


def profile(name: str) -> Profile:
    return load_profile(FOLDER, name)


def modbus(name: str) -> dict[str, ModbusPoint]:
    return {point.name: point for point in profile(name).point if isinstance(point, ModbusPoint)}


def read(name: str, words: dict[int, int]) -> dict[str, float | None]:
    """The points of a profile whose registers all are in `words` (address on the wire: word)."""
    values: dict[str, float | None] = {}
    for point in modbus(name).values():
        cells = range(point.address, point.address + (point.size + 1) // 2)
        if all(cell in words for cell in cells):
            values[point.name] = point.decoder()(b"".join(words[cell].to_bytes(2, "big") for cell in cells))
    return values


def from_one(numbers: dict[int, int]) -> dict[int, int]:
    """Registers as documents number them that count from 1, by their addresses on the wire (Modbus protocol 4.4)."""
    return {number - 1: word for number, word in numbers.items()}


# Addresses, where a document counts from 1 or has a rule of its own


def test_optidrive_eco_reads_the_examples_of_its_guide() -> None:
    guide = from_one({6: 0x0302, 7: 123, 8: 105, 9: 474, 10: 1100})  # page 59: 12.3 Hz, 10.5 A, 47.4 %, 11.00 kW
    values = read("pump/invertek_optidrive_eco", guide)
    assert (values["trip_code"], values["tripped"], values["running"]) == (3, 1, 0)
    assert (values["frequency"], values["current"], values["torque"], values["power"]) == (12.3, 10.5, 47.4, 11.0)


def test_elevator_core_has_its_status_in_register_256() -> None:
    values = read("lift/invertek_elevator_core", from_one({256: 0x0003, 257: 500, 258: 0xFFFF, 259: 1000}))
    assert (values["running"], values["tripped"], values["trip_code"]) == (1, 1, 0)
    assert (values["speed_feedback"], values["current"], values["torque"]) == (50.0, -0.1, 100.0)


def test_eaton_m_max_and_its_twin_vacon_10_are_the_same_where_two_sources_describe_them() -> None:
    page_138 = from_one({2104: 5000, 2105: 1450, 2106: 312, 2107: 0xFFF6, 2109: 3990, 2110: 565, 2111: 9})
    assert read("pump/eaton_m_max", page_138) == {
        "frequency": 50.0, "speed": 1450, "current": 3.12, "torque": -1.0, "voltage": 399.0, "dc_voltage": 565,
        "fault_code": 9,
    }  # fmt: skip
    assert modbus("pump/eaton_m_max")["fault_code"].place == modbus("pump/vacon_10")["fault_code"].place


def test_danfoss_parameters_are_ten_times_their_number_less_one() -> None:
    points = modbus("pump/danfoss_fc51")
    assert 1 * 1000 - 1 == 0x03E7  # the example frame of the programming guide: parameter 1-00 is asked for as 03E7
    for name, parameter in {"frequency": 1613, "current": 1614, "dc_voltage": 1630, "operating_time": 1500}.items():
        assert points[name].address == parameter * 10 - 1


def test_abb_parameters_are_holding_registers_of_the_same_number() -> None:
    points = modbus("pump/abb_acs550")
    for name, parameter in {"speed": 102, "frequency": 103, "current": 104, "energy": 115, "last_fault": 401}.items():
        assert points[name].address == 40000 + parameter - 40001


def test_altivar_reads_the_answer_printed_in_its_manual() -> None:
    asked, answer = 0x0C1E, bytes.fromhex("0028 0258 01F4 0000")  # BBV52816, page 12: W3102 to W3105
    words = {asked + i: int.from_bytes(answer[2 * i : 2 * i + 2], "big") for i in range(4)}
    values = read("pump/schneider_atv312", words)
    assert values == {"max_frequency": 60.0, "high_speed": 50.0, "low_speed": 0.0}


def test_magna3_registers_count_from_one() -> None:
    words = {301: 450, 302: 125, 304: 2400, 312: 0x0001, 313: 0x0064, 322: 30500, 339: 0xFFFF}
    values = read("pump/grundfos_magna3", from_one(words))
    assert values["head"] == pytest.approx(0.45)
    assert (values["flow"], values["speed"], values["power"]) == (12.5, 2400, 65636)
    assert values["liquid_temperature"] == pytest.approx(31.85)
    assert values["differential_pressure"] is None  # all ones: not available


def test_mag6000_has_its_flow_at_address_3002_and_counts_cubic_metres_a_second() -> None:
    quarter = {3002: 0x3E80, 3003: 0x0000}  # 4:03003 and address 3002 in SFIDK.PS.023.D2.02; 0.25 m3/s
    assert read("water/siemens_mag6000", quarter) == {"flow": 900.0}


def test_wxt530_reads_register_32_as_air_temperature() -> None:
    words = {11: 512, 15: 10100, 19: 2700, 26: 60, 32: 0xFF85, 36: 32767}  # tables 2 and 3, factor 10, error 32767
    assert read("weather/vaisala_wxt530", from_one(words)) == {
        "humidity": 51.2, "pressure": 1010.0, "wind_direction": 270.0, "precipitation_type": 60, "temperature": -12.3,
        "dew_point": None,
    }  # fmt: skip


def test_intesis_lamps_are_a_hundred_registers_apart() -> None:
    points = modbus("lighting/intesis_ibmbsdal")
    for lamp in range(4):  # pages 10 and 16: 7000 x line + 100 x short address + signal, first address 0
        assert points[f"lamp{lamp}_level"].address == 7000 * 0 + 100 * lamp + 15
        assert points[f"lamp{lamp}_actual_level"].address == 7000 * 0 + 100 * lamp + 6


# Word order and scale


def test_vaisala_sends_the_low_word_first() -> None:
    words = {0: 0x7AE1, 1: 0x41F4}  # Indigo 520 User Guide, page 76: 41F47AE1 is 30.56 %RH
    assert read("weather/vaisala_hmdw110", words)["humidity"] == pytest.approx(30.56)


def test_magflux_counts_cubic_millimetres_lowest_word_first() -> None:
    one = {604 + i: (10**9 >> 16 * i) & 0xFFFF for i in range(4)}  # EN 6.81, section 4.1: 604 LS word ... 607 MS word
    assert read("water/xylem_magflux", one) == {"volume_forward": 1.0}


def test_em24_and_its_ethernet_model_differ_behind_the_powers() -> None:
    serial, ethernet = modbus("energy/carlo_gavazzi_em24"), modbus("energy/carlo_gavazzi_em24_e1")
    assert all(p.word_order == "little" for p in serial.values() if p.size == 4)
    assert serial["voltage_l1"].place == ethernet["voltage_l1"].place
    assert (serial["energy_import"].address, ethernet["energy_import"].address) == (0x42, 0x34)
    assert (serial["frequency"].address, ethernet["frequency"].address) == (0x37, 0x33)


def test_the_firmwares_of_a_map3e_differ_in_scale_at_the_same_address() -> None:
    old, new = modbus("energy/wirenboard_map3e_fw1"), modbus("energy/wirenboard_map3e_fw2")
    assert old["power"].place == new["power"].place
    assert new["power"].scale / old["power"].scale == pytest.approx(16)
    assert old["energy"].place == new["energy_import"].place
    assert new["energy_import"].scale / old["energy"].scale == pytest.approx(3.2)
    assert (new["power"].word_order, new["energy_import"].word_order) == ("big", "little")


def test_iem3000_power_comes_in_kilowatts_and_energy_in_watt_hours() -> None:
    words = {0x0BF3: 0x4148, 0x0BF4: 0x0000} | {0x0C83 + i: w for i, w in enumerate((0, 0, 0x00BC, 0x614E))}
    assert read("energy/schneider_iem3000", words) == {"power": 12500.0, "energy_import": pytest.approx(12345.678)}


def test_a_phase_that_an_abb_meter_has_not_is_no_value() -> None:
    words = {0x5B02: 0xFFFF, 0x5B03: 0xFFFF, 0x5B18: 0x7FFF, 0x5B19: 0xFFFF} | dict.fromkeys(
        range(0x5464, 0x5468), 0xFFFF
    )
    assert read("energy/abb_b23", words) == {"voltage_l2": None, "power_l2": None, "energy_l2": None}


@pytest.mark.parametrize(
    ("name", "point", "words", "kind", "order", "value"),
    [
        ("energy/eastron_sdm120", "voltage", (0x4366, 0x3334), "FLOAT32", "big", 230.2),  # Eastron, SDM320Y, page 42
        ("energy/carlo_gavazzi_em24", "power", (0x86A1, 0x0001), "INT32", "little", 100001),
        ("energy/carlo_gavazzi_em24_e1", "energy_import", (0x614E, 0x00BC), "INT32", "little", 12345678),
        ("energy/siemens_pac2200", "energy_import", (0x4167, 0x8C29, 0xC000, 0x0000), "FLOAT64", "big", 12345678.0),
        ("energy/wirenboard_map3e_fw2", "energy_import", (0x86A0, 0x0001, 0, 0), "UINT64", "little", 100000),
        ("energy/wirenboard_map3e_fw2", "power", (0x0001, 0x86A0), "INT32", "big", 100000),
        ("pump/grundfos_magna3", "operating_time", (0x0001, 0x86A0), "UINT32", "big", 100000),
        ("water/krohne_ifc300", "volume", (0x4090, 0x0200, 0, 0), "FLOAT64", "big", 1024.5),
        ("water/xylem_magflux", "flow", (0x0000, 0x3E80), "FLOAT32", "little", 0.25),
        ("weather/vaisala_hmdw110", "temperature", (0x0000, 0x41AC), "FLOAT32", "little", 21.5),
    ],
)
def test_pymodbus_decodes_the_words_in_the_order_of_the_document(
    name: str, point: str, words: tuple[int, ...], kind: str, order: Literal["big", "little"], value: float
) -> None:
    datatype = ModbusTcpClient.DATATYPE[kind]
    theirs = ModbusTcpClient.convert_from_registers(list(words), datatype, word_order=order)
    assert theirs == pytest.approx(value)
    place = modbus(name)[point]
    ours = place.decoder()(b"".join(word.to_bytes(2, "big") for word in words))
    assert ours == pytest.approx(value * place.scale + place.offset)


# DALI, against python-dali


def dali_points(name: str) -> dict[str, DaliPoint]:
    return {point.name: point for point in profile(name).point if isinstance(point, DaliPoint)}


@pytest.mark.parametrize(
    ("point", "theirs", "raw"),
    [
        ("year", oem.YearOfManufacture, "18"),
        ("nominal_power", oem.InputPowerNominal, "00 3C"),
        ("minimum_power", oem.InputPowerMinimumDim, "00 05"),
        ("mains_minimum", oem.MainsVoltageMinimum, "00 DC"),
        ("mains_maximum", oem.MainsVoltageMaximum, "00 F0"),
        ("light_output", oem.LightOutputNominal, "00 27 10"),
        ("colour_rendering", oem.CRI, "50"),
        ("colour_temperature", oem.CCT, "0F A0"),
        ("rated_life", maintenance.RatedMedianUsefulLifeOfLuminaire, "64"),
        ("reference_temperature", maintenance.InternalControlGearReferenceTemperature, "7D"),
        ("rated_starts", maintenance.RatedMedianUsefulLightSourceStarts, "00 32"),
    ],
)
def test_the_data_sheet_of_a_luminaire_stands_where_python_dali_reads_it(
    point: str, theirs: type[oem.NumericValue], raw: str
) -> None:
    ours = dali_points("lighting/d4i_luminaire")[point]
    assert (ours.bank, ours.location) == (theirs.bank.address, theirs.locations[0].address)
    assert ours.size == len(theirs.locations)
    assert ours.decoder()(bytes.fromhex(raw)) == theirs.raw_to_value(bytes.fromhex(raw))


def test_status_bits_stand_in_the_order_of_iec_62386() -> None:
    points = dali_points("lighting/dali_led_gear")
    order = {
        "status": dali.gear.general.QueryStatusResponse.bits,
        "led_failure": dali.gear.led.LEDFailureStatusResponse.bits,
    }
    named = {
        "ballast status": "gear_failure", "lamp failure": "lamp_failure", "arc power on": "lamp_on",
        "limit error": "limit_error", "fade ready": "fading", "reset state": "reset_state",
        "missing short address": "no_short_address", "power failure": "power_cycled",
        "short circuit": "led_short", "open circuit": "led_open", "load decrease": "load_decrease",
        "load increase": "load_increase", "current protector active": "current_protector",
        "thermal shut down": "thermal_shutdown",
        "thermal overload with light level reduction": "thermal_derating",
    }  # fmt: skip
    for query, bits in order.items():
        for bit, text in enumerate(bits):
            if text in named:
                assert (points[named[text]].query, points[named[text]].mask) == (query, 1 << bit)


# BTHome, against bthome-ble


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("heating/shelly_blu_ht", "40 00 2e 01 64 1e 01 2e 34 45 16 01",
         {"battery": 100, "humidity": 52, "temperature": 27.8}),
        ("occupancy/shelly_blu_motion", "44 00 07 01 64 05 13 8a 14 21 01",
         {"battery": 100, "illuminance": 13460.67, "motion": 1}),
        ("occupancy/shelly_blu_door_window", "44 00 07 01 61 05 13 8a 14 2d 01 3f 7b 00", {"open": 1, "tilt": 12.3}),
        ("waste/shelly_blu_distance", "44 00 07 01 61 40 0c 00", {"battery": 97, "distance": 12}),
        ("weather/ecowitt_ws90", "40 05 13 8a 14 20 01 44 4e 01 44 bc 02 46 32 5e 9f 8c",
         {"rain": 1, "wind_speed": 3.34, "gust_speed": 7.0, "uv_index": 5.0, "wind_direction": 359.99}),
        ("weather/ecowitt_ws90", "40 01 5f 04 13 8a 01 08 ca 06 0c 02 0c 2e 23 45 11 01 5f 2a 00",
         {"battery": 95, "pressure": 1008.83, "dew_point": 17.38, "humidity": 35, "temperature": 27.3,
          "precipitation": 4.2}),
    ],
)  # fmt: skip
def test_bthome_ble_hears_the_same_values(name: str, data: str, expected: dict[str, float]) -> None:
    payload, sender = bytes.fromhex(data), "54:48:E6:8F:80:A5"
    raw = Bthome().values(Broadcast(sender, {"fcd2": payload})) or {}
    points = [point for point in profile(name).point if isinstance(point, BthomePoint)]
    ours = {point.name: point.place.format().decoder()(raw[point.place]) for point in points if point.place in raw}
    assert {key: ours[key] for key in expected} == pytest.approx(expected)
    heard = BluetoothServiceInfoBleak(
        name="", address=sender, rssi=-60, manufacturer_data={}, service_data={UUID: payload},
        service_uuids=[], source="", device=None, advertisement=None, connectable=False, time=0.0, tx_power=None,
    )  # fmt: skip
    update = BTHomeBluetoothDeviceData().update(heard)
    theirs = [value.native_value for value in (*update.entity_values.values(), *update.binary_entity_values.values())]
    for value in expected.values():
        assert any(float(said) == pytest.approx(value) for said in theirs if isinstance(said, int | float))
