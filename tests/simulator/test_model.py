"""Every profile as a device: what it says is read by the gateway's own plan, as the value it was meant to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from bthome_ble.parser import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak
from pymodbus.constants import ExcCodes

from gateway.codec import Broadcast
from gateway.codec.bthome import Bthome
from gateway.codec.canopen_lift import CanopenLift
from gateway.codec.dali import Sci
from gateway.codec.mbus import Mbus
from gateway.codec.modbus import Rtu
from gateway.codec.ruuvi import Ruuvi
from gateway.codec.slcan import Reader
from gateway.plan import plan_visits
from gateway.point import CanopenPoint, DaliPoint
from gateway.profile import (
    BthomeProfile,
    CanopenProfile,
    DaliProfile,
    GattProfile,
    MbusProfile,
    ModbusProfile,
    Profile,
    RuuviProfile,
    load_profile,
    parse_profile,
)
from gateway.reading import Flaw, Quality
from gateway.site import Device as SiteDevice
from simulator.curve import Curve, limits
from simulator.dali import Adapter
from simulator.modbus import Device, Refusal
from simulator.model import ModelBeacon, ModelGear, ModelMeter, ModelNode, ModelRegisters, ModelSensor, ModelTag
from simulator.town import _run

FOLDER = Path(__file__).resolve().parents[2] / "device_profiles"
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.toml"))
METERS = sorted(name for name in NAMES if isinstance(load_profile(FOLDER, name), MbusProfile))
SENSORS = sorted(name for name in NAMES if isinstance(load_profile(FOLDER, name), GattProfile))
HOURS = (0.0, 1.3, 25.0, 24.0 * 400)


class Hour:
    """A time that is set."""

    now_s = 1.7e9

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(METERS) - set(SENSORS)))
def test_the_gateway_reads_what_the_device_means(name: str) -> None:
    profile, clock = load_profile(FOLDER, name), Hour()
    values, flaws, meant = play(name, profile, clock)
    assert flaws == {}
    assert set(values) == {point.name for point in profile.point}
    for point in profile.point:
        if isinstance(point, DaliPoint) and point.query is not None:
            continue  # the gear's own
        form = point.form
        assert form is not None
        got, wanted = values[point.name], meant[point.name]
        assert got is not None
        assert wanted is not None
        figures = 0.01 * abs(wanted) if form.exponent_at is not None else 1e-6 * abs(wanted)
        assert got == pytest.approx(wanted, abs=max(abs(form.scale) * 1.01, figures))
        low, high = limits(point)
        assert low - 1e-9 <= got <= high + 1e-9


def play(
    name: str, profile: Profile, clock: Hour
) -> tuple[dict[str, float | None], dict[str, Flaw], dict[str, float | None]]:
    """What the gateway reads at the last of HOURS, every flaw on the way, and what the device meant to say."""
    device = SiteDevice("d", name, profile, "b", 1, "", 60.0, {point.name: point for point in profile.point})
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    model: ModelRegisters | ModelGear | ModelBeacon | ModelTag | ModelNode
    start_s = clock.now_s
    match profile:
        case ModbusProfile():
            model = ModelRegisters(profile, clock, 7, name)
            unit = Device(1, model)
        case DaliProfile():
            model = ModelGear(profile, 1, clock, 7, name)
            adapter = Adapter([model])
        case BthomeProfile():
            model = ModelBeacon(profile, clock, 7, name)
        case RuuviProfile():
            model = ModelTag(profile, clock, 7, name)
        case CanopenProfile():
            model = ModelNode(profile, 1, clock, 7, name)
        case _:
            raise AssertionError(profile.protocol)
    for hour in HOURS:
        clock.now_s = start_s + 3600 * hour
        if isinstance(model, ModelTag):
            said = Ruuvi().values(Broadcast("A4:C1:38:00:00:01", {"mfr:0499": model.manufacturer_data()}))
            assert said is not None
            for point in profile.point:
                values[point.name] = point.form.decoder()(said[point.place])  # type: ignore[union-attr]
            continue
        if isinstance(model, ModelNode):
            lift = CanopenLift(1, [point.place for point in profile.point if isinstance(point, CanopenPoint)])
            for frame in Reader().feed(b"".join(frame.line() for frame in model.due(clock.now_s))):
                said = lift.values(Broadcast(frame.name, {"can": frame.data})) or {}
                for point in profile.point:
                    if (place := point.place) in said:  # type: ignore[union-attr]
                        values[point.name] = point.form.decoder()(said[place])  # type: ignore[union-attr]
            continue
        if isinstance(model, ModelBeacon):
            said = Bthome().values(Broadcast("A4:C1:38:00:00:01", {"fcd2": model.service_data()}))
            assert said is not None
            for point in profile.point:
                values[point.name] = point.form.decoder()(said[point.place])  # type: ignore[union-attr]
            continue
        codec = Rtu() if isinstance(model, ModelRegisters) else Sci()
        answer = (lambda frame: unit.answer(frame) or b"") if isinstance(model, ModelRegisters) else adapter.handle
        for visit in plan_visits([device], codec):
            for block in visit.blocks:
                data = _run(codec.read(1, block.span, device.limits), answer)
                block.decode(data, values, flaws)
    return values, flaws, {point.name: model.values.now(point.name) for point in profile.point}


@pytest.mark.parametrize("name", SENSORS)
def test_the_gateway_reads_what_the_connected_sensor_means(name: str) -> None:
    profile, clock = load_profile(FOLDER, name), Hour()
    assert isinstance(profile, GattProfile)
    model = ModelSensor(profile, "A4:C1:38:E9:2A:F3", clock, 7, name)
    clock.now_s += 3600
    model.refresh()
    for point in profile.point:
        value = model.peripheral.characteristic(point.characteristic).value
        read = point.decoder()(value[point.byte : point.byte + point.size])
        assert read == pytest.approx(model.values.now(point.name), abs=point.scale)


@pytest.mark.parametrize("name", METERS)
def test_the_gateway_reads_what_the_meter_means(name: str) -> None:
    profile, clock = load_profile(FOLDER, name), Hour()
    assert isinstance(profile, MbusProfile)
    points = {point.name: point for point in profile.point}
    device = SiteDevice("d", name, profile, "b", 12345678, "", 60.0, points)
    model = ModelMeter(profile, 12345678, clock, 7, name)
    clock.now_s += 3600
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    codec = Mbus()
    for visit in plan_visits([device], codec):
        for block in visit.blocks:
            said = _run(codec.read(12345678, block.span, device.limits), lambda frame: model.meter.answer(frame) or b"")
            block.decode(said, values, flaws)
    assert set(values) == set(points)
    assert not [flaw for flaw in flaws.values() if flaw.quality is Quality.BAD]
    for point in profile.point:
        wanted = model.values.now(point.name)
        assert wanted is not None
        coarse = {"h": 0.51, "d": 0.51}.get(point.unit, 0.51 if point.unit == "1" else 0.006)
        assert values[point.name] == pytest.approx(wanted, abs=coarse), point.name


@pytest.mark.parametrize("name", [n for n in NAMES if isinstance(load_profile(FOLDER, n), BthomeProfile)])
def test_bthome_ble_reads_what_the_beacon_says(name: str) -> None:
    profile = load_profile(FOLDER, name)
    assert isinstance(profile, BthomeProfile)
    said = ModelBeacon(profile, Hour(), 7, name).service_data()
    uuid = "0000fcd2-0000-1000-8000-00805f9b34fb"
    info = BluetoothServiceInfoBleak(
        name="x", address="A4:C1:38:00:00:01", rssi=-60, manufacturer_data={}, service_data={uuid: said},
        service_uuids=[uuid], source="", device=None, advertisement=None, connectable=False, time=0.0, tx_power=None,
    )  # type: ignore[arg-type] # fmt: skip
    parser = BTHomeBluetoothDeviceData()
    assert parser.supported(info)
    update = parser.update(info)
    assert len(update.entity_values) + len(update.binary_entity_values) >= len(profile.point)


TEXT = """
maker = "Essai"
model = "E-1"
kind = "pump"
protocol = "modbus"
source = "invented for a test"
evidence = "own"
[modbus]
max_read = 4
max_hole = 2
[[example]]
source = "worked out by hand"
point = "speed"
raw = "00 07"
value = 0.7
[[point]]
name = "speed"
unit = "%"
personal = "no"
register = "holding"
address = 10
type = "u16"
scale = 0.1
range = [0, 100]
sentinels = [0xFFFF]
write = { min = 20, max = 80 }
[[point]]
name = "state"
unit = "1"
personal = "no"
register = "holding"
address = 13
type = "u16"
labels = { "0" = "arrêt", "1" = "marche" }
[[point]]
name = "far"
unit = "1"
personal = "no"
register = "holding"
address = 20
type = "u16"
"""


@pytest.fixture
def model() -> ModelRegisters:
    profile = parse_profile(TEXT, "essai/e1")
    assert isinstance(profile, ModbusProfile)
    return ModelRegisters(profile, Hour(), 1, "d")


def test_a_write_within_limits_stays_and_another_is_refused(model: ModelRegisters) -> None:
    model.write("holding", 10, [550])
    assert model.read("holding", 10, 1) == [550]
    for address, values, code in ((10, [810], 3), (10, [199], 3), (13, [1], 2), (11, [1], 2), (10, [500, 1], 2)):
        with pytest.raises(Refusal) as no:
            model.write("holding", address, values)
        assert no.value.code == code
    assert model.read("holding", 10, 1) == [550]


def test_what_the_profile_does_not_know_is_not_there(model: ModelRegisters) -> None:
    assert len(model.read("holding", 10, 4)) == 4  # across a hole that may be read
    for area, address, count, code in (
        ("holding", 9, 1, 2), ("holding", 13, 2, 2), ("holding", 14, 1, 2), ("input", 10, 1, 2), ("coil", 10, 1, 2),
    ):  # fmt: skip
        with pytest.raises(Refusal) as no:
            model.read(area, address, count)  # type: ignore[arg-type]
        assert no.value.code == code
    model._max_read = 3
    with pytest.raises(Refusal) as no:
        model.read("holding", 10, 4)
    assert no.value.code == ExcCodes.ILLEGAL_VALUE


def test_no_value_is_said_as_the_device_says_it(model: ModelRegisters) -> None:
    model.values.held["speed"] = None
    assert model.read("holding", 10, 1) == [0xFFFF]


def test_the_same_seed_is_the_same_device_and_values_move() -> None:
    profile = parse_profile(TEXT, "essai/e1")
    (speed, *_) = profile.point
    one, same, other = Curve(speed, 1, "d"), Curve(speed, 1, "d"), Curve(speed, 2, "d")
    times = [600.0 * step for step in range(200)]
    assert [one.at(t) for t in times] == [same.at(t) for t in times] != [other.at(t) for t in times]
    assert len({round(one.at(t), 1) for t in times}) > 50
    assert all(abs(one.at(t + 1) - one.at(t)) < 0.5 for t in times), "slow"
