"""The boot record, its power cut at every few bytes of every write, on the file system that boards have."""

import slots
from flash import every_cut

OLD = bytes(range(32))
NEW = bytes(range(32, 64))


def prepare():
    record = slots.BootRecord()
    record.install(slots.A, OLD)
    record.confirm(slots.A, 7)
    slots.save("/flash", record)


def test_install_is_whole_or_never_was():
    seen = set()

    def act():
        record = slots.load("/flash")
        record.install(slots.B, NEW)
        slots.save("/flash", record)

    def inspect(came_through):
        record = slots.load("/flash")
        assert (record.active, record.floor, record.digests[slots.A]) == (slots.A, 7, OLD)
        assert (record.trial, record.digests[slots.B]) in ((0, bytes(32)), (slots.B, NEW))
        assert not came_through or record.trial == slots.B
        seen.add(record.trial)
        assert record.choose(lambda slot: True, False) == (slots.B if record.trial else slots.A)

    assert every_cut(prepare, act, inspect, 3) > 20
    assert seen == {0, slots.B}


def test_no_cut_makes_a_trial_endless():
    """A program on trial that crashes at once, its power cut somewhere each time: the old one still comes back."""

    def prepared():
        prepare()
        record = slots.load("/flash")
        record.install(slots.B, NEW)
        slots.save("/flash", record)

    def act():
        for _ in range(5):
            record = slots.load("/flash")
            started.append(record.choose(lambda slot: True, True))
            slots.save("/flash", record)

    def inspect(came_through):
        for _ in range(slots.TRIES + 1):
            record = slots.load("/flash")
            slot = record.choose(lambda slot: True, True)
            slots.save("/flash", record)
        assert slot == slots.A

    started = []
    every_cut(prepared, act, inspect, 7)
    assert started[-5:] == [slots.B, slots.B, slots.B, slots.A, slots.A]
