"""`guet run`: nothing starts on a faulty file, each fault is told with what to do; a device that is absent is no such fault.

Run in this process through `main`, and as a real process where its end matters.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app import Gateway, read_site
from gateway.cli import FIELD_PROBLEM, USAGE, main
from gateway.clock import SystemClock
from gateway.store import FILE, Store
from simulator.line import Line
from simulator.modbus import Device, Table

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = """
[gateway]
id = "edge-0042"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
data = "data"
"""
BUS = """
[[bus]]
name = "{name}"
protocol = "{protocol}"
{where}
"""
DEVICE = """
[[device]]
name = "{name}"
profile = "{profile}"
bus = "{bus}"
address = {address}
every = "1s"
"""
WATCH = """
[[watch]]
name = "porte"
model = "{model}"
[watch.inputs]
door_current = ["porte/{current}"]
door_speed = ["porte/door_speed"]
"""


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "en")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def tcp_bus(port: int, name: str = "armoire") -> str:
    return BUS.format(name=name, protocol="modbus-tcp", where=f'host = "127.0.0.1"\nport = {port}')


def serial_bus(port: Path | str, name: str = "ligne") -> str:
    return BUS.format(name=name, protocol="modbus-rtu", where=f'port = "{port}"\nline = "19200 8E1"')


def lift(bus: str = "armoire", address: int = 24, name: str = "porte", profile: str = "lift/gros_sdk500") -> str:
    return DEVICE.format(name=name, profile=profile, bus=bus, address=address)


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, "utf-8")
    return path


def told(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What `guet run` says of a site that it must refuse; nothing may have been started."""
    site = written(folder, text)
    before = sorted(path.name for path in folder.rglob("*"))
    assert main(["run", str(site), "--page", "", *more]) == USAGE
    assert sorted(path.name for path in folder.rglob("*")) == before, "nothing half-started"
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.endswith("nothing was started.\n")
    return err


SOUND = GATEWAY + tcp_bus(1) + lift() + WATCH.format(model="lift_door", current="door_current")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOUND.replace("address", "adress"), ["site.toml: device[0].adress: unknown key; correct or remove it"]),
        (
            SOUND.replace("lift/gros_sdk500", "lift/gros_sdk501"),
            [
                "site.toml: device 'porte'.profile: lift/gros_sdk501.toml: expected a profile of that name",
                "known there: lift/",
                "lift/gros_sdk500",
            ],
        ),
        (
            SOUND + lift(name="autre"),
            ["site.toml: device 'autre'.address: 24 on bus 'armoire' is taken by 'porte'; give one of them another"],
        ),
        (
            SOUND.replace("/door_current", "/door_position"),
            ["watch 'porte'.inputs: door_current: porte/door_position: unit 'mm' (length): expected a current"],
        ),
        (
            SOUND.replace('"lift_door"', '"lift_dor"'),
            ["watch 'porte': lift_dor/card.toml: cannot be read", "expected a model's card"],
        ),
        (
            SOUND.replace("door_speed =", "speed_of_door ="),
            ["watch 'porte'.inputs: role 'speed_of_door': unknown; expected one of"],
        ),
        (
            SOUND.replace("address", "adress").replace("lift/gros_sdk500", "lift/none") + "[colour]\n",
            ["device[0].adress", "lift/none.toml", "colour: unknown key", "3 fault(s)"],
        ),
        ("", ["gateway: missing; add it", "device: expected at least one [[device]]"]),
    ],
    ids=[
        "unknown key",
        "missing profile",
        "two at one address",
        "impossible unit",
        "missing model",
        "unknown role",
        "all at once",
        "empty",
    ],
)
def test_a_faulty_site_is_refused_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: list[str]
) -> None:
    err = told(tmp_path, text, capsys)
    for part in said:
        assert part in err


def test_a_site_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "nowhere.toml")]) == USAGE
    assert "nowhere.toml: cannot be read" in capsys.readouterr().err


@pytest.fixture
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the real profiles and room for models of its own."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "device_profiles").symlink_to(ROOT / "device_profiles")
    monkeypatch.setenv("GUET_HOME", str(home))
    return home


