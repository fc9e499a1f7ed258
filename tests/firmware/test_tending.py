"""The whole gateway and a node in a real MicroPython: told the time, cut off, asked for what it kept."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import journal
from rig import LINE, Rig

from gateway.app import Gateway, read_site
from gateway.clock import SystemClock
from gateway.poll import Health
from gateway.store import Store
from simulator.line import Line
from simulator.node import PressureNode

UNIX_2020 = 1577836800


SITE = """
[gateway]
id = "edge-1"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
data = "store"
[[bus]]
name = "rs485"
protocol = "modbus-rtu"
port = "{port}"
line = "{line}"
[[device]]
name = "noeud"
profile = "guet/{node}"
bus = "rs485"
address = {unit}
every = "1s"
"""


@dataclass
class Running:
    """The whole gateway, as `guet run` starts it, with one node on its line."""

    gateway: Gateway

    @property
    def health(self) -> Health:
        return self.gateway.buses["rs485"].health["noeud"]

    def value(self, point: str) -> float | None:
        reading = self.gateway.live.latest["noeud"].get(point)
        return reading.value if reading else None

    def kept(self) -> list[tuple[float, dict[str, Any]]]:
        """Readings on their way to the platform, with their times."""
        rows = self.gateway.store.rows("select time_s, body from outbox where kind = 'reading' order by seq")
        return [(time_s, json.loads(body)["values"]) for time_s, body in rows]

    async def until(self, fact: Callable[[], Any], board: Any = None, seconds: float = 40) -> None:
        async with asyncio.timeout(seconds):
            while not fact():
                if board is not None:
                    board.tend()
                await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway(port: str, line: str, node: str, unit: int, folder: Path) -> AsyncIterator[Running]:
    """Stopped as SIGTERM stops it; what it keeps is in `folder`."""
    file = folder / "site.toml"
    file.write_text(SITE.format(port=port, line=line, node=node, unit=unit), encoding="utf-8")
    site, watches = read_site(file)
    clock = SystemClock()
    async with Store.open(site.data, clock) as store:
        one = Gateway(site, watches, store, clock)
        running = asyncio.create_task(one.run())
        try:
            yield Running(one)
        finally:
            one.stop.set()
            await running


def rig_of(tmp_path: Path, node: str, **signals: int) -> Rig:
    rig = Rig(tmp_path, node, **signals)
    rig.client.close()
    return rig


async def test_a_node_on_the_simulated_line_is_told_the_time(micropython: Path, tmp_path: Path) -> None:
    async with (
        Line(19200, "8E1", units=[]) as line,
        PressureNode(line, 9, tmp_path, lambda: 5.0),
        gateway(line.port, "19200 8E1", "pressure", 9, tmp_path) as one,
    ):
        await one.until(lambda: one.value("status") == 0)


async def test_readings_kept_through_a_cut_of_gateway_and_node_come_later_with_their_times(
    micropython: Path, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, "pressure", ADC26=12000 * 65535 // 24000)
    now = int(time.time())
    kept = journal.Journal(str(rig.flash / "records"), 1)  # three hours of an earlier start, in the node's own format
    for minute in range(180):
        kept.append(1, 0, 5000 + minute, now - UNIX_2020 - 60 * (180 - minute))
    kept.flush()
    rig.board.power_on()
    try:
        async with gateway(os.ttyname(rig.client_tty), LINE, "pressure", 17, tmp_path) as one:
            await one.until(lambda: len(one.kept()) >= 180, rig.board)
            got = one.kept()
            assert [values["pressure_mean"] for _, values in got] == [5000 + minute for minute in range(180)]
            assert [time_s for time_s, _ in got] == [now - 60 * (180 - minute) for minute in range(180)]
            rig.board.power_off()  # the node alone, and back
            await one.until(lambda: one.health.lost_since_s is not None)
            rig.board.power_on()
            await one.until(lambda: one.health.lost_since_s is None, rig.board)
            await asyncio.sleep(2)
        async with gateway(os.ttyname(rig.client_tty), LINE, "pressure", 17, tmp_path) as one:
            await one.until(lambda: one.value("status") == 0, rig.board)
            await asyncio.sleep(2)
            assert one.kept() == got, "taken once, though both were cut"
    finally:
        rig.close()


async def test_a_lift_node_is_told_nothing_and_its_records_are_dated_all_the_same(
    micropython: Path, tmp_path: Path
) -> None:
    rig = rig_of(tmp_path, "lift", PIN10=0, PIN11=1)
    rig.board.power_on()
    try:
        started = time.time()
        async with gateway(os.ttyname(rig.client_tty), LINE, "lift", 17, tmp_path) as one:
            await one.until(lambda: one.value("uptime"), rig.board)
            await asyncio.sleep(1.5)
            rig.set("PIN10", 1)  # half a cycle that reopens three times: abnormal in any model of doors
            for _ in range(3):
                for level in (0, 1):
                    await asyncio.sleep(0.3)
                    rig.set("PIN11", level)
            await asyncio.sleep(0.3)
            rig.set("PIN10", 0)
            happened = time.time()
            await one.until(lambda: one.value("abnormal_cycles") == 1, rig.board)
            assert one.value("status") == 1, "its clock was never set"
        # what waits in memory is written by a restart, which its maintainer may ask for
        rig.client.connect()
        rig.write(8, 3)
        rig.until(lambda: rig.inputs(7)[0] == 2)
        rig.client.close()
        async with gateway(os.ttyname(rig.client_tty), LINE, "lift", 17, tmp_path) as one:
            await one.until(one.kept, rig.board)
            ((time_s, values),) = one.kept()
            assert abs(time_s - happened) < 3 and started < time_s
            assert values["score"] > 0
    finally:
        rig.close()
