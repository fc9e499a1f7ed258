"""A site pushed by the platform: what is taken, in which order, what is answered, and what comes of it in a gateway."""

import asyncio
import json
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.alert import iso
from gateway.app import Gateway, home
from gateway.clock import BUILT_S, SystemClock
from gateway.command import Command
from gateway.errors import CommandRefused
from gateway.profile import load_profile
from gateway.push import MAX_BYTES, MAX_SITE_BYTES, Push, asks_for_push, packed
from gateway.signed import signed
from gateway.signed import taken as taken_as
from gateway.site import parse_site
from gateway.store import Store
from simulator.board import Board
from simulator.centre import Centre
from simulator.modbus import Device, TcpServer
from simulator.place import Place
from tests.gateway.test_timekeeping import SITE, Meter

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NOW_S = BUILT_S + 50 * 86400.0
NOT_THERE = '[[device]]\nname = "m2"\nprofile = "energy/eastron_sdm120"\nbus = "tcp"\naddress = 2\nevery = "300s"\n'


def a_push(number: int = 5, site: str = "x = 1", **changes: Any) -> Push:
    body = {"id": f"push-{number:05d}", "gateway": "g1", "number": number, "issued": iso(NOW_S - 2),
            "expires": iso(NOW_S + 3600), "site": packed(site), "reason": "essai", "by": "mairie"}  # fmt: skip
    return Push.model_validate(body | changes)


def taken(payload: bytes, now_s: float = NOW_S, trusted: bool = True) -> Push:
    return taken_as(Push, payload, KEY.public_key(), "g1", now_s, trusted)


def test_what_the_platform_signed_is_taken_whole() -> None:
    text = "# é\n" + "".join(f'[[device]]\nname = "d{number}"\n' for number in range(3000))
    payload = signed(a_push(site=text), KEY)
    assert asks_for_push(payload)
    assert len(payload) < MAX_BYTES
    assert taken(payload).text() == text


@pytest.mark.parametrize(
    ("push", "key", "said"),
    [
        (a_push(), OTHER, "signature"),
        (a_push(gateway="g2"), KEY, "'g2'"),
        (a_push(expires=iso(NOW_S)), KEY, "expired"),
        (a_push(issued=iso(NOW_S + 7200)), KEY, "future"),
    ],
)
def test_what_is_forged_for_another_late_or_early_is_refused(push: Push, key: Ed25519PrivateKey, said: str) -> None:
    with pytest.raises(CommandRefused, match=said):
        taken(signed(push, key))


def test_without_a_trusted_clock_nothing_is_taken() -> None:
    with pytest.raises(CommandRefused, match="not trusted"):
        taken(signed(a_push(), KEY), trusted=False)


def test_a_signature_under_a_command_is_none_under_a_site() -> None:
    command = Command(id="12345678", gateway="g1", issued=iso(NOW_S), expires=iso(NOW_S + 60), do="release",
                      point="a/b", reason="r", by="me")  # fmt: skip
    text = json.loads(signed(command, KEY))
    moved = json.dumps({"configuration": text["command"], "signature": text["signature"]}).encode()
    with pytest.raises(CommandRefused, match="signature"):
        taken(moved)


@pytest.mark.parametrize(
    "site",
    ["", "not base64!", b64encode(b"no zlib").decode(), b64encode(zlib.compress(b"\xff\xfe")).decode(),
     b64encode(zlib.compress(b"x" * 1000)[:-3]).decode(), b64encode(zlib.compress(b" " * (MAX_SITE_BYTES + 1))).decode()],
)  # fmt: skip
def test_a_text_that_cannot_be_unpacked_or_is_too_long_is_refused_without_much_memory(site: str) -> None:
    with pytest.raises(CommandRefused, match="site: expected"):
        a_push().model_copy(update={"site": site}).text()


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: json.dumps({"configuration": text, "signature": ""}).encode())
)
def test_garbage_is_only_ever_refused(payload: bytes) -> None:
    asks_for_push(payload)
    with pytest.raises(CommandRefused):
        taken(payload)


# -- in a whole gateway, in virtual time: real session, store and links; simulated meter, platform, board and file -------


