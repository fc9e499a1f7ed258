"""A serial line where devices answer when asked: RS-485 with Modbus RTU or M-Bus, or an adapter to another bus.

Rules kept here (MSL = *MODBUS over Serial Line V1.02*):

1. Before a request the line has been silent for 3.5 characters, 1.75 ms above 19,200 baud (MSL 2.5.1.1), counted from
   the later of the last byte received and the calculated end of our own transmission.
2. An answer is over when its `Ask` recognises it, not when the line falls silent: a USB adapter hands bytes over in
   batches (FTDI: 16 ms), so a silence inside a frame means nothing.
3. After a failure the error is held back until the line is quiet, and what still came is counted as stray and dropped:
   a late answer must not become the answer to the next request.
4. Bytes that nobody asked for are counted, and start the silence anew.
5. Our own request heard back (an adapter that does not mute its receiver) is cut off.
6. No request is repeated here: whether to repeat is the caller's to know.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import select
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.codec import Ask
from gateway.errors import BusError, GarbledAnswer, LinkError, NoAnswer
from gateway.line import LineSettings, parse_line
from gateway.link import Traffic

if TYPE_CHECKING:
    import serial

log = logging.getLogger(__name__)

BATCH_S = 0.02
"""How late an adapter or a busy machine may hand over a byte (FTDI's latency timer: 16 ms)."""
INNER_GAP_S = 0.1
"""Longest silence inside an answer that is waited through: several late batches in a row. A truncated answer is given
up after it, not after the device's whole patience."""
BABBLE_S = 2.0
"""Longest wait for a line to fall silent; something that never stops sending cannot be waited for."""
SHORT_ANSWER = 8
LOOK_AHEAD_S = 0.003
"""Once this many bytes of an answer are there it is no short refusal, and what is missing is left to gather until this
long before it is complete."""
MAX_ANSWER = 1024
"""Bytes kept of what comes during one exchange; four times the longest frame of any bus we know."""


class SerialLink:
    """One serial port.

    frames: True where silence separates frames (a bus); False for an adapter on a cable of its own, which needs none.
    rts_direction: the kernel switches the transmitter with RTS, for a bare RS-485 transceiver on a UART. Adapters that
        switch by themselves, as nearly all do, need nothing.
    """

    def __init__(self, port: str, line: str, *, frames: bool = True, rts_direction: bool = False) -> None:
        self.port, self.line = port, parse_line(line)
        self.traffic = Traffic()
        self._silence_s = self.line.silence_s if frames else 0.0
        self._rts_direction = rts_direction
        self._turn = asyncio.Lock()
        self._serial: serial.Serial | None = None
        self._fd = -1
        self._opened = False
        self._parity_said = False
        self._echoes = False
        self._quiet_since = -math.inf  # loop time of the last byte on the line, sent or received
        self._pending: _Pending | None = None
        self._looking: asyncio.TimerHandle | None = None  # set while nobody looks, for when to look again

    async def exchange(self, ask: Ask) -> bytes:
        async with self._turn:
            if self._fd < 0:
                self._open()
            await self._await_silence()
            pending = self._send(ask)
            try:
                answer = await pending.outcome
            except BusError as error:
                await self._quarantine(pending, error)
                raise
            finally:
                self._pending = None
                pending.timer.cancel()
                self._look()
                if not pending.outcome.done() or pending.outcome.cancelled():
                    # Given up by the caller: the answer may still come, and the next exchange waits until it has.
                    self._quiet_since = max(self._quiet_since, pending.deadline)
            self.traffic.answers += 1
            return answer

    async def close(self) -> None:
        self._shut(LinkError(f"{self.port}: closed"))

    # Sending

    async def _await_silence(self) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.time() + BABBLE_S
        while (remaining := self._quiet_since + self._silence_s - (now := loop.time())) > 0:
            if now > patience and remaining < BABBLE_S:
                raise GarbledAnswer(f"{self.port}: the line is never silent; a device sends without being asked")
            # The event loop's timers round up to whole milliseconds, as long as half a request. The part of a
            # millisecond that is left is slept through: less than 1 ms without the loop, and no processor time.
            whole_ms = int(remaining * 1000 - 0.1)
            if whole_ms > 0:
                await asyncio.sleep(whole_ms / 1000)
            elif type(loop).time is asyncio.BaseEventLoop.time:
                time.sleep(remaining)  # noqa: ASYNC251 (above)
            else:  # the loop has a time of its own
                await asyncio.sleep(remaining)
            if self._fd < 0:
                raise LinkError(f"{self.port}: lost while waiting for silence")

    def _send(self, ask: Ask) -> _Pending:
        loop = asyncio.get_running_loop()
        try:
            written = os.write(self._fd, ask.request)
        except BlockingIOError:
            written = 0
        except OSError as error:
            text = f"{self.port}: {os.strerror(error.errno or 0)}; is the adapter still plugged in?"
            raise self._shut(LinkError(text)) from None
        if written != len(ask.request):
            text = f"{self.port}: expected to send {len(ask.request)} bytes, the port took {written}; replug it"
            raise self._shut(LinkError(text))
        self.traffic.requests += 1
        sent_at = loop.time() + self.line.wire_s(written)
        self._quiet_since = sent_at
        deadline = sent_at + ask.patience_s + self.line.wire_s(ask.answer_length) + BATCH_S
        timer = loop.call_at(deadline, self._tick)
        self._pending = pending = _Pending(ask, loop.create_future(), sent_at, deadline, timer)
        return pending

    # Receiving

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, MAX_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._shut(LinkError(f"{self.port}: the port went away; is the adapter still plugged in?"))
            return
        now = asyncio.get_running_loop().time()
        pending = self._pending
        if pending is None or pending.outcome.done():
            self._quiet_since = max(self._quiet_since, now)
            self.traffic.stray_bytes += len(data)
            if pending is not None:
                pending.late = (pending.late + data)[:MAX_ANSWER]
            return
        first = not pending.received
        early = first and now < pending.sent_at
        self._quiet_since = max(self._quiet_since, now)
        pending.received = (pending.received + data)[: 2 * MAX_ANSWER]
        if pending.wrong is None:
            self._recognise(pending, early)
        if pending.wrong is None and len(pending.received) > MAX_ANSWER:
            pending.wrong = GarbledAnswer(f"{self.port}: more bytes than any answer has; does a device send unasked?")
        if pending.outcome.done():
            return
        rest_s = self._rest_s(pending)
        if rest_s:
            self._look_away(rest_s)
            pending.expire_at = now + rest_s + INNER_GAP_S
        else:
            over = pending.wrong is not None and len(pending.received) >= pending.ask.answer_length
            pending.expire_at = now + (max(BATCH_S, self._silence_s) if over else INNER_GAP_S)
        if first or pending.expire_at < pending.timer.when():
            pending.timer.cancel()
            pending.timer = asyncio.get_running_loop().call_at(pending.expire_at, self._tick)

    def _rest_s(self, pending: _Pending) -> float:
        """How long what is missing of a good answer keeps the wire busy, less what is looked at as it comes; 0 where
        that is too little to gain from. A refusal is short, so a short beginning may be all."""
        if pending.wrong is not None or len(pending.received) < SHORT_ANSWER:
            return 0.0
        rest_s = self.line.wire_s(pending.ask.answer_length - len(pending.received)) - LOOK_AHEAD_S
        return rest_s if rest_s > LOOK_AHEAD_S else 0.0

    def _look_away(self, seconds: float) -> None:
        """Lets bytes gather in the kernel: waking for each few of them costs more than all else here."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        self._looking = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
            if self._fd >= 0:
                asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _recognise(self, pending: _Pending, early: bool) -> None:
        received, request = pending.received, pending.ask.request
        pending.early = pending.early or early
        if not pending.echo_cut and (pending.early or self._echoes) and request.startswith(received[: len(request)]):
            # Nothing answers before the request is out: this is the request itself, heard back.
            if len(received) < len(request):
                return
            pending.cut_echo()
            self._echoes = True
            if not pending.received:
                return
            received = pending.received
        try:
            length = pending.ask.recognise(received)
        except GarbledAnswer as error:
            if not pending.echo_cut and request.startswith(received[: len(request)]):
                if len(received) >= len(request):
                    pending.cut_echo()
                    self._echoes = True
                    if pending.received:
                        self._recognise(pending, False)
                return
            pending.wrong = error
            return
        if length:
            if not pending.echo_cut:
                self._echoes = False
            self.traffic.stray_bytes += len(received) - length
            pending.outcome.set_result(received[:length])

    def _tick(self) -> None:
        """The time set for the exchange under way is over, or was moved since."""
        pending = self._pending
        if pending is None or pending.outcome.done() or self._waits_on(pending):
            return
        if select.select([self._fd], [], [], 0)[0]:
            # This machine was busy for longer than the wait: the answer lies in the kernel while we would call it missing.
            self._look()
            self._readable()
            if pending.outcome.done() or self._waits_on(pending):
                return
        if pending.wrong is not None:
            pending.wrong.raw = pending.received
            pending.outcome.set_exception(pending.wrong)
        elif pending.received:
            text = f"{self.port}: the answer broke off after {len(pending.received)} bytes; check wiring and supply"
            pending.outcome.set_exception(GarbledAnswer(text, pending.received))
        else:
            ms = pending.ask.patience_s * 1000
            text = f"{self.port}: no answer within {ms:.0f} ms; check power, wiring (A/B) and address"
            pending.outcome.set_exception(NoAnswer(text))

    def _waits_on(self, pending: _Pending) -> bool:
        """Whether there is time left for the exchange; sets when to look again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = min(pending.expire_at, pending.deadline + BABBLE_S) if pending.received else pending.deadline
        if now >= until:
            return False
        pending.timer.cancel()
        pending.timer = loop.call_at(until, self._tick)
        return True

    async def _quarantine(self, pending: _Pending, error: BusError) -> None:
        """Returns when nothing of the failed exchange can come any more, as far as can be known."""
        if isinstance(error, GarbledAnswer):
            self.traffic.garbled += 1
            return  # only given after silence
        if not isinstance(error, NoAnswer):
            return
        self.traffic.silences += 1
        loop = asyncio.get_running_loop()
        end = loop.time() + max(pending.ask.patience_s, self.line.wire_s(pending.ask.answer_length))
        latest = end + BABBLE_S
        while (now := loop.time()) < min(latest, max(end, self._quiet_since + BATCH_S if pending.late else 0)):
            await asyncio.sleep(min(end, latest) - now if now < end else BATCH_S)
            if self._fd < 0:
                raise LinkError(f"{self.port}: the port went away")
        if pending.late:
            error.raw = bytes(pending.late)
            error.args = (f"{error}; {len(pending.late)} bytes came too late: does this device need more time?",)

    # The port

    def _open(self) -> None:
        try:
            try:
                port = self._port(self.line.parity)
            except termios.error:
                # A pseudo-terminal refuses parity: it has no wire to put it on.
                port = self._port("N")
                if not self._parity_said:
                    log.warning("port=%s takes no parity; using none", self.port)
                    self._parity_said = True
        except (OSError, ValueError, termios.error) as error:
            raise LinkError(why_not_open(self.port, error)) from None
        self._tune(port)
        self._serial, self._fd = port, port.fileno()
        self._echoes = False
        self._quiet_since = asyncio.get_running_loop().time()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        if self._opened:
            self.traffic.reopened += 1
        self._opened = True

    def _port(self, parity: str) -> serial.Serial:
        return open_port(self.port, self.line, parity)

    def _tune(self, port: serial.Serial) -> None:
        if self._rts_direction:
            import serial.rs485

            try:
                port.rs485_mode = serial.rs485.RS485Settings()
            except (OSError, ValueError):
                log.warning("port=%s cannot switch direction with RTS; the adapter must do it", self.port)

    def _shut(self, error: LinkError) -> LinkError:
        """Closes the port; an exchange under way fails with `error`, which is returned for raising."""
        port, self._serial = self._serial, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._fd = -1
            try:
                port.close()
            except (OSError, termios.error):
                pass
        if self._pending is not None and not self._pending.outcome.done():
            self._pending.outcome.set_exception(error)
        return error


class _Pending:
    """The exchange under way. Times are the loop's."""

    __slots__ = (
        "ask", "deadline", "early", "echo_cut", "expire_at", "late", "outcome", "received", "sent_at", "timer", "wrong",
    )  # fmt: skip

    def __init__(
        self, ask: Ask, outcome: asyncio.Future[bytes], sent_at: float, deadline: float, timer: asyncio.TimerHandle
    ) -> None:
        self.ask, self.outcome, self.sent_at, self.deadline, self.timer = ask, outcome, sent_at, deadline, timer
        self.received = self.late = b""
        self.early = self.echo_cut = False
        self.wrong: GarbledAnswer | None = None
        self.expire_at = 0.0

    def cut_echo(self) -> None:
        self.received, self.echo_cut = self.received[len(self.ask.request) :], True


def open_port(name: str, line: LineSettings, parity: str) -> serial.Serial:
    """A serial port that is ours alone and never blocks. Raises OSError, ValueError or termios.error: see `why_not_open`."""
    import serial

    port = serial.Serial(
        name, line.baud, line.data_bits, parity, line.stop_bits, timeout=0, write_timeout=0, exclusive=True
    )
    try:
        port.set_low_latency_mode(True)  # FTDI: batches of 1 ms in place of 16
    except (OSError, ValueError, NotImplementedError):
        pass
    return port


def why_not_open(port: str, error: Exception) -> str:
    """What an error of `open_port` means, and what to do."""
    code = getattr(error, "errno", None)
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"{port}: in use by another program; stop it (fuser {port} names it)"
    if code in (errno.EACCES, errno.EPERM):
        return f"{port}: no permission; add the user to the group 'dialout'"
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        there = ", ".join(sorted(str(path) for path in Path("/dev/serial/by-path").glob("*"))) or "none"
        return f"{port}: no such port; serial adapters there are: {there}"
    return f"{port}: cannot be opened: {error}"
