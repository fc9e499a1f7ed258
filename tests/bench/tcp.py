"""What it costs to read Modbus TCP devices and to hand every value on, power-safe: the real `guet run`, alone on core 0.

The gateway runs as its service runs it: with the same options of Python and of the C library. Devices and platform are
simulated in one process on core 1 (`_field.py`). Every value goes through the durable outbox and stays there until the
platform says that it is committed. In the same run the floor `floor-pymodbus` is measured, and of `--peers` (`modpoll`, its
program on the PATH or in PEERS_BIN) those that are installed; they keep nothing, so a ratio below 1 means: cheaper, and
durable as well. CPU is that of the whole process with all threads, from the kernel's accounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SETTLE_S = 3.0
ARRIVED_S = 2.0
START_WITHIN_S = 30.0
LEVELS = (30_000, 60_000, 90_000, 120_000, 150_000, 165_000, 180_000, 225_000)
"""Values a second that are asked for in turn, until one is not reached."""
LEVEL_DEVICES = 400
RECOVERED = 1000
"""Records of an earlier life in the outbox when the time to the first reading is measured."""


def run(
    devices: int = 50, registers: int = 40, period: float = 1.0, seconds: float = 15.0, peers: str = "modpoll",
    most: float = 1.0,
) -> dict[str, Any]:  # fmt: skip
    """devices, registers (of each; a multiple of 8), period in seconds; seconds: how long each is measured; peers: names
    with commas between; most: 0 leaves out the search for the most values a second."""
    if devices < 1 or registers < 8 or registers % 8 or registers > 160 or period < 0.02 or seconds <= 0:
        raise SystemExit(
            "bench tcp: expected --devices from 1, --registers 8 to 160 by 8, --period from 0.02, --seconds"
        )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with _field(1, registers) as field, _gateway(folder / "compiled", field, registers, 1.0) as gateway:
            _answering(field, gateway, 1, 1.0)  # so that no later start has anything to compile
        ours = _ours(folder / "w1", devices, registers, period, seconds)
        found = {
            **ours,
            **_bridged(folder / "bridged", min(devices, 10), registers, period),
            **_first_reading(folder / "first", devices, registers),
            **_idle(folder / "idle", registers, max(seconds, 5.0)),
            "values_per_second_max": None,
        }
        if most:
            found |= _most(folder / "most", registers, min(seconds, 5.0))
        others = {"floor-pymodbus": _floor(devices, registers, period, seconds)}
        for name in filter(None, peers.split(",")):
            others[name] = PEERS[name](folder / name, devices, registers, period, seconds) if name in PEERS else None
    cpu_s = found["cpu_s_per_1000_values"]
    found["peers"] = others
    found["ratios"] = {name: round(cpu_s / its["cpu_s_per_1000_values"], 3) for name, its in others.items() if its}
    found["load_average"] = round(os.getloadavg()[0], 2)
    found["note"] = (
        "devices and platform simulated on this machine; ratios hold within one run only; a load above 1 or 2 spoils times"
    )
    return found


# What is measured


def _ours(folder: Path, devices: int, registers: int, period_s: float, seconds: float) -> dict[str, Any]:
    with _field(devices, registers) as field, _gateway(folder, field, registers, period_s) as gateway:
        _answering(field, gateway, devices, period_s)
        measured = _measure(field, gateway.pid, registers, period_s, seconds)
        return measured | {
            "rss_mib": _memory_mib(gateway.pid, "VmRSS"),
            "rss_peak_mib": _memory_mib(gateway.pid, "VmHWM"),
        }


def _bridged(folder: Path, devices: int, registers: int, period_s: float) -> dict[str, Any]:
    """Requests in a cycle where the profile lets the planner read the hole too."""
    with _field(devices, registers) as field, _gateway(folder, field, registers, period_s, hole=10) as gateway:
        _answering(field, gateway, devices, period_s)
        measured = _measure(field, gateway.pid, registers, period_s, 4 * period_s)
        return {"requests_per_cycle_bridged": measured["requests_per_cycle"]}


def _first_reading(folder: Path, devices: int, registers: int) -> dict[str, Any]:
    """From the start of the process to the first answer, and to all devices read, with an outbox of an earlier life. The
    CPU that was spent until then tells how much of it a busy machine is to blame for."""
    firsts, alls, spent = [], [], []
    for time_no in range(3):
        with _field(devices, registers) as field:
            here = folder / str(time_no)
            site = _site(here, field, registers, 1.0)
            asyncio.run(_earlier_life(site.parent / "guet-data"))
            before_s = field.ask("reset")["at_s"]
            with _gateway(here, field, registers, 1.0) as gateway:
                report = _answering(field, gateway, devices, 1.0)
                firsts.append(report["first_s"] - before_s)
                alls.append(report["all_s"] - before_s)
                spent.append(_cpu_s(gateway.pid))
    names = "first_reading_s", "all_devices_read_s", "all_devices_read_cpu_s"
    return {name: round(sorted(times)[1], 3) for name, times in zip(names, (firsts, alls, spent), strict=True)}


async def _earlier_life(folder: Path) -> None:
    from gateway.clock import SystemClock
    from gateway.store import Store

    async with Store.open(folder, SystemClock()) as store:
        for number in range(RECOVERED):
            store.put("reading", time.time() - 3600 + number, {"device": "earlier", "values": {"a": float(number)}})
        await store.flush()


def _idle(folder: Path, registers: int, seconds: float) -> dict[str, Any]:
    with _field(1, registers) as field, _gateway(folder, field, registers, 10.0) as gateway:
        _answering(field, gateway, 1, 10.0)
        time.sleep(2.0)
        before_s, cpu_s = time.monotonic(), _cpu_s(gateway.pid)
        time.sleep(10.0 * max(1, round(seconds / 10)))
        return {"idle_cpu_share": round((_cpu_s(gateway.pid) - cpu_s) / (time.monotonic() - before_s), 5)}


def _most(folder: Path, registers: int, seconds: float) -> dict[str, Any]:
    """The highest level that was sustained: periods late by 10 % at most on average, 99 % of the values handed over. On a
    machine that others use too, `values_per_cpu_second` says what the gateway would do with the core for itself."""
    values, levels, best = registers * 3 // 4, [], 0
    for level in LEVELS:
        period_s = LEVEL_DEVICES * values / level
        with (
            _field(LEVEL_DEVICES, registers) as field,
            _gateway(folder / str(level), field, registers, period_s) as gateway,
        ):
            _answering(field, gateway, LEVEL_DEVICES, period_s)
            got = _measure(field, gateway.pid, registers, period_s, seconds)
            got["rss_mib"] = _memory_mib(gateway.pid, "VmRSS")
        sustained = got["period_mean"] <= 1.1 and got["delivered_share"] >= 0.99 and not got["wrong_values"]
        keep = (
            "values_per_second",
            "values_per_cpu_second",
            "cpu_share",
            "period_mean",
            "delivered_share",
            "rss_mib",
            "field_cpu_share",
        )
        levels.append({"asked": level, "sustained": sustained, **{name: got[name] for name in keep}})
        if not sustained:
            break
        best = got["values_per_second"]
    return {"values_per_second_max": best, "levels": levels}


def _floor(devices: int, registers: int, period_s: float, seconds: float) -> dict[str, Any]:
    with _field(devices, registers) as field:
        arguments = [field.where["mqtt"], registers, period_s, *field.where["ports"]]
        with _process([sys.executable, str(HERE / "_floor.py"), *map(str, arguments)], None) as peer:
            _answering(field, peer, devices, period_s)
            return _measure(field, peer.pid, registers, period_s, seconds, ours=False)


def _modpoll(folder: Path, devices: int, registers: int, period_s: float, seconds: float) -> dict[str, Any] | None:
    """modpoll as `performance.md` set it: one connection, the devices as unit ids, each read in two polls."""
    program = shutil.which("modpoll", path=f"{os.environ.get('PEERS_BIN', '')}:{os.environ.get('PATH', '')}")
    if program is None or devices > 247:
        return None
    points, quarter = _layout(registers), registers // 4
    lines = []
    for unit in range(1, devices + 1):
        lines.append(f"device,d{unit},{unit},,")
        for first, count in ((0, 3 * quarter), (3 * quarter + 10, quarter)):
            lines.append(f"poll,holding_register,{first},{count},BE_BE")
            for name, at, kind in points:
                if first <= at < first + count:
                    lines.append(f"ref,{name},{at},{'int16' if kind == 'i16' else 'float32'},r")
    folder.mkdir(parents=True)
    (folder / "modpoll.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with _field(devices, registers) as field:
        arguments = (
            f"-d -r {period_s} --interval 0 --tcp 127.0.0.1 --tcp-port {field.where['shared']} --mqtt-host 127.0.0.1 "
            f"--mqtt-port {field.where['mqtt']} --mqtt-qos 1 --mqtt-version 5.0 --loglevel ERROR"
        )
        with _process([program, "-f", str(folder / "modpoll.csv"), *arguments.split()], folder / "modpoll.log") as peer:
            _answering(field, peer, devices, period_s)
            return _measure(field, peer.pid, registers, period_s, seconds, ours=False)


PEERS = {"modpoll": _modpoll}


# How


class Field:
    """The simulated devices and platform. where: their ports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.where = self._line()

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulated field ended by itself")
        said: dict[str, Any] = json.loads(line)
        return said


