"""A node at the other end of a line, as its maintainer sees it: its state, its journal, its update over function 0x15."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.file_message import FileRecord, ReadFileRecordResponse

from firmware.tool.build import Release
from gateway.language import say

# The node's registers and states; nodes/station_map.py and lib/update.py are their source, a test holds them together.
STATUS_ROWS = (
    ("node", 0, 1), ("hardware", 1, 1), ("version", 2, 2), ("status", 4, 1), ("reset_cause", 5, 1), ("boots", 6, 2),
    ("uptime_s", 8, 2), ("unix_time_s", 10, 2), ("crc_errors", 12, 1), ("journal_first", 13, 2),
    ("free_heap_bytes", 15, 1), ("update_state", 16, 1), ("update_wanted", 17, 1),
    ("update_received", 18, 1), ("slot", 19, 1), ("journal_next", 20, 2), ("journal_dropped", 22, 1),
)  # fmt: skip
STATUS_BITS = ("clock unknown", "safe mode", "on trial", "sensor fault", "leased", "journal fault")
NODES = ("?", "pressure", "lamp", "lift", "bin")
SLOTS = ("safe mode", "a", "b")
SET_TIME, COMMAND = 0, 8
BEGIN, COMMIT, RESTART, CANCEL = 1, 2, 3, 4
IDLE, CHECKING, RECEIVING, COMPLETE, INSTALLED = range(5)
NONE_WANTED = 0xFFFF
PROGRESS = {
    IDLE: ("aucune", "none"),
    CHECKING: ("vérifie", "checking"),
    RECEIVING: ("attend un fichier", "wants a file"),
    COMPLETE: ("complète", "complete"),
    INSTALLED: ("installée, à essayer au prochain démarrage", "installed, to be tried at the next start"),
}
REFUSALS = {
    16: ("manifeste malformé", "malformed manifest"),
    17: ("la signature n'est pas de la clé que ce nœud connaît", "the signature is not by the key this node trusts"),
    18: ("faite pour une autre sorte de nœud", "made for another kind of node"),
    19: ("faite pour une autre version de la carte", "made for another hardware revision"),
    20: ("pas plus récente que ce que ce nœud a déjà fait tourner", "not newer than what this node has run"),
    21: (
        "le nœud essaie encore la précédente ; attendre une minute",
        "the node is still trying its last update; wait a minute",
    ),
    22: ("la mémoire flash du nœud est pleine ou défaillante", "the node's storage failed or is full"),
    23: ("un fichier s'est abîmé dans le nœud ; recommencer", "a file was damaged in the node; try again"),
    24: (
        "le nœud manque de mémoire vive ; le redémarrer (couper, remettre) et recommencer",
        "the node has too little free memory; restart it (power off and on) and try again",
    ),
}
TIME_UNKNOWN = 1
_CHUNK_REGISTERS = 100
_BUSY = 6
_JOURNAL_FILE, _RECORDS_A_FILE, _RECORDS_AT_ONCE, _RECORD_REGISTERS = 0x8000, 1024, 20, 6


def update_words(state: int) -> str:
    """How an update stands, or why it was refused."""
    return say(*(PROGRESS | REFUSALS).get(state, (f"état {state}", f"state {state}")))


logging.getLogger("pymodbus.logging").addHandler(logging.NullHandler())  # what it has to say, our errors say


class NodeError(Exception):
    """The node did not answer, or refused; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a node's journal. time_s: Unix seconds; with `dated` false, seconds since that start of the node."""

    sequence: int
    kind: int
    value: int
    time_s: int
    dated: bool


