"""A site: one gateway's installation as its TOML file describes it, checked against the profiles it names.

The file is a contract with whoever wires the cabinet: a closed schema, all faults told at once, each with file, key, what
was expected and what to do; nothing starts on a faulty file. What the hardware does later (a device that is absent) is no
fault of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import InitVar, dataclass, field, replace
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator

from gateway.acting import acting_faults, permitted, unknown_point
from gateway.codec import Limits
from gateway.codec.canopen_lift import LARGEST_NODE
from gateway.codec.mbus import HIGHEST_PRIMARY
from gateway.codec.slcan import Bitrate
from gateway.cost import CostEntry
from gateway.errors import ProfileError, SiteError
from gateway.gear import Kept, kept
from gateway.holiday import SchoolZone
from gateway.line import PATTERN as LINE
from gateway.permit import Permit, PermitEntry
from gateway.point import NAME as POINT_NAME
from gateway.point import AnyPoint, Closed, DurationOrNone, WhenMet, duration_s
from gateway.profile import (
    RECORDED,
    CanopenProfile,
    PolledProfile,
    Profile,
    key_of,
    load_profile,
    recorded_profile,
    sentences,
)
from gateway.reading import split_point
from gateway.rulebook import RuleEntry
from gateway.signed import public_key
from gateway.street import LightingEntry
from gateway.sun import Place

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
RECORDED_UNITS = {
    "flow": "m3/h", "pressure": "bar", "temperature": "Cel", "neighbours": "Cel", "power": "W", "level": "%",
    "output": "%", "source_voltage": "V", "door_current": "mA", "door_speed": "mm/s", "energy": "kW.h", "air": "Cel",
}  # fmt: skip
"""The unit of a recorded point by its role in a watch, where the recording does not say another; "1" for other roles."""

MAC = r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

SPOKEN_ON = {
    "modbus-rtu": ("modbus",),
    "modbus-tcp": ("modbus",),
    "modbus-rtu-tcp": ("modbus",),
    "dali-sci": ("dali",),
    "mbus": ("mbus",),
    "ble": ("bthome", "ruuvi"),
    "ble-gatt": ("gatt",),
    "slcan": ("canopen",),
}
"""Which profiles' protocols are spoken on which kind of bus."""


class Gateway(Closed):
    """The gateway itself: who and where it is. latitude, longitude in degrees, for sunset. summary: the period of
    summaries. dry_run: everything is decided, checked and recorded, and nothing is written to any device."""

    id: str = Field(pattern=NAME)
    commune: str
    timezone: str
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    data: str = "guet-data"
    summary: str = "15min"
    dry_run: bool = False

    @field_validator("summary")
    @classmethod
    def _period(cls, summary: str) -> str:
        if not (seconds := duration_s(summary)).is_integer() or 3600 % seconds:
            raise ValueError(f"{summary!r}: expected whole seconds that divide an hour, such as '15min'")
        return summary

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Europe" is a folder of zones
            raise ValueError(
                f"{name!r}: expected a zone such as 'Europe/Paris' (of the system's package tzdata)"
            ) from None
        return name


class Upstream(Closed):
    """The way to the central platform. ack "commit": a record leaves the outbox once the centre says it is committed.
    command_key: a PEM file beside the site file with the Ed25519 key that remote commands are signed with; without it none
    is taken. sparkplug: speak Sparkplug B too, in the group `sparkplug_group` (the commune where not given), once the
    primary host `sparkplug_host` is there if one is named; `sparkplug_datatypes`: say the types in data messages too."""

    url: str
    ack: Literal["commit", "broker"] = "commit"
    sparkplug: bool = False
    sparkplug_group: str = Field(default="", max_length=100)
    sparkplug_host: str = Field(default="", max_length=100)
    sparkplug_datatypes: bool = False
    readings: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""
    command_key: str = ""

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.port == 0:  # asking checks the port
            raise ValueError(f"{url!r}: expected 'mqtts://host:port'")
        if parts.username or parts.password:
            raise ValueError("expected no user or password in the address; use the keys user and password_file")
        if parts.scheme == "mqtt" and parts.hostname not in LOOPBACK:
            raise ValueError(
                f"{url!r}: plain mqtt is only for this machine (127.0.0.1); use 'mqtts://{parts.hostname}:8883'"
            )
        return url

    @field_validator("sparkplug_group", "sparkplug_host")
    @classmethod
    def _an_id(cls, text: str) -> str:
        if any(character in "+/#" or character.isspace() for character in text):
            raise ValueError(f"{text!r}: expected a Sparkplug id, without '+', '/', '#' or spaces")
        return text


