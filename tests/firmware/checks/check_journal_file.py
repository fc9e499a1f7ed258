"""The journal as files: what a frame gets, when it must wait, and what damaged flash gives. Records take no heap."""

import os

from heap import no_heap
from journal import CLOCK_SET, RECORD, TIME_UNKNOWN, Journal
from journal_file import AT_ONCE, DAMAGED, JournalFile
from modbus_rtu import DEVICE_BUSY, ILLEGAL_ADDRESS

FILE = 0x8000
START = 7
UNIX_2020 = 1577836800


def fresh(records, **more):
    """A journal with so many records, one a minute, and its file."""
    try:
        for name in os.listdir("kept"):
            os.remove("kept/" + name)
    except OSError:
        pass
    journal = Journal("kept", START, **more)
    for i in range(records):
        journal.append(1, 0, i & 0xFFFF, 60 * i)
    journal.flush()
    return journal, JournalFile(journal, START)


def ask(file, first, records, start_utc=-1):
    """(cells of the answer, or what it is refused with) after at most one "busy"."""
    out = bytearray(2 * 6 * AT_ONCE)
    place = FILE + first // 1024, first % 1024 * 6, records * 6
    error = file.read(place[0], place[1], place[2], out, 0)
    if error == -DEVICE_BUSY:
        file.fetch(start_utc)
        error = file.read(place[0], place[1], place[2], out, 0)
    if error:
        return error
    return [[out[at] << 8 | out[at + 1] for at in range(12 * i, 12 * i + 12, 2)] for i in range(records)]


def told(number, unix_s, value, kind=1, start=START, flags=0):
    return [unix_s >> 16, unix_s & 0xFFFF, flags << 8 | kind, value, start, number & 0xFFFF]


def test_records_come_with_their_times_after_one_busy():
    _, file = fresh(30)
    out = bytearray(240)
    assert file.read(FILE, 0, 120, out, 0) == -DEVICE_BUSY
    assert ask(file, 0, 20) == [told(i, UNIX_2020 + 60 * i, i) for i in range(20)]
    assert file.read(FILE, 30, 18, out, 0) == 0  # three of those at hand
    assert ask(file, 20, 10) == [told(i, UNIX_2020 + 60 * i, i) for i in range(20, 30)]


def test_a_frame_costs_no_heap_at_hand_or_not():
    _, file = fresh(30)
    out = bytearray(240)

    def busy():
        return file.read(FILE, 0, 120, out, 0)

    assert no_heap(busy) == -DEVICE_BUSY
    file.fetch(-1)
    assert no_heap(busy) == 0


def test_only_whole_records_that_were_written_are_given():
    journal, file = fresh(30)
    journal.append(1, 0, 0, 0)  # waits in memory: it has no number yet
    for register, count in ((0, 5), (3, 6), (0, 126), (6 * 30, 6), (6 * 25, 36), (6 * 1023, 12)):
        assert file.read(FILE, register, count, bytearray(400), 0) == -ILLEGAL_ADDRESS, (register, count)
    assert file.read(1, 0, 6, bytearray(12), 0) == -ILLEGAL_ADDRESS
    assert file.read(0xFFFF, 0, 6, bytearray(12), 0) == -ILLEGAL_ADDRESS


def test_what_made_room_is_refused_and_the_rest_reaches_over_segments_and_files():
    journal, file = fresh(1100, page=10, per_segment=30, max_segments=5)
    assert (journal.first, journal.next) == (960, 1100)
    assert ask(file, 959, 1) == -ILLEGAL_ADDRESS
    assert ask(file, 1015, 9) == [
        told(i, UNIX_2020 + 60 * i, i) for i in range(1015, 1024)
    ]  # two segments, end of a file
    assert ask(file, 1024, 20) == [told(i, UNIX_2020 + 60 * i, i) for i in range(1024, 1044)]


def test_records_of_this_start_are_dated_once_the_time_is_known():
    journal, file = fresh(0)
    journal.append(1, TIME_UNKNOWN, 5, 90)
    journal.flush()
    assert ask(file, 0, 1) == [told(0, 90, 5, flags=TIME_UNKNOWN)]
    file.forget()
    assert ask(file, 0, 1, start_utc=1000) == [told(0, UNIX_2020 + 1090, 5)]
    later = JournalFile(Journal("kept", START + 1), START + 1)
    assert ask(later, 0, 1, start_utc=5000) == [told(0, 90, 5, flags=TIME_UNKNOWN)]  # of another start: not ours to say
    journal.append(CLOCK_SET, 0, 0, 1000)
    journal.flush()
    file.forget()
    assert ask(file, 1, 1) == [told(1, UNIX_2020 + 1000, 0, kind=CLOCK_SET)]


def test_damaged_or_vanished_flash_holds_up_nobody():
    journal, file = fresh(60, page=10, per_segment=30)
    with open("kept/00000000.seg", "r+b") as segment:
        segment.seek(4 * RECORD + 3)
        segment.write(b"\xa5")
    got = ask(file, 0, 20)
    assert got[4] == [0, 0, TIME_UNKNOWN << 8 | DAMAGED, 0, 0, 4]
    assert got[3] == told(3, UNIX_2020 + 180, 3) and got[5] == told(5, UNIX_2020 + 300, 5)
    os.remove("kept/0000001e.seg")
    got = ask(file, 25, 20)
    assert [row[2] & 0xFF for row in got] == [1] * 5 + [DAMAGED] * 15
    assert [row[5] for row in got] == list(range(25, 45))
