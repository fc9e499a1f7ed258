"""The watchdog: what systemd would hear, on a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.watchdog import notify, period_s, supervised


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def heard(systemd: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(systemd.recv(4096).decode())
        except BlockingIOError:
            return said


async def test_it_is_ready_alive_again_and_again_and_then_stopping(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")  # signs of life every 20 ms
    async with supervised(lambda: True):
        await asyncio.sleep(0.15)
    said = heard(systemd)
    assert (said[0], said[-1]) == ("READY=1", "STOPPING=1")
    assert said.count("WATCHDOG=1") >= 3


async def test_who_is_not_alive_is_not_fed(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    async with supervised(lambda: False):
        await asyncio.sleep(0.1)
    assert "WATCHDOG=1" not in heard(systemd)
    assert caplog.text.count("not fed") == 1


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False
    assert notify("READY=1", {"NOTIFY_SOCKET": "/nowhere/at/all"}) is False
    assert period_s({}) is None
    assert period_s({"WATCHDOG_USEC": "0"}) is None
    assert period_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 10.0
    assert period_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
