"""A flash in memory whose power is cut after so many programmed or erased bytes, in the middle of a write."""

import gc

import vfs

_BLOCK = 512
_COUNT = 96


class Cut(Exception):
    pass


class Flash:
    def __init__(self):
        self.memory = bytearray(b"\xff" * (_BLOCK * _COUNT))
        self.left = -1  # bytes until the cut; below 0: never
        self.cut = False

    def readblocks(self, number, buf, offset=0):
        at = number * _BLOCK + offset
        buf[:] = memoryview(self.memory)[at : at + len(buf)]

    def writeblocks(self, number, buf, offset=None):
        if offset is None:
            self.ioctl(6, number)
            offset = 0
        at = number * _BLOCK + offset
        n = self._spend(len(buf))
        self.memory[at : at + n] = buf[:n]
        if n < len(buf):
            raise OSError(5)

    def ioctl(self, operation, argument):
        if operation == 4:
            return _COUNT
        if operation == 5:
            return _BLOCK
        if operation == 6:
            at = argument * _BLOCK
            n = self._spend(_BLOCK)
            self.memory[at : at + n] = b"\xff" * n
            if n < _BLOCK:
                raise OSError(5)
            return 0
        return 0

    def _spend(self, n):
        if self.cut:
            return 0
        if self.left < 0 or n <= self.left:
            if self.left >= 0:
                self.left -= n
            return n
        n = self.left
        self.cut = True
        return n


def mounted(prepare):
    """(flash) formatted and mounted at /flash, with prepare() run on it."""
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash)
    vfs.mount(flash, "/flash")
    prepare()
    vfs.umount("/flash")
    return flash


def every_cut(prepare, act, inspect, step):
    """For cuts at 0, step, 2 step, ... bytes: prepare, act until the cut, power on again, inspect(whether act ended).
    Ends after the first time that act came through. Returns how many cuts there were."""
    start = bytes(mounted(prepare).memory)
    budget = 0
    while True:
        gc.collect()  # files that a cut left open are closed here, not in the middle of a write
        flash = Flash()
        flash.memory[:] = start
        vfs.mount(flash, "/flash")
        flash.left = budget
        try:
            act()
        except OSError:
            pass
        came_through = not flash.cut
        try:
            vfs.umount("/flash")
        except OSError:
            pass
        flash.left = -1
        flash.cut = False
        vfs.mount(flash, "/flash")
        inspect(came_through)
        vfs.umount("/flash")
        if came_through:
            return budget // step
        budget += step
