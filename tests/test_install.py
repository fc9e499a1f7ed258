"""`install.sh` below a folder: a real installation, an upgrade, the way back, the removal; people's files outlive them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVICE = ROOT / "gateway" / "system" / "guet.service"


def install(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "install.sh"), "--root", str(root), *more]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=500)


def guet(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "usr/local/bin/guet"), "--lang", "fr", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=root)


@pytest.mark.timeout(900)
def test_it_installs_upgrades_goes_back_and_leaves_what_people_wrote(tmp_path: Path) -> None:
    done = install(tmp_path)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"NOT TRIED: no packages can be had here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "opt/guet/current").readlink()
    assert guet(tmp_path, "profile", "check", "water/keller_x_line").returncode == 0
    assert list((tmp_path / "opt/guet/current/lib").rglob("gateway/__pycache__/app.*.opt-2.pyc")), (
        "as the service runs it"
    )
    site = tmp_path / "etc/guet/site.toml"
    site.write_text("# mine\n", encoding="utf-8")

    assert install(tmp_path).returncode == 0
    second = (tmp_path / "opt/guet/current").readlink()
    assert second != first
    assert site.read_text(encoding="utf-8") == "# mine\n"
    assert install(tmp_path, "--back").returncode == 0
    assert (tmp_path / "opt/guet/current").readlink() == first
    assert guet(tmp_path, "--version").returncode == 0

    assert install(tmp_path, "--remove").returncode == 0
    assert not (tmp_path / "opt/guet").exists()
    assert site.read_text(encoding="utf-8") == "# mine\n"
    assert install(tmp_path, "--purge").returncode == 0
    assert not site.exists()


def test_an_unknown_word_changes_nothing(tmp_path: Path) -> None:
    assert install(tmp_path, "--frobnicate").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_way_back_before_the_first_upgrade(tmp_path: Path) -> None:
    done = install(tmp_path, "--back")
    assert done.returncode == 1
    assert "version d'avant" in done.stderr


def test_the_unit_is_one_that_systemd_takes() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TRIED: no systemd-analyze on this machine")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(SERVICE)], check=False, capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if "guet" in line and "not executable" not in line]
    assert said == []


RULES = ROOT / "gateway" / "system" / "61-guet.rules"
USB = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/ttyUSB0"


def test_the_rules_come_after_those_that_find_an_adapter_s_path() -> None:
    assert RULES.name > "60-serial.rules"


ALONE = """
mount -t tmpfs tmpfs /run && mkdir -p /run/udev/rules.d && cp "$RULES" /run/udev/rules.d/
mkdir -p "$DEVICES/pts" && cp -a /dev/null /dev/zero /dev/urandom "$DEVICES" && ln -s pts/ptmx "$DEVICES/ptmx"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$DEVICES/pts" && mount --rbind "$DEVICES" /dev
umockdev-run -d "$USB" -- udevadm test --action=add "$1"
"""
"""With a /dev and a /run that nobody else sees: udev makes its links in earnest."""


def test_an_adapter_gets_its_short_name_and_its_group(tmp_path: Path) -> None:
    """By the real udev, on a simulated FT232R."""
    needed = ("umockdev-run", "udevadm", "unshare")
    if None in map(shutil.which, needed) or os.geteuid() != 0:
        pytest.skip("NOT TRIED: no umockdev-run, udevadm, unshare, or not root")
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"], check=False).returncode:
        pytest.skip("NOT TRIED: nothing may be mounted here")
    usb = ROOT / "tests" / "machine" / "usb.umockdev"
    environment = {**os.environ, "RULES": str(RULES), "USB": str(usb)}
    tty, port = (
        done.stdout + done.stderr
        for number, path in enumerate((f"{USB}/tty/ttyUSB0", USB))
        for done in [
            subprocess.run(
                ["unshare", "--mount", "sh", "-ec", ALONE, "sh", path],
                check=False, capture_output=True, text=True, timeout=60,
                env={**environment, "DEVICES": str(tmp_path / str(number))},
            )
        ]
    )  # fmt: skip
    assert "/dev/guet/pci-0000:00:14.0-usb-0:1:1.0-port0" in tty
    assert "ID_MM_DEVICE_IGNORE=1" in tty
    assert "latency_timer" in port
    assert not Path("/dev/guet").exists()
