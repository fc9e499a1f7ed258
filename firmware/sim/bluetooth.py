"""`bluetooth` for MicroPython's unix port: each advertisement is a line of hex in the file SIM_BLE.

DO NOT COPY THIS FILE TO A BOARD.
"""

import os


class BLE:
    def active(self, on):
        return on

    def config(self, name):
        assert name == "mac"
        return 0, bytes.fromhex(os.getenv("SIM_MAC") or "c0ffee000001")

    def gap_advertise(self, interval_us, adv_data=None, connectable=True):
        with open(os.getenv("SIM_BLE") or "/dev/null", "a") as file:
            file.write(bytes(adv_data).hex() + "\n")
