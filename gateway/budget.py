"""The budget of a bus: how busy its plan will keep it, computed before anything is wired.

A line carries what its speed carries; a plan that asks for more gives old values under new times. What an exchange takes is
its characters on the wire, the device's turnaround, and the silence that the line wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.codec import mbus
from gateway.codec.dali import QUERY_AREA
from gateway.line import parse_line
from gateway.plan import Block, Visit
from gateway.site import AnyBus, Priority

MOST = 0.80
"""Share of the time that a bus may be planned for; the rest is for writes, retries and people who look."""
AIM = 0.70
"""What a proposal brings a bus down to."""

TURNAROUND_S = 0.005
TCP_EXCHANGE_S = 0.005
MBUS_TURNAROUND_S = 0.19
"""A meter may take 330 bit times and 50 ms to answer, at 2,400 baud (EN 13757-2, 5.7)."""
GATT_CONNECT_S, GATT_READ_S = 5.0, 0.1
"""A sensor is found at its next advertisement, every few seconds; a characteristic takes two connection intervals or so."""
DALI_EXCHANGE_S = 0.035
"""A forward frame of 16 bits and its answer at 1200 baud with their settling times (IEC 62386-101, 8), and the adapter."""
DALI_BANK_EXCHANGES = 9
"""Beside one for each location: selecting, freezing and releasing a bank."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one visit takes of its bus: `busy_s` every `period_s`."""

    device: str
    period_s: float
    requests: int
    busy_s: float
    priority: Priority = "normal"

    @property
    def use(self) -> float:
        return self.busy_s / self.period_s


@dataclass(frozen=True, slots=True)
class Budget:
    """A bus. cycle_s: how long it takes to visit everything once; use: share of the time that it is busy."""

    bus: str
    shares: tuple[Share, ...]

    @property
    def cycle_s(self) -> float:
        return sum(share.busy_s for share in self.shares)

    @property
    def use(self) -> float:
        return sum(share.use for share in self.shares)

    def refusal(self) -> str:
        """Why the plan is refused and what would make it fit; empty when it fits."""
        if self.use <= MOST:
            return ""
        dearest = max(self.shares, key=lambda share: share.use)
        factor = self.use / AIM
        longer = f'every = "{dearest.period_s * factor:.0f}s"'
        return (
            f"bus {self.bus!r}: the plan keeps it busy {self.use:.0%} of the time, expected {MOST:.0%} at most; "
            f"{dearest.device!r} alone takes {dearest.use:.0%}. Multiply every period on it by {factor:.1f} "
            f"({dearest.device!r}: {longer}), raise the speed of the line, or divide the bus"
        )


def budget(bus: AnyBus, visits: Sequence[Visit]) -> Budget:
    """What these visits take of this bus."""
    shares = [
        Share(
            visit.device.name,
            visit.period_s,
            len(visit.blocks),
            sum(_busy_s(bus, visit, block) for block in visit.blocks),
            visit.device.priority,
        )
        for visit in visits
    ]
    return Budget(bus.name, tuple(shares))


def _busy_s(bus: AnyBus, visit: Visit, block: Block) -> float:
    """How long one block keeps its bus from others."""
    match bus.protocol:
        case "modbus-rtu":
            line = parse_line(bus.line)
            # Request: unit, function, address, count, CRC. Answer: unit, function, length, data, CRC.
            bits = block.span.area in (1, 2)
            data = (block.span.count + 7) // 8 if bits else 2 * block.span.count
            taken_s = line.wire_s(8 + 5 + data) + TURNAROUND_S + 2 * line.silence_s
        case "mbus":
            # Reset and E5, then for each telegram a request and the longest that an answer can be.
            line = parse_line(bus.line or mbus.LINE)
            asked_s = line.wire_s(6) + block.span.count * line.wire_s(5 + mbus.MAX_FRAME)
            taken_s = asked_s + (1 + block.span.count) * (MBUS_TURNAROUND_S + 2 * line.silence_s)
        case "dali-sci":
            exchanges = 1 if block.span.area == QUERY_AREA else block.span.count + DALI_BANK_EXCHANGES
            taken_s = exchanges * DALI_EXCHANGE_S
        case "ble-gatt":
            taken_s = GATT_CONNECT_S + block.span.count * GATT_READ_S
        case _:
            taken_s = TCP_EXCHANGE_S
    return max(taken_s, visit.device.limits.interval_s)
