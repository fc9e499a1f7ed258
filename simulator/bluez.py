"""A simulated BlueZ without radio: what `bleak` needs of org.bluez, on a unix socket of its own.

Set DBUS_SYSTEM_BUS_ADDRESS to `SimulatedBluez.address` in the process that is to hear it. Beacons are heard while
somebody scans: actively (StartDiscovery), or passively through an advertisement monitor whose patterns match.
Peripherals can be connected to, read and subscribed to. What goes wrong with Bluetooth in the field can be asked for
by name (`FAULTS`, `SimulatedBluez.happen`).

Object paths and interfaces are those of BlueZ's D-Bus API (doc/org.bluez.*.rst).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dbus_fast import Message, Variant

from simulator.dbus import Body, Bus, DbusError

OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
MONITOR = "org.bluez.AdvertisementMonitor1"

_BASE_UUID = "0000{}-0000-1000-8000-00805f9b34fb"
_FLAG_NEEDED = {"ReadValue": "read", "WriteValue": "write", "StartNotify": "notify", "StopNotify": "notify"}

ABORTED_S = 0.05

Pattern = tuple[int, int, bytes]
"""Of a monitor: where in which kind of advertising data which bytes must stand."""


FAULTS = (
    "lost_link", "stuck_scanner", "stop_in_progress", "adapter_gone", "adapter_back", "connect_refused",
    "passive_refused", "busy", "aborted", "slow_connect", "broken_off",
)  # fmt: skip
"""What can go wrong: every connection breaks · the scanner hears nothing until its adapter is switched off · BlueZ refuses
to end a scan and is stuck from then on (bluez issue 807) · the adapter is unplugged · and plugged in again · the next
connection is refused · the next passive scan is refused · the next connection meets another one under way · the next
connection is broken off as soon as it stands, by radio interference · the next connection takes `slow_s` · the link breaks
at the second reading of the next connection."""


@dataclass(frozen=True, slots=True)
class BluezFault:
    """One of FAULTS, to be drawn."""

    kind: str


def long_uuid(short: str) -> str:
    """A 16-bit UUID ("fcd2") in full."""
    return _BASE_UUID.format(short.lower()) if len(short) == 4 else short.lower()


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a device says once. service_data by 16-bit UUID ("fcd2"), manufacturer_data by company id."""

    address: str
    service_data: Mapping[str, bytes] = field(default_factory=dict)
    manufacturer_data: Mapping[int, bytes] = field(default_factory=dict)
    name: str = ""
    rssi_dbm: int = -60

    def matches(self, pattern: Pattern) -> bool:
        """Whether a monitor with this pattern would be told."""
        start, kind, wanted = pattern
        match kind:
            case 0x16:  # service data, 16-bit UUID (Bluetooth Assigned Numbers, 2.3)
                fields = [bytes.fromhex(uuid)[::-1] + data for uuid, data in self.service_data.items()]
            case 0xFF:  # manufacturer specific
                fields = [company.to_bytes(2, "little") + data for company, data in self.manufacturer_data.items()]
            case 0x09:  # complete local name
                fields = [self.name.encode()]
            case _:
                fields = []
        return any(field[start : start + len(wanted)] == wanted for field in fields)

    def properties(self) -> dict[str, Variant]:
        """The properties of org.bluez.Device1 that change with each advertisement."""
        changed = {"RSSI": Variant("n", self.rssi_dbm)}
        if self.service_data:
            data = {long_uuid(uuid): Variant("ay", data) for uuid, data in self.service_data.items()}
            changed["ServiceData"] = Variant("a{sv}", data)
        if self.manufacturer_data:
            changed["ManufacturerData"] = Variant(
                "a{qv}", {company: Variant("ay", data) for company, data in self.manufacturer_data.items()}
            )
        if self.name:
            changed["Name"] = Variant("s", self.name)
        return changed


@dataclass(slots=True)
class Characteristic:
    """One value of a connectable device. flags as BlueZ names them: read, write, notify."""

    value: bytes = b""
    flags: tuple[str, ...] = ("read", "notify")
    notifying: bool = False


