"""Whether anything stands behind the machine's time."""

import time
from pathlib import Path

import pytest

from gateway import adjtimex
from gateway.adjtimex import kernel_synchronized
from gateway.time_source import Kernel


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's files, where the kernel knows of no network time."""
    monkeypatch.setattr(adjtimex, "kernel_synchronized", lambda: False)
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("0123-4567\n")
    return tmp_path


def battery(root: Path, text: str, name: str = "rtc0") -> None:
    (root / "sys/class/rtc" / name).mkdir(parents=True)
    (root / "sys/class/rtc" / name / "since_epoch").write_text(text)


def test_a_board_without_battery_or_network_only_guesses(root: Path) -> None:
    kernel = Kernel(root, "aarch64")
    assert kernel.boot == "0123-4567"
    assert not kernel.vouched()


def test_network_time_stands_behind_it(root: Path) -> None:
    (root / "run/systemd/timesync").mkdir(parents=True)
    (root / "run/systemd/timesync/synchronized").touch()
    assert Kernel(root, "aarch64").vouched()


def test_a_battery_clock_that_agrees_stands_behind_it(root: Path) -> None:
    battery(root, f"{time.time():.0f}\n")
    assert Kernel(root, "aarch64").vouched()


@pytest.mark.parametrize("text", ["37", "", "x", "1e999"], ids=["that lost its power", "empty", "nonsense", "beyond"])
def test_a_battery_clock_that_does_not_agree_does_not(root: Path, text: str) -> None:
    battery(root, text)
    assert not Kernel(root, "x86_64").vouched()


def test_a_pc_that_shows_no_battery_clock_has_one(root: Path) -> None:
    assert Kernel(root, "x86_64").vouched()


def test_the_kernel_can_be_asked_here() -> None:
    assert kernel_synchronized() in (True, False)
    kernel = Kernel()
    assert kernel.boot == Kernel().boot
    assert abs(kernel.utc() - time.time()) < 1
    assert kernel.steady() <= kernel.steady()