class Serial(Closed):
    """A serial port. Name it by path (/dev/serial/by-path/...), which does not move when something is plugged in."""

    name: str = Field(pattern=NAME)
    protocol: Literal["modbus-rtu", "dali-sci", "mbus"]
    port: str = Field(min_length=1)
    line: str = Field(default="", pattern=rf"^$|{LINE}")


class Can(Closed):
    """A CAN adapter on a serial port (SLCAN), which only listens. bitrate: of the CAN bus, bit/s."""

    name: str = Field(pattern=NAME)
    protocol: Literal["slcan"]
    port: str = Field(min_length=1)
    line: str = Field(default="115200 8N1", pattern=LINE)
    bitrate: Bitrate = 250_000


class Tcp(Closed):
    """A connection to a device, a Modbus TCP gateway, or a converter that passes serial bytes on."""

    name: str = Field(pattern=NAME)
    protocol: Literal["modbus-tcp", "modbus-rtu-tcp"]
    host: str = Field(min_length=1)
    port: int = Field(default=502, ge=1, le=65535)


class Radio(Closed):
    """A Bluetooth adapter: with `ble` it listens, with `ble-gatt` it connects; one adapter may have both."""

    name: str = Field(pattern=NAME)
    protocol: Literal["ble", "ble-gatt"]
    adapter: str = "hci0"


AnyBus = Serial | Can | Tcp | Radio
Bus = Annotated[AnyBus, Field(discriminator="protocol")]


Priority = Literal["high", "normal", "low"]


class DeviceEntry(Closed):
    """A role on a bus: the name, and what stands there today. priority: who is read first on a bus that is late. key_file:
    a file with the key (32 hexadecimal digits) of a device that encrypts, relative to the site file; the key itself
    stands in no site file. patience_ms, interval_ms, gap_ms: in place of the profile's, where what stands between makes
    answers later (a radio bridge, a converter) or a device is worn."""

    name: str = Field(pattern=NAME)
    profile: str
    bus: str = ""
    address: int | str | None = None
    asset: str = ""
    every: DurationOrNone = ""
    priority: Priority = "normal"
    key_file: str = ""
    patience_ms: float | None = Field(default=None, gt=0, le=10_000)
    interval_ms: float | None = Field(default=None, ge=0, le=10_000)
    gap_ms: float | None = Field(default=None, ge=0, le=10_000)

    @property
    def limits(self) -> dict[str, float]:
        """What it says in place of the profile's limits, by their names, in seconds."""
        given = {"patience_s": self.patience_ms, "interval_s": self.interval_ms, "gap_s": self.gap_ms}
        return {name: ms / 1000 for name, ms in given.items() if ms is not None}

    @field_validator("address", mode="before")
    @classmethod
    def _plain(cls, address: object) -> object:
        if not isinstance(address, int | str) or isinstance(address, bool):
            raise ValueError(f"expected a unit id, a short address or a MAC in quotes, got {address!r}")
        return address


def span_of(text: str) -> tuple[date, date]:
    """The first and last day of "2026-12-24" or "2026-12-24/2027-01-02". Raises ValueError."""
    first, _, last = text.partition("/")
    return date.fromisoformat(first), date.fromisoformat(last or first)


class WatchEntry(Closed):
    """A model applied to named points, by role. Of a building: school_zone: the zone whose school holidays close it; closed:
    further days or spans of days ("2026-12-24", "2026-12-24/2027-01-02", both ends included) on which it is shut."""

    name: str = Field(pattern=NAME)
    model: str
    inputs: dict[str, list[str]] = Field(min_length=1)
    school_zone: SchoolZone | None = None
    closed: list[str] = []

    @field_validator("closed")
    @classmethod
    def _spans(cls, closed: list[str]) -> list[str]:
        for text in closed:
            first, last = span_of(text)
            if last < first:
                raise ValueError(f"{text!r}: expected the first day before the last one")
        return closed

    def is_closed(self, day: date) -> bool:
        """Whether `closed` says that the building is shut on that day."""
        return any(first <= day <= last for first, last in map(span_of, self.closed))


