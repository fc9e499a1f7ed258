"""The nodes whole: real MicroPython at 100 kB of heap, real files, a real pty; pymodbus and bthome-ble at the other end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymodbus.exceptions import ModbusIOException

from rig import Rig

Start = Callable[..., Rig]


@pytest.fixture
def start(micropython: Path, tmp_path: Path) -> Iterator[Start]:
    rigs: list[Rig] = []

    def begin(node: str, config: dict[str, object] | None = None, **signals: int) -> Rig:
        rig = Rig(tmp_path, node, config or {}, **signals)
        rigs.append(rig)
        rig.board.power_on()
        rig.answering()
        return rig

    yield begin
    for rig in rigs:
        rig.close()


def counts(current_ua: int) -> int:
    return current_ua * 65535 // 24000


def test_pressure_follows_the_loop_current(start: Start) -> None:
    rig = start("pressure", ADC26=counts(12000))
    assert abs(rig.inputs(32)[0] - 5000) <= 1
    rig.set("ADC26", counts(8000))
    rig.until(lambda: abs(rig.inputs(32)[0] - 2500) <= 1)


def test_a_broken_wire_is_no_value(start: Start) -> None:
    rig = start("pressure", ADC26=counts(12000))
    rig.set("ADC26", 0)
    rig.until(lambda: rig.inputs(32)[0] == 0xFFFF)
    assert rig.client.read_discrete_inputs(1, count=1, device_id=17).bits[0]
    assert "sensor fault" in rig.service.status()["status"]


def test_identification_by_both_functions(start: Start) -> None:
    rig = start("pressure", {"name": "pression-amont"})
    found = rig.client.read_device_information(device_id=17).information
    assert found[0] == b"Guet" and found[1] == b"pressure" and found[2] == b"1"
    assert rig.client.report_device_id(device_id=17).identifier.startswith(b"pressure")


def test_refusals_other_units_and_noise_leave_it_answering(start: Start) -> None:
    rig = start("pressure")
    assert rig.client.read_holding_registers(30, count=1, device_id=17).exception_code == 2
    assert rig.client.write_register(40, 0, device_id=17).exception_code == 3
    with pytest.raises(ModbusIOException):
        rig.client.read_input_registers(0, count=1, device_id=18)
    rig.client.send(bytes(range(256)) * 3)  # more than any frame
    time.sleep(0.1)
    rig.answering()


def test_a_broadcast_sets_the_time_of_all_nodes(start: Start) -> None:
    rig = start("pressure")
    assert "clock unknown" in rig.service.status()["status"]
    now = int(time.time())
    rig.client.write_registers(0, [now >> 16, now & 0xFFFF], device_id=0, no_response_expected=True)
    time.sleep(0.1)  # turnaround delay after a broadcast, MSL 2.4.1
    rig.until(lambda: abs(rig.service.status()["unix_time_s"] - now) < 10)


def test_settings_and_dated_records_survive_a_restart(start: Start) -> None:
    rig = start("lamp", ADC26=30000)
    rig.until(lambda: rig.inputs(9)[0] >= 3)  # a record from before the clock was set
    now = int(time.time())
    rig.service.set_time(now)
    rig.write(40, 900)
    rig.until(lambda: (rig.flash / "settings").exists() and "clock unknown" not in rig.service.status()["status"])
    before = list(rig.service.journal())
    assert all(record.dated and abs(record.time_s - now) < 20 for record in before)
    rig.write(8, 3)  # restart: what waits in RAM is written first
    rig.until(lambda: rig.inputs(7)[0] == 2)
    assert rig.client.read_holding_registers(40, count=1, device_id=17).registers == [900]
    after = [record for record in rig.service.journal() if record.sequence < len(before)]
    assert [(r.kind, r.value) for r in after] == [(r.kind, r.value) for r in before]


def test_the_driver_is_off_from_the_start_and_on_only_while_sending(start: Start) -> None:
    rig = start("pressure")
    for _ in range(20):
        rig.inputs(0, 20)
    held = [line for line in rig.lines() if line[1:3] == ["pin", "6"]]
    assert held[0][3] == "0"  # off before anything else
    pairs = list(zip(held[1::2], held[2::2], strict=False))
    assert len(pairs) >= 20
    for on, off in pairs:
        assert (on[3], off[3]) == ("1", "0")


def test_the_lamp_lights_before_anything_else(start: Start) -> None:
    rig = start("lamp", ADC26=0)
    assert rig.lines()[0][1:] == ["pin", "2", "1"]
    assert rig.inputs(32) == [1000]


def test_a_command_holds_only_for_its_lease(start: Start) -> None:
    rig = start("lamp", ADC26=0)
    rig.write(32, 300, 2)
    rig.until(lambda: rig.inputs(32) == [300])
    assert rig.inputs(35) == [2]
    rig.until(lambda: rig.inputs(32) == [1000], seconds=6)
    assert rig.inputs(35) == [1]


def test_a_command_without_lease_changes_nothing(start: Start) -> None:
    rig = start("lamp", ADC26=0)
    rig.write(32, 0)
    rig.until(lambda: rig.inputs(9)[0] >= 3)
    assert rig.inputs(32) == [1000]


def test_a_lift_door_is_judged(start: Start) -> None:
    rig = start("lift", PIN10=0, PIN11=1)
    rig.until(lambda: rig.client.read_discrete_inputs(0, count=1, device_id=17).bits[0])

    def contacts(closed: bool, opened: bool, seconds: float) -> None:
        rig.set("PIN10", 0 if closed else 1)
        rig.set("PIN11", 0 if opened else 1)
        time.sleep(seconds)

    for _ in range(6):  # the door turns round again and again: abnormal in any model of doors
        contacts(False, False, 0.3)
        contacts(False, True, 0.3)
    contacts(False, False, 0.4)
    contacts(True, False, 0.2)
    rig.until(lambda: rig.inputs(32, 2) == [0, 1])
    assert rig.inputs(34, 2) == [0, 1]
    assert rig.inputs(39)[0] == 5
    for function in (rig.client.write_coil, rig.client.write_register):
        assert function(0, 1, device_id=17).isError()  # there is nothing to command


def test_a_bin_is_heard_by_bthome_ble(start: Start) -> None:
    from hearing import heard

    key = "231d39c1d7cc1ab1aee224cd096db932"
    rig = start(
        "bin", {"bthome_key": key, "advertise_ms": 200}, ADC26=700 * 65535 // 5000, ADC28=2 * 3000 * 65535 // 13200
    )
    rig.until(lambda: rig.heard.exists() and len(rig.heard.read_text().splitlines()) >= 4)
    assert rig.inputs(33) == [50]
    lines = rig.heard.read_text().splitlines()
    counters = [int.from_bytes(bytes.fromhex(line)[-8:-4], "little") for line in lines]
    assert counters == sorted(set(counters))
    rig.power_cut()
    rig.until(lambda: len(rig.heard.read_text().splitlines()) > len(lines) + 2)
    later = bytes.fromhex(rig.heard.read_text().splitlines()[-1])
    assert int.from_bytes(later[-8:-4], "little") >= 1024  # a block was skipped, none used twice
    mac = bytes.fromhex("c0ffee000001")
    values = heard(later, key, mac)
    assert abs(values["distance"] - 700) <= 1 and abs(values["voltage"] - 3.0) < 0.01 and not values["problem"]


@pytest.mark.parametrize("node", ["pressure", "lamp", "lift", "bin"])
def test_every_node_has_room_to_spare(start: Start, node: str) -> None:
    rig = start(node)
    rig.until(lambda: rig.inputs(9)[0] >= 2)
    assert rig.inputs(15)[0] > 12000, "bytes of heap left, of 100 kB, with pointers twice as wide as a board's"
    assert rig.service.status()["node"] == node


def test_a_program_that_ends_is_started_again(start: Start) -> None:
    rig = start("pressure")
    assert rig.board.pid is not None
    import os
    import signal

    os.kill(rig.board.pid, signal.SIGKILL)
    rig.until(lambda: rig.inputs(7)[0] == 2)
    assert rig.inputs(5) == [3]


def test_the_watchdog_ends_a_program_that_hangs(start: Start) -> None:
    rig = start("pressure")
    import os
    import signal

    os.kill(rig.board.pid or 0, signal.SIGSTOP)
    rig.until(lambda: rig.board.bites == 1, seconds=20)
    rig.answering()


STUCK = {
    "line": "async def stuck(self):\n    await asyncio.sleep_ms(1 << 28)\nline.Line.receive = stuck\n",
    "errands": "async def stuck(self, number):\n    await asyncio.sleep_ms(1 << 28)\nstation.Station._run_errands = stuck\n",
    "steps": "async def stuck(self, *_):\n    await asyncio.sleep_ms(1 << 28)\nstation.Station._repeat = stuck\n",
    "nothing": "",
}


def test_whichever_task_no_longer_goes_on_the_watchdog_bites(micropython: Path, tmp_path: Path) -> None:
    """Programs in which one task waits for ever and all others are well, and one in which all are."""
    head = "import sys\nsys.path.insert(0, 'a')\nimport asyncio, json, line, station\n"
    tail = "station.Station(json.load(open('config.json')), 1, 1).run()\n"
    rigs = {}
    for name, stuck in STUCK.items():
        (tmp_path / name).mkdir()
        rigs[name] = Rig(tmp_path / name, "lift")
        (rigs[name].flash / "main.py").write_text(head + stuck + tail)
    try:
        for rig in rigs.values():
            rig.board.power_on()
        until = time.monotonic() + 25
        while time.monotonic() < until:
            for rig in rigs.values():
                rig.board.tend()
            time.sleep(0.1)
        assert {name: rig.board.bites for name, rig in rigs.items()} == {
            "line": 1,
            "errands": 1,
            "steps": 1,
            "nothing": 0,
        }
    finally:
        for rig in rigs.values():
            rig.close()


def test_configuration_is_what_the_node_says(start: Start) -> None:
    rig = start("pressure", {"hardware": 1})
    assert json.loads((rig.flash / "config.json").read_text())["unit_id"] == 17
    status = rig.service.status()
    assert (status["hardware"], status["version"], status["slot"]) == (1, 1, "a")
