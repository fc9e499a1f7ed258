"""The part of the register map that all nodes share: the first 32 addresses of each area.

Rows as in `registers`. A node adds rows from 32 on.
"""

from micropython import const

NODES = ("", "pressure", "lamp", "lift", "bin")

# bits of the status register that a node's own steps set; the others are the station's
SENSOR_FAULT = const(8)
LEASED = const(16)

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
