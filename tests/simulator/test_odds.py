"""Faults as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.odds import KNOWN, Odds, faults_of, parse_odds


def test_a_text_says_kind_share_and_time() -> None:
    assert parse_odds(" crc=0.05, late=0.02:0.9", "modbus-rtu") == (
        Odds("crc", 0.05, 0.0), Odds("late", 0.02, 0.9),
    )  # fmt: skip
    assert parse_odds("late=1", "modbus-tcp") == (Odds("late", 1.0, 0.6),)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="faults") as error:
        parse_odds("crc=0.05,crc=0.1,lat=1,late=x,silent=2,gap=0.1:-4", "modbus-rtu")
    for said in ("'crc': given twice", "'lat': expected a fault of modbus-rtu: crc", "'late=x': expected name=share",
                 "'silent=2': expected a share", "'gap=0.1:-4'"):  # fmt: skip
        assert said in str(error.value)
    for text, protocol, said in (
        ("", "modbus-rtu", "at least one"),
        ("crc=0.6,late=0.6", "modbus-rtu", "add up to 1"),
        ("crc=0.1", "modbus-tcp", "expected a fault of modbus-tcp: reset"),
        ("crc=0.1", "ble", "expected a fault of ble: lost_link"),
        ("crc=0.1", "smoke", "there is none"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_odds(text, protocol)


@pytest.mark.parametrize("protocol", KNOWN)
def test_every_fault_of_every_bus_can_be_asked_for(protocol: str) -> None:
    for kind in KNOWN[protocol]:
        odds = parse_odds(f"{kind}=1", protocol)
        drawn = faults_of(protocol, odds, 1).draw()
        assert drawn is not None
        assert drawn.kind == kind


def test_shares_are_those_of_all_exchanges() -> None:
    faults = faults_of("modbus-rtu", parse_odds("crc=0.3,late=0.1", "modbus-rtu"), 5)
    drawn = [fault.kind if (fault := faults.draw()) else "" for _ in range(5000)]
    assert 0.27 < drawn.count("crc") / 5000 < 0.33
    assert 0.08 < drawn.count("late") / 5000 < 0.12
    assert faults_of("modbus-rtu", (), 1).draw() is None


@given(st.text(max_size=30), st.sampled_from(sorted(KNOWN)))
def test_any_text_is_odds_or_our_error(text: str, protocol: str) -> None:
    said, total = "", 0.0
    try:
        total = sum(odds.rate for odds in parse_odds(text, protocol))
    except ValueError as error:
        said = str(error)
    assert said.startswith("faults ") or 0 < total <= 1
