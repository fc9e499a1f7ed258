"""A simulated bin: its advertisements as bthome-ble reads them, and how it fills."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from bthome_ble import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak

from simulator.waste import EMPTY_MM, NEAREST_MM, Bin

PARIS = ZoneInfo("Europe/Paris")
MONDAY = datetime(2026, 1, 12, tzinfo=UTC).timestamp()


def bin_(**of: float) -> Bin:
    return Bin("bac-1", 3, PARIS, **of)  # type: ignore[arg-type]  # floats only


def read(service_data: bytes) -> dict[str, float]:
    """What bthome-ble, which others maintain, makes of it."""
    info = BluetoothServiceInfoBleak(
        name="bac", address="A4:C1:38:00:00:01", rssi=-60, manufacturer_data={}, service_uuids=[], source="",
        service_data={"0000fcd2-0000-1000-8000-00805f9b34fb": service_data}, device=None, advertisement=None,
        connectable=False, time=0.0, tx_power=None,
    )  # fmt: skip
    update = BTHomeBluetoothDeviceData().update(info)
    return {key.key: value.native_value for key, value in update.entity_values.items()}


def test_bthome_ble_reads_what_the_bin_measures() -> None:
    of = bin_()
    for hour in range(0, 24 * 9, 5):
        time_s = MONDAY + 3600 * hour
        values = read(of.service_data(time_s))
        assert values["distance"] == of.distance_mm(time_s)
        assert values["temperature"] == pytest.approx(of.temperature_c(time_s), abs=0.006)
        assert values["battery"] == of.battery_percent(time_s)
        assert values["packet_id"] == int(time_s // 60) % 256


def test_a_bin_fills_until_it_is_collected() -> None:
    of = bin_()
    collected = datetime(2026, 1, 13, 6, tzinfo=PARIS).timestamp()
    full = [of.fill(collected + 900 * i) for i in range(1, 3 * 96)]
    assert all(b >= a for a, b in pairwise(full))
    assert of.fill(collected - 60) > 0.3
    assert of.fill(collected) == 0
    assert full[-1] > 0.2


def test_the_sensor_sees_no_further_than_the_bottom_and_no_nearer_than_it_can() -> None:
    overfull, hardly = bin_(fills_per_week=6), bin_(fills_per_week=0.01)
    assert overfull.fill(MONDAY + 86000) > 1
    assert overfull.distance_mm(MONDAY + 86000) == NEAREST_MM
    assert all(1200 < hardly.distance_mm(MONDAY + 600 * i) <= EMPTY_MM for i in range(300))


def test_a_week_brings_about_what_was_said() -> None:
    of = Bin("bac-2", 5, PARIS, fills_per_week=1.0, collection_days=(0,))
    sunday = datetime(2026, 1, 19, 5, 59, tzinfo=PARIS).timestamp()
    assert of.fill(sunday) == pytest.approx(1.0, abs=0.12)


def test_a_bin_that_is_never_collected_is_no_bin() -> None:
    with pytest.raises(ValueError, match="collection days"):
        Bin("bac-1", 3, PARIS, collection_days=())
