"""The journal, its power cut at every few bytes of every write: what was written stays, in order, and it goes on."""

import struct

from flash import every_cut
from journal import RECORD, Journal

KEPT = 8


def prepare():
    journal = Journal("/flash/journal", 1, page=4, per_segment=6, max_segments=50)
    for i in range(KEPT):
        journal.append(1, 0, i, i)
    journal.flush()


def records(journal):
    buf = bytearray(RECORD * 5)
    got = []
    at = journal.first
    while True:
        n = journal.read(at, buf)
        if n == 0:
            return got
        for i in range(n):
            kind, _, value, time, _, _ = struct.unpack_from("<BBHIHH", buf, RECORD * i)
            assert kind == 1 and value == time
            got.append(value)
        at += n


def test_nothing_written_is_lost_and_nothing_torn_is_read():
    written = []

    def act():
        written.clear()
        journal = Journal("/flash/journal", 2, page=4, per_segment=6, max_segments=50)
        for i in range(KEPT, KEPT + 16):
            journal.append(1, 0, i, i)
            if i % 4 == 3:
                if not journal.flush():
                    raise OSError(5)
                written.append(i)

    def inspect(came_through):
        journal = Journal("/flash/journal", 3, page=4, per_segment=6, max_segments=50)
        got = records(journal)
        assert got == list(range(len(got))), got
        assert len(got) >= (written[-1] + 1 if written else KEPT)
        assert not came_through or len(got) == KEPT + 16
        more = len(got)
        journal.append(1, 0, more, more)
        assert journal.flush()
        assert records(Journal("/flash/journal", 4)) == list(range(more + 1))

    assert every_cut(prepare, act, inspect, 37) > 40


def test_a_cut_while_the_oldest_makes_room():
    """Numbers go on, the newest stay, and at most the oldest segment is gone."""

    def act():
        journal = Journal("/flash/journal", 2, page=4, per_segment=4, max_segments=2)
        for i in range(KEPT, KEPT + 8):
            journal.append(1, 0, i, i)
        if not journal.flush() or journal.faults:
            raise OSError(5)

    def inspect(came_through):
        journal = Journal("/flash/journal", 3)
        got = records(journal)
        assert got == list(range(journal.first, journal.next)) and journal.next >= KEPT
        assert not came_through or got[-1] == KEPT + 7

    every_cut(prepare, act, inspect, 5)


def test_a_full_journal_keeps_the_newest():
    def overfill():
        journal = Journal("/flash/journal", 1, page=4, per_segment=4, max_segments=3)
        for i in range(40):
            journal.append(1, 0, i, i)
        journal.flush()
        assert journal.dropped == 0 and records(journal) == list(range(28, 40))

    from flash import mounted

    mounted(overfill)
