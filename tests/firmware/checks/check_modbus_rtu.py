"""The Modbus server against the standard's own rules (MAP 1.1b3, MSL 1.02). Any Python; under MicroPython without heap."""

from heap import no_heap
from modbus_rtu import Server, crc16, gap_ms, last_frame
from registers import Registers, count32

MAP = """\
coil 0 relay bit - 0
coil 1 lamp bit - 0
coil 2 horn bit - 0
discrete 0 door bit - 0
discrete 1 tilt bit - 0
holding 0 time u32 s 0
holding 4 level u16 - 0 0 1000 7
holding 5 offset i16 min 0 -720 840 -60
holding 6 spare u16 - 0 0 65535 0
input 0 pressure u16 mbar 0
input 1 flow u32 - 0
"""
IDENTITY = (b"Guet", b"pressure", b"42", b"", b"Guet node", b"hardware 1", b"pump 7")


def frame(text):
    """A frame out of hex, with its CRC."""
    body = bytes.fromhex(text.replace(" ", ""))
    return body + crc16(body, len(body)).to_bytes(2, "little")


class Ends:
    def __init__(self, files=None):
        self.bank = Registers(MAP)
        self.server = Server(0x11, self.bank, IDENTITY, files)

    def ask(self, text):
        """The answer's hex without CRC, "" for silence. The frame is answered with the heap locked."""
        request = frame(text)
        n = no_heap(self.server.handle, request, len(request))
        answer = bytes(self.server.out[:n])
        assert n == 0 or crc16(answer, n) == 0
        return answer[:-2].hex() if n else ""


def answers(ends, request, expected):
    got = ends.ask(request)
    assert got == expected.replace(" ", ""), (request, got)


def test_crc_of_the_standard_example():
    # MSL 1.02, 6.2.2: the frame 02 07 has the CRC 41 12 on the wire
    assert crc16(b"\x02\x07", 2).to_bytes(2, "little") == b"\x41\x12"


def test_gap_is_three_and_a_half_characters_of_eleven_bits():
    assert (gap_ms(9600), gap_ms(19200), gap_ms(115200)) == (5, 3, 2)


def test_coils_are_packed_low_bit_first_6_1():
    ends = Ends()
    ends.bank.coils[0] = ends.bank.coils[2] = 1
    answers(ends, "11 01 0000 0003", "11 01 01 05")
    answers(ends, "11 02 0000 0002", "11 02 01 00")


def test_registers_are_read_high_byte_first_6_3_6_4():
    ends = Ends()
    ends.bank.inputs[0] = 0xABCD
    answers(ends, "11 04 0000 0001", "11 04 02 ABCD".lower())
    answers(ends, "11 03 0004 0002", "11 03 04 0007 ffc4")


def test_write_single_is_echoed_6_5_6_6():
    ends = Ends()
    answers(ends, "11 05 0001 FF00", "11 05 0001 ff00")
    assert ends.bank.coils[1] == 1
    answers(ends, "11 05 0001 0000", "11 05 0001 0000")
    assert ends.bank.coils[1] == 0
    answers(ends, "11 06 0004 0123", "11 06 0004 0123")
    assert ends.bank.holdings[4] == 0x123


def test_write_coil_takes_only_the_two_values_of_6_5():
    answers(Ends(), "11 05 0001 0001", "11 85 03")
    answers(Ends(), "11 05 0001 8000", "11 85 03")


def test_write_many_6_11_6_12():
    ends = Ends()
    answers(ends, "11 0F 0000 0003 01 06", "11 0f 0000 0003")
    assert list(ends.bank.coils) == [0, 1, 1]
    answers(ends, "11 10 0004 0002 04 0001 0002", "11 10 0004 0002")
    assert list(ends.bank.holdings[4:6]) == [1, 2]


def test_function_unknown_is_exception_1():
    answers(Ends(), "11 07", "11 87 01")
    answers(Ends(), "11 15 09 06 0001 0000 0001 0000", "11 95 01")  # takes no files
    answers(Ends(), "11 2B 0D", "11 ab 01")


