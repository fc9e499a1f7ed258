"""A real gateway on simulated devices, with a past in its store and its page on a real socket."""

import asyncio
import math
import re
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.alert import Alert, AlertKind, Baseline, Change, Confidence, Counterfactual, Reason, Severity, alert_id
from gateway.app import Gateway, build_watches, home
from gateway.clock import Clock, ScaledClock
from gateway.profile import load_profile
from gateway.site import Site, parse_site
from gateway.site_trial import SiteFile
from gateway.store import Store
from gateway.summary import Aggregate, Summary
from gateway.web.page import serve
from gateway.web.password import draw
from gateway.web.session import Role
from simulator.modbus import Area, Device, Table, TcpServer

NIGHT_S = 1_768_446_000.0  # 2026-01-15T03:00:00Z, four in the morning in Paris
SPEED = 60.0

SITE = """
[gateway]
id = "exemple-0001"
commune = "Exemple-le-Bourg"
timezone = "Europe/Paris"
latitude = 47.24
longitude = 6.02
{upstream}
[[bus]]
name = "armoire"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
"""
DEVICES = {
    "debit-entree": ("water/siemens_mag6000", 1),
    "pression-amont": ("water/keller_x_line", 2),
    "pression-aval": ("water/keller_x_line", 3),
    "compteur-mairie": ("energy/eastron_sdm630", 4),
    "ascenseur-porte": ("lift/gros_sdk500", 5),
    "banc-pompe": ("pump/water_rig", 6),
    "pression-muette": ("water/keller_x_line", 9),
}
WATCH = """
[[watch]]
name = "ascenseur-mairie"
model = "lift_door"
[watch.inputs]
door_current = ["ascenseur-porte/door_current"]
door_speed = ["ascenseur-porte/door_speed"]
door_state = ["ascenseur-porte/door_state"]
door_error = ["ascenseur-porte/door_error"]
"""


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pack._COST", {"n": 16, "r": 8, "p": 1})


def f32(*values: float) -> list[int]:
    return list(struct.unpack(f">{2 * len(values)}H", struct.pack(f">{len(values)}f", *values)))


def at(address: int, registers: list[int]) -> dict[int, int]:
    return dict(enumerate(registers, address))


def filled(*places: dict[int, int]) -> dict[int, int]:
    """Registers with zeros between the first and the last, as devices have them."""
    there = {address: value for place in places for address, value in place.items()}
    return {address: there.get(address, 0) for address in range(min(there), max(there) + 1)}


def units() -> list[Device]:
    """pression-aval says that its temperature is not a number; unit 9 is not there."""

    def device(unit: int, cells: dict[Area, dict[int, int]]) -> Device:
        return Device(unit, Table(cells), 0.0)

    volume = list(struct.unpack(">4H", struct.pack(">d", 123_456.7)))
    meter = filled(at(0, f32(231.4)), at(0x34, f32(2412.0)), at(0x46, f32(49.98)), at(0x48, f32(84_217.3)))
    return [
        device(1, {"holding": filled(at(3002, f32(5.12 / 3600)), at(3014, volume))}),
        device(2, {"holding": filled(at(2, f32(3.24)), at(8, f32(11.6)))}),
        device(3, {"holding": filled(at(2, f32(3.01)), at(8, f32(math.nan)))}),
        device(4, {"input": meter}),
        device(5, {"holding": {1: 0x0100, 2: 310, 3: 0, 4: 1000, 5: 240}}),
        device(6, {"holding": at(0, f32(0.03, 0.04, 1.2, 0.05, 63.1, 24.2, 229.0, 32.0))}),
    ]


def a_site(folder: Path, port: int, upstream: str = "", more: str = "", watch: str = WATCH) -> Site:
    devices = "".join(
        f'\n[[device]]\nname = "{name}"\nprofile = "{profile}"\nbus = "armoire"\naddress = {unit}\nasset = "A-{unit}"\n'
        'every = "60s"\n'
        for name, (profile, unit) in DEVICES.items()
    )
    text = SITE.format(upstream=upstream, port=port) + devices + more + watch
    (folder / "site.toml").write_text(text, encoding="utf-8")
    return parse_site(text, "site.toml", folder, lambda name: load_profile(home() / "device_profiles", name))


def past(until_s: float, days: float = 16) -> list[Summary]:
    """What the flow meter, two pressures and the lift's door did: an ordinary fortnight, then a burst ten hours ago."""
    out = []
    burst_s = NIGHT_S - 10 * 3600
    for number in range(int(days * 96)):
        start_s = until_s // 900 * 900 - 900 * (days * 96 - number)
        hour = start_s / 3600 % 24
        usual = (
            6
            + 5 * math.sin((hour - 3) / 24 * 2 * math.pi) ** 2
            + 0.6 * math.sin(number * 12.9898) * math.cos(number * 0.37)
        )
        leak = 0.0 if start_s < burst_s else min(9.0, (start_s - burst_s) / 900)
        flow, pressure = usual + leak, 4.2 - usual / 14 - leak / 16
        if 300 <= number < 330:
            continue  # a gateway without power: a gap in every curve
        out.append(_summary("debit-entree", start_s, flow=(flow, 0.8), volume=(120_000 + number * 2.1, 0.3)))
        out.append(_summary("pression-amont", start_s, pressure=(pressure, 0.1), temperature=(11.5, 0.2)))
        out.append(_summary("pression-aval", start_s, pressure=(pressure - 0.3, 0.1), temperature=None))
        speed = 240 + 4 * math.sin(number)
        points = {
            "door_speed": (speed, 8.0),
            "door_current": (310.0, 12.0),
            "door_state": (1.0, 1.0),
            "door_error": (0.0, 0.0),
        }
        out.append(_summary("ascenseur-porte", start_s, **points))
    return out


