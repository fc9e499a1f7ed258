"""Faults as people write them: `crc=0.05,late=0.02:0.6` is a wrong checksum in 5 % of exchanges and an answer that comes
0.6 s late in 2 %. Which faults there are depends on the kind of bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from simulator import bluez, can, dali, line, modbus
from simulator.line import Faults

MBUS_FAULTS = ("crc", "bitflip", "truncated", "noise", "gap", "late", "silent", "collision", "split")
"""What a line does to telegrams; the rest of a line's faults are answers of Modbus."""

KNOWN: Mapping[str, tuple[str, ...]] = {
    "modbus-rtu": line.FAULT_KINDS,
    "modbus-rtu-tcp": line.FAULT_KINDS,
    "modbus-tcp": modbus.TCP_FAULT_KINDS,
    "mbus": MBUS_FAULTS,
    "dali-sci": dali.FAULT_KINDS,
    "ble": bluez.FAULTS,
    "ble-gatt": bluez.FAULTS,
    "slcan": can.FAULT_KINDS,
}
"""The faults of each kind of bus that has any here."""

BY_S = {"late": 0.6, "gap": 0.2, "vanished": 5.0, "bus_off": 30.0, "stuck": 30.0}
"""How long what takes time takes, where nobody says."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How often one kind of fault happens, of all exchanges, and for how long where that counts."""

    kind: str
    rate: float
    by_s: float


def parse_odds(text: str, protocol: str) -> tuple[Odds, ...]:
    """The faults of a text. Raises ValueError that tells everything that is wrong with it."""
    known, found, wrong = KNOWN.get(protocol, ()), dict[str, Odds](), list[str]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, given = part.partition("=")
        rate_text, _, by_text = given.partition(":")
        if kind not in known:
            wrong.append(f"{kind!r}: expected a fault of {protocol}: {', '.join(known) or 'there is none'}")
            continue
        if kind in found:
            wrong.append(f"{kind!r}: given twice; give it once")
        try:
            rate, by_s = float(rate_text), float(by_text) if by_text else BY_S.get(kind, 0.0)
        except ValueError:
            wrong.append(f"{part!r}: expected name=share or name=share:seconds, such as late=0.02:0.6")
            continue
        if not 0 < rate <= 1 or not 0 <= by_s <= 3600:
            wrong.append(f"{part!r}: expected a share above 0 and up to 1, and up to 3600 seconds")
            continue
        found[kind] = Odds(kind, rate, by_s)
    if not wrong and not found:
        wrong.append("expected at least one fault, such as crc=0.05")
    if not wrong and sum(odds.rate for odds in found.values()) > 1:
        wrong.append("expected shares that add up to 1 at the most")
    if wrong:
        raise ValueError(f"faults {text!r}: " + "; ".join(wrong))
    return tuple(found.values())


_MADE: Mapping[str, Callable[[Any, float], Any]] = {
    "modbus-rtu": lambda kind, by_s: line.Fault(kind, by_s=by_s),
    "modbus-rtu-tcp": lambda kind, by_s: line.Fault(kind, by_s=by_s),
    "mbus": lambda kind, by_s: line.Fault(kind, by_s=by_s),
    "modbus-tcp": lambda kind, by_s: modbus.TcpFault(kind, by_s=by_s),
    "dali-sci": lambda kind, _: dali.DaliFault(kind),
    "ble": lambda kind, _: bluez.BluezFault(kind),
    "ble-gatt": lambda kind, _: bluez.BluezFault(kind),
    "slcan": can.CanFault,
}
"""By kind of bus, one of its faults by its name and time."""


def faults_of(protocol: str, odds: tuple[Odds, ...], seed: int) -> Faults[Any]:
    """What draws these faults for a simulated bus of that kind: of all its exchanges; of a DALI or CAN adapter's frames; of
    the rounds in which the devices of a radio advertise."""
    rates = [one.rate for one in odds]
    return Faults(sum(rates), [_MADE[protocol](one.kind, one.by_s) for one in odds], rates or None, Random(seed))
