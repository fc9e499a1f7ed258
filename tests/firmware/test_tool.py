"""`guet node`: what a person types, and what comes of it. The line is a pty, the node a real MicroPython."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
import tty
from pathlib import Path

import pytest
import slots
import maps
from rig import LINE, Rig
from running import ROOT

from firmware.tool import bus
from firmware.tool.build import NODES, Signer, build, flash_image, needed, new_key
from firmware.tool.simulate import install
from firmware.tool.verbs import configuration, main


def test_a_release_holds_what_its_node_imports_and_no_more() -> None:
    assert "bthome" in needed("bin") and "bthome" not in needed("lamp")
    assert "pwm" not in needed("lift")
    for node in NODES:
        assert {"station", "line", "modbus_rtu", "update", "p256"} <= set(needed(node))


def test_the_boot_record_it_writes_is_the_node_s() -> None:
    image = flash_image(build("lift", 7, (1, 1), None), configuration("lift"))
    record = slots.decode(image["boot.rec"])
    assert record is not None
    assert (record.active, record.trial, record.floor) == (slots.A, 0, 7)


def test_what_it_knows_of_the_registers_is_what_the_node_says() -> None:
    known = maps.inputs()
    for name, address, size in bus.STATUS_ROWS:
        row = known[address]
        assert row[2] == name.replace("uptime_s", "uptime").replace("unix_time_s", "time").replace("_bytes", "")
        assert (row[3] == "u32") == (size == 2)


def source_of(name: str) -> str:
    return (ROOT / "firmware" / name).read_text(encoding="utf-8")


def test_addresses_are_those_of_the_map() -> None:
    """The station names them once more, so that they cost no heap."""
    named = re.findall(r"^_([A-Z_]+) = const\((\d+)\)", source_of("nodes/station.py"), re.M)
    rows = {(row[0], row[2]): int(row[1]) for row in maps.rows("station_map")}
    found = [name for name, at in named for area in ("input", "holding") if rows.get((area, name.lower())) == int(at)]
    assert sorted(name.upper() for _, name in rows) == sorted(found)


def test_states_of_an_update_are_those_of_the_node() -> None:
    known = dict(re.findall(r"^_([A-Z_]+) = const\((\d+)\)", source_of("lib/update.py"), re.M))
    for name in ("IDLE", "CHECKING", "RECEIVING", "COMPLETE", "INSTALLED"):
        assert int(known[name]) == getattr(bus, name)
    refusals = {int(number) for name, number in known.items() if 16 <= int(number) < 32}
    assert refusals == set(bus.REFUSALS)
    assert int(known["NO_MEMORY"]) in refusals and known["NO_MEMORY"] != known["STORAGE_FAILED"]


def test_key_build_and_flash_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "key.pem"
    assert main(["key", str(key)]) == 0
    assert key.stat().st_mode & 0o077 == 0
    assert main(["key", str(key)]) == 2  # never over an old one
    out = tmp_path / "release"
    assert main(["build", "lamp", "--release-version", "3", "--key", str(key), "--out", str(out)]) == 0
    assert "signed" in capsys.readouterr().out
    flash = tmp_path / "flash"
    assert main(["flash", "lamp", "--folder", str(flash), "--key", str(key), "--unit-id", "9"]) == 0
    assert "((2, 1),)" in (flash / "failsafe.py").read_text()
    assert Signer(key.read_bytes()).public.hex() in (flash / "config.json").read_text()


def test_mistakes_are_told_with_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("not a key")
    assert main(["build", "lamp", "--key", str(bad), "--out", str(tmp_path)]) == 2
    assert main(["update", str(tmp_path), "--port", "/dev/null"]) == 2
    assert main(["flash", "lamp", "--folder", str(tmp_path / "x"), "--line", "fast"]) == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "lamp", "--out", "x", "--release-version", "0"], "attendu 1 à 2^30"),
        (["build", "lamp", "--out", "x", "--hardware", "un"], "attendu par exemple 1-3"),
        (["build", "lamp", "--out", "x", "--key", "absente.pem"], "absente.pem : illisible"),
        (["flash", "bin", "--folder", "x", "--bthome-key", "12zz"], "bthome_key : attendu 32 chiffres hexadécimaux"),
        (["flash", "bin", "--folder", "x", "--public-key", "ab"], "release_key : attendu 128 chiffres hexadécimaux"),
        (["flash", "bin", "--folder", "x", "--unit-id", "0"], "1 à 247"),
        (["status", "--port", "absent", "--line", "9600"], "attendu par exemple '19200 8E1'"),
        (["status", "--port", "absent"], "absent : ne s'ouvre pas ; est-il branché"),
        (["update", "absent", "--port", "absent"], "absent : ne contient pas de version faite par guet node build"),
    ],
)
def test_mistakes_are_told_in_french_with_what_to_do(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "nothing half made"


def test_update_and_status_from_the_command_line(
    micropython: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig(tmp_path, "bin")
    try:
        rig.board.power_on()
        rig.answering()
        rig.client.close()
        key = tmp_path / "key.pem"
        key.write_bytes(rig.pem)
        out = tmp_path / "release"
        assert main(["build", "bin", "--release-version", "2", "--key", str(key), "--out", str(out)]) == 0
        port = ["--port", os.ttyname(rig.client_tty), "--line", LINE]
        assert main(["update", str(out), *port]) == 0
        rig.until(lambda: main(["status", *port, "--json"]) == 0 and '"slot": "b"' in capsys.readouterr().out)
        os.environ["GUET_LANG"] = "fr"  # put back by conftest
        assert main(["status", *port, "--journal", "--set-time"]) == 0
        shown = capsys.readouterr().out
        for title in ("nœud                         bin", "emplacement                  b", "mise à jour", "état"):
            assert title in shown, shown
        assert "inconnue" not in shown.splitlines()[-1]
        assert main(["status", *port, "--unit-id", "99"]) == 1
    finally:
        rig.close()


def ask(line: int, request: bytes) -> bytes:
    os.write(line, request)
    time.sleep(0.1)
    os.set_blocking(line, False)
    try:
        return os.read(line, 256)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("compiled", [True, False])
def test_simulate_answers_on_a_pty_and_follows_its_file(micropython: Path, tmp_path: Path, compiled: bool) -> None:
    """Without the cross compiler too: then a node runs from its sources, in a larger heap."""
    line, end = pty.openpty()
    tty.setraw(end)
    analogue = tmp_path / "adc"
    analogue.write_text(str(12000 * 65535 // 24000))
    python = Path(sys.executable)
    code = "import sys; from firmware.tool import build, main, verbs\n"
    code += "" if compiled else "build.mpy_cross = verbs.mpy_cross = lambda: None\n"
    code += "sys.exit(main(sys.argv[1:]))"
    command = [python, "-c", code, "simulate", "pressure", "--port", os.ttyname(end), "--analogue", analogue]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        request = bytes((17, 4, 0, 32, 0, 1))
        crc = 0xFFFF
        for byte in request:
            crc ^= byte
            for _ in range(8):
                crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        until = time.monotonic() + 20
        answer = b""
        while len(answer) != 7 and time.monotonic() < until:
            answer = ask(line, request + crc.to_bytes(2, "little"))
        assert answer[:3] == bytes((17, 4, 2)) and abs(int.from_bytes(answer[3:5], "big") - 5000) <= 1
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
        os.close(line)
        os.close(end)


def test_simulate_makes_a_line_and_names_it(
    micropython: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; from firmware.tool import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "simulate", "lamp", "--unit-id", "9"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        (port,) = re.findall(r"line: (\S+);", said)
        asked = ["status", "--port", port, "--line", LINE, "--unit-id", "9"]
        until = time.monotonic() + 20
        while main(asked) != 0 and time.monotonic() < until:
            pass
        assert re.search(r"^node +lamp$", capsys.readouterr().out, re.M), said
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_a_fresh_board_is_never_put_over_something_else(tmp_path: Path) -> None:
    from firmware.tool.simulate import SimulationError, fresh

    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(SimulationError, match="holds no board"):
        fresh(tmp_path)
    install({"boot.rec": b""}, tmp_path / "board")
    fresh(tmp_path / "board")
    assert list((tmp_path / "board").iterdir()) == []
    assert new_key().startswith(b"-----BEGIN PRIVATE KEY")