@dataclass(slots=True)
class Peripheral:
    """A connectable device: its services, each with its characteristics, by UUID."""

    address: str
    services: dict[str, dict[str, Characteristic]]
    connected: bool = False

    def characteristic(self, uuid: str) -> Characteristic:
        """The characteristic with that UUID. Raises KeyError when there is none."""
        return next(group[uuid] for group in self.services.values() if uuid in group)


class SimulatedBluez:
    """BlueZ with one adapter on the socket `path`, inside `async with`.

    powered: Bluetooth is on. passive: advertisement monitors exist (BlueZ 5.56, --experimental). deaf: the scanner is
    stuck, it says that it scans and hears nothing, until Bluetooth is switched off. faults: by method ("Connect"), the
    errors that its next calls meet, one each. calls: how often each method was called. slow_s: how long a slow connection
    takes.
    """

    def __init__(self, path: str, adapter: str = "hci0", *, passive: bool = True) -> None:
        self.adapter_path = f"/org/bluez/{adapter}"
        self.passive = passive
        self.deaf = False
        self.faults: dict[str, deque[DbusError]] = {}
        self.calls: dict[str, int] = {}
        self.slow_s = 60.0
        self._waiting = asyncio.Event()
        self._slow = self._breaking = self._aborting = 0
        self._reads = 0  # since the last connection
        self._bus = Bus(path, self)
        self._powered = True
        self._discovering: set[str] = set()
        self._monitors: dict[tuple[str, str], tuple[Pattern, ...] | None] = {}
        self._peripherals: dict[str, Peripheral] = {}
        self._objects: dict[str, dict[str, dict[str, Variant]]] = {}
        self._add_adapter()

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._bus.__aexit__()

    @property
    def address(self) -> str:
        """What DBUS_SYSTEM_BUS_ADDRESS must say."""
        return self._bus.address

    @property
    def dropped(self) -> int:
        """Signals not sent to a client that does not read."""
        return self._bus.dropped

    @property
    def powered(self) -> bool:
        return self._powered

    @powered.setter
    def powered(self, on: bool) -> None:
        self._powered = on
        if not on:
            self._discovering.clear()
            self.deaf = False
        self._change(
            self.adapter_path, ADAPTER, Powered=Variant("b", on), Discovering=Variant("b", bool(self._discovering))
        )

    @property
    def scanning(self) -> bool:
        """Whether anybody listens."""
        return self._powered and bool(self._discovering or any(self._monitors.values()))

    def advertise(self, heard: Advertisement) -> bool:
        """A device says something; False when nobody scans for it."""
        if not self._powered or self.deaf or not (self._discovering or self._monitored(heard)):
            return False
        path = self._device_path(heard.address)
        if path in self._objects:
            self._change(path, DEVICE, **heard.properties())
        else:
            self._add(path, DEVICE, _device_properties(heard.address, self.adapter_path) | heard.properties())
        return True

    def forget(self, address: str) -> None:
        """BlueZ drops a device that it has not heard for long."""
        path = self._device_path(address)
        if self._objects.pop(path, None):
            self._bus.emit("/", OBJECTS, "InterfacesRemoved", "oas", [path, [DEVICE]])

    def add(self, peripheral: Peripheral) -> None:
        """A connectable device comes into range. It is found once it advertises."""
        self._peripherals[self._device_path(peripheral.address)] = peripheral

    def notify(self, address: str, uuid: str, value: bytes) -> bool:
        """A characteristic takes a new value; False when nobody subscribed to it."""
        device = self._device_path(address)
        peripheral = self._peripherals[device]
        characteristic = peripheral.characteristic(uuid)
        characteristic.value = value
        if not (peripheral.connected and characteristic.notifying):
            return False
        path = next(path for path, at in _characteristic_paths(device, peripheral).items() if at[1] == uuid)
        self._change(path, CHARACTERISTIC, Value=Variant("ay", value))
        return True

    def break_link(self, address: str) -> None:
        """The radio connection to a device is lost."""
        self._disconnect(self._device_path(address))

    def happen(self, fault: str) -> None:
        """Something goes wrong, by its name in FAULTS. Raises ValueError for another name."""
        match fault:
            case "lost_link":
                for path in self._peripherals:
                    self._disconnect(path)
            case "stuck_scanner":
                self.deaf = True
            case "stop_in_progress":
                # Twice, because bleak tries again once.
                refusal = DbusError("org.bluez.Error.InProgress", "Operation already in progress")
                self.faults.setdefault("StopDiscovery", deque()).extend([refusal] * 2)
            case "adapter_gone":
                self._discovering.clear()
                self._monitors.clear()
                if interfaces := self._objects.pop(self.adapter_path, None):
                    self._bus.emit("/", OBJECTS, "InterfacesRemoved", "oas", [self.adapter_path, list(interfaces)])
            case "adapter_back":
                self._add_adapter()
                added = [self.adapter_path, self._objects[self.adapter_path]]
                self._bus.emit("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", added)
            case "connect_refused":
                refusal = DbusError("org.bluez.Error.Failed", "br-connection-canceled")
                self.faults.setdefault("Connect", deque()).append(refusal)
            case "busy":
                refusal = DbusError("org.bluez.Error.InProgress", "br-connection-busy")
                self.faults.setdefault("Connect", deque()).append(refusal)
            case "aborted":
                self._aborting += 1
            case "slow_connect":
                self._slow += 1
            case "broken_off":
                self._breaking += 1
            case "passive_refused":
                refusal = DbusError("org.bluez.Error.Failed", "Failed to register monitor")
                self.faults.setdefault("RegisterMonitor", deque()).append(refusal)
            case _:
                raise ValueError(f"fault {fault!r}: expected one of {', '.join(FAULTS)}")

    # What the bus asks

    async def call(self, message: Message) -> Body:
        member, path = message.member or "", message.path or ""
        self.calls[member] = self.calls.get(member, 0) + 1
        if waiting := self.faults.get(member):
            fault = waiting.popleft()
            if member == "StopDiscovery" and fault.name == "org.bluez.Error.InProgress":
                self.deaf = True
            raise fault
        match message.interface:
            case "org.freedesktop.DBus.ObjectManager" if member == "GetManagedObjects":
                return "a{oa{sa{sv}}}", [self._objects]
            case "org.freedesktop.DBus.Properties":
                return self._property(path, member, message.body)
        if path not in self._objects:
            raise DbusError("org.freedesktop.DBus.Error.UnknownObject", f"no object {path}")
        match message.interface:
            case "org.bluez.Adapter1":
                return self._adapter_call(member, message.sender or "", message.body)
            case "org.bluez.AdvertisementMonitorManager1" if self.passive:
                return self._monitor_call(member, message.sender or "", message.body[0])
            case "org.bluez.Device1":
                return await self._device_call(member, path)
            case "org.bluez.GattCharacteristic1":
                return self._characteristic_call(member, path, message.body)
        raise DbusError("org.freedesktop.DBus.Error.UnknownMethod", f"{message.interface}.{member}")

    def signalled(self, message: Message) -> None:
        """A client exports its monitor only after RegisterMonitor has returned, and says so with its properties: from
        then on it hears."""
        if message.member != "InterfacesAdded" or not message.sender:
            return
        path, interfaces = message.body
        key = (message.sender, path)
        if key in self._monitors and MONITOR in interfaces:
            patterns = interfaces[MONITOR]["Patterns"].value
            self._monitors[key] = tuple((start, kind, bytes(wanted)) for start, kind, wanted in patterns)
            self._bus.tell(message.sender, path, MONITOR, "Activate")

    def gone(self, client: str) -> None:
        self._discovering.discard(client)
        for key in [key for key in self._monitors if key[0] == client]:
            del self._monitors[key]

    # The objects

    def _property(self, path: str, member: str, body: list[Any]) -> Body:
        try:
            properties = self._objects[path][body[0]]
            if member == "GetAll":
                return "a{sv}", [properties]
            if member == "Get":
                return "v", [properties[body[1]]]
        except KeyError:
            raise DbusError("org.freedesktop.DBus.Error.InvalidArgs", f"no property {body} of {path}") from None
        if member == "Set" and body[:2] == [ADAPTER, "Powered"]:
            self.powered = bool(body[2].value)
            return "", []
        raise DbusError("org.freedesktop.DBus.Error.PropertyReadOnly", f"{body[:2]}")

    def _adapter_call(self, member: str, client: str, body: list[Any]) -> Body:
        match member:
            case "SetDiscoveryFilter":
                return "", []
            case "StartDiscovery":
                if not self._powered:
                    raise DbusError("org.bluez.Error.NotReady", "Resource Not Ready")
                self._discovering.add(client)
            case "StopDiscovery":
                if client not in self._discovering:
                    raise DbusError("org.bluez.Error.Failed", "No discovery started")
                self._discovering.discard(client)
            case "RemoveDevice":
                self.forget(body[0].rpartition("/dev_")[2].replace("_", ":"))
                return "", []
            case _:
                raise DbusError("org.freedesktop.DBus.Error.UnknownMethod", f"{ADAPTER}.{member}")
        self._change(self.adapter_path, ADAPTER, Discovering=Variant("b", bool(self._discovering)))
        return "", []

    def _monitor_call(self, member: str, client: str, path: str) -> Body:
        match member:
            case "RegisterMonitor":
                self._monitors[client, path] = None
            case "UnregisterMonitor":
                if (client, path) not in self._monitors:
                    raise DbusError("org.bluez.Error.DoesNotExist", "Does Not Exist")
                del self._monitors[client, path]
            case _:
                raise DbusError("org.freedesktop.DBus.Error.UnknownMethod", f"{MONITORS}.{member}")
        return "", []

    async def _device_call(self, member: str, path: str) -> Body:
        peripheral = self._peripherals.get(path)
        if member == "Connect":
            if peripheral is None:
                raise DbusError("org.bluez.Error.Failed", "br-connection-canceled")
            if self._aborting:
                # So BlueZ does it: connected for a moment, then an error, then not connected any more.
                self._aborting -= 1
                self._change(path, DEVICE, Connected=Variant("b", True))
                loop = asyncio.get_running_loop()
                loop.call_later(ABORTED_S, lambda: self._change(path, DEVICE, Connected=Variant("b", False)))
                raise DbusError("org.bluez.Error.Failed", "le-connection-abort-by-local")
            if self._slow:
                self._slow -= 1
                self._waiting = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._waiting.wait(), self.slow_s)
                    raise DbusError("org.bluez.Error.Failed", "br-connection-canceled")
            peripheral.connected, self._reads = True, 0
            self._change(path, DEVICE, Connected=Variant("b", True))
            self._add_services(path, peripheral)
            self._change(path, DEVICE, ServicesResolved=Variant("b", True))
        elif member == "Disconnect":
            self._waiting.set()  # a connection that is being made is given up
            self._disconnect(path)
        else:
            raise DbusError("org.freedesktop.DBus.Error.UnknownMethod", f"{DEVICE}.{member}")
        return "", []

    def _characteristic_call(self, member: str, path: str, body: list[Any]) -> Body:
        device = path.rsplit("/", 2)[0]
        peripheral = self._peripherals[device]
        if not peripheral.connected:
            raise DbusError("org.bluez.Error.NotConnected", "Not Connected")
        service, uuid = _characteristic_paths(device, peripheral)[path]
        characteristic = peripheral.services[service][uuid]
        if _FLAG_NEEDED.get(member) not in characteristic.flags:
            raise DbusError("org.bluez.Error.NotSupported", "Operation is not supported")
        match member:
            case "ReadValue":
                self._reads += 1
                if self._breaking and self._reads == 2:
                    self._breaking -= 1
                    self._disconnect(device)
                    raise DbusError("org.bluez.Error.Failed", "Operation failed with ATT error: 0x0e")
                return "ay", [characteristic.value]
            case "WriteValue":
                characteristic.value = bytes(body[0])
            case _:
                characteristic.notifying = member == "StartNotify"
                self._change(path, CHARACTERISTIC, Notifying=Variant("b", characteristic.notifying))
        return "", []

    def _monitored(self, heard: Advertisement) -> bool:
        return any(heard.matches(pattern) for patterns in self._monitors.values() for pattern in patterns or ())

    def _device_path(self, address: str) -> str:
        return f"{self.adapter_path}/dev_{address.replace(':', '_')}"

    def _disconnect(self, path: str) -> None:
        peripheral = self._peripherals.get(path)
        if peripheral is None or not peripheral.connected:
            return
        peripheral.connected = False
        for group in peripheral.services.values():
            for characteristic in group.values():
                characteristic.notifying = False
        self._change(path, DEVICE, ServicesResolved=Variant("b", False))
        self._change(path, DEVICE, Connected=Variant("b", False))

    def _add_adapter(self) -> None:
        flags = {"Powered": True, "Discoverable": False, "Discovering": False, "Pairable": False}
        interfaces = {
            ADAPTER: {
                "Address": Variant("s", "02:00:00:00:00:01"),
                "AddressType": Variant("s", "public"),
                "Name": Variant("s", "simulated"),
                "Alias": Variant("s", "simulated"),
                "UUIDs": Variant("as", []),
                "Roles": Variant("as", ["central"]),
                **{name: Variant("b", value) for name, value in flags.items()},
            }
        }
        if self.passive:
            interfaces[MONITORS] = {
                "SupportedMonitorTypes": Variant("as", ["or_patterns"]),
                "SupportedFeatures": Variant("as", ["controller-patterns"]),
            }
        self._objects[self.adapter_path] = interfaces

    def _add_services(self, device: str, peripheral: Peripheral) -> None:
        """The objects of all services and characteristics; a client expects them before ServicesResolved."""
        for path, (service, uuid) in _characteristic_paths(device, peripheral).items():
            above = path.rpartition("/")[0]
            if above not in self._objects:
                self._add(above, SERVICE, {
                    "UUID": Variant("s", long_uuid(service)), "Device": Variant("o", device),
                    "Primary": Variant("b", True), "Includes": Variant("ao", []),
                })  # fmt: skip
            if path not in self._objects:
                self._add(path, CHARACTERISTIC, {
                    "UUID": Variant("s", long_uuid(uuid)), "Service": Variant("o", above),
                    "Flags": Variant("as", list(peripheral.services[service][uuid].flags)),
                    "Value": Variant("ay", b""), "Notifying": Variant("b", False), "MTU": Variant("q", 247),
                })  # fmt: skip

    def _add(self, path: str, interface: str, properties: dict[str, Variant]) -> None:
        self._objects[path] = {interface: properties}
        self._bus.emit("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, self._objects[path]])

    def _change(self, path: str, interface: str, **properties: Variant) -> None:
        self._objects[path][interface].update(properties)
        self._bus.emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])


def _device_properties(address: str, adapter_path: str) -> dict[str, Variant]:
    """org.bluez.Device1 of a device that has just been found."""
    flags = ("Paired", "Bonded", "Trusted", "Blocked", "LegacyPairing", "Connected", "ServicesResolved")
    return {
        "Address": Variant("s", address), "AddressType": Variant("s", "public"),
        "Alias": Variant("s", address.replace(":", "-")), "Adapter": Variant("o", adapter_path),
        "UUIDs": Variant("as", []), **{name: Variant("b", False) for name in flags},
    }  # fmt: skip


def _characteristic_paths(device: str, peripheral: Peripheral) -> dict[str, tuple[str, str]]:
    """Object path of each characteristic -> (service, characteristic). Handles count as in an attribute table: a
    service takes one, a characteristic two."""
    paths: dict[str, tuple[str, str]] = {}
    handle = 0
    for service, group in peripheral.services.items():
        handle += 1
        above = f"{device}/service{handle:04x}"
        for uuid in group:
            handle += 2
            paths[f"{above}/char{handle:04x}"] = (service, uuid)
    return paths