@contextlib.contextmanager
def _field(devices: int, registers: int) -> Iterator[Field]:
    command = [sys.executable, str(HERE / "_field.py"), str(devices), str(registers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _on_core(process.pid, -1)
        try:
            yield Field(process)
        finally:
            process.kill()


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path | None, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program on core 0, ended at the end."""
    out = log.open("ab") if log else subprocess.DEVNULL
    # With compiled modules kept, as where it is installed; some shells say otherwise.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | more
    process = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=ROOT)
    _on_core(process.pid, 0)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _on_core(pid: int, number: int) -> None:
    """Only on the first or the last core that we may use."""
    os.sched_setaffinity(pid, {sorted(os.sched_getaffinity(0))[number]})


@contextlib.contextmanager
def _gateway(
    folder: Path, field: Field, registers: int, period_s: float, hole: int = 4
) -> Iterator[subprocess.Popen[bytes]]:
    site = _site(folder, field, registers, period_s, hole)
    unit = (ROOT / "gateway" / "system" / "guet.service").read_text(encoding="utf-8")
    options = re.findall(r"^ExecStart=\S+/python (.*?) ?-m gateway.cli ", unit, re.MULTILINE)[0].split()
    library = dict(re.findall(r"^Environment=(MALLOC_\w+)=(\S+)$", unit, re.MULTILINE))
    command = [sys.executable, *options, "-m", "gateway.cli", "run", str(site), "--page", ""]
    with _process(command, folder / "gateway.log", GUET_HOME=str(folder), **library) as process:
        try:
            yield process
        except BaseException:
            sys.stderr.write((folder / "gateway.log").read_text(errors="replace")[-3000:])
            raise


def _layout(registers: int) -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = runpy.run_path(str(HERE / "_field.py"))["layout"](registers)
    return found


def _site(folder: Path, field: Field, registers: int, period_s: float, hole: int = 4) -> Path:
    """A site of so many devices, each with a connection of its own."""
    (folder / "device_profiles" / "bench").mkdir(parents=True, exist_ok=True)
    profile = [
        'maker = "Guet"\nmodel = "bench"\nkind = "energy_meter"\nprotocol = "modbus"',
        'source = "made up for the bench, tests/bench/tcp.py"',
        'evidence = "source"\nevery = "1s"\n[modbus]',
        f"max_hole = {hole}",
    ]
    for name, at, kind in _layout(registers):
        profile.append(
            f'[[point]]\nname = "{name}"\ntitle = "{name}"\nunit = "1"\npersonal = "no"\nregister = "holding"\n'
            f'address = {at}\ntype = "{kind}"\nrange = [-32768, 32767]'
        )
    profile.append('[[example]]\nsource = "two\'s complement"\npoint = "i0"\nraw = "00 07"\nvalue = 7')
    (folder / "device_profiles" / "bench" / "meter.toml").write_text("\n".join(profile), encoding="utf-8")
    site = [
        '[gateway]\nid = "bench"\ncommune = "Banc"\ntimezone = "Europe/Paris"\nlatitude = 47.2\nlongitude = 6.0',
        f'[upstream]\nurl = "mqtt://127.0.0.1:{field.where["mqtt"]}"\nreadings = true',
    ]
    for number, port in enumerate(field.where["ports"]):
        site.append(f'[[bus]]\nname = "b{number}"\nprotocol = "modbus-tcp"\nhost = "127.0.0.1"\nport = {port}')
        site.append(f'[[device]]\nname = "d{number}"\nprofile = "bench/meter"\nbus = "b{number}"\naddress = 1')
        site.append(f'every = "{round(period_s * 1000)}ms"')
    path = folder / "site.toml"
    path.write_text("\n".join(site), encoding="utf-8")
    return path


def _answering(field: Field, process: subprocess.Popen[bytes], devices: int, period_s: float) -> dict[str, Any]:
    """Waits until every device was asked; the report of then, and when that was in the field's time."""
    until_s = time.monotonic() + START_WITHIN_S + 2 * period_s
    while True:
        report = field.ask("report")
        if report["answering"] >= devices:
            return report | {"all_s": time.monotonic()}
        if process.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError(f"after {START_WITHIN_S:.0f} s {report['answering']} of {devices} devices were asked")
        time.sleep(0.02)


def _measure(
    field: Field, pid: int, registers: int, period_s: float, seconds: float, ours: bool = True
) -> dict[str, Any]:
    """delivered_share: of the readings polled meanwhile, those that have arrived ARRIVED_S later; of peers not known."""
    values = registers * 3 // 4
    time.sleep(SETTLE_S)
    field.ask("reset")
    began_s, cpu_s, field_s = time.monotonic(), _cpu_s(pid), _cpu_s(field.pid)
    time.sleep(seconds)
    cpu_s, took_s, field_s = _cpu_s(pid) - cpu_s, time.monotonic() - began_s, _cpu_s(field.pid) - field_s
    got = field.ask("report")
    polled = got["cycles"] * values
    periods = [one / period_s for one in got["periods"]]
    delivered = None
    if ours:
        time.sleep(ARRIVED_S)
        delivered = sum(one < got["cycles"] for one in field.ask("report")["delivered"]) / max(1, got["cycles"])
    return {
        "values_per_second": round(got["values"] / took_s),
        "cpu_s_per_1000_values": round(1000 * cpu_s / max(1, polled), 6),
        "values_per_cpu_second": round(polled / cpu_s) if cpu_s else None,
        "cpu_share": round(cpu_s / took_s, 4),
        "requests_per_cycle": round(got["requests"] / max(1, got["cycles"]), 2),
        "jitter": {"p50": _at(periods, 0.5), "p99": _at(sorted(abs(one - 1) for one in periods), 0.99)},
        "period_mean": round(sum(periods) / max(1, len(periods)), 4),
        "delivered_share": None if delivered is None else round(delivered, 4),
        "sent_again": got["again"],
        "wrong_values": got["wrong"],
        "values_without_answer": got["none"],
        "field_cpu_share": round(field_s / took_s, 4),
    }


def _at(values: Sequence[float], part: float) -> float | None:
    """Of sorted values, the one that so large a part does not exceed."""
    return round(values[min(len(values) - 1, int(part * len(values)))], 5) if values else None


def _cpu_s(pid: int) -> float:
    """All threads of a process, to the microsecond or so (Linux)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _memory_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"the system does not say {name}")


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
