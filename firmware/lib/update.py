"""Taking an update over the bus, into the slot that does not run.

Function 0x15 brings the bytes, in order: file 1 is the release manifest, file 256 + i the i-th file it names; a record
number is the place of a register in its file. Three holding registers command it (see `COMMAND`), three input registers
tell how it stands. A file that the other slot already holds, with the same hash, is copied instead of asked for.

Until `commit` has checked every hash and written the boot record, the node knows nothing of the update: a cut at any
point leaves the old program, and the update starts again, faster, since whole files are kept.
"""

import gc
import hashlib
import os
import sys

import release
import slots
from micropython import const
from modbus_rtu import DEVICE_BUSY, DEVICE_FAILURE, ILLEGAL_ADDRESS, ILLEGAL_VALUE

COMMAND_NONE = const(0)
COMMAND_BEGIN = const(1)
COMMAND_COMMIT = const(2)
COMMAND_RESTART = const(3)
COMMAND_CANCEL = const(4)

IDLE = const(0)
CHECKING = const(1)
RECEIVING = const(2)
COMPLETE = const(3)
INSTALLED = const(4)
MALFORMED = const(16)
FORGED = const(17)
WRONG_NODE = const(18)
WRONG_HARDWARE = const(19)
TOO_OLD = const(20)
TRIAL_RUNNING = const(21)
STORAGE_FAILED = const(22)
DAMAGED = const(23)

NONE_WANTED = const(0xFFFF)

_MANIFEST = const(1)
_FIRST_FILE = const(256)
_MISFITS = {"node": WRONG_NODE, "hardware": WRONG_HARDWARE, "version": TOO_OLD}