CARD = (Path(__file__).parent / "lift_rule/card.toml").read_text("utf-8")
NETWORK = """
[model]
file = "model.tflite"
sha256 = "{sha256}"
bytes = {bytes}
steps = 24
channels = ["slowdown", "current_rise", "door_open"]
"""


def a_model(home: Path, card: str, content: bytes | None) -> None:
    folder = home / "edge_models" / "mine"
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(card, "utf-8")
    if content is not None:
        (folder / "model.tflite").write_bytes(content)


@pytest.mark.parametrize(
    ("content", "sha256", "said"),
    [
        (b"not this one", hashlib.sha256(b"that one").hexdigest(), "mine/card.toml: model.sha256: expected"),
        (b"no network", hashlib.sha256(b"no network").hexdigest(), "mine/model.tflite: the runtime refuses it"),
        (None, "0" * 64, "mine/card.toml: model.file: model.tflite cannot be read"),
        (b"x", "short", "mine/card.toml: model.sha256: "),
    ],
    ids=["hash", "no network", "missing", "no hash"],
)
def test_a_model_that_is_not_the_one_of_its_card_is_refused(
    tmp_path: Path, a_home: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, sha256: str, said: str
) -> None:
    card = CARD.replace('decides = "rule"', 'decides = "model"') + NETWORK.format(
        sha256=sha256, bytes=len(content or b"x")
    )
    a_model(a_home, card, content)
    site = SOUND.replace('"lift_door"', '"mine"')
    err = told(tmp_path, site, capsys)
    assert f"watch 'porte': {said}" in err
    if said.endswith("expected"):
        assert sha256 in err
        assert hashlib.sha256(content or b"").hexdigest() in err
        assert "restore the folder" in err


def test_a_card_with_an_unknown_key_is_refused(
    tmp_path: Path, a_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_model(a_home, CARD.replace("cap = 0.5", "cap = 0.5\ncolour = 1"), None)
    assert "mine/card.toml: decision.colour: unknown key" in told(
        tmp_path, SOUND.replace('"lift_door"', '"mine"'), capsys
    )


def test_a_page_whose_port_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = written(tmp_path, SOUND)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        page = f"127.0.0.1:{other.getsockname()[1]}"
        assert main(["run", str(site), "--page", page]) == USAGE
    err = capsys.readouterr().err
    assert f"--page {page}: expected a free port, got: " in err
    assert "give another port" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("page", ["http", "127.0.0.1:http", "127.0.0.1:99999", "no such host:1"])
def test_a_page_that_is_no_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], page: str) -> None:
    assert main(["run", str(written(tmp_path, SOUND)), "--page", page]) == USAGE
    assert f"--page {page}".replace("'", "") in capsys.readouterr().err.replace("'", "")


def test_an_upstream_file_that_is_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SOUND + '[upstream]\nurl = "mqtts://broker.example.org"\nca = "/nowhere/ca.pem"\n'
    assert main(["run", str(written(tmp_path, text)), "--page", ""]) == USAGE
    assert "ca, certificate, key: expected PEM files" in capsys.readouterr().err


async def test_a_serial_port_that_another_program_holds_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Line(19200) as line:
        held = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            site = GATEWAY + BUS.format(
                name="ligne", protocol="modbus-rtu", where=f'port = "{line.port}"\nline = "19200 8E1"'
            )
            site += DEVICE.format(name="p", profile="water/keller_x_line", bus="ligne", address=1)
            path = tmp_path / "site.toml"
            path.write_text(site)
            assert await asyncio.to_thread(main, ["run", str(path), "--page", ""]) == USAGE
        finally:
            os.close(held)
    said = capsys.readouterr().err
    assert "site.toml: bus 'ligne'.port: /dev/" in said
    assert "in use by another program; end it" in said
    assert not (tmp_path / "data").exists()


async def test_a_store_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    site = written(tmp_path, SOUND)
    async with Store.open(tmp_path / "data", SystemClock()):
        done = await asyncio.to_thread(run_process, site, wait=True)
    assert done.returncode == FIELD_PROBLEM
    assert "expected a folder for this gateway alone, got one in use by another process" in done.stderr.read()
    done.stderr.close()


