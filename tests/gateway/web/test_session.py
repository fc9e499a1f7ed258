"""Sessions of the page: who they last for, what their forms carry, and how long a wrong password costs."""

from __future__ import annotations

from itertools import count

import pytest

from gateway.patience import FREE_TRIES
from gateway.web.session import (
    FORGIVEN_S,
    IDLE_S,
    LONGEST_S,
    LONGEST_WAIT_S,
    MOST_SESSIONS,
    Patience,
    Role,
    Sessions,
    is_ours,
)


@pytest.fixture
def sessions() -> Sessions:
    numbers = count()
    return Sessions(lambda: f"secret-{next(numbers)}")


def test_a_session_lasts_while_somebody_is_there_and_no_longer(sessions: Sessions) -> None:
    secret, session = sessions.open(Role.TECHNICIAN, "AM", 0.0)
    assert session.role is Role.TECHNICIAN
    now_s = 0.0
    while now_s < LONGEST_S - IDLE_S:
        now_s += IDLE_S - 1
        assert sessions.of(secret, now_s) is not None
    assert sessions.of(secret, LONGEST_S + 1) is None
    assert len(sessions) == 0


def test_who_leaves_it_lying_is_signed_out(sessions: Sessions) -> None:
    secret, _ = sessions.open(Role.OFFICER, "AM", 0.0)
    assert sessions.of(secret, IDLE_S + 1) is None
    assert sessions.of(secret, 1.0) is None


def test_another_password_signs_out_whoever_came_in_with_the_old_one(sessions: Sessions) -> None:
    viewer, _ = sessions.open(Role.VIEWER, "AM", 0.0)
    officer, _ = sessions.open(Role.OFFICER, "LB", 0.0)
    sessions.end(Role.VIEWER)
    assert sessions.of(viewer, 1.0) is None
    assert sessions.of(officer, 1.0) is not None


def test_nobody_is_somebody_by_chance(sessions: Sessions) -> None:
    secret, _ = sessions.open(Role.TECHNICIAN, "AM", 0.0)
    assert sessions.of("", 1.0) is None
    assert sessions.of(secret + " ", 1.0) is None
    sessions.close(secret)
    assert sessions.of(secret, 1.0) is None


def test_they_are_bounded_and_the_quietest_makes_room(sessions: Sessions) -> None:
    first, _ = sessions.open(Role.VIEWER, "AM", 0.0)
    second, _ = sessions.open(Role.VIEWER, "AM", 0.0)
    for at in range(MOST_SESSIONS - 2):
        sessions.open(Role.VIEWER, "AM", float(at))
    assert sessions.of(first, 1.0) is not None
    sessions.open(Role.VIEWER, "AM", 2.0)
    assert (sessions.of(first, 3.0) is not None, sessions.of(second, 3.0)) == (True, None)
    assert len(sessions) == MOST_SESSIONS


def test_a_form_is_ours_only_with_its_own_session_s_text(sessions: Sessions) -> None:
    _, one = sessions.open(Role.TECHNICIAN, "AM", 0.0)
    _, other = sessions.open(Role.TECHNICIAN, "AM", 0.0)
    assert is_ours(one, one.form)
    assert not is_ours(one, other.form)
    assert not is_ours(one, "")
    assert not is_ours(one, "é" * 100)


def test_a_hundred_wrong_passwords_cost_hours_and_then_are_forgiven() -> None:
    patience, now_s, tried = Patience(), 0.0, 0
    while tried < 100:
        now_s += patience.wait_s(now_s)
        assert patience.wait_s(now_s) == 0.0
        patience.was_wrong(now_s)
        tried += 1
    assert now_s > 6 * 3600
    assert 0 < patience.wait_s(now_s) <= LONGEST_WAIT_S
    assert patience.wait_s(now_s + FORGIVEN_S + 1) == 0.0
    patience.was_wrong(now_s + FORGIVEN_S + 1)
    assert patience.wrong == 1


def test_a_few_slips_cost_nothing_and_the_right_one_wipes_them_out() -> None:
    patience = Patience()
    for _ in range(FREE_TRIES - 1):
        patience.was_wrong(1.0)
    assert patience.wait_s(1.0) == 0.0
    patience.was_right()
    patience.was_wrong(2.0)
    assert patience.wait_s(2.0) == 0.0
