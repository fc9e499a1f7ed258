"""A CAN adapter on a real pseudo-terminal: what is heard through it, what it is told, and what is done about silence."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.codec import Broadcast
from gateway.codec.canopen_lift import PART
from gateway.codec.slcan import COMMANDS
from gateway.errors import LinkError
from gateway.link import slcan
from gateway.link.slcan import SlcanEar
from simulator.can import Adapter, CanFault, CanFrame, SimulatedSlcan

LIMIT_S = 10.0
HELLO = CanFrame(0x18C, b"\x39\x30\x00\x00")


class Chatter:
    """A node that always says the same, twenty-five times a second."""

    def __init__(self, *frames: CanFrame) -> None:
        self.frames = frames

    def due(self, time_s: float) -> tuple[CanFrame, ...]:
        return self.frames


@asynccontextmanager
async def bus(tmp_path: Path, *frames: CanFrame, adapter: Adapter | None = None) -> AsyncIterator[SimulatedSlcan]:
    async with SimulatedSlcan(adapter or Adapter(), [Chatter(*frames)], time.monotonic, link=tmp_path / "can") as can:
        yield can


def ear_on(tmp_path: Path, silence_s: float = 0.3, bitrate: int = 250_000) -> SlcanEar:
    return SlcanEar(str(tmp_path / "can"), bitrate=bitrate, silence_s=silence_s)


async def first(ear: SlcanEar, count: int = 1) -> list[Broadcast]:
    heard: list[Broadcast] = []
    async with asyncio.timeout(LIMIT_S):
        async for broadcast in ear.listen():
            heard.append(broadcast)
            if len(heard) == count:
                break
    await ear.close()
    return heard


async def until(ear: SlcanEar, said: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while said not in ear.trouble:
            await asyncio.sleep(0.01)


async def test_frames_are_heard_under_their_identifier(tmp_path: Path) -> None:
    long = CanFrame(0x18C, b"\x01", extended=True)
    async with bus(tmp_path, HELLO, long, CanFrame(0x701, remote=True)) as can:
        heard = await first(ear := ear_on(tmp_path, silence_s=10.0), 2)
    assert heard == [Broadcast("18c", {PART: HELLO.data}), Broadcast("0000018c", {PART: b"\x01"})]
    assert can.adapter.told == [b"C", b"S5", b"L"]
    assert ear.manner == "écoute seule à 250 kbit/s"


@pytest.mark.parametrize(("bitrate", "code"), [(125_000, b"4"), (1_000_000, b"8")])
async def test_the_bit_rate_of_the_site_is_set(tmp_path: Path, bitrate: int, code: bytes) -> None:
    async with bus(tmp_path, HELLO, adapter=Adapter(code)) as can:
        await first(ear_on(tmp_path, bitrate=bitrate))
        assert can.adapter.told == [b"C", b"S" + code, b"L"]


async def test_an_adapter_that_confirms_nothing_and_stamps_its_frames_is_heard_too(tmp_path: Path) -> None:
    adapter = Adapter()
    adapter.confirms, adapter.stamps = False, True
    async with bus(tmp_path, HELLO, adapter=adapter):
        assert (await first(ear_on(tmp_path, silence_s=5.0)))[0].parts == {PART: HELLO.data}


async def test_an_adapter_that_cannot_only_listen_is_not_used(tmp_path: Path) -> None:
    adapter = Adapter()
    adapter.knows_listening = False
    async with bus(tmp_path, HELLO, adapter=adapter):
        with pytest.raises(LinkError, match=r"refuses to listen only \(command L\); use one whose firmware knows it"):
            await first(ear_on(tmp_path))
    assert adapter.mode == "closed"


async def test_a_port_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no such port"):
        await first(ear_on(tmp_path))


async def test_an_adapter_that_is_pulled_out_is_told_and_heard_again_when_it_is_back(tmp_path: Path) -> None:
    ear = ear_on(tmp_path, silence_s=10.0)
    async with bus(tmp_path, HELLO) as can:
        listening = asyncio.create_task(first(ear, 100_000))
        async with asyncio.timeout(LIMIT_S):
            while ear.traffic.answers < 5:
                await asyncio.sleep(0.01)
        can.unplug()
        with pytest.raises(LinkError, match="the CAN adapter still plugged in"):
            await listening
        can.replug()
        assert (await first(ear))[0].sender == "18c"
    assert ear.traffic.reopened == 1


async def test_a_silent_bus_is_told_apart_from_a_stuck_adapter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    adapter = Adapter()
    async with bus(tmp_path, HELLO, adapter=adapter) as can:
        ear = ear_on(tmp_path)
        listening = asyncio.create_task(first(ear, 100_000))
        async with asyncio.timeout(LIMIT_S):
            while ear.traffic.answers < 5:
                await asyncio.sleep(0.01)
        adapter.happen(CanFault("bus_off", 1e6), can.clock())
        await until(ear, "l'adaptateur répond (avertissement d'erreurs, erreurs, mode passif, erreurs sur le bus)")
        assert ear.trouble.startswith(f"CAN {tmp_path}/can : aucune trame depuis 0 min ; ")
        adapter.happen(CanFault("stuck", 1e6), can.clock())
        await until(ear, "l'adaptateur ne répond pas")
        adapter.happen(CanFault("stuck", 0), can.clock())
        adapter.happen(CanFault("bus_off", 0), can.clock())
        async with asyncio.timeout(LIMIT_S):
            while ear.trouble:
                await asyncio.sleep(0.01)
        await ear.close()
        await listening
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.link.slcan"]
    assert [message.split(" for ")[0].split("/can ")[-1] for message in said] == [
        "no CAN frame",
        "CAN frames are heard again",
    ]
    assert set(adapter.told) <= {command[:-1] for command in COMMANDS}


async def test_an_adapter_that_lost_its_supply_is_set_up_again(tmp_path: Path) -> None:
    async with bus(tmp_path, HELLO) as can:
        ear = ear_on(tmp_path)
        listening = asyncio.create_task(first(ear, 100_000))
        async with asyncio.timeout(LIMIT_S):
            while ear.traffic.answers < 5:
                await asyncio.sleep(0.01)
            can.adapter.power_cut()
            # That it is asked first lasts milliseconds, too short to be seen for sure: what it was told says so.
            while not ear.traffic.reopened or ear.trouble:
                await asyncio.sleep(0.01)
        assert can.adapter.told[-4:] == [b"F", b"C", b"S5", b"L"]
        await ear.close()
        await listening


async def test_an_adapter_at_another_speed_is_told_as_unreadable(tmp_path: Path) -> None:
    async with bus(tmp_path) as can:
        ear = ear_on(tmp_path)
        listening = asyncio.create_task(first(ear))
        async with asyncio.timeout(LIMIT_S):
            while "lignes illisibles de l'adaptateur : vérifier sa vitesse (clé line)" not in ear.trouble:
                can._send(b"\x80\xfe\x00\r")
                await asyncio.sleep(0.02)
        await ear.close()
        await listening


async def test_what_nobody_collects_is_bounded_and_counted(tmp_path: Path) -> None:
    async with bus(tmp_path, HELLO) as can:
        ear = ear_on(tmp_path, silence_s=5.0)
        listen = ear.listen()
        await anext(listen)
        sent = 0
        async with asyncio.timeout(LIMIT_S):
            while ear.traffic.dropped < 50:
                for _ in range(20):
                    can.put(HELLO)
                await asyncio.sleep(0)
                sent += 20
        assert len(ear._queue) == slcan._QUEUE
        await ear.close()


# Nothing is ever put on the bus of a lift (design, 5.6)


async def test_nothing_the_ear_ever_says_makes_an_adapter_send(tmp_path: Path) -> None:
    """Through everything that can go wrong with it: the adapter has been told `COMMANDS` alone, and was never opened."""
    adapter = Adapter()
    modes = set()
    async with bus(tmp_path, HELLO, adapter=adapter) as can:
        ear = ear_on(tmp_path, silence_s=0.1)

        async def listen() -> None:
            while True:
                try:
                    async for _ in ear.listen():
                        modes.add(adapter.mode)
                    return
                except LinkError:
                    await asyncio.sleep(0.02)

        listening = asyncio.create_task(listen())
        for mischief in (
            lambda: adapter.happen(CanFault("stuck", 0.9), can.clock()),
            lambda: adapter.happen(CanFault("bus_off", 0.4), can.clock()),
            adapter.power_cut,
            lambda: can._send(b"\x07" * 40 + b"t" * 400 + b"O\rt7000\r"),
            can.unplug,
            can.replug,
        ):
            mischief()
            await asyncio.sleep(0.5)
        await ear.close()
        await asyncio.wait_for(listening, LIMIT_S)
    assert adapter.sent == []
    assert modes == {"listening"}
    assert len(adapter.told) > 6
    assert set(adapter.told) <= {command[:-1] for command in COMMANDS}


def test_the_port_is_written_to_in_one_place_which_takes_commands_of_the_codec_only() -> None:
    tree = ast.parse(inspect.getsource(slcan))
    writes = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("write", "writelines", "send", "sendall", "writev", "send_break")
    ]
    assert writes == ["os.write(self._fd, command)"]
    told = {
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._tell"
    }
    assert told == {"CLOSE", "LISTEN", "STATE", "BITRATES[self.bitrate]"}


@pytest.mark.parametrize(
    "command", [b"O\r", b"t1230\r", b"T000001230\r", b"r1230\r", b"C\rO\r", b"", b"S7\r", b"s031C\r"]
)
async def test_another_command_cannot_be_told(tmp_path: Path, command: bytes) -> None:
    async with bus(tmp_path) as can:
        ear = ear_on(tmp_path)
        await ear._open()
        before = len(can.adapter.told)
        with pytest.raises(ValueError, match="nothing else is told"):
            await ear._tell(command)
        await asyncio.sleep(0.02)
        assert len(can.adapter.told) == before
        await ear.close()