def run_process(site: Path, *more: str, wait: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway.cli", "run", str(site), "--page", "", *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=site.parent, env=env)
    if wait:
        process.wait(timeout=60)
    return process


def test_as_a_real_process_a_faulty_file_ends_with_2(tmp_path: Path) -> None:
    process = run_process(written(tmp_path, SOUND.replace("address", "adress")), wait=True)
    assert process.returncode == USAGE
    assert process.stderr is not None
    with process.stderr as err:
        assert "device[0].adress: unknown key" in err.read()
    assert not (tmp_path / "data").exists()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A gateway whose devices are all absent: a port that nobody listens on, and one that does not exist."""
    text = GATEWAY + tcp_bus(free_port()) + serial_bus(tmp_path / "ttyNONE") + lift() + lift("ligne", name="autre")
    one = run_process(written(tmp_path, text))
    yield one
    if one.poll() is None:
        one.kill()
    one.wait(timeout=10)
    if one.stderr is not None:
        one.stderr.close()


def test_a_gateway_whose_devices_are_absent_runs_until_told_to_end(
    tmp_path: Path, process: subprocess.Popen[str]
) -> None:
    limit = time.monotonic() + 20
    while not (tmp_path / "data" / FILE).exists():
        assert process.poll() is None, process.stderr
        assert time.monotonic() < limit
        time.sleep(0.05)  # another process has no event to wait for
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


async def states_after(site: Path, seconds: float) -> dict[str, str]:
    """What a gateway says of its devices after so long."""
    checked, watches = read_site(site)
    async with Store.open(checked.data, SystemClock()) as store:
        gateway = Gateway(checked, watches, store, SystemClock())
        running = asyncio.create_task(gateway.run())
        await asyncio.sleep(seconds)
        assert not running.done(), "it runs whatever its devices do"
        words = {state.device.name: state.words for state in gateway.live.states()}
        gateway.stop.set()
        await running
    return words


async def test_the_status_says_how_much_waits_for_the_platform(tmp_path: Path) -> None:
    field = tcp_bus(free_port()) + lift()
    for upstream, waiting in (("", None), ('[upstream]\nurl = "mqtt://127.0.0.1:9"\n', 3)):
        checked, watches = read_site(written(tmp_path, upstream + GATEWAY + field))
        async with Store.open(checked.data, SystemClock()) as store:
            if upstream:
                for number in range(3):
                    store.put("status", number, {})
                await store.flush()
            assert Gateway(checked, watches, store, SystemClock()).status()["backlog"] == waiting


async def test_absent_devices_are_faults_of_devices_with_their_reasons(tmp_path: Path) -> None:
    port = free_port()
    text = GATEWAY + tcp_bus(port) + serial_bus(tmp_path / "ttyNONE") + lift() + lift("ligne", name="autre")
    words = await states_after(written(tmp_path, text), 0.5)
    assert words["porte"].startswith("en attente de la première réponse : ")
    assert f"127.0.0.1:{port}: cannot connect" in words["porte"]
    assert words["autre"].startswith("en attente de la première réponse : ")
    assert "ttyNONE: no such port" in words["autre"]


async def test_a_device_that_never_answers_is_silent_with_its_reason(tmp_path: Path) -> None:
    text = GATEWAY + tcp_bus(free_port()) + lift()
    words = await states_after(written(tmp_path, text), 3.5)
    assert words["porte"].startswith("muet depuis 20")
    assert "cannot connect" in words["porte"]


async def test_a_serial_port_that_another_program_holds_is_a_fault_that_says_so(tmp_path: Path) -> None:
    import serial

    async with Line(19200, "8E1", units=[Device(24, Table({"holding": dict.fromkeys(range(8), 1)}))]) as line:
        text = GATEWAY + serial_bus(line.port) + lift("ligne")
        holder = serial.Serial(line.port, 19200, exclusive=True)
        try:
            words = await states_after(written(tmp_path, text), 0.5)
        finally:
            holder.close()
    assert "in use by another program; stop it" in words["porte"]