class _File(Closed):
    gateway: Gateway
    upstream: Upstream | None = None
    bus: list[Bus] = []
    device: list[DeviceEntry] = []
    watch: list[Annotated[WatchEntry, WhenMet()]] = []
    lighting: list[Annotated[LightingEntry, WhenMet()]] = []
    permit: list[Annotated[PermitEntry, WhenMet()]] = []
    rule: list[Annotated[RuleEntry, WhenMet()]] = []
    cost: Annotated[CostEntry, WhenMet()] | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the site with its profile. `points` by name; `every_s` is the period of the device as a whole; `key`
    of a device that encrypts, else empty; `own_limits` what the site says in place of the profile's limits."""

    name: str
    profile_name: str
    profile: Profile
    bus: str
    address: int | str
    asset: str
    every_s: float
    points: Mapping[str, AnyPoint]
    priority: Priority = "normal"
    key: bytes = field(default=b"", repr=False)
    own_limits: InitVar[Mapping[str, Any]] = MappingProxyType({})
    limits: Limits = field(init=False)
    """What it can take. Of a device that is not polled: nothing of it counts."""

    def __post_init__(self, own_limits: Mapping[str, Any]) -> None:
        limits = self.profile.limits() if isinstance(self.profile, PolledProfile) else Limits()
        object.__setattr__(self, "limits", replace(limits, **own_limits))

    @property
    def number(self) -> int:
        """The address as the codec of an asked bus takes it: the number that it is, or the 48 bits of a MAC."""
        text = str(self.address)
        return int(text.replace(":", ""), 16) if ":" in text else int(text)

    def period_s(self, point: AnyPoint) -> float:
        """How often the point is read: never more often than the device."""
        return max(self.every_s, duration_s(point.every)) if point.every else self.every_s

    @property
    def units(self) -> dict[str, str]:
        return {name: point.unit for name, point in self.points.items()}


@dataclass(frozen=True, slots=True)
class Site:
    """A checked site."""

    gateway: Gateway
    upstream: Upstream | None
    buses: Mapping[str, AnyBus]
    devices: Mapping[str, Device]
    watches: Mapping[str, WatchEntry]
    lighting: Mapping[str, LightingEntry]
    folder: Path
    permits: tuple[Permit, ...] = ()
    rules: tuple[RuleEntry, ...] = ()
    costs: CostEntry | None = None

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.gateway.latitude, self.gateway.longitude, self.zone)

    @property
    def dry_run(self) -> bool:
        """Whether nothing is written at all."""
        return self.gateway.dry_run

    @property
    def cost(self) -> CostEntry:
        """What visits, water and energy cost here; where the site does not say, our defaults."""
        return self.costs or CostEntry()

    @property
    def command_key(self) -> Path | None:
        """The file with the key of the platform's commands; None where it may give none."""
        named = self.upstream.command_key if self.upstream is not None else ""
        return self.folder / named if named else None

    @property
    def setups(self) -> dict[str, frozenset[float]]:
        """By point, the values that its device is to be told whenever it comes back."""
        told: dict[str, frozenset[float]] = {}
        for device in self.devices.values():
            for setting in device.profile.setup:
                point = f"{device.name}/{setting.point}"
                told[point] = told.get(point, frozenset()) | {setting.value}
        for one in (one for of_device in self.kept.values() for one in of_device):
            told[one.point] = told.get(one.point, frozenset()) | one.values
        return told

    @property
    def kept(self) -> dict[str, list[Kept]]:
        """By device, what the gear of a lamp is to keep in its own memory."""
        return kept(self.lighting.values(), self.devices)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.gateway.timezone)

    @property
    def data(self) -> Path:
        """The folder of the store; relative to the site file."""
        return self.folder / self.gateway.data

    @property
    def period_s(self) -> float:
        """The period of summaries."""
        return duration_s(self.gateway.summary)

    def devices_on(self, bus: str) -> list[Device]:
        """The devices of a bus, in the order of the file."""
        return [device for device in self.devices.values() if device.bus == bus]

    def point(self, name: str) -> AnyPoint:
        """The point `device/point`. Raises KeyError."""
        device, point = split_point(name)
        return self.devices[device].points[point]


