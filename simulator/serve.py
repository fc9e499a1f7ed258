"""`guet simulate`: devices to try a profile, a site or a gateway against, on real ports of this machine.

    guet simulate profile energy/eastron_sdm630 --port ./ttyGUET --address 3 --fault crc=0.05,late=0.02
    guet simulate site SITE.toml
    guet simulate --fleet 1000

Serial buses appear as links to pseudo-terminals where the site looks for them, TCP devices on loopback, beacons on a
D-Bus socket. Everything said is simulated: slow curves in the range of each point, the same for the same seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gateway.codec.mbus import LINE as MBUS_LINE
from gateway.codec.slcan import BITRATES
from gateway.errors import SiteError
from gateway.language import say
from gateway.lone import add_bus_options, lone_site, profile_given
from gateway.profile import (
    BthomeProfile,
    CanopenProfile,
    DaliProfile,
    GattProfile,
    MbusProfile,
    ModbusProfile,
    RuuviProfile,
)
from gateway.site import LOOPBACK, Can, Device, Radio, Serial, Site, Tcp, load_site
from simulator.bluez import Advertisement, BluezFault, SimulatedBluez
from simulator.can import Adapter as CanAdapter
from simulator.can import SimulatedSlcan
from simulator.dali import Adapter, SimulatedSci
from simulator.fleet import fleet
from simulator.line import Faults, Line
from simulator.modbus import Device as ModbusDevice
from simulator.modbus import RtuOverTcp, TcpServer
from simulator.model import Clock, ModelBeacon, ModelGear, ModelMeter, ModelNode, ModelRegisters, ModelSensor, ModelTag
from simulator.odds import KNOWN, Odds, faults_of, parse_odds

SERVED = ("modbus-rtu", "modbus-tcp", "modbus-rtu-tcp", "dali-sci", "mbus", "ble", "ble-gatt", "slcan")
ADVERTISE_S = 1.0
BLUEZ_SOCKET = "guet-bluez.socket"


def simulate(argv: list[str]) -> int:
    """Simule un appareil, ou ceux d'un site, pannes comprises / Simulates a device, or those of a site, with faults"""
    if any(word.split("=")[0] == "--fleet" for word in argv):
        return fleet(argv)
    parser = argparse.ArgumentParser(
        prog="guet simulate",
        description=simulate.__doc__,
        epilog="guet simulate --fleet N : le trafic montant de N passerelles / the upstream traffic of N gateways",
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="profile | site")
    one = what.add_parser("profile", help="un modèle d'appareil / one device model")
    one.add_argument("profile", metavar="NAME|FILE.toml")
    add_bus_options(one)
    many = what.add_parser("site", help="tous les appareils d'un site / every device of a site")
    many.add_argument("site", type=Path, metavar="SITE.toml")
    for sub in (one, many):
        sub.add_argument("--fault", action="append", default=[], metavar="[BUS:]crc=0.05,late=0.02:0.6")
        sub.add_argument("--seed", type=int, default=1)
        sub.add_argument("--for", dest="seconds", type=float, default=None, metavar="SECONDS")
        sub.add_argument("--bluez", type=Path, default=Path(BLUEZ_SOCKET), metavar="SOCKET")
        sub.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.what == "profile":
        site = lone_site(*profile_given(options.profile, _profiles()), options)
    else:
        site = load_site(options.site, _profiles())
    faults = _faults(options.fault, site)
    _servable(site)
    return asyncio.run(_serve(site, faults, options))


def _profiles() -> Path:
    return Path(os.environ.get("GUET_HOME") or Path(__file__).resolve().parents[1]) / "device_profiles"


def _faults(given: Sequence[str], site: Site) -> dict[str, tuple[Odds, ...]]:
    """The faults of each bus. Raises SiteError with all that is wrong."""
    found: dict[str, tuple[Odds, ...]] = {}
    wrong: list[str] = []
    for text in given:
        head, colon, rest = text.partition(":")
        named = colon and "=" not in head
        kinds = {part.partition("=")[0].strip() for part in text.split(",")}
        faulty = [name for name, bus in site.buses.items() if bus.protocol in KNOWN]
        knowing = [name for name in faulty if kinds <= set(KNOWN[site.buses[name].protocol])]
        buses = [head] if named else knowing or faulty
        if named and head not in site.buses:
            wrong.append(f"--fault {text}: expected a bus of the site, {', '.join(site.buses)}, got {head!r}")
            continue
        for name in buses:
            try:
                found[name] = parse_odds(rest if named else text, site.buses[name].protocol)
            except ValueError as error:
                wrong.append(f"--fault, bus {name!r}: {error}")
        if not buses:
            wrong.append(f"--fault {text}: expected a bus with faults ({', '.join(KNOWN)}), the site has none")
    if wrong:
        raise SiteError(wrong)
    return found


