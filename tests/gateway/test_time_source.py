"""Whether anything stands behind the machine's time."""

import time
from pathlib import Path

import pytest

from gateway import time_source
from gateway.time_source import Kernel, kernel_synchronized


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's files, where the kernel knows of no network time."""
    monkeypatch.setattr(time_source, "kernel_synchronized", lambda: False)
    monkeypatch.setattr(time_source.platform, "machine", lambda: "aarch64")
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("0123-4567\n")
    return tmp_path


def battery(root: Path, text: str, name: str = "rtc0") -> None:
    (root / "sys/class/rtc" / name).mkdir(parents=True)
    (root / "sys/class/rtc" / name / "since_epoch").write_text(text)


def test_a_board_without_battery_or_network_only_guesses(root: Path) -> None:
    kernel = Kernel(root)
    assert kernel.boot == "0123-4567"
    assert not kernel.vouched()


def test_network_time_stands_behind_it(root: Path) -> None:
    (root / "run/systemd/timesync").mkdir(parents=True)
    (root / "run/systemd/timesync/synchronized").touch()
    assert Kernel(root).vouched()


def test_a_battery_clock_that_agrees_stands_behind_it(root: Path) -> None:
    battery(root, f"{time.time():.0f}\n")
    assert Kernel(root).vouched()


@pytest.mark.parametrize("text", ["37", "", "x", "1e999"], ids=["that lost its power", "empty", "nonsense", "beyond"])
def test_a_battery_clock_that_does_not_agree_does_not(root: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    battery(root, text)
    monkeypatch.setattr(time_source.platform, "machine", lambda: "x86_64")
    assert not Kernel(root).vouched()


def test_a_pc_that_shows_no_battery_clock_has_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_source.platform, "machine", lambda: "x86_64")
    assert Kernel(root).vouched()


def test_the_kernel_can_be_asked_here() -> None:
    assert kernel_synchronized() in (True, False)
    kernel = Kernel()
    assert kernel.boot == Kernel().boot
    assert abs(kernel.utc() - time.time()) < 1
    assert kernel.steady() <= kernel.steady()