def digest(text: str) -> str:
    """What names the text of a site: its SHA-256 in hexadecimal."""
    return sha256(text.encode()).hexdigest()


def load_site(path: Path, profiles: Path) -> Site:
    """The site in a file. Raises SiteError with all its faults."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path.name}: cannot be read: {error}; expected a site file in UTF-8"]) from None
    # Once for each model: a site of fifty meters of one make reads one file.
    return parse_site(text, path.name, path.parent, cache(lambda name: load_profile(profiles, name)))


def parse_site(text: str, file: str, folder: Path, profile_of: Callable[[str], Profile]) -> Site:
    """A site from its text. `profile_of` gives a profile by name or raises ProfileError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{file}: not TOML: {error}"]) from None
    try:
        entries, told, left_out = _File.model_validate(table), list[str](), set[tuple[str, str]]()
    except ValidationError as error:
        told = sentences(error, file)
        entries, left_out = _sound_part(table, error)
    faults = list(_twice(entries))
    if not table.get("device"):
        faults.append("device: expected at least one [[device]]")
    devices = {}
    buses = {bus.name: bus for bus in entries.bus}
    recorded = _recorded_points(entries)
    for entry in entries.device:
        where = f"device {entry.name!r}"
        try:
            if entry.profile == RECORDED:
                profile: Profile = recorded_profile(recorded.get(entry.name, {}))
            else:
                profile = profile_of(entry.profile)
        except ProfileError as error:
            faults += [f"{where}.profile: {fault}" for fault in error.faults]
            left_out.add(("device", entry.name))
            continue
        if ("bus", entry.bus) not in left_out:
            faults += [f"{where}.{fault}" for fault in _misplaced(entry, profile, buses)]
        devices[entry.name], wrong = _device(entry, profile, folder)
        faults += [f"{where}.{fault}" for fault in wrong]
    faults += _wrong_key(entries.upstream, folder)
    faults += _address_clashes(devices)
    faults += _identifier_clashes(devices)
    faults += _lines(entries, devices)
    untold = {name for kind, name in left_out if kind == "device"}
    faults += _unknown_points(entries, devices, untold)
    given = entries.gateway
    place = Place(given.latitude, given.longitude, ZoneInfo(given.timezone))
    faults += acting_faults(entries, devices, untold, place)
    if told or faults:
        raise SiteError([*told, *(f"{file}: {fault}" for fault in faults)])
    return Site(
        gateway=entries.gateway,
        upstream=entries.upstream,
        buses=buses,
        devices=devices,
        watches={watch.name: watch for watch in entries.watch},
        lighting={street.name: street for street in entries.lighting},
        folder=folder,
        permits=tuple(permitted(entries, devices)),
        rules=tuple(entries.rule),
        costs=entries.cost,
    )


def _device(entry: DeviceEntry, profile: Profile, folder: Path) -> tuple[Device, list[str]]:
    """The device of an entry, and what is wrong with it by itself."""
    wrong = []
    if entry.limits and not isinstance(profile, PolledProfile):
        wrong.append(
            "patience_ms, interval_ms, gap_ms: expected of a device that is asked; "
            f"{entry.profile!r} speaks {profile.protocol}; remove them"
        )
    key = b""
    if entry.key_file:
        try:
            key = _key(entry, profile, folder)
        except ValueError as error:
            wrong.append(f"key_file: {error}")
    address = entry.address if entry.address is not None else _default_address(profile)
    device = Device(
        entry.name,
        entry.profile,
        profile,
        entry.bus,
        address.upper() if isinstance(address, str) else address,
        entry.asset,
        duration_s(entry.every or profile.every),
        {point.name: point for point in profile.point},
        entry.priority,
        key,
        entry.limits,
    )
    return device, wrong