class Town:
    """A gateway whose site the platform changes."""

    def __init__(self, folder: Path, text: str, centre: Centre) -> None:
        self.folder, self.centre, self.clock = folder, centre, SystemClock(Board(NOW_S, known=True))
        self.place = Place(text, self.parse, keep_within_s=1200.0)
        self.text = text
        self.gateway: Gateway
        self.limit_s = 3600.0

    def parse(self, text: str) -> Any:
        return parse_site(text, "site.toml", self.folder, lambda name: load_profile(home() / "device_profiles", name))

    @asynccontextmanager
    async def on(self, cut: bool = False) -> AsyncIterator[None]:
        """A life of the process; gateways begin in it one after the other. cut: it ends at once, as without power."""

        async def lives() -> None:
            async with Store.open(self.folder / "guet-data", self.clock, thread=False) as store:
                same = False
                while True:
                    site = self.parse(self.place.begin(same_life=same))
                    self.gateway = gateway = Gateway(site, [], store, self.clock, Random(1))
                    assert gateway.pushes is not None
                    gateway.pushes.place, self.place.changed = self.place, gateway.stop.set
                    health = gateway.buses["tcp"].health
                    self.place.lacking = lambda health=health: tuple(  # type: ignore[misc]
                        name for name, one in health.items() if one.last_answer_s is None
                    )
                    await gateway.run()
                    same = True

        running = asyncio.ensure_future(lives())
        await asyncio.sleep(60.0)
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def push(self, number: int, text: str, key: Ed25519PrivateKey = KEY, **changes: Any) -> None:
        now_s = self.clock.now()
        push = a_push(number, text, **{"issued": iso(now_s), "expires": iso(now_s + 86400.0), **changes})
        self.centre.command(signed(push, key))

    def answers(self) -> list[tuple[str | None, str]]:
        told = [(body["id"], body["answer"]) for body in self.centre.bodies("audit") if body["what"] == "configuration"]
        assert [name for name, answer in told if answer == "begun"] == self.begun()
        return [one for one in told if one[1] != "begun"]

    def begun(self) -> list[str]:
        """The ids of those that a gateway has begun with, while it was on trial."""
        audits = [body for body in self.centre.bodies("audit") if body["what"] == "configuration"]
        return list(dict.fromkeys(body["id"] for body in audits if body["answer"] == "begun"))

    def faults(self) -> list[str]:
        return [
            fault for body in self.centre.bodies("audit") if body["what"] == "configuration" for fault in body["faults"]
        ]


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "platform.pem").write_bytes(pem)
    async with TcpServer("127.0.0.1", 0, [Device(1, Meter(), 0.01)]) as devices, Centre(Random(1)) as centre:
        text = SITE.format(platform=centre.port, devices=devices.port)
        it = Town(tmp_path, text.replace("[[bus]]", 'command_key = "platform.pem"\n[[bus]]'), centre)
        yield it
        assert centre.problems == []


@pytest.mark.virtual_time
async def test_a_sound_site_is_accepted_tried_and_kept(town: Town) -> None:
    faster = town.text.replace("300s", "60s")
    async with town.on():
        town.push(7, faster)
        await asyncio.sleep(120.0)
        assert town.answers() == [("push-00007", "accepted"), ("push-00007", "kept")]
        assert town.gateway.site.devices["m1"].every_s == 60.0
        town.push(7, faster)  # nobody heard the answer: it is given again
        await asyncio.sleep(60.0)
        assert town.answers()[2:] == [("push-00007", "kept")]
    async with town.on():
        town.push(7, faster)
        await asyncio.sleep(60.0)
        assert town.answers()[3:] == [("push-00007", "kept")]
    assert town.place.ran == [town.text, faster, faster]


@pytest.mark.virtual_time
async def test_all_faults_are_answered_and_nothing_is_changed(town: Town) -> None:
    async with town.on():
        town.push(1, town.text.replace("energy/eastron_sdm120", "energy/none").replace("Europe/Paris", "Europe/Lutece"))
        await asyncio.sleep(30.0)
        town.push(2, town.text.replace('id = "g1"', 'id = "g2"').replace('command_key = "platform.pem"\n', ""))
        await asyncio.sleep(30.0)
        town.push(3, "not [ TOML")
        await asyncio.sleep(30.0)
    assert town.answers() == [(f"push-{number:05d}", "refused") for number in (1, 2, 3)]
    said = " ".join(town.faults())
    assert all(word in said for word in ("energy/none", "Europe/Lutece", "'g2'", "command_key: missing", "TOML"))
    assert town.place.ran == [town.text]


