"""`guet doctor`: whether this machine can carry a gateway. Runs on a bare Python, before anything is installed:

    python3 -m gateway.doctor [SITE.toml] [--json]

from a checkout. Nothing but the standard library is imported here, nothing newer than Python 3.8 is used, and nothing is
changed: what is wrong is said with what to do about it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.language import choose, say

FINE, WARNING, FAULT = "ok", "warning", "fault"
PYTHONS = ((3, 11), (3, 14))
MACHINES = ("aarch64", "x86_64")
INSTALL_MB, MEMORY_MB = 700, 400
SHORT_OF_DAYS_MB = 300
"""Less free room than this, and the memory of a site does not last the sixty days that it is meant to."""
BUILT_S = 1_790_000_000
"""No clock that is right shows less."""


class Finding(NamedTuple):
    """One thing that was looked at. id is stable, for scripts and for the telephone; level: ok, warning or fault; action:
    what to do, empty where nothing needs doing."""

    id: str
    level: str
    text: str
    action: str = ""


def findings(site: Path | None = None, root: Path = Path("/")) -> Iterator[Finding]:
    """All that can be said of this machine. root: where its /sys, /proc and /dev are seen."""
    yield python_version(sys.version_info[:2])
    yield venv()
    yield time_zones(root)
    yield processor(platform.machine(), sys.maxsize > 2**32)
    yield memory(root)
    yield room(site)
    yield file_system(root)
    yield clock(root)
    yield supply(root)
    yield from serial_ports(root)
    yield from bluetooth(root)
    yield from rivals(root)
    if site is not None:
        yield from of_site(site)


def python_version(found: tuple[int, int]) -> Finding:
    """The interpreter that runs this."""
    shown = ".".join(map(str, found))
    if PYTHONS[0] <= found < PYTHONS[1]:
        return Finding("python", FINE, f"Python {shown}")
    return Finding(
        "python",
        FAULT,
        say(f"Python {shown} : il faut 3.11, 3.12 ou 3.13", f"Python {shown}: 3.11, 3.12 or 3.13 is needed"),
        say(
            "installer Debian 12 ou plus récent, ou Raspberry Pi OS (64 bits) de 2023 ou après",
            "install Debian 12 or newer, or Raspberry Pi OS (64 bit) of 2023 or later",
        ),
    )


def venv() -> Finding:
    """Whether an environment of its own can be made."""
    try:
        import ensurepip  # noqa: F401 - only whether it is there
        import venv  # noqa: F401
    except ImportError:
        return Finding(
            "venv",
            FAULT,
            say("venv manque à ce Python", "venv is missing from this Python"),
            "sudo apt install python3-venv",
        )
    return Finding("venv", FINE, say("venv présent", "venv is there"))


def time_zones(root: Path) -> Finding:
    """The rules of local time, which Python takes from the system: a small Debian comes without them."""
    if (root / "usr/share/zoneinfo/Europe/Paris").exists():
        return Finding("zones", FINE, say("fuseaux horaires présents", "time zones are there"))
    return Finding(
        "zones",
        FAULT,
        say("les fuseaux horaires manquent au système", "the system has no time zones"),
        "sudo apt install tzdata",
    )


def processor(machine: str, wide: bool) -> Finding:
    """The models' runtime exists for 64 bits only."""
    if machine in MACHINES and wide:
        return Finding("processor", FINE, machine)
    return Finding(
        "processor",
        FAULT,
        say(
            f"processeur {machine}, {64 if wide else 32} bits : il faut aarch64 ou x86_64, en 64 bits",
            f"processor {machine}, {64 if wide else 32} bit: aarch64 or x86_64 is needed, with 64 bit",
        ),
        say(
            "installer la version 64 bits du système ; un Raspberry Pi Zero 2 W, 3, 4 ou 5 la porte",
            "install the 64-bit system; a Raspberry Pi Zero 2 W, 3, 4 or 5 carries it",
        ),
    )


def memory(root: Path) -> Finding:
    """Of the whole machine."""
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            mb = int(line.split()[1]) // 1024
            if mb >= MEMORY_MB:
                return Finding("memory", FINE, say(f"mémoire {mb} Mo", f"memory {mb} MB"))
            return Finding(
                "memory",
                FAULT,
                say(f"mémoire {mb} Mo : il en faut {MEMORY_MB}", f"memory {mb} MB: {MEMORY_MB} are needed"),
                say("choisir une carte de 512 Mo ou plus", "take a board with 512 MB or more"),
            )
    return Finding("memory", WARNING, say("mémoire inconnue", "memory unknown"))