def test_address_unknown_is_exception_2():
    answers(Ends(), "11 03 0000 0003", "11 83 02")  # a hole
    answers(Ends(), "11 04 FFFF 0001", "11 84 02")
    answers(Ends(), "11 03 FFFF 0002", "11 83 02")
    answers(Ends(), "11 06 0063 0001", "11 86 02")


def test_quantity_out_of_range_is_exception_3():
    for request in ("11 03 0000 0000", "11 03 0000 007E", "11 01 0000 07D1", "11 04 0000 FFFF"):
        assert Ends().ask(request)[4:] == "03"


def test_byte_count_that_lies_is_exception_3():
    answers(Ends(), "11 10 0004 0002 04 0001", "11 90 03")
    answers(Ends(), "11 10 0004 0002 03 0001 0002", "11 90 03")
    answers(Ends(), "11 0F 0000 0003 02 06 00", "11 8f 03")
    answers(Ends(), "11 03 0000", "11 83 03")


def test_value_out_of_its_limits_is_exception_3():
    answers(Ends(), "11 06 0004 03E9", "11 86 03")
    answers(Ends(), "11 06 0005 FD30", "11 06 0005 fd30")  # -720
    answers(Ends(), "11 06 0005 FD2F", "11 86 03")
    answers(Ends(), "11 06 0005 0349", "11 86 03")


def test_a_refused_request_changes_nothing():
    ends = Ends()
    answers(ends, "11 10 0004 0003 06 0001 7FFF 0003", "11 90 03")
    assert list(ends.bank.holdings[4:7]) == [7, 0xFFC4, 0]


def test_half_a_wide_register_cannot_be_written():
    answers(Ends(), "11 06 0000 0001", "11 86 02")
    answers(Ends(), "11 06 0001 0001", "11 86 02")
    answers(Ends(), "11 10 0000 0002 04 1234 5678", "11 10 0000 0002")


def test_a_broadcast_acts_and_is_not_answered_2_2():
    ends = Ends()
    answers(ends, "00 06 0004 0009", "")
    assert ends.bank.holdings[4] == 9
    answers(ends, "00 03 0004 0001", "")


def test_silence_for_others_and_for_noise():
    ends = Ends()
    answers(ends, "12 03 0004 0001", "")
    good = frame("11 03 0004 0001")
    for i in range(len(good)):
        bad = bytearray(good)
        bad[i] ^= 0x40
        assert ends.server.handle(bad, len(bad)) == 0
    for n in range(4):
        assert ends.server.handle(good, n) == 0
    assert ends.server.crc_errors == len(good) + 4


def test_a_request_close_behind_the_answer_of_another_unit_is_found():
    other = frame("12 04 04 00 11 04 00")
    for mine in (frame("11 04 0000 0001"), frame("00 10 0004 0001 02 0005"), frame("11 2B 0E 01 00"), frame("11 11")):
        heard = bytearray(512)
        n = len(other) + len(mine)
        heard[:n] = other + mine
        assert no_heap(last_frame, heard, n, 0x11) == len(mine)
        assert bytes(heard[: len(mine)]) == mine


def test_nothing_is_found_in_what_is_whole_or_for_others_or_damaged():
    mine = frame("11 04 0000 0001")
    inside = frame("12 10 0000 0004 08" + mine.hex())  # another unit is told registers that look like a request
    for heard in (inside, mine, frame("12 04 0000 0001") * 2, mine + mine[:-1], mine[1:], b"", b"\x11", bytes(300)):
        buf = bytearray(heard)
        assert last_frame(buf, len(buf), 0x11) == len(heard)
        assert bytes(buf) == heard


def test_report_server_id_6_13():
    answers(Ends(), "11 11", "11 11 09 " + b"pressure".hex() + " ff")