class Update:
    """folder: of the boot record and the slots. key: the maker's public key, 64 bytes."""

    def __init__(self, folder: str, running: int, node: str, hardware: int, key: bytes):
        self._folder = folder
        self._running = running
        self._node = node
        self._hardware = hardware
        self._key = key
        self._files = []  # of the release under way
        self._digest = b""  # of the whole manifest
        self._manifest = None  # bytearray, only while an update is under way
        self._slot = ""
        self._chunk = bytearray(256)  # taken early, while the heap is still whole
        self._file = None
        self._hash = hashlib.sha256()
        self._resume = -1  # index of the file to look at next, once a frame has completed one
        self.state = IDLE
        self.wanted = NONE_WANTED
        self.received = 0
        """Registers of the wanted file (or of the manifest) received."""

    def write(self, file: int, record: int, count: int, buf, at: int) -> int:
        """For `modbus_rtu.Server`. A repetition of bytes already taken is acknowledged and changes nothing."""
        if self.state == CHECKING:
            return -DEVICE_BUSY
        if file == _MANIFEST:
            return self._take_manifest(record, count, buf, at)
        if self.state != RECEIVING or not _FIRST_FILE <= file <= _FIRST_FILE + self.wanted:
            return -ILLEGAL_ADDRESS
        if file < _FIRST_FILE + self.wanted or record + count <= self.received:
            return 0
        if record != self.received:
            return -ILLEGAL_ADDRESS
        return self._take_file(count, buf, at)

    def work(self, command: int, length: int):
        """Generator: goes on with what a frame left to do, then carries out the command; yields between steps that are
        short even on a small board. length: bytes of the manifest, for COMMAND_BEGIN. RESTART is the caller's."""
        gc.collect()  # a command needs more room in one piece than anything else here does
        try:
            if self._resume >= 0:
                index = self._resume
                self._resume = -1
                yield from self._next_wanted(index)
            if command == COMMAND_BEGIN:
                yield from self._begin(length)
            elif command == COMMAND_COMMIT:
                yield from self._commit()
            elif command == COMMAND_CANCEL:
                self._forget(IDLE)
        except (OSError, MemoryError):
            self._forget(STORAGE_FAILED)
            gc.collect()

    def _take_manifest(self, record: int, count: int, buf, at: int) -> int:
        if record == 0:
            self._forget(IDLE)
            self._manifest = bytearray()
        if self._manifest is None or record > self.received or 2 * (record + count) > release.MAX_BYTES:
            return -ILLEGAL_ADDRESS
        if record == self.received:
            try:
                self._manifest.extend(memoryview(buf)[at : at + 2 * count])
            except MemoryError:
                self._forget(STORAGE_FAILED)
                return -DEVICE_FAILURE
            self.received = record + count
        return 0

    def _begin(self, length: int):
        if self._manifest is None or not 0 < length <= 2 * self.received:
            self._forget(MALFORMED)
            return
        record = slots.load(self._folder)
        if record.trial:
            self._forget(TRIAL_RUNNING)
            return
        self.state = CHECKING
        raw = bytes(memoryview(self._manifest)[:length])
        self._manifest = None
        genuine = False
        for answer in self._verification(raw):  # nothing is read out of it before it is known to be genuine
            genuine = answer is True
            yield
        sys.modules.pop("p256", None)
        gc.collect()
        if not genuine:
            self._forget(FORGED)
            return
        try:
            offered = release.Release(raw)
        except ValueError:
            self._forget(MALFORMED)
            return
        misfit = offered.misfit(self._node, self._hardware, record.floor)
        if misfit:
            self._forget(_MISFITS[misfit])
            return
        self._files = offered.files
        self._digest = hashlib.sha256(raw).digest()
        self._clear_slot(record, raw)
        raw = b""
        yield
        yield from self._next_wanted(0)

    def _verification(self, raw: bytes):
        import p256  # only now: an update is rare, and heap is not

        signed = max(len(raw) - release.SIGNATURE, 0)
        digest = hashlib.sha256(memoryview(raw)[:signed]).digest()
        return p256.verification(self._key, digest, raw[signed:])

    def _clear_slot(self, record: slots.BootRecord, raw: bytes) -> None:
        """The slot that does not run is no longer to be started; of its files, those go that the release has not."""
        slot = record.target(self._running)
        self._slot = self._folder + "/" + slots.NAMES[slot]
        if not _has_folder(self._slot):
            os.mkdir(self._slot)
        record.strike_out(slot)
        slots.save(self._folder, record)
        keep = {name for name, _, _ in self._files}
        for name in os.listdir(self._slot):
            if name not in keep:
                os.remove(self._slot + "/" + name)
        with open(self._slot + "/release.new", "wb") as file:
            file.write(raw)

    def _next_wanted(self, index: int):
        """From file `index` on, skip those that are there or can be copied; then ask for the next."""
        files = self._files
        while index < len(files):
            name, _, digest = files[index]
            if release.file_digest(self._slot + "/" + name, self._chunk) != digest and not self._copied(name, digest):
                break
            index += 1
            yield
        self._close()
        self.received = 0
        if index == len(files):
            self.wanted = NONE_WANTED
            self.state = COMPLETE
            return
        self._hash = hashlib.sha256()
        self._file = open(self._slot + "/" + files[index][0], "wb")
        self.wanted = index
        self.state = RECEIVING

    def _copied(self, name: str, digest: bytes) -> bool:
        source = self._folder + "/" + slots.NAMES[self._running] + "/" + name
        if self._running == slots.SAFE_MODE or release.file_digest(source, self._chunk) != digest:
            return False
        chunk = self._chunk
        with open(source, "rb") as old, open(self._slot + "/" + name, "wb") as new:
            while True:
                n = old.readinto(chunk)
                if not n:
                    return True
                new.write(memoryview(chunk)[:n])

    def _take_file(self, count: int, buf, at: int) -> int:
        file = self._file
        size = self._files[self.wanted][1]
        if file is None or self.received + count > (size + 1) // 2:
            return -ILLEGAL_VALUE
        chunk = memoryview(buf)[at : at + min(2 * count, size - 2 * self.received)]
        try:
            file.write(chunk)
            self._hash.update(chunk)
            self.received += count
            if 2 * self.received >= size:
                self._finish_file()
        except OSError:
            self._forget(STORAGE_FAILED)
        return 0

    def _finish_file(self) -> None:
        """The whole file is here: on to the next, or, when its hash is wrong, the same again from its start. That takes
        hashing and copying, too long for a frame: `work` does it, and meanwhile the node says it is busy."""
        good = self._hash.digest() == self._files[self.wanted][2]
        self._close()
        self._resume = self.wanted + 1 if good else self.wanted
        self.state = CHECKING

    def _commit(self):
        if self.state != COMPLETE:
            self._forget(DAMAGED)
            return
        for name, _, digest in self._files:
            if release.file_digest(self._slot + "/" + name, self._chunk) != digest:
                self._forget(DAMAGED)
                return
            yield
        os.rename(self._slot + "/release.new", self._slot + "/release")
        record = slots.load(self._folder)
        slot = record.target(self._running)
        record.install(slot, self._digest)
        slots.save(self._folder, record)
        self._forget(INSTALLED)

    def _forget(self, state: int) -> None:
        self._close()
        self._files = []
        self._manifest = None
        self._resume = -1
        self.received = 0
        self.wanted = NONE_WANTED
        self.state = state

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _has_folder(path: str) -> bool:
    try:
        os.listdir(path)
        return True
    except OSError:
        return False