def room(site: Path | None) -> Finding:
    """On the disk that the program and its data go to."""
    where = next(path for path in (site.parent if site else Path("/opt"), Path.cwd(), Path("/")) if path.exists())
    mb = shutil.disk_usage(where).free // 2**20
    if mb >= INSTALL_MB:
        return Finding("disk", FINE, say(f"disque : {mb} Mo libres", f"disk: {mb} MB free"))
    level = FAULT if mb < SHORT_OF_DAYS_MB else WARNING
    return Finding(
        "disk",
        level,
        say(f"disque : {mb} Mo libres, il en faut {INSTALL_MB}", f"disk: {mb} MB free, {INSTALL_MB} needed"),
        say("faire de la place, ou prendre une carte plus grande", "make room, or take a larger card"),
    )


def file_system(root: Path) -> Finding:
    """Whether a write that was confirmed is on the card after a power cut."""
    for line in _text(root / "proc/mounts").splitlines():
        parts = line.split()
        if len(parts) >= 4 and parts[1] == "/":
            if parts[2] == "ext4" and "data=writeback" in parts[3].split(","):
                return Finding(
                    "filesystem",
                    FAULT,
                    say(
                        "ext4 en data=writeback : une coupure peut détruire ce qui était écrit",
                        "ext4 with data=writeback: a power cut can destroy what was written",
                    ),
                    say("remettre data=ordered dans /etc/fstab", "put data=ordered back into /etc/fstab"),
                )
            return Finding("filesystem", FINE, say(f"système de fichiers {parts[2]}", f"file system {parts[2]}"))
    return Finding("filesystem", WARNING, say("système de fichiers inconnu", "file system unknown"))


def clock(root: Path) -> Finding:
    """Whether the time can be believed after a power cut without a network."""
    import time

    battery = any((root / "sys/class/rtc").glob("rtc*"))
    synchronised = (root / "run/systemd/timesync/synchronized").exists()
    kept = say("avec pile", "with a battery") if battery else say("sans pile", "without a battery")
    if time.time() < BUILT_S:
        return Finding(
            "clock",
            FAULT,
            say(f"l'horloge retarde ({kept})", f"the clock is wrong ({kept})"),
            say(
                "sudo timedatectl set-ntp true, ou sudo date -s « AAAA-MM-JJ HH:MM »",
                "sudo timedatectl set-ntp true, or sudo date -s 'YYYY-MM-DD HH:MM'",
            ),
        )
    if synchronised:
        return Finding("clock", FINE, say(f"horloge synchronisée, {kept}", f"clock synchronised, {kept}"))
    return Finding(
        "clock",
        FINE if battery else WARNING,
        say(f"horloge non synchronisée, {kept}", f"clock not synchronised, {kept}"),
        ""
        if battery
        else say(
            "sans réseau, la passerelle marque ses heures comme incertaines",
            "without a network the gateway marks its times as uncertain",
        ),
    )


def supply(root: Path) -> Finding:
    """What a Raspberry Pi says of its own supply."""
    low = under_voltage(root / "sys/class/hwmon")
    if low:
        return Finding(
            "supply",
            FAULT,
            say("tension trop basse : la carte s'en plaint", "voltage too low: the board says so"),
            say("prendre l'alimentation d'origine et un câble court", "use the maker's supply and a short cable"),
        )
    if low is None:
        return Finding("supply", FINE, say("alimentation : la carte n'en dit rien", "supply: the board says nothing"))
    return Finding("supply", FINE, say("alimentation bonne", "supply good"))


def under_voltage(hwmon: Path = Path("/sys/class/hwmon")) -> bool | None:
    """Whether the board says that its supply was too low (Raspberry Pi: driver rpi_volt); None where none says anything."""
    for name in sorted(hwmon.glob("*/name")):
        if _text(name).strip() == "rpi_volt":
            return _text(name.parent / "in0_lcrit_alarm").strip() == "1"
    return None


def serial_ports(root: Path) -> Iterator[Finding]:
    """Adapters that are plugged in, and whether we may use them."""
    ports = sorted((root / "dev/serial/by-path").glob("*"))
    for port in ports:
        allowed = os.access(port, os.R_OK | os.W_OK)
        yield Finding(
            "serial",
            FINE if allowed else FAULT,
            f"/dev/serial/by-path/{port.name}",
            ""
            if allowed
            else say(
                "sudo usermod -aG dialout $USER, puis se reconnecter",
                "sudo usermod -aG dialout $USER, then log in again",
            ),
        )
    if not ports:
        yield Finding("serial", FINE, say("port série : aucun n'est branché", "serial port: none is plugged in"))
    words = _text(root / "proc/cmdline").split()
    consoles = [word for word in words if word.startswith(("console=serial", "console=ttyAMA", "console=ttyS"))]
    if consoles and (root / "dev/serial0").exists():
        yield Finding(
            "console",
            WARNING,
            say(
                f"le port série de la carte sert de console ({consoles[0]})",
                f"the board's serial port is a console ({consoles[0]})",
            ),
            "sudo raspi-config nonint do_serial_cons 1",
        )