def _servable(site: Site) -> None:
    """Raises SiteError with everything that cannot be served: what is not ours to take, and what is not simulated."""
    wrong = []
    for name, bus in site.buses.items():
        if isinstance(bus, Serial | Can):
            port = Path(bus.port)
            if port.is_symlink() or port.exists():
                if not port.is_symlink() or not str(port.readlink()).startswith("/dev/pts/"):
                    wrong.append(f"bus {name!r}.port: {port} is there and no link of a simulator; give another path")
            elif not port.parent.is_dir() or not os.access(port.parent, os.W_OK):
                wrong.append(f"bus {name!r}.port: {port.parent} is no folder that can be written to; give another path")
        elif isinstance(bus, Tcp) and bus.host not in LOOPBACK:
            wrong.append(f"bus {name!r}.host: expected {' or '.join(LOOPBACK)}, got {bus.host!r}; nothing is simulated "
                         "for other machines")  # fmt: skip
        if bus.protocol not in SERVED:
            wrong.append(
                f"bus {name!r}.protocol: {bus.protocol!r} is not simulated; expected one of {', '.join(SERVED)}"
            )
    if wrong:
        raise SiteError(wrong)


@dataclass(slots=True)
class Served:
    """A bus that is being served. told: what happened on it so far, for people and for --json."""

    bus: str
    where: str
    devices: list[Device]
    told: Callable[[], Mapping[str, Any]]


async def serve_site(
    stack: AsyncExitStack, site: Site, faults: Mapping[str, tuple[Odds, ...]], seed: int, clock: Clock, bluez: Path
) -> list[Served]:
    """Opens every bus of a site, until the stack is left."""
    served = []
    radios: dict[str, SimulatedBluez] = {}  # by adapter: what listens and what connects share one
    for number, (name, bus) in enumerate(site.buses.items()):
        devices = site.devices_on(name)
        happening = faults_of(bus.protocol, faults.get(name, ()), seed * 1000 + number)
        if isinstance(bus, Radio):
            if bus.adapter not in radios:
                path = bluez.with_name(f"{bluez.name}-{bus.adapter}") if radios else bluez
                radios[bus.adapter] = await stack.enter_async_context(SimulatedBluez(str(path), bus.adapter))
            radio = radios[bus.adapter]
            served.append(_radio(stack, name, devices, seed, clock, radio, happening))
        elif isinstance(bus, Can):
            nodes = [
                ModelNode(device.profile, device.number, clock, seed, device.name)
                for device in devices
                if isinstance(device.profile, CanopenProfile)
            ]
            can = CanAdapter(BITRATES[bus.bitrate][1:2], happening)
            await stack.enter_async_context(SimulatedSlcan(can, nodes, clock, link=Path(bus.port)))
            served.append(Served(name, bus.port, devices, partial(_overheard, can)))
        elif bus.protocol == "mbus":
            meters = [
                ModelMeter(device.profile, device.number, clock, seed, device.name).meter
                for device in devices
                if isinstance(device.profile, MbusProfile)
            ]
            baud, framing = (bus.line or MBUS_LINE).split()
            wires = Line(int(baud), framing, units=meters, faults=happening, link=Path(bus.port))
            await stack.enter_async_context(wires)
            served.append(Served(name, bus.port, devices, partial(_carried, wires)))
        elif bus.protocol == "dali-sci":
            gears = [
                ModelGear(device.profile, device.number, clock, seed, device.name)
                for device in devices
                if isinstance(device.profile, DaliProfile)
            ]
            adapter = Adapter(gears, happening)
            await stack.enter_async_context(SimulatedSci(adapter, link=Path(str(bus.port))))
            served.append(Served(name, str(bus.port), devices, partial(_frames, adapter)))
        else:
            units = [
                ModbusDevice(
                    device.number,
                    ModelRegisters(device.profile, clock, seed, device.name),
                    identity={0: device.profile.maker, 1: device.profile.model, 2: "simulé / simulated"},
                )
                for device in devices
                if isinstance(device.profile, ModbusProfile)
            ]
            served.append(await _modbus(stack, name, bus, devices, units, happening))
    return served


