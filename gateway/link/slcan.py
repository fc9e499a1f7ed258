"""A CAN adapter on a serial port (SLCAN) that listens: the lift's bus is heard and never spoken on.

The only bytes that ever leave through this port are `gateway.codec.slcan.COMMANDS`: close, bit rate, listen only, state. The
port is opened for us alone, so that nobody else speaks through it meanwhile.

What a bus says is judged by whether anything comes. When nothing has come for a while the adapter is asked for its state:
one that answers has a silent or broken bus in front of it, one that does not is stuck or has lost its supply. Either way it
is set up anew, with growing pauses, and the port opened again where the adapter did not answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import termios
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.codec import Broadcast
from gateway.codec.canopen_lift import PART
from gateway.codec.slcan import BITRATES, CLOSE, COMMANDS, LISTEN, STATE, Reader
from gateway.errors import LinkError
from gateway.line import parse_line
from gateway.link import Traffic
from gateway.link.serial import open_port, why_not_open

if TYPE_CHECKING:
    import serial

_log = logging.getLogger(__name__)

LINE = "115200 8N1"
"""What adapters on a UART are delivered with; to one on USB it does not matter."""
_CONFIRM_S = 0.5
"""Within that an adapter confirms a command, if it confirms at all."""
_LONGEST_PAUSE_S = 900.0
_CHUNK = 4096
_QUEUE = 1024


class SlcanEar:
    """An adapter that listens on a CAN bus.

    bitrate: of the bus, bit/s. silence_s: seconds of the event loop without a frame after which the adapter is asked and set
    up anew; nodes of a lift say several times a second that they are there. reader: its counters, and the last state.
    """

    def __init__(self, port: str, line: str = LINE, bitrate: int = 250_000, silence_s: float = 15.0) -> None:
        self.port, self.line, self.bitrate, self.silence_s = port, parse_line(line), bitrate, silence_s
        self.traffic = Traffic()
        self.reader = Reader()
        self._queue: deque[Broadcast] = deque()
        self._woken = asyncio.Event()
        self._closed = False
        self._serial: serial.Serial | None = None
        self._fd = -1
        self._opened = False
        self._gone = ""
        self._last_loop_s = 0.0
        self._deaf_since_s: float | None = None
        self._tries = 0
        self._silence = ""  # what the adapter said, or did not, when it was asked about a silence
        self._garbled = 0  # lines that could not be read, when a frame was last heard
        self._rng = random.Random(port)  # noqa: S311 - spreads retries, no secret

    @property
    def trouble(self) -> str:
        """See `link.Ear`."""
        if self._deaf_since_s is None:
            return ""
        minutes = (asyncio.get_running_loop().time() - self._deaf_since_s) / 60
        return (
            f"CAN {self.port} : aucune trame depuis {minutes:.0f} min ; {self._silence} ; "
            f"remis en écoute {self._tries} fois"
        )

    @property
    def manner(self) -> str:
        """See `link.Ear`."""
        return f"écoute seule à {self.bitrate // 1000} kbit/s"

    @property
    def advice(self) -> str:
        """See `link.Ear`."""
        return "vérifier son alimentation, son numéro de nœud et le profil : les autres nœuds du bus sont entendus"

    async def listen(self) -> AsyncIterator[Broadcast]:
        """Data frames as they come, until `close`; each is sent under its identifier. Raises LinkError when the port is not
        there or goes away, and when the adapter refuses to listen, saying what to do."""
        loop = asyncio.get_running_loop()
        self._closed = False
        await self._open()
        self._last_loop_s = asked_s = loop.time()
        try:
            while True:
                while self._queue:
                    yield self._queue.popleft()
                if self._closed:
                    return
                if self._gone:
                    raise LinkError(self._gone)
                self._woken.clear()
                since_s = max(asked_s, self._last_loop_s)
                try:
                    async with asyncio.timeout_at(since_s + self._patience_s()):
                        await self._woken.wait()
                except TimeoutError:
                    if self._last_loop_s <= since_s:
                        await self._ask_why(since_s)
                    asked_s = loop.time()
        except LinkError:
            if self._closed:
                return
            self._deaf_since_s = None  # that the port is not there says more
            raise
        finally:
            self._shut()

    async def close(self) -> None:
        """Ends `listen` and gives the port back. May be called twice."""
        self._closed = True
        self._woken.set()
        self._shut()

    def _patience_s(self) -> float:
        """How long silence is borne: longer after each try that did not help."""
        longest_s = max(_LONGEST_PAUSE_S, self.silence_s)
        return min(longest_s, self.silence_s * 2.0 ** min(self._tries, 10)) * self._rng.uniform(0.75, 1.0)

    async def _ask_why(self, since_s: float) -> None:
        """Asks a silent adapter for its state, and sets it up anew."""
        if self._deaf_since_s is None:
            self._deaf_since_s = since_s
            _log.warning("port=%s no CAN frame for %.0f s; adapter is set up again", self.port, self.silence_s)
        self.reader.take_state()
        answers, state = await self._tell(STATE), self.reader.take_state()
        if (strange := self.reader.garbled - self._garbled) > 0:
            self._silence = f"{strange} lignes illisibles de l'adaptateur : vérifier sa vitesse (clé line)"
        elif answers:
            said = f" ({state})" if state else ""
            self._silence = f"l'adaptateur répond{said} : vérifier câblage H/L, débit, alimentation du bus"
        else:
            self._silence = (
                "l'adaptateur ne répond pas : vérifier qu'il connaît l'écoute seule (commande L), le rebrancher"
            )
            self._shut()
        self._tries += 1
        await self._open()
        self.traffic.reopened += 1

    async def _open(self) -> None:
        """Opens the port where it is not open, and has the adapter listen."""
        if self._fd < 0:
            try:
                self._serial = open_port(self.port, self.line, self.line.parity)
            except (OSError, ValueError, termios.error) as error:
                raise LinkError(why_not_open(self.port, error)) from None
            self._fd, self._gone = self._serial.fileno(), ""
            asyncio.get_running_loop().add_reader(self._fd, self._readable)
            if self._opened and self._deaf_since_s is None:
                self.traffic.reopened += 1
            self._opened = True
        # What was half said before, by us or whoever had the port, must not become part of a command.
        await self._tell(CLOSE)
        await self._tell(BITRATES[self.bitrate])
        refused = self.reader.refused
        await self._tell(LISTEN)
        if self.reader.refused > refused:
            self._shut()
            raise LinkError(
                f"{self.port}: the CAN adapter refuses to listen only (command L); use one whose firmware knows it"
            )

    async def _tell(self, command: bytes) -> bool:
        """Says one of `COMMANDS`; whether the adapter said anything to it that is no frame."""
        if command not in COMMANDS:
            raise ValueError(f"expected one of {sorted(COMMANDS)}, got {command!r}; nothing else is told to an adapter")
        if self._fd < 0:
            raise LinkError(self._gone or f"{self.port}: closed")
        reader, loop = self.reader, asyncio.get_running_loop()
        before = reader.confirmed, reader.refused, reader.state
        try:
            written = os.write(self._fd, command)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._shut()
            text = f"{self.port}: {os.strerror(error.errno or 0)}; is the CAN adapter still plugged in?"
            raise LinkError(text) from None
        if written != len(command):
            self._shut()
            raise LinkError(f"{self.port}: the CAN adapter takes nothing any more; replug it")
        until_s = loop.time() + _CONFIRM_S
        while (reader.confirmed, reader.refused, reader.state) == before:
            if loop.time() >= until_s or self._fd < 0:
                return False
            self._woken.clear()
            try:
                async with asyncio.timeout_at(until_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
        return True

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone = f"{self.port}: the port went away; is the CAN adapter still plugged in?"
            self._shut()
            self._woken.set()
            return
        garbled = self.reader.garbled
        frames = self.reader.feed(data)
        self.traffic.garbled += self.reader.garbled - garbled
        if frames:
            self._hears(len(frames))
        for frame in frames:
            if len(self._queue) >= _QUEUE:
                self._queue.popleft()
                self.traffic.dropped += 1
            self._queue.append(Broadcast(frame.name, {PART: frame.data}))
        self._woken.set()

    def _hears(self, frames: int) -> None:
        self.traffic.answers += frames
        self._last_loop_s = asyncio.get_running_loop().time()
        if self._deaf_since_s is not None:
            _log.warning("port=%s CAN frames are heard again", self.port)
            self._deaf_since_s = None
        self._tries, self._garbled = 0, self.reader.garbled

    def _shut(self) -> None:
        port, self._serial = self._serial, None
        if port is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        self._fd = -1
        try:
            port.close()
        except (OSError, termios.error):
            pass
