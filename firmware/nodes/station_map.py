"""The part of the register map that all nodes share: the first 32 addresses of each area.

Rows as in `registers`. A node adds rows from 32 on.
"""

from micropython import const

NODES = ("", "pressure", "lamp", "lift", "bin")

# bits of the status register
CLOCK_UNKNOWN = const(1)
SAFE_MODE = const(2)
ON_TRIAL = const(4)
SENSOR_FAULT = const(8)
LEASED = const(16)
JOURNAL_FAULT = const(32)

NODE = const(0)
HARDWARE = const(1)
VERSION = const(2)
STATUS = const(4)
RESET_CAUSE = const(5)
BOOTS = const(6)
UPTIME = const(8)
TIME = const(10)
CRC_ERRORS = const(12)
JOURNAL_FIRST = const(13)
FREE_HEAP = const(15)
UPDATE_STATE = const(16)
UPDATE_WANTED = const(17)
UPDATE_RECEIVED = const(18)
SLOT = const(19)
JOURNAL_NEXT = const(20)
JOURNAL_DROPPED = const(22)

SET_TIME = const(0)
UTC_OFFSET = const(2)
UPDATE_COMMAND = const(8)
UPDATE_LENGTH = const(9)
SETTINGS = const(40)
"""Holdings from here to 63 are kept through a power cut."""
SETTINGS_END = const(64)

ROWS = """\
input 0 node u16 - 0
input 1 hardware u16 - 0
input 2 version u32 - 0
input 4 status u16 - 0
input 5 reset_cause u16 - 0
input 6 boots u32 - 0
input 8 uptime u32 s 0
input 10 time u32 s 0
input 12 crc_errors u16 - 0
input 13 journal_first u32 - 0
input 15 free_heap u16 B 0
input 16 update_state u16 - 0
input 17 update_wanted u16 - 0
input 18 update_received u16 - 0
input 19 slot u16 - 0
input 20 journal_next u32 - 0
input 22 journal_dropped u16 - 0
holding 0 set_time u32 s 0
holding 2 utc_offset i16 min 0 -720 840 60
holding 8 update_command u16 - 0 0 4 0
holding 9 update_length u16 B 0 0 4096 0
"""
