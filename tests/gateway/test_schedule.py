"""Who is read next: by deadline and priority, and nobody starves on a bus that is late for everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plan import Visit
from gateway.profile import recorded_profile
from gateway.schedule import SHARE, Schedule, Turn
from gateway.site import Device, Priority

PROFILE = recorded_profile({"p": "1"})


def visit(name: str, period_s: float, priority: Priority = "normal") -> Visit:
    return Visit(Device(name, "recorded", PROFILE, "", "", "", period_s, {}, priority), period_s, ())


def played(visits: Sequence[tuple[Visit, float]], seconds: float) -> tuple[Counter[str], dict[str, float]]:
    """How often each was visited on a bus in that time, and how late at the worst, when a visit costs that much."""
    schedule, now_s = Schedule(), 0.0
    costs_s = {one.device.name: cost_s for one, cost_s in visits}
    visited, worst_s = Counter[str](), dict[str, float]()
    for one, _ in visits:
        schedule.add(Turn(one, 0.0))
    while now_s < seconds:
        turn = schedule.next(now_s)
        if turn is None:
            due_s = schedule.due_s()
            assert due_s is not None
            now_s = due_s
            continue
        assert turn.visit is not None
        name = turn.visit.device.name
        worst_s[name] = max(worst_s.get(name, 0.0), now_s - turn.due_s)
        turn.cost_s = costs_s[name]
        now_s += turn.cost_s
        visited[name] += 1
        period_s = turn.visit.period_s
        turn.due_s += period_s * (1 + max(0.0, now_s - turn.due_s) // period_s)
        schedule.add(turn)
    return visited, worst_s


def test_a_bus_with_room_reads_each_at_its_period() -> None:
    visited, worst_s = played([(visit("fast", 1.0), 0.2), (visit("slow", 60.0), 0.5)], 600)
    assert visited == {"fast": 600, "slow": 10}
    assert max(worst_s.values()) <= 0.5


def test_a_late_bus_serves_those_of_high_priority_first() -> None:
    others = [(visit(f"n{number}", 1.0), 0.2) for number in range(10)]
    visited, worst_s = played([*others, (visit("alarm", 1.0, "high"), 0.2)], 600)
    least = min(visited[f"n{number}"] for number in range(10))
    assert visited["alarm"] >= 598
    assert worst_s["alarm"] < 1.5, "once, before it is known what each costs"
    assert least > 200, "the others share the rest"


def test_a_bus_overfull_with_high_priority_still_reads_the_slow_and_low() -> None:
    others = [(visit(f"n{number}", 1.0, "high"), 0.3) for number in range(10)]
    visited, worst_s = played([*others, (visit("bank", 60.0, "low"), 1.0)], 3600)
    assert visited["bank"] >= 58
    assert worst_s["bank"] < 1.0 / SHARE["low"] + 10 * 0.3 + 1


@given(
    st.lists(
        st.tuples(st.floats(0.5, 100), st.floats(0.01, 2), st.sampled_from(["high", "normal", "low"])),
        min_size=2, max_size=12,
    )
)  # fmt: skip
def test_nobody_waits_longer_than_the_share_gives(drawn: list[tuple[float, float, Priority]]) -> None:
    visits = [(visit(str(at), period_s, priority), cost_s) for at, (period_s, cost_s, priority) in enumerate(drawn)]
    _, worst_s = played(visits, 400)
    once_s = sum(cost_s for _, cost_s in visits)
    for one, cost_s in visits:
        waits_s = max(cost_s, 0.05) / SHARE[one.device.priority]
        if one.device.name in worst_s:
            assert worst_s[one.device.name] <= waits_s + once_s + 1e-6


def test_a_device_that_is_back_is_due_now() -> None:
    schedule = Schedule()
    schedule.add(Turn(visit("lost", 900.0), 900.0))
    schedule.add(Turn(visit("other", 60.0), 60.0))
    assert schedule.next(10.0) is None
    schedule.hasten("lost", 10.0)
    turn = schedule.next(10.0)
    assert turn is not None
    assert turn.visit is not None
    assert turn.visit.device.name == "lost"
    assert schedule.due_s() == 60.0


@pytest.mark.parametrize("when", ["later", "due"])
def test_a_visit_that_is_not_made_any_more_is_passed_over(when: str) -> None:
    schedule = Schedule()
    gone, stays = Turn(visit("gone", 10.0), 0.0), Turn(visit("stays", 10.0), 0.0)
    for turn in (gone, stays):
        schedule.add(turn)
    if when == "due":
        assert schedule.next(0.0) is gone
        schedule.add(gone)
    gone.visit = None
    assert schedule.next(0.0) is stays
    assert schedule.next(0.0) is None
