"""`machine` for MicroPython's unix port: a board whose pins are files and whose UART is a pty.

    SIM_UART<n>   path of a tty                SIM_PIN<n>    file with 0 or 1, read at each look (absent: pulled up, 1)
    SIM_ADC<n>    file with 0 to 65535         SIM_LOG       file that gets a line for each change of an output
    SIM_WDT       file that gets a byte for each feeding, and first the timeout in ms: who runs the node ends it when
                  they stop, as a watchdog would
    SIM_CLOCK     1: the real-time clock was set before     SIM_CAUSE   reset cause of this start (1 power, 3 watchdog)

DO NOT COPY THIS FILE TO A BOARD.
"""

import io
import os
import select
import sys
import termios
import time

import civil

_UNIX_2020 = 1577836800
_MP_STREAM_POLL = 3
_MP_STREAM_GET_FILENO = 10
RESTART = 75
"""Exit status that means machine.reset()."""

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5


def _log(*words):
    path = os.getenv("SIM_LOG")
    if path:
        with open(path, "a") as file:
            file.write("%d %s\n" % (time.ticks_ms(), " ".join(str(word) for word in words)))


def _number(path, otherwise):
    """A file that another process is just replacing may be empty for an instant: the last number then still holds."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError, TypeError):
        return otherwise


def reset():
    _log("reset")
    sys.exit(RESTART)


def reset_cause():
    return int(os.getenv("SIM_CAUSE") or PWRON_RESET)


class Pin:
    IN, OUT = 0, 1
    PULL_UP = 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        self.id = id
        self._path = os.getenv("SIM_PIN%d" % id)
        self._level = 1 if value is None else value
        if mode == Pin.OUT:
            _log("pin", id, self._level)

    def value(self, level=None):
        if level is None:
            self._level = _number(self._path, self._level) if self._path else self._level
            return self._level
        self._level = int(level)
        _log("pin", self.id, self._level)


class ADC:
    def __init__(self, pin):
        self._path = os.getenv("SIM_ADC%d" % pin.id)
        self._counts = 65535 if self._path is None else 0

    def read_u16(self):
        if self._path:
            self._counts = max(0, min(_number(self._path, self._counts), 65535))
        return self._counts


class PWM:
    def __init__(self, pin, freq=1000, duty_u16=0):
        self._id = pin.id
        self.duty_u16(duty_u16)

    def duty_u16(self, duty):
        _log("pwm", self._id, duty)


class RTC:
    _offset_s = None if os.getenv("SIM_CLOCK") != "1" else 0

    def datetime(self, fields=None):
        if fields is not None:
            year, month, day, _, hour, minute, second, _ = fields
            RTC._offset_s = _UNIX_2020 + civil.seconds(year, month, day, hour, minute, second) - int(time.time())
            return None
        if RTC._offset_s is None:
            return (2021, 1, 1, 4, 0, 0, 0, 0)
        year, month, day, hour, minute, second = time.gmtime(int(time.time()) + RTC._offset_s)[:6]
        return (year, month, day, 0, hour, minute, second, 0)


class WDT:
    def __init__(self, id=0, timeout=5000):
        self._path = os.getenv("SIM_WDT")
        if self._path:
            with open(self._path, "a") as file:
                file.write("%d\n" % timeout)

    def feed(self):
        if self._path:
            with open(self._path, "a") as file:
                file.write(".")


class UART(io.IOBase):
    def __init__(self, id, baudrate=9600, **_):
        path = os.getenv("SIM_UART%d" % id)
        if not path:
            raise ValueError("SIM_UART%d: expected the path of a tty" % id)
        self._file = open(path, "r+b", buffering=0)
        attributes = termios.tcgetattr(self._file.fileno())
        attributes[0] = attributes[1] = attributes[3] = 0  # raw: no input, output or local processing
        attributes[6][5] = attributes[6][6] = 0  # VTIME, VMIN: a read takes what is there
        termios.tcsetattr(self._file.fileno(), termios.TCSANOW, attributes)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def _ready(self):
        """POLLHUP alone is a line that nobody holds at the other end: quiet, not readable."""
        for _, event in self._poll.ipoll(0):
            return event & select.POLLIN
        return 0

    def any(self):
        return 1 if self._ready() else 0

    def readinto(self, buf):
        return self._file.readinto(buf) if self._ready() else None

    def write(self, buf):
        return self._file.write(buf)

    def txdone(self):
        return True

    def ioctl(self, request, argument):
        if request == _MP_STREAM_GET_FILENO:
            return self._file.fileno()  # so that waiting sleeps in the kernel
        if request != _MP_STREAM_POLL:
            return -1
        return argument & (self._ready() | select.POLLOUT)
