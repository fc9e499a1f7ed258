"""`guet doctor`: on a bare Python, on machines that are drawn as folders, and in words that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.doctor import FAULT, FINE, WARNING, Finding, findings, of_site, processor, python_version

ROOT = Path(__file__).resolve().parents[2]


def machine(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def found(root: Path) -> dict[str, Finding]:
    return {one.id: one for one in findings(root=root)}


def test_it_runs_without_any_package_and_says_so_in_json(tmp_path: Path) -> None:
    """-I and -S: neither this environment's packages nor the user's."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gateway.doctor import doctor; sys.exit(doctor(['--json']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    said = json.loads(done.stdout)
    assert {"python", "venv", "processor", "memory", "disk", "clock"} <= {one["id"] for one in said}
    assert done.returncode == any(one["level"] == FAULT for one in said), done.stderr


@pytest.mark.parametrize(("version", "level"), [((3, 10), FAULT), ((3, 11), FINE), ((3, 13), FINE), ((3, 14), FAULT)])
def test_the_pythons_that_we_support(version: tuple[int, int], level: str) -> None:
    assert python_version(version).level == level


def test_a_system_of_32_bits_is_refused_with_what_to_do() -> None:
    assert processor("aarch64", True).level == FINE
    said = processor("armv7l", False)
    assert (said.level, "64" in said.action) == (FAULT, True)


def test_a_pi_in_trouble_is_told_all_of_it_at_once(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:  262144 kB\n",
            "proc/mounts": "/dev/mmcblk0p2 / ext4 rw,data=writeback 0 0\n",
            "proc/cmdline": "console=serial0,115200 root=/dev/mmcblk0p2\n",
            "proc/812/comm": "ModemManager\n",
            "dev/serial0": "",
            "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
            "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
            "sys/class/bluetooth/hci0/x": "",
            "usr/libexec/bluetooth/bluetoothd": "",
            "sys/class/rfkill/rfkill0/type": "bluetooth\n",
            "sys/class/rfkill/rfkill0/soft": "1\n",
        },
    )
    said = found(root)
    faults = {name for name, one in said.items() if one.level == FAULT}
    assert faults >= {"memory", "filesystem", "supply", "bluetooth", "zones"}
    assert (said["modemmanager"].level, said["console"].level) == (WARNING, WARNING)
    assert all(one.action for one in said.values() if one.level == FAULT)


def test_a_sound_pi_is_fine(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:  524288 kB\n",
            "proc/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n",
            "sys/class/rtc/rtc0/name": "ds3231\n",
            "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
            "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
            "usr/share/zoneinfo/Europe/Paris": "",
        },
    )
    said = found(root)
    assert [one for one in said.values() if one.level == FAULT and one.id not in ("disk", "venv")] == []
    assert said["clock"].level == FINE


def test_a_site_s_ports_and_store_are_looked_at(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[gateway]\ndata = "d"\n[[bus]]\nname = "b"\nport = "/dev/no-such-port"\n', encoding="utf-8")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "guet.sqlite").write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    said = {one.id: one for one in of_site(site)}
    assert said["port"].level == FAULT
    assert said["store"].level == FAULT
    site.write_text("[gateway", encoding="utf-8")
    assert [one.id for one in of_site(site)] == ["site"]
