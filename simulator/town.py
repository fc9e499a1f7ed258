"""The town: every simulated device of a night, its truth, and the real ports on which it is reached.

Four ways in, as in a real commune: Modbus TCP in the cabinet (inlet flow meter, energy meter), Modbus RTU on an RS-485
line of 19,200 baud (pressure sensors, a node of our own, the lift's door controller), DALI lamps behind a serial adapter,
bins that advertise by Bluetooth. The same devices, asked without any port, give the weeks before the night (`history`).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from gateway.codec import Broadcast, PolledCodec, Procedure
from gateway.codec.bthome import PART, Bthome
from gateway.codec.dali import Sci
from gateway.codec.modbus import Rtu
from gateway.lighting import Schedule, Slot, arc_power_level
from gateway.plan import Speaker, Visit, plan_ears, plan_visits, take
from gateway.reading import Flaw, Snapshot
from gateway.site import Device as SiteDevice
from gateway.site import Site
from gateway.summary import Summariser, Summary
from simulator import node
from simulator.bluez import Advertisement, SimulatedBluez
from simulator.dali import Adapter, Gear, SimulatedSci
from simulator.drift import Drift
from simulator.energy import Building, Meter
from simulator.lift import LiftDoor
from simulator.lighting import Lamp, LampFault
from simulator.line import Faults, Line
from simulator.modbus import Area, Device, IllegalAddress, TcpServer
from simulator.odds import faults_of, parse_odds
from simulator.scenario import BUSES, HOUR_S, Event, Scenario, ScenarioError
from simulator.waste import Bin
from simulator.water import Burst, Sector
from simulator.weather import air_c

ZONE = ZoneInfo("Europe/Paris")
LATITUDE, LONGITUDE = 47.24, 6.02
STREET = (Slot("dusk", 100), Slot("23:00", 50), Slot("05:30", 100), Slot("dawn", 0))
LAMPS, BINS = 6, 3
DALI_PACE = 0.15
"""The DALI bus is played faster than it is (1.0), because six lamps are read in a time that runs far faster than real."""
NODE, NODE_UNIT = "noeud-amont", 9
"""A node of our own beside the first pressure sensor."""
HISTORY_STEP_S, SELDOM_STEP_S = 900.0, 3600.0
"""How often devices are asked in the weeks before the night; lamps, and bins, whose model goes by the hour, more seldom."""


class Floats:
    """Holding registers that are floats of 4 or 8 bytes, high word first, from a function of time at each address."""

    def __init__(self, at: dict[int, tuple[str, Callable[[float], float]]], now: Callable[[], float]) -> None:
        """at: address -> (">f" or ">d", value at a time)."""
        self._at, self._now = at, now

    def read(self, area: Area, address: int, count: int) -> list[int]:
        time_s = self._now()
        last = max(self._at) + 16
        if area != "holding" or address + count > last:
            raise IllegalAddress
        # Real sensors have something in every register of their range; what is not simulated reads 0.
        cells = [0] * (count + 8)
        for first, (form, value) in self._at.items():
            if address - 4 < first < address + count:
                data = struct.pack(form, value(time_s))
                for at in range(0, len(data), 2):
                    if address <= first + at // 2 < address + count:
                        cells[first + at // 2 - address] = data[at] << 8 | data[at + 1]
        return cells[:count]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        raise IllegalAddress


class NodeRegisters:
    """The registers that a pressure node of ours would show, where no MicroPython runs (firmware/nodes/pressure.py)."""

    def __init__(self, pressure_bar: Callable[[], float]) -> None:
        self._pressure_bar = pressure_bar

    def read(self, area: Area, address: int, count: int) -> list[int]:
        if address + count > (41 if area == "input" else 1) or area not in ("input", "discrete"):
            raise IllegalAddress
        pressure_mbar = round(1000 * self._pressure_bar())
        cells = [0] * 41
        cells[0], cells[7] = 1, 1  # a pressure node, at its first start
        cells[32] = cells[34] = cells[35] = cells[36] = pressure_mbar
        cells[33] = 4000 + round(1.6 * pressure_mbar)
        return cells[address : address + count] if area == "input" else [0]

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        if (area, address, len(values)) != ("holding", 0, 2):  # the time
            raise IllegalAddress


class Town:
    """All that is simulated of a night. `clock` gives simulated UTC seconds."""

    def __init__(
        self, scenario: Scenario, clock: Callable[[], float], folder: Path, sector: Sector | None = None
    ) -> None:
        self.scenario, self._clock, self._folder = scenario, clock, folder
        self._asked_at_s: float | None = None
        seed = scenario.seed
        since_s = scenario.start_s - scenario.history_s - 86400.0
        schedule = Schedule(STREET, LATITUDE, LONGITUDE, ZONE)
        self.sector = sector or Sector(seed, _bursts(scenario, seed))
        self.lamps = {
            f"lampe-{n}": Lamp(
                f"lampe-{n}", seed, schedule, since_s, _lamp_faults(scenario, f"lampe-{n}"), town_seed=seed
            )
            for n in range(1, LAMPS + 1)
        }
        self.gears = {name: _LampGear(short, lamp, self) for short, (name, lamp) in enumerate(self.lamps.items(), 1)}
        wear = next((_drift(event) for event in scenario.of("door_wear")), None)
        self.door = LiftDoor("ascenseur-mairie", seed, ZONE, self.now, wear=wear, town_seed=seed)
        self.meter = Meter("mairie", seed, Building("mairie", seed, ZONE, since_s), self.now)
        self.bins = {f"bac-{n}": Bin(f"bac-{n}", seed + n, ZONE, town_seed=seed) for n in range(1, BINS + 1)}
        self.pressures = dict(zip(("amont", "aval", "centre", "haut"), self.sector.sensors, strict=False))
        flow = Floats(
            {
                3002: (">f", lambda t: self.sector.metered_flow_m3_h(t) / 3600.0),
                3014: (">d", lambda t: 1.2e6 + 55.0 * (t - since_s) / 3600.0),
            },
            self.now,
        )
        self.units = {
            "debit-entree": Device(1, flow, turnaround_s=0.0),
            "compteur-mairie": Device(2, self.meter, turnaround_s=0.0),
        }
        self.line_units = {
            f"pression-{name}": Device(unit, self._keller(sensor))
            for unit, (name, sensor) in enumerate(self.pressures.items(), 3)
        } | {"ascenseur-porte": Device(24, self.door)}
        self.node: node.PressureNode | None = None
        self._stack = AsyncExitStack()

    def now(self) -> float:
        """The instant that devices are asked at: the clock's, except while the past is told."""
        return self._clock() if self._asked_at_s is None else self._asked_at_s

    def _keller(self, sensor: str) -> Floats:
        return Floats(
            {
                0x0000: (">f", lambda t: 0.0),
                0x0002: (">f", lambda t: self.sector.sensed_pressure_bar(sensor, t)),
                0x0008: (">f", lambda t: 9.0 + 0.15 * air_c(t, self.scenario.seed)),
            },
            self.now,
        )

    @property
    def telling_the_past(self) -> bool:
        """Whether devices are asked at an instant of the history."""
        return self._asked_at_s is not None

    # -- the ports ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        self.server = await enter(TcpServer("127.0.0.1", 0, self.units.values()))
        self.line = await enter(Line(19200, "8E1", units=self.line_units.values(), link=self._folder / "rs485-1"))
        await self._enter_node()
        self.street = await enter(SimulatedSci(Adapter(list(self.gears.values())), DALI_PACE))
        self.radio = await enter(SimulatedBluez(str(self._folder / "bluez.socket")))
        self.faults: dict[str, Faults[Any]] = {
            "armoire": self.server.faults,
            "rs485-1": self.line.faults,
            "rue-haute": self.street.adapter.chance,
            "radio": Faults(),
        }
        advertising = asyncio.create_task(self._advertise(), name="bins advertise")
        self._stack.push_async_callback(_ended, advertising)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _enter_node(self) -> None:
        """Our node on the line: in a real MicroPython, or simulated where none is installed for this platform."""

        def pressure_bar() -> float:
            return max(0.0, self.sector.sensed_pressure_bar(self.pressures["amont"], self.now()))

        if node.can_run():
            folder = self._folder / NODE
            folder.mkdir(exist_ok=True)
            self.node = await self._stack.enter_async_context(
                node.PressureNode(self.line, NODE_UNIT, folder, pressure_bar)
            )
        else:
            self.line.units.append(Device(NODE_UNIT, NodeRegisters(pressure_bar)))

    def nodes(self) -> dict[str, dict[str, object]]:
        """What runs our nodes, for the report."""
        if self.node is None:
            return {NODE: {"profile": "guet/pressure", "runs_in": "simulated device: no MicroPython for this platform"}}
        return {NODE: {"profile": "guet/pressure", "runs_in": "MicroPython", "starts": self.node.starts}}

    async def _advertise(self) -> None:
        """Every bin says what it measures, in real time as radios do, several times within each simulated minute or so."""
        faults = self.faults["radio"]
        while True:
            if fault := faults.draw():
                faults.happened[fault.kind] += 1
                self.radio.happen(fault.kind)
            for number, found in enumerate(self.bins.values(), 1):
                self.radio.advertise(
                    Advertisement(_mac(number), {"fcd2": found.service_data(self.now())}, rssi_dbm=-60 - number)
                )
            await asyncio.sleep(0.25)

    def disturb(self, bus: str, faults: str) -> None:
        """From now on these faults happen on a bus (`odds.parse_odds`); an empty text ends them."""
        protocol = BUSES[bus]
        odds = parse_odds(faults, protocol) if faults else ()
        self.faults[bus].follow(faults_of(protocol, odds, self.scenario.seed))

    def site_toml(self, upstream_port: int | None) -> str:
        """The site file of the gateway that watches this town."""
        return _site(self, upstream_port)

    # -- the weeks before -------------------------------------------------------------------------------------------

    def history(self, devices: Sequence[SiteDevice]) -> Iterator[Summary]:
        """The summaries of these devices from the beginning of the history to the start of the night, made of what they
        answer, byte for byte, to the gateway's own plan."""
        visits: list[tuple[Visit, PolledCodec, Callable[[bytes], bytes], float]] = []
        heard: dict[str, Speaker] = {}
        rtu, sci = Rtu(), Sci()
        for device in devices:
            if device.profile.protocol == "bthome":
                heard |= plan_ears([device], {"bthome": lambda of: Bthome(of.key)})
            elif device.profile.protocol == "dali":
                alone = Adapter([self.gears[device.name]])
                visits += [(visit, sci, alone.handle, SELDOM_STEP_S) for visit in plan_visits([device], sci)]
            else:
                visits += [(visit, rtu, self._answer_rtu, HISTORY_STEP_S) for visit in plan_visits([device], rtu)]
        summarisers = {device.name: Summariser(device.name) for device in devices}
        schedule = Schedule(STREET, LATITUDE, LONGITUDE, ZONE)
        start_s = self.scenario.start_s - self.scenario.history_s
        try:
            for step in range(int(self.scenario.history_s // HISTORY_STEP_S)):
                at_s = self._asked_at_s = start_s + step * HISTORY_STEP_S
                level = arc_power_level(schedule.level_percent(at_s))
                for gear in self.gears.values():
                    gear.dim(level)
                for visit, codec, answer, step_s in visits:
                    if step % max(1, round(max(visit.period_s, step_s) / HISTORY_STEP_S)):
                        continue
                    snapshot = _asked(visit, codec, answer, at_s)
                    yield from summarisers[visit.device.name].add(snapshot)
                for sender, speaker in heard.items() if at_s % SELDOM_STEP_S == 0 else ():
                    data = self.bins[speaker.device.name].service_data(at_s)
                    snapshot = _said(speaker, Broadcast(sender, {PART: data}), at_s)
                    yield from summarisers[speaker.device.name].add(snapshot)
            for summariser in summarisers.values():
                yield from summariser.close(self.scenario.start_s)
        finally:
            self._asked_at_s = None

    def _answer_rtu(self, request: bytes) -> bytes:
        """What the device answers on a line of its own; units of the cabinet and of the line do not share addresses."""
        for device in (*self.line_units.values(), *self.units.values()):
            if device.address == request[0] and (answer := device.answer(request)) is not None:
                return answer
        return b""


class _LampGear(Gear):
    """The control gear of a lamp: its banks are the lamp's, and what it is told tonight the lamp hears. In the past a lamp
    follows its schedule by itself."""

    def __init__(self, short_address: int, lamp: Lamp, town: Town) -> None:
        super().__init__(
            short_address, lambda number: lamp.bank(number, town.now(), self.level), level=0, clock=town.now
        )
        self._lamp, self._town = lamp, town

    def dim(self, level: int) -> None:
        super().dim(level)
        if not self._town.telling_the_past:
            self._lamp.order(self._town.now(), self.level)


def _asked(visit: Visit, codec: PolledCodec, answer: Callable[[bytes], bytes], at_s: float) -> Snapshot:
    """A visit without a port."""
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    for block in visit.blocks:
        block.decode(
            _run(codec.read(int(visit.device.address), block.span, visit.device.limits), answer), values, flaws
        )
    return Snapshot(visit.device.name, at_s, values, flaws)


def _said(speaker: Speaker, broadcast: Broadcast, at_s: float) -> Snapshot:
    """What is heard of an advertisement, without a radio."""
    values: dict[str, float | None] = {}
    flaws: dict[str, Flaw] = {}
    for place, raw in (speaker.codec.values(broadcast) or {}).items():
        if (column := speaker.columns.get(place)) is not None:
            take(column, column.decode(raw), values, flaws)
    return Snapshot(speaker.device.name, at_s, values, flaws)


def _run(procedure: Procedure[bytes], answer: Callable[[bytes], bytes]) -> bytes:
    try:
        ask = next(procedure)
        while True:
            received = answer(ask.request)
            ask = procedure.send(received[: ask.recognise(received)])
    except StopIteration as done:
        result: bytes = done.value
        return result


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _mac(number: int) -> str:
    return f"A4:C1:38:00:00:{number:02X}"


def _bursts(scenario: Scenario, seed: int) -> list[Burst]:
    found = scenario.of("burst")
    if not found:
        return []
    nodes = Sector(seed).nodes
    return [
        Burst(nodes[(seed * 7 + i) % len(nodes)], event.severity, event.at_s, growth_s=event.duration_s)
        for i, event in enumerate(found)
    ]


def _drift(event: Event) -> Drift:
    return Drift(event.at_s, event.duration_s, event.severity, event.steepness)


def _lamp_faults(scenario: Scenario, lamp: str) -> list[LampFault]:
    kinds: tuple[Literal["capacitor", "cooling"], ...] = ("capacitor", "cooling")
    return [LampFault(kind, _drift(event)) for kind in kinds for event in scenario.of(kind) if event.subject == lamp]


def _site(town: Town, upstream_port: int | None) -> str:
    upstream = f'\n[upstream]\nurl = "mqtt://127.0.0.1:{upstream_port}"\nack = "commit"\n' if upstream_port else ""
    pressures = "".join(
        _device(f"pression-{name}", "water/keller_x_line", "rs485-1", unit, "5min", f"REG-{unit}")
        for unit, name in enumerate(town.pressures, 3)
    )
    lamps = "".join(
        _device(name, "lighting/d4i_driver", "rue-haute", short, "15min", f"EP-{short:03}")
        for short, name in enumerate(town.lamps, 1)
    )
    bins = "".join(
        _device(name, "waste/bthome_bin", "radio", _mac(number), "15min", f"BAC-{number}")
        for number, name in enumerate(town.bins, 1)
    )
    inputs = ", ".join(f'"pression-{name}/pressure"' for name in town.pressures)
    watches = "".join(
        f"""
[[watch]]
name = "{name}"
model = "lamp_driver"
[watch.inputs]
temperature = ["{name}/temperature"]
power = ["{name}/power"]
level = ["{name}/level"]
power_factor = ["{name}/power_factor"]
starts = ["{name}/starts"]
output = ["{name}/output"]
source_voltage = ["{name}/source_voltage"]
failure = ["{name}/failure"]
neighbours = [{", ".join(f'"{other}/temperature"' for other in town.lamps if other != name)}]
"""
        for name in town.lamps
    )
    collected = "".join(
        f"""
[[watch]]
name = "collecte-{name}"
model = "bin"
[watch.inputs]
distance = ["{name}/distance"]
temperature = ["{name}/temperature"]
"""
        for name in town.bins
    )
    permits = "".join(
        f"""
[[permit]]                # by day, and when nobody holds it any more, its schedule decides again
point = "{name}/level"
by = ["rule"]
lease = "30min"
"""
        for name in town.lamps
    )
    full = ", ".join(f'{{ point = "{name}/level", value = 254 }}' for name in town.lamps)
    slots = "".join(f'\n[[lighting.slot]]\nfrom = "{slot.at}"\nlevel = {slot.percent}\n' for slot in STREET)
    return f"""# The site of the demo: written by the simulator, read by a real gateway.
[gateway]
id = "exemple-0001"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = {LATITUDE}
longitude = {LONGITUDE}
data = "guet-data"
{upstream}
[[bus]]
name = "armoire"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {town.server.port}

[[bus]]
name = "rs485-1"
protocol = "modbus-rtu"
port = "{town.line.port}"
line = "19200 8E1"

[[bus]]
name = "rue-haute"
protocol = "dali-sci"
port = "{town.street.port}"

[[bus]]
name = "radio"
protocol = "ble"
{_device("debit-entree", "water/siemens_mag6000", "armoire", 1, "5min", "DEB-1")}
{_device("compteur-mairie", "energy/eastron_sdm630", "armoire", 2, "5min", "TGBT-1")}
{pressures}
{_device(NODE, "guet/pressure", "rs485-1", NODE_UNIT, "15min", "NOE-1")}
{_device("ascenseur-porte", "lift/gros_sdk500", "rs485-1", 24, "5min", "ASC-1")}
{lamps}
{bins}
[[watch]]
name = "secteur-moulin"
model = "leak"
[watch.inputs]
flow = ["debit-entree/flow"]
pressure = [{inputs}]

[[watch]]
name = "ascenseur-mairie"
model = "lift_door"
[watch.inputs]
door_current = ["ascenseur-porte/door_current"]
door_speed = ["ascenseur-porte/door_speed"]
door_state = ["ascenseur-porte/door_state"]
door_error = ["ascenseur-porte/door_error"]
{watches}{collected}
[[lighting]]
name = "rue-haute"
lamps = [{", ".join(f'"{name}/level"' for name in town.lamps)}]
{slots}
[[rule]]                  # whoever is called out to the leak by night finds the street lit
name = "equipe-de-nuit"
when = [{{ verdict = "secteur-moulin" }}, {{ between = ["dusk", "dawn"] }}]
set = [{full}]

[[rule]]                  # hotter than any summer makes a bin
name = "bac-chaud"
when = [{{ point = "bac-1/temperature", above = 60, until = 45, for = "2min" }}]
set = [{full}]
[rule.alert]
kind = "bin_overflow"
severity = "critical"
subject = "bac-1"
text = "Le bac 1 chauffe : feu possible. La rue est éclairée pour les secours."
{permits}"""


def _device(name: str, profile: str, bus: str, address: int | str, every: str, asset: str) -> str:
    shown = f'"{address}"' if isinstance(address, str) else address
    return f"""
[[device]]
name = "{name}"
profile = "{profile}"
bus = "{bus}"
address = {shown}
asset = "{asset}"
every = "{every}"
"""


def watched_devices(site: Site) -> list[SiteDevice]:
    """The devices that some watch looks at."""
    points = {point for entry in site.watches.values() for points in entry.inputs.values() for point in points}
    return [device for device in site.devices.values() if any(p.startswith(f"{device.name}/") for p in points)]


def past(scenario: Scenario, folder: Path, network: Path | None, devices: Sequence[SiteDevice]) -> list[Summary]:
    """`Town.history` of some devices, for a process of its own."""
    sector = sector_of_network(network, scenario) if network is not None else None
    return list(Town(scenario, lambda: scenario.start_s, folder, sector).history(devices))


def sector_of_network(path: Path, scenario: Scenario) -> Sector:
    """A water sector from an EPANET file for this scenario, its burst at a junction that the seed draws. Raises
    ScenarioError when the file cannot be used or `wntr` is not installed."""
    from simulator.hydraulics import require_wntr
    from simulator.networks import network_from_file
    from simulator.water import trace_from_inp

    try:
        require_wntr()
        junctions = list(network_from_file(str(path)).model.junction_name_list)
        bursts = [
            Burst(
                junctions[(scenario.seed * 7 + index) % len(junctions)],
                event.severity,
                event.at_s,
                growth_s=event.duration_s,
            )
            for index, event in enumerate(scenario.of("burst"))
        ]
        hours = int((scenario.history_s + scenario.hours * HOUR_S) // HOUR_S) + 2
        return trace_from_inp(path, scenario.seed, hours, scenario.start_s - scenario.history_s - HOUR_S, bursts=bursts)
    except (ImportError, OSError, ValueError, ArithmeticError) as error:
        raise ScenarioError(f"--network {path}: {error}") from None