def _summary(device: str, start_s: float, **points: tuple[float, float] | None) -> Summary:
    return Summary(device, start_s, 900, {name: _aggregate(seen) for name, seen in points.items()})


def _aggregate(seen: tuple[float, float] | None) -> Aggregate:
    if seen is None:
        return Aggregate(0, 15, None, None, None, None)
    mean, half = seen
    return Aggregate(15, 0, mean, mean - half, mean + half, mean)


def a_leak(raised_s: float = NIGHT_S - 6 * 3600, **changes: Any) -> Alert:
    reasons = (
        Reason(
            "debit-entree/flow", "night_flow", 0.61, "débit minimal de nuit : 15,1 m³/h contre 6,0 ± 0,4 d'ordinaire"
        ),
        Reason("pression-aval/pressure", "pressure", 0.27, "pression aval 0,5 bar plus basse au même moment"),
        Reason("debit-entree/flow", "duration", 0.12, "quatre heures sans retour"),
    )
    kept: dict[str, Any] = {
        "id": alert_id(AlertKind.LEAK, "secteur-moulin", raised_s), "kind": AlertKind.LEAK, "subject": "secteur-moulin",
        "onset_s": raised_s - 4 * 3600, "raised_s": raised_s, "severity": Severity.MAJOR, "score": 4.21, "threshold": 3.0,
        "model": "leak", "model_sha256": "9f1c" * 16, "reasons": reasons, "baseline": Baseline("night_flow", True, 2.13),
        "confidence": Confidence(0.93, 41, "simulated"),
        "counterfactual": Counterfactual(
            2.9, (Change("debit-entree/flow", "night_flow", 0.4, 9.6, "m3/h"),),
            "Le score serait resté sous le seuil avec debit-entree/flow à 9,6 m³/h au lieu de 15,1.",
        ),
    }  # fmt: skip
    return Alert(**(kept | changes))


def a_clock(start_s: float = NIGHT_S) -> ScaledClock:
    return ScaledClock(start_s, time.monotonic(), SPEED)


@dataclass(slots=True)
class Visitor:
    """Somebody's browser: cookie jar and all, but for what makes a form ours, which is taken from the page."""

    http: httpx.AsyncClient
    password: str = ""

    async def page(self, path: str, **query: str) -> str:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def secret(self) -> str:
        """What every form of this session carries."""
        found = re.search(r'name="form" value="([\w-]+)"', await self.page("/"))
        assert found
        return found[1]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """A form, as the page would send it. What it is redirected to is not followed."""
        return await self.http.post(path, data={"form": await self.secret()} | fields)


@dataclass(slots=True)
class House:
    """A gateway that runs, and its page."""

    gateway: Gateway
    field: TcpServer
    http: httpx.AsyncClient
    running: asyncio.Task[Any]
    port: int

    async def until_read(self, *names: str) -> None:
        """Waits for a first good value of each device."""
        async with asyncio.timeout(20):
            while not all(self.gateway.live.latest[name] for name in names):
                await asyncio.sleep(0.02)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def signed_in(self, role: Role = Role.TECHNICIAN, who: str = "AM", password: str = "") -> "Visitor":
        """A browser of its own, in which somebody has signed in; with a fresh password where none is given."""
        password = password or draw(self.gateway.store.path.parent, role)
        visitor = Visitor(
            httpx.AsyncClient(base_url=self.origin, timeout=20, trust_env=False, headers={"origin": self.origin})
        )
        answer = await visitor.http.post("/enter", data={"password": password, "who": who})
        assert answer.status_code == 303, answer.text
        visitor.password = password
        return visitor

    async def page(self, path: str, **query: str) -> str:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.text


@asynccontextmanager
async def a_house(
    folder: Path,
    *,
    clock: Clock | None = None,
    upstream: str = "",
    more: str = "",
    alerts: tuple[Alert, ...] = (),
    progress: Path | None = None,
    history: bool = True,
    page: str = "127.0.0.1:0",
    run: bool = True,
) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        field = await stack.enter_async_context(TcpServer("127.0.0.1", 0, units(), silent_absent=True))
        site = a_site(folder, field.port, upstream, more)
        clock = clock or a_clock()
        store = await stack.enter_async_context(Store.open(site.data, clock))
        if history:
            store.import_summaries(past(clock.now()))
        await store.decide({}, alerts)
        gateway = Gateway(site, build_watches(site), store, clock)
        gateway.file = SiteFile.taken_up(folder / "site.toml", clock.now())
        host, _, port = page.partition(":")
        sock = socket.create_server((host, int(port)))
        number = sock.getsockname()[1]
        await stack.enter_async_context(serve(gateway, sock, progress))
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{number}", timeout=10, trust_env=False)
        await stack.enter_async_context(http)
        running = asyncio.create_task(gateway.run() if run else gateway.stop.wait())
        try:
            yield House(gateway, field, http, running, number)
        finally:
            gateway.stop.set()
            await asyncio.wait([running], timeout=20)
            assert running.done()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests that only look. Without a platform; with one alert that lasts and one that is over."""
    old = a_leak(NIGHT_S - 5 * 86400, cleared_s=NIGHT_S - 4 * 86400)
    async with a_house(tmp_path_factory.mktemp("house"), alerts=(old, a_leak())) as running:
        await running.until_read("debit-entree", "pression-amont", "pression-aval", "banc-pompe")
        yield running