def _sound_part(table: Mapping[str, Any], error: ValidationError) -> tuple[_File, set[tuple[str, str]]]:
    """What is sound of a faulty file, so that it can be checked further and all faults are told at once: the file without
    unknown keys and without the entries that have other faults. Also the kind and name of the entries left out."""
    sound = deepcopy(dict(table))
    faulty: dict[str, set[int]] = {}
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    # Unknown keys go first, while all is still in its place.
    for fault in sorted(faults, key=lambda fault: fault["type"] != "extra_forbidden"):
        match fault["type"], key_of(fault["loc"]):
            case "extra_forbidden", [*way, last]:
                found: Any = sound
                for step in way:
                    found = found[step]
                del found[last]
            case _, [str(kind), int(at), *_]:
                faulty.setdefault(kind, set()).add(at)
            case _, ["gateway", *_]:
                sound["gateway"] = _SOME_GATEWAY
            case _, [kind, *_]:
                sound.pop(str(kind), None)
    left_out = set()
    for kind, places in faulty.items():
        entries = sound[kind]
        left_out |= {(kind, str(entries[at].get("name"))) for at in places if isinstance(entries[at], dict)}
        sound[kind] = [entry for at, entry in enumerate(entries) if at not in places]
    return _File.model_validate(sound), left_out


_SOME_GATEWAY = {"id": "unknown", "commune": "", "timezone": "UTC", "latitude": 0, "longitude": 0}
"""Stands in for one that is faulty while the rest of the file is checked."""


def _recorded_points(entries: _File) -> dict[str, dict[str, str]]:
    """The points of recorded devices, which only watches name: by device, each with the unit of its role."""
    found: dict[str, dict[str, str]] = {}
    names = {entry.name for entry in entries.device if entry.profile == RECORDED}
    for watch in entries.watch:
        for role, points in watch.inputs.items():
            for point in points:
                device, _, name = point.partition("/")
                if device in names and re.fullmatch(POINT_NAME, name):
                    found.setdefault(device, {}).setdefault(name, RECORDED_UNITS.get(role, "1"))
    return found


def _default_address(profile: Profile) -> int | str:
    match profile.protocol:
        case "modbus":
            return profile.modbus.unit_id
        case "canopen":
            return profile.canopen.node
    return ""


def _twice(entries: _File) -> Iterator[str]:
    for kind in ("bus", "device", "watch", "lighting", "rule"):
        names = [entry.name for entry in getattr(entries, kind)]
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield f"{kind} {name!r}: there are {names.count(name)} of that name; give each its own"
    ports: dict[str, str] = {}
    for bus in entries.bus:
        match bus:
            case Serial() | Can():
                key = bus.port
            case Tcp():
                key = f"{bus.host}:{bus.port}"
            case Radio():
                key = f"{bus.adapter} ({bus.protocol})"
        if (other := ports.setdefault(key, bus.name)) != bus.name:
            yield f"bus {bus.name!r}: {key} is the port of bus {other!r} already; one port is one bus"


def _misplaced(entry: DeviceEntry, profile: Profile, buses: Mapping[str, AnyBus]) -> Iterator[str]:
    """Faults of a device's place on its bus."""
    if profile.protocol == "recorded":
        if entry.bus:
            yield f"bus: a recorded device has none, got {entry.bus!r}; remove it"
        return
    bus = buses.get(entry.bus)
    if bus is None:
        known = ", ".join(buses) or "none is described"
        yield f"bus: expected the name of a [[bus]] ({known}), got {entry.bus!r}"
        return
    if profile.protocol not in SPOKEN_ON[bus.protocol]:
        spoken = f"{entry.bus!r} speaks {bus.protocol}, the profile {entry.profile!r} speaks {profile.protocol}"
        yield f"bus: {spoken}; choose another bus or profile"
    match profile.protocol, entry.address:
        case "modbus", None:
            pass
        case "modbus", int(unit) if 1 <= unit <= 247:
            pass
        case "modbus", other:
            yield f"address: expected a unit id from 1 to 247, got {other!r}"
        case "dali", int(short) if 0 <= short <= 63:
            pass
        case "dali", other:
            yield f"address: expected a short address from 0 to 63, got {other!r}"
        case "mbus", int(primary) if 0 <= primary <= HIGHEST_PRIMARY:
            pass
        case "mbus", str(number) if re.fullmatch(r"\d{8}", number) and int(number) > HIGHEST_PRIMARY:
            pass
        case "mbus", other:
            wanted = "a primary address from 0 to 250, or the eight digits on the type plate in quotes ('12345678')"
            yield f"address: expected {wanted}, got {other!r}"
        case "canopen", None:
            pass
        case "canopen", int(node) if 1 <= node <= LARGEST_NODE:
            pass
        case "canopen", other:
            yield f"address: expected a node id from 1 to {LARGEST_NODE}, got {other!r}"
        case "bthome" | "ruuvi" | "gatt", str(mac) if re.fullmatch(MAC, mac):
            pass
        case "bthome" | "ruuvi" | "gatt", other:
            yield f"address: expected a MAC such as 'A4:C1:38:00:00:01', got {other!r}"


