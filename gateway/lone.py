"""A site of a single device, from options that have the words of a site file: for trying a device, or simulating one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.errors import ProfileError
from gateway.profile import RECORDED, CanopenProfile, MbusProfile, ModbusProfile, Profile, load_profile, parse_profile
from gateway.site import LOOPBACK, SPOKEN_ON, Site, parse_site

NAME = "appareil"
FIRST = {"modbus": "modbus-rtu"}
"""The kind of bus that is meant where nobody says, of profiles whose protocol is spoken on several."""
USUAL_LINE = {"modbus-rtu": "9600 8E1"}
"""Where neither profile nor option say how the line is set."""


def add_bus_options(parser: argparse.ArgumentParser) -> None:
    """--protocol, --port, --host, --line, --adapter and --address, as in a [[bus]] and its [[device]]."""
    add = parser.add_argument
    add("--protocol", default="", metavar="PROTOCOL", help=", ".join(SPOKEN_ON))
    add("--port", default="", help="port série, ou numéro TCP / serial port, or TCP number")
    add("--host", default="", help="par TCP / over TCP")
    add("--line", default="", help="« 9600 8N1 »")
    add("--adapter", default="", help="radio, « hci0 »")
    add("--address", default="")


def profile_given(text: str, folder: Path) -> tuple[str, Profile]:
    """A profile with its name: by name from the folder, or from a .toml file anywhere. Raises ProfileError."""
    if not text.endswith(".toml"):
        return text, load_profile(folder, text)
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError([f"{path}: cannot be read: {error}; expected a profile in UTF-8"]) from None
    return path.stem, parse_profile(content, str(path.with_suffix("")))


def bare_site(options: argparse.Namespace, folder: Path) -> Site:
    """The site of one bus on which nobody is expected: --protocol, --port, --host and the first --line. Raises SiteError."""
    tcp = bool(options.host)
    bus: dict[str, str | int] = {"name": "bus", "protocol": options.protocol or ("modbus-tcp" if tcp else "modbus-rtu")}
    if tcp:
        bus |= {"host": options.host, "port": int(options.port) if options.port.isdecimal() else options.port or 502}
    else:
        bus["port"] = options.port
    if bus["protocol"] in USUAL_LINE or (options.line and not tcp):
        bus["line"] = options.line[0] if options.line else USUAL_LINE[str(bus["protocol"])]
    return _parsed(bus, {"name": NAME, "profile": RECORDED}, folder, lambda name: load_profile(folder, name))


def lone_site(name: str, profile: Profile, options: argparse.Namespace) -> Site:
    """The site of one device, checked as a file would be. Raises SiteError with all faults."""
    device: dict[str, str | int] = {"name": NAME, "profile": name, "bus": "bus"}
    if options.address:
        device["address"] = int(options.address) if re.fullmatch(r"\d{1,9}", options.address) else options.address
    return _parsed(_bus(options, profile), device, Path(), lambda _: profile)


def _parsed(
    bus: Mapping[str, str | int], device: Mapping[str, str | int], folder: Path, profile_of: Callable[[str], Profile]
) -> Site:
    gateway: dict[str, str | int] = {"id": "essai", "commune": "", "timezone": "UTC", "latitude": 0, "longitude": 0}
    lines = []
    for head, table in {"[gateway]": gateway, "[[bus]]": bus, "[[device]]": device}.items():
        lines += [
            head,
            *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
        ]  # JSON strings are TOML's too
    return parse_site("\n".join(lines), "(options)", folder, profile_of)


def _bus(options: argparse.Namespace, profile: Profile) -> Mapping[str, str | int]:
    """The keys of the [[bus]]. What is not said follows from the profile."""
    tcp = bool(options.host) or options.port.isdecimal()
    spoken = [bus for bus, protocols in SPOKEN_ON.items() if profile.protocol in protocols]
    usual = "modbus-tcp" if tcp and "modbus-tcp" in spoken else FIRST.get(profile.protocol, spoken[0] if spoken else "")
    bus: dict[str, str | int] = {"name": "bus", "protocol": options.protocol or usual}
    if options.adapter:
        bus["adapter"] = options.adapter
    if bus["protocol"] in ("modbus-tcp", "modbus-rtu-tcp"):
        bus["host"] = options.host or LOOPBACK[0]
        bus["port"] = int(options.port) if options.port.isdecimal() else options.port or 502
    elif options.port:
        bus["port"] = options.port
    if isinstance(profile, CanopenProfile) and profile.canopen.bitrate:
        bus["bitrate"] = profile.canopen.bitrate
    line = options.line or _usual_line(profile)
    if bus["protocol"] in USUAL_LINE:
        bus["line"] = line or USUAL_LINE[str(bus["protocol"])]
    elif options.line or (line and bus["protocol"] == "mbus"):
        bus["line"] = line
    return bus


def _usual_line(profile: Profile) -> str:
    """What its maker sets it to, where the profile says so."""
    match profile:
        case ModbusProfile():
            return profile.modbus.line
        case MbusProfile():
            return profile.mbus.line
    return ""
