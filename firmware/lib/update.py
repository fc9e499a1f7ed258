"""Taking an update over the bus, into the slot that does not run.

Function 0x15 brings the bytes, in order: file 1 is the release manifest, file 256 + i the i-th file it names; a record
number is the place of a register in its file. Three holding registers command it (see `COMMAND`), three input registers
tell how it stands. A file that the other slot already holds, with the same hash, is copied instead of asked for.

Until `commit` has checked every hash and written the boot record, the node knows nothing of the update: a cut at any
point leaves the old program, and the update starts again, faster, since whole files are kept.

The heap is nearly full of the program that runs: the manifest is taken into a file and read out of it, line by line.
"""

import gc
import hashlib
import os
import sys

import release
import slots
from micropython import const
from modbus_rtu import DEVICE_BUSY, DEVICE_FAILURE, ILLEGAL_ADDRESS, ILLEGAL_VALUE

_COMMAND_NONE = const(0)
_COMMAND_BEGIN = const(1)
_COMMAND_COMMIT = const(2)
COMMAND_RESTART = const(3)
_COMMAND_CANCEL = const(4)

_IDLE = const(0)
_CHECKING = const(1)
_RECEIVING = const(2)
_COMPLETE = const(3)
_INSTALLED = const(4)
_MALFORMED = const(16)
_FORGED = const(17)
_WRONG_NODE = const(18)
_WRONG_HARDWARE = const(19)
_TOO_OLD = const(20)
_TRIAL_RUNNING = const(21)
_STORAGE_FAILED = const(22)
_DAMAGED = const(23)
_NO_MEMORY = const(24)

_NONE_WANTED = const(0xFFFF)

_OFFER = "/update.new"
_MANIFEST = const(1)
_FIRST_FILE = const(256)
_MISFITS = {"node": _WRONG_NODE, "hardware": _WRONG_HARDWARE, "version": _TOO_OLD}


