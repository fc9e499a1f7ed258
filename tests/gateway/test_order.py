"""Remote commands end to end: a real broker, the whole gateway, a simulated device; over a restart too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.broker import Broker
from gateway.alert import iso
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.command import Command
from gateway.order import FORGED_AT_ONCE
from gateway.profile import load_profile
from gateway.signed import signed
from gateway.site import Site, parse_site
from gateway.store import Store
from simulator.modbus import Area, Device, Table, TcpServer

pytestmark = pytest.mark.network
PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
KEY, OTHER = Ed25519PrivateKey.from_private_bytes(b"k" * 32), Ed25519PrivateKey.from_private_bytes(b"o" * 32)
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
data = "store"
[upstream]
url = "mqtt://127.0.0.1:{mqtt}"
command_key = "platform.pem"
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
[[device]]
name = "cta"
profile = "ventilation/systemair_save"
bus = "b"
address = 1
[[permit]]
point = "cta/setpoint"
by = ["remote"]
min = 16
max = 21
fail_safe = 20
every = "0.1s"
lease = "2h"
"""
SETPOINT = 2000


class Moody(Table):
    """A device that, when `deaf`, confirms a write (the read right after it) and does not obey."""

    deaf = False

    def write(self, area: Area, address: int, values: Sequence[int]) -> None:
        if self.deaf:
            self.cells["coil"] = dict(enumerate(values, address))
        else:
            super().write(area, address, values)

    def read(self, area: Area, address: int, count: int) -> list[int]:
        told = self.cells.pop("coil", None)
        return [told[address]] if told else super().read(area, address, count)


class There:
    """A platform, and the device that its commands are for."""

    def __init__(self, client: nats.NATS, registers: dict[int, int], table: Moody, site: Site) -> None:
        self.client, self.registers, self.table, self.site = client, registers, table, site
        self.audits: list[dict[str, Any]] = []
        self.clock = SystemClock()

    async def send(self, payload: bytes) -> None:
        await self.client.publish("guet.v1.edge.cmd", payload)
        await self.client.flush()

    async def order(self, id_: str, key: Ed25519PrivateKey = KEY, **changes: object) -> bytes:
        now_s = self.clock.now()
        body = {"id": id_, "gateway": "edge", "issued": iso(now_s - 2), "expires": iso(now_s + 60), "do": "set",
                "point": "cta/setpoint", "value": 18.0, "reason": "essai", "by": "mairie"}  # fmt: skip
        body |= changes
        payload = signed(Command.model_validate({k: v for k, v in body.items() if v is not None}), key)
        await self.send(payload)
        return payload

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not met():
                await asyncio.sleep(0.02)

    async def answer(self, count: int) -> dict[str, Any]:
        """The answer to the command number `count`."""
        await self.until(lambda: len(self.answers()) >= count)
        return self.answers()[count - 1]

    def answers(self) -> list[dict[str, Any]]:
        found = {body["seq"]: body for body in self.audits if body["what"] == "command"}
        return [found[seq] for seq in sorted(found)]

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Gateway]:
        async with Store.open(self.site.data, self.clock) as store:
            gateway = Gateway(self.site, [], store, self.clock)
            running = asyncio.create_task(gateway.run())
            await self.until(lambda: gateway.online)
            yield gateway
            gateway.stop.set()
            await running


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[There]:
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "platform.pem").write_bytes(pem)
    registers = dict.fromkeys(range(15200), 0)
    registers[SETPOINT] = 200
    table = Moody({"holding": registers})
    async with (
        Broker(tmp_path / "nats") as broker,
        TcpServer("127.0.0.1", 0, [Device(1, table, turnaround_s=0.0)]) as server,
    ):
        text = SITE.format(mqtt=broker.mqtt_url.rsplit(":", 1)[1], port=server.port)
        site = parse_site(text, "site.toml", tmp_path, lambda name: load_profile(PROFILES, name))
        client = await nats.connect(broker.nats_url, allow_reconnect=False)
        it = There(client, registers, table, site)

        async def hear(message: Any) -> None:
            if message.subject.endswith((".ack", ".cmd")):
                return
            body = json.loads(message.data)
            if body["kind"] == "audit":
                it.audits.append(body)
            ack = {"epoch": body["epoch"], "from": body["seq"], "to": body["seq"]}
            await client.publish("guet.v1.edge.ack", json.dumps(ack).encode())

        await client.subscribe("guet.v1.edge.*", cb=hear)
        await client.flush()
        yield it
        await client.close()


