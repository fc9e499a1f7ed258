"""BLE advertising, and nothing else of BLE: not connectable, so there is nothing to attack."""

import bluetooth


class Radio:
    def __init__(self):
        self._ble = bluetooth.BLE()
        self._ble.active(True)
        self.mac = bytes(self._ble.config("mac")[1])

    def advertise(self, payload, interval_ms: int) -> None:
        self._ble.gap_advertise(interval_ms * 1000, payload, connectable=False)