@pytest.mark.virtual_time
async def test_however_much_is_wrong_the_answer_has_room(town: Town) -> None:
    device = '[[device]]\nname = "{}"\nprofile = "{}"\nbus = "tcp"\naddress = 1\n'
    wrong = "".join(device.format(f"d{number}", f"water/x{number}") + "x = 1\n" for number in range(300))
    async with town.on():
        town.push(1, town.text + wrong)
        await asyncio.sleep(30.0)
        town.push(2, town.text, gateway="\x01" * 10_000)
        await asyncio.sleep(30.0)
    assert town.answers() == [("push-00001", "refused"), ("push-00002", "refused")]
    assert any(fault.startswith("(+") for fault in town.faults())


@pytest.mark.virtual_time
async def test_forged_older_twice_and_out_of_order_changes_nothing_but_the_newest(town: Town) -> None:
    third, second = town.text.replace("300s", "60s"), town.text.replace("300s", "120s")
    async with town.on():
        town.push(9, third, OTHER)
        town.push(3, third)
        town.push(3, third)
        town.push(2, second)  # comes while the gateway begins anew: nobody hears it
        await asyncio.sleep(300.0)
        town.push(2, second)
        town.push(3, second, id="push-other-3")
        await asyncio.sleep(60.0)
        for _ in range(100):
            town.push(9, second, OTHER)
        await asyncio.sleep(60.0)
    answers = town.answers()
    assert answers[0] == (None, "refused")
    assert ("push-00002", "refused") in answers
    assert ("push-other-3", "refused") in answers
    assert [answer for name, answer in answers if name == "push-00003" and answer != "accepted"][-1] == "kept"
    assert len(answers) < 25  # of a flood only some are answered
    assert town.place.ran == [town.text, third]
    assert not [
        fault for fault in town.faults() if "signature" not in fault and "older" not in fault and "trial" not in fault
    ]


@pytest.mark.virtual_time
async def test_what_does_not_work_goes_back_by_itself_and_says_so(town: Town) -> None:
    async with town.on():
        town.push(4, town.text + NOT_THERE)
        await asyncio.sleep(600.0)
        assert town.answers() == [("push-00004", "accepted")]
        assert "m2" in town.gateway.site.devices
        await asyncio.sleep(900.0)
        assert town.answers() == [("push-00004", "accepted"), ("push-00004", "returned")]
        assert "m2" not in town.gateway.site.devices
        town.push(5, town.text.replace("300s", "60s"))
        await asyncio.sleep(120.0)
        assert town.answers()[2:] == [("push-00005", "accepted"), ("push-00005", "kept")]


@pytest.mark.virtual_time
async def test_power_lost_during_the_trial_goes_back_and_the_next_life_says_so(town: Town) -> None:
    async with town.on():
        town.push(4, town.text + NOT_THERE)
        await asyncio.sleep(120.0)
    async with town.on():
        await asyncio.sleep(60.0)
    assert town.answers() == [("push-00004", "accepted"), ("push-00004", "returned")]
    assert town.place.ran == [town.text, town.text + NOT_THERE, town.text]


@pytest.mark.virtual_time
async def test_a_site_with_which_the_platform_is_not_reached_goes_back(town: Town) -> None:
    lost = town.text.replace(f"mqtt://127.0.0.1:{town.centre.port}", "mqtt://127.0.0.1:9")
    async with town.on():
        town.push(4, lost)
        await asyncio.sleep(2400.0)
        assert town.place.ran == [town.text, lost, town.text]
        assert town.answers() == [("push-00004", "accepted"), ("push-00004", "returned")]


@pytest.mark.virtual_time
async def test_during_an_outage_it_is_sent_until_it_is_answered(town: Town) -> None:
    faster = town.text.replace("300s", "60s")
    async with town.on():
        town.centre.set_line("refused")
        for minute in range(90):
            town.push(6, faster, issued=iso(NOW_S), expires=iso(NOW_S + 86400.0))
            if minute == 60:
                town.centre.set_line("up")
            await asyncio.sleep(60.0)
    assert ("push-00006", "kept") in town.answers()
    assert town.place.ran == [town.text, faster]
