"""Updates over the bus to a real node: taken, tried, confirmed; or refused, cut, damaged, and still reachable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import slots
from rig import Rig, damage

from firmware.tool.build import Release, Signer, build, new_key
from firmware.tool.bus import NodeError


@pytest.fixture
def rig(micropython: Path, tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path, "lift", version=5)
    one.board.power_on()
    one.answering()
    yield one
    one.close()


def release(rig: Rig, version: int, changed: bytes | None = None) -> Release:
    """The lift's release, signed; `changed` replaces its program."""
    made = build("lift", version, (1, 1), None)
    files = dict(made.files)
    if changed is not None:
        del files["lift.mpy"]
        files["lift.py"] = changed
    return signed(rig.signer, "lift", version, files)


def signed(signer: Signer, node: str, version: int, files: dict[str, bytes], hardware: str = "1 1") -> Release:
    lines = ["guet-release 1", f"node {node}", f"hardware {hardware}", f"version {version}"]
    lines += [f"file {len(data)} {hashlib.sha256(data).hexdigest()} {name}" for name, data in sorted(files.items())]
    body = ("\n".join(lines) + "\n").encode()
    return Release(node, version, body + signer(body), files)


def running(rig: Rig, version: int, slot: str) -> bool:
    status = rig.service.status()
    return status["version"] == version and status["slot"] == slot


def test_an_update_is_tried_and_confirmed(rig: Rig) -> None:
    rig.service.update(release(rig, 6))
    rig.until(lambda: running(rig, 6, "b") and "on trial" in rig.service.status()["status"])
    rig.until(lambda: "on trial" not in rig.service.status()["status"])
    record = slots.load(str(rig.flash))
    assert (record.active, record.trial, record.floor) == (slots.B, 0, 6)
    rig.power_cut()
    assert running(rig, 6, "b")
    with pytest.raises(NodeError, match="not newer"):
        rig.service.update(release(rig, 6))


def test_a_program_that_fails_returns_to_the_old_one(rig: Rig) -> None:
    rig.service.update(release(rig, 6, changed=b"def node(*arguments):\n    raise RuntimeError('broken release')\n"))
    rig.until(lambda: slots.load(str(rig.flash)).trial == 0 and running(rig, 5, "a"), seconds=30)
    assert slots.load(str(rig.flash)).floor == 5
    assert rig.board.starts == 1 + 1 + slots.TRIES


@pytest.mark.parametrize(
    ("fault", "said"),
    [("forged", "signature"), ("older", "not newer"), ("other node", "another kind"), ("other board", "hardware")],
)
def test_what_is_not_for_this_node_is_refused(rig: Rig, fault: str, said: str) -> None:
    files = dict(build("lift", 6, (1, 1), None).files)
    offered = {
        "forged": lambda: signed(Signer(new_key()), "lift", 6, files),
        "older": lambda: signed(rig.signer, "lift", 5, files),
        "other node": lambda: signed(rig.signer, "lamp", 6, files),
        "other board": lambda: signed(rig.signer, "lift", 6, files, "2 9"),
    }[fault]()
    with pytest.raises(NodeError, match=said):
        rig.service.update(offered)
    assert running(rig, 5, "a") and not (rig.flash / "b").exists()


def test_an_update_cut_halfway_goes_on_where_it_was(rig: Rig) -> None:
    wanted = release(rig, 6, changed=(Path(__file__).parents[2] / "firmware/nodes/lift.py").read_bytes())

    class Cut(Exception):
        pass

    sent: list[int] = []

    def cut(done: int, total: int) -> None:
        sent.append(done)
        if len(sent) == 1:
            raise Cut

    with pytest.raises(Cut):
        rig.service.update(wanted, cut)
    rig.power_cut()
    assert running(rig, 5, "a")
    rig.service.update(wanted, lambda done, total: sent.append(done))
    rig.until(lambda: running(rig, 6, "b"))


def test_only_what_has_changed_goes_over_the_line(rig: Rig) -> None:
    before = sum(len(line) for line in rig.lines())
    rig.service.update(release(rig, 6))
    frames = sum(1 for line in rig.lines() if line[1:] == ["pin", "6", "1"])
    assert frames < 120, f"{before}: the files were all there already; only the manifest had to go"
    rig.until(lambda: running(rig, 6, "b"))


def test_a_damaged_slot_is_never_started(rig: Rig) -> None:
    rig.service.update(release(rig, 6))
    rig.until(lambda: running(rig, 6, "b") and slots.load(str(rig.flash)).active == slots.B)
    rig.board.power_off()
    damage(rig.flash / "b" / "station.mpy")
    rig.power_cut()
    assert running(rig, 5, "a")


def test_without_any_good_slot_safe_mode_takes_an_update(rig: Rig) -> None:
    rig.board.power_off()
    damage(rig.flash / "a" / "lift.mpy")
    rig.power_cut()
    status = rig.service.status()
    assert status["slot"] == "safe mode" and "safe mode" in status["status"]
    assert rig.client.read_input_registers(32, count=1, device_id=17).exception_code == 2
    rig.service.update(release(rig, 6))
    rig.until(lambda: slots.load(str(rig.flash)).active != 0 and rig.service.status()["version"] == 6)


def test_a_manifest_that_is_noise_is_refused(rig: Rig) -> None:
    with pytest.raises(NodeError, match="signature"):
        rig.service.update(Release("lift", 9, bytes(range(256)), {}))
    assert running(rig, 5, "a")


BALLAST = """
import sys
sys.path.insert(0, "a")
import gc, json, lift
station = lift.node(json.load(open("config.json")), 1, 5, ".")
ballast = []


def fill(now):
    while now >= 2 and gc.mem_free() > LEFT:
        ballast.append(bytearray(64))
        gc.collect()


station.every("ballast", 1000, fill)
station.run()
"""


def test_too_little_memory_is_told_from_storage_and_a_restart_helps(rig: Rig) -> None:
    rig.board.power_off()
    main = (rig.flash / "main.py").read_bytes()
    (rig.flash / "main.py").write_text(BALLAST.replace("LEFT", "6000"))
    rig.power_cut()
    rig.until(lambda: rig.inputs(9)[0] >= 4)
    with pytest.raises(NodeError, match="too little free memory; restart it"):
        rig.service.update(release(rig, 6))
    assert running(rig, 5, "a") and rig.board.starts == 2
    rig.board.power_off()
    (rig.flash / "main.py").write_bytes(main)
    rig.power_cut()
    rig.service.update(release(rig, 6))
    rig.until(lambda: running(rig, 6, "b"))


def test_storage_that_fails_is_told(rig: Rig) -> None:
    (rig.flash / "update.new").mkdir()
    with pytest.raises(NodeError, match="storage failed"):
        rig.service.update(release(rig, 6))
    (rig.flash / "update.new").rmdir()
    rig.service.update(release(rig, 6))
    rig.until(lambda: running(rig, 6, "b"))


@pytest.mark.parametrize("node", ["pressure", "lamp"])  # the lift's is here, the bin's in test_tool
def test_every_node_has_the_memory_for_an_update(micropython: Path, tmp_path: Path, node: str) -> None:
    one = Rig(tmp_path, node)
    try:
        one.board.power_on()
        one.answering()
        one.service.update(build(node, 2, (1, 1), one.signer))
        one.until(lambda: running(one, 2, "b"))
    finally:
        one.close()
