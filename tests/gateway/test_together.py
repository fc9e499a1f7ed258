"""Told together: only when all of a group wait for the same, and nobody else would hear it."""

from __future__ import annotations

from contextlib import ExitStack

from gateway.codec import Limits
from gateway.codec.dali import DaliPlace, Sci
from gateway.together import Telling, Together

LEVEL, GROUPS = DaliPlace(query="actual_level"), DaliPlace(query="groups_8_15")
(SPAN,) = Sci().spans([(GROUPS, 1)], Limits())


def bus(groups: dict[int, int], addresses: int = 4) -> Together:
    together = Together(Sci(), range(addresses))
    for address, bits in groups.items():
        together.heard(address, SPAN, bytes((bits,)))
    return together


def wait(together: Together, waiting: dict[int, int]) -> tuple[ExitStack, dict[int, Telling]]:
    stack = ExitStack()
    return stack, {
        address: stack.enter_context(together.waiting(address, LEVEL, bytes((level,))))
        for address, level in waiting.items()
    }


def group_of(together: Together, waiting: dict[int, int], lost: tuple[int, ...] = ()) -> int | None:
    stack, tellings = wait(together, waiting)
    with stack:
        return together.group(tellings[min(waiting)], lost)


ALL = dict.fromkeys(range(4), 128)


def test_all_of_a_group_are_told_with_one_command_once() -> None:
    together = bus(ALL)
    stack, tellings = wait(together, dict.fromkeys(range(4), 200))
    with stack:
        assert together.group(tellings[0], ()) == 15
        together.told(tellings[0], 15)
        assert all(one.told.is_set() for one in tellings.values())
    assert group_of(together, {1: 200}) is None, "nobody waits any more"


def test_one_that_waits_for_another_level_or_for_none_is_not_told_with_the_others() -> None:
    assert group_of(bus(ALL), {0: 200, 1: 200, 2: 200, 3: 90}) is None
    assert group_of(bus(ALL), {0: 200, 1: 200, 2: 200}) is None


def test_one_that_is_lost_does_not_count() -> None:
    assert group_of(bus(ALL), {0: 200, 1: 200, 2: 200}, lost=(3,)) == 15


def test_one_of_which_nothing_is_known_forbids_it_unless_it_is_to_be_told_the_same() -> None:
    known = dict.fromkeys(range(3), 128)
    assert group_of(bus(known), {0: 200, 1: 200, 2: 200}) is None
    stack, tellings = wait(together := bus(known), dict.fromkeys(range(4), 200))
    with stack:
        assert together.group(tellings[0], ()) == 15
        together.told(tellings[0], 15)
        assert [one.told.is_set() for one in tellings.values()] == [True, True, True, False], "it is told by itself"


def test_a_street_beside_another_is_told_alone() -> None:
    assert group_of(bus({0: 0x80, 1: 0x80, 2: 0x40, 3: 0x40}), {0: 200, 1: 200}) == 15
    assert group_of(bus({0: 0x80, 1: 0x80, 2: 0xC0, 3: 0x40}), {0: 200, 1: 200}) is None, "2 is in both"


def test_other_hardware_is_not_taken_to_be_in_a_group() -> None:
    together = bus(ALL)
    together.forget(2)
    assert group_of(together, {0: 200, 1: 200, 3: 200}) is None
