"""CANopen-Lift: what the nodes of a lift say, and what their own word means for what they measure."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codec import Broadcast
from gateway.codec.canopen_lift import PART, CanopenLift, CanopenPlace
from gateway.errors import GarbledAnswer
from gateway.reading import Quality

POSITION = CanopenPlace(cob_id=0x18C, byte=0, size=4)
SPEED = CanopenPlace(cob_id=0x18C, byte=4, size=2)
DOOR = CanopenPlace(cob_id=0x280, plus_node=True, byte=0, size=1, mask=3)
STATE = CanopenPlace(cob_id=0x700, plus_node=True, byte=0, size=1, mask=0x7F)


def node() -> CanopenLift:
    return CanopenLift(4, [POSITION, SPEED, DOOR, STATE])


def frame(cob_id: int, data: bytes) -> Broadcast:
    return Broadcast(f"{cob_id:03x}", {PART: data})


def test_a_node_is_known_by_everything_it_sends() -> None:
    assert sorted(node().senders(4)) == ["084", "18c", "284", "704"]


def test_a_pdo_gives_the_bytes_of_each_place() -> None:
    assert node().values(frame(0x18C, struct.pack("<ih", 12345, -250))) == {
        POSITION: b"\x39\x30\x00\x00",
        SPEED: b"\x06\xff",
    }


def test_a_pdo_that_ends_early_gives_what_it_has() -> None:
    assert node().values(frame(0x18C, struct.pack("<i", 12345))) == {POSITION: b"\x39\x30\x00\x00"}


def test_a_pdo_with_another_mapping_is_garbled() -> None:
    with pytest.raises(GarbledAnswer, match="18c: expected at least 4 bytes, got 3; does the node have the mapping"):
        node().values(frame(0x18C, b"\x01\x02\x03"))


@pytest.mark.parametrize("heard", [frame(0x285, b"\x01"), frame(0x705, b"\x05"), Broadcast("18c", {"fcd2": b"\x01"})])
def test_other_nodes_are_not_ours(heard: Broadcast) -> None:
    assert node().values(heard) is None


@pytest.mark.parametrize(("state", "said"), [(0, "vient de démarrer"), (4, "est arrêté"), (127, "est en pré-opérat")])
def test_a_node_that_is_not_operational_measures_nothing(state: int, said: str) -> None:
    lift = node()
    assert lift.values(frame(0x704, bytes((state,)))) == {STATE: bytes((state,))}
    assert set(lift.flaws) == {POSITION, SPEED, DOOR}
    assert {flaw.quality for flaw in lift.flaws.values()} == {Quality.BAD}
    assert said in lift.flaws[POSITION].reason
    lift.values(frame(0x704, b"\x05"))
    assert lift.flaws == {}


def test_the_toggle_bit_of_node_guarding_is_no_state() -> None:
    lift = node()
    lift.values(frame(0x704, b"\x85"))
    assert lift.flaws == {}


def test_whoever_sends_a_pdo_is_operational() -> None:
    lift = node()
    lift.values(frame(0x704, b"\x7f"))
    lift.values(frame(0x18C, bytes(6)))
    assert lift.flaws == {}


def test_an_emergency_makes_what_is_measured_doubtful_until_it_is_taken_back() -> None:
    lift = node()
    assert lift.values(frame(0x084, bytes.fromhex("00 10 01 01 00 10 00 00"))) == {}
    assert {flaw.quality for flaw in lift.flaws.values()} == {Quality.UNCERTAIN}
    assert lift.flaws[DOOR].reason == (
        "le nœud 4 signale l'erreur 1000 (erreur générale), registre 01, octets 01 00 10 00 00"
    )
    lift.values(frame(0x704, b"\x05"))
    assert lift.flaws, "a heartbeat takes no error back"
    lift.values(frame(0x084, bytes(8)))
    assert lift.flaws == {}


def test_a_node_that_boots_has_forgotten_its_error() -> None:
    lift = node()
    lift.values(frame(0x084, bytes.fromhex("30 81 11 00 00 00 00 00")))
    assert "8130 (surveillance ou communication)" in lift.flaws[DOOR].reason
    lift.values(frame(0x704, b"\x00"))
    assert "8130" not in lift.flaws[DOOR].reason
    lift.values(frame(0x704, b"\x05"))
    assert lift.flaws == {}


@pytest.mark.parametrize(
    "heard", [frame(0x704, b""), frame(0x704, b"\x05\x00"), frame(0x704, b"\x06"), frame(0x084, bytes(7))]
)
def test_what_is_no_heartbeat_or_emergency_is_garbled_and_changes_nothing(heard: Broadcast) -> None:
    lift = node()
    with pytest.raises(GarbledAnswer, match="expected"):
        lift.values(heard)
    assert lift.flaws == {}


@pytest.mark.parametrize("number", [0, 128])
def test_node_ids_are_1_to_127(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 127"):
        CanopenLift(number, [])


@pytest.mark.parametrize("cob_id", [0, 0x7F, 0x800])
def test_network_management_and_sync_are_no_place_of_a_point(cob_id: int) -> None:
    with pytest.raises(ValidationError):
        CanopenPlace(cob_id=cob_id, byte=0, size=1)


@given(st.sampled_from(["18c", "284", "704", "084", "000", "zzz", ""]), st.binary(max_size=64))
def test_any_bytes_at_all_give_places_or_our_own_error(sender: str, data: bytes) -> None:
    lift = node()
    try:
        said = lift.values(Broadcast(sender, {PART: data}))
    except GarbledAnswer:
        return
    assert said is None or all(len(raw) == place.size for place, raw in said.items() if isinstance(place, CanopenPlace))