def bluetooth(root: Path) -> Iterator[Finding]:
    """The adapter, its service, and the switch that may block it."""
    adapters = sorted(path.name for path in (root / "sys/class/bluetooth").glob("hci*") if ":" not in path.name)
    if not adapters:
        yield Finding("bluetooth", FINE, say("Bluetooth : aucun adaptateur", "Bluetooth: no adapter"))
        return
    daemons = ("usr/libexec/bluetooth/bluetoothd", "usr/lib/bluetooth/bluetoothd")
    if not any((root / daemon).exists() for daemon in daemons):
        yield Finding(
            "bluetooth",
            FAULT,
            say(f"Bluetooth {adapters[0]} : BlueZ manque", f"Bluetooth {adapters[0]}: BlueZ is missing"),
            "sudo apt install bluez",
        )
        return
    for switch in sorted((root / "sys/class/rfkill").glob("*")):
        if _text(switch / "type").strip() == "bluetooth" and _text(switch / "soft").strip() == "1":
            yield Finding(
                "bluetooth", FAULT, say("Bluetooth est bloqué", "Bluetooth is blocked"), "sudo rfkill unblock bluetooth"
            )
            return
    yield Finding("bluetooth", FINE, f"Bluetooth : {', '.join(adapters)}")


def rivals(root: Path) -> Iterator[Finding]:
    """Programs that write to every serial port they see."""
    for name in sorted((root / "proc").glob("[0-9]*/comm")):
        if _text(name).strip() == "ModemManager":
            yield Finding(
                "modemmanager",
                WARNING,
                say("ModemManager écrit sur les ports série", "ModemManager writes to serial ports"),
                "sudo systemctl disable --now ModemManager",
            )
            return


def of_site(path: Path) -> Iterator[Finding]:
    """What a site needs of this machine: its ports, its folder, a sound store. The file itself: `guet plan`."""
    if sys.version_info < PYTHONS[0]:
        return
    import sqlite3
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        buses = [dict(bus) for bus in table.get("bus", [])]
        data = path.parent / str(dict(table.get("gateway", {})).get("data", "guet-data"))
    except (OSError, ValueError, TypeError) as error:
        yield Finding(
            "site", FAULT, f"{path} : {error}", say("guet plan SITE.toml dit tout", "guet plan SITE.toml says all")
        )
        return
    for bus in buses:
        port = str(bus.get("port", ""))
        if port.startswith("/"):
            there, allowed = Path(port).exists(), os.access(port, os.R_OK | os.W_OK)
            yield Finding(
                "port",
                FINE if allowed else FAULT,
                f"{bus.get('name')} : {port}",
                ""
                if allowed
                else say(
                    "à brancher" if not there else "sudo usermod -aG dialout $USER",
                    "plug it in" if not there else "sudo usermod -aG dialout $USER",
                ),
            )
    if data.exists() and not os.access(data, os.W_OK):
        yield Finding(
            "data",
            FAULT,
            say(f"{data} : écriture interdite", f"{data}: may not be written to"),
            say("lancer avec l'utilisateur de la passerelle", "run as the gateway's user"),
        )
    for store in sorted(data.glob("*.sqlite")):
        try:
            disk = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
            said = str(disk.execute("pragma quick_check(1)").fetchone()[0])
            disk.close()
        except sqlite3.Error as error:
            said = str(error)
        sound = said == "ok"
        yield Finding(
            "store",
            FINE if sound else FAULT,
            f"{store.name} : {said}",
            ""
            if sound
            else say(
                "redémarrer : la passerelle la met de côté et le dit, rien n'est effacé",
                "start again: the gateway sets it aside and says so, nothing is deleted",
            ),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def doctor(argv: list[str]) -> int:
    """Dit si cette machine peut porter une passerelle / Says whether this machine can carry a gateway"""
    parser = argparse.ArgumentParser(prog="guet doctor", description=doctor.__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=None, metavar="SITE.toml")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lang", choices=("fr", "en"), default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.lang:
        choose(options.lang)
    found = list(findings(options.site))
    if options.json:
        print(json.dumps([one._asdict() for one in found], ensure_ascii=False))
    else:
        marks = {FINE: "  ", WARNING: "! ", FAULT: "✗ "}
        for one in found:
            print(f"{marks[one.level]}{one.text}")
            if one.action:
                print(f"    → {one.action}")
        faults = sum(one.level == FAULT for one in found)
        print(
            say(f"{faults} obstacle(s)", f"{faults} obstacle(s)")
            if faults
            else say("Cette machine convient.", "This machine will do.")
        )
    return 1 if any(one.level == FAULT for one in found) else 0


if __name__ == "__main__":
    raise SystemExit(doctor(sys.argv[1:]))