async def _modbus(
    stack: AsyncExitStack,
    name: str,
    bus: Serial | Tcp,
    devices: list[Device],
    units: list[ModbusDevice],
    faults: Faults[Any],
) -> Served:
    port: Line | TcpServer | RtuOverTcp
    if isinstance(bus, Serial):
        baud, framing = bus.line.split()
        port = Line(int(baud), framing, units=units, faults=faults, link=Path(bus.port))
        where = bus.port
    elif bus.protocol == "modbus-tcp":
        port = TcpServer(bus.host, bus.port, units, faults=faults)
        where = f"{bus.host}:{bus.port}"
    else:
        port = RtuOverTcp(bus.host, bus.port, units, faults=faults)
        where = f"{bus.host}:{bus.port}"
    try:
        await stack.enter_async_context(port)
    except OSError as error:
        raise SiteError(
            [f"bus {name!r}: {where}: {error.strerror or error}; end what uses it or give another"]
        ) from None

    return Served(name, where, devices, partial(_carried, port))


def _carried(port: Line | TcpServer | RtuOverTcp) -> Mapping[str, Any]:
    said: dict[str, Any] = {"requests": port.requests, "faults": dict(port.faults.happened)}
    if isinstance(port, Line):
        said |= {"violations": port.violations, "wrong_speed": port.wrong_speed}
    return said


def _frames(adapter: Adapter) -> Mapping[str, Any]:
    return {"requests": adapter.frames, "faults": dict(adapter.chance.happened)}


def _overheard(adapter: CanAdapter) -> Mapping[str, Any]:
    return {"frames": adapter.frames, "sent": len(adapter.sent), "faults": dict(adapter.chance.happened)}


def _radio(
    stack: AsyncExitStack,
    name: str,
    devices: list[Device],
    seed: int,
    clock: Clock,
    radio: SimulatedBluez,
    faults: Faults[BluezFault],
) -> Served:
    beacons = {
        str(device.address): ModelBeacon(device.profile, clock, seed, device.name)
        for device in devices
        if isinstance(device.profile, BthomeProfile)
    }
    tags = {
        str(device.address): ModelTag(device.profile, clock, seed, device.name)
        for device in devices
        if isinstance(device.profile, RuuviProfile)
    }
    sensors = [
        ModelSensor(device.profile, str(device.address), clock, seed, device.name)
        for device in devices
        if isinstance(device.profile, GattProfile)
    ]
    for sensor in sensors:
        radio.add(sensor.peripheral)
    said: Counter[str] = Counter()

    async def advertise() -> None:
        while True:
            if fault := faults.draw():
                radio.happen(fault.kind)
                faults.happened[fault.kind] += 1
            for address, beacon in beacons.items():
                said["advertisements"] += radio.advertise(Advertisement(address, {"fcd2": beacon.service_data()}))
            for address, tag in tags.items():
                heard = Advertisement(address, manufacturer_data={0x0499: tag.manufacturer_data()})
                said["advertisements"] += radio.advertise(heard)
            for sensor in sensors:
                sensor.refresh()
                said["advertisements"] += radio.advertise(Advertisement(sensor.peripheral.address, name="capteur"))
            await asyncio.sleep(ADVERTISE_S)

    task = asyncio.create_task(advertise(), name="beacons")

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
    return Served(
        name, f"DBUS_SYSTEM_BUS_ADDRESS={radio.address}", devices, lambda: {**said, "faults": dict(faults.happened)}
    )


async def _serve(site: Site, faults: Mapping[str, tuple[Odds, ...]], options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        served = await serve_site(stack, site, faults, options.seed, time.time, options.bluez)
        _say_ready(served, options.json)
        try:
            async with asyncio.timeout(options.seconds):
                await stop.wait()
        except TimeoutError:
            pass
        _say_end(served, options.json)
    return 0


def _say_ready(served: list[Served], as_json: bool) -> None:
    if as_json:
        body = [
            {
                "bus": one.bus,
                "where": one.where,
                "devices": [{"name": d.name, "profile": d.profile_name, "address": d.address} for d in one.devices],
            }
            for one in served
        ]
        print(json.dumps({"simulated": body}, ensure_ascii=False), flush=True)
        return
    print(say("Simulé : rien de ceci n'est mesuré. Ctrl-C pour finir.",
              "Simulated: nothing of this is measured. Ctrl-C ends."))  # fmt: skip
    for one in served:
        print(f"{one.bus}  {one.where}")
        for device in one.devices:
            print(f"  {device.name:<24} {device.profile_name:<36} {device.address}")
    sys.stdout.flush()


def _say_end(served: list[Served], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"happened": {one.bus: one.told() for one in served}}, ensure_ascii=False), flush=True)
        return
    for one in served:
        told = ", ".join(f"{key} {value}" for key, value in one.told().items())
        print(f"{one.bus} : {told}")
