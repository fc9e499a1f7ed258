"""The floor "floor-pymodbus" of the bench `tcp`: the least that polls with pymodbus and sends with paho, without time-outs,
reconnection, store or configuration. It bounds; it is no design. Arguments: MQTT port, registers, period, Modbus ports."""

from __future__ import annotations

import asyncio
import json
import struct
import sys

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient

HOLE = 10


async def poll(number: int, port: int, registers: int, period_s: float, broker: Client) -> None:
    """One device for ever."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    quarter = registers // 4
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        first = (await client.read_holding_registers(0, count=3 * quarter)).registers
        second = (await client.read_holding_registers(3 * quarter + HOLE, count=quarter)).registers
        words = first + second
        data = struct.pack(f">{len(words)}H", *words)
        decoded = struct.unpack(f">{2 * quarter}h{quarter}f", data)
        broker.publish(f"floor/{number}", json.dumps({f"p{at}": value for at, value in enumerate(decoded)}), qos=1)
        due_s += period_s
        await asyncio.sleep(max(0.0, due_s - loop.time()))


async def main(mqtt_port: int, registers: int, period_s: float, ports: list[int]) -> None:
    """All devices."""
    broker = Client(CallbackAPIVersion.VERSION2)
    broker.max_inflight_messages_set(1000)
    broker.connect("127.0.0.1", mqtt_port)
    broker.loop_start()
    await asyncio.gather(*(poll(n, port, registers, period_s, broker) for n, port in enumerate(ports)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), [int(port) for port in sys.argv[4:]]))
