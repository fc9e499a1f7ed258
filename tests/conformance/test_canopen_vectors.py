"""CANopen-Lift and SLCAN by their documents: each test is named by clause or page. CiA 301 V4.2.0; LAWICEL CAN232 manual
(LAW); Baumer GXP5 CANopen Lift manual of 04.05.11 (GXP5); ELGO LIMAX2 operating manual (LIMAX2)."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from gateway.codec import Broadcast
from gateway.codec.canopen_lift import PART, CanopenLift, CanopenPlace
from gateway.codec.slcan import BITRATES, CLOSE, LISTEN, STATE, Reader
from gateway.point import CanopenPoint
from gateway.profile import CanopenProfile, Profile, load_profile
from gateway.reading import Quality

FOLDER = Path(__file__).parents[2] / "device_profiles"


def points_of(name: str) -> tuple[Profile, dict[str, CanopenPoint]]:
    profile = load_profile(FOLDER, name)
    return profile, {point.name: point for point in profile.point if isinstance(point, CanopenPoint)}


def said(name: str, node: int, lines: str) -> tuple[dict[str, float | None], CanopenLift]:
    """What the points of a profile are after these lines of an adapter."""
    _, points = points_of(name)
    lift = CanopenLift(node, [point.place for point in points.values()])
    values: dict[str, float | None] = {}
    for frame in Reader().feed(lines.encode()):
        raw = lift.values(Broadcast(frame.name, {PART: frame.data})) or {}
        values |= {name: p.decoder()(raw[p.place]) for name, p in points.items() if p.place in raw}
    return values, lift


# LAWICEL


def test_law_c_l_f_and_s_are_single_letters_and_a_return() -> None:
    assert (CLOSE, LISTEN, STATE) == (b"C\r", b"L\r", b"F\r")


@pytest.mark.parametrize(
    ("rate", "code"),
    [(10_000, 0), (20_000, 1), (50_000, 2), (100_000, 3), (125_000, 4), (250_000, 5), (500_000, 6), (1_000_000, 8)],
)
def test_law_s_bit_rates(rate: int, code: int) -> None:
    assert BITRATES[rate] == f"S{code}\r".encode()


@pytest.mark.parametrize(
    ("flags", "words"), [("00", "sans erreur"), ("08", "trames perdues"), ("04", "avertissement d'erreurs")]
)
def test_law_f_status_flags(flags: str, words: str) -> None:
    reader = Reader()
    reader.feed(f"F{flags}\r".encode())
    assert str(reader.take_state()) == words


def test_law_t_carries_3_digits_of_identifier_1_of_length_and_the_bytes() -> None:
    (frame,) = Reader().feed(b"t10021133\r")
    assert (frame.identifier, frame.data, frame.extended) == (0x100, b"\x11\x33", False)


# CiA 301


def test_cia_301_7_1_4_2_numbers_are_sent_lowest_byte_first() -> None:
    values, _ = said("guet/canopen_lift", 4, "t38444E61BC00\r")
    assert values == {"trips": 12345678}


@pytest.mark.parametrize(("byte", "mute"), [("00", True), ("04", True), ("05", False), ("7F", True)])
def test_cia_301_7_2_8_3_2_2_heartbeat_states(byte: str, mute: bool) -> None:
    values, lift = said("guet/canopen_lift", 4, f"t7041{byte}\r")
    assert values == {"state": int(byte, 16)}
    assert bool(lift.flaws) is mute


def test_cia_301_7_2_7_emergency_code_then_register_then_five_bytes_of_the_maker() -> None:
    _, lift = said("guet/canopen_lift", 4, "t08483081111122334455\r")
    (flaw,) = set(lift.flaws.values())
    assert flaw.quality is Quality.UNCERTAIN
    assert "8130 (surveillance ou communication), registre 11, octets 11 22 33 44 55" in flaw.reason


def test_cia_301_7_3_3_emergency_is_80h_and_heartbeat_700h_plus_node() -> None:
    assert set(CanopenLift(0x20, []).senders(0x20)) == {"0a0", "720"}


# Makers


def test_gxp5_page_10_pdo1_is_18c_with_position_in_bytes_1_to_4_and_speed_in_5_and_6() -> None:
    _, points = points_of("lift/baumer_gxp5_417")
    assert (points["position"].cob_id, points["position"].byte, points["position"].size) == (0x18C, 0, 4)
    assert (points["speed"].cob_id, points["speed"].byte, points["speed"].size) == (0x18C, 4, 2)
    assert said("lift/baumer_gxp5_417", 1, "t18C639300000FA00\r")[0] == {"position": 12345, "speed": 250}


def test_gxp5_page_10_the_printed_formula_gives_18c_only_with_10h() -> None:
    assert 0x17B + 1 * 0x10 + 1 == 0x18C
    assert 0x17B + 1 * 10 + 1 != 0x18C


def test_gxp5_page_10_emergency_of_a_battery_that_is_low() -> None:
    """Generic error 1000h, register bit 0, no alarm in bytes 3 and 4, warning bit 4 in bytes 5 and 6."""
    _, lift = said("lift/baumer_gxp5_417", 1, "t08180010010000100000\r")
    assert "1000 (erreur générale), registre 01, octets 00 00 10 00 00" in next(iter(lift.flaws.values())).reason


def test_gxp5_page_12_boot_up_is_700h_plus_node_with_00() -> None:
    assert said("lift/baumer_gxp5_417", 1, "t701100\r")[0] == {"state": 0}


def test_gxp5_page_39_heartbeat_701_with_7f_is_pre_operational() -> None:
    assert said("lift/baumer_gxp5_417", 1, "t70117F\r")[0] == {"state": 127}


def test_limax2_page_25_18c_at_node_4_250_kbit_and_half_a_millimetre() -> None:
    profile, points = points_of("lift/elgo_limax2")
    assert isinstance(profile, CanopenProfile)
    assert (profile.canopen.node, profile.canopen.bitrate) == (4, 250_000)
    assert (points["position"].cob_id, points["position"].scale) == (0x18C, 0.5)
    assert said("lift/elgo_limax2", 4, "t18C472600000\r")[0] == {"position": 12345.0}


# Truncation at every index


@pytest.mark.parametrize("line", ["t18C639300000FA00", "t70117F", "t08180010010000100000", "T0000018C239301A2B"])
def test_a_line_cut_anywhere_is_no_frame_or_a_frame_without_its_time_stamp(line: str) -> None:
    assert set(line[1:]) <= set(string.hexdigits)
    (whole,) = Reader().feed(f"{line}\r".encode())
    for at in range(len(line)):
        for frame in Reader().feed(f"{line[:at]}\r".encode()):
            assert (frame.identifier, frame.data) == (whole.identifier, whole.data)
    assert CanopenPlace(cob_id=0x18C, byte=0, size=4).sender(1) == "18c"