async def test_a_command_is_carried_out_once_answered_and_taken_back_at_the_end_of_its_lease(there: There) -> None:
    async with there.gateway():
        payload = await there.order("order-0001")
        answer = await there.answer(1)
        assert (answer["command"], answer["answer"], answer["by"]) == ("order-0001", "accepted", "mairie")
        assert there.registers[SETPOINT] == 180
        (done,) = [body for body in there.audits if body["what"] == "action"]
        assert (done["command"], done["read_back"], done["confirmed"], done["origin"]) == (
            "order-0001", 18.0, True, "remote",
        )  # fmt: skip
        await there.send(payload)
        assert "taken already" in (await there.answer(2))["error"]
    async with there.gateway() as restarted:
        await there.send(payload)
        answer = await there.answer(3)
        assert (answer["answer"], answer["command"]) == ("refused", "order-0001")
        assert restarted.ledger.holds["cta/setpoint"].value == 18, "the lease outlives the restart"
        await there.order("order-0002", do="release", value=None)
        assert (await there.answer(4))["answer"] == "accepted"
        await there.until(lambda: there.registers[SETPOINT] == 200)
        await asyncio.sleep(0.2)
        await there.order("order-0003", value=17.0, lease="1s")
        assert (await there.answer(5))["answer"] == "accepted"
        await there.until(lambda: there.registers[SETPOINT] == 200)
        await asyncio.sleep(0.2)
        await there.order("order-0004", do="try", value=17.0)
        assert (await there.answer(6))["answer"] == "accepted"
        assert there.registers[SETPOINT] == 200, "only as if"


async def test_what_is_forged_late_or_out_of_limits_is_refused_recorded_and_told(there: There) -> None:
    async with there.gateway():
        now_s = there.clock.now()
        await there.order("order-0001", OTHER)
        await there.order("order-0002", issued=iso(now_s - 120), expires=iso(now_s - 60))
        await there.order("order-0003", value=22.0)
        await there.order("order-0004", point="cta/mode", value=5.0)
        await there.order("order-0005", gateway="other")
        said = [await there.answer(count) for count in range(1, 6)]
        assert {one["answer"] for one in said} == {"refused"}
        for one, why in zip(said, ("signature", "expired", "allows 16 to 21, got 22", "no limits of a write", "'edge'"),
                            strict=True):  # fmt: skip
            assert why in one["error"]
        assert there.registers[SETPOINT] == 200


async def test_what_is_cut_changed_repeated_in_another_envelope_or_not_signed_at_all_is_refused(there: There) -> None:
    async with there.gateway():
        whole = json.loads(await there.order("order-0001", value=17.0))
        assert (await there.answer(1))["answer"] == "accepted"
        await asyncio.sleep(0.2)
        text = whole["command"]
        for number, forged in enumerate(
            (
                {**whole, "command": text.replace("17.0", "16.0")},
                {**whole, "command": text.replace("order-0001", "order-0002")},
                {"command": text},
                {**whole, "signature": whole["signature"][:-4]},
                {**whole, "signature": ""},
                {**whole, "more": 1, "command": text + " "},
            ),
            2,
        ):
            await there.send(json.dumps(forged).encode())
            assert (await there.answer(number))["answer"] == "refused"
        assert there.registers[SETPOINT] == 170
        assert len([body for body in there.audits if body["what"] == "action"]) == 1


async def test_a_device_that_does_not_obey_is_told_the_safe_value_and_the_platform_hears_of_it(there: There) -> None:
    async with there.gateway():
        there.table.deaf = True
        await there.order("order-0001", value=16.0)
        answer = await there.answer(1)
        assert (answer["answer"], answer["error"]) == ("reverted", "expected 16 back, got 20.0")
        await there.until(lambda: len([body for body in there.audits if body["what"] == "action"]) >= 2)
        acts = [(body["origin"], body["value"], body["confirmed"]) for body in there.audits if body["what"] == "action"]
        assert acts == [("remote", 16.0, False), ("fail_safe", 20.0, True)]


async def test_a_flood_of_forgeries_does_not_fill_the_disk(there: There) -> None:
    async with there.gateway() as gateway:
        for number in range(60):
            await there.order(f"order-{number:04}", OTHER)
            if number % 10 == 9:
                await asyncio.sleep(0.05)
        await there.order("order-good")
        await there.until(lambda: any(body["answer"] == "accepted" for body in there.answers()))
        assert len(there.answers()) <= FORGED_AT_ONCE + 2
        assert gateway.commands is not None
        assert gateway.commands._allowance.refused + gateway.commands.dropped + len(there.answers()) == 61
