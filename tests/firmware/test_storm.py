"""Nodes in a storm: any bytes, broadcasts, other units' frames, forged and older updates, cuts at any moment. Other storms:

    GUET_SEEDS="11 12 13" GUET_STORM=20 pytest tests/firmware/test_storm.py tests/firmware/test_power_cuts.py

GUET_STORM: how many times as long.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import slots
import storm
from rig import Rig
from running import seeds
from test_updates import signed

from firmware.tool.build import Release, Signer, build, new_key
from firmware.tool.bus import NodeError

LENGTH = int(os.environ.get("GUET_STORM", "1"))
FATES = ("good", "cut", "cut", "cut", "forged", "older", "node", "hardware", "bent", "noise")
NODES = ("pressure", "lamp", "lift", "bin")


@pytest.fixture
def rigs(micropython: Path, tmp_path: Path) -> Iterator[list[Rig]]:
    made: list[Rig] = []
    yield made
    for rig in made:
        rig.close()


@pytest.mark.timeout(120 * LENGTH)
@pytest.mark.parametrize("seed", seeds(1))
def test_a_node_answers_what_the_standard_says_whatever_is_on_the_line(
    seed: int, rigs: list[Rig], tmp_path: Path
) -> None:
    random = Random(seed)
    rig = Rig(tmp_path, NODES[seed % len(NODES)], {"self_test_s": 1 << 20}, ADC26=30000)
    rigs.append(rig)
    rig.board.power_on()
    rig.answering()
    rig.client.close()
    line = rig.client_tty
    assert storm.answers(line)
    time.sleep(0.5)
    while select.select([line], [], [], 0.1)[0]:  # what was asked while it started
        os.read(line, 512)
    for number, asked in enumerate(islice(storm.harmless(random), 150 * LENGTH)):
        time.sleep(0.006)
        answer = storm.exchange(line, asked)
        fault = storm.wrong(asked, answer)
        if fault == "silence":  # a busy machine may have torn the request in two: again, and it counts
            assert storm.answers(line)
            answer = storm.exchange(line, asked)
            fault = storm.wrong(asked, answer)
        assert not fault, f"seed {seed}, {number}: {fault}: {asked.hex(' ')} -> {answer.hex(' ')}"
        rig.board.tend()
        if number % 25 == 24:
            assert storm.answers(line), f"seed {seed}, {number}: silent after {asked.hex(' ')}"
    assert (rig.board.starts, rig.board.bites) == (1, 0), "it went on all the time"


@pytest.mark.timeout(120 * LENGTH)
@pytest.mark.parametrize("seed", seeds(1))
def test_whatever_becomes_of_updates_a_node_can_be_reached_and_updated(
    seed: int, rigs: list[Rig], tmp_path: Path
) -> None:
    random = Random(seed)
    node = NODES[seed % len(NODES)]
    rig = Rig(tmp_path, node, version=5, patience_s=3)  # the machine may be busy
    rigs.append(rig)
    rig.board.power_on()
    rig.answering()
    genuine, floor = {5}, 5
    for step, fate in enumerate(fate for _ in range(LENGTH) for fate in random.sample(FATES, len(FATES))):
        newest = max(genuine)
        release = _offered(rig, node, fate, newest, floor, random)
        if fate in ("good", "cut"):
            genuine.add(release.version)
        after = random.randint(0, 60) if fate == "cut" else -1
        try:
            _update(rig, release, after)
            if fate == "good":
                rig.until(lambda: rig.service.status()["version"] == release.version, seconds=60)
        except NodeError as error:
            assert fate not in ("good", "cut") or "still trying" in str(error) or "not newer" in str(error), (
                f"{step}: {error}"
            )
        if fate == "cut":
            rig.board.power_off()
            time.sleep(random.random() / 5)
            rig.board.power_on()
        rig.until(lambda: rig.service.status()["slot"] in ("a", "b"), seconds=60)
        rig.until(lambda: "on trial" not in rig.service.status()["status"], seconds=60)
        status = rig.service.status()
        record = slots.load(str(rig.flash))
        assert status["version"] in genuine, f"seed {seed}, {step}, {fate}: runs {status['version']}"
        assert record.floor >= floor, "never below what it has run"
        floor = record.floor
    final = _signed_release(rig, node, max(genuine) + 1, random, b"")
    rig.service.update(final)
    rig.until(lambda: rig.service.status()["version"] == final.version and _settled(rig), seconds=60)


def _settled(rig: Rig) -> bool:
    return "on trial" not in rig.service.status()["status"]


def _signed_release(
    rig: Rig, node: str, version: int, random: Random, extra: bytes, signer: Signer | None = None
) -> Release:
    files = dict(build(node, version, (1, 1), None).files)
    if extra:
        files["extra.bin"] = extra
    return signed(signer or rig.signer, node, version, files)


def _offered(rig: Rig, node: str, fate: str, newest: int, floor: int, random: Random) -> Release:
    """A release with a file of its own, so that something goes over the line."""
    extra = random.randbytes(random.randint(1, 1200))
    files = dict(build(node, newest + 1, (1, 1), None).files) | {"extra.bin": extra}
    if fate == "forged":
        return signed(Signer(new_key()), node, newest + 1, files)
    if fate == "older":
        return signed(rig.signer, node, random.randint(0, floor), files)
    if fate == "node":
        return signed(rig.signer, random.choice([other for other in NODES if other != node]), newest + 1, files)
    if fate == "hardware":
        return signed(rig.signer, node, newest + 1, files, random.choice(("0 0", "2 9")))
    made = signed(rig.signer, node, newest + 1, files)
    if fate == "bent":  # one bit of the manifest, anywhere
        manifest = bytearray(made.manifest)
        manifest[random.randrange(len(manifest))] ^= 1 << random.randrange(8)
        return Release(node, made.version, bytes(manifest), files)
    if fate == "noise":
        return Release(node, made.version, random.randbytes(random.randint(1, 3000)), {})
    return made


class Cut(Exception):
    pass


def _update(rig: Rig, release: Release, after: int) -> None:
    """Sends it, until so many requests of it were made (-1: all)."""
    service, left = rig.service, after
    write_file = rig.client.write_file_record

    def counted(*arguments: object, **more: object) -> object:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1
        return write_file(*arguments, **more)

    rig.client.write_file_record = counted
    try:
        service.update(release)
    except (
        Cut,
        KeyError,
        IndexError,
        UnicodeDecodeError,
    ):  # the last three: a bent list of files, which we trip over ourselves
        pass
    finally:
        del rig.client.write_file_record
