"""`guet central command`: a real broker, the whole gateway, a simulated device; every way that a command can end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.cli import main
from gateway.alert import from_iso
from tests.gateway.test_order import KEY, OTHER, SETPOINT, There, there

pytestmark = pytest.mark.network
__all__ = ["there"]


def pem(key: Ed25519PrivateKey, file: Path) -> Path:
    form, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return file


class Platform:
    """People at the centre's command line."""

    def __init__(self, there: There, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.there, self.folder, self.capsys = there, folder, capsys
        self.key = pem(KEY, folder / "private.pem")
        self.url = str(there.client.connected_url.geturl()) if there.client.connected_url else ""

    async def says(self, *words: str, key: Path | None = None) -> tuple[int, str]:
        """The exit status and what was printed. `value`, and options."""
        line = ["command", "edge", "cta/setpoint", *words, "--key", str(key or self.key), "--nats", self.url,
                "--reason", "essai", "--by", "mairie"]  # fmt: skip
        status = await asyncio.to_thread(main, line)
        out = self.capsys.readouterr()
        return status, out.out + out.err


@pytest.fixture
def platform(there: There, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Platform:
    return Platform(there, tmp_path, capsys)


async def test_a_command_is_signed_carried_out_and_its_answer_printed_with_the_read_back(platform: Platform) -> None:
    async with platform.there.gateway() as gateway:
        status, said = await platform.says("18", "--for", "30min", "--json")
        body = json.loads(said)
        assert (status, body["answer"], body["read_back"]) == (0, "accepted", 18.0)
        assert platform.there.registers[SETPOINT] == 180
        hold = gateway.ledger.holds["cta/setpoint"]
        assert hold.until_s - hold.since_s == pytest.approx(1800)
        assert from_iso(body["until"]) - gateway.clock.now() == pytest.approx(1800, abs=5)
        await asyncio.sleep(0.2)  # the permit's `every`
        status, said = await platform.says("17")
        assert (status, platform.there.registers[SETPOINT]) == (0, 170), said
        assert "relu 17" in said or "read back 17" in said
        await asyncio.sleep(0.2)
        status, said = await platform.says("18", "--for", "9h", "--json")
        left_s = from_iso(json.loads(said)["until"]) - gateway.clock.now()
        assert left_s == pytest.approx(7200, abs=5), "the permit gives two hours, and that is said"
        assert (await platform.says("--release"))[0] == 0
        await platform.there.until(lambda: platform.there.registers[SETPOINT] == 200)


async def test_a_dry_run_is_let_through_and_writes_nothing(platform: Platform) -> None:
    async with platform.there.gateway():
        assert (await platform.says("18", "--dry-run"))[0] == 0
        assert platform.there.registers[SETPOINT] == 200
        status, said = await platform.says("90", "--dry-run")
        assert status == 1
        assert "expected 14 to 24" in said


async def test_what_is_out_of_limits_is_refused_and_told(platform: Platform) -> None:
    async with platform.there.gateway():
        status, said = await platform.says("22")
        assert status == 1
        assert "allows 16 to 21" in said
        assert platform.there.registers[SETPOINT] == 200
        assert (await platform.there.answer(1))["answer"] == "refused"


async def test_what_the_device_does_not_show_is_reverted_and_told(platform: Platform) -> None:
    platform.there.table.deaf = True
    async with platform.there.gateway():
        status, said = await platform.says("18", "--json")
        assert (status, json.loads(said)["answer"]) == (1, "reverted")


async def test_a_command_of_another_key_has_no_answer_to_its_id_and_is_recorded(platform: Platform) -> None:
    async with platform.there.gateway():
        status, said = await platform.says("18", "--within", "2", key=pem(OTHER, platform.folder / "other.pem"))
        assert status == 1
        assert "got none" in said
        assert "signature" in (await platform.there.answer(1))["error"]
        assert platform.there.registers[SETPOINT] == 200


async def test_a_gateway_that_is_away_is_said_and_never_carries_it_out(platform: Platform) -> None:
    async with platform.there.gateway():
        pass  # the broker has known it
    status, said = await platform.says("18", "--within", "1")
    assert status == 1
    assert "is it connected" in said
    await asyncio.sleep(1.1)
    async with platform.there.gateway():
        status, said = await platform.says("17")
        assert (status, platform.there.registers[SETPOINT]) == (0, 170), said
        assert all(body["answer"] == "refused" for body in platform.there.answers() if body["value"] == 18.0)
    assert [body["value"] for body in platform.there.audits if body["what"] == "action"] == [17.0]


async def test_all_that_is_wrong_with_a_command_is_told_at_once_and_nothing_sent(platform: Platform) -> None:
    status, said = await platform.says("--for", "soon")
    assert status == 1
    assert "value: expected a number" in said
    assert "--for: expected a duration" in said
    status, said = await platform.says("18", key=platform.folder / "absent.pem")
    assert "absent.pem: expected a private key" in said
    (platform.folder / "none.pem").write_text("x")
    status, said = await platform.says("18", key=platform.folder / "none.pem")
    assert "none.pem: expected a private key" in said