def _key(entry: DeviceEntry, profile: Profile, folder: Path) -> bytes:
    """The key in the file that a device names. Raises ValueError, which says nothing of what is in the file."""
    if profile.protocol != "bthome":
        raise ValueError(f"only BTHome devices have a key, {entry.profile!r} speaks {profile.protocol}; remove it")
    path = folder / entry.key_file
    try:
        if path.stat().st_mode & 0o007:
            raise ValueError(f"{path.name!r} is open to every user of this machine; run `chmod o= {path}`")
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ValueError(f"{path.name!r}: expected a file that can be read, got: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", text):
        raise ValueError(f"{path.name!r}: expected 32 hexadecimal digits and nothing else; copy the device's key anew")
    return bytes.fromhex(text)


def _wrong_key(upstream: Upstream | None, folder: Path) -> Iterator[str]:
    if upstream is not None and upstream.command_key:
        try:
            public_key(folder / upstream.command_key)
        except ValueError as error:
            yield f"upstream.command_key: {error}"


def _address_clashes(devices: Mapping[str, Device]) -> Iterator[str]:
    taken: dict[tuple[str, int | str], str] = {}
    for device in devices.values():
        if device.bus and (other := taken.setdefault((device.bus, device.address), device.name)) != device.name:
            yield (
                f"device {device.name!r}.address: {device.address} on bus {device.bus!r} is taken by {other!r}; "
                "give one of them another address, on the device too"
            )


def _identifier_clashes(devices: Mapping[str, Device]) -> Iterator[str]:
    """An identifier on a CAN bus is one node's: two devices cannot both be its sender."""
    taken: dict[tuple[str, str], str] = {}
    for device in devices.values():
        if not isinstance(device.profile, CanopenProfile) or not isinstance(device.address, int):
            continue
        for sender in sorted({point.place.sender(device.address) for point in device.profile.point}):
            if (other := taken.setdefault((device.bus, sender), device.name)) != device.name:
                yield (
                    f"device {device.name!r}.profile: identifier {sender.upper()} on bus {device.bus!r} is what {other!r} "
                    "sends; one of the two profiles is not this node's"
                )


def _lines(entries: _File, devices: Mapping[str, Device]) -> Iterator[str]:
    """A Modbus RTU bus needs a line setting: its devices are set to one, whatever their makers set them to."""
    for bus in entries.bus:
        if bus.protocol == "modbus-rtu" and not bus.line:
            on_it = [d.profile for d in devices.values() if d.bus == bus.name]
            wanted = {p.modbus.line for p in on_it if p.protocol == "modbus" and p.modbus.line}
            said = f"its profiles suggest {' and '.join(sorted(wanted))}" if wanted else "for example '19200 8E1'"
            yield f"bus {bus.name!r}.line: missing; give speed and framing, {said}"


def _unknown_points(entries: _File, devices: Mapping[str, Device], untold: Collection[str]) -> Iterator[str]:
    """untold: devices whose own faults are told, so that nothing can be said of their points."""
    for watch in entries.watch:
        for role, points in watch.inputs.items():
            for point in points:
                if point.partition("/")[0] not in untold and (fault := unknown_point(point, devices)):
                    yield f"watch {watch.name!r}.inputs.{role}: {fault}"


def interlock_inputs_of(site: Site) -> Iterator[str]:
    """The points that interlocks of permits hang on."""
    for permit in site.permits:
        for condition in permit.unless:
            if point := condition.point or condition.lost:
                yield point


def inputs_of(site: Site) -> Iterator[str]:
    """The points that decisions hang on."""
    yield from interlock_inputs_of(site)
    conditions = [condition for rule in site.rules for condition in (*rule.when, *rule.unless)]
    for condition in conditions:
        if point := condition.point or condition.lost:
            yield point
    for street in site.lighting.values():
        yield from street.inputs()