class Update:
    """folder: of the boot record and the slots. key: the maker's public key, 64 bytes."""

    def __init__(self, folder: str, running: int, node: str, hardware: int, key: bytes):
        self._folder = folder
        self._running = running
        self._node = node
        self._hardware = hardware
        self._key = key
        self._release = None  # under way, read out of `_offer`
        self._offer = None
        self._digest = b""  # of the whole manifest
        self._slot = ""
        self._chunk = bytearray(256)  # taken early, while the heap is still whole
        self._file = None  # the one that is wanted, or the manifest
        self._size = 0
        self._wanted_digest = b""
        self._hash = hashlib.sha256()
        self._resume = -1  # index of the file to look at next, once a frame has completed one
        self.state = _IDLE
        self.wanted = _NONE_WANTED
        self.received = 0
        """Registers of the wanted file (or of the manifest) received."""

    def write(self, file: int, record: int, count: int, buf, at: int) -> int:
        """For `modbus_rtu.Server`. A repetition of bytes already taken is acknowledged and changes nothing."""
        if self.state == _CHECKING:
            return -DEVICE_BUSY
        if file == _MANIFEST:
            return self._take_manifest(record, count, buf, at)
        if self.state != _RECEIVING or not _FIRST_FILE <= file <= _FIRST_FILE + self.wanted:
            return -ILLEGAL_ADDRESS
        if file < _FIRST_FILE + self.wanted or record + count <= self.received:
            return 0
        if record != self.received:
            return -ILLEGAL_ADDRESS
        return self._take_file(count, buf, at)

    def work(self, command: int, length: int):
        """Generator: goes on with what a frame left to do, then carries out the command; yields between steps that are
        short even on a small board. length: bytes of the manifest, for _COMMAND_BEGIN. RESTART is the caller's."""
        if command != _COMMAND_NONE:
            gc.collect()  # a command needs more room in one piece than anything else here does
        try:
            if self._resume >= 0:
                index = self._resume
                self._resume = -1
                yield from self._next_wanted(index)
            if command == _COMMAND_BEGIN:
                yield from self._begin(length)
            elif command == _COMMAND_COMMIT:
                yield from self._commit()
            elif command == _COMMAND_CANCEL:
                self._forget(_IDLE)
        except (OSError, MemoryError) as error:
            self._failed(error)
            gc.collect()

    def _take_manifest(self, record: int, count: int, buf, at: int) -> int:
        try:
            if record == 0:
                self._forget(_IDLE)
                self._file = open(self._folder + _OFFER, "wb")
            if self._release is not None or self._file is None or record > self.received:
                return -ILLEGAL_ADDRESS
            if 2 * (record + count) > release.MAX_BYTES:
                return -ILLEGAL_ADDRESS
            if record == self.received:
                self._file.write(memoryview(buf)[at : at + 2 * count])
                self.received = record + count
        except (OSError, MemoryError) as error:
            return self._failed(error)
        return 0

    def _begin(self, length: int):
        if self._release is not None or self._file is None or not 2 * self.received - 2 < length <= 2 * self.received:
            self._forget(_MALFORMED)
            return
        self._file = _closed(self._file)
        record = slots.load(self._folder)
        if record.trial:
            self._forget(_TRIAL_RUNNING)
            return
        self.state = _CHECKING
        offer = self._offer = open(self._folder + _OFFER, "rb")
        genuine = False
        for answer in self._verification(offer, length):  # nothing else is read before it is known to be genuine
            genuine = answer is True
            yield
        sys.modules.pop("p256", None)
        gc.collect()
        if not genuine:
            self._forget(_FORGED)
            return
        try:
            offered = release.Release(offer, length)
        except ValueError:
            self._forget(_MALFORMED)
            return
        misfit = offered.misfit(self._node, self._hardware, record.floor)
        if misfit:
            self._forget(_MISFITS[misfit])
            return
        self._digest = release.digest_of(offer, self._chunk, length)
        yield from self._clear_slot(record, offered)
        with open(self._slot + "/release.new", "wb") as new:
            self._copy(offer, new, length)
        self._release = offered
        yield
        yield from self._next_wanted(0)

    def _verification(self, offer, length: int):
        import p256  # only now: an update is rare, and heap is not

        signed = max(length - release.SIGNATURE, 0)
        digest = release.digest_of(offer, self._chunk, signed)
        return p256.verification(self._key, digest, offer.read(length - signed))

    def _clear_slot(self, record: slots.BootRecord, offered: release.Release):
        """The slot that does not run is no longer to be started; of its files, those go that the release has not."""
        slot = record.target(self._running)
        self._slot = self._folder + "/" + slots.NAMES[slot]
        if not _has_folder(self._slot):
            os.mkdir(self._slot)
        record.strike_out(slot)
        slots.save(self._folder, record)
        for name in os.listdir(self._slot):
            if not any(wanted == name for wanted, _, _ in offered.files()):
                os.remove(self._slot + "/" + name)
            yield

    def _copy(self, old, new, n: int = -1) -> None:
        """An open file's bytes, or its first n."""
        chunk = self._chunk
        view = memoryview(chunk)
        old.seek(0)
        while n:
            got = old.readinto(view if n < 0 else view[: min(n, len(chunk))])
            if not got:
                return
            new.write(view[:got])
            n -= got if n > 0 else 0

    def _next_wanted(self, index: int):
        """From file `index` on, skip those that are there or can be copied; then ask for the next."""
        self._file = _closed(self._file)
        for i, (name, size, digest) in enumerate(self._files()):
            if i < index or self._is_there(name, digest):
                yield
                continue
            self._size = size
            self._wanted_digest = digest
            self._hash = hashlib.sha256()
            self._file = open(self._slot + "/" + name, "wb")
            self.received = 0
            self.wanted = i
            self.state = _RECEIVING
            return
        self.received = 0
        self.wanted = _NONE_WANTED
        self.state = _COMPLETE

    def _files(self):
        """Of the release under way."""
        return self._release.files() if self._release is not None else iter(())

    def _is_there(self, name: str, digest: bytes) -> bool:
        """Whether the slot holds the file, copied from the one that runs if that has it."""
        if release.file_digest(self._slot + "/" + name, self._chunk) == digest:
            return True
        source = self._folder + "/" + slots.NAMES[self._running] + "/" + name
        if self._running == slots.SAFE_MODE or release.file_digest(source, self._chunk) != digest:
            return False
        with open(source, "rb") as old, open(self._slot + "/" + name, "wb") as new:
            self._copy(old, new)
        return True

    def _take_file(self, count: int, buf, at: int) -> int:
        file = self._file
        size = self._size
        if file is None or self.received + count > (size + 1) // 2:
            return -ILLEGAL_VALUE
        try:
            chunk = memoryview(buf)[at : at + min(2 * count, size - 2 * self.received)]
            file.write(chunk)
            self._hash.update(chunk)
            self.received += count
            if 2 * self.received >= size:
                self._finish_file()
        except (OSError, MemoryError) as error:
            return self._failed(error)
        return 0

    def _finish_file(self) -> None:
        """The whole file is here: on to the next, or, when its hash is wrong, the same again from its start. That takes
        hashing and copying, too long for a frame: `work` does it, and meanwhile the node says it is busy."""
        good = self._hash.digest() == self._wanted_digest
        self._file = _closed(self._file)
        self._resume = self.wanted + 1 if good else self.wanted
        self.state = _CHECKING

    def _commit(self):
        if self.state != _COMPLETE:
            self._forget(_DAMAGED)
            return
        self.state = _CHECKING
        for name, _, digest in self._files():
            if release.file_digest(self._slot + "/" + name, self._chunk) != digest:
                self._forget(_DAMAGED)
                return
            yield
        os.rename(self._slot + "/release.new", self._slot + "/release")
        record = slots.load(self._folder)
        slot = record.target(self._running)
        record.install(slot, self._digest)
        slots.save(self._folder, record)
        self._forget(_INSTALLED)

    def _failed(self, error) -> int:
        self._forget(_NO_MEMORY if isinstance(error, MemoryError) else _STORAGE_FAILED)
        return -DEVICE_FAILURE

    def _forget(self, state: int) -> None:
        self._file = _closed(self._file)
        self._offer = _closed(self._offer)
        self._release = None
        self._resume = -1
        self.received = 0
        self.wanted = _NONE_WANTED
        self.state = state


def _closed(file):
    """None, with the file closed; that its last bytes did not get to storage is found by their hash."""
    if file is not None:
        try:
            file.close()
        except OSError:
            pass


def _has_folder(path: str) -> bool:
    try:
        os.listdir(path)
        return True
    except OSError:
        return False