class Node:
    """A node on a line: an open pymodbus client and the unit id."""

    def __init__(self, client: ModbusSerialClient, unit_id: int) -> None:
        self._client = client
        self._unit_id = unit_id

    def status(self) -> dict[str, int | str | list[str]]:
        """The registers every node has, by name."""
        cells = self._inputs(0, 23)
        found: dict[str, int | str | list[str]] = {}
        for name, at, size in STATUS_ROWS:
            found[name] = cells[at] if size == 1 else cells[at] << 16 | cells[at + 1]
        found["node"] = NODES[cells[0]] if cells[0] < len(NODES) else "?"
        found["slot"] = SLOTS[cells[19]] if cells[19] < len(SLOTS) else "?"
        found["status"] = [text for bit, text in enumerate(STATUS_BITS) if cells[4] >> bit & 1]
        return found

    def set_time(self, unix_s: int) -> None:
        self._holdings(SET_TIME, [unix_s >> 16 & 0xFFFF, unix_s & 0xFFFF])

    def journal(self) -> Iterator[Record]:
        """All records the node has written, oldest first. Reading deletes nothing."""
        cells = self._inputs(13, 9)
        at, end = cells[0] << 16 | cells[1], cells[7] << 16 | cells[8]
        while at < end:
            place = at % _RECORDS_A_FILE
            count = min(end - at, _RECORDS_AT_ONCE, _RECORDS_A_FILE - place)
            asked = FileRecord(
                file_number=_JOURNAL_FILE + at // _RECORDS_A_FILE,
                record_number=_RECORD_REGISTERS * place,
                record_length=2 * _RECORD_REGISTERS * count,  # pymodbus counts bytes
            )
            answer = self._patiently(self._client.read_file_record, asked)
            if not isinstance(answer, ReadFileRecordResponse):
                raise self._refuses(say(f"l'enregistrement {at}", f"record {at}"), answer)
            for time_s, flags, kind, value, _, _ in struct.iter_unpack(">IBBHHH", answer.records[0].record_data):
                yield Record(at, kind, value, time_s, not flags & TIME_UNKNOWN)
                at += 1

    def update(self, release: Release, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Bring a release into the node's other slot and let it try it. A repeated call goes on where it was cut."""
        names = [line.split(b" ")[3].decode() for line in release.manifest.split(b"\n") if line.startswith(b"file ")]
        total = sum(len(release.files[name]) for name in names)
        self._send(1, release.manifest)
        self._holdings(COMMAND, [BEGIN, len(release.manifest)])
        self._await_state(RECEIVING, COMPLETE, seconds=60)
        while (cells := self._inputs(16, 2))[0] != COMPLETE:
            self._refused(cells[0])
            if cells[0] == RECEIVING:
                index = cells[1]
                progress(sum(len(release.files[name]) for name in names[:index]), total)
                self._send(256 + index, release.files[names[index]])
            time.sleep(0.05)
        progress(total, total)
        self._holdings(COMMAND, [COMMIT, 0])
        self._await_state(INSTALLED, seconds=30)
        self._holdings(COMMAND, [RESTART, 0])

    def _await_state(self, *wanted: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        state = -1
        time.sleep(0.1)
        while time.monotonic() < until:
            state = self._inputs(16, 1)[0]
            if state in wanted:
                return
            self._refused(state)
            time.sleep(0.1)
        raise self._error(
            f"sa mise à jour n'avance plus ({update_words(state)}) ; recommencer",
            f"its update is stuck ({update_words(state)}); start again",
        )

    def _refused(self, state: int) -> None:
        if state in REFUSALS:
            raise self._error(
                f"refuse la mise à jour : {update_words(state)}", f"refuses the update: {update_words(state)}"
            )

    def _error(self, french: str, english: str) -> NodeError:
        return NodeError(say(f"unité {self._unit_id} : {french}", f"unit {self._unit_id}: {english}"))

    def _refuses(self, what: str, answer: ModbusPDU) -> NodeError:
        code = answer.exception_code
        return self._error(f"refuse {what} (exception {code})", f"refuses {what} (exception {code})")

    def _send(self, file: int, data: bytes) -> None:
        padded = data + b"\0" * (len(data) & 1)
        step = 2 * _CHUNK_REGISTERS
        for at in range(0, len(padded), step):
            record = FileRecord(file_number=file, record_number=at // 2, record_data=padded[at : at + step])
            answer = self._patiently(self._client.write_file_record, record)
            if answer.isError():
                for _ in range(10):  # it says why with its next look at its registers
                    self._refused(self._inputs(16, 1)[0])
                    time.sleep(0.1)
                raise self._refuses(say(f"le fichier {file} à l'octet {at}", f"file {file} at byte {at}"), answer)

    def _patiently(self, request: Callable[..., ModbusPDU], record: FileRecord) -> ModbusPDU:
        """The answer of a node that may be busy for a few seconds."""
        for _ in range(50):
            answer = self._ask(lambda: request([record], device_id=self._unit_id))
            if not (answer.isError() and answer.exception_code == _BUSY):
                break
            time.sleep(0.1)
        return answer

    def _inputs(self, address: int, count: int) -> list[int]:
        answer = self._ask(lambda: self._client.read_input_registers(address, count=count, device_id=self._unit_id))
        if answer.isError():
            raise self._refuses(
                say(f"l'entrée {address} : est-ce un nœud Guet ?", f"input {address}: is it a Guet node?"), answer
            )
        return list(answer.registers)

    def _holdings(self, address: int, values: list[int]) -> None:
        answer = self._ask(lambda: self._client.write_registers(address, values, device_id=self._unit_id))
        if answer.isError():
            raise self._refuses(say(f"le registre {address}", f"holding {address}"), answer)

    def _ask(self, request: Callable[[], ModbusPDU]) -> ModbusPDU:
        try:
            return request()
        except ModbusException as error:
            raise self._error(
                "aucune réponse ; vérifier l'alimentation, le câblage, la vitesse, la parité et le numéro d'unité",
                "no answer; check power, wiring, speed, parity and unit id",
            ) from error


def open_line(port: str, line: str, timeout_s: float = 1.0, retries: int = 3) -> ModbusSerialClient:
    """`line` as in a site file: "19200 8E1" (a pty knows no parity: "19200 8N1"). Raises NodeError when the port cannot be opened."""
    speed, _, form = line.partition(" ")
    if not speed.isdigit() or len(form) != 3 or form[1] not in "NEO" or form[0] + form[2] not in ("81", "82"):
        raise NodeError(
            say(f"ligne {line!r} : attendu par exemple '19200 8E1'", f"line {line!r}: expected for example '19200 8E1'")
        )
    client = ModbusSerialClient(
        port,
        framer=FramerType.RTU,
        baudrate=int(speed),
        bytesize=8,
        parity=form[1],
        stopbits=int(form[2]),
        timeout=timeout_s,
        retries=retries,
    )
    if not client.connect():
        raise NodeError(
            say(
                f"{port} : ne s'ouvre pas ; est-il branché, et nul autre programme (la passerelle) ne le tient-il ?",
                f"{port}: cannot be opened; is it plugged in, and does no other program (the gateway) hold it?",
            )
        )
    return client
