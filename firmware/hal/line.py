"""Half-duplex RS-485: one frame per silence in, frames out with the driver held on exactly as long as needed."""

import asyncio
import time

from machine import UART, Pin
from micropython import const
from modbus_rtu import gap_ms

_PARITY = {"N": None, "E": 0, "O": 1}
_LONGEST_SEND_MS = const(2000)
_ROOM = const(512)  # two frames


class Line:
    """pins: tx, rx and de (drive enable) by number. `buf` holds what came between two silences last: a frame, or, where
    the silence between was too short to be seen, another unit's answer and the request after it."""

    def __init__(self, uart_id: int, pins: dict, baud: int, parity: str):
        # The driver is off before the UART exists: a node that starts must not hold the line.
        self._drive = Pin(pins["de"], Pin.OUT, value=0)
        self._uart = UART(
            uart_id,
            baudrate=baud,
            bits=8,
            parity=_PARITY[parity],
            stop=2 if parity == "N" else 1,  # 2.5.1: eleven bits a character in every case
            tx=Pin(pins["tx"]),
            rx=Pin(pins["rx"]),
            rxbuf=_ROOM,
            timeout=0,
        )
        self._gap_ms = gap_ms(baud)
        self._reader = asyncio.StreamReader(self._uart)
        self.buf = bytearray(_ROOM)
        self._view = memoryview(self.buf)
        self._waiting = False
        self._turns = 0

    def alive(self) -> bool:
        """Whether it went on since this was last asked, or has nothing to do."""
        went_on = self._turns > 0
        self._turns = 0
        return went_on or self._waiting and not self._uart.any()

    async def receive(self) -> int:
        """Wait for a frame; returns its length in `buf`, 0 for one that was too long and was thrown away."""
        self._waiting = True
        n = await self._reader.readinto(self._view) or 0
        self._waiting = False
        while True:
            self._turns = 1
            await asyncio.sleep_ms(self._gap_ms)
            if not self._uart.any():
                return n
            if n == _ROOM:
                await self._discard()
                return 0
            n += self._uart.readinto(self._view[n:]) or 0

    async def send(self, buf, n: int) -> None:
        """Send n bytes of buf, then forget what was heard meanwhile: an adapter that echoes would otherwise make the
        node answer itself."""
        self._drive.value(1)
        try:
            self._uart.write(memoryview(buf)[:n])
            start = time.ticks_ms()
            while not self._uart.txdone():
                if time.ticks_diff(time.ticks_ms(), start) > _LONGEST_SEND_MS:
                    break
                await asyncio.sleep_ms(1)
        finally:
            self._drive.value(0)
        while self._uart.any():
            self._uart.readinto(self._view)

    async def _discard(self) -> None:
        while self._uart.any():
            self._turns = 1
            self._uart.readinto(self._view)
            await asyncio.sleep_ms(self._gap_ms)
