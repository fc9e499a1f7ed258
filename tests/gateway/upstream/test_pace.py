"""How a fleet is spread over time."""

from random import Random

from gateway.upstream.pace import Pace


def test_pauses_are_anything_up_to_a_limit_that_doubles() -> None:
    pace, chance = Pace(retry_s=1.0, retry_max_s=900.0), Random(1)
    for tries, most in ((0, 1.0), (1, 2.0), (5, 32.0), (10, 900.0), (10_000, 900.0)):
        pauses = [pace.pause_s(tries, chance) for _ in range(500)]
        assert 0 <= min(pauses) < 0.05 * most
        assert 0.95 * most < max(pauses) <= most


def test_a_record_is_waited_for_longer_each_time_and_at_most_eightfold() -> None:
    pace, chance = Pace(resend_s=10.0), Random(1)
    for tries, middle in ((1, 10.0), (2, 20.0), (4, 80.0), (50, 80.0)):
        waits = [pace.patience_s(tries, chance) for _ in range(500)]
        assert 0.75 * middle <= min(waits) < 0.8 * middle
        assert 1.2 * middle < max(waits) <= 1.25 * middle
