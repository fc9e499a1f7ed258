"""Bluetooth devices that are connected to: found, connected, read, and left again, through BlueZ.

A connection is held for one reading only: most such sensors take one at a time, and a phone wants its turn too. Connecting
fails now and then for no reason; it is tried once more after a pause that is never the same (bleak itself goes on after an
abort by interference, as long as there is time).
A scan of ours or of others on the same adapter goes on meanwhile; BlueZ gives both their time. Every step has a limit.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from gateway.codec import Ask
from gateway.codec.gatt import answer_of, wanted_in
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer, Refused
from gateway.link import Traffic
from gateway.link.ble import UNUSABLE, advice

if TYPE_CHECKING:
    from bleak import BleakClient

_log = logging.getLogger(__name__)

READ_S = 5.0
LEAVE_S = 5.0
TRIES = 2
PAUSE_S = 2.0
"""Before the second try, with jitter."""


class _Fleeting(Exception):
    """A failure that is worth another try at once; after the last one it is what it carries."""

    def __init__(self, error: BusError) -> None:
        self.error = error


class GattLink:
    """An adapter that connects. One connection at a time."""

    def __init__(self, adapter: str = "hci0") -> None:
        self.adapter = adapter
        self.traffic = Traffic()
        self._turn = asyncio.Lock()
        self._rng = random.Random(adapter)  # noqa: S311 - spreads retries, no secret

    async def exchange(self, ask: Ask) -> bytes:
        """The values of the characteristics that `ask` names. Raises NoAnswer when the device is not found or cannot be
        connected to, GarbledAnswer when the connection is lost in the middle, Refused when it will not be read, LinkError
        when Bluetooth cannot be used."""
        async with self._turn:
            for left in range(TRIES - 1, -1, -1):
                self.traffic.requests += 1
                try:
                    answer = await self._read(ask)
                except _Fleeting as failure:
                    self._count(failure.error)
                    if not left:
                        raise failure.error from None
                    _log.info("adapter=%s %s; trying again", self.adapter, failure.error)
                    await asyncio.sleep(PAUSE_S * self._rng.uniform(0.5, 1.0))
                except BusError as error:
                    self._count(error)
                    raise
                else:
                    break
            self.traffic.answers += 1
            return answer[: ask.recognise(answer)]

    async def close(self) -> None:
        """Nothing is held between two readings."""

    def _count(self, error: BusError) -> None:
        self.traffic.silences += isinstance(error, NoAnswer)
        self.traffic.garbled += isinstance(error, GarbledAnswer)

    async def _read(self, ask: Ask) -> bytes:
        from bleak import BleakClient

        address, characteristics = wanted_in(ask.request)
        client = BleakClient(address, timeout=ask.patience_s, bluez={"adapter": self.adapter})
        try:
            await self._connect(client, address, ask.patience_s)
            values: list[bytes | None] = []
            for characteristic in characteristics:
                values.append(await self._value(client, address, characteristic, len(values), len(characteristics)))
            return answer_of(values)
        finally:
            # Shielded: a device that is left connected can be reached by nobody, whoever ends us meanwhile.
            await asyncio.shield(asyncio.ensure_future(self._leave(client)))

    async def _connect(self, client: BleakClient, address: str, patience_s: float) -> None:
        from bleak.exc import BleakBluetoothNotAvailableError, BleakDBusError, BleakDeviceNotFoundError, BleakError

        try:
            async with asyncio.timeout(2 * patience_s):  # to be found, to be connected
                await client.connect()
        except BleakDeviceNotFoundError:
            text = (
                f"{address}: not heard within {patience_s:.0f} s; check battery and distance, or is a phone connected?"
            )
            raise NoAnswer(text) from None
        except TimeoutError:
            raise NoAnswer(f"{address}: does not connect within {patience_s:.0f} s; check battery, distance") from None
        except BleakBluetoothNotAvailableError as error:
            raise LinkError(advice(self.adapter, error)) from error
        except BleakDBusError as error:
            if error.dbus_error in UNUSABLE:
                raise LinkError(advice(self.adapter, error)) from error
            raise _Fleeting(NoAnswer(f"{address}: the connection is refused ({error})")) from None
        except BleakError as error:
            if "not found" in str(error):
                raise LinkError(advice(self.adapter, error)) from error
            raise _Fleeting(NoAnswer(f"{address}: the connection fails ({error})")) from None
        except (OSError, EOFError) as error:
            raise LinkError(advice(self.adapter, error)) from error

    async def _value(self, client: BleakClient, address: str, characteristic: str, done: int, of: int) -> bytes | None:
        """One value; None when the device has no such characteristic."""
        from bleak.exc import (
            BleakCharacteristicNotFoundError,
            BleakDBusError,
            BleakError,
            BleakGATTProtocolError,
            BleakGATTProtocolErrorCode,
        )

        try:
            async with asyncio.timeout(READ_S):
                return bytes(await client.read_gatt_char(characteristic))
        except BleakCharacteristicNotFoundError:
            return None
        except BleakGATTProtocolError as error:
            if error.args[0] == BleakGATTProtocolErrorCode.UNLIKELY_ERROR or not client.is_connected:
                # So BlueZ calls a link that was lost while it waited for the answer.
                raise _Fleeting(_lost(address, done, of, str(error))) from None
            raise Refused(f"{address}: characteristic {characteristic} cannot be read ({error})", 0) from None
        except BleakDBusError as error:
            if error.dbus_error in ("org.bluez.Error.NotPermitted", "org.bluez.Error.NotAuthorized", _NOT_SUPPORTED):
                raise Refused(f"{address}: characteristic {characteristic} cannot be read ({error})", 0) from None
            raise _Fleeting(_lost(address, done, of, str(error))) from None
        except (BleakError, OSError, EOFError, AssertionError, TimeoutError) as error:
            # bleak asserts that a bus that has died is still there.
            raise _Fleeting(_lost(address, done, of, str(error) or type(error).__name__)) from None

    async def _leave(self, client: BleakClient) -> None:
        from bleak.exc import BleakError

        try:
            async with asyncio.timeout(LEAVE_S):
                await client.disconnect()
        except (BleakError, OSError, EOFError, TimeoutError, AssertionError) as error:
            _log.info("adapter=%s %s could not be left: %s", self.adapter, client.address, error)


_NOT_SUPPORTED = "org.bluez.Error.NotSupported"


def _lost(address: str, done: int, of: int, said: str) -> GarbledAnswer:
    return GarbledAnswer(f"{address}: the connection was lost after {done} of {of} values ({said}); check distance")
