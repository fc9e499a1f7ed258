"""Errors carry their evidence and are told all at once."""

from __future__ import annotations

import inspect

import pytest

from gateway import errors
from gateway.errors import BusError, FileFault, GuetError, NoAnswer, ProfileError, Refused, SiteError, collecting


def test_every_error_of_ours_is_a_guet_error() -> None:
    ours = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(ours) >= 16
    assert all(issubclass(kind, GuetError) for kind in ours)


def test_a_bus_error_shows_what_was_received() -> None:
    error = NoAnswer("unit 3: expected an answer", b"\x01\x83\x02")
    assert error.raw == b"\x01\x83\x02"
    assert str(error) == "unit 3: expected an answer (received 01 83 02)"
    assert str(BusError("nothing came")) == "nothing came"


def test_a_long_garble_is_kept_whole_but_shown_in_part() -> None:
    error = BusError("noise", bytes(4096))
    assert len(error.raw) == 4096
    assert len(str(error)) < 200
    assert str(error).endswith("00 ...)")


def test_a_refusal_carries_the_code_of_the_device() -> None:
    assert Refused("no", 2, b"\x83\x02").code == 2


def test_faults_are_collected_and_raised_together() -> None:
    with pytest.raises(ProfileError) as caught, collecting(ProfileError) as faults:
        faults += ["a.toml: x: wrong", "a.toml: y: wrong too"]
    assert caught.value.faults == ("a.toml: x: wrong", "a.toml: y: wrong too")
    assert str(caught.value) == "a.toml: x: wrong\na.toml: y: wrong too"


def test_without_a_fault_nothing_is_raised() -> None:
    with collecting(SiteError) as faults:
        assert faults == []


def test_another_error_is_not_hidden_by_collected_faults() -> None:
    def fails(faults: list[str]) -> None:
        faults.append("told later")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), collecting(FileFault) as faults:
        fails(faults)
