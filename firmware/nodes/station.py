"""What every node is: a unit on the line with a clock, a journal, kept settings, updates, and a watchdog.

A node gives its rows of the register map and its periodic steps; `run` never returns. The first 32 addresses of each
area are the same in all nodes.
"""

import asyncio
import gc
import sys

import board
import civil
import machine
import slots
import update
from clock import Clock
from journal import CLOCK_SET, TIME_UNKNOWN, Journal
from journal_file import JournalFile
from line import Line
from micropython import const
from modbus_rtu import Server, crc16, last_frame
from registers import Registers
from station_map import NODES, ROWS
from supervisor import Supervisor

# Addresses by the names of the map's rows; private, for as such they cost a board no heap.
# inputs
_NODE = const(0)
_HARDWARE = const(1)
_VERSION = const(2)
_STATUS = const(4)
_RESET_CAUSE = const(5)
_BOOTS = const(6)
_UPTIME = const(8)
_TIME = const(10)
_CRC_ERRORS = const(12)
_JOURNAL_FIRST = const(13)
_FREE_HEAP = const(15)
_UPDATE_STATE = const(16)
_UPDATE_WANTED = const(17)
_UPDATE_RECEIVED = const(18)
_SLOT = const(19)
_JOURNAL_NEXT = const(20)
_JOURNAL_DROPPED = const(22)
# holdings
_SET_TIME = const(0)
_UTC_OFFSET = const(2)
_UPDATE_COMMAND = const(8)
_UPDATE_LENGTH = const(9)
_SETTINGS = const(40)
"""Holdings from here to 63 are kept through a power cut."""
_SETTINGS_END = const(64)
# bits of status
_CLOCK_UNKNOWN = const(1)
_SAFE_MODE = const(2)
_ON_TRIAL = const(4)
_JOURNAL_FAULT = const(32)

_WATCHDOG_MS = const(8000)  # under the RP2040's longest, 8,388 ms
_PATIENCE_S = const(10)
"""How late a task may be before the watchdog is no longer fed."""
_SELF_TEST_S = const(60)
_UNREACHED_S = const(600)
_SAFE_MODE_S = const(3600)
_KEEP_WITHIN_S = const(480)
"""Longest that a record waits in RAM; a power cut costs what came since."""


