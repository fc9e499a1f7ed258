"""The Bluetooth ear: real bleak on a simulated BlueZ."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.codec import Broadcast
from gateway.errors import LinkError
from gateway.link import ble
from gateway.link.ble import BleEar
from simulator.bluez import Advertisement, SimulatedBluez
from simulator.dbus import DbusError

BIN = "A4:C1:38:00:00:01"
TAG = "C8:25:2D:00:00:02"
LIMIT_S = 10.0


@pytest.fixture
async def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedBluez]:
    async with SimulatedBluez(str(tmp_path / "bus")) as simulated:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", simulated.address)
        yield simulated


def bin_says(payload: bytes, address: str = BIN) -> Advertisement:
    return Advertisement(address, {"fcd2": payload}, rssi_dbm=-71)


async def advertised(bluez: SimulatedBluez, *advertisements: Advertisement) -> None:
    """Said once somebody listens."""
    async with asyncio.timeout(LIMIT_S):
        for advertisement in advertisements:
            while not bluez.advertise(advertisement):
                await asyncio.sleep(0.005)


async def listening(bluez: SimulatedBluez, on: bool = True) -> None:
    async with asyncio.timeout(LIMIT_S):
        while bluez.scanning != on:
            await asyncio.sleep(0.005)


async def first(ear: BleEar, count: int = 1) -> list[Broadcast]:
    heard: list[Broadcast] = []
    async with asyncio.timeout(LIMIT_S):
        async for broadcast in ear.listen():
            heard.append(broadcast)
            if len(heard) == count:
                break
    await ear.close()
    return heard


async def test_a_bin_is_heard_passively(bluez: SimulatedBluez) -> None:
    ear = BleEar()
    heard, _ = await asyncio.gather(first(ear), advertised(bluez, bin_says(b"\x40\x40\x52\x03")))
    assert heard == [Broadcast(BIN, {"fcd2": b"\x40\x40\x52\x03"}, -71)]
    assert ear.passive
    assert ear.manner == "écoute passive"
    assert "StartDiscovery" not in bluez.calls
    assert ear.last_heard_loop_s is not None
    assert ear.traffic.answers == 1


async def test_without_monitors_the_scan_is_active(bluez: SimulatedBluez) -> None:
    bluez.passive = False
    ear = BleEar()
    heard, _ = await asyncio.gather(first(ear), advertised(bluez, bin_says(b"\x40\x40\x52\x03")))
    assert heard[0].parts == {"fcd2": b"\x40\x40\x52\x03"}
    assert not ear.passive
    assert ear.manner.startswith("écoute active")
    assert bluez.calls["StartDiscovery"] == 1


@pytest.mark.parametrize("passive", [True, False])
async def test_only_the_wanted_parts_are_heard(bluez: SimulatedBluez, passive: bool) -> None:
    bluez.passive = passive
    ear = BleEar(parts=("mfr:0499",))
    waiting = asyncio.create_task(first(ear))
    await listening(bluez)
    bluez.advertise(bin_says(b"\x40\x01\x10"))
    assert bluez.advertise(Advertisement(TAG, manufacturer_data={0x0499: b"\x05\x01"}))
    assert [(b.sender, b.parts) for b in await waiting] == [(TAG, {"mfr:0499": b"\x05\x01"})]


async def test_each_advertisement_comes_once_and_in_order(bluez: SimulatedBluez) -> None:
    payloads = [bytes((0x40, 0x00, n)) for n in range(50)]
    heard, _ = await asyncio.gather(first(BleEar(), 50), advertised(bluez, *map(bin_says, payloads)))
    assert [broadcast.parts["fcd2"] for broadcast in heard] == payloads


async def test_what_nobody_collects_is_bounded_and_counted(bluez: SimulatedBluez) -> None:
    ear = BleEar()
    listen = ear.listen()
    waiting = asyncio.ensure_future(anext(listen))
    await listening(bluez)
    most = ble._QUEUE
    for n in range(most + 101):
        bluez.advertise(bin_says(n.to_bytes(2, "big")))
    assert (await waiting).parts["fcd2"] == b"\x00\x00"
    async with asyncio.timeout(LIMIT_S):
        while ear.traffic.answers < most + 101:
            await asyncio.sleep(0.005)
    rest = [(await anext(listen)).parts["fcd2"] for _ in range(most)]
    assert ear.traffic.dropped == 100
    assert rest == [n.to_bytes(2, "big") for n in range(101, most + 101)]  # the newest
    await ear.close()


async def test_close_ends_listening_gives_the_adapter_back_and_may_be_called_twice(bluez: SimulatedBluez) -> None:
    ear = BleEar()

    async def all_heard() -> list[Broadcast]:
        return [broadcast async for broadcast in ear.listen()]

    waiting = asyncio.create_task(all_heard())
    await listening(bluez)
    await ear.close()
    await ear.close()
    async with asyncio.timeout(LIMIT_S):
        assert await waiting == []
    await listening(bluez, on=False)


async def test_close_between_two_broadcasts_ends_listening(bluez: SimulatedBluez) -> None:
    ear = BleEar()
    saying = asyncio.create_task(advertised(bluez, bin_says(b"\x40\x01\x10")))
    async with asyncio.timeout(LIMIT_S):
        heard = [(broadcast.sender, await ear.close()) async for broadcast in ear.listen()]
    assert heard == [(BIN, None)]
    await saying


async def test_a_cancelled_listener_gives_the_adapter_back(bluez: SimulatedBluez) -> None:
    waiting = asyncio.create_task(first(BleEar()))
    await listening(bluez)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await listening(bluez, on=False)


# Silence


async def saying_until_done(bluez: SimulatedBluez, waiting: asyncio.Task[list[Broadcast]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not waiting.done():
            bluez.advertise(bin_says(b"\x40\x01\x10"))
            await asyncio.sleep(0.01)


async def test_a_stuck_scanner_is_told_and_started_again_actively(bluez: SimulatedBluez) -> None:
    bluez.happen("stuck_scanner")
    ear = BleEar(silence_s=0.5)
    waiting = asyncio.create_task(first(ear))
    async with asyncio.timeout(LIMIT_S):
        while not waiting.done():
            bluez.advertise(bin_says(b"\x40\x01\x10"))
            await asyncio.sleep(0.01)
            if bluez.calls.get("StartDiscovery") == 1 and bluez.deaf:
                assert "aucune annonce d'aucun appareil depuis 0 min ; recherche relancée 1 fois" in ear.trouble
                bluez.deaf = False
    assert (await waiting)[0].sender == BIN
    assert ear.traffic.reopened == bluez.calls["StartDiscovery"] == bluez.calls["UnregisterMonitor"] == 1
    assert "Set" not in bluez.calls, "a new scan was enough"
    assert ear.trouble == ""


async def test_a_scanner_that_stays_stuck_has_its_adapter_switched_off_and_on(
    bluez: SimulatedBluez, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bluez.happen("stuck_scanner")
    ear = BleEar(silence_s=0.3)
    waiting = asyncio.create_task(first(ear))
    await saying_until_done(bluez, waiting)
    assert (await waiting)[0].sender == BIN
    assert bluez.calls["Set"] == 2
    assert bluez.powered
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.link.ble"]
    assert [message.split(" for ")[0] for message in said] == [
        "bus=hci0 no Bluetooth advertisement",
        "bus=hci0 Bluetooth advertisements are heard again",
    ]


async def test_an_adapter_that_may_not_be_switched_is_told_and_tried_again(
    bluez: SimulatedBluez, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    denied = DbusError("org.freedesktop.DBus.Error.AccessDenied", "no")
    bluez.faults["Set"] = deque([denied, denied])
    bluez.happen("stuck_scanner")
    waiting = asyncio.create_task(first(BleEar(silence_s=0.2)))
    await saying_until_done(bluez, waiting)
    assert bluez.calls["Set"] == 4
    assert "adapter cannot be switched off: org.freedesktop.DBus.Error.AccessDenied" in caplog.text


async def test_an_adapter_is_not_left_switched_off(bluez: SimulatedBluez) -> None:
    bluez.happen("stuck_scanner")
    waiting = asyncio.create_task(first(BleEar(silence_s=0.2)))
    async with asyncio.timeout(LIMIT_S):
        while bluez.powered:
            await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(LIMIT_S):
        while not bluez.powered:
            await asyncio.sleep(0.005)


async def test_a_scan_that_bluez_will_not_end_is_survived(bluez: SimulatedBluez) -> None:
    bluez.happen("passive_refused")
    bluez.happen("stop_in_progress")
    ear = BleEar(silence_s=0.3)
    await asyncio.gather(first(ear), advertised(bluez, bin_says(b"\x40\x01\x10")))
    assert bluez.deaf, "BlueZ says that it scans and does not"
    waiting = asyncio.create_task(first(ear))
    await saying_until_done(bluez, waiting)
    assert bluez.calls["Set"] == 2


async def test_pauses_between_tries_grow_and_have_an_end() -> None:
    ear = BleEar(silence_s=300.0)
    pauses = []
    for tries in range(40):
        ear._scans = tries
        pauses.append(ear._patience_s())
    assert pauses[0] == 300
    assert 450 <= pauses[1] <= 600 < 900 <= pauses[2] <= 1200
    assert max(pauses) <= 3600


async def test_an_adapter_that_is_unplugged_is_a_link_error_and_is_heard_again_when_back(bluez: SimulatedBluez) -> None:
    ear = BleEar(silence_s=0.3)
    waiting = asyncio.create_task(told(ear))
    await listening(bluez)
    bluez.happen("adapter_gone")
    assert "hci0" in await waiting
    with pytest.raises(LinkError, match="no Bluetooth adapter; plug one in"):
        await first(ear)
    bluez.happen("adapter_back")
    saying = asyncio.create_task(advertised(bluez, bin_says(b"\x40\x01\x10")))
    heard: list[Broadcast] = []
    async with asyncio.timeout(LIMIT_S):
        while not heard:
            try:
                heard = await first(ear)
            except LinkError:  # bleak has not taken the news in yet
                await asyncio.sleep(0.01)
    await saying
    assert heard[0].sender == BIN


async def test_a_passive_scan_that_is_refused_becomes_active_and_is_told_once(
    bluez: SimulatedBluez, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bluez.happen("passive_refused")
    ear = BleEar()
    await asyncio.gather(first(ear, 3), advertised(bluez, *(bin_says(bytes((0x40, 0, n))) for n in range(3))))
    assert not ear.passive
    assert sum("passive scan refused" in record.getMessage() for record in caplog.records) == 1


async def test_advertisements_keep_the_alarm_away(bluez: SimulatedBluez) -> None:
    ear = BleEar(silence_s=1.0)
    waiting = asyncio.create_task(first(ear, 12))
    await listening(bluez)
    for n in range(12):
        bluez.advertise(bin_says(bytes((0x40, 0x00, n))))
        await asyncio.sleep(0.1)
    await waiting
    assert ear.traffic.reopened == 0


async def test_a_dbus_that_dies_is_a_link_error_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    ear = BleEar(silence_s=0.2)
    async with SimulatedBluez(path) as bluez:
        waiting = asyncio.create_task(first(ear))
        await listening(bluez)
    with pytest.raises(LinkError, match="the system D-Bus is not there"):
        await waiting
    async with SimulatedBluez(path) as bluez:
        heard, _ = await asyncio.gather(first(ear), advertised(bluez, bin_says(b"\x40\x01\x10")))
    assert heard[0].sender == BIN


# What technicians are told


async def told(ear: BleEar) -> str:
    with pytest.raises(LinkError) as caught:
        await first(ear)
    return str(caught.value)


@pytest.mark.parametrize("passive", [True, False])
async def test_no_such_adapter(bluez: SimulatedBluez, passive: bool) -> None:
    bluez.passive = passive
    assert "Bluetooth hci7: there is no such adapter; see `bluetoothctl list`" in await told(BleEar("hci7"))


@pytest.mark.parametrize("passive", [True, False])
async def test_bluetooth_switched_off(bluez: SimulatedBluez, passive: bool) -> None:
    bluez.passive = passive
    bluez.powered = False
    assert "Bluetooth hci0: Bluetooth is switched off; run `rfkill unblock bluetooth`" in await told(BleEar())


async def test_bluetooth_switched_off_under_a_passive_scan(bluez: SimulatedBluez) -> None:
    waiting = asyncio.create_task(told(BleEar(silence_s=0.3)))
    await listening(bluez)
    bluez.powered = False
    assert "switched off" in await waiting


async def test_no_permission(bluez: SimulatedBluez) -> None:
    denied = "org.freedesktop.DBus.Error.AccessDenied"
    bluez.faults = {
        name: deque([DbusError(denied, "Rejected send message")]) for name in ("RegisterMonitor", "StartDiscovery")
    }
    assert "may not use Bluetooth; add it to the group `bluetooth`" in await told(BleEar())


async def test_bluez_not_running(bluez: SimulatedBluez) -> None:
    unknown = DbusError("org.freedesktop.DBus.Error.ServiceUnknown", "The name org.bluez was not provided")
    bluez.faults = {"GetManagedObjects": deque([unknown] * 2)}
    assert "BlueZ is not running; run `systemctl enable --now bluetooth`" in await told(BleEar())


async def test_no_dbus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    assert "the system D-Bus is not there" in await told(BleEar())


async def test_a_dbus_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/mute")
    monkeypatch.setattr(ble, "_START_S", 0.2)
    open_ones: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda reader, writer: open_ones.append(writer), f"{tmp_path}/mute")
    assert "did not answer within" in await told(BleEar())
    for writer in open_ones:
        writer.close()
    server.close()


async def test_another_error_is_passed_on_in_its_own_words(bluez: SimulatedBluez) -> None:
    bluez.passive = False
    bluez.faults = {"StartDiscovery": deque([DbusError("org.bluez.Error.InProgress", "Operation already in progress")])}
    assert "Operation already in progress" in await told(BleEar())
