"""Lifts are observed: over every profile and every codec, no path leads to a write.

Three walls, each proven by itself: no profile of a lift has a point with limits of a write, and none that has loads; no
permit for one is taken; and what would write (the gate, then the bus) refuses. That there is no other way is read off the
code: one function calls a codec's `write`, and one calls that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateway.acting import acting_faults
from gateway.action import Action, Gate
from gateway.app import PROTOCOLS
from gateway.clock import SystemClock
from gateway.codec import Ask, Limits
from gateway.codec.gatt import Gatt, GattPlace
from gateway.codec.mbus import Mbus
from gateway.codec.slcan import COMMANDS
from gateway.condition import Picture
from gateway.errors import ActionError, LinkError, ProfileError, Refused, SiteError
from gateway.link import Traffic
from gateway.link.tcp import TcpLink
from gateway.permit import Ledger, Origin, Permit
from gateway.poll import PolledBus
from gateway.profile import OBSERVED_ONLY, PolledProfile, load_profile, parse_profile
from gateway.site import SPOKEN_ON, Device, Site, parse_site

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ROOT / "device_profiles"
FILES = sorted(PROFILES.glob("*/*.toml"))


class Silent:
    """A link on which whatever is asked is kept, and nothing answers."""

    def __init__(self) -> None:
        self.traffic, self.sent = Traffic(), list[bytes]()

    async def exchange(self, ask: Ask) -> bytes:
        self.sent.append(ask.request)
        raise LinkError("nothing may be asked here")

    async def close(self) -> None:
        pass


LIFTS = [
    name
    for file in FILES
    if load_profile(PROFILES, name := f"{file.parent.name}/{file.stem}").kind in OBSERVED_ONLY
]  # fmt: skip
SITE = """
[gateway]
id = "edge"
commune = "Essai"
timezone = "Europe/Paris"
latitude = 47.0
longitude = 6.0
[[bus]]
name = "b"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = 9
[[device]]
name = "porte"
profile = "{profile}"
bus = "b"
address = 2
"""


def modbus_lifts() -> list[str]:
    return [name for name in LIFTS if load_profile(PROFILES, name).protocol == "modbus"]


def site_of(profile: str, extra: str = "") -> Site:
    text = SITE.replace("{profile}", profile) + extra
    return parse_site(text, "site.toml", Path(), lambda name: load_profile(PROFILES, name))


def test_every_lift_of_the_folder_is_swept() -> None:
    assert {name for name in LIFTS if name.startswith("lift/")} == {
        f"lift/{file.stem}" for file in (PROFILES / "lift").glob("*.toml")
    }
    assert len(LIFTS) >= 4


@pytest.mark.parametrize("name", LIFTS)
def test_no_point_of_a_lift_can_be_written_and_one_that_could_does_not_load(name: str) -> None:
    profile = load_profile(PROFILES, name)
    assert [point.name for point in profile.point if point.write is not None or point.write_only] == []
    assert profile.setup == ()
    text = (PROFILES / f"{name}.toml").read_text("utf-8")
    first = text.index("[[point]]") + len("[[point]]")
    with pytest.raises(ProfileError):
        parse_profile(f"{text[:first]}\nwrite = {{ min = 0, max = 1 }}{text[first:]}", name)


@pytest.mark.parametrize("name", modbus_lifts())
async def test_permit_gate_and_bus_refuse_every_point_of_a_lift(name: str) -> None:
    site = site_of(name)
    device = site.devices["porte"]
    for point in device.points.values():
        full = f"porte/{point.name}"
        extra = f'[[permit]]\npoint = "{full}"\nby = ["rule", "remote", "lighting"]\nfail_safe = 0\n'
        with pytest.raises(SiteError, match="observed and never written to"):
            site_of(name, extra)
        # Even with a permit and a point that were forged past the loader, gate and bus refuse.
        ledger = Ledger([Permit(full, frozenset(Origin), -1e9, 1e9, 0.0)], {full: frozenset({0.0})}, site.place)
        bus = PolledBus("b", TcpLink("127.0.0.1", 9), PROTOCOLS["modbus-tcp"].codec(), [device], SystemClock(), print)  # type: ignore[operator]
        gate = Gate(site, ledger, {"b": bus}, SystemClock(), lambda: True, print, lambda: Picture(0.0))
        for origin in Origin:
            with pytest.raises(ActionError, match="observed and never written to"):
                await gate.perform(Action(full, 0.0, "essai", origin))
        with pytest.raises(ActionError, match="observed and never written to"):
            await bus.write(device, point, 0.0)
        assert bus.link.traffic.requests == 0


@pytest.mark.parametrize("kind", OBSERVED_ONLY)
@pytest.mark.parametrize("name", [f"{file.parent.name}/{file.stem}" for file in FILES])
async def test_any_device_that_were_a_lift_could_not_be_written_to_by_any_codec(name: str, kind: str) -> None:
    """Over every profile there is: were its device a lift, its file would not load with a write, and a device that was
    forged past the loader is refused on every bus that speaks its protocol, before a byte leaves."""
    profile = load_profile(PROFILES, name)
    text = (PROFILES / f"{name}.toml").read_text("utf-8")
    assert f'\nkind = "{profile.kind}"\n' in text
    if any(point.write for point in profile.point) or profile.setup or getattr(profile, "clock", None):
        with pytest.raises(ProfileError, match="observed and never written to"):
            parse_profile(text.replace(f'\nkind = "{profile.kind}"\n', f'\nkind = "{kind}"\n', 1), name)
    forged = profile.model_copy(update={"kind": kind})
    address: int | str = "A4:C1:38:00:00:01" if profile.protocol in ("bthome", "ruuvi", "gatt") else 1
    device = Device("cabine", name, forged, "b", address, "", 60.0, {point.name: point for point in profile.point})
    spoken = 0
    for bus_protocol, protocol in PROTOCOLS.items():
        if profile.protocol not in SPOKEN_ON[bus_protocol]:
            continue
        spoken += 1
        if isinstance(protocol.codec, Mapping):
            assert not hasattr(protocol.codec[profile.protocol](device), "write"), "what is heard has no way to write"
            continue
        link = Silent()
        bus = PolledBus("b", link, protocol.codec(), [device], SystemClock(), print)
        for point in device.points.values():
            with pytest.raises(ActionError, match="observed and never written to"):
                await bus.write(device, point, 1.0)
        assert link.sent == []
    assert spoken, "swept on at least one bus"


@pytest.mark.parametrize("codec", [Gatt(), Mbus()])
def test_codecs_that_only_read_refuse_a_write_before_they_ask_anything(codec: Gatt | Mbus) -> None:
    with pytest.raises(Refused, match="is read and never written to"):
        codec.write(1, GattPlace(characteristic="2a6e", byte=0, size=2), b"\0", Limits())


def test_an_adapter_on_a_lift_s_bus_is_only_ever_told_to_listen() -> None:
    told = {command[:1] for command in COMMANDS}
    assert told == {b"C", b"S", b"L", b"F"}, "close, bit rate, listen only, state"
    assert not told & {b"O", b"t", b"T", b"r", b"R", b"W", b"M"}, "no open for sending, no frame, no filter"


def test_no_street_takes_a_lift_for_a_lamp() -> None:
    site = site_of(modbus_lifts()[0])
    point = next(iter(site.devices["porte"].points))

    class Entries:
        lighting = [type("Street", (), {"name": "rue", "lamps": [f"porte/{point}"]})]
        permit: list[object] = []
        watch: list[object] = []
        rule: list[object] = []

    assert any(
        "observed and never written to" in fault for fault in acting_faults(Entries(), site.devices, (), site.place)
    )  # type: ignore[arg-type]


def calls_of_write(file: Path) -> Iterator[tuple[str, str]]:
    """(function, object) of every call, in a file, of a method `write` or `write_group` that says what goes where: bytes to
    a file or socket are one argument or two, a value to a point of a device is three or more."""
    tree = ast.parse(file.read_text("utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("write", "write_group")
                    and len(node.args) + len(node.keywords) > 2
                ):
                    yield function.name, ast.unparse(node.func.value)


def test_there_is_one_way_to_a_write() -> None:
    """A codec's `write` is called by the bus alone, the bus's by the gate alone."""
    found = {
        (str(file.relative_to(ROOT)), function, target)
        for file in sorted((ROOT / "gateway").rglob("*.py"))
        for function, target in calls_of_write(file)
    }
    assert found == {
        ("gateway/poll.py", "write", "self.codec"),
        ("gateway/poll.py", "_tell", "together.codec"),  # a group whose devices all wait in `write`
        ("gateway/action.py", "_write", "writer"),
        ("gateway/action.py", "tell_time", "self._writers[device.bus]"),
    }, "whoever adds a way to write: through the gate"


def test_only_polled_codecs_can_write_and_only_modbus_and_dali_points_can_be_written() -> None:
    for protocol in PROTOCOLS.values():
        if isinstance(protocol.codec, dict):
            for heard in protocol.codec.values():
                made = heard.__annotations__.get("return")
                assert not hasattr(made, "write")
    for file in FILES:
        profile = load_profile(PROFILES, f"{file.parent.name}/{file.stem}")
        writable = [point for point in profile.point if point.write is not None]
        assert not writable or isinstance(profile, PolledProfile)
        assert not writable or profile.protocol in ("modbus", "dali")