def test_read_device_identification_6_21():
    basic = "0004" + b"Guet".hex() + "0108" + b"pressure".hex() + "0202" + b"42".hex()
    answers(Ends(), "11 2B 0E 01 00", "11 2b 0e 01 82 00 00 03" + basic)
    answers(Ends(), "11 2B 0E 04 06", "11 2b 0e 04 82 00 00 01 06 06" + b"pump 7".hex())
    assert Ends().ask("11 2B 0E 01 05")[14:16] == "03"  # unknown object of a stream: from the start
    answers(Ends(), "11 2B 0E 04 07", "11 ab 02")
    answers(Ends(), "11 2B 0E 05 00", "11 ab 03")


class Files:
    def __init__(self):
        self.taken = []

    def write(self, file, record, count, buf, at):
        self.taken.append((file, record, bytes(buf[at : at + 2 * count])))
        return -2 if file == 9 else 0

    def read(self, file, record, count, out, at):
        for i in range(2 * count):
            out[at + i] = CONTENT[file][2 * record + i] if file in CONTENT else 0xEE
        return 0 if file in CONTENT else -2


CONTENT = {4: bytes.fromhex("0000 0DFE 0020"), 3: bytes(18) + bytes.fromhex("33CD 0040"), 5: bytes(300)}


def test_read_file_record_6_14():
    ends = Ends(Files())
    # the example of the standard: two groups
    answers(ends, "11 14 0E 06 0004 0001 0002 06 0003 0009 0002", "11 14 0c 05 06 0dfe 0020 05 06 33cd 0040")
    answers(ends, "11 14 07 06 0005 0000 0079", "11 14 f4 f3 06" + "0000" * 121)  # the longest answer there is
    answers(ends, "11 14 07 06 0005 0000 007A", "11 94 03")
    answers(ends, "11 14 07 06 0009 0000 0001", "11 94 02")
    answers(ends, "11 14 07 05 0004 0000 0001", "11 94 02")
    answers(ends, "11 14 07 06 0004 2710 0001", "11 94 02")
    answers(ends, "11 14 07 06 0004 0000 0000", "11 94 02")
    answers(ends, "11 14 08 06 0004 0000 0001 06", "11 94 03")
    answers(ends, "11 14 06 06 0004 0000 00", "11 94 03")
    answers(Ends(), "11 14 07 06 0004 0000 0001", "11 94 01")


def test_write_file_record_6_15():
    files = Files()
    ends = Ends(files)
    # the example of the standard: file 4, record 7, three registers
    text = "11 15 0D 06 0004 0007 0003 06AF 04BE 100D"
    request = frame(text)
    n = ends.server.handle(request, len(request))
    assert bytes(ends.server.out[:n]) == request
    assert files.taken == [(4, 7, bytes.fromhex("06AF04BE100D"))]
    answers(ends, "11 15 0D 06 0004 0007 0004 06AF 04BE 100D", "11 95 03")
    answers(ends, "11 15 0D 05 0004 0007 0003 06AF 04BE 100D", "11 95 02")
    answers(ends, "11 15 09 06 0004 2710 0001 0000", "11 95 02")


def test_the_longest_frames_cost_no_heap():
    text = "\n".join("holding %d r%d u16 - 0 0 65535 0" % (i, i) for i in range(125))
    bank = Registers(text)
    server = Server(1, bank, IDENTITY, Files())
    file = frame("01 14 07 06 0005 0000 0079")
    assert no_heap(server.handle, file, len(file)) == 249
    read = frame("01 03 0000 007D")
    assert no_heap(server.handle, read, len(read)) == 255
    write = frame("01 10 0000 007B F6" + "FFFF" * 123)
    assert no_heap(server.handle, write, len(write)) == 8
    assert bank.holdings[122] == 0xFFFF


def test_maps_that_overlap_are_refused():
    try:
        Registers("input 0 a u32 - 0\ninput 1 b u16 - 0\n")
    except ValueError:
        return
    raise AssertionError("accepted")


def test_a_counter_carries_into_its_high_word():
    cells = Registers(MAP).inputs
    cells[1], cells[2] = 0, 0xFFFF
    no_heap(count32, cells, 1)
    assert (cells[1], cells[2]) == (1, 0)
    cells[1] = cells[2] = 0xFFFF
    count32(cells, 1)
    assert (cells[1], cells[2]) == (0, 0)
