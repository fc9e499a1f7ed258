"""An update, its power cut at every few bytes of every write: the old program stays good, or the new one is whole."""

import hashlib
import os

import slots
from flash import every_cut
from offered import BEGIN, COMMIT, COMPLETE, FILES, INSTALLED, KEY, MANIFEST, NAMES, OLD, RECEIVING, STEP
from release import slot_is_good
from update import Update

OLD_VERSION = 5


def prepare():
    """Slot a runs; its release shares one file with the one that is offered, and slot b holds rubbish."""
    os.mkdir("/flash/a")
    os.mkdir("/flash/b")
    for name, data in (("release", OLD), ("same.mpy", FILES["same.mpy"]), ("old.mpy", b"old program")):
        with open("/flash/a/" + name, "wb") as file:
            file.write(data)
    with open("/flash/b/gone.mpy", "wb") as file:
        file.write(bytes(700))
    record = slots.BootRecord()
    record.install(slots.A, hashlib.sha256(OLD).digest())
    record.confirm(slots.A, OLD_VERSION)
    slots.save("/flash", record)
    assert good(slots.A)


def good(slot):
    return slot_is_good("/flash/" + slots.NAMES[slot], slots.load("/flash").digests[slot])


def send(update, file, data):
    data = data + bytes(len(data) & 1)
    for at in range(0, len(data), 200):
        part = data[at : at + 200]
        if update.write(file, at // 2, len(part) // 2, part, 0):
            raise OSError(5)


def work(update, command=0):
    for _ in update.work(command, len(MANIFEST)):
        pass


def take():
    """What `guet node update` does."""
    update = Update("/flash", slots.A, "lift", 1, KEY)
    send(update, 1, MANIFEST)
    work(update, BEGIN)
    for _ in range(9):
        if update.state != RECEIVING:
            break
        send(update, 256 + update.wanted, FILES[NAMES[update.wanted]])
        work(update)
    if update.state != COMPLETE:
        raise OSError(5)
    work(update, COMMIT)
    if update.state != INSTALLED:
        raise OSError(5)


def test_no_cut_leaves_it_without_a_program():
    seen = set()

    def inspect(came_through):
        assert good(slots.A), "the program that runs is never touched"
        record = slots.load("/flash")
        assert (record.active, record.floor) == (slots.A, OLD_VERSION)
        trial = record.trial
        assert not trial or good(slots.B), "on trial, and not whole"
        assert not came_through or trial == slots.B
        seen.add(trial)
        assert record.choose(good, False) == (slots.B if trial else slots.A)
        if not trial:
            take()
            assert slots.load("/flash").trial == slots.B and good(slots.B)

    assert every_cut(prepare, take, inspect, STEP) > 20
    assert seen == {0, slots.B}
