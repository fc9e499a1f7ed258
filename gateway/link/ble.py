"""Bluetooth Low Energy: hearing what sensors advertise, through BlueZ.

The scan is passive where BlueZ can (5.56 with --experimental, kernel 5.10): it asks nothing of battery sensors, and
only advertisements of interest wake this process. Where it cannot, it is active. Two things happen in the field that
nothing reports: a monitor that was registered and never hears, and a scan that is silently dead (BlueZ before 5.88,
bluez issue 807). So when nothing at all has been heard for a while, that is said and the scan is started again,
actively; when that did not help, the adapter is switched off and on first, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.codec import Broadcast
from gateway.errors import LinkError
from gateway.link import Traffic

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.args.bluez import OrPatternLike
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

_START_S = 15.0
_STOP_S = 5.0
_POWER_S = 10.0
_LONGEST_PAUSE_S = 3600.0
_QUEUE = 512
_BASE_UUID = "-0000-1000-8000-00805f9b34fb"
_log = logging.getLogger(__name__)


class BleEar:
    """An adapter that listens.

    parts: kinds of content that are of interest ("fcd2", "mfr:0499"); all else is not heard. silence_s: seconds of the
    event loop without any advertisement after which the scan is started again. last_heard_loop_s: event-loop time of
    the last advertisement; None before it. passive: how it scans now; each `listen` tries passive first.
    """

    def __init__(
        self,
        adapter: str = "hci0",
        parts: Iterable[str] = ("fcd2",),
        silence_s: float = 300.0,
    ) -> None:
        self.adapter = adapter
        self.parts = frozenset(parts)
        self.silence_s = silence_s
        self.traffic = Traffic()
        self.last_heard_loop_s: float | None = None
        self.passive = True
        self._queue: deque[Broadcast] = deque()
        self._filled = asyncio.Event()
        self._closed = False
        self._scanner: BleakScanner | None = None
        self._deaf_since_s: float | None = None
        self._scans = self._power_cycles = 0
        self._rng = random.Random(adapter)  # noqa: S311 - spreads retries, no secret

    @property
    def trouble(self) -> str:
        """See `link.Ear`."""
        if self._deaf_since_s is None:
            return ""
        minutes = (asyncio.get_running_loop().time() - self._deaf_since_s) / 60
        cycled = f", adaptateur éteint et rallumé {self._power_cycles} fois" if self._power_cycles else ""
        return (
            f"Bluetooth {self.adapter} : aucune annonce d'aucun appareil depuis {minutes:.0f} min ; "
            f"recherche relancée {self._scans} fois{cycled}"
        )

    @property
    def manner(self) -> str:
        """See `link.Ear`."""
        return "écoute passive" if self.passive else "écoute active, la passive est refusée ou n'entend rien"

    @property
    def advice(self) -> str:
        """See `link.Ear`."""
        return "vérifier la pile, la distance, les obstacles"

    async def listen(self) -> AsyncIterator[Broadcast]:
        """Broadcasts that have one of `parts`, as they come, until `close`. Raises LinkError when Bluetooth cannot be
        used, saying what to do."""
        loop = asyncio.get_running_loop()
        self._closed = False
        self.passive = True
        await self._start()
        quiet_since_s = loop.time()
        try:
            while True:
                while self._queue:
                    yield self._queue.popleft()
                if self._closed:
                    return
                self._filled.clear()
                since_s = max(quiet_since_s, self.last_heard_loop_s or 0.0)
                try:
                    async with asyncio.timeout_at(since_s + self._patience_s()):
                        await self._filled.wait()
                except TimeoutError:
                    if self.last_heard_loop_s is not None and self.last_heard_loop_s > since_s:
                        continue
                    await self._restart(since_s)
                    quiet_since_s = loop.time()
        finally:
            await self._stop()

    async def close(self) -> None:
        """Ends `listen` and gives the adapter back. May be called twice."""
        self._closed = True
        self._filled.set()
        await self._stop()

    def _patience_s(self) -> float:
        """How long silence is borne: longer after each try that did not help, never by all gateways at once."""
        if not self._scans:
            return self.silence_s
        longest_s = max(_LONGEST_PAUSE_S, self.silence_s)
        return min(longest_s, self.silence_s * 2.0 ** min(self._scans, 10)) * self._rng.uniform(0.75, 1.0)

    async def _restart(self, since_s: float) -> None:
        if self._deaf_since_s is None:
            self._deaf_since_s = since_s
            silent_s = asyncio.get_running_loop().time() - since_s
            _log.warning("bus=%s no Bluetooth advertisement for %.0f s; scan is started again", self.adapter, silent_s)
        self.passive = False
        await self._stop()
        if self._scans:
            # Shielded: an adapter that was switched off must be switched on again, whoever ends us meanwhile.
            await asyncio.shield(asyncio.ensure_future(self._power_cycle()))
        self._scans += 1
        await self._start()
        self.traffic.reopened += 1

    async def _power_cycle(self) -> None:
        """Switches the adapter off and on, as far as BlueZ lets us; it may not, and then the log says so."""
        from dbus_fast import BusType, Message, MessageType, Variant
        from dbus_fast.aio import MessageBus

        self._power_cycles += 1
        for on in (False, True):
            try:
                async with asyncio.timeout(_POWER_S):
                    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
                    try:
                        reply = await bus.call(
                            Message(
                                destination="org.bluez",
                                path=f"/org/bluez/{self.adapter}",
                                interface="org.freedesktop.DBus.Properties",
                                member="Set",
                                signature="ssv",
                                body=["org.bluez.Adapter1", "Powered", Variant("b", on)],
                            )
                        )
                    finally:
                        bus.disconnect()
                refused = reply.error_name if reply is not None and reply.message_type is MessageType.ERROR else None
            except (OSError, EOFError, TimeoutError) as error:
                refused = str(error) or type(error).__name__
            if refused is not None:
                _log.warning("bus=%s adapter cannot be switched %s: %s", self.adapter, "on" if on else "off", refused)

    def _hears(self) -> None:
        """Notes that something was heard."""
        self.last_heard_loop_s = asyncio.get_running_loop().time()
        if self._deaf_since_s is not None:
            _log.warning("bus=%s Bluetooth advertisements are heard again", self.adapter)
            self._deaf_since_s = None
        self._scans = self._power_cycles = 0

    async def _start(self) -> None:
        from bleak import BleakAdapter
        from bleak.exc import BleakBluetoothNotAvailableError, BleakError

        if self.passive:
            try:
                async with asyncio.timeout(_START_S):
                    # BlueZ takes a monitor without a word while Bluetooth is off; this asks first.
                    await BleakAdapter.get()
                return await self._scan("passive")
            except BleakBluetoothNotAvailableError as error:
                raise LinkError(advice(self.adapter, error)) from error
            except BleakError as error:
                _log.info("bus=%s passive scan refused (%s); scanning actively", self.adapter, error)
                self.passive = False
            except (OSError, EOFError, TimeoutError) as error:
                raise LinkError(advice(self.adapter, error)) from error
        try:
            return await self._scan("active")
        except (BleakError, OSError, EOFError, TimeoutError) as error:
            raise LinkError(advice(self.adapter, error)) from error

    async def _scan(self, mode: str) -> None:
        from bleak import BleakScanner

        scanner = BleakScanner(
            self._heard,
            scanning_mode="passive" if mode == "passive" else "active",
            bluez={"adapter": self.adapter, "or_patterns": _patterns(self.parts)},
        )
        async with asyncio.timeout(_START_S):
            await scanner.start()
        self._scanner = scanner

    async def _stop(self) -> None:
        from bleak.exc import BleakError

        scanner, self._scanner = self._scanner, None
        if scanner is None:
            return
        try:
            async with asyncio.timeout(_STOP_S):
                await scanner.stop()
        except (BleakError, OSError, EOFError, TimeoutError, AssertionError) as error:
            # bleak asserts that a bus that has died is still there; the scan ended with it either way.
            _log.info("bus=%s scan could not be stopped: %s", self.adapter, error)

    def _heard(self, device: BLEDevice, advertisement: AdvertisementData) -> None:
        self._hears()
        parts = _parts(advertisement.service_data, advertisement.manufacturer_data)
        if self.parts.isdisjoint(parts):
            return
        self.traffic.answers += 1
        if len(self._queue) >= _QUEUE:
            # The oldest goes: of a sensor's state, the newest word counts.
            self._queue.popleft()
            self.traffic.dropped += 1
        self._queue.append(Broadcast(device.address.upper(), parts, advertisement.rssi))
        self._filled.set()


def _parts(service_data: Mapping[str, bytes], manufacturer_data: Mapping[int, bytes]) -> dict[str, bytes]:
    """Contents by kind: the 16-bit UUID or the whole one, `mfr:` and the company id."""
    parts = {f"mfr:{company:04x}": data for company, data in manufacturer_data.items()}
    for uuid, data in service_data.items():
        parts[uuid[4:8] if uuid.startswith("0000") and uuid.endswith(_BASE_UUID) else uuid] = data
    return parts


def _patterns(parts: Iterable[str]) -> list[OrPatternLike]:
    """What BlueZ shall wake us for: advertising data that begin with the UUID or company id, low byte first."""
    from bleak.args.bluez import OrPattern
    from bleak.assigned_numbers import AdvertisementDataType as Kind

    patterns: list[OrPatternLike] = []
    for part in sorted(parts):
        kind = Kind.MANUFACTURER_SPECIFIC_DATA if part.startswith("mfr:") else Kind.SERVICE_DATA_UUID16
        patterns.append(OrPattern(0, kind, bytes.fromhex(part.removeprefix("mfr:"))[::-1]))
    return patterns


_OFF = "Bluetooth is switched off; run `rfkill unblock bluetooth`, then `bluetoothctl power on`"
_GROUP = "this user may not use Bluetooth; add it to the group `bluetooth` and start the gateway again"
_NO_BLUEZ = "BlueZ is not running; run `systemctl enable --now bluetooth`"
_DO = {
    "NO_BLUETOOTH": "no Bluetooth adapter; plug one in, or check that the built-in one is not disabled in config.txt",
    "NO_BLE_CENTRAL_ROLE": "the adapter knows no Bluetooth Low Energy; use one that does (Bluetooth 4.0 or newer)",
    "POWERED_OFF": _OFF,
    "DENIED_BY_SYSTEM": _GROUP,
    "org.bluez.Error.NotReady": _OFF,
    "org.freedesktop.DBus.Error.AccessDenied": _GROUP,
    "org.freedesktop.DBus.Error.ServiceUnknown": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.NameHasNoOwner": _NO_BLUEZ,
}


UNUSABLE = frozenset(name for name in _DO if "." in name)
"""Errors of D-Bus that mean that Bluetooth as a whole cannot be used."""


def advice(adapter: str, error: BaseException) -> str:
    """What went wrong with an adapter, and what to do."""
    from bleak.exc import BleakBluetoothNotAvailableError, BleakDBusError

    said = ""
    if isinstance(error, BleakBluetoothNotAvailableError):
        said = _DO.get(error.reason.name, "")
    elif isinstance(error, BleakDBusError):
        said = _DO.get(error.dbus_error, "")
    elif isinstance(error, TimeoutError):
        said = f"BlueZ did not answer within {_START_S:.0f} s; run `systemctl restart bluetooth`"
    elif isinstance(error, (FileNotFoundError, ConnectionError)):
        said = "the system D-Bus is not there; run `systemctl status dbus`, in a container mount its socket"
    elif isinstance(error, PermissionError):
        said = _GROUP
    elif "not found" in str(error):
        said = "there is no such adapter; see `bluetoothctl list` and correct `port` of this bus in the site file"
    return f"Bluetooth {adapter}: {said or error}"
