"""CANopen-Lift (CiA 417 on CiA 301): what the nodes of a lift say among themselves, overheard.

A node sends each of its process data objects (PDO) under an identifier (COB-ID) of its own. Which quantity stands in which
bits of which PDO is the node's mapping: here it is data of the profile, because nodes are configured differently
(`CanopenPlace`). Three services are the same for every node and are always understood: its heartbeat (CiA 301,
7.2.8.3.2.2) says in which state it is, its emergency message (7.2.7) that it has found an error, its boot-up that it forgot
all that. In any other state than "operational" a node sends no PDO: its quantities then have no value, though the node is
heard. While an emergency stands, what it measures is doubtful.

Nothing can be asked for or told here: there is no SDO, no NMT, no PDO of ours. Numbers are little-endian (CiA 301, 7.1.4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from gateway.codec import Broadcast, HeardCodec, Place
from gateway.errors import GarbledAnswer
from gateway.reading import Flaw, Quality

PART: Final = "can"
"""The part of a Broadcast that holds the data of a frame."""
EMERGENCY, HEARTBEAT = 0x080, 0x700
"""COB-IDs to which the node id is added (CiA 301, 7.3.3)."""
LARGEST_NODE = 127
LARGEST_PDO = 8

_BOOTED, _STOPPED, _OPERATIONAL, _PRE_OPERATIONAL = 0, 4, 5, 127
_NOT_OPERATIONAL = {
    _BOOTED: "vient de démarrer", _STOPPED: "est arrêté", _PRE_OPERATIONAL: "est en pré-opérationnel",
}  # fmt: skip
_TOGGLE = 0x80
"""A node that is guarded instead turns this bit with every answer (CiA 301, 7.2.8.3.2.1)."""
_ERRORS = {
    0x10: "erreur générale", 0x20: "courant", 0x30: "tension", 0x40: "température", 0x50: "matériel", 0x60: "logiciel",
    0x70: "module", 0x80: "surveillance ou communication", 0x90: "erreur extérieure", 0xF0: "fonction complémentaire",
    0xFF: "propre à l'appareil",
}  # fmt: skip
"""Classes of emergency error codes by their high byte, or its high digit (CiA 301, table 26)."""

CobId = Annotated[int, Field(ge=0x080, le=0x7FF)]


class CanopenPlace(BaseModel):
    """Bits of a frame. cob_id: its identifier, or what the node id is added to where plus_node says so; byte: the first
    one, from 0; size in bytes; mask: the bits that count."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    cob_id: CobId
    plus_node: bool = False
    byte: int = Field(ge=0, lt=LARGEST_PDO)
    size: int = Field(ge=1, le=LARGEST_PDO)
    mask: int | None = None

    def sender(self, node: int) -> str:
        """Under which identifier the node sends it (`Broadcast.sender`)."""
        return sender_of(self.cob_id + node * self.plus_node)


def sender_of(cob_id: int) -> str:
    """An identifier of 11 bits as `Broadcast.sender` has it."""
    return f"{cob_id:03x}"


class CanopenLift(HeardCodec):
    """One node of a lift, overheard. places: what its profile knows of its frames."""

    def __init__(self, node: int, places: Iterable[CanopenPlace]) -> None:
        if not 1 <= node <= LARGEST_NODE:
            raise ValueError(f"node id: expected 1 to {LARGEST_NODE}, got {node}")
        self.node = node
        self._heartbeat, self._emergency = sender_of(HEARTBEAT + node), sender_of(EMERGENCY + node)
        self._places: dict[str, list[CanopenPlace]] = {self._heartbeat: [], self._emergency: []}
        for place in places:
            self._places.setdefault(place.sender(node), []).append(place)
        own = (self._heartbeat, self._emergency)
        self._measured = [place for sender, there in self._places.items() if sender not in own for place in there]
        self._state = _OPERATIONAL
        self._error = ""
        self.flaws = MappingProxyType({})

    def senders(self, address: int | str) -> Iterable[str]:
        return self._places

    def values(self, heard: Broadcast) -> Mapping[Place, bytes] | None:
        """The bytes of each place that the frame has, without those that it is too short for; None where it is no frame of
        this node. Raises GarbledAnswer for a frame that has none of them, or is no heartbeat or emergency message."""
        there = self._places.get(heard.sender)
        data = heard.parts.get(PART)
        if there is None or data is None:
            return None
        if heard.sender == self._heartbeat:
            self._hear_heartbeat(data)
        elif heard.sender == self._emergency:
            self._hear_emergency(data)
        elif self._state != _OPERATIONAL:
            self._state = _OPERATIONAL  # whoever sends a PDO is
            self._judge()
        said: dict[Place, bytes] = {p: data[p.byte : p.byte + p.size] for p in there if p.byte + p.size <= len(data)}
        if there and not said:
            least = min(place.byte + place.size for place in there)
            raise GarbledAnswer(f"COB-ID {heard.sender}: expected at least {least} bytes, got {len(data)}; "
                                "does the node have the mapping of this profile?", data)  # fmt: skip
        return said

    def _hear_heartbeat(self, data: bytes) -> None:
        state = data[0] & ~_TOGGLE if len(data) == 1 else -1
        if state != _OPERATIONAL and state not in _NOT_OPERATIONAL:
            raise GarbledAnswer(f"heartbeat of node {self.node}: expected one byte 00, 04, 05 or 7F", data)
        self._state = state
        if state == _BOOTED:
            self._error = ""
        self._judge()

    def _hear_emergency(self, data: bytes) -> None:
        if len(data) != LARGEST_PDO:
            raise GarbledAnswer(f"emergency message of node {self.node}: expected 8 bytes, got {len(data)}", data)
        code = int.from_bytes(data[:2], "little")
        said = f"{code:04X} ({_class_of(code)}), registre {data[2]:02X}, octets {data[3:].hex(' ').upper()}"
        self._error = said if code >> 8 else ""
        self._judge()

    def _judge(self) -> None:
        """What the node's own word means for what it measures."""
        if self._state != _OPERATIONAL:
            why = f"le nœud {self.node} {_NOT_OPERATIONAL[self._state]} et n'envoie aucune mesure"
            flaw = Flaw(Quality.BAD, f"{why} ; erreur {self._error}" if self._error else why)
        elif self._error:
            flaw = Flaw(Quality.UNCERTAIN, f"le nœud {self.node} signale l'erreur {self._error}")
        else:
            flaw = None
        self.flaws = MappingProxyType(dict.fromkeys(self._measured, flaw) if flaw else {})


def _class_of(code: int) -> str:
    return _ERRORS.get(code >> 8) or _ERRORS.get(code >> 8 & 0xF0, "inconnue")