class Station:
    """config: what was provisioned (see docs/firmware.md). slot: the one that runs, slots.SAFE_MODE when none could.
    version: of its release."""

    def __init__(self, config: dict, slot: int, version: int, folder: str = ".", rows: str = ""):
        self.folder = folder
        self.slot = slot
        self.pins = board.pins(config)
        self.clock = Clock()
        self.supervisor = Supervisor()
        self.registers = Registers(ROWS, rows)
        self.registers.on_write = self._note_write
        self._written = bytearray(64)
        self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        record = slots.load(folder)
        self._on_trial = slot != slots.SAFE_MODE and record.trial == slot
        self._version = version
        self._update = update.Update(
            folder, slot, config["node"], config["hardware"], bytes.fromhex(config["release_key"])
        )
        self._command = 0
        self._time_asked = False
        self._settings_asked = False
        self._steps = []
        self._settled = False
        self._self_test_s = config.get("self_test_s", _SELF_TEST_S)
        self.journal = Journal(folder + "/records", record.boots)  # no name of a module: a folder would hide it
        self._waiting_since = 0
        self._kept = JournalFile(self.journal, record.boots)
        self.read = self._kept.read
        self.write = self._update.write
        identity = (b"Guet", config["node"].encode(), b"%d" % version)
        identity += (b"", b"Guet node", b"hardware %d" % config["hardware"], config.get("name", "").encode()[:32])
        self._server = Server(config["unit_id"], self.registers, identity, self)
        self._line = Line(config.get("uart", 1), self.pins, config.get("baud", 19200), config.get("parity", "E"))
        inputs = self.registers.inputs
        inputs[_NODE] = NODES.index(config["node"])
        inputs[_HARDWARE] = config["hardware"]
        _put32(inputs, _VERSION, version)
        _put32(inputs, _BOOTS, record.boots)
        inputs[_RESET_CAUSE] = machine.reset_cause()
        inputs[_SLOT] = slot
        self.flag(_SAFE_MODE, slot == slots.SAFE_MODE)
        self.flag(_ON_TRIAL, self._on_trial)
        self._tell_journal()
        self._load_settings()

    def flag(self, bit: int, on) -> None:
        """Set or clear a bit of the status register."""
        inputs = self.registers.inputs
        inputs[_STATUS] = inputs[_STATUS] | bit if on else inputs[_STATUS] & ~bit

    def take_written(self, address: int) -> bool:
        """Whether a client has written the holding at `address` since this was last asked."""
        written = self._written[address]
        self._written[address] = 0
        return written == 1

    def local(self):
        """(minute of the day, month) in local time; (None, None) while time is unknown."""
        utc = self.clock.utc()
        if utc < 0:
            return None, None
        offset = self.registers.holdings[_UTC_OFFSET]
        local = utc + 60 * (offset - 0x10000 if offset & 0x8000 else offset)
        return civil.minute_of_day(local), civil.date(local)[1]

    def remember(self, kind: int, value: int) -> None:
        """Keep a value in the journal with the best time there is. kind: 1 to 255, the node's own."""
        utc = self.clock.utc()
        if not self.journal.waiting:
            self._waiting_since = self.clock.uptime()
        if utc < 0:
            self.journal.append(kind, TIME_UNKNOWN, value, self.clock.uptime())
        else:
            self.journal.append(kind, 0, value, utc)

    def keep(self, name: str, data) -> None:
        """Keep a few bytes durably under a name; `kept` gives them back. Fails silently into the status register: a
        worn flash must not stop the node."""
        body = bytes(data)
        try:
            path = self.folder + "/" + name
            slots.replace(path, path + ".new", body + crc16(body, len(body)).to_bytes(2, "little"))
        except OSError:
            self.journal.faults += 1

    def kept(self, name: str) -> bytes:
        """b"" when there is nothing, or nothing intact."""
        try:
            with open(self.folder + "/" + name, "rb") as file:
                data = file.read()
        except OSError:
            return b""
        return data[:-2] if len(data) > 2 and crc16(data, len(data)) == 0 else b""

    def every(self, name: str, period_ms: int, step) -> None:
        """Call step(uptime in s) each period; it must not block. Late by more than _PATIENCE_S, the watchdog acts."""
        self._steps.append((name, period_ms, step))

    def run(self) -> None:
        """Serve for ever; ends only in a reset."""
        asyncio.run(self._main())

    async def _main(self) -> None:
        self.every("housekeeping", 1000, self._housekeep)
        now = self.clock.uptime()
        served = self.supervisor.register("line", _PATIENCE_S, now)
        errands = self.supervisor.register("errands", _PATIENCE_S, now)
        tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._run_errands(errands))]
        for name, period_ms, step in self._steps:
            number = self.supervisor.register(name, _PATIENCE_S + period_ms // 1000, now)
            tasks.append(asyncio.create_task(self._repeat(number, period_ms, step)))
        print("ready", sys.platform, "slot", slots.NAMES[self.slot] or "safe mode", "free", gc.mem_free())
        while True:
            await asyncio.sleep_ms(500)
            now = self.clock.uptime()
            if self._line.alive():  # it waits for frames that may never come, so it cannot check in by itself
                self.supervisor.check_in(served, now)
            late = self.supervisor.late(now)
            if late or any(task.done() for task in tasks):
                print("not well:", late or "a task ended")
                continue  # not fed: the watchdog restarts the node, and boot puts the outputs into their safe state
            self._watchdog.feed()

    async def _repeat(self, number: int, period_ms: int, step) -> None:
        while True:
            now = self.clock.uptime()
            step(now)
            self.supervisor.check_in(number, now)
            await asyncio.sleep_ms(period_ms)

    async def _serve(self) -> None:
        line = self._line
        server = self._server
        while True:
            n = await line.receive()
            n = last_frame(line.buf, n, server.unit_id)
            m = server.handle(line.buf, n) if n else 0
            if m:
                await line.send(server.out, m)

    async def _run_errands(self, number: int) -> None:
        """What a frame has asked for and could not wait for: updates, and records out of flash."""
        inputs = self.registers.inputs
        while True:
            self.supervisor.check_in(number, self.clock.uptime())
            command = self._command
            self._command = 0
            if command == update.COMMAND_RESTART:
                await asyncio.sleep_ms(200)  # the answer leaves first
                self.restart()
            for _ in self._update.work(command, self.registers.holdings[_UPDATE_LENGTH]):
                self.supervisor.check_in(number, self.clock.uptime())
                inputs[_UPDATE_STATE] = self._update.state
                await asyncio.sleep_ms(0)
            inputs[_UPDATE_STATE] = self._update.state
            inputs[_UPDATE_WANTED] = self._update.wanted
            inputs[_UPDATE_RECEIVED] = self._update.received
            self._kept.fetch(self.clock.start_utc)
            await asyncio.sleep_ms(20)

    def restart(self) -> None:
        self.journal.flush()
        machine.reset()

    def _note_write(self, start: int, count: int) -> None:
        """Within a frame: only take note."""
        if start <= _SET_TIME < start + count:
            self._time_asked = True
        if start <= _UPDATE_COMMAND < start + count:
            self._command = self.registers.holdings[_UPDATE_COMMAND]
        for address in range(start, min(start + count, len(self._written))):
            self._written[address] = 1
        if start < _SETTINGS_END and start + count > _SETTINGS:
            self._settings_asked = True

    def _housekeep(self, now: int) -> None:
        inputs = self.registers.inputs
        gc.collect()
        self._take_writes()
        _put32(inputs, _UPTIME, now)
        inputs[_FREE_HEAP] = min(gc.mem_free(), 0xFFFF)
        inputs[_CRC_ERRORS] = self._server.crc_errors
        if self.journal.waiting and now - self._waiting_since >= _KEEP_WITHIN_S:
            self.journal.flush()
        self._tell_journal()
        self.flag(_JOURNAL_FAULT, self.journal.faults)
        utc = self.clock.utc()
        self.flag(_CLOCK_UNKNOWN, utc < 0)
        if utc >= 0:
            civil.to_unix(utc, inputs, _TIME)
        if self.slot == slots.SAFE_MODE:
            if now >= _SAFE_MODE_S:  # whatever was wrong may have passed
                self._healthy()
                self.restart()
        elif now >= self._self_test_s and not self._settled:
            self._self_test(now)

    def _tell_journal(self) -> None:
        inputs = self.registers.inputs
        inputs[_JOURNAL_DROPPED] = self.journal.dropped & 0xFFFF
        _put32(inputs, _JOURNAL_FIRST, self.journal.first)
        _put32(inputs, _JOURNAL_NEXT, self.journal.next)

    def _take_writes(self) -> None:
        """What clients wrote since the last second."""
        holdings = self.registers.holdings
        if self._time_asked:
            self._time_asked = False
            utc = civil.from_unix(holdings[_SET_TIME], holdings[_SET_TIME + 1])
            if utc >= 0:
                unknown = self.clock.start_utc < 0
                self.clock.set(utc)
                self._kept.forget()
                if unknown:  # earlier records of this start count from it: now they can be dated
                    self.journal.append(CLOCK_SET, 0, 0, self.clock.start_utc)
                    self.journal.flush()
        if self._settings_asked:
            self._settings_asked = False
            self.keep("settings", memoryview(holdings)[_SETTINGS : min(len(holdings), _SETTINGS_END)])

    def _self_test(self, now: int) -> None:
        """A program on trial must also have been spoken to: one that cannot be reached could never be replaced."""
        if not self._on_trial or self._server.frames:
            self._healthy()
        elif now >= _UNREACHED_S:
            self.restart()

    def _healthy(self) -> None:
        """The program has run long enough: forget crashes, and a trial has passed."""
        self._settled = True
        try:
            record = slots.load(self.folder)
            if self._on_trial:
                record.confirm(self.slot, self._version)
                slots.save(self.folder, record)
                self._on_trial = False
                self.flag(_ON_TRIAL, False)
            elif record.crashes:
                record.crashes = 0
                slots.save(self.folder, record)
        except OSError:
            self.journal.faults += 1

    def _load_settings(self) -> None:
        """Settings kept before; each only if it is still one that a client might write."""
        kept = self.kept("settings")
        holdings = self.registers.holdings
        for i in range(len(kept) // 2):
            value = kept[2 * i] | kept[2 * i + 1] << 8
            if self.registers.allows(_SETTINGS + i, value):
                holdings[_SETTINGS + i] = value


def _put32(cells, address: int, value: int) -> None:
    cells[address] = value >> 16 & 0xFFFF
    cells[address + 1] = value & 0xFFFF


def node(config: dict, slot: int, version: int, folder: str) -> Station:
    """Safe mode: a node that only identifies itself, tells its state and takes an update."""
    return Station(config, slot, version, folder)
