"""What a node decides alone: rules, leases, schedule, supervisor, calendar."""

import civil
from heap import no_heap
from rules import Lease, Threshold
from schedule import Schedule
from supervisor import Supervisor


def schedule():
    return Schedule(full=1000, reduced=400, curfew_start=1410, curfew_end=300, dark_below=2000, light_above=4000)


def settled(plan, minute, month, brightness):
    """Its level once the photocell has been believed."""
    level = None
    for now in range(0, 700, 10):
        level = plan.level(now, minute, month, brightness)
    return level


def test_hysteresis_and_hold():
    rule = Threshold(on=90, off=80, hold_s=60)
    got = [
        rule.step(now, value) for now, value in ((0, 95), (59, 95), (60, 95), (61, 85), (100, 79), (159, 79), (160, 79))
    ]
    assert got == [False, False, True, True, True, True, False]


def test_a_short_excursion_is_no_state():
    rule = Threshold(on=90, off=80, hold_s=60)
    assert not any(rule.step(now, 95 if now % 50 else 85) for now in range(0, 500, 10))


def test_a_falling_threshold():
    rule = Threshold(on=2000, off=4000)
    assert [rule.step(now, value) for now, value in enumerate((5000, 3000, 1999, 3000, 4001))] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_a_missing_value_keeps_then_gives_the_safe_state():
    rule = Threshold(on=90, off=80, missing_s=10, safe=True)
    rule.step(0, 10)
    assert rule.step(1, 10) is False
    assert rule.step(10, None) is False
    assert rule.step(11, None) is True


def test_rules_cost_no_heap():
    rule = Threshold(on=90, off=80, hold_s=60)
    no_heap(rule.step, 5, 95)
    no_heap(rule.step, 66, 95)
    plan = schedule()
    no_heap(plan.level, 7, 600, 6, 3000)


def test_a_lease_ends_by_itself():
    lease = Lease(3600)
    assert not lease.active(0)
    lease.grant(100, 60)
    assert lease.active(159) and not lease.active(160)
    lease.grant(200, 99999)
    assert lease.active(3799) and not lease.active(3800)
    lease.grant(300, 0)
    assert not lease.active(300)


def test_night_full_and_curfew_reduced():
    assert settled(schedule(), 1300, 6, 100) == 1000
    assert settled(schedule(), 1420, 6, 100) == 400
    assert settled(schedule(), 100, 6, 100) == 400
    assert settled(schedule(), 300, 6, 100) == 1000


def test_day_is_dark_to_no_schedule():
    assert settled(schedule(), 900, 6, 30000) == 0
    assert settled(schedule(), 720, 6, 0) == 0  # a dirty photocell at noon


def test_without_photocell_the_almanac_decides():
    assert settled(schedule(), 720, 1, None) == 0
    assert settled(schedule(), 1200, 1, None) == 1000
    assert settled(schedule(), 1100, 6, None) == 0


def test_without_time_no_curfew():
    assert settled(schedule(), None, None, 100) == 1000
    assert settled(schedule(), None, None, 30000) == 0


def test_knowing_nothing_the_lamp_is_lit():
    assert settled(schedule(), None, None, None) == 1000
    assert schedule().level(0, None, None, None) == 1000


def test_a_year_without_time_and_cell_never_leaves_the_street_dark_at_night():
    plan = schedule()
    for month in range(1, 13):
        for minute in (0, 120, 1380):
            assert plan.level(month * 10000 + minute, minute, month, None) > 0


def test_no_task_may_hide():
    supervisor = Supervisor()
    bus = supervisor.register("bus", 5, 0)
    sampling = supervisor.register("sampling", 60, 0)
    assert supervisor.late(5) is None
    assert supervisor.late(6) == "bus"
    supervisor.check_in(bus, 6)
    assert no_heap(supervisor.late, 11) is None
    supervisor.check_in(bus, 60)
    assert supervisor.late(61) == "sampling"
    supervisor.check_in(sampling, 61)
    assert supervisor.late(61) is None


def test_calendar_known_dates():
    assert civil.seconds(2020, 1, 1, 0, 0, 0) == 0
    assert civil.seconds(2026, 11, 23, 20, 15, 0) == 1795464900 - 1577836800
    assert civil.date(civil.seconds(2024, 2, 29, 23, 59, 59)) == (2024, 2, 29)
    assert civil.minute_of_day(civil.seconds(2026, 3, 1, 2, 30, 59)) == 150


def test_unix_time_in_two_registers_costs_no_heap():
    cells = [0, 0]
    now = civil.seconds(2026, 11, 23, 20, 15, 0)
    no_heap(civil.to_unix, now, cells, 0)
    assert cells[0] << 16 | cells[1] == 1795464900
    assert no_heap(civil.from_unix, cells[0], cells[1]) == now
    assert civil.from_unix(0, 0) == -1 and civil.from_unix(0xFFFF, 0xFFFF) == -1
