"""A node beside another device on the simulated RS-485 line, asked by the gateway's own link and codec."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.codec import Limits
from gateway.codec.modbus import ModbusPlace, Rtu
from gateway.link.serial import SerialLink
from gateway.poll import run
from simulator.line import Line
from simulator.modbus import Device
from simulator.node import PressureNode
from simulator.town import NodeRegisters

LIMITS = Limits(patience_s=0.3)


async def test_a_node_answers_right_after_a_neighbour(micropython: Path, tmp_path: Path) -> None:
    codec = Rtu()
    (span,) = codec.spans([(ModbusPlace(register="input", address=32), 2)], LIMITS)
    neighbour = Device(3, NodeRegisters(lambda: 4.0), turnaround_s=0.0)
    async with Line(19200, "8E1", units=[neighbour]) as line, PressureNode(line, 9, tmp_path, lambda: 5.0) as node:
        link = SerialLink(line.port, "19200 8E1")
        try:
            heard = [
                int.from_bytes(await run(link, codec.read(unit, span, LIMITS)), "big")
                for _ in range(20)
                for unit in (3, 9)
            ]
        finally:
            await link.close()
        assert heard[0::2] == [4000] * 20
        assert heard[-1] == pytest.approx(5000, abs=1)  # the first may be older than the node's first sample
        assert line.collisions == line.violations == 0 and node.starts == 1
