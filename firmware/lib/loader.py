"""Starts the program in the slot that the boot record chooses; without a good one, safe mode.

The loader and what it imports lie in /lib and are replaced only over USB; a slot brings its own copies, which come first
on the path. So nothing the loader has imported may stay loaded: a new program must not meet an old module.
"""

import json
import sys

import board
import slots
from release import Release, slot_is_good


def choose(folder: str = ".") -> tuple:
    """(module, arguments of its `node`) of what is to run now, with the boot record written accordingly and nothing of
    the loader left loaded but the caller's own reference."""
    with open(folder + "/config.json") as file:
        config = json.load(file)
    record = slots.load(folder)

    def good(slot: int) -> bool:
        return slot_is_good(folder + "/" + slots.NAMES[slot], record.digests[slot])

    slot = record.choose(good, board.crashed())
    slots.save(folder, record)
    version = 0
    name = "station"
    if slot != slots.SAFE_MODE:
        path = folder + "/" + slots.NAMES[slot]
        with open(path + "/release", "rb") as file:
            version = Release(file).version
        sys.path.insert(0, path)
        name = config["node"]
    for module in ("board", "slots", "release", "modbus_rtu", "loader"):
        sys.modules.pop(module, None)
    return name, (config, slot, version, folder)
