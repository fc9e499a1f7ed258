"""An advertisement as bthome-ble understands it, which is not ours."""

from __future__ import annotations

from bleak.backends.device import BLEDevice
from bthome_ble import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak

HEADER = 7
"""Flags, then length, type and UUID of the service data."""


def heard(buf: bytes, key: str | None = None, mac: bytes = bytes.fromhex("5448E68F80A5")) -> dict[str, float]:
    """Values by bthome-ble's own names. buf: the whole advertisement."""
    data = bytes(buf[HEADER:])
    address = mac.hex(":").upper()
    info = BluetoothServiceInfoBleak(
        name="node", address=address, rssi=-60, manufacturer_data={},
        service_data={"0000fcd2-0000-1000-8000-00805f9b34fb": data}, service_uuids=[], source="",
        device=BLEDevice(address, "node", {}), advertisement=None, connectable=False, time=0.0, tx_power=None,
    )  # fmt: skip
    device = BTHomeBluetoothDeviceData(bindkey=bytes.fromhex(key) if key else None)
    update = device.update(info)
    assert not key or device.bindkey_verified
    values = {k.key: v.native_value for k, v in update.entity_values.items()}
    return values | {k.key: v.native_value for k, v in update.binary_entity_values.items()}
